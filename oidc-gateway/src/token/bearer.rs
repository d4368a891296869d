//! Access tokens that come back (RFC 6750, RFC 7662): found, or verified by the key-service, and then held against
//! everything that may have ended them since.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Map, Value};

use super::access_token::{PURPOSE, Record, audience, tag_of};
use super::issuer;
use crate::client::Client;
use crate::clock::seconds;
use crate::error::Failure;
use crate::grant::family::{Family, Opaque};
use crate::grant::{Grant, in_good_standing, refresh_token, revoke};
use crate::jose::alg::Algorithm;
use crate::jose::jwt::numeric_date;
use crate::json;
use crate::keys::{Expected, VerificationKey};
use crate::provider::Provider;
use crate::scope::Scope;
use crate::store::table::{Tag, TaggedToken};
use crate::store::{Key, Stored, Swap, Write};

/// A token of ours that has not expired.
#[derive(Debug)]
pub(crate) enum Found {
    AccessToken(Access),
    RefreshToken {
        tag: Tag,
        family: Family,
    },
    /// A refresh token that was replaced: good for nothing but to be given back.
    Replaced {
        tag: Tag,
        client_id: String,
    },
}

/// An access token that is good now.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) record: Record,
    /// Whom it was issued to.
    pub(crate) client: Arc<Client>,
    /// For what: the scope of the token itself is in the record, and may be narrower.
    pub(crate) grant: Grant,
    jti: Option<String>,
    /// What revoking it does.
    ending: Ending,
}

#[derive(Debug)]
enum Ending {
    /// Its family forgets it.
    Forget {
        tag: Tag,
        token: Opaque,
        before: Stored,
    },
    /// What is kept of it ends, until it would have ended: a refresh that is repeated must not bring it back.
    End(Key),
    /// A note is left until it would have ended.
    Note(Key),
}

/// An access token that is good now, for userinfo.
pub(crate) async fn access(
    provider: &Provider,
    request_id: &str,
    token: &str,
) -> Result<Option<Access>, Failure> {
    match find(provider, request_id, token).await? {
        Some(Found::AccessToken(access)) => Ok(Some(access)),
        _ => Ok(None),
    }
}

/// Whatever a token is, for revocation: whether or not its client and its person may use it just now.
pub(crate) async fn known(
    provider: &Provider,
    request_id: &str,
    token: &str,
) -> Result<Option<Found>, Failure> {
    match TaggedToken::parse(token) {
        Some(token) => reference(provider, &token).await,
        None if token.bytes().filter(|&octet| octet == b'.').count() == 2 => {
            jwt(provider, request_id, token).await
        }
        None => Ok(None),
    }
}

/// Whatever a token is, if it is good now. A token of one kind never passes as another.
pub(crate) async fn find(
    provider: &Provider,
    request_id: &str,
    token: &str,
) -> Result<Option<Found>, Failure> {
    let Some(found) = known(provider, request_id, token).await? else {
        return Ok(None);
    };
    let is_good = match &found {
        // Its client has been looked up.
        Found::AccessToken(access) => {
            !access.record.is_persons
                || in_good_standing(provider, &access.client, &access.grant.sub)
        }
        Found::RefreshToken { family, .. } => {
            let grant = &family.grant;
            let client = provider.client(&grant.client_id).await?;
            client.is_some_and(|client| in_good_standing(provider, &client, &grant.sub))
                && !refresh_token::has_ended(provider, grant).await?
        }
        Found::Replaced { .. } => false,
    };
    Ok(is_good.then_some(found))
}

/// Both kinds of reference, and where an access token may have moved to, are read in one round trip.
async fn reference(provider: &Provider, token: &TaggedToken) -> Result<Option<Found>, Failure> {
    let keys = [Key::grant(&token.tag), Opaque::key(token)];
    let mut values = provider.store.get(&keys).await?.into_iter();
    let [_, moved_to] = keys;
    let Some(before) = values.next().flatten() else {
        return Ok(None);
    };
    let Some(family) = json::read::<Family>(before.value()) else {
        return Ok(None);
    };
    let now = provider.clock.now();
    let moved: Option<Opaque> = values
        .next()
        .flatten()
        .and_then(|value| json::read(value.value()));
    let (access, ending) = match (family.access_token(token, now), moved) {
        (Some(access), _) => {
            let ending = Ending::Forget {
                tag: token.tag.clone(),
                token: access.clone(),
                before,
            };
            (access.clone(), ending)
        }
        (None, Some(access)) if access.is(token, now) => (access, Ending::End(moved_to)),
        _ => {
            let tag = token.tag.clone();
            return Ok(match family.refresh_token(token, provider) {
                Some(true) => Some(Found::RefreshToken { tag, family }),
                Some(false) => Some(Found::Replaced {
                    tag,
                    client_id: family.grant.client_id,
                }),
                None => None,
            });
        }
    };
    let scope = access.scope(&family).clone();
    let grant = family.grant;
    let Some(client) = provider.client(&grant.client_id).await? else {
        return Ok(None);
    };
    Ok(Some(Found::AccessToken(Access {
        record: Record {
            client_id: grant.client_id.clone(),
            sub: grant.subject().to_owned(),
            scope,
            aud: audience(provider, &client, &grant.scope),
            iat: access.iat,
            exp: access.exp,
            is_persons: grant.signed_in.is_some(),
        },
        client,
        grant,
        jti: None,
        ending,
    })))
}

