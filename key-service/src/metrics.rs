//! What is counted (Prometheus text format 1.0), and the small HTTP server that shows it, with the probes for liveness
//! and readiness. No label ever holds what a caller sent.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use tokio::net::TcpListener;

use crate::audit::Log;
use crate::backend::{KINDS, State};
use crate::keyring::{Alarm, Keyring};
use crate::service::status;

/// The content type of the text format.
const TEXT: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The methods that are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rpc {
    Sign,
    /// One request of a stream.
    SignStream,
    Verify,
    Mac,
    Decrypt,
    Wrap,
    Rewrap,
    PublicJwks,
    WatchPublicJwks,
    Admin,
}

impl Rpc {
    const ALL: [Rpc; 10] = [
        Rpc::Sign,
        Rpc::SignStream,
        Rpc::Verify,
        Rpc::Mac,
        Rpc::Decrypt,
        Rpc::Wrap,
        Rpc::Rewrap,
        Rpc::PublicJwks,
        Rpc::WatchPublicJwks,
        Rpc::Admin,
    ];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Rpc::Sign => "Sign",
            Rpc::SignStream => "SignStream",
            Rpc::Verify => "Verify",
            Rpc::Mac => "Mac",
            Rpc::Decrypt => "Decrypt",
            Rpc::Wrap => "Wrap",
            Rpc::Rewrap => "Rewrap",
            Rpc::PublicJwks => "PublicJWKS",
            Rpc::WatchPublicJwks => "WatchPublicJWKS",
            Rpc::Admin => "KeyAdmin",
        }
    }

    /// What the audit log calls it: a signature is one, whichever way it was asked for.
    pub(crate) fn operation(self) -> &'static str {
        match self {
            Rpc::SignStream => Rpc::Sign.as_str(),
            other => other.as_str(),
        }
    }

    /// Whether it tells nothing but what is published.
    pub(crate) fn is_public(self) -> bool {
        matches!(self, Rpc::PublicJwks | Rpc::WatchPublicJwks)
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    rpc: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RpcLabel {
    rpc: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuleLabel {
    rule: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SignatureLabels {
    ring: String,
    backend: &'static str,
}

/// The counters. Those of the hot path are found without a lookup.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<RequestLabels, Counter>,
    succeeded: [Counter; Rpc::ALL.len()],
    durations: [Histogram; Rpc::ALL.len()],
    refusals: Family<RuleLabel, Counter>,
    signatures: HashMap<String, Counter>,
    handshakes_failed: Counter,
    /// Answers to a `once_key` that there was no room for.
    pub(crate) once_forgotten: Counter,
}

impl Metrics {
    /// Counters for these rings, whose keys are in a backend of this kind.
    pub fn new(rings: impl Iterator<Item = String>, backend: &'static str) -> Self {
        let mut registry = Registry::with_prefix("key_service");
        let requests = Family::<RequestLabels, Counter>::default();
        let durations = Family::<RpcLabel, Histogram>::new_with_constructor(|| {
            Histogram::new([
                25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1,
                0.5, 2.0,
            ])
        });
        let refusals = Family::<RuleLabel, Counter>::default();
        let signatures = Family::<SignatureLabels, Counter>::default();
        let handshakes_failed = Counter::default();
        let once_forgotten = Counter::default();
        registry.register("requests", "Requests answered", requests.clone());
        registry.register(
            "request_duration_seconds",
            "From the request's first line to the answer",
            durations.clone(),
        );
        registry.register(
            "refusals",
            "Refused by the claims firewall, and by a caller's rate",
            refusals.clone(),
        );
        registry.register("signatures", "Signatures made", signatures.clone());
        registry.register(
            "handshakes_failed",
            "TLS handshakes that failed",
            handshakes_failed.clone(),
        );
        registry.register(
            "once_forgotten",
            "Answers to a once_key that were forgotten early, for want of room",
            once_forgotten.clone(),
        );
        Metrics {
            succeeded: Rpc::ALL.map(|rpc| {
                let labels = RequestLabels {
                    rpc: rpc.as_str(),
                    code: status::OK,
                };
                requests.get_or_create_owned(&labels)
            }),
            durations: Rpc::ALL
                .map(|rpc| durations.get_or_create_owned(&RpcLabel { rpc: rpc.as_str() })),
            registry,
            requests,
            refusals,
            signatures: rings
                .map(|ring| {
                    let counter = |backend| {
                        let ring = ring.clone();
                        signatures.get_or_create_owned(&SignatureLabels { ring, backend })
                    };
                    // A series that says 0 is more than one that is not there.
                    for other in KINDS {
                        drop(counter(other));
                    }
                    let counter = counter(backend);
                    (ring, counter)
                })
                .collect(),
            handshakes_failed,
            once_forgotten,
        }
    }

    pub(crate) fn answered(&self, rpc: Rpc, code: &'static str, since: Instant) {
        self.durations[rpc as usize].observe(since.elapsed().as_secs_f64());
        if code == status::OK {
            self.succeeded[rpc as usize].inc();
        } else {
            self.requests
                .get_or_create(&RequestLabels {
                    rpc: rpc.as_str(),
                    code,
                })
                .inc();
        }
    }

    pub(crate) fn refused(&self, rule: &'static str) {
        self.refusals.get_or_create(&RuleLabel { rule }).inc();
    }

    pub(crate) fn signed(&self, ring: &str) {
        if let Some(counter) = self.signatures.get(ring) {
            counter.inc();
        }
    }

    pub(crate) fn handshake_failed(&self) {
        self.handshakes_failed.inc();
    }

    /// Everything, with what is read from the keys at this moment.
    fn text(&self, keyring: &Keyring, audit: Option<&Log>) -> String {
        let mut keys = String::new();
        // Writing to memory cannot fail.
        let _ = describe(&mut keys, keyring);
        if let Some(log) = audit {
            let _ = describe_audit(&mut keys, log);
        }
        let _ = encode(&mut keys, &self.registry);
        keys
    }
}

fn describe(text: &mut String, keyring: &Keyring) -> std::fmt::Result {
    let device = keyring.device();
    let now = keyring.clock().now();
    let now_in = device.state();
    let up = u8::from(now_in == State::Up);
    let name = "key_service_backend_up";
    writeln!(text, "# HELP {name} Whether the device answers.")?;
    writeln!(text, "# TYPE {name} gauge\n{name} {up}")?;
    let name = "key_service_backend_state";
    writeln!(text, "# HELP {name} Which state the device is in.")?;
    writeln!(text, "# TYPE {name} gauge")?;
    for state in State::ALL {
        let (label, is_in) = (state.as_str(), u8::from(state == now_in));
        writeln!(text, "{name}{{state=\"{label}\"}} {is_in}")?;
    }
    writeln!(
        text,
        "# HELP key_service_queue_length Requests that wait for the device."
    )?;
    writeln!(
        text,
        "# TYPE key_service_queue_length gauge\nkey_service_queue_length {}",
        device.queue_length()
    )?;
    let snapshot = keyring.snapshot_full();
    writeln!(
        text,
        "# HELP key_service_alarm Whether a person should look at a ring, and why."
    )?;
    writeln!(text, "# TYPE key_service_alarm gauge")?;
    for ring in snapshot.rings() {
        for alarm in Alarm::ALL {
            let (ring_name, name) = (ring.name(), alarm.as_str());
            let is_raised = u8::from(ring.alarms().contains(&alarm));
            writeln!(
                text,
                "key_service_alarm{{ring=\"{ring_name}\",alarm=\"{name}\"}} {is_raised}"
            )?;
        }
    }
    writeln!(
        text,
        "# HELP key_service_key_age_seconds Age of a key, with its state."
    )?;
    writeln!(text, "# TYPE key_service_key_age_seconds gauge")?;
    for ring in snapshot.rings() {
        for standing in ring.all_standings() {
            let (ring, state) = (ring.name(), standing.state.as_str());
            let (kid, age) = (&standing.key.kid, now - standing.key.created);
            writeln!(
                text,
                "key_service_key_age_seconds{{ring=\"{ring}\",kid=\"{kid}\",state=\"{state}\"}} {age}"
            )?;
        }
    }
    let name = "key_service_seal_opened";
    writeln!(
        text,
        "# HELP {name} What a key that seals opened, to be used or told.\n# TYPE {name} counter"
    )?;
    // Also of keys that opened nothing: before one is destroyed, that is what has to be seen.
    for (ring, kid) in snapshot.seal_kids() {
        let times = keyring.openings().of(kid).map_or(0, |opened| opened.times);
        writeln!(
            text,
            "{name}_total{{ring=\"{ring}\",kid=\"{kid}\"}} {times}"
        )?;
    }
    Ok(())
}

fn describe_audit(text: &mut String, log: &Log) -> std::fmt::Result {
    for (name, help, kind, value) in [
        (
            "audit_up",
            "Whether the audit log is written: nothing is answered while it is not.",
            "gauge",
            u64::from(log.is_up()),
        ),
        (
            "audit_records",
            "Records in the audit log.",
            "gauge",
            log.size(),
        ),
        (
            "audit_writes",
            "Times that records were written to the audit log, many or one at a time.",
            "counter",
            log.writes(),
        ),
        (
            "audit_failures",
            "Times that the audit log was not written.",
            "counter",
            log.failures(),
        ),
    ] {
        let total = if kind == "counter" { "_total" } else { "" };
        writeln!(text, "# HELP key_service_{name} {help}")?;
        writeln!(text, "# TYPE key_service_{name} {kind}")?;
        writeln!(text, "key_service_{name}{total} {value}")?;
    }
    Ok(())
}

/// Whether the service wants requests.
#[derive(Debug, Default)]
pub struct Readiness(AtomicBool);

impl Readiness {
    /// Says whether it does.
    pub fn set(&self, ready: bool) {
        self.0.store(ready, Ordering::Relaxed);
    }

    fn is_ready(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the HTTP server shows.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) audit: Option<Arc<Log>>,
    pub(crate) ready: Arc<Readiness>,
}

/// Serves metrics and probes until it is dropped.
pub(crate) async fn serve(listener: std::net::TcpListener, page: Arc<Page>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "metrics are not served"),
    };
    loop {
        let Ok((connection, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let page = Arc::clone(&page);
        tokio::spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let response = page.answer(request.method(), request.uri().path());
                async move { Ok::<_, Infallible>(response) }
            });
            let served = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(Duration::from_secs(10))
                .serve_connection(TokioIo::new(connection), answer);
            // Who scrapes and goes away early is no event.
            let _ = tokio::time::timeout(Duration::from_secs(300), served).await;
        });
    }
}

