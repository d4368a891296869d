//! What a client wants to be registered as: the members that it may register, each in its form, what it did not say
//! filled in, and all of it held against what the operator allows and what there is.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use serde_json::{Map, Value, json};
use zeroize::Zeroizing;

use super::metadata::{Metadata, REGISTRABLE};
use super::registered;
use super::secret::{ClientSecret, Issued, seal};
use super::supported::Supported;
use super::{Client, Wrong, localized, sector};
use crate::clock::seconds;
use crate::error::Failure;
use crate::password::PasswordHash;
use crate::provider::Provider;
use crate::scope::Scope;
use crate::secret::Secret;

/// What a client may say of itself, in octets.
const LARGEST: usize = 32 * 1024;

/// What a client wants to be registered as.
pub(super) struct Proposed {
    client_id: String,
    pub(super) members: Map<String, Value>,
    pub(super) metadata: Metadata,
}

impl Proposed {
    /// The members that may be registered, each in its form; others are ignored (RFC 7591 §2).
    pub(super) fn parse(
        provider: &Provider,
        client_id: &str,
        object: Map<String, Value>,
    ) -> Result<Proposed, Wrong> {
        let mut members = Map::new();
        for (name, value) in object {
            let base = name.split('#').next().unwrap_or_default();
            let Some(member) = REGISTRABLE.iter().find(|each| **each == base) else {
                continue;
            };
            let is_localized = name.contains('#');
            if value.is_null() || (is_localized && !localized::MEMBERS.contains(member)) {
                continue;
            }
            let alone = Map::from_iter([(name.clone(), value.clone())]);
            if Metadata::of_members(&alone).is_none() {
                return Err(Wrong::new(member, "is malformed, or is not supported here"));
            }
            members.insert(name, value);
        }
        let rules = &provider.config.registration;
        fill_in(&mut members, &rules.scope)?;
        let odd = || Wrong::new("the body", "has members that do not go together");
        let metadata = registered::metadata(provider, client_id, &members).ok_or_else(odd)?;
        Ok(Proposed {
            client_id: client_id.to_owned(),
            members,
            metadata,
        })
    }

    /// Whether the operator allows it and it goes together. What has to be fetched is fetched last.
    pub(super) async fn check(&self, provider: &Provider, request_id: &str) -> Result<(), Failure> {
        let rules = &provider.config.registration;
        let metadata = &self.metadata;
        let mut grants = metadata.grant_types.iter().flatten();
        if !grants.all(|grant| rules.grant_types.contains(grant)) {
            return Err(Wrong::new(
                "grant_types",
                "has one that clients may not register themselves",
            )
            .into());
        }
        let method = metadata.token_endpoint_auth_method;
        if method.is_some_and(|method| !rules.token_endpoint_auth_methods.contains(&method)) {
            return Err(Wrong::new(
                "token_endpoint_auth_method",
                "is one that clients may not register themselves",
            )
            .into());
        }
        let published = provider.keys.published().ok_or_else(|| {
            Failure::Unavailable("the key-service has not told its keys yet".to_owned())
        })?;
        Supported::of(provider, &published).check(metadata)?;
        // The secret comes later: here it matters only that there will be one.
        let secret = metadata.needs_secret().then(|| {
            ClientSecret::Issued(Issued {
                hash: PasswordHash::of_generated(""),
                sealed: None,
                expires: 0,
            })
        });
        Client::of(metadata.clone(), secret)?;
        sector::check(provider, request_id, metadata).await?;
        Ok(())
    }

    /// A new secret, and what is stored of it.
    pub(super) async fn secret(
        &self,
        provider: &Provider,
        request_id: &str,
    ) -> Result<(Secret<String>, registered::Secret), Failure> {
        // HS512 takes a key of 64 octets (RFC 7518 §3.2).
        let (secret, hash, sealed) = match self.metadata.shortest_key() {
            None => {
                let secret = Secret::new(provider.random.token256());
                let hash = PasswordHash::of_generated(secret.expose());
                (secret, hash, None)
            }
            Some(_) => {
                let octets = Zeroizing::new(provider.random.octets::<64>());
                let secret = Secret::new(URL_SAFE_NO_PAD.encode(octets.as_slice()));
                let sealed = seal(provider, request_id, &self.client_id, secret.expose()).await?;
                let hash = PasswordHash::of_key(secret.expose());
                (secret, hash, Some(sealed.sealed))
            }
        };
        let lifetime = provider.config.registration.secret_lifetime;
        let stored = registered::Secret {
            hash: hash.as_str().to_owned(),
            sealed,
            expires: match lifetime.is_zero() {
                true => 0,
                false => provider.clock.now() + seconds(lifetime),
            },
        };
        Ok((secret, stored))
    }
}

