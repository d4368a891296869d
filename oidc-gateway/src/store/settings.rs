//! Where the store is: the `[store]` table of the configuration, read and checked before anything is bound.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use serde::Deserialize;

use super::Store;
use super::memory::Memory;
use super::redis::{Address, Redis, Target};
use crate::secret::Secret;

/// The `[store]` table.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `memory`: in this process, gone when it ends. `redis`: shared by all gateways.
    pub kind: Kind,
    /// `redis://host[:6379][/database]`, `rediss://…` (TLS; needs `ca_file`) or `unix:///path`. No password in it.
    pub url: Option<String>,
    /// The ACL user. It needs `+get +mget +getrange +set +del +multi +exec +eval +evalsha +script|load +ping`, and `+scan`
    /// for `oidc-gateway rewrap`.
    pub username: Option<String>,
    /// A file that holds the password; its line end does not count.
    pub password_file: Option<PathBuf>,
    /// The environment variable that holds the password.
    pub password_env: Option<String>,
    /// The certificates (PEM) of the authorities that may vouch for the server.
    pub ca_file: Option<PathBuf>,
    /// How long an answer may take before the store counts as unavailable; default 2 s, at least 100 ms.
    #[serde(default, with = "crate::duration::optional")]
    pub timeout: Option<Duration>,
    /// How long making a connection may take; default 2 s, at least 100 ms.
    #[serde(default, with = "crate::duration::optional")]
    pub connect_timeout: Option<Duration>,
}

/// Which store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// [`Memory`].
    Memory,
    /// [`Redis`].
    Redis,
}

/// Why a `[store]` table cannot be used: a sentence for whoever wrote it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

/// A store that is known but not connected yet. All clones of a memory location lead to the same values.
#[derive(Clone)]
pub enum Location {
    /// In this process.
    Memory(Arc<Memory>),
    /// In Redis.
    Redis(Arc<Target>),
}

impl Settings {
    /// The store in memory.
    pub fn memory() -> Settings {
        Settings {
            kind: Kind::Memory,
            url: None,
            username: None,
            password_file: None,
            password_env: None,
            ca_file: None,
            timeout: None,
            connect_timeout: None,
        }
    }

    /// Redis at a URL, everything else by default.
    pub fn redis(url: &str) -> Settings {
        Settings {
            kind: Kind::Redis,
            url: Some(url.to_owned()),
            ..Settings::memory()
        }
    }

    /// Reads what the settings name; `base` is the folder that relative paths start from.
    ///
    /// # Errors
    /// A setting is missing, contradicts another or names a file that cannot be used.
    pub fn locate(&self, base: &Path) -> Result<Location, Invalid> {
        if self.kind == Kind::Memory {
            return self.memory_alone();
        }
        let url = self
            .url
            .as_deref()
            .ok_or_else(|| invalid("kind `redis` needs `url`"))?;
        let (address, database) = address(url)?;
        Ok(Location::Redis(Arc::new(Target {
            tls: self.tls(&address, base)?,
            address,
            database,
            username: self.username.clone(),
            password: self.password(base)?,
            timeout: at_least_100ms("timeout", self.timeout)?,
            connect_timeout: at_least_100ms("connect_timeout", self.connect_timeout)?,
            errors: Counter::default(),
        })))
    }

    fn memory_alone(&self) -> Result<Location, Invalid> {
        let others = [
            self.url.is_some(),
            self.username.is_some(),
            self.password_file.is_some(),
            self.password_env.is_some(),
            self.ca_file.is_some(),
            self.timeout.is_some(),
            self.connect_timeout.is_some(),
        ];
        if others.contains(&true) {
            return Err(invalid("kind `memory` takes no other setting"));
        }
        Ok(Location::Memory(Arc::new(Memory::new())))
    }

    fn password(&self, base: &Path) -> Result<Option<Secret<String>>, Invalid> {
        let password = match (&self.password_file, &self.password_env) {
            (None, None) => {
                return match self.username {
                    Some(_) => Err(invalid(
                        "`username` needs `password_file` or `password_env`",
                    )),
                    None => Ok(None),
                };
            }
            (Some(_), Some(_)) => {
                return Err(invalid(
                    "`password_file` and `password_env` exclude each other",
                ));
            }
            (Some(file), None) => read(base, file)?,
            (None, Some(name)) => std::env::var(name)
                .map_err(|_| invalid(format!("the environment variable `{name}` is not set")))?,
        };
        match password.trim_end_matches(['\r', '\n']) {
            "" => Err(invalid("the password is empty")),
            password => Ok(Some(Secret::new(password.to_owned()))),
        }
    }

    fn tls(
        &self,
        address: &Address,
        base: &Path,
    ) -> Result<Option<Arc<rustls::ClientConfig>>, Invalid> {
        use rustls::pki_types::CertificateDer;
        use rustls::pki_types::pem::PemObject;

        let file = match (address, &self.ca_file) {
            (Address::Tls { .. }, Some(file)) => file,
            (Address::Tls { .. }, None) => return Err(invalid("`rediss:` needs `ca_file`")),
            (_, Some(_)) => return Err(invalid("`ca_file` needs a `rediss:` url")),
            (_, None) => return Ok(None),
        };
        let bad = |reason: String| invalid(format!("ca_file {}: {reason}", file.display()));
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(read(base, file)?.as_bytes()) {
            let certificate = certificate.map_err(|error| bad(error.to_string()))?;
            roots
                .add(certificate)
                .map_err(|error| bad(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(bad("holds no certificate".to_owned()));
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| bad(error.to_string()))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Some(Arc::new(config)))
    }
}

impl Location {
    /// A store for the current runtime, which must be a Tokio runtime that goes on: each worker makes its own. Returns
    /// at once; while Redis cannot be reached, the verbs answer [`super::Unavailable`] and the connection is tried again.
    pub fn connect(&self) -> Arc<dyn Store> {
        match self {
            Location::Memory(memory) => Arc::clone(memory) as Arc<dyn Store>,
            Location::Redis(target) => Arc::new(Redis::connect(Arc::clone(target))),
        }
    }

