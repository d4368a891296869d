//! JWS signatures (RFC 7515, RFC 7518 §3, RFC 8037 §3.1): their lengths and forms, verification with a public key,
//! and the compact serialisation, read strictly.
//!
//! Nothing is learnt about a token before its signature has verified, except how to verify it.

use std::borrow::Cow;

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature as lc;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use crate::algorithm::SignatureAlgorithm;
use crate::backend::{Curve, PublicKey};
use crate::jwk::Jwk;
use crate::keyring::claims::Claims;

/// The longest compact JWS, in octets.
pub const LONGEST_TOKEN: usize = 64 * 1024;
/// The longest JOSE header, in octets of JSON.
pub(crate) const LONGEST_HEADER: usize = 4 * 1024;

/// Why a JWS was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Too long, not three canonical segments, or a header that is not one strict JSON object.
    #[error("not a compact JWS")]
    Syntax,
    /// "crit" or "b64": extensions that must be understood, and are not (RFC 7515 §4.1.11, RFC 7797).
    #[error("critical extension")]
    Critical,
    /// "alg" is not among the accepted ones.
    #[error("algorithm not accepted")]
    Algorithm,
    /// "typ" is not among the accepted ones.
    #[error("type not accepted")]
    Type,
    /// No key fits "kid", "alg" and "kty".
    #[error("no key fits")]
    Key,
    /// The signature does not verify.
    #[error("wrong signature")]
    Signature,
    /// The payload is not one strict JSON object.
    #[error("the payload is not one strict JSON object")]
    Claims,
}

impl SignatureAlgorithm {
    /// The hash that the signature covers; `None` where the algorithm hashes by itself.
    pub(crate) fn hash(self) -> Option<&'static digest::Algorithm> {
        use SignatureAlgorithm as Alg;
        match self {
            Alg::Rs256 | Alg::Ps256 | Alg::Es256 => Some(&digest::SHA256),
            Alg::Rs384 | Alg::Ps384 | Alg::Es384 => Some(&digest::SHA384),
            Alg::Rs512 | Alg::Ps512 | Alg::Es512 => Some(&digest::SHA512),
            Alg::EdDsa => None,
        }
    }

    /// The curve of its keys (RFC 7518 §3.4).
    #[must_use]
    pub fn curve(self) -> Option<Curve> {
        match self {
            SignatureAlgorithm::Es256 => Some(Curve::P256),
            SignatureAlgorithm::Es384 => Some(Curve::P384),
            SignatureAlgorithm::Es512 => Some(Curve::P521),
            _ => None,
        }
    }

    /// Whether keys of this kind compute it.
    #[must_use]
    pub fn fits(self, public: &PublicKey) -> bool {
        match (self, public) {
            (SignatureAlgorithm::EdDsa, PublicKey::Ed25519 { .. }) => true,
            (SignatureAlgorithm::EdDsa, _) => false,
            (_, PublicKey::Ec { curve, .. }) => self.curve() == Some(*curve),
            (_, PublicKey::Rsa { .. }) => self.curve().is_none(),
            (_, PublicKey::Ed25519 { .. }) => false,
        }
    }
}

/// The hash of `input` that an algorithm signs; `None` for EdDSA, which hashes by itself.
pub(crate) fn digest_for(algorithm: SignatureAlgorithm, input: &[u8]) -> Option<Digest> {
    Some(digest::digest(algorithm.hash()?, input))
}

/// What stands before the hash in EMSA-PKCS1-v1_5: DER of DigestInfo without its last field (RFC 8017 §9.2, note 1).
pub(crate) fn digest_info_prefix(algorithm: SignatureAlgorithm) -> Option<&'static [u8]> {
    // The last octets of the OID, and the lengths, are what differ.
    match algorithm {
        SignatureAlgorithm::Rs256 => Some(&[
            0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
            0x01, 0x05, 0x00, 0x04, 0x20,
        ]),
        SignatureAlgorithm::Rs384 => Some(&[
            0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
            0x02, 0x05, 0x00, 0x04, 0x30,
        ]),
        SignatureAlgorithm::Rs512 => Some(&[
            0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02,
            0x03, 0x05, 0x00, 0x04, 0x40,
        ]),
        _ => None,
    }
}

