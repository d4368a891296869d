//! The configuration to use with what was examined: `[backend]` and the rings that it can have, as the service reads them.

use std::fmt::Write as _;

use toml::Value;

use super::Report;
use crate::algorithm::{DecryptionAlgorithm, RingAlgorithm, SignatureAlgorithm};
use crate::backend::examination::{Examination, MEASURED};

/// Fewer lanes that are this fast are enough: each is a session.
const ENOUGH: f64 = 0.95;

/// What each ring is for, in the order in which its algorithms are wanted: the first that works is taken.
const RINGS: &[(&str, &[RingAlgorithm])] = &[
    // OpenID Connect Core §15.1: every provider has it.
    ("id-token", &[SIGN_RS256]),
    ("id-token", &[SIGN_ES256]),
    (
        "id-token",
        &[RingAlgorithm::Signature(SignatureAlgorithm::EdDsa)],
    ),
    // What a gateway signs JWT access tokens with, unless a client is registered for the other.
    ("access-token", &[SIGN_RS256]),
    ("access-token", &[SIGN_ES256]),
    (
        "request-object",
        &[
            RingAlgorithm::Decryption(DecryptionAlgorithm::RsaOaep256),
            RingAlgorithm::Decryption(DecryptionAlgorithm::RsaOaep),
        ],
    ),
    (
        "request-object",
        &[RingAlgorithm::Decryption(DecryptionAlgorithm::EcdhEsP256)],
    ),
    ("seal", &[RingAlgorithm::Seal]),
    ("mac", &[RingAlgorithm::Mac]),
    ("pairwise-subject", &[RingAlgorithm::Mac]),
];
const SIGN_RS256: RingAlgorithm = RingAlgorithm::Signature(SignatureAlgorithm::Rs256);
const SIGN_ES256: RingAlgorithm = RingAlgorithm::Signature(SignatureAlgorithm::Es256);

/// TOML to paste; `None` where nothing was tried.
pub(super) fn paste(report: &Report) -> Option<String> {
    let found = report.examination.as_ref()?;
    let mut backend = report.backend.clone();
    // The number of threads that serve software keys is `workers`.
    if report.look.is_some()
        && let Some(lanes) = best_lanes(found)
    {
        let lanes = i64::try_from(lanes).ok()?;
        backend.insert("lanes".to_owned(), Value::Integer(lanes));
    }
    let mut text = String::from("[backend]\n");
    let kind = backend.remove_entry("kind");
    for (key, value) in kind.into_iter().chain(backend) {
        // Writing to memory cannot fail.
        let _ = writeln!(text, "{key} = {value}");
    }
    for (purpose, wanted) in RINGS {
        match wanted.iter().find(|algorithm| found.can(**algorithm)) {
            Some(algorithm) => {
                let name = algorithm.as_str();
                let _ = write!(text, "\n[[rings]]\nname = \"{purpose}/{name}\"\n");
            }
            None => {
                let name = wanted[0].as_str();
                let reason = reason(found, wanted[0]);
                let _ = write!(text, "\n# {purpose}/{name}: {reason}\n");
            }
        }
    }
    Some(text)
}

fn reason(found: &Examination, algorithm: RingAlgorithm) -> String {
    let tried = found.algorithms.iter().find(|it| it.algorithm == algorithm);
    let reason = tried.and_then(|it| it.outcome.clone().err());
    // It ends up in a comment.
    reason
        .unwrap_or_else(|| "not there".to_owned())
        .replace(['\n', '\r'], " ")
}

/// The fewest lanes that are about as fast as any, for the slowest kind of signature.
fn best_lanes(found: &Examination) -> Option<usize> {
    let algorithm = MEASURED
        .into_iter()
        .find(|algorithm| found.paces.iter().any(|pace| pace.algorithm == *algorithm))?;
    let paces = || found.paces.iter().filter(|it| it.algorithm == algorithm);
    let kind = paces().map(|pace| pace.key).next()?;
    let paces = || paces().filter(|it| it.key == kind);
    let best = paces().map(|pace| pace.per_second).max_by(f64::total_cmp)?;
    let enough = paces().filter(|pace| pace.per_second >= ENOUGH * best);
    enough.map(|pace| pace.lanes).min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::examination::Pace;

    #[test]
    fn no_more_lanes_are_taken_than_pay() {
        for (rates, expected) in [
            (&[(1, 100.0), (2, 190.0), (4, 195.0)][..], Some(2)),
            (&[(1, 100.0), (2, 99.0)], Some(1)),
            (&[(4, 400.0), (2, 200.0)], Some(4)),
            (&[], None),
        ] {
            let paces = rates.iter().map(|&(lanes, per_second)| Pace {
                algorithm: SignatureAlgorithm::Rs256,
                key: "token key",
                lanes,
                per_second,
                cpu: 1.0,
            });
            let found = Examination {
                paces: paces.collect(),
                ..Examination::default()
            };
            assert_eq!(best_lanes(&found), expected, "{rates:?}");
        }
    }
}
