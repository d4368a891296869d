//! Lanes: threads that each own one conversation with the token, and one lane apart for what changes or lists the token
//! (some modules fail when two threads make keys at once).

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

use tokio::sync::watch;

use super::queue::{Last, Next, Queue};
use super::session::Conversation;
use super::token::Token;
use super::watchdog::{self, PATIENCE, Pulse, Watched};
use crate::algorithm::SignatureAlgorithm;
use crate::backend::{Error, KeyId, Session, State};

/// How many changes may wait: they come from operators and from timers.
const WRITES: usize = 32;
/// How long a change waits for lanes to let go of copies. One that is inside the module does so when it comes out.
const REVISION: Duration = Duration::from_secs(1);

/// All lanes of one token. When dropped, they finish what waits and end.
pub(crate) struct Lanes {
    token: Arc<Token>,
    requests: Arc<Queue>,
    changes: Arc<Queue>,
    threads: Vec<JoinHandle<()>>,
    pulses: Vec<Arc<Pulse>>,
    /// The watchdog ends when this is dropped.
    _watchdog: Sender<()>,
}

impl Lanes {
    pub(super) fn start(token: &Arc<Token>, lanes: usize, queue: usize) -> Result<Lanes, Error> {
        let cannot = |error: std::io::Error| {
            Error::Unusable(format!("cannot start a thread for the token: {error}"))
        };
        let (requests, changes) = (Queue::new(queue, lanes), Queue::new(WRITES, 1));
        let mut named: Vec<_> = (0..lanes)
            .map(|lane| (format!("lane-{lane}"), lane, &requests))
            .collect();
        named.push(("lane-writer".to_owned(), 0, &changes));
        let pulses: Vec<Arc<Pulse>> = named.iter().map(|_| Arc::default()).collect();
        let limit = token.settings.hang_limit;
        let mut watched = vec![Watched::new("recovery", &token.recovery, limit * PATIENCE)];
        for ((name, _, queue), pulse) in named.iter().zip(&pulses) {
            let is_writer = Arc::ptr_eq(queue, &changes);
            let limit = if is_writer { limit * PATIENCE } else { limit };
            watched.push(Watched::new(name, pulse, limit));
        }
        let mut started = Lanes {
            token: Arc::clone(token),
            requests: Arc::clone(&requests),
            changes: Arc::clone(&changes),
            threads: Vec::with_capacity(named.len()),
            _watchdog: watchdog::watch(token, watched, Arc::clone(&requests)).map_err(cannot)?,
            pulses: pulses.clone(),
        };
        for ((name, lane, queue), pulse) in named.into_iter().zip(pulses) {
            let (token, queue) = (Arc::clone(token), Arc::clone(queue));
            let thread = Builder::new()
                .name(name)
                .spawn(move || serve(&queue, lane, &token, &pulse));
            // Those that did start end when `started` is dropped.
            started.threads.push(thread.map_err(cannot)?);
        }
        Ok(started)
    }

    pub(crate) fn state(&self) -> State {
        self.token.state()
    }

    pub(crate) fn states(&self) -> watch::Receiver<State> {
        self.token.states()
    }

    pub(crate) fn queue_length(&self) -> usize {
        self.requests.length()
    }

    /// How many signatures were made.
    pub(crate) fn signatures(&self) -> u64 {
        self.pulses.iter().map(|pulse| pulse.signatures()).sum()
    }

    /// Says which keys sign now, and which do or will: copies of others go.
    pub(crate) fn expect(&self, active: Vec<(KeyId, SignatureAlgorithm)>, signers: HashSet<KeyId>) {
        self.token.canaries.set(active);
        self.token.copies.keep_to(signers);
        self.requests.revise();
    }

    /// Waits until every lane has let go of the copies that are not to be used any more.
    pub(crate) async fn settle(&self) {
        if !self.token.is_up() {
            return;
        }
        let revised = async {
            for lane in self.requests.revise() {
                // A lane that ends has no copies.
                let _ = lane.await;
            }
        };
        if tokio::time::timeout(REVISION, revised).await.is_err() {
            tracing::warn!(
                "a lane is inside the module, and has not let go of its copies of keys yet"
            );
        }
    }

    /// Asks a lane. Nothing is asked any more when `deadline` has passed by the time that one is free.
    pub(crate) async fn ask<T: Send + 'static>(
        &self,
        deadline: Option<Instant>,
        ask: impl FnOnce(&dyn Session) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.is_served()?;
        self.requests.ask(deadline, ask).await
    }

    /// Asks the lane that changes the token.
    pub(crate) async fn write<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&dyn Session) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.is_served()?;
        self.changes.ask(None, ask).await
    }

    /// Nobody waits for a token that is away.
    fn is_served(&self) -> Result<(), Error> {
        if self.token.is_up() {
            Ok(())
        } else {
            Err(self.token.refusal())
        }
    }
}

impl Drop for Lanes {
    fn drop(&mut self) {
        self.requests.close();
        self.changes.close();
        for thread in self.threads.drain(..) {
            // One that hangs would be waited for until the end of time.
            while !thread.is_finished() && self.token.state() != State::Hung {
                std::thread::sleep(Duration::from_millis(1));
            }
            if thread.is_finished() {
                // Jobs cannot bring a lane down, so there is nothing to learn here.
                let _ = thread.join();
            }
        }
    }
}

/// What the thread of a lane does.
fn serve(queue: &Queue, lane: usize, token: &Arc<Token>, pulse: &Arc<Pulse>) {
    let mut conversation = Conversation::new(token, pulse);
    let mut last = Last::Other;
    loop {
        let next = queue.next(lane, last);
        pulse.begins();
        let done = catch_unwind(AssertUnwindSafe(|| match next {
            Next::End => None,
            Next::Job(job) => Some(job(&conversation)),
            Next::Revise(waiting) => {
                conversation.revise();
                for done in waiting {
                    // Nobody may wait for it.
                    let _ = done.send(());
                }
                Some(Last::Other)
            }
        }));
        pulse.ends();
        last = match done {
            Ok(Some(last)) => last,
            Ok(None) => return,
            Err(_) => {
                tracing::error!("a panic in a lane");
                conversation.forget();
                conversation = Conversation::new(token, pulse);
                Last::Other
            }
        };
    }
}
