//! Ending a session: here, at the clients that want to know (OpenID Connect Front-Channel and Back-Channel Logout 1.0),
//! and what was granted in it for as long as it lasts.

pub(crate) mod back_channel;
pub(crate) mod front_channel;
pub(crate) mod rp_initiated;

use std::collections::BTreeSet;

use bytes::Bytes;

use crate::client::Client;
use crate::error::Failure;
use crate::provider::Provider;
use crate::session::{self, Participant, Session};
use crate::store::{Key, Write};

use self::front_channel::Frame;

/// How often it is tried while others change the session.
const TRIES: usize = 8;

/// What is left for the browser to do.
#[derive(Debug, Default)]
pub(crate) struct Ended {
    pub(crate) frames: Vec<Frame>,
}

/// Ends a session. Whoever must hear of it is written down before it ends, so that no client is forgotten if we stop
/// half-way; a client that comes in meanwhile is told as well.
///
/// # Errors
/// The store did not answer, and the session may go on.
pub(crate) async fn end(provider: &Provider, session: &Session) -> Result<Ended, Failure> {
    let mut ended = Ended::default();
    let mut told = BTreeSet::new();
    for _ in 0..TRIES {
        let Some(current) = session::current(provider, session).await? else {
            break;
        };
        let mut notices = Vec::new();
        let mut ends_refresh_tokens = false;
        for participant in &current.session.clients {
            if told.insert(participant.client_id.clone())
                && let Some(client) = provider.client(&participant.client_id).await?
            {
                let sid = &current.session.sid;
                ends_refresh_tokens |= client.refresh_token_without_offline_access;
                ended.frames.extend(Frame::of(provider, &client, sid));
                notices.extend(notice(provider, &client, participant, sid));
            }
        }
        if ends_refresh_tokens {
            note(provider, &current.session.sid).await?;
        }
        back_channel::write_down(provider, &notices).await?;
        if current.end(provider).await? {
            provider.back_channel.wake();
            return Ok(ended);
        }
    }
    match session::current(provider, session).await? {
        None => Ok(ended),
        Some(_) => Err(Failure::Unavailable(
            "a session changes all the time".to_owned(),
        )),
    }
}

fn notice(
    provider: &Provider,
    client: &Client,
    participant: &Participant,
    sid: &str,
) -> Option<Bytes> {
    client.backchannel_logout_uri.as_ref()?;
    Some(back_channel::notice(provider, participant, sid))
}

/// Leaves a note for refresh tokens that end with the session: none of them lives longer than a session may.
async fn note(provider: &Provider, sid: &str) -> Result<(), Failure> {
    let note = Write {
        key: Key::session_ended(sid),
        value: Bytes::from_static(b"1"),
        lives: provider.config.sessions.absolute,
    };
    provider.store.put(&[note]).await?;
    Ok(())
}

/// Whether a session was ended, so that what was granted in it without `offline_access` ends too.
pub(crate) async fn has_ended(provider: &Provider, sid: &str) -> Result<bool, Failure> {
    let key = [Key::session_ended(sid)];
    let note = provider.store.get(&key).await?.pop().flatten();
    Ok(note.is_some())
}
