//! Threads for a home of keys whose calls wait: for a network, or for a device that takes its time. As many calls as it
//! takes are under way at once; a bounded number waits for its turn.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::{Error, Session, State};

/// A home and the turns at it.
pub(super) struct Pool {
    session: Arc<dyn Session + Send + Sync>,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
    longest: usize,
    state: watch::Sender<State>,
}

/// One that waits for its turn, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Pool {
    pub(super) fn new(
        session: Arc<dyn Session + Send + Sync>,
        at_once: NonZeroUsize,
        longest: usize,
    ) -> Pool {
        Pool {
            session,
            turns: Arc::new(Semaphore::new(at_once.get())),
            waiting: AtomicUsize::new(0),
            longest,
            state: watch::Sender::new(State::Up),
        }
    }

    /// What the last call showed.
    pub(super) fn state(&self) -> State {
        *self.state.borrow()
    }

    /// The same, as it changes. A listing now and then brings it back when nobody asks for anything else.
    pub(super) fn states(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }

    pub(super) fn queue_length(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Asks on another thread. Nothing is asked any more when `deadline` has passed by the time that it is its turn.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        deadline: Option<Instant>,
        ask: impl FnOnce(&dyn Session) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let turn = self.turn().await?;
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(Error::DeadlinePassed);
        }
        let (session, state) = (Arc::clone(&self.session), self.state.clone());
        // Whoever asked may go away: the call under way keeps its turn to its end.
        let asked = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            let answer = ask(&*session);
            let now = match answer {
                Err(Error::Device(_)) => State::Down,
                _ => State::Up,
            };
            state.send_if_modified(|before| std::mem::replace(before, now) != now);
            answer
        });
        asked
            .await
            .unwrap_or_else(|_| Err(Error::Device("a panic in the backend".to_owned())))
    }

    async fn turn(&self) -> Result<OwnedSemaphorePermit, Error> {
        if let Ok(turn) = Arc::clone(&self.turns).try_acquire_owned() {
            return Ok(turn);
        }
        let before = self.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.waiting);
        if before >= self.longest {
            return Err(Error::QueueFull);
        }
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        turn.map_err(|_| Error::Device("it is shutting down".to_owned()))
    }
}
