//! The logout token (OpenID Connect Back-Channel Logout 1.0 §2.4): that a session has ended, for one client. Protected
//! as the client's ID tokens are.

use std::time::Duration;

use proto::v1::Profile;
use serde::Serialize;

use super::protection::{self, Outgoing};
use super::{id_token, issuer};
use crate::client::Client;
use crate::clock::seconds;
use crate::error::Failure;
use crate::jose::alg::Algorithm;
use crate::json;
use crate::provider::Provider;

/// §2.4: "preferably at most two minutes in the future".
const LIVES: Duration = Duration::from_secs(120);

/// What is to be told, and to whom.
#[derive(Debug)]
pub(crate) struct LogoutToken<'a> {
    /// The same in every repeat.
    pub(crate) jti: &'a str,
    pub(crate) client: &'a Client,
    /// What the client knows the person as.
    pub(crate) sub: &'a str,
    pub(crate) sid: &'a str,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    jti: &'a str,
    events: Events,
    sub: &'a str,
    sid: &'a str,
}

/// RFC 8417 §2.2: one event, of which nothing more is to be said.
#[derive(Serialize)]
struct Events {
    #[serde(rename = "http://schemas.openid.net/event/backchannel-logout")]
    back_channel_logout: Nothing,
}

#[derive(Serialize)]
struct Nothing {}

/// Signs it, and encrypts it where the client's ID tokens are: one call to the key-service.
pub(crate) async fn sign(provider: &Provider, token: &LogoutToken<'_>) -> Result<String, Failure> {
    let now = provider.clock.now();
    let client = token.client;
    let claims = Claims {
        iss: issuer(provider),
        aud: client.id(),
        iat: now,
        exp: now + seconds(LIVES),
        jti: token.jti,
        events: Events {
            back_channel_logout: Nothing {},
        },
        sub: token.sub,
        sid: token.sid,
    };
    let outgoing = Outgoing {
        profile: Profile::LogoutToken,
        purpose: id_token::PURPOSE,
        algorithm: client.id_token.signed.unwrap_or(Algorithm::RS256),
        encryption: client.id_token.encrypted,
        client,
        claims: json::write(&claims),
        hash_of: &[],
        once_key: None,
    };
    // No request leads to it: its own name is good enough for both sides' logs.
    let signed = protection::sign(provider, token.jti, &[outgoing]).await?;
    signed
        .into_iter()
        .next()
        .ok_or_else(|| Failure::Unavailable("a logout token is missing".to_owned()))
}
