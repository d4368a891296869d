//! Access tokens: a random reference with a stored record, or a JWT (RFC 9068).

use proto::v1::Profile;
use serde::Serialize;
use serde_json::{Map, Value};

use super::claims::Asking;
use super::protection::Outgoing;
use super::{Order, issuer};
use crate::client::Client;
use crate::clock::seconds;
use crate::jose::alg::Algorithm;
use crate::json;
use crate::provider::Provider;
use crate::scope::{OPENID, Scope};
use crate::store::table::Tag;
use crate::user::custom::Target;

/// The purpose of the rings that sign JWT access tokens.
pub(crate) const PURPOSE: &str = "access-token";
/// The jti of a client's own token begins with this, and that of a family's with the tag.
const CLIENTS_OWN: &str = "c.";

/// What is known of an access token, whichever form it has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) client_id: String,
    /// As the client knows the person; or the client's own.
    pub(crate) sub: String,
    pub(crate) scope: Scope,
    pub(crate) aud: Vec<String>,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub(crate) iat: i64,
    pub(crate) exp: i64,
    /// Whether it speaks for a person; otherwise it is a client's own.
    pub(crate) is_persons: bool,
}

/// Whom an access token is for: us, where it opens userinfo, and what the client is registered for.
pub(super) fn audience(provider: &Provider, client: &Client, scope: &Scope) -> Vec<String> {
    let configured = &client.audience;
    let mut audience = Vec::with_capacity(configured.len() + 1);
    if configured.is_empty() || scope.has(OPENID) {
        audience.push(provider.issuer.to_string());
    }
    audience.extend(configured.iter().cloned());
    audience
}

/// RFC 9068 §2.2.
#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: OneOrMany,
    exp: i64,
    iat: i64,
    jti: String,
    client_id: &'a str,
    #[serde(skip_serializing_if = "Scope::is_empty")]
    scope: &'a Scope,
    #[serde(skip_serializing_if = "Option::is_none")]
    auth_time: Option<i64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    acr: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    amr: &'a [String],
    #[serde(flatten)]
    configured: Map<String, Value>,
}

/// RFC 7519 §4.1.3: a sole audience may be a string.
#[derive(Serialize)]
#[serde(untagged)]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// A JWT to be signed.
pub(super) fn jwt<'a>(
    provider: &Provider,
    order: &Order<'a>,
    algorithm: Algorithm,
) -> Outgoing<'a> {
    let grant = order.grant;
    let signed_in = grant.signed_in.as_ref();
    let mut audience = audience(provider, order.client, order.scope);
    let asking = Asking {
        client: order.client,
        grant,
        scope: order.scope,
    };
    let claims = Claims {
        iss: issuer(provider),
        sub: grant.subject(),
        aud: match (audience.pop(), audience.is_empty()) {
            (Some(one), true) => OneOrMany::One(one),
            (last, _) => OneOrMany::Many(audience.into_iter().chain(last).collect()),
        },
        exp: order.now + seconds(provider.config.tokens.access_token),
        iat: order.now,
        jti: match signed_in {
            Some(_) => format!("{}.{}", order.token.tag, provider.random.token128()),
            None => format!("{CLIENTS_OWN}{}", order.token.tag),
        },
        client_id: &grant.client_id,
        scope: order.scope,
        auth_time: signed_in.map(|signed_in| signed_in.auth_time),
        acr: signed_in.map_or("", |signed_in| signed_in.acr.as_str()),
        amr: signed_in.map_or(&[], |signed_in| signed_in.amr.as_slice()),
        configured: asking.configured(provider, Target::AccessToken),
    };
    Outgoing {
        profile: Profile::AccessToken,
        purpose: PURPOSE,
        algorithm,
        encryption: None,
        client: order.client,
        claims: json::write(&claims),
        hash_of: &[],
        once_key: order.once_key("access_token once_key"),
    }
}

/// The tag in a jti of ours, and whether it is a family's.
pub(super) fn tag_of(jti: &str) -> Option<(Tag, bool)> {
    match jti.strip_prefix(CLIENTS_OWN) {
        Some(tag) => Tag::parse(tag).map(|tag| (tag, false)),
        None => Tag::parse(jti.split_once('.')?.0).map(|tag| (tag, true)),
    }
}
