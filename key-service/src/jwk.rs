//! JSON Web Keys (RFC 7517, RFC 7518 §6, RFC 8037 §2): ours written, others' read strictly; thumbprints (RFC 7638).
//!
//! A [`Jwk`] that exists is usable: its numbers have the right lengths and its point is on its curve. A private or
//! symmetric member is an error, not a detail to skip: whoever sent it has made a mistake that must be seen.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rsa::pkcs8::DecodePublicKey as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{BoxedUint, RsaPublicKey};
use serde_json::{Map, Value};

use crate::algorithm::KeyManagementAlgorithm;
use crate::backend::{Curve, Peer, Point, PublicKey};
use crate::keyring::claims::Claims;

/// The most keys in a JWK Set that is read.
pub const MOST_KEYS: usize = 32;
/// The longest name of a key, in octets.
const LONGEST_KID: usize = 512;
/// RSA moduli, in bits: below is weak (RFC 7518 §3.3), above costs too much.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
/// Members that no public key has (RFC 7518 §6.2.2, §6.3.2, §6.4.1).
const PRIVATE: &[&str] = &["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

/// Why a JWK or a JWK Set cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Not one strict JSON object, or a member of the wrong type.
    #[error("not a JWK")]
    Syntax,
    /// More than [`MOST_KEYS`].
    #[error("too many keys")]
    TooManyKeys,
    /// A private or symmetric key.
    #[error("holds private key material")]
    Private,
    /// "kty" or "crv" that is not supported.
    #[error("key type not supported")]
    Unsupported,
    /// A number that is missing, too short, too long, or not minimal where it must be.
    #[error("a number of the wrong length")]
    Length,
    /// The point is not on the curve, or of small order.
    #[error("the point is not on its curve, or of small order")]
    Point,
    /// None of the keys is for the algorithm.
    #[error("no key is for this algorithm")]
    NoKey,
}

/// Somebody else's public key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwk {
    /// The key itself.
    pub public: PublicKey,
    /// "kid" (RFC 7517 §4.5).
    pub kid: Option<String>,
    /// "alg" (RFC 7517 §4.4): the only algorithm that it is for.
    pub alg: Option<String>,
    /// "use" (RFC 7517 §4.2).
    pub usage: Option<String>,
    /// "key_ops" (RFC 7517 §4.3).
    pub key_ops: Option<Vec<String>>,
}

impl Jwk {
    /// Reads one public key.
    ///
    /// # Errors
    /// When it is not a public key that this service can use.
    pub fn parse(json: &[u8]) -> Result<Jwk, Invalid> {
        Jwk::of(&strict(json)?)
    }

    pub(crate) fn of(members: &Map<String, Value>) -> Result<Jwk, Invalid> {
        if PRIVATE.iter().any(|name| members.contains_key(*name)) {
            return Err(Invalid::Private);
        }
        let public = match required(members, "kty")? {
            "EC" => ec(members)?,
            "RSA" => rsa(members)?,
            "OKP" => okp(members)?,
            "oct" => return Err(Invalid::Private),
            _ => return Err(Invalid::Unsupported),
        };
        let key_ops = match members.get("key_ops") {
            None => None,
            Some(ops) => Some(texts(ops)?),
        };
        let kid = optional(members, "kid")?;
        if kid.as_ref().is_some_and(|kid| kid.len() > LONGEST_KID) {
            return Err(Invalid::Length);
        }
        Ok(Jwk {
            public,
            kid,
            alg: optional(members, "alg")?,
            usage: optional(members, "use")?,
            key_ops,
        })
    }

    /// Whether its owner lets it verify signatures ("use", "key_ops").
    #[must_use]
    pub fn may_verify(&self) -> bool {
        self.is_for("sig", &["verify"])
    }

    /// Whether others can encrypt to it in this way, and its owner lets them ("use", "key_ops", "alg").
    #[must_use]
    pub fn may_encrypt(&self, algorithm: KeyManagementAlgorithm) -> bool {
        let (fits, operations): (bool, &[&str]) = match &self.public {
            PublicKey::Rsa { .. } => (
                !algorithm.is_agreement() && !algorithm.is_symmetric(),
                &["encrypt", "wrapKey"],
            ),
            PublicKey::Ec { .. } | PublicKey::X25519 { .. } => {
                (algorithm.is_agreement(), &["deriveKey", "deriveBits"])
            }
            PublicKey::Ed25519 { .. } => (false, &[]),
        };
        fits && self.is_for("enc", operations)
            && self
                .alg
                .as_ref()
                .is_none_or(|alg| alg == algorithm.as_str())
    }

