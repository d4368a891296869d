//! The key-service as the gateway sees it: every operation with a key is a call to it (`keyservice.v1`).

mod channel;
mod connection;
mod directory;

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::v1;
use proto::v1::key_service_client::KeyServiceClient;
use proto::v1::{sign_item, verify_request};
use serde_json::{Map, Value};
use tonic::metadata::AsciiMetadataValue;
use tonic::{Code, Request, Response, Status};

pub use channel::{Settings, Unusable};
pub(crate) use directory::{Directory, Published};

use self::connection::Connection;
use crate::error::Failure;
use crate::jose::alg::Algorithm;
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
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Unavailable(error.to_string())
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

/// A JWS to be made.
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) profile: v1::Profile,
    /// The ring's purpose, for example `id-token`.
    pub(crate) purpose: &'static str,
    pub(crate) algorithm: Algorithm,
    /// A JSON object.
    pub(crate) claims: Bytes,
    /// A claim that the key-service fills in with the hash of an earlier item: its name and that item's index.
    pub(crate) hash_of: Option<(&'static str, u32)>,
}

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

    fn request<T>(&self, id: &str, message: T) -> Request<T> {
        let mut request = Request::new(message);
        let metadata = request.metadata_mut();
        metadata.insert("grpc-timeout", self.deadline.clone());
        if let Ok(mut id) = id.parse::<AsciiMetadataValue>() {
            // RFC 7541 §7.1.3: so that it takes no place in the tables of either side; it never comes again.
            id.set_sensitive(true);
            metadata.insert("x-request-id", id);
        }
        request
    }

    /// Waits for an answer as long as the configuration says. What is counted as a failure is ours or the
    /// key-service's, not that something does not verify.
    async fn answer<T>(
        &self,
        name: &'static str,
        call: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<T, Status> {
        let begun = Instant::now();
        let answer = match tokio::time::timeout(self.timeout, call).await {
            Ok(answer) => answer.map(Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded("no answer in time")),
        };
        let is_good = match &answer {
            Ok(_) => true,
            Err(status) => name == VERIFY && status.code() == Code::InvalidArgument,
        };
        self.metrics
            .key_service_call(name, begun.elapsed(), is_good);
        answer
    }

    /// Signs in one call: the compact JWS of each item, in order.
    pub(crate) async fn sign(&self, id: &str, items: Vec<Item>) -> Result<Vec<String>, Error> {
        let wanted = items.len();
        let items = items.into_iter().map(|item| v1::SignItem {
            profile: item.profile.into(),
            key: Some(sign_item::Key::Ring(format!(
                "{}/{}",
                item.purpose, item.algorithm
            ))),
            claims: item.claims,
            hash_of: item
                .hash_of
                .map(|(claim, item)| v1::HashOf {
                    claim: claim.to_owned(),
                    item,
                })
                .into_iter()
                .collect(),
            encrypt_to: None,
            once_key: None,
        });
        let message = v1::SignRequest {
            items: items.collect(),
        };
        let mut client = KeyServiceClient::new(self.connection.clone());
        let answer = self.answer("sign", client.sign(self.request(id, message)));
        let signed = answer.await.map_err(|status| refused(&status))?.items;
        if signed.len() != wanted {
            return Err(Error::Refused("another number of items".to_owned()));
        }
        Ok(signed.into_iter().map(|item| item.compact).collect())
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
        let message = v1::VerifyRequest {
            subject: Some(verify_request::Subject::CompactJws(v1::CompactJws {
                token: token.to_owned(),
                typ: expected.typ.iter().map(|&typ| typ.to_owned()).collect(),
                alg: expected.algorithms.iter().map(names).collect(),
            })),
            key: Some(match key {
                VerificationKey::Jwks(jwks) => verify_request::Key::PublicJwks(jwks.clone()),
                VerificationKey::Own(purpose) => verify_request::Key::Ring(format!("{purpose}/*")),
            }),
        };
        let mut client = KeyServiceClient::new(self.connection.clone());
        let answer = self.answer(VERIFY, client.verify(self.request(id, message)));
        let verified = match answer.await {
            Ok(verified) => verified,
            Err(status) if status.code() == Code::InvalidArgument => return Ok(None),
            Err(status) => return Err(refused(&status)),
        };
        match serde_json::from_slice(&verified.claims) {
            Ok(claims) => Ok(Some(Verified { claims })),
            Err(_) => Err(Error::Refused("claims that are no JSON object".to_owned())),
        }
    }
}

/// Whole milliseconds, at most the eight digits that gRPC allows.
fn deadline(timeout: Duration) -> AsciiMetadataValue {
    let millis = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
    let text = format!("{}m", millis.clamp(1, 99_999_999));
    AsciiMetadataValue::try_from(text).unwrap_or(AsciiMetadataValue::from_static("2000m"))
}

fn refused(status: &Status) -> Error {
    let words = format!("{:?} {}", status.code(), status.message());
    match status.code() {
        Code::FailedPrecondition
        | Code::PermissionDenied
        | Code::Unimplemented
        | Code::InvalidArgument => Error::Refused(words),
        _ => Error::Unavailable(words),
    }
}
