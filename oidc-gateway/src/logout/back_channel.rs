//! OpenID Connect Back-Channel Logout 1.0: clients are told directly that a session has ended. What is to be told waits
//! in the store, in a queue that all replicas work through: whoever takes a notice has it for a while, and if it is not
//! told by then, somebody takes it again. So a client is told at least once, each time with the same `jti`, until it has
//! understood or too much time has passed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::error::Failure;
use crate::json;
use crate::provider::Provider;
use crate::session::Participant;
use crate::store::table::hash_of;
use crate::store::{Key, Unavailable};
use crate::token::logout_token::{self, LogoutToken};

/// How long a notice is kept from others: longer than a signature and a request take.
const LEASE: Duration = Duration::from_secs(15);
/// How many clients are told at the same time, by one process.
const AT_ONCE: usize = 24;
/// Of these, a client with which it did not work just now: one that hangs must not keep the others waiting.
const FOR_A_FAILING_ONE: usize = 2;
/// Of how many clients that is remembered.
const MOST_REMEMBERED: usize = 10_000;
/// How often a process looks whether there is something to tell that another has left.
const LOOKS_EVERY: Duration = Duration::from_secs(1);
/// Between the first two attempts; then as long as it has taken so far, so that it doubles.
const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// `[back_channel_logout]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How long a client that does not answer is tried. Default: 1 d.
    #[serde(with = "crate::duration")]
    pub retry_for: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            retry_for: Duration::from_secs(24 * 3600),
        }
    }
}

/// Wakes whoever tells, in this process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bell(Arc<Notify>);

impl Bell {
    /// There is something to tell.
    pub(crate) fn wake(&self) {
        self.0.notify_one();
    }
}

/// What a client is to be told, as it waits in the queue.
#[derive(Debug, Serialize, Deserialize)]
struct Notice {
    jti: String,
    client_id: String,
    sub: String,
    sid: String,
    /// When the session ended: seconds since 1970.
    since: i64,
}

/// What became of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The client has understood, or there is no such client any more.
    Told,
    /// It will be tried again.
    Failed,
    /// It was tried for too long.
    GivenUp,
}

fn queue() -> Key {
    Key::queue("back_channel_logout")
}

/// A notice for a client, to be written down.
pub(super) fn notice(provider: &Provider, participant: &Participant, sid: &str) -> Bytes {
    json::write(&Notice {
        // A session ends once for each client: a logout that is tried again tells the same.
        jti: hash_of("logout_token", &[sid, &participant.client_id]),
        client_id: participant.client_id.clone(),
        sub: participant.subject.clone(),
        sid: sid.to_owned(),
        since: provider.clock.now(),
    })
}

/// Puts notices into the queue.
pub(super) async fn write_down(provider: &Provider, notices: &[Bytes]) -> Result<(), Unavailable> {
    match notices.is_empty() {
        true => Ok(()),
        false => {
            provider
                .store
                .enqueue(&queue(), notices, Duration::ZERO)
                .await
        }
    }
}

/// Works through the queue as long as the process runs. One worker does it for all of the process.
pub(crate) async fn work(provider: Provider) {
    let provider = Arc::new(provider);
    let mut under_way = JoinSet::new();
    let mut clients = HashMap::<String, Attempts>::new();
    loop {
        let mut left_alone = false;
        for entry in take(&provider, AT_ONCE - under_way.len()).await {
            let Some(notice) = json::read::<Notice>(&entry) else {
                tracing::error!("a notice of a logout is not understood, and thrown away");
                forget(&provider, &entry).await;
                continue;
            };
            let attempts = clients.entry(notice.client_id.clone()).or_default();
            if attempts.has_failed && attempts.under_way >= FOR_A_FAILING_ONE {
                // It comes again when the lease ends.
                left_alone = true;
                continue;
            }
            attempts.under_way += 1;
            let provider = Arc::clone(&provider);
            under_way.spawn(async move {
                let outcome = settle(&provider, &notice, entry).await;
                (notice.client_id, outcome)
            });
        }
        if left_alone {
            tokio::task::yield_now().await;
            continue;
        }
        tokio::select! {
            Some(done) = under_way.join_next() => {
                if let Ok((client_id, outcome)) = done {
                    ended(&mut clients, &client_id, outcome);
                }
            }
            () = provider.back_channel.0.notified() => {}
            () = tokio::time::sleep(LOOKS_EVERY) => {}
        }
    }
}

