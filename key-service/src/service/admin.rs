//! `keyservice.v1.KeyAdmin` (NIST SP 800-57 part 1, §8): the life cycle of keys, for operators.

use std::future::{Future, pending};
use std::panic::resume_unwind;
use std::sync::Arc;

use bytes::Bytes;
use proto::v1;
use proto::v1::key_admin_server::KeyAdmin;
use tonic::{Request, Response, Status};

use crate::algorithm::{RingAlgorithm, RingName};
use crate::error::Error;
use crate::jwk::{self, Jwk};
use crate::keyring::Ring;
use crate::keyring::imported::{Import, Wanted};
use crate::keyring::rotation::Rotation;
use crate::keyring::state::{Standing, State};
use crate::keyring::withdrawal::{Assurance, Withdrawal};
use crate::metrics::Rpc;

use super::peer::Caller;
use super::publication::{capabilities, state};
use super::{Call, Shared, audit};

/// The service as one connection's caller has it.
#[derive(Debug, Clone)]
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
        let mut call = Call::begin(&self.shared, Rpc::Admin, &self.caller, &request);
        let asked = request.get_ref();
        call.administers("ListKeys", &asked.ring, "", "");
        let outcome = self.list(&request.get_ref().ring);
        self.shared.answer(call, outcome).await
    }

    async fn rotate_key(
        &self,
        request: Request<v1::RotateKeyRequest>,
    ) -> Result<Response<v1::RotateKeyResponse>, Status> {
        let admin = self.clone();
        to_its_end(async move {
            let mut call = Call::begin(&admin.shared, Rpc::Admin, &admin.caller, &request);
            let asked = request.get_ref();
            call.administers("RotateKey", &asked.ring, "", "");
            call.entry.text("dry_run", dry_run(asked.dry_run));
            let outcome = admin.rotate(request.get_ref()).await;
            admin.shared.answer(call, outcome).await
        })
        .await
    }

    async fn revoke_key(
        &self,
        request: Request<v1::RevokeKeyRequest>,
    ) -> Result<Response<v1::RevokeKeyResponse>, Status> {
        let admin = self.clone();
        to_its_end(async move {
            let mut call = Call::begin(&admin.shared, Rpc::Admin, &admin.caller, &request);
            let asked = request.get_ref();
            call.administers("RevokeKey", "", &asked.kid, &asked.reason);
            let outcome = admin.revoke(request.get_ref()).await;
            admin.shared.answer(call, outcome).await
        })
        .await
    }

    async fn import_public_key(
        &self,
        request: Request<v1::ImportPublicKeyRequest>,
    ) -> Result<Response<v1::ImportPublicKeyResponse>, Status> {
        let admin = self.clone();
        to_its_end(async move {
            let mut call = Call::begin(&admin.shared, Rpc::Admin, &admin.caller, &request);
            let asked = request.get_ref();
            call.administers("ImportPublicKey", &asked.ring, "", "");
            call.entry.text("dry_run", dry_run(asked.dry_run));
            if let Ok(jwk) = Jwk::parse(&asked.jwk) {
                call.entry.text("thumbprint", &jwk::thumbprint(&jwk.public));
            }
            let outcome = admin.import(asked).await;
            if let Ok(v1::ImportPublicKeyResponse { key: Some(key), .. }) = &outcome {
                call.entry.text("kid", &key.kid);
            }
            admin.shared.answer(call, outcome).await
        })
        .await
    }

    async fn info(
        &self,
        request: Request<v1::InfoRequest>,
    ) -> Result<Response<v1::InfoResponse>, Status> {
        let mut call = Call::begin(&self.shared, Rpc::Admin, &self.caller, &request);
        call.administers("Info", "", "", "");
        self.shared.answer(call, Ok(self.describe())).await
    }

    async fn disable_key(
        &self,
        request: Request<v1::DisableKeyRequest>,
    ) -> Result<Response<v1::DisableKeyResponse>, Status> {
        let admin = self.clone();
        to_its_end(async move {
            let mut call = Call::begin(&admin.shared, Rpc::Admin, &admin.caller, &request);
            let asked = request.get_ref();
            call.administers("DisableKey", "", &asked.kid, &asked.reason);
            let outcome = admin.disable(request.get_ref()).await;
            admin.shared.answer(call, outcome).await
        })
        .await
    }

    async fn enable_key(
        &self,
        request: Request<v1::EnableKeyRequest>,
    ) -> Result<Response<v1::EnableKeyResponse>, Status> {
        let admin = self.clone();
        to_its_end(async move {
            let mut call = Call::begin(&admin.shared, Rpc::Admin, &admin.caller, &request);
            let asked = request.get_ref();
            call.administers("EnableKey", "", &asked.kid, "");
            let outcome = admin.enable(&request.get_ref().kid).await;
            admin.shared.answer(call, outcome).await
        })
        .await
    }

    async fn destroy_key(
        &self,
        request: Request<v1::DestroyKeyRequest>,
    ) -> Result<Response<v1::DestroyKeyResponse>, Status> {
        let admin = self.clone();
        to_its_end(async move {
            let mut call = Call::begin(&admin.shared, Rpc::Admin, &admin.caller, &request);
            let asked = request.get_ref();
            call.administers("DestroyKey", "", &asked.kid, "");
            let assurance = match asked.nothing_uses_it {
                true => Assurance::NothingUsesIt,
                false => Assurance::None,
            };
            if assurance == Assurance::NothingUsesIt {
                call.entry.text("assurance", "nothing_uses_it");
            }
            let outcome = admin.destroy(&asked.kid, assurance).await;
            admin.shared.answer(call, outcome).await
        })
        .await
    }

    type ReadAuditStream = audit::Records;

    async fn read_audit(
        &self,
        request: Request<v1::ReadAuditRequest>,
    ) -> Result<Response<Self::ReadAuditStream>, Status> {
        let mut call = Call::begin(&self.shared, Rpc::Admin, &self.caller, &request);
        call.administers("ReadAudit", "", "", "");
        let log = audit::readable(&self.shared, &self.caller);
        let records = log.map(|log| audit::read(&self.shared, &log, *request.get_ref()));
        self.shared.answer(call, records).await
    }

    async fn verify_audit(
        &self,
        request: Request<v1::VerifyAuditRequest>,
    ) -> Result<Response<v1::VerifyAuditResponse>, Status> {
        let mut call = Call::begin(&self.shared, Rpc::Admin, &self.caller, &request);
        call.administers("VerifyAudit", "", "", "");
        let outcome = match audit::readable(&self.shared, &self.caller) {
            Ok(log) => audit::check(log, *request.get_ref()).await,
            Err(error) => Err(error),
        };
        self.shared.answer(call, outcome).await
    }
}

