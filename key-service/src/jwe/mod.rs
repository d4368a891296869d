//! Compact JWEs (RFC 7516, RFC 7518 §4 and §5): `encrypt`ed to others, `open`ed when addressed to us, and `sealed` for
//! ourselves. `compact` is what they look like, `content` how their content is encrypted, `agreement` and `key_wrap` how
//! the key for it is had.
//!
//! Whatever is wrong with a ciphertext, the answer is one error after the same work: a content encryption key that
//! cannot be had is replaced by a random one, and the authentication tag fails (RFC 7516 §11.5, RFC 3218 §2.3.2).

mod agreement;
mod compact;
mod content;
mod encrypt;
mod key_wrap;
mod open;
mod sealed;

use std::sync::Arc;

use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::backend::{self, KeyId, SecretBytes};

pub(crate) use agreement::agree_with;
pub(crate) use encrypt::wrap;
pub use encrypt::{Recipient, encrypt};
pub use open::open;
pub use sealed::{seal, unseal};

/// Why there is no plaintext, or no ciphertext.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Whatever is wrong with the token. Deliberately says nothing more.
    #[error("decryption failed")]
    Undecryptable,
    /// The keys' home did not do its part.
    #[error(transparent)]
    Backend(#[from] backend::Error),
    /// The recipient's key is not for this algorithm.
    #[error("the key is not for this algorithm")]
    Unsupported,
}

/// A key of ours.
#[derive(Debug, Clone)]
pub struct KeyRef {
    /// Its name to the backend.
    pub id: KeyId,
    /// Its name to everybody.
    pub kid: Arc<str>,
}

/// What was in a JWE.
#[derive(Debug)]
pub struct Opened {
    /// Its plaintext, wiped when dropped.
    pub plaintext: SecretBytes,
    /// Its JOSE header as JSON.
    pub header: Vec<u8>,
}

fn random(length: usize) -> Result<SecretBytes, Error> {
    let mut octets = Zeroizing::new(vec![0; length]);
    fill(&mut octets)?;
    Ok(octets)
}

fn fill(octets: &mut [u8]) -> Result<(), Error> {
    rand::fill(octets).map_err(|_| no_random_octets())
}

fn no_random_octets() -> Error {
    backend::Error::Device("no random octets".to_owned()).into()
}
