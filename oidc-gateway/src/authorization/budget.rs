//! How often a request that nobody has authenticated may cost an operation with a private key: so many times a second
//! in this process, whoever asks.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// A token bucket that holds one second's worth.
#[derive(Debug)]
pub(crate) struct Budget {
    per_second: f64,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    filled: Instant,
}

impl Budget {
    /// A full one.
    pub(crate) fn new(per_second: u32) -> Budget {
        Budget {
            per_second: per_second.into(),
            bucket: Mutex::new(Bucket {
                left: per_second.into(),
                filled: Instant::now(),
            }),
        }
    }

    /// Takes one; `false`: there is none now.
    pub(crate) fn take(&self) -> bool {
        self.take_at(Instant::now())
    }

    fn take_at(&self, now: Instant) -> bool {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let since = now.saturating_duration_since(bucket.filled).as_secs_f64();
        bucket.left = (bucket.left + since * self.per_second).min(self.per_second);
        bucket.filled = now;
        let may = bucket.left >= 1.0;
        if may {
            bucket.left -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn so_many_in_a_second() {
        let budget = Budget::new(10);
        let begin = Instant::now();
        let taken = |after: u64| {
            let now = begin + Duration::from_millis(after);
            (0..100).filter(|_| budget.take_at(now)).count()
        };
        // What was not used in an hour is not kept.
        let rows = [(0, 10), (50, 0), (250, 2), (3_600_000, 10)];
        for (after, expected) in rows {
            assert_eq!(taken(after), expected, "after {after} ms");
        }
        assert!(!Budget::new(0).take());
    }
}
