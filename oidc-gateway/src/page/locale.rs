//! Languages that somebody prefers (BCP 47): `ui_locales` and `claims_locales` of OpenID Connect Core §3.1.2.1 and §5.2.

use serde::{Deserialize, Serialize};

/// Nobody reads more languages than this at once.
const MOST: usize = 8;
/// RFC 5646 §4.4.1: 35 characters hold every tag that is in use.
const LONGEST_TAG: usize = 35;

/// Language tags in the order of preference, in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Locales(Vec<String>);

impl Locales {
    /// Reads a parameter. §3.1.2.1: locales that we do not have are no error; what is no language tag is not kept.
    pub(crate) fn parse(text: &str) -> Locales {
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
        let tags = text
            .split(' ')
            .filter(|tag| !tag.is_empty() && tag.len() <= LONGEST_TAG && tag.bytes().all(plain));
        Locales(tags.take(MOST).map(str::to_ascii_lowercase).collect())
    }

    /// Whether nothing is preferred.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tags, in lower case.
    pub(crate) fn tags(&self) -> &[String] {
        &self.0
    }

    /// RFC 4647 §3.4: what `find` has for the first tag for which it has something, each tag being shortened from its
    /// end until there is. `find` must compare without regard to case.
    pub(crate) fn lookup<T>(&self, find: impl Fn(&str) -> Option<T>) -> Option<T> {
        self.0.iter().find_map(|tag| {
            let mut range = tag.as_str();
            loop {
                if let Some(found) = find(range) {
                    return Some(found);
                }
                range = range.rsplit_once('-')?.0;
                // A single letter introduces what was cut off just now.
                if let Some((shorter, [_])) = range.rsplit_once('-').map(|(a, b)| (a, b.as_bytes()))
                {
                    range = shorter;
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookup() {
        let rows = [
            ("", "de fr", None),
            ("de", "de fr", Some("de")),
            ("DE-ch", "de fr", Some("de")),
            ("it fr-CA de", "de fr", Some("fr")),
            ("ja-Kana-JP", "ja-kana", Some("ja-kana")),
            ("zh-Hant-CN-x-private1", "zh-Hant", Some("zh-Hant")),
            ("de", "de-CH", None),
            ("<b> de", "de", Some("de")),
            ("a b c d e f g h de", "de", None),
        ];
        for (preferred, available, expected) in rows {
            let find = |range: &str| {
                let mut available = available.split(' ');
                available.find(|tag| tag.eq_ignore_ascii_case(range))
            };
            let found = Locales::parse(preferred).lookup(find);
            assert_eq!(found, expected, "{preferred}");
        }
    }
}
