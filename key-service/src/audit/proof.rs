//! That one record is in the log, for somebody who does not have the log (C2SP tlog-proof): the record, the hashes that
//! lead from it to the root (RFC 9162 §2.1.3), and the checkpoint that signs the root.

use std::io;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::chain::{Event, Line};
use super::note::{Checkpoint, Note, VerifierKey};
use super::read::{Next, Reader};
use super::tree::{self, Hash};

/// The first line.
const HEAD: &str = "c2sp.org/tlog-proof@v1";

/// Why there is no proof, or none that holds.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] io::Error),
    /// A line is no record: it is not proven what is in a log that was changed.
    #[error("line {0} of the log is not a record: verify it")]
    Log(u64),
    /// The log begins later.
    #[error("the log lacks its beginning: a proof needs all records")]
    Beginning,
    /// No record has this `jti`.
    #[error("no record has this jti")]
    Unknown,
    /// The newest checkpoint was made before.
    #[error("record {0} has no checkpoint after it yet: try again in a moment")]
    TooNew(u64),
    /// It is not of the form.
    #[error("not a proof")]
    Malformed,
    /// The hashes do not lead from the record to the root.
    #[error("the record is not in the log of the checkpoint")]
    NotIncluded,
    /// The checkpoint was not signed with the key.
    #[error("the checkpoint is not signed with this key")]
    NotSigned,
}

/// That a record is in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The record as it stands in the log.
    pub record: Vec<u8>,
    /// Its number.
    pub index: u64,
    hashes: Vec<Hash>,
    note: String,
}

impl Proof {
    /// For the newest record of an operation that signed a token with this `jti`.
    ///
    /// # Errors
    /// When there is none, or no checkpoint after it.
    pub fn find(path: &Path, jti: &str) -> Result<Proof, Error> {
        let mut reader = Reader::open(path, 0)?;
        let (mut leaves, mut found, mut newest) = (Vec::new(), None, None);
        while let Next::Line(octets) = reader.read()? {
            let number = leaves.len() as u64;
            let line = Line::parse(&octets).map_err(|_| Error::Log(number + 1))?;
            if line.seq != number {
                return Err(if number == 0 {
                    Error::Beginning
                } else {
                    Error::Log(number + 1)
                });
            }
            leaves.push(line.leaf());
            if let Ok(Some(Event::Checkpoint { note })) = line.event() {
                newest = Some(note);
            } else if has(&octets, jti) {
                found = Some((number, octets));
            }
        }
        let (index, record) = found.ok_or(Error::Unknown)?;
        let note = newest.ok_or(Error::TooNew(index))?;
        let size = checkpoint(&note)?.size;
        let covered = usize::try_from(size)
            .ok()
            .and_then(|size| leaves.get(..size));
        let covered = covered.ok_or(Error::Malformed)?;
        let at = usize::try_from(index).map_err(|_| Error::Malformed)?;
        if index >= size {
            return Err(Error::TooNew(index));
        }
        Ok(Proof {
            hashes: tree::inclusion_proof(covered, at),
            record,
            index,
            note,
        })
    }

    /// Checks it with a key that the reader has pinned.
    ///
    /// # Errors
    /// When it does not hold.
    pub fn verify(&self, keys: &[VerifierKey]) -> Result<Checkpoint, Error> {
        let checkpoint = checkpoint(&self.note)?;
        let leaf = tree::leaf(&self.record);
        let Checkpoint { size, root, .. } = &checkpoint;
        if !tree::is_included(&leaf, self.index, *size, &self.hashes, root) {
            return Err(Error::NotIncluded);
        }
        let note: Note = self.note.parse().map_err(|_| Error::Malformed)?;
        let is_signed = keys.iter().any(|key| key.verifies(&note) == Some(true));
        is_signed.then_some(checkpoint).ok_or(Error::NotSigned)
    }

    /// Reads what [`Proof::to_string`] writes.
    ///
    /// # Errors
    /// When it is of another form.
    pub fn parse(text: &str) -> Result<Proof, Error> {
        let rest = text.strip_prefix(HEAD).and_then(|it| it.strip_prefix('\n'));
        let (head, note) = rest
            .and_then(|it| it.split_once("\n\n"))
            .ok_or(Error::Malformed)?;
        let mut lines = head.lines();
        let mut member = |name| lines.next().and_then(|line| line.strip_prefix(name));
        let record = member("extra ").and_then(|record| STANDARD.decode(record).ok());
        let index = member("index ").and_then(|index| index.parse().ok());
        let hash = |line| STANDARD.decode(line).ok()?.try_into().ok();
        let hashes: Option<Vec<Hash>> = lines.map(hash).collect();
        let (Some(record), Some(index), Some(hashes)) = (record, index, hashes) else {
            return Err(Error::Malformed);
        };
        Ok(Proof {
            record,
            index,
            hashes,
            note: note.to_owned(),
        })
    }
}

impl std::fmt::Display for Proof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let record = STANDARD.encode(&self.record);
        writeln!(f, "{HEAD}\nextra {record}\nindex {}", self.index)?;
        for hash in &self.hashes {
            writeln!(f, "{}", STANDARD.encode(hash))?;
        }
        write!(f, "\n{}", self.note)
    }
}

fn checkpoint(note: &str) -> Result<Checkpoint, Error> {
    let note: Note = note.parse().map_err(|_| Error::Malformed)?;
    note.text().parse().map_err(|_| Error::Malformed)
}

/// Whether one of the record's items has this `jti`, in whatever way JSON writes it.
fn has(record: &[u8], jti: &str) -> bool {
    let Ok(record) = serde_json::from_slice::<serde_json::Value>(record) else {
        return false;
    };
    let long = super::chain::text(&tree::hash(&[serde_json::Value::from(jti)
        .to_string()
        .as_bytes()]));
    let items = record.get("items").and_then(serde_json::Value::as_array);
    items.into_iter().flatten().any(|item| {
        let is_it = |name: &str, value: &str| item.get(name).is_some_and(|it| it == value);
        // An item that was not signed after all has no hash.
        item.get("sha256").is_some() && (is_it("jti", jti) || is_it("jti_sha256", &long))
    })
}
