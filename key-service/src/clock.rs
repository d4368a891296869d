//! The one clock of the process: NumericDate, seconds since 1970-01-01T00:00:00Z (RFC 7519 §2).

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Tells the time. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// Added to the system's time, in milliseconds: tests set it.
    offset: Option<Arc<AtomicI64>>,
}

impl Clock {
    /// The system's time.
    #[must_use]
    pub fn system() -> Self {
        Self::default()
    }

    /// The system's time, which [`Clock::advance`] can move.
    #[must_use]
    pub fn movable() -> Self {
        Self {
            offset: Some(Arc::default()),
        }
    }

    /// Moves a movable clock, and every clone of it, forward.
    pub fn advance(&self, by: Duration) {
        if let Some(offset) = &self.offset {
            offset.fetch_add(millis(by), Ordering::Relaxed);
        }
    }

    /// Whole seconds that have passed.
    #[must_use]
    pub fn now(&self) -> i64 {
        self.now_millis().div_euclid(1000)
    }

    /// The first whole second that begins no sooner than after `wait`.
    #[must_use]
    pub fn second_after(&self, wait: Duration) -> i64 {
        let earliest = self.now_millis().saturating_add(millis(wait));
        earliest.saturating_add(999).div_euclid(1000)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    #[must_use]
    pub fn now_millis(&self) -> i64 {
        #[expect(
            clippy::disallowed_methods,
            reason = "this is the one place that reads it"
        )]
        let system = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, millis);
        match &self.offset {
            None => system,
            Some(offset) => system.saturating_add(offset.load(Ordering::Relaxed)),
        }
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
