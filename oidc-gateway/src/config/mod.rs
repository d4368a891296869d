//! The configuration: one TOML file, typed. Whatever is wrong in it is said with file, line and column before
//! anything binds. `deploy/config/REFERENCE.md` explains every key.

mod checks;
mod error;
mod place;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

pub use self::error::Error;
use crate::client::Metadata;
use crate::{
    authorization, client, endpoint, fetch, keys, log, logout, session, store, tls, token, user,
    web,
};

/// `gateway.toml`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The issuer identifier (OpenID Connect Discovery §3); every URL of ours begins with it.
    pub issuer: String,
    /// How many threads serve requests; 0: one for each core. Default: 0.
    #[serde(default)]
    pub workers: usize,
    /// Where requests come in.
    pub listen: Listen,
    /// The key-service.
    pub keys: keys::Settings,
    /// Where sessions and grants live. Default: in memory.
    #[serde(default = "store::settings::Settings::memory")]
    pub store: store::settings::Settings,
    /// How long things live.
    #[serde(default)]
    pub tokens: Tokens,
    /// How long people stay signed in.
    #[serde(default)]
    pub sessions: Sessions,
    /// Whether relying parties' pages can see that a session has changed.
    #[serde(default)]
    pub session_management: session::browser_state::Settings,
    /// Telling clients that a session has ended.
    #[serde(default)]
    pub back_channel_logout: logout::back_channel::Settings,
    /// The sign-in.
    #[serde(default)]
    pub login: Login,
    /// Pages of other origins.
    #[serde(default)]
    pub cors: web::cors::Settings,
    /// Whose accounts are here.
    #[serde(default)]
    pub webfinger: endpoint::webfinger::Settings,
    /// Scopes and claims of the configuration's own.
    #[serde(default)]
    pub claims: user::custom::Settings,
    /// What ID tokens hold.
    #[serde(default)]
    pub id_token: token::id_token::Settings,
    /// The userinfo endpoint.
    #[serde(default)]
    pub userinfo: endpoint::userinfo::Settings,
    /// Authorization requests.
    #[serde(default)]
    pub authorization: authorization::settings::Settings,
    /// What clients can read about errors.
    #[serde(default)]
    pub errors: crate::error::Settings,
    /// The operators' port. Default: none.
    pub metrics: Option<Metrics>,
    /// The logs.
    #[serde(default)]
    pub log: log::Settings,
    /// The people.
    #[serde(default)]
    pub users: Vec<user::directory::Entry>,
    /// More of them: TOML with `[[users]]`, or a JSON array.
    pub users_file: Option<PathBuf>,
    /// The clients, by the member names of RFC 7591.
    #[serde(default)]
    pub clients: Vec<Metadata>,
    /// More of them: a JSON array.
    pub clients_file: Option<PathBuf>,
    /// Clients that register themselves.
    #[serde(default)]
    pub registration: client::registration::Settings,
    /// Keys that clients publish.
    #[serde(default)]
    pub client_jwks: client::jwks::Settings,
    /// What the discovery document says, and how far it goes.
    #[serde(default)]
    pub discovery: client::supported::Settings,
    /// Calls to what clients name.
    #[serde(default)]
    pub fetch: fetch::Settings,
    /// The folder that relative paths start from.
    #[serde(skip)]
    pub base: PathBuf,
}

/// `[listen]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listen {
    /// Address and port.
    pub address: SocketAddr,
    /// Default: plain HTTP.
    pub tls: Option<tls::Files>,
    /// Networks of proxies whose `X-Forwarded-For` is believed. Default: none.
    #[serde(default)]
    pub trusted_proxies: Vec<IpNet>,
    /// What a connection may cost.
    #[serde(default)]
    pub limits: Limits,
}

