//! Connections: accepted by every worker from the same sockets, shaken hands with (RFC 8446), and served over HTTP/2
//! (RFC 9113). What a peer sends before it is known never ends the loop that accepts.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsAcceptor;

use super::{Shared, Surface, http2};

/// How long a connection that is asked to end may go on with what it has begun.
const GRACE: Duration = Duration::from_secs(30);
/// How long to wait when the system has no more descriptors.
const PAUSE: Duration = Duration::from_millis(20);

/// Serves a TCP port until the service stops, then waits for its connections.
pub(crate) async fn serve_tcp(listener: TcpListener, shared: Arc<Shared>) {
    let accept = async move || listener.accept().await.map(|(stream, _)| stream);
    each(accept, over_tls, shared).await;
}

/// The same for a Unix socket, whose peer the kernel names.
pub(crate) async fn serve_unix(listener: UnixListener, shared: Arc<Shared>) {
    let accept = async move || listener.accept().await.map(|(stream, _)| stream);
    each(accept, over_unix, shared).await;
}

/// Accepts and serves connections, each in a task of its own. `accept` owns the socket: nobody connects to one that is
/// being drained.
async fn each<S, Served: Future<Output = ()> + Send + 'static>(
    accept: impl AsyncFn() -> std::io::Result<S>,
    serve: impl Fn(S, Arc<Shared>) -> Served,
    shared: Arc<Shared>,
) {
    let (alive, drained) = mpsc::channel::<Infallible>(1);
    let mut stop = shared.stop.clone();
    loop {
        let accepted = tokio::select! {
            accepted = accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => break,
        };
        match accepted {
            Ok(stream) => {
                let served = serve(stream, Arc::clone(&shared));
                let alive = alive.clone();
                tokio::spawn(async move {
                    served.await;
                    drop(alive);
                });
            }
            Err(error) => pause(&error).await,
        }
    }
    drop(accept);
    drain(alive, drained, &shared).await;
}

async fn pause(error: &std::io::Error) {
    tracing::warn!(%error, "a connection was not accepted");
    tokio::time::sleep(PAUSE).await;
}

/// Each connection holds a sender; when none is left, the channel ends.
async fn drain(
    alive: mpsc::Sender<Infallible>,
    mut drained: mpsc::Receiver<Infallible>,
    shared: &Shared,
) {
    drop(alive);
    if tokio::time::timeout(shared.limits.drain, drained.recv())
        .await
        .is_err()
    {
        tracing::warn!("connections are ended with requests under way");
    }
}

async fn over_tls(stream: TcpStream, shared: Arc<Shared>) {
    let Ok(_permit) = shared.connections.try_acquire() else {
        return tracing::warn!("too many connections");
    };
    let Some(certificates) = &shared.certificates else {
        return;
    };
    // Without it small answers wait for acknowledgements; with a stream that is gone already there is nothing to set.
    let _ = stream.set_nodelay(true);
    let handshake = TlsAcceptor::from(certificates.current()).accept(stream);
    let stream = match tokio::time::timeout(shared.limits.handshake_timeout, handshake).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            shared.metrics.handshake_failed();
            return tracing::info!(reason = why(&error), "handshake failed");
        }
        Err(_) => {
            shared.metrics.handshake_failed();
            return tracing::info!("handshake took too long");
        }
    };
    let (_, session) = stream.get_ref();
    let certificate = session.peer_certificates().and_then(<[_]>::first);
    let caller = certificate.and_then(|certificate| shared.callers.by_certificate(certificate));
    if caller.is_none() {
        tracing::warn!(
            "refused: a certificate of client_ca_file whose SAN is in no [[callers.allow]]"
        );
    }
    serve(stream, Surface::new(&shared, caller), &shared).await;
}

/// What an operator can mend; nothing that the peer sent.
fn why(error: &std::io::Error) -> String {
    let source = error.get_ref().and_then(|source| source.downcast_ref());
    match source {
        Some(rustls::Error::InvalidCertificate(reason)) => format!("its certificate: {reason}"),
        Some(rustls::Error::NoCertificatesPresented) => "it showed no certificate".to_owned(),
        _ => error.kind().to_string(),
    }
}

async fn over_unix(stream: UnixStream, shared: Arc<Shared>) {
    let Ok(_permit) = shared.connections.try_acquire() else {
        return tracing::warn!("too many connections");
    };
    let caller = match stream.peer_cred() {
        Ok(peer) => shared.callers.by_uid(peer.uid()),
        Err(_) => None,
    };
    if caller.is_none() {
        tracing::warn!("a user on the Unix socket who is no caller");
    }
    serve(stream, Surface::new(&shared, caller), &shared).await;
}

async fn serve<S>(stream: S, surface: Surface, shared: &Shared)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let limits = &shared.limits;
    let ended = ended(shared.stop.clone(), limits.connection_age);
    let answer = |request| surface.answer(request);
    http2::serve(stream, answer, limits, ended, GRACE).await;
}

/// When a connection has to end: the service stops, or the connection is old.
pub(super) async fn ended(mut stop: watch::Receiver<bool>, age: Duration) {
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        () = tokio::time::sleep(age) => {}
    }
}
