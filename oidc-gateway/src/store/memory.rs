//! The store in memory: the same contract, for the demo and for development. It ends with the process.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::{Answer, Claim, Key, Lease, Store, Stored, Swap, Unavailable, Write};

// Full is an outage, as in Redis without eviction: nothing that must be remembered is dropped (RD-08).
const MOST: usize = 1_000_000;
// How many expired values one write removes at most, so that none takes long; more than it adds, so that all go.
const PURGED_PER_WRITE: usize = 8;

/// Values of this process, shared by its workers.
#[derive(Default)]
pub struct Memory {
    values: Mutex<Values>,
}

#[derive(Default)]
struct Values {
    by_key: HashMap<Key, Entry>,
    // When to look at a key again. An entry that lives longer by then has another line here.
    ends: BinaryHeap<Reverse<(Instant, Key)>>,
    // How many writes there were.
    writes: u64,
    // When each entry is due.
    queues: HashMap<Key, HashMap<Bytes, Instant>>,
}

struct Entry {
    state: State,
    // Which write made it.
    written: u64,
    ends: Instant,
}

enum State {
    Plain(Bytes),
    Issued(Bound),
    Claimed {
        bound: Bound,
        owner: [u8; 16],
        lease_ends: Instant,
    },
    Spent(Bound),
    Ended,
}

struct Bound {
    binding: String,
    value: Bytes,
}

impl Memory {
    /// An empty store.
    pub fn new() -> Memory {
        Memory::default()
    }

    fn lock(&self) -> MutexGuard<'_, Values> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Values {
    fn live(&mut self, key: &Key, now: Instant) -> Option<&mut Entry> {
        self.by_key.get_mut(key).filter(|entry| entry.ends > now)
    }

    fn room_for(&mut self, writes: usize, now: Instant) -> Result<(), Unavailable> {
        for _ in 0..PURGED_PER_WRITE * writes {
            match self.ends.peek() {
                Some(Reverse((ends, _))) if *ends <= now => {}
                _ => break,
            }
            if let Some(Reverse((_, key))) = self.ends.pop()
                && self.by_key.get(&key).is_some_and(|entry| entry.ends <= now)
            {
                self.by_key.remove(&key);
            }
        }
        // Lines of values that were written again or deleted.
        if self.ends.len() > 2 * self.by_key.len() + 1024 {
            self.ends = self
                .by_key
                .iter()
                .map(|(key, entry)| Reverse((entry.ends, key.clone())))
                .collect();
        }
        if self.by_key.len() + writes > MOST {
            return Err(Unavailable("the store in memory is full".to_owned()));
        }
        Ok(())
    }

    fn write(&mut self, write: &Write, now: Instant, state: impl FnOnce(Bytes) -> State) {
        let ends = now + write.lives.max(Duration::from_millis(1));
        let state = state(write.value.clone());
        self.ends.push(Reverse((ends, write.key.clone())));
        self.writes += 1;
        let written = self.writes;
        let entry = Entry {
            state,
            written,
            ends,
        };
        self.by_key.insert(write.key.clone(), entry);
    }

    fn write_plain(&mut self, writes: &[Write], now: Instant) {
        for write in writes {
            self.write(write, now, State::Plain);
        }
    }
}

impl Entry {
    fn readable(&self) -> Option<Stored> {
        let value = match &self.state {
            State::Plain(value) => value,
            State::Spent(bound) => &bound.value,
            State::Issued(_) | State::Claimed { .. } | State::Ended => return None,
        };
        Some(Stored {
            value: value.clone(),
            mark: Bytes::copy_from_slice(&self.written.to_be_bytes()),
        })
    }
}

impl Store for Memory {
    fn get<'a>(&'a self, keys: &'a [Key]) -> Answer<'a, Vec<Option<Stored>>> {
        now(|now| {
            let mut values = self.lock();
            let read = |key| values.live(key, now).and_then(|entry| entry.readable());
            Ok(keys.iter().map(read).collect())
        })
    }

