//! `sector_identifier_uri` (OpenID Connect Core §8.1, Registration §5): whose redirect URIs share pairwise subjects. The
//! list is fetched when a client registers or changes, and holds all of its redirect URIs.

use super::Wrong;
use super::metadata::Metadata;
use crate::provider::Provider;

const MEMBER: &str = "sector_identifier_uri";

/// Fetches and checks the list, if the metadata names one.
pub(super) async fn check(
    provider: &Provider,
    request_id: &str,
    metadata: &Metadata,
) -> Result<(), Wrong> {
    let Some(uri) = &metadata.sector_identifier_uri else {
        return Ok(());
    };
    let body = provider
        .fetch
        .get_for_anybody(uri, "application/json")
        .await;
    let body = body.map_err(|why| {
        tracing::info!(request_id, %why, "a sector_identifier_uri");
        Wrong::new(MEMBER, "cannot be fetched")
    })?;
    let sector: Vec<String> = serde_json::from_slice(&body)
        .map_err(|_| Wrong::new(MEMBER, "does not lead to a JSON array of URIs"))?;
    match metadata
        .redirect_uris
        .iter()
        .all(|uri| sector.contains(uri))
    {
        true => Ok(()),
        false => Err(Wrong::new(
            MEMBER,
            "leads to a list that lacks a redirect URI",
        )),
    }
}
