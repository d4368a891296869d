//! The asynchronous face of the keys' home.
//!
//! A hand-off to another thread costs more than an ECDSA signature in software, so a backend that may be called by
//! many threads at once is called where the caller stands; a PKCS#11 module is called by lanes, and a home whose calls
//! wait by threads that may wait.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::watch;

use super::pool::Pool;
use super::secret::Source;
use super::{
    Error, Facts, Imported, KeyId, Label, Listing, Peer, SecretBytes, Session, StoredKey, Tombstone,
};
use super::{pkcs11, software};
use crate::algorithm::{DecryptionAlgorithm, SignatureAlgorithm};

/// What is signed and encrypted to try a key: no JWS begins with it (RFC 7515 §3.1: a base64url header).
pub(super) const CANARY: &[u8] = b"(canary)";

/// Where keys live: `[backend]` of the configuration.
#[derive(Debug, Clone, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Settings {
    /// `kind = "software"`: files that are sealed under a passphrase.
    Software(software::Settings),
    /// `kind = "pkcs11"`: a token behind a PKCS#11 module.
    Pkcs11(pkcs11::Settings),
}

impl Settings {
    /// Makes relative paths relative to `base`, the configuration file's folder.
    pub fn resolve_paths(&mut self, base: &Path) {
        match self {
            Settings::Software(settings) => {
                settings.directory = base.join(&settings.directory);
                if let Some(file) = &mut settings.passphrase_file {
                    *file = base.join(&*file);
                }
            }
            // A module is never looked for relative to anything: `open` demands an absolute path.
            Settings::Pkcs11(settings) => {
                if let Some(file) = &mut settings.pin_file {
                    *file = base.join(&*file);
                }
            }
        }
    }

    /// Where the PIN or the passphrase comes from.
    ///
    /// # Errors
    /// Not exactly one source is given.
    pub fn secret(&self) -> Result<Source, Error> {
        match self {
            Settings::Software(settings) => settings.passphrase(),
            Settings::Pkcs11(settings) => settings.pin(),
        }
    }

    /// Reads a secret that comes by a descriptor. To be called before this process opens anything that could get the
    /// number of one that was not given.
    ///
    /// # Errors
    /// There is none of that number, or nothing in it.
    pub fn take_descriptor(&self) -> Result<(), Error> {
        self.secret()?.take()
    }
}

/// Whether the device answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It does, as far as is known.
    Up,
    /// It failed, and is being brought back.
    Down,
    /// It refused the PIN, or would lock it at the next wrong one: no login before a restart.
    LockedOut,
    /// A call into the module does not end: the process has to.
    Hung,
}

impl State {
    /// All of them.
    pub const ALL: [State; 4] = [State::Up, State::Down, State::LockedOut, State::Hung];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Up => "up",
            State::Down => "down",
            State::LockedOut => "locked_out",
            State::Hung => "hung",
        }
    }
}

/// The home of the keys. Clones share it.
#[derive(Clone)]
pub struct Device {
    facts: Arc<Facts>,
    execution: Execution,
}

#[derive(Clone)]
enum Execution {
    Inline(Arc<dyn Session + Send + Sync>),
    Lanes(Arc<pkcs11::Lanes>),
    Threads(Arc<Pool>),
}

/// How a home is called that [`Device::over`] is given.
#[derive(Debug, Clone, Copy)]
pub enum Calls {
    /// Where the caller stands: each takes microseconds.
    Inline,
    /// On threads, because each may wait.
    Threads {
        /// How many are under way at once.
        at_once: NonZeroUsize,
        /// How many may wait for their turn; more are refused.
        queue: usize,
    },
}

impl Execution {
    /// Asks elsewhere, or here where that costs less.
    async fn ask<T: Send + 'static>(
        &self,
        deadline: Option<Instant>,
        ask: impl FnOnce(&dyn Session) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        match self {
            Execution::Inline(session) => ask(&**session),
            Execution::Lanes(lanes) => lanes.ask(deadline, ask).await,
            Execution::Threads(pool) => pool.ask(deadline, ask).await,
        }
    }
}

impl std::fmt::Debug for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Device")
            .field(&self.facts.description)
            .finish()
    }
}

