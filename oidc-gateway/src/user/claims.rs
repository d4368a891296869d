//! Claims by scope (OpenID Connect Core §5.4) and by language (§5.2). Discovery and the configuration's checks read the
//! same table.

use serde_json::{Map, Value};

use super::User;

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

/// The scope that a standard claim belongs to.
pub(crate) fn scope_of(claim: &str) -> Option<&'static str> {
    let mut scopes = BY_SCOPE.iter();
    let scope = scopes.find(|(_, names)| names.contains(&claim));
    scope.map(|(scope, _)| *scope)
}

/// Whether the protocol itself says this, and no configuration or request may.
pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED.contains(&name)
}

/// A claim's name without its language tag (§5.2: `name#ja-Kana-JP`).
pub(crate) fn without_language(name: &str) -> &str {
    name.split_once('#').map_or(name, |(name, _)| name)
}

/// What is told about a user beside `sub`, claim by claim; what is not known is left out.
#[derive(Debug)]
pub(crate) struct Telling<'a> {
    user: &'a User,
    locales: &'a [String],
    told: Map<String, Value>,
}

impl<'a> Telling<'a> {
    /// Nothing yet; `locales`: language tags that the client prefers.
    pub(crate) fn of(user: &'a User, locales: &'a [String]) -> Telling<'a> {
        Telling {
            user,
            locales,
            told: Map::new(),
        }
    }

    /// What a scope opens: its standard claims, or a claim of the configuration's own by the scope's own name.
    pub(crate) fn scope(&mut self, word: &str) {
        match BY_SCOPE.iter().find(|(name, _)| *name == word) {
            Some((_, names)) => names.iter().for_each(|name| self.claim(name)),
            // A standard claim has its scope above.
            None if is_standard(word) => {}
            None => self.claim(word),
        }
    }

    /// One claim, and how it is written in the languages that were asked for.
    fn claim(&mut self, name: &str) {
        if let Some(value) = self.user.claims.get(name) {
            self.told.insert(name.to_owned(), value.clone());
        }
        for locale in self.locales {
            for (tagged, value) in &self.user.claims {
                let tag = tagged
                    .strip_prefix(name)
                    .and_then(|rest| rest.strip_prefix('#'));
                if tag.is_some_and(|tag| is_within(tag, locale)) {
                    self.told.insert(tagged.clone(), value.clone());
                }
            }
        }
    }

    /// One more, whatever it comes from.
    pub(crate) fn insert(&mut self, name: &str, value: Value) {
        self.told.insert(name.to_owned(), value);
    }

    /// All of it.
    pub(crate) fn into_map(self) -> Map<String, Value> {
        self.told
    }
}

/// A claim of a user by its exact name; letters of a language tag have no case (§5.2).
pub(crate) fn value_of<'a>(user: &'a User, name: &str) -> Option<&'a Value> {
    user.claims.get(name).or_else(|| {
        let (name, tag) = name.split_once('#')?;
        let mut claims = user.claims.iter();
        let found = claims.find(|(each, _)| {
            each.split_once('#')
                .is_some_and(|(other, theirs)| other == name && theirs.eq_ignore_ascii_case(tag))
        });
        found.map(|(_, value)| value)
    })
}

/// RFC 4647 §3.3.1: a range covers the tags that begin with it.
fn is_within(tag: &str, range: &str) -> bool {
    match tag.get(..range.len()) {
        Some(begin) if begin.eq_ignore_ascii_case(range) => {
            matches!(tag.as_bytes().get(range.len()), None | Some(b'-'))
        }
        _ => false,
    }
}

/// Checks a claim that the configuration gives.
pub(super) fn check(name: &str, value: &Value) -> Result<(), String> {
    let base = without_language(name);
    if is_reserved(base) {
        return Err(format!("the claim `{name}` cannot be set"));
    }
    // RFC 5646 §2.1: letters, digits and hyphens.
    let is_tag = |tag: &str| {
        let mut parts = tag.split('-');
        parts.all(|part| {
            (1..=8).contains(&part.len()) && part.bytes().all(|octet| octet.is_ascii_alphanumeric())
        })
    };
    // A `#` in a URI is no language tag.
    if let (false, Some((_, tag))) = (name.contains("://"), name.split_once('#'))
        && !is_tag(tag)
    {
        return Err(format!("the claim `{name}`: `{tag}` is no language tag"));
    }
    let (fits, must) = match base {
        "email_verified" | "phone_number_verified" => (value.is_boolean(), "true or false"),
        "updated_at" => (
            value.is_i64() || value.is_u64(),
            "a number of seconds since 1970",
        ),
        "address" => (value.is_object(), "a table"),
        _ if is_standard(base) => (value.is_string(), "a string"),
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

    fn user(claims: &Value) -> User {
        User {
            subject: "1".to_owned(),
            username: "a".to_owned(),
            password_hash: PasswordHash::of_generated("x"),
            claims: claims.as_object().unwrap().clone(),
            labels: crate::user::label::Labels::default(),
            disabled: false,
        }
    }

    #[test]
    fn claims_by_scope() {
        let user = user(&serde_json::json!({
            "email_verified": true, "email": "a@example.org", "name": "A", "updated_at": 7,
            "address": {"locality": "Bern"}, "phone_number": "+41", "roles": ["x"], "unknown": null,
        }));
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
            let mut telling = Telling::of(&user, &[]);
            scope.split(' ').for_each(|word| telling.scope(word));
            let told = serde_json::to_string(&telling.into_map()).unwrap();
            assert_eq!(told, expected, "S2-26 {scope}");
        }
    }

    #[test]
    fn claims_by_language() {
        let user = user(&serde_json::json!({
            "family_name": "Yamada", "family_name#ja-Kana-JP": "k", "family_name#ja-Hani-JP": "h",
            "family_name#de": "d", "given_name#ja": "g",
        }));
        for (locales, expected) in [
            ("", vec!["family_name"]),
            ("fr", vec!["family_name"]),
            ("de-CH", vec!["family_name"]),
            ("DE", vec!["family_name", "family_name#de"]),
            ("ja-Kana fr", vec!["family_name", "family_name#ja-Kana-JP"]),
            (
                "ja",
                vec![
                    "given_name#ja",
                    "family_name",
                    "family_name#ja-Kana-JP",
                    "family_name#ja-Hani-JP",
                ],
            ),
        ] {
            let locales: Vec<String> = locales.split_whitespace().map(str::to_owned).collect();
            let mut telling = Telling::of(&user, &locales);
            telling.scope("profile");
            let told = telling.into_map();
            let mut names: Vec<&str> = told.keys().map(String::as_str).collect();
            let mut expected = expected;
            names.sort_unstable();
            expected.sort_unstable();
            assert_eq!(names, expected, "{locales:?}");
        }
        for (name, found) in [
            ("family_name#JA-kana-jp", true),
            ("family_name#ja", false),
            ("given_name", false),
        ] {
            assert_eq!(value_of(&user, name).is_some(), found, "{name}");
        }
    }
}
