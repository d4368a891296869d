//! HTTP/2 (RFC 9113) under the gRPC surface, straight on h2: the answers of one connection are worked on in the
//! connection's own task, so a signature costs no task of its own, and what is ready together is written together.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{FuturesUnordered, Stream as _};
use h2::server::SendResponse;
use h2::{Ping, PingPong, Reason, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use http_body::{Body as _, Frame};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::OwnedSemaphorePermit;
use tonic::body::Body;

use super::gathered::Gathered;
use crate::config::Listen;

/// The largest header list of a request, in octets.
const HEADERS: u32 = 16 * 1024;
/// What a peer may send before it is read, in octets: of a stream, and of a connection.
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;

/// In the extensions of a response: nothing of it, its end included, goes into the connection's buffer before what was
/// there has left. What it holds is let go then.
#[derive(Debug, Clone)]
pub(super) struct Unhurried(#[expect(dead_code, reason = "held")] Arc<OwnedSemaphorePermit>);

impl Unhurried {
    pub(super) fn holding(permit: OwnedSemaphorePermit) -> Unhurried {
        Unhurried(Arc::new(permit))
    }
}

type Answering = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Serves one connection. After `ended` it takes no more streams and goes on for `grace` with those that it has.
pub(super) async fn serve<S, A>(
    stream: S,
    answer: impl Fn(Request<Asked>) -> A,
    limits: &Listen,
    ended: impl Future<Output = ()>,
    grace: Duration,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    A: Future<Output = Response<Body>> + Send + 'static,
{
    let mut builder = h2::server::Builder::new();
    builder
        // Calls, and the stream of signatures beside them.
        .max_concurrent_streams(limits.concurrent_streams.saturating_add(1))
        .max_header_list_size(HEADERS)
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    let greeted = builder.handshake::<_, Bytes>(Gathered(stream));
    let Ok(Ok(mut connection)) = tokio::time::timeout(limits.handshake_timeout, greeted).await
    else {
        return tracing::info!("a peer that does not speak HTTP/2");
    };
    let mut vanished = pin!(vanishes(connection.ping_pong(), limits.keep_alive));
    let mut ended = pin!(ended);
    let mut over = pin!(None);
    let mut answering: FuturesUnordered<Answering> = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    let answer = answer(request.map(Asked));
                    answering.push(Box::pin(respond_with(answer, respond)));
                }
                Some(Err(error)) => return tracing::debug!(%error, "a connection broke"),
                None => return,
            },
            () = some_are_done(&mut answering) => {}
            () = &mut vanished => return tracing::info!("a peer vanished"),
            () = &mut ended, if over.is_none() => {
                connection.graceful_shutdown();
                over.set(Some(tokio::time::sleep(grace)));
            }
            // A stream that does not end, such as a watch, must not keep an old certificate's connection for ever.
            () = passed(over.as_mut()) => return,
        }
    }
}

/// Works on every answer that can be worked on; ready when one or more were finished, so that they are written.
async fn some_are_done(answering: &mut FuturesUnordered<Answering>) {
    let mut done = false;
    poll_fn(|context| {
        loop {
            match Pin::new(&mut *answering).poll_next(context) {
                Poll::Ready(Some(())) => done = true,
                Poll::Ready(None) | Poll::Pending if done => return Poll::Ready(()),
                Poll::Ready(None) | Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}

/// Never, where no time is set.
async fn passed(time: Pin<&mut Option<tokio::time::Sleep>>) {
    match time.as_pin_mut() {
        Some(time) => time.await,
        None => std::future::pending().await,
    }
}

/// Returns when the peer has not answered a ping in time.
async fn vanishes(pings: Option<PingPong>, every: Duration) {
    let Some(mut pings) = pings else {
        return std::future::pending().await;
    };
    loop {
        tokio::time::sleep(every).await;
        let pong = tokio::time::timeout(every, pings.ping(Ping::opaque()));
        if !matches!(pong.await, Ok(Ok(_))) {
            return;
        }
    }
}

async fn respond_with(
    answer: impl Future<Output = Response<Body>>,
    mut respond: SendResponse<Bytes>,
) {
    let mut answer = pin!(answer);
    let response = poll_fn(|context| match answer.as_mut().poll(context) {
        Poll::Ready(response) => Poll::Ready(Some(response)),
        // Nobody waits for it any more.
        Poll::Pending => respond.poll_reset(context).map(|_| None),
    });
    let Some(response) = response.await else {
        return;
    };
    let (head, body) = response.into_parts();
    let unhurried = head.extensions.get::<Unhurried>().cloned();
    let is_whole = body.is_end_stream();
    let sent = respond.send_response(Response::from_parts(head, ()), is_whole);
    if let (Ok(stream), false) = (sent, is_whole) {
        send(body, stream, unhurried).await;
    }
}

async fn send(mut body: Body, mut stream: SendStream<Bytes>, unhurried: Option<Unhurried>) {
    let mut is_first = unhurried.is_none();
    loop {
        let frame = poll_fn(|context| match Pin::new(&mut body).poll_frame(context) {
            Poll::Ready(frame) => Poll::Ready(Ok(frame)),
            Poll::Pending => stream.poll_reset(context).map(Err),
        });
        let frame = match frame.await {
            Ok(Some(Ok(frame))) => frame,
            Ok(Some(Err(_))) => return stream.send_reset(Reason::INTERNAL_ERROR),
            Ok(None) => return drop(stream.send_trailers(HeaderMap::new())),
            Err(_) => return,
        };
        let sent = match frame.into_data() {
            Ok(data) => {
                // The first message of an answer waits for its turn in the connection's buffer; those of a stream
                // wait here while the peer does not read.
                if !is_first && !has_room(&mut stream).await {
                    return;
                }
                is_first = false;
                stream.send_data(data, false)
            }
            Err(_) if unhurried.is_some() && !has_room(&mut stream).await => return,
            Err(frame) => match frame.into_trailers() {
                Ok(trailers) => return drop(stream.send_trailers(trailers)),
                Err(_) => Ok(()),
            },
        };
        if sent.is_err() {
            return;
        }
    }
}

async fn has_room(stream: &mut SendStream<Bytes>) -> bool {
    stream.reserve_capacity(1);
    poll_fn(|context| {
        // h2 tells of every change, also of one to nothing.
        while stream.capacity() == 0 {
            if !matches!(ready!(stream.poll_capacity(context)), Some(Ok(_))) {
                return Poll::Ready(false);
            }
        }
        Poll::Ready(true)
    })
    .await
}

/// The body of a request.
#[derive(Debug)]
pub(super) struct Asked(RecvStream);

impl http_body::Body for Asked {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let stream = &mut self.0;
        Poll::Ready(match ready!(stream.poll_data(context)) {
            Some(Ok(data)) => {
                // What was read is room again; a stream that has ended needs none.
                let _ = stream.flow_control().release_capacity(data.len());
                Some(Ok(Frame::data(data)))
            }
            Some(Err(error)) => Some(Err(error)),
            None => match ready!(stream.poll_trailers(context)) {
                Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
                Err(error) => Some(Err(error)),
            },
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}
