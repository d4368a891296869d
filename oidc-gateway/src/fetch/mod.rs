//! Outgoing HTTPS, and the guard in front of it (SR-01 to SR-09): verified certificates, no redirects, public addresses
//! alone, and limits on size, time and number. The address is looked up once, checked, and then connected to as it is.

mod address;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONNECTION, CONTENT_TYPE, HOST, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use ipnet::IpNet;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::Deserialize;
use tokio::net::{TcpStream, lookup_host};
use tokio::sync::Semaphore;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use url::{Host, Url};

/// A URL longer than this is none that anybody registers: octets.
const LONGEST_URL: usize = 4096;
/// All headers of an answer: octets.
const HEADERS: usize = 16 * 1024;
/// How many of a name's addresses are tried.
const TRIES: usize = 4;

/// `[fetch]`: calls to what clients name, such as `jwks_uri`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Certificates in PEM that are believed beside those of the public authorities. Default: none.
    pub extra_ca_file: Option<PathBuf>,
    /// Networks that may be called although they are not public. Default: none.
    pub allow_networks: Vec<IpNet>,
    /// For one call, from the look-up to the last octet. Default: 5 s.
    #[serde(with = "crate::duration")]
    pub timeout: Duration,
    /// An answer, in octets. Default: 262144.
    pub size: usize,
    /// At once, in this process; a quarter of them for what anybody can name. Default: 32.
    pub concurrency: usize,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            extra_ca_file: None,
            allow_networks: Vec::new(),
            timeout: Duration::from_secs(5),
            size: 256 * 1024,
            concurrency: 32,
        }
    }
}

/// The certificates cannot be used; says why.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", file.display())]
pub struct Unusable {
    file: PathBuf,
    reason: String,
}

/// Why there is no answer. Its words are ours alone: they go into logs, and names of clients' servers do not.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Error {
    /// Not an https URL with a host.
    #[error("not an https URL")]
    Url,
    /// The name is not known, or its server not there.
    #[error("the server cannot be reached: {0}")]
    Unreachable(String),
    /// Every address of the name is one that must not be called.
    #[error("the address may not be called")]
    Forbidden,
    /// Of an authority that is not known, for another name, or expired.
    #[error("the server's certificate is not accepted")]
    Certificate,
    /// It does not speak TLS as we do.
    #[error("no TLS")]
    Tls,
    /// It does not speak HTTP, or stopped.
    #[error("no HTTP: {0}")]
    Http(String),
    /// It answered, but with this.
    #[error("the answer has status {0}")]
    Status(StatusCode),
    /// Longer than `fetch.size`.
    #[error("the answer is too large")]
    TooLarge,
    /// Not whole within `fetch.timeout`.
    #[error("no whole answer in time")]
    TooSlow,
}

/// Makes outgoing calls. One for the process, shared by its workers.
pub(crate) struct Fetch {
    tls: TlsConnector,
    allowed: Vec<IpNet>,
    timeout: Duration,
    size: usize,
    slots: Semaphore,
    /// Of these, for what anybody can have us fetch.
    for_anybody: Semaphore,
    /// What is being fetched: a URL is fetched by one at a time.
    flights: Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>,
}

impl std::fmt::Debug for Fetch {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Fetch")
    }
}