impl Device {
    /// Opens the home of the keys and finds out what it can do. Blocks, for seconds where a passphrase is stretched.
    ///
    /// # Errors
    /// [`Error::Unusable`] with the cause and the remedy in words.
    pub fn open(settings: &Settings) -> Result<Device, Error> {
        let (facts, execution) = match settings {
            Settings::Software(settings) => {
                let directory = software::Directory::open(settings)?;
                (directory.facts(), Execution::Inline(Arc::new(directory)))
            }
            Settings::Pkcs11(settings) => {
                let (facts, lanes) = pkcs11::open(settings)?;
                (facts, Execution::Lanes(Arc::new(lanes)))
            }
        };
        Ok(Device {
            facts: Arc::new(facts),
            execution,
        })
    }

    /// A home that was opened by whoever wrote its backend.
    #[must_use]
    pub fn over(facts: Facts, session: Arc<dyn Session + Send + Sync>, calls: Calls) -> Device {
        let execution = match calls {
            Calls::Inline => Execution::Inline(session),
            Calls::Threads { at_once, queue } => {
                Execution::Threads(Arc::new(Pool::new(session, at_once, queue)))
            }
        };
        Device {
            facts: Arc::new(facts),
            execution,
        }
    }

    /// What was found out when it was opened.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether it answers.
    #[must_use]
    pub fn state(&self) -> State {
        match &self.execution {
            Execution::Inline(_) => State::Up,
            Execution::Lanes(lanes) => lanes.state(),
            Execution::Threads(pool) => pool.state(),
        }
    }

    /// Its states, as they change.
    #[must_use]
    pub fn states(&self) -> watch::Receiver<State> {
        match &self.execution {
            // Nobody holds the sender, so it never changes.
            Execution::Inline(_) => watch::channel(State::Up).1,
            Execution::Lanes(lanes) => lanes.states(),
            Execution::Threads(pool) => pool.states(),
        }
    }

    /// How many signatures it made; `None` where there is no device that could vanish.
    #[must_use]
    pub fn signatures(&self) -> Option<u64> {
        match &self.execution {
            // A home that is elsewhere does not answer for what it has not.
            Execution::Inline(_) | Execution::Threads(_) => None,
            Execution::Lanes(lanes) => Some(lanes.signatures()),
        }
    }

    /// Says which keys sign now, and which of all do or will. A copy of another key does not stay in any session.
    pub(crate) fn expect(&self, active: Vec<(KeyId, SignatureAlgorithm)>, signers: HashSet<KeyId>) {
        if let Execution::Lanes(lanes) = &self.execution {
            lanes.expect(active, signers);
        }
    }

    /// Waits until there is no copy any more of a key that does not sign; a short time at most.
    pub(crate) async fn settle(&self) {
        if let Execution::Lanes(lanes) = &self.execution {
            lanes.settle().await;
        }
    }

    /// How many requests wait for a lane.
    #[must_use]
    pub fn queue_length(&self) -> usize {
        match &self.execution {
            Execution::Inline(_) => 0,
            Execution::Lanes(lanes) => lanes.queue_length(),
            Execution::Threads(pool) => pool.queue_length(),
        }
    }

    /// A canary signature: a device may say that it is well after it has gone.
    ///
    /// # Errors
    /// When it does not sign.
    pub async fn probe(&self, key: &KeyId, algorithm: SignatureAlgorithm) -> Result<(), Error> {
        self.sign(key, algorithm, Bytes::from_static(CANARY), None)
            .await
            .map(drop)
    }

    /// See [`Session::list`].
    ///
    /// # Errors
    /// As there.
    pub async fn list(&self) -> Result<Listing, Error> {
        let listing = self.write(|session| session.list()).await?;
        // Another process may have destroyed a key.
        self.settle().await;
        Ok(listing)
    }

    /// See [`Session::generate`].
    ///
    /// # Errors
    /// As there.
    pub async fn generate(&self, label: &Label) -> Result<StoredKey, Error> {
        let label = label.clone();
        self.write(move |session| session.generate(&label)).await
    }

    /// See [`Session::bury`].
    ///
    /// # Errors
    /// As there.
    pub async fn bury(&self, tombstone: &Tombstone) -> Result<(), Error> {
        let tombstone = tombstone.clone();
        self.write(move |session| session.bury(&tombstone)).await
    }

    /// See [`Session::import`].
    ///
    /// # Errors
    /// As there.
    pub async fn import(&self, key: &Imported) -> Result<(), Error> {
        let key = key.clone();
        self.write(move |session| session.import(&key)).await
    }

    /// See [`Session::forget`].
    ///
    /// # Errors
    /// As there.
    pub async fn forget(&self, key: &Imported) -> Result<(), Error> {
        let key = key.clone();
        self.write(move |session| session.forget(&key)).await
    }

