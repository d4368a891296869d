//! What a person, or a client for itself, was granted; one file for each way to turn it into tokens (RFC 6749 §1.3).
//!
//! Everything that comes from one authorization is a *family*: see `family`.

pub(crate) mod authorization_code;
pub(crate) mod client_credentials;
pub(crate) mod family;
pub(crate) mod refresh_token;

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use self::family::{Family, Opaque};
use crate::authorization::claims_parameter::ClaimsRequest;
use crate::client::Client;
use crate::client::metadata::GrantType;
use crate::error::{Code, Failure, Refusal};
use crate::page::locale::Locales;
use crate::params::Params;
use crate::provider::Provider;
use crate::scope::Scope;
use crate::store::Key;
use crate::store::table::Tag;
use crate::token::Tokens;

/// What was granted, by whom and how they had signed in. `..Grant::default()` leaves out what was not asked for; that
/// is not stored either.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Grant {
    pub(crate) client_id: String,
    /// The person by our own name (`User::subject`), or the client itself. For looking people up: what leaves is
    /// `subject()`.
    pub(crate) sub: String,
    /// What the client knows the person by, where that is another name: see `user::subject`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) pairwise: Option<String>,
    pub(crate) scope: Scope,
    /// Absent: a client's own, without a person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signed_in: Option<SignedIn>,
    /// OpenID Connect Core §5.5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) claims: Option<ClaimsRequest>,
    /// OpenID Connect Core §5.2.
    #[serde(default, skip_serializing_if = "Locales::is_empty")]
    pub(crate) claims_locales: Locales,
    /// Which of the person's own labels stand behind the labelled scopes: see `user::label`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) labels: BTreeMap<String, String>,
    /// Whether the code came beside a token (OpenID Connect Core §3.3).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(crate) is_hybrid: bool,
}

impl Grant {
    /// "sub" as the client knows it (OpenID Connect Core §8): in everything that leaves.
    pub(crate) fn subject(&self) -> &str {
        self.pairwise.as_deref().unwrap_or(&self.sub)
    }
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
    /// The public name of the session that the grant was made in (Front-Channel Logout §3): see `session::Session`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) sid: Option<String>,
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
    let grant_type = GrantType::named(name).filter(|&grant_type| grant_type != GrantType::Implicit);
    grant_type.ok_or(UNSUPPORTED)
}

/// §4.2: what is granted implicitly is given at the authorization endpoint, and not here.
pub(crate) const UNSUPPORTED: Refusal = Refusal::new(
    Code::UnsupportedGrantType,
    "this grant_type is not supported",
);

/// May this client and this End-User still get tokens? Every grant and every use of a token asks here, with the client as
/// it is known now.
pub(crate) fn in_good_standing(provider: &Provider, client: &Client, subject: &str) -> bool {
    let user = provider.users.by_subject(subject);
    !client.disabled && user.is_some_and(|user| !user.disabled)
}

/// Keeps a family that has an access token and nothing else.
pub(crate) async fn keep(
    provider: &Provider,
    grant: Grant,
    tag: &Tag,
    access_token: Option<Opaque>,
) -> Result<(), Failure> {
    let family = Family::new(grant, provider.clock.now(), access_token, None);
    let write = family.write(provider, tag);
    provider.store.put(&[write]).await?;
    Ok(())
}

/// Ends a family, and what was issued beside its code (OpenID Connect Core §3.3), whatever its client is registered for
/// by now. The two are no neighbours in the store.
pub(crate) async fn revoke_with_beside(provider: &Provider, tag: &Tag) -> Result<(), Failure> {
    revoke(provider, tag).await?;
    revoke(provider, &tag.beside()).await
}

/// Ends a family: its code, its refresh tokens and its access tokens.
pub(crate) async fn revoke(provider: &Provider, tag: &Tag) -> Result<(), Failure> {
    // For longer than anybody may still be at work on its code, which would otherwise be good again.
    let lives = provider.config.tokens.authorization_code + ENDED;
    Ok(provider.store.end(&Key::grant(tag), lives).await?)
}
