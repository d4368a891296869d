//! Probes: alive is a process that answers; ready is one whose store answers too and that has heard from the key-service.
//! It stays ready when the key-service goes away later: the JWK Set and the discovery document are served without it, and
//! would be taken from relying parties if every gateway left its service at once.

use crate::provider::Provider;
use crate::web::Response;
use crate::web::failure;

/// 200 as long as the process answers.
pub(crate) fn live() -> Response {
    Response::json("{\"status\":\"live\"}")
}

/// 200, or 503 and which part is missing.
pub(crate) async fn ready(provider: &Provider) -> Response {
    if provider.store.ping().await.is_err() {
        return failure::not_ready("{\"status\":\"not ready\",\"waiting_for\":\"store\"}");
    }
    if provider.keys.published().is_none() {
        return failure::not_ready("{\"status\":\"not ready\",\"waiting_for\":\"key-service\"}");
    }
    Response::json("{\"status\":\"ready\"}")
}
