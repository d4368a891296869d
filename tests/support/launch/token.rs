//! A fresh SoftHSM 2 token in a folder of its own, usable by an ordinary user.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::process::run;
use super::run_folder::write_secret;

/// Label of the token.
pub(super) const LABEL: &str = "signet";

/// Where distributions put the module.
const MODULES: &[&str] = &[
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
];

/// A token that a PKCS#11 module can open.
#[derive(Debug)]
pub(super) struct Token {
    /// The module, an absolute path.
    pub(super) module: PathBuf,
    /// Value of `SOFTHSM2_CONF` for the process that opens the token.
    pub(super) configuration: PathBuf,
    /// Holds the user PIN.
    pub(super) pin_file: PathBuf,
}

impl Token {
    /// Makes the token in `folder`; `pin` is the user's and, in development, the security officer's.
    pub(super) fn make(folder: &Path, pin: &str) -> anyhow::Result<Self> {
        let Some(module) = MODULES.iter().map(Path::new).find(|path| path.exists()) else {
            bail!("SoftHSM's module is not installed: run `make setup`");
        };
        let tokens = folder.join("tokens");
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&tokens)
            .with_context(|| format!("cannot make {}", tokens.display()))?;
        let configuration = folder.join("softhsm2.conf");
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
            tokens.display()
        );
        fs::write(&configuration, text)?;
        let pin_file = folder.join("pin");
        write_secret(&pin_file, pin)?;
        run(Command::new("softhsm2-util")
            .env("SOFTHSM2_CONF", &configuration)
            .args(["--init-token", "--free", "--label", LABEL])
            .args(["--pin", pin, "--so-pin", pin]))
        .context("cannot make a SoftHSM token (`make setup` installs softhsm2)")?;
        Ok(Self {
            module: module.to_owned(),
            configuration,
            pin_file,
        })
    }
}
