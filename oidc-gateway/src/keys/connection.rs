//! HTTP/2 to the key-service, without a task between who asks and the connection: tonic makes the messages, h2 the
//! frames, and what is here keeps one connection up. It is made when it is first needed, and again after it broke.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use h2::client::SendRequest;
use h2::{Ping, PingPong, RecvStream, SendStream};
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use http_body::{Body as _, Frame};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tonic::Status;
use tonic::body::Body;

use super::fault;
use super::gathered::Gathered;
use super::signing::Signing;

/// A peer that vanished without a word is noticed: how often it is asked, and how long it may take to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(5);
const SIGN_STREAM: &str = "/keyservice.v1.KeyService/SignStream";
/// What the key-service may send before it is read, in octets: of a stream, and of a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// How many connections a call is tried on, while each is being closed before it takes the call.
const TRIES: usize = 3;

/// Where the key-service listens.
#[derive(Debug, Clone)]
pub(super) enum Address {
    Tls(Authority, ServerName<'static>),
    Unix(std::path::PathBuf),
}

/// What makes connections, and the one that is there. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Connection(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    address: Address,
    timeout: Duration,
    /// Absent for a Unix socket.
    tls: ArcSwapOption<rustls::ClientConfig>,
    current: Mutex<Current>,
    /// Held while connecting, so that one does.
    connecting: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Current {
    there: Option<There>,
    /// Counts connections, so that the end of an old one does not end the new one.
    number: u64,
}

#[derive(Debug)]
struct There {
    sender: SendRequest<Bytes>,
    signing: Arc<Signing>,
}

impl Connection {
    pub(super) fn new(
        address: Address,
        tls: Option<Arc<rustls::ClientConfig>>,
        timeout: Duration,
    ) -> Connection {
        Connection(Arc::new(Shared {
            address,
            timeout,
            tls: ArcSwapOption::new(tls),
            current: Mutex::default(),
            connecting: tokio::sync::Mutex::default(),
        }))
    }

    /// The next call connects with these certificates. Calls under way end on the connection that they are on.
    pub(super) fn renew(&self, tls: Option<Arc<rustls::ClientConfig>>) {
        self.0.tls.store(tls);
        self.0.current().there = None;
    }

    /// Where signatures are asked for, if the connection is there, does not end and takes more.
    pub(super) fn signing(&self) -> Option<Arc<Signing>> {
        let mut current = self.0.current();
        let there = current.there.as_mut()?;
        // A stream does not say that its connection is asked to end, and is not read from then on.
        let mut context = Context::from_waker(Waker::noop());
        if let Poll::Ready(Err(_)) = there.sender.poll_ready(&mut context) {
            current.there = None;
            return None;
        }
        // What is not read at once would be old when it is. The stream itself is one; before its settings have come, the
        // key-service has said nothing.
        let most = Some(there.sender.current_max_send_streams()).filter(|most| *most < usize::MAX);
        let signing = &there.signing;
        (signing.waiting() + 1 < most?).then(|| Arc::clone(signing))
    }

    /// For a task that must not keep it.
    pub(super) fn downgrade(&self) -> Unowned {
        Unowned(Arc::downgrade(&self.0))
    }
}

/// A connection for as long as somebody else holds it.
#[derive(Debug)]
pub(super) struct Unowned(Weak<Shared>);

impl Unowned {
    pub(super) fn upgrade(&self) -> Option<Connection> {
        self.0.upgrade().map(Connection)
    }
}

impl Shared {
    fn current(&self) -> std::sync::MutexGuard<'_, Current> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sender(&self) -> Option<(SendRequest<Bytes>, u64)> {
        let current = self.current();
        let there = current.there.as_ref()?;
        Some((there.sender.clone(), current.number))
    }

    fn forget(&self, number: u64) {
        let mut current = self.current();
        if current.number == number {
            current.there = None;
        }
    }