/// `[listen.limits]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    /// Open at once. Default: 4096.
    pub connections: usize,
    /// For a TLS handshake. Default: 10 s.
    #[serde(with = "crate::duration")]
    pub handshake_timeout: Duration,
    /// From the begin of a connection, or the last answer, to the end of the next headers. Default: 30 s.
    #[serde(with = "crate::duration")]
    pub header_timeout: Duration,
    /// From the end of the headers to the end of the body. Default: 10 s.
    #[serde(with = "crate::duration")]
    pub body_timeout: Duration,
    /// All headers and the first line, in octets. Default: 16384.
    pub header_size: u32,
    /// A body, in octets. Default: 65536.
    pub body_size: usize,
    /// For open requests when the process ends. Default: 10 s.
    #[serde(with = "crate::duration")]
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 4096,
            handshake_timeout: Duration::from_secs(10),
            header_timeout: Duration::from_secs(30),
            body_timeout: Duration::from_secs(10),
            header_size: 16 * 1024,
            body_size: 64 * 1024,
            drain_timeout: Duration::from_secs(10),
        }
    }
}

/// `[tokens]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tokens {
    /// Default: 60 s.
    #[serde(with = "crate::duration")]
    pub authorization_code: Duration,
    /// Default: 1 h.
    #[serde(with = "crate::duration")]
    pub access_token: Duration,
    /// Default: 1 h.
    #[serde(with = "crate::duration")]
    pub id_token: Duration,
    /// A refresh token that is not used. Default: 30 d.
    #[serde(with = "crate::duration")]
    pub refresh_token_idle: Duration,
    /// All refresh tokens that followed from one sign-in. Default: 90 d.
    #[serde(with = "crate::duration")]
    pub refresh_token_absolute: Duration,
    /// A repeated refresh gets the same answer for so long. Default: 10 s.
    #[serde(with = "crate::duration")]
    pub refresh_grace: Duration,
    /// Whether the key-service is asked to sign for each code once only. Default: false.
    pub sign_codes_once: bool,
    /// "iss" in tokens where it is not the issuer, for clients that know another name. Default: none.
    pub issuer: Option<String>,
}

impl Default for Tokens {
    fn default() -> Tokens {
        Tokens {
            authorization_code: Duration::from_secs(60),
            access_token: HOUR,
            id_token: HOUR,
            refresh_token_idle: 30 * DAY,
            refresh_token_absolute: 90 * DAY,
            refresh_grace: Duration::from_secs(10),
            sign_codes_once: false,
            issuer: None,
        }
    }
}

/// `[sessions]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sessions {
    /// A session that is not used. Default: 12 h.
    #[serde(with = "crate::duration")]
    pub idle: Duration,
    /// Any session. Default: 7 d.
    #[serde(with = "crate::duration")]
    pub absolute: Duration,
}

impl Default for Sessions {
    fn default() -> Sessions {
        Sessions {
            idle: 12 * HOUR,
            absolute: 7 * DAY,
        }
    }
}

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

/// `[login]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Login {
    /// Whether wrong passwords slow down further tries, by name and by address. Default: true.
    pub throttle: bool,
}

impl Default for Login {
    fn default() -> Login {
        Login { throttle: true }
    }
}

/// `[metrics]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Metrics {
    /// Address and port of `/metrics` and `/health/live`.
    pub address: SocketAddr,
}

impl Config {
    /// Reads a file and the files that it names, and checks everything that can be checked without a network.
    ///
    /// # Errors
    /// The first thing that is wrong, and where.
    pub fn load(file: &Path) -> Result<Config, Error> {
        let text = read(file)?;
        let base = file.parent().unwrap_or(Path::new("")).to_owned();
        Config::parse(&text, file, base)
    }

    fn parse(text: &str, file: &Path, base: PathBuf) -> Result<Config, Error> {
        let mut config: Config =
            toml::from_str(text).map_err(|error| Error::toml(file, text, &error))?;
        config.base = base;
        config.rebase();
        let users_in_file = config.users.len();
        if let Some(more) = &config.users_file {
            config.users.extend(read_users(more)?);
        }
        let clients_in_file = config.clients.len();
        if let Some(more) = &config.clients_file {
            config.clients.extend(read_json::<Vec<Metadata>>(more)?);
        }
        let own = checks::Own {
            users: users_in_file,
            clients: clients_in_file,
        };
        checks::check(&config, &own).map_err(|problem| Error::at(file, text, &problem))?;
        Ok(config)
    }

