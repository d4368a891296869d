//! Claims as a caller hands them over (RFC 7519 §4, RFC 8259): parsed strictly and written again, so that what is
//! signed is what the policy read, to every reader (RFC 8725 §2.4, RFC 7493 §2).
//!
//! One pass over the input writes the compact form; nothing is kept but it and the shape of each top-level member.

use std::fmt;
use std::ops::Range;

use serde::Deserializer as _;
use serde::de::{DeserializeSeed, Error as _, MapAccess, SeqAccess, Visitor};

/// The longest input, in octets. Policy sets its own, lower limit for what it signs.
pub const LONGEST: usize = 64 * 1024;
/// How deep objects and arrays may nest, the claims object itself included.
const DEEPEST: usize = 16;
/// How many members an object may have: bounds the search for duplicates.
const MEMBERS: usize = 256;
/// Integers above cannot be told apart by readers that know doubles only (RFC 7493 §2.2).
const LARGEST_DATE: i64 = 1 << 53;

/// Why octets are not acceptable claims.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// More than [`LONGEST`] octets.
    #[error("too long")]
    TooLong,
    /// Not one JSON object, a duplicate name, too deep, a number out of range …
    #[error("not one strict JSON object")]
    Syntax,
}

/// What a top-level member holds, as far as a policy asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// A string; empty or not.
    Text {
        /// `""`.
        empty: bool,
    },
    /// A whole number from 0 to 2^53.
    Date(i64),
    /// An array of strings, with at least one, none empty.
    Texts,
    /// An object.
    Object,
    /// Anything else.
    Other,
}

#[derive(Debug, Clone)]
struct Member {
    name: Box<str>,
    value: Range<usize>,
    shape: Shape,
}

/// One JSON object, compact, its members in the order they came.
#[derive(Debug, Clone)]
pub struct Claims {
    json: Vec<u8>,
    members: Vec<Member>,
}

impl Claims {
    /// Reads one JSON object strictly: UTF-8 without byte order mark, no duplicate name at any level, at most 16 levels
    /// and 256 members each, finite numbers, nothing after it.
    ///
    /// # Errors
    /// When it is anything else, or longer than [`LONGEST`].
    pub fn parse(input: &[u8]) -> Result<Claims, Invalid> {
        if input.len() > LONGEST {
            return Err(Invalid::TooLong);
        }
        let mut claims = Claims {
            json: Vec::with_capacity(input.len() + 64),
            members: Vec::with_capacity(16),
        };
        let mut deserializer = serde_json::Deserializer::from_slice(input);
        deserializer
            .deserialize_map(Top(&mut claims))
            .map_err(|_| Invalid::Syntax)?;
        deserializer.end().map_err(|_| Invalid::Syntax)?;
        Ok(claims)
    }

    /// The compact JSON object.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.json
    }

    /// Whether there is a member of this name.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.member(name).is_some()
    }

    /// The names of its members.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.members.iter().map(|member| &*member.name)
    }

    pub(crate) fn shape(&self, name: &str) -> Option<Shape> {
        self.member(name).map(|member| member.shape)
    }

    /// The member's value as compact JSON.
    pub(crate) fn value(&self, name: &str) -> Option<&[u8]> {
        self.member(name)
            .map(|member| &self.json[member.value.clone()])
    }

    /// Adds a string member at the end. The name must not be there already.
    pub(crate) fn append(&mut self, name: &str, value: &str) {
        debug_assert!(!self.has(name));
        self.json.pop();
        if !self.members.is_empty() {
            self.json.push(b',');
        }
        write_text(&mut self.json, name);
        self.json.push(b':');
        let start = self.json.len();
        write_text(&mut self.json, value);
        self.members.push(Member {
            name: name.into(),
            value: start..self.json.len(),
            shape: Shape::Text {
                empty: value.is_empty(),
            },
        });
        self.json.push(b'}');
    }

    fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| &*member.name == name)
    }
}