impl Fetch {
    /// Reads the certificates.
    pub(crate) fn new(settings: &Settings) -> Result<Fetch, Unusable> {
        let mut roots = RootCertStore::empty();
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        if let Some(file) = &settings.extra_ca_file {
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|error| Unusable {
                    file: file.clone(),
                    reason: error.to_string(),
                })?;
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("TLS 1.3 and 1.2 have cipher suites")
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Fetch {
            tls: TlsConnector::from(Arc::new(config)),
            allowed: settings.allow_networks.clone(),
            timeout: settings.timeout,
            size: settings.size,
            slots: Semaphore::new(settings.concurrency),
            for_anybody: Semaphore::new(settings.concurrency.div_ceil(4)),
            flights: Mutex::default(),
        })
    }

    /// The body of an answer with status 200. What follows `#` stays here.
    pub(crate) async fn get(&self, url: &str, accept: &'static str) -> Result<Bytes, Error> {
        let url = https(url)?;
        let request = request(Method::GET, &url)
            .header(ACCEPT, accept)
            .body(Full::default());
        let request = request.map_err(|_| Error::Url)?;
        // In memory of its own: TLS and HTTP have much to remember, and callers are moved with what they wait for.
        let fetched = Box::pin(async {
            let flight = self.flight(&url);
            let _alone = flight.lock().await;
            self.send(&url, request).await
        });
        match tokio::time::timeout(self.timeout, fetched).await {
            Ok(Ok((StatusCode::OK, body))) => Ok(body),
            Ok(Ok((status, _))) => Err(Error::Status(status)),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(Error::TooSlow),
        }
    }

    /// The same where whoever asks has not shown who they are: all of it together has a quarter of the slots, so that
    /// servers that never answer do not keep clients' keys from being fetched.
    pub(crate) async fn get_for_anybody(
        &self,
        url: &str,
        accept: &'static str,
    ) -> Result<Bytes, Error> {
        let fetched = Box::pin(async {
            let _slot = self
                .for_anybody
                .acquire()
                .await
                .map_err(|_| Error::TooSlow)?;
            self.get(url, accept).await
        });
        match tokio::time::timeout(self.timeout, fetched).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::TooSlow),
        }
    }

    /// Posts a form; the status of the answer, whatever it is.
    pub(crate) async fn post_form(
        &self,
        url: &str,
        body: impl Into<Bytes>,
    ) -> Result<StatusCode, Error> {
        let url = https(url)?;
        let request = request(Method::POST, &url)
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .body(Full::new(body.into()));
        let request = request.map_err(|_| Error::Url)?;
        let answer = Box::pin(self.send(&url, request));
        match tokio::time::timeout(self.timeout, answer).await {
            Ok(answer) => Ok(answer?.0),
            Err(_) => Err(Error::TooSlow),
        }
    }

    fn flight(&self, url: &Url) -> Arc<tokio::sync::Mutex<()>> {
        let mut flights = self.flights.lock().unwrap_or_else(PoisonError::into_inner);
        let url = &url[..url::Position::AfterQuery];
        if let Some(flight) = flights.get(url).and_then(Weak::upgrade) {
            return flight;
        }
        flights.retain(|_, flight| flight.strong_count() > 0);
        let flight = Arc::new(tokio::sync::Mutex::new(()));
        flights.insert(url.to_owned(), Arc::downgrade(&flight));
        flight
    }

    async fn send(
        &self,
        url: &Url,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), Error> {
        let unreachable = |error: std::io::Error| Error::Unreachable(error.to_string());
        let _slot = self.slots.acquire().await.map_err(|_| Error::TooSlow)?;
        let stream = connect(&self.addresses(url).await?)
            .await
            .map_err(unreachable)?;
        let name = server_name(url).ok_or(Error::Url)?;
        let stream = self.tls.connect(name, stream).await;
        let stream = stream.map_err(|error| not_secure(&error))?;
        self.exchange(stream, request).await
    }

    /// The addresses of the server that may be called.
    async fn addresses(&self, url: &Url) -> Result<Vec<SocketAddr>, Error> {
        let port = url.port_or_known_default().ok_or(Error::Url)?;
        let all: Vec<SocketAddr> = match url.host().ok_or(Error::Url)? {
            Host::Ipv4(address) => vec![(address, port).into()],
            Host::Ipv6(address) => vec![(address, port).into()],
            Host::Domain(name) => lookup_host((name, port))
                .await
                .map_err(|error| Error::Unreachable(error.to_string()))?
                .collect(),
        };
        let mut allowed = all;
        allowed.retain(|address| address::may_be_called(address.ip(), &self.allowed));
        allowed.truncate(TRIES);
        match allowed.is_empty() {
            true => Err(Error::Forbidden),
            false => Ok(allowed),
        }
    }

    async fn exchange(
        &self,
        stream: TlsStream<TcpStream>,
        request: Request<Full<Bytes>>,
    ) -> Result<(StatusCode, Bytes), Error> {
        let broken = |error: hyper::Error| Error::Http(error.to_string());
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(HEADERS)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        let mut exchange = pin!(async {
            let response = sender.send_request(request).await.map_err(broken)?;
            let status = response.status();
            Ok((status, collect(response.into_body(), self.size).await?))
        });
        // The connection is driven here and ends with this call, whoever gives up first.
        tokio::select! {
            biased;
            answer = &mut exchange => return answer,
            _ = connection => {}
        }
        exchange.await
    }
}

fn not_secure(error: &std::io::Error) -> Error {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
    match inner {
        Some(rustls::Error::InvalidCertificate(_)) => Error::Certificate,
        _ => Error::Tls,
    }
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let unusable = |reason: String| Unusable {
        file: file.to_owned(),
        reason,
    };
    let all: Vec<_> = CertificateDer::pem_file_iter(file)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(error.to_string()))?;
    match all.is_empty() {
        true => Err(unusable("holds no certificate".to_owned())),
        false => Ok(all),
    }
}

