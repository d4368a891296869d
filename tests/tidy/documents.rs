//! Invariants 5 to 7: the RFC table points to files that exist, generated code and metadata have tests of their own.

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
