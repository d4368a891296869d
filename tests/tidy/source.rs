//! Source files as the tidy tests read them.

use std::fs;
use std::path::{Path, PathBuf};

/// The folders that hold Rust source of ours.
pub(crate) const FOLDERS: &[&str] = &[
    "proto",
    "key-service",
    "oidc-gateway",
    "deploy/pki",
    "tests",
];

/// A Rust file.
pub(crate) struct Source {
    /// Relative to the checkout, with `/`.
    pub(crate) path: String,
    /// All of it.
    pub(crate) text: String,
}

impl Source {
    /// The lines before the file's own tests, with their numbers, comments left out.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.production()
            .zip(1..)
            .map(|(line, number)| (number, line))
            .filter(|(_, line)| !line.trim_start().starts_with("//"))
    }

    /// The lines before the file's own tests.
    pub(crate) fn production(&self) -> impl Iterator<Item = &str> {
        let lines: Vec<&str> = self.text.lines().collect();
        let tests = (0..lines.len()).find(|&at| begins_test_module(&lines[at..]));
        lines.into_iter().take(tests.unwrap_or(usize::MAX))
    }
}

/// `#[cfg(test)]`, perhaps further attributes, and a module: not a single item that only tests use.
fn begins_test_module(lines: &[&str]) -> bool {
    let mut after = lines.iter().skip_while(|line| line.starts_with("#["));
    lines.first() == Some(&"#[cfg(test)]") && after.next().is_some_and(|line| line.contains("mod "))
}

#[test]
fn test_modules_are_told_from_items() {
    for (lines, expected) in [
        (&["#[cfg(test)]", "mod tests {"][..], true),
        (
            &["#[cfg(test)]", "#[allow(x)]", "pub(super) mod tests;"],
            true,
        ),
        (&["#[cfg(test)]", "fn only_for_tests() {}"], false),
        (&["mod tests {"], false),
        (&[], false),
    ] {
        assert_eq!(begins_test_module(lines), expected, "{lines:?}");
    }
}

/// The checkout.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this package is a folder of the workspace")
        .to_owned()
}

/// Every Rust file below `folder`, generated ones left out, in the order of their paths.
pub(crate) fn below(folder: &str) -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root().join(folder), &mut found);
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Every Rust file of ours.
pub(crate) fn all() -> Vec<Source> {
    FOLDERS.iter().flat_map(|folder| below(folder)).collect()
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for entry in entries.flatten() {
        let path = entry.path();
        let name = entry.file_name();
        if path.is_dir() && name != "generated" && name != "node_modules" && name != "target" {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("source is UTF-8");
            let relative = path.strip_prefix(root()).expect("below the root");
            let path = relative.display().to_string();
            found.push(Source { path, text });
        }
    }
}

/// Fails with all of `broken`, one a line.
#[track_caller]
pub(crate) fn none(rule: &str, broken: &[String]) {
    assert!(broken.is_empty(), "{rule}:\n  {}", broken.join("\n  "));
}

/// Does `word` stand in `line` with no letter, digit or underscore before it?
pub(crate) fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(|before: char| before.is_ascii_alphanumeric() || before == '_')
    })
}
