//! What Prometheus is told. Everything that a request touches is made at start, so that counting looks up nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::client::metadata::GrantType;
use crate::logout::back_channel::Outcome;

/// The calls of the key-service that a request waits for.
const CALLS: [&str; 6] = ["sign", "verify", "wrap", "rewrap", "decrypt", "mac"];
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];
/// In seconds: from a document out of memory to a password hash.
const BUCKETS: [f64; 9] = [
    0.000_1, 0.000_5, 0.001, 0.002_5, 0.005, 0.025, 0.1, 0.5, 2.5,
];

type Labels = [(&'static str, &'static str); 2];
type Label = [(&'static str, &'static str); 1];

/// The counters; a clone counts in the same place.
#[derive(Debug, Clone)]
pub(crate) struct Metrics(Arc<Counters>);

#[derive(Debug)]
struct Counters {
    registry: Registry,
    endpoints: Vec<Endpoint>,
    in_flight: Gauge,
    connections: Gauge,
    handshakes_failed: Counter,
    calls: Vec<Call>,
    tokens: Vec<Counter>,
    logins: [Counter; 2],
    back_channel_logouts: [Counter; 3],
}

#[derive(Debug)]
struct Endpoint {
    by_class: [Counter; CLASSES.len()],
    seconds: Histogram,
}

/// A call of the key-service.
#[derive(Debug)]
struct Call {
    name: &'static str,
    failures: Counter,
    seconds: Histogram,
}

impl Metrics {
    /// For these endpoints, which are counted by their positions. The store counts its errors itself.
    pub(crate) fn new(endpoints: &[&'static str], store_errors: Counter) -> Metrics {
        let mut registry = Registry::with_prefix("signet_gateway");
        let requests = Family::<Labels, Counter>::default();
        let seconds = Family::<Label, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        let tokens = Family::<Label, Counter>::default();
        let logins = Family::<Label, Counter>::default();
        let logouts = Family::<Label, Counter>::default();
        let call_failures = Family::<Label, Counter>::default();
        let call_seconds =
            Family::<Label, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        let counters = Counters {
            endpoints: endpoints
                .iter()
                .map(|endpoint| Endpoint {
                    by_class: CLASSES.map(|class| {
                        let labels = [("endpoint", *endpoint), ("status", class)];
                        requests.get_or_create_owned(&labels)
                    }),
                    seconds: seconds.get_or_create_owned(&[("endpoint", *endpoint)]),
                })
                .collect(),
            tokens: GrantType::ALL
                .iter()
                .map(|grant| tokens.get_or_create_owned(&[("grant_type", grant.as_str())]))
                .collect(),
            calls: CALLS
                .map(|name| Call {
                    name,
                    failures: call_failures.get_or_create_owned(&[("call", name)]),
                    seconds: call_seconds.get_or_create_owned(&[("call", name)]),
                })
                .into(),
            logins: ["failed", "succeeded"]
                .map(|outcome| logins.get_or_create_owned(&[("outcome", outcome)])),
            back_channel_logouts: ["told", "failed", "given_up"]
                .map(|outcome| logouts.get_or_create_owned(&[("outcome", outcome)])),
            registry: Registry::default(),
            in_flight: Gauge::default(),
            connections: Gauge::default(),
            handshakes_failed: Counter::default(),
        };
        registry.register("requests", "Requests answered", requests);
        registry.register(
            "request_duration_seconds",
            "From the headers to the answer",
            seconds,
        );
        registry.register("tokens_issued", "Token responses", tokens);
        registry.register("logins", "Password logins", logins);
        registry.register(
            "back_channel_logouts",
            "Attempts to tell a client that a session has ended",
            logouts,
        );
        registry.register(
            "requests_in_flight",
            "Requests being answered",
            counters.in_flight.clone(),
        );
        registry.register(
            "connections",
            "Open connections",
            counters.connections.clone(),
        );
        let handshakes = counters.handshakes_failed.clone();
        registry.register(
            "tls_handshakes_failed",
            "TLS handshakes that failed",
            handshakes,
        );
        registry.register("store_errors", "Store calls that failed", store_errors);
        let help = "Calls of the key-service that failed";
        registry.register("key_service_errors", help, call_failures);
        let help = "From the call of the key-service to its answer";
        registry.register("key_service_duration_seconds", help, call_seconds);
        Metrics(Arc::new(Counters {
            registry,
            ..counters
        }))
    }

    /// Counts a request at the endpoint of this position from here on.
    pub(crate) fn begin(&self, endpoint: usize, started: Instant) -> Counted<'_> {
        self.0.in_flight.inc();
        Counted {
            counters: &self.0,
            endpoint: &self.0.endpoints[endpoint],
            started,
        }
    }

