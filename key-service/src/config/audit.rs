//! `[audit]`: where the log of every operation is, and how much of a failure it survives.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::duration;

/// The log of every operation.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Audit {
    /// The log's file. Full files get the number of their first record after its name.
    pub path: PathBuf,
    /// Where the public key of the checkpoints is written when it is made; default: `path` with `.vkey` after it.
    pub key_file: Option<PathBuf>,
    /// What a record survives before the answer leaves.
    #[serde(default)]
    pub durability: Durability,
    /// The log's name in its checkpoints; default: the issuer without its scheme, and `/audit`.
    pub origin: Option<String>,
    /// How long a record waits for a checkpoint at most.
    #[serde(default = "default_interval", with = "duration")]
    pub checkpoint_interval: Duration,
    /// How many records wait for a checkpoint at most.
    #[serde(default = "default_records")]
    pub checkpoint_records: u64,
    /// A file is closed and another begun when it has so many octets.
    #[serde(default = "default_segment")]
    pub segment_size: u64,
}

/// What a record survives before the answer leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The end of the power: fdatasync(2), one for all that wait.
    #[default]
    Fsync,
    /// The end of the process: write(2).
    Write,
}

impl Audit {
    /// Where the public key is.
    #[must_use]
    pub fn key_file(&self) -> PathBuf {
        self.key_file.clone().unwrap_or_else(|| {
            let mut path = self.path.clone().into_os_string();
            path.push(".vkey");
            path.into()
        })
    }

    /// The log's name in its checkpoints.
    #[must_use]
    pub fn origin(&self, issuer: &str) -> String {
        let issuer = issuer.split_once("://").map_or(issuer, |(_, rest)| rest);
        let default = || format!("{}/audit", issuer.trim_end_matches('/'));
        self.origin.clone().unwrap_or_else(default)
    }
}

fn default_interval() -> Duration {
    Duration::from_secs(10)
}

fn default_records() -> u64 {
    10_000
}

fn default_segment() -> u64 {
    64 * 1024 * 1024
}
