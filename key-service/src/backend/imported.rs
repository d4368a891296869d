//! Somebody else's public key, as it is kept beside ours: the one thing that is brought here from elsewhere, and it only
//! verifies. Whoever can write such a record decides whom relying parties believe, so it is kept like a key: sealed, or
//! behind the PIN.

use serde::{Deserialize, Serialize};

use super::PublicKey;
use super::record::{IMPORTED_PREFIX, Strange};
use crate::algorithm::{RingAlgorithm, RingName, SignatureAlgorithm};
use crate::jwk::{self, Jwk};

/// The longest kid, in octets.
const LONGEST_KID: usize = 256;

/// A public key whose private half is elsewhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// What its owner calls it: the "kid" in the headers of what it signed.
    pub kid: String,
    /// The ring beside whose keys it is published.
    pub ring: RingName,
    /// The key itself.
    pub public: PublicKey,
    /// When it was brought here: seconds since 1970-01-01T00:00:00Z.
    pub at: i64,
    /// Until when it is published: seconds since 1970-01-01T00:00:00Z.
    pub until: i64,
}

/// A record as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    ring: String,
    jwk: serde_json::Value,
    at: i64,
    until: i64,
}

impl Imported {
    /// What it verifies; `None` where its ring does not sign, or with other keys.
    #[must_use]
    pub fn algorithm(&self) -> Option<SignatureAlgorithm> {
        match self.ring.algorithm() {
            RingAlgorithm::Signature(algorithm) if algorithm.fits(&self.public) => Some(algorithm),
            _ => None,
        }
    }

    /// Whether a kid can stand in a JWK Set, a header, a label and a metric as it is.
    #[must_use]
    pub fn is_kid(kid: &str) -> bool {
        let is_plain = |octet: u8| octet.is_ascii_graphic() && octet != b'"' && octet != b'\\';
        (1..=LONGEST_KID).contains(&kid.len()) && kid.bytes().all(is_plain)
    }

    /// The public JWK.
    #[must_use]
    pub fn jwk(&self) -> String {
        let ring = self.ring.algorithm();
        jwk::to_json(&self.public, ring.jwk_alg(), ring.usage(), &self.kid)
    }

    /// A name for the object that holds it: copies share it.
    pub(super) fn name(&self) -> String {
        let (ring, at, kid) = (&self.ring, self.at, &self.kid);
        format!("{IMPORTED_PREFIX}{ring}/{at}/{kid}")
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        let written = Written {
            ring: self.ring.to_string(),
            jwk: serde_json::from_str(&self.jwk()).expect("a JWK of ours is JSON"),
            at: self.at,
            until: self.until,
        };
        serde_json::to_vec(&written).expect("strings and numbers always have a JSON form")
    }

    /// As strictly as it was read when it was brought here.
    pub(super) fn from_json(json: &[u8]) -> Result<Imported, Strange> {
        let written: Written = serde_json::from_slice(json).map_err(|_| Strange)?;
        let jwk = Jwk::parse(written.jwk.to_string().as_bytes()).map_err(|_| Strange)?;
        let imported = Imported {
            kid: jwk.kid.filter(|kid| Imported::is_kid(kid)).ok_or(Strange)?,
            ring: written.ring.parse().map_err(|_| Strange)?,
            public: jwk.public,
            at: written.at,
            until: written.until,
        };
        imported.algorithm().map(|_| imported).ok_or(Strange)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// RFC 8037 A.2.
    const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    #[test]
    fn what_is_written_can_be_read_and_nothing_else() {
        let jwk = format!(r#"{{"kty":"OKP","crv":"Ed25519","x":"{PUBLIC}","kid":"k:1"}}"#);
        let key = Imported {
            kid: "k:1".to_owned(),
            ring: "id-token/EdDSA".parse().unwrap(),
            public: Jwk::parse(jwk.as_bytes()).unwrap().public,
            at: 5,
            until: 7,
        };
        assert_eq!(key.name(), "i1/id-token/EdDSA/5/k:1");
        let json = String::from_utf8(key.to_json()).unwrap();
        assert_eq!(Imported::from_json(json.as_bytes()).unwrap(), key);
        for (from, to) in [
            ("id-token/EdDSA", "id-token/ES256"),
            ("id-token/EdDSA", "request-object/ECDH-ES-X25519"),
            ("id-token/EdDSA", "id-token"),
            ("k:1", "k 1"),
            (r#""kid":"k:1""#, r#""kid":"k:1","d":"AA""#),
            (r#""until":7"#, r#""until":7,"more":1"#),
        ] {
            let changed = json.replace(from, to);
            assert_ne!(changed, json);
            assert!(
                Imported::from_json(changed.as_bytes()).is_err(),
                "{changed}"
            );
        }
    }

    #[test]
    fn a_kid_needs_no_escape_anywhere() {
        for (kid, is_one) in [
            ("NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs", true),
            ("public:hydra.openid.id-token/2011-04-29+x=", true),
            ("", false),
            ("a b", false),
            ("a\"b", false),
            ("a\\b", false),
            ("a\nb", false),
            ("ключ", false),
            (&"k".repeat(LONGEST_KID), true),
            (&"k".repeat(LONGEST_KID + 1), false),
        ] {
            assert_eq!(Imported::is_kid(kid), is_one, "{kid}");
        }
    }
}
