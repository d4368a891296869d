//! One conversation with a token: a session, the handles of the keys that it has used, and one more attempt when the
//! token has forgotten either.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use cryptoki::error::Error as ModuleError;

use super::error::{Class, Failure, class, is_fleeting, is_session_gone};
use super::object::{self, Design};
use super::open::{Open, Signed};
use super::patience::patiently;
use super::token::{Token, close};
use super::watchdog::Pulse;
use super::{announce, listing, mechanism, trial};
use crate::algorithm::{DecryptionAlgorithm, RingAlgorithm, SignatureAlgorithm};
use crate::backend::device::CANARY;
use crate::backend::{
    Error, Imported, KeyId, Label, Listing, Peer, SecretBytes, Session, StoredKey, Tombstone,
};

/// One in so many ECDSA and EdDSA signatures is verified, and every canary; every RSA signature is.
const SAMPLE: u32 = 64;

/// A conversation. It opens its session when it first needs one.
pub(super) struct Conversation {
    token: Arc<Token>,
    pulse: Arc<Pulse>,
    open: RefCell<Option<Open>>,
    signatures: Cell<u32>,
    proven: RefCell<listing::Proven>,
}

impl Conversation {
    pub(super) fn new(token: &Arc<Token>, pulse: &Arc<Pulse>) -> Conversation {
        Conversation {
            token: Arc::clone(token),
            pulse: Arc::clone(pulse),
            open: RefCell::new(None),
            signatures: Cell::new(0),
            proven: RefCell::default(),
        }
    }

    /// Calls the module, and once more in a new session when the first answer was about the session or the device.
    fn with<T>(&self, ask: impl Fn(&mut Open) -> Result<T, Failure>) -> Result<T, Error> {
        match self.twice(&ask) {
            Err(Failure::Module(error)) if class(&error) == Class::Device => {
                Err(self.trip(&error.to_string()))
            }
            other => self.settle(other),
        }
    }

    fn twice<T>(&self, ask: impl Fn(&mut Open) -> Result<T, Failure>) -> Result<T, Failure> {
        match self.attempt(&ask) {
            Err(Failure::Module(error)) if class(&error) != Class::Refused => {
                self.renew(&error);
                self.attempt(&ask)
            }
            other => other,
        }
    }

    /// A no of the token's: is it still there? It is asked after every failed decryption too, whatever that was said to
    /// be, so that all of them take the same time.
    fn settle<T>(&self, outcome: Result<T, Failure>) -> Result<T, Error> {
        match outcome {
            Err(
                failure @ (Failure::Module(_)
                | Failure::Final(Error::NoSuchKey | Error::Undecryptable)),
            ) => match self.canary() {
                Ok(()) => Err(failure.into()),
                Err(silent) => Err(self.trip(&Error::from(silent).to_string())),
            },
            other => other.map_err(Error::from),
        }
    }

    fn canary(&self) -> Result<(), Failure> {
        let ask = |open: &mut Open| self.token.canary(open);
        match self.attempt(ask) {
            Err(Failure::Module(error)) if class(&error) == Class::Session => {
                self.renew(&error);
                self.attempt(ask)
            }
            other => other,
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
            *open = Some(Open::new(self.token.session(world.slot)?, world.epoch));
        }
        ask(open.as_mut().expect("it was opened above"))
    }

    /// Lets the session go that a call failed in.
    fn renew(&self, failed: &ModuleError) {
        tracing::warn!(error = %failed, "the token refused a session: trying a new one");
        if is_session_gone(failed) {
            self.open.take();
        } else {
            self.end();
        }
    }

