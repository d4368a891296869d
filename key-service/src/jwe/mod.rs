//! Compact JWEs (RFC 7516, RFC 7518 §4 and §5): `encrypt`ed to others, `open`ed when addressed to us, and `sealed` for
//! ourselves. `compact` is what they look like.
//!
//! Whatever is wrong with a ciphertext, the answer is one error after the same work: a content encryption key that
//! cannot be had is replaced by a random one, and the authentication tag fails (RFC 7516 §11.5, RFC 3218 §2.3.2).

mod compact;
mod encrypt;
mod open;
mod sealed;

use std::sync::Arc;

use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::algorithm::ContentEncryption;
use crate::backend::{self, KeyId, SecretBytes};

pub use encrypt::encrypt;
pub(crate) use encrypt::{agree_with, wrap};
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

/// Concat KDF (RFC 7518 §4.6.2) for direct agreement; one round of SHA-256 is enough for either length.
fn concat_kdf(z: &[u8], encryption: ContentEncryption, apu: &[u8], apv: &[u8]) -> SecretBytes {
    let mut context = digest::Context::new(&SHA256);
    context.update(&1u32.to_be_bytes());
    context.update(z);
    for field in [encryption.as_str().as_bytes(), apu, apv] {
        context.update(&length_u32(field.len()).to_be_bytes());
        context.update(field);
    }
    context.update(&length_u32(encryption.key_length() * 8).to_be_bytes());
    Zeroizing::new(context.finish().as_ref()[..encryption.key_length()].to_vec())
}

fn length_u32(length: usize) -> u32 {
    u32::try_from(length).expect("a header's length is bounded")
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;

    use super::*;

    #[test]
    fn the_key_of_rfc_7518_c_is_derived() {
        let z = [
            158, 86, 217, 29, 129, 113, 53, 211, 114, 131, 66, 131, 191, 132, 38, 156, 251, 49,
            110, 163, 218, 128, 106, 72, 246, 218, 167, 121, 140, 254, 144, 196,
        ];
        let cek = concat_kdf(&z, ContentEncryption::A128Gcm, b"Alice", b"Bob");
        assert_eq!(URL_SAFE_NO_PAD.encode(cek), "VqqN6vgjbSBcIijNcacQGg");
    }
}
