//! Copies of signing keys that live as long as a session (C_CopyObject with CKA_TOKEN = false): soft tokens sign 3 to 15
//! times faster with one, because they then need not open what they store. A copy is as sensitive as its key, belongs to
//! one lane, and goes when its key may no longer sign.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use cryptoki::object::{Attribute, ObjectHandle};
use cryptoki::session::Session as ModuleSession;
use serde::{Deserialize, Deserializer};

use super::open::Open;
use super::{mechanism, object, trial};
use crate::algorithm::{RingAlgorithm, SignatureAlgorithm};
use crate::backend::device::CANARY;
use crate::backend::{KeyId, StoredKey};

/// How often each is measured; the fastest counts.
const ROUNDS: usize = 7;
/// A copy pays where the key itself takes so many tenths of its time.
const PAYS: u32 = 13;

/// `session_copies`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum SessionCopies {
    /// Where they are faster.
    #[default]
    Auto,
    /// Wherever the token makes them as they must be.
    Always,
    /// Nowhere.
    Never,
}

impl<'de> Deserialize<'de> for SessionCopies {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<SessionCopies, D::Error> {
        from.deserialize_any(Choice)
    }
}

/// Reads `"auto"`, `true` or `false`.
struct Choice;

impl serde::de::Visitor<'_> for Choice {
    type Value = SessionCopies;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("\"auto\", true or false")
    }

    fn visit_bool<E: serde::de::Error>(self, is_wanted: bool) -> Result<SessionCopies, E> {
        Ok(if is_wanted {
            SessionCopies::Always
        } else {
            SessionCopies::Never
        })
    }

    fn visit_str<E: serde::de::Error>(self, word: &str) -> Result<SessionCopies, E> {
        match word {
            "auto" => Ok(SessionCopies::Auto),
            _ => Err(E::invalid_value(serde::de::Unexpected::Str(word), &self)),
        }
    }
}

/// Which keys may be used by a copy.
#[derive(Debug, Default)]
pub(super) struct Copies {
    mode: SessionCopies,
    /// The keys that sign now or will, as the keyring told; `None`: it has told nothing yet.
    signers: ArcSwapOption<HashSet<KeyId>>,
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    /// Whether copies are used for keys of an algorithm.
    verdicts: Vec<(SignatureAlgorithm, bool)>,
    listed: HashSet<KeyId>,
    gone: HashSet<KeyId>,
}

