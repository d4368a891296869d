//! What is wrong with a configuration, for whoever wrote it: file, line, column, a sentence, a suggestion.

use std::fmt;
use std::path::{Path, PathBuf};

use super::place::{Place, key_at, place};

/// Something is wrong; nothing was started.
#[derive(Debug)]
pub struct Error {
    file: PathBuf,
    place: Option<Place>,
    sentence: String,
}

/// What is wrong with a value, and the keys that lead to it.
#[derive(Debug)]
pub(super) struct Problem {
    pub(super) path: String,
    pub(super) sentence: String,
}

impl Error {
    pub(super) fn unreadable(file: &Path, error: &std::io::Error) -> Error {
        Error {
            file: file.to_owned(),
            place: None,
            sentence: format!("cannot be read: {error}"),
        }
    }

    pub(super) fn toml(file: &Path, text: &str, error: &toml::de::Error) -> Error {
        Error {
            file: file.to_owned(),
            place: error.span().map(|span| place(text, span.start)),
            sentence: reworded(error.message()),
        }
    }

    pub(super) fn json(file: &Path, error: &serde_json::Error) -> Error {
        let whole = error.to_string();
        let message = whole
            .rsplit_once(" at line ")
            .map_or(whole.as_str(), |(message, _)| message);
        Error {
            file: file.to_owned(),
            place: Some(Place {
                line: error.line(),
                column: error.column(),
            }),
            sentence: reworded(message),
        }
    }

    pub(super) fn at(file: &Path, text: &str, problem: &Problem) -> Error {
        Error {
            file: file.to_owned(),
            place: key_at(text, &problem.path),
            sentence: format!("{}: {}", problem.path, problem.sentence),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:", self.file.display())?;
        if let Some(Place { line, column }) = self.place {
            write!(formatter, "{line}:{column}:")?;
        }
        write!(formatter, " {}", self.sentence)
    }
}

impl std::error::Error for Error {}

/// The parser's sentence about an unknown name, with the nearest known one in place of all of them.
fn reworded(message: &str) -> String {
    let message = message.lines().next().unwrap_or_default();
    let kinds = [("unknown field ", "key"), ("unknown variant ", "value")];
    let found = kinds
        .iter()
        .find_map(|(begin, kind)| message.strip_prefix(begin).map(|rest| (kind, rest)));
    let Some((kind, rest)) = found else {
        return plain(message);
    };
    let mut quoted = rest.split('`').skip(1).step_by(2);
    let unknown = quoted.next().unwrap_or_default();
    let known: Vec<&str> = quoted.collect();
    match nearest(unknown, &known) {
        Some(near) => format!("unknown {kind} `{unknown}`: did you mean `{near}`?"),
        None if known.is_empty() => format!("unknown {kind} `{unknown}`: there is none here"),
        None => format!(
            "unknown {kind} `{unknown}`: known here: {}",
            known.join(", ")
        ),
    }
}

/// What the parsers of Rust's types say, for those who do not know these types.
fn plain(message: &str) -> String {
    match message {
        "invalid socket address syntax" => {
            "is not an IP address with a port, such as \"127.0.0.1:8443\"".to_owned()
        }
        "invalid IP address syntax" => "is not a network, such as \"10.0.0.0/8\"".to_owned(),
        _ => message
            .replace("expected usize", "expected a whole number")
            .replace("expected a sequence", "expected an array"),
    }
}

fn nearest<'a>(unknown: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(unknown, name), *name))
        .filter(|(distance, name)| *distance <= 1 + name.len() / 4)
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn suggestions() {
        let rows = [
            (
                "unknown field `isuer`, expected one of `issuer`, `listen`",
                "unknown key `isuer`: did you mean `issuer`?",
            ),
            (
                "unknown field `colour`, expected `issuer` or `listen`",
                "unknown key `colour`: known here: issuer, listen",
            ),
            (
                "unknown variant `rediss`, expected `memory` or `redis`",
                "unknown value `rediss`: did you mean `redis`?",
            ),
            (
                "unknown field `a`, there are no fields",
                "unknown key `a`: there is none here",
            ),
            ("missing field `issuer`", "missing field `issuer`"),
            (
                "invalid type: string \"two\", expected usize",
                "invalid type: string \"two\", expected a whole number",
            ),
        ];
        for (message, expected) in rows {
            assert_eq!(reworded(message), expected);
        }
    }
}
