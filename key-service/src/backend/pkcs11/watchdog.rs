//! A call into the module that does not end: no thread can be stopped from outside, so somebody has to say that this
//! process is lost and another one must take its place. Meanwhile other lanes are called to what waits for it.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Weak};
use std::thread::Builder;
use std::time::{Duration, Instant};

use super::queue::Queue;
use super::token::Token;
use crate::backend::State;

/// How often the threads are looked at, at least, and what was left to one that is kept.
const LOOK: Duration = Duration::from_millis(200);
/// So many times as long as a request may take what makes, lists or finds keys again: that is thousands of calls, or one
/// that looks for two large primes.
pub(super) const PATIENCE: u32 = 10;

/// What a thread that calls the module shows of itself. A request costs two additions and no look at a clock.
#[derive(Debug, Default)]
pub(super) struct Pulse {
    /// Odd while it is inside the module.
    calls: AtomicU64,
    signatures: AtomicU64,
}

impl Pulse {
    pub(super) fn begins(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ends(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn signed(&self) {
        self.signatures.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn signatures(&self) -> u64 {
        self.signatures.load(Ordering::Relaxed)
    }
}

/// A thread that is watched.
pub(super) struct Watched {
    name: String,
    pulse: Arc<Pulse>,
    limit: Duration,
    calls: u64,
    /// When its pulse was last seen to change.
    since: Instant,
}

impl Watched {
    pub(super) fn new(name: &str, pulse: &Arc<Pulse>, limit: Duration) -> Watched {
        Watched {
            name: name.to_owned(),
            pulse: Arc::clone(pulse),
            limit,
            calls: 0,
            since: Instant::now(),
        }
    }

    /// Whether it has been inside for longer than it may.
    fn hangs(&mut self) -> bool {
        let calls = self.pulse.calls.load(Ordering::Relaxed);
        if calls != self.calls {
            (self.calls, self.since) = (calls, Instant::now());
        }
        calls % 2 == 1 && self.since.elapsed() >= self.limit
    }
}

/// Watches until the answer is dropped, and calls lanes to `requests` that wait while others do not come back.
pub(super) fn watch(
    token: &Arc<Token>,
    mut threads: Vec<Watched>,
    requests: Arc<Queue>,
) -> io::Result<Sender<()>> {
    let (keep, dropped) = mpsc::channel();
    let look = LOOK.min(token.settings.hang_limit / 4);
    let token = Arc::downgrade(token);
    Builder::new()
        .name("token-watchdog".to_owned())
        .spawn(move || {
            while dropped.recv_timeout(look) == Err(RecvTimeoutError::Timeout) {
                requests.call_for_help();
                for thread in &mut threads {
                    if thread.hangs() {
                        return give_up(&token, thread);
                    }
                }
            }
        })?;
    Ok(keep)
}

fn give_up(token: &Weak<Token>, thread: &Watched) {
    let Some(token) = token.upgrade() else {
        return;
    };
    let (name, seconds) = (&token.settings.token, thread.limit.as_secs_f64());
    tracing::error!(token = %name, thread = %thread.name, seconds, "a call into the module does not end: the process has to");
    token.becomes(State::Hung);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_call_that_goes_on_is_a_hang() {
        let pulse = Arc::new(Pulse::default());
        let mut soon = Watched::new("soon", &pulse, Duration::ZERO);
        let mut late = Watched::new("late", &pulse, Duration::from_secs(3600));
        assert!(!soon.hangs(), "idle");
        pulse.begins();
        assert!(!late.hangs(), "inside, and not for long");
        assert!(soon.hangs(), "inside");
        pulse.ends();
        assert!(!soon.hangs(), "out again");
        pulse.begins();
        assert!(soon.hangs(), "inside another call");
    }
}
