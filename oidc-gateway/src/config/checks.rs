//! What must hold between values. Each sentence says what to do.

use std::net::IpAddr;
use std::time::Duration;

use url::{Host, Url};

use super::Config;
use super::error::Problem;
use crate::client::Clients;
use crate::fetch::Fetch;
use crate::params;
use crate::tls::Certificates;
use crate::user::directory::Directory;

/// RFC 6749 §4.1.2: "a maximum authorization code lifetime of 10 minutes is RECOMMENDED".
const LONGEST_CODE: Duration = Duration::from_secs(600);

/// How many list entries stand in the configuration file itself; the others came from `users_file`, `clients_file`.
pub(super) struct Own {
    pub(super) users: usize,
    pub(super) clients: usize,
}

pub(super) fn check(config: &Config, own: &Own) -> Result<(), Problem> {
    issuer(config)?;
    listen(config)?;
    lifetimes(config)?;
    config
        .log
        .check()
        .map_err(|why| problem("log.level", why))?;
    config
        .cors
        .check()
        .map_err(|why| problem("cors.allowed_origins", why))?;
    config
        .webfinger
        .check()
        .map_err(|why| problem("webfinger.domains", why))?;
    config
        .keys
        .check()
        .map_err(|why| problem("keys", why.to_string()))?;
    config
        .store
        .locate(&config.base)
        .map_err(|why| problem("store", why.to_string()))?;
    config
        .claims
        .check()
        .map_err(|(path, why)| problem(path, why))?;
    config
        .userinfo
        .check()
        .map_err(|(key, why)| problem(format!("userinfo.{key}"), why))?;
    token_issuer(config)?;
    config
        .errors
        .check()
        .map_err(|why| problem("errors.uri", why))?;
    config
        .authorization
        .check()
        .map_err(|(key, why)| problem(format!("authorization.{key}"), why))?;
    fetch(config)?;
    config
        .discovery
        .check()
        .map_err(|(key, why)| problem(format!("discovery.{key}"), why))?;
    config
        .registration
        .check()
        .map_err(|(key, why)| problem(format!("registration.{key}"), why))?;
    users(config, own)?;
    clients(config, own)
}

fn problem(path: impl Into<String>, sentence: impl Into<String>) -> Problem {
    Problem {
        path: path.into(),
        sentence: sentence.into(),
    }
}

/// OpenID Connect Discovery §3: an https URL without query or fragment. It is compared as a string everywhere, so
/// it is written in its one normal form.
fn issuer(config: &Config) -> Result<(), Problem> {
    let wrong = |sentence: &str| Err(problem("issuer", format!("`{}` {sentence}", config.issuer)));
    let Ok(url) = Url::parse(&config.issuer) else {
        return wrong("is not a URL");
    };
    if config.issuer.contains(['?', '#', '@']) {
        return wrong("must have no query, no fragment and no user name");
    }
    if config.issuer.ends_with('/') {
        return wrong("must not end with a slash: the paths of the endpoints are appended to it");
    }
    if url.as_str().trim_end_matches('/') != config.issuer {
        return wrong(
            "is not in its normal form: lower-case host, no default port, no dots in the path",
        );
    }
    match url.scheme() {
        "https" => Ok(()),
        "http" if is_loopback(url.host().as_ref()) || config.listen.address.ip().is_loopback() => {
            Ok(())
        }
        "http" => wrong("must be https: plain http is for loopback addresses"),
        _ => wrong("must be an https URL"),
    }
}

/// RFC 7519 §2: any string, but a URI where it has a colon. The key-service has the same rule.
fn token_issuer(config: &Config) -> Result<(), Problem> {
    let Some(issuer) = &config.tokens.issuer else {
        return Ok(());
    };
    let is_plain = !issuer.is_empty() && issuer.bytes().all(|octet| octet.is_ascii_graphic());
    if is_plain && (!issuer.contains(':') || issuer.contains("://")) {
        return Ok(());
    }
    Err(problem(
        "tokens.issuer",
        "must be a word in visible ASCII, or a URL",
    ))
}

fn is_loopback(host: Option<&Host<&str>>) -> bool {
    match host {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => *name == "localhost" || name.ends_with(".localhost"),
        None => false,
    }
}

