//! One conversation with a token: a session, the handles of the keys that it has used, and one more attempt when the
//! token has forgotten either.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::sync::Arc;

use cryptoki::error::Error as ModuleError;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::Session as ModuleSession;

use super::error::{Class, Failure, class, is_fleeting, is_session_gone};
use super::object::{self, Design};
use super::patience::patiently;
use super::token::{Token, close};
use super::{listing, mechanism, trial};
use crate::algorithm::{DecryptionAlgorithm, RingAlgorithm, SignatureAlgorithm};
use crate::backend::{
    Error, KeyId, Label, Listing, Peer, PublicKey, SecretBytes, Session, StoredKey, Tombstone,
};
use crate::signature;

/// One in so many ECDSA and EdDSA signatures is verified; every RSA signature is, because a fault in the CRT gives
/// the key away (Boneh, DeMillo and Lipton, 1997).
const SAMPLE: u32 = 64;

/// A conversation. It opens its session when it first needs one.
pub(super) struct Conversation {
    token: Arc<Token>,
    open: RefCell<Option<Open>>,
    signatures: Cell<u32>,
    proven: RefCell<listing::Proven>,
}

struct Open {
    session: ModuleSession,
    epoch: u64,
    keys: HashMap<KeyId, Key>,
}

#[derive(Clone)]
struct Key {
    object: ObjectHandle,
    algorithm: RingAlgorithm,
    public: Option<Arc<PublicKey>>,
}

impl Conversation {
    pub(super) fn new(token: &Arc<Token>) -> Conversation {
        Conversation {
            token: Arc::clone(token),
            open: RefCell::new(None),
            signatures: Cell::new(0),
            proven: RefCell::default(),
        }
    }

    /// Calls the module, and once more in a new session when the first answer was about the session or the device.
    fn with<T>(&self, ask: impl Fn(&mut Open) -> Result<T, Failure>) -> Result<T, Error> {
        match self.attempt(&ask) {
            Err(Failure::Module(error)) if class(&error) != Class::Refused => {
                self.again(&ask, &error)
            }
            // Rare, because the keyring asks for keys that it has seen: has the token itself gone?
            Err(Failure::Final(Error::NoSuchKey)) => {
                match self.attempt(|open| self.token.canary(&open.session)) {
                    Ok(()) => Err(Error::NoSuchKey),
                    Err(failure) => {
                        let error = Error::from(failure);
                        self.token.trip(&error.to_string());
                        Err(error)
                    }
                }
            }
            other => other.map_err(Error::from),
        }
    }

    /// The same for what reads or changes the whole token, which other processes may do too: with patience.
    fn alone<T>(&self, ask: impl Fn(&mut Open) -> Result<T, Failure>) -> Result<T, Error> {
        match patiently(|| self.attempt(&ask), is_fleeting) {
            Ok(done) => Ok(done),
            Err(Failure::Final(error)) => Err(error),
            // The rest is as for everything: a new session, or the end of the device for now.
            Err(Failure::Module(_)) => self.with(ask),
        }
    }

    fn attempt<T>(&self, ask: impl Fn(&mut Open) -> Result<T, Failure>) -> Result<T, Failure> {
        let world = self.token.enter()?;
        let mut open = self.open.borrow_mut();
        // A session of an earlier epoch is not closed: its number may be somebody else's by now.
        if open.as_ref().is_none_or(|open| open.epoch != world.epoch) {
            *open = Some(Open {
                session: self.token.session(world.slot)?,
                epoch: world.epoch,
                keys: HashMap::new(),
            });
        }
        ask(open.as_mut().expect("it was opened above"))
    }

    fn again<T>(
        &self,
        ask: impl Fn(&mut Open) -> Result<T, Failure>,
        first: &ModuleError,
    ) -> Result<T, Error> {
        tracing::warn!(error = %first, "the token refused a session: trying a new one");
        if is_session_gone(first) {
            self.open.take();
        } else {
            self.end();
        }
        let trip = |cause: &ModuleError| {
            let cause = cause.to_string();
            self.token.trip(&cause);
            Error::Device(cause)
        };
        match self.attempt(ask) {
            // The key was there before: this is what a token that has vanished looks like.
            Err(Failure::Final(Error::NoSuchKey)) => Err(trip(first)),
            Err(Failure::Module(error)) if class(&error) == Class::Device => Err(trip(&error)),
            other => other.map_err(Error::from),
        }
    }

    /// Closes the session, unless it is of an earlier epoch.
    fn end(&self) {
        if let (Some(open), Ok(world)) = (self.open.take(), self.token.enter())
            && open.epoch == world.epoch
        {
            close(open.session);
        }
    }

    /// After a panic nothing is known about the session: it is left alone.
    pub(super) fn forget(&self) {
        self.open.take();
    }

    fn check(
        &self,
        key: &Key,
        algorithm: SignatureAlgorithm,
        input: &[u8],
        signature: &[u8],
    ) -> Result<(), Failure> {
        let public = key.public.as_deref().ok_or(Error::NoSuchKey)?;
        let count = self.signatures.get();
        self.signatures.set(count.wrapping_add(1));
        let is_sampled = count.is_multiple_of(SAMPLE);
        let (length, is_checked) = match public {
            PublicKey::Rsa { n, .. } => (n.len(), true),
            PublicKey::Ec { curve, .. } => (2 * curve.field_length(), is_sampled),
            PublicKey::Ed25519 { .. } => (64, is_sampled),
            PublicKey::X25519 { .. } => return Err(Error::Unsupported.into()),
        };
        if signature.len() == length
            && (!is_checked || signature::verify(algorithm, public, input, signature).is_ok())
        {
            return Ok(());
        }
        let cause = "a signature that does not verify";
        self.token.trip(cause);
        Err(Error::Device(cause.to_owned()).into())
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.end();
    }
}

