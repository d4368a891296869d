//! Refresh tokens (RFC 6749 §6, RFC 9700 §4.14.2): they rotate, and whoever presents an old one ends the family.
//!
//! The successor of a token is derived from the token itself and a random value of the family. So every repeat within
//! the grace window (a lost response, fifty requests at once) gets the *same* successor, never a second one; and the
//! store, which has the random value and hashes alone, does not suffice to make any.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Grant, Granted, in_good_standing, revoke};
use crate::client::authentication::AuthenticatedClient;
use crate::client::metadata::GrantType;
use crate::error::{Code, Failure, Refusal};
use crate::params::Params;
use crate::provider::Provider;
use crate::scope::{OPENID, Scope};
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

/// A family once its code is spent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Family {
    pub(crate) grant: Grant,
    /// Seconds since 1970-01-01T00:00:00Z.
    created: i64,
    /// Absent: no refresh token was issued.
    #[serde(skip_serializing_if = "Option::is_none")]
    refresh: Option<Rotation>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Rotation {
    /// What successors are derived with, beside the token.
    random: String,
    /// Hash of the token that is good.
    current: String,
    /// Hash of the one before it.
    #[serde(skip_serializing_if = "Option::is_none")]
    previous: Option<String>,
    /// How many there were before the current one.
    count: u64,
    /// When the current one was made: milliseconds since 1970-01-01T00:00:00Z.
    rotated: i64,
}

/// What a presented token is to its family.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    Current,
    /// Replaced within the grace window.
    JustReplaced,
    /// One of ours that was replaced before: it has leaked, or its successor has.
    Replaced,
    /// None of ours.
    Stranger,
}

impl Family {
    /// A family and its first refresh token.
    pub(crate) fn with_refresh_token(
        provider: &Provider,
        tag: Tag,
        grant: Grant,
        now: i64,
    ) -> (String, Family) {
        let token = TaggedToken::of(tag, &provider.random);
        let family = Family {
            grant,
            created: now,
            refresh: Some(Rotation {
                random: provider.random.token256(),
                current: digest(&token),
                previous: None,
                count: 0,
                rotated: provider.clock.now_millis(),
            }),
        };
        (token.as_string(), family)
    }

    /// A family that lives as long as its access tokens, so that they can be revoked together.
    pub(crate) fn without_refresh_token(grant: Grant, now: i64) -> Family {
        Family {
            grant,
            created: now,
            refresh: None,
        }
    }

    /// What is stored: until the refresh token has not been used for too long, or the absolute end.
    pub(crate) fn write(&self, provider: &Provider, tag: &Tag) -> Write {
        let times = &provider.config.tokens;
        let lives = match &self.refresh {
            None => times.access_token,
            Some(_) => {
                let age = u64::try_from(provider.clock.now() - self.created).unwrap_or(0);
                let left = times
                    .refresh_token_absolute
                    .saturating_sub(Duration::from_secs(age));
                times.refresh_token_idle.min(left).max(times.access_token)
            }
        };
        Write {
            key: Key::grant(tag),
            value: token::stored(self),
            lives,
        }
    }

    /// Whether a presented token is this family's current refresh token, or was until just now.
    pub(crate) fn holds(&self, presented: &TaggedToken, provider: &Provider) -> bool {
        let now = provider.clock.now_millis();
        matches!(
            self.standing(presented, now, provider.config.tokens.refresh_grace),
            Standing::Current | Standing::JustReplaced
        ) && !self.has_expired(provider)
    }

    /// When the current refresh token ends unless it is used: seconds since 1970-01-01T00:00:00Z.
    pub(crate) fn expires(&self, provider: &Provider) -> i64 {
        let times = &provider.config.tokens;
        let absolute = self.created + token::seconds(times.refresh_token_absolute);
        match &self.refresh {
            None => self.created + token::seconds(times.access_token),
            Some(rotation) => {
                absolute.min(rotation.rotated / 1000 + token::seconds(times.refresh_token_idle))
            }
        }
    }

    fn has_expired(&self, provider: &Provider) -> bool {
        self.expires(provider) <= provider.clock.now()
    }

