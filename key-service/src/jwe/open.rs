//! Opening what others encrypted to us.

use std::borrow::Cow;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use super::compact::Parsed;
use super::{Error, KeyRef, Opened, concat_kdf, random};
use crate::algorithm::{ContentEncryption, KeyManagementAlgorithm};
use crate::backend::{self, Curve, Device, Point, PublicKey};
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
    Unwrap(KeyManagementAlgorithm),
    Agree {
        epk: Point,
        apu: Vec<u8>,
        apv: Vec<u8>,
    },
}

impl Agreement {
    fn of(
        algorithm: KeyManagementAlgorithm,
        header: &Header<'_>,
        encrypted_key: &[u8],
    ) -> Option<Agreement> {
        if algorithm != KeyManagementAlgorithm::EcdhEs {
            return (!encrypted_key.is_empty()).then_some(Agreement::Unwrap(algorithm));
        }
        // RFC 7516 §5.2 step 10: with direct agreement there is no encrypted key.
        if !encrypted_key.is_empty() {
            return None;
        }
        let Ok(Jwk {
            public:
                PublicKey::Ec {
                    curve: Curve::P256,
                    x,
                    y,
                },
            ..
        }) = Jwk::of(header.epk.as_ref()?)
        else {
            return None;
        };
        let party = |text: Option<&str>| URL_SAFE_NO_PAD.decode(text.unwrap_or_default()).ok();
        Some(Agreement::Agree {
            epk: Point::of(Curve::P256, &x, &y).ok()?,
            apu: party(header.apu.as_deref())?,
            apv: party(header.apv.as_deref())?,
        })
    }
}

/// Opens a compact JWE that is addressed to us.
///
/// `find` names the keys for the token's "kid" and "alg"; without a "kid" at most four are tried. A key must be of
/// that algorithm: a key is never used for another one than its ring's.
///
/// # Errors
/// [`Error::Undecryptable`] for whatever is wrong with the token, and the backend's own.
pub async fn open(
    device: &Device,
    token: &str,
    deadline: Option<Instant>,
    find: impl Fn(Option<&str>, KeyManagementAlgorithm) -> Vec<KeyRef>,
) -> Result<Opened, Error> {
    let parsed = Parsed::parse(token).ok_or(Error::Undecryptable)?;
    let fields: Header<'_> =
        serde_json::from_slice(&parsed.header).map_err(|_| Error::Undecryptable)?;
    if fields.zip.is_some() || fields.crit.is_some() {
        return Err(Error::Undecryptable);
    }
    let algorithm = fields.alg.parse().map_err(|_| Error::Undecryptable)?;
    let encryption: ContentEncryption = fields.enc.parse().map_err(|_| Error::Undecryptable)?;
    let agreement =
        Agreement::of(algorithm, &fields, &parsed.encrypted_key).ok_or(Error::Undecryptable)?;

    for key in find(fields.kid.as_deref(), algorithm)
        .iter()
        .take(MOST_KEYS)
    {
        let had = match &agreement {
            Agreement::Unwrap(algorithm) => {
                let encrypted_key = parsed.encrypted_key.clone();
                device
                    .unwrap_key(&key.id, *algorithm, encrypted_key, deadline)
                    .await
            }
            Agreement::Agree { epk, apu, apv } => device
                .agree(&key.id, Curve::P256, epk.clone(), deadline)
                .await
                .map(|z| concat_kdf(&z, encryption, apu, apv)),
        };
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
        let of = |members: &str, encrypted_key: &[u8]| {
            let json = format!(r#"{{"alg":"ECDH-ES","enc":"A128GCM"{members}}}"#);
            let header: Header<'_> = serde_json::from_str(&json).unwrap();
            Agreement::of(KeyManagementAlgorithm::EcdhEs, &header, encrypted_key).is_some()
        };
        let good = format!(r#","epk":{epk},"apu":"QWxpY2U","apv":"Qm9i""#);
        assert!(of(&good, b""));
        for (members, encrypted_key) in [
            (good.clone(), &b"x"[..]),
            (String::new(), b""),
            (good.replace("SLW_", "SLW-"), b""),
            (good.replace("P-256", "P-384"), b""),
            (good.replace(r#""crv""#, r#""d":"AA","crv""#), b""),
            (good.replace("QWxpY2U", "QWxpY2V"), b""),
        ] {
            assert!(!of(&members, encrypted_key), "{members}");
        }
    }
}
