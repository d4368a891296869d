//! Labelled scopes, as itsyou.online has them: `user:email:billing` asks for an e-mail address *for billing*. Which of
//! the person's addresses that is, the person says at consent; the claim has the name of the requested scope, and the
//! person's own label is never told.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::User;

/// The label that stands for none.
pub(crate) const MAIN: &str = "main";

/// What a user has, by the user's own labels.
#[derive(Debug, Clone, Default)]
pub struct Labels {
    /// E-mail addresses. Without `main`, the claim `email` is that.
    pub emails: BTreeMap<String, Labelled>,
    /// Telephone numbers. Without `main`, the claim `phone_number` is that.
    pub phones: BTreeMap<String, Labelled>,
}

/// An address or a number: a string, or a table that says whether it was validated.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(from = "Written")]
pub struct Labelled {
    /// The address or number.
    pub value: String,
    /// Whether somebody made sure that it is the person's.
    pub validated: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Written {
    Alone(String),
    #[serde(rename_all = "lowercase")]
    Table {
        value: String,
        #[serde(default)]
        validated: bool,
    },
}

impl From<Written> for Labelled {
    fn from(written: Written) -> Labelled {
        let (value, validated) = match written {
            Written::Alone(value) => (value, false),
            Written::Table { value, validated } => (value, validated),
        };
        Labelled { value, validated }
    }
}

impl Labels {
    /// A label stands in a scope.
    pub(super) fn check(&self) -> Result<(), String> {
        let labels = self.emails.keys().chain(self.phones.keys());
        match labels.into_iter().find(|label| !is_label(label)) {
            Some(label) => Err(format!(
                "the label `{label}` must be 1 to 64 letters, digits, `-`, `_` or `.`"
            )),
            None => Ok(()),
        }
    }
}

fn is_label(label: &str) -> bool {
    let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    (1..=64).contains(&label.len()) && label.bytes().all(is_plain)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    Email,
    Phone,
}

/// A scope of this kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LabelledScope<'a> {
    kind: Kind,
    validated: bool,
    label: &'a str,
}

impl<'a> LabelledScope<'a> {
    /// `user:name`, `user:[validated:](email|phone)[:label]`; `None`: another scope.
    pub(crate) fn parse(word: &'a str) -> Option<LabelledScope<'a>> {
        let rest = word.strip_prefix("user:")?;
        if rest == "name" {
            return Some(LabelledScope {
                kind: Kind::Name,
                validated: false,
                label: MAIN,
            });
        }
        let (validated, rest) = match rest.strip_prefix("validated:") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let (kind, label) = match rest.split_once(':') {
            Some((kind, label)) if is_label(label) => (kind, label),
            Some(_) => return None,
            None => (rest, MAIN),
        };
        let kind = match kind {
            "email" => Kind::Email,
            "phone" => Kind::Phone,
            _ => return None,
        };
        Some(LabelledScope {
            kind,
            validated,
            label,
        })
    }

    /// The scope without a label: a client that is registered for it may ask for every label.
    pub(crate) fn unlabelled(self) -> &'static str {
        match (self.kind, self.validated) {
            (Kind::Name, _) => "user:name",
            (Kind::Email, false) => "user:email",
            (Kind::Email, true) => "user:validated:email",
            (Kind::Phone, false) => "user:phone",
            (Kind::Phone, true) => "user:validated:phone",
        }
    }

    /// The labels of the person that could stand behind it; none: there is nothing to choose.
    pub(crate) fn own_labels(self, user: &User) -> Vec<String> {
        let (labelled, standard) = self.all(user);
        let mut labels: Vec<String> = labelled
            .into_iter()
            .flatten()
            .filter(|(_, each)| each.validated || !self.validated)
            .map(|(label, _)| label.clone())
            .collect();
        if standard.is_some() && !labels.iter().any(|label| label == MAIN) {
            labels.insert(0, MAIN.to_owned());
        }
        labels
    }

    /// What the person would most likely choose.
    pub(crate) fn suggested(self, own_labels: &[String]) -> Option<&str> {
        let find = |wanted: &str| own_labels.iter().find(|label| *label == wanted);
        let label = find(self.label).or_else(|| find(MAIN));
        label.or_else(|| own_labels.first()).map(String::as_str)
    }

