//! Encryption to somebody else's public key: RSAES-OAEP with `rsa`, ECDH-ES with `p256`. No key of ours takes part.

use getrandom::SysRng;
use p256::ecdh::EphemeralSecret;
use p256::elliptic_curve::Generate as _;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use rsa::Oaep;
use rsa::traits::PaddingScheme as _;
use sha1::Sha1;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::compact::{EphemeralKey, Written, finish};
use super::{Error, concat_kdf, no_random_octets, random};
use crate::algorithm::{ContentEncryption, KeyManagementAlgorithm};
use crate::backend::{Curve, PublicKey, SecretBytes};
use crate::jwk::{self, Jwk};

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
    let public = jwk::rsa_key(n, e).map_err(|_| Error::Unsupported)?;
    let wrapped = match algorithm {
        KeyManagementAlgorithm::RsaOaep => Oaep::<Sha1>::new().encrypt(&mut SysRng, &public, cek),
        KeyManagementAlgorithm::RsaOaep256 => {
            Oaep::<Sha256>::new().encrypt(&mut SysRng, &public, cek)
        }
        KeyManagementAlgorithm::EcdhEs => return Err(Error::Unsupported),
    };
    wrapped.map_err(|error| match error {
        rsa::Error::Rng => no_random_octets(),
        _ => Error::Unsupported,
    })
}

/// The sender's side of ECDH-ES (RFC 7518 §4.6): a fresh point, and the secret that it shares with the recipient.
pub(crate) fn agree_with(x: &[u8], y: &[u8]) -> Result<(Vec<u8>, SecretBytes), Error> {
    let peer =
        p256::PublicKey::from_sec1_bytes(&[&[4], x, y].concat()).map_err(|_| Error::Unsupported)?;
    let ephemeral =
        EphemeralSecret::try_generate_from_rng(&mut SysRng).map_err(|_| no_random_octets())?;
    let public = ephemeral.public_key().to_sec1_point(false);
    let z = ephemeral.diffie_hellman(&peer);
    Ok((
        public.as_bytes().to_vec(),
        Zeroizing::new(z.raw_secret_bytes().to_vec()),
    ))
}
