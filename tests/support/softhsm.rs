//! SoftHSM tokens for tests that open the module in their own process.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::own_process;

/// The module of Debian's package.
pub const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";
/// The security officer's PIN, which only makes tokens.
const SO_PIN: &str = "87654321";

/// A folder of tokens, the only one that this process sees.
#[derive(Debug)]
pub struct SoftHsm {
    folder: PathBuf,
}

/// A token that was made.
#[derive(Debug, Clone)]
pub struct Token {
    /// The module that it is behind.
    pub module: PathBuf,
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
        let folder = own_process::enter(test, |folder| {
            let tokens = folder.join("tokens");
            fs::create_dir(&tokens).expect("a folder for tokens");
            let configuration = folder.join("softhsm2.conf");
            let text = format!(
                "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
                tokens.display()
            );
            fs::write(&configuration, text).expect("SoftHSM's configuration");
            ("SOFTHSM2_CONF", configuration)
        })?;
        Some(SoftHsm { folder })
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
        Token::make(Path::new(MODULE), &self.folder, label, pin)
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

impl Token {
    /// Makes a token in the first free slot of a module, with the tool that SoftHSM has for any module.
    pub(crate) fn make(module: &Path, folder: &Path, label: &str, pin: &str) -> Token {
        let status = Command::new("softhsm2-util")
            .arg("--module")
            .arg(module)
            .args(["--init-token", "--free", "--label", label, "--pin", pin])
            .args(["--so-pin", SO_PIN])
            .stdout(std::process::Stdio::null())
            .status()
            .expect("softhsm2-util is installed");
        assert!(status.success(), "softhsm2-util");
        let pin_file = folder.join(format!("{label}.pin"));
        write_secret(&pin_file, pin);
        Token {
            module: module.to_owned(),
            label: label.to_owned(),
            pin_file,
        }
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
