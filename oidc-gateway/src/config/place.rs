//! Where in a TOML file something stands.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Counted from 1; columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

/// The place of an octet.
pub(super) fn place(text: &str, offset: usize) -> Place {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    Place {
        line: before.matches('\n').count() + 1,
        column: before[line_start..].chars().count() + 1,
    }
}

/// The place of a key such as `listen.tls.key_file` or `clients.2.client_id`; of the nearest one above if it is not
/// there.
pub(super) fn key_at(text: &str, path: &str) -> Option<Place> {
    let document = DeTable::parse(text).ok()?;
    let mut offset = None;
    let mut table = Some(document.get_ref());
    let mut array: Option<&[Spanned<DeValue<'_>>]> = None;
    for name in path.split('.') {
        let value = if let Some(elements) = array {
            let element = name
                .parse::<usize>()
                .ok()
                .and_then(|index| elements.get(index));
            offset = element.map(|element| element.span().start).or(offset);
            element
        } else {
            let found = table.and_then(|table| table.iter().find(|(key, _)| key.get_ref() == name));
            offset = found.map(|(key, _)| key.span().start).or(offset);
            found.map(|(_, value)| value)
        };
        let Some(value) = value else {
            break;
        };
        (table, array) = match value.get_ref() {
            DeValue::Table(table) => (Some(table), None),
            DeValue::Array(array) => (None, Some(array.as_ref())),
            _ => (None, None),
        };
    }
    offset.map(|offset| place(text, offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found() {
        let text = "a = 1\n[b]\nc = 2\n  d = { e = 3 }\n[[f]]\ng = 4\n[[f]]\ng = 5\n";
        let rows = [
            ("a", Some((1, 1))),
            ("b.c", Some((3, 1))),
            ("b.d.e", Some((4, 9))),
            ("b.missing", Some((2, 2))),
            ("f.1.g", Some((8, 1))),
            ("missing", None),
        ];
        for (path, expected) in rows {
            let expected = expected.map(|(line, column)| Place { line, column });
            assert_eq!(key_at(text, path), expected, "{path}");
        }
    }
}
