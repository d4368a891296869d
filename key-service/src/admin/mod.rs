//! `key-service admin`: the command line of `keyservice.v1.KeyAdmin`, with tables for people and JSON for programs.

mod import;
mod show;

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use proto::v1;
use proto::v1::key_admin_client::KeyAdminClient;
use serde_json::json;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

use crate::algorithm::{RingAlgorithm, RingName};
use crate::config::Admin;
use crate::permissions;

/// How long a service may take to answer; making a key in a slow device takes seconds.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What to ask the service.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Shows the keys, their states and when these change
    List {
        /// Only this ring, for example id-token/ES256
        ring: Option<String>,
    },
    /// Makes the next key of a ring: the standby signs as soon as it has been published for the lead
    Rotate {
        /// The ring, for example id-token/ES256
        ring: String,
        /// Says what would happen, and does nothing
        #[arg(long)]
        dry_run: bool,
    },
    /// Withdraws a key for good; where it was active, its successor signs at once
    Revoke {
        /// The key's kid, as `list` shows it
        #[arg(allow_hyphen_values = true)]
        kid: String,
        /// Why, for the record
        #[arg(long, value_name = "TEXT")]
        reason: String,
        /// Also a key that seals, or the only one that its ring ever gets
        #[arg(long)]
        lose_what_it_made: bool,
    },
    /// Withdraws a key until it is enabled; where it was active, its successor signs at once
    Disable {
        /// The key's kid, as `list` shows it
        #[arg(allow_hyphen_values = true)]
        kid: String,
        /// Why, for the record
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Publishes a disabled key again: it verifies and decrypts, and never signs
    Enable {
        /// The key's kid, as `list` shows it
        #[arg(allow_hyphen_values = true)]
        kid: String,
    },
    /// Deletes the material of an expired, revoked or disabled key; nothing brings it back
    Destroy {
        /// The key's kid, as `list` shows it
        #[arg(allow_hyphen_values = true)]
        kid: String,
        /// Required for keys that seal or compute MACs: `oidc-gateway rewrap` has said so of every store
        #[arg(long)]
        nothing_uses_it: bool,
    },
    /// Publishes others' public keys beside a ring's own: what they signed verifies, and they never sign here
    Import(import::Import),
    /// Writes the published public keys of a ring as a JWK Set, without imported ones
    Export {
        /// The ring, for example id-token/ES256
        ring: String,
    },
    /// Shows what the service and its device are and can do
    Info,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration has no way to reach the service.
    #[error("[admin] {0}")]
    Configuration(String),
    /// A file of `[admin]` cannot be read.
    #[error("[admin] {}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// Others can read its private key, or change it.
    #[error("[admin] {0}")]
    Loose(#[from] permissions::Refused),
    /// What is to be imported cannot be.
    #[error("{0}")]
    Input(String),
    /// One of several keys was not imported.
    #[error("{problem}; imported before that: {before}")]
    Partly {
        /// Why.
        problem: Box<Error>,
        /// Those that were.
        before: String,
    },
    /// Nobody answers there.
    #[error("{endpoint}: {reason}; {}", advice(reason))]
    Unreachable {
        /// Where.
        endpoint: String,
        /// What happened.
        reason: String,
    },
    /// The service said no: it tells nobody whether that is for want of a right or of the thing.
    #[error(
        "refused: no such ring or key, or this certificate may not do that \
         (`list` shows what there is, [[callers.allow]] of the service what it may)"
    )]
    NotAllowed,
    /// The service said something else than an answer.
    #[error("refused: {} ({:?})", .0.message(), .0.code())]
    Refused(Box<Status>),
    /// The connection broke before an answer: in TLS 1.3 a caller learns so that its certificate is not accepted.
    #[error("the connection ended: {0}; does the service accept [admin] certificate_file?")]
    Broken(String),
}

impl Error {
    /// Whether the configuration is to blame.
    #[must_use]
    pub fn is_configuration(&self) -> bool {
        matches!(
            self,
            Error::Configuration(_) | Error::File { .. } | Error::Loose(_) | Error::Input(_)
        )
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        match (status.code(), std::error::Error::source(&status)) {
            (Code::PermissionDenied, _) => Error::NotAllowed,
            (Code::Unknown | Code::Unavailable | Code::Cancelled, Some(cause)) => {
                Error::Broken(root_cause(cause))
            }
            _ => Error::Refused(Box::new(status)),
        }
    }
}