    /// See [`Session::destroy`].
    ///
    /// # Errors
    /// As there.
    pub async fn destroy(&self, key: &KeyId) -> Result<(), Error> {
        let key = key.clone();
        let destroyed = self.write(move |session| session.destroy(&key)).await;
        self.settle().await;
        destroyed
    }

    /// See [`Session::sign`]. Not asked any more when `deadline` has passed before a lane is free.
    ///
    /// # Errors
    /// As there, and [`Error::QueueFull`], [`Error::DeadlinePassed`].
    pub async fn sign(
        &self,
        key: &KeyId,
        algorithm: SignatureAlgorithm,
        input: Bytes,
        deadline: Option<Instant>,
    ) -> Result<Vec<u8>, Error> {
        match &self.execution {
            Execution::Inline(session) => session.sign(key, algorithm, &input),
            elsewhere => {
                let key = key.clone();
                elsewhere
                    .ask(deadline, move |session| {
                        session.sign(&key, algorithm, &input)
                    })
                    .await
            }
        }
    }

    /// See [`Session::unwrap_key`].
    ///
    /// # Errors
    /// As for [`Device::sign`].
    pub async fn unwrap_key(
        &self,
        key: &KeyId,
        algorithm: DecryptionAlgorithm,
        ciphertext: Vec<u8>,
        deadline: Option<Instant>,
    ) -> Result<SecretBytes, Error> {
        match &self.execution {
            Execution::Inline(session) => session.unwrap_key(key, algorithm, &ciphertext),
            elsewhere => {
                let key = key.clone();
                elsewhere
                    .ask(deadline, move |session| {
                        session.unwrap_key(&key, algorithm, &ciphertext)
                    })
                    .await
            }
        }
    }

    /// See [`Session::agree`].
    ///
    /// # Errors
    /// As for [`Device::sign`].
    pub async fn agree(
        &self,
        key: &KeyId,
        peer: Peer,
        deadline: Option<Instant>,
    ) -> Result<SecretBytes, Error> {
        match &self.execution {
            Execution::Inline(session) => session.agree(key, &peer),
            elsewhere => {
                let key = key.clone();
                elsewhere
                    .ask(deadline, move |session| session.agree(&key, &peer))
                    .await
            }
        }
    }

    /// See [`Session::mac`].
    ///
    /// # Errors
    /// As for [`Device::sign`].
    pub async fn mac(
        &self,
        key: &KeyId,
        input: Bytes,
        deadline: Option<Instant>,
    ) -> Result<Vec<u8>, Error> {
        match &self.execution {
            Execution::Inline(session) => session.mac(key, &input),
            elsewhere => {
                let key = key.clone();
                elsewhere
                    .ask(deadline, move |session| session.mac(&key, &input))
                    .await
            }
        }
    }

    /// See [`Session::seal`].
    ///
    /// # Errors
    /// As for [`Device::sign`].
    pub async fn seal(
        &self,
        key: &KeyId,
        nonce: [u8; 12],
        aad: Vec<u8>,
        plaintext: SecretBytes,
        deadline: Option<Instant>,
    ) -> Result<Vec<u8>, Error> {
        match &self.execution {
            Execution::Inline(session) => session.seal(key, &nonce, &aad, &plaintext),
            elsewhere => {
                let key = key.clone();
                elsewhere
                    .ask(deadline, move |session| {
                        session.seal(&key, &nonce, &aad, &plaintext)
                    })
                    .await
            }
        }
    }

    /// See [`Session::unseal`].
    ///
    /// # Errors
    /// As for [`Device::sign`].
    pub async fn unseal(
        &self,
        key: &KeyId,
        nonce: [u8; 12],
        aad: Vec<u8>,
        sealed: Vec<u8>,
        deadline: Option<Instant>,
    ) -> Result<SecretBytes, Error> {
        match &self.execution {
            Execution::Inline(session) => session.unseal(key, &nonce, &aad, &sealed),
            elsewhere => {
                let key = key.clone();
                elsewhere
                    .ask(deadline, move |session| {
                        session.unseal(&key, &nonce, &aad, &sealed)
                    })
                    .await
            }
        }
    }

    /// Slow and rare: never on a thread that serves requests, and one at a time on a token.
    async fn write<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Session) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        match &self.execution {
            Execution::Inline(session) => {
                let session = Arc::clone(session);
                tokio::task::spawn_blocking(move || ask(&*session))
                    .await
                    .unwrap_or_else(|_| Err(Error::Device("a panic in the backend".to_owned())))
            }
            Execution::Lanes(lanes) => lanes.write(ask).await,
            Execution::Threads(pool) => pool.ask(None, ask).await,
        }
    }
}
