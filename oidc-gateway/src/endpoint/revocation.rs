//! `POST /revoke` (RFC 7009): a client gives a token back. A refresh token ends its whole family.

use super::from_client;
use crate::client::At;
use crate::error::{Code, Failure, Refusal};
use crate::grant;
use crate::provider::Provider;
use crate::token::bearer::{self, Found};
use crate::web::{Request, Response};

pub(crate) async fn handle(provider: &Provider, request: &Request) -> Result<Response, Failure> {
    let (client, params) = from_client(provider, request, At::Revocation).await?;
    let id = request.id().as_str();
    let token = params
        .one("token")?
        .ok_or(Refusal::new(Code::InvalidRequest, "token is missing"))?;
    // §2.1: token_type_hint may help a server that has to search; this one has not.
    match bearer::known(provider, id, token).await? {
        Some(Found::AccessToken(access)) if access.record.client_id == client.id() => {
            access.revoke(provider).await?;
        }
        Some(Found::RefreshToken { tag, family }) if family.grant.client_id == client.id() => {
            grant::revoke_with_beside(provider, &tag).await?;
        }
        // Whoever gives back a token that somebody else has renewed means what came of it, too.
        Some(Found::Replaced { tag, client_id }) if client_id == client.id() => {
            grant::revoke_with_beside(provider, &tag).await?;
        }
        // §2.2: an invalid token is as good as a revoked one. Another client's is left alone.
        Some(_) | None => {}
    }
    Ok(Response::empty())
}