impl Open {
    /// The key, from the handles that were seen, or found: a search may take a thousand times as long as a signature.
    fn key(&mut self, id: &KeyId, algorithm: RingAlgorithm) -> Result<Key, Failure> {
        if let Some(key) = self.keys.get(id) {
            return if key.algorithm == algorithm {
                Ok(key.clone())
            } else {
                Err(Error::Unsupported.into())
            };
        }
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
        let key = Key {
            object: *one,
            algorithm,
            public,
        };
        self.keys.insert(id.clone(), key.clone());
        Ok(key)
    }
}

/// Whether a canary can be had of it.
fn signs(key: &StoredKey) -> bool {
    key.defects.is_empty() && matches!(key.label.ring.algorithm(), RingAlgorithm::Signature(_))
}

impl Session for Conversation {
    fn list(&self) -> Result<Listing, Error> {
        let listing =
            self.alone(|open| listing::read(&open.session, &mut self.proven.borrow_mut()))?;
        if listing.keys.iter().any(signs) {
            self.token.saw_key();
        }
        Ok(listing)
    }

    fn generate(&self, label: &Label) -> Result<StoredKey, Error> {
        let algorithm = label.ring.algorithm();
        let text = label.to_string();
        let key = self.alone(|open| {
            // A new one for each attempt: two keys with one id could not be told apart.
            let mut id = [0; 16];
            aws_lc_rs::rand::fill(&mut id)
                .map_err(|_| Error::Device("no random octets".to_owned()))?;
            let design = Design {
                algorithm,
                rsa_bits: self.token.settings.rsa_bits,
                lasting: Some((&text, &id)),
            };
            let (public, private) = object::generate(&open.session, &design)?;
            let public = match public {
                Some(public) => object::read_public(&open.session, algorithm, public)?,
                None => None,
            };
            trial::prove(&open.session, private, algorithm, public.as_ref())?;
            let description = object::describe(&open.session, private)?;
            Ok(StoredKey {
                id: KeyId(id.into()),
                label: label.clone(),
                public,
                defects: description.defects(algorithm),
            })
        })?;
        if signs(&key) {
            self.token.saw_key();
        }
        Ok(key)
    }

    fn bury(&self, tombstone: &Tombstone) -> Result<(), Error> {
        let (name, json) = (tombstone.name(), tombstone.to_json());
        self.alone(|open| {
            let object = [
                Attribute::Class(ObjectClass::DATA),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Modifiable(false),
                Attribute::Application(listing::APPLICATION.to_vec()),
                Attribute::Label(name.clone().into_bytes()),
                Attribute::Value(json.clone()),
            ];
            open.session.create_object(&object)?;
            Ok(())
        })
    }

    fn destroy(&self, key: &KeyId) -> Result<(), Error> {
        self.alone(|open| {
            open.keys.remove(key);
            Ok(object::destroy(&open.session, key)?)
        })
    }

    fn sign(
        &self,
        key: &KeyId,
        algorithm: SignatureAlgorithm,
        input: &[u8],
    ) -> Result<Vec<u8>, Error> {
        self.with(|open| {
            let key = open.key(key, RingAlgorithm::Signature(algorithm))?;
            let signature = mechanism::sign(&open.session, key.object, algorithm, input)?;
            self.check(&key, algorithm, input, &signature)?;
            Ok(signature)
        })
    }

    fn unwrap_key(
        &self,
        key: &KeyId,
        algorithm: DecryptionAlgorithm,
        ciphertext: &[u8],
    ) -> Result<SecretBytes, Error> {
        if !matches!(
            algorithm,
            DecryptionAlgorithm::RsaOaep | DecryptionAlgorithm::RsaOaep256
        ) {
            return Err(Error::Unsupported);
        }
        self.with(|open| {
            let key = open.key(key, RingAlgorithm::Decryption(algorithm))?;
            mechanism::unwrap_key(&open.session, key.object, algorithm, ciphertext)
                .map_err(Failure::of_decryption)
        })
    }

    fn agree(&self, key: &KeyId, peer: &Peer) -> Result<SecretBytes, Error> {
        self.with(|open| {
            let key = open.key(key, RingAlgorithm::Decryption(peer.algorithm()))?;
            let z = mechanism::agree(&open.session, key.object, peer)?;
            if z.len() != peer.secret_length() {
                return Err(Error::Device("a shared secret of the wrong length".to_owned()).into());
            }
            Ok(z)
        })
    }

    fn mac(&self, key: &KeyId, input: &[u8]) -> Result<Vec<u8>, Error> {
        self.with(|open| {
            let key = open.key(key, RingAlgorithm::Mac)?;
            let mac = mechanism::mac(&open.session, key.object, input)?;
            if mac.len() == 32 {
                Ok(mac)
            } else {
                Err(Error::Device("a MAC of the wrong length".to_owned()).into())
            }
        })
    }

    fn seal(
        &self,
        key: &KeyId,
        nonce: &[u8; 12],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, Error> {
        self.with(|open| {
            let key = open.key(key, RingAlgorithm::Seal)?;
            Ok(mechanism::seal(
                &open.session,
                key.object,
                nonce,
                aad,
                plaintext,
            )?)
        })
    }

    fn unseal(
        &self,
        key: &KeyId,
        nonce: &[u8; 12],
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<SecretBytes, Error> {
        self.with(|open| {
            let key = open.key(key, RingAlgorithm::Seal)?;
            mechanism::unseal(&open.session, key.object, nonce, aad, sealed)
                .map_err(Failure::of_decryption)
        })
    }
}
