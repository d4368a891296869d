//! `once_key`: one key, one answer. Whoever comes again with the same key and the same item gets what was signed the
//! first time; with another item it is refused. So an authorization code whose store has forgotten that it was spent
//! gives nothing else (RFC 6749 §4.1.2). It is a second net: per process, for a time, and for so many octets.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prometheus_client::metrics::counter::Counter;
use proto::v1::{self, recipient, sign_item};
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::keyring::Signed;
use crate::keyring::policy::Rule;

/// How long such a key is, in octets: nobody guesses one, and none fills the memory.
const LENGTH: std::ops::RangeInclusive<usize> = 16..=64;
/// What an answer takes beside its text, in octets: places in the map and the queue, and the allocator's share.
const OVERHEAD: usize = 384;

/// What was made of an item.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub(super) jws: Signed,
    /// The JWS, encrypted for its recipient.
    pub(super) jwe: Option<String>,
}

impl Made {
    /// What the caller gets.
    pub(super) fn into_message(self) -> v1::Signed {
        v1::Signed {
            kid: self.jws.kid().to_owned(),
            compact: self.jwe.unwrap_or(self.jws.compact),
        }
    }

    fn size(&self) -> usize {
        self.jws.compact.len() + self.jwe.as_ref().map_or(0, String::len) + OVERHEAD
    }
}

/// The answers of this process, for some time.
#[derive(Debug)]
pub(crate) struct Once {
    /// Seconds that an answer is kept.
    lives: i64,
    /// Octets of all that are kept.
    size: usize,
    /// How many answers were forgotten before their time.
    forgotten: Counter,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    held: HashMap<Name, Held>,
    /// Those that are made, the oldest first, with the time when each is forgotten.
    order: VecDeque<(i64, Name)>,
    octets: usize,
}

/// A caller's key. Another caller's is another one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Name {
    caller: usize,
    key: Box<[u8]>,
}

#[derive(Debug)]
enum Held {
    /// A request is at work on it.
    Being,
    Made([u8; 32], Arc<Made>),
}

/// What is known of a key.
#[derive(Debug)]
pub(super) enum Turn {
    /// Nothing: whoever asked is to sign.
    First(Reservation),
    /// The same was signed already.
    Again(Arc<Made>),
}

/// The right to sign for a key. Dropped without an answer, it leaves the key as it was.
#[derive(Debug)]
pub(super) struct Reservation {
    once: Arc<Once>,
    name: Option<Name>,
}

/// What was signed for a key and has not left yet. Dropped, it is as if it had not been signed: nobody has it.
#[derive(Debug)]
pub(super) struct Answer {
    reservation: Reservation,
    fingerprint: [u8; 32],
    made: Made,
}

impl Once {
    /// For so many seconds, and so many octets.
    pub(crate) fn new(lives: i64, size: usize, forgotten: Counter) -> Once {
        Once {
            lives,
            size,
            forgotten,
            memory: Mutex::default(),
        }
    }

    /// Whose turn it is. `fingerprint` says what is asked for; `None`: it cannot be what was signed already.
    ///
    /// # Errors
    /// Something else was signed for the key, or somebody is at it.
    pub(super) fn ask(
        self: &Arc<Self>,
        name: Name,
        now: i64,
        fingerprint: impl FnOnce() -> Option<[u8; 32]>,
    ) -> Result<Turn, Error> {
        let mut memory = self.memory();
        memory.forget_until(now);
        match memory.held.get(&name) {
            Some(Held::Being) => Err(Error::BeingSigned),
            Some(Held::Made(known, made)) => match fingerprint() {
                Some(asked) if asked == *known => Ok(Turn::Again(Arc::clone(made))),
                _ => Err(Rule::Once.into()),
            },
            None => {
                memory.held.insert(name.clone(), Held::Being);
                Ok(Turn::First(Reservation {
                    once: Arc::clone(self),
                    name: Some(name),
                }))
            }
        }
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        // Its parts change together without a call in between that could panic.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn forget_until(&mut self, now: i64) {
        while self.order.front().is_some_and(|(until, _)| *until <= now) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, name)) = self.order.pop_front()
            && let Some(Held::Made(_, made)) = self.held.remove(&name)
        {
            self.octets -= made.size();
        }
    }
}

