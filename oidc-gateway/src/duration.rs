//! Durations as people write them: `30d`, `1w`, `90m`, `1h 30m`, `500ms` (or ISO 8601, `PT90M`).

use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use serde::{Deserialize, Deserializer, de::Error};

/// Parses; a day has 24 hours. The message is a sentence for the configuration file.
pub fn parse(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a duration such as \"30d\", \"90m\" or \"2s\"");
    let span: Span = text.parse().map_err(|_| wrong())?;
    let duration = span
        .to_duration(SpanRelativeTo::days_are_24_hours())
        .map_err(|_| wrong())?;
    Duration::try_from(duration).map_err(|_| wrong())
}

/// For `#[serde(with = "crate::duration")]`.
///
/// # Errors
/// It is not a string, or not a duration.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).map_err(D::Error::custom)
}

/// The same, where it may be absent: for `#[serde(default, with = "crate::duration::optional")]`.
pub mod optional {
    use super::{Deserializer, Duration};

    /// As [`super::deserialize`].
    ///
    /// # Errors
    /// As there.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        super::deserialize(from).map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let rows = [
            ("2s", seconds(2)),
            ("90m", seconds(5400)),
            ("1h 30m", seconds(5400)),
            ("1h30m", seconds(5400)),
            ("PT90M", seconds(5400)),
            ("30d", seconds(30 * 86400)),
            ("1w", seconds(7 * 86400)),
            ("500ms", Some(Duration::from_millis(500))),
            ("0s", seconds(0)),
            ("-1s", None),
            ("1s ago", None),
            ("2", None),
            ("1 month", None),
            ("", None),
            ("soon", None),
        ];
        for (text, expected) in rows {
            assert_eq!(parse(text).ok(), expected, "{text}");
        }
    }
}
