//! The key-service as the gateway sees it: every operation with a key is a call to it (`keyservice.v1`).

mod channel;
mod connection;
mod directory;
mod encryption;
mod fault;
mod gathered;
mod item;
mod signing;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::v1;
use proto::v1::key_service_client::KeyServiceClient;
use proto::v1::verify_request;
use serde_json::{Map, Value};
use tokio::sync::watch;
use tonic::metadata::{AsciiMetadataKey, AsciiMetadataValue};
use tonic::{Code, Request, Response, Status};

pub use channel::{Settings, Unusable};
pub(crate) use directory::{Directory, Published};
pub(crate) use encryption::REWRAPPED_AT_ONCE;
pub(crate) use item::{Item, Recipient, RecipientKey, SigningKey, WrappedSecret};
pub(crate) use proto::v1::MacPurpose;

use self::connection::Connection;
use crate::error::{self, Failure, Refusal};
use crate::jose::alg::Algorithm;
use crate::jose::jwt::unverified_algorithm;
use crate::metrics::Metrics;

/// The key-service did not do what it was asked. Nothing of it is for a client.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Error {
    /// Not there, or too slow.
    #[error("the key-service did not answer: {0}")]
    Unavailable(String),
    /// It refused by a rule of its own: our configuration and its do not agree.
    #[error("the key-service refused: {0}")]
    Refused(String),
    /// It has signed something else for the same code.
    #[error("the key-service has signed something else for it")]
    SignedOnce,
    /// There is no key among a client's that can be encrypted to as it is registered.
    #[error("nothing can be encrypted to the client's keys: {0}")]
    Recipient(String),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        match error {
            // The client can mend it: its keys are its own.
            Error::Recipient(_) => Failure::Json(Refusal::new(
                error::Code::InvalidRequest,
                "none of the keys of the client can be encrypted to as it is registered",
            )),
            // RFC 6749 §4.1.2: a code is good once, whatever the store remembers of it.
            Error::SignedOnce => Failure::Json(Refusal::new(
                error::Code::InvalidGrant,
                "the code was used already",
            )),
            // To try again would not help: that is for who configured the two processes.
            Error::Refused(_) => Failure::Misconfigured(error.to_string()),
            Error::Unavailable(_) => Failure::Unavailable(error.to_string()),
        }
    }
}

/// One connection to the key-service for each worker, and what all of them know of the published keys.
#[derive(Debug, Clone)]
pub(crate) struct Keys {
    connection: Connection,
    directory: Arc<Directory>,
    metrics: Metrics,
    timeout: Duration,
    /// The same for the key-service, as gRPC writes it.
    deadline: AsciiMetadataValue,
    /// For logs.
    endpoint: Arc<str>,
}

/// A call under way: on the heap, where it is written once. Each future around it would hold all of it otherwise, and
/// be moved with it.
type Call<'a, T> = Pin<Box<dyn Future<Output = Result<Response<T>, Status>> + Send + 'a>>;

/// What a JWS must be, beside being signed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Expected<'a> {
    /// Accepted "typ"; an empty one: absent.
    pub(crate) typ: &'a [&'a str],
    pub(crate) algorithms: &'a [Algorithm],
}