async fn jwt(provider: &Provider, request_id: &str, token: &str) -> Result<Option<Found>, Failure> {
    // RFC 9068 §4: the typ keeps an ID token or a logout token from passing as an access token.
    let expected = Expected {
        typ: &["at+jwt"],
        algorithms: Algorithm::ASYMMETRIC,
    };
    let verified = provider
        .keys
        .verify(request_id, token, &expected, VerificationKey::Own(PURPOSE))
        .await?;
    let Some((record, jti)) = verified.and_then(|verified| of_claims(provider, &verified.claims))
    else {
        return Ok(None);
    };
    let Some((tag, is_family)) =
        tag_of(&jti).filter(|(_, is_family)| *is_family == record.is_persons)
    else {
        return Ok(None);
    };
    let note = Key::revoked(&tag, &jti);
    let keys = [Key::grant(&tag), note.clone()];
    let values = provider.store.get(&keys).await?;
    let [family, revoked] = values.as_slice() else {
        return Ok(None);
    };
    if revoked.is_some() || record.exp <= provider.clock.now() {
        return Ok(None);
    }
    let grant = match (is_family, family) {
        // The claims have the name that the client knows the person by; we know our own.
        (true, Some(family)) => json::read::<Family>(family.value())
            .map(|family| family.grant)
            .filter(|grant| grant.client_id == record.client_id),
        (true, None) => None,
        (false, _) => Some(Grant {
            client_id: record.client_id.clone(),
            sub: record.sub.clone(),
            scope: record.scope.clone(),
            ..Grant::default()
        }),
    };
    let Some(grant) = grant else {
        return Ok(None);
    };
    let Some(client) = provider.client(&grant.client_id).await? else {
        return Ok(None);
    };
    Ok(Some(Found::AccessToken(Access {
        record,
        client,
        grant,
        jti: Some(jti),
        ending: Ending::Note(note),
    })))
}

fn of_claims(provider: &Provider, claims: &Map<String, Value>) -> Option<(Record, String)> {
    let text = |name: &str| claims.get(name).and_then(Value::as_str).map(str::to_owned);
    if claims.get("iss")?.as_str()? != issuer(provider) {
        return None;
    }
    let aud = match claims.get("aud")? {
        Value::String(one) => vec![one.clone()],
        Value::Array(many) => many
            .iter()
            .map(|one| one.as_str().map(str::to_owned))
            .collect::<Option<_>>()?,
        _ => return None,
    };
    let record = Record {
        client_id: text("client_id")?,
        sub: text("sub")?,
        scope: Scope::parse(&text("scope").unwrap_or_default()).ok()?,
        aud,
        iat: numeric_date(claims, "iat").ok()??,
        exp: numeric_date(claims, "exp").ok()??,
        is_persons: claims.contains_key("auth_time"),
    };
    Some((record, text("jti")?))
}

impl Access {
    /// RFC 7662 §2.2 "jti": of a JWT.
    pub(crate) fn jti(&self) -> Option<&str> {
        self.jti.as_deref()
    }

    /// Ends this token alone (RFC 7009 §2.1).
    pub(crate) async fn revoke(&self, provider: &Provider) -> Result<(), Failure> {
        match &self.ending {
            Ending::Forget { tag, token, before } => forget(provider, tag, token, before).await,
            Ending::End(key) => Ok(provider.store.end(key, self.left(provider)).await?),
            Ending::Note(key) => {
                let note = Write {
                    key: key.clone(),
                    value: Bytes::from_static(b"1"),
                    lives: self.left(provider),
                };
                provider.store.put(&[note]).await?;
                Ok(())
            }
        }
    }
}

impl Access {
    fn left(&self, provider: &Provider) -> Duration {
        let left = (self.record.exp - provider.clock.now()).max(1);
        let most = seconds(provider.config.tokens.access_token).max(1);
        Duration::from_secs(u64::try_from(left.min(most)).unwrap_or(1))
    }
}

/// Takes an access token out of its family; again where somebody was faster.
async fn forget(
    provider: &Provider,
    tag: &Tag,
    token: &Opaque,
    before: &Stored,
) -> Result<(), Failure> {
    const TRIES: usize = 16;
    let mut before = before.clone();
    for _ in 0..TRIES {
        let Some(family) = json::read::<Family>(before.value()) else {
            return Ok(());
        };
        if !family.has(token) {
            // Somebody else did, or it has ended.
            return Ok(());
        }
        let after = family.without_access_token();
        if after.is_empty() {
            return revoke(provider, tag).await;
        }
        let after = after.write(provider, tag);
        match provider.store.swap(&before, &after).await? {
            Swap::Done | Swap::Changed(None) => return Ok(()),
            Swap::Changed(Some(current)) => before = current,
        }
    }
    Err(Failure::Unavailable(
        "a family changes all the time".to_owned(),
    ))
}
