//! A family: everything that comes from one authorization, in one stored value under one tag. It is the code at first
//! (`authorization_code`); then this, which knows its first access token and the refresh token that was issued last. An opaque
//! access token that a refresh gives has a value of its own, which counts while the family is there: so ending one value
//! ends them all.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Grant;
use super::refresh_token::{Rotation, Standing};
use crate::clock::seconds;
use crate::json;
use crate::provider::Provider;
use crate::scope::Scope;
use crate::store::table::{Tag, TaggedToken};
use crate::store::{Key, Write};

/// What is stored under a tag once its code is spent, or for a client's own token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Family {
    pub(crate) grant: Grant,
    /// Seconds since 1970-01-01T00:00:00Z.
    created: i64,
    /// The first opaque access token, until it is revoked or a refresh finds that it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    access: Option<Opaque>,
    /// Absent: no refresh token was issued.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) refresh: Option<Rotation>,
}

/// An opaque access token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Opaque {
    /// Of the token.
    hash: String,
    /// Absent: the grant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    scope: Option<Scope>,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub(crate) iat: i64,
    pub(crate) exp: i64,
}

impl Opaque {
    /// What is kept of a token: not the token.
    pub(crate) fn of(
        token: &TaggedToken,
        scope: &Scope,
        grant: &Grant,
        times: (i64, i64),
    ) -> Opaque {
        Opaque {
            hash: digest(token),
            scope: (*scope != grant.scope).then(|| scope.clone()),
            iat: times.0,
            exp: times.1,
        }
    }

    /// Whether this is it, and has not ended.
    pub(crate) fn is(&self, presented: &TaggedToken, now: i64) -> bool {
        self.hash == digest(presented) && self.exp > now
    }

    /// Where it is kept when a refresh gave it.
    pub(crate) fn key(presented: &TaggedToken) -> Key {
        Key::access_token(&presented.tag, &digest(presented))
    }

    /// What is kept there until it ends.
    pub(super) fn write(&self, tag: &Tag, now: i64) -> Write {
        Write {
            key: Key::access_token(tag, &self.hash),
            value: json::write(self),
            lives: self.left(now),
        }
    }

    fn left(&self, now: i64) -> Duration {
        Duration::from_secs(u64::try_from(self.exp - now).unwrap_or(0).max(1))
    }

    /// What the token is good for.
    pub(crate) fn scope<'a>(&'a self, family: &'a Family) -> &'a Scope {
        self.scope.as_ref().unwrap_or(&family.grant.scope)
    }
}

fn digest(token: &TaggedToken) -> String {
    token.hash("access_token")
}

impl Family {
    pub(super) fn new(
        grant: Grant,
        created: i64,
        access: Option<Opaque>,
        refresh: Option<Rotation>,
    ) -> Family {
        Family {
            grant,
            created,
            access,
            refresh,
        }
    }

    /// The same after a refresh.
    pub(super) fn refreshed(&self, rotation: Rotation, now: i64) -> Family {
        Family {
            grant: self.grant.clone(),
            created: self.created,
            access: self.access.clone().filter(|first| first.exp > now),
            refresh: Some(rotation),
        }
    }

    /// The same without its access token.
    pub(crate) fn without_access_token(&self) -> Family {
        Family {
            access: None,
            ..self.clone()
        }
    }

    /// Whether it is this family's first access token.
    pub(crate) fn has(&self, token: &Opaque) -> bool {
        self.access.as_ref() == Some(token)
    }

    /// Whether nothing is left that could be used.
    pub(crate) fn is_empty(&self) -> bool {
        self.access.is_none() && self.refresh.is_none()
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
            value: json::write(self),
            lives,
        }
    }

    /// The access token of the family that this is, unless it has ended.
    pub(crate) fn access_token(&self, presented: &TaggedToken, now: i64) -> Option<&Opaque> {
        self.access.as_ref().filter(|each| each.is(presented, now))
    }

    /// Whether a presented token is the current refresh token, or was until just now; `None`: none of this family.
    pub(crate) fn refresh_token(
        &self,
        presented: &TaggedToken,
        provider: &Provider,
    ) -> Option<bool> {
        let now = provider.clock.now_millis();
        let is_good = match self.standing(presented, now, provider.config.tokens.refresh_grace) {
            Standing::Current | Standing::JustReplaced => true,
            Standing::Replaced => false,
            Standing::Stranger => return None,
        };
        (!self.has_expired(provider)).then_some(is_good)
    }

    /// When the current refresh token ends unless it is used: seconds since 1970-01-01T00:00:00Z.
    pub(crate) fn expires(&self, provider: &Provider) -> i64 {
        let times = &provider.config.tokens;
        let absolute = self.created + seconds(times.refresh_token_absolute);
        match &self.refresh {
            None => self.created + seconds(times.access_token),
            Some(rotation) => {
                absolute.min(rotation.rotated_at() + seconds(times.refresh_token_idle))
            }
        }
    }

    pub(super) fn has_expired(&self, provider: &Provider) -> bool {
        self.expires(provider) <= provider.clock.now()
    }
}
