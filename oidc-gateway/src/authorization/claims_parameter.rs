//! The `claims` parameter (OpenID Connect Core §5.5): which claims a client asks for one by one, and where it wants
//! them. Asking is no right: what may be told is decided where the tokens are made.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

/// Longer than all standard claims, each with a value: octets.
const LONGEST: usize = 4096;
/// Claims in one place.
const MOST_CLAIMS: usize = 64;
/// A claim's name, also one that is a URI: octets.
const LONGEST_NAME: usize = 256;
/// `values` of one claim.
const MOST_VALUES: usize = 16;

/// What is asked for, by place. Other places (§5.5: "MUST be ignored") are not kept.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ClaimsRequest {
    #[serde(
        deserialize_with = "each_once",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub(crate) id_token: BTreeMap<String, ClaimRequest>,
    #[serde(
        deserialize_with = "each_once",
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub(crate) userinfo: BTreeMap<String, ClaimRequest>,
}

/// How one claim is asked for (§5.5.1). On the wire `null` is the same as nothing being said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(crate) struct ClaimRequest {
    #[serde(skip_serializing_if = "is_false")]
    pub(crate) essential: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) value: Option<Value>,
    /// In order of preference.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) values: Vec<Value>,
}

/// §5.5.1: members that are not understood are ignored.
#[derive(Deserialize, Default)]
#[serde(default)]
struct Members {
    essential: bool,
    value: Option<Value>,
    values: Vec<Value>,
}

/// A parameter that is no claims request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;

impl ClaimsRequest {
    /// Parses the parameter strictly: a claim that is there twice might be read in two ways.
    pub(crate) fn parse(text: &str) -> Result<ClaimsRequest, Malformed> {
        // A list would be read as the members in their order.
        if text.len() > LONGEST || !text.trim_start().starts_with('{') {
            return Err(Malformed);
        }
        serde_json::from_str(text).map_err(|_| Malformed)
    }

    /// Whether nothing is asked for.
    pub(crate) fn is_empty(&self) -> bool {
        self.id_token.is_empty() && self.userinfo.is_empty()
    }
}

impl ClaimRequest {
    /// The strings that would do, in order of preference; none: whatever there is.
    pub(crate) fn texts(&self) -> impl Iterator<Item = &str> {
        self.value
            .iter()
            .chain(&self.values)
            .filter_map(Value::as_str)
    }
}

impl<'de> Deserialize<'de> for ClaimRequest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<ClaimRequest, D::Error> {
        struct NullOrObject;
        impl<'de> Visitor<'de> for NullOrObject {
            type Value = ClaimRequest;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("null or how a claim is asked for")
            }

            fn visit_unit<E>(self) -> Result<ClaimRequest, E> {
                Ok(ClaimRequest::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ClaimRequest, A::Error> {
                let members = Members::deserialize(MapAccessDeserializer::new(map))?;
                Ok(ClaimRequest {
                    essential: members.essential,
                    value: members.value,
                    values: members.values,
                })
            }
        }
        deserializer.deserialize_any(NullOrObject)
    }
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde's signature
fn is_false(value: &bool) -> bool {
    !value
}

fn each_once<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeMap<String, ClaimRequest>, D::Error> {
    struct EachOnce;
    impl<'de> Visitor<'de> for EachOnce {
        type Value = BTreeMap<String, ClaimRequest>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("claims by name")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut claims = BTreeMap::new();
            while let Some((name, claim)) = map.next_entry::<String, ClaimRequest>()? {
                if name.is_empty() || name.len() > LONGEST_NAME {
                    return Err(A::Error::custom("a name"));
                }
                if claim.values.len() > MOST_VALUES || claims.len() == MOST_CLAIMS {
                    return Err(A::Error::custom("too many"));
                }
                if claims.insert(name, claim).is_some() {
                    return Err(A::Error::custom("a claim is there twice"));
                }
            }
            Ok(claims)
        }
    }
    deserializer.deserialize_map(EachOnce)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_read_is_written_and_read_again() {
        let specification = json!({
            "userinfo": {
                "given_name": {"essential": true},
                "nickname": null,
                "http://example.info/claims/groups": null,
            },
            "id_token": {
                "auth_time": {"essential": true},
                "acr": {"values": ["urn:mace:incommon:iap:silver"]},
            },
            "elsewhere": {"x": 1},
        });
        let claims = ClaimsRequest::parse(&specification.to_string()).unwrap();
        assert!(claims.userinfo["given_name"].essential);
        assert_eq!(claims.userinfo["nickname"], ClaimRequest::default());
        let acr: Vec<&str> = claims.id_token["acr"].texts().collect();
        assert_eq!(acr, ["urn:mace:incommon:iap:silver"]);
        let again = serde_json::to_string(&claims).unwrap();
        assert_eq!(ClaimsRequest::parse(&again), Ok(claims));
        assert_eq!(ClaimsRequest::parse("{}"), Ok(ClaimsRequest::default()));
        assert_eq!(
            serde_json::to_string(&ClaimsRequest::default()).unwrap(),
            "{}"
        );
    }

