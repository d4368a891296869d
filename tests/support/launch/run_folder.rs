//! The folder of one run: made anew, locked against a second launcher, removed at an orderly end.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use nix::fcntl::{Flock, FlockArg};

/// The folder of one run, locked, and the file that tells of it.
#[derive(Debug)]
pub(super) struct RunFolder {
    /// Where the files are.
    pub(super) path: PathBuf,
    told: PathBuf,
    _lock: Flock<File>,
}

impl RunFolder {
    /// Makes the folder anew. What an earlier launcher left there, killed as it was, is of no use.
    pub(super) fn make(path: &Path) -> anyhow::Result<Self> {
        let parent = path.parent().context("a run folder has a parent")?;
        fs::create_dir_all(parent)?;
        let lock = path.with_extension("lock");
        let file =
            File::create(&lock).with_context(|| format!("cannot write {}", lock.display()))?;
        let Ok(lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
            bail!("a stack runs already in {}: end it first", path.display());
        };
        if path.exists() {
            fs::remove_dir_all(path)?;
        }
        fs::DirBuilder::new().mode(0o700).create(path)?;
        let told = path.with_extension("json");
        let _ = fs::remove_file(&told);
        Ok(Self {
            path: path.to_owned(),
            told,
            _lock: lock,
        })
    }

    /// Renamed into place, so that who waits for the file reads all of it.
    pub(super) fn tell(&self, text: &str) -> anyhow::Result<&Path> {
        let beside = self.told.with_extension("json.new");
        fs::write(&beside, text)?;
        fs::rename(&beside, &self.told)?;
        Ok(&self.told)
    }

    pub(super) fn remove(self) -> anyhow::Result<()> {
        fs::remove_dir_all(&self.path)?;
        Ok(())
    }
}

impl Drop for RunFolder {
    fn drop(&mut self) {
        // The folder stays after a failure, for its logs; what tells of a running stack must not.
        let _ = fs::remove_file(&self.told);
        let _ = fs::remove_file(self.path.with_extension("lock"));
    }
}

/// Writes a file that only its owner can read.
pub(super) fn write_secret(path: &Path, text: &str) -> anyhow::Result<()> {
    fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}
