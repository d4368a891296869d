//! The users of the configuration: `[[users]]` and `users_file`, checked as a whole.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::label::{Labelled, Labels};
use super::{User, claims};
use crate::password::PasswordHash;
use crate::secret::Secret;

/// A user as the configuration writes it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// `sub`, at most 255 printable ASCII characters; by default the username, which then must not be given to another
    /// person later.
    pub subject: Option<String>,
    /// What the person types; case matters.
    pub username: String,
    /// The output of `oidc-gateway hash-password`: argon2id, pbkdf2 or bcrypt.
    pub password_hash: Secret<String>,
    /// A disabled user cannot sign in, and tokens that exist stop working.
    #[serde(default)]
    pub disabled: bool,
    /// `name`, `given_name`, `email`, `email_verified`, `address` …; a claim that is none of the standard ones is given
    /// for the scope of the same name.
    #[serde(default)]
    pub claims: Map<String, Value>,
    /// E-mail addresses by the person's own labels, for scopes such as `user:email:billing`.
    #[serde(default)]
    pub emails: BTreeMap<String, Labelled>,
    /// Telephone numbers, likewise.
    #[serde(default)]
    pub phones: BTreeMap<String, Labelled>,
}

/// Why users cannot be used: a sentence for whoever wrote them.
#[derive(Debug, thiserror::Error)]
#[error("user `{username}`: {reason}")]
pub struct Invalid {
    username: String,
    reason: String,
}

/// The users, found by name and by subject.
#[derive(Debug, Default)]
pub struct Directory {
    by_username: HashMap<String, Arc<User>>,
    by_subject: HashMap<String, Arc<User>>,
}

impl Directory {
    /// Checks the entries, each and together.
    ///
    /// # Errors
    /// A hash or a claim cannot be used, or a username or subject is there twice.
    pub fn of(entries: Vec<Entry>) -> Result<Directory, Invalid> {
        let mut directory = Directory::default();
        for entry in entries {
            let username = entry.username.clone();
            let invalid = |reason: String| Invalid {
                username: username.clone(),
                reason,
            };
            let user = Arc::new(user(entry).map_err(invalid)?);
            let twice = directory
                .by_username
                .insert(user.username.clone(), Arc::clone(&user));
            if twice.is_some() {
                return Err(invalid("there are two of this name".to_owned()));
            }
            let twice = directory.by_subject.insert(user.subject.clone(), user);
            if let Some(other) = twice {
                return Err(invalid(format!("has the subject of `{}`", other.username)));
            }
        }
        Ok(directory)
    }

    /// The user who signs in with this name.
    pub fn by_username(&self, username: &str) -> Option<&Arc<User>> {
        self.by_username.get(username)
    }

    /// The user with this `sub`.
    pub fn by_subject(&self, subject: &str) -> Option<&Arc<User>> {
        self.by_subject.get(subject)
    }

    /// The languages that claims are given in (OpenID Connect Core §5.2), for the discovery document.
    pub(crate) fn claims_locales(&self) -> BTreeSet<&str> {
        let users = self.by_subject.values();
        users
            .flat_map(|user| user.claims.keys())
            .filter(|name| !name.contains("://"))
            .filter_map(|name| name.split_once('#').map(|(_, tag)| tag))
            .collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_subject.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_subject.is_empty()
    }
}

