//! From an offset in the file to a sentence for a person: where it is, what it is, and what was probably meant.

/// `line:column: what is wrong; did you mean …?`
pub(super) fn explain(text: &str, error: &toml::de::Error) -> String {
    let message = error.message().trim();
    let unknown = quoted_after(message, "unknown field `")
        .or_else(|| quoted_after(message, "unknown variant `"));
    let offset = unknown
        .and_then(|name| place_of(text, name, error.span()))
        .or(error.span().map(|span| span.start));
    let mut sentence = String::new();
    if let Some(offset) = offset {
        let (line, column) = position(text, offset);
        sentence = format!("{line}:{column}: ");
    }
    sentence.push_str(&match message {
        "invalid socket address syntax" => {
            "is not an IP address with a port, such as 127.0.0.1:8444".to_owned()
        }
        _ => message.replace("expected usize", "expected a whole number"),
    });
    if let Some(meant) = unknown.and_then(|name| nearest(name, message)) {
        sentence.push_str(&format!("; did you mean `{meant}`?"));
    }
    sentence
}

fn quoted_after<'a>(message: &'a str, start: &str) -> Option<&'a str> {
    let (_, rest) = message.split_once(start)?;
    rest.split_once('`').map(|(name, _)| name)
}

/// The error's own span is that of a whole table where the table's variant is chosen by one of its members.
fn place_of(text: &str, name: &str, span: Option<std::ops::Range<usize>>) -> Option<usize> {
    let span = span?;
    if text.get(span.clone())?.trim_matches(['"', '\'']) == name {
        return Some(span.start);
    }
    let mut offset = span.start;
    for line in text.get(span.start..)?.split_inclusive('\n') {
        let key = line.trim_start();
        if key
            .strip_prefix(name)
            .is_some_and(|rest| rest.trim_start().starts_with('='))
        {
            return Some(offset + line.len() - key.len());
        }
        offset += line.len();
    }
    None
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before[line_start..].chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}

/// Of the names that the message says were expected, the one that is a few letters away.
fn nearest<'a>(name: &str, message: &'a str) -> Option<&'a str> {
    let (_, expected) = message.split_once("expected ")?;
    closest(name, expected.split('`').skip(1).step_by(2))
}

/// The one that is a few letters away.
pub(super) fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    known
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .filter(|(distance, known)| *distance <= 1 + known.len() / 4)
        .min()
        .map(|(_, known)| known)
}