    /// A new connection, unless somebody else has just made one.
    async fn connect(self: &Arc<Shared>) -> Result<(SendRequest<Bytes>, u64), Status> {
        let _alone = self.connecting.lock().await;
        if let Some(there) = self.sender() {
            return Ok(there);
        }
        let connect = async {
            match &self.address {
                Address::Unix(path) => self.greet(UnixStream::connect(path).await?).await,
                Address::Tls(authority, name) => {
                    let stream = TcpStream::connect(host_and_port(authority)).await?;
                    stream.set_nodelay(true)?;
                    let tls = self
                        .tls
                        .load_full()
                        .ok_or(std::io::ErrorKind::InvalidInput)?;
                    let connector = tokio_rustls::TlsConnector::from(tls);
                    self.greet(connector.connect(name.clone(), stream).await?)
                        .await
                }
            }
        };
        match tokio::time::timeout(self.timeout, connect).await {
            Ok(connected) => connected.map_err(|error| Status::unavailable(error.to_string())),
            Err(_) => Err(Status::unavailable("no connection in time")),
        }
    }

    async fn greet<S>(
        self: &Arc<Shared>,
        stream: S,
    ) -> Result<(SendRequest<Bytes>, u64), std::io::Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, mut connection) = http2()
            .handshake(Gathered(stream))
            .await
            .map_err(std::io::Error::other)?;
        let pings = connection.ping_pong();
        let stream = self.absolute(&Uri::from_static(SIGN_STREAM));
        let signing = Signing::open(sender.clone(), stream.map_err(std::io::Error::other)?);
        let there = There {
            sender: sender.clone(),
            signing: Arc::new(signing.map_err(std::io::Error::other)?),
        };
        let number = {
            let mut current = self.current();
            current.number += 1;
            current.there = Some(there);
            current.number
        };
        let shared = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::select! {
                ended = connection => if let Err(error) = ended {
                    tracing::debug!(%error, "the connection to the key-service ended");
                },
                () = vanishes(pings) => {
                    tracing::warn!("the key-service does not answer any more: connecting again");
                }
            }
            if let Some(shared) = shared.upgrade() {
                shared.forget(number);
            }
        });
        Ok((sender, number))
    }

    async fn call(self: Arc<Shared>, request: Request<Body>) -> Result<Response<Answer>, Status> {
        let (parts, body) = request.into_parts();
        let mut request = Request::from_parts(parts, ());
        *request.uri_mut() = self.absolute(request.uri())?;
        let mut message = Message::of(body).await?;
        for _ in 0..TRIES {
            let (sender, number) = match self.sender() {
                Some(there) => there,
                // On the heap: it is large, and seldom.
                None => Box::pin(self.connect()).await?,
            };
            // Waits while the key-service has as many streams as it wants.
            let mut sender = match sender.ready().await {
                Ok(sender) => sender,
                // It is being closed: nothing was sent.
                Err(_) => {
                    self.forget(number);
                    continue;
                }
            };
            let (answer, stream) = sender
                .send_request(request.clone(), false)
                .map_err(|error| fault::unavailable(&error))?;
            message.send(stream)?;
            match answer.await {
                Ok(answer) => return Ok(answer.map(Answer)),
                // RFC 9113 §6.8: streams above the last one that is named were not and will not be processed.
                Err(error) if fault::is_unprocessed(&error) && message.is_whole() => {
                    self.forget(number)
                }
                Err(error) => return Err(fault::unavailable(&error)),
            }
        }
        Err(Status::unavailable("every connection was closed at once"))
    }

    /// HTTP/2 wants scheme and authority beside the path.
    fn absolute(&self, path: &Uri) -> Result<Uri, Status> {
        let mut parts = path.clone().into_parts();
        (parts.scheme, parts.authority) = match &self.address {
            Address::Tls(authority, _) => (Some(Scheme::HTTPS), Some(authority.clone())),
            Address::Unix(_) => (
                Some(Scheme::HTTP),
                Some(Authority::from_static("key-service")),
            ),
        };
        Uri::from_parts(parts).map_err(|error| Status::internal(error.to_string()))
    }
}

