//! Opening what others encrypted to us.

use std::borrow::Cow;
use std::time::Instant;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::agreement::concat_kdf;
use super::compact::{Parsed, decode};
use super::encrypt::purpose;
use super::key_wrap::{self, Use};
use super::{Error, KeyRef, Opened, random};
use crate::algorithm::{ContentEncryption, DecryptionAlgorithm, KeyManagementAlgorithm};
use crate::backend::{self, Device, Peer, SecretBytes};
use crate::jwk::Jwk;
use crate::signature::present;

/// How many keys are tried on a token without "kid".
const MOST_KEYS: usize = 4;

/// The members that decide how a token is opened.
#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow)]
    enc: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    kid: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "present")]
    epk: Option<Map<String, Value>>,
    #[serde(borrow, default, deserialize_with = "present")]
    apu: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    apv: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "present")]
    zip: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    crit: Option<IgnoredAny>,
}

/// How the content encryption key is had, checked before the device sees anything.
enum Agreement {
    Unwrap(DecryptionAlgorithm),
    Agree {
        epk: Peer,
        apu: Vec<u8>,
        apv: Vec<u8>,
        /// What the agreed key is for, and what is done with it.
        purpose: &'static str,
        how: Use,
    },
}

impl Agreement {
    fn of(
        algorithm: KeyManagementAlgorithm,
        encryption: ContentEncryption,
        header: &Header<'_>,
        encrypted_key: &[u8],
    ) -> Option<Agreement> {
        let unwrap = |alg| (!encrypted_key.is_empty()).then_some(Agreement::Unwrap(alg));
        match algorithm {
            KeyManagementAlgorithm::RsaOaep => return unwrap(DecryptionAlgorithm::RsaOaep),
            KeyManagementAlgorithm::RsaOaep256 => return unwrap(DecryptionAlgorithm::RsaOaep256),
            _ if algorithm.is_agreement() => {}
            // No key of ours is shared with a sender.
            _ => return None,
        }
        let how = Use::of(algorithm, encryption);
        // RFC 7516 §5.2 step 10: with direct agreement there is no encrypted key.
        let length = match how {
            Use::Direct(_) => 0,
            _ => encryption.key_length() + key_wrap::INTEGRITY,
        };
        if encrypted_key.len() != length {
            return None;
        }
        let party = |text: Option<&str>| decode(text.unwrap_or_default());
        Some(Agreement::Agree {
            // A private member, or a point that is not on its curve, does not get through.
            epk: Peer::of(&Jwk::of(header.epk.as_ref()?).ok()?.public)?,
            apu: party(header.apu.as_deref())?,
            apv: party(header.apv.as_deref())?,
            purpose: purpose(algorithm, encryption),
            how,
        })
    }

    /// Of which rings the keys are that can have it.
    fn algorithm(&self) -> DecryptionAlgorithm {
        match self {
            Agreement::Unwrap(algorithm) => *algorithm,
            Agreement::Agree { epk, .. } => epk.algorithm(),
        }
    }

    async fn content_key(
        &self,
        device: &Device,
        key: &KeyRef,
        encrypted_key: &[u8],
        deadline: Option<Instant>,
    ) -> Result<SecretBytes, backend::Error> {
        match self {
            Agreement::Unwrap(algorithm) => {
                let encrypted_key = encrypted_key.to_vec();
                device
                    .unwrap_key(&key.id, *algorithm, encrypted_key, deadline)
                    .await
            }
            Agreement::Agree {
                epk,
                apu,
                apv,
                purpose,
                how,
            } => {
                let z = device.agree(&key.id, epk.clone(), deadline).await?;
                let agreed = concat_kdf(&z, purpose, how.key_length(), apu, apv);
                match how {
                    Use::Direct(_) => Ok(agreed),
                    _ => key_wrap::unwrap(&agreed, encrypted_key)
                        .ok_or(backend::Error::Undecryptable),
                }
            }
        }
    }
}