    fn standing(&self, presented: &TaggedToken, now_millis: i64, grace: Duration) -> Standing {
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
    fn successor(&self, presented: &TaggedToken) -> TaggedToken {
        let parts = [
            presented.tag.as_str(),
            presented.secret.expose().as_str(),
            &self.random,
        ];
        TaggedToken {
            tag: presented.tag.clone(),
            secret: Secret::new(hash_of("refresh_token successor", &parts)),
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
    let before = provider.store.get(&key).await?.pop().flatten().ok_or(INVALID)?;
    let family: Family = token::read(&before).ok_or(INVALID)?;
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
            revoke(provider, &presented.tag).await?;
            tracing::warn!(client_id = client.id(), request_id, "a refresh token was used again: its tokens are revoked");
            return Err(INVALID.into());
        }
        Standing::Current | Standing::JustReplaced => {}
    }
    if family.has_expired(provider) || !in_good_standing(provider, client.id(), &family.grant.sub) {
        return Err(INVALID.into());
    }
    let scope = narrowed(&family.grant.scope, asked)?;
    let rotation = family.refresh.as_ref().ok_or(INVALID)?;
    let successor = rotation.successor(&presented);
    let order = Order {
        client,
        grant: &family.grant,
        tag: &presented.tag,
        scope: &scope,
        id_token: match scope.has(OPENID) {
            true => IdToken::Renewed,
            false => IdToken::None,
        },
        now,
    };
    let tokens = token::make(provider, request_id, &order).await?;
    let others: Vec<Write> = tokens.record.into_iter().collect();
    let swapped = match standing {
        Standing::Current => {
            let after = Family {
                refresh: Some(rotation.rotated(&successor, now_millis)),
                ..family.clone()
            }
            .write(provider, &presented.tag);
            provider.store.swap(&before, &after, &others).await?
        }
        _ => Swap::Changed(Some(before)),
    };
    if let Swap::Changed(current) = swapped {
        // Somebody presented the same token at the same time: the successor is the same.
        let family: Family = current.as_ref().and_then(token::read).ok_or(INVALID)?;
        let still = family.standing(&presented, provider.clock.now_millis(), grace);
        if still != Standing::JustReplaced {
            return Err(INVALID.into());
        }
        if !others.is_empty() {
            provider.store.put(&others).await?;
        }
    }
    provider.metrics.tokens_issued(GrantType::RefreshToken);
    Ok(Granted {
        access_token: tokens.access_token,
        token_type: "Bearer",
        expires_in: tokens.expires_in,
        refresh_token: Some(successor.as_string()),
        id_token: tokens.id_token,
        scope,
    })
}

/// §6: "MUST NOT include any scope not originally granted"; absent: what was granted.
fn narrowed(granted: &Scope, asked: Option<&str>) -> Result<Scope, Refusal> {
    let Some(asked) = asked else {
        return Ok(granted.clone());
    };
    let asked = Scope::parse(asked)?;
    if asked.is_within(granted) {
        Ok(asked)
    } else {
        Err(Refusal::new(Code::InvalidScope, "scope goes beyond what was granted"))
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
        let family = Family {
            grant: Grant {
                client_id: "c".to_owned(),
                sub: "s".to_owned(),
                scope: Scope::default(),
                auth_time: 0,
                acr: String::new(),
                amr: Vec::new(),
            },
            created: 0,
            refresh: Some(Rotation {
                random: random.token256(),
                current: digest(&token),
                previous: None,
                count: 0,
                rotated: 0,
            }),
        };
        (token, family)
    }

    fn rotate(family: &Family, token: &TaggedToken, at: i64) -> (TaggedToken, Family) {
        let rotation = family.refresh.as_ref().expect("it has one");
        let successor = rotation.successor(token);
        let refresh = Some(rotation.rotated(&successor, at));
        (successor, Family { refresh, ..family.clone() })
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
            ("the current one", &family, &second, 1_000, Standing::Current),
            ("the one before, at once", &family, &first, 1_000, Standing::JustReplaced),
            ("the one before, at the end of the window", &family, &first, 11_000, Standing::JustReplaced),
            ("the one before, after the window", &family, &first, 11_001, Standing::Replaced),
            ("two before, at once", &later, &first, 2_000, Standing::Replaced),
            ("the current one, later", &later, &third, 999_000, Standing::Current),
            ("a made-up secret", &later, &forged, 2_000, Standing::Stranger),
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
