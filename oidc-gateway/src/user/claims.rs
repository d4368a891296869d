//! Claims by scope (OpenID Connect Core §5.4). Discovery and the configuration's checks read the same table.

use serde_json::{Map, Value};

use super::User;
use crate::scope::Scope;

/// The standard claims of each scope, in the order of §5.1.
const BY_SCOPE: [(&str, &[&str]); 4] = [
    (
        "profile",
        &[
            "name",
            "given_name",
            "family_name",
            "middle_name",
            "nickname",
            "preferred_username",
            "profile",
            "picture",
            "website",
            "gender",
            "birthdate",
            "zoneinfo",
            "locale",
            "updated_at",
        ],
    ),
    ("email", &["email", "email_verified"]),
    ("address", &["address"]),
    ("phone", &["phone_number", "phone_number_verified"]),
];

// What the protocol says about a token or a sign-in, and nobody else may.
const RESERVED: [&str; 24] = [
    "iss",
    "sub",
    "aud",
    "exp",
    "nbf",
    "iat",
    "jti",
    "auth_time",
    "nonce",
    "acr",
    "amr",
    "azp",
    "at_hash",
    "c_hash",
    "s_hash",
    "sid",
    "cnf",
    "act",
    "may_act",
    "events",
    "scope",
    "client_id",
    "active",
    "token_type",
];

/// The scopes above.
pub(crate) const SCOPES: [&str; 4] = [BY_SCOPE[0].0, BY_SCOPE[1].0, BY_SCOPE[2].0, BY_SCOPE[3].0];

/// All standard claims, for the discovery document.
pub(crate) fn supported() -> impl Iterator<Item = &'static str> {
    BY_SCOPE.iter().flat_map(|(_, names)| names.iter().copied())
}

/// What a client with these scopes may learn about a user beside `sub`; what is not known is left out.
pub(crate) fn claims_for(scope: &Scope, user: &User) -> Map<String, Value> {
    let mut told = Map::new();
    for word in scope.words() {
        let names: &[&str] = match BY_SCOPE.iter().find(|(name, _)| *name == word) {
            Some((_, names)) => names,
            // A claim of the configuration's own; a standard one has its scope above.
            None if is_standard(word) => continue,
            None => &[word],
        };
        for &name in names {
            if let Some(value) = user.claims.get(name) {
                told.insert(name.to_owned(), value.clone());
            }
        }
    }
    told
}

/// Checks a claim that the configuration gives.
pub(super) fn check(name: &str, value: &Value) -> Result<(), String> {
    if RESERVED.contains(&name) {
        return Err(format!("the claim `{name}` cannot be set"));
    }
    let (fits, must) = match name {
        "email_verified" | "phone_number_verified" => (value.is_boolean(), "true or false"),
        "updated_at" => (
            value.is_i64() || value.is_u64(),
            "a number of seconds since 1970",
        ),
        "address" => (value.is_object(), "a table"),
        _ if is_standard(name) => (value.is_string(), "a string"),
        _ => return Ok(()),
    };
    if fits {
        Ok(())
    } else {
        Err(format!("the claim `{name}` must be {must}"))
    }
}

fn is_standard(name: &str) -> bool {
    supported().any(|standard| standard == name)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::password::PasswordHash;

    #[test]
    fn claims_by_scope() {
        let claims = serde_json::json!({
            "email_verified": true, "email": "a@example.org", "name": "A", "updated_at": 7,
            "address": {"locality": "Bern"}, "phone_number": "+41", "roles": ["x"], "unknown": null,
        });
        let user = User {
            subject: "1".to_owned(),
            username: "a".to_owned(),
            password_hash: PasswordHash::of_generated("x"),
            claims: claims.as_object().unwrap().clone(),
            disabled: false,
        };
        for (scope, expected) in [
            ("", r#"{}"#),
            ("openid", r#"{}"#),
            ("openid profile", r#"{"name":"A","updated_at":7}"#),
            (
                "email",
                r#"{"email":"a@example.org","email_verified":true}"#,
            ),
            (
                "phone address",
                r#"{"phone_number":"+41","address":{"locality":"Bern"}}"#,
            ),
            ("roles", r#"{"roles":["x"]}"#),
            ("name phone_number sub", r#"{}"#),
        ] {
            let told = claims_for(&Scope::parse(scope).unwrap(), &user);
            assert_eq!(serde_json::to_string(&told).unwrap(), expected, "{scope}");
        }
    }
}
