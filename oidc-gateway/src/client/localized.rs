//! What clients tell people, in several languages (RFC 7591 §2.2, OpenID Connect Registration §2.1): a member may be
//! there again with a BCP 47 tag behind `#`, such as `client_name#fr`.

use std::collections::BTreeMap;

use crate::page::locale::Locales;

/// The members that people read.
pub(crate) const MEMBERS: [&str; 5] = [
    "client_name",
    "client_uri",
    "logo_uri",
    "policy_uri",
    "tos_uri",
];

/// More languages than any client speaks.
const MOST: usize = 64;

/// Values by member and tag; the value without a tag stands in the metadata itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Localized(BTreeMap<(&'static str, String), String>);

/// Why a member with a tag cannot be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Odd {
    /// Its name is not one that people read.
    Member,
    /// What is behind `#` is not a BCP 47 tag.
    Tag,
    /// It is there twice, or there are too many.
    Repeated,
}

impl Odd {
    pub(crate) fn sentence(self) -> &'static str {
        match self {
            Odd::Member => {
                "only client_name, client_uri, logo_uri, policy_uri and tos_uri may have a language"
            }
            Odd::Tag => "what follows # must be a BCP 47 language tag",
            Odd::Repeated => "a language is there twice, or there are too many",
        }
    }
}

impl Localized {
    /// Takes a member with a tag, such as `client_name#fr`.
    pub(crate) fn add(&mut self, name: &str, value: String) -> Result<(), Odd> {
        let (member, tag) = name.split_once('#').ok_or(Odd::Member)?;
        let member = MEMBERS
            .into_iter()
            .find(|each| *each == member)
            .ok_or(Odd::Member)?;
        if !is_tag(tag) {
            return Err(Odd::Tag);
        }
        // RFC 5646 §2.1.1: case does not count.
        let before = self.0.insert((member, tag.to_ascii_lowercase()), value);
        match before.is_some() || self.0.len() > MOST {
            true => Err(Odd::Repeated),
            false => Ok(()),
        }
    }

    /// Each member's name and value.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0
            .iter()
            .map(|((member, _), value)| (*member, value.as_str()))
    }

    /// The value in the first of these languages that there is: `fr-CA` finds `fr`.
    pub(crate) fn find(&self, member: &'static str, locales: &Locales) -> Option<&str> {
        if self.0.is_empty() {
            return None;
        }
        let find = |range: &str| self.0.get(&(member, range.to_owned()));
        locales.lookup(find).map(String::as_str)
    }
}

/// The form of a language tag (RFC 5646 §2.1), not its registry.
fn is_tag(tag: &str) -> bool {
    let subtag = |text: &str| {
        (1..=8).contains(&text.len()) && text.bytes().all(|octet| octet.is_ascii_alphanumeric())
    };
    tag.len() <= 64
        && tag.split('-').all(subtag)
        && tag.starts_with(|first: char| first.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn languages_are_looked_up() {
        let mut localized = Localized::default();
        for (name, value) in [
            ("client_name#fr", "La boutique"),
            ("client_name#ja-Hani-JP", "店"),
            ("tos_uri#de", "https://rp.example/agb"),
        ] {
            assert_eq!(localized.add(name, value.to_owned()), Ok(()), "{name}");
        }
        let rows = [
            ("client_name", "fr", Some("La boutique")),
            ("client_name", "FR-ca", Some("La boutique")),
            ("client_name", "de fr-x-y", Some("La boutique")),
            ("client_name", "ja-hani-jp-osaka", Some("店")),
            ("client_name", "ja", None),
            ("client_name", "", None),
            ("tos_uri", "de-AT", Some("https://rp.example/agb")),
            ("logo_uri", "de", None),
        ];
        for (member, locales, expected) in rows {
            let found = localized.find(member, &Locales::parse(locales));
            assert_eq!(found, expected, "{member} {locales}");
        }
    }

    #[test]
    fn what_cannot_be_kept() {
        let rows = [
            ("redirect_uris#fr", Odd::Member),
            ("client_name", Odd::Member),
            ("client_name#", Odd::Tag),
            ("client_name#fr_FR", Odd::Tag),
            ("client_name#fr-", Odd::Tag),
            ("client_name#1", Odd::Tag),
            ("client_name#abcdefghi", Odd::Tag),
            ("client_name#a#b", Odd::Tag),
        ];
        for (name, odd) in rows {
            let result = Localized::default().add(name, "x".to_owned());
            assert_eq!(result, Err(odd), "{name}");
        }
        let mut localized = Localized::default();
        assert_eq!(localized.add("client_name#fr", "x".to_owned()), Ok(()));
        let again = localized.add("client_name#FR", "y".to_owned());
        assert_eq!(again, Err(Odd::Repeated));
    }
}
