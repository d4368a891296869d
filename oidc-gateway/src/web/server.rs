//! Connections: accepted, limited in number and time, served as HTTP/1.1 or HTTP/2, and let go when the process ends.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulConnection;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::patience::{Patience, Waiting};
use super::router::Worker;
use crate::tls::Certificates;

/// How HTTP/2 without TLS begins (RFC 9113 §3.4); no HTTP/1.1 request does.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Requests at a time on a connection.
const STREAMS: u32 = 100;

/// In octets: what is read ahead, or waits to be written, of a connection.
const BUFFER: usize = 64 * 1024;

/// What a connection may cost.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Open at once, in this process; more wait to be accepted.
    pub(crate) connections: Arc<Semaphore>,
    /// How long a TLS handshake may take.
    pub(crate) handshake: Duration,
    /// How long a connection may take from its begin, or from the last answer, to the end of the next headers.
    pub(crate) headers: Duration,
    /// In octets, all headers of a request with its first line.
    pub(crate) header_size: u32,
    /// How long connections may take to end when the process does.
    pub(crate) drain: Duration,
}

/// Serves connections of one listener on the thread that calls it, until `stop` says so; then lets open requests end.
pub(crate) async fn serve(
    listener: TcpListener,
    worker: Arc<Worker>,
    certificates: Option<Arc<Certificates>>,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let server = Arc::new(Server::new(worker, certificates, &limits, stop.clone()));
    let patience = Arc::clone(&server.patience);
    let watch = tokio::spawn(async move { patience.watch().await });
    // Every connection holds a clone: when the last is gone, `recv` gives `None`.
    let (open, mut all_closed) = mpsc::channel::<()>(1);
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = accept(&listener, &limits.connections) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else {
            // Out of descriptors: some will be closed.
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let (server, open) = (Arc::clone(&server), open.clone());
        tokio::spawn(async move {
            server.connection(stream, peer).await;
            drop((permit, open));
        });
    }
    drop((listener, open));
    if timeout(limits.drain, all_closed.recv()).await.is_err() {
        tracing::warn!("connections were cut off: they took too long to end");
    }
    watch.abort();
}

async fn accept(
    listener: &TcpListener,
    connections: &Arc<Semaphore>,
) -> Option<(TcpStream, IpAddr, tokio::sync::OwnedSemaphorePermit)> {
    let permit = Arc::clone(connections).acquire_owned().await.ok()?;
    let (stream, peer) = listener.accept().await.ok()?;
    // Answers are written at once, whole.
    stream.set_nodelay(true).ok()?;
    Some((stream, peer.ip(), permit))
}

struct Server {
    worker: Arc<Worker>,
    certificates: Option<Arc<Certificates>>,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    either: auto::Builder<TokioExecutor>,
    patience: Arc<Patience>,
    handshake: Duration,
    headers: Duration,
    stop: watch::Receiver<bool>,
}

impl Server {
    fn new(
        worker: Arc<Worker>,
        certificates: Option<Arc<Certificates>>,
        limits: &Limits,
        stop: watch::Receiver<bool>,
    ) -> Server {
        let mut http1 = http1::Builder::new();
        http1
            // hyper's own limit makes a timer for each request: `patience` stands in for it.
            .header_read_timeout(None)
            .max_header_size(limits.header_size as usize)
            .max_buf_size(BUFFER);
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_header_list_size(limits.header_size)
            .max_concurrent_streams(STREAMS)
            .keep_alive_interval(limits.headers)
            .keep_alive_timeout(limits.handshake);
        let mut either = auto::Builder::new(TokioExecutor::new());
        either
            .http1()
            .header_read_timeout(None)
            .max_buf_size(BUFFER);
        either
            .http2()
            .timer(TokioTimer::new())
            .max_header_list_size(limits.header_size)
            .max_concurrent_streams(STREAMS)
            .keep_alive_interval(limits.headers)
            .keep_alive_timeout(limits.handshake);
        Server {
            worker,
            certificates,
            http1,
            http2,
            either,
            patience: Arc::new(Patience::of(limits.headers)),
            handshake: limits.handshake,
            headers: limits.headers,
            stop,
        }
    }

