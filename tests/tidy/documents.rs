//! Invariants 5 to 7: the RFC table points to files that exist, generated code and metadata have tests of their own. And
//! the reference of the configuration leaves out nothing that the annotated files have.

use std::fs;

use crate::source::{none, root};

#[test]
fn the_rfc_table_points_to_files() {
    let text =
        fs::read_to_string(root().join("ARCHITECTURE.md")).expect("ARCHITECTURE.md is there");
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with("| RFC") || line.starts_with("| OpenID"))
        .collect();
    assert!(rows.len() >= 10, "the RFC table has {} rows", rows.len());
    let mut broken = Vec::new();
    for row in rows {
        let paths: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        if paths.is_empty() {
            broken.push(format!("no file: {row}"));
        }
        for path in paths {
            // What is no path is a word of the text.
            if path.contains('/') && !root().join(path).exists() {
                broken.push(format!("no such file: {path}"));
            }
        }
    }
    none("each row names files that exist", &broken);
}

#[test]
fn what_other_tests_keep_true_is_kept_true() {
    let broken: Vec<String> = [
        // Invariant 6: generated code is fresh.
        "proto/tests/generated.rs",
        // Invariant 7: everything that the discovery document advertises is exercised.
        "tests/oidc/discovery.rs",
    ]
    .into_iter()
    .filter(|path| !root().join(path).is_file())
    .map(ToOwned::to_owned)
    .collect();
    none("these tests are there", &broken);
}

#[test]
fn the_reference_has_every_key_of_the_annotated_files() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("it is there");
    let reference = read("deploy/config/REFERENCE.md");
    let mut missing = Vec::new();
    for file in ["gateway.toml", "key-service.toml"] {
        let text = read(&format!("deploy/config/{file}"));
        let keys: Vec<&str> = text.lines().filter_map(key).collect();
        assert!(keys.len() > 30, "{file} has {} keys", keys.len());
        // Alone, below its table (`tokens.id_token`), or before its value.
        let stands = |key: &&str| {
            ["`", "."]
                .iter()
                .any(|before| reference.contains(&format!("{before}{key}`")))
        };
        let left_out = keys.into_iter().filter(|key| !stands(key));
        missing.extend(left_out.map(|key| format!("{file}: {key}")));
    }
    none("REFERENCE.md explains every key", &missing);
}

/// The key that a line sets, or shows behind `#`.
fn key(line: &str) -> Option<&str> {
    let line = line.strip_prefix('#').unwrap_or(line).trim_start();
    let (key, _) = line.split_once(" = ")?;
    let plain = |octet: u8| octet.is_ascii_lowercase() || octet == b'_';
    key.bytes().all(plain).then_some(key)
}

/// S0-5: whoever writes a backend is told what each method and each error is for.
#[test]
fn the_page_on_backends_has_every_method() {
    let read = |path: &str| fs::read_to_string(root().join(path)).expect("it is there");
    let source = read("key-service/src/backend/mod.rs");
    let page = read("key-service/src/backend/README.md");
    let (_, of_trait) = source
        .split_once("pub trait Session {")
        .expect("the trait is there");
    let methods = of_trait.lines().filter_map(|line| {
        let (name, _) = line.trim_start().strip_prefix("fn ")?.split_once('(')?;
        Some(format!("| `{name}` |"))
    });
    let (_, of_error) = source
        .split_once("pub enum Error {")
        .expect("the errors are there");
    let (of_error, _) = of_error.split_once("\n}").expect("they have an end");
    let errors = of_error.lines().filter_map(|line| {
        let name = line.strip_prefix("    ")?.trim_end_matches(',');
        let name = name.split('(').next()?;
        let is_name = name.bytes().all(|octet| octet.is_ascii_alphabetic());
        (is_name && !name.is_empty()).then(|| format!("| `{name}"))
    });
    let rows: Vec<String> = methods.chain(errors).collect();
    assert!(rows.len() > 16, "{rows:?}");
    let missing = rows
        .into_iter()
        .filter(|row| !page.contains(row))
        .collect::<Vec<_>>();
    none("the page on backends has a row for each", &missing);
}

#[test]
fn links_of_the_documents_lead_somewhere() {
    let documents = [
        "README.md",
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "SECURITY.md",
        "deploy/README.md",
        "deploy/config/REFERENCE.md",
        "key-service/README.md",
        "key-service/src/backend/README.md",
        "tests/bench/README.md",
    ];
    let mut broken = Vec::new();
    for document in documents {
        let path = root().join(document);
        let text = fs::read_to_string(&path).unwrap_or_default();
        assert!(!text.is_empty(), "{document} is missing");
        for target in text.split("](").skip(1) {
            let target = target.split([')', '#']).next().unwrap_or_default();
            let is_here = !target.is_empty() && !target.contains("://");
            if is_here && !path.with_file_name("").join(target).exists() {
                broken.push(format!("{document}: {target}"));
            }
        }
    }
    none("links lead to files that exist", &broken);
}
