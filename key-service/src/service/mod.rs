//! The gRPC surface: wire ⇄ domain, and no decisions but one, made before a request is read: whether its caller may call
//! this service at all. Each service has its own list of callers.

mod admin;
mod audit;
pub(crate) mod connection;
mod encryption;
mod gathered;
mod http2;
mod keys;
mod mac;
mod once;
pub mod peer;
mod publication;
mod rate;
mod rewrap;
mod sign;
mod sign_stream;
pub(crate) mod status;
mod verify;
mod watch;

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use http::{Request, Response};
use proto::v1::key_admin_server::KeyAdminServer;
use proto::v1::key_service_server::KeyServiceServer;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic::server::NamedService;
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::audit::{Entry, Log, NotWritten, kid_or_nothing, ring_or_nothing};
use crate::config::{Listen, Service};
use crate::error::Error;
use crate::keyring::Keyring;
use crate::metrics::{Metrics, Rpc};
use crate::tls::Certificates;

use admin::Admin;
use http2::Asked;
use keys::Keys;
pub(crate) use once::Once;
use peer::{Caller, Callers};
pub(crate) use watch::Watchers;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) callers: Callers,
    pub(crate) certificates: Option<Certificates>,
    pub(crate) limits: Listen,
    pub(crate) metrics: Arc<Metrics>,
    /// What was signed for a `once_key`.
    pub(crate) once: Arc<Once>,
    /// The log of every operation, where one is kept.
    pub(crate) audit: Option<Arc<Log>>,
    pub(crate) health: HealthReporter,
    pub(crate) watchers: Watchers,
    /// For Cache-Control of the JWK Set, in seconds.
    pub(crate) max_age: u32,
    /// When a gateway asks for the JWK Set again, in seconds.
    pub(crate) refresh_after: u32,
    /// How many more connections may be opened.
    pub(crate) connections: Arc<tokio::sync::Semaphore>,
    pub(crate) stop: tokio::sync::watch::Receiver<bool>,
}

/// The services as one connection's caller sees them.
#[derive(Clone)]
pub(crate) struct Surface {
    shared: Arc<Shared>,
    caller: Option<Arc<Caller>>,
    keys: Option<KeyServiceServer<Keys>>,
    admin: Option<KeyAdminServer<Admin>>,
    health: HealthServer<HealthService>,
}

impl Surface {
    pub(crate) fn new(shared: &Arc<Shared>, caller: Option<Arc<Caller>>) -> Surface {
        let size = shared.limits.message_size;
        let may_call = |service| caller.as_ref().filter(|caller| caller.may_call(service));
        let keys = may_call(Service::Keys).map(|caller| {
            KeyServiceServer::new(Keys::new(Arc::clone(shared), Arc::clone(caller)))
                .max_decoding_message_size(size)
        });
        let admin = may_call(Service::Admin).map(|caller| {
            KeyAdminServer::new(Admin::new(Arc::clone(shared), Arc::clone(caller)))
                .max_decoding_message_size(size)
        });
        let health = HealthService::from_health_reporter(shared.health.clone());
        Surface {
            shared: Arc::clone(shared),
            keys,
            admin,
            caller,
            health: HealthServer::new(health).max_decoding_message_size(size),
        }
    }
}

impl Surface {
    fn answer(&self, request: Request<Asked>) -> Answer {
        let path = request.uri().path().strip_prefix('/');
        let service = path.and_then(|path| path.split_once('/'));
        match service {
            _ if self.caller.is_none() => {}
            Some((KeyServiceServer::<Keys>::NAME, _)) => {
                if let Some(mut keys) = self.keys.clone() {
                    return Answer(keys.call(request));
                }
            }
            Some((KeyAdminServer::<Admin>::NAME, _)) => {
                if let Some(mut admin) = self.admin.clone() {
                    return Answer(admin.call(request));
                }
            }
            Some((HealthServer::<HealthService>::NAME, _)) => {
                return Answer(self.health.clone().call(request));
            }
            _ => return refuse(status::no_such_method()),
        }
        let Some(caller) = &self.caller else {
            return refuse(status::not_allowed());
        };
        tracing::warn!(
            caller = caller.name(),
            "refused: a service that its [[callers.allow]] does not name"
        );
        let service = match service {
            Some((KeyAdminServer::<Admin>::NAME, _)) => KeyAdminServer::<Admin>::NAME,
            _ => KeyServiceServer::<Keys>::NAME,
        };
        let (shared, caller) = (Arc::clone(&self.shared), Arc::clone(caller));
        Answer(Box::pin(async move {
            let status = status::not_allowed();
            let entry = shared.entry(service, &caller, "");
            let refused = shared.write_down(entry, status::name(status.code()), "");
            let status = refused
                .await
                .map_or_else(|_| status::not_audited(), |()| status);
            Ok(status.into_http())
        }))
    }
}

