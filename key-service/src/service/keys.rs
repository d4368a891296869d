//! `keyservice.v1.KeyService` (RFC 7515, RFC 7516, RFC 7517): what a gateway may ask of the keys.

use std::sync::Arc;
use std::time::{Duration, Instant};

use proto::v1::key_service_server::KeyService;
use proto::v1::{self, decrypt_request, sign_item, verify_request};
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming};

use crate::algorithm::{RingAlgorithm, SignatureAlgorithm};
use crate::error::Error;
use crate::jwk::{self, Jwk};
use crate::keyring::claims::Claims;
use crate::keyring::policy::{Permit, Profile, Sign};
use crate::keyring::{Ring, Signed, Snapshot};
use crate::metrics::Rpc;
use crate::signature::{self, Candidate};

use super::peer::Caller;
use super::publication::public_jwks;
use super::{Call, Shared, watch};

/// The most items of one Sign request.
const ITEMS: usize = 16;
/// The most hashes that one item gets: at_hash, c_hash, s_hash and one to spare.
const HASHES: usize = 4;

/// The service as one connection's caller has it.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) shared: Arc<Shared>,
    pub(super) caller: Arc<Caller>,
}

#[tonic::async_trait]
impl KeyService for Keys {
    async fn sign(
        &self,
        request: Request<v1::SignRequest>,
    ) -> Result<Response<v1::SignResponse>, Status> {
        let call = Call::begin(Rpc::Sign, &self.caller, &request);
        let deadline = deadline(request.metadata());
        let outcome = self.sign_items(&request.get_ref().items, deadline).await;
        self.shared.answer(&call, outcome)
    }

    async fn verify(
        &self,
        request: Request<v1::VerifyRequest>,
    ) -> Result<Response<v1::VerifyResponse>, Status> {
        let call = Call::begin(Rpc::Verify, &self.caller, &request);
        self.shared
            .answer(&call, self.verify_subject(request.get_ref()))
    }

    async fn mac(
        &self,
        request: Request<v1::MacRequest>,
    ) -> Result<Response<v1::MacResponse>, Status> {
        let call = Call::begin(Rpc::Mac, &self.caller, &request);
        self.shared.answer(&call, Err(Error::NotBuilt("Mac")))
    }

    async fn decrypt(
        &self,
        request: Request<v1::DecryptRequest>,
    ) -> Result<Response<v1::DecryptResponse>, Status> {
        let call = Call::begin(Rpc::Decrypt, &self.caller, &request);
        let deadline = deadline(request.metadata());
        let outcome = match &request.get_ref().ciphertext {
            Some(decrypt_request::Ciphertext::CompactJwe(token)) => {
                self.open(token, deadline).await
            }
            Some(decrypt_request::Ciphertext::Sealed(sealed)) => {
                self.unseal(sealed, deadline).await
            }
            None => Err(Error::Malformed("ciphertext is missing")),
        };
        self.shared.answer(&call, outcome)
    }

    async fn wrap(
        &self,
        request: Request<v1::WrapRequest>,
    ) -> Result<Response<v1::WrapResponse>, Status> {
        let call = Call::begin(Rpc::Wrap, &self.caller, &request);
        let deadline = deadline(request.metadata());
        let outcome = self.wrap_plaintext(request.get_ref(), deadline).await;
        let outcome = outcome.map(|compact| v1::WrapResponse { compact });
        self.shared.answer(&call, outcome)
    }

    async fn public_jwks(
        &self,
        request: Request<v1::PublicJwksRequest>,
    ) -> Result<Response<v1::PublicJwksResponse>, Status> {
        let call = Call::begin(Rpc::PublicJwks, &self.caller, &request);
        let asked = request.get_ref();
        let published = public_jwks(&self.shared, &asked.rings, &asked.known_epoch);
        self.shared.answer(&call, Ok(published))
    }

    type WatchPublicJWKSStream = ReceiverStream<Result<v1::PublicJwksResponse, Status>>;

    async fn watch_public_jwks(
        &self,
        request: Request<Streaming<v1::WatchPublicJwksRequest>>,
    ) -> Result<Response<Self::WatchPublicJWKSStream>, Status> {
        let call = Call::begin(Rpc::WatchPublicJwks, &self.caller, &request);
        let answer = self.shared.answer(&call, Ok(()))?;
        let shared = Arc::clone(&self.shared);
        Ok(answer.map(|()| watch::watch(shared, request.into_inner())))
    }
}

impl Keys {
    pub(super) fn new(shared: Arc<Shared>, caller: Arc<Caller>) -> Keys {
        Keys { shared, caller }
    }

