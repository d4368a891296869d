//! The client credentials grant (RFC 6749 §4.4): a client for itself. No person, no ID token, no refresh token.

use super::{Grant, Granted};
use crate::client::authentication::AuthenticatedClient;
use crate::client::metadata::GrantType;
use crate::error::{Code, Failure, Refusal};
use crate::params::Params;
use crate::provider::Provider;
use crate::scope::{OFFLINE_ACCESS, OPENID, Scope};
use crate::store::table::Tag;
use crate::token::{self, IdToken, Order};

/// Issues an access token to the client itself.
pub(crate) async fn redeem(
    provider: &Provider,
    request_id: &str,
    client: &AuthenticatedClient,
    params: &Params<'_>,
) -> Result<Granted, Failure> {
    let grant = Grant {
        client_id: client.id().to_owned(),
        sub: client.id().to_owned(),
        scope: granted(&client.scope, params.one("scope")?)?,
        auth_time: 0,
        acr: String::new(),
        amr: Vec::new(),
    };
    let order = Order {
        client,
        grant: &grant,
        tag: &Tag::random(&provider.random),
        scope: &grant.scope,
        id_token: IdToken::NoPerson,
        now: provider.clock.now(),
    };
    let tokens = token::make(provider, request_id, &order).await?;
    if let Some(record) = tokens.record {
        provider.store.put(&[record]).await?;
    }
    provider.metrics.tokens_issued(GrantType::ClientCredentials);
    Ok(Granted {
        access_token: tokens.access_token,
        token_type: "Bearer",
        expires_in: tokens.expires_in,
        refresh_token: None,
        id_token: None,
        scope: grant.scope,
    })
}

/// What speaks of a person is left out, silently: the answer says what was granted (§3.3).
fn granted(registered: &Scope, asked: Option<&str>) -> Result<Scope, Refusal> {
    let asked = Scope::parse(asked.unwrap_or_default())?;
    if !asked.is_within(registered) {
        return Err(Refusal::new(
            Code::InvalidScope,
            "scope goes beyond what the client is registered for",
        ));
    }
    Ok(asked.filtered(|word| word != OPENID && word != OFFLINE_ACCESS))
}