    /// Makes paths absolute that are relative to the folder of the file. `store` keeps its own until it is located.
    fn rebase(&mut self) {
        let base = &self.base;
        self.keys.resolve_paths(base);
        let tls = self.listen.tls.as_mut();
        let tls = tls.map(|files| [&mut files.certificate_file, &mut files.key_file]);
        let lists = [
            self.users_file.as_mut(),
            self.clients_file.as_mut(),
            self.fetch.extra_ca_file.as_mut(),
            self.registration.initial_access_tokens_file.as_mut(),
        ];
        for path in tls.into_iter().flatten().chain(lists.into_iter().flatten()) {
            *path = base.join(&*path);
        }
    }
}

/// Wiped when it is dropped, for there may be secrets in it.
fn read(file: &Path) -> Result<Zeroizing<String>, Error> {
    let text = std::fs::read_to_string(file).map_err(|error| Error::unreadable(file, &error))?;
    Ok(Zeroizing::new(text))
}

fn read_users(file: &Path) -> Result<Vec<user::directory::Entry>, Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Users {
        users: Vec<user::directory::Entry>,
    }
    if file
        .extension()
        .is_some_and(|extension| extension == "json")
    {
        return read_json(file);
    }
    let text = read(file)?;
    let users: Users = toml::from_str(&text).map_err(|error| Error::toml(file, &text, &error))?;
    Ok(users.users)
}