fn https(url: &str) -> Result<Url, Error> {
    if url.len() > LONGEST_URL {
        return Err(Error::Url);
    }
    let url = Url::parse(url).map_err(|_| Error::Url)?;
    let is_plain = url.username().is_empty() && url.password().is_none() && url.has_host();
    match is_plain && url.scheme() == "https" {
        true => Ok(url),
        false => Err(Error::Url),
    }
}

fn request(method: Method, url: &Url) -> http::request::Builder {
    // RFC 9112 §3.2.1: the origin form.
    let target = &url[url::Position::BeforePath..url::Position::AfterQuery];
    let host = &url[url::Position::BeforeHost..url::Position::AfterPort];
    Request::builder()
        .method(method)
        .uri(target)
        .header(HOST, host)
        .header(USER_AGENT, "signet")
        .header(CONNECTION, "close")
}

fn server_name(url: &Url) -> Option<ServerName<'static>> {
    match url.host()? {
        Host::Domain(name) => ServerName::try_from(name.to_owned()).ok(),
        Host::Ipv4(address) => Some(ServerName::from(std::net::IpAddr::from(address))),
        Host::Ipv6(address) => Some(ServerName::from(std::net::IpAddr::from(address))),
    }
}

async fn connect(addresses: &[SocketAddr]) -> std::io::Result<TcpStream> {
    let mut failure = std::io::Error::from(std::io::ErrorKind::AddrNotAvailable);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

async fn collect(mut body: Incoming, most: usize) -> Result<Bytes, Error> {
    if body.size_hint().lower() > most as u64 {
        return Err(Error::TooLarge);
    }
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| Error::Http(error.to_string()))?;
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        if whole.len() + piece.len() > most {
            return Err(Error::TooLarge);
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn urls_that_are_called() {
        for (url, passes) in [
            ("https://rp.example/jwks", true),
            ("https://rp.example:8443/jwks?a=b#c", true),
            ("HTTPS://RP.example", true),
            ("http://rp.example/jwks", false),
            ("https://user@rp.example/jwks", false),
            ("https://:pw@rp.example/jwks", false),
            ("ftp://rp.example", false),
            ("file:///etc/passwd", false),
            ("/jwks", false),
            ("", false),
        ] {
            assert_eq!(https(url).is_ok(), passes, "{url}");
        }
        assert!(https(&format!("https://rp.example/{}", "a".repeat(5000))).is_err());
    }

    #[test]
    fn what_is_asked_for() {
        let url = https("https://RP.example:8443/a%20b?c=d#e").unwrap();
        let request = request(Method::GET, &url).body(()).unwrap();
        assert_eq!(request.uri(), "/a%20b?c=d");
        assert_eq!(request.headers()[HOST], "rp.example:8443");
        let url = https("https://[2001:4860::1]").unwrap();
        let request = super::request(Method::GET, &url).body(()).unwrap();
        assert_eq!(request.uri(), "/");
        assert_eq!(request.headers()[HOST], "[2001:4860::1]");
    }

    /// Four calls at a time: one of them may be anybody's.
    #[tokio::test]
    async fn what_anybody_asks_for_leaves_room() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = silent.local_addr().unwrap().port();
        let fetch = Fetch::new(&Settings {
            allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
            concurrency: 4,
            timeout: Duration::from_millis(500),
            ..Settings::default()
        })
        .unwrap();
        let url = |path: &str| format!("https://127.0.0.1:{port}/{path}");
        let [a, b, c] = ["a", "b", "c"].map(url);
        let left = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            fetch.slots.available_permits()
        };
        let (a, b, c, left) = tokio::join!(
            fetch.get_for_anybody(&a, "*/*"),
            fetch.get_for_anybody(&b, "*/*"),
            fetch.get(&c, "*/*"),
            left,
        );
        assert_eq!(left, 2);
        for answer in [a, b, c] {
            assert!(matches!(answer, Err(Error::TooSlow)), "{answer:?}");
        }
    }

    /// SR-01: in whatever notation, an inner address is not called; nothing is connected to.
    #[tokio::test]
    async fn inner_addresses_are_not_called() {
        let fetch = Fetch::new(&Settings::default()).unwrap();
        for host in [
            "127.0.0.1",
            "2130706433",
            "0x7f000001",
            "0177.0.0.1",
            "127.1",
            "0",
            "localhost",
            "169.254.169.254",
            "10.0.0.1",
            "[::1]",
            "[::ffff:127.0.0.1]",
            "[64:ff9b::7f00:1]",
            "[fe80::1]",
        ] {
            let answer = fetch.get(&format!("https://{host}/"), "*/*").await;
            assert!(
                matches!(answer, Err(Error::Forbidden)),
                "{host}: {answer:?}"
            );
        }
    }
}
