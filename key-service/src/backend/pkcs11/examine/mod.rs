//! The examination of a token (PKCS #11 Specification 3.1): what can be said without a login, and what is found out with
//! one, by doing what the service does with keys that live for moments.
//!
//! What must last to be tried carries [`LABEL`] and is destroyed however the trial ends; what an examination that was
//! killed left behind is destroyed by the next one.

mod pace;
mod trials;

use std::path::Path;
use std::sync::Arc;

use cryptoki::mechanism::MechanismType;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::Session;
use cryptoki::slot::Slot;

use self::trials::Bench;
use super::patience::{is_failure, patiently};
use super::token::{Token, close, failed, initialize, load};
use super::{ELSEWHERE, Settings, mechanism};
use crate::algorithm::{DecryptionAlgorithm, RingAlgorithm, SignatureAlgorithm};
use crate::backend::Error;
use crate::backend::examination::{Examination, Finding, Plan, Tried};

/// CKA_LABEL of everything that an examination makes in a token.
const LABEL: &str = "signet-doctor";

/// A module, and what it shows without a login.
#[derive(Debug, Clone)]
pub(crate) struct Look {
    /// Who made it, and which version it is.
    pub(crate) description: String,
    /// The initialised tokens.
    pub(crate) tokens: Vec<Shown>,
}

/// A token that a module shows.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    /// The number of its slot.
    pub(crate) slot: u64,
    /// Its label.
    pub(crate) label: String,
    /// Its serial number.
    pub(crate) serial: String,
    /// Who made it, and which model it is.
    pub(crate) model: String,
    /// What there is to know before somebody logs in; empty: nothing.
    pub(crate) warning: &'static str,
    /// Which algorithms its list of mechanisms allows.
    pub(crate) algorithms: Vec<Tried>,
}

/// Looks at a module without a login.
///
/// # Errors
/// There is no such module, or it does not start.
pub(crate) fn look(path: &Path) -> Result<Look, Error> {
    let module = load(path)?;
    let is_ours = initialize(&module).map_err(|error| {
        Error::Unusable(format!(
            "the module {} does not start: {error}; {ELSEWHERE}",
            path.display()
        ))
    })?;
    let about = module.get_library_info().map_err(failed)?;
    let mut tokens = Vec::new();
    for slot in module.get_slots_with_initialized_token().map_err(failed)? {
        // A token that cannot describe itself is not ours.
        let Ok(token) = module.get_token_info(slot) else {
            continue;
        };
        let warning = if token.user_pin_locked() {
            "its user PIN is locked"
        } else if token.user_pin_final_try() {
            "one more wrong PIN locks it"
        } else if token.user_pin_count_low() {
            "a wrong PIN was tried"
        } else if !token.user_pin_initialized() {
            "it has no user PIN yet"
        } else {
            ""
        };
        let mechanisms = module.get_mechanism_list(slot).map_err(failed)?;
        let sizes = |wanted: MechanismType| {
            let about = module.get_mechanism_info(slot, wanted).ok()?;
            Some((about.min_key_size(), about.max_key_size()))
        };
        let algorithms = all().map(|algorithm| listed(algorithm, &mechanisms, sizes));
        tokens.push(Shown {
            slot: slot.id(),
            label: token.label().to_owned(),
            serial: token.serial_number().to_owned(),
            model: format!("{} {}", token.manufacturer_id(), token.model()),
            warning,
            algorithms: algorithms.collect(),
        });
    }
    let version = about.library_version();
    let look = Look {
        description: format!(
            "{}, {} {version}",
            about.manufacturer_id(),
            about.library_description()
        ),
        tokens,
    };
    if is_ours {
        // Whoever opens the token next starts it again.
        let _ = module.finalize();
    }
    Ok(look)
}

