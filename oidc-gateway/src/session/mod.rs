//! Sessions: that a browser's person signed in here. The cookie holds a random value, the store only its hash.
//!
//! Both ends are written into the record and checked there; the store's own expiry only tidies up. A new session has a
//! new cookie value, also when somebody who has one signs in again (BR-01).

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::clock::{Clock, seconds};
use crate::json;
use crate::login::Authenticated;
use crate::provider::Provider;
use crate::random::Random;
use crate::store::{Key, Store, Unavailable, Write};

// Seconds. How stale "last seen" may be, so that not every request writes.
const TOUCHED_EVERY: i64 = 60;

/// A session as it is stored. All times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Session {
    #[serde(rename = "sub")]
    pub(crate) subject: String,
    /// When the person last proved who they are.
    pub(crate) auth_time: i64,
    /// How (RFC 8176).
    pub(crate) amr: Vec<String>,
    /// What that amounts to.
    pub(crate) acr: String,
    pub(crate) created: i64,
    pub(crate) last_seen: i64,
    /// The session's public name, for `sid` (OpenID Connect Front-Channel Logout §3). It opens nothing.
    pub(crate) sid: String,
}

/// Begins a session and gives its cookie's value.
///
/// # Errors
/// The store did not answer; no cookie may then be set.
pub(crate) async fn create(
    provider: &Provider,
    authenticated: Authenticated,
) -> Result<(String, Session), Unavailable> {
    Sessions::of(provider).create(&authenticated).await
}

/// The session that a cookie's value opens, unless it is over. Notes once a minute that it is in use.
///
/// # Errors
/// The store did not answer.
pub(crate) async fn load(
    provider: &Provider,
    cookie: &str,
) -> Result<Option<Session>, Unavailable> {
    Sessions::of(provider).load(cookie).await
}

/// Ends a session. Afterwards its cookie opens nothing, anywhere (BR-08).
///
/// # Errors
/// The store did not answer, and the session may go on.
pub(crate) async fn end(provider: &Provider, cookie: &str) -> Result<(), Unavailable> {
    Sessions::of(provider).end(cookie).await
}

struct Sessions<'a> {
    store: &'a dyn Store,
    random: &'a Random,
    clock: &'a Clock,
    idle: Duration,
    absolute: Duration,
}

impl<'a> Sessions<'a> {
    fn of(provider: &'a Provider) -> Sessions<'a> {
        Sessions {
            store: &*provider.store,
            random: &provider.random,
            clock: &provider.clock,
            idle: provider.config.sessions.idle,
            absolute: provider.config.sessions.absolute,
        }
    }

    async fn create(
        &self,
        authenticated: &Authenticated,
    ) -> Result<(String, Session), Unavailable> {
        let now = self.clock.now();
        let cookie = self.random.token256();
        let session = Session {
            subject: authenticated.user.subject.clone(),
            auth_time: authenticated.auth_time,
            amr: authenticated
                .amr
                .iter()
                .map(|&method| method.to_owned())
                .collect(),
            acr: authenticated.acr.to_owned(),
            created: now,
            last_seen: now,
            sid: self.random.token128(),
        };
        self.store.put(&[self.write(&cookie, &session)]).await?;
        Ok((cookie, session))
    }

    async fn load(&self, cookie: &str) -> Result<Option<Session>, Unavailable> {
        // Ours have 43 characters; nothing else can be one.
        if cookie.len() != 43 {
            return Ok(None);
        }
        let stored = self
            .store
            .get(&[Key::session(cookie)])
            .await?
            .pop()
            .flatten();
        let Some(stored) = stored else {
            return Ok(None);
        };
        let Some(mut session) = json::read::<Session>(stored.value()) else {
            return Ok(None);
        };
        let now = self.clock.now();
        if self.ends(&session) <= now {
            return Ok(None);
        }
        if now - session.last_seen >= TOUCHED_EVERY {
            session.last_seen = now;
            // Only what was read is replaced: a session that was ended meanwhile stays ended.
            self.store
                .swap(&stored, &self.write(cookie, &session))
                .await?;
        }
        Ok(Some(session))
    }

    async fn end(&self, cookie: &str) -> Result<(), Unavailable> {
        self.store.delete(&[Key::session(cookie)]).await.map(|_| ())
    }

    fn ends(&self, session: &Session) -> i64 {
        let idle = session.last_seen.saturating_add(seconds(self.idle));
        let absolute = session.created.saturating_add(seconds(self.absolute));
        idle.min(absolute)
    }

    fn write(&self, cookie: &str, session: &Session) -> Write {
        let lives = self.ends(session).saturating_sub(self.clock.now());
        Write {
            key: Key::session(cookie),
            value: json::write(session),
            lives: Duration::from_secs(u64::try_from(lives).unwrap_or(0).max(1)),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicI64, Ordering};

    use serde_json::Map;

    use super::*;
    use crate::password::PasswordHash;
    use crate::store::memory::Memory;
    use crate::user::User;

    struct Fixture {
        store: Memory,
        random: Random,
        clock: Clock,
        time: Arc<AtomicI64>,
    }

    impl Fixture {
        fn new() -> Fixture {
            let time = Arc::new(AtomicI64::new(0));
            Fixture {
                store: Memory::new(),
                random: Random::new().unwrap(),
                clock: Clock::with_offset(Arc::clone(&time)),
                time,
            }
        }

        fn sessions(&self) -> Sessions<'_> {
            Sessions {
                store: &self.store,
                random: &self.random,
                clock: &self.clock,
                idle: Duration::from_secs(3600),
                absolute: Duration::from_secs(3 * 3600),
            }
        }

        fn after(&self, seconds: i64) {
            self.time.fetch_add(seconds, Ordering::Relaxed);
        }

        async fn create(&self) -> (String, Session) {
            let user = User {
                subject: "1".to_owned(),
                username: "a".to_owned(),
                password_hash: PasswordHash::of_generated("x"),
                claims: Map::new(),
                disabled: false,
            };
            let authenticated = Authenticated {
                user: Arc::new(user),
                acr: "0",
                amr: &["pwd"],
                auth_time: self.clock.now(),
            };
            self.sessions().create(&authenticated).await.unwrap()
        }

        async fn load(&self, cookie: &str) -> Option<Session> {
            self.sessions().load(cookie).await.unwrap()
        }
    }

    #[tokio::test]
    async fn created_loaded_and_ended() {
        let on = Fixture::new();
        let (cookie, created) = on.create().await;
        let (other, _) = on.create().await;
        assert_ne!(cookie, other);
        assert_eq!(on.load(&cookie).await, Some(created.clone()));
        for wrong in ["", "x", &created.sid, &cookie[1..], &on.random.token256()] {
            assert_eq!(on.load(wrong).await, None, "{wrong}");
        }
        on.sessions().end(&cookie).await.unwrap();
        assert_eq!(on.load(&cookie).await, None);
        assert!(on.load(&other).await.is_some());
    }

    #[tokio::test]
    async fn idle_and_absolute_ends() {
        let on = Fixture::new();
        let (idle, _) = on.create().await;
        let (used, created) = on.create().await;
        for minutes in (0..175).step_by(5) {
            assert!(
                on.load(&used).await.is_some(),
                "ended after {minutes} minutes"
            );
            on.after(300);
        }
        assert_eq!(on.load(&idle).await, None);
        let loaded = on.load(&used).await.unwrap();
        assert_eq!(
            (loaded.created, &loaded.sid),
            (created.created, &created.sid)
        );
        assert!(loaded.last_seen > created.last_seen);
        on.after(600);
        assert_eq!(on.load(&used).await, None, "the absolute end");
    }
}
