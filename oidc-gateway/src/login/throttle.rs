//! Guessing is made slow: by the name that is tried, whoever tries, and by the address that tries, whatever name.
//!
//! Each attempt counts before its outcome is known, so that many at once are not free. After the first few, an
//! attempt opens a pause that doubles with the next. Counts are this process's own and bounded.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

// Short enough that nobody is kept from signing in by somebody else's guessing for long.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
const FORGOTTEN_AFTER: Duration = Duration::from_secs(15 * 60);
const FREE_BY_NAME: u32 = 5;
// More, as many people may share an address.
const FREE_BY_ADDRESS: u32 = 20;
const MOST: usize = 100_000;

/// Counts attempts. One for the process, shared by its workers.
#[derive(Debug)]
pub(crate) enum Throttle {
    /// Lets everything pass.
    Off,
    /// Lets guesses pass slowly.
    On(Counts),
}

#[derive(Debug, Default)]
pub(crate) struct Counts {
    // Hashed with keys of this process: neither names nor addresses are kept, nor can they be made to collide.
    state: RandomState,
    attempts: Mutex<HashMap<u64, Attempts>>,
}

#[derive(Debug, Clone, Copy)]
struct Attempts {
    count: u32,
    last: Instant,
    closed_until: Instant,
}

/// An attempt that may be made.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    counts: Option<&'a Counts>,
    name: u64,
    address: u64,
}

impl Throttle {
    /// Slows down guessing.
    pub(crate) fn on() -> Throttle {
        Throttle::On(Counts::default())
    }

    /// Asks for an attempt, and counts it.
    ///
    /// # Errors
    /// Not yet: how long to wait.
    pub(crate) fn permit(&self, username: &str, address: IpAddr) -> Result<Attempt<'_>, Duration> {
        let Throttle::On(counts) = self else {
            return Ok(Attempt {
                counts: None,
                name: 0,
                address: 0,
            });
        };
        let name = counts.state.hash_one(("name", username));
        let address = counts.state.hash_one(("address", network(address)));
        let now = Instant::now();
        let mut attempts = counts
            .attempts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for key in [name, address] {
            if let Some(before) = attempts
                .get(&key)
                .filter(|before| before.closed_until > now)
            {
                return Err(before.closed_until - now);
            }
        }
        make_room(&mut attempts, now);
        count(&mut attempts, name, FREE_BY_NAME, now);
        count(&mut attempts, address, FREE_BY_ADDRESS, now);
        Ok(Attempt {
            counts: Some(counts),
            name,
            address,
        })
    }
}

impl Attempt<'_> {
    /// It was no guess: the name's count begins anew, and the address is one attempt better off.
    pub(crate) fn succeeded(self) {
        let Some(counts) = self.counts else {
            return;
        };
        let mut attempts = counts
            .attempts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        attempts.remove(&self.name);
        self.uncount(&mut attempts);
    }

    /// It was not made after all.
    pub(crate) fn withdrawn(self) {
        let Some(counts) = self.counts else {
            return;
        };
        let mut attempts = counts
            .attempts
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(by_name) = attempts.get_mut(&self.name) {
            by_name.count = by_name.count.saturating_sub(1);
        }
        self.uncount(&mut attempts);
    }

    fn uncount(&self, attempts: &mut HashMap<u64, Attempts>) {
        if let Some(by_address) = attempts.get_mut(&self.address) {
            by_address.count = by_address.count.saturating_sub(1);
        }
    }
}

fn count(attempts: &mut HashMap<u64, Attempts>, key: u64, free: u32, now: Instant) {
    let before = attempts
        .get(&key)
        .filter(|before| now - before.last < FORGOTTEN_AFTER)
        .map_or(0, |before| before.count);
    let count = before.saturating_add(1);
    let pause = match count.checked_sub(free) {
        None => Duration::ZERO,
        Some(beyond) => Duration::from_secs(1 << beyond.min(5)).min(LONGEST_PAUSE),
    };
    let closed_until = now + pause;
    let entry = Attempts {
        count,
        last: now,
        closed_until,
    };
    attempts.insert(key, entry);
}

// When there are too many to remember, the forgotten go; if that is not enough, others must, whichever.
fn make_room(attempts: &mut HashMap<u64, Attempts>, now: Instant) {
    if attempts.len() + 2 <= MOST {
        return;
    }
    attempts.retain(|_, attempt| now - attempt.last < FORGOTTEN_AFTER);
    if attempts.len() + 2 > MOST {
        let some: Vec<u64> = attempts.keys().copied().take(MOST / 10).collect();
        for key in some {
            attempts.remove(&key);
        }
    }
}

// Whoever has one IPv6 address has its /64.
fn network(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => match address.to_ipv4_mapped() {
            Some(address) => u32::from(address).into(),
            None => u128::from(address) >> 64 << 64,
        },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_name_is_guessed_slowly() {
        let throttle = Throttle::on();
        for attempt in 0..FREE_BY_NAME {
            let address = address(&format!("192.0.2.{attempt}"));
            assert!(throttle.permit("a", address).is_ok(), "{attempt}");
        }
        let wait = throttle.permit("a", address("192.0.2.200")).unwrap_err();
        assert!(wait <= LONGEST_PAUSE, "{wait:?}");
        assert!(throttle.permit("b", address("192.0.2.0")).is_ok());
    }

    #[test]
    fn an_address_guesses_slowly() {
        let throttle = Throttle::on();
        for attempt in 0..FREE_BY_ADDRESS {
            let address = address(&format!("2001:db8::{attempt}"));
            assert!(
                throttle.permit(&attempt.to_string(), address).is_ok(),
                "{attempt}"
            );
        }
        assert!(throttle.permit("x", address("2001:db8::ffff")).is_err());
        assert!(throttle.permit("x", address("2001:db8:1::1")).is_ok());
    }

    #[test]
    fn whoever_signs_in_is_not_slowed_down() {
        let throttle = Throttle::on();
        for attempt in 0..100 {
            let permitted = throttle.permit("a", address("192.0.2.1"));
            permitted
                .unwrap_or_else(|_| panic!("{attempt}"))
                .succeeded();
        }
        for _ in 0..1000 {
            assert!(Throttle::Off.permit("a", address("192.0.2.1")).is_ok());
        }
    }

    #[test]
    fn counts_are_bounded() {
        let throttle = Throttle::on();
        for attempt in 0..60_000_u32 {
            let address = IpAddr::from(attempt.to_be_bytes());
            let _ = throttle.permit(&attempt.to_string(), address);
        }
        let Throttle::On(counts) = &throttle else {
            panic!();
        };
        assert!(counts.attempts.lock().unwrap().len() <= MOST);
    }
}
