//! An open session and the handles that were found in it: of keys, and of their copies. A search may take a thousand
//! times as long as a signature, so each key is looked for once.

use std::collections::HashMap;
use std::sync::Arc;

use cryptoki::object::ObjectHandle;
use cryptoki::session::Session as ModuleSession;

use super::copy::{self, Copies};
use super::error::Failure;
use super::listing::Others;
use super::{mechanism, object, trial};
use crate::algorithm::{RingAlgorithm, SignatureAlgorithm};
use crate::backend::{Error, KeyId, PublicKey};
use crate::signature;

/// A session and what is known in it.
pub(super) struct Open {
    pub(super) session: ModuleSession,
    /// Of which initialisation of the module it is.
    pub(super) epoch: u64,
    keys: HashMap<KeyId, Key>,
    pub(super) others: Others,
}

/// A key that was found.
#[derive(Clone)]
pub(super) struct Key {
    /// What computes: the key, or its copy.
    pub(super) object: ObjectHandle,
    is_copy: bool,
    algorithm: RingAlgorithm,
    pub(super) public: Option<Arc<PublicKey>>,
}

impl Open {
    pub(super) fn new(session: ModuleSession, epoch: u64) -> Open {
        Open {
            session,
            epoch,
            keys: HashMap::new(),
            others: Others::default(),
        }
    }

    /// The key, from the handles that are known, or found.
    pub(super) fn key(
        &mut self,
        id: &KeyId,
        algorithm: RingAlgorithm,
        copies: &Copies,
    ) -> Result<Key, Failure> {
        if let Some(key) = self.keys.get(id) {
            return if key.algorithm == algorithm {
                Ok(key.clone())
            } else {
                Err(Error::Unsupported.into())
            };
        }
        let mut key = self.find(id, algorithm)?;
        if let RingAlgorithm::Signature(alg) = algorithm
            && copies.may(id, alg)
        {
            match copy::make(&self.session, key.object, algorithm) {
                Ok(copy) => (key.object, key.is_copy) = (copy, true),
                Err(reason) => copies.give_up(alg, &reason),
            }
        }
        self.keys.insert(id.clone(), key.clone());
        Ok(key)
    }

    /// Looks for a key that is as it should be.
    pub(super) fn find(&self, id: &KeyId, algorithm: RingAlgorithm) -> Result<Key, Failure> {
        let found = object::find(&self.session, algorithm, id)?;
        let [one] = found.as_slice() else {
            return Err(Error::NoSuchKey.into());
        };
        let description = object::describe(&self.session, *one)?;
        let label = trial::label_of(&description.label).ok_or(Error::NoSuchKey)?;
        if label.ring.algorithm() != algorithm {
            return Err(Error::Unsupported.into());
        }
        if !description.defects(algorithm).is_empty() {
            return Err(Error::NoSuchKey.into());
        }
        let public = match algorithm {
            RingAlgorithm::Seal | RingAlgorithm::Mac => None,
            _ => object::find_public(&self.session, algorithm, id)?.map(Arc::new),
        };
        Ok(Key {
            object: *one,
            is_copy: false,
            algorithm,
            public,
        })
    }

    /// Forgets the handles of keys that are gone, and of those that shall be used by a copy from now on, or no longer.
    /// `false`: a copy could not be destroyed, which only the end of the session ends.
    pub(super) fn revise(&mut self, copies: &Copies) -> bool {
        let Open { session, keys, .. } = self;
        let mut is_clean = true;
        keys.retain(|id, key| {
            let may_copy = match key.algorithm {
                RingAlgorithm::Signature(alg) => copies.may(id, alg),
                _ => false,
            };
            let stays = key.is_copy == may_copy && !copies.is_gone(id);
            if key.is_copy && !stays {
                is_clean &= session.destroy_object(key.object).is_ok();
            }
            stays
        });
        is_clean
    }
}

impl Key {
    /// Signs, and checks the signature where that is wanted. What is of the wrong length is wrong in any case.
    pub(super) fn sign(
        &self,
        session: &ModuleSession,
        algorithm: SignatureAlgorithm,
        input: &[u8],
        is_sampled: bool,
    ) -> Result<Signed, Failure> {
        let public = self.public.as_deref().ok_or(Error::NoSuchKey)?;
        // A fault in the CRT of RSA gives the key away (Boneh, DeMillo and Lipton, 1997).
        let (length, is_checked) = match public {
            PublicKey::Rsa { n, .. } => (n.len(), true),
            PublicKey::Ec { curve, .. } => (2 * curve.field_length(), is_sampled),
            PublicKey::Ed25519 { .. } => (64, is_sampled),
            PublicKey::X25519 { .. } => return Err(Error::Unsupported.into()),
        };
        let signature = mechanism::sign(session, self.object, algorithm, input)?;
        let is_right = signature.len() == length
            && (!is_checked || signature::verify(algorithm, public, input, &signature).is_ok());
        Ok(if is_right {
            Signed::Right(signature)
        } else {
            Signed::Wrong
        })
    }
}

/// What a signature turned out to be. A wrong one is told to nobody.
pub(super) enum Signed {
    Right(Vec<u8>),
    Wrong,
}

impl Signed {
    /// What is said of a device that signs wrongly.
    pub(super) const WRONG: &'static str = "a signature that does not verify";
}