    /// The store in Redis, with what not every store can do; `None`: it is another. As for `connect`.
    pub(crate) fn redis(&self) -> Option<Redis> {
        match self {
            Location::Memory(_) => None,
            Location::Redis(target) => Some(Redis::connect(Arc::clone(target))),
        }
    }

    /// Counts the calls that were not answered.
    pub(crate) fn errors(&self) -> Counter {
        match self {
            Location::Memory(_) => Counter::default(),
            Location::Redis(target) => target.errors.clone(),
        }
    }
}

impl std::fmt::Debug for Location {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Location::Memory(_) => formatter.write_str("memory"),
            Location::Redis(target) => write!(formatter, "redis at {}", target.address),
        }
    }
}

fn address(text: &str) -> Result<(Address, i64), Invalid> {
    let url = url::Url::parse(text).map_err(|error| invalid(format!("url: {error}")))?;
    if url.password().is_some() || !url.username().is_empty() {
        return Err(invalid(
            "url: holds credentials; use `username` and `password_file`",
        ));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("url: has a query or a fragment"));
    }
    if url.scheme() == "unix" {
        return Ok((Address::Unix(PathBuf::from(url.path())), 0));
    }
    let host = url
        .host_str()
        .filter(|host| !host.is_empty())
        .map(|host| {
            host.trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned()
        })
        .ok_or_else(|| invalid("url: has no host"))?;
    let port = url.port().unwrap_or(6379);
    let database = match url.path().trim_start_matches('/') {
        "" => 0,
        number => number
            .parse::<u16>()
            .map_err(|_| invalid("url: its path must be a database number"))?
            .into(),
    };
    match url.scheme() {
        "redis" => Ok((Address::Tcp { host, port }, database)),
        "rediss" => {
            let name = rustls::pki_types::ServerName::try_from(host.clone())
                .map_err(|_| invalid("url: its host is no DNS name and no address"))?;
            Ok((Address::Tls { host, port, name }, database))
        }
        _ => Err(invalid("url: must begin with redis:, rediss: or unix:")),
    }
}

fn at_least_100ms(name: &str, setting: Option<Duration>) -> Result<Duration, Invalid> {
    let timeout = setting.unwrap_or(Duration::from_secs(2));
    if timeout < Duration::from_millis(100) {
        return Err(invalid(format!("`{name}` must be at least 100ms")));
    }
    Ok(timeout)
}

fn read(base: &Path, file: &Path) -> Result<String, Invalid> {
    let path = base.join(file);
    std::fs::read_to_string(&path)
        .map_err(|error| invalid(format!("{} cannot be read: {error}", path.display())))
}

fn invalid(reason: impl Into<String>) -> Invalid {
    Invalid(reason.into())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn settings() {
        for (toml, expected) in [
            ("kind = 'memory'", "memory"),
            (
                "kind = 'memory'\nurl = 'redis://h'",
                "kind `memory` takes no other setting",
            ),
            ("kind = 'redis'", "kind `redis` needs `url`"),
            ("kind = 'redis'\nurl = 'redis://h'", "redis at h:6379"),
            (
                "kind = 'redis'\nurl = 'redis://[::1]:7/3'\ntimeout = '500ms'",
                "redis at [::1]:7",
            ),
            (
                "kind = 'redis'\nurl = 'unix:///run/redis.sock'",
                "redis at /run/redis.sock",
            ),
            ("kind = 'redis'\nurl = 'redis://h/x'", "database number"),
            ("kind = 'redis'\nurl = 'redis://:p@h'", "holds credentials"),
            ("kind = 'redis'\nurl = 'http://h'", "must begin with"),
            (
                "kind = 'redis'\nurl = 'rediss://h'",
                "`rediss:` needs `ca_file`",
            ),
            (
                "kind = 'redis'\nurl = 'redis://h'\nca_file = 'x'",
                "needs a `rediss:` url",
            ),
            (
                "kind = 'redis'\nurl = 'redis://h'\nusername = 'u'",
                "`username` needs",
            ),
            (
                "kind = 'redis'\nurl = 'redis://h'\npassword_file = 'no/such'",
                "cannot be read",
            ),
            (
                "kind = 'redis'\nurl = 'redis://h'\npassword_env = 'NO_SUCH_ENV'",
                "is not set",
            ),
            (
                "kind = 'redis'\nurl = 'redis://h'\ntimeout = '1ms'",
                "at least 100ms",
            ),
            (
                "kind = 'redis'\nurl = 'redis://h'\ntimeout = '-1s'",
                "not a duration",
            ),
            ("kind = 'other'", "unknown variant"),
            ("kind = 'memory'\nurll = 'x'", "unknown field"),
        ] {
            let outcome = match toml::from_str::<Settings>(toml) {
                Ok(settings) => match settings.locate(Path::new("/")) {
                    Ok(location) => format!("{location:?}"),
                    Err(error) => error.to_string(),
                },
                Err(error) => error.to_string(),
            };
            assert!(outcome.contains(expected), "{toml}: {outcome}");
        }
    }
}
