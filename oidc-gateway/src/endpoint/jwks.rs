//! `GET /jwks` (RFC 7517 §5): the key-service's JWK Set, from memory.

use crate::endpoint::discovery;
use crate::error::Failure;
use crate::provider::Provider;
use crate::web::{Request, Response};

pub(crate) async fn handle(provider: &Provider, request: &Request) -> Result<Response, Failure> {
    let documents = discovery::documents(provider)?;
    Ok(Response::document(request, &documents.jwks))
}
