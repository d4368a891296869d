//! A family: everything that comes from one authorization, in one stored value under one tag. It is the code at first
//! (`authorization_code`); then this, which knows the access tokens and the refresh token that are good. Reading one
//! value tells whether a token is good, and deleting it ends them all.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Grant;
use super::refresh_token::{Rotation, Standing};
use crate::provider::Provider;
use crate::scope::Scope;
use crate::store::table::{Tag, TaggedToken};
use crate::store::{Key, Write};
use crate::token::{seconds, stored};

/// How many opaque access tokens of one family are good at a time: a new one pushes the oldest out.
const MOST_ACCESS_TOKENS: usize = 32;

/// What is stored under a tag once its code is spent, or for a client's own token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Family {
    pub(crate) grant: Grant,
    /// Seconds since 1970-01-01T00:00:00Z.
    created: i64,
    /// Opaque access tokens, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    access: Vec<Opaque>,
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
            access: access.into_iter().collect(),
            refresh,
        }
    }

    /// The same after a refresh.
    pub(super) fn refreshed(&self, rotation: Rotation, access: Option<Opaque>, now: i64) -> Family {
        let good = self.access.iter().filter(|each| each.exp > now);
        let mut good: Vec<Opaque> = good.cloned().chain(access).collect();
        if good.len() > MOST_ACCESS_TOKENS {
            good.remove(0);
        }
        Family {
            grant: self.grant.clone(),
            created: self.created,
            access: good,
            refresh: Some(rotation),
        }
    }

    /// The same without one access token.
    pub(crate) fn without(&self, token: &Opaque) -> Family {
        let mut family = self.clone();
        family.access.retain(|each| each != token);
        family
    }

    /// Whether nothing is left that could be used.
    pub(crate) fn is_empty(&self) -> bool {
        self.access.is_empty() && self.refresh.is_none()
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
            value: stored(self),
            lives,
        }
    }

    /// The access token that this is, unless it has ended.
    pub(crate) fn access_token(&self, presented: &TaggedToken, now: i64) -> Option<&Opaque> {
        let hash = digest(presented);
        let mut access = self.access.iter();
        access.find(|each| each.hash == hash && each.exp > now)
    }

    /// Whether a presented token is the current refresh token, or was until just now.
    pub(crate) fn holds(&self, presented: &TaggedToken, provider: &Provider) -> bool {
        let now = provider.clock.now_millis();
        let standing = self.standing(presented, now, provider.config.tokens.refresh_grace);
        matches!(standing, Standing::Current | Standing::JustReplaced)
            && !self.has_expired(provider)
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
