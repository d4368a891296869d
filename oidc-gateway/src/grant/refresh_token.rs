//! Refresh tokens (RFC 6749 §6, RFC 9700 §4.14.2): they rotate, and whoever presents an old one ends the family.
//!
//! The successor of a token is derived from the token itself and a random value of the family. So every repeat within
//! the grace window (a lost response, fifty requests at once) gets the *same* successor, never a second one; and the
//! store, which has the random value and hashes alone, does not suffice to make any.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::family::{Family, Opaque};
use super::{Grant, Granted, in_good_standing, revoke, revoke_with_beside};
use crate::client::Client;
use crate::client::authentication::AuthenticatedClient;
use crate::client::metadata::GrantType;
use crate::clock::seconds;
use crate::error::{Code, Failure, Refusal};
use crate::json;
use crate::logout;
use crate::params::Params;
use crate::provider::Provider;
use crate::scope::{OFFLINE_ACCESS, OPENID, Scope};
use crate::secret::Secret;
use crate::store::table::{Tag, TaggedToken, hash_of};
use crate::store::{Key, Swap, Write};
use crate::token::{self, IdToken, Order};

const INVALID: Refusal = Refusal::new(
    Code::InvalidGrant,
    "the refresh token is unknown, was used, has expired, or was issued to another client",
);

/// How far an old token is followed to see whether it was once ours. One step costs a hash.
const FURTHEST: u64 = 512;

/// How often a refresh is tried while others change its family.
const TRIES: usize = 8;

/// The refresh token of a family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Rotation {
    /// What successors are derived with, beside the token.
    random: String,
    /// Hash of the token that is good.
    current: String,
    /// Hash of the one before it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
    /// How many there were before the current one.
    count: u64,
    /// When the current one was made: milliseconds since 1970-01-01T00:00:00Z.
    rotated: i64,
}

/// What a presented token is to its family.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Standing {
    Current,
    /// Replaced within the grace window.
    JustReplaced,
    /// One of ours that was replaced before: it has leaked, or its successor has.
    Replaced,
    /// None of ours.
    Stranger,
}

impl Family {
    pub(super) fn standing(
        &self,
        presented: &TaggedToken,
        now_millis: i64,
        grace: Duration,
    ) -> Standing {
        let Some(rotation) = &self.refresh else {
            return Standing::Stranger;
        };
        let hash = digest(presented);
        if hash == rotation.current {
            return Standing::Current;
        }
        if Some(&hash) == rotation.previous.as_ref() {
            let age = u64::try_from(now_millis - rotation.rotated).unwrap_or(0);
            return match Duration::from_millis(age) <= grace {
                true => Standing::JustReplaced,
                false => Standing::Replaced,
            };
        }
        // Followed from successor to successor, a token of ours arrives at the current one. A made-up secret beside
        // a tag, which every access token shows, does not: nobody can end a family without having held its token.
        let mut token = presented.clone();
        for _ in 0..rotation.count.min(FURTHEST) {
            token = rotation.successor(&token);
            if digest(&token) == rotation.current {
                return Standing::Replaced;
            }
        }
        Standing::Stranger
    }
}

impl Rotation {
    /// A family's first refresh token.
    pub(super) fn begin(provider: &Provider, tag: Tag) -> (String, Rotation) {
        let token = TaggedToken::of(tag, &provider.random);
        let rotation = Rotation {
            random: provider.random.token256(),
            current: digest(&token),
            previous: None,
            count: 0,
            rotated: provider.clock.now_millis(),
        };
        (token.as_string(), rotation)
    }

    /// When the current token was made: seconds since 1970-01-01T00:00:00Z.
    pub(super) fn rotated_at(&self) -> i64 {
        self.rotated / 1000
    }

    /// The opaque access token that goes with the successor: one, for the same reason.
    fn access_token(&self, presented: &TaggedToken) -> TaggedToken {
        self.derived("access_token of a refresh", presented)
    }

    fn successor(&self, presented: &TaggedToken) -> TaggedToken {
        self.derived("refresh_token successor", presented)
    }

    fn derived(&self, label: &str, presented: &TaggedToken) -> TaggedToken {
        let parts = [
            presented.tag.as_str(),
            presented.secret.expose().as_str(),
            &self.random,
        ];
        TaggedToken {
            tag: presented.tag.clone(),
            secret: Secret::new(hash_of(label, &parts)),
        }
    }

    fn rotated(&self, successor: &TaggedToken, now_millis: i64) -> Rotation {
        Rotation {
            random: self.random.clone(),
            current: digest(successor),
            previous: Some(self.current.clone()),
            count: self.count + 1,
            rotated: now_millis,
        }
    }
}

