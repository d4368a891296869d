//! `key-service admin`: the command line of `keyservice.v1.KeyAdmin`, with tables for people and JSON for programs.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use proto::v1;
use proto::v1::key_admin_client::KeyAdminClient;
use serde_json::{Value, json};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Code, Status};

use crate::config::Admin;

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
        kid: String,
        /// Why, for the record
        #[arg(long, value_name = "TEXT")]
        reason: String,
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
         (`list` shows what there is, the service's log the reason)"
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
        matches!(self, Error::Configuration(_) | Error::File { .. })
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
    let mut client = KeyAdminClient::new(connect(settings).await?);
    let answer = match command {
        Command::List { ring } => {
            let ring = ring.unwrap_or_default();
            let keys = client
                .list_keys(v1::ListKeysRequest { ring })
                .await?
                .into_inner()
                .keys;
            if as_json {
                json!({ "keys": keys.iter().map(key).collect::<Vec<_>>() })
            } else {
                return Ok(table(&keys));
            }
        }
        Command::Rotate { ring, dry_run } => {
            let request = v1::RotateKeyRequest { ring, dry_run };
            let rotation = client.rotate_key(request).await?.into_inner();
            if as_json {
                rotation_json(&rotation)
            } else {
                return Ok(rotation_text(&rotation));
            }
        }
        Command::Revoke { kid, reason } => {
            let request = v1::RevokeKeyRequest { kid, reason };
            let revocation = client.revoke_key(request).await?.into_inner();
            if as_json {
                revocation_json(&revocation)
            } else {
                return Ok(revocation_text(&revocation));
            }
        }
        Command::Info => {
            let info = client.info(v1::InfoRequest {}).await?.into_inner();
            if as_json {
                info_json(&info)
            } else {
                return Ok(info_text(&info));
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
                read("key_file", settings.key_file.as_deref())?,
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

/// RFC 3339; nothing where there is no time.
fn time(seconds: i64) -> Option<String> {
    let time = jiff::Timestamp::from_second(seconds).ok()?;
    (seconds != 0).then(|| time.to_string())
}

fn state(key: &v1::Key) -> &'static str {
    let name = key.state().as_str_name();
    name.strip_prefix("KEY_STATE_").unwrap_or(name)
}

fn key(key: &v1::Key) -> Value {
    json!({
        "kid": key.kid,
        "ring": key.ring,
        "generation": key.generation,
        "state": state(key),
        "created_at": time(key.created_at),
        "activates_at": time(key.activates_at),
        "retires_at": time(key.retires_at),
        "expires_at": time(key.expires_at),
        "location": key.location,
        "reason": key.reason,
    })
}

fn table(keys: &[v1::Key]) -> String {
    let heads = [
        "RING",
        "GEN",
        "STATE",
        "KID",
        "CREATED",
        "SIGNS FROM",
        "UNTIL",
        "PUBLISHED UNTIL",
        "WHERE",
        "WHY",
    ];
    let mut rows = vec![heads.map(str::to_owned)];
    let show = |seconds| time(seconds).unwrap_or_else(|| "-".to_owned());
    for key in keys {
        rows.push([
            key.ring.clone(),
            key.generation.to_string(),
            state(key).to_owned(),
            key.kid.clone(),
            show(key.created_at),
            show(key.activates_at),
            show(key.retires_at),
            show(key.expires_at),
            key.location.clone(),
            key.reason.clone(),
        ]);
    }
    let widths: [usize; 10] = std::array::from_fn(|column| {
        rows.iter()
            .map(|row| row[column].chars().count())
            .max()
            .unwrap_or(0)
    });
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            // Writing to memory cannot fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

fn rotation_json(rotation: &v1::RotateKeyResponse) -> Value {
    json!({
        "created": rotation.created.as_ref().map(key),
        "next_generation": (rotation.next_generation != 0).then_some(rotation.next_generation),
        "next_activates_at": time(rotation.next_activates_at),
        "dry_run": rotation.dry_run,
    })
}

fn rotation_text(rotation: &v1::RotateKeyResponse) -> String {
    let mut text = String::new();
    if let Some(created) = &rotation.created {
        let made = if rotation.dry_run {
            "would be made"
        } else {
            "is made"
        };
        let kid = if created.kid.is_empty() {
            String::new()
        } else {
            format!(", {}", created.kid)
        };
        let _ = writeln!(
            text,
            "{}: generation {}{kid} {made}, as the standby",
            created.ring, created.generation
        );
    }
    if let Some(at) = time(rotation.next_activates_at) {
        let _ = writeln!(
            text,
            "generation {} signs from {at}",
            rotation.next_generation
        );
    }
    text
}

fn revocation_json(revocation: &v1::RevokeKeyResponse) -> Value {
    json!({
        "revoked": revocation.revoked.as_ref().map(key),
        "signing_kid": (!revocation.signing_kid.is_empty()).then_some(&revocation.signing_kid),
        "created": revocation.created.as_ref().map(key),
    })
}

fn revocation_text(revocation: &v1::RevokeKeyResponse) -> String {
    let mut text = String::new();
    if let Some(revoked) = &revocation.revoked {
        let _ = writeln!(
            text,
            "{}: {} is revoked and no longer published",
            revoked.ring, revoked.kid
        );
        let _ = writeln!(
            text,
            "relying parties accept it until their copy of the JWK Set is too old"
        );
    }
    if !revocation.signing_kid.is_empty() {
        let _ = writeln!(text, "{} signs from now on", revocation.signing_kid);
    }
    if let Some(created) = &revocation.created {
        let _ = writeln!(
            text,
            "generation {}, {} is made, as the standby",
            created.generation, created.kid
        );
    }
    text
}

fn info_json(info: &v1::InfoResponse) -> Value {
    let can = info.capabilities.clone().unwrap_or_default();
    json!({
        "version": info.version,
        "backend": info.backend,
        "backend_description": info.backend_description,
        "backend_state": info.backend_state,
        "epoch": info.epoch,
        "rings": info.rings,
        "notes": info.notes,
        "capabilities": {
            "sign_rings": can.sign_rings,
            "verify_alg": can.verify_alg,
            "decrypt_rings": can.decrypt_rings,
            "decrypt_enc": can.decrypt_enc,
            "wrap_alg": can.wrap_alg,
            "wrap_enc": can.wrap_enc,
            "seal": can.seal,
        },
    })
}

fn info_text(info: &v1::InfoResponse) -> String {
    let can = info.capabilities.clone().unwrap_or_default();
    let mut text = String::new();
    for (name, value) in [
        ("version", info.version.clone()),
        (
            "backend",
            format!("{} ({})", info.backend_description, info.backend_state),
        ),
        ("epoch", info.epoch.clone()),
        ("rings", info.rings.join(" ")),
        ("signs with", can.sign_rings.join(" ")),
        ("verifies", can.verify_alg.join(" ")),
        ("decrypts with", can.decrypt_rings.join(" ")),
        ("encrypts by", can.wrap_alg.join(" ")),
        ("content by", can.wrap_enc.join(" ")),
        ("seals", if can.seal { "yes" } else { "no" }.to_owned()),
        ("cannot", info.notes.join("; ")),
    ] {
        if !value.is_empty() {
            let _ = writeln!(text, "{name:14}{value}");
        }
    }
    text
}
