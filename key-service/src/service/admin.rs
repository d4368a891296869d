//! `keyservice.v1.KeyAdmin` (NIST SP 800-57 part 1, §8): the life cycle of keys, for operators.

use std::sync::Arc;

use proto::v1;
use proto::v1::key_admin_server::KeyAdmin;
use tokio_stream::Empty;
use tonic::{Request, Response, Status};

use crate::algorithm::RingName;
use crate::error::Error;
use crate::keyring::rotation::{Revocation, Rotation};
use crate::keyring::state::Standing;
use crate::metrics::Rpc;

use super::peer::Caller;
use super::publication::{capabilities, state};
use super::{Call, Shared};

/// The service as one connection's caller has it.
#[derive(Debug)]
pub(super) struct Admin {
    shared: Arc<Shared>,
    caller: Arc<Caller>,
}

#[tonic::async_trait]
impl KeyAdmin for Admin {
    async fn list_keys(
        &self,
        request: Request<v1::ListKeysRequest>,
    ) -> Result<Response<v1::ListKeysResponse>, Status> {
        let call = Call::begin(Rpc::Admin, &self.caller, &request);
        let outcome = self.list(&request.get_ref().ring);
        self.shared.answer(&call, outcome)
    }

    async fn rotate_key(
        &self,
        request: Request<v1::RotateKeyRequest>,
    ) -> Result<Response<v1::RotateKeyResponse>, Status> {
        let call = Call::begin(Rpc::Admin, &self.caller, &request);
        let outcome = self.rotate(request.get_ref()).await;
        self.shared.answer(&call, outcome)
    }

    async fn revoke_key(
        &self,
        request: Request<v1::RevokeKeyRequest>,
    ) -> Result<Response<v1::RevokeKeyResponse>, Status> {
        let call = Call::begin(Rpc::Admin, &self.caller, &request);
        let outcome = self.revoke(request.get_ref()).await;
        self.shared.answer(&call, outcome)
    }

    async fn info(
        &self,
        request: Request<v1::InfoRequest>,
    ) -> Result<Response<v1::InfoResponse>, Status> {
        let call = Call::begin(Rpc::Admin, &self.caller, &request);
        self.shared.answer(&call, Ok(self.describe()))
    }

    async fn disable_key(
        &self,
        request: Request<v1::DisableKeyRequest>,
    ) -> Result<Response<v1::DisableKeyResponse>, Status> {
        self.not_built(&request, "DisableKey")
    }

    async fn enable_key(
        &self,
        request: Request<v1::EnableKeyRequest>,
    ) -> Result<Response<v1::EnableKeyResponse>, Status> {
        self.not_built(&request, "EnableKey")
    }

    async fn destroy_key(
        &self,
        request: Request<v1::DestroyKeyRequest>,
    ) -> Result<Response<v1::DestroyKeyResponse>, Status> {
        self.not_built(&request, "DestroyKey")
    }

    type ReadAuditStream = Empty<Result<v1::AuditRecord, Status>>;

    async fn read_audit(
        &self,
        request: Request<v1::ReadAuditRequest>,
    ) -> Result<Response<Self::ReadAuditStream>, Status> {
        self.not_built(&request, "ReadAudit")
    }

    async fn verify_audit(
        &self,
        request: Request<v1::VerifyAuditRequest>,
    ) -> Result<Response<v1::VerifyAuditResponse>, Status> {
        self.not_built(&request, "VerifyAudit")
    }
}

impl Admin {
    pub(super) fn new(shared: Arc<Shared>, caller: Arc<Caller>) -> Admin {
        Admin { shared, caller }
    }

    /// A part of the contract that this version does not have.
    fn not_built<A, T>(
        &self,
        request: &Request<A>,
        rpc: &'static str,
    ) -> Result<Response<T>, Status> {
        let call = Call::begin(Rpc::Admin, &self.caller, request);
        self.shared.answer(&call, Err(Error::NotBuilt(rpc)))
    }

    fn may_use(&self, ring: &str) -> Result<(), Error> {
        let allowed = self.caller.may_use(ring);
        allowed.then_some(()).ok_or(Error::NotAllowed)
    }

    fn list(&self, wanted: &str) -> Result<v1::ListKeysResponse, Error> {
        let snapshot = self.shared.keyring.snapshot();
        if !wanted.is_empty() {
            self.may_use(wanted)?;
            snapshot.ring(wanted).ok_or(Error::NotAllowed)?;
        }
        let mut keys = Vec::new();
        for ring in snapshot.rings() {
            let name = ring.name().to_string();
            if self.caller.may_use(&name) && (wanted.is_empty() || wanted == name) {
                keys.extend(
                    ring.standings()
                        .map(|standing| self.key(ring.name(), standing)),
                );
            }
        }
        Ok(v1::ListKeysResponse { keys })
    }

    async fn rotate(&self, request: &v1::RotateKeyRequest) -> Result<v1::RotateKeyResponse, Error> {
        self.may_use(&request.ring)?;
        let keyring = &self.shared.keyring;
        let Rotation {
            ring,
            created,
            next,
        } = if request.dry_run {
            keyring.plan_rotation(&request.ring).await?
        } else {
            keyring.rotate(&request.ring).await?
        };
        let (next_generation, next_activates_at) = next.unwrap_or_default();
        Ok(v1::RotateKeyResponse {
            created: Some(self.key(&ring, &created)),
            next_generation,
            next_activates_at,
            dry_run: request.dry_run,
        })
    }

    async fn revoke(&self, request: &v1::RevokeKeyRequest) -> Result<v1::RevokeKeyResponse, Error> {
        let ring = {
            let snapshot = self.shared.keyring.snapshot();
            let (ring, _) = snapshot.key(&request.kid).ok_or(Error::NotAllowed)?;
            ring.name().to_string()
        };
        self.may_use(&ring)?;
        let revocation = self
            .shared
            .keyring
            .revoke(&request.kid, &request.reason)
            .await?;
        let Revocation {
            ring,
            revoked,
            signing,
            created,
        } = revocation;
        Ok(v1::RevokeKeyResponse {
            revoked: Some(self.key(&ring, &revoked)),
            signing_kid: signing.unwrap_or_default(),
            created: created.map(|created| self.key(&ring, &created)),
        })
    }

    fn describe(&self) -> v1::InfoResponse {
        let keyring = &self.shared.keyring;
        let facts = keyring.device().facts();
        let snapshot = keyring.snapshot();
        v1::InfoResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            backend: facts.kind.to_owned(),
            backend_description: facts.description.clone(),
            backend_state: keyring.device().state().as_str().to_owned(),
            epoch: snapshot.published().epoch.clone(),
            capabilities: Some(capabilities(&snapshot)),
            notes: facts.gaps.clone(),
            rings: snapshot
                .rings()
                .map(|ring| ring.name().to_string())
                .collect(),
        }
    }

    fn key(&self, ring: &RingName, standing: &Standing) -> v1::Key {
        v1::Key {
            kid: standing.key.kid.clone(),
            ring: ring.to_string(),
            generation: standing.key.generation,
            state: state(standing.state).into(),
            created_at: standing.key.created,
            activates_at: standing.activates_at.unwrap_or(0),
            retires_at: standing.retires_at.unwrap_or(0),
            expires_at: standing.expires_at.unwrap_or(0),
            location: self.shared.keyring.device().facts().location.clone(),
            reason: standing.reason.to_owned(),
        }
    }
}