fn listen(config: &Config) -> Result<(), Problem> {
    let listen = &config.listen;
    let https = config.issuer.starts_with("https://");
    match &listen.tls {
        Some(_) if !https => {
            return Err(problem(
                "listen.tls",
                "the issuer begins with http://: write https:// there, or remove this",
            ));
        }
        Some(files) => {
            Certificates::load(files).map_err(|why| problem("listen.tls", why.to_string()))?;
        }
        None if https && listen.trusted_proxies.is_empty() => {
            return Err(problem(
                "listen",
                "the issuer begins with https://, so either give `tls` here, or name the proxy that speaks https in \
                 `trusted_proxies`",
            ));
        }
        None => {}
    }
    if let Some(metrics) = &config.metrics {
        let same_port =
            metrics.address.port() != 0 && metrics.address.port() == listen.address.port();
        let same_address = metrics.address.ip() == listen.address.ip()
            || [metrics.address.ip(), listen.address.ip()]
                .iter()
                .any(IpAddr::is_unspecified);
        if same_port && same_address {
            return Err(problem(
                "metrics.address",
                "is the one that `listen` has: give it its own port",
            ));
        }
    }
    let limits = &listen.limits;
    let sizes = [
        ("connections", limits.connections, 1, 1_000_000),
        (
            "header_size",
            limits.header_size as usize,
            8 * 1024,
            60 * 1024,
        ),
        ("body_size", limits.body_size, 4 * 1024, params::LONGEST),
    ];
    for (name, value, least, most) in sizes {
        if !(least..=most).contains(&value) {
            return Err(problem(
                format!("listen.limits.{name}"),
                format!("{value} must be from {least} to {most}"),
            ));
        }
    }
    let times = [
        ("handshake_timeout", limits.handshake_timeout),
        ("header_timeout", limits.header_timeout),
        ("body_timeout", limits.body_timeout),
        ("drain_timeout", limits.drain_timeout),
    ];
    let (least, most) = (Duration::from_millis(100), Duration::from_secs(600));
    for (name, value) in times {
        if !(least..=most).contains(&value) {
            return Err(problem(
                format!("listen.limits.{name}"),
                format!("{value:?} must be from {least:?} to {most:?}"),
            ));
        }
    }
    match config.workers {
        0..=256 => Ok(()),
        _ => Err(problem(
            "workers",
            "must be from 0 (one for each core) to 256",
        )),
    }
}

fn fetch(config: &Config) -> Result<(), Problem> {
    let fetch = &config.fetch;
    Fetch::new(fetch).map_err(|why| problem("fetch.extra_ca_file", why.to_string()))?;
    let (least, most) = (Duration::from_millis(100), Duration::from_secs(60));
    if !(least..=most).contains(&fetch.timeout) {
        let sentence = format!("{:?} must be from {least:?} to {most:?}", fetch.timeout);
        return Err(problem("fetch.timeout", sentence));
    }
    let sizes = [
        ("size", fetch.size, 1024, 16 * 1024 * 1024),
        ("concurrency", fetch.concurrency, 1, 10_000),
    ];
    for (name, value, least, most) in sizes {
        if !(least..=most).contains(&value) {
            let sentence = format!("{value} must be from {least} to {most}");
            return Err(problem(format!("fetch.{name}"), sentence));
        }
    }
    Ok(())
}

fn lifetimes(config: &Config) -> Result<(), Problem> {
    let (tokens, sessions) = (&config.tokens, &config.sessions);
    let least = Duration::from_secs(1);
    let all = [
        ("tokens.authorization_code", tokens.authorization_code),
        ("tokens.access_token", tokens.access_token),
        ("tokens.id_token", tokens.id_token),
        ("tokens.refresh_token_idle", tokens.refresh_token_idle),
        (
            "tokens.refresh_token_absolute",
            tokens.refresh_token_absolute,
        ),
        ("sessions.idle", sessions.idle),
        ("sessions.absolute", sessions.absolute),
    ];
    if let Some((name, _)) = all.iter().find(|(_, value)| *value < least) {
        return Err(problem(*name, "must be at least 1s"));
    }
    let (idle, absolute) = ("tokens.refresh_token_idle", "tokens.refresh_token_absolute");
    let longest = [
        (
            "tokens.authorization_code",
            tokens.authorization_code,
            "10m, by RFC 6749 §4.1.2",
            LONGEST_CODE,
        ),
        (
            idle,
            tokens.refresh_token_idle,
            absolute,
            tokens.refresh_token_absolute,
        ),
        (
            "tokens.refresh_grace",
            tokens.refresh_grace,
            idle,
            tokens.refresh_token_idle,
        ),
        (
            "sessions.idle",
            sessions.idle,
            "sessions.absolute",
            sessions.absolute,
        ),
    ];
    for (name, value, limit, most) in longest {
        if value > most {
            let sentence = format!("{value:?} is longer than {limit} ({most:?})");
            return Err(problem(name, sentence));
        }
    }
    Ok(())
}

fn users(config: &Config, own: &Own) -> Result<(), Problem> {
    Directory::of(config.users.clone())
        .map(drop)
        .map_err(|why| {
            let path = if config.users.len() == own.users {
                "users"
            } else {
                "users_file"
            };
            problem(path, why.to_string())
        })
}

fn clients(config: &Config, own: &Own) -> Result<(), Problem> {
    Clients::parse(config.clients.clone())
        .map(drop)
        .map_err(|why| {
            let at = config
                .clients
                .iter()
                .rposition(|client| client.client_id == why.client_id);
            match at {
                Some(at) if at < own.clients => problem(
                    format!("clients.{at}.{}", why.member),
                    format!("of `{}`: {}", why.client_id, why.sentence),
                ),
                _ => problem("clients_file", why.to_string()),
            }
        })
}
