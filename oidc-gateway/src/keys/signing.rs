//! Signatures by one stream (keyservice.v1 SignStream): a message each way, where a call each has its headers, its
//! trailers and its place in the tables of both sides. What the stream has not read is asked by a call.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::client::{ResponseFuture, SendRequest};
use h2::{RecvStream, SendStream};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};
use prost::Message as _;
use proto::v1::{self, sign_stream_response::Outcome};
use tokio::sync::oneshot;
use tonic::{Code, Status};

use super::fault;

/// gRPC over HTTP/2, Length-Prefixed-Message: whether it is compressed, and its length in four octets.
const PREFIX: usize = 5;
/// The largest request for the stream, in octets: one that is too large for the key-service ends the stream.
const LARGEST_REQUEST: usize = 64 * 1024;
/// The largest answer, in octets.
const LARGEST_ANSWER: usize = 4 * 1024 * 1024;
/// The most that wait for an answer, whatever the key-service takes.
const MOST: usize = 256;

type Answer = Result<v1::SignResponse, Status>;

/// The stream of one connection. Who drops it asks no more: what was asked is answered, and the stream ends.
#[derive(Debug)]
pub(super) struct Signing(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// Absent once it has ended.
    stream: Option<SendStream<Bytes>>,
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
    next: u64,
}

/// How a stream ended.
enum End {
    /// What it has not answered, it has not read.
    InOrder,
    Broken(Status),
}

impl Signing {
    /// Opens the stream of a connection.
    pub(super) fn open(mut sender: SendRequest<Bytes>, uri: Uri) -> Result<Signing, h2::Error> {
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert("te", HeaderValue::from_static("trailers"));
        headers.insert("content-type", HeaderValue::from_static("application/grpc"));
        let (response, stream) = sender.send_request(request, false)?;
        let state = Arc::new(Mutex::new(State {
            stream: Some(stream),
            waiting: HashMap::new(),
            next: 0,
        }));
        let listener = Listener {
            state: Arc::clone(&state),
            end: End::Broken(Status::unavailable("nobody listens to the key-service")),
        };
        // A task of its own: answers that have come are handed out also when the connection has ended since.
        tokio::spawn(listener.listen(response));
        Ok(Signing(state))
    }

    /// How many requests wait for an answer.
    pub(super) fn waiting(&self) -> usize {
        lock(&self.0).waiting.len()
    }

    /// Asks. What this stream has not read is handed back.
    pub(super) async fn sign(
        &self,
        request: v1::SignRequest,
        request_id: &str,
        timeout_ms: u32,
    ) -> Result<Answer, v1::SignRequest> {
        let mut message = v1::SignStreamRequest {
            id: 0,
            request: Some(request),
            request_id: request_id.to_owned(),
            timeout_ms,
        };
        let answer = match self.send(&mut message) {
            // Dropped: the stream ended.
            Some(answered) => answered.await.ok(),
            None => None,
        };
        answer.ok_or_else(|| message.request.unwrap_or_default())
    }

    fn send(&self, message: &mut v1::SignStreamRequest) -> Option<oneshot::Receiver<Answer>> {
        let mut state = lock(&self.0);
        if state.waiting.len() >= MOST {
            return None;
        }
        message.id = state.next;
        let stream = state.stream.as_mut()?;
        stream.send_data(framed(message)?, false).ok()?;
        state.next += 1;
        let (answer, answered) = oneshot::channel();
        state.waiting.insert(message.id, answer);
        Some(answered)
    }
}