/// What changes keys ends, and is written down, also when whoever asked for it has gone away: the device does not ask.
async fn to_its_end<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> T {
    match tokio::spawn(work).await {
        Ok(answer) => answer,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => resume_unwind(panic),
            // The thread ends, and whoever waits here with it.
            Err(_) => pending().await,
        },
    }
}

impl Admin {
    pub(super) fn new(shared: Arc<Shared>, caller: Arc<Caller>) -> Admin {
        Admin { shared, caller }
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
                keys.extend(ring.all_standings().map(|standing| v1::Key {
                    jwk: published_jwk(ring, standing),
                    ..self.key(ring.name(), standing)
                }));
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
        let mut response = v1::RotateKeyResponse {
            created: Some(self.key(&ring, &created)),
            dry_run: request.dry_run,
            ..Default::default()
        };
        if let Some(next) = next {
            if matches!(ring.algorithm(), RingAlgorithm::Signature(_)) {
                response.lagging = self.lagging(&next.kid);
            }
            let patience = match response.lagging.as_slice() {
                [] => 0,
                _ => keyring.gate_limit(),
            };
            response.next_generation = next.generation;
            response.next_activates_at = next.from;
            response.next_signs_by = next.from.saturating_add(patience);
        }
        Ok(response)
    }

    /// The gateways connected to this replica that do not publish the key.
    fn lagging(&self, kid: &str) -> Vec<v1::Gateway> {
        let serving = self.shared.watchers.serving().into_iter();
        let lagging =
            serving.filter(|gateway| !self.shared.keyring.epoch_holds(&gateway.epoch, kid));
        let named = lagging.map(|gateway| v1::Gateway {
            caller: gateway.caller,
            instance_id: gateway.instance,
        });
        named.collect()
    }

