//! Subject types (OpenID Connect Core §8): what a client knows a person by. A pairwise one is computed by the
//! key-service from the client's sector and our own name of the person; there is no salt here that could leak.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::client::Client;
use crate::error::Failure;
use crate::keys::MacPurpose;
use crate::provider::Provider;
use crate::secret;

/// The ring whose first key is its only one.
pub(crate) const RING: &str = "pairwise-subject/HS256";

/// The "sub" for a client that must not know the person by our own name; `None`: it knows that name.
pub(crate) async fn pairwise(
    provider: &Provider,
    request_id: &str,
    client: &Client,
    local: &str,
) -> Result<Option<String>, Failure> {
    let Some(sector) = client.sector.as_deref() else {
        return Ok(None);
    };
    // §8.1: the same for all clients of a sector, another in each other one. A host has no octet 0.
    let mut input = Vec::with_capacity(sector.len() + 1 + local.len());
    input.extend_from_slice(sector.as_bytes());
    input.push(0);
    input.extend_from_slice(local.as_bytes());
    let purpose = MacPurpose::PairwiseSubject;
    let keys = &provider.keys;
    let output = keys.mac(request_id, purpose, RING, input.into()).await?;
    Ok(Some(URL_SAFE_NO_PAD.encode(output)))
}

/// Whether one of the "sub" values that a client presents is this person to it.
pub(crate) async fn matches(
    provider: &Provider,
    request_id: &str,
    client: &Client,
    local: &str,
    presented: &[&str],
) -> Result<bool, Failure> {
    let pairwise = pairwise(provider, request_id, client, local).await?;
    let sub = pairwise.as_deref().unwrap_or(local).as_bytes();
    let mut presented = presented.iter();
    Ok(presented.any(|each| secret::equal(sub, each.as_bytes())))
}
