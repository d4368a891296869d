//! For whom a token may be (RFC 7519 §4.1.3, RFC 8725 §3.9): names, and patterns in which `*` stands for any run of
//! characters, slashes and dots too. Every member of `aud` must be one of them.

use std::collections::HashSet;

use super::claims::Shape;

/// The audiences that a rule names.
#[derive(Debug, Clone, Default)]
pub struct Audiences {
    names: HashSet<String>,
    patterns: Vec<Pattern>,
}

/// What stands between the asterisks, of which there is at least one.
#[derive(Debug, Clone)]
struct Pattern {
    start: String,
    middle: Vec<String>,
    end: String,
}

impl Audiences {
    /// Names, and patterns where they have an asterisk.
    pub fn of<'a>(words: impl Iterator<Item = &'a String>) -> Audiences {
        let mut audiences = Audiences::default();
        for word in words {
            match Pattern::parse(word) {
                Some(pattern) => audiences.patterns.push(pattern),
                None => {
                    audiences.names.insert(word.clone());
                }
            }
        }
        audiences
    }

    /// Whether `aud`, as compact JSON of this shape, names nobody else. An absent one names nobody, and is for everybody.
    pub(super) fn hold(&self, aud: Option<(&[u8], Shape)>) -> bool {
        match aud {
            Some((json, Shape::Text { empty: false })) => match plain(json) {
                Some(name) => self.has(name),
                None => serde_json::from_slice(json).is_ok_and(|name: String| self.has(&name)),
            },
            Some((json, Shape::Texts)) => serde_json::from_slice(json)
                .is_ok_and(|names: Vec<String>| names.iter().all(|name| self.has(name))),
            _ => false,
        }
    }

    fn has(&self, name: &str) -> bool {
        self.names.contains(name) || self.patterns.iter().any(|pattern| pattern.matches(name))
    }
}

/// What a JSON string says, where it says it without escapes.
fn plain(json: &[u8]) -> Option<&str> {
    let inner = json.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    let text = std::str::from_utf8(inner).ok()?;
    (!text.contains('\\')).then_some(text)
}

impl Pattern {
    fn parse(word: &str) -> Option<Pattern> {
        let (start, rest) = word.split_once('*')?;
        let mut middle: Vec<String> = rest.split('*').map(str::to_owned).collect();
        let end = middle.pop().unwrap_or_default();
        Some(Pattern {
            start: start.to_owned(),
            middle,
            end,
        })
    }

    fn matches(&self, name: &str) -> bool {
        let Some(mut rest) = name.strip_prefix(&*self.start) else {
            return false;
        };
        // The first place of each part is as good as any later one.
        for part in &self.middle {
            match rest.find(&**part) {
                Some(at) => rest = &rest[at + part.len()..],
                None => return false,
            }
        }
        rest.ends_with(&*self.end)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::keyring::claims::Claims;

    #[test]
    fn every_member_must_be_named() {
        let words = [
            "api",
            "r-*",
            "https://*.example.com",
            "a*b*c",
            "*\\",
            "*n\"",
        ];
        let words = words.map(str::to_owned);
        let audiences = Audiences::of(words.iter());
        for (aud, holds) in [
            (r#""api""#, true),
            (r#""\u0061pi""#, true),
            (r#""API""#, false),
            (r#""api ""#, false),
            (r#""apix""#, false),
            (r#""""#, false),
            (r#"["api"]"#, true),
            (r#"["api","r-1"]"#, true),
            (r#"["api","evil"]"#, false),
            (r#"["api",""]"#, false),
            (r#"["api",["api"]]"#, false),
            (r#"["api",null]"#, false),
            ("[]", false),
            ("null", false),
            ("7", false),
            (r#"{"api":1}"#, false),
            (r#""r-""#, true),
            (r#""r""#, false),
            (r#""https://a.example.com""#, true),
            (r#""https://.example.com""#, true),
            (r#""https://example.com""#, false),
            (r#""https://a.example.com.evil.test""#, false),
            (r#""http://a.example.com""#, false),
            (r#""abc""#, true),
            (r#""a-bb-c""#, true),
            (r#""acb""#, false),
            (r#""ab""#, false),
            // An escape is one character, not the letters that it is written with.
            (r#""x\\""#, true),
            (r#""x\n""#, false),
            (r#""xn\"""#, true),
            (r#""x\"""#, false),
        ] {
            let claims = Claims::parse(format!(r#"{{"aud":{aud}}}"#).as_bytes()).unwrap();
            let found = claims.value("aud").zip(claims.shape("aud"));
            assert_eq!(audiences.hold(found), holds, "{aud}");
        }
        assert!(!audiences.hold(None));
    }

    #[test]
    fn a_part_is_not_used_twice() {
        for (pattern, name, matches) in [
            ("ab*ba", "aba", false),
            ("ab*ba", "abba", true),
            ("*a*a*", "a", false),
            ("*a*a*", "aa", true),
            ("**", "", true),
            ("é*é", "é", false),
            ("é*é", "éé", true),
        ] {
            let pattern = Pattern::parse(pattern).unwrap();
            assert_eq!(pattern.matches(name), matches, "{pattern:?} {name}");
        }
    }
}