impl Drop for Signing {
    fn drop(&mut self) {
        if let Some(mut stream) = lock(&self.0).stream.take() {
            // A stream that has ended already needs no end.
            let _ = stream.send_data(Bytes::new(), true);
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    // Held for single steps, which leave nothing half done.
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Hands out the answers of a stream. When it is dropped, nobody waits any longer.
struct Listener {
    state: Arc<Mutex<State>>,
    end: End,
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.stream = None;
        for (_, waiting) in state.waiting.drain() {
            if let End::Broken(status) = &self.end {
                // Whoever asked may have gone away.
                let _ = waiting.send(Err(status.clone()));
            }
        }
    }
}

impl Listener {
    /// Until the stream ends.
    async fn listen(mut self, response: ResponseFuture) {
        self.end = self.answers(response).await;
        match &self.end {
            End::InOrder => tracing::debug!("the stream of signatures ended"),
            End::Broken(status) => {
                tracing::warn!(reason = status.message(), "the stream of signatures broke");
            }
        }
    }

    async fn answers(&self, response: ResponseFuture) -> End {
        let response = match response.await {
            Ok(response) => response,
            Err(error) if fault::is_unprocessed(&error) => return End::InOrder,
            Err(error) => return End::Broken(fault::unavailable(&error)),
        };
        match Status::from_header_map(response.headers()) {
            None if response.status().is_success() => {}
            // An older key-service does not have it, or the connection has one already.
            Some(status) if was_not_begun(&status) => return End::InOrder,
            Some(status) => return End::Broken(Status::unavailable(status.message())),
            None => return End::Broken(Status::unavailable(response.status().to_string())),
        }
        let ended = self.read(response.into_body()).await;
        ended.unwrap_or_else(|error| End::Broken(fault::unavailable(&error)))
    }

    async fn read(&self, mut stream: RecvStream) -> Result<End, h2::Error> {
        let mut buffer = BytesMut::new();
        while let Some(data) = stream.data().await {
            let data = data?;
            // What was read is room again; a stream that has ended needs none.
            let _ = stream.flow_control().release_capacity(data.len());
            buffer.extend_from_slice(&data);
            loop {
                match unframed(&mut buffer) {
                    Ok(Some(message)) => self.hand_out(message),
                    Ok(None) => break,
                    Err(status) => return Ok(End::Broken(status)),
                }
            }
        }
        let trailers = stream.trailers().await?.unwrap_or_else(HeaderMap::new);
        Ok(match Status::from_header_map(&trailers) {
            Some(status) if status.code() == Code::Ok && buffer.is_empty() => End::InOrder,
            Some(status) => End::Broken(Status::unavailable(status.message())),
            None => End::Broken(Status::unavailable("a stream without a status")),
        })
    }

    fn hand_out(&self, answer: v1::SignStreamResponse) {
        let waiting = lock(&self.state).waiting.remove(&answer.id);
        if let Some(waiting) = waiting {
            // Whoever asked may have gone away.
            let _ = waiting.send(outcome(answer.outcome));
        }
    }
}

/// What is told in place of an answer by who has read no request.
fn was_not_begun(status: &Status) -> bool {
    matches!(
        status.code(),
        Code::Unimplemented | Code::ResourceExhausted | Code::PermissionDenied
    )
}

fn outcome(outcome: Option<Outcome>) -> Answer {
    match outcome {
        Some(Outcome::Response(response)) => Ok(response),
        Some(Outcome::Refusal(refusal)) => {
            let code = i32::try_from(refusal.code).map_or(Code::Unknown, Code::from_i32);
            Err(Status::new(code, refusal.message))
        }
        None => Err(Status::internal("an answer without an outcome")),
    }
}

/// A message as it goes over the stream, unless it is too large for that.
fn framed(message: &v1::SignStreamRequest) -> Option<Bytes> {
    let length = message.encoded_len();
    if length > LARGEST_REQUEST {
        return None;
    }
    let mut framed = BytesMut::with_capacity(PREFIX + length);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(length).ok()?);
    message.encode(&mut framed).ok()?;
    Some(framed.freeze())
}

/// The next message, if it is there as a whole.
fn unframed(buffer: &mut BytesMut) -> Result<Option<v1::SignStreamResponse>, Status> {
    let Some((mut prefix, rest)) = buffer.split_at_checked(PREFIX) else {
        return Ok(None);
    };
    let is_compressed = prefix.get_u8() != 0;
    let length = usize::try_from(prefix.get_u32()).unwrap_or(usize::MAX);
    if is_compressed || length > LARGEST_ANSWER {
        return Err(Status::unavailable("an answer that is not understood"));
    }
    if rest.len() < length {
        return Ok(None);
    }
    buffer.advance(PREFIX);
    let message = v1::SignStreamResponse::decode(buffer.split_to(length).freeze());
    message
        .map(Some)
        .map_err(|_| Status::unavailable("an answer that is not understood"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use http::Response;

    use super::*;
    use crate::keys::connection::http2;

    /// What the other side does with the requests that it reads.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    enum Does {
        /// Answers them, the last one first, and ends in order.
        Answers(usize),
        /// The same, and the connection ends with it.
        AnswersAtLast(usize),
        /// Answers all that comes until the stream ends.
        AnswersAll,
        Refuses,
        /// Reads two, answers one, and the connection goes.
        Breaks,
        /// Answers one and a half, and ends as if that were all.
        AnswersHalf,
        /// Reads one, and tells of a fault.
        Faults,
        /// A head with this status.
        Says(&'static str),
        /// RFC 9113 §8.7.
        RefusesTheStream,
    }

    fn decoded(data: &[u8]) -> v1::SignStreamRequest {
        v1::SignStreamRequest::decode(&data[PREFIX..]).unwrap()
    }

    fn answer(request: v1::SignStreamRequest, does: Does) -> Bytes {
        let outcome = match does {
            Does::Refuses => Outcome::Refusal(v1::Refusal {
                code: Code::FailedPrecondition as u32,
                message: "rule".to_owned(),
                retry_pushback_ms: None,
            }),
            _ => Outcome::Response(v1::SignResponse {
                epoch: name(&request.request.unwrap()),
                ..v1::SignResponse::default()
            }),
        };
        let message = v1::SignStreamResponse {
            id: request.id,
            outcome: Some(outcome),
        };
        let mut framed = BytesMut::new();
        framed.put_u8(0);
        framed.put_u32(message.encoded_len().try_into().unwrap());
        message.encode(&mut framed).unwrap();
        framed.freeze()
    }

    fn named(name: &str) -> v1::SignRequest {
        let item = v1::SignItem {
            claims: name.to_owned().into(),
            ..v1::SignItem::default()
        };
        v1::SignRequest { items: vec![item] }
    }

    fn name(request: &v1::SignRequest) -> String {
        String::from_utf8(request.items[0].claims.to_vec()).unwrap()
    }

    fn with_status(status: &'static str) -> HeaderMap {
        let status = HeaderValue::from_static(status);
        HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), status)])
    }

    /// `false`: the connection goes.
    async fn answer_stream(
        request: Request<RecvStream>,
        mut respond: h2::server::SendResponse<Bytes>,
        does: Does,
    ) -> bool {
        let mut asked = request.into_body();
        let count = match does {
            Does::Answers(count) | Does::AnswersAtLast(count) => count,
            Does::AnswersAll => usize::MAX,
            Does::Refuses | Does::Faults => 1,
            Does::Breaks | Does::AnswersHalf => 2,
            Does::Says(status) => {
                let mut response = Response::new(());
                *response.headers_mut() = with_status(status);
                respond.send_response(response, true).unwrap();
                return true;
            }
            Does::RefusesTheStream => {
                respond.send_reset(h2::Reason::REFUSED_STREAM);
                return true;
            }
        };
        let mut requests = Vec::new();
        while requests.len() < count
            && let Some(data) = asked.data().await
        {
            let data = data.unwrap();
            if !data.is_empty() {
                requests.push(decoded(&data));
            }
        }
        let mut answers = respond.send_response(Response::new(()), false).unwrap();
        let status = if does == Does::Faults { "13" } else { "0" };
        let mut has_answered = false;
        for request in requests.into_iter().rev().filter(|_| status == "0") {
            // In two parts, as it may come.
            let mut whole = answer(request, does);
            let part = whole.split_to(7);
            answers.send_data(part, false).unwrap();
            if has_answered && does == Does::AnswersHalf {
                break;
            }
            answers.send_data(whole, false).unwrap();
            has_answered = true;
            if does == Does::Breaks {
                tokio::time::sleep(Duration::from_millis(50)).await;
                return false;
            }
        }
        answers.send_trailers(with_status(status)).unwrap();
        true
    }

    async fn other_side(stream: tokio::io::DuplexStream, does: Does) {
        // As the key-service has it: h2 ends a connection with more unread messages than its window is good for.
        let mut builder = h2::server::Builder::new();
        builder.initial_connection_window_size(1024 * 1024);
        let mut connection = builder.handshake(stream).await.unwrap();
        let (request, respond) = connection.accept().await.unwrap().unwrap();
        let goes_on = tokio::select! {
            goes_on = answer_stream(request, respond, does) => goes_on,
            _ = connection.accept() => false,
        };
        if matches!(does, Does::AnswersAtLast(_)) {
            connection.graceful_shutdown();
        }
        if goes_on {
            let _ = std::future::poll_fn(|context| connection.poll_closed(context)).await;
        }
    }

    async fn opened(does: Does) -> (Signing, tokio::task::JoinHandle<Result<(), h2::Error>>) {
        let (here, there) = tokio::io::duplex(64 * 1024);
        tokio::spawn(other_side(there, does));
        let (sender, connection) = http2().handshake(here).await.unwrap();
        let uri = Uri::from_static("https://key-service/");
        let signing = Signing::open(sender, uri).unwrap();
        (signing, tokio::spawn(connection))
    }

    /// What becomes of requests with these names.
    async fn asked(names: &[&str], does: Does) -> Vec<Result<Answer, v1::SignRequest>> {
        let (signing, _) = opened(does).await;
        let signing = Arc::new(signing);
        let ask = |name: &&str| {
            let (signing, request) = (Arc::clone(&signing), named(name));
            tokio::spawn(async move { signing.sign(request, "", 0).await })
        };
        let mut answers = Vec::new();
        for asked in names.iter().map(ask).collect::<Vec<_>>() {
            answers.push(asked.await.unwrap());
        }
        answers
    }

    #[tokio::test]
    async fn each_gets_its_own_answer() {
        for does in [Does::Answers(3), Does::AnswersAtLast(3)] {
            let answers = asked(&["a", "b", "c"], does).await;
            let epochs: Vec<String> = answers
                .into_iter()
                .map(|answer| answer.unwrap().unwrap().epoch)
                .collect();
            assert_eq!(epochs, ["a", "b", "c"], "{does:?}");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_a_status() {
        let [Ok(Err(status))] = &asked(&["a"], Does::Refuses).await[..] else {
            panic!("no refusal");
        };
        let told = (status.code(), status.message());
        assert_eq!(told, (Code::FailedPrecondition, "rule"));
    }

    #[tokio::test]
    async fn what_was_not_read_is_handed_back() {
        for does in [Does::Answers(1), Does::AnswersAtLast(1)] {
            let answers = asked(&["a", "b"], does).await;
            assert_eq!(answers[0].as_ref().unwrap().as_ref().unwrap().epoch, "a");
            assert_eq!(answers[1].as_ref().unwrap_err(), &named("b"), "{does:?}");
        }
        for does in [
            Does::Says("12"),
            Does::Says("8"),
            Does::Says("7"),
            Does::RefusesTheStream,
        ] {
            for answer in asked(&["a", "b"], does).await {
                answer.unwrap_err();
            }
        }
        let large = "x".repeat(LARGEST_REQUEST);
        let answers = asked(&["a", &large], Does::Answers(1)).await;
        assert_eq!(answers[1].as_ref().unwrap_err(), &named(&large));
    }

    #[tokio::test]
    async fn what_may_have_been_read_is_not_asked_again() {
        for does in [Does::Breaks, Does::AnswersHalf] {
            let answers = asked(&["a", "b"], does).await;
            let status = answers[0].as_ref().unwrap().as_ref().unwrap_err();
            assert_eq!(status.code(), Code::Unavailable, "{does:?}");
            // The last one is answered first.
            assert_eq!(answers[1].as_ref().unwrap().as_ref().unwrap().epoch, "b");
        }
        for does in [Does::Faults, Does::Says("0"), Does::Says("2")] {
            for answer in asked(&["a", "b"], does).await {
                let status = answer.unwrap().unwrap_err();
                assert_eq!(status.code(), Code::Unavailable, "{does:?}");
            }
        }
    }

    #[tokio::test]
    async fn more_than_the_most_are_handed_back() {
        let (signing, _connection) = opened(Does::AnswersAll).await;
        let message = |name: String| v1::SignStreamRequest {
            request: Some(named(&name)),
            ..v1::SignStreamRequest::default()
        };
        let answered: Vec<_> = (0..=MOST)
            .map(|number| signing.send(&mut message(number.to_string())))
            .collect();
        assert_eq!(signing.waiting(), MOST);
        drop(signing);
        for (number, answered) in answered.into_iter().enumerate() {
            match answered {
                Some(answered) => {
                    assert_eq!(answered.await.unwrap().unwrap().epoch, number.to_string());
                }
                None => assert_eq!(number, MOST),
            }
        }
    }

    #[tokio::test]
    async fn who_drops_it_is_answered_and_lets_the_connection_go() {
        let (signing, connection) = opened(Does::AnswersAll).await;
        let mut message = v1::SignStreamRequest {
            request: Some(named("a")),
            ..v1::SignStreamRequest::default()
        };
        let answered = signing.send(&mut message).unwrap();
        drop(signing);
        assert_eq!(answered.await.unwrap().unwrap().epoch, "a");
        connection.await.unwrap().unwrap();
    }

    #[test]
    fn an_answer_that_is_not_understood() {
        for octets in [
            &[1, 0, 0, 0, 0][..],
            &[0, 255, 0, 0, 0],
            &[0, 0, 0, 0, 1, 255],
        ] {
            unframed(&mut octets.into()).unwrap_err();
        }
        assert_eq!(unframed(&mut (&[0, 0, 0, 0][..]).into()).unwrap(), None);
    }
}