/// Attempts to tell a client.
#[derive(Debug, Default)]
struct Attempts {
    under_way: usize,
    /// The last one that ended.
    has_failed: bool,
}

fn ended(clients: &mut HashMap<String, Attempts>, client_id: &str, outcome: Outcome) {
    let is_full = clients.len() > MOST_REMEMBERED;
    let Some(attempts) = clients.get_mut(client_id) else {
        return;
    };
    attempts.under_way = attempts.under_way.saturating_sub(1);
    attempts.has_failed = outcome != Outcome::Told;
    if attempts.under_way == 0 && (is_full || !attempts.has_failed) {
        clients.remove(client_id);
    }
}

/// What is due, for us alone until the lease ends. Of a store that is out of order, the store itself tells.
async fn take(provider: &Provider, room: usize) -> Vec<Bytes> {
    match room {
        0 => Vec::new(),
        _ => {
            let due = provider.store.due(&queue(), room, LEASE).await;
            due.unwrap_or_default()
        }
    }
}

/// One attempt, and what follows from it.
async fn settle(provider: &Provider, notice: &Notice, entry: Bytes) -> Outcome {
    let age = provider.clock.now().saturating_sub(notice.since);
    let age = Duration::from_secs(u64::try_from(age).unwrap_or(0));
    let client_id = notice.client_id.as_str();
    let outcome = match notice.tell(provider).await {
        Ok(()) => Outcome::Told,
        Err(reason) if age >= provider.config.back_channel_logout.retry_for => {
            tracing::warn!(
                client_id,
                reason,
                "a client was not told of a logout, and will not be"
            );
            Outcome::GivenUp
        }
        Err(reason) => {
            tracing::info!(client_id, reason, "a client was not told of a logout yet");
            Outcome::Failed
        }
    };
    provider.metrics.back_channel_logout(outcome);
    match outcome {
        Outcome::Told | Outcome::GivenUp => forget(provider, &entry).await,
        Outcome::Failed => {
            let pause = age.clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
            // If this fails, the lease ends instead.
            let _ = provider.store.enqueue(&queue(), &[entry], pause).await;
        }
    }
    outcome
}

/// A notice that is not forgotten is told once more: a client may have to expect that.
async fn forget(provider: &Provider, entry: &Bytes) {
    let _ = provider.store.dequeue(&queue(), entry).await;
}

impl Notice {
    /// §2.5. The error is constant words for the log.
    async fn tell(&self, provider: &Provider) -> Result<(), &'static str> {
        let unavailable = |_: Failure| "something of ours is not available";
        let client = provider
            .client(&self.client_id)
            .await
            .map_err(unavailable)?;
        let Some(client) = client else {
            return Ok(());
        };
        let Some(uri) = client.backchannel_logout_uri.as_deref() else {
            return Ok(());
        };
        let token = LogoutToken {
            jti: &self.jti,
            client: &client,
            sub: &self.sub,
            sid: &self.sid,
        };
        let token = logout_token::sign(provider, &token)
            .await
            .map_err(unavailable)?;
        let body = form_urlencoded::Serializer::new(String::new())
            .append_pair("logout_token", &token)
            .finish();
        let answer = provider.fetch.post_form(uri, body).await;
        // §2.8: "MUST respond with an HTTP 200 OK"; "some Web frameworks will substitute an HTTP 204".
        match answer.map(|status| status.as_u16()) {
            Ok(200 | 204) => Ok(()),
            Ok(400..=499) => Err("the client refused"),
            Ok(_) => Err("the client failed"),
            Err(_) => Err("the client cannot be reached"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_of_a_client() {
        let mut clients = HashMap::new();
        clients.entry("a".to_owned()).or_insert(Attempts {
            under_way: 3,
            has_failed: false,
        });
        for (outcome, expected) in [
            (Outcome::Failed, Some((2, true))),
            (Outcome::Told, Some((1, false))),
            (Outcome::GivenUp, Some((0, true))),
            (Outcome::Told, None),
            (Outcome::Failed, None),
        ] {
            ended(&mut clients, "a", outcome);
            let attempts = clients.get("a");
            let attempts = attempts.map(|each| (each.under_way, each.has_failed));
            assert_eq!(attempts, expected, "{outcome:?}");
        }
    }
}
