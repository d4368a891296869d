//! Sessions: that a browser's person signed in here. The cookie holds a random value, the store only its hash.
//!
//! Both ends are written into the record and checked there; the store's own expiry only tidies up. Whoever signs in has
//! a new cookie value, also when somebody who has one signs in again (BR-01). The same person's session then goes on
//! under it, with its public name and its clients: what was told to them still holds.

pub(crate) mod browser_state;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::clock::{Clock, seconds};
use crate::json;
use crate::login::Authenticated;
use crate::provider::Provider;
use crate::random::Random;
use crate::store::{Key, Store, Stored, Swap, Unavailable, Write};

// Seconds. How stale "last seen" may be, so that not every request writes.
const TOUCHED_EVERY: i64 = 60;
// Of one session: more than anybody signs in to. The oldest is forgotten first.
const MOST_CLIENTS: usize = 128;
// How often a change is tried while others change the session too.
const TRIES: usize = 8;

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
    /// Those for whom its end means something.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) clients: Vec<Participant>,
    /// Where it is stored.
    #[serde(skip)]
    key: Option<Key>,
}

/// A client that a person signed in to within a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Participant {
    pub(crate) client_id: String,
    /// What it knows the person as (OpenID Connect Core §8).
    #[serde(rename = "sub")]
    pub(crate) subject: String,
}

/// A session as it is right now, so that it can be changed if nobody else has.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) session: Session,
    key: Key,
    stored: Stored,
}

/// Begins a session and gives its cookie's value. `before`: the one that the browser came with; another person's must
/// have been ended.
///
/// # Errors
/// The store did not answer; no cookie may then be set.
pub(crate) async fn create(
    provider: &Provider,
    before: Option<&Session>,
    authenticated: &Authenticated,
) -> Result<(String, Session), Unavailable> {
    Sessions::of(provider).create(before, authenticated).await
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

/// A client takes part in a session from now on, if anything of it depends on the session's end: it is told, or its
/// refresh tokens end. A write the first time, none later, and none for others. `false`: the session has ended
/// meanwhile, and nothing may be issued in it.
///
/// # Errors
/// The store did not answer.
pub(crate) async fn take_part(
    provider: &Provider,
    session: &Session,
    client: &Client,
    subject: &str,
) -> Result<bool, Unavailable> {
    let depends = client.frontchannel_logout_uri.is_some()
        || client.backchannel_logout_uri.is_some()
        || client.refresh_token_without_offline_access;
    if !depends || session.has(client.id()) {
        return Ok(true);
    }
    let participant = Participant {
        client_id: client.id().to_owned(),
        subject: subject.to_owned(),
    };
    Sessions::of(provider).take_part(session, participant).await
}

/// The session as it is now; `None`: it has ended.
///
/// # Errors
/// The store did not answer.
pub(crate) async fn current(
    provider: &Provider,
    session: &Session,
) -> Result<Option<Current>, Unavailable> {
    Sessions::of(provider).current(session).await
}

impl Session {
    /// Whether its end means something for this client, by what is known of it.
    fn has(&self, client_id: &str) -> bool {
        self.clients.iter().any(|each| each.client_id == client_id)
    }
}

impl Current {
    /// Ends the session, unless it was changed since it was read. Afterwards its cookie opens nothing, anywhere (BR-08).
    pub(crate) async fn end(&self, provider: &Provider) -> Result<bool, Unavailable> {
        let swap = self.replace(&*provider.store).await?;
        Ok(matches!(swap, Swap::Done | Swap::Changed(None)))
    }

    // Deleting compares nothing: what is written instead is no session, and gone at once.
    async fn replace(&self, store: &dyn Store) -> Result<Swap, Unavailable> {
        let nothing = Write {
            key: self.key.clone(),
            value: bytes::Bytes::new(),
            lives: Duration::from_millis(1),
        };
        store.swap(&self.stored, &nothing).await
    }
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
        before: Option<&Session>,
        authenticated: &Authenticated,
    ) -> Result<(String, Session), Unavailable> {
        let now = self.clock.now();
        let cookie = self.random.token256();
        let key = Key::session(&cookie);
        let mut session = Session {
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
            sid: String::new(),
            clients: Vec::new(),
            key: Some(key.clone()),
        };
        let same = before.filter(|before| before.subject == session.subject);
        for _ in 0..TRIES {
            let before = match same {
                Some(same) => self.current(same).await?,
                None => None,
            };
            // One that has ended meanwhile does not go on: its clients have been told so.
            (session.sid, session.clients) = match &before {
                Some(Current { session, .. }) => (session.sid.clone(), session.clients.clone()),
                None => (self.random.token128(), Vec::new()),
            };
            self.store.put(&[self.write(&key, &session)]).await?;
            match before {
                Some(before) if before.replace(self.store).await? != Swap::Done => {}
                _ => return Ok((cookie, session)),
            }
        }
        Err(busy())
    }

    async fn load(&self, cookie: &str) -> Result<Option<Session>, Unavailable> {
        // Ours have 43 characters; nothing else can be one.
        if cookie.len() != 43 {
            return Ok(None);
        }
        let Some(Current {
            mut session,
            key,
            stored,
        }) = self.read(Key::session(cookie)).await?
        else {
            return Ok(None);
        };
        let now = self.clock.now();
        if now - session.last_seen >= TOUCHED_EVERY {
            session.last_seen = now;
            // Only what was read is replaced: a session that was ended meanwhile stays ended.
            self.store
                .swap(&stored, &self.write(&key, &session))
                .await?;
        }
        session.key = Some(key);
        Ok(Some(session))
    }

    async fn take_part(
        &self,
        session: &Session,
        participant: Participant,
    ) -> Result<bool, Unavailable> {
        for _ in 0..TRIES {
            let Some(mut current) = self.current(session).await? else {
                return Ok(false);
            };
            if current.session.has(&participant.client_id) {
                return Ok(true);
            }
            let clients = &mut current.session.clients;
            if clients.len() >= MOST_CLIENTS {
                clients.remove(0);
            }
            clients.push(participant.clone());
            let write = self.write(&current.key, &current.session);
            if self.store.swap(&current.stored, &write).await? == Swap::Done {
                return Ok(true);
            }
        }
        Err(busy())
    }

    async fn current(&self, session: &Session) -> Result<Option<Current>, Unavailable> {
        match &session.key {
            None => Ok(None),
            Some(key) => self.read(key.clone()).await,
        }
    }

    async fn read(&self, key: Key) -> Result<Option<Current>, Unavailable> {
        let keys = [key];
        let stored = self.store.get(&keys).await?.pop().flatten();
        let [key] = keys;
        let Some(stored) = stored else {
            return Ok(None);
        };
        let session = json::read::<Session>(stored.value());
        let session = session.filter(|session| self.ends(session) > self.clock.now());
        Ok(session.map(|session| Current {
            session,
            key,
            stored,
        }))
    }

    fn ends(&self, session: &Session) -> i64 {
        let idle = session.last_seen.saturating_add(seconds(self.idle));
        let absolute = session.created.saturating_add(seconds(self.absolute));
        idle.min(absolute)
    }

    fn write(&self, key: &Key, session: &Session) -> Write {
        let lives = self.ends(session).saturating_sub(self.clock.now());
        Write {
            key: key.clone(),
            value: json::write(session),
            lives: Duration::from_secs(u64::try_from(lives).unwrap_or(0).max(1)),
        }
    }
}

