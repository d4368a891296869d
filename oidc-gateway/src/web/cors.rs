//! Cross-origin requests (Fetch §3.2): which pages may read what a script of theirs asks for. What is public is for any
//! page; what answers a client is for its pages alone. What a person looks at is for none, and cookies never count.

use std::collections::HashSet;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN,
    VARY,
};
use http::{HeaderValue, StatusCode};
use serde::Deserialize;
use url::{Host, Url};

use super::router::{Endpoint, Methods};
use super::{Request, Response};
use crate::client::Clients;

const ANY: HeaderValue = HeaderValue::from_static("*");
const BY_ORIGIN: HeaderValue = HeaderValue::from_static("Origin");
/// What a script may send beside what is always allowed.
const HEADERS: HeaderValue = HeaderValue::from_static("Authorization, Content-Type");
/// RFC 6750 §3: why a token was refused.
const EXPOSED: HeaderValue = HeaderValue::from_static("WWW-Authenticate");
/// How long a browser may remember what is allowed: an hour, in seconds.
const MAX_AGE: HeaderValue = HeaderValue::from_static("3600");

/// `[cors]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Origins such as `https://spa.example.com` whose pages may call the token, userinfo and revocation endpoints; or
    /// `"*"` alone for all. Default: none.
    #[serde(deserialize_with = "one_or_many")]
    pub allowed_origins: Vec<String>,
    /// And those of the configured clients' redirect URIs, but for local ones. Default: true.
    pub allowed_origins_from_client_redirect_uris: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            allowed_origins: Vec::new(),
            allowed_origins_from_client_redirect_uris: true,
        }
    }
}

impl Settings {
    /// Whether each is an origin as a browser writes it.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.allowed_origins.len() > 1 && self.allowed_origins.iter().any(|each| each == "*") {
            return Err("`*` stands alone: it means every origin".to_owned());
        }
        for each in self.allowed_origins.iter().filter(|each| *each != "*") {
            let is_origin = Url::parse(each).is_ok_and(|url| {
                ["https", "http"].contains(&url.scheme())
                    && url.origin().ascii_serialization() == *each
            });
            if !is_origin {
                return Err(format!(
                    "`{each}` is not an origin such as `https://spa.example.com`: scheme, host, perhaps a port, and no \
                     slash after them"
                ));
            }
        }
        Ok(())
    }
}

fn one_or_many<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(from)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}

/// The origins whose pages may call what clients call.
#[derive(Debug)]
pub(crate) enum Cors {
    /// Every one.
    All,
    /// These.
    These(HashSet<String>),
}

/// Whose pages may read an endpoint's answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Readers {
    Everybody,
    Clients,
}

fn readers(endpoint: Endpoint) -> Option<Readers> {
    match endpoint {
        Endpoint::Discovery | Endpoint::Jwks | Endpoint::Webfinger => Some(Readers::Everybody),
        Endpoint::Token | Endpoint::Userinfo | Endpoint::Revocation => Some(Readers::Clients),
        _ => None,
    }
}

impl Cors {
    /// As the configuration says.
    pub(crate) fn of(settings: &Settings, clients: &Clients) -> Cors {
        if settings.allowed_origins.iter().any(|each| each == "*") {
            return Cors::All;
        }
        let mut origins: HashSet<String> = settings.allowed_origins.iter().cloned().collect();
        if settings.allowed_origins_from_client_redirect_uris {
            let uris = clients.iter().flat_map(|client| &client.redirect_uris);
            origins.extend(uris.filter_map(|uri| public_origin(uri)));
        }
        Cors::These(origins)
    }

    /// The answer to the question that a browser asks before a request; `None`: this is no such question, or is about
    /// something that scripts have no business with.
    pub(super) fn preflight(
        &self,
        endpoint: Endpoint,
        methods: Methods,
        request: &Request,
    ) -> Option<Response> {
        readers(endpoint)?;
        let headers = &request.parts.headers;
        let asks = request.parts.method == http::Method::OPTIONS
            && headers.contains_key(ORIGIN)
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if !asks {
            return None;
        }
        let mut response = Response::empty().with_status(StatusCode::NO_CONTENT);
        if self.allow(endpoint, request, &mut response) {
            let headers = response.0.headers_mut();
            headers.remove(ACCESS_CONTROL_EXPOSE_HEADERS);
            let methods = HeaderValue::from_static(methods.allow());
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HEADERS);
            headers.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        }
        Some(response)
    }

    /// Lets the page that asked read the answer, if it may; says whether.
    pub(super) fn allow(
        &self,
        endpoint: Endpoint,
        request: &Request,
        response: &mut Response,
    ) -> bool {
        let Some(readers) = readers(endpoint) else {
            return false;
        };
        let headers = response.0.headers_mut();
        // Also where no page asked: a cache must not give one what it keeps for others.
        headers.insert(VARY, BY_ORIGIN);
        let Some(origin) = request.parts.headers.get(ORIGIN) else {
            return false;
        };
        let allowed = match (readers, self) {
            (Readers::Everybody, _) | (_, Cors::All) => ANY,
            (Readers::Clients, Cors::These(origins)) => {
                match origin.to_str().is_ok_and(|origin| origins.contains(origin)) {
                    true => origin.clone(),
                    false => return false,
                }
            }
        };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, allowed);
        if readers == Readers::Clients {
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
        true
    }
}