    /// The claim, with the label that the person chose; without one, the label of the same name, or the main one.
    pub(crate) fn value(self, user: &User, chosen: Option<&str>) -> Option<Value> {
        if self.kind == Kind::Name {
            return name(user);
        }
        let (labelled, standard) = self.all(user);
        let by_label = |label: &str| match labelled.and_then(|labelled| labelled.get(label)) {
            Some(found) => {
                (found.validated || !self.validated).then(|| Value::from(found.value.clone()))
            }
            None if label == MAIN => standard.clone(),
            None => None,
        };
        match chosen {
            Some(chosen) => by_label(chosen),
            None => by_label(self.label).or_else(|| by_label(MAIN)),
        }
    }

    /// What the person has of this kind: by label, and as the standard claim where that may be told.
    fn all(self, user: &User) -> (Option<&BTreeMap<String, Labelled>>, Option<Value>) {
        let (labelled, claim, verified) = match self.kind {
            Kind::Name => return (None, None),
            Kind::Email => (&user.labels.emails, "email", "email_verified"),
            Kind::Phone => (&user.labels.phones, "phone_number", "phone_number_verified"),
        };
        let is_verified = user.claims.get(verified) == Some(&Value::Bool(true));
        let standard = user.claims.get(claim).cloned();
        (
            Some(labelled),
            standard.filter(|_| is_verified || !self.validated),
        )
    }
}

fn name(user: &User) -> Option<Value> {
    let part = |claim: &str| user.claims.get(claim).and_then(Value::as_str);
    if let Some(name) = part("name") {
        return Some(Value::from(name));
    }
    match (part("given_name"), part("family_name")) {
        (Some(given), Some(family)) => Some(Value::from(format!("{given} {family}"))),
        (one, other) => one.or(other).map(Value::from),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::password::PasswordHash;

    #[test]
    fn claims_of_labelled_scopes() {
        let labelled = |value: &str, validated| Labelled {
            value: value.to_owned(),
            validated,
        };
        let claims = serde_json::json!({
            "given_name": "A", "family_name": "B", "email": "main@example.org", "email_verified": false,
            "phone_number": "+41", "phone_number_verified": true,
        });
        let user = User {
            subject: "1".to_owned(),
            username: "a".to_owned(),
            password_hash: PasswordHash::of_generated("x"),
            claims: claims.as_object().unwrap().clone(),
            labels: Labels {
                emails: BTreeMap::from([
                    ("work".to_owned(), labelled("work@example.org", true)),
                    ("home".to_owned(), labelled("home@example.org", false)),
                ]),
                phones: BTreeMap::new(),
            },
            disabled: false,
        };
        #[rustfmt::skip]
        let rows = [
            ("S1-4", "user:name", None, Some("A B")),
            ("S1-5", "user:email", None, Some("main@example.org")),
            ("S1-5 with a label", "user:email:work", None, Some("work@example.org")),
            ("S1-9 a label that the person has not", "user:email:billing", None, Some("main@example.org")),
            ("S1-10 chosen", "user:email:billing", Some("home"), Some("home@example.org")),
            ("S1-10 chosen, and gone since", "user:email:billing", Some("gone"), None),
            ("S1-6 main is not validated", "user:validated:email", None, None),
            ("S1-6", "user:validated:email:work", None, Some("work@example.org")),
            ("S1-6 chosen, not validated", "user:validated:email", Some("home"), None),
            ("S1-7", "user:phone:x", None, Some("+41")),
            ("S1-8", "user:validated:phone", None, Some("+41")),
        ];
        for (row, word, chosen, wanted) in rows {
            let scope = LabelledScope::parse(word).unwrap();
            assert!(word.starts_with(scope.unlabelled()), "{row}");
            let value = scope.value(&user, chosen);
            assert_eq!(value.as_ref().and_then(Value::as_str), wanted, "{row}");
        }
        for word in [
            "email",
            "user:mail",
            "user:email:",
            "user:email:a:b",
            "user:name:x",
            "user:validated",
        ] {
            assert_eq!(LabelledScope::parse(word), None, "{word}");
        }
        let labels = |word| LabelledScope::parse(word).unwrap().own_labels(&user);
        assert_eq!(labels("user:email:x"), ["main", "home", "work"]);
        assert_eq!(labels("user:validated:email"), ["work"]);
        assert_eq!(labels("user:name"), [""; 0]);
    }
}
