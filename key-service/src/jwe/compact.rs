//! What a compact JWE looks like (RFC 7516 §7.1): written, and read strictly; its content encrypted and decrypted with
//! AES-GCM (RFC 7518 §5.3).

use aes_gcm::aead::{self, AeadInOut, KeyInit, Nonce};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use zeroize::Zeroizing;

use super::{Error, fill};
use crate::algorithm::ContentEncryption;
use crate::backend::{Curve, SecretBytes};
use crate::signature::decode_header;

/// The longest compact JWE, in octets: a signed JWT of the longest kind fits into it.
const LONGEST_TOKEN: usize = 128 * 1024;
/// Lengths in octets.
pub(super) const NONCE: usize = 12;
pub(super) const TAG: usize = 16;

/// The header that is written (RFC 7516 §4.1).
#[derive(Serialize)]
pub(super) struct Written<'a> {
    pub(super) alg: &'static str,
    pub(super) enc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cty: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) epk: Option<EphemeralKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ctx: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct EphemeralKey {
    kty: &'static str,
    crv: &'static str,
    x: String,
    y: String,
}

impl EphemeralKey {
    /// From an uncompressed point on P-256.
    pub(super) fn of(sec1: &[u8]) -> EphemeralKey {
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
    pub(super) fn to_base64url(&self) -> String {
        let json = serde_json::to_vec(self).expect("strings always have a JSON form");
        URL_SAFE_NO_PAD.encode(json)
    }
}

/// Encrypts the content, and puts the token together.
pub(super) fn finish(
    protected: &str,
    encrypted_key: &[u8],
    encryption: ContentEncryption,
    cek: &[u8],
    plaintext: &[u8],
) -> Result<String, Error> {
    let mut nonce = [0; NONCE];
    fill(&mut nonce)?;
    // Room for the tag, so that no copy of the plaintext is left behind.
    let mut sealed = Vec::with_capacity(plaintext.len() + TAG);
    sealed.extend_from_slice(plaintext);
    let aad = protected.as_bytes();
    let done = match encryption {
        ContentEncryption::A128Gcm => seal::<Aes128Gcm>(cek, &nonce, aad, &mut sealed),
        ContentEncryption::A256Gcm => seal::<Aes256Gcm>(cek, &nonce, aad, &mut sealed),
    };
    done.map_err(|_| Error::Unsupported)?;
    Ok(compact(protected, encrypted_key, &nonce, &sealed))
}

/// Puts a token together; `sealed` is ciphertext ‖ tag.
pub(super) fn compact(
    protected: &str,
    encrypted_key: &[u8],
    nonce: &[u8],
    sealed: &[u8],
) -> String {
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

/// `octets` become ciphertext ‖ tag.
fn seal<Cipher: AeadInOut + KeyInit>(
    cek: &[u8],
    nonce: &[u8; NONCE],
    aad: &[u8],
    octets: &mut Vec<u8>,
) -> aead::Result<()> {
    let (cipher, nonce) = ready::<Cipher>(cek, nonce)?;
    cipher.encrypt_in_place(&nonce, aad, octets)
}

/// The reverse of `seal`.
fn open<Cipher: AeadInOut + KeyInit>(
    cek: &[u8],
    nonce: &[u8; NONCE],
    aad: &[u8],
    octets: &mut Vec<u8>,
) -> aead::Result<()> {
    let (cipher, nonce) = ready::<Cipher>(cek, nonce)?;
    cipher.decrypt_in_place(&nonce, aad, octets)
}

fn ready<Cipher: AeadInOut + KeyInit>(
    cek: &[u8],
    nonce: &[u8; NONCE],
) -> aead::Result<(Cipher, Nonce<Cipher>)> {
    let cipher = Cipher::new_from_slice(cek).map_err(|_| aead::Error)?;
    let nonce = Nonce::<Cipher>::try_from(&nonce[..]).map_err(|_| aead::Error)?;
    Ok((cipher, nonce))
}

/// A compact JWE, read strictly (RFC 7516 §5.2), nothing decrypted.
pub(super) struct Parsed<'a> {
    pub(super) protected: &'a str,
    pub(super) header: Vec<u8>,
    pub(super) encrypted_key: Vec<u8>,
    pub(super) nonce: [u8; NONCE],
    /// With the tag.
    pub(super) ciphertext: Vec<u8>,
}

impl Parsed<'_> {
    pub(super) fn parse(token: &str) -> Option<Parsed<'_>> {
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
    pub(super) fn decrypt(
        &self,
        encryption: ContentEncryption,
        cek: &[u8],
    ) -> Result<SecretBytes, Error> {
        let mut plaintext = Zeroizing::new(self.ciphertext.clone());
        let aad = self.protected.as_bytes();
        let done = match encryption {
            ContentEncryption::A128Gcm => open::<Aes128Gcm>(cek, &self.nonce, aad, &mut plaintext),
            ContentEncryption::A256Gcm => open::<Aes256Gcm>(cek, &self.nonce, aad, &mut plaintext),
        };
        done.map_err(|_| Error::Undecryptable)?;
        Ok(plaintext)
    }
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
            with(4, "XFBoMYUZodetZdvTiFvS"),
            with(4, "XFBoMYUZodetZdvTiFvSkQ=="),
            with(4, "XFBoMYUZodetZdvTiFvSkR"),
            with(3, &"A".repeat(LONGEST_TOKEN)),
        ] {
            assert!(Parsed::parse(&token).is_none(), "{token}");
        }
    }
}
