//! What the environment says about a stack: every value is checked before anything starts.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use url::{Host, Url};

/// Where key material lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Sealed files.
    Software,
    /// A SoftHSM 2 token, through PKCS#11.
    SoftHsm,
}

/// Where the gateways keep sessions and grants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// In the one gateway's memory.
    Memory,
    /// In a Redis that the stack starts for itself.
    Redis,
    /// In a Redis that runs already, by its URL.
    Elsewhere(String),
}

/// What is meant when the environment says nothing, and where files go.
#[derive(Clone, Debug)]
pub struct Defaults {
    /// Pair of configuration files, and the name of the run folder under `target/`.
    pub profile: &'static str,
    /// Where keys live.
    pub backend: &'static str,
    /// Where sessions live.
    pub store: &'static str,
    /// Serve HTTPS.
    pub tls: &'static str,
    /// `host:port` of the issuer.
    pub authority: &'static str,
    /// Cargo profile folder under `target/` that holds the two services.
    pub build: &'static str,
}

/// A stack that can be started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where keys live.
    pub backend: Backend,
    /// Where sessions live.
    pub store: Store,
    /// Serve HTTPS with a certificate of the development CA.
    pub tls: bool,
    /// How many gateways, on ports that follow the issuer's.
    pub gateways: u16,
    /// Name of the pair of configuration files.
    pub profile: String,
    /// The issuer, without a slash at its end.
    pub issuer: String,
    /// Port of the first gateway.
    pub port: u16,
    /// Host name of the issuer when it is not an address.
    pub host_name: Option<String>,
    /// Further clients: a JSON array of metadata.
    pub clients_file: Option<PathBuf>,
    /// A bundle of further CAs for the gateways' outgoing calls.
    pub extra_ca: Option<PathBuf>,
    /// TOML tables that the gateways' configuration gets beside the profile's.
    pub gateway_tables: String,
    /// The checkout.
    pub root: PathBuf,
    /// Where this stack keeps its files.
    pub folder: PathBuf,
    /// Where the two services' programs are.
    pub programs: PathBuf,
}

/// A sentence that says which variable is wrong and what it may be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(String);