    fn is_for(&self, usage: &str, operations: &[&str]) -> bool {
        self.usage.as_ref().is_none_or(|it| it == usage)
            && self
                .key_ops
                .as_ref()
                .is_none_or(|ops| ops.iter().any(|op| operations.contains(&op.as_str())))
    }
}

/// The key to encrypt to: a JWK, or of a JWK Set the first key that is for `algorithm`, one that says so before one that
/// leaves it open.
///
/// # Errors
/// When there is none, or what is there cannot be used.
pub fn recipient(json: &[u8], algorithm: KeyManagementAlgorithm) -> Result<Jwk, Invalid> {
    let members = strict(json)?;
    if !members.contains_key("keys") {
        return Jwk::of(&members);
    }
    let says_so = |jwk: &Jwk| (jwk.alg.is_some(), jwk.usage.is_some());
    let mut best: Option<Jwk> = None;
    for jwk in set_of(&members)? {
        let is_better = best
            .as_ref()
            .is_none_or(|best| says_so(&jwk) > says_so(best));
        if jwk.may_encrypt(algorithm) && is_better {
            best = Some(jwk);
        }
    }
    best.ok_or(Invalid::NoKey)
}

/// Reads a JWK Set of at most [`MOST_KEYS`] keys.
///
/// # Errors
/// When one of them cannot be used, unless that is because its "kty" or "crv" is not supported: those are left out
/// (RFC 7517 §5).
pub fn parse_set(json: &[u8]) -> Result<Vec<Jwk>, Invalid> {
    set_of(&strict(json)?)
}

fn set_of(set: &Map<String, Value>) -> Result<Vec<Jwk>, Invalid> {
    let Some(Value::Array(keys)) = set.get("keys") else {
        return Err(Invalid::Syntax);
    };
    if keys.len() > MOST_KEYS {
        return Err(Invalid::TooManyKeys);
    }
    let mut found = Vec::with_capacity(keys.len());
    for key in keys {
        match Jwk::of(key.as_object().ok_or(Invalid::Syntax)?) {
            Ok(jwk) => found.push(jwk),
            Err(Invalid::Unsupported) => {}
            Err(invalid) => return Err(invalid),
        }
    }
    Ok(found)
}

