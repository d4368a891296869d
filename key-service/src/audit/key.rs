//! The key that signs checkpoints: one of its own, made in the same device as all others, and in no ring. So no caller can
//! name it, it is not published with the keys that sign tokens, and nothing rotates it: whoever verifies has pinned it.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::algorithm::{RingAlgorithm, RingName, SignatureAlgorithm};
use crate::backend::{self, Device, KeyId, Label, StoredKey};
use crate::clock::Clock;
use crate::keyring::key::kid;

use super::note::{Checkpoint, VerifierKey};

/// The purpose in the key's label; no ring may have it.
pub const PURPOSE: &str = "audit";

/// Why there is no such key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The device has neither of the two algorithms of signed notes.
    #[error("checkpoints are signed with EdDSA or ES256, and {0} can do neither")]
    Algorithm(String),
    /// The origin is no name.
    #[error("origin has white space or `+`, or is empty")]
    Name,
    /// The device did not find, make or use it.
    #[error(transparent)]
    Backend(#[from] backend::Error),
    /// The public key's file cannot be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file holds another key.
    #[error(
        "{} holds another key than {place}: if that is as it should be, keep the file for the records \
         up to now, and move it away", path.display()
    )]
    Other {
        /// The file.
        path: PathBuf,
        /// Where the key is.
        place: String,
    },
}

/// The key, and its public half as verifiers have it.
#[derive(Debug)]
pub(super) struct CheckpointKey {
    device: Device,
    id: KeyId,
    public: VerifierKey,
}

impl CheckpointKey {
    /// Finds the key, or makes it; and writes its public half where there is none.
    pub(super) async fn open(
        device: &Device,
        clock: &Clock,
        origin: &str,
        file: &Path,
    ) -> Result<CheckpointKey, Error> {
        let facts = device.facts();
        let algorithm = [SignatureAlgorithm::EdDsa, SignatureAlgorithm::Es256]
            .into_iter()
            .find(|it| facts.algorithms.contains(&RingAlgorithm::Signature(*it)))
            .ok_or_else(|| Error::Algorithm(facts.location.clone()))?;
        let ring: RingName = format!("{PURPOSE}/{algorithm}")
            .parse()
            .map_err(|_| Error::Name)?;
        let stored = match find(device, &ring).await? {
            Some(stored) => stored,
            None => {
                let label = Label {
                    ring: ring.clone(),
                    generation: 1,
                    created: clock.now(),
                };
                let made = device.generate(&label).await?;
                // Another process may have made one too.
                find(device, &ring).await?.unwrap_or(made)
            }
        };
        let public = stored.public.as_ref().ok_or(backend::Error::NoSuchKey)?;
        let key = CheckpointKey {
            device: device.clone(),
            id: stored.id.clone(),
            public: VerifierKey::new(origin, public).ok_or(Error::Name)?,
        };
        key.tell(file)?;
        Ok(key)
    }

    fn tell(&self, file: &Path) -> Result<(), Error> {
        let failed = |source| Error::File {
            path: file.to_owned(),
            source,
        };
        match fs::read_to_string(file) {
            Ok(text) => {
                let own = self.public.to_string();
                let is_there = text.lines().any(|line| line.trim() == own);
                is_there.then_some(()).ok_or_else(|| Error::Other {
                    path: file.to_owned(),
                    place: self.device.facts().location.clone(),
                })
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                fs::write(file, format!("{}\n", self.public)).map_err(failed)
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// The public half.
    pub(super) fn public(&self) -> &VerifierKey {
        &self.public
    }

    /// The checkpoint as a signed note.
    pub(super) async fn sign(&self, checkpoint: &Checkpoint) -> Result<String, backend::Error> {
        let text = checkpoint.to_string();
        let input = Bytes::copy_from_slice(text.as_bytes());
        let algorithm = self.public.algorithm();
        let signature = self.device.sign(&self.id, algorithm, input, None).await?;
        Ok(format!("{text}\n{}", self.public.line(&signature)))
    }
}

/// Of several, that one which every process takes.
async fn find(device: &Device, ring: &RingName) -> Result<Option<StoredKey>, backend::Error> {
    let keys = device.list().await?.keys.into_iter();
    let own = keys.filter(|key| key.label.ring == *ring && key.defects.is_empty());
    Ok(own.min_by_key(|key| (key.label.generation, key.label.created, kid(key))))
}