/// Asks the service and answers with the text to show, its last line ended.
///
/// # Errors
/// When the service cannot be reached, or refuses.
pub async fn run(settings: &Admin, command: Command, as_json: bool) -> Result<String, Error> {
    // What is wrong with what is to be imported is said before anybody is asked.
    let prepared = match &command {
        Command::Import(wanted) => wanted.read()?,
        _ => Vec::new(),
    };
    let mut client = KeyAdminClient::new(connect(settings).await?);
    let answer = match command {
        Command::Import(_) => {
            let imported = import::send(&mut client, prepared).await?;
            if as_json {
                json!({ "imported": imported.iter().map(show::import_json).collect::<Vec<_>>() })
            } else {
                return Ok(show::imports_text(&imported));
            }
        }
        Command::Export { ring } => {
            let request = v1::ListKeysRequest { ring: ring.clone() };
            let keys = client.list_keys(request).await?.into_inner().keys;
            import::jwk_set(&ring, &keys)?
        }
        Command::List { ring } => {
            let ring = ring.unwrap_or_default();
            let request = v1::ListKeysRequest { ring };
            let keys = client.list_keys(request).await?.into_inner().keys;
            if as_json {
                json!({ "keys": keys.iter().map(show::key).collect::<Vec<_>>() })
            } else {
                return Ok(show::table(&keys));
            }
        }
        Command::Rotate { ring, dry_run } => {
            let request = v1::RotateKeyRequest { ring, dry_run };
            let rotation = client.rotate_key(request).await?.into_inner();
            if as_json {
                show::rotation_json(&rotation)
            } else {
                return Ok(show::rotation_text(&rotation));
            }
        }
        Command::Revoke {
            kid,
            reason,
            lose_what_it_made,
        } => {
            if !lose_what_it_made {
                loses_nothing(&mut client, &kid).await?;
            }
            let request = v1::RevokeKeyRequest { kid, reason };
            let revocation = client.revoke_key(request).await?.into_inner();
            if as_json {
                show::revocation_json(&revocation)
            } else {
                return Ok(show::revocation_text(&revocation));
            }
        }
        Command::Disable { kid, reason } => {
            let request = v1::DisableKeyRequest { kid, reason };
            let v1::DisableKeyResponse { key, signing_kid } =
                client.disable_key(request).await?.into_inner();
            if as_json {
                let signing = (!signing_kid.is_empty()).then_some(&signing_kid);
                json!({ "disabled": key.as_ref().map(show::key), "signing_kid": signing })
            } else {
                let mut text = show::outcome(key.as_ref(), "is disabled and no longer published");
                text.push_str(&show::signs_from_now(&signing_kid));
                return Ok(text);
            }
        }
        Command::Enable { kid } => {
            let request = v1::EnableKeyRequest { kid };
            let key = client.enable_key(request).await?.into_inner().key;
            if as_json {
                json!({ "enabled": key.as_ref().map(show::key) })
            } else {
                return Ok(show::outcome(key.as_ref(), "is enabled, and signs no more"));
            }
        }
        Command::Destroy {
            kid,
            nothing_uses_it,
        } => {
            let request = v1::DestroyKeyRequest {
                kid,
                nothing_uses_it,
            };
            let key = client.destroy_key(request).await?.into_inner().key;
            if as_json {
                json!({ "destroyed": key.as_ref().map(show::key) })
            } else {
                return Ok(show::outcome(key.as_ref(), "is destroyed"));
            }
        }
        Command::Info => {
            let info = client.info(v1::InfoRequest {}).await?.into_inner();
            if as_json {
                show::info_json(&info)
            } else {
                return Ok(show::info_text(&info));
            }
        }
    };
    Ok(format!("{answer:#}\n"))
}

