//! The URL table, and the way of a request through it: find, read, ask the endpoint, answer, count.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderValue, Version};
use http_body_util::Full;
use hyper::body::Incoming;

use super::client_address::TrustedProxies;
use super::cors::Cors;
use super::request::{RequestId, RequestIds, X_REQUEST_ID};
use super::{Method, Request, Response, assets, body, failure, security_headers};
use crate::endpoint;
use crate::error::Failure;
use crate::metrics::Metrics;
use crate::provider::Provider;

/// What is at a path below the issuer, and the methods it has.
fn find(path: &str) -> Option<(Endpoint, Methods)> {
    Some(match path {
        "/.well-known/openid-configuration" => (Endpoint::Discovery, Methods::Get),
        "/.well-known/oauth-authorization-server" => (Endpoint::Discovery, Methods::Get),
        "/.well-known/webfinger" => (Endpoint::Webfinger, Methods::Get),
        "/jwks" => (Endpoint::Jwks, Methods::Get),
        "/authorize" => (Endpoint::Authorization, Methods::GetPost),
        "/token" => (Endpoint::Token, Methods::Post),
        "/userinfo" => (Endpoint::Userinfo, Methods::GetPost),
        "/introspect" => (Endpoint::Introspection, Methods::Post),
        "/revoke" => (Endpoint::Revocation, Methods::Post),
        "/logout" => (Endpoint::EndSession, Methods::GetPost),
        "/check_session" => (Endpoint::CheckSession, Methods::Get),
        "/initiate" => (Endpoint::InitiateLogin, Methods::Get),
        "/register" => (Endpoint::Registration, Methods::Post),
        "/login" => (Endpoint::Login, Methods::GetPost),
        "/select-account" => (Endpoint::SelectAccount, Methods::GetPost),
        "/consent" => (Endpoint::Consent, Methods::GetPost),
        "/health/live" => (Endpoint::Live, Methods::Get),
        "/health/ready" => (Endpoint::Ready, Methods::Get),
        _ if path.starts_with("/register/") => (Endpoint::Management, Methods::GetPutDelete),
        _ if path.starts_with("/assets/") => (Endpoint::Assets, Methods::Get),
        _ => return None,
    })
}

/// Asks the endpoint. Those with much to remember while they wait do it in memory of their own: a request's future is
/// moved several times on its way, and would be as large as the largest of them.
async fn call(
    endpoint: Endpoint,
    provider: &Provider,
    request: &Request,
) -> Result<Response, Failure> {
    match endpoint {
        Endpoint::Discovery => endpoint::discovery::handle(provider, request).await,
        Endpoint::Webfinger => endpoint::webfinger::handle(provider, request).await,
        Endpoint::Jwks => endpoint::jwks::handle(provider, request).await,
        Endpoint::Authorization => {
            Box::pin(endpoint::authorization::handle(provider, request)).await
        }
        Endpoint::Token => Box::pin(endpoint::token::handle(provider, request)).await,
        Endpoint::Userinfo => Box::pin(endpoint::userinfo::handle(provider, request)).await,
        Endpoint::Introspection => {
            Box::pin(endpoint::introspection::handle(provider, request)).await
        }
        Endpoint::Revocation => Box::pin(endpoint::revocation::handle(provider, request)).await,
        Endpoint::EndSession => Box::pin(endpoint::end_session::handle(provider, request)).await,
        Endpoint::CheckSession => {
            Box::pin(endpoint::check_session::handle(provider, request)).await
        }
        Endpoint::InitiateLogin => {
            Box::pin(endpoint::initiate_login::handle(provider, request)).await
        }
        Endpoint::Registration => {
            Box::pin(endpoint::registration::register(provider, request)).await
        }
        Endpoint::Management => Box::pin(endpoint::registration::manage(provider, request)).await,
        Endpoint::Login => Box::pin(endpoint::login::handle(provider, request)).await,
        Endpoint::SelectAccount => {
            Box::pin(endpoint::select_account::handle(provider, request)).await
        }
        Endpoint::Consent => Box::pin(endpoint::consent::handle(provider, request)).await,
        Endpoint::Live => Ok(endpoint::health::live()),
        Endpoint::Ready => Ok(endpoint::health::ready(provider).await),
        Endpoint::Assets => Ok(assets::answer(request)),
    }
}

/// The endpoints, by the names of the discovery document.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Endpoint {
    Discovery,
    Webfinger,
    Jwks,
    Authorization,
    Token,
    Userinfo,
    Introspection,
    Revocation,
    EndSession,
    CheckSession,
    InitiateLogin,
    Registration,
    Management,
    Login,
    SelectAccount,
    Consent,
    Live,
    Ready,
    Assets,
}

