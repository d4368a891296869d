//! `POST /token` (RFC 6749 §3.2, OpenID Connect Core §3.1.3).

use super::from_client;
use crate::client::At;
use crate::client::metadata::GrantType;
use crate::error::{Code, Failure, Refusal};
use crate::grant::{self, authorization_code, client_credentials, refresh_token};
use crate::json;
use crate::provider::Provider;
use crate::web::{Request, Response};

pub(crate) async fn handle(provider: &Provider, request: &Request) -> Result<Response, Failure> {
    let (client, params) = from_client(provider, request, At::Token).await?;
    let id = request.id().as_str();
    let grant_type = grant::grant_type(&params)?;
    if !client.may_use(grant_type) {
        return Err(Refusal::new(
            Code::UnauthorizedClient,
            "the client is not registered for this grant_type",
        )
        .into());
    }
    let granted = match grant_type {
        GrantType::AuthorizationCode => {
            authorization_code::redeem(provider, id, &client, &params).await?
        }
        GrantType::RefreshToken => refresh_token::redeem(provider, id, &client, &params).await?,
        GrantType::ClientCredentials => {
            client_credentials::redeem(provider, id, &client, &params).await?
        }
        GrantType::Implicit => return Err(grant::UNSUPPORTED.into()),
    };
    Ok(Response::json(json::write(&granted)))
}