fn busy() -> Unavailable {
    Unavailable("a session changes all the time".to_owned())
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
            self.sign_in("1", None).await
        }

        async fn sign_in(&self, subject: &str, before: Option<&Session>) -> (String, Session) {
            let user = User {
                subject: subject.to_owned(),
                username: "a".to_owned(),
                password_hash: PasswordHash::of_generated("x"),
                claims: Map::new(),
                labels: crate::user::label::Labels::default(),
                disabled: false,
            };
            let authenticated = Authenticated {
                user: Arc::new(user),
                acr: "0",
                amr: &["pwd"],
                auth_time: self.clock.now(),
            };
            self.sessions()
                .create(before, &authenticated)
                .await
                .unwrap()
        }

        async fn load(&self, cookie: &str) -> Option<Session> {
            self.sessions().load(cookie).await.unwrap()
        }

        async fn take_part(&self, session: &Session, client_id: &str) -> bool {
            let participant = Participant {
                client_id: client_id.to_owned(),
                subject: session.subject.clone(),
            };
            let taken = self.sessions().take_part(session, participant).await;
            taken.unwrap()
        }

        async fn end(&self, session: &Session) {
            let current = self.sessions().current(session).await.unwrap().unwrap();
            assert_eq!(current.replace(&self.store).await.unwrap(), Swap::Done);
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
        on.end(&created).await;
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

    #[tokio::test]
    async fn who_takes_part() {
        let on = Fixture::new();
        let (cookie, session) = on.create().await;
        let before = on.sessions().current(&session).await.unwrap().unwrap();
        let names = |session: &Session| -> Vec<String> {
            let clients = session.clients.iter();
            clients.map(|each| each.client_id.clone()).collect()
        };
        for (client_id, expected) in [("a", "a"), ("b", "a b"), ("a", "a b")] {
            assert!(on.take_part(&session, client_id).await);
            let there = on.load(&cookie).await.unwrap();
            assert_eq!(names(&there).join(" "), expected);
        }
        let replaced = before.replace(&on.store).await.unwrap();
        assert!(
            matches!(replaced, Swap::Changed(Some(_))),
            "whoever came meanwhile is not forgotten"
        );
        for number in 0..MOST_CLIENTS {
            assert!(on.take_part(&session, &format!("{number}")).await);
        }
        let there = on.load(&cookie).await.unwrap();
        assert_eq!((there.clients.len(), there.has("a")), (MOST_CLIENTS, false));
        on.end(&session).await;
        assert!(!on.take_part(&session, "c").await, "it has ended");
        assert_eq!(on.load(&cookie).await, None);
    }

    #[tokio::test]
    async fn signing_in_again() {
        let on = Fixture::new();
        let (old_cookie, old) = on.create().await;
        assert!(on.take_part(&old, "a").await);
        let (cookie, session) = on.sign_in("1", Some(&old)).await;
        assert_ne!(cookie, old_cookie);
        assert_eq!(on.load(&old_cookie).await, None);
        assert_eq!(session.sid, old.sid);
        assert!(on.load(&cookie).await.unwrap().has("a"));
        let (_, another) = on.sign_in("2", Some(&session)).await;
        assert_ne!(another.sid, old.sid);
        assert!(another.clients.is_empty());
        assert!(
            on.load(&cookie).await.is_some(),
            "ending it is another matter"
        );
        on.end(&session).await;
        let (_, after) = on.sign_in("1", Some(&session)).await;
        assert_ne!(after.sid, old.sid, "what has ended does not go on");
    }
}
