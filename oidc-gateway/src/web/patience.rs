//! How long connections may keep us waiting: one timer for all of a worker, not one for each request, which would
//! cost a sixth of a small answer. A connection is waited for from its begin, or from its last answer, to the end of
//! the next headers; whatever takes longer (slow headers, an idle connection) is over.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

/// The patience with all connections of a worker.
#[derive(Debug)]
pub(super) struct Patience {
    period: Duration,
    /// In periods.
    limit: u64,
    now: AtomicU64,
    next: AtomicU64,
    open: Mutex<HashMap<u64, Arc<Connection>>>,
}

/// What is known of a connection.
#[derive(Debug, Default)]
struct Connection {
    /// Since which period it is waited for, if nothing of it is being answered.
    since: AtomicU64,
    answering: AtomicU64,
    over: Notify,
}

impl Patience {
    /// Of a little more than `limit`.
    pub(super) fn of(limit: Duration) -> Patience {
        let period = (limit / 4).clamp(Duration::from_millis(25), Duration::from_secs(1));
        let limit = limit.as_millis().div_ceil(period.as_millis().max(1));
        Patience {
            period,
            limit: u64::try_from(limit).unwrap_or(u64::MAX),
            now: AtomicU64::new(0),
            next: AtomicU64::new(0),
            open: Mutex::default(),
        }
    }

    /// Looks at all connections, again and again.
    pub(super) async fn watch(&self) {
        loop {
            sleep(self.period).await;
            let now = self.now.fetch_add(1, Ordering::Relaxed) + 1;
            let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
            for connection in open.values() {
                let waited = now.saturating_sub(connection.since.load(Ordering::Relaxed));
                let is_answering = connection.answering.load(Ordering::Relaxed) > 0;
                if !is_answering && waited > self.limit {
                    connection.over.notify_one();
                }
            }
        }
    }

    /// Begins to wait for a connection.
    pub(super) fn begin(self: &Arc<Patience>) -> Waiting {
        let connection = Arc::new(Connection::default());
        let now = self.now.load(Ordering::Relaxed);
        connection.since.store(now, Ordering::Relaxed);
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.insert(number, Arc::clone(&connection));
        Waiting {
            patience: Arc::clone(self),
            connection,
            number,
        }
    }
}

/// A connection that is waited for.
#[derive(Debug)]
pub(super) struct Waiting {
    patience: Arc<Patience>,
    connection: Arc<Connection>,
    number: u64,
}

impl Waiting {
    /// A request of it is being answered as long as the answer lives.
    pub(super) fn answering(&self) -> Answering<'_> {
        self.connection.answering.fetch_add(1, Ordering::Relaxed);
        Answering(self)
    }

    /// Ends when it was waited for long enough.
    pub(super) async fn over(&self) {
        self.connection.over.notified().await;
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut open = self
            .patience
            .open
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        open.remove(&self.number);
    }
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Answering<'a>(&'a Waiting);

impl Drop for Answering<'_> {
    fn drop(&mut self) {
        let Answering(waiting) = self;
        let now = waiting.patience.now.load(Ordering::Relaxed);
        waiting.connection.since.store(now, Ordering::Relaxed);
        waiting.connection.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn only_those_that_answer_nothing_are_over() {
        let patience = Arc::new(Patience::of(Duration::from_millis(100)));
        let watched = Arc::clone(&patience);
        let watch = tokio::spawn(async move { watched.watch().await });
        let (idle, busy) = (patience.begin(), patience.begin());
        let answering = busy.answering();
        let soon = Duration::from_millis(400);
        assert!(timeout(soon, idle.over()).await.is_ok());
        assert!(timeout(soon, busy.over()).await.is_err());
        drop(answering);
        assert!(
            timeout(Duration::from_millis(50), busy.over())
                .await
                .is_err()
        );
        assert!(timeout(soon, busy.over()).await.is_ok());
        drop((idle, busy));
        assert!(patience.open.lock().is_ok_and(|open| open.is_empty()));
        watch.abort();
    }
}