/// The limits of a connection.
pub(super) fn http2() -> h2::client::Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    builder
}

/// RFC 3986 §3.2.2: the brackets of an address are the URI's.
fn host_and_port(authority: &Authority) -> (&str, u16) {
    let host = authority.host().trim_matches(['[', ']']);
    (host, authority.port_u16().unwrap_or(443))
}

/// Returns when the peer has not answered a ping in time.
async fn vanishes(pings: Option<PingPong>) {
    let Some(mut pings) = pings else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(KEEP_ALIVE).await;
        let pong = tokio::time::timeout(KEEP_ALIVE_TIMEOUT, pings.ping(Ping::opaque()));
        if !matches!(pong.await, Ok(Ok(_))) {
            return;
        }
    }
}

/// What a call sends: one message that is there already, or a first one and those that follow.
enum Message {
    Whole(Bytes),
    Stream(Option<(Bytes, Body)>),
}

impl Message {
    async fn of(mut body: Body) -> Result<Message, Status> {
        let first = match frame(&mut body).await? {
            Some(first) => first,
            None => return Ok(Message::Whole(Bytes::new())),
        };
        // A unary call's body has one frame, and says so when it is asked once more; a stream's does not say.
        let next =
            std::future::poll_fn(|context| Poll::Ready(Pin::new(&mut body).poll_frame(context)));
        match next.await {
            Poll::Ready(None) => Ok(Message::Whole(first)),
            Poll::Ready(Some(_)) => Err(Status::internal("a stream that is ahead of its call")),
            Poll::Pending => Ok(Message::Stream(Some((first, body)))),
        }
    }

    fn is_whole(&self) -> bool {
        matches!(self, Message::Whole(_))
    }

    fn send(&mut self, mut stream: SendStream<Bytes>) -> Result<(), Status> {
        let sent = match self {
            Message::Whole(message) => stream.send_data(message.clone(), true),
            Message::Stream(rest) => match rest.take() {
                None => Ok(()),
                Some((first, body)) => {
                    let sent = stream.send_data(first, false);
                    tokio::spawn(pump(body, stream));
                    sent
                }
            },
        };
        sent.map_err(|error| fault::unavailable(&error))
    }
}

async fn frame(body: &mut Body) -> Result<Option<Bytes>, Status> {
    let frame = std::future::poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await;
    match frame {
        None => Ok(None),
        Some(frame) => Ok(frame?.into_data().ok()),
    }
}

/// Sends what follows until either side ends.
async fn pump(mut body: Body, mut stream: SendStream<Bytes>) {
    loop {
        tokio::select! {
            next = frame(&mut body) => match next {
                Ok(Some(message)) => if stream.send_data(message, false).is_err() { return },
                Ok(None) => return drop(stream.send_data(Bytes::new(), true)),
                Err(_) => return stream.send_reset(h2::Reason::CANCEL),
            },
            _ = std::future::poll_fn(|context| stream.poll_reset(context)) => return,
        }
    }
}

impl tower::Service<Request<Body>> for Connection {
    type Response = Response<Answer>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(Arc::clone(&self.0).call(request))
    }
}

/// The body of an answer.
#[derive(Debug)]
pub(super) struct Answer(RecvStream);

