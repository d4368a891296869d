//! Homes of keys, made for one measurement.

use std::fs;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use serde_json::json;
use support::kryoptic;
use support::softhsm::{self, write_secret};

/// Label of the token, and its user PIN.
const LABEL: &str = "bench";
const PIN: &str = "314159";

/// What holds keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Software,
    SoftHsm,
    Kryoptic,
}

/// A new one.
pub(super) struct Home {
    /// `[backend]` of the key-service's configuration.
    pub(super) backend: String,
    /// What whoever opens it needs in the environment.
    pub(super) environment: Option<(&'static str, PathBuf)>,
    /// Absent: there is no module.
    pub(super) token: Option<Token>,
}

/// A token behind a module.
pub(super) struct Token {
    pub(super) module: PathBuf,
    pub(super) label: &'static str,
    pub(super) pin: &'static str,
}

impl Kind {
    pub(super) const ALL: [Kind; 3] = [Kind::Software, Kind::SoftHsm, Kind::Kryoptic];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Software => "software",
            Kind::SoftHsm => "SoftHSM",
            Kind::Kryoptic => "kryoptic",
        }
    }

    pub(super) fn rings(self) -> &'static [&'static str] {
        &["id-token/ES256", "id-token/EdDSA", "id-token/RS256"]
    }
}

impl Home {
    pub(super) fn make(kind: Kind, folder: &Path) -> anyhow::Result<Home> {
        let (environment, module) = match kind {
            Kind::Software => return Home::software(folder),
            Kind::SoftHsm => {
                let tokens = folder.join("tokens");
                fs::DirBuilder::new().mode(0o700).create(&tokens)?;
                let text = format!(
                    "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
                    tokens.display()
                );
                let configuration = folder.join("softhsm2.conf");
                fs::write(&configuration, text)?;
                (
                    ("SOFTHSM2_CONF", configuration),
                    PathBuf::from(softhsm::MODULE),
                )
            }
            Kind::Kryoptic => {
                kryoptic::build();
                let file = folder.join("token.sql");
                let text = format!("[[slots]]\nslot = 0\ndbtype = \"sqlite\"\ndbargs = {file:?}\n");
                let configuration = folder.join("kryoptic.toml");
                fs::write(&configuration, text)?;
                (("KRYOPTIC_CONF", configuration), kryoptic::module())
            }
        };
        let status = Command::new("softhsm2-util")
            .env(environment.0, &environment.1)
            .arg("--module")
            .arg(&module)
            .args(["--init-token", "--free", "--label", LABEL])
            .args(["--pin", PIN, "--so-pin", PIN])
            .stdout(Stdio::null())
            .status()
            .context("softhsm2-util does not run (`make setup` installs it)")?;
        ensure!(status.success(), "softhsm2-util made no token");
        let pin_file = folder.join("pin");
        write_secret(&pin_file, PIN);
        let backend = format!(
            "kind = \"pkcs11\"\nmodule = {}\ntoken = {}\npin_file = {}\n",
            json!(module),
            json!(LABEL),
            json!(pin_file)
        );
        Ok(Home {
            backend,
            environment: Some(environment),
            token: Some(Token {
                module,
                label: LABEL,
                pin: PIN,
            }),
        })
    }

    fn software(folder: &Path) -> anyhow::Result<Home> {
        let passphrase = folder.join("passphrase");
        write_secret(&passphrase, "correct horse battery staple");
        let keys = folder.join("keys");
        Ok(Home {
            backend: format!(
                "kind = \"software\"\ndirectory = {}\npassphrase_file = {}\n",
                json!(keys),
                json!(passphrase)
            ),
            environment: None,
            token: None,
        })
    }
}
