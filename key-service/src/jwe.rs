//! Compact JWEs (RFC 7516, RFC 7518 §4 and §5): encrypted to others, opened when addressed to us, and sealed for
//! ourselves.
//!
//! Whatever is wrong with a ciphertext, the answer is one error after the same work: a content encryption key that
//! cannot be had is replaced by a random one, and the authentication tag fails (RFC 7516 §11.5, RFC 3218 §2.3.2).

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Instant;

use aws_lc_rs::agreement::{self, ECDH_P256, EphemeralPrivateKey, UnparsedPublicKey};
use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::rand::{SecureRandom as _, SystemRandom};
use aws_lc_rs::rsa::{
    OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPublicEncryptingKey, PublicEncryptingKey,
    PublicKeyComponents,
};
use aws_lc_rs::{aead, error::Unspecified};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use crate::algorithm::{ContentEncryption, KeyManagementAlgorithm};
use crate::backend::{self, Curve, Device, KeyId, Point, PublicKey, SecretBytes};
use crate::jwk::Jwk;
use crate::signature::{LONGEST_HEADER, decode_header, present};

/// The longest compact JWE, in octets: a signed JWT of the longest kind fits into it.
pub const LONGEST_TOKEN: usize = 128 * 1024;
/// How many keys are tried on a token without "kid".
const MOST_KEYS: usize = 4;
/// AES-GCM as RFC 7518 §5.3 has it, in octets.
const NONCE: usize = 12;
const TAG: usize = 16;

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

impl From<Unspecified> for Error {
    fn from(_: Unspecified) -> Self {
        Error::Undecryptable
    }
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

/// The header that is written (RFC 7516 §4.1).
#[derive(Serialize)]
struct Written<'a> {
    alg: &'static str,
    enc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    kid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cty: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epk: Option<EphemeralKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ctx: Option<&'a str>,
}

#[derive(Serialize)]
struct EphemeralKey {
    kty: &'static str,
    crv: &'static str,
    x: String,
    y: String,
}

impl EphemeralKey {
    /// From an uncompressed point on P-256.
    fn of(sec1: &[u8]) -> EphemeralKey {
        let (x, y) = sec1[1..].split_at(Curve::P256.field_length());
        EphemeralKey {
            kty: "EC",
            crv: Curve::P256.as_str(),
            x: URL_SAFE_NO_PAD.encode(x),
            y: URL_SAFE_NO_PAD.encode(y),
        }
    }
}

impl Written<'_> {
    fn to_base64url(&self) -> String {
        let json = serde_json::to_vec(self).expect("strings always have a JSON form");
        URL_SAFE_NO_PAD.encode(json)
    }
}

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
        (KeyManagementAlgorithm::EcdhEs, PublicKey::Ec { curve: Curve::P256, x, y }) => {
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
    let mut nonce = [0; NONCE];
    SystemRandom::new().fill(&mut nonce)?;
    let mut sealed = plaintext.to_vec();
    content_key(encryption, &cek)?.seal_in_place_append_tag(
        aead::Nonce::assume_unique_for_key(nonce),
        aead::Aad::from(protected.as_bytes()),
        &mut sealed,
    )?;
    Ok(compact(&protected, &encrypted_key, &nonce, &sealed))
}

fn compact(protected: &str, encrypted_key: &[u8], nonce: &[u8], sealed: &[u8]) -> String {
    let (ciphertext, tag) = sealed.split_at(sealed.len() - TAG);
    let mut token =
        String::with_capacity(protected.len() + (encrypted_key.len() + sealed.len()) * 4 / 3 + 32);
    token.push_str(protected);
    for octets in [encrypted_key, nonce, ciphertext, tag] {
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(octets, &mut token);
    }
    token
}

fn random(length: usize) -> Result<SecretBytes, Error> {
    let mut octets = Zeroizing::new(vec![0; length]);
    SystemRandom::new().fill(&mut octets)?;
    Ok(octets)
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

fn content_key(encryption: ContentEncryption, cek: &[u8]) -> Result<aead::LessSafeKey, Error> {
    let algorithm = match encryption {
        ContentEncryption::A128Gcm => &aead::AES_128_GCM,
        ContentEncryption::A256Gcm => &aead::AES_256_GCM,
    };
    Ok(aead::LessSafeKey::new(aead::UnboundKey::new(algorithm, cek)?))
}

/// A compact JWE, read strictly (RFC 7516 §5.2), nothing decrypted.
struct Parsed<'a> {
    protected: &'a str,
    header: Vec<u8>,
    encrypted_key: Vec<u8>,
    nonce: [u8; NONCE],
    /// With the tag.
    ciphertext: Vec<u8>,
}

