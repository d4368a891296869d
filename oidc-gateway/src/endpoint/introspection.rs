//! `POST /introspect` (RFC 7662): whether a token is good, told to whom it concerns and to nobody else.

use serde::Serialize;
use serde_json::{Map, Value};

use super::from_client;
use crate::client::At;
use crate::error::{Code, Failure, Refusal};
use crate::json;
use crate::provider::Provider;
use crate::scope::Scope;
use crate::token::bearer::{self, Found};
use crate::token::claims::Asking;
use crate::token::issuer;
use crate::user::custom::Target;
use crate::web::{Request, Response};

/// RFC 7662 §2.2.
#[derive(Debug, Serialize)]
struct Introspection<'a> {
    active: bool,
    #[serde(skip_serializing_if = "Scope::is_empty")]
    scope: &'a Scope,
    client_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    username: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_type: Option<&'static str>,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iat: Option<i64>,
    sub: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    aud: &'a [String],
    iss: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    jti: Option<&'a str>,
    #[serde(flatten)]
    configured: Map<String, Value>,
}

pub(crate) async fn handle(provider: &Provider, request: &Request) -> Result<Response, Failure> {
    let (client, params) = from_client(provider, request, At::Introspection).await?;
    let id = request.id().as_str();
    // §2.1: "the protected resource ... MUST ... authenticate": a public client has not.
    if client.is_public() {
        return Err(Refusal::new(
            Code::InvalidClient,
            "introspection needs a client that authenticates itself",
        )
        .into());
    }
    let token = params
        .one("token")?
        .ok_or(Refusal::new(Code::InvalidRequest, "token is missing"))?;
    let found = bearer::find(provider, id, token).await?;
    let body = match &found {
        Some(Found::AccessToken(access)) => {
            let record = &access.record;
            // IN-01: its own, or one that is meant for it.
            let concerns = record.client_id == client.id()
                || record.aud.iter().any(|audience| audience == client.id());
            let grant = &access.grant;
            // The name would tell what a pairwise subject hides.
            let user = (record.is_persons && grant.pairwise.is_none())
                .then(|| provider.users.by_subject(&grant.sub))
                .flatten();
            let asking = Asking {
                client: &access.client,
                grant,
                scope: &record.scope,
            };
            concerns.then(|| Introspection {
                active: true,
                scope: &record.scope,
                client_id: &record.client_id,
                username: user.map(|user| user.username.as_str()),
                token_type: Some("Bearer"),
                exp: record.exp,
                iat: Some(record.iat),
                sub: &record.sub,
                aud: &record.aud,
                iss: issuer(provider),
                jti: access.jti(),
                configured: asking.configured(provider, Target::Introspection),
            })
        }
        Some(Found::RefreshToken { family, .. }) => {
            let grant = &family.grant;
            (grant.client_id == client.id()).then(|| Introspection {
                active: true,
                scope: &grant.scope,
                client_id: &grant.client_id,
                username: None,
                token_type: None,
                exp: family.expires(provider),
                iat: None,
                sub: grant.subject(),
                aud: &[],
                iss: issuer(provider),
                jti: None,
                configured: Map::new(),
            })
        }
        Some(Found::Replaced { .. }) | None => None,
    };
    Ok(match body {
        Some(body) => Response::json(json::write(&body)),
        // §2.2: nothing more than that, whatever the reason.
        None => Response::json("{\"active\":false}"),
    })
}