/// An ECDSA signature as r‖s (RFC 7518 §3.4), from DER; `None` when it is not one for this curve.
#[must_use]
pub fn fixed_from_der(curve: Curve, der: &[u8]) -> Option<Vec<u8>> {
    match curve {
        Curve::P256 => Some(p256::ecdsa::Signature::from_der(der).ok()?.to_bytes().to_vec()),
        Curve::P384 => Some(p384::ecdsa::Signature::from_der(der).ok()?.to_bytes().to_vec()),
        Curve::P521 => Some(p521::ecdsa::Signature::from_der(der).ok()?.to_bytes().to_vec()),
    }
}

/// An ECDSA signature as DER, from r‖s; `None` when it is not one for this curve.
#[must_use]
pub fn der_from_fixed(curve: Curve, fixed: &[u8]) -> Option<Vec<u8>> {
    let der = match curve {
        Curve::P256 => p256::ecdsa::Signature::from_slice(fixed).ok()?.to_der().as_bytes().to_vec(),
        Curve::P384 => p384::ecdsa::Signature::from_slice(fixed).ok()?.to_der().as_bytes().to_vec(),
        Curve::P521 => p521::ecdsa::Signature::from_slice(fixed).ok()?.to_der().as_bytes().to_vec(),
    };
    Some(der)
}

/// The left half of a hash, base64url: `at_hash`, `c_hash` and `s_hash` (OpenID Connect Core §3.1.3.6).
#[must_use]
pub fn left_half_hash(algorithm: SignatureAlgorithm, ascii: &str) -> String {
    // Ed25519 hashes with SHA-512 (RFC 8032 §5.1), so its left half is of that.
    let hash = algorithm.hash().unwrap_or(&digest::SHA512);
    let digest = digest::digest(hash, ascii.as_bytes());
    let octets = digest.as_ref();
    URL_SAFE_NO_PAD.encode(&octets[..octets.len() / 2])
}

/// Checks a signature of exactly the length that the algorithm has.
///
/// # Errors
/// [`Invalid::Key`] when the key is of another kind, [`Invalid::Signature`] when the signature does not verify.
pub fn verify(
    algorithm: SignatureAlgorithm,
    public: &PublicKey,
    input: &[u8],
    signature: &[u8],
) -> Result<(), Invalid> {
    if !algorithm.fits(public) {
        return Err(Invalid::Key);
    }
    let verified = match public {
        PublicKey::Rsa { n, e } => {
            if signature.len() != n.len() {
                return Err(Invalid::Signature);
            }
            PublicKeyComponents { n, e }.verify(rsa_parameters(algorithm), input, signature)
        }
        PublicKey::Ec { curve, x, y } => {
            let length = curve.field_length();
            if signature.len() != 2 * length {
                return Err(Invalid::Signature);
            }
            let mut point = [4; 1 + 2 * 66];
            point[1..=length].copy_from_slice(x);
            point[1 + length..=2 * length].copy_from_slice(y);
            let scheme = match curve {
                Curve::P256 => &lc::ECDSA_P256_SHA256_FIXED,
                Curve::P384 => &lc::ECDSA_P384_SHA384_FIXED,
                Curve::P521 => &lc::ECDSA_P521_SHA512_FIXED,
            };
            lc::UnparsedPublicKey::new(scheme, &point[..=2 * length]).verify(input, signature)
        }
        PublicKey::Ed25519 { x } => {
            lc::UnparsedPublicKey::new(&lc::ED25519, x).verify(input, signature)
        }
    };
    verified.map_err(|_| Invalid::Signature)
}