/// Every algorithm that a ring can have.
fn all() -> impl Iterator<Item = RingAlgorithm> {
    let signatures = SignatureAlgorithm::ALL.iter();
    let decryptions = DecryptionAlgorithm::ALL.iter();
    signatures
        .map(|alg| RingAlgorithm::Signature(*alg))
        .chain(decryptions.map(|alg| RingAlgorithm::Decryption(*alg)))
        .chain([RingAlgorithm::Seal, RingAlgorithm::Mac])
}

fn listed(
    algorithm: RingAlgorithm,
    mechanisms: &[MechanismType],
    sizes: impl Fn(MechanismType) -> Option<(usize, usize)>,
) -> Tried {
    let needed = mechanism::needed(algorithm);
    let missing = needed.into_iter().find(|it| !mechanisms.contains(it));
    Tried {
        algorithm,
        mechanism: needed[1].to_string(),
        key_sizes: sizes(needed[0]).filter(|_| missing.is_none()),
        outcome: match missing {
            None => Ok(()),
            Some(missing) => Err(format!("the token has no {missing}")),
        },
    }
}

/// Logs in, once, and tries everything.
///
/// # Errors
/// There is no such token, the PIN is refused, or the token fails as a whole.
pub(crate) fn examine(settings: &Settings, plan: &Plan) -> Result<Examination, Error> {
    let token = Arc::new(Token::open(settings)?);
    let facts = patiently(|| token.facts(), is_failure)?;
    let slot = token.enter()?.slot;
    let session = token.session(slot)?;
    let looked = look(&settings.module)?;
    let shown = looked.tokens.iter().find(|shown| shown.slot == slot.id());
    let mut algorithms = shown.map(|it| it.algorithms.clone()).unwrap_or_default();
    for tried in &mut algorithms {
        // The list of mechanisms is a promise: `trial` has tried each.
        tried.outcome = match facts.algorithms.contains(&tried.algorithm) {
            true => Ok(()),
            false => Err(reason(&facts.gaps, tried.algorithm)),
        };
    }
    let mut found = Examination {
        description: facts.description,
        algorithms,
        ..Examination::default()
    };
    let swept = sweep(&session).0;
    let bench = Bench {
        token: &token,
        slot,
        session: &session,
    };
    bench.attributes(&mut found);
    bench.objects(&mut found);
    bench.sessions(&mut found);
    bench.replicas(&mut found);
    if !plan.time.is_zero() {
        pace::measure(&bench, plan, &mut found);
    }
    let (_, left) = sweep(&session);
    found.left = left;
    if swept > 0 {
        found.findings.push(Finding::good(
            "leftovers",
            format!("{swept} objects of an examination that was killed were removed"),
        ));
    }
    close(session);
    Ok(found)
}

/// Why an algorithm is not among those that work.
fn reason(gaps: &[String], algorithm: RingAlgorithm) -> String {
    let prefix = format!("{}: ", algorithm.as_str());
    let gap = gaps.iter().find_map(|gap| gap.strip_prefix(&prefix));
    gap.unwrap_or("it does not work").to_owned()
}

/// Destroys everything of the examination: how many objects, and what is left.
fn sweep(session: &Session) -> (usize, Vec<String>) {
    let (mut count, mut left) = (0, Vec::new());
    for class in [
        ObjectClass::PRIVATE_KEY,
        ObjectClass::SECRET_KEY,
        ObjectClass::PUBLIC_KEY,
        ObjectClass::DATA,
    ] {
        let own = [
            Attribute::Class(class),
            Attribute::Token(true),
            Attribute::Label(LABEL.as_bytes().to_vec()),
        ];
        match session.find_objects(&own) {
            Ok(objects) => {
                for object in objects {
                    match session.destroy_object(object) {
                        Ok(()) => count += 1,
                        Err(error) => left.push(format!("{class} \"{LABEL}\": {error}")),
                    }
                }
            }
            Err(error) => left.push(format!("{class} \"{LABEL}\", perhaps: {error}")),
        }
    }
    (count, left)
}

/// A session of its own, for another thread.
fn another(token: &Token, slot: Slot) -> Result<Session, Error> {
    token.session(slot).map_err(Error::from)
}
