//! Encryption to somebody else's public key.

use aws_lc_rs::agreement::{self, ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey,
    PublicKeyComponents,
};
use zeroize::Zeroizing;

use super::compact::{EphemeralKey, Written, finish};
use super::{Error, concat_kdf, random};
use crate::algorithm::{ContentEncryption, KeyManagementAlgorithm};
use crate::backend::{Curve, PublicKey, SecretBytes};
use crate::jwk::Jwk;

/// Encrypts to somebody else's public key. "cty" is `JWT` where a JWT is nested (RFC 7519 §5.2).
///
/// # Errors
/// [`Error::Unsupported`] when the key is not for `algorithm`.
pub fn encrypt(
    recipient: &Jwk,
    algorithm: KeyManagementAlgorithm,
    encryption: ContentEncryption,
    cty: Option<&str>,
    plaintext: &[u8],
) -> Result<String, Error> {
    if !recipient.may_encrypt(algorithm) {
        return Err(Error::Unsupported);
    }
    let (cek, encrypted_key, epk) = match (algorithm, &recipient.public) {
        (
            KeyManagementAlgorithm::EcdhEs,
            PublicKey::Ec {
                curve: Curve::P256,
                x,
                y,
            },
        ) => {
            let (epk, z) = agree_with(x, y)?;
            let epk = EphemeralKey::of(&epk);
            (concat_kdf(&z, encryption, b"", b""), Vec::new(), Some(epk))
        }
        (
            KeyManagementAlgorithm::RsaOaep | KeyManagementAlgorithm::RsaOaep256,
            PublicKey::Rsa { n, e },
        ) => {
            let cek = random(encryption.key_length())?;
            let encrypted_key = wrap(algorithm, n, e, &cek)?;
            (cek, encrypted_key, None)
        }
        _ => return Err(Error::Unsupported),
    };
    let protected = Written {
        alg: algorithm.as_str(),
        enc: encryption.as_str(),
        kid: recipient.kid.as_deref(),
        cty,
        epk,
        ctx: None,
    }
    .to_base64url();
    finish(&protected, &encrypted_key, encryption, &cek, plaintext)
}

/// RSAES-OAEP (RFC 7518 §4.3).
pub(crate) fn wrap(
    algorithm: KeyManagementAlgorithm,
    n: &[u8],
    e: &[u8],
    cek: &[u8],
) -> Result<Vec<u8>, Error> {
    let scheme = match algorithm {
        KeyManagementAlgorithm::RsaOaep => &OAEP_SHA1_MGF1SHA1,
        _ => &OAEP_SHA256_MGF1SHA256,
    };
    let public: PublicEncryptingKey = PublicKeyComponents { n, e }.try_into()?;
    let public = OaepPublicEncryptingKey::new(public)?;
    let mut ciphertext = vec![0; public.ciphertext_size()];
    let length = public.encrypt(scheme, cek, &mut ciphertext, None)?.len();
    ciphertext.truncate(length);
    Ok(ciphertext)
}

/// The sender's side of ECDH-ES (RFC 7518 §4.6): a fresh point, and the secret that it shares with the recipient.
pub(crate) fn agree_with(x: &[u8], y: &[u8]) -> Result<(Vec<u8>, SecretBytes), Error> {
    let ephemeral = EphemeralPrivateKey::generate(&ECDH_P256, &SystemRandom::new())?;
    let public = ephemeral.compute_public_key()?.as_ref().to_vec();
    let peer = UnparsedPublicKey::new(&ECDH_P256, [&[4], x, y].concat());
    let z = agreement::agree_ephemeral(ephemeral, peer, Error::Unsupported, |z| {
        Ok(Zeroizing::new(z.to_vec()))
    })?;
    Ok((public, z))
}