fn write_text(json: &mut Vec<u8>, text: &str) {
    // Writing to memory cannot fail, and a string always has a JSON form.
    let _ = serde_json::to_writer(json, text);
}

/// The claims object itself.
struct Top<'a>(&'a mut Claims);

impl<'de> Visitor<'de> for Top<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Claims { json, members } = self.0;
        json.push(b'{');
        while let Some(name) = map.next_key_seed(Name)? {
            if members.len() == MEMBERS || members.iter().any(|member| *member.name == *name) {
                return Err(A::Error::custom("duplicate name, or too many"));
            }
            if !members.is_empty() {
                json.push(b',');
            }
            write_text(json, &name);
            json.push(b':');
            let start = json.len();
            let shape = map.next_value_seed(Value { json, depth: 1 })?;
            members.push(Member {
                name,
                value: start..json.len(),
                shape,
            });
        }
        json.push(b'}');
        Ok(())
    }
}

struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Box<str>;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Box<str>, D::Error> {
        from.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Box<str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Box<str>, E> {
        Ok(name.into())
    }
}

/// Any value: written to `json` as it is read.
struct Value<'a> {
    json: &'a mut Vec<u8>,
    /// Of the object or array that holds it.
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Shape;

    fn deserialize<D: serde::Deserializer<'de>>(self, from: D) -> Result<Shape, D::Error> {
        from.deserialize_any(self)
    }
}

