//! The configuration file: TOML in, a checked and typed [`Config`] out. Nothing is opened or bound before all of it is
//! known to be right.

mod audit;
mod check;
pub(crate) mod duration;
mod listen;
mod policy;
mod rules;
mod text;

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::keyring;
use crate::{backend, permissions};

pub use audit::{Audit, Durability};
pub(crate) use check::matches as ring_matches;
pub use duration::Period;
pub(crate) use duration::parse as parse_duration;
pub use listen::{Listen, Tls, TlsVersion};
pub use policy::{Policy, PolicyRule};
pub use rules::ByRing;
pub(crate) use rules::ring_of_secrets;

/// Why a configuration cannot be used: one sentence with the place and the remedy.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

/// The whole configuration of the service. Paths are absolute, or relative to the working directory if the file's path was.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How many worker threads serve requests; 0: one for each core.
    #[serde(default)]
    pub workers: usize,
    /// Whether the process may run as root.
    #[serde(default)]
    pub allow_root: bool,
    /// Where to listen.
    pub listen: Listen,
    /// Required when `listen.tcp` is set.
    pub tls: Option<Tls>,
    /// Who may call.
    pub callers: Callers,
    /// Where the keys live.
    pub backend: backend::Settings,
    /// When keys change.
    #[serde(default)]
    pub lifecycle: Lifecycle,
    /// What may be signed.
    pub policy: Policy,
    /// The rings.
    pub rings: Vec<Ring>,
    /// The log of every operation; absent: none is kept.
    pub audit: Option<Audit>,
    /// Prometheus metrics and probes.
    #[serde(default)]
    pub metrics: Metrics,
    /// What is written where.
    #[serde(default)]
    pub log: Log,
    /// For `key-service admin`.
    pub admin: Option<Admin>,
}

/// Who may call.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Callers {
    /// The kind of SAN that names a caller: a certificate has exactly one of it.
    #[serde(default)]
    pub identity: Identity,
    /// One entry for each caller.
    #[serde(default)]
    pub allow: Vec<Allow>,
}

/// A kind of SAN (RFC 5280 §4.2.1.6).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Identity {
    /// uniformResourceIdentifier, as SPIFFE has it.
    #[default]
    Uri,
    /// dNSName.
    Dns,
}

/// A caller and what it may use.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Allow {
    /// For logs.
    pub name: String,
    /// Its SAN, compared octet by octet.
    pub san: Option<String>,
    /// Its user id on the Unix socket.
    pub uid: Option<u32>,
    /// Which services it may call.
    pub services: Vec<Service>,
    /// Which rings it may use: `*`, `<purpose>/*` or `<purpose>/<alg>`.
    pub rings: Vec<String>,
    /// Whether it may import others' public keys, which decides whom relying parties believe.
    #[serde(default)]
    pub imports: bool,
    /// How many operations with keys of ours it may have in a second; absent: any number.
    pub rate: Option<u32>,
    /// How many of them at once; default: those of one second.
    pub burst: Option<u32>,
}

impl Allow {
    /// How many operations it may have at once.
    #[must_use]
    pub fn burst(&self) -> u32 {
        let second = self.rate.unwrap_or(0).max(policy::ITEMS);
        self.burst.unwrap_or(second)
    }
}

/// A service of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// `keyservice.v1.KeyService`.
    Keys,
    /// `keyservice.v1.KeyAdmin`.
    Admin,
}

/// When keys change. See key states in the README.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lifecycle {
    /// How old a ring's standby becomes before the next one is made, and with it the standby's turn to sign.
    pub period: Period,
    /// How long a key is published before it signs.
    #[serde(with = "duration")]
    pub lead: Duration,
    /// How long a key that no longer signs stays published; default: `longest_token_life` + 1 h.
    #[serde(with = "duration::optional")]
    pub retention: Option<Duration>,
    /// The longest `exp − iat` of any token.
    #[serde(with = "duration")]
    pub longest_token_life: Duration,
    /// How long relying parties may cache the JWK Set.
    #[serde(with = "duration")]
    pub jwks_max_age: Duration,
    /// How often a gateway fetches the JWK Set that it publishes.
    #[serde(with = "duration")]
    pub gateway_refresh: Duration,
    /// How far clocks may be apart.
    #[serde(with = "duration")]
    pub skew: Duration,
    /// How long making a key takes, until every replica sees it. A key's lead begins that much later.
    #[serde(with = "duration")]
    pub generation: Duration,
    /// How long a key waits for a connected gateway that does not publish it yet.
    #[serde(with = "duration")]
    pub gate_limit: Duration,
    /// How often the device is asked for keys that another process made.
    #[serde(with = "duration")]
    pub reload: Duration,
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            period: Period::Every(Duration::from_secs(30 * 24 * 3600)),
            lead: Duration::from_secs(24 * 3600),
            retention: None,
            longest_token_life: Duration::from_secs(24 * 3600),
            jwks_max_age: Duration::from_secs(15 * 60),
            gateway_refresh: Duration::from_secs(60),
            skew: Duration::from_secs(30),
            generation: Duration::from_secs(60),
            gate_limit: Duration::from_secs(30 * 60),
            reload: Duration::from_secs(30),
        }
    }
}