    async fn connection(&self, stream: TcpStream, peer: IpAddr) {
        let _counted = self.worker.metrics.connection();
        let Some(certificates) = &self.certificates else {
            match timeout(self.headers, begins_like_http2(&stream)).await {
                Ok(false) => self.serve_http1(stream, peer).await,
                Ok(true) => self.serve_either(stream, peer).await,
                Err(_) => {}
            }
            return;
        };
        let acceptor = TlsAcceptor::from(certificates.offered());
        let Ok(Ok(stream)) = timeout(self.handshake, acceptor.accept(stream)).await else {
            self.worker.metrics.handshake_failed();
            return;
        };
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => self.serve_http2(stream, peer).await,
            _ => self.serve_http1(stream, peer).await,
        }
    }

    /// The cheapest way: nothing is boxed, spawned or timed for a request.
    async fn serve_http1(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
        peer: IpAddr,
    ) {
        let waiting = &self.patience.begin();
        let service = service_fn(|request: http::Request<Incoming>| async move {
            let _answering = waiting.answering();
            Ok::<_, Infallible>(self.worker.answer(request, peer).await)
        });
        let connection = self.http1.serve_connection(TokioIo::new(stream), service);
        let mut connection = pin!(connection);
        let mut stop = self.stop.clone();
        tokio::select! {
            biased;
            _ = connection.as_mut() => return,
            () = waiting.over() => return,
            _ = stop.wait_for(|stop| *stop) => connection.as_mut().graceful_shutdown(),
        }
        tokio::select! {
            _ = connection => {}
            () = waiting.over() => {}
        }
    }

    async fn serve_http2(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        peer: IpAddr,
    ) {
        let waiting = Arc::new(self.patience.begin());
        let service = shared_service(&self.worker, peer, &waiting);
        let connection = self.http2.serve_connection(TokioIo::new(stream), service);
        self.until_over(connection, &waiting).await;
    }

    /// HTTP/2 without TLS, behind a proxy; or a slow beginning that may become either.
    async fn serve_either(&self, stream: TcpStream, peer: IpAddr) {
        let waiting = Arc::new(self.patience.begin());
        let service = shared_service(&self.worker, peer, &waiting);
        let connection = self.either.serve_connection(TokioIo::new(stream), service);
        self.until_over(connection, &waiting).await;
    }

    /// A peer that is idle is told so, and has a while to agree: its next request may be under way.
    async fn until_over(&self, connection: impl GracefulConnection, waiting: &Waiting) {
        let mut connection = pin!(connection);
        let mut stop = self.stop.clone();
        let open_ended = tokio::select! {
            biased;
            _ = connection.as_mut() => return,
            () = waiting.over() => false,
            _ = stop.wait_for(|stop| *stop) => true,
        };
        connection.as_mut().graceful_shutdown();
        if open_ended {
            // `serve` limits the time.
            let _ = connection.await;
        } else {
            let _ = timeout(self.handshake, connection).await;
        }
    }
}

/// For HTTP/2, whose requests are answered by tasks of their own.
fn shared_service(
    worker: &Arc<Worker>,
    peer: IpAddr,
    waiting: &Arc<Waiting>,
) -> impl Service<
    http::Request<Incoming>,
    Response = http::Response<Full<Bytes>>,
    Error = Infallible,
    Future: Send + 'static,
> + Send
+ 'static {
    let (worker, waiting) = (Arc::clone(worker), Arc::clone(waiting));
    service_fn(move |request| {
        let (worker, waiting) = (Arc::clone(&worker), Arc::clone(&waiting));
        async move {
            let _answering = waiting.answering();
            Ok(worker.answer(request, peer).await)
        }
    })
}

/// Looks at the first octets without taking them. What cannot be told yet counts as HTTP/2.
async fn begins_like_http2(stream: &TcpStream) -> bool {
    let mut first = [0; PREFACE.len()];
    match stream.peek(&mut first).await {
        Ok(length) => PREFACE.starts_with(&first[..length]),
        Err(_) => false,
    }
}
