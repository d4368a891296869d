//! What happens to a call: counted, delayed, refused. In the quiet, a call costs two short system calls more.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use cryptoki_sys::{
    CK_RV, CKR_OBJECT_HANDLE_INVALID, CKR_SESSION_HANDLE_INVALID, CKR_USER_NOT_LOGGED_IN,
};

use crate::fault::{Effect, Fault, Faults, Loss};
use crate::module::NAMES;
use crate::{COUNTS, FAULTS, place};

/// Handles get their epoch above these bits; the handles of soft tokens are small numbers.
const EPOCH_AT: u32 = 48;
/// How long one looks away while a call hangs.
const LOOK: Duration = Duration::from_millis(2);
/// What nobody may do who is not logged in.
const PRIVATE: &[&str] = &[
    "C_CopyObject",
    "C_DecryptInit",
    "C_DeriveKey",
    "C_EncryptInit",
    "C_GenerateKey",
    "C_GenerateKeyPair",
    "C_SignInit",
    "C_UnwrapKey",
    "C_WrapKey",
];

/// What is to be done with a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It goes to the real module.
    Call,
    /// It is refused.
    Refuse(CK_RV),
    /// It goes to the real module, and then is said to have failed.
    CallAndFail(CK_RV),
    /// It goes to the real module, and a bit of the output is flipped.
    CallAndFlip,
}

/// The state of one module in one process.
#[derive(Debug)]
pub(crate) struct State {
    folder: PathBuf,
    file: File,
    counts: Mutex<Vec<[u64; 2]>>,
    version: AtomicU64,
    is_quiet: AtomicBool,
    faults: Mutex<Vec<Fault>>,
    /// Handles of sessions and of objects that were given out in an earlier epoch are lost.
    epochs: [AtomicU64; 2],
    is_login_lost: AtomicBool,
}

/// Handles of what.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    Session,
    Object,
}

impl State {
    pub(crate) fn open(folder: &Path) -> io::Result<State> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(folder.join(COUNTS))?;
        let mut counts = vec![[0; 2]; NAMES.len()];
        // What earlier processes counted.
        for (function, counts) in counts.iter_mut().enumerate() {
            let mut octets = [0; 16];
            file.read_exact_at(&mut octets, place(function))?;
            let (calls, faults) = octets.split_at(8);
            *counts = [calls, faults].map(|it| u64::from_le_bytes(it.try_into().unwrap_or([0; 8])));
        }
        let state = State {
            folder: folder.to_owned(),
            file,
            counts: Mutex::new(counts),
            version: AtomicU64::new(u64::MAX),
            is_quiet: AtomicBool::new(true),
            faults: Mutex::default(),
            epochs: [AtomicU64::new(0), AtomicU64::new(0)],
            is_login_lost: AtomicBool::new(false),
        };
        state.refresh();
        Ok(state)
    }

    /// Counts a call, holds it up as long as it is to wait, and says what becomes of it.
    pub(crate) fn enter(&self, function: usize) -> Verdict {
        self.refresh();
        let effect = self.effect(function);
        self.count(function, effect.is_some());
        match effect {
            None if self.is_login_lost.load(Ordering::Acquire)
                && PRIVATE.contains(&NAMES[function]) =>
            {
                Verdict::Refuse(CKR_USER_NOT_LOGGED_IN)
            }
            None => Verdict::Call,
            Some(Effect::Error { value, is_late }) => {
                if is_late {
                    Verdict::CallAndFail(value)
                } else {
                    Verdict::Refuse(value)
                }
            }
            Some(Effect::Delay(milliseconds)) => {
                thread::sleep(Duration::from_millis(milliseconds));
                Verdict::Call
            }
            Some(Effect::Hang) => {
                while self.hangs(function) {
                    thread::sleep(LOOK);
                    self.refresh();
                }
                Verdict::Call
            }
            Some(Effect::Flip) => Verdict::CallAndFlip,
        }
    }

    fn effect(&self, function: usize) -> Option<Effect> {
        if self.is_quiet.load(Ordering::Acquire) {
            return None;
        }
        let mut faults = lock(&self.faults);
        faults.retain(|fault| fault.until != Some(function));
        faults
            .iter_mut()
            .find_map(|fault| (fault.is_for(function) && fault.strikes()).then_some(fault.effect))
    }

    fn hangs(&self, function: usize) -> bool {
        lock(&self.faults)
            .iter()
            .any(|fault| fault.effect == Effect::Hang && fault.is_for(function))
    }

    fn count(&self, function: usize, is_fault: bool) {
        let mut counts = lock(&self.counts);
        let [calls, faults] = &mut counts[function];
        *calls += 1;
        *faults += u64::from(is_fault);
        let octets = [calls.to_le_bytes(), faults.to_le_bytes()].concat();
        // Held until it is written, so that the file never goes back. Nobody could be told of a failure.
        let _ = self.file.write_all_at(&octets, place(function));
    }

    /// Reads the faults when there are others.
    fn refresh(&self) {
        let mut octets = [0; 8];
        if self.file.read_exact_at(&mut octets, 0).is_err() {
            return;
        }
        let version = u64::from_le_bytes(octets);
        if version == self.version.load(Ordering::Acquire) {
            return;
        }
        let mut faults = lock(&self.faults);
        // Another thread may have been faster.
        if version == self.version.load(Ordering::Acquire) {
            return;
        }
        let text = fs::read_to_string(self.folder.join(FAULTS)).unwrap_or_default();
        // The tests' side has parsed it before.
        let read: Faults = text.parse().unwrap_or_default();
        let is_first = self.version.load(Ordering::Acquire) == u64::MAX;
        for loss in read.losses {
            // A process has nothing to lose before it has begun.
            if !is_first {
                self.lose(loss);
            }
        }
        self.is_quiet
            .store(read.lasting.is_empty(), Ordering::Release);
        *faults = read.lasting;
        self.version.store(version, Ordering::Release);
    }

    fn lose(&self, loss: Loss) {
        match loss {
            Loss::Sessions => self.epochs[0].fetch_add(1, Ordering::AcqRel),
            Loss::Objects => self.epochs[1].fetch_add(1, Ordering::AcqRel),
            Loss::Login => u64::from(self.is_login_lost.swap(true, Ordering::AcqRel)),
        };
    }

    /// Whether the login was lost; it is there again from now on.
    pub(crate) fn log_in(&self) -> bool {
        self.is_login_lost.swap(false, Ordering::AcqRel)
    }

    pub(crate) fn is_login_lost(&self) -> bool {
        self.is_login_lost.load(Ordering::Acquire)
    }

    /// The real handle behind one that was given out; an error when it is lost.
    pub(crate) fn real(&self, kind: Kind, handle: u64) -> Result<u64, CK_RV> {
        // No handle stays none.
        if handle != 0 && handle >> EPOCH_AT != self.epoch(kind) {
            return Err(match kind {
                Kind::Session => CKR_SESSION_HANDLE_INVALID,
                Kind::Object => CKR_OBJECT_HANDLE_INVALID,
            });
        }
        Ok(handle & ((1 << EPOCH_AT) - 1))
    }

    /// What is given out for a real handle.
    pub(crate) fn given(&self, kind: Kind, handle: u64) -> u64 {
        handle | self.epoch(kind) << EPOCH_AT
    }

    fn epoch(&self, kind: Kind) -> u64 {
        self.epochs[kind as usize].load(Ordering::Acquire)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
