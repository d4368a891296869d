//! JWS signatures (RFC 7515, RFC 7518 §3, RFC 8037 §3.1): their lengths and forms, and verification with a public key.
//! `compact` reads whole tokens, `mac` has the signatures of shared secrets, `totp` one-time codes.

mod compact;
mod mac;
mod totp;

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::rsa::PublicKeyComponents;
use aws_lc_rs::signature as lc;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::algorithm::SignatureAlgorithm;
use crate::backend::{Curve, PublicKey};

pub use compact::{Candidate, Jws, Verified, verify_compact};
pub(crate) use compact::{LONGEST_HEADER, decode_header, present};
pub use mac::MacKey;
pub use totp::Seed;

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

    /// The hash of "at_hash" and its like: Ed25519 hashes with SHA-512 (RFC 8032 §5.1), so its left half is of that.
    pub(crate) fn hash_of_tokens(self) -> &'static digest::Algorithm {
        self.hash().unwrap_or(&digest::SHA512)
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
            (_, PublicKey::Ed25519 { .. } | PublicKey::X25519 { .. }) => false,
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
        Curve::P256 => Some(
            p256::ecdsa::Signature::from_der(der)
                .ok()?
                .to_bytes()
                .to_vec(),
        ),
        Curve::P384 => Some(
            p384::ecdsa::Signature::from_der(der)
                .ok()?
                .to_bytes()
                .to_vec(),
        ),
        Curve::P521 => Some(
            p521::ecdsa::Signature::from_der(der)
                .ok()?
                .to_bytes()
                .to_vec(),
        ),
    }
}

/// An ECDSA signature as DER, from r‖s; `None` when it is not one for this curve.
#[must_use]
pub fn der_from_fixed(curve: Curve, fixed: &[u8]) -> Option<Vec<u8>> {
    let der = match curve {
        Curve::P256 => p256::ecdsa::Signature::from_slice(fixed)
            .ok()?
            .to_der()
            .as_bytes()
            .to_vec(),
        Curve::P384 => p384::ecdsa::Signature::from_slice(fixed)
            .ok()?
            .to_der()
            .as_bytes()
            .to_vec(),
        Curve::P521 => p521::ecdsa::Signature::from_slice(fixed)
            .ok()?
            .to_der()
            .as_bytes()
            .to_vec(),
    };
    Some(der)
}

/// The left half of a hash, base64url: `at_hash`, `c_hash` and `s_hash` (OpenID Connect Core §3.1.3.6).
pub(crate) fn left_half_hash(hash: &'static digest::Algorithm, ascii: &str) -> String {
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
        PublicKey::X25519 { .. } => return Err(Invalid::Key),
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::algorithm::MacAlgorithm;
    use crate::jwk::Jwk;

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
            let check =
                |signature: &[u8]| verify(algorithm, &jwk.public, input.as_bytes(), signature);
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
            for other in SignatureAlgorithm::ALL
                .iter()
                .filter(|alg| !alg.fits(&jwk.public))
            {
                assert_eq!(verify(*other, &jwk.public, b"", &octets), Err(Invalid::Key));
            }
        }
    }

    /// OpenID Connect Core A.3 and A.6.
    #[test]
    fn left_halves_are_those_of_openid_connect() {
        for (alg, ascii, half) in [
            (
                SignatureAlgorithm::Rs256,
                "jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y",
                "77QmUPtjPfzWtF2AnpK9RQ",
            ),
            (
                SignatureAlgorithm::Rs256,
                "Qcb0Orv1zh30vL1MPRsbm-diHiMwcLyZvn1arpZv-Jxf_11jnpEX3Tgfvk",
                "LDktKdoQak3Pk0cnXxCltA",
            ),
        ] {
            assert_eq!(left_half_hash(alg.hash_of_tokens(), ascii), half);
        }
        for (hash, length) in [
            (SignatureAlgorithm::Es384.hash_of_tokens(), 32),
            (SignatureAlgorithm::EdDsa.hash_of_tokens(), 43),
            (MacAlgorithm::Hs256.hash(), 22),
            (MacAlgorithm::Hs384.hash(), 32),
            (MacAlgorithm::Hs512.hash(), 43),
        ] {
            assert_eq!(left_half_hash(hash, "x").len(), length);
        }
    }
}
