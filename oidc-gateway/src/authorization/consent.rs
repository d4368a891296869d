//! What a person allowed a client before (OpenID Connect Core §3.1.2.4). It is asked again when anything that was
//! shown is different: a scope more, another address, another name (BR-04).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::AuthorizationRequest;
use crate::client::Client;
use crate::error::Failure;
use crate::json;
use crate::provider::Provider;
use crate::scope::Scope;
use crate::store::{Key, Write};

/// How long it is remembered.
const LIVES: Duration = Duration::from_secs(365 * 86_400);

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Consent {
    scope: Scope,
    redirect_uri: String,
    client_name: String,
}

/// Whether all that is asked for now was allowed before.
pub(crate) async fn was_given(
    provider: &Provider,
    subject: &str,
    client: &Client,
    request: &AuthorizationRequest,
    redirect_uri: &str,
) -> Result<bool, Failure> {
    let key = [Key::consent(subject, client.id())];
    let value = provider.store.get(&key).await?.pop().flatten();
    let consent: Option<Consent> = value.and_then(|value| json::read(value.value()));
    Ok(consent.is_some_and(|consent| {
        request.scope.is_within(&consent.scope)
            && consent.redirect_uri == redirect_uri
            && consent.client_name == client.name
    }))
}

/// Remembers what was allowed.
pub(crate) async fn remember(
    provider: &Provider,
    subject: &str,
    client: &Client,
    request: &AuthorizationRequest,
    redirect_uri: &str,
) -> Result<(), Failure> {
    let consent = Consent {
        scope: request.scope.clone(),
        redirect_uri: redirect_uri.to_owned(),
        client_name: client.name.clone(),
    };
    let write = Write {
        key: Key::consent(subject, client.id()),
        value: json::write(&consent),
        lives: LIVES,
    };
    provider.store.put(&[write]).await?;
    Ok(())
}