/// What the client did not say, so that it is told (RFC 7591 §3.2.1), and does not change when our defaults do.
fn fill_in(members: &mut Map<String, Value>, most: &str) -> Result<(), Wrong> {
    let odd = |_| Wrong::new("scope", "has odd characters, or too many words");
    let most = Scope::parse(most).map_err(odd)?;
    let scope = match members.get("scope").and_then(Value::as_str) {
        Some(asked) => Scope::parse(asked)
            .map_err(odd)?
            .filtered(|word| most.has(word)),
        None => most,
    };
    members.insert("scope".to_owned(), json!(scope));
    let defaults = [
        ("application_type", json!("web")),
        ("grant_types", json!(["authorization_code"])),
        ("token_endpoint_auth_method", json!("client_secret_basic")),
        ("id_token_signed_response_alg", json!("RS256")),
        ("subject_type", json!("public")),
    ];
    for (name, value) in defaults {
        members.entry(name).or_insert(value);
    }
    let uses_code = members["grant_types"]
        .as_array()
        .is_some_and(|grants| grants.iter().any(|grant| grant == "authorization_code"));
    if uses_code {
        members.entry("response_types").or_insert(json!(["code"]));
    }
    for kind in [
        "id_token_encrypted_response",
        "userinfo_encrypted_response",
        "request_object_encryption",
    ] {
        if members.contains_key(&format!("{kind}_alg")) {
            members
                .entry(format!("{kind}_enc"))
                .or_insert(json!("A128CBC-HS256"));
        }
    }
    Ok(())
}

/// One JSON object in which no name is repeated.
pub(super) fn object(body: &[u8]) -> Result<Map<String, Value>, Failure> {
    struct Object;
    impl<'de> Visitor<'de> for Object {
        type Value = Map<String, Value>;
        fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("a JSON object")
        }
        fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self::Value, A::Error> {
            let mut object = Map::new();
            while let Some((name, value)) = members.next_entry::<String, Value>()? {
                if object.insert(name, value).is_some() {
                    return Err(de::Error::custom("a name is repeated"));
                }
            }
            Ok(object)
        }
    }
    if body.len() > LARGEST {
        return Err(Failure::Body(crate::error::Body::TooLarge));
    }
    let mut json = serde_json::Deserializer::from_slice(body);
    let object = json
        .deserialize_map(Object)
        .and_then(|object| json.end().map(|()| object));
    object.map_err(|_| {
        let sentence = "must be one JSON object in which no name is repeated";
        Wrong::new("the body", sentence).into()
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn one_object() {
        for (body, good) in [
            ("{}", true),
            (" {\"a\": 1, \"b\": {\"a\": null}} ", true),
            ("{\"a\": 1, \"a\": 1}", false),
            ("[]", false),
            ("{} {}", false),
            ("", false),
            ("a=b", false),
        ] {
            assert_eq!(object(body.as_bytes()).is_ok(), good, "{body}");
        }
        let large = format!("{{\"a\": \"{}\"}}", "x".repeat(LARGEST));
        assert!(matches!(
            object(large.as_bytes()),
            Err(Failure::Body(crate::error::Body::TooLarge))
        ));
    }

    #[test]
    fn what_is_filled_in() {
        let most = "openid email offline_access";
        let rows = [
            (
                json!({}),
                json!({
                    "scope": most, "application_type": "web", "grant_types": ["authorization_code"],
                    "token_endpoint_auth_method": "client_secret_basic",
                    "id_token_signed_response_alg": "RS256", "subject_type": "public",
                    "response_types": ["code"],
                }),
            ),
            (
                json!({"scope": "email admin", "grant_types": ["implicit"], "id_token_encrypted_response_alg": "RSA-OAEP"}),
                json!({
                    "scope": "email", "grant_types": ["implicit"], "application_type": "web",
                    "token_endpoint_auth_method": "client_secret_basic",
                    "id_token_signed_response_alg": "RS256", "subject_type": "public",
                    "id_token_encrypted_response_alg": "RSA-OAEP",
                    "id_token_encrypted_response_enc": "A128CBC-HS256",
                }),
            ),
        ];
        for (asked, expected) in rows {
            let mut members = asked.as_object().unwrap().clone();
            fill_in(&mut members, most).unwrap();
            assert_eq!(Value::Object(members), expected, "{asked}");
        }
    }
}