fn rsa_parameters(algorithm: SignatureAlgorithm) -> &'static lc::RsaParameters {
    match algorithm {
        SignatureAlgorithm::Rs384 => &lc::RSA_PKCS1_2048_8192_SHA384,
        SignatureAlgorithm::Rs512 => &lc::RSA_PKCS1_2048_8192_SHA512,
        SignatureAlgorithm::Ps256 => &lc::RSA_PSS_2048_8192_SHA256,
        SignatureAlgorithm::Ps384 => &lc::RSA_PSS_2048_8192_SHA384,
        SignatureAlgorithm::Ps512 => &lc::RSA_PSS_2048_8192_SHA512,
        _ => &lc::RSA_PKCS1_2048_8192_SHA256,
    }
}

/// A compact JWS whose signature has not been checked.
#[derive(Debug)]
pub struct Jws<'a> {
    /// What is signed: header, `.`, payload, as they came.
    signing_input: &'a [u8],
    header: Vec<u8>,
    payload: Vec<u8>,
    signature: Vec<u8>,
    algorithm: SignatureAlgorithm,
    kid: Option<String>,
    typ: Option<String>,
}

/// The members that decide how a token is verified; "jwk", "jku", "x5u" and "x5c" are deliberately not among them.
#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    alg: Cow<'a, str>,
    #[serde(borrow, default, deserialize_with = "present")]
    kid: Option<Cow<'a, str>>,
    #[serde(borrow, default, deserialize_with = "present")]
    typ: Option<Cow<'a, str>>,
    #[serde(default, deserialize_with = "present")]
    crit: Option<IgnoredAny>,
    #[serde(default, deserialize_with = "present")]
    b64: Option<IgnoredAny>,
}

/// A member that is there has a value: `null` is not one.
pub(crate) fn present<'de, D, T>(deserializer: D) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    T::deserialize(deserializer).map(Some)
}

impl Jws<'_> {
    /// Reads a compact JWS without believing it.
    ///
    /// # Errors
    /// When it is too long, not exactly three canonical segments, has a header that is not one strict JSON object, an
    /// algorithm that is unknown (`none` is) or an extension that must be understood.
    pub fn parse(token: &str) -> Result<Jws<'_>, Invalid> {
        if token.len() > LONGEST_TOKEN {
            return Err(Invalid::Syntax);
        }
        let mut segments = token.split('.');
        let (Some(protected), Some(payload), Some(signature), None) = (
            segments.next(),
            segments.next(),
            segments.next(),
            segments.next(),
        ) else {
            return Err(Invalid::Syntax);
        };
        let header = decode_header(protected).ok_or(Invalid::Syntax)?;
        let fields: Header<'_> =
            serde_json::from_slice(&header).map_err(|_| Invalid::Syntax)?;
        if fields.crit.is_some() || fields.b64.is_some() {
            return Err(Invalid::Critical);
        }
        let decode = |segment| URL_SAFE_NO_PAD.decode(segment).map_err(|_| Invalid::Syntax);
        Ok(Jws {
            signing_input: &token.as_bytes()[..protected.len() + 1 + payload.len()],
            payload: decode(payload)?,
            signature: decode(signature)?,
            algorithm: fields.alg.parse().map_err(|_| Invalid::Algorithm)?,
            kid: fields.kid.map(Cow::into_owned),
            typ: fields.typ.map(Cow::into_owned),
            header,
        })
    }

    fn has_type(&self, accepted: &[impl AsRef<str>]) -> bool {
        let typ = self.typ.as_deref().map(subtype);
        accepted.iter().map(AsRef::as_ref).any(|accepted| match typ {
            None => accepted.is_empty(),
            Some(typ) => !accepted.is_empty() && subtype(accepted).eq_ignore_ascii_case(typ),
        })
    }
}

/// A JOSE header: canonical base64url, not too long, one strict JSON object.
pub(crate) fn decode_header(segment: &str) -> Option<Vec<u8>> {
    if segment.len() > LONGEST_HEADER.div_ceil(3) * 4 {
        return None;
    }
    let header = URL_SAFE_NO_PAD.decode(segment).ok()?;
    Claims::parse(&header).ok()?;
    Some(header)
}

