//! The one clock: everything that needs the time is given this.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the time: the system's, or the system's with an offset that a test moves.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    offset: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// The system's clock.
    pub fn system() -> Clock {
        Clock { offset: None }
    }

    /// The system's clock and an offset in seconds, which may be changed while the clock is in use.
    pub fn with_offset(offset: Arc<AtomicI64>) -> Clock {
        Clock {
            offset: Some(offset),
        }
    }

    /// Seconds since 1970 (`NumericDate`, RFC 7519 §2).
    pub fn now(&self) -> i64 {
        whole(self.since_epoch().as_secs()) + self.offset()
    }

    /// Milliseconds since 1970.
    pub fn now_millis(&self) -> i64 {
        let now = self.since_epoch();
        whole(now.as_secs()) * 1000 + i64::from(now.subsec_millis()) + self.offset() * 1000
    }

    fn offset(&self) -> i64 {
        self.offset
            .as_ref()
            .map_or(0, |offset| offset.load(Ordering::Relaxed))
    }

    // The only place that asks the system; before 1970 it counts as 1970, where everything has yet to begin.
    #[allow(clippy::disallowed_methods)]
    fn since_epoch(&self) -> Duration {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
    }
}

/// A duration as a `NumericDate` counts; a part of a second is left out.
pub(crate) fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 4)
}

fn whole(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX / 2000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_moves_both_units() {
        let offset = Arc::new(AtomicI64::new(0));
        let clock = Clock::with_offset(Arc::clone(&offset));
        let before = (clock.now(), clock.now_millis());
        offset.store(3600, Ordering::Relaxed);
        assert!((3600..3602).contains(&(clock.now() - before.0)));
        assert!((3_600_000..3_602_000).contains(&(clock.now_millis() - before.1)));
        assert!(Clock::system().now() > 1_700_000_000);
    }
}