/// The origin of a redirect URI. Any program may listen on a person's own machine, so that counts for nothing.
fn public_origin(uri: &str) -> Option<String> {
    let url = Url::parse(uri).ok()?;
    let is_local = match url.host()? {
        Host::Domain(name) => name == "localhost" || name.ends_with(".localhost"),
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    };
    let is_web = ["https", "http"].contains(&url.scheme());
    (is_web && !is_local).then(|| url.origin().ascii_serialization())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::request::tests::request;
    use super::*;

    #[test]
    fn origins_of_redirect_uris() {
        for (uri, expected) in [
            ("https://spa.example/cb?x#y", Some("https://spa.example")),
            ("https://SPA.example:443/", Some("https://spa.example")),
            ("http://spa.example:8080/", Some("http://spa.example:8080")),
            ("http://localhost:3000/cb", None),
            ("http://127.0.0.1/cb", None),
            ("http://[::1]/cb", None),
            ("com.example.app:/cb", None),
            ("com.example.app://host/cb", None),
        ] {
            assert_eq!(public_origin(uri).as_deref(), expected, "{uri}");
        }
    }

    #[test]
    fn settings() {
        for (origins, passes) in [
            ("[]", true),
            ("\"*\"", true),
            ("\"https://a.example\"", true),
            ("[\"https://a.example\", \"http://b.example:8080\"]", true),
            ("[\"*\", \"https://a.example\"]", false),
            ("\"https://a.example/\"", false),
            ("\"https://a.example:443\"", false),
            ("\"https://A.example\"", false),
            ("\"https://a.example/x\"", false),
            ("\"a.example\"", false),
            ("\"ftp://a.example\"", false),
            ("\"null\"", false),
        ] {
            let settings: Settings =
                toml::from_str(&format!("allowed_origins = {origins}")).unwrap();
            assert_eq!(settings.check().is_ok(), passes, "{origins}");
        }
    }

    #[test]
    fn who_may_read_what() {
        let these = Cors::These(["https://spa.example".to_owned()].into());
        let (mine, other) = ("https://spa.example", "https://evil.test");
        let rows = [
            (&these, Endpoint::Discovery, other, Some("*")),
            (&these, Endpoint::Jwks, "null", Some("*")),
            (&these, Endpoint::Webfinger, other, Some("*")),
            (&these, Endpoint::Token, mine, Some(mine)),
            (&these, Endpoint::Userinfo, mine, Some(mine)),
            (&these, Endpoint::Revocation, mine, Some(mine)),
            (&these, Endpoint::Token, other, None),
            (
                &these,
                Endpoint::Token,
                "https://spa.example.evil.test",
                None,
            ),
            (&these, Endpoint::Token, "null", None),
            (&Cors::All, Endpoint::Token, other, Some("*")),
            (&Cors::All, Endpoint::Authorization, other, None),
            (&these, Endpoint::Authorization, mine, None),
            (&these, Endpoint::Login, mine, None),
            (&these, Endpoint::Introspection, mine, None),
        ];
        for (cors, endpoint, origin, expected) in rows {
            let row = format!("{endpoint:?} {origin}");
            let request = request("GET", "/", &[("origin", origin)], "");
            let mut response = Response::json("{}");
            let allowed = cors.allow(endpoint, &request, &mut response);
            let headers = response.0.headers();
            let given = headers.get(ACCESS_CONTROL_ALLOW_ORIGIN);
            assert_eq!(
                given.map(|value| value.to_str().unwrap()),
                expected,
                "{row}"
            );
            assert_eq!(allowed, expected.is_some(), "{row}");
            assert_eq!(
                headers.contains_key(VARY),
                readers(endpoint).is_some(),
                "{row}"
            );
            assert!(!headers.contains_key("access-control-allow-credentials"));
        }
    }
}