/// RFC 7515 §4.1.9: a media type; "application/" may be left out where no other slash follows.
fn subtype(typ: &str) -> &str {
    match typ.split_at_checked("application/".len()) {
        Some((prefix, rest))
            if prefix.eq_ignore_ascii_case("application/") && !rest.contains('/') =>
        {
            rest
        }
        _ => typ,
    }
}

/// A key under which a token may verify.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its name, where it has one.
    pub kid: Option<&'a str>,
    /// The only algorithm that it is for, where it says so.
    pub algorithm: Option<SignatureAlgorithm>,
    /// The key itself.
    pub public: &'a PublicKey,
}

impl Jwk {
    /// The key as a candidate, when its owner lets it verify signatures.
    #[must_use]
    pub fn candidate(&self) -> Option<Candidate<'_>> {
        let algorithm = match self.alg.as_deref() {
            None => None,
            Some(alg) => Some(alg.parse().ok()?),
        };
        self.may_verify().then_some(Candidate {
            kid: self.kid.as_deref(),
            algorithm,
            public: &self.public,
        })
    }
}

/// A token whose signature verified.
#[derive(Debug)]
pub struct Verified {
    /// The payload as it was signed: one strict JSON object.
    pub claims: Vec<u8>,
    /// The JOSE header as JSON.
    pub header: Vec<u8>,
    /// The name of the key that verified it, where it has one.
    pub kid: Option<String>,
    /// The header's "alg".
    pub algorithm: SignatureAlgorithm,
}