fn refuse(status: Status) -> Answer {
    Answer(Box::pin(ready(Ok(status.into_http()))))
}

/// An answer on its way.
struct Answer(Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>);

impl Future for Answer {
    type Output = Response<Body>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Response<Body>> {
        self.0.as_mut().poll(context).map(|answer| match answer {
            Ok(response) => response,
            Err(never) => match never {},
        })
    }
}

impl Shared {
    /// What health checks say.
    pub(crate) async fn serving(&self, serving: bool) {
        let status = if serving {
            ServingStatus::Serving
        } else {
            ServingStatus::NotServing
        };
        for service in ["", KeyServiceServer::<()>::NAME, KeyAdminServer::<()>::NAME] {
            self.health.set_service_status(service, status).await;
        }
    }

    /// Turns an outcome into an answer, writes it down and counts it. What is not written down has not happened.
    async fn answer<T>(
        &self,
        call: Call<'_>,
        outcome: Result<T, Error>,
    ) -> Result<tonic::Response<T>, Status> {
        let (code, rule) = match &outcome {
            Ok(_) => (status::OK, ""),
            Err(error) => (status::name(status::of(error).code()), error.rule()),
        };
        let written = self.write_down(call.entry, code, rule).await;
        let outcome = match written {
            // What is public anyway is told: relying parties go on verifying.
            Err(NotWritten) if !call.rpc.is_public() => Err(Error::NotAudited),
            _ => outcome,
        };
        let rpc = call.rpc.as_str();
        let (caller, request) = (call.caller.name(), call.request_id);
        let (method, of) = call.asked.unzip();
        match outcome {
            Ok(answer) => {
                self.metrics.answered(call.rpc, status::OK, call.since);
                tracing::debug!(rpc, method, of, caller, request, "answered");
                Ok(tonic::Response::new(answer))
            }
            Err(error) => {
                let status = status::of(&error);
                let code = status::name(status.code());
                self.metrics.answered(call.rpc, code, call.since);
                if matches!(error, Error::Policy(_) | Error::TooOften(_)) {
                    self.metrics.refused(error.rule());
                }
                match error {
                    Error::NotAllowed
                    | Error::Policy(_)
                    | Error::Backend(_)
                    | Error::NotAudited
                    | Error::NoActiveKey => {
                        tracing::warn!(rpc, method, of, caller, request, code, reason = %error, "refused");
                    }
                    _ => {
                        tracing::info!(rpc, method, of, caller, request, code, reason = %error, "refused")
                    }
                }
                Err(status)
            }
        }
    }

    /// A record that is begun.
    fn entry(&self, rpc: &str, caller: &Caller, request: &str) -> Entry {
        if self.audit.is_none() {
            return Entry::off();
        }
        let now = self.keyring.clock().now_millis();
        Entry::begin(now, rpc, caller.name(), request)
    }

    async fn write_down(&self, entry: Entry, code: &str, rule: &str) -> Result<(), NotWritten> {
        match (&self.audit, entry.end(code, rule)) {
            (Some(log), Some(record)) => log.record(record).await,
            _ => Ok(()),
        }
    }
}

/// A request on its way.
struct Call<'a> {
    rpc: Rpc,
    caller: &'a Caller,
    /// From the caller's `x-request-id`, if it may be written down.
    request_id: &'a str,
    since: Instant,
    /// What an operator asks for: the method, and the ring or the key.
    asked: Option<(&'static str, &'a str)>,
    /// What the audit log will tell of it.
    entry: Entry,
}

impl<'a> Call<'a> {
    fn begin<T>(
        shared: &Shared,
        rpc: Rpc,
        caller: &'a Caller,
        request: &'a tonic::Request<T>,
    ) -> Call<'a> {
        let id = request.metadata().get("x-request-id");
        let id = id.and_then(|id| id.to_str().ok());
        Call::begin_as(shared, rpc, caller, id.unwrap_or(""))
    }

    /// The same where the id is not in metadata.
    fn begin_as(shared: &Shared, rpc: Rpc, caller: &'a Caller, request_id: &'a str) -> Call<'a> {
        let request_id = if is_plain(request_id) { request_id } else { "" };
        Call {
            rpc,
            caller,
            request_id,
            since: Instant::now(),
            asked: None,
            entry: shared.entry(rpc.operation(), caller, request_id),
        }
    }

    /// What is asked of the admin service, of which ring or key, and why.
    fn administers(&mut self, method: &'static str, ring: &'a str, kid: &'a str, reason: &str) {
        self.entry.administers(method, ring, kid, reason);
        let ring = ring_or_nothing(ring);
        self.asked = Some((
            method,
            if ring.is_empty() {
                kid_or_nothing(kid)
            } else {
                ring
            },
        ));
    }
}

fn is_plain(id: &str) -> bool {
    // What a gateway lets pass in `X-Request-Id`.
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
    id.len() <= 64 && id.bytes().all(plain)
}