/// The public key as a JWK. `alg`, `usage` and `kid` must be of characters that JSON leaves as they are.
#[must_use]
pub fn to_json(public: &PublicKey, alg: Option<&str>, usage: &str, kid: &str) -> String {
    let members = match public {
        PublicKey::Ec { curve, x, y } => format!(
            r#""kty":"EC","crv":"{}","x":"{}","y":"{}""#,
            curve.as_str(),
            encode(x),
            encode(y)
        ),
        PublicKey::Rsa { n, e } => {
            format!(r#""kty":"RSA","n":"{}","e":"{}""#, encode(n), encode(e))
        }
        PublicKey::Ed25519 { x } => {
            format!(r#""kty":"OKP","crv":"Ed25519","x":"{}""#, encode(x))
        }
        PublicKey::X25519 { x } => {
            format!(r#""kty":"OKP","crv":"X25519","x":"{}""#, encode(x))
        }
    };
    let alg = alg
        .map(|alg| format!(r#","alg":"{alg}""#))
        .unwrap_or_default();
    format!(r#"{{{members}{alg},"use":"{usage}","kid":"{kid}"}}"#)
}

/// The key's thumbprint with SHA-256, base64url (RFC 7638 §3).
#[must_use]
pub fn thumbprint(public: &PublicKey) -> String {
    // §3.2, RFC 8037 §2: the required members alone, in lexicographic order.
    let json = match public {
        PublicKey::Ec { curve, x, y } => format!(
            r#"{{"crv":"{}","kty":"EC","x":"{}","y":"{}"}}"#,
            curve.as_str(),
            encode(x),
            encode(y)
        ),
        PublicKey::Rsa { n, e } => {
            format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, encode(e), encode(n))
        }
        PublicKey::Ed25519 { x } => {
            format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, encode(x))
        }
        PublicKey::X25519 { x } => {
            format!(r#"{{"crv":"X25519","kty":"OKP","x":"{}"}}"#, encode(x))
        }
    };
    encode(digest(&SHA256, json.as_bytes()).as_ref())
}

impl PublicKey {
    /// An RSA key from its SubjectPublicKeyInfo (RFC 5280 §4.1.2.7, RFC 3279 §2.3.1).
    pub(crate) fn from_rsa_spki(der: &[u8]) -> Result<PublicKey, Invalid> {
        let key = RsaPublicKey::from_public_key_der(der).map_err(|_| Invalid::Syntax)?;
        Ok(PublicKey::Rsa {
            n: key.n_bytes().into_vec(),
            e: key.e_bytes().into_vec(),
        })
    }
}

/// An RSA key to encrypt to; never a short one, wherever it comes from.
pub(crate) fn rsa_key(n: &[u8], e: &[u8]) -> Result<RsaPublicKey, Invalid> {
    let (n, e) = (
        BoxedUint::from_be_slice_vartime(n),
        BoxedUint::from_be_slice_vartime(e),
    );
    RsaPublicKey::new_with_size_limits(n, e, RSA_BITS).map_err(|_| Invalid::Length)
}

impl Curve {
    /// "crv" (RFC 7518 §6.2.1.1).
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Curve::P256 => "P-256",
            Curve::P384 => "P-384",
            Curve::P521 => "P-521",
        }
    }

    /// Length of a coordinate, in octets.
    #[must_use]
    pub fn field_length(self) -> usize {
        match self {
            Curve::P256 => 32,
            Curve::P384 => 48,
            Curve::P521 => 66,
        }
    }
}

impl Point {
    /// Checks that the coordinates are of the field's length and that the point is on the curve.
    ///
    /// # Errors
    /// When they are not.
    pub fn of(curve: Curve, x: &[u8], y: &[u8]) -> Result<Point, Invalid> {
        if x.len() != curve.field_length() || y.len() != curve.field_length() {
            return Err(Invalid::Length);
        }
        let sec1 = [&[4], x, y].concat();
        let is_on_curve = match curve {
            Curve::P256 => p256::PublicKey::from_sec1_bytes(&sec1).is_ok(),
            Curve::P384 => p384::PublicKey::from_sec1_bytes(&sec1).is_ok(),
            Curve::P521 => p521::PublicKey::from_sec1_bytes(&sec1).is_ok(),
        };
        if is_on_curve {
            Ok(Point { curve, sec1 })
        } else {
            Err(Invalid::Point)
        }
    }
}

fn encode(octets: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(octets)
}

fn strict(json: &[u8]) -> Result<Map<String, Value>, Invalid> {
    let strict = Claims::parse(json).map_err(|_| Invalid::Syntax)?;
    serde_json::from_slice(strict.as_bytes()).map_err(|_| Invalid::Syntax)
}

fn required<'a>(members: &'a Map<String, Value>, name: &str) -> Result<&'a str, Invalid> {
    members
        .get(name)
        .and_then(Value::as_str)
        .ok_or(Invalid::Syntax)
}

fn optional(members: &Map<String, Value>, name: &str) -> Result<Option<String>, Invalid> {
    match members.get(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Invalid::Syntax),
    }
}

fn texts(value: &Value) -> Result<Vec<String>, Invalid> {
    let items = value.as_array().ok_or(Invalid::Syntax)?;
    items
        .iter()
        .map(|item| item.as_str().map(str::to_owned).ok_or(Invalid::Syntax))
        .collect()
}

fn octets(members: &Map<String, Value>, name: &str) -> Result<Vec<u8>, Invalid> {
    URL_SAFE_NO_PAD
        .decode(required(members, name)?)
        .map_err(|_| Invalid::Syntax)
}

fn ec(members: &Map<String, Value>) -> Result<PublicKey, Invalid> {
    let curve = match required(members, "crv")? {
        "P-256" => Curve::P256,
        "P-384" => Curve::P384,
        "P-521" => Curve::P521,
        _ => return Err(Invalid::Unsupported),
    };
    let (x, y) = (octets(members, "x")?, octets(members, "y")?);
    Point::of(curve, &x, &y)?;
    Ok(PublicKey::Ec { curve, x, y })
}

fn rsa(members: &Map<String, Value>) -> Result<PublicKey, Invalid> {
    let (n, e) = (octets(members, "n")?, octets(members, "e")?);
    let (Some(&first), Some(&last)) = (n.first(), n.last()) else {
        return Err(Invalid::Length);
    };
    // RFC 7518 §6.3.1.1, §2: as many octets as it takes, so the first is not zero.
    let bits = n.len() * 8 - first.leading_zeros() as usize;
    if first == 0 || last & 1 == 0 || !RSA_BITS.contains(&bits) {
        return Err(Invalid::Length);
    }
    // An exponent of at most 32 bits bounds what a verification costs.
    let is_exponent = match e.as_slice() {
        [] | [0 | 1] | [0, ..] => false,
        [.., last] => e.len() <= 4 && last & 1 == 1,
    };
    if !is_exponent {
        return Err(Invalid::Length);
    }
    Ok(PublicKey::Rsa { n, e })
}