fn digest(token: &TaggedToken) -> String {
    token.hash("refresh_token")
}

/// Exchanges a refresh token for its successor and new tokens.
pub(crate) async fn redeem(
    provider: &Provider,
    request_id: &str,
    client: &AuthenticatedClient,
    params: &Params<'_>,
) -> Result<Granted, Failure> {
    let presented = params.one("refresh_token")?.ok_or(Refusal::new(
        Code::InvalidRequest,
        "refresh_token is missing",
    ))?;
    let asked = params.one("scope")?;
    let presented = TaggedToken::parse(presented).ok_or(INVALID)?;
    let key = [Key::grant(&presented.tag)];
    let before = provider
        .store
        .get(&key)
        .await?
        .pop()
        .flatten()
        .ok_or(INVALID)?;
    let family: Family = json::read(before.value()).ok_or(INVALID)?;
    let (now, now_millis) = (provider.clock.now(), provider.clock.now_millis());
    // §6: bound to the client that it was issued to. A stranger changes nothing.
    if family.grant.client_id != client.id() {
        return Err(INVALID.into());
    }
    let grace = provider.config.tokens.refresh_grace;
    let standing = family.standing(&presented, now_millis, grace);
    match standing {
        Standing::Stranger => return Err(INVALID.into()),
        Standing::Replaced => {
            revoke_with_beside(provider, &presented.tag).await?;
            tracing::warn!(
                client_id = client.id(),
                request_id,
                "a refresh token was used again: its tokens are revoked"
            );
            return Err(INVALID.into());
        }
        Standing::Current | Standing::JustReplaced => {}
    }
    if family.has_expired(provider) || !in_good_standing(provider, client, &family.grant.sub) {
        return Err(INVALID.into());
    }
    if has_ended(provider, &family.grant).await? {
        revoke(provider, &presented.tag).await?;
        return Err(INVALID.into());
    }
    let mut scope = narrowed(&family.grant.scope, asked, client)?;
    let rotation = family.refresh.as_ref().ok_or(INVALID)?;
    let successor = rotation.successor(&presented);
    let order = Order {
        client,
        grant: &family.grant,
        token: rotation.access_token(&presented),
        scope: &scope,
        id_token: match scope.has(OPENID)
            && token::id_token::is_renewed(provider, family.grant.is_hybrid)
        {
            true => IdToken::Renewed,
            false => IdToken::None,
        },
        once: None,
        now,
    };
    let tokens = token::make(provider, request_id, &order).await?;
    let access = tokens.opaque.as_ref();
    let access = access.map(|opaque| opaque.write(&presented.tag, now));
    let store = &provider.store;
    let (is_new, mut swapped) = match (standing, &access) {
        (Standing::Current, Some(access)) => {
            let after = advanced(provider, &family, &successor)?;
            store.put_new_and_swap(access, &before, &after).await?
        }
        (Standing::Current, None) => {
            let after = advanced(provider, &family, &successor)?;
            (true, store.swap(&before, &after).await?)
        }
        (_, Some(access)) => (store.put_new(access).await?, Swap::Changed(Some(before))),
        (_, None) => (true, Swap::Changed(Some(before))),
    };
    let mut tries = TRIES;
    while let Swap::Changed(current) = swapped {
        let current = current.ok_or(INVALID)?;
        let family: Family = json::read(current.value()).ok_or(INVALID)?;
        match family.standing(&presented, provider.clock.now_millis(), grace) {
            // Presented twice at the same time: the successor is the same.
            Standing::JustReplaced => break,
            // Or an access token was revoked at the same time: this token is as good as before.
            Standing::Current if tries > 0 => {
                tries -= 1;
                let after = advanced(provider, &family, &successor)?;
                swapped = store.swap(&current, &after).await?;
            }
            Standing::Current => {
                let reason = "a family changes all the time".to_owned();
                return Err(Failure::Unavailable(reason));
            }
            Standing::Replaced | Standing::Stranger => return Err(INVALID.into()),
        }
    }
    // So is an opaque access token, with the scope of whoever was first, unless it has been revoked since.
    if let (false, Some(access)) = (is_new, access) {
        let first = provider.store.get(&[access.key]).await?.pop().flatten();
        let first: Opaque = json::read(first.ok_or(INVALID)?.value()).ok_or(INVALID)?;
        scope = first.scope(&family).clone();
    }
    provider.metrics.tokens_issued(GrantType::RefreshToken);
    Ok(Granted::of(tokens, Some(successor.as_string()), scope))
}

