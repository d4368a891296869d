//! Scope (RFC 6749 §3.3): an ordered set of case-sensitive words.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Refusal};

/// OpenID Connect Core §3.1.2.1: makes an OAuth request an authentication request.
pub(crate) const OPENID: &str = "openid";
/// OpenID Connect Core §11: asks for a refresh token.
pub(crate) const OFFLINE_ACCESS: &str = "offline_access";

/// More words than any client needs; fewer than an attacker would like (HT-09).
const MOST_WORDS: usize = 64;

/// Words in the order in which they were asked for, each once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Scope(String);

/// What stands between the words of a list.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Separator {
    /// RFC 6749 §3.3. A comma is a letter like others.
    #[default]
    #[serde(rename = "space")]
    Space,
    /// A comma as well, for clients that were written for providers where it was so.
    #[serde(rename = "comma")]
    CommaToo,
}

impl Scope {
    /// Parses a space-separated list.
    pub fn parse(text: &str) -> Result<Scope, Refusal> {
        Scope::parse_separated(text, Separator::Space)
    }

    /// Parses a list as a client writes it.
    pub fn parse_separated(text: &str, separator: Separator) -> Result<Scope, Refusal> {
        const ODD: Refusal = Refusal::new(Code::InvalidScope, "scope has odd characters");
        // §3.3: scope-token = 1*( %x21 / %x23-5B / %x5D-7E )
        let plain = |octet: u8| matches!(octet, b' ' | 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
        if !text.bytes().all(plain) {
            return Err(ODD);
        }
        let is_between =
            |letter| letter == ' ' || (separator == Separator::CommaToo && letter == ',');
        let mut scope = Scope::default();
        let words = text.split(is_between).filter(|word| !word.is_empty());
        for (position, word) in words.enumerate() {
            if position == MOST_WORDS {
                return Err(Refusal::new(Code::InvalidScope, "scope has too many words"));
            }
            scope.add(word);
        }
        Ok(scope)
    }

    fn add(&mut self, word: &str) {
        if !self.has(word) {
            if !self.0.is_empty() {
                self.0.push(' ');
            }
            self.0.push_str(word);
        }
    }

    /// The words in order.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.0.split(' ').filter(|word| !word.is_empty())
    }

    /// Whether a word is among them.
    pub fn has(&self, word: &str) -> bool {
        self.words().any(|each| each == word)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether every word is also in `other`.
    pub fn is_within(&self, other: &Scope) -> bool {
        self.words().all(|word| other.has(word))
    }

    /// The words for which `keep` holds.
    pub fn filtered(&self, keep: impl Fn(&str) -> bool) -> Scope {
        let mut scope = Scope::default();
        self.words()
            .filter(|word| keep(word))
            .for_each(|word| scope.add(word));
        scope
    }

    /// As on the wire.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_kept_in_order_and_once() {
        let rows = [
            ("openid profile openid", Some("openid profile")),
            ("  openid   email ", Some("openid email")),
            ("", Some("")),
            ("user:email:billing", Some("user:email:billing")),
            ("open\"id", None),
            ("open\\id", None),
            ("op\u{e9}n", None),
            ("a\tb", None),
        ];
        for (text, wanted) in rows {
            assert_eq!(
                Scope::parse(text).ok().as_ref().map(Scope::as_str),
                wanted,
                "{text:?}"
            );
        }
        let rows = [
            (Separator::Space, "openid,user:name", "openid,user:name"),
            (Separator::CommaToo, "openid,user:name", "openid user:name"),
            (
                Separator::CommaToo,
                "openid, user:name,,email ,",
                "openid user:name email",
            ),
        ];
        for (separator, text, wanted) in rows {
            let scope = Scope::parse_separated(text, separator);
            assert_eq!(
                scope.as_ref().map(Scope::as_str),
                Ok(wanted),
                "S1-11 {text}"
            );
        }
        assert!(Scope::parse(&(0..65).map(|n| format!("s{n} ")).collect::<String>()).is_err());
        assert!(Scope::parse(&"x ".repeat(64)).is_ok());
    }
}
