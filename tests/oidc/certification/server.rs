//! What a relying party serves to the provider over https, on loopback: keys, request objects, sector identifiers; and
//! what it is told there (back-channel logout).

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_rustls::TlsAcceptor;

/// How long the provider may take until it calls.
const PATIENCE: Duration = Duration::from_secs(10);

/// Signs the certificates of all relying parties of these tests; the profile trusts it by `EXTRA_CA`.
static AUTHORITY: LazyLock<(pki::Authority, PathBuf)> = LazyLock::new(|| {
    let authority = pki::Authority::new("relying parties").unwrap();
    let name = format!("relying-parties-{}.pem", std::process::id());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    (authority, path)
});

/// The file with its certificate. It is written for each stack that is started: who cleans up may have taken it away.
pub(crate) fn authority() -> PathBuf {
    let (authority, path) = &*AUTHORITY;
    std::fs::write(path, authority.certificate_pem()).unwrap();
    path.clone()
}

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) content_type: String,
    pub(crate) body: String,
    /// `TLSv1_3`.
    pub(crate) tls: String,
}

#[derive(Debug, Default)]
struct State {
    /// By path: content type and body.
    documents: Mutex<HashMap<String, (&'static str, String)>>,
    /// By path, where it is another than 200 or 404.
    statuses: Mutex<HashMap<String, u16>>,
    seen: Mutex<Vec<Seen>>,
}

/// Serves as long as it lives.
#[derive(Debug)]
pub(crate) struct Server {
    port: u16,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start() -> Server {
        let acceptor = TlsAcceptor::from(Arc::new(configuration()));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<State>::default();
        let shared = Arc::clone(&state);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, acceptor.clone(), Arc::clone(&shared)));
            }
        });
        Server { port, state, task }
    }

    /// `https://localhost:PORT/PATH`.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port)
    }

    /// From now on this is there; returns its URL.
    pub(crate) fn put(&self, path: &str, content_type: &'static str, body: &str) -> String {
        let mut documents = self.state.documents.lock().unwrap();
        documents.insert(path.to_owned(), (content_type, body.to_owned()));
        self.url(path)
    }

    /// From now on this path answers so, with nothing in it; returns its URL.
    pub(crate) fn answer(&self, path: &str, status: u16) -> String {
        let mut statuses = self.state.statuses.lock().unwrap();
        statuses.insert(path.to_owned(), status);
        self.url(path)
    }

    /// What came for this.
    pub(crate) fn all_seen(&self, path: &str) -> Vec<Seen> {
        let seen = self.state.seen.lock().unwrap();
        let seen = seen.iter().filter(|seen| seen.path == path);
        seen.cloned().collect()
    }

    /// How often somebody came for this.
    pub(crate) fn visits(&self, path: &str) -> usize {
        self.all_seen(path).len()
    }

    /// The first request for this, which may still be on its way.
    pub(crate) async fn seen(&self, path: &str) -> Seen {
        let until = Instant::now() + PATIENCE;
        loop {
            let found = {
                let seen = self.state.seen.lock().unwrap();
                seen.iter().find(|seen| seen.path == path).cloned()
            };
            if let Some(found) = found {
                return found;
            }
            assert!(Instant::now() < until, "nobody came for {path}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn configuration() -> rustls::ServerConfig {
    let leaf = pki::Leaf {
        common_name: "relying party",
        dns: &["localhost"],
        ips: &[IpAddr::V4(Ipv4Addr::LOCALHOST)],
        server: true,
        ..pki::Leaf::default()
    };
    let issued = AUTHORITY.0.issue(&leaf).unwrap();
    let certificate = CertificateDer::from_pem_slice(issued.certificate_pem.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(issued.key_pem.as_bytes()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap()
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor, state: Arc<State>) {
    let Ok(stream) = acceptor.accept(stream).await else {
        return;
    };
    let tls = format!("{:?}", stream.get_ref().1.protocol_version().unwrap());
    let service = service_fn(|request| {
        let (state, tls) = (Arc::clone(&state), tls.clone());
        async move { Ok::<_, Infallible>(answer(&state, tls, request).await) }
    });
    // A caller that goes away in the middle is no concern of ours.
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(state: &State, tls: String, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes());
    let content_type = head.headers.get(http::header::CONTENT_TYPE);
    let path = head.uri.path().to_owned();
    let document = state.documents.lock().unwrap().get(&path).cloned();
    let answered = state.statuses.lock().unwrap().get(&path).copied();
    state.seen.lock().unwrap().push(Seen {
        method: head.method.to_string(),
        path,
        content_type: content_type
            .map_or("", |value| value.to_str().unwrap())
            .to_owned(),
        body: String::from_utf8(body.unwrap_or_default().into()).unwrap(),
        tls,
    });
    let (status, (content_type, body)) = match document {
        Some(document) => (200, document),
        None => (answered.unwrap_or(404), ("text/plain", String::new())),
    };
    Response::builder()
        .status(status)
        .header(http::header::CONTENT_TYPE, content_type)
        .header(http::header::CACHE_CONTROL, "no-store")
        .body(Full::new(Bytes::from(body)))
        .unwrap()
}
