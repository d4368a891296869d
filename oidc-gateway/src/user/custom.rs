//! Claims of the configuration's own: static values and mappings from what is known about a user, by scope and by
//! client. A name is any string or URI, but none that the protocol itself uses.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{User, claims};
use crate::scope::{OFFLINE_ACCESS, OPENID, Scope};

/// `[claims]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Scopes beside those of OpenID Connect, and what people read at consent.
    pub scopes: BTreeMap<String, String>,
    /// The claims.
    pub custom: Vec<Custom>,
}

/// `[[claims.custom]]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Custom {
    /// Any string or URI.
    pub name: String,
    /// The same for everybody. Either this or `attribute`.
    pub value: Option<Value>,
    /// The name of the user's claim that it is a copy of.
    pub attribute: Option<String>,
    /// It is told with any one of these. Default: always.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// It is told to these clients. Default: to all.
    #[serde(default)]
    pub clients: Vec<String>,
    /// Where it is told. Default: userinfo.
    #[serde(default = "userinfo_alone")]
    pub targets: Vec<Target>,
}

fn userinfo_alone() -> Vec<Target> {
    vec![Target::Userinfo]
}

/// Where claims are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// OpenID Connect Core §2.
    IdToken,
    /// OpenID Connect Core §5.3.
    Userinfo,
    /// A JWT access token (RFC 9068 §2.2.2).
    AccessToken,
    /// RFC 7662 §2.2.
    Introspection,
}

impl Settings {
    /// What is wrong, and with which key.
    pub(crate) fn check(&self) -> Result<(), (String, String)> {
        for scope in self.scopes.keys() {
            let is_one_word =
                !scope.is_empty() && !scope.contains(' ') && Scope::parse(scope).is_ok();
            let is_ours = [OPENID, OFFLINE_ACCESS].contains(&scope.as_str())
                || claims::SCOPES.contains(&scope.as_str());
            let why = match (is_one_word, is_ours) {
                (false, _) => "is no scope: letters, digits and punctuation without spaces",
                (_, true) => "is a scope of OpenID Connect",
                _ => continue,
            };
            return Err((format!("claims.scopes.{scope}"), format!("`{scope}` {why}")));
        }
        for (index, custom) in self.custom.iter().enumerate() {
            custom.check().map_err(|(key, why)| {
                (
                    format!("claims.custom.{index}.{key}"),
                    format!("`{}` {why}", custom.name),
                )
            })?;
        }
        Ok(())
    }
}

impl Custom {
    fn check(&self) -> Result<(), (&'static str, String)> {
        if self.name.is_empty() || self.name.len() > 256 || self.name.chars().any(char::is_control)
        {
            let why = "must be 1 to 256 octets without control characters".to_owned();
            return Err(("name", why));
        }
        if claims::is_reserved(claims::without_language(&self.name)) {
            return Err(("name", "is reserved: the protocol says it".to_owned()));
        }
        // RFC 7662 §2.2 has a name of its own for who it is.
        if self.name == "username" && self.targets.contains(&Target::Introspection) {
            let why = "is reserved: introspection says it".to_owned();
            return Err(("name", why));
        }
        match (&self.value, &self.attribute) {
            (Some(value), None) => claims::check(&self.name, value).map_err(|why| ("value", why)),
            (None, Some(_)) => Ok(()),
            _ => Err((
                "name",
                "needs either `value` or `attribute`, and not both".to_owned(),
            )),
        }?;
        if self.targets.is_empty() {
            return Err(("targets", "is told nowhere".to_owned()));
        }
        let odd = |scope: &&String| scope.contains(' ') || Scope::parse(scope).is_err();
        match self.scopes.iter().find(odd) {
            Some(_) => Err(("scopes", "has a scope that is none".to_owned())),
            None => Ok(()),
        }
    }

    /// Whether everybody may know that there is such a claim.
    pub(crate) fn is_public(&self) -> bool {
        let is_a_persons = |target: &Target| matches!(target, Target::IdToken | Target::Userinfo);
        self.clients.is_empty() && self.targets.iter().any(is_a_persons)
    }

    /// Whether a client is told it at all.
    pub(crate) fn is_for(&self, client_id: &str) -> bool {
        self.clients.is_empty() || self.clients.iter().any(|each| each == client_id)
    }

    /// Whether one of its scopes is among these.
    pub(crate) fn is_opened_by(&self, scope: &Scope) -> bool {
        self.scopes.is_empty() || self.scopes.iter().any(|each| scope.has(each))
    }

    /// Its value for a user, or for a client of its own; `None`: it is not known, or not of the claim's type.
    pub(crate) fn value(&self, user: Option<&User>) -> Option<Value> {
        let value = match (&self.value, &self.attribute) {
            (Some(value), _) => return Some(value.clone()),
            (None, Some(attribute)) => claims::value_of(user?, attribute)?,
            (None, None) => return None,
        };
        claims::check(&self.name, value)
            .is_ok()
            .then(|| value.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings() {
        #[rustfmt::skip]
        let rows = [
            ("nothing", "", None),
            ("S0-4 static", "[[custom]]\nname = 'a'\nvalue = { b = [1, true] }", None),
            ("S0-4 mapped", "[[custom]]\nname = 'a'\nattribute = 'b'\nscopes = ['c']\nclients = ['d']\ntargets = ['id_token', 'userinfo', 'access_token', 'introspection']", None),
            ("S4-12 a URI", "[[custom]]\nname = 'http://coreos.com/password/old-hash'\nattribute = 'b'", None),
            ("S4-12 a URI with a fragment", "[[custom]]\nname = 'https://rp.example/a#b_c'\nvalue = 1", None),
            ("a standard claim", "[[custom]]\nname = 'email'\nattribute = 'mail'", None),
            ("a scope", "[scopes]\nhr = 'Your department'", None),
            ("reserved", "[[custom]]\nname = 'ok'\nvalue = 1\n[[custom]]\nname = 'sub'\nvalue = 'x'", Some("claims.custom.1.name")),
            ("reserved, in a language", "[[custom]]\nname = 'aud#de'\nvalue = 'x'", Some("claims.custom.0.name")),
            ("reserved in an introspection", "[[custom]]\nname = 'username'\nvalue = 'x'\ntargets = ['introspection']", Some("claims.custom.0.name")),
            ("and not elsewhere", "[[custom]]\nname = 'username'\nvalue = 'x'", None),
            ("no name", "[[custom]]\nname = ''\nvalue = 'x'", Some("claims.custom.0.name")),
            ("nothing to tell", "[[custom]]\nname = 'a'", Some("claims.custom.0.name")),
            ("two things to tell", "[[custom]]\nname = 'a'\nvalue = 1\nattribute = 'b'", Some("claims.custom.0.name")),
            ("of another type", "[[custom]]\nname = 'email_verified'\nvalue = 'yes'", Some("claims.custom.0.value")),
            ("nowhere", "[[custom]]\nname = 'a'\nvalue = 1\ntargets = []", Some("claims.custom.0.targets")),
            ("two scopes in one", "[[custom]]\nname = 'a'\nvalue = 1\nscopes = ['b c']", Some("claims.custom.0.scopes")),
            ("a scope of ours", "[scopes]\nprofile = 'x'", Some("claims.scopes.profile")),
            ("no scope", "[scopes]\n'a b' = 'x'", Some("claims.scopes.a b")),
        ];
        for (row, toml, wanted) in rows {
            let settings: Settings = toml::from_str(toml).expect(row);
            let problem = settings.check().err().map(|(path, _)| path);
            assert_eq!(problem.as_deref(), wanted, "{row}");
        }
    }
}
