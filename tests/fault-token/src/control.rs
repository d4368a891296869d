//! The tests' side: a folder that tells the module what to do, and in which it counts.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::fault::{Faults, named};
use crate::module::NAMES;
use crate::{COUNTS, FAULTS, MODULE, place};

/// What a module in front of another one is told by. One process at a time opens the module with the same folder.
#[derive(Debug)]
pub struct Control {
    folder: PathBuf,
    counts: File,
}

impl Control {
    /// Makes the folder, for a module in front of `real`; nothing fails yet.
    ///
    /// # Errors
    /// When its files cannot be written.
    pub fn make(folder: &Path, real: &Path) -> io::Result<Control> {
        fs::create_dir_all(folder)?;
        fs::write(folder.join(MODULE), real.as_os_str().as_encoded_bytes())?;
        fs::write(folder.join(FAULTS), "")?;
        fs::write(
            folder.join(COUNTS),
            vec![0; usize::try_from(place(NAMES.len())).unwrap_or_default()],
        )?;
        Control::open(folder)
    }

    /// A folder that was made before.
    ///
    /// # Errors
    /// When there is none.
    pub fn open(folder: &Path) -> io::Result<Control> {
        let counts = folder.join(COUNTS);
        Ok(Control {
            folder: folder.to_owned(),
            counts: OpenOptions::new().read(true).write(true).open(counts)?,
        })
    }

    /// The folder: the value of [`crate::ENVIRONMENT`] for the process that opens the module.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Sets these faults instead of all that were set before. In force when this returns, for every call that begins
    /// after it.
    ///
    /// # Errors
    /// When a line is not understood, or the files cannot be written.
    pub fn set(&self, faults: &str) -> io::Result<()> {
        faults.parse::<Faults>().map_err(io::Error::other)?;
        // Renamed into place, so that the module reads all of it or nothing.
        let beside = self.folder.join("faults.new");
        fs::write(&beside, faults)?;
        fs::rename(&beside, self.folder.join(FAULTS))?;
        let version = self.read(0) + 1;
        self.counts.write_all_at(&version.to_le_bytes(), 0)
    }

    /// Ends all faults. What is lost stays lost.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn clear(&self) -> io::Result<()> {
        self.set("")
    }

    /// How often a function was called since the folder was made.
    ///
    /// # Panics
    /// When there is no such function.
    #[must_use]
    pub fn calls(&self, function: &str) -> u64 {
        self.read(place(index(function)))
    }

    /// How often a call of a function met a fault.
    ///
    /// # Panics
    /// When there is no such function.
    #[must_use]
    pub fn faults(&self, function: &str) -> u64 {
        self.read(place(index(function)) + 8)
    }

    fn read(&self, at: u64) -> u64 {
        let mut octets = [0; 8];
        // Nothing there is nothing counted.
        let _ = self.counts.read_exact_at(&mut octets, at);
        u64::from_le_bytes(octets)
    }
}

fn index(function: &str) -> usize {
    named(function).expect("the name of a function that module.rs stands before")
}

/// The module's file: cargo puts it where it puts what depends on this crate.
///
/// # Panics
/// When it is not there.
#[must_use]
pub fn module() -> PathBuf {
    let name = "libfault_token.so";
    let program = std::env::current_exe().expect("a program has a path");
    program
        .ancestors()
        .skip(1)
        .take(2)
        .flat_map(|folder| [folder.join(name), folder.join("deps").join(name)])
        .find(|path| path.exists())
        .expect("cargo builds libfault_token.so with the tests")
}
