//! Durations as people write them: `2s`, `90m`, `24h`, `30d`, `1w`, `1h30m`.

use std::fmt;
use std::time::Duration;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer};

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    let text = from.deserialize_any(Text)?;
    parse(&text).ok_or_else(|| {
        D::Error::custom(format!(
            "`{text}` is not a duration such as 500ms, 2s, 90m, 24h, 30d or 1w"
        ))
    })
}

/// The same, where it may be absent.
pub(super) mod optional {
    use super::{Deserializer, Duration};

    pub(in super::super) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Duration>, D::Error> {
        super::deserialize(from).map(Some)
    }
}

/// How often something happens by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Period {
    /// Only when somebody asks for it.
    Never,
    /// This often.
    Every(Duration),
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Period, D::Error> {
        let text = from.deserialize_any(Text)?;
        if text == "never" {
            return Ok(Period::Never);
        }
        parse(&text).map(Period::Every).ok_or_else(|| {
            D::Error::custom(format!(
                "`{text}` is neither `never` nor a duration such as 12h, 30d or 1w"
            ))
        })
    }
}

/// A string, and what it is for where there is something else.
struct Text;

impl Visitor<'_> for Text {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a duration such as \"2s\", \"90m\" or \"30d\"")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<String, E> {
        Ok(text.to_owned())
    }
}

/// A duration as people write it; `None` where it is none.
pub(crate) fn parse(text: &str) -> Option<Duration> {
    let mut rest = text;
    let mut sum = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at(digits);
        let unit = after
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let millis = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        let millis = number.parse::<u64>().ok()?.checked_mul(millis)?;
        sum = sum.checked_add(Duration::from_millis(millis))?;
        rest = after;
    }
    (!text.is_empty()).then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn durations() {
        for (text, seconds) in [
            ("2s", Some(2.0)),
            ("500ms", Some(0.5)),
            ("1h30m", Some(5400.0)),
            ("30d", Some(2_592_000.0)),
            ("1w", Some(604_800.0)),
            ("0s", Some(0.0)),
            ("", None),
            ("5", None),
            ("s", None),
            ("-1s", None),
            ("1.5h", None),
            ("1 h", None),
            ("1y", None),
            ("99999999999999999999s", None),
        ] {
            assert_eq!(parse(text).map(|d| d.as_secs_f64()), seconds, "{text}");
        }
    }
}
