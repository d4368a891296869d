//! Keys under keys: AES Key Wrap (RFC 7518 §4.4, RFC 3394) and AES-GCM (§4.7) around a content encryption key, and the
//! symmetric key that is made of a client's secret (OpenID Connect Core §10.2).

use aes_kw::{KeyInit, KwAes128, KwAes192, KwAes256};
use aws_lc_rs::digest::{SHA256, SHA384, SHA512, digest};
use zeroize::Zeroizing;

use super::content::{self, Encrypted};
use super::{Error, random};
use crate::algorithm::{ContentEncryption, KeyManagementAlgorithm};
use crate::backend::SecretBytes;

/// What AES Key Wrap adds, in octets.
pub(super) const INTEGRITY: usize = 8;

/// What is done with a symmetric key, and how long it is, in octets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// It is the content encryption key.
    Direct(usize),
    /// It wraps one with AES Key Wrap.
    Wrap(usize),
    /// It wraps one with AES-GCM.
    GcmWrap(ContentEncryption),
}

impl Use {
    /// Of the key that is shared or agreed on. RSAES-OAEP has none, and counts as the first kind.
    pub(super) fn of(algorithm: KeyManagementAlgorithm, encryption: ContentEncryption) -> Use {
        use KeyManagementAlgorithm as Alg;
        match algorithm {
            Alg::RsaOaep | Alg::RsaOaep256 | Alg::Dir | Alg::EcdhEs => {
                Use::Direct(encryption.key_length())
            }
            Alg::A128Kw | Alg::EcdhEsA128Kw => Use::Wrap(16),
            Alg::A192Kw | Alg::EcdhEsA192Kw => Use::Wrap(24),
            Alg::A256Kw | Alg::EcdhEsA256Kw => Use::Wrap(32),
            Alg::A128GcmKw => Use::GcmWrap(ContentEncryption::A128Gcm),
            Alg::A192GcmKw => Use::GcmWrap(ContentEncryption::A192Gcm),
            Alg::A256GcmKw => Use::GcmWrap(ContentEncryption::A256Gcm),
        }
    }

    pub(super) fn key_length(self) -> usize {
        match self {
            Use::Direct(length) | Use::Wrap(length) => length,
            Use::GcmWrap(gcm) => gcm.key_length(),
        }
    }
}

/// A content encryption key, and how it reaches the recipient.
pub(super) struct Wrapped {
    pub(super) cek: SecretBytes,
    /// Empty where the recipient has the key already.
    pub(super) encrypted_key: Vec<u8>,
    /// "iv" and "tag" of AES-GCM (RFC 7518 §4.7.1).
    pub(super) gcm: Option<(Vec<u8>, Vec<u8>)>,
}

/// From a symmetric key that the recipient has too.
pub(super) fn content_key(
    how: Use,
    key: SecretBytes,
    encryption: ContentEncryption,
) -> Result<Wrapped, Error> {
    match how {
        Use::Direct(_) => Ok(Wrapped {
            cek: key,
            encrypted_key: Vec::new(),
            gcm: None,
        }),
        Use::Wrap(_) => {
            let cek = random(encryption.key_length())?;
            let encrypted_key = wrap(&key, &cek).ok_or(Error::Unsupported)?;
            Ok(Wrapped {
                cek,
                encrypted_key,
                gcm: None,
            })
        }
        Use::GcmWrap(gcm) => {
            let cek = random(encryption.key_length())?;
            let Encrypted {
                iv,
                ciphertext,
                tag,
            } = content::encrypt(gcm, &key, b"", &cek)?;
            Ok(Wrapped {
                cek,
                encrypted_key: ciphertext,
                gcm: Some((iv, tag)),
            })
        }
    }
}

/// The symmetric key of a client's secret: the left part of the shortest SHA-2 hash of it that is long enough
/// (OpenID Connect Core §10.2).
pub(super) fn of_secret(secret: &[u8], length: usize) -> SecretBytes {
    let hash = match length {
        0..=32 => &SHA256,
        33..=48 => &SHA384,
        _ => &SHA512,
    };
    Zeroizing::new(digest(hash, secret).as_ref()[..length].to_vec())
}

/// AES Key Wrap; `None` for a key of a length that AES does not have.
fn wrap(kek: &[u8], cek: &[u8]) -> Option<Vec<u8>> {
    let mut wrapped = vec![0; cek.len() + INTEGRITY];
    match kek.len() {
        16 => ready::<KwAes128>(kek)?.wrap_key(cek, &mut wrapped),
        24 => ready::<KwAes192>(kek)?.wrap_key(cek, &mut wrapped),
        _ => ready::<KwAes256>(kek)?.wrap_key(cek, &mut wrapped),
    }
    .ok()?;
    Some(wrapped)
}

fn ready<Cipher: KeyInit>(kek: &[u8]) -> Option<Cipher> {
    Cipher::new_from_slice(kek).ok()
}

/// The reverse; `None` whatever is wrong.
pub(super) fn unwrap(kek: &[u8], wrapped: &[u8]) -> Option<SecretBytes> {
    let mut cek = Zeroizing::new(vec![0; wrapped.len().checked_sub(INTEGRITY)?]);
    match kek.len() {
        16 => ready::<KwAes128>(kek)?.unwrap_key(wrapped, &mut cek),
        24 => ready::<KwAes192>(kek)?.unwrap_key(wrapped, &mut cek),
        _ => ready::<KwAes256>(kek)?.unwrap_key(wrapped, &mut cek),
    }
    .ok()?;
    Some(cek)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// RFC 3394 §4.1, §4.2 and §4.3: the key that is wrapped, under keys of 128, 192 and 256 bits.
    const KEY: [u8; 16] = [
        0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee,
        0xff,
    ];

    #[test]
    fn keys_are_wrapped_as_in_rfc_3394() {
        for (length, wrapped) in [
            (16, 0x1fa6_8b0a_8112_b447_u64),
            (24, 0x9677_8b25_ae6c_a435),
            (32, 0x64e8_c3f9_ce0f_5ba2),
        ] {
            let kek: Vec<u8> = (0..).take(length).collect();
            let mut written = wrap(&kek, &KEY).unwrap();
            assert_eq!(written[..8], wrapped.to_be_bytes(), "{length}");
            assert_eq!(*unwrap(&kek, &written).unwrap(), KEY, "{length}");
            written[23] ^= 1;
            for wrong in [
                &written[..],
                &written[..16],
                &written[..23],
                &written[..7],
                b"",
            ] {
                assert!(unwrap(&kek, wrong).is_none_or(|key| key.is_empty()));
            }
        }
    }

    #[test]
    fn secrets_become_keys_as_openid_connect_says() {
        // SHA-256, SHA-384 and SHA-512 of "secret".
        for (length, first) in [
            (16, 0x2bb8_0d53_u32),
            (24, 0x2bb8_0d53),
            (32, 0x2bb8_0d53),
            (48, 0x58a7_75ba),
            (64, 0xbd2b_1aaf),
        ] {
            let key = of_secret(b"secret", length);
            assert_eq!(key.len(), length);
            assert_eq!(key[..4], first.to_be_bytes(), "{length}");
        }
    }
}
