//! The port for operators: metrics and probes, apart from the public one (OpenMetrics 1.0).

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::time::sleep;

use super::{Response, failure};
use crate::metrics::Metrics;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers for as long as it is polled.
pub(crate) async fn serve(listener: TcpListener, metrics: Metrics) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(Duration::from_millis(50)).await;
            continue;
        };
        let metrics = metrics.clone();
        let service = service_fn(move |request| {
            let response = answer(&request, &metrics);
            async move { Ok::<_, Infallible>(response) }
        });
        let connection = http.serve_connection(TokioIo::new(stream), service);
        // A scrape is one request: what goes wrong shows at the scraper.
        tokio::spawn(async move { connection.await.ok() });
    }
}

fn answer(request: &http::Request<Incoming>, metrics: &Metrics) -> http::Response<Full<Bytes>> {
    let response = match request.uri().path() {
        "/metrics" => Response::of_type(OPENMETRICS, metrics.text()),
        "/health/live" => crate::endpoint::health::live(),
        _ => failure::not_found(),
    };
    response.0
}