    fn trip(&self, cause: &str) -> Error {
        self.token.trip(cause);
        Error::Device(cause.to_owned())
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

    /// Lets go of handles and copies that are not to be used any more.
    pub(super) fn revise(&self) {
        let Ok(world) = self.token.enter() else {
            // Copies end with their sessions, before anybody uses the token again.
            return;
        };
        let mut open = self.open.borrow_mut();
        let is_clean = match open.as_mut().filter(|open| open.epoch == world.epoch) {
            Some(open) => open.revise(&self.token.copies),
            None => true,
        };
        drop(open);
        drop(world);
        if !is_clean {
            tracing::warn!("a copy of a key was not destroyed: its session ends");
            self.end();
        }
    }

    /// Whether the next signature is verified.
    fn samples(&self, input: &[u8]) -> bool {
        let count = self.signatures.get();
        self.signatures.set(count.wrapping_add(1));
        count.is_multiple_of(SAMPLE) || input == CANARY
    }
}

impl Drop for Conversation {
    fn drop(&mut self) {
        self.end();
    }
}

/// Whether a canary can be had of it.
fn signs(key: &StoredKey) -> bool {
    key.defects.is_empty() && matches!(key.label.ring.algorithm(), RingAlgorithm::Signature(_))
}

impl Session for Conversation {
    fn list(&self) -> Result<Listing, Error> {
        let listing = self.alone(|open| {
            let mut proven = self.proven.borrow_mut();
            let listing = listing::read(&open.session, &mut open.others, &mut proven)?;
            self.token.copies.measure(open, &listing.keys);
            Ok(listing)
        })?;
        if listing.keys.iter().any(signs) {
            self.token.shows_keys(true);
        } else if listing.keys.is_empty() && self.token.had_keys() {
            // Some modules go on listing what is no longer there: nothing. That is no news for relying parties.
            return Err(self.trip(Token::VANISHED));
        }
        self.token.copies.listed(&listing.keys);
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
            open.others.forget((public, private));
            let proven = || -> Result<StoredKey, Failure> {
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
            };
            let id = KeyId(id.into());
            proven().inspect_err(|_| {
                // What does not compute is not left behind; where it is, a listing will find what is wrong with it.
                let _ = object::destroy(&open.session, &id);
            })
        })?;
        if signs(&key) {
            self.token.shows_keys(true);
        }
        announce::soon(&self.token);
        Ok(key)
    }

    fn bury(&self, tombstone: &Tombstone) -> Result<(), Error> {
        let (name, json) = (tombstone.name(), tombstone.to_json());
        self.alone(|open| Ok(object::write(&open.session, &name, &json)?))?;
        announce::soon(&self.token);
        Ok(())
    }

    fn import(&self, key: &Imported) -> Result<(), Error> {
        let (name, json) = (key.name(), key.to_json());
        self.alone(|open| Ok(object::write(&open.session, &name, &json)?))?;
        announce::soon(&self.token);
        Ok(())
    }

    fn forget(&self, key: &Imported) -> Result<(), Error> {
        let name = key.name();
        self.alone(|open| Ok(object::erase(&open.session, &name)?))?;
        announce::soon(&self.token);
        Ok(())
    }

    fn destroy(&self, key: &KeyId) -> Result<(), Error> {
        // First, so that no lane makes a copy of what is about to go.
        self.token.copies.destroyed(key);
        self.alone(|open| Ok(object::destroy(&open.session, key)?))?;
        // It may have been the last one: the next listing says.
        self.token.shows_keys(false);
        announce::soon(&self.token);
        Ok(())
    }

    fn sign(
        &self,
        key: &KeyId,
        algorithm: SignatureAlgorithm,
        input: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let is_sampled = self.samples(input);
        let signed = self.with(|open| {
            let key = open.key(key, RingAlgorithm::Signature(algorithm), &self.token.copies)?;
            key.sign(&open.session, algorithm, input, is_sampled)
        })?;
        match signed {
            Signed::Right(signature) => {
                self.pulse.signed();
                Ok(signature)
            }
            Signed::Wrong => Err(self.trip(Signed::WRONG)),
        }
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
            let key = open.key(
                key,
                RingAlgorithm::Decryption(algorithm),
                &self.token.copies,
            )?;
            mechanism::unwrap_key(&open.session, key.object, algorithm, ciphertext)
                .map_err(Failure::of_decryption)
        })
    }

    fn agree(&self, key: &KeyId, peer: &Peer) -> Result<SecretBytes, Error> {
        // The point is a stranger's: what a token says of it is no reason to stop the signing.
        self.settle(self.twice(|open| {
            let key = open.key(
                key,
                RingAlgorithm::Decryption(peer.algorithm()),
                &self.token.copies,
            )?;
            let z = mechanism::agree(&open.session, key.object, peer)?;
            if z.len() != peer.secret_length() {
                return Err(Error::Device("a shared secret of the wrong length".to_owned()).into());
            }
            Ok(z)
        }))
    }

    fn mac(&self, key: &KeyId, input: &[u8]) -> Result<Vec<u8>, Error> {
        self.with(|open| {
            let key = open.key(key, RingAlgorithm::Mac, &self.token.copies)?;
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
            let key = open.key(key, RingAlgorithm::Seal, &self.token.copies)?;
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
            let key = open.key(key, RingAlgorithm::Seal, &self.token.copies)?;
            mechanism::unseal(&open.session, key.object, nonce, aad, sealed)
                .map_err(Failure::of_decryption)
        })
    }
}
