//! Tests that need an environment of their own. PKCS#11 modules read where their tokens are from the environment, once in
//! a process: a test that needs tokens therefore runs itself again, alone in a process that has its own.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Names the test's folder, and says that this is its own process.
const FOLDER: &str = "SIGNET_TEST_FOLDER";
/// Where the tests' module that fails as it is told looks for what it is told: see `fault_token::ENVIRONMENT`.
const FAULTS: &str = "SIGNET_FAULT_TOKEN";

/// The test's folder in its own process; `None` in the first one, after it has passed. `prepare` fills the folder and
/// gives the variable that the module reads.
pub(crate) fn enter(
    test: &str,
    prepare: impl FnOnce(&Path) -> (&'static str, PathBuf),
) -> Option<PathBuf> {
    if let Some(folder) = std::env::var_os(FOLDER) {
        return Some(folder.into());
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (variable, value) = prepare(folder.path());
    let status = Command::new(std::env::current_exe().expect("this test's path"))
        .args([test, "--exact", "--nocapture"])
        .env(variable, value)
        .env(FAULTS, folder.path().join("faults"))
        .env(FOLDER, folder.path())
        .status()
        .expect("this test runs");
    assert!(status.success(), "{test} failed in its own process");
    None
}