    /// Whether the caller may use the key's ring. Another replica may have made the key a moment ago.
    async fn may_change(&self, kid: &str) -> Result<(), Error> {
        let keyring = &self.shared.keyring;
        let rings = || -> Vec<String> {
            let snapshot = keyring.snapshot();
            let rings = snapshot.rings_of(kid);
            rings.map(|ring| ring.name().to_string()).collect()
        };
        let mut found = rings();
        if found.is_empty() {
            keyring.reload().await?;
            found = rings();
        }
        if found.is_empty() {
            return Err(Error::NotAllowed);
        }
        found.iter().try_for_each(|ring| self.may_use(ring))
    }

    async fn revoke(&self, request: &v1::RevokeKeyRequest) -> Result<v1::RevokeKeyResponse, Error> {
        self.may_change(&request.kid).await?;
        let keyring = &self.shared.keyring;
        let Withdrawal {
            ring,
            withdrawn,
            signing,
            created,
        } = keyring.revoke(&request.kid, &request.reason).await?;
        Ok(v1::RevokeKeyResponse {
            revoked: Some(self.key(&ring, &withdrawn)),
            signing_kid: signing.unwrap_or_default(),
            created: created.map(|created| self.key(&ring, &created)),
        })
    }

    async fn disable(
        &self,
        request: &v1::DisableKeyRequest,
    ) -> Result<v1::DisableKeyResponse, Error> {
        self.may_change(&request.kid).await?;
        let keyring = &self.shared.keyring;
        let disabled = keyring.disable(&request.kid, &request.reason).await?;
        Ok(v1::DisableKeyResponse {
            key: Some(self.key(&disabled.ring, &disabled.withdrawn)),
            signing_kid: disabled.signing.unwrap_or_default(),
        })
    }

    async fn enable(&self, kid: &str) -> Result<v1::EnableKeyResponse, Error> {
        self.may_change(kid).await?;
        let (ring, standing) = self.shared.keyring.enable(kid).await?;
        let key = Some(self.key(&ring, &standing));
        Ok(v1::EnableKeyResponse { key })
    }

    async fn destroy(
        &self,
        kid: &str,
        assurance: Assurance,
    ) -> Result<v1::DestroyKeyResponse, Error> {
        self.may_change(kid).await?;
        let (ring, standing) = self.shared.keyring.destroy(kid, assurance).await?;
        let key = Some(self.key(&ring, &standing));
        Ok(v1::DestroyKeyResponse { key })
    }

    async fn import(
        &self,
        request: &v1::ImportPublicKeyRequest,
    ) -> Result<v1::ImportPublicKeyResponse, Error> {
        self.may_use(&request.ring)?;
        if !self.caller.may_import() {
            return Err(Error::Lifecycle(
                "import.caller: [[callers.allow]] does not say that this caller may import (`imports = true`)",
            ));
        }
        let keyring = &self.shared.keyring;
        let wanted = Wanted {
            ring: &request.ring,
            jwk: &request.jwk,
            until: request.until,
        };
        let Import {
            ring,
            imported,
            known_by,
        } = if request.dry_run {
            keyring.plan_import(wanted).await?
        } else {
            keyring.import(wanted).await?
        };
        Ok(v1::ImportPublicKeyResponse {
            key: Some(self.key(&ring, &imported)),
            known_by,
            dry_run: request.dry_run,
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
            location: self.location(standing),
            reason: standing.reason.to_owned(),
            jwk: Bytes::new(),
        }
    }

    /// Where the private half is.
    fn location(&self, standing: &Standing) -> String {
        if standing.is_imported() {
            return "imported".to_owned();
        }
        self.shared.keyring.device().facts().location.clone()
    }
}

/// What the audit log tells of a change that was only asked about; of one that was made, nothing.
fn dry_run(is_one: bool) -> &'static str {
    if is_one { "true" } else { "" }
}

/// What relying parties see of a key, where it verifies.
fn published_jwk(ring: &Ring, standing: &Standing) -> Bytes {
    let is_published = matches!(standing.state, State::Next | State::Active | State::Retired);
    let verifies = matches!(ring.name().algorithm(), RingAlgorithm::Signature(_));
    let key = ring.key(&standing.key.kid);
    let jwk = key.filter(|_| is_published && verifies);
    jwk.and_then(|key| key.jwk.clone())
        .unwrap_or_default()
        .into()
}
