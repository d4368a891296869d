//! The ID token (OpenID Connect Core §2): who signed in, when and how. Claims about the person are for userinfo, unless
//! they were asked for here.

use proto::v1::Profile;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::claims::{Asking, Breadth};
use super::protection::Outgoing;
use super::{IdToken, Order, issuer};
use crate::clock::seconds;
use crate::jose::alg::Algorithm;
use crate::json;
use crate::provider::Provider;

/// The purpose of the rings that sign it.
pub(crate) const PURPOSE: &str = "id-token";

/// `[id_token]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Whether a refresh gives a new one, where the code came alone. Default: true.
    pub refresh_authorization_code: bool,
    /// Whether a refresh gives a new one, where the code came beside a token. Default: true.
    pub refresh_hybrid: bool,
    /// Whether the claims of the scopes are in every one, not only where there is no access token. Default: false.
    pub scope_claims: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            refresh_authorization_code: true,
            refresh_hybrid: true,
            scope_claims: false,
        }
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    exp: i64,
    iat: i64,
    auth_time: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    acr: &'a str,
    amr: &'a [String],
    azp: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    at_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    c_hash: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sid: Option<&'a str>,
    #[serde(flatten)]
    about: Map<String, Value>,
}

/// The access token that the ID token goes with.
#[derive(Debug, Clone, Copy)]
pub(super) enum Beside<'a> {
    Nothing,
    Opaque(&'a str),
    /// Signed in the same call, before it.
    Jwt,
}

/// What is to be signed; `None`: there is no person.
pub(super) fn outgoing<'a>(
    provider: &Provider,
    order: &Order<'a>,
    beside: Beside<'_>,
) -> Option<Outgoing<'a>> {
    let client = order.client;
    let algorithm = client.id_token.signed.unwrap_or(Algorithm::RS256);
    // S2-14: hashes bind what comes in one answer; a renewed one has neither (§12.2).
    let (nonce, code, is_renewed) = match order.id_token {
        IdToken::First { nonce } => (nonce, None, false),
        IdToken::FrontChannel { nonce, code } => (nonce, code, false),
        IdToken::None | IdToken::Renewed => (None, None, true),
    };
    let is_alone = matches!(
        (order.id_token, beside),
        (IdToken::FrontChannel { code: None, .. }, Beside::Nothing)
    );
    let breadth = match is_alone || provider.config.id_token.scope_claims {
        true => Breadth::Scopes,
        false => Breadth::Asked,
    };
    let asking = Asking {
        client,
        grant: order.grant,
        scope: order.scope,
    };
    let grant = order.grant;
    let signed_in = grant.signed_in.as_ref()?;
    // Front-Channel Logout §3, Back-Channel Logout §2.1: for clients that are told when the session ends.
    let is_told =
        client.frontchannel_logout_uri.is_some() || client.backchannel_logout_uri.is_some();
    let claims = Claims {
        iss: issuer(provider),
        sub: grant.subject(),
        aud: &grant.client_id,
        exp: order.now + seconds(provider.config.tokens.id_token),
        iat: order.now,
        auth_time: signed_in.auth_time,
        nonce,
        acr: &signed_in.acr,
        amr: &signed_in.amr,
        azp: &grant.client_id,
        at_hash: match beside {
            Beside::Opaque(token) if !is_renewed => Some(algorithm.left_half_hash(token)),
            _ => None,
        },
        c_hash: code.map(|code| algorithm.left_half_hash(code)),
        sid: signed_in.sid.as_deref().filter(|_| is_told),
        about: asking.id_token(provider, breadth),
    };
    Some(Outgoing {
        profile: Profile::IdToken,
        purpose: PURPOSE,
        algorithm,
        encryption: client.id_token.encrypted,
        client,
        claims: json::write(&claims),
        hash_of: match beside {
            Beside::Jwt if !is_renewed => &[("at_hash", 0)],
            _ => &[],
        },
        once_key: order.once_key("id_token once_key"),
    })
}

/// Whether a refresh of this grant gives a new one.
pub(crate) fn is_renewed(provider: &Provider, is_hybrid: bool) -> bool {
    let settings = &provider.config.id_token;
    match is_hybrid {
        true => settings.refresh_hybrid,
        false => settings.refresh_authorization_code,
    }
}
