//! Encryption to others: to a public key of theirs (RSAES-OAEP with `rsa`, ECDH-ES), or under the secret that they share
//! with us. No key of ours takes part.

use getrandom::SysRng;
use rsa::Oaep;
use rsa::traits::PaddingScheme as _;
use sha1::Sha1;
use sha2::Sha256;

use super::agreement::{agree_with, concat_kdf};
use super::compact::{EphemeralKey, Written, compact, encode};
use super::key_wrap::{Use, Wrapped, content_key, of_secret};
use super::{Error, content, no_random_octets, random};
use crate::algorithm::{ContentEncryption, KeyManagementAlgorithm};
use crate::backend::{Peer, PublicKey, SecretBytes};
use crate::jwk::{self, Jwk};

/// To whom something is encrypted, and how. It exists where the key is for the algorithm.
pub struct Recipient {
    key: Key,
    algorithm: KeyManagementAlgorithm,
    encryption: ContentEncryption,
    kid: Option<String>,
    cty: Option<String>,
}

enum Key {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    Agreement(Peer),
    Secret(SecretBytes),
}

impl Recipient {
    /// Somebody with a public key.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when the key, or its owner's word about it, is not for `algorithm`.
    pub fn public(
        jwk: Jwk,
        algorithm: KeyManagementAlgorithm,
        encryption: ContentEncryption,
    ) -> Result<Recipient, Error> {
        if !jwk.may_encrypt(algorithm) {
            return Err(Error::Unsupported);
        }
        let key = match jwk.public {
            PublicKey::Rsa { n, e } => Key::Rsa { n, e },
            other => Key::Agreement(Peer::of(&other).ok_or(Error::Unsupported)?),
        };
        Ok(Recipient {
            key,
            algorithm,
            encryption,
            kid: jwk.kid,
            cty: None,
        })
    }

    /// A client that shares this secret with us (OpenID Connect Core §10.2).
    ///
    /// # Errors
    /// [`Error::Unsupported`] when `algorithm` is for public keys.
    pub fn secret(
        secret: &[u8],
        algorithm: KeyManagementAlgorithm,
        encryption: ContentEncryption,
    ) -> Result<Recipient, Error> {
        if !algorithm.is_symmetric() {
            return Err(Error::Unsupported);
        }
        let length = Use::of(algorithm, encryption).key_length();
        Ok(Recipient {
            key: Key::Secret(of_secret(secret, length)),
            algorithm,
            encryption,
            kid: None,
            cty: None,
        })
    }

    /// With "cty": `JWT` where a JWT is nested (RFC 7519 §5.2).
    #[must_use]
    pub fn with_content_type(self, cty: &str) -> Recipient {
        Recipient {
            cty: Some(cty.to_owned()),
            ..self
        }
    }
}

/// Encrypts to somebody else.
///
/// # Errors
/// [`Error::Unsupported`] when the key turns out to be unusable, and the backend's own where there is no randomness.
pub fn encrypt(recipient: &Recipient, plaintext: &[u8]) -> Result<String, Error> {
    let (algorithm, encryption) = (recipient.algorithm, recipient.encryption);
    let mut header = Written::new(algorithm, encryption);
    header.kid = recipient.kid.as_deref();
    header.cty = recipient.cty.as_deref();
    let how = Use::of(algorithm, encryption);
    let wrapped = match &recipient.key {
        Key::Rsa { n, e } => {
            let cek = random(encryption.key_length())?;
            let encrypted_key = wrap(algorithm, n, e, &cek)?;
            Wrapped {
                cek,
                encrypted_key,
                gcm: None,
            }
        }
        Key::Agreement(peer) => {
            let agreed = agree_with(peer)?;
            header.epk = Some(EphemeralKey::of(&agreed.epk));
            let purpose = purpose(algorithm, encryption);
            let key = concat_kdf(&agreed.z, purpose, how.key_length(), b"", b"");
            content_key(how, key, encryption)?
        }
        Key::Secret(key) => content_key(how, key.clone(), encryption)?,
    };
    if let Some((iv, tag)) = &wrapped.gcm {
        header.iv = Some(encode(iv));
        header.tag = Some(encode(tag));
    }
    let protected = header.to_base64url();
    let content = content::encrypt(encryption, &wrapped.cek, protected.as_bytes(), plaintext)?;
    Ok(compact(&protected, &wrapped.encrypted_key, &content))
}

/// AlgorithmID of the Concat KDF (RFC 7518 §4.6.2).
pub(super) fn purpose(
    algorithm: KeyManagementAlgorithm,
    encryption: ContentEncryption,
) -> &'static str {
    match algorithm {
        KeyManagementAlgorithm::EcdhEs => encryption.as_str(),
        _ => algorithm.as_str(),
    }
}

/// RSAES-OAEP (RFC 7518 §4.3).
pub(crate) fn wrap(
    algorithm: KeyManagementAlgorithm,
    n: &[u8],
    e: &[u8],
    cek: &[u8],
) -> Result<Vec<u8>, Error> {
    let public = jwk::rsa_key(n, e).map_err(|_| Error::Unsupported)?;
    let wrapped = match algorithm {
        KeyManagementAlgorithm::RsaOaep => Oaep::<Sha1>::new().encrypt(&mut SysRng, &public, cek),
        KeyManagementAlgorithm::RsaOaep256 => {
            Oaep::<Sha256>::new().encrypt(&mut SysRng, &public, cek)
        }
        _ => return Err(Error::Unsupported),
    };
    wrapped.map_err(|error| match error {
        rsa::Error::Rng => no_random_octets(),
        _ => Error::Unsupported,
    })
}
