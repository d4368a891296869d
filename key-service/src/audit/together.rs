//! Records without a thread of their own (`durability = "write"`): those of all requests that a thread finds when it wakes
//! go to the file in one write(2). Whoever is polled again first writes for all; a record whose request has gone away is
//! written with the next one, or before the next checkpoint.

use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::Poll;

use super::appender::Appender;
use super::{NotWritten, Written};

/// What became of a batch. It is set by who holds the appender.
pub(super) type Outcome = OnceLock<Result<(), NotWritten>>;

/// Records that wait to be written in one write(2).
#[derive(Debug, Default)]
pub(super) struct Together(Mutex<Batch>);

#[derive(Debug, Default)]
struct Batch {
    records: Vec<Vec<u8>>,
    outcome: Arc<Outcome>,
}

impl Together {
    /// Adds a record; where to see what became of it.
    pub(super) fn join(&self, record: Vec<u8>) -> Arc<Outcome> {
        let mut batch = self.lock();
        batch.records.push(record);
        Arc::clone(&batch.outcome)
    }

    fn take(&self) -> Batch {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, Batch> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    /// Writes the batch that the record of this outcome is in, unless another thread has just done that.
    pub(super) fn append_together(
        &self,
        together: &Together,
        outcome: &Outcome,
    ) -> Result<(), NotWritten> {
        let mut appender = self.lock();
        if outcome.get().is_none() {
            // Batches are taken by who holds the appender, so it is the one that still grows.
            self.append_batch(&mut appender, together.take());
        }
        outcome.get().copied().unwrap_or(Err(NotWritten))
    }

    /// Writes what was done for callers who went away before it was written.
    pub(super) fn append_abandoned(&self, together: &Together) {
        let mut appender = self.lock();
        let batch = together.take();
        if !batch.records.is_empty() {
            self.append_batch(&mut appender, batch);
        }
    }

    fn append_batch(&self, appender: &mut Appender, batch: Batch) {
        let Batch { records, outcome } = batch;
        let records = records.iter().map(|record| &record[..]);
        let written = self.append_to(appender, records).map_err(|_| NotWritten);
        // Nobody else sets it: who took the batch does.
        let _ = outcome.set(written);
    }
}

/// Ready when it is polled again, which is at once, but after whatever is ready now.
pub(super) async fn once_later() {
    let mut has_waited = false;
    poll_fn(|context| match std::mem::replace(&mut has_waited, true) {
        true => Poll::Ready(()),
        false => {
            context.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}
