//! Every row of the feature list is either shown by a test, which names the row's id, or waits for a later work that is
//! named here. `features.tsv` holds the rows: the id, a tab, the title.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::source::{below, none, root};

/// The rows.
const TABLE: &str = "tests/tidy/features.tsv";

/// What no test shows yet: an id or a prefix that ends with `*`, why, and the work that brings it.
const PENDING: &[(&str, &str)] = &[
    (
        "S2-15",
        "ID tokens customised by a callback: with the HTTP callback for claims",
    ),
    (
        "S2-U1",
        "aggregated claims: with the sources of claims beyond the users file",
    ),
    (
        "S2-U2",
        "distributed claims: with the sources of claims beyond the users file",
    ),
    (
        "S2-U6",
        "Self-Issued OP: a provider on a person's own device, with the wallets' protocols",
    ),
    (
        "S2-U9",
        "software statements are ignored, as RFC 7591 §2.3 allows: with trusted issuers of them",
    ),
    (
        "S4-8",
        "`register=1` is an alias of prompt=create: with self-registration",
    ),
    ("S4-15", "as S2-U6"),
    (
        "S3-*",
        "the configuration of another provider by its own names: with its aliases and policies",
    ),
    (
        "P-1",
        "further OAuth: with PAR, JARM, DPoP and the other grants",
    ),
    ("P-3", "FAPI: with PAR, JARM and DPoP"),
    (
        "P-4",
        "users beyond the file, second factors and the account page: with the sources of people",
    ),
    (
        "P-5",
        "claims from expressions and callbacks: with the sources of claims beyond the users file",
    ),
    (
        "K-1",
        "cloud backends: with their own work behind the trait",
    ),
    (
        "K-4",
        "seeds of one-time codes and the sealed state of second factors: with the second factors",
    ),
    ("K-7", "Kubernetes: with deployment"),
    (
        "O-*",
        "deployment and operation: charts, dashboards, traces",
    ),
];

/// Rows that a prefix above would leave to later, and that are here.
const SHOWN: &[&str] = &["S3-9"];

#[test]
fn every_feature_is_shown_or_waits_for_a_named_work() {
    let rows = rows();
    let named = named_by_tests();
    let mut broken = Vec::new();
    for (id, title) in &rows {
        match (named.get(id), pending(id)) {
            (None, None) => broken.push(format!("{id} has no test: {title}")),
            (Some(place), Some(_)) => {
                broken.push(format!("{id} is pending, and {place} names it"));
            }
            _ => {}
        }
    }
    for id in named.keys().filter(|id| !rows.contains_key(*id)) {
        broken.push(format!("{} names {id}, which is no row", named[id]));
    }
    none("each feature has a test or waits", &broken);
}

#[test]
fn the_pending_list_names_rows() {
    let rows = rows();
    let mut broken = Vec::new();
    for (pattern, why) in PENDING {
        if !rows.keys().any(|id| matches(pattern, id)) {
            broken.push(format!("{pattern} is no row"));
        }
        if why.len() < 6 {
            broken.push(format!("{pattern} does not say why"));
        }
    }
    none("what waits is a row, and says why", &broken);
}

/// By id.
fn rows() -> BTreeMap<String, String> {
    let text = fs::read_to_string(root().join(TABLE)).expect("the table is there");
    let mut rows = BTreeMap::new();
    for line in text.lines() {
        let (id, title) = line.split_once('\t').expect("an id, a tab, a title");
        assert_eq!(ids(id), BTreeSet::from([id.to_owned()]), "{id} is no id");
        assert!(!title.is_empty(), "{id} has no title");
        let twice = rows.insert(id.to_owned(), title.to_owned());
        assert_eq!(twice, None, "{id} is there twice");
    }
    assert!(rows.len() > 140, "the table has {} rows", rows.len());
    rows
}

fn pending(id: &str) -> Option<&'static str> {
    if SHOWN.contains(&id) {
        return None;
    }
    let mut list = PENDING.iter();
    list.find(|(pattern, _)| matches(pattern, id))
        .map(|(_, why)| *why)
}

fn matches(pattern: &str, id: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(prefix) => id.starts_with(prefix),
        None => pattern == id,
    }
}

/// The ids that tests name in names, rows and comments, each with one place. The list above is no test.
fn named_by_tests() -> BTreeMap<String, String> {
    let mut texts: Vec<(String, String)> = below("tests")
        .into_iter()
        .map(|source| (source.path, source.text))
        .collect();
    let browser = Path::new("tests/browser");
    for entry in fs::read_dir(root().join(browser))
        .expect("it is there")
        .flatten()
    {
        let path = browser.join(entry.file_name());
        if path.extension().is_some_and(|extension| extension == "js") {
            let text = fs::read_to_string(root().join(&path)).expect("source is UTF-8");
            texts.push((path.display().to_string(), text));
        }
    }
    let mut named = BTreeMap::new();
    for (path, text) in texts {
        if path.starts_with("tests/tidy/") {
            continue;
        }
        for id in ids(&text) {
            named.entry(id).or_insert_with(|| path.clone());
        }
    }
    named
}

/// The ids in a text: `S`, a digit, `-`, perhaps `U`, a number; or `P`, `K` or `O`, `-`, a number. No letter, digit or
/// dash stands around them.
fn ids(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    text.split(|c: char| !is_part(c))
        .filter(|word| is_id(word))
        .map(ToOwned::to_owned)
        .collect()
}

fn is_id(word: &str) -> bool {
    let Some((group, number)) = word.split_once('-') else {
        return false;
    };
    let (is_source, number) = match group.as_bytes() {
        [b'S', b'0'..=b'4'] => (true, number.strip_prefix('U').unwrap_or(number)),
        [b'P' | b'K' | b'O'] => (false, number),
        _ => return false,
    };
    // P-256 is a curve.
    let longest = if is_source { 2 } else { 1 };
    (1..=longest).contains(&number.len()) && number.bytes().all(|octet| octet.is_ascii_digit())
}

#[test]
fn ids_are_told_from_other_words() {
    for (text, expected) in [
        (
            "S2-14 at_hash (S2-U3, S4-1)",
            &["S2-14", "S2-U3", "S4-1"][..],
        ),
        ("(\"P-2 Basic: x\", 1)", &["P-2"]),
        (
            "P-256, ES256, JO-18, HS2-1, S5-1, S2-, S2-x, K-1x, S2-1..3",
            &["S2-1"],
        ),
        ("/// K-3.", &["K-3"]),
    ] {
        let expected: BTreeSet<String> = expected.iter().map(|&id| id.to_owned()).collect();
        assert_eq!(ids(text), expected, "{text}");
    }
}
