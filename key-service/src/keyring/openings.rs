//! How often each key that seals opened something here, and when last: who wants to destroy one sees whether it is still
//! needed (NIST SP 800-57 part 1, §8.4). What is re-wrapped does not count, for it needs the key no more.
//!
//! It is known of this process alone and from its start on.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

/// By kid.
#[derive(Debug, Default)]
pub struct Openings(RwLock<HashMap<String, Counts>>);

#[derive(Debug)]
struct Counts {
    times: AtomicU64,
    last: AtomicI64,
}

/// What one key opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// How often.
    pub times: u64,
    /// When last: seconds since 1970-01-01T00:00:00Z.
    pub last: i64,
}

impl Openings {
    /// Of a key; `None`: it opened nothing.
    #[must_use]
    pub fn of(&self, kid: &str) -> Option<Opened> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        all.get(kid).map(|counts| Opened {
            times: counts.times.load(Ordering::Relaxed),
            last: counts.last.load(Ordering::Relaxed),
        })
    }

    /// There are as many entries as there are keys of ours.
    pub(super) fn count(&self, kid: &str, now: i64) {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(counts) = all.get(kid) {
            counts.times.fetch_add(1, Ordering::Relaxed);
            counts.last.fetch_max(now, Ordering::Relaxed);
            return;
        }
        drop(all);
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let counts = all.entry(kid.to_owned()).or_insert_with(|| Counts {
            times: AtomicU64::new(0),
            last: AtomicI64::new(now),
        });
        *counts.times.get_mut() += 1;
        let last = counts.last.get_mut();
        *last = now.max(*last);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_its_count_and_its_last_time() {
        let openings = Openings::default();
        for (kid, now) in [("a", 5), ("b", 6), ("a", 9), ("a", 7)] {
            openings.count(kid, now);
        }
        for (kid, expected) in [
            ("a", Some(Opened { times: 3, last: 9 })),
            ("b", Some(Opened { times: 1, last: 6 })),
            ("c", None),
        ] {
            assert_eq!(openings.of(kid), expected, "{kid}");
        }
    }
}