/// Opens a compact JWE that is addressed to us.
///
/// `find` names the keys for the token's "kid" and what its "alg" and "epk" ask of a key; without a "kid" at most four are
/// tried. A key must be of that algorithm: a key is never used for another one than its ring's.
///
/// # Errors
/// [`Error::Undecryptable`] for whatever is wrong with the token, and the backend's own.
pub async fn open(
    device: &Device,
    token: &str,
    deadline: Option<Instant>,
    find: impl Fn(Option<&str>, DecryptionAlgorithm) -> Vec<KeyRef>,
) -> Result<Opened, Error> {
    let parsed = Parsed::parse(token).ok_or(Error::Undecryptable)?;
    let fields: Header<'_> =
        serde_json::from_slice(&parsed.header).map_err(|_| Error::Undecryptable)?;
    if fields.zip.is_some() || fields.crit.is_some() {
        return Err(Error::Undecryptable);
    }
    let algorithm = fields.alg.parse().map_err(|_| Error::Undecryptable)?;
    let encryption: ContentEncryption = fields.enc.parse().map_err(|_| Error::Undecryptable)?;
    let encrypted_key = &parsed.encrypted_key;
    let agreement =
        Agreement::of(algorithm, encryption, &fields, encrypted_key).ok_or(Error::Undecryptable)?;

    for key in find(fields.kid.as_deref(), agreement.algorithm())
        .iter()
        .take(MOST_KEYS)
    {
        let had = agreement
            .content_key(device, key, encrypted_key, deadline)
            .await;
        // Made in any case, so that having to use it costs nothing that could be measured.
        let spare = random(encryption.key_length())?;
        let cek = match had {
            Ok(cek) if cek.len() == encryption.key_length() => cek,
            Ok(_) | Err(backend::Error::Undecryptable) => spare,
            Err(error) => return Err(error.into()),
        };
        if let Ok(plaintext) = parsed.decrypt(encryption, &cek) {
            return Ok(Opened {
                plaintext,
                header: parsed.header,
            });
        }
    }
    Err(Error::Undecryptable)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn agreements_are_checked_before_a_device_sees_them() {
        let epk = r#"{"kty":"EC","crv":"P-256","x":"gI0GAILBdu7T53akrFmMyGcsF3n5dO7MmwNBHKW5SV0","y":"SLW_xSffzlPWrHEVI30DHM_4egVwt3NQqeUD7nMFpps"}"#;
        let okp =
            r#"{"kty":"OKP","crv":"X25519","x":"hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo"}"#;
        let of = |alg: &str, members: &str, encrypted_key: &[u8]| {
            let json = format!(r#"{{"alg":"{alg}","enc":"A128GCM"{members}}}"#);
            let header: Header<'_> = serde_json::from_str(&json).unwrap();
            let (alg, enc) = (alg.parse().unwrap(), ContentEncryption::A128Gcm);
            Agreement::of(alg, enc, &header, encrypted_key)
                .map(|agreement| agreement.algorithm().as_str())
        };
        let good = format!(r#","epk":{epk},"apu":"QWxpY2U","apv":"Qm9i""#);
        let montgomery = format!(r#","epk":{okp}"#);
        for (alg, members, encrypted_key, ring) in [
            ("RSA-OAEP", "", &[0; 256][..], "RSA-OAEP"),
            ("RSA-OAEP-256", "", &[0; 256], "RSA-OAEP-256"),
            ("ECDH-ES", &good, b"", "ECDH-ES"),
            ("ECDH-ES", &montgomery, b"", "ECDH-ES-X25519"),
            ("ECDH-ES+A128KW", &good, &[0; 24], "ECDH-ES"),
            ("ECDH-ES+A256KW", &montgomery, &[0; 24], "ECDH-ES-X25519"),
        ] {
            assert_eq!(of(alg, members, encrypted_key), Some(ring), "{alg}");
        }
        for (alg, members, encrypted_key) in [
            ("RSA-OAEP", String::new(), &b""[..]),
            ("dir", String::new(), b""),
            ("A128KW", String::new(), &[0; 24]),
            ("A128GCMKW", String::new(), &[0; 16]),
            ("ECDH-ES", good.clone(), b"x"),
            ("ECDH-ES+A128KW", good.clone(), b""),
            ("ECDH-ES+A128KW", good.clone(), &[0; 16]),
            ("ECDH-ES+A128KW", good.clone(), &[0; 25]),
            ("ECDH-ES", String::new(), b""),
            ("ECDH-ES", good.replace("SLW_", "SLW-"), b""),
            ("ECDH-ES", good.replace("P-256", "P-384"), b""),
            ("ECDH-ES", good.replace("P-256", "secp256k1"), b""),
            (
                "ECDH-ES",
                good.replace(r#""crv""#, r#""d":"AA","crv""#),
                b"",
            ),
            ("ECDH-ES", good.replace("QWxpY2U", "QWxpY2V"), b""),
            ("ECDH-ES", montgomery.replace("X25519", "Ed25519"), b""),
            ("ECDH-ES", montgomery.replace("hSDw", ""), b""),
        ] {
            assert_eq!(of(alg, &members, encrypted_key), None, "{alg} {members}");
        }
    }
}