fn read_json<T: DeserializeOwned>(file: &Path) -> Result<T, Error> {
    let text = read(file)?;
    serde_json::from_str(&text).map_err(|error| Error::json(file, &error))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const LISTEN: &str = "[listen]\naddress = \"127.0.0.1:0\"\n";
    const KEYS: &str = "[keys]\nendpoint = \"unix:keys.sock\"\n";

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(
            text,
            Path::new("gateway.toml"),
            PathBuf::from("/etc/signet"),
        )
        .map_err(|error| error.to_string())
    }

    #[test]
    fn the_least_that_works() {
        let config = parse(&format!(
            "issuer = \"http://127.0.0.1:8080\"\n{LISTEN}{KEYS}"
        ))
        .unwrap();
        assert_eq!(config.keys.endpoint, "unix:/etc/signet/keys.sock");
        assert_eq!(config.tokens.authorization_code, Duration::from_secs(60));
        assert_eq!(config.sessions.absolute, Duration::from_secs(7 * 24 * 3600));
        assert!(config.login.throttle);
    }

    #[test]
    fn issuers() {
        let direct = "[listen]\naddress = \"0.0.0.0:80\"\n";
        let behind = "[listen]\naddress = \"0.0.0.0:80\"\ntrusted_proxies = [\"10.0.0.0/8\"]\n";
        let rows = [
            ("http://127.0.0.1:8080", direct, None),
            ("http://localhost:8080", direct, None),
            ("http://[::1]:8080", direct, None),
            ("http://op.example:8080", LISTEN, None),
            ("http://op.example:8080", direct, Some("must be https")),
            ("https://op.example", behind, None),
            ("https://op.example/a/b", behind, None),
            (
                "https://op.example",
                LISTEN,
                Some("name the proxy that speaks https"),
            ),
            (
                "https://op.example/",
                behind,
                Some("must not end with a slash"),
            ),
            (
                "https://op.example/a/",
                behind,
                Some("must not end with a slash"),
            ),
            ("https://op.example?a", behind, Some("must have no query")),
            ("https://op.example#a", behind, Some("must have no query")),
            ("https://me@op.example", behind, Some("must have no query")),
            ("https://OP.example", behind, Some("normal form")),
            ("https://op.example:443", behind, Some("normal form")),
            ("https://op.example/a/../b", behind, Some("normal form")),
            ("ftp://op.example", behind, Some("must be an https URL")),
            ("op.example", behind, Some("is not a URL")),
        ];
        for (issuer, listen, expected) in rows {
            let result = parse(&format!("issuer = \"{issuer}\"\n{listen}{KEYS}")).map(drop);
            match expected {
                None => assert_eq!(result, Ok(()), "{issuer}"),
                Some(words) => assert!(
                    result.as_ref().is_err_and(|error| error.contains(words)),
                    "{issuer} {result:?}"
                ),
            }
        }
    }

    #[test]
    fn mistakes_are_found_where_they_stand() {
        let rows = [
            (
                "[sessions]\nidel = \"1h\"",
                "gateway.toml:7:1: unknown key `idel`: did you mean `idle`?",
            ),
            (
                "[sesions]\nidle = \"1h\"",
                "gateway.toml:6:2: unknown key `sesions`: did you mean `sessions`?",
            ),
            (
                "[sessions]\nidle = \"1 hou\"",
                "gateway.toml:7:8: `1 hou` is not a duration such as",
            ),
            (
                "[sessions]\nidle = \"8d\"",
                "gateway.toml:7:1: sessions.idle: 691200s is longer than sessions.absolute",
            ),
            (
                "[sessions]\nidle = 3",
                "gateway.toml:7:8: invalid type: integer `3`, expected",
            ),
            (
                "[tokens]\nauthorization_code = \"11m\"",
                "gateway.toml:7:1: tokens.authorization_code: 660s is longer than 10m",
            ),
            (
                "[tokens]\naccess_token = \"0s\"",
                "gateway.toml:7:1: tokens.access_token: must be at least 1s",
            ),
            (
                "[authorization]\nacr_values_supported = [\"a b\"]",
                "gateway.toml:7:1: authorization.acr_values_supported: a name is",
            ),
            (
                "[log]\nlevel = \"loud\"",
                "gateway.toml:7:1: log.level: `loud` is not a level",
            ),
            (
                "[log]\nformat = \"jsn\"",
                "gateway.toml:7:10: unknown value `jsn`: did you mean `json`?",
            ),
            (
                "[listen.limits]\nbody_size = 1",
                "gateway.toml:7:1: listen.limits.body_size: 1 must be from 4096 to",
            ),
            ("[store]\nkind = \"redis\"", "gateway.toml:6:2: store: "),
            (
                "[store]\nkind = \"memory\"\nurll = \"a\"",
                "gateway.toml:8:1: unknown key `urll`: did you mean `url`?",
            ),
            ("[[clients]]\nclient_id = \"a\"", "gateway.toml:6:"),
            (
                "[[clients]]\nclient_id = \"a\"\nredirect_uri = \"b\"",
                "gateway.toml:8:1: unknown key `redirect_uri`: did you mean `redirect_uris`?",
            ),
            (
                "[[users]]\nusername = \"a\"\npassword_hash = \"b\"",
                "gateway.toml:6:3: users: user `a`: ",
            ),
            (
                "[[claims.custom]]\nname = \"a\"\nvalue = 1\n[[claims.custom]]\nvalue = 1\nname = \"sub\"",
                "gateway.toml:11:1: claims.custom.1.name: `sub` is reserved",
            ),
            (
                "[claims.scopes]\nemail = \"words\"",
                "gateway.toml:7:1: claims.scopes.email: `email` is a scope of OpenID Connect",
            ),
            (
                "[userinfo]\nbearer_methods = []",
                "gateway.toml:7:1: userinfo.bearer_methods: must name at least one",
            ),
            (
                "[tokens]\nissuer = \"a b\"",
                "gateway.toml:7:1: tokens.issuer: must be a word",
            ),
            ("a = ", "gateway.toml:6:5: "),
        ];
        for (more, expected) in rows {
            let text = format!("issuer = \"http://127.0.0.1:8080\"\n{LISTEN}{KEYS}{more}\n");
            let error = parse(&text).map(drop).unwrap_err();
            assert!(error.starts_with(expected), "{more}\n{error}");
        }
    }

    #[test]
    fn the_annotated_example_tells_the_truth() {
        let text = include_str!("../../../deploy/config/gateway.toml");
        // `#key = value` is a default; `# words` are words.
        let is_default = |line: &&str| {
            let rest = line.strip_prefix('#');
            rest.is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_lowercase()))
        };
        let all: String = text
            .lines()
            .map(|line| if is_default(&line) { &line[1..] } else { line })
            .flat_map(|line| [line, "\n"])
            .collect();
        assert!(text.lines().filter(is_default).count() > 20);
        let written: Config = toml::from_str(text).unwrap();
        let complete: Config = toml::from_str(&all).unwrap();
        let defaults = |config: &Config| {
            let Config {
                workers,
                tokens,
                sessions,
                authorization,
                login,
                log,
                ..
            } = config;
            let limits = &config.listen.limits;
            format!(
                "{workers} {tokens:?} {sessions:?} {authorization:?} {login:?} {log:?} {limits:?} {:?}",
                config.keys.timeout
            )
        };
        assert_eq!(defaults(&written), defaults(&complete));
    }
}
