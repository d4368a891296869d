//! The client credentials grant (RFC 6749 §4.4): a client for itself. No person, no ID token, no refresh token.

use super::family::Family;
use super::{Grant, Granted};
use crate::client::Client;
use crate::client::authentication::AuthenticatedClient;
use crate::client::metadata::GrantType;
use crate::error::{Code, Failure, Refusal};
use crate::params::Params;
use crate::provider::Provider;
use crate::scope::{OFFLINE_ACCESS, OPENID, Scope};
use crate::store::table::TaggedToken;
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
        scope: granted(client, params.one("scope")?)?,
        ..Grant::default()
    };
    let now = provider.clock.now();
    let order = Order {
        client,
        grant: &grant,
        token: TaggedToken::random(&provider.random),
        scope: &grant.scope,
        id_token: IdToken::None,
        once: None,
        now,
    };
    let mut tokens = token::make(provider, request_id, &order).await?;
    let scope = grant.scope.clone();
    if let Some(opaque) = tokens.opaque.take() {
        let family = Family::new(grant.clone(), now, Some(opaque), None);
        let write = family.write(provider, &order.token.tag);
        provider.store.put(&[write]).await?;
    }
    provider.metrics.tokens_issued(GrantType::ClientCredentials);
    Ok(Granted::of(tokens, None, scope))
}

/// What speaks of a person is left out, silently: the answer says what was granted (§3.3).
fn granted(client: &Client, asked: Option<&str>) -> Result<Scope, Refusal> {
    let asked = Scope::parse_separated(asked.unwrap_or_default(), client.scope_separator)?;
    if !asked.is_within(&client.scope) {
        return Err(Refusal::new(
            Code::InvalidScope,
            "scope goes beyond what the client is registered for",
        ));
    }
    Ok(asked.filtered(|word| word != OPENID && word != OFFLINE_ACCESS))
}
