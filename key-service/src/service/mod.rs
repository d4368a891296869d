//! The gRPC surface: wire ⇄ domain, and no decisions but one, made before a request is read: whether its caller may call
//! this service at all. Each service has its own list of callers.

mod admin;
pub(crate) mod connection;
mod encryption;
mod keys;
pub mod peer;
mod publication;
pub(crate) mod status;
mod watch;

use std::convert::Infallible;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Instant;

use http::{Request, Response};
use hyper::body::Incoming;
use proto::v1::key_admin_server::KeyAdminServer;
use proto::v1::key_service_server::KeyServiceServer;
use tonic::Status;
use tonic::body::Body;
use tonic::codegen::Service as _;
use tonic::server::NamedService;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::{HealthReporter, HealthService};

use crate::config::{Listen, Service};
use crate::error::Error;
use crate::keyring::Keyring;
use crate::metrics::{Metrics, Rpc};
use crate::tls::Certificates;

use admin::Admin;
use keys::Keys;
use peer::{Caller, Callers};
pub(crate) use watch::Watchers;

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, Infallible>> + Send>>;

/// What all connections share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) callers: Callers,
    pub(crate) certificates: Option<Certificates>,
    pub(crate) limits: Listen,
    pub(crate) metrics: Arc<Metrics>,
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
            keys,
            admin,
            caller,
            health: HealthServer::new(health).max_decoding_message_size(size),
        }
    }
}

impl hyper::service::Service<Request<Incoming>> for Surface {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Answer;

    fn call(&self, request: Request<Incoming>) -> Answer {
        let path = request.uri().path().strip_prefix('/');
        let service = path.and_then(|path| path.split_once('/'));
        let answer = match service {
            _ if self.caller.is_none() => None,
            Some((KeyServiceServer::<Keys>::NAME, _)) => {
                self.keys.clone().map(|mut keys| keys.call(request))
            }
            Some((KeyAdminServer::<Admin>::NAME, _)) => {
                self.admin.clone().map(|mut admin| admin.call(request))
            }
            Some((HealthServer::<HealthService>::NAME, _)) => {
                Some(self.health.clone().call(request))
            }
            _ => return refuse(status::no_such_method()),
        };
        answer.unwrap_or_else(|| {
            if let Some(caller) = &self.caller {
                tracing::warn!(
                    caller = caller.name(),
                    "refused: a service that its [[callers.allow]] does not name"
                );
            }
            refuse(status::not_allowed())
        })
    }
}

fn refuse(status: Status) -> Answer {
    Box::pin(ready(Ok(status.into_http())))
}

impl Shared {
    /// Turns an outcome into an answer, counts it and writes it down.
    fn answer<T>(
        &self,
        call: &Call<'_>,
        outcome: Result<T, Error>,
    ) -> Result<tonic::Response<T>, Status> {
        let rpc = call.rpc.as_str();
        let (caller, request) = (call.caller.name(), call.request_id);
        match outcome {
            Ok(answer) => {
                self.metrics.answered(call.rpc, status::OK, call.since);
                tracing::debug!(rpc, caller, request, "answered");
                Ok(tonic::Response::new(answer))
            }
            Err(error) => {
                let status = status::of(&error);
                let code = status::name(status.code());
                self.metrics.answered(call.rpc, code, call.since);
                if let Error::Policy(rule) = &error {
                    self.metrics.refused(rule.as_str());
                }
                match error {
                    Error::NotAllowed
                    | Error::Policy(_)
                    | Error::Backend(_)
                    | Error::NoActiveKey => {
                        tracing::warn!(rpc, caller, request, code, reason = %error, "refused");
                    }
                    _ => tracing::info!(rpc, caller, request, code, reason = %error, "refused"),
                }
                Err(status)
            }
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
}

impl<'a> Call<'a> {
    fn begin<T>(rpc: Rpc, caller: &'a Caller, request: &'a tonic::Request<T>) -> Call<'a> {
        let id = request.metadata().get("x-request-id");
        let id = id.and_then(|id| id.to_str().ok()).filter(|id| is_plain(id));
        Call {
            rpc,
            caller,
            request_id: id.unwrap_or(""),
            since: Instant::now(),
        }
    }
}

fn is_plain(id: &str) -> bool {
    // What a gateway lets pass in `X-Request-Id`.
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
    id.len() <= 64 && id.bytes().all(plain)
}
