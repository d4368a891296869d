//! Telling the other processes of a change. SoftHSM numbers the changes of a token, and a process that writes takes the
//! newest number for its own (`Generation::commit`): what another process wrote since it last looked stays hidden from it
//! until somebody else writes again. So whoever writes there does it again a little later, three times, each time
//! after looking.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, Builder};
use std::time::Duration;

use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::Session;

use super::error::Failure;
use super::patience::chance;
use super::token::{Token, close};

/// The pauses before the announcements, in milliseconds, the last one first; each is made longer by up to twice as much
/// again, so that two that changed the token at one moment do not announce it at one moment.
const PAUSES: [u64; 3] = [1200, 400, 100];
/// CKA_APPLICATION of the object that is written and taken away again. It is none of a listing.
const APPLICATION: &[u8] = b"signet-announcement";

/// How many announcements are still to be made. A thread makes them.
#[derive(Default)]
pub(super) struct Due(AtomicU64);

/// Whether this kind of token keeps a process from seeing what another one wrote.
pub(super) fn is_needed(model: &str) -> bool {
    model.starts_with("SoftHSM")
}

/// After a change of the token: lets the other processes see it.
pub(super) fn soon(token: &Arc<Token>) {
    let Some(due) = &token.announcements else {
        return;
    };
    if due.0.swap(PAUSES.len() as u64, Ordering::AcqRel) > 0 {
        return;
    }
    let weak = Arc::downgrade(token);
    let started = Builder::new()
        .name("token-announcer".to_owned())
        .spawn(move || announce_all(&weak));
    if let Err(error) = started {
        due.0.store(0, Ordering::Release);
        tracing::warn!(%error, "no thread to announce a change of the token");
    }
}

fn announce_all(token: &Weak<Token>) {
    let mut left = PAUSES.len() as u64;
    while left > 0 {
        let index = usize::try_from(left - 1).unwrap_or_default();
        let pause = PAUSES.get(index).copied().unwrap_or(PAUSES[0]);
        thread::sleep(Duration::from_millis(pause + chance(2 * pause)));
        let Some(token) = token.upgrade() else { return };
        if let Err(failure) = announce(&token) {
            let reason = crate::backend::Error::from(failure);
            tracing::debug!(%reason, "a change of the token was not announced");
        }
        let Some(due) = &token.announcements else {
            return;
        };
        left = due.0.fetch_sub(1, Ordering::AcqRel) - 1;
    }
}

fn announce(token: &Token) -> Result<(), Failure> {
    let world = token.enter()?;
    let session = token.session(world.slot)?;
    let outcome = write(&session);
    close(session);
    outcome
}

/// Looks, which takes in what others wrote, and changes the token at once.
fn write(session: &Session) -> Result<(), Failure> {
    let own = [
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Application(APPLICATION.to_vec()),
    ];
    // What a process that was killed left behind, or another one is about to take away itself.
    for object in session.find_objects(&own)? {
        let _ = session.destroy_object(object);
    }
    let mut written = own.to_vec();
    written.push(Attribute::Private(true));
    let object = session.create_object(&written)?;
    // Another process may have been faster.
    let _ = session.destroy_object(object);
    Ok(())
}