    /// A connection is open as long as the answer lives.
    pub(crate) fn connection(&self) -> Connected {
        self.0.connections.inc();
        Connected(self.0.connections.clone())
    }

    /// A TLS handshake failed.
    pub(crate) fn handshake_failed(&self) {
        self.0.handshakes_failed.inc();
    }

    /// The key-service was called: what, how long it took, and whether it did what it was asked.
    pub(crate) fn key_service_call(&self, name: &str, took: Duration, fulfilled: bool) {
        let Some(call) = self.0.calls.iter().find(|call| call.name == name) else {
            debug_assert!(false, "a call that is not counted: {name}");
            return;
        };
        call.seconds.observe(took.as_secs_f64());
        if !fulfilled {
            call.failures.inc();
        }
    }

    /// Tokens were issued by this grant.
    pub(crate) fn tokens_issued(&self, grant: GrantType) {
        if let Some(counter) = self.0.tokens.get(grant as usize) {
            counter.inc();
        }
    }

    /// Somebody signed in.
    pub(crate) fn login_succeeded(&self) {
        self.0.logins[1].inc();
    }

    /// Somebody did not.
    pub(crate) fn login_failed(&self) {
        self.0.logins[0].inc();
    }

    /// A client was to be told that a session has ended.
    pub(crate) fn back_channel_logout(&self, outcome: Outcome) {
        self.0.back_channel_logouts[outcome as usize].inc();
    }

    /// The OpenMetrics text.
    pub(crate) fn text(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        match encode(&mut text, &self.0.registry) {
            Ok(()) => text,
            Err(_) => String::new(),
        }
    }
}

/// A request that is being answered. One that is given up counts as in flight no more, and nothing else.
#[derive(Debug)]
pub(crate) struct Counted<'a> {
    counters: &'a Counters,
    endpoint: &'a Endpoint,
    started: Instant,
}

impl Counted<'_> {
    /// It was answered with this status.
    pub(crate) fn end(self, status: u16) {
        let class = usize::from(status / 100).clamp(1, CLASSES.len()) - 1;
        self.endpoint.by_class[class].inc();
        let seconds = self.started.elapsed().as_secs_f64();
        self.endpoint.seconds.observe(seconds);
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.counters.in_flight.dec();
    }
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Connected(Gauge);

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts() {
        let metrics = Metrics::new(&["jwks", "token"], Counter::default());
        metrics.begin(1, Instant::now()).end(401);
        metrics.tokens_issued(GrantType::RefreshToken);
        metrics.key_service_call("sign", Duration::from_millis(1), false);
        metrics.login_failed();
        metrics.back_channel_logout(Outcome::GivenUp);
        let connection = metrics.connection();
        let abandoned = metrics.begin(0, Instant::now());
        let text = metrics.text();
        drop((connection, abandoned));
        for line in [
            "signet_gateway_requests_total{endpoint=\"token\",status=\"4xx\"} 1",
            "signet_gateway_requests_total{endpoint=\"jwks\",status=\"2xx\"} 0",
            "signet_gateway_request_duration_seconds_count{endpoint=\"token\"} 1",
            "signet_gateway_tokens_issued_total{grant_type=\"refresh_token\"} 1",
            "signet_gateway_key_service_errors_total{call=\"sign\"} 1",
            "signet_gateway_key_service_duration_seconds_count{call=\"sign\"} 1",
            "signet_gateway_logins_total{outcome=\"failed\"} 1",
            "signet_gateway_back_channel_logouts_total{outcome=\"given_up\"} 1",
            "signet_gateway_connections 1",
            "signet_gateway_requests_in_flight 1",
        ] {
            assert!(text.lines().any(|each| each == line), "{line}\n{text}");
        }
        assert!(
            metrics
                .text()
                .contains("signet_gateway_requests_in_flight 0")
        );
    }
}
