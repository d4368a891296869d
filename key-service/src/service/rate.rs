//! How often a caller may have keys used: the generic cell rate algorithm (ITU-T I.371 Annex A), which is a bucket that
//! fills steadily, kept in one word. Whoever has no rate pays nothing for it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// A second, in nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// What one caller may do, on all its connections together.
#[derive(Debug)]
pub(super) struct Rate {
    begun: Instant,
    /// Nanoseconds from one operation to the next.
    interval: u64,
    /// How far ahead of its time an operation may be: the whole bucket.
    ahead: u64,
    /// When the bucket will be full again, in nanoseconds since it was made.
    full_at: AtomicU64,
}

impl Rate {
    /// Operations a second, at least one, and how many of them at once.
    pub(super) fn new(operations: u32, burst: u32, begun: Instant) -> Rate {
        let interval = SECOND / u64::from(operations.max(1));
        Rate {
            begun,
            interval,
            ahead: interval * u64::from(burst),
            full_at: AtomicU64::new(0),
        }
    }

    /// Takes so many operations, or none of them and says when there will be enough. More than the bucket holds are taken
    /// from a full one, which is filled up again before anything else is.
    pub(super) fn take(&self, operations: u64, at: Instant) -> Result<(), Duration> {
        let since = at.saturating_duration_since(self.begun).as_nanos();
        let now = u64::try_from(since).unwrap_or(u64::MAX);
        let cost = self.interval.saturating_mul(operations);
        let ahead = self.ahead.max(cost);
        let mut too_early = 0;
        // Nothing else is read or written by whoever sees the new value.
        let taken = self
            .full_at
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |full_at| {
                let next = full_at.max(now).saturating_add(cost);
                too_early = next.saturating_sub(now.saturating_add(ahead));
                (too_early == 0).then_some(next)
            });
        taken.map(drop).map_err(|_| Duration::from_nanos(too_early))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_and_then_one_for_each_interval() {
        let begun = Instant::now();
        let rate = Rate::new(10, 20, begun);
        // When, in milliseconds; how many; how long to wait for them.
        for (at, operations, wait) in [
            (0, 16, 0),
            (0, 4, 0),
            (0, 1, 100),
            (0, 16, 1600),
            (99, 1, 1),
            (100, 1, 0),
            (100, 1, 100),
            (100, 0, 0),
            (1800, 17, 0),
            (1800, 1, 100),
            // What was not used for an hour is one burst.
            (3_600_000, 20, 0),
            (3_600_000, 1, 100),
            // A clock that was read before.
            (3_599_000, 1, 1100),
            // More than a burst waits for all of it, and is paid for afterwards.
            (3_601_000, 64, 1000),
            (3_602_000, 64, 0),
            (3_602_000, 1, 4500),
            (3_606_400, 1, 100),
            (3_606_500, 1, 0),
        ] {
            let expected = match wait {
                0 => Ok(()),
                wait => Err(Duration::from_millis(wait)),
            };
            let taken = rate.take(operations, begun + Duration::from_millis(at));
            assert_eq!(taken, expected, "{operations} at {at} ms");
        }
    }

    #[test]
    fn many_threads_take_no_more_than_there_is() {
        let begun = Instant::now();
        let rate = Rate::new(1, 1000, begun);
        let taken: usize = std::thread::scope(|scope| {
            let takers = [(); 8].map(|()| {
                scope.spawn(|| (0..1000).filter(|_| rate.take(1, begun).is_ok()).count())
            });
            takers.map(|taker| taker.join().unwrap_or(0)).iter().sum()
        });
        assert_eq!(taken, 1000);
    }
}
