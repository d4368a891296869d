//! `GET /.well-known/openid-configuration` (OpenID Connect Discovery §3) and RFC 8414: made from the tables that
//! validate, and from what the key-service says it can do. Nothing is advertised that is not there.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::authorization::request::Prompt;
use crate::client::metadata::{
    AuthenticationMethod, GrantType, ResponseMode, ResponseType, SubjectType,
};
use crate::error::Failure;
use crate::jose::alg::Algorithm;
use crate::keys::Published;
use crate::pkce;
use crate::provider::Provider;
use crate::scope::{OFFLINE_ACCESS, OPENID};
use crate::token::{self, id_token};
use crate::user::claims;
use crate::web::response::Document;
use crate::web::{Request, Response};

/// How long others may keep the discovery document: seconds.
const MAX_AGE: u64 = 300;

/// What is published about one state of the keys.
#[derive(Debug)]
pub(crate) struct Documents {
    epoch: String,
    pub(crate) discovery: Document,
    pub(crate) jwks: Document,
}

pub(crate) async fn handle(provider: &Provider, request: &Request) -> Result<Response, Failure> {
    let documents = documents(provider)?;
    Ok(Response::document(request, &documents.discovery))
}

/// The documents as the keys are now; rendered when that has changed.
pub(crate) fn documents(provider: &Provider) -> Result<Arc<Documents>, Failure> {
    let published = provider.keys.published().ok_or_else(|| {
        Failure::Unavailable("the key-service has not told its keys yet".to_owned())
    })?;
    if let Some(documents) = provider.documents.load_full()
        && documents.epoch == published.epoch
    {
        return Ok(documents);
    }
    for client in provider.clients.iter() {
        for (purpose, algorithm) in token::rings(client) {
            if !published.signs(purpose, algorithm.as_str()) {
                tracing::warn!(
                    client_id = client.id(),
                    ring = format!("{purpose}/{algorithm}"),
                    "the key-service has no ring that this client's tokens need"
                );
            }
        }
    }
    let documents = Arc::new(Documents {
        epoch: published.epoch.clone(),
        discovery: Document::json(metadata(provider, &published).to_string(), MAX_AGE),
        jwks: Document::json(published.jwks.clone(), published.max_age.into()),
    });
    provider.documents.store(Some(documents.clone()));
    Ok(documents)
}

fn metadata(provider: &Provider, published: &Published) -> Value {
    let url = |path: &str| Value::String(provider.url(path));
    let names = |all: &[&str]| Value::from(all.to_vec());
    let methods: Vec<&str> = AuthenticationMethod::ALL
        .iter()
        .map(|each| each.as_str())
        .collect();
    // RFC 7662 §2.1: nobody introspects without authentication.
    let confidential: Vec<&str> = AuthenticationMethod::ALL
        .iter()
        .filter(|&&each| each != AuthenticationMethod::None)
        .map(|each| each.as_str())
        .collect();
    let signs: Vec<&str> = Algorithm::ALL
        .iter()
        .map(|each| each.as_str())
        .filter(|name| published.signs(id_token::PURPOSE, name))
        .collect();
    let verifies: Vec<&str> = Algorithm::ALL
        .iter()
        .map(|each| each.as_str())
        .filter(|name| {
            published
                .capabilities
                .verify_alg
                .iter()
                .any(|alg| alg == name)
        })
        .collect();
    let mut scopes = vec![OPENID];
    scopes.extend(claims::SCOPES);
    scopes.push(OFFLINE_ACCESS);
    let mut claims_supported = vec![
        "sub",
        "iss",
        "aud",
        "exp",
        "iat",
        "auth_time",
        "nonce",
        "acr",
        "amr",
        "azp",
        "at_hash",
    ];
    claims_supported.extend(claims::supported());
    json!({
        "issuer": &*provider.issuer,
        "authorization_endpoint": url("/authorize"),
        "token_endpoint": url("/token"),
        "userinfo_endpoint": url("/userinfo"),
        "jwks_uri": url("/jwks"),
        "introspection_endpoint": url("/introspect"),
        "revocation_endpoint": url("/revoke"),
        "end_session_endpoint": url("/logout"),
        "scopes_supported": names(&scopes),
        "response_types_supported": ResponseType::ALL.iter().map(|each| each.as_str()).collect::<Vec<_>>(),
        "response_modes_supported": ResponseMode::ALL.iter().map(|each| each.as_str()).collect::<Vec<_>>(),
        "grant_types_supported": GrantType::ALL.iter().map(|each| each.as_str()).collect::<Vec<_>>(),
        "subject_types_supported": SubjectType::ALL.iter().map(|each| each.as_str()).collect::<Vec<_>>(),
        "id_token_signing_alg_values_supported": signs,
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": verifies,
        "introspection_endpoint_auth_methods_supported": confidential,
        "introspection_endpoint_auth_signing_alg_values_supported": verifies,
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": verifies,
        "code_challenge_methods_supported": [pkce::METHOD],
        "prompt_values_supported": Prompt::ALL,
        "acr_values_supported": [crate::login::password::ACR],
        "claim_types_supported": ["normal"],
        "claims_supported": claims_supported,
        "claims_parameter_supported": false,
        "request_parameter_supported": false,
        "request_uri_parameter_supported": false,
        "authorization_response_iss_parameter_supported": true,
    })
}