impl Reservation {
    /// What was signed for it.
    pub(super) fn answer(self, fingerprint: [u8; 32], made: Made) -> Answer {
        Answer {
            reservation: self,
            fingerprint,
            made,
        }
    }
}

impl Answer {
    /// Remembers it: from now on it is the one answer.
    pub(super) fn keep(mut self, now: i64) {
        let Some(name) = self.reservation.name.take() else {
            return;
        };
        let once = Arc::clone(&self.reservation.once);
        let mut memory = once.memory();
        memory.octets += self.made.size();
        memory.order.push_back((now + once.lives, name.clone()));
        let made = Held::Made(self.fingerprint, Arc::new(self.made));
        memory.held.insert(name, made);
        while memory.octets > once.size {
            memory.forget_oldest();
            once.forgotten.inc();
        }
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(name) = self.name.take() {
            self.once.memory().held.remove(&name);
        }
    }
}

/// The keys of a request's items.
///
/// # Errors
/// When one is too short or too long, is there twice, or cannot be kept to.
pub(super) fn names(items: &[v1::SignItem], caller: usize) -> Result<Vec<Option<Name>>, Error> {
    if items.iter().all(|item| item.once_key.is_none()) {
        return Ok(Vec::new());
    }
    let mut names = Vec::with_capacity(items.len());
    for item in items {
        let Some(key) = &item.once_key else {
            names.push(None);
            continue;
        };
        if !LENGTH.contains(&key.len()) {
            return Err(Error::Malformed("once_key is not 16 to 64 octets long"));
        }
        // What is signed anew has another hash each time.
        let of = |hash_of: &v1::HashOf| items.get(hash_of.item as usize);
        let has_key = |of: &v1::SignItem| of.once_key.is_some();
        if !item.hash_of.iter().all(|hash| of(hash).is_none_or(has_key)) {
            return Err(Error::Malformed(
                "hash_of.item of an item with a once_key has none",
            ));
        }
        let name = Some(Name {
            caller,
            key: key.as_ref().into(),
        });
        if names.contains(&name) {
            return Err(Error::Malformed("once_key is there twice"));
        }
        names.push(name);
    }
    Ok(names)
}

/// What an item asks for, with the tokens that it has hashes of; `None`: one of them is not there.
pub(super) fn fingerprint<'a>(
    item: &v1::SignItem,
    made: impl Fn(u32) -> Option<&'a Made>,
) -> Option<[u8; 32]> {
    let mut parts = Parts(Sha256::new());
    parts.add(&item.profile.to_be_bytes());
    match &item.key {
        None => parts.add(b"none"),
        Some(sign_item::Key::Ring(ring)) => parts.all(&["ring", ring]),
        Some(sign_item::Key::WrappedSecret(secret)) => parts.add_secret(secret),
    }
    parts.add(&item.claims);
    for hash_of in &item.hash_of {
        let of = made(hash_of.item)?;
        parts.all(&["hash_of", &hash_of.claim, &of.jws.compact]);
    }
    if let Some(to) = &item.encrypt_to {
        parts.all(&["encrypt_to", &to.alg, &to.enc, &to.cty]);
        match &to.key {
            None => parts.add(b"none"),
            Some(recipient::Key::Jwk(jwk)) => {
                parts.add(b"jwk");
                parts.add(jwk);
            }
            Some(recipient::Key::WrappedSecret(secret)) => parts.add_secret(secret),
        }
    }
    Some(parts.0.finalize().into())
}

/// Each part with its length before it, so that none runs into the next.
struct Parts(Sha256);

impl Parts {
    fn add(&mut self, part: &[u8]) {
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    fn all(&mut self, parts: &[&str]) {
        for part in parts {
            self.add(part.as_bytes());
        }
    }

    fn add_secret(&mut self, secret: &v1::WrappedSecret) {
        self.all(&["secret", &secret.sealed, &secret.context, &secret.alg]);
    }
}

#[cfg(test)]
#[path = "once_tests.rs"]
mod tests;