fn okp(members: &Map<String, Value>) -> Result<PublicKey, Invalid> {
    let key: fn([u8; 32]) -> PublicKey = match required(members, "crv")? {
        "Ed25519" => |x| PublicKey::Ed25519 { x },
        "X25519" => |x| PublicKey::X25519 { x },
        _ => return Err(Invalid::Unsupported),
    };
    let x = octets(members, "x")?;
    let public = x.try_into().map(key).map_err(|_| Invalid::Length)?;
    let is_usable = matches!(public, PublicKey::Ed25519 { .. }) || Peer::of(&public).is_some();
    if is_usable {
        Ok(public)
    } else {
        Err(Invalid::Point)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// RFC 7638 §3.1.
    const RSA: &str = r#"{"kty":"RSA","n":"0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw","e":"AQAB","alg":"RS256","kid":"2011-04-29"}"#;
    /// RFC 7515 A.3.1.
    const EC: &str = r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
    /// RFC 8037 A.2.
    const ED: &str =
        r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;

    #[test]
    fn thumbprints_are_those_of_the_specifications() {
        for (json, thumb) in [
            (RSA, "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"), // RFC 7638 §3.1
            (ED, "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"),  // RFC 8037 A.3
        ] {
            assert_eq!(
                thumbprint(&Jwk::parse(json.as_bytes()).unwrap().public),
                thumb
            );
        }
    }

    #[test]
    fn what_is_written_can_be_read() {
        for json in [RSA, EC, ED] {
            let public = Jwk::parse(json.as_bytes()).unwrap().public;
            let written = to_json(&public, Some("ES256"), "sig", "k");
            let read = Jwk::parse(written.as_bytes()).unwrap();
            assert_eq!(read.public, public);
            assert_eq!(read.usage.as_deref(), Some("sig"));
            assert!(read.may_verify());
            assert!(!read.may_encrypt(KeyManagementAlgorithm::EcdhEs));
        }
    }

    #[test]
    fn unusable_keys_are_refused() {
        let with = |json: &str, member: &str| json.replacen('{', &format!("{{{member},"), 1);
        let n = RSA.split('"').nth(7).unwrap();
        for (json, invalid) in [
            ("[]".to_owned(), Invalid::Syntax),
            ("{}".to_owned(), Invalid::Syntax),
            (with(EC, r#""x":"AA""#), Invalid::Syntax),
            (with(EC, r#""kid":7"#), Invalid::Syntax),
            (with(EC, r#""key_ops":"verify""#), Invalid::Syntax),
            (with(EC, r#""d":"AA""#), Invalid::Private),
            (with(RSA, r#""p":"AA""#), Invalid::Private),
            (r#"{"kty":"oct","k":"AA"}"#.to_owned(), Invalid::Private),
            (r#"{"kty":"oct"}"#.to_owned(), Invalid::Private),
            (r#"{"kty":"AKP"}"#.to_owned(), Invalid::Unsupported),
            (EC.replace("P-256", "secp256k1"), Invalid::Unsupported),
            (EC.replace("P-256", "P-384"), Invalid::Length),
            (EC.replace("x_FE", "x_FF"), Invalid::Point),
            (EC.replace("5a0\"", "5a1\""), Invalid::Syntax), // bits after the last octet
            (EC.replace("5a0\"", "5a0=\""), Invalid::Syntax),
            (ED.replace("11qY", ""), Invalid::Length),
            (ED.replace("Ed25519", "Ed448"), Invalid::Unsupported),
            (
                format!(r#"{{"kty":"OKP","crv":"X25519","x":"{:A<43}"}}"#, ""),
                Invalid::Point,
            ),
            (RSA.replace(n, &n[..172]), Invalid::Length), // 1024 bits
            (RSA.replace(n, &n.repeat(5)), Invalid::Length),
            (RSA.replace(n, &format!("AAAA{n}")), Invalid::Length),
            (RSA.replace("AQAB", "AQ"), Invalid::Length),
            (RSA.replace("AQAB", "AQAA"), Invalid::Length),
            (RSA.replace("AQAB", "AAEAAQ"), Invalid::Length),
            (RSA.replace("AQAB", "AQAAAAE"), Invalid::Length),
        ] {
            assert_eq!(Jwk::parse(json.as_bytes()), Err(invalid), "{json}");
        }
    }

    #[test]
    fn short_rsa_keys_are_not_encrypted_to() {
        let modulus = |bits: usize| {
            let mut n = vec![0xff; bits.div_ceil(8)];
            n[0] >>= n.len() * 8 - bits;
            n
        };
        for (bits, exponent, is_usable) in [
            (2047, &[1, 0, 1][..], false),
            (2048, &[1, 0, 1], true),
            (8192, &[3], true),
            (8193, &[3], false),
            (2048, &[1], false),
            (2048, &[2], false),
            (2048, &[], false),
        ] {
            let key = rsa_key(&modulus(bits), exponent);
            assert_eq!(key.is_ok(), is_usable, "{bits} {exponent:?}");
        }
        assert!(rsa_key(&[], &[3]).is_err());
    }

    #[test]
    fn the_key_to_encrypt_to_is_the_one_that_says_so() {
        let with = |json: &str, members: &str| json.replacen('{', &format!("{{{members},"), 1);
        let rsa = RSA.replace(r#","alg":"RS256","kid":"2011-04-29""#, "");
        let x25519 = r#"{"kty":"OKP","crv":"X25519","x":"hSDwCYkwp1R0i33ctD73Wg2_Og0mOBr066SpjqqbTmo","kid":"x"}"#;
        let open = with(EC, r#""kid":"open""#);
        let used = with(EC, r#""use":"enc","kid":"used""#);
        let named = with(EC, r#""use":"enc","alg":"ECDH-ES","kid":"named""#);
        let signing = with(EC, r#""use":"sig","kid":"signing""#);
        let wraps = with(&rsa, r#""key_ops":["wrapKey"],"kid":"wraps""#);
        let verifies = with(&rsa, r#""key_ops":["verify"],"kid":"verifies""#);
        for (keys, algorithm, kid) in [
            (
                vec![&*signing, &open, &used, &named],
                "ECDH-ES",
                Some("named"),
            ),
            (
                vec![&signing, &open, &used, &named],
                "ECDH-ES+A128KW",
                Some("used"),
            ),
            (vec![&open, x25519], "ECDH-ES", Some("open")),
            (vec![x25519, &open], "ECDH-ES+A256KW", Some("x")),
            (vec![&signing, ED], "ECDH-ES", None),
            (vec![&open, &verifies, &wraps], "RSA-OAEP", Some("wraps")),
            (vec![&open, &verifies], "RSA-OAEP-256", None),
            (vec![&wraps, &open], "dir", None),
            (vec![&wraps, &open], "A128KW", None),
            (vec![], "RSA-OAEP", None),
        ] {
            let set = format!(r#"{{"keys":[{}]}}"#, keys.join(","));
            let found = recipient(set.as_bytes(), algorithm.parse().unwrap());
            let found = found.map(|jwk| jwk.kid);
            let expected = kid.map(|kid| Some(kid.to_owned())).ok_or(Invalid::NoKey);
            assert_eq!(found, expected, "{set} {algorithm}");
        }
        let alone = recipient(EC.as_bytes(), KeyManagementAlgorithm::RsaOaep);
        assert!(!alone.unwrap().may_encrypt(KeyManagementAlgorithm::RsaOaep));
    }

    #[test]
    fn sets_leave_out_what_is_not_supported_and_refuse_what_is_wrong() {
        let set = |keys: &[&str]| format!(r#"{{"keys":[{}]}}"#, keys.join(","));
        let unknown = r#"{"kty":"AKP","alg":"ML-DSA-44","pub":"AA"}"#;
        let read = parse_set(set(&[unknown, EC, RSA, ED]).as_bytes()).unwrap();
        assert_eq!(read.len(), 3);
        assert_eq!(parse_set(b"{\"keys\":[]}").unwrap(), []);
        for (json, invalid) in [
            (EC.to_owned(), Invalid::Syntax),
            (r#"{"keys":[1]}"#.to_owned(), Invalid::Syntax),
            (set(&[EC, r#"{"kty":"oct","k":"AA"}"#]), Invalid::Private),
            (set(&[EC; MOST_KEYS + 1]), Invalid::TooManyKeys),
        ] {
            assert_eq!(parse_set(json.as_bytes()).unwrap_err(), invalid, "{json}");
        }
    }
}