/// Verifies a compact JWS under one of `keys`: those that its "kid" names, where it has one, and its "alg" fits.
///
/// Accepted types are compared as RFC 7515 §4.1.9 says; an empty one accepts a token without "typ".
///
/// # Errors
/// Says which check failed. The text is for logs and for tests.
pub fn verify_compact(
    token: &str,
    accepted_typ: &[impl AsRef<str>],
    accepted_alg: &[SignatureAlgorithm],
    keys: &[Candidate<'_>],
) -> Result<Verified, Invalid> {
    let jws = Jws::parse(token)?;
    if !accepted_alg.contains(&jws.algorithm) {
        return Err(Invalid::Algorithm);
    }
    if !jws.has_type(accepted_typ) {
        return Err(Invalid::Type);
    }
    let mut refusal = Invalid::Key;
    for key in keys {
        if !may_be(key, &jws) {
            continue;
        }
        match verify(jws.algorithm, key.public, jws.signing_input, &jws.signature) {
            Ok(()) => {
                Claims::parse(&jws.payload).map_err(|_| Invalid::Claims)?;
                return Ok(Verified {
                    claims: jws.payload,
                    header: jws.header,
                    kid: key.kid.map(str::to_owned),
                    algorithm: jws.algorithm,
                });
            }
            Err(invalid) => refusal = invalid,
        }
    }
    Err(refusal)
}

fn may_be(key: &Candidate<'_>, jws: &Jws<'_>) -> bool {
    // A key without a name contradicts no "kid": a bare JWK of a proof (RFC 9449 §4.2) has none.
    let is_named = match (jws.kid.as_deref(), key.kid) {
        (Some(wanted), Some(kid)) => wanted == kid,
        _ => true,
    };
    is_named
        && key.algorithm.is_none_or(|alg| alg == jws.algorithm)
        && jws.algorithm.fits(key.public)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    const JOE: &str = "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt\
        cGxlLmNvbS9pc19yb290Ijp0cnVlfQ";

    /// Algorithm, public key, signing input, signature.
    fn vectors() -> [(SignatureAlgorithm, &'static str, String, &'static str); 4] {
        [
            (
                SignatureAlgorithm::Rs256, // RFC 7515 A.2
                r#"{"kty":"RSA","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ","e":"AQAB"}"#,
                format!("eyJhbGciOiJSUzI1NiJ9.{JOE}"),
                "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
            ),
            (
                SignatureAlgorithm::Es256, // RFC 7515 A.3
                r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
                format!("eyJhbGciOiJFUzI1NiJ9.{JOE}"),
                "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
            ),
            (
                SignatureAlgorithm::Es512, // RFC 7515 A.4
                r#"{"kty":"EC","crv":"P-521","x":"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk","y":"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"}"#,
                "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA".to_owned(),
                "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
            ),
            (
                SignatureAlgorithm::EdDsa, // RFC 8037 A.4
                r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
                "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc".to_owned(),
                "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
            ),
        ]
    }

    #[test]
    fn signatures_of_the_specifications_verify() {
        let accepted = SignatureAlgorithm::ALL;
        for (algorithm, jwk, input, signature) in vectors() {
            let jwk = Jwk::parse(jwk.as_bytes()).unwrap();
            let octets = URL_SAFE_NO_PAD.decode(signature).unwrap();
            let check = |signature: &[u8]| {
                verify(algorithm, &jwk.public, input.as_bytes(), signature)
            };
            assert_eq!(check(&octets), Ok(()), "{algorithm}");

            let token = format!("{input}.{signature}");
            let verified = verify_compact(&token, &[""], accepted, &[jwk.candidate().unwrap()]);
            match verified {
                Ok(verified) => assert!(verified.claims.starts_with(b"{\"iss\":\"joe\"")),
                // A.4 of both signs a text.
                Err(invalid) => assert_eq!(invalid, Invalid::Claims, "{algorithm}"),
            }
            for wrong in [
                &[][..],
                &octets[1..],
                &[&octets[..], &[0]].concat(),
                &[&[0], &octets[..]].concat(),
                &vec![0; octets.len()],
                &vec![0xff; octets.len()],
                &octets.iter().rev().copied().collect::<Vec<u8>>(),
            ] {
                assert_eq!(check(wrong), Err(Invalid::Signature), "{algorithm}");
            }
            if let Some(curve) = algorithm.curve() {
                let der = der_from_fixed(curve, &octets).unwrap();
                assert_eq!(fixed_from_der(curve, &der).unwrap(), octets);
                assert_eq!(check(&der), Err(Invalid::Signature), "{algorithm}");
                assert!(fixed_from_der(curve, &octets).is_none());
            }
            for other in SignatureAlgorithm::ALL.iter().filter(|alg| !alg.fits(&jwk.public)) {
                assert_eq!(verify(*other, &jwk.public, b"", &octets), Err(Invalid::Key));
            }
        }
    }

    /// RFC 7515 A.3 tells nothing about at_hash; these are OpenID Connect Core A.3's, for SHA-256.
    #[test]
    fn left_halves_are_those_of_openid_connect() {
        for (alg, ascii, half) in [
            (SignatureAlgorithm::Rs256, "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y", "77QmUPtjPfzWtF2AnpK9RQ"),
            (SignatureAlgorithm::Rs256, "Qcb0Orv1zh30vL1MPRsbm-diHiMwcLyZvn1arpZv-Jxf_11jnpEX3Tgfvk", "LDktKdoQak3Pk0cnXxCltA"),
        ] {
            assert_eq!(left_half_hash(alg, ascii), half);
        }
        assert_eq!(left_half_hash(SignatureAlgorithm::Es384, "x").len(), 32);
        assert_eq!(left_half_hash(SignatureAlgorithm::EdDsa, "x").len(), 43);
    }

    #[test]
    fn tokens_are_accepted_only_as_they_should_be() {
        let pair = Ed25519KeyPair::generate().unwrap();
        let public = PublicKey::Ed25519 {
            x: pair.public_key().as_ref().try_into().unwrap(),
        };
        let candidate = |kid, algorithm| Candidate { kid, algorithm, public: &public };
        let named = candidate(Some("k"), Some(SignatureAlgorithm::EdDsa));
        let token = |header: &str, payload: &str| {
            let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
            let input = format!("{}.{}", encode(header), encode(payload));
            let signature = URL_SAFE_NO_PAD.encode(pair.sign(input.as_bytes()));
            format!("{input}.{signature}")
        };
        let check = |token: &str, typ: &[&str], key| {
            let verified = verify_compact(token, typ, &[SignatureAlgorithm::EdDsa], &[key]);
            verified.map(|verified| verified.kid)
        };
        let ok = Ok(Some("k".to_owned()));
        let plain = r#"{"alg":"EdDSA","typ":"at+jwt","kid":"k"}"#;
        let good = token(plain, "{}");
        for (typ, expected) in [
            (&["at+jwt"][..], ok.clone()),
            (&["AT+JWT"], ok.clone()),
            (&["application/at+jwt"], ok.clone()),
            (&["JWT", "at+jwt"], ok.clone()),
            (&[], Err(Invalid::Type)),
            (&[""], Err(Invalid::Type)),
            (&["jwt"], Err(Invalid::Type)),
            (&["application/x/at+jwt"], Err(Invalid::Type)),
        ] {
            assert_eq!(check(&good, typ, named), expected, "{typ:?}");
        }
        for (header, expected) in [
            (r#"{"alg":"EdDSA"}"#, ok.clone()),
            (r#"{"alg":"EdDSA","jwk":{},"x5c":["a"]}"#, ok.clone()),
            (r#"{"alg":"EdDSA","kid":"other"}"#, Err(Invalid::Key)),
            (r#"{"alg":"none"}"#, Err(Invalid::Algorithm)),
            (r#"{"alg":"None"}"#, Err(Invalid::Algorithm)),
            (r#"{"alg":"HS256"}"#, Err(Invalid::Algorithm)),
            (r#"{"alg":"ES256"}"#, Err(Invalid::Algorithm)),
            (r#"{"alg":"EdDSA","crit":["b64"],"b64":false}"#, Err(Invalid::Critical)),
            (r#"{"alg":"EdDSA","crit":[]}"#, Err(Invalid::Critical)),
            (r#"{"alg":"EdDSA","b64":true}"#, Err(Invalid::Critical)),
            (r#"{"alg":"EdDSA","alg":"EdDSA"}"#, Err(Invalid::Syntax)),
            (r#"{"alg":"EdDSA","kid":null}"#, Err(Invalid::Syntax)),
            (r#"{"alg":"EdDSA","kid":["k"]}"#, Err(Invalid::Syntax)),
            (r#"{"alg":["EdDSA"]}"#, Err(Invalid::Syntax)),
            ("{}", Err(Invalid::Syntax)),
            ("[]", Err(Invalid::Syntax)),
            ("", Err(Invalid::Syntax)),
        ] {
            assert_eq!(check(&token(header, "{}"), &[""], named), expected, "{header}");
        }
        let long = format!(r#"{{"alg":"EdDSA","x":"{}"}}"#, "x".repeat(LONGEST_HEADER + 64));
        for bad in [
            String::new(),
            "..".to_owned(),
            format!("{good}."),
            format!("{good}="),
            format!("{good}\n"),
            good.replacen('.', "..", 1),
            good.rsplit_once('.').unwrap().0.to_owned(),
            token(&long, "{}"),
            token(plain, &"x".repeat(LONGEST_TOKEN)),
        ] {
            assert_eq!(check(&bad, &["at+jwt"], named), Err(Invalid::Syntax));
        }
        for (payload, expected) in [
            (r#"{"a":1}"#, ok),
            ("x", Err(Invalid::Claims)),
            (r#"{"a":1,"a":2}"#, Err(Invalid::Claims)),
        ] {
            assert_eq!(check(&token(plain, payload), &["at+jwt"], named), expected, "{payload}");
        }
        let other = good.replacen('.', ".e", 1);
        assert_ne!(check(&other, &["at+jwt"], named), Ok(None));
        assert_eq!(check(&good, &["at+jwt"], candidate(None, None)), Ok(None));
        let misused = candidate(None, Some(SignatureAlgorithm::Es256));
        assert_eq!(check(&good, &["at+jwt"], misused), Err(Invalid::Key));
    }
}
