//! The audit log (NIST SP 800-57 part 2, §4.7): one record for each operation, written before its answer leaves, so that
//! nothing was signed that it does not tell of.
//!
//! Records are chained by hashes (`chain.rs`), a Merkle tree grows over them (`tree.rs`), and now and then a key of the
//! log's own signs its root (`note.rs`, `key.rs`). `appender.rs` is the file, `together.rs` and `group.rs` are how records of
//! many requests get there at once; `verify.rs` finds what was changed.

mod appender;
mod chain;
pub mod command;
mod entry;
mod group;
mod key;
pub mod note;
pub mod proof;
pub mod read;
mod together;
pub mod tree;
pub mod verify;

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

use crate::backend::{self, Device};
use crate::clock::Clock;
use crate::config::{Audit, Durability};

use appender::{Appender, Form};
pub use chain::{Broken, Event, Line, State};
pub(crate) use entry::{Entry, Item, Resealed, Signature, kid_or_nothing, ring_or_nothing};
use group::Group;
use key::CheckpointKey;
pub use key::PURPOSE;
use note::{Checkpoint, VerifierKey};
use together::{Together, once_later};

/// The most rings that are listed in one record, which has to be no longer than a line may be.
const RINGS: usize = 256;
/// The most imported keys of one record: twice as many as can be imported, for each of two rings.
const IMPORTED: usize = 128;
/// How often it is looked whether the file is there.
const LOOK: Duration = Duration::from_secs(1);

