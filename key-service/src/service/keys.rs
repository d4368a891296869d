//! `keyservice.v1.KeyService` (RFC 7515, RFC 7516, RFC 7517): what a gateway may ask of the keys.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::v1::key_service_server::KeyService;
use proto::v1::{self, decrypt_request, mac_request, verify_request, wrap_request};
use tokio::sync::Semaphore;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use crate::error::Error;
use crate::keyring::{Ring, Snapshot};
use crate::metrics::Rpc;

use super::peer::Caller;
use super::publication::public_jwks;
use super::sign_stream::{Answer, sign_stream};
use super::{Call, Shared, watch};

/// The service as one connection's caller has it.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    pub(super) shared: Arc<Shared>,
    pub(super) caller: Arc<Caller>,
    /// When the connection began.
    pub(super) since: Instant,
    /// The connection's one SignStream has it until its answers have left.
    pub(super) stream: Arc<Semaphore>,
}

#[tonic::async_trait]
impl KeyService for Keys {
    async fn sign(
        &self,
        request: Request<v1::SignRequest>,
    ) -> Result<Response<v1::SignResponse>, Status> {
        let call = Call::begin(&self.shared, Rpc::Sign, &self.caller, &request);
        let deadline = deadline(request.metadata());
        self.sign_request(call, request.get_ref(), deadline).await
    }

    type SignStreamStream = ReceiverStream<Answer>;

    async fn sign_stream(
        &self,
        request: Request<Streaming<v1::SignStreamRequest>>,
    ) -> Result<Response<Self::SignStreamStream>, Status> {
        sign_stream(self, request.into_inner())
    }

    async fn verify(
        &self,
        request: Request<v1::VerifyRequest>,
    ) -> Result<Response<v1::VerifyResponse>, Status> {
        let mut call = Call::begin(&self.shared, Rpc::Verify, &self.caller, &request);
        let deadline = deadline(request.metadata());
        let asked = request.get_ref();
        // Public keys are public: no key of ours is used.
        let is_secret = matches!(asked.key, Some(verify_request::Key::WrappedSecret(_)));
        let outcome = async {
            self.caller.spend(usize::from(is_secret), call.since)?;
            self.verify_subject(asked, deadline).await
        };
        let outcome = outcome.await;
        if let (Ok(verified), Some(verify_request::Key::Ring(ring))) =
            (&outcome, &request.get_ref().key)
        {
            call.entry.text("ring", ring);
            call.entry.text("kid", &verified.kid);
        }
        self.shared.answer(call, outcome).await
    }

    async fn mac(
        &self,
        request: Request<v1::MacRequest>,
    ) -> Result<Response<v1::MacResponse>, Status> {
        let mut call = Call::begin(&self.shared, Rpc::Mac, &self.caller, &request);
        let deadline = deadline(request.metadata());
        let asked = request.get_ref();
        let outcome = async {
            self.caller.spend(1, call.since)?;
            self.compute_mac(asked, deadline).await
        };
        let outcome = outcome.await;
        call.entry.text("purpose", asked.purpose().as_str_name());
        if let (Ok(_), Some(mac_request::Key::Ring(ring))) = (&outcome, &asked.key) {
            call.entry.text("ring", ring);
        }
        self.shared.answer(call, outcome).await
    }

    async fn decrypt(
        &self,
        request: Request<v1::DecryptRequest>,
    ) -> Result<Response<v1::DecryptResponse>, Status> {
        let call = Call::begin(&self.shared, Rpc::Decrypt, &self.caller, &request);
        let deadline = deadline(request.metadata());
        let outcome = async {
            self.caller.spend(1, call.since)?;
            match &request.get_ref().ciphertext {
                Some(decrypt_request::Ciphertext::CompactJwe(token)) => {
                    self.open(token, deadline).await
                }
                Some(decrypt_request::Ciphertext::Sealed(sealed)) => {
                    self.unseal(sealed, deadline).await
                }
                None => Err(Error::Malformed("ciphertext is missing")),
            }
        };
        let outcome = outcome.await;
        self.shared.answer(call, outcome).await
    }