impl Copies {
    pub(super) fn new(mode: SessionCopies) -> Copies {
        Copies {
            mode,
            ..Copies::default()
        }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        // Its sets are changed by single calls, so a panic leaves nothing half done.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a copy of this key is to be made, or kept.
    pub(super) fn may(&self, id: &KeyId, algorithm: SignatureAlgorithm) -> bool {
        if self.mode == SessionCopies::Never {
            return false;
        }
        let known = self.known();
        let verdict = known.verdicts.iter().find(|(of, _)| *of == algorithm);
        let pays = verdict.map_or(self.mode == SessionCopies::Always, |(_, pays)| *pays);
        let signers = self.signers.load();
        pays && !known.gone.contains(id)
            && signers.as_ref().is_none_or(|signers| signers.contains(id))
    }

    pub(super) fn is_gone(&self, id: &KeyId) -> bool {
        self.known().gone.contains(id)
    }

    /// Only these sign from now on.
    pub(super) fn keep_to(&self, signers: HashSet<KeyId>) {
        self.signers.store(Some(signers.into()));
    }

    /// The key was destroyed.
    pub(super) fn destroyed(&self, id: &KeyId) {
        self.known().gone.insert(id.clone());
    }

    /// What the token holds now: what it held before, another process has destroyed.
    pub(super) fn listed(&self, keys: &[StoredKey]) {
        let mut known = self.known();
        let now: HashSet<KeyId> = keys.iter().map(|key| key.id.clone()).collect();
        let before = std::mem::take(&mut known.listed);
        known.gone.extend(before);
        known.gone.retain(|id| !now.contains(id));
        known.listed = now;
    }

    /// No copies of keys of this algorithm.
    pub(super) fn give_up(&self, algorithm: SignatureAlgorithm, reason: &str) {
        self.decide(algorithm, false);
        let alg = algorithm.as_str();
        if self.mode == SessionCopies::Always {
            tracing::error!(
                alg,
                reason,
                "session_copies = true, and a key cannot be copied"
            );
        } else {
            tracing::info!(alg, reason, "keys are not copied into sessions");
        }
    }

    /// The token was away: a copy that could not be made may have failed for that, so it is found out again.
    pub(super) fn begin_again(&self) {
        self.known().verdicts.retain(|(_, pays)| *pays);
    }

    fn decide(&self, algorithm: SignatureAlgorithm, pays: bool) {
        let mut known = self.known();
        known.verdicts.retain(|(of, _)| *of != algorithm);
        known.verdicts.push((algorithm, pays));
    }

    /// Measures, for each algorithm that is not decided yet, one of these keys against a copy of it.
    pub(super) fn measure(&self, open: &Open, keys: &[StoredKey]) {
        if self.mode != SessionCopies::Auto {
            return;
        }
        for key in keys.iter().filter(|key| key.defects.is_empty()) {
            let RingAlgorithm::Signature(algorithm) = key.label.ring.algorithm() else {
                continue;
            };
            let is_decided = |known: &Known| known.verdicts.iter().any(|(of, _)| *of == algorithm);
            if is_decided(&self.known()) {
                continue;
            }
            match compare(open, key, algorithm) {
                Ok((own, copied)) => {
                    let pays = own * 10 >= copied * PAYS;
                    self.decide(algorithm, pays);
                    let micros =
                        |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
                    let (own, copied) = (micros(own), micros(copied));
                    tracing::info!(
                        alg = algorithm.as_str(),
                        own,
                        copied,
                        pays,
                        "microseconds that a key takes to sign, and a copy of it in the session"
                    );
                }
                Err(reason) => self.give_up(algorithm, &reason),
            }
        }
    }
}

/// How long a key takes to sign, and how long its copy.
fn compare(
    open: &Open,
    key: &StoredKey,
    algorithm: SignatureAlgorithm,
) -> Result<(Duration, Duration), String> {
    let ring = RingAlgorithm::Signature(algorithm);
    let said = |failure| crate::backend::Error::from(failure).to_string();
    let own = open.find(&key.id, ring).map_err(said)?.object;
    let copied = make(&open.session, own, ring)?;
    let measured = trial::prove(&open.session, copied, ring, key.public.as_ref())
        .map_err(said)
        .and_then(|()| {
            let mut best = [Duration::MAX; 2];
            for _ in 0..ROUNDS {
                for (best, object) in best.iter_mut().zip([own, copied]) {
                    let begun = Instant::now();
                    mechanism::sign(&open.session, object, algorithm, CANARY)
                        .map_err(|error| error.to_string())?;
                    *best = begun.elapsed().min(*best);
                }
            }
            Ok((best[0], best[1]))
        });
    open.session
        .destroy_object(copied)
        .map_err(|error| format!("a copy cannot be destroyed: {error}"))?;
    measured
}

/// Copies a key into the session. A copy that lasts, or that is less well kept than its key, is destroyed at once.
pub(super) fn make(
    session: &ModuleSession,
    key: ObjectHandle,
    algorithm: RingAlgorithm,
) -> Result<ObjectHandle, String> {
    let copy = session
        .copy_object(key, &[Attribute::Token(false)])
        .map_err(|error| error.to_string())?;
    let is_kept = object::describe(session, copy).and_then(|description| {
        Ok(object::is_of_the_session(session, copy)?.then(|| description.defects(algorithm)))
    });
    let reason = match is_kept {
        Ok(Some(defects)) if defects.is_empty() => return Ok(copy),
        Ok(Some(defects)) => format!("a copy is {}", defects.join(", ")),
        Ok(None) => "a copy outlives its session".to_owned(),
        Err(error) => error.to_string(),
    };
    if let Err(error) = session.destroy_object(copy) {
        tracing::error!(%error, "a copy of a key that is not as it should be cannot be destroyed");
    }
    Err(reason)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::backend::Label;

    const ES256: SignatureAlgorithm = SignatureAlgorithm::Es256;

    fn id(name: &str) -> KeyId {
        KeyId(name.as_bytes().into())
    }

    fn stored(name: &str) -> StoredKey {
        StoredKey {
            id: id(name),
            label: Label {
                ring: "id-token/ES256".parse().unwrap(),
                generation: 1,
                created: 0,
            },
            public: None,
            defects: Vec::new(),
        }
    }

    #[test]
    fn only_a_key_that_signs_has_a_copy() {
        let copies = Copies::new(SessionCopies::Always);
        let may = |name| copies.may(&id(name), ES256);
        assert!(may("a"), "nothing is known yet");
        copies.listed(&[stored("a"), stored("b"), stored("c")]);
        copies.keep_to([id("a"), id("b")].into());
        assert_eq!(["a", "b", "c"].map(may), [true, true, false], "revoked: c");
        copies.destroyed(&id("a"));
        assert_eq!(["a", "b"].map(may), [false, true], "destroyed: a");
        copies.listed(&[]);
        assert!(copies.is_gone(&id("b")), "destroyed by another process: b");
        copies.listed(&[stored("b")]);
        assert_eq!(["a", "b"].map(may), [false, true], "listed again: b");
        copies.give_up(ES256, "it does not want to");
        assert!(!may("b"));
        copies.begin_again();
        assert!(may("b"), "the token is another one, perhaps");
    }

    #[test]
    fn without_a_verdict_only_true_copies() {
        for (mode, expected) in [
            (SessionCopies::Auto, false),
            (SessionCopies::Always, true),
            (SessionCopies::Never, false),
        ] {
            assert_eq!(Copies::new(mode).may(&id("a"), ES256), expected, "{mode:?}");
        }
        let auto = Copies::new(SessionCopies::Auto);
        auto.decide(ES256, true);
        auto.begin_again();
        assert!(auto.may(&id("a"), ES256), "what pays goes on paying");
        auto.give_up(ES256, "the token went away");
        auto.begin_again();
        assert!(!auto.may(&id("a"), ES256), "until it is measured");
        assert!(auto.known().verdicts.is_empty(), "which it will be");
        let never = Copies::new(SessionCopies::Never);
        never.decide(ES256, true);
        assert!(!never.may(&id("a"), ES256));
    }
}