    /// A ring of ours that this caller may use. Unknown and foreign are the same.
    fn ring<'a>(&self, snapshot: &'a Snapshot, name: &str) -> Result<&'a Ring, Error> {
        let ring = snapshot.ring(name).filter(|_| self.caller.may_use(name));
        ring.ok_or(Error::NotAllowed)
    }

    /// Every item is permitted before the first one is signed; then those whose hash others need.
    async fn sign_items(
        &self,
        items: &[v1::SignItem],
        deadline: Option<Instant>,
    ) -> Result<v1::SignResponse, Error> {
        if items.is_empty() || items.len() > ITEMS {
            return Err(Error::Malformed("from 1 to 16 items are signed at a time"));
        }
        let (mut permits, epoch) = {
            let snapshot = self.shared.keyring.snapshot();
            let permits: Result<Vec<_>, Error> = items
                .iter()
                .map(|item| self.permit(&snapshot, items, item).map(Some))
                .collect();
            (permits?, snapshot.published().epoch.clone())
        };
        let mut signed: Vec<Option<Signed>> = items.iter().map(|_| None).collect();
        for first in [true, false] {
            for (index, item) in items.iter().enumerate() {
                if item.hash_of.is_empty() != first {
                    continue;
                }
                let Some(mut permit) = permits[index].take() else {
                    continue;
                };
                for hash_of in &item.hash_of {
                    let of = signed.get(hash_of.item as usize).and_then(Option::as_ref);
                    let of = of.ok_or(Error::Malformed("hash_of.item has a hash_of of its own"))?;
                    let hash = signature::left_half_hash(permit.algorithm(), &of.compact);
                    permit.add_hash(&hash_of.claim, &hash)?;
                }
                signed[index] = Some(self.shared.keyring.sign(permit, deadline).await?);
                if let Some(sign_item::Key::Ring(ring)) = &item.key {
                    self.shared.metrics.signed(ring);
                }
            }
        }
        let items = signed.into_iter().flatten().map(|signed| v1::Signed {
            kid: signed.key.kid().to_owned(),
            compact: signed.compact,
        });
        Ok(v1::SignResponse {
            items: items.collect(),
            epoch,
        })
    }

    fn permit(
        &self,
        snapshot: &Snapshot,
        items: &[v1::SignItem],
        item: &v1::SignItem,
    ) -> Result<Permit<Sign>, Error> {
        if item.encrypt_to.is_some() {
            return Err(Error::NotBuilt("encrypt_to"));
        }
        if item.once_key.is_some() {
            return Err(Error::NotBuilt("once_key"));
        }
        let ring = match &item.key {
            Some(sign_item::Key::Ring(ring)) => self.ring(snapshot, ring)?,
            Some(sign_item::Key::WrappedSecret(_)) => {
                return Err(Error::NotBuilt("wrapped_secret"));
            }
            None => return Err(Error::Malformed("key is missing")),
        };
        if item.hash_of.len() > HASHES {
            return Err(Error::Malformed("an item has at most 4 hash_of"));
        }
        for hash_of in &item.hash_of {
            let of = items.get(hash_of.item as usize);
            if !of.is_some_and(|of| of.hash_of.is_empty()) {
                return Err(Error::Malformed(
                    "hash_of.item is not an item without a hash_of",
                ));
            }
        }
        let profile = profile(item.profile())?;
        let claims = Claims::parse(&item.claims)?;
        self.shared.keyring.permit(ring, profile, claims)
    }

    fn verify_subject(&self, request: &v1::VerifyRequest) -> Result<v1::VerifyResponse, Error> {
        let jws = match &request.subject {
            Some(verify_request::Subject::CompactJws(jws)) => jws,
            Some(verify_request::Subject::Raw(_)) => return Err(Error::NotBuilt("raw")),
            None => return Err(Error::Malformed("subject is missing")),
        };
        // A name that we do not know is of an algorithm that we do not accept.
        let algorithms: Vec<SignatureAlgorithm> =
            jws.alg.iter().filter_map(|alg| alg.parse().ok()).collect();
        let verified = match &request.key {
            Some(verify_request::Key::PublicJwks(set)) => {
                let keys = jwk::parse_set(set)?;
                let candidates: Vec<Candidate<'_>> =
                    keys.iter().filter_map(Jwk::candidate).collect();
                signature::verify_compact(&jws.token, &jws.typ, &algorithms, &candidates)?
            }
            Some(verify_request::Key::Ring(pattern)) => {
                let snapshot = self.shared.keyring.snapshot();
                let candidates = self.own_candidates(&snapshot, pattern)?;
                signature::verify_compact(&jws.token, &jws.typ, &algorithms, &candidates)?
            }
            Some(verify_request::Key::WrappedSecret(_)) => {
                return Err(Error::NotBuilt("wrapped_secret"));
            }
            None => return Err(Error::Malformed("key is missing")),
        };
        Ok(v1::VerifyResponse {
            claims: verified.claims.into(),
            header: verified.header.into(),
            kid: verified.kid.unwrap_or_default(),
        })
    }

    /// Keys of ours whose signatures are accepted: of one ring, or of every ring of a purpose.
    fn own_candidates<'a>(
        &self,
        snapshot: &'a Snapshot,
        pattern: &str,
    ) -> Result<Vec<Candidate<'a>>, Error> {
        let rings: Vec<&Ring> = match pattern.strip_suffix("/*") {
            None => vec![self.ring(snapshot, pattern)?],
            Some(purpose) => snapshot
                .rings()
                .filter(|ring| ring.name().purpose() == purpose)
                .filter(|ring| self.caller.may_use(&ring.name().to_string()))
                .collect(),
        };
        if rings.is_empty() {
            return Err(Error::NotAllowed);
        }
        let mut candidates = Vec::new();
        for ring in rings {
            let RingAlgorithm::Signature(algorithm) = ring.name().algorithm() else {
                continue;
            };
            candidates.extend(ring.trusted().filter_map(|key| {
                Some(Candidate {
                    kid: Some(key.kid()),
                    algorithm: Some(algorithm),
                    public: key.public.as_ref()?,
                })
            }));
        }
        Ok(candidates)
    }
}

fn profile(profile: v1::Profile) -> Result<Profile, Error> {
    Ok(match profile {
        v1::Profile::Unspecified => return Err(Error::Malformed("profile is missing or unknown")),
        v1::Profile::IdToken => Profile::IdToken,
        v1::Profile::AccessToken => Profile::AccessToken,
        v1::Profile::LogoutToken => Profile::LogoutToken,
        v1::Profile::Userinfo => Profile::Userinfo,
        v1::Profile::Introspection => Profile::Introspection,
        v1::Profile::AuthorizationResponse => Profile::AuthorizationResponse,
        v1::Profile::Metadata => Profile::Metadata,
        v1::Profile::ClientAssertion => Profile::ClientAssertion,
    })
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