    async fn wrap(
        &self,
        request: Request<v1::WrapRequest>,
    ) -> Result<Response<v1::WrapResponse>, Status> {
        let mut call = Call::begin(&self.shared, Rpc::Wrap, &self.caller, &request);
        let deadline = deadline(request.metadata());
        let outcome = async {
            self.caller.spend(1, call.since)?;
            self.wrap_plaintext(request.get_ref(), deadline).await
        };
        let outcome = outcome.await;
        if let (Ok(_), Some(wrap_request::To::Recipient(to))) = (&outcome, &request.get_ref().to) {
            call.entry.text("alg", &to.alg);
            call.entry.text("enc", &to.enc);
        }
        let outcome = outcome.map(|compact| v1::WrapResponse { compact });
        self.shared.answer(call, outcome).await
    }

    async fn rewrap(
        &self,
        request: Request<v1::RewrapRequest>,
    ) -> Result<Response<v1::RewrapResponse>, Status> {
        let mut call = Call::begin(&self.shared, Rpc::Rewrap, &self.caller, &request);
        let deadline = deadline(request.metadata());
        let items = &request.get_ref().items;
        let outcome = async {
            self.caller.spend(items.len().max(1), call.since)?;
            self.rewrap_items(items, deadline, &mut call.entry).await
        };
        let outcome = outcome.await;
        self.shared.answer(call, outcome).await
    }

    async fn public_jwks(
        &self,
        request: Request<v1::PublicJwksRequest>,
    ) -> Result<Response<v1::PublicJwksResponse>, Status> {
        let call = Call::begin(&self.shared, Rpc::PublicJwks, &self.caller, &request);
        let asked = request.get_ref();
        let published = public_jwks(&self.shared, &asked.rings, &asked.known_epoch);
        self.shared.answer(call, Ok(published)).await
    }

    type WatchPublicJWKSStream = ReceiverStream<Result<v1::PublicJwksResponse, Status>>;

    async fn watch_public_jwks(
        &self,
        request: Request<Streaming<v1::WatchPublicJwksRequest>>,
    ) -> Result<Response<Self::WatchPublicJWKSStream>, Status> {
        let call = Call::begin(&self.shared, Rpc::WatchPublicJwks, &self.caller, &request);
        let answer = self.shared.answer(call, Ok(())).await?;
        let shared = Arc::clone(&self.shared);
        Ok(answer.map(|()| watch::watch(shared, &self.caller, self.since, request.into_inner())))
    }
}

impl Keys {
    pub(super) fn new(shared: Arc<Shared>, caller: Arc<Caller>) -> Keys {
        Keys {
            shared,
            caller,
            since: Instant::now(),
            stream: Arc::new(Semaphore::new(1)),
        }
    }

    /// One call of Sign, whichever way it came.
    pub(super) async fn sign_request(
        &self,
        mut call: Call<'_>,
        request: &v1::SignRequest,
        deadline: Option<Instant>,
    ) -> Result<Response<v1::SignResponse>, Status> {
        let items = &request.items;
        let outcome = async {
            self.caller.spend(items.len().max(1), call.since)?;
            self.sign_items(items, deadline, &mut call.entry).await
        };
        let (outcome, answers) = match outcome.await {
            Ok((response, answers)) => (Ok(response), answers),
            Err(error) => (Err(error), Vec::new()),
        };
        let answer = self.shared.answer(call, outcome).await;
        // What the audit log could not take does not leave, and is not remembered.
        if answer.is_ok() && !answers.is_empty() {
            let now = self.shared.keyring.clock().now();
            answers.into_iter().for_each(|answer| answer.keep(now));
        }
        answer
    }

    /// A ring of ours that this caller may use. Unknown and foreign are the same.
    pub(super) fn ring<'a>(&self, snapshot: &'a Snapshot, name: &str) -> Result<&'a Ring, Error> {
        let ring = snapshot.ring(name).filter(|_| self.caller.may_use(name));
        ring.ok_or(Error::NotAllowed)
    }
}

/// `grpc-timeout`: digits and a unit (gRPC over HTTP/2, Requests). After it nobody waits for the answer.
fn deadline(metadata: &MetadataMap) -> Option<Instant> {
    let timeout = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = timeout.split_at_checked(timeout.len().checked_sub(1)?)?;
    let number: u64 = digits.parse().ok().filter(|_| digits.len() <= 8)?;
    let timeout = match unit {
        "H" => Duration::from_secs(number * 3600),
        "M" => Duration::from_secs(number * 60),
        "S" => Duration::from_secs(number),
        "m" => Duration::from_millis(number),
        "u" => Duration::from_micros(number),
        "n" => Duration::from_nanos(number),
        _ => return None,
    };
    Instant::now().checked_add(timeout)
}