/// Under whose key a JWS must verify.
#[derive(Debug, Clone, Copy)]
pub(crate) enum VerificationKey<'a> {
    /// A JWK Set of somebody else's.
    Jwks(&'a Bytes),
    /// Every key of ours for this purpose.
    Own(&'static str),
    /// A client's secret.
    Secret(&'a WrappedSecret),
}

/// A JWS that verified.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) claims: Map<String, Value>,
}

const VERIFY: &str = "verify";

impl Keys {
    /// A connection that is made when it is needed, and made anew when it breaks or its certificate changes.
    /// Must be called on the worker's runtime.
    pub(crate) fn connect(
        settings: &Settings,
        directory: Arc<Directory>,
        metrics: Metrics,
    ) -> Result<Keys, Unusable> {
        let connection = channel::open(settings)?;
        channel::reload_on_change(settings.clone(), &connection);
        Ok(Keys {
            connection,
            directory,
            metrics,
            timeout: settings.timeout,
            deadline: deadline(settings.timeout),
            endpoint: settings.endpoint.as_str().into(),
        })
    }

    /// Keeps the directory as the key-service says it is. One worker does it for all of the process.
    pub(crate) fn watch(&self) {
        tokio::spawn(directory::watch(
            self.connection.downgrade(),
            self.directory.clone(),
            Arc::clone(&self.endpoint),
        ));
    }

    /// What the key-service publishes and can do; `None` until it has answered for the first time.
    pub(crate) fn published(&self) -> Option<Arc<Published>> {
        self.directory.published()
    }

    /// The keys that seal now, and whenever they are others; none until the key-service has answered.
    pub(crate) fn seal_kids(&self) -> watch::Receiver<Vec<String>> {
        self.directory.seal_kids()
    }

    fn request<T>(&self, id: &str, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert(
            AsciiMetadataKey::from_static("grpc-timeout"),
            self.deadline.clone(),
        );
        if let Ok(mut id) = id.parse::<AsciiMetadataValue>() {
            // RFC 7541 §7.1.3: so that it takes no place in the tables of either side; it never comes again.
            id.set_sensitive(true);
            metadata.insert(AsciiMetadataKey::from_static("x-request-id"), id);
        }
        request
    }

    /// Waits for an answer as long as the configuration says. What is counted as a failure is ours or the
    /// key-service's, not that something does not verify.
    async fn answer<T>(&self, name: &'static str, call: Call<'_, T>) -> Result<T, Status> {
        let begun = Instant::now();
        let answer = match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => answer.map(Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        };
        let is_good = match &answer {
            Ok(_) => true,
            Err(status) => match name {
                VERIFY => does_not_verify(status),
                encryption::DECRYPT => status.code() == Code::InvalidArgument,
                _ => false,
            },
        };
        self.metrics
            .key_service_call(name, begun.elapsed(), is_good);
        answer
    }

    /// Signs in one call: the compact JWS of each item, or the JWE that it is nested in, in order.
    pub(crate) async fn sign(&self, id: &str, items: Vec<Item>) -> Result<Vec<String>, Error> {
        let wanted = items.len();
        let is_encrypted = items.iter().any(|item| item.encrypt_to.is_some());
        let message = v1::SignRequest {
            items: items.into_iter().map(Item::into_message).collect(),
        };
        let answer = self.answer("sign", Box::pin(self.sign_message(id, message)));
        let signed = match answer.await {
            Ok(answer) => answer.items,
            // Our own claims are never malformed: what cannot be used is the client's key.
            Err(status) if is_encrypted && status.code() == Code::InvalidArgument => {
                return Err(Error::Recipient(status.message().to_owned()));
            }
            Err(status) if is_signed_once(&status) => {
                tracing::warn!(
                    request_id = id,
                    "the key-service has signed something else for this code"
                );
                return Err(Error::SignedOnce);
            }
            Err(status) => return Err(refused(&status)),
        };
        if signed.len() != wanted {
            return Err(Error::Unavailable("another number of items".to_owned()));
        }
        Ok(signed.into_iter().map(|item| item.compact).collect())
    }

    /// By the stream of the connection, or by a call: who goes away takes a call back, and what was signed once for nobody
    /// would be lost for whoever asks again.
    async fn sign_message(
        &self,
        id: &str,
        mut message: v1::SignRequest,
    ) -> Result<Response<v1::SignResponse>, Status> {
        let is_once = message.items.iter().any(|item| item.once_key.is_some());
        if let Some(signing) = self.connection.signing().filter(|_| !is_once) {
            // 0 would be no limit at all.
            let timeout_ms = u32::try_from(self.timeout.as_millis())
                .unwrap_or(u32::MAX)
                .max(1);
            match signing.sign(message, id, timeout_ms).await {
                Ok(answer) => return answer.map(Response::new),
                Err(unread) => message = unread,
            }
        }
        let mut client = KeyServiceClient::new(self.connection.clone());
        client.sign(self.request(id, message)).await
    }

    /// Verifies a compact JWS; `None`: it does not verify, or is not what was expected.
    pub(crate) async fn verify(
        &self,
        id: &str,
        token: &str,
        expected: &Expected<'_>,
        key: VerificationKey<'_>,
    ) -> Result<Option<Verified>, Error> {
        let names = |each: &Algorithm| each.as_str().to_owned();
        let is_ours = matches!(key, VerificationKey::Own(_));
        let message = v1::VerifyRequest {
            subject: Some(verify_request::Subject::CompactJws(v1::CompactJws {
                token: token.to_owned(),
                typ: expected.typ.iter().map(|&typ| typ.to_owned()).collect(),
                alg: expected.algorithms.iter().map(names).collect(),
            })),
            key: Some(match key {
                VerificationKey::Jwks(jwks) => verify_request::Key::PublicJwks(jwks.clone()),
                VerificationKey::Own(purpose) => verify_request::Key::Ring(format!("{purpose}/*")),
                VerificationKey::Secret(secret) => {
                    // A secret is used with one algorithm: the one that the token names, if it may.
                    let named = unverified_algorithm(token).filter(|named| {
                        named.is_symmetric() && expected.algorithms.contains(named)
                    });
                    let Some(algorithm) = named else {
                        return Ok(None);
                    };
                    verify_request::Key::WrappedSecret(secret.used_with(algorithm.as_str()))
                }
            }),
        };
        let mut client = KeyServiceClient::new(self.connection.clone());
        let answer = self.answer(VERIFY, Box::pin(client.verify(self.request(id, message))));
        let verified = match answer.await {
            Ok(verified) => verified,
            Err(status) if does_not_verify(&status) => return Ok(None),
            Err(status) if is_ours && has_no_ring(&status) => return Ok(None),
            Err(status) => return Err(refused(&status)),
        };
        match serde_json::from_slice(&verified.claims) {
            Ok(claims) => Ok(Some(Verified { claims })),
            Err(_) => Err(Error::Unavailable(
                "claims that are no JSON object".to_owned(),
            )),
        }
    }
}

/// Whole milliseconds, at most the eight digits that gRPC allows.
fn deadline(timeout: Duration) -> AsciiMetadataValue {
    let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let text = format!("{}m", millis.clamp(1, 99_999_999));
    AsciiMetadataValue::try_from(text).unwrap_or(AsciiMetadataValue::from_static("2000m"))
}

/// What somebody sent cannot be a signature: it is not one, or names an algorithm for which the secret is too short
/// (RFC 7518 §3.2).
fn does_not_verify(status: &Status) -> bool {
    status.code() == Code::InvalidArgument
        || (status.code() == Code::FailedPrecondition && status.message() == "secret.length")
}

/// There is no ring for the purpose, and so nothing that a key of it has signed.
fn has_no_ring(status: &Status) -> bool {
    status.code() == Code::PermissionDenied
}

/// The rule of the key-service that `once_key` is for.
fn is_signed_once(status: &Status) -> bool {
    status.code() == Code::FailedPrecondition && status.message() == "once"
}

/// A rule stands until somebody changes it. Clocks are set right by themselves, and a ring or a method may come with the
/// version of the key-service that is being rolled out.
fn refused(status: &Status) -> Error {
    let words = format!("{:?} {}", status.code(), status.message());
    match (status.code(), status.message()) {
        (Code::FailedPrecondition, "iat" | "exp") => Error::Unavailable(words),
        (Code::FailedPrecondition | Code::InvalidArgument, _) => Error::Refused(words),
        _ => Error::Unavailable(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_by_itself_is_no_refusal() {
        for (status, is_refused) in [
            (Status::failed_precondition("lifetime"), true),
            (Status::failed_precondition("claims.required"), true),
            (Status::invalid_argument("malformed"), true),
            (Status::failed_precondition("iat"), false),
            (Status::failed_precondition("exp"), false),
            (Status::permission_denied("not allowed"), false),
            (Status::unimplemented("no such method"), false),
            (Status::unavailable("the keys cannot be used"), false),
            (Status::resource_exhausted("too many operations"), false),
            (Status::deadline_exceeded("no answer in time"), false),
        ] {
            let refused = matches!(refused(&status), Error::Refused(_));
            assert_eq!(refused, is_refused, "{status}");
        }
    }

    #[test]
    fn a_foreign_token_does_not_verify() {
        for (status, is_foreign, has_no_ring_for_it) in [
            (Status::invalid_argument("not verified"), true, false),
            (Status::failed_precondition("secret.length"), true, false),
            (Status::permission_denied("not allowed"), false, true),
            (Status::unavailable("away"), false, false),
        ] {
            assert_eq!(does_not_verify(&status), is_foreign, "{status}");
            assert_eq!(has_no_ring(&status), has_no_ring_for_it, "{status}");
        }
    }
}