impl Lifecycle {
    /// How long a key that no longer signs stays published.
    #[must_use]
    pub fn retention(&self) -> Duration {
        let default = self.longest_token_life + Duration::from_secs(3600);
        self.retention.unwrap_or(default)
    }
}

/// A ring.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ring {
    /// `<purpose>/<alg>`.
    pub name: String,
    /// What it may sign; default by purpose.
    pub profiles: Option<Vec<String>>,
    /// The longest `exp − iat`, where it is less than for all.
    #[serde(default, with = "duration::optional")]
    pub longest_life: Option<Duration>,
    /// Where it is another than for all.
    pub period: Option<Period>,
}

/// Prometheus metrics and probes, over HTTP without TLS.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Absent: not served.
    pub address: Option<SocketAddr>,
}

/// What is written to standard error.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// For machines or for people.
    pub format: LogFormat,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub level: String,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            format: LogFormat::Json,
            level: "info".to_owned(),
        }
    }
}

/// The form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// How `key-service admin` reaches a running service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Admin {
    /// `https://host:port` or `unix:/path`.
    pub endpoint: String,
    /// The name in the service's certificate, where it is not the endpoint's host.
    pub server_name: Option<String>,
    /// PEM: who signed the service's certificate.
    pub ca_file: Option<PathBuf>,
    /// PEM: the operator's certificate.
    pub certificate_file: Option<PathBuf>,
    /// PEM: its private key.
    pub key_file: Option<PathBuf>,
}

impl Config {
    /// Reads and checks a file.
    ///
    /// # Errors
    /// With the file, the line and the column where something is wrong, and what was probably meant.
    pub fn read(path: &Path) -> Result<Config, Invalid> {
        let text = read(path)?;
        let base = path.parent().unwrap_or(Path::new(""));
        Config::parse(&text, base).map_err(|Invalid(problem)| {
            let place = if problem.starts_with(|first: char| first.is_ascii_digit()) {
                ":"
            } else {
                ": "
            };
            Invalid(format!("{}{place}{problem}", path.display()))
        })
    }

    /// Parses and checks; relative paths are taken from `base`. An error that has a place begins with `line:column: `.
    ///
    /// # Errors
    /// As [`Config::read`], without the file's name.
    pub fn parse(text: &str, base: &Path) -> Result<Config, Invalid> {
        let mut config: Config =
            toml::from_str(text).map_err(|error| Invalid(text::explain(text, &error)))?;
        config.resolve_paths(base);
        config.check()?;
        Ok(config)
    }

    fn resolve_paths(&mut self, base: &Path) {
        let mut paths: Vec<&mut PathBuf> = Vec::new();
        paths.extend(self.listen.unix.as_mut());
        if let Some(tls) = &mut self.tls {
            paths.extend([
                &mut tls.certificate_file,
                &mut tls.key_file,
                &mut tls.client_ca_file,
            ]);
            paths.extend(tls.crl_file.as_mut());
        }
        if let Some(admin) = &mut self.admin {
            paths.extend(admin.ca_file.as_mut());
            paths.extend(admin.certificate_file.as_mut());
            paths.extend(admin.key_file.as_mut());
        }
        if let Some(audit) = &mut self.audit {
            paths.push(&mut audit.path);
            paths.extend(audit.key_file.as_mut());
        }
        for path in paths {
            // Joining an absolute path gives that path.
            *path = base.join(&*path);
        }
        self.backend.resolve_paths(base);
    }

    /// What the keyring needs of it.
    ///
    /// # Errors
    /// A ring or a profile that does not exist.
    pub fn keyring(&self) -> Result<keyring::Settings, Invalid> {
        check::keyring(self)
    }

    /// What `[[policy.rules]]` takes from each of `[[callers.allow]]`, in their order.
    ///
    /// # Errors
    /// A rule that names what there is not, or leaves nothing to sign.
    pub fn restrictions(&self) -> Result<Vec<ByRing>, Invalid> {
        rules::restrictions(self)
    }
}

/// It names the module that is loaded, so nobody else may change it.
fn read(path: &Path) -> Result<String, Invalid> {
    let unreadable = |error| Invalid(format!("{}: {error}", path.display()));
    let mut file = permissions::open_unchangeable(path).map_err(|refused| match refused {
        permissions::Refused::Unreadable { source, .. } => unreadable(source),
        loose @ permissions::Refused::Loose { .. } => Invalid(loose.to_string()),
    })?;
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(unreadable)?;
    Ok(text)
}

#[cfg(test)]
mod tests;
