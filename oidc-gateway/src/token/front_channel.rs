//! Tokens that the authorization endpoint itself gives (OpenID Connect Core §3.2, §3.3): signed in one call, and the
//! access token in a family of its own, for the code's is not there before the code is redeemed.

use super::id_token::{Beside, outgoing};
use super::{IdToken, Order, make, protection};
use crate::client::Client;
use crate::client::metadata::GrantType;
use crate::error::Failure;
use crate::grant::{self, Grant};
use crate::provider::Provider;
use crate::store::table::{Tag, TaggedToken};

/// What is asked for.
#[derive(Debug)]
pub(crate) struct FrontChannel<'a> {
    pub(crate) client: &'a Client,
    pub(crate) grant: &'a Grant,
    pub(crate) nonce: Option<&'a str>,
    /// The code that goes beside it.
    pub(crate) code: Option<&'a str>,
    pub(crate) access_token: bool,
    pub(crate) id_token: bool,
}

/// What was made.
#[derive(Debug)]
pub(crate) struct FrontChannelTokens {
    pub(crate) access_token: Option<String>,
    /// Seconds; of the access token.
    pub(crate) expires_in: u64,
    pub(crate) id_token: Option<String>,
}

/// Makes the tokens. A code that is used twice takes the access token beside it along: see `grant::revoke_with_beside`.
pub(crate) async fn front_channel(
    provider: &Provider,
    request_id: &str,
    asked: FrontChannel<'_>,
) -> Result<FrontChannelTokens, Failure> {
    let grant = asked.grant;
    let code = asked.code.and_then(TaggedToken::parse);
    let tag = match &code {
        Some(code) => code.tag.beside(),
        None => Tag::random(&provider.random),
    };
    let order = Order {
        client: asked.client,
        grant,
        token: TaggedToken::of(tag, &provider.random),
        scope: &grant.scope,
        id_token: match asked.id_token {
            true => IdToken::FrontChannel {
                nonce: asked.nonce,
                code: asked.code,
            },
            false => IdToken::None,
        },
        once: None,
        now: provider.clock.now(),
    };
    let expires_in = provider.config.tokens.access_token.as_secs();
    if !asked.access_token {
        let outgoing = outgoing(provider, &order, Beside::Nothing).filter(|_| asked.id_token);
        let id_token = match outgoing {
            Some(one) => protection::sign(provider, request_id, &[one]).await?.pop(),
            None => None,
        };
        return Ok(FrontChannelTokens {
            access_token: None,
            expires_in,
            id_token,
        });
    }
    let tokens = make(provider, request_id, &order).await?;
    grant::keep(provider, grant.clone(), &order.token.tag, tokens.opaque).await?;
    provider.metrics.tokens_issued(GrantType::Implicit);
    Ok(FrontChannelTokens {
        access_token: Some(tokens.access_token),
        expires_in,
        id_token: tokens.id_token,
    })
}
