//! The parameters of a request: pairs of `application/x-www-form-urlencoded` (RFC 6749 §3.1, §3.2, appendix B).

use std::borrow::Cow;

use crate::error::{Code, Failure, Refusal};

/// More parameters than anybody sends.
const MOST: usize = 100;

/// In octets: no query and no body that the web server may let through is longer.
pub(crate) const LONGEST: usize = 64 * 1024;

/// RFC 9110 §4.1: URIs of this length are supported everywhere.
const LONGEST_URL: usize = 8000;

/// Decoded parameters, borrowed from the request where nothing was escaped.
#[derive(Debug, Default)]
pub(crate) struct Params<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// A parameter that may come once came more than once (RFC 6749 §3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Duplicate;

impl<'a> Params<'a> {
    /// Decodes. `None`: too many or too long.
    pub(crate) fn parse(encoded: &'a [u8]) -> Option<Params<'a>> {
        if encoded.len() > LONGEST {
            return None;
        }
        let mut pairs = Vec::with_capacity(16);
        let ends = memchr::memchr_iter(b'&', encoded).chain([encoded.len()]);
        let mut begin = 0;
        for end in ends {
            let piece = &encoded[begin..end];
            begin = end + 1;
            if piece.is_empty() {
                continue;
            }
            if pairs.len() == MOST {
                return None;
            }
            let pair = plain(piece).or_else(|| form_urlencoded::parse(piece).next());
            pairs.extend(pair);
        }
        Some(Params { pairs })
    }

    /// What stands for parameters elsewhere, such as the claims of a request object (RFC 9101 §4).
    pub(crate) fn of_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Params<'static> {
        let owned = |(name, value)| (Cow::Owned(name), Cow::Owned(value));
        Params {
            pairs: pairs.into_iter().map(owned).collect(),
        }
    }

    /// The parameter's value; one without a value counts as absent (RFC 6749 §3.1).
    pub(crate) fn one(&self, name: &str) -> Result<Option<&str>, Duplicate> {
        let mut values = self.pairs.iter().filter(|(key, _)| key == name);
        let first = values.next();
        if values.next().is_some() {
            return Err(Duplicate);
        }
        Ok(first
            .map(|(_, value)| value.as_ref())
            .filter(|value| !value.is_empty()))
    }

    /// Every value of a parameter that may come more than once.
    pub(crate) fn all(&self, name: &str) -> impl Iterator<Item = &str> {
        let pairs = self.pairs.iter().filter(move |(key, _)| key == name);
        pairs.map(|(_, value)| value.as_ref())
    }

    /// Refuses any repetition (RFC 6749 §3.2).
    pub(crate) fn each_once(&self) -> Result<(), Duplicate> {
        let mut names = self.pairs.iter().map(|(name, _)| name);
        // A request has few parameters: comparing them all costs less than a set.
        while let Some(name) = names.next() {
            if names.clone().any(|other| other == name) {
                return Err(Duplicate);
            }
        }
        Ok(())
    }

    /// All of them as the query of a URL; `None`: that would be longer than others can be relied on to take.
    pub(crate) fn behind(&self, url: &str) -> Option<String> {
        let mut query = form_urlencoded::Serializer::for_suffix(format!("{url}?"), url.len() + 1);
        query.extend_pairs(&self.pairs);
        Some(query.finish()).filter(|url| url.len() <= LONGEST_URL)
    }

    /// Whether a parameter stands in both.
    pub(crate) fn overlaps(&self, other: &Params<'_>) -> bool {
        let mut names = self.pairs.iter().map(|(name, _)| name);
        names.any(|name| other.pairs.iter().any(|(each, _)| each == name))
    }
}

/// A URI without a fragment, with more in its query. A query that is there is kept as it is (RFC 6749 §3.1.2).
pub(crate) fn with_query(uri: &str, pairs: &[(&str, &str)]) -> String {
    if pairs.is_empty() {
        return uri.to_owned();
    }
    let joint = if uri.contains('?') { '&' } else { '?' };
    let mut query = form_urlencoded::Serializer::for_suffix(format!("{uri}{joint}"), uri.len() + 1);
    query.extend_pairs(pairs);
    query.finish()
}

/// A pair in which nothing is escaped, as most are: taken as it is, for decoding costs much more.
fn plain(piece: &[u8]) -> Option<(Cow<'_, str>, Cow<'_, str>)> {
    if memchr::memchr2(b'%', b'+', piece).is_some() {
        return None;
    }
    let text = std::str::from_utf8(piece).ok()?;
    let (name, value) = match memchr::memchr(b'=', piece) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, ""),
    };
    Some((Cow::Borrowed(name), Cow::Borrowed(value)))
}

impl From<Duplicate> for Refusal {
    fn from(_: Duplicate) -> Refusal {
        Refusal::new(Code::InvalidRequest, "a parameter is repeated")
    }
}

impl From<Duplicate> for Failure {
    fn from(duplicate: Duplicate) -> Failure {
        Failure::Json(duplicate.into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn values() {
        type Row = (
            &'static str,
            &'static str,
            Result<Option<&'static str>, Duplicate>,
        );
        let rows: &[Row] = &[
            ("a=1&b=2", "a", Ok(Some("1"))),
            ("a=1&b=2", "c", Ok(None)),
            ("a=&b=2", "a", Ok(None)),
            ("a", "a", Ok(None)),
            ("a=1&a=2", "a", Err(Duplicate)),
            ("a=1&a=", "a", Err(Duplicate)),
            ("a=1&%61=2", "a", Err(Duplicate)),
            ("a=1&A=2", "a", Ok(Some("1"))),
            ("a=x+y%2Bz%20%C3%A9", "a", Ok(Some("x y+z é"))),
            ("a=b=c", "a", Ok(Some("b=c"))),
            ("&&b=1&a=\u{e9}&", "a", Ok(Some("\u{e9}"))),
            ("=x&a=1", "a", Ok(Some("1"))),
            ("a=%zz", "a", Ok(Some("%zz"))),
            ("", "a", Ok(None)),
        ];
        for (query, name, expected) in rows {
            let params = Params::parse(query.as_bytes()).unwrap();
            assert_eq!(params.one(name), *expected, "{query}");
        }
    }

    #[test]
    fn limits() {
        for (pairs, passes) in [(100, true), (101, false)] {
            let query = vec!["a=1"; pairs].join("&");
            assert_eq!(Params::parse(query.as_bytes()).is_some(), passes, "{pairs}");
        }
        for (length, passes) in [(64 * 1024, true), (64 * 1024 + 1, false)] {
            let query = "a".repeat(length);
            assert_eq!(
                Params::parse(query.as_bytes()).is_some(),
                passes,
                "{length}"
            );
        }
    }
}
