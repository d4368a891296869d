//! Whether the token is alive: it may say so after it has gone, so it is asked for a signature by a key of ours.

use std::sync::Arc;

use arc_swap::ArcSwap;

use super::copy::Copies;
use super::error::{Class, Failure, class};
use super::open::{Open, Signed};
use crate::algorithm::{RingAlgorithm, SignatureAlgorithm};
use crate::backend::device::CANARY;
use crate::backend::{Error, KeyId};

/// The keys that sign at this moment, as the keyring told, the cheapest first. None: it has not told any.
#[derive(Debug, Default)]
pub(super) struct Canaries(ArcSwap<Vec<(KeyId, SignatureAlgorithm)>>);

impl Canaries {
    pub(super) fn set(&self, mut active: Vec<(KeyId, SignatureAlgorithm)>) {
        active.sort_by_key(|(id, algorithm)| (cost(*algorithm), id.clone()));
        self.0.store(Arc::new(active));
    }

    pub(super) fn are_known(&self) -> bool {
        !self.0.load().is_empty()
    }

    /// One right signature, by the cheapest key that can: what is one key's own trouble says nothing about the token.
    pub(super) fn one(&self, open: &mut Open, copies: &Copies) -> Result<(), Failure> {
        for (id, algorithm) in self.0.load().iter() {
            let ring = RingAlgorithm::Signature(*algorithm);
            let key = open.key(id, ring, copies);
            let signed = key.and_then(|key| key.sign(&open.session, *algorithm, CANARY, true));
            if judge(signed)? {
                return Ok(());
            }
        }
        Err(none())
    }

    /// A right signature by each of them, found anew: what a token must do before it is believed to be back.
    pub(super) fn each(&self, open: &Open) -> Result<(), Failure> {
        let mut right = 0;
        for (id, algorithm) in self.0.load().iter() {
            let key = open.find(id, RingAlgorithm::Signature(*algorithm));
            let signed = key.and_then(|key| key.sign(&open.session, *algorithm, CANARY, true));
            if judge(signed)? {
                right += 1;
            } else {
                tracing::error!(key = ?id, algorithm = algorithm.as_str(), "the token is back, and this key does not sign");
            }
        }
        if right > 0 { Ok(()) } else { Err(none()) }
    }
}

/// Whether a key signed; an error where it is the token that did not.
fn judge(signed: Result<Signed, Failure>) -> Result<bool, Failure> {
    match signed {
        Ok(Signed::Right(_)) => Ok(true),
        Ok(Signed::Wrong) => Err(Error::Device(Signed::WRONG.to_owned()).into()),
        Err(Failure::Module(error)) if class(&error) != Class::Refused => Err(error.into()),
        Err(Failure::Module(_) | Failure::Final(_)) => Ok(false),
    }
}

fn none() -> Failure {
    Error::Device("none of the keys that sign does".to_owned()).into()
}

/// Roughly by what each costs a token.
fn cost(algorithm: SignatureAlgorithm) -> u8 {
    use SignatureAlgorithm as Alg;
    match algorithm {
        Alg::Es256 => 0,
        Alg::EdDsa => 1,
        Alg::Es384 => 2,
        Alg::Es512 => 3,
        _ => 4,
    }
}
