//! Records that are to survive the machine (`durability = "fsync"`): one thread writes what has come together while it
//! wrote before, with one fdatasync(2) for all of it.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use tokio::sync::oneshot;

use super::{NotWritten, Written};

/// The thread. When dropped, it writes what waits and ends.
#[derive(Debug)]
pub(super) struct Group {
    queue: Arc<Queue>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    wake: Condvar,
}

/// Whom to tell that a record was written.
type Done = oneshot::Sender<Result<(), NotWritten>>;

#[derive(Debug, Default)]
struct Waiting {
    records: Vec<(Vec<u8>, Done)>,
    has_ended: bool,
}

impl Group {
    pub(super) fn start(written: Arc<Written>) -> io::Result<Group> {
        let queue = Arc::new(Queue::default());
        let own = Arc::clone(&queue);
        let thread = thread::Builder::new()
            .name("audit".to_owned())
            .spawn(move || own.serve(&written))?;
        Ok(Group {
            queue,
            thread: Some(thread),
        })
    }

    /// Returns when the record was written, with all that came in the meantime.
    pub(super) async fn record(&self, members: Vec<u8>) -> Result<(), NotWritten> {
        let (done, written) = oneshot::channel();
        self.queue.lock().records.push((members, done));
        self.queue.wake.notify_one();
        written.await.unwrap_or(Err(NotWritten))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.queue.lock().has_ended = true;
        self.queue.wake.notify_one();
        if self
            .thread
            .take()
            .is_some_and(|thread| thread.join().is_err())
        {
            tracing::error!("the audit log's thread ended by a panic");
        }
    }
}

impl Queue {
    fn serve(&self, written: &Written) {
        let mut batch = Vec::new();
        loop {
            {
                let mut waiting = self.lock();
                while waiting.records.is_empty() {
                    if waiting.has_ended {
                        return;
                    }
                    let woken = self.wake.wait(waiting);
                    waiting = woken.unwrap_or_else(PoisonError::into_inner);
                }
                std::mem::swap(&mut batch, &mut waiting.records);
            }
            let records = batch.iter().map(|(members, _)| &members[..]);
            let outcome = written.append(records).map_err(|_| NotWritten);
            for (_, done) in batch.drain(..) {
                // Who has gone away needs no answer.
                let _ = done.send(outcome);
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
