//! What a person, or a client for itself, was granted; one file for each way to turn it into tokens (RFC 6749 §1.3).
//!
//! Everything that comes from one authorization is a *family*: see `family`.

pub(crate) mod authorization_code;
pub(crate) mod client_credentials;
pub(crate) mod family;
pub(crate) mod refresh_token;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client::metadata::GrantType;
use crate::error::{Code, Failure, Refusal};
use crate::params::Params;
use crate::provider::Provider;
use crate::scope::Scope;
use crate::store::Key;
use crate::store::table::Tag;
use crate::token::Tokens;

/// What was granted, by whom and how they had signed in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) client_id: String,
    pub(crate) sub: String,
    pub(crate) scope: Scope,
    /// Absent: a client's own, without a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signed_in: Option<SignedIn>,
}

/// How much longer than a code lives the end of its family is remembered.
const ENDED: Duration = Duration::from_secs(600);

/// How the End-User had signed in (OpenID Connect Core §2).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct SignedIn {
    /// Seconds since 1970-01-01T00:00:00Z.
    pub(crate) auth_time: i64,
    pub(crate) acr: String,
    pub(crate) amr: Vec<String>,
}

/// The tokens of one answer, ready to be sent (RFC 6749 §5.1).
#[derive(Debug, Serialize)]
pub(crate) struct Granted {
    pub(crate) access_token: String,
    pub(crate) token_type: &'static str,
    /// Seconds.
    pub(crate) expires_in: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) id_token: Option<String>,
    #[serde(skip_serializing_if = "Scope::is_empty")]
    pub(crate) scope: Scope,
}

impl Granted {
    /// What was made, with the refresh token that goes with it and the scope that was granted.
    fn of(tokens: Tokens, refresh_token: Option<String>, scope: Scope) -> Granted {
        Granted {
            access_token: tokens.access_token,
            token_type: "Bearer",
            expires_in: tokens.expires_in,
            refresh_token,
            id_token: tokens.id_token,
            scope,
        }
    }
}

/// RFC 6749 §4.1.3, §6: `grant_type` says which.
pub(crate) fn grant_type(params: &Params<'_>) -> Result<GrantType, Refusal> {
    let name = params
        .one("grant_type")?
        .ok_or(Refusal::new(Code::InvalidRequest, "grant_type is missing"))?;
    GrantType::named(name).ok_or(Refusal::new(
        Code::UnsupportedGrantType,
        "this grant_type is not supported",
    ))
}

/// May this client and this End-User still get tokens? Every grant and every use of a token asks here.
pub(crate) fn in_good_standing(provider: &Provider, client_id: &str, subject: &str) -> bool {
    provider.clients.find(client_id).is_some()
        && provider
            .users
            .by_subject(subject)
            .is_some_and(|user| !user.disabled)
}

/// Ends a family: its code, its refresh tokens and its access tokens.
pub(crate) async fn revoke(provider: &Provider, tag: &Tag) -> Result<(), Failure> {
    // For longer than anybody may still be at work on its code, which would otherwise be good again.
    let lives = provider.config.tokens.authorization_code + ENDED;
    Ok(provider.store.end(&Key::grant(tag), lives).await?)
}