impl http_body::Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let stream = &mut self.0;
        Poll::Ready(match ready!(stream.poll_data(context)) {
            Some(Ok(data)) => {
                // What was read is room again; a stream that has ended needs none.
                let _ = stream.flow_control().release_capacity(data.len());
                Some(Ok(Frame::data(data)))
            }
            Some(Err(error)) => Some(Err(fault::unavailable(&error))),
            None => match ready!(stream.poll_trailers(context)) {
                Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
                Err(error) => Some(Err(fault::unavailable(&error))),
            },
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use tokio::net::UnixListener;
    use tokio::sync::Notify;
    use tower::Service as _;

    use super::*;

    #[tokio::test]
    async fn a_connection_that_is_to_end_is_asked_for_no_signatures() {
        let (here, there) = tokio::io::duplex(64 * 1024);
        let is_to_end = Arc::new(Notify::new());
        let ending = Arc::clone(&is_to_end);
        tokio::spawn(async move {
            let mut builder = h2::server::Builder::new();
            builder.max_concurrent_streams(100);
            let mut server = builder.handshake::<_, Bytes>(there).await.unwrap();
            let _unanswered = server.accept().await.unwrap().unwrap();
            tokio::select! {
                _ = server.accept() => {}
                () = ending.notified() => server.graceful_shutdown(),
            }
            server.accept().await;
        });
        let connection = Connection::new(Address::Unix("".into()), None, KEEP_ALIVE);
        assert!(connection.signing().is_none());
        connection.0.greet(here).await.unwrap();
        let signing = tokio::time::timeout(Duration::from_secs(20), ready(&connection));
        drop(signing.await.expect("a stream"));
        is_to_end.notify_one();
        let told = async {
            while connection.signing().is_some() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let told = tokio::time::timeout(Duration::from_secs(20), told);
        told.await.expect("a stream that is not asked");
    }

    #[tokio::test]
    async fn no_more_is_asked_than_the_key_service_takes() {
        let (here, there) = tokio::io::duplex(64 * 1024);
        tokio::spawn(async move {
            let mut builder = h2::server::Builder::new();
            builder.max_concurrent_streams(2);
            let mut server = builder.handshake::<_, Bytes>(there).await.unwrap();
            let _unanswered = server.accept().await.unwrap().unwrap();
            server.accept().await;
        });
        let connection = Connection::new(Address::Unix("".into()), None, KEEP_ALIVE);
        connection.0.greet(here).await.unwrap();
        let signing = tokio::time::timeout(Duration::from_secs(20), ready(&connection));
        let signing = signing.await.expect("a stream");
        let asking = tokio::spawn(async move {
            let request = proto::v1::SignRequest::default();
            signing.sign(request, "", 0).await
        });
        // One is the stream itself, and one waits.
        tokio::task::yield_now().await;
        assert!(connection.signing().is_none());
        asking.abort();
    }

    /// The stream, once the other side has said how much it takes.
    async fn ready(connection: &Connection) -> Arc<Signing> {
        loop {
            if let Some(signing) = connection.signing() {
                return signing;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn what_was_refused_unread_is_asked_again_elsewhere() {
        let path = std::env::temp_dir().join(format!("signet-refused-{}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).unwrap();
        tokio::spawn(async move {
            for refuses in [true, true, false] {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(refusing(stream, refuses));
            }
        });
        let mut connection = Connection::new(Address::Unix(path.clone()), None, KEEP_ALIVE);
        let request = Request::post("/a.Service/Method").body(Body::empty());
        let answer = connection.call(request.unwrap()).await.unwrap();
        assert_eq!(answer.status(), 200);
        std::fs::remove_file(path).unwrap();
    }

    async fn refusing(stream: UnixStream, refuses: bool) {
        let mut server = h2::server::handshake(stream).await.unwrap();
        let mut unanswered = Vec::new();
        while let Some(Ok((request, mut respond))) = server.accept().await {
            if request.uri().path() == SIGN_STREAM {
                unanswered.push((request, respond));
            } else if refuses {
                respond.send_reset(h2::Reason::REFUSED_STREAM);
            } else {
                respond.send_response(Response::new(()), true).unwrap();
            }
        }
    }

    #[test]
    fn hosts_and_ports() {
        for (authority, expected) in [
            ("keys.example:8444", ("keys.example", 8444)),
            ("keys.example", ("keys.example", 443)),
            ("127.0.0.1:1", ("127.0.0.1", 1)),
            ("[::1]:8444", ("::1", 8444)),
        ] {
            let authority = Authority::from_static(authority);
            assert_eq!(host_and_port(&authority), expected);
        }
    }
}
