//! Tokens: what goes into them, and the one call that signs, and encrypts, all of a response's.

pub(crate) mod access_token;
pub(crate) mod bearer;
pub(crate) mod claims;
pub(crate) mod front_channel;
pub(crate) mod hint;
pub(crate) mod id_token;
pub(crate) mod logout_token;
pub(crate) mod protection;

pub(crate) use front_channel::{FrontChannel, front_channel};

use self::id_token::Beside;
use crate::client::metadata::GrantType;
use crate::client::{AccessToken, Client};
use crate::clock::seconds;
use crate::error::Failure;
use crate::grant::Grant;
use crate::grant::family::Opaque;
use crate::jose::alg::Algorithm;
use crate::provider::Provider;
use crate::scope::Scope;
use crate::store::table::TaggedToken;

/// What is to be made.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    pub(crate) client: &'a Client,
    pub(crate) grant: &'a Grant,
    /// The access token if it is opaque; its tag is the family's either way.
    pub(crate) token: TaggedToken,
    /// Within the grant's.
    pub(crate) scope: &'a Scope,
    pub(crate) id_token: IdToken<'a>,
    /// The code that it is for, where the key-service is to sign once for each.
    pub(crate) once: Option<&'a TaggedToken>,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub(crate) now: i64,
}

impl Order<'_> {
    /// A name for one of the code's tokens that says nothing about the code.
    fn once_key(&self, token: &str) -> Option<String> {
        self.once.map(|code| code.hash(token))
    }
}

/// Which ID token goes with the access token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdToken<'a> {
    /// The request was not for OpenID Connect, or there is no person.
    None,
    /// With the nonce of the request (OpenID Connect Core §3.1.3.6).
    First { nonce: Option<&'a str> },
    /// From the authorization endpoint, with the code that goes beside it (OpenID Connect Core §3.2.2.10, §3.3.2.11).
    FrontChannel {
        nonce: Option<&'a str>,
        code: Option<&'a str>,
    },
    /// From a refresh token: no nonce, no at_hash (OpenID Connect Core §12.2).
    Renewed,
}

/// What was made.
#[derive(Debug)]
pub(crate) struct Tokens {
    pub(crate) access_token: String,
    /// Seconds.
    pub(crate) expires_in: u64,
    /// To be kept in the family, for an opaque access token.
    pub(crate) opaque: Option<Opaque>,
    pub(crate) id_token: Option<String>,
}

/// "iss" of what we issue: the issuer, unless the configuration names another for its clients' sake.
pub(crate) fn issuer(provider: &Provider) -> &str {
    let another = provider.config.tokens.issuer.as_deref();
    another.unwrap_or(&provider.issuer)
}

/// Makes the tokens; at most one call to the key-service.
pub(crate) async fn make(
    provider: &Provider,
    request_id: &str,
    order: &Order<'_>,
) -> Result<Tokens, Failure> {
    let (opaque, mut outgoing) = match order.client.access_token {
        AccessToken::Opaque => (Some(order.token.as_string()), Vec::new()),
        AccessToken::Jwt(algorithm) => (None, vec![access_token::jwt(provider, order, algorithm)]),
    };
    if order.id_token != IdToken::None {
        let beside = opaque.as_deref().map_or(Beside::Jwt, Beside::Opaque);
        outgoing.extend(id_token::outgoing(provider, order, beside));
    }
    let signed = match outgoing.is_empty() {
        true => Vec::new(),
        false => protection::sign(provider, request_id, &outgoing).await?,
    };
    let mut signed = signed.into_iter();
    let expires_in = provider.config.tokens.access_token;
    let kept = opaque.is_some().then(|| {
        let times = (order.now, order.now + seconds(expires_in));
        Opaque::of(&order.token, order.scope, order.grant, times)
    });
    Ok(Tokens {
        access_token: opaque
            .or_else(|| signed.next())
            .ok_or_else(|| Failure::Unavailable("an access token is missing".to_owned()))?,
        expires_in: expires_in.as_secs(),
        opaque: kept,
        id_token: signed.next(),
    })
}

/// The rings that a client's tokens are signed in: purpose and algorithm.
pub(crate) fn rings(client: &Client) -> impl Iterator<Item = (&'static str, Algorithm)> {
    let access_token = match client.access_token {
        AccessToken::Jwt(algorithm) => Some((access_token::PURPOSE, algorithm)),
        AccessToken::Opaque => None,
    };
    let has_people =
        client.may_use(GrantType::AuthorizationCode) || client.may_use(GrantType::Implicit);
    let for_people = [client.id_token.signed, client.userinfo.signed]
        .into_iter()
        .flatten()
        .filter(move |algorithm| has_people && !algorithm.is_symmetric())
        .map(|algorithm| (id_token::PURPOSE, algorithm));
    access_token.into_iter().chain(for_people)
}
