//! Where key material lives: one trait, one folder for each kind of home, one contract test for all of them.
//!
//! A backend is blocking and knows nothing of rings, policy or JOSE headers. [`Device`] gives the rest of the
//! service an asynchronous face: it calls a backend inline where that costs less than a hand-off (software),
//! through lanes, threads that each own one session (PKCS#11), or on threads that may wait (a remote home).
//! How to write one is in `README.md` beside this file.

mod device;
pub mod examination;
mod imported;
mod peer;
pub mod pkcs11;
mod pool;
mod record;
mod rsa_bits;
pub mod secret;
pub mod software;

use std::fmt;
use std::sync::Arc;

use zeroize::Zeroizing;

use crate::algorithm::{DecryptionAlgorithm, RingAlgorithm, RingName, SignatureAlgorithm};

pub use device::{Calls, Device, Settings, State};
pub use imported::Imported;
pub use peer::{Peer, Point};
pub use rsa_bits::RsaBits;

/// The kinds of home there are: [`Facts::kind`].
pub const KINDS: [&str; 2] = ["software", "pkcs11"];

/// The longest note on a tombstone, in characters.
pub(crate) const LONGEST_NOTE: usize = 256;

/// Octets that are wiped when dropped.
pub type SecretBytes = Zeroizing<Vec<u8>>;

/// Names a key to the backend that holds it: random, made with the key (CKA_ID in PKCS#11).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub Arc<[u8]>);

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

/// The immutable facts that are written with a key: `k1/<purpose>/<alg>/<generation>/<created>`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Label {
    /// The ring that the key belongs to.
    pub ring: RingName,
    /// 1 for the ring's first key.
    pub generation: u64,
    /// By when every replica sees it, and its lead begins: seconds since 1970-01-01T00:00:00Z.
    pub created: i64,
}

/// A public key as it comes from the device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PublicKey {
    /// Big-endian, without leading zeros.
    Rsa {
        /// The modulus.
        n: Vec<u8>,
        /// The public exponent.
        e: Vec<u8>,
    },
    /// Coordinates padded to the length of the field.
    Ec {
        /// On which curve.
        curve: Curve,
        /// The first coordinate.
        x: Vec<u8>,
        /// The second coordinate.
        y: Vec<u8>,
    },
    /// RFC 8037.
    Ed25519 {
        /// The public key, 32 octets.
        x: [u8; 32],
    },
    /// RFC 8037, for key agreement alone.
    X25519 {
        /// The public key, 32 octets.
        x: [u8; 32],
    },
}

/// The curves of RFC 7518 §6.2.1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Curve {
    /// secp256r1.
    P256,
    /// secp384r1.
    P384,
    /// secp521r1.
    P521,
}

/// A key that a backend holds.
#[derive(Debug, Clone)]
pub struct StoredKey {
    /// How to name it to the backend.
    pub id: KeyId,
    /// What was written with it.
    pub label: Label,
    /// `None` for a secret key.
    pub public: Option<PublicKey>,
    /// What is wrong with its attributes (HS-01): such a key is never used. Empty: nothing.
    pub defects: Vec<&'static str>,
}

/// What can be wrong with the attributes that a token keeps of a key: it was made or changed by somebody else, who may
/// have a copy of it or use it for something else (HS-01).
pub(crate) mod weakness {
    pub(crate) const KEY_TYPE: &str = "of another key type";
    pub(crate) const NOT_LOCAL: &str = "not made in the token";
    pub(crate) const NOT_SENSITIVE: &str = "not sensitive";
    pub(crate) const NOT_ALWAYS_SENSITIVE: &str = "not always sensitive";
    pub(crate) const EXTRACTABLE: &str = "extractable";
    pub(crate) const WAS_EXTRACTABLE: &str = "was extractable";
    pub(crate) const USAGE: &str = "not of exactly the usage of its ring";

    /// All there are.
    pub(crate) const ALL: [&str; 7] = [
        KEY_TYPE,
        NOT_LOCAL,
        NOT_SENSITIVE,
        NOT_ALWAYS_SENSITIVE,
        EXTRACTABLE,
        WAS_EXTRACTABLE,
        USAGE,
    ];
}

/// Why a key was withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TombstoneReason {
    /// Withdrawn for good.
    Revoked,
    /// Withdrawn until enabled.
    Disabled,
    /// Published again, for verification only.
    Enabled,
    /// Appeared later than replicas may differ.
    Late,
    /// The material is gone.
    Destroyed,
}