impl Settings {
    /// Reads the variables `BACKEND`, `STORE`, `TLS`, `GATEWAYS`, `PROFILE`, `ISSUER`, `CLIENTS_FILE`, `EXTRA_CA`,
    /// `GATEWAY_TABLES`, `BUILD`, `REDIS_URL` and `FOLDER` through `variable`.
    ///
    /// # Errors
    /// A sentence for a value that is unknown or does not go with another.
    pub fn of(
        defaults: &Defaults,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, Refused> {
        // An empty variable is what `NAME= make stack` leaves: the same as none.
        let given = |name: &str| variable(name).filter(|value| !value.is_empty());
        let or = |name, default: &str| given(name).unwrap_or_else(|| default.to_owned());

        let backend = match or("BACKEND", defaults.backend).as_str() {
            "software" => Backend::Software,
            "softhsm" => Backend::SoftHsm,
            other => {
                return refuse(format!(
                    "BACKEND={other} is unknown: use software or softhsm"
                ));
            }
        };
        let tls = match or("TLS", defaults.tls).as_str() {
            "0" => false,
            "1" => true,
            other => return refuse(format!("TLS={other} is unknown: use 0 or 1")),
        };
        let gateways = or("GATEWAYS", "1");
        let gateways = match gateways.parse() {
            Ok(count @ 1..=64) => count,
            _ => {
                return refuse(format!(
                    "GATEWAYS={gateways} is out of range: use a number from 1 to 64"
                ));
            }
        };
        let store = match or("STORE", defaults.store).as_str() {
            "memory" if gateways > 1 => {
                return refuse(format!(
                    "STORE=memory cannot be shared by GATEWAYS={gateways}: use STORE=redis"
                ));
            }
            "memory" => Store::Memory,
            "redis" => given("REDIS_URL").map_or(Store::Redis, Store::Elsewhere),
            other => return refuse(format!("STORE={other} is unknown: use redis or memory")),
        };

        let root = root();
        let profile = or("PROFILE", defaults.profile);
        for part in ["key-service", "gateway"] {
            let file = root.join(format!("deploy/config/{profile}.{part}.toml"));
            if !file.is_file() {
                return refuse(format!(
                    "PROFILE={profile} is unknown: {} does not exist",
                    file.display()
                ));
            }
        }
        let scheme = if tls { "https" } else { "http" };
        let issuer = or("ISSUER", &format!("{scheme}://{}", defaults.authority));
        let (port, host_name) = authority(&issuer, scheme, gateways)?;

        Ok(Self {
            backend,
            store,
            tls,
            gateways,
            profile,
            issuer,
            port,
            host_name,
            clients_file: file("CLIENTS_FILE", given("CLIENTS_FILE"))?,
            extra_ca: file("EXTRA_CA", given("EXTRA_CA"))?,
            gateway_tables: or("GATEWAY_TABLES", ""),
            folder: given("FOLDER")
                .and_then(|folder| std::path::absolute(folder).ok())
                .unwrap_or_else(|| root.join("target").join(defaults.profile)),
            programs: programs(&or("BUILD", defaults.build)),
            root,
        })
    }

    /// Each gateway's own base URL, the issuer's path included.
    #[must_use]
    pub fn gateway_urls(&self) -> Vec<String> {
        let scheme = if self.tls { "https" } else { "http" };
        self.ports()
            .map(|port| format!("{scheme}://127.0.0.1:{port}"))
            .collect()
    }

    /// Each gateway's port.
    pub fn ports(&self) -> impl Iterator<Item = u16> {
        self.port..self.port + self.gateways
    }
}

/// The issuer's port, and its host name unless it is an address.
fn authority(issuer: &str, scheme: &str, gateways: u16) -> Result<(u16, Option<String>), Refused> {
    let tls = u8::from(scheme == "https");
    let Ok(url) = Url::parse(issuer) else {
        return refuse(format!("ISSUER={issuer} is not a URL"));
    };
    if url.scheme() != scheme {
        return refuse(format!(
            "ISSUER={issuer} does not go with TLS={tls}: it must begin with {scheme}://"
        ));
    }
    // OpenID Connect Discovery §3: no query or fragment; the comparison is by octet, so a slash at the end counts.
    if issuer.ends_with('/') || issuer.contains(['?', '#', '@']) {
        return refuse(format!(
            "ISSUER={issuer} must have no user, query, fragment or slash at its end"
        ));
    }
    let port = url.port_or_known_default().unwrap_or_default();
    if port.checked_add(gateways).is_none() {
        return refuse(format!(
            "ISSUER={issuer} leaves no ports for GATEWAYS={gateways}"
        ));
    }
    match url.host() {
        Some(Host::Domain(name)) => Ok((port, Some(name.to_owned()))),
        Some(Host::Ipv4(address)) if IpAddr::from(address) == IpAddr::from([127, 0, 0, 1]) => {
            Ok((port, None))
        }
        _ => refuse(format!(
            "ISSUER={issuer} must name 127.0.0.1 or a host that resolves to it"
        )),
    }
}

fn file(name: &str, value: Option<String>) -> Result<Option<PathBuf>, Refused> {
    let Some(value) = value else { return Ok(None) };
    match std::path::absolute(&value) {
        Ok(path) if path.is_file() => Ok(Some(path)),
        _ => refuse(format!("{name}={value} is not a file")),
    }
}

/// Beside the folder of this program, wherever Cargo was told to build.
fn programs(build: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let target = own.ancestors().nth(2).unwrap_or(Path::new("target"));
    target.join(build)
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this package is a folder of the workspace")
        .to_owned()
}

fn refuse<T>(sentence: String) -> Result<T, Refused> {
    Err(Refused(sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(environment: &[(&str, &str)]) -> Result<Settings, String> {
        let defaults = Defaults {
            profile: "stack",
            backend: "software",
            store: "redis",
            tls: "0",
            authority: "127.0.0.1:8080",
            build: "release",
        };
        let lookup = |name: &str| {
            environment
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Settings::of(&defaults, lookup).map_err(|refused| refused.to_string())
    }

    #[test]
    fn refuses_with_a_sentence() {
        for (environment, part) in [
            (&[("BACKEND", "tpm")][..], "use software or softhsm"),
            (&[("STORE", "sql")], "use redis or memory"),
            (&[("TLS", "yes")], "use 0 or 1"),
            (&[("GATEWAYS", "0")], "from 1 to 64"),
            (&[("GATEWAYS", "two")], "from 1 to 64"),
            (&[("GATEWAYS", "2"), ("STORE", "memory")], "use STORE=redis"),
            (&[("PROFILE", "no-such")], "does not exist"),
            (&[("ISSUER", "nonsense")], "not a URL"),
            (&[("ISSUER", "https://127.0.0.1:8080")], "go with TLS=0"),
            (
                &[("TLS", "1"), ("ISSUER", "http://127.0.0.1:1")],
                "https://",
            ),
            (&[("ISSUER", "http://127.0.0.1:8080/")], "slash at its end"),
            (&[("ISSUER", "http://192.0.2.1:8080")], "resolves to it"),
            (&[("ISSUER", "http://127.0.0.1:65535")], "leaves no ports"),
            (&[("CLIENTS_FILE", "/no/such/file")], "is not a file"),
        ] {
            let refused = check(environment).expect_err(part);
            assert!(refused.contains(part), "{environment:?}: {refused}");
        }
    }

    #[test]
    fn an_empty_variable_means_the_default() {
        let settings = check(&[("BACKEND", ""), ("GATEWAYS", "3")]).expect("valid");
        assert_eq!(settings.backend, Backend::Software);
        assert_eq!(settings.issuer, "http://127.0.0.1:8080");
        assert_eq!(
            settings.gateway_urls(),
            [
                "http://127.0.0.1:8080",
                "http://127.0.0.1:8081",
                "http://127.0.0.1:8082"
            ]
        );
    }

    #[test]
    fn the_profile_of_the_certification() {
        let settings = check(&[
            ("PROFILE", "certification"),
            ("TLS", "1"),
            ("ISSUER", "https://op.test:9443"),
        ]);
        let settings = settings.expect("valid");
        assert_eq!(settings.host_name.as_deref(), Some("op.test"));
        assert_eq!(settings.gateway_urls(), ["https://127.0.0.1:9443"]);
    }

    #[test]
    fn the_host_may_be_a_name() {
        let settings = check(&[("TLS", "1"), ("ISSUER", "https://op.example:9443/tenant")]);
        let settings = settings.expect("valid");
        assert_eq!(settings.host_name.as_deref(), Some("op.example"));
        assert_eq!(settings.port, 9443);
    }
}