/// Opens the port.
pub(crate) fn bind(address: SocketAddr) -> std::io::Result<std::net::TcpListener> {
    let listener = std::net::TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

impl Page {
    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let (status, kind, text) = match path {
            _ if method != Method::GET && method != Method::HEAD => (
                StatusCode::METHOD_NOT_ALLOWED,
                "text/plain",
                "GET only\n".to_owned(),
            ),
            "/metrics" => {
                let audit = self.audit.as_deref();
                (
                    StatusCode::OK,
                    TEXT,
                    self.metrics.text(&self.keyring, audit),
                )
            }
            "/health/live" => (StatusCode::OK, "text/plain", "live\n".to_owned()),
            "/health/ready" if self.is_ready() => {
                (StatusCode::OK, "text/plain", "ready\n".to_owned())
            }
            "/health/ready" => (
                StatusCode::SERVICE_UNAVAILABLE,
                "text/plain",
                "not ready\n".to_owned(),
            ),
            _ => (
                StatusCode::NOT_FOUND,
                "text/plain",
                "not found\n".to_owned(),
            ),
        };
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        let kind = header::HeaderValue::from_static(kind);
        response.headers_mut().insert(header::CONTENT_TYPE, kind);
        response
    }

    fn is_ready(&self) -> bool {
        self.ready.is_ready() && self.keyring.device().state() == State::Up
    }
}
