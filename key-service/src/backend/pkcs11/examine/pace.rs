//! How fast a token signs: with the key itself, and with a copy of it that lives in a session.

use cryptoki::error::Error as ModuleError;
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::Session;

use super::super::error::Failure;
use super::super::token::close;
use super::super::{mechanism, object};
use super::trials::Bench;
use super::{another, sweep};
use crate::algorithm::{RingAlgorithm, SignatureAlgorithm};
use crate::backend::examination::{Examination, Finding, MEASURED, Pace, Plan, measure as run};
use crate::backend::{Error, KeyId};

/// What a lane signs with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    TokenKey,
    SessionCopy,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Kind::TokenKey => "token key",
            Kind::SessionCopy => "session copy",
        }
    }
}

/// Measures each algorithm that works.
pub(super) fn measure(bench: &Bench<'_>, plan: &Plan, found: &mut Examination) {
    for algorithm in MEASURED {
        let ring = RingAlgorithm::Signature(algorithm);
        if !found.can(ring) {
            continue;
        }
        if let Err(failure) = with_key(bench, plan, algorithm, found) {
            let reason = format!("{algorithm}: {}", Error::from(failure));
            found.findings.push(Finding::odd("speed", reason));
        }
        sweep(bench.session);
    }
    compare(found);
}

fn with_key(
    bench: &Bench<'_>,
    plan: &Plan,
    algorithm: SignatureAlgorithm,
    found: &mut Examination,
) -> Result<(), Failure> {
    let ring = RingAlgorithm::Signature(algorithm);
    let (id, (_, key)) = Bench::lasting(bench.session, ring)?;
    let id = KeyId(id.into());
    let mut kinds = vec![Kind::TokenKey];
    match copy(bench.session, key) {
        Ok(_) => kinds.push(Kind::SessionCopy),
        Err(error) => {
            // The crate's own words go on for lines.
            let reason = match error {
                ModuleError::Pkcs11(value, _) => format!("none of {algorithm}: {value:?}"),
                other => format!("none of {algorithm}: {other}"),
            };
            found.findings.push(Finding::odd("session copies", reason));
        }
    }
    // Taken out of `bench`, whose session is for one thread.
    let (token, slot) = (bench.token, bench.slot);
    for kind in kinds {
        for &lanes in &plan.lanes {
            let open = || {
                let session = another(token, slot)?;
                let found = object::find(&session, ring, &id).map_err(Failure::from)?;
                let key = *found.first().ok_or(Error::NoSuchKey)?;
                let key = match kind {
                    Kind::TokenKey => key,
                    Kind::SessionCopy => copy(&session, key).map_err(Failure::from)?,
                };
                Ok(Lane(Some(session), key))
            };
            let sign = |lane: &mut Lane| {
                let session = lane.0.as_ref().ok_or(Error::NoSuchKey)?;
                let signed = mechanism::sign(session, lane.1, algorithm, b"doctor");
                Ok(signed.map(drop).map_err(Failure::from)?)
            };
            let (per_second, cpu) = run((lanes, plan.time), open, sign)?;
            found.paces.push(Pace {
                algorithm,
                key: kind.as_str(),
                lanes,
                per_second,
                cpu,
            });
        }
    }
    Ok(())
}

/// A session of a lane, and its handle of the key. The session is closed with it: no module is started again here.
struct Lane(Option<Session>, ObjectHandle);

impl Drop for Lane {
    fn drop(&mut self) {
        if let Some(session) = self.0.take() {
            close(session);
        }
    }
}

fn copy(session: &Session, key: ObjectHandle) -> cryptoki::error::Result<ObjectHandle> {
    session.copy_object(key, &[Attribute::Token(false)])
}

/// Whether copies pay.
fn compare(found: &mut Examination) {
    for algorithm in MEASURED {
        let best = |kind: Kind| {
            let of = found.paces.iter();
            let of = of.filter(|pace| pace.algorithm == algorithm && pace.key == kind.as_str());
            of.map(|pace| pace.per_second).max_by(f64::total_cmp)
        };
        let (Some(key), Some(copy)) = (best(Kind::TokenKey), best(Kind::SessionCopy)) else {
            continue;
        };
        let detail = format!(
            "of {algorithm} sign {:.1} times as fast as the token's key",
            copy / key
        );
        found.findings.push(Finding::good("session copies", detail));
    }
}
