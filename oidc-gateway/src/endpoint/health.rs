//! Probes: alive is a process that answers; ready is one whose store and key-service answer too.

use crate::provider::Provider;
use crate::web::Response;
use crate::web::failure;

/// 200 as long as the process answers.
pub(crate) fn live() -> Response {
    Response::json("{\"status\":\"live\"}")
}

/// 200 when requests will succeed, else 503 and which part does not answer.
pub(crate) async fn ready(provider: &Provider) -> Response {
    if provider.store.ping().await.is_err() {
        return failure::not_ready("{\"status\":\"not ready\",\"waiting_for\":\"store\"}");
    }
    if provider.keys.published().is_none() {
        return failure::not_ready("{\"status\":\"not ready\",\"waiting_for\":\"key-service\"}");
    }
    Response::json("{\"status\":\"ready\"}")
}