/// Why there is no log.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// What is there cannot be gone on with.
    #[error(transparent)]
    Log(#[from] appender::Unusable),
    /// There is no key for its checkpoints.
    #[error(transparent)]
    Key(#[from] key::Error),
    /// Its first checkpoint was not made.
    #[error("the first checkpoint: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// Its thread was not made, or its first record not written.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// Why a checkpoint was not made.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The device did not sign.
    #[error(transparent)]
    Backend(#[from] backend::Error),
    /// It was not written.
    #[error(transparent)]
    System(#[from] io::Error),
}

/// The record was not written, and so the operation must not have happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct NotWritten;

/// The log of a running service.
#[derive(Debug)]
pub(crate) struct Log {
    written: Arc<Written>,
    key: CheckpointKey,
    path: PathBuf,
    origin: String,
    interval: Duration,
    clock: Clock,
    /// Where the log stood after its newest checkpoint.
    checked: AtomicU64,
    /// Waits for the batch that a record is in; without it whoever waits longest writes for all.
    group: Option<Group>,
    together: Together,
}

/// The end of the log, and how it is.
#[derive(Debug)]
struct Written {
    appender: Mutex<Appender>,
    is_up: AtomicBool,
    failures: AtomicU64,
    /// How often records went to the file; with `fsync`, to the disk.
    writes: AtomicU64,
    /// Records since the newest checkpoint.
    waiting: AtomicU64,
    most_waiting: u64,
    /// That a checkpoint is due.
    due: Notify,
}

impl Log {
    /// Goes on with the log that is there, or begins one; its first checkpoint is made at once.
    pub(crate) async fn open(
        settings: &Audit,
        issuer: &str,
        device: &Device,
        clock: Clock,
    ) -> Result<Log, OpenError> {
        let origin = settings.origin(issuer);
        let is_durable = settings.durability == Durability::Fsync;
        let form = Form {
            path: settings.path.clone(),
            origin: origin.clone(),
            is_durable,
            segment_size: settings.segment_size,
        };
        let appender = Appender::open(form, clock.clone())?;
        let key = CheckpointKey::open(device, &clock, &origin, &settings.key_file()).await?;
        let written = Arc::new(Written {
            appender: Mutex::new(appender),
            is_up: AtomicBool::new(true),
            failures: AtomicU64::new(0),
            writes: AtomicU64::new(0),
            waiting: AtomicU64::new(0),
            most_waiting: settings.checkpoint_records,
            due: Notify::new(),
        });
        let group = is_durable.then(|| Group::start(Arc::clone(&written)));
        let log = Log {
            group: group.transpose()?,
            together: Together::default(),
            written,
            key,
            path: settings.path.clone(),
            origin,
            interval: settings.checkpoint_interval,
            checked: AtomicU64::new(0),
            clock,
        };
        let mut start = Entry::event(log.clock.now_millis(), "start");
        start.text("version", env!("CARGO_PKG_VERSION"));
        start.text("backend", device.facts().kind);
        log.written.append([&start.members()[..]])?;
        log.checkpoint().await?;
        Ok(log)
    }

    /// Returns when the record has survived what it is to survive.
    pub(crate) async fn record(&self, members: Vec<u8>) -> Result<(), NotWritten> {
        let Some(group) = &self.group else {
            let outcome = self.together.join(members);
            // The other requests of this thread go first, so that their records are written with this one.
            once_later().await;
            return match outcome.get() {
                Some(outcome) => *outcome,
                None => self.written.append_together(&self.together, &outcome),
            };
        };
        group.record(members).await
    }

    /// Which key of each ring signs from now on, and which of others' are believed: they also change without anybody asking.
    pub(crate) async fn published(&self, epoch: &str, active: &[String], imported: &[String]) {
        let mut entry = Entry::event(self.clock.now_millis(), "published");
        entry.text("epoch", epoch);
        entry.words("active", &active[..active.len().min(RINGS)]);
        if !imported.is_empty() {
            entry.words("imported", &imported[..imported.len().min(IMPORTED)]);
        }
        // Nobody waits for it, and what each key signs is told with its kid.
        let _ = self.record(entry.members()).await;
    }

    /// Signs what is there, unless nothing has come since the last time.
    pub(crate) async fn checkpoint(&self) -> Result<(), CheckpointError> {
        // What was done for callers who went away before it was written.
        self.written.append_abandoned(&self.together);
        let checkpoint = {
            let mut appender = self.written.lock();
            appender.ready()?;
            let tree = &appender.state().tree;
            if tree.size() == self.checked.load(Ordering::Relaxed) {
                return Ok(());
            }
            self.written.waiting.store(0, Ordering::Relaxed);
            Checkpoint {
                origin: self.origin.clone(),
                size: tree.size(),
                root: tree.root(),
            }
        };
        let note = self.key.sign(&checkpoint).await?;
        let record = chain::checkpoint(&note, self.clock.now_millis());
        self.written.append([&record[..]])?;
        // Its own record is no reason for another.
        self.checked.store(checkpoint.size + 1, Ordering::Relaxed);
        replace(&read::checkpoint_file(&self.path), note.as_bytes())?;
        Ok(())
    }

    /// Makes checkpoints when they are due, and looks after the file when nobody else does.
    pub(crate) async fn take_care(&self) {
        let mut since = Duration::ZERO;
        let pause = LOOK.min(self.interval);
        loop {
            let is_due = tokio::select! {
                () = self.written.due.notified() => true,
                () = tokio::time::sleep(pause) => {
                    since += pause;
                    since >= self.interval
                }
            };
            self.written.look();
            if is_due && self.is_up() {
                since = Duration::ZERO;
                if let Err(error) = self.checkpoint().await {
                    tracing::warn!(reason = %error, "no checkpoint of the audit log");
                }
            }
        }
    }

    /// Whether records are written.
    pub(crate) fn is_up(&self) -> bool {
        self.written.is_up.load(Ordering::Relaxed)
    }

    /// How many times records were not written.
    pub(crate) fn failures(&self) -> u64 {
        self.written.failures.load(Ordering::Relaxed)
    }

    /// How many times records were written, many or one at a time.
    pub(crate) fn writes(&self) -> u64 {
        self.written.writes.load(Ordering::Relaxed)
    }

    /// How many records there are.
    pub(crate) fn size(&self) -> u64 {
        self.written.lock().state().next()
    }

    /// The log's file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What checkpoints are verified with.
    pub(crate) fn public(&self) -> &VerifierKey {
        self.key.public()
    }
}

impl Written {
    fn append<'a>(&self, records: impl IntoIterator<Item = &'a [u8]>) -> io::Result<()> {
        let mut appender = self.lock();
        self.append_to(&mut appender, records)
    }

    fn append_to<'a>(
        &self,
        appender: &mut Appender,
        records: impl IntoIterator<Item = &'a [u8]>,
    ) -> io::Result<()> {
        let before = appender.state().next();
        let outcome = appender
            .append(records)
            .map(|()| appender.state().next() - before);
        match outcome {
            Ok(count) => {
                self.writes.fetch_add(1, Ordering::Relaxed);
                self.went(true, None);
                if self.waiting.fetch_add(count, Ordering::Relaxed) + count >= self.most_waiting {
                    self.due.notify_one();
                }
                Ok(())
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                self.went(false, Some(&error));
                Err(error)
            }
        }
    }

    fn look(&self) {
        let outcome = self.lock().ready();
        self.went(outcome.is_ok(), outcome.err().as_ref());
    }

    fn went(&self, well: bool, error: Option<&io::Error>) {
        if self.is_up.load(Ordering::Relaxed) == well {
            return;
        }
        self.is_up.store(well, Ordering::Relaxed);
        match error {
            Some(error) => {
                tracing::error!(reason = %error, "the audit log is not written: nothing is answered until it is");
            }
            None => tracing::info!("the audit log is written again"),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Appender> {
        // A panic in between leaves the end as it was: the file is looked at before the next record.
        self.appender.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader sees all of the old content or all of the new.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = read::beside(path, "new");
    let mut file = fs::File::create(&beside)?;
    file.write_all(content)?;
    file.sync_data()?;
    fs::rename(&beside, path)
}