impl Endpoint {
    /// All, in the order of their declaration: `metrics` counts by the position.
    pub(crate) const ALL: [Endpoint; 19] = [
        Endpoint::Discovery,
        Endpoint::Webfinger,
        Endpoint::Jwks,
        Endpoint::Authorization,
        Endpoint::Token,
        Endpoint::Userinfo,
        Endpoint::Introspection,
        Endpoint::Revocation,
        Endpoint::EndSession,
        Endpoint::CheckSession,
        Endpoint::InitiateLogin,
        Endpoint::Registration,
        Endpoint::Management,
        Endpoint::Login,
        Endpoint::SelectAccount,
        Endpoint::Consent,
        Endpoint::Live,
        Endpoint::Ready,
        Endpoint::Assets,
    ];

    /// For logs and metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Endpoint::Discovery => "discovery",
            Endpoint::Webfinger => "webfinger",
            Endpoint::Jwks => "jwks",
            Endpoint::Authorization => "authorization",
            Endpoint::Token => "token",
            Endpoint::Userinfo => "userinfo",
            Endpoint::Introspection => "introspection",
            Endpoint::Revocation => "revocation",
            Endpoint::EndSession => "end_session",
            Endpoint::CheckSession => "check_session",
            Endpoint::InitiateLogin => "initiate_login",
            Endpoint::Registration => "registration",
            Endpoint::Management => "registration_management",
            Endpoint::Login => "login",
            Endpoint::SelectAccount => "select_account",
            Endpoint::Consent => "consent",
            Endpoint::Live => "live",
            Endpoint::Ready => "ready",
            Endpoint::Assets => "assets",
        }
    }

    /// Whether a person looks at its answers.
    pub(super) fn is_page(self) -> bool {
        use Endpoint::{Authorization, Consent, EndSession, InitiateLogin, Login, SelectAccount};
        matches!(
            self,
            Authorization | EndSession | InitiateLogin | Login | SelectAccount | Consent
        )
    }
}

/// The methods of an endpoint. What only reads has HEAD too; nowhere else does HEAD stand for GET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Methods {
    Get,
    Post,
    GetPost,
    GetPutDelete,
}

impl Methods {
    fn hold(self, method: Method) -> bool {
        match self {
            Methods::Get => matches!(method, Method::Get | Method::Head),
            Methods::Post => method == Method::Post,
            Methods::GetPost => matches!(method, Method::Get | Method::Post),
            Methods::GetPutDelete => {
                matches!(method, Method::Get | Method::Put | Method::Delete)
            }
        }
    }

    /// For `Allow`.
    pub(super) fn allow(self) -> &'static str {
        match self {
            Methods::Get => "GET, HEAD",
            Methods::Post => "POST",
            Methods::GetPost => "GET, POST",
            Methods::GetPutDelete => "GET, PUT, DELETE",
        }
    }
}

/// Where and how this provider is served.
#[derive(Debug)]
pub(crate) struct Site {
    /// The path of the issuer, without a slash at its end; usually empty.
    prefix: String,
    https: bool,
    trusted_proxies: TrustedProxies,
    body: body::Limits,
}

impl Site {
    /// For an issuer whose form was checked with the configuration.
    pub(crate) fn new(issuer: &str, trusted_proxies: TrustedProxies, body: body::Limits) -> Site {
        let after_scheme = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
        let prefix = after_scheme.find('/').map_or("", |at| &after_scheme[at..]);
        Site {
            prefix: prefix.trim_end_matches('/').to_owned(),
            https: issuer.starts_with("https://"),
            trusted_proxies,
            body,
        }
    }

    fn find(&self, path: &str) -> Option<(Endpoint, Methods)> {
        if self.prefix.is_empty() {
            return find(path);
        }
        // RFC 8414 §3: the well-known part comes before the issuer's path.
        let well_known = "/.well-known/oauth-authorization-server";
        if path.strip_prefix(well_known) == Some(&self.prefix) {
            return find(well_known);
        }
        let below = path.strip_prefix(self.prefix.as_str());
        // Probes ask the process, whatever its issuer is called; RFC 7033 §4 asks the host.
        let is_whole = path.starts_with("/health/") || path == "/.well-known/webfinger";
        let whole = is_whole.then_some(path);
        find(below.filter(|below| below.starts_with('/')).or(whole)?)
    }
}

/// Everything that one worker thread needs to answer requests.
pub(crate) struct Worker {
    pub(crate) provider: Provider,
    pub(crate) site: Site,
    pub(crate) cors: Arc<Cors>,
    pub(crate) metrics: Metrics,
    pub(crate) request_ids: RequestIds,
}

