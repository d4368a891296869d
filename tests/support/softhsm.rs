//! SoftHSM tokens for tests that open the module in their own process.
//!
//! SoftHSM reads where its tokens are from the environment, once in a process. A test that needs tokens therefore runs
//! itself again, alone in a process that has its own.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The module of Debian's package.
pub const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// Where SoftHSM's configuration is: set means that this is the test's own process.
const CONFIGURATION: &str = "SOFTHSM2_CONF";
/// Set beside it, so that a developer's own setting is not taken for ours.
const FOLDER: &str = "SIGNET_TEST_SOFTHSM";

/// A folder of tokens, the only one that this process sees.
#[derive(Debug)]
pub struct SoftHsm {
    folder: PathBuf,
}

/// A token that was made.
#[derive(Debug, Clone)]
pub struct Token {
    /// Its label.
    pub label: String,
    /// Holds its user PIN.
    pub pin_file: PathBuf,
}

impl SoftHsm {
    /// Runs `test` (its full name) again in a process of its own; `Some` there, `None` here after it has passed.
    ///
    /// # Panics
    /// When it has failed there.
    #[must_use]
    pub fn in_own_process(test: &str) -> Option<SoftHsm> {
        if let Some(folder) = std::env::var_os(FOLDER) {
            return Some(SoftHsm {
                folder: folder.into(),
            });
        }
        let folder = tempfile::tempdir().expect("a temporary folder");
        let tokens = folder.path().join("tokens");
        fs::create_dir(&tokens).expect("a folder for tokens");
        let configuration = folder.path().join("softhsm2.conf");
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.display()
        );
        fs::write(&configuration, text).expect("SoftHSM's configuration");
        let status = Command::new(std::env::current_exe().expect("this test's path"))
            .args([test, "--exact", "--nocapture"])
            .env(CONFIGURATION, &configuration)
            .env(FOLDER, folder.path())
            .status()
            .expect("this test runs");
        assert!(status.success(), "{test} failed in its own process");
        None
    }

    /// The folder that SoftHSM keeps the tokens in.
    #[must_use]
    pub fn tokens(&self) -> PathBuf {
        self.folder.join("tokens")
    }

    /// Makes a token.
    ///
    /// # Panics
    /// When `softhsm2-util` cannot.
    #[must_use]
    pub fn token(&self, label: &str, pin: &str) -> Token {
        let status = Command::new("softhsm2-util")
            .args(["--init-token", "--free", "--label", label, "--pin", pin])
            .args(["--so-pin", "87654321"])
            .stdout(std::process::Stdio::null())
            .status()
            .expect("softhsm2-util is installed");
        assert!(status.success(), "softhsm2-util");
        Token {
            label: label.to_owned(),
            pin_file: self.secret(&format!("{label}.pin"), pin),
        }
    }

    /// Writes a file that only its owner can read.
    ///
    /// # Panics
    /// When it cannot be written.
    #[must_use]
    pub fn secret(&self, name: &str, content: &str) -> PathBuf {
        write_secret(&self.folder.join(name), content);
        self.folder.join(name)
    }
}

/// Writes a file that only its owner can read.
///
/// # Panics
/// When it cannot be written.
pub fn write_secret(path: &Path, content: &str) {
    fs::write(path, content).expect("a file can be written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("a mode can be set");
}