    #[test]
    fn refusals() {
        let many = |count: usize| {
            let claims: Vec<String> = (0..count).map(|n| format!("\"c{n}\":null")).collect();
            format!("{{\"userinfo\":{{{}}}}}", claims.join(","))
        };
        let named = |length: usize| format!("{{\"id_token\":{{\"{}\":null}}}}", "n".repeat(length));
        let deep = format!(
            "{{\"id_token\":{{\"a\":{{\"value\":{}{}}}}}}}",
            "[".repeat(1000),
            "]".repeat(1000)
        );
        let rows = [
            ("an object", "{}".to_owned(), true),
            (
                "unknown members",
                r#"{"id_token":{"a":{"x":1}}}"#.to_owned(),
                true,
            ),
            ("64 claims", many(64), true),
            ("65 claims", many(65), false),
            ("a name of 256", named(256), true),
            ("a name of 257", named(257), false),
            ("no name", named(0), false),
            ("nothing", String::new(), false),
            ("no JSON", "{".to_owned(), false),
            ("a list", "[]".to_owned(), false),
            ("a string", "\"x\"".to_owned(), false),
            ("something behind it", "{} {}".to_owned(), false),
            ("a place is a list", r#"{"id_token":[]}"#.to_owned(), false),
            (
                "a place twice",
                r#"{"id_token":{},"id_token":{}}"#.to_owned(),
                false,
            ),
            (
                "a claim twice",
                r#"{"id_token":{"a":null,"a":null}}"#.to_owned(),
                false,
            ),
            (
                "the same, escaped",
                r#"{"id_token":{"a":null,"\u0061":null}}"#.to_owned(),
                false,
            ),
            (
                "a claim is a list",
                r#"{"id_token":{"a":[true]}}"#.to_owned(),
                false,
            ),
            (
                "a claim is true",
                r#"{"id_token":{"a":true}}"#.to_owned(),
                false,
            ),
            (
                "a claim is a string",
                r#"{"id_token":{"a":"b"}}"#.to_owned(),
                false,
            ),
            (
                "essential is a string",
                r#"{"id_token":{"a":{"essential":"true"}}}"#.to_owned(),
                false,
            ),
            (
                "essential twice",
                r#"{"id_token":{"a":{"essential":true,"essential":false}}}"#.to_owned(),
                false,
            ),
            (
                "values is a string",
                r#"{"id_token":{"a":{"values":"b"}}}"#.to_owned(),
                false,
            ),
            ("deep", deep, false),
            ("long", format!("{{}}{}", " ".repeat(4096)), false),
        ];
        for (row, text, passes) in rows {
            assert_eq!(ClaimsRequest::parse(&text).is_ok(), passes, "{row}");
        }
    }
}
