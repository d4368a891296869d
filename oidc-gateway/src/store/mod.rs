//! Where sessions and grants live: one trait, in Redis and in memory, one contract test for both.
//!
//! Every verb is one round trip, and what it decides is decided in one atomic step. A value is opaque to the store; the time that matters is the
//! store's own clock (RD-09), and expiry is written inside values too by whoever makes them. A value that can be used
//! once passes `ISSUED → CLAIMED(lease) → SPENT`: claim, then sign, then commit. What was not committed when the lease ends can
//! be claimed again; whoever then commits first is the only one who does.

pub mod memory;
pub mod redis;
pub mod settings;
pub mod table;

use std::future::Future;
use std::pin::Pin;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::error::Failure;

/// What every verb gives.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, Unavailable>> + Send + 'a>>;

/// The store did not answer. Whether a write happened is then unknown.
#[derive(Debug, Clone, thiserror::Error)]
#[error("the store did not answer: {0}")]
pub struct Unavailable(pub String);

impl From<Unavailable> for Failure {
    fn from(unavailable: Unavailable) -> Failure {
        Failure::Unavailable(unavailable.to_string())
    }
}

/// The name of a value: a kind, then a family tag in braces where several keys must stay in one Redis Cluster slot,
/// then fixed-length hashes. Never a secret, never a client's input (RD-01).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(pub(crate) String);

/// A value to be written.
#[derive(Debug, Clone)]
pub struct Write {
    /// Its name.
    pub key: Key,
    /// Its content.
    pub value: Bytes,
    /// How long it lives, at least one millisecond.
    pub lives: Duration,
}

/// A value that was read, and which one it was: what `swap` compares.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    value: Bytes,
    /// What the store knows this very writing by.
    mark: Bytes,
}

impl Stored {
    /// Its content.
    pub fn value(&self) -> &Bytes {
        &self.value
    }
}

/// The right to commit what was claimed, for a while. It is given up by `commit` and by `release`, so neither follows
/// the other.
#[derive(Debug, PartialEq, Eq)]
pub struct Lease {
    /// What was claimed.
    code: Key,
    /// Tells this claim from every other.
    owner: [u8; 16],
    /// On this process' steady clock.
    until: Instant,
}

/// What became of a claim.
#[derive(Debug, PartialEq, Eq)]
pub enum Claim {
    /// It is yours until the lease ends; the value.
    Claimed(Bytes, Lease),
    /// There is no such thing, or it has expired.
    Missing,
    /// It is there, but bound to something else. Nothing was changed.
    Mismatch,
    /// Somebody else is at it. Nothing was changed.
    InFlight,
    /// It was used; the value that `commit` left.
    Spent(Bytes),
}

/// What became of a swap.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swap {
    /// The new value is there.
    Done,
    /// Somebody was faster; what is there now. Nothing was written.
    Changed(Option<Stored>),
}

/// The verbs. All keys of one call stay in one Cluster slot.
pub trait Store: Send + Sync {
    /// Reads values, in the order of the keys: plain ones and what `commit` left. What was issued and is not spent yet
    /// cannot be read, only claimed.
    fn get<'a>(&'a self, keys: &'a [Key]) -> Answer<'a, Vec<Option<Stored>>>;

    /// Writes values, all or none.
    fn put<'a>(&'a self, writes: &'a [Write]) -> Answer<'a, ()>;

    /// Writes a value unless the key is there already; says whether it was written.
    fn put_new<'a>(&'a self, write: &'a Write) -> Answer<'a, bool>;

    /// Writes a value that can be claimed once by whoever presents the same `binding`. `binding` is a hash,
    /// at most 255 octets, and is compared before anything else: who lacks it learns and changes nothing, also when the
    /// value is spent.
    fn issue<'a>(&'a self, write: &'a Write, binding: &'a str) -> Answer<'a, ()>;

    /// ISSUED, or CLAIMED with the lease over → CLAIMED, if the binding is equal. `spent` is where `commit` will leave
    /// what comes of it.
    fn claim<'a>(
        &'a self,
        code: &'a Key,
        spent: &'a Key,
        binding: &'a str,
        lease: Duration,
    ) -> Answer<'a, Claim>;

    /// CLAIMED → SPENT: `spent` is written with the binding, and the code goes. `false`: the lease is over, or somebody
    /// else has committed, or it was ended; nothing was written. For one code, one commit succeeds.
    fn commit<'a>(&'a self, lease: Lease, binding: &'a str, spent: &'a Write) -> Answer<'a, bool>;

    /// CLAIMED → ISSUED.
    fn release<'a>(&'a self, lease: Lease, binding: &'a str) -> Answer<'a, ()>;

    /// Ends a value for as long as `lives`, whether it is there or not: nobody reads, swaps or claims it, and nothing is
    /// committed in its place.
    fn end<'a>(&'a self, key: &'a Key, lives: Duration) -> Answer<'a, ()>;

    /// Replaces a SPENT value or a plain one if nobody has written it since `before` was read. The state stays.
    fn swap<'a>(&'a self, before: &'a Stored, after: &'a Write) -> Answer<'a, Swap>;

    /// `put_new` of what belongs beside a value and then `swap`, in one round trip: whether the one was written, and what
    /// became of the other. Neither depends on the other.
    fn put_new_and_swap<'a>(
        &'a self,
        beside: &'a Write,
        before: &'a Stored,
        after: &'a Write,
    ) -> Answer<'a, (bool, Swap)>;

    /// Deletes; says how many were there.
    fn delete<'a>(&'a self, keys: &'a [Key]) -> Answer<'a, u64>;

    /// Puts entries into a queue, or back into it, due `after` so long. An entry is in it once.
    fn enqueue<'a>(
        &'a self,
        queue: &'a Key,
        entries: &'a [Bytes],
        after: Duration,
    ) -> Answer<'a, ()>;

    /// Takes at most so many entries that are due, the longest due first. Each is due again after the lease, unless it
    /// is removed by then.
    fn due<'a>(&'a self, queue: &'a Key, most: usize, lease: Duration) -> Answer<'a, Vec<Bytes>>;

    /// Removes an entry.
    fn dequeue<'a>(&'a self, queue: &'a Key, entry: &'a Bytes) -> Answer<'a, ()>;

    /// Whether the store answers.
    fn ping(&self) -> Answer<'_, ()>;
}
