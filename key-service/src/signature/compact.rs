//! Compact JWSs (RFC 7515 §7.1), read strictly: nothing is learnt about a token before its signature has verified,
//! except how to verify it.

use std::borrow::Cow;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::IgnoredAny;
use serde::{Deserialize, Deserializer};

use super::{Invalid, MacKey, verify};
use crate::algorithm::{MacAlgorithm, SignatureAlgorithm};
use crate::backend::PublicKey;
use crate::jwk::Jwk;
use crate::keyring::claims::Claims;

/// The longest compact JWS, in octets.
const LONGEST_TOKEN: usize = 64 * 1024;
/// The longest JOSE header, in octets of JSON.
pub(crate) const LONGEST_HEADER: usize = 4 * 1024;

/// A compact JWS whose signature has not been checked. It is of a public key's algorithm or of a shared secret's, and
/// which of them its reader decides, never its header (RFC 8725 §3.1).
#[derive(Debug)]
pub struct Jws<'a, Algorithm> {
    /// What is signed: header, `.`, payload, as they came.
    signing_input: &'a [u8],
    header: Vec<u8>,
    payload: Vec<u8>,
    signature: Vec<u8>,
    algorithm: Algorithm,
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

impl<'a, Algorithm: FromStr + PartialEq> Jws<'a, Algorithm> {
    /// Reads a compact JWS without believing it.
    ///
    /// # Errors
    /// When it is too long, not exactly three canonical segments, has a header that is not one strict JSON object, an
    /// algorithm that is not of the expected kind (`none` never is) or an extension that must be understood.
    pub fn parse(token: &'a str) -> Result<Jws<'a, Algorithm>, Invalid> {
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
        let fields: Header<'_> = serde_json::from_slice(&header).map_err(|_| Invalid::Syntax)?;
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

    /// Whether the header says what the reader expects.
    ///
    /// # Errors
    /// [`Invalid::Algorithm`] and [`Invalid::Type`].
    pub fn expect(
        &self,
        accepted_typ: &[impl AsRef<str>],
        accepted_alg: &[Algorithm],
    ) -> Result<(), Invalid> {
        if !accepted_alg.contains(&self.algorithm) {
            return Err(Invalid::Algorithm);
        }
        if !self.has_type(accepted_typ) {
            return Err(Invalid::Type);
        }
        Ok(())
    }

    fn has_type(&self, accepted: &[impl AsRef<str>]) -> bool {
        let typ = self.typ.as_deref().map(subtype);
        accepted
            .iter()
            .map(AsRef::as_ref)
            .any(|accepted| match typ {
                None => accepted.is_empty(),
                Some(typ) => !accepted.is_empty() && subtype(accepted).eq_ignore_ascii_case(typ),
            })
    }
}

impl Jws<'_, MacAlgorithm> {
    /// Verifies under a secret that its sender shares with us. A "kid" would name nothing: there is one secret.
    ///
    /// # Errors
    /// Says which check failed, as [`verify_compact`] does.
    pub fn verify(self, key: &MacKey) -> Result<Verified, Invalid> {
        if key.algorithm() != self.algorithm {
            return Err(Invalid::Key);
        }
        key.verify(self.signing_input, &self.signature)?;
        self.believe(None)
    }
}

impl<Algorithm> Jws<'_, Algorithm> {
    /// To be called when its signature has verified, and not before.
    fn believe(self, kid: Option<&str>) -> Result<Verified, Invalid> {
        Claims::parse(&self.payload).map_err(|_| Invalid::Claims)?;
        Ok(Verified {
            claims: self.payload,
            header: self.header,
            kid: kid.map(str::to_owned),
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
    let jws: Jws<'_, SignatureAlgorithm> = Jws::parse(token)?;
    jws.expect(accepted_typ, accepted_alg)?;
    let mut refusal = Invalid::Key;
    for key in keys {
        if !may_be(key, &jws) {
            continue;
        }
        match verify(jws.algorithm, key.public, jws.signing_input, &jws.signature) {
            Ok(()) => return jws.believe(key.kid),
            Err(invalid) => refusal = invalid,
        }
    }
    Err(refusal)
}

fn may_be(key: &Candidate<'_>, jws: &Jws<'_, SignatureAlgorithm>) -> bool {
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

    #[test]
    fn tokens_are_accepted_only_as_they_should_be() {
        let pair = Ed25519KeyPair::generate().unwrap();
        let public = PublicKey::Ed25519 {
            x: pair.public_key().as_ref().try_into().unwrap(),
        };
        let candidate = |kid, algorithm| Candidate {
            kid,
            algorithm,
            public: &public,
        };
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
            (
                r#"{"alg":"EdDSA","crit":["b64"],"b64":false}"#,
                Err(Invalid::Critical),
            ),
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
            assert_eq!(
                check(&token(header, "{}"), &[""], named),
                expected,
                "{header}"
            );
        }
        let long = format!(
            r#"{{"alg":"EdDSA","x":"{}"}}"#,
            "x".repeat(LONGEST_HEADER + 64)
        );
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
            assert_eq!(
                check(&token(plain, payload), &["at+jwt"], named),
                expected,
                "{payload}"
            );
        }
        let (_, signature) = good.rsplit_once('.').unwrap();
        let other = token(plain, r#"{"a":1}"#);
        let forged = format!("{}.{signature}", other.rsplit_once('.').unwrap().0);
        assert_eq!(check(&forged, &["at+jwt"], named), Err(Invalid::Signature));
        assert_eq!(check(&good, &["at+jwt"], candidate(None, None)), Ok(None));
        let misused = candidate(None, Some(SignatureAlgorithm::Es256));
        assert_eq!(check(&good, &["at+jwt"], misused), Err(Invalid::Key));
    }

    #[test]
    fn a_shared_secret_verifies_its_own_algorithm_alone() {
        let key = |algorithm| MacKey::of(algorithm, &vec![7; 64].into()).unwrap();
        let (hs256, hs512) = (key(MacAlgorithm::Hs256), key(MacAlgorithm::Hs512));
        let token = |header: &str, key: &MacKey| {
            let input = format!("{}.e30", URL_SAFE_NO_PAD.encode(header));
            let signature = URL_SAFE_NO_PAD.encode(key.sign(input.as_bytes()));
            format!("{input}.{signature}")
        };
        let check = |token: &str, algorithm, key: &MacKey| {
            let jws: Jws<'_, MacAlgorithm> = Jws::parse(token)?;
            jws.expect(&[""], &[algorithm])?;
            jws.verify(key).map(|verified| verified.kid)
        };
        let (plain, other) = (r#"{"alg":"HS256","kid":"k"}"#, r#"{"alg":"HS512"}"#);
        for (what, header, signer, algorithm, verifier, expected) in [
            ("good", plain, &hs256, MacAlgorithm::Hs256, &hs256, Ok(None)),
            (
                "not the expected one",
                plain,
                &hs256,
                MacAlgorithm::Hs512,
                &hs512,
                Err(Invalid::Algorithm),
            ),
            (
                "a key for another one",
                other,
                &hs512,
                MacAlgorithm::Hs512,
                &hs256,
                Err(Invalid::Key),
            ),
            (
                "made with another one",
                plain,
                &hs512,
                MacAlgorithm::Hs256,
                &hs256,
                Err(Invalid::Signature),
            ),
            (
                "a public key's algorithm",
                r#"{"alg":"ES256"}"#,
                &hs256,
                MacAlgorithm::Hs256,
                &hs256,
                Err(Invalid::Algorithm),
            ),
            (
                "none",
                r#"{"alg":"none"}"#,
                &hs256,
                MacAlgorithm::Hs256,
                &hs256,
                Err(Invalid::Algorithm),
            ),
        ] {
            assert_eq!(
                check(&token(header, signer), algorithm, verifier),
                expected,
                "{what}"
            );
        }
        let unsigned = token(plain, &hs256);
        let unsigned = format!("{}.", unsigned.rsplit_once('.').unwrap().0);
        let checked = check(&unsigned, MacAlgorithm::Hs256, &hs256);
        assert_eq!(checked, Err(Invalid::Signature));
    }
}
