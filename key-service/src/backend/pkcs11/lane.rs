//! Lanes: threads that each own one conversation with the token, a bounded queue before them, and one lane apart for
//! what changes or lists the token (some modules fail when two threads make keys at once).

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

use tokio::sync::oneshot;

use super::session::Conversation;
use super::token::Token;
use crate::backend::{Error, Session, State};

/// How many changes may wait: they come from operators and from timers.
const WRITES: usize = 32;

/// What a lane does next. It is told why when the session is not to be asked.
type Job = Box<dyn FnOnce(&dyn Session) + Send>;

struct Queue {
    jobs: Mutex<Jobs>,
    ready: Condvar,
    limit: usize,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    is_closed: bool,
}

/// All lanes of one token. When dropped, they finish what waits and end.
pub(crate) struct Lanes {
    token: Arc<Token>,
    requests: Arc<Queue>,
    changes: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
}

impl Lanes {
    pub(super) fn start(token: &Arc<Token>, lanes: usize, queue: usize) -> Result<Lanes, Error> {
        let mut started = Lanes {
            token: Arc::clone(token),
            requests: Queue::new(queue),
            changes: Queue::new(WRITES),
            threads: Vec::with_capacity(lanes + 1),
        };
        let requests = (0..lanes).map(|lane| (format!("lane-{lane}"), &started.requests));
        let mut threads = Vec::with_capacity(lanes + 1);
        for (name, queue) in requests.chain([("lane-writer".to_owned(), &started.changes)]) {
            let (token, queue) = (Arc::clone(token), Arc::clone(queue));
            let thread = Builder::new().name(name).spawn(move || queue.serve(&token));
            threads.push(thread.map_err(|error| {
                Error::Unusable(format!("cannot start a thread for the token: {error}"))
            }));
        }
        for thread in threads {
            // Those that did start end when `started` is dropped.
            started.threads.push(thread?);
        }
        Ok(started)
    }

    pub(crate) fn state(&self) -> State {
        self.token.state()
    }

    pub(crate) fn queue_length(&self) -> usize {
        self.requests.lock().waiting.len()
    }

    /// Asks a lane. Nothing is asked any more when `deadline` has passed by the time that one is free.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        deadline: Option<Instant>,
        ask: impl FnOnce(&dyn Session) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.requests.ask(deadline, ask).await
    }

    /// Asks the lane that changes the token.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Session) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.changes.ask(None, ask).await
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.requests.close();
        self.changes.close();
        for thread in self.threads.drain(..) {
            // Jobs cannot bring a lane down, so there is nothing to learn here.
            let _ = thread.join();
        }
    }
}

impl Queue {
    fn new(limit: usize) -> Arc<Queue> {
        Arc::new(Queue {
            jobs: Mutex::default(),
            ready: Condvar::new(),
            limit,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        // Held for pushes and pops alone, which leave nothing half done.
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        self.lock().is_closed = true;
        self.ready.notify_all();
    }

    async fn ask<T: Send + 'static>(
        &self,
        deadline: Option<Instant>,
        ask: impl FnOnce(&dyn Session) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        self.push(Box::new(move |session| {
            let result = match deadline {
                Some(deadline) if deadline <= Instant::now() => Err(Error::DeadlinePassed),
                _ => ask(session),
            };
            // Whoever asked may have gone away.
            let _ = answer.send(result);
        }))?;
        // A panic in the job drops its sender.
        answered
            .await
            .unwrap_or_else(|_| Err(Error::Device("a panic in a lane".to_owned())))
    }

    fn push(&self, job: Job) -> Result<(), Error> {
        let mut jobs = self.lock();
        if jobs.is_closed {
            return Err(Error::Device("it is shutting down".to_owned()));
        }
        if jobs.waiting.len() >= self.limit {
            return Err(Error::QueueFull);
        }
        jobs.waiting.push_back(job);
        drop(jobs);
        self.ready.notify_one();
        Ok(())
    }

    fn next(&self) -> Option<Job> {
        let mut jobs = self.lock();
        loop {
            if let Some(job) = jobs.waiting.pop_front() {
                return Some(job);
            }
            if jobs.is_closed {
                return None;
            }
            jobs = self
                .ready
                .wait(jobs)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn serve(&self, token: &Arc<Token>) {
        let mut conversation = Conversation::new(token);
        while let Some(job) = self.next() {
            if catch_unwind(AssertUnwindSafe(|| job(&conversation))).is_err() {
                tracing::error!("a panic in a lane");
                conversation.forget();
                conversation = Conversation::new(token);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A job that must not reach the session.
    fn never(_: &dyn Session) -> Result<(), Error> {
        unreachable!("asked")
    }

    #[tokio::test]
    async fn a_full_or_closed_queue_answers_at_once() {
        let queue = Queue::new(1);
        queue.push(Box::new(|_| ())).unwrap();
        assert!(matches!(
            queue.ask(None, never).await,
            Err(Error::QueueFull)
        ));
        queue.close();
        assert!(matches!(
            queue.ask(None, never).await,
            Err(Error::Device(_))
        ));
        assert!(queue.next().is_some());
        assert!(queue.next().is_none());
    }
}