    fn put<'a>(&'a self, writes: &'a [Write]) -> Answer<'a, ()> {
        now(|now| {
            let mut values = self.lock();
            values.room_for(writes.len(), now)?;
            values.write_plain(writes, now);
            Ok(())
        })
    }

    fn put_new<'a>(&'a self, write: &'a Write) -> Answer<'a, bool> {
        now(|now| {
            let mut values = self.lock();
            if values.live(&write.key, now).is_some() {
                return Ok(false);
            }
            values.room_for(1, now)?;
            values.write(write, now, State::Plain);
            Ok(true)
        })
    }

    fn issue<'a>(&'a self, write: &'a Write, binding: &'a str) -> Answer<'a, ()> {
        now(|now| {
            let mut values = self.lock();
            values.room_for(1, now)?;
            let binding = binding.to_owned();
            values.write(write, now, |value| State::Issued(Bound { binding, value }));
            Ok(())
        })
    }

    fn claim<'a>(
        &'a self,
        code: &'a Key,
        spent: &'a Key,
        binding: &'a str,
        lease: Duration,
    ) -> Answer<'a, Claim> {
        now(|now| {
            let mut values = self.lock();
            match values.live(spent, now).map(|entry| &entry.state) {
                None => {}
                Some(State::Spent(bound)) if bound.binding == binding => {
                    return Ok(Claim::Spent(bound.value.clone()));
                }
                Some(State::Spent(_)) => return Ok(Claim::Mismatch),
                Some(_) => return Ok(Claim::Missing),
            }
            values.writes += 1;
            let mut owner = [0; 16];
            owner[..8].copy_from_slice(&values.writes.to_be_bytes());
            let Some(entry) = values.live(code, now) else {
                return Ok(Claim::Missing);
            };
            let (State::Issued(bound) | State::Claimed { bound, .. }) = &entry.state else {
                return Ok(Claim::Missing);
            };
            if bound.binding != binding {
                return Ok(Claim::Mismatch);
            }
            if matches!(&entry.state, State::Claimed { lease_ends, .. } if *lease_ends > now) {
                return Ok(Claim::InFlight);
            }
            let value = bound.value.clone();
            let until = now + lease;
            entry.state = State::Claimed {
                bound: Bound {
                    binding: binding.to_owned(),
                    value: value.clone(),
                },
                owner,
                lease_ends: until,
            };
            let code = code.clone();
            Ok(Claim::Claimed(value, Lease { code, owner, until }))
        })
    }

    fn commit<'a>(&'a self, lease: Lease, binding: &'a str, spent: &'a Write) -> Answer<'a, bool> {
        now(|now| {
            let mut values = self.lock();
            if lease.until <= now || values.live(&spent.key, now).is_some() {
                return Ok(false);
            }
            values.room_for(1, now)?;
            values.by_key.remove(&lease.code);
            let binding = binding.to_owned();
            values.write(spent, now, |value| State::Spent(Bound { binding, value }));
            Ok(true)
        })
    }

    fn release<'a>(&'a self, lease: Lease, _binding: &'a str) -> Answer<'a, ()> {
        now(|now| {
            let mut values = self.lock();
            if let Some(entry) = values.live(&lease.code, now)
                && let State::Claimed { bound, owner, .. } = &entry.state
                && *owner == lease.owner
            {
                entry.state = State::Issued(Bound {
                    binding: bound.binding.clone(),
                    value: bound.value.clone(),
                });
            }
            Ok(())
        })
    }

    fn end<'a>(&'a self, key: &'a Key, lives: Duration) -> Answer<'a, ()> {
        now(|now| {
            let mut values = self.lock();
            values.room_for(1, now)?;
            let ended = Write {
                key: key.clone(),
                value: Bytes::new(),
                lives,
            };
            values.write(&ended, now, |_| State::Ended);
            Ok(())
        })
    }

    fn swap<'a>(&'a self, before: &'a Stored, after: &'a Write) -> Answer<'a, Swap> {
        now(|now| {
            let mut values = self.lock();
            let there = values.live(&after.key, now);
            let current = there.as_ref().and_then(|entry| entry.readable());
            if current.as_ref().map(|current| &current.mark) != Some(&before.mark) {
                return Ok(Swap::Changed(current));
            }
            let binding = match there.map(|entry| &entry.state) {
                Some(State::Spent(bound)) => Some(bound.binding.clone()),
                _ => None,
            };
            values.room_for(1, now)?;
            values.write(after, now, |value| match binding {
                None => State::Plain(value),
                Some(binding) => State::Spent(Bound { binding, value }),
            });
            Ok(Swap::Done)
        })
    }

    fn put_new_and_swap<'a>(
        &'a self,
        beside: &'a Write,
        before: &'a Stored,
        after: &'a Write,
    ) -> Answer<'a, (bool, Swap)> {
        Box::pin(async move {
            let is_new = self.put_new(beside).await?;
            Ok((is_new, self.swap(before, after).await?))
        })
    }

    fn delete<'a>(&'a self, keys: &'a [Key]) -> Answer<'a, u64> {
        now(|now| {
            let mut values = self.lock();
            let mut deleted = 0;
            for key in keys {
                if values
                    .by_key
                    .remove(key)
                    .is_some_and(|entry| entry.ends > now)
                {
                    deleted += 1;
                }
            }
            Ok(deleted)
        })
    }

    fn enqueue<'a>(
        &'a self,
        queue: &'a Key,
        entries: &'a [Bytes],
        after: Duration,
    ) -> Answer<'a, ()> {
        now(|now| {
            let mut values = self.lock();
            let queue = values.queues.entry(queue.clone()).or_default();
            if queue.len() + entries.len() > MOST {
                return Err(Unavailable("a queue in memory is full".to_owned()));
            }
            queue.extend(entries.iter().map(|entry| (entry.clone(), now + after)));
            Ok(())
        })
    }

    fn due<'a>(&'a self, queue: &'a Key, most: usize, lease: Duration) -> Answer<'a, Vec<Bytes>> {
        now(|now| {
            let mut values = self.lock();
            let Some(queue) = values.queues.get_mut(queue) else {
                return Ok(Vec::new());
            };
            let mut due: Vec<(Instant, Bytes)> = queue
                .iter()
                .filter(|(_, due)| **due <= now)
                .map(|(entry, due)| (*due, entry.clone()))
                .collect();
            due.sort();
            due.truncate(most);
            let taken = due.into_iter().map(|(_, entry)| entry);
            let taken: Vec<Bytes> = taken.collect();
            queue.extend(taken.iter().map(|entry| (entry.clone(), now + lease)));
            Ok(taken)
        })
    }

    fn dequeue<'a>(&'a self, queue: &'a Key, entry: &'a Bytes) -> Answer<'a, ()> {
        now(|_| {
            if let Some(queue) = self.lock().queues.get_mut(queue) {
                queue.remove(entry);
            }
            Ok(())
        })
    }

    fn ping(&self) -> Answer<'_, ()> {
        now(|_| Ok(()))
    }
}

// A step is done when it is asked for, at one moment; there is nothing to wait for.
fn now<'a, T: Send + 'a>(step: impl FnOnce(Instant) -> Result<T, Unavailable>) -> Answer<'a, T> {
    Box::pin(std::future::ready(step(Instant::now())))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_has_expired_goes() {
        let memory = Memory::new();
        let write = |name: String, lives| Write {
            key: Key(name),
            value: Bytes::from_static(b"v"),
            lives: Duration::from_millis(lives),
        };
        for number in 0..100 {
            memory
                .put(&[write(format!("short {number}"), 1)])
                .await
                .unwrap();
            memory
                .put(&[write("again".to_owned(), 60_000)])
                .await
                .unwrap();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
        for number in 0..20 {
            memory
                .put(&[write(format!("long {number}"), 60_000)])
                .await
                .unwrap();
        }
        assert_eq!(memory.lock().by_key.len(), 21);
        for _ in 0..5000 {
            memory
                .put(&[write("again".to_owned(), 60_000)])
                .await
                .unwrap();
        }
        assert!(memory.lock().ends.len() <= 2 * 21 + 1025);
    }
}