/// The family with the successor in the place of the current token, to be written unless the family has changed.
fn advanced(
    provider: &Provider,
    family: &Family,
    successor: &TaggedToken,
) -> Result<Write, Failure> {
    let (now, now_millis) = (provider.clock.now(), provider.clock.now_millis());
    let rotation = family.refresh.as_ref().ok_or(INVALID)?;
    let rotation = rotation.rotated(successor, now_millis);
    let after = family.refreshed(rotation, now);
    Ok(after.write(provider, &successor.tag))
}

/// Whether the session has ended that the grant lives in: one without `offline_access` (OpenID Connect Core §11). Nobody
/// looks for others'.
pub(crate) async fn has_ended(provider: &Provider, grant: &Grant) -> Result<bool, Failure> {
    let signed_in = grant.signed_in.as_ref();
    let is_bound = grant.scope.has(OPENID) && !grant.scope.has(OFFLINE_ACCESS);
    let Some(signed_in) = signed_in.filter(|_| is_bound) else {
        return Ok(false);
    };
    let longest = seconds(provider.config.sessions.absolute);
    if signed_in.auth_time + longest <= provider.clock.now() {
        return Ok(true);
    }
    match &signed_in.sid {
        Some(sid) => logout::has_ended(provider, sid).await,
        None => Ok(false),
    }
}

/// §6: "MUST NOT include any scope not originally granted"; absent: what was granted.
fn narrowed(granted: &Scope, asked: Option<&str>, client: &Client) -> Result<Scope, Refusal> {
    let Some(asked) = asked else {
        return Ok(granted.clone());
    };
    let asked = Scope::parse_separated(asked, client.scope_separator)?;
    if asked.is_within(granted) {
        Ok(asked)
    } else {
        Err(Refusal::new(
            Code::InvalidScope,
            "scope goes beyond what was granted",
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    const GRACE: Duration = Duration::from_secs(10);

    fn family() -> (TaggedToken, Family) {
        let random = Random::new().expect("the system has random numbers");
        let token = TaggedToken::random(&random);
        let grant = Grant {
            client_id: "c".to_owned(),
            sub: "s".to_owned(),
            ..Grant::default()
        };
        let rotation = Rotation {
            random: random.token256(),
            current: digest(&token),
            previous: None,
            count: 0,
            rotated: 0,
        };
        (token, Family::new(grant, 0, None, Some(rotation)))
    }

    fn rotate(family: &Family, token: &TaggedToken, at: i64) -> (TaggedToken, Family) {
        let rotation = family.refresh.as_ref().expect("it has one");
        let successor = rotation.successor(token);
        let rotation = rotation.rotated(&successor, at);
        (successor, family.refreshed(rotation, 0))
    }

    #[test]
    fn what_a_token_is_to_its_family() {
        let (first, family) = family();
        assert_eq!(family.standing(&first, 0, GRACE), Standing::Current);
        let (second, family) = rotate(&family, &first, 1_000);
        let (third, later) = rotate(&family, &second, 2_000);
        let mut forged = second.clone();
        forged.secret = Secret::new("A".repeat(43));
        let rows = [
            (
                "the current one",
                &family,
                &second,
                1_000,
                Standing::Current,
            ),
            (
                "the one before, at once",
                &family,
                &first,
                1_000,
                Standing::JustReplaced,
            ),
            (
                "the one before, at the end of the window",
                &family,
                &first,
                11_000,
                Standing::JustReplaced,
            ),
            (
                "the one before, after the window",
                &family,
                &first,
                11_001,
                Standing::Replaced,
            ),
            (
                "two before, at once",
                &later,
                &first,
                2_000,
                Standing::Replaced,
            ),
            (
                "the current one, later",
                &later,
                &third,
                999_000,
                Standing::Current,
            ),
            (
                "a made-up secret",
                &later,
                &forged,
                2_000,
                Standing::Stranger,
            ),
        ];
        for (row, family, token, now, wanted) in rows {
            assert_eq!(family.standing(token, now, GRACE), wanted, "{row}");
        }
    }

    #[test]
    fn the_successor_is_one() {
        let (first, family) = family();
        let rotation = family.refresh.as_ref().expect("it has one");
        assert_eq!(rotation.successor(&first), rotation.successor(&first));
        assert!(TaggedToken::parse(&rotation.successor(&first).as_string()).is_some());
        let other = Rotation {
            random: "other".to_owned(),
            ..rotation.clone()
        };
        assert_ne!(rotation.successor(&first), other.successor(&first));
    }
}
