//! The authorization code grant (RFC 6749 §4.1.3, OpenID Connect Core §3.1.3): claim, sign, commit. A code is neither
//! spent twice nor burned when the signer fails in between.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::family::Family;
use super::refresh_token::Rotation;
use super::{Grant, Granted, in_good_standing, revoke_with_beside};
use crate::client::authentication::AuthenticatedClient;
use crate::client::metadata::GrantType;
use crate::clock::seconds;
use crate::error::{Code, Failure, Refusal};
use crate::json;
use crate::params::Params;
use crate::pkce::Challenge;
use crate::provider::Provider;
use crate::scope::{OFFLINE_ACCESS, OPENID};
use crate::store::table::{TaggedToken, hash_of};
use crate::store::{Claim, Key, Write};
use crate::token::{self, IdToken, Order};

/// Longer than a signature takes, shorter than anybody waits.
const LEASE: Duration = Duration::from_secs(5);

const INVALID: Refusal = Refusal::new(
    Code::InvalidGrant,
    "the code is unknown, was used, has expired, or was issued for another request",
);

/// What is stored with a code.
#[derive(Debug, Serialize, Deserialize)]
struct Issued {
    grant: Grant,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<String>,
    /// Seconds since 1970-01-01T00:00:00Z; inside the value too, not only its time to live.
    expires: i64,
}

/// What a code is bound to; kept as a hash, so that the store can compare and cannot tell.
struct Binding<'a> {
    client_id: &'a str,
    redirect_uri: &'a str,
    challenge: &'a Challenge,
}

impl Binding<'_> {
    fn hash(&self, code: &TaggedToken) -> String {
        let secret = code.hash("authorization_code");
        let parts = [
            &secret,
            self.client_id,
            self.redirect_uri,
            self.challenge.as_str(),
        ];
        hash_of("authorization_code binding", &parts)
    }
}

/// What an authorization request leads to, before it has a code.
#[derive(Debug)]
pub(crate) struct Authorized<'a> {
    pub(crate) grant: Grant,
    pub(crate) nonce: Option<&'a str>,
    pub(crate) redirect_uri: &'a str,
    pub(crate) challenge: &'a Challenge,
}

/// Issues a code of 256 random bits (RFC 6749 §10.10): with a new tag, nobody has it before.
pub(crate) async fn issue(
    provider: &Provider,
    code: &TaggedToken,
    authorized: Authorized<'_>,
) -> Result<(), Failure> {
    let binding = Binding {
        client_id: &authorized.grant.client_id,
        redirect_uri: authorized.redirect_uri,
        challenge: authorized.challenge,
    }
    .hash(code);
    let lives = provider.config.tokens.authorization_code;
    let issued = Issued {
        grant: authorized.grant,
        nonce: authorized.nonce.map(str::to_owned),
        expires: provider.clock.now() + seconds(lives),
    };
    let write = Write {
        key: Key::code(&code.tag),
        value: json::write(&issued),
        lives,
    };
    provider.store.issue(&write, &binding).await?;
    Ok(())
}

/// Redeems a code.
pub(crate) async fn redeem(
    provider: &Provider,
    request_id: &str,
    client: &AuthenticatedClient,
    params: &Params<'_>,
) -> Result<Granted, Failure> {
    let missing = |description| Refusal::new(Code::InvalidRequest, description);
    let code = params.one("code")?.ok_or(missing("code is missing"))?;
    let redirect_uri = match (params.one("redirect_uri")?, client.redirect_uris.as_slice()) {
        (Some(redirect_uri), _) => redirect_uri,
        // A switch of the client's: there is no other that the request can have had.
        (None, [only]) if client.allow_omitted_redirect_uri => only,
        (None, _) => return Err(missing("redirect_uri is missing").into()),
    };
    let challenge = Challenge::of_verifier(params.one("code_verifier")?)?;
    let code = TaggedToken::parse(code).ok_or(INVALID)?;
    // §4.1.3: the code is bound to the client and the redirect URI; RFC 7636 §4.6: and to the challenge.
    let binding = Binding {
        client_id: client.id(),
        redirect_uri,
        challenge: &challenge,
    }
    .hash(&code);
    let (issued, spent) = (Key::code(&code.tag), Key::grant(&code.tag));
    let claim = provider.store.claim(&issued, &spent, &binding, LEASE);
    let (value, lease) = match claim.await? {
        Claim::Claimed(value, lease) => (value, lease),
        Claim::Spent(_) => {
            // §4.1.2: a code that comes again has leaked: what it gave is taken back.
            revoke_with_beside(provider, &code.tag).await?;
            tracing::warn!(
                client_id = client.id(),
                request_id,
                "a code was used again: its tokens are revoked"
            );
            return Err(INVALID.into());
        }
        Claim::Missing | Claim::Mismatch | Claim::InFlight => return Err(INVALID.into()),
    };
    let made = make(provider, request_id, client, &code, &value).await;
    let (granted, spent) = match made {
        Ok(made) => made,
        Err(failure) => {
            // The code can be used again: nothing was issued for it.
            if let Err(error) = provider.store.release(lease, &binding).await {
                tracing::warn!(%error, request_id, "a claimed code comes free with its lease");
            }
            return Err(failure);
        }
    };
    if provider.store.commit(lease, &binding, &spent).await? {
        provider.metrics.tokens_issued(GrantType::AuthorizationCode);
        Ok(granted)
    } else {
        Err(INVALID.into())
    }
}

/// Between claim and commit: the tokens, and the family that takes the code's place.
async fn make(
    provider: &Provider,
    request_id: &str,
    client: &AuthenticatedClient,
    code: &TaggedToken,
    value: &Bytes,
) -> Result<(Granted, Write), Failure> {
    let issued: Issued = json::read(value).ok_or(INVALID)?;
    let now = provider.clock.now();
    let grant = issued.grant;
    if issued.expires <= now || !in_good_standing(provider, client, &grant.sub) {
        return Err(INVALID.into());
    }
    let id_token = match grant.scope.has(OPENID) {
        true => IdToken::First {
            nonce: issued.nonce.as_deref(),
        },
        false => IdToken::None,
    };
    let order = Order {
        client,
        grant: &grant,
        token: TaggedToken::of(code.tag.clone(), &provider.random),
        scope: &grant.scope,
        id_token,
        once: provider.config.tokens.sign_codes_once.then_some(code),
        now,
    };
    let mut tokens = token::make(provider, request_id, &order).await?;
    let is_offline = client.may_use(GrantType::RefreshToken)
        && (grant.scope.has(OFFLINE_ACCESS) || client.refresh_token_without_offline_access);
    let (refresh_token, rotation) = is_offline
        .then(|| Rotation::begin(provider, code.tag.clone()))
        .unzip();
    let scope = grant.scope.clone();
    let spent = Family::new(grant, now, tokens.opaque.take(), rotation).write(provider, &code.tag);
    let granted = Granted::of(tokens, refresh_token, scope);
    Ok((granted, spent))
}