impl Worker {
    /// Answers a request that came from `peer`.
    pub(super) async fn answer(
        &self,
        request: http::Request<Incoming>,
        peer: IpAddr,
    ) -> http::Response<Full<Bytes>> {
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let mut request = Request {
            client_address: self.site.trusted_proxies.client(peer, &parts.headers),
            id: RequestId::accept(&parts.headers).unwrap_or_else(|| self.request_ids.next()),
            body: Bytes::new(),
            parts,
        };
        let found = self.site.find(request.path());
        let mut response = match found.filter(|(endpoint, _)| self.has(*endpoint)) {
            _ if !has_its_host(&request.parts) => failure::no_host(),
            None => failure::not_found(),
            Some((endpoint, methods)) if !methods.hold(request.method()) => self
                .cors
                .preflight(endpoint, methods, &request)
                .unwrap_or_else(|| failure::method_not_allowed(methods)),
            Some((endpoint, _)) => {
                let counted = self.metrics.begin(endpoint as usize, started);
                let mut response = self.ask(endpoint, &mut request, body).await;
                self.cors.allow(endpoint, &request, &mut response);
                counted.end(response.0.status().as_u16());
                tracing::debug!(
                    request_id = request.id().as_str(),
                    endpoint = endpoint.name(),
                    status = response.0.status().as_u16(),
                    microseconds = started.elapsed().as_micros() as u64,
                    "request"
                );
                response
            }
        };
        security_headers::add(&mut response, self.site.https);
        let headers = response.0.headers_mut();
        // RFC 9112 §6.1: a request whose end might be read in two ways is the last one of its connection.
        if request.parts.headers.contains_key(TRANSFER_ENCODING) {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        headers.insert(X_REQUEST_ID, request.id().header());
        response.0
    }

    /// What the configuration leaves out is not there.
    fn has(&self, endpoint: Endpoint) -> bool {
        endpoint != Endpoint::Registration || self.provider.registration.is_there()
    }

    async fn ask(&self, endpoint: Endpoint, request: &mut Request, body: Incoming) -> Response {
        let errors = &self.provider.config.errors;
        if matches!(request.method(), Method::Post | Method::Put) {
            match body::read(body, self.site.body).await {
                Ok(body) => request.body = body,
                Err(failure) => return failure::answer(failure, endpoint, request, errors),
            }
        }
        match call(endpoint, &self.provider, request).await {
            Ok(response) => response,
            Err(failure) => failure::answer(failure, endpoint, request, errors),
        }
    }
}

/// RFC 9112 §3.2: HTTP/1.1 has one `Host`, whatever it says. What another reader on the way took it for is then clear.
fn has_its_host(parts: &Parts) -> bool {
    let mut hosts = parts.headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(_), None) => true,
        (None, _) => parts.version != Version::HTTP_11,
        (Some(_), Some(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn paths() {
        let limits = body::Limits {
            size: 1,
            time: Duration::from_secs(1),
        };
        let site = |issuer| Site::new(issuer, TrustedProxies::default(), limits);
        let (root, below) = (site("https://id.example"), site("https://id.example/a/b"));
        let rows = [
            (&root, "/jwks", Some(Endpoint::Jwks)),
            (&root, "/jwks/", None),
            (&root, "//jwks", None),
            (&root, "/JWKS", None),
            (&root, "/%6awks", None),
            (&root, "/userinfo/x.css", None),
            (&root, "/.well-known/..;/", None),
            (&root, "/assets/signet.css", Some(Endpoint::Assets)),
            (&root, "/a/b/jwks", None),
            (&root, "/", None),
            (&below, "/a/b/jwks", Some(Endpoint::Jwks)),
            (&below, "/a/bjwks", None),
            (&below, "/jwks", None),
            (
                &below,
                "/a/b/.well-known/openid-configuration",
                Some(Endpoint::Discovery),
            ),
            (&below, "/.well-known/openid-configuration", None),
            (
                &below,
                "/.well-known/oauth-authorization-server/a/b",
                Some(Endpoint::Discovery),
            ),
            (&below, "/.well-known/oauth-authorization-server", None),
            (&below, "/health/live", Some(Endpoint::Live)),
            (&below, "/.well-known/webfinger", Some(Endpoint::Webfinger)),
        ];
        for (site, path, expected) in rows {
            let found = site.find(path).map(|(endpoint, _)| endpoint);
            assert_eq!(found, expected, "{:?} {path}", site.prefix);
        }
    }

    #[test]
    fn positions() {
        for (position, endpoint) in Endpoint::ALL.into_iter().enumerate() {
            assert_eq!(endpoint as usize, position);
        }
    }
}