/// An append-only note about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tombstone {
    /// RFC 7638 thumbprint of the key.
    pub kid: String,
    /// Its ring.
    pub ring: RingName,
    /// Its generation.
    pub generation: u64,
    /// Its creation: seconds since 1970-01-01T00:00:00Z.
    pub created: i64,
    /// Why.
    pub reason: TombstoneReason,
    /// When: seconds since 1970-01-01T00:00:00Z.
    pub at: i64,
    /// Whether the key had ever been the active one.
    pub was_active: bool,
    /// The operator's words, printable, at most 256 characters.
    pub note: String,
}

/// Everything of ours that a backend holds.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Keys with a label of ours.
    pub keys: Vec<StoredKey>,
    /// In no particular order.
    pub tombstones: Vec<Tombstone>,
    /// Others' public keys that were brought here, in no particular order.
    pub imported: Vec<Imported>,
    /// Objects with a label of ours that could not be understood, for the log.
    pub strange: Vec<String>,
}

/// What a backend is and can do, found out when it was opened.
#[derive(Debug, Clone)]
pub struct Facts {
    /// `software` or `pkcs11`.
    pub kind: &'static str,
    /// Module, token and serial number, or directory: for a person.
    pub description: String,
    /// Where a key lives, in a few words for a person: `SoftHSM token "signet"`.
    pub location: String,
    /// What its keys can compute. A ring of another algorithm is refused at start-up.
    pub algorithms: Vec<RingAlgorithm>,
    /// What it cannot do although JOSE has it, and why: said at start-up.
    pub gaps: Vec<String>,
}

/// Why a backend did not do what it was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The token is not there, the PIN is wrong, a file cannot be read …: says what and the remedy.
    #[error("{0}")]
    Unusable(String),
    /// The device failed, or is not there at the moment.
    #[error("the device failed: {0}")]
    Device(String),
    /// The key is not in the device (any more).
    #[error("no such key in the device")]
    NoSuchKey,
    /// Decryption failed. Deliberately says nothing more.
    #[error("decryption failed")]
    Undecryptable,
    /// The device cannot do this.
    #[error("not supported by this backend")]
    Unsupported,
    /// Every lane is busy and the queue is full.
    #[error("the queue is full")]
    QueueFull,
    /// The caller's deadline passed before the device was asked.
    #[error("the deadline passed in the queue")]
    DeadlinePassed,
}

/// One conversation with the home of the keys. Blocking. Used by one thread at a time unless it is `Sync`.
pub trait Session {
    /// All keys and tombstones of ours.
    fn list(&self) -> Result<Listing, Error>;

    /// Makes a key that cannot leave, with its label, in one step.
    fn generate(&self, label: &Label) -> Result<StoredKey, Error>;

    /// Writes a tombstone; durable when this returns.
    fn bury(&self, tombstone: &Tombstone) -> Result<(), Error>;

    /// Keeps somebody else's public key; durable when this returns.
    fn import(&self, key: &Imported) -> Result<(), Error>;

    /// Deletes what `import` kept, every copy of it. What is gone already needs no deletion.
    fn forget(&self, key: &Imported) -> Result<(), Error>;

    /// Deletes a key's material. What is gone already needs no deletion.
    fn destroy(&self, key: &KeyId) -> Result<(), Error>;

    /// Signs `input` (not a digest) as JWS wants it: ECDSA as r‖s (RFC 7518 §3.4), RSA as long as the modulus.
    fn sign(
        &self,
        key: &KeyId,
        algorithm: SignatureAlgorithm,
        input: &[u8],
    ) -> Result<Vec<u8>, Error>;

    /// RSAES-OAEP; hash and MGF are the algorithm's. `Error::Undecryptable` for whatever is wrong with the ciphertext.
    fn unwrap_key(
        &self,
        key: &KeyId,
        algorithm: DecryptionAlgorithm,
        ciphertext: &[u8],
    ) -> Result<SecretBytes, Error>;

    /// ECDH: the first coordinate of the shared point (RFC 7518 §4.6), or what X25519 gives (RFC 8037 §3.2).
    fn agree(&self, key: &KeyId, peer: &Peer) -> Result<SecretBytes, Error>;

    /// HMAC with SHA-256: 32 octets.
    fn mac(&self, key: &KeyId, input: &[u8]) -> Result<Vec<u8>, Error>;

    /// AES-256-GCM with a nonce of 96 bits: ciphertext ‖ tag.
    fn seal(
        &self,
        key: &KeyId,
        nonce: &[u8; 12],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, Error>;

    /// The reverse of `seal`.
    fn unseal(
        &self,
        key: &KeyId,
        nonce: &[u8; 12],
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<SecretBytes, Error>;
}
