//! Tokens of kryoptic, for tests that open the module in their own process. The module is built from source, once: see
//! tests/kryoptic.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::own_process;
use crate::softhsm::Token;

/// How many tokens a test can make: kryoptic has a slot for each from the beginning.
const SLOTS: usize = 2;

/// A folder of tokens, the only one that this process sees.
#[derive(Debug)]
pub struct Kryoptic {
    folder: PathBuf,
}

impl Kryoptic {
    /// Runs `test` (its full name) again in a process of its own; `Some` there, `None` here after it has passed.
    ///
    /// # Panics
    /// When it has failed there, or the module cannot be built.
    #[must_use]
    pub fn in_own_process(test: &str) -> Option<Kryoptic> {
        let folder = own_process::enter(test, |folder| {
            build();
            let mut text = String::new();
            for slot in 0..SLOTS {
                let file = folder.join(format!("token-{slot}.sql"));
                let _ = writeln!(
                    text,
                    "[[slots]]\nslot = {slot}\ndbtype = \"sqlite\"\ndbargs = {file:?}"
                );
            }
            let configuration = folder.join("kryoptic.toml");
            fs::write(&configuration, text).expect("kryoptic's configuration");
            ("KRYOPTIC_CONF", configuration)
        })?;
        Some(Kryoptic { folder })
    }

    /// Makes a token.
    ///
    /// # Panics
    /// When `softhsm2-util` cannot.
    #[must_use]
    pub fn token(&self, label: &str, pin: &str) -> Token {
        Token::make(&module(), &self.folder, label, pin)
    }
}

/// The module, once it is built.
#[must_use]
pub fn module() -> PathBuf {
    target().join("release/libkryoptic_token.so")
}

/// Builds the module unless that is done. `make setup` does the same before the tests begin.
///
/// # Panics
/// When it cannot be built.
pub fn build() {
    if !module().exists() {
        let _ = writeln!(
            std::io::stderr(),
            "building kryoptic, a token for the tests: some minutes, the first time"
        );
    }
    // Asked each time: cargo knows whether it is up to date, and lets two that ask at once wait for each other.
    let status = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--quiet"])
        .arg("--manifest-path")
        .arg(root().join("tests/kryoptic/Cargo.toml"))
        .arg("--target-dir")
        .arg(target())
        .status()
        .expect("cargo runs");
    assert!(
        status.success(),
        "kryoptic was not built: `make setup` installs what that needs"
    );
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this package is a folder of the workspace")
}

/// Apart from everything else's, so that no other build throws it away.
fn target() -> PathBuf {
    root().join("target/kryoptic")
}