fn user(entry: Entry) -> Result<User, String> {
    let subject = entry.subject.unwrap_or_else(|| entry.username.clone());
    // OpenID Connect Core §2: "It MUST NOT exceed 255 ASCII [RFC20] characters in length."
    if subject.is_empty()
        || subject.len() > 255
        || !subject.bytes().all(|octet| octet.is_ascii_graphic())
    {
        return Err(
            "its subject must be 1 to 255 printable ASCII characters without spaces".to_owned(),
        );
    }
    if entry.username.is_empty()
        || entry.username.len() > 255
        || entry.username.chars().any(char::is_control)
        || entry.username.trim() != entry.username
    {
        return Err(
            "its username must be 1 to 255 octets, without control characters or spaces around it"
                .to_owned(),
        );
    }
    for (name, value) in &entry.claims {
        claims::check(name, value)?;
    }
    let labels = Labels {
        emails: entry.emails,
        phones: entry.phones,
    };
    labels.check()?;
    Ok(User {
        password_hash: PasswordHash::parse(entry.password_hash.expose())
            .map_err(|error| format!("password_hash: {error}"))?,
        subject,
        username: entry.username,
        claims: entry.claims,
        labels,
        disabled: entry.disabled,
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const HASH: &str = "password_hash = '$sha256$47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU'";

    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        users: Vec<Entry>,
    }

    fn outcome(entries: &[&str]) -> String {
        let toml: String = entries
            .iter()
            .map(|entry| format!("[[users]]\n{HASH}\n{entry}\n"))
            .collect();
        match toml::from_str::<File>(&toml) {
            Err(error) => error.to_string(),
            Ok(file) => match Directory::of(file.users) {
                Err(error) => error.to_string(),
                Ok(directory) => format!("{} users", directory.len()),
            },
        }
    }

    #[test]
    fn entries() {
        let long = format!("username = '{}'", "x".repeat(256));
        for (entries, expected) in [
            (&[][..], "0 users"),
            (&["username = 'a'", "username = 'A'"], "2 users"),
            (
                &["username = 'a'\nclaims = { name = 'A', email_verified = true, roles = ['x'] }"],
                "1 users",
            ),
            (
                &["username = 'a'\nclaims.address = { locality = 'Bern' }"],
                "1 users",
            ),
            (
                &["username = 'a'", "username = 'a'\nsubject = '1'"],
                "`a`: there are two",
            ),
            (
                &["username = 'a'", "username = 'b'\nsubject = 'a'"],
                "`b`: has the subject of `a`",
            ),
            (&["username = ''"], "its subject must"),
            (&[&long], "its subject must"),
            (&["username = 'é'"], "its subject must"),
            (&["username = 'é'\nsubject = 'e'"], "1 users"),
            (&["username = ' a'\nsubject = 'a'"], "its username must"),
            (&["username = 'a'\nclaims.sub = 'b'"], "`sub` cannot be set"),
            (
                &["username = 'a'\nclaims.email_verified = 'yes'"],
                "`email_verified` must be true or false",
            ),
            (
                &["username = 'a'\nclaims.updated_at = '2026'"],
                "`updated_at` must be a number",
            ),
            (
                &["username = 'a'\nclaims.address = 'Bern'"],
                "`address` must be a table",
            ),
            (
                &["username = 'a'\nclaims.name = 1"],
                "`name` must be a string",
            ),
            (
                &[
                    "username = 'a'\nclaims.'name#ja-Kana-JP' = 'A'\nclaims.'https://rp.example/x#y' = 1",
                ],
                "1 users",
            ),
            (
                &["username = 'a'\nclaims.'name#ja_JP' = 'A'"],
                "`ja_JP` is no language tag",
            ),
            (
                &["username = 'a'\nclaims.'sub#de' = 'A'"],
                "`sub#de` cannot be set",
            ),
            (
                &[
                    "username = 'a'\nemails = { main = 'a@b', work = { value = 'c@d', validated = true } }",
                ],
                "1 users",
            ),
            (&["username = 'a'\nphones = { 'a b' = '+1' }"], "label"),
            (&["username = 'a'\nnick = 'b'"], "unknown field"),
        ] {
            let outcome = outcome(entries);
            assert!(outcome.contains(expected), "{entries:?}: {outcome}");
        }
    }

    #[test]
    fn found_by_name_and_subject() {
        let entry = |username: &str, subject: &str| Entry {
            subject: Some(subject.to_owned()),
            username: username.to_owned(),
            password_hash: Secret::new(PasswordHash::of_generated("x").as_str().to_owned()),
            disabled: false,
            claims: Map::new(),
            emails: BTreeMap::new(),
            phones: BTreeMap::new(),
        };
        let directory = Directory::of(vec![entry("a", "1"), entry("b", "2")]).unwrap();
        assert_eq!(directory.by_username("b").unwrap().subject, "2");
        assert_eq!(directory.by_subject("1").unwrap().username, "a");
        assert!(directory.by_username("1").is_none());
        assert!(directory.by_subject("a").is_none());
    }
}
