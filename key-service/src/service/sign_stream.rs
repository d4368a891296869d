//! Many calls of Sign on one stream. Each is permitted, written down, counted and answered as if it had come alone.

use std::pin::pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use proto::v1::{self, sign_stream_response::Outcome};
use tokio::sync::mpsc::{self, OwnedPermit};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Response, Status, Streaming};

use super::Call;
use super::connection::ended;
use super::http2::Unhurried;
use super::keys::Keys;
use super::status;
use crate::metrics::Rpc;

pub(super) type Answer = Result<v1::SignStreamResponse, Status>;

/// The answers to a stream's requests. A connection has one such stream until all of them have left: what that has in work
/// or unread at a time is as much as the connection may ask for by calls.
pub(super) fn sign_stream(
    keys: &Keys,
    requests: Streaming<v1::SignStreamRequest>,
) -> Result<Response<ReceiverStream<Answer>>, Status> {
    let only = Arc::clone(&keys.stream).try_acquire_owned();
    let only = only.map_err(|_| status::streams_already())?;
    let most = keys.shared.limits.concurrent_streams;
    let most = usize::try_from(most).unwrap_or(usize::MAX - 1);
    let (answers, stream) = mpsc::channel(most + 1);
    let Ok(last) = answers.clone().try_reserve_owned() else {
        return Err(status::stream_broke());
    };
    let keys = keys.clone();
    // A task of its own: a caller that does not read its answers must not keep signatures from being finished, which have
    // a turn of a device or a `once_key` in their hands.
    tokio::spawn(async move {
        let unfinished = Unfinished(Some(last));
        let gone = answers.clone();
        tokio::select! {
            () = gone.closed() => {}
            () = work(&keys, requests, answers) => {}
        }
        unfinished.finish();
    });
    let mut response = Response::new(ReceiverStream::new(stream));
    // tonic lets the stream go when it has its last answer.
    response.extensions_mut().insert(Unhurried::holding(only));
    Ok(response)
}

/// Keeps a stream from ending with OK while something that it has read is not answered: a panic in one of its signatures
/// ends all of them, and a caller that believed them unread would ask for them again.
struct Unfinished(Option<OwnedPermit<Answer>>);

impl Unfinished {
    fn finish(mut self) {
        self.0 = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(last) = self.0.take() {
            last.send(Err(status::stream_broke()));
        }
    }
}

/// Reads and signs until the caller or the connection ends, and then ends what was begun.
async fn work(
    keys: &Keys,
    mut requests: Streaming<v1::SignStreamRequest>,
    answers: mpsc::Sender<Answer>,
) {
    let shared = &keys.shared;
    let age = shared.limits.connection_age;
    let age = age.saturating_sub(keys.since.elapsed());
    let mut ended = pin!(ended(shared.stop.clone(), age));
    let mut signing = FuturesUnordered::new();
    loop {
        // A request is read when there is room for its answer.
        let next = async {
            let room = answers.clone().reserve_owned().await.ok()?;
            match requests.message().await {
                Ok(request) => Some((room, request?)),
                Err(status) => {
                    let reason = status.message();
                    tracing::info!(reason, "a stream of signatures ended with its request");
                    None
                }
            }
        };
        tokio::select! {
            Some(()) = signing.next() => {}
            () = &mut ended => break,
            next = next => match next {
                Some((room, request)) => signing.push(async move {
                    room.send(Ok(sign(keys, request).await));
                }),
                None => break,
            },
        }
    }
    while let Some(()) = signing.next().await {}
}

async fn sign(keys: &Keys, asked: v1::SignStreamRequest) -> v1::SignStreamResponse {
    let call = Call::begin_as(
        &keys.shared,
        Rpc::SignStream,
        &keys.caller,
        &asked.request_id,
    );
    let timeout = Duration::from_millis(asked.timeout_ms.into());
    let deadline = Instant::now()
        .checked_add(timeout)
        .filter(|_| !timeout.is_zero());
    let request = asked.request.unwrap_or_default();
    let signing = keys.sign_request(call, &request, deadline);
    // After the deadline nobody waits: what is not told must not be remembered either (`once_key`). A call is dropped then.
    let signed = match deadline {
        Some(deadline) => tokio::time::timeout_at(deadline.into(), signing).await,
        None => Ok(signing.await),
    };
    let outcome = match signed.unwrap_or_else(|_| Err(status::too_late())) {
        Ok(answer) => Outcome::Response(answer.into_inner()),
        Err(status) => Outcome::Refusal(v1::Refusal {
            code: status.code() as u32,
            message: status.message().to_owned(),
            retry_pushback_ms: status::retry_pushback(&status),
        }),
    };
    v1::SignStreamResponse {
        id: asked.id,
        outcome: Some(outcome),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn ok_is_earned() {
        for is_finished in [true, false] {
            let (answers, mut stream) = mpsc::channel(1);
            let unfinished = Unfinished(Some(answers.try_reserve_owned().unwrap()));
            if is_finished {
                unfinished.finish();
            } else {
                let panicking = tokio::spawn(async move {
                    let _unfinished = unfinished;
                    panic!("a signature that cannot be computed");
                });
                panicking.await.unwrap_err();
            }
            let last = stream.recv().await;
            assert_eq!(last.is_none(), is_finished, "{last:?}");
        }
    }
}
