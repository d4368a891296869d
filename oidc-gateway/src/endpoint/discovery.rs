//! `GET /.well-known/openid-configuration` (OpenID Connect Discovery §3) and RFC 8414: made from the tables that
//! validate, and from what the key-service says it can do. Nothing is advertised that is not there.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use crate::authorization::request::{DISPLAY, Prompt};
use crate::client::metadata::{AuthenticationMethod, GrantType, ResponseMode, ResponseType};
use crate::client::supported::Supported;
use crate::error::Failure;
use crate::keys::Published;
use crate::page::text;
use crate::pkce;
use crate::provider::Provider;
use crate::scope::{OFFLINE_ACCESS, OPENID};
use crate::token;
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
    let mut scopes = vec![OPENID];
    scopes.extend(claims::SCOPES);
    scopes.push(OFFLINE_ACCESS);
    scopes.extend(provider.config.claims.scopes.keys().map(String::as_str));
    let mut claims_supported: Vec<&str> = vec![
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
        "c_hash",
        "sid",
    ];
    claims_supported.extend(claims::supported().map(|name| -> &str { name }));
    let custom = provider.config.claims.custom.iter();
    let custom: BTreeSet<&str> = custom
        .filter(|custom| custom.is_public() && !claims_supported.contains(&custom.name.as_str()))
        .map(|custom| custom.name.as_str())
        .collect();
    claims_supported.extend(custom);
    let mut document = json!({
        "issuer": &*provider.issuer,
        "authorization_endpoint": url("/authorize"),
        "token_endpoint": url("/token"),
        "userinfo_endpoint": url("/userinfo"),
        "jwks_uri": url("/jwks"),
        "introspection_endpoint": url("/introspect"),
        "revocation_endpoint": url("/revoke"),
        "end_session_endpoint": url("/logout"),
        "frontchannel_logout_supported": true,
        "frontchannel_logout_session_supported": true,
        "backchannel_logout_supported": true,
        "backchannel_logout_session_supported": true,
        "scopes_supported": names(&scopes),
        "grant_types_supported": GrantType::ALL.iter().map(|each| each.as_str()).collect::<Vec<_>>(),
        "claim_types_supported": ["normal"],
        "claims_supported": claims_supported,
    });
    add(&mut document, authorization_requests(provider));
    if provider.registration.is_there() {
        document["registration_endpoint"] = url("/register");
    }
    let settings = &provider.config.discovery;
    for (name, page) in [
        ("service_documentation", &settings.service_documentation),
        ("op_policy_uri", &settings.op_policy_uri),
        ("op_tos_uri", &settings.op_tos_uri),
    ] {
        if let Some(page) = page {
            document[name] = page.as_str().into();
        }
    }
    let locales = provider.users.claims_locales();
    if !locales.is_empty() {
        document["claims_locales_supported"] = json!(locales);
    }
    if provider.config.session_management.enabled {
        document["check_session_iframe"] = url("/check_session");
    }
    if let Some(members) = document.as_object_mut() {
        members.extend(algorithms(&Supported::of(provider, published)));
        // What nothing can be chosen of is not there.
        members.retain(|_, value| value.as_array().is_none_or(|all| !all.is_empty()));
    }
    document
}

/// What registration is held against, too.
fn algorithms(supported: &Supported) -> Map<String, Value> {
    let Supported {
        id_token,
        userinfo,
        request_object,
        ..
    } = supported;
    let methods = &supported.authentication;
    // RFC 7662 §2.1: nobody introspects without authentication.
    let confidential: Vec<_> = methods
        .iter()
        .filter(|&&each| each != AuthenticationMethod::None)
        .collect();
    let assertions = &supported.authentication_signing;
    let members = json!({
        "subject_types_supported": supported.subject_types,
        "id_token_signing_alg_values_supported": id_token.signing,
        "id_token_encryption_alg_values_supported": id_token.encryption_alg,
        "id_token_encryption_enc_values_supported": id_token.encryption_enc,
        "userinfo_signing_alg_values_supported": userinfo.signing,
        "userinfo_encryption_alg_values_supported": userinfo.encryption_alg,
        "userinfo_encryption_enc_values_supported": userinfo.encryption_enc,
        "request_object_signing_alg_values_supported": request_object.signing,
        "request_object_encryption_alg_values_supported": request_object.encryption_alg,
        "request_object_encryption_enc_values_supported": request_object.encryption_enc,
        "token_endpoint_auth_methods_supported": methods,
        "token_endpoint_auth_signing_alg_values_supported": assertions,
        "introspection_endpoint_auth_methods_supported": confidential,
        "introspection_endpoint_auth_signing_alg_values_supported": assertions,
        "revocation_endpoint_auth_methods_supported": methods,
        "revocation_endpoint_auth_signing_alg_values_supported": assertions,
    });
    match members {
        Value::Object(members) => members,
        _ => Map::new(),
    }
}

/// What may be asked for at the authorization endpoint, and how its answers come.
fn authorization_requests(provider: &Provider) -> Value {
    json!({
        "response_types_supported": ResponseType::ALL.iter().map(|each| each.as_str()).collect::<Vec<_>>(),
        "response_modes_supported": ResponseMode::ALL.iter().map(|each| each.as_str()).collect::<Vec<_>>(),
        "code_challenge_methods_supported": [pkce::METHOD],
        "prompt_values_supported": Prompt::ALL,
        "display_values_supported": DISPLAY,
        "ui_locales_supported": text::ALL.map(|text| text.language),
        "acr_values_supported": provider.config.authorization.acr_values_supported,
        "claims_parameter_supported": true,
        "request_parameter_supported": true,
        "request_uri_parameter_supported": true,
        "require_request_uri_registration": true,
        "authorization_response_iss_parameter_supported": true,
    })
}

fn add(document: &mut Value, members: Value) {
    if let (Some(document), Value::Object(members)) = (document.as_object_mut(), members) {
        document.extend(members);
    }
}