async fn connect(settings: &Admin) -> Result<Channel, Error> {
    let is_unix = settings.endpoint.starts_with("unix:");
    let mut endpoint = Endpoint::from_shared(settings.endpoint.clone())
        .ok()
        .filter(|_| is_unix || settings.endpoint.starts_with("https://"))
        .ok_or_else(|| {
            let sentence = "is not https://host:port or unix:/path";
            Error::Configuration(format!("endpoint `{}` {sentence}", settings.endpoint))
        })?
        .timeout(TIMEOUT)
        .connect_timeout(Duration::from_secs(5));
    if !is_unix {
        let mut tls = ClientTlsConfig::new()
            .ca_certificate(Certificate::from_pem(read(
                "ca_file",
                settings.ca_file.as_deref(),
            )?))
            .identity(Identity::from_pem(
                read("certificate_file", settings.certificate_file.as_deref())?,
                read_key(settings.key_file.as_deref())?,
            ));
        if let Some(name) = &settings.server_name {
            tls = tls.domain_name(name);
        }
        endpoint = endpoint.tls_config(tls).map_err(|error| {
            Error::Configuration(format!(
                "certificate_file, key_file: {}",
                root_cause(&error)
            ))
        })?;
    }
    endpoint
        .connect()
        .await
        .map_err(|error| Error::Unreachable {
            endpoint: settings.endpoint.clone(),
            reason: root_cause(&error),
        })
}

fn read(name: &str, path: Option<&Path>) -> Result<Vec<u8>, Error> {
    let path = path.ok_or_else(|| Error::Configuration(format!("{name} is required for https")))?;
    std::fs::read(path).map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })
}

fn read_key(path: Option<&Path>) -> Result<Vec<u8>, Error> {
    if let Some(path) = path.filter(|path| path.exists()) {
        permissions::check_secret(path)?;
    }
    read("key_file", path)
}

fn advice(reason: &str) -> &'static str {
    if reason.starts_with("invalid peer certificate") {
        "[admin] ca_file and server_name must be those of the service's certificate"
    } else {
        "is the service running?"
    }
}

fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

/// Refuses to withdraw for good what only this key opens, or what no other key of its ring will ever compute, unless that
/// is said: nothing brings it back. A key that waits has made nothing, and one that is revoked is gone already.
async fn loses_nothing(client: &mut KeyAdminClient<Channel>, kid: &str) -> Result<(), Error> {
    let request = v1::ListKeysRequest::default();
    let keys = client.list_keys(request).await?.into_inner().keys;
    use v1::KeyState::{Active, Disabled, Retired};
    let has_made = |key: &&v1::Key| matches!(key.state(), Active | Disabled | Retired);
    let Some(key) = keys.iter().filter(has_made).find(|key| key.kid == kid) else {
        return Ok(());
    };
    let lost = match key.ring.parse::<RingName>() {
        Ok(ring) if ring.is_fixed() => {
            "never gets another key, and what this one computed cannot be computed again"
        }
        Ok(ring) if ring.algorithm() == RingAlgorithm::Seal => {
            "seals: what this key sealed cannot be opened without it, so `rotate` and `oidc-gateway rewrap` come first"
        }
        _ => return Ok(()),
    };
    Err(Error::Input(format!(
        "{} {lost}; with --lose-what-it-made it is revoked all the same",
        key.ring
    )))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser as _;

    use super::Command;

    #[derive(clap::Parser)]
    struct Line {
        #[command(subcommand)]
        command: Command,
    }

    /// One base64url text in 64 does.
    #[test]
    fn a_kid_may_begin_with_a_dash() {
        for line in [
            &["revoke", "-Ikf", "--reason", "leak"][..],
            &["revoke", "--reason", "leak", "-Ikf"],
            &["disable", "-Ikf", "--reason", "leak"],
        ] {
            let parsed = Line::try_parse_from([&["admin"], line].concat());
            let (Command::Revoke { kid, reason, .. } | Command::Disable { kid, reason }) =
                parsed.unwrap().command
            else {
                panic!("{line:?} is another command");
            };
            assert_eq!((kid.as_str(), reason.as_str()), ("-Ikf", "leak"));
        }
        for command in ["enable", "destroy"] {
            assert!(Line::try_parse_from(["admin", command, "-Ikf"]).is_ok());
        }
    }
}
