//! Proof Key for Code Exchange (RFC 7636), method S256 alone.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256};

use crate::error::{Code, Refusal};

/// "code_challenge_method": the one that shows nothing to whoever sees the request (RFC 7636 §4.2).
pub(crate) const METHOD: &str = "S256";

/// The code challenge that a request came with: 43 characters of base64url; empty where the request had none.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub(crate) struct Challenge(String);

impl Challenge {
    /// What the authorization request says (RFC 7636 §4.3). `required`: the client may not go without.
    pub(crate) fn parse(
        challenge: Option<&str>,
        method: Option<&str>,
        required: Required,
    ) -> Result<Challenge, Refusal> {
        let refuse = |description| Err(Refusal::new(Code::InvalidRequest, description));
        match (challenge, method, required) {
            (None, None, Required::No) => Ok(Challenge::default()),
            (None, None, Required::Yes) => refuse("code_challenge is required (PKCE)"),
            (None, Some(_), _) => refuse("code_challenge_method without code_challenge"),
            (Some(challenge), Some(METHOD), _) => {
                // §4.2: BASE64URL(SHA256(..)): 32 octets, so 43 characters.
                let plain =
                    |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
                if challenge.len() != 43 || !challenge.bytes().all(plain) {
                    return refuse("code_challenge is not a SHA-256 in base64url");
                }
                Ok(Challenge(challenge.to_owned()))
            }
            // §4.3: an absent method means "plain", which shows the verifier to whoever sees the request.
            (Some(_), _, _) => refuse("code_challenge_method must be S256"),
        }
    }

    /// The challenge of a verifier (§4.6); empty where there is none.
    pub(crate) fn of_verifier(verifier: Option<&str>) -> Result<Challenge, Refusal> {
        let Some(verifier) = verifier else {
            return Ok(Challenge::default());
        };
        // §4.1: code-verifier = 43*128unreserved
        let plain =
            |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_' | b'~');
        if !(43..=128).contains(&verifier.len()) || !verifier.bytes().all(plain) {
            return Err(Refusal::new(
                Code::InvalidGrant,
                "code_verifier is not 43 to 128 unreserved characters",
            ));
        }
        Ok(Challenge(URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

/// Whether a client must use PKCE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Required {
    Yes,
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    // RFC 7636 appendix B.
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

    #[test]
    fn the_rfc_example() {
        let asked = Challenge::parse(Some(CHALLENGE), Some("S256"), Required::Yes);
        assert_eq!(
            asked,
            Ok(Challenge::of_verifier(Some(VERIFIER)).expect("valid"))
        );
    }

    #[test]
    fn refusals() {
        let long = "a".repeat(129);
        let rows: [(Option<&str>, Option<&str>, Required); 7] = [
            (None, None, Required::Yes),
            (None, Some("S256"), Required::No),
            (Some(CHALLENGE), Some("plain"), Required::No),
            (Some(CHALLENGE), None, Required::No),
            (Some(CHALLENGE), Some("s256"), Required::No),
            (Some(&CHALLENGE[1..]), Some("S256"), Required::No),
            (
                Some("E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw+cM"),
                Some("S256"),
                Required::No,
            ),
        ];
        for row in rows {
            assert!(Challenge::parse(row.0, row.1, row.2).is_err(), "{row:?}");
        }
        for verifier in [
            &VERIFIER[1..],
            &long,
            "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEj k",
        ] {
            assert!(
                Challenge::of_verifier(Some(verifier)).is_err(),
                "{verifier}"
            );
        }
    }
}