impl Parsed<'_> {
    fn parse(token: &str) -> Option<Parsed<'_>> {
        if token.len() > LONGEST_TOKEN {
            return None;
        }
        let mut segments = token.split('.');
        let (protected, encrypted_key, nonce, ciphertext, tag) = (
            segments.next()?,
            segments.next()?,
            segments.next()?,
            segments.next()?,
            segments.next()?,
        );
        if segments.next().is_some() {
            return None;
        }
        let decode = |segment| URL_SAFE_NO_PAD.decode(segment).ok();
        let mut sealed = decode(ciphertext)?;
        let tag: [u8; TAG] = decode(tag)?.try_into().ok()?;
        sealed.extend_from_slice(&tag);
        Some(Parsed {
            protected,
            header: decode_header(protected)?,
            encrypted_key: decode(encrypted_key)?,
            nonce: decode(nonce)?.try_into().ok()?,
            ciphertext: sealed,
        })
    }
}

impl Parsed<'_> {
    /// The plaintext, when this is the content encryption key.
    fn decrypt(&self, encryption: ContentEncryption, cek: &[u8]) -> Result<SecretBytes, Error> {
        let mut plaintext = Zeroizing::new(self.ciphertext.clone());
        let length = content_key(encryption, cek)?
            .open_in_place(
                aead::Nonce::assume_unique_for_key(self.nonce),
                aead::Aad::from(self.protected.as_bytes()),
                &mut plaintext,
            )?
            .len();
        plaintext.truncate(length);
        Ok(plaintext)
    }
}

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
    Agree { epk: Point, apu: Vec<u8>, apv: Vec<u8> },
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
        let Ok(Jwk { public: PublicKey::Ec { curve: Curve::P256, x, y }, .. }) =
            Jwk::of(header.epk.as_ref()?)
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

    for key in find(fields.kid.as_deref(), algorithm).iter().take(MOST_KEYS) {
        let had = match &agreement {
            Agreement::Unwrap(algorithm) => {
                let encrypted_key = parsed.encrypted_key.clone();
                device.unwrap_key(&key.id, *algorithm, encrypted_key, deadline).await
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

/// Seals for ourselves: nobody else has the key. `context` says what for, and must be named again to open it.
///
/// # Errors
/// The backend's own.
pub async fn seal(
    device: &Device,
    key: &KeyRef,
    context: &str,
    plaintext: SecretBytes,
    deadline: Option<Instant>,
) -> Result<String, Error> {
    let protected = sealed_header(&key.kid, context).ok_or(Error::Unsupported)?;
    let mut nonce = [0; NONCE];
    SystemRandom::new().fill(&mut nonce)?;
    let aad = protected.clone().into_bytes();
    let sealed = device.seal(&key.id, nonce, aad, plaintext, deadline).await?;
    if sealed.len() < TAG {
        return Err(backend::Error::Device("a ciphertext without a tag".to_owned()).into());
    }
    Ok(compact(&protected, &[], &nonce, &sealed))
}

/// Opens what [`seal`] made under the same context. `find` names the key of a "kid".
///
/// # Errors
/// [`Error::Undecryptable`] for whatever is wrong with the token or its context, and the backend's own.
pub async fn unseal(
    device: &Device,
    token: &str,
    context: &str,
    deadline: Option<Instant>,
    find: impl Fn(&str) -> Option<KeyId>,
) -> Result<SecretBytes, Error> {
    let parsed = Parsed::parse(token).ok_or(Error::Undecryptable)?;
    let fields: Header<'_> =
        serde_json::from_slice(&parsed.header).map_err(|_| Error::Undecryptable)?;
    let kid = fields.kid.as_deref().ok_or(Error::Undecryptable)?;
    // There is one way to write the header, so the context is compared with all the rest of it.
    if sealed_header(kid, context).as_deref() != Some(parsed.protected)
        || !parsed.encrypted_key.is_empty()
    {
        return Err(Error::Undecryptable);
    }
    let key = find(kid).ok_or(Error::Undecryptable)?;
    let aad = parsed.protected.as_bytes().to_vec();
    match device.unseal(&key, parsed.nonce, aad, parsed.ciphertext, deadline).await {
        Ok(plaintext) => Ok(plaintext),
        Err(backend::Error::Undecryptable) => Err(Error::Undecryptable),
        Err(error) => Err(error.into()),
    }
}

/// `None` when it would be too long to be read again.
fn sealed_header(kid: &str, context: &str) -> Option<String> {
    let header = Written {
        alg: "dir",
        enc: ContentEncryption::A256Gcm.as_str(),
        kid: Some(kid),
        cty: None,
        epk: None,
        ctx: Some(context),
    }
    .to_base64url();
    (header.len() <= LONGEST_HEADER).then_some(header)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// RFC 7516 A.1.
    const RSA_OAEP: &str = "eyJhbGciOiJSU0EtT0FFUCIsImVuYyI6IkEyNTZHQ00ifQ.\
        OKOawDo13gRp2ojaHV7LFpZcgV7T6DVZKTyKOMTYUmKoTCVJRgckCL9kiMT03JGe\
        ipsEdY3mx_etLbbWSrFr05kLzcSr4qKAq7YN7e9jwQRb23nfa6c9d-StnImGyFDb\
        Sv04uVuxIp5Zms1gNxKKK2Da14B8S4rzVRltdYwam_lDp5XnZAYpQdb76FdIKLaV\
        mqgfwX7XWRxv2322i-vDxRfqNzo_tETKzpVLzfiwQyeyPGLBIO56YJ7eObdv0je8\
        1860ppamavo35UgoRdbYaBcoh9QcfylQr66oc6vFWXRcZ_ZT2LawVCWTIy3brGPi\
        6UklfCpIMfIjf7iGdXKHzg.48V1_ALb6US04U3b.\
        5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvtu6UG9oMo4vpzs9tX_EFShS8iB7j6ji\
        SdiwkIr3ajwQzaBtQD_A.XFBoMYUZodetZdvTiFvSkQ";

    #[test]
    fn the_content_of_rfc_7516_a_1_opens_with_its_key() {
        let cek = [
            177, 161, 244, 128, 84, 143, 225, 115, 63, 180, 3, 255, 107, 154, 212, 246, 138, 7,
            110, 91, 112, 46, 34, 105, 47, 130, 203, 46, 122, 234, 64, 252,
        ];
        let mut parsed = Parsed::parse(RSA_OAEP).unwrap();
        assert_eq!(parsed.encrypted_key.len(), 256);
        let plaintext = parsed.decrypt(ContentEncryption::A256Gcm, &cek).unwrap();
        let expected = b"The true sign of intelligence is not knowledge but imagination.";
        assert_eq!(*plaintext, expected);
        parsed.ciphertext[0] ^= 1;
        assert!(parsed.decrypt(ContentEncryption::A256Gcm, &cek).is_err());
    }

    #[test]
    fn the_key_of_rfc_7518_c_is_derived() {
        let z = [
            158, 86, 217, 29, 129, 113, 53, 211, 114, 131, 66, 131, 191, 132, 38, 156, 251, 49,
            110, 163, 218, 128, 106, 72, 246, 218, 167, 121, 140, 254, 144, 196,
        ];
        let cek = concat_kdf(&z, ContentEncryption::A128Gcm, b"Alice", b"Bob");
        assert_eq!(URL_SAFE_NO_PAD.encode(cek), "VqqN6vgjbSBcIijNcacQGg");
    }

    #[test]
    fn anything_but_a_compact_jwe_is_refused() {
        let segments: Vec<&str> = RSA_OAEP.split('.').collect();
        let with = |at: usize, segment: &str| {
            let mut segments = segments.clone();
            segments[at] = segment;
            segments.join(".")
        };
        for token in [
            String::new(),
            segments[..4].join("."),
            format!("{RSA_OAEP}."),
            format!(" {RSA_OAEP}"),
            with(0, ""),
            with(0, "bm90IEpTT04"),
            with(0, "eyJhbGciOiJhIiwiYWxnIjoiYSJ9"), // {"alg":"a","alg":"a"}
            with(2, "AAAA"),
            with(2, "48V1_ALb6US04U3b48V1"),
            with(3, "5eym8TW_c8SuK0ltJ3rpYIzOeDQz7TALvtu6UG9oMo4vpzs9tX_EFShS8iB7j6jiSdiwkIr3ajwQzaBtQD_B"),
            with(4, "XFBoMYUZodetZdvTiFvS"),
            with(4, "XFBoMYUZodetZdvTiFvSkQ=="),
            with(4, "XFBoMYUZodetZdvTiFvSkR"),
            with(3, &"A".repeat(LONGEST_TOKEN)),
        ] {
            assert!(Parsed::parse(&token).is_none(), "{token}");
        }
    }

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