impl Value<'_> {
    fn write<E: serde::de::Error>(self, value: impl serde::Serialize) -> Result<(), E> {
        serde_json::to_writer(self.json, &value).map_err(E::custom)
    }

    fn enter<E: serde::de::Error>(&self) -> Result<usize, E> {
        if self.depth == DEEPEST {
            return Err(E::custom("too deep"));
        }
        Ok(self.depth + 1)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<Shape, E> {
        self.write(()).map(|()| Shape::Other)
    }

    fn visit_bool<E: serde::de::Error>(self, value: bool) -> Result<Shape, E> {
        self.write(value).map(|()| Shape::Other)
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Shape, E> {
        let shape = match i64::try_from(value) {
            Ok(date) if date <= LARGEST_DATE => Shape::Date(date),
            _ => Shape::Other,
        };
        self.write(value).map(|()| shape)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<Shape, E> {
        self.write(value).map(|()| Shape::Other)
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Shape, E> {
        if !value.is_finite() {
            return Err(E::custom("not finite"));
        }
        self.write(value).map(|()| Shape::Other)
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Shape, E> {
        let empty = value.is_empty();
        self.write(value).map(|()| Shape::Text { empty })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape, A::Error> {
        let depth = self.enter()?;
        let json = self.json;
        json.push(b'[');
        let (mut first, mut texts) = (true, true);
        loop {
            let comma = json.len();
            if !first {
                json.push(b',');
            }
            let value = Value { json, depth };
            let Some(shape) = items.next_element_seed(value)? else {
                json.truncate(comma);
                break;
            };
            texts &= shape == (Shape::Text { empty: false });
            first = false;
        }
        json.push(b']');
        Ok(if texts && !first {
            Shape::Texts
        } else {
            Shape::Other
        })
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let depth = self.enter()?;
        let json = self.json;
        let mut names: Vec<Box<str>> = Vec::new();
        json.push(b'{');
        while let Some(name) = map.next_key_seed(Name)? {
            if names.len() == MEMBERS || names.contains(&name) {
                return Err(A::Error::custom("duplicate name, or too many"));
            }
            if !names.is_empty() {
                json.push(b',');
            }
            write_text(json, &name);
            json.push(b':');
            map.next_value_seed(Value { json, depth })?;
            names.push(name);
        }
        json.push(b'}');
        Ok(Shape::Object)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_is_accepted_is_written_compactly_in_its_order() {
        for (input, output) in [
            ("{}", "{}"),
            (
                " {\n \"b\" : 1 , \"a\":[ 1, \"x\",{} ,[]] } ",
                r#"{"b":1,"a":[1,"x",{},[]]}"#,
            ),
            (
                r#"{"\u0061":"\u00e9\n","n":null,"t":true}"#,
                "{\"a\":\"é\\n\",\"n\":null,\"t\":true}",
            ),
            (
                r#"{"o":{"x":{"y":-1}},"f":1.50,"e":1e3}"#,
                r#"{"o":{"x":{"y":-1}},"f":1.5,"e":1000.0}"#,
            ),
            (r#"{"s":"\ud83d\ude00"}"#, "{\"s\":\"😀\"}"),
        ] {
            let claims = Claims::parse(input.as_bytes()).unwrap();
            assert_eq!(
                std::str::from_utf8(claims.as_bytes()).unwrap(),
                output,
                "{input}"
            );
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let deep =
            |levels: usize| format!(r#"{{"a":{}1{}}}"#, "[".repeat(levels), "]".repeat(levels));
        assert!(Claims::parse(deep(DEEPEST - 1).as_bytes()).is_ok());
        let many = (0..=MEMBERS)
            .map(|i| format!("\"m{i}\":1"))
            .collect::<Vec<_>>()
            .join(",");
        for input in [
            "",
            "null",
            "[]",
            "1",
            "\"x\"",
            "{",
            "{}{}",
            "{} x",
            "\u{feff}{}",
            r#"{"a":1,"a":2}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"o":{"a":1,"a":1}}"#,
            r#"{"l":[{"a":1,"a":1}]}"#,
            r#"{"a":NaN}"#,
            r#"{"a":1e999}"#,
            r#"{"a":01}"#,
            r#"{"a":1,}"#,
            r#"{a:1}"#,
            r#"{'a':1}"#,
            r#"{"a":"\ud800"}"#,
            "{\"a\":\"\u{1}\"}",
            "{/**/}",
            &deep(DEEPEST),
            &format!("{{{many}}}"),
            &format!("{{\"a\":{{{many}}}}}"),
        ] {
            assert_eq!(
                Claims::parse(input.as_bytes()).unwrap_err(),
                Invalid::Syntax,
                "{input}"
            );
        }
        assert_eq!(
            Claims::parse(b"{\"a\":\"\xff\"}").unwrap_err(),
            Invalid::Syntax
        );
        assert_eq!(
            Claims::parse(&vec![b' '; LONGEST + 1]).unwrap_err(),
            Invalid::TooLong
        );
    }

    #[test]
    fn shapes_are_told_apart() {
        let claims = Claims::parse(
            br#"{"t":"x","e":"","d":1,"neg":-1,"big":9007199254740993,"f":1.0,"l":["a","b"],"m":["a",1],"n":[],"o":{},"s":["a",""]}"#,
        )
        .unwrap();
        for (name, shape) in [
            ("t", Shape::Text { empty: false }),
            ("e", Shape::Text { empty: true }),
            ("d", Shape::Date(1)),
            ("neg", Shape::Other),
            ("big", Shape::Other),
            ("f", Shape::Other),
            ("l", Shape::Texts),
            ("m", Shape::Other),
            ("n", Shape::Other),
            ("o", Shape::Object),
            ("s", Shape::Other),
        ] {
            assert_eq!(claims.shape(name), Some(shape), "{name}");
        }
        assert_eq!(claims.value("l"), Some(&br#"["a","b"]"#[..]));
        assert!(!claims.has("x"));
    }

    #[test]
    fn a_member_can_be_appended() {
        for (input, output) in [("{}", r#"{"h":"v"}"#), (r#"{"a":1}"#, r#"{"a":1,"h":"v"}"#)] {
            let mut claims = Claims::parse(input.as_bytes()).unwrap();
            claims.append("h", "v");
            assert_eq!(claims.as_bytes(), output.as_bytes());
            assert_eq!(claims.value("h"), Some(&br#""v""#[..]));
        }
    }
}
