//! What a compact JWE looks like (RFC 7516 §7.1): written, and read strictly.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;

use super::Error;
use super::content::{self, Encrypted};
use crate::algorithm::{ContentEncryption, KeyManagementAlgorithm};
use crate::backend::{Peer, SecretBytes};
use crate::signature::decode_header;

/// The longest compact JWE, in octets: a signed JWT of the longest kind fits into it.
const LONGEST_TOKEN: usize = 128 * 1024;

/// The header that is written (RFC 7516 §4.1).
#[derive(Serialize)]
pub(super) struct Written<'a> {
    alg: &'static str,
    enc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) kid: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cty: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) epk: Option<EphemeralKey>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) iv: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) tag: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ctx: Option<&'a str>,
}

#[derive(Serialize)]
pub(super) struct EphemeralKey {
    kty: &'static str,
    crv: &'static str,
    x: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
}

impl EphemeralKey {
    pub(super) fn of(key: &Peer) -> EphemeralKey {
        match key {
            Peer::Ec(point) => {
                let (x, y) = point.sec1[1..].split_at(point.curve.field_length());
                EphemeralKey {
                    kty: "EC",
                    crv: point.curve.as_str(),
                    x: encode(x),
                    y: Some(encode(y)),
                }
            }
            Peer::X25519(x) => EphemeralKey {
                kty: "OKP",
                crv: "X25519",
                x: encode(x),
                y: None,
            },
        }
    }
}

impl Written<'_> {
    pub(super) fn new(alg: KeyManagementAlgorithm, enc: ContentEncryption) -> Self {
        Written {
            alg: alg.as_str(),
            enc: enc.as_str(),
            kid: None,
            cty: None,
            epk: None,
            iv: None,
            tag: None,
            ctx: None,
        }
    }

    pub(super) fn to_base64url(&self) -> String {
        let json = serde_json::to_vec(self).expect("strings always have a JSON form");
        URL_SAFE_NO_PAD.encode(json)
    }
}

/// Puts a token together.
pub(super) fn compact(protected: &str, encrypted_key: &[u8], content: &Encrypted) -> String {
    let octets = encrypted_key.len() + content.ciphertext.len() + content.tag.len();
    let mut token = String::with_capacity(protected.len() + octets * 4 / 3 + 48);
    token.push_str(protected);
    for octets in [
        encrypted_key,
        &content.iv,
        &content.ciphertext,
        &content.tag,
    ] {
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(octets, &mut token);
    }
    token
}

/// A compact JWE, read strictly (RFC 7516 §5.2), nothing decrypted.
pub(super) struct Parsed<'a> {
    pub(super) protected: &'a str,
    pub(super) header: Vec<u8>,
    pub(super) encrypted_key: Vec<u8>,
    pub(super) content: Encrypted,
}

impl Parsed<'_> {
    pub(super) fn parse(token: &str) -> Option<Parsed<'_>> {
        if token.len() > LONGEST_TOKEN {
            return None;
        }
        let mut segments = token.split('.');
        let (protected, encrypted_key, iv, ciphertext, tag) = (
            segments.next()?,
            segments.next()?,
            segments.next()?,
            segments.next()?,
            segments.next()?,
        );
        if segments.next().is_some() {
            return None;
        }
        Some(Parsed {
            protected,
            header: decode_header(protected)?,
            encrypted_key: decode(encrypted_key)?,
            content: Encrypted {
                iv: decode(iv)?,
                ciphertext: decode(ciphertext)?,
                tag: decode(tag)?,
            },
        })
    }

    /// The plaintext, when this is the content encryption key.
    pub(super) fn decrypt(
        &self,
        encryption: ContentEncryption,
        cek: &[u8],
    ) -> Result<SecretBytes, Error> {
        content::decrypt(encryption, cek, self.protected.as_bytes(), &self.content)
    }
}

/// base64url as RFC 7515 §2 has it.
pub(super) fn encode(octets: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

/// One spelling only: no padding, no bits after the last octet.
pub(super) fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
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
        parsed.content.ciphertext[0] ^= 1;
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
            with(2, "AAA="),
            with(4, "XFBoMYUZodetZdvTiFvSkQ=="),
            with(4, "XFBoMYUZodetZdvTiFvSkR"),
            with(3, &"A".repeat(LONGEST_TOKEN)),
        ] {
            assert!(Parsed::parse(&token).is_none(), "{token}");
        }
    }
}
