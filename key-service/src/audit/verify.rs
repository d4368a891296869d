//! Whether a log is as it was written. The chain finds what was changed, left out, doubled or moved; the checkpoints find
//! what was written anew by somebody who does not have the log's key.

use std::fs;
use std::io;
use std::path::Path;

use super::chain::{Broken, Event, State};
use super::note::{Checkpoint, Note, VerifierKey};
use super::read::{Next, Reader, checkpoint_file};
use super::tree::{Hash, Tree};

/// What is wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// A line that is not the next record.
    #[error("record {seq} {broken}")]
    Record {
        /// The number that it should have.
        seq: u64,
        /// What is wrong with it.
        broken: Broken,
    },
    /// The first records are not there.
    #[error("records 0 to {} are missing", .0 - 1)]
    Beginning(u64),
    /// There is nothing.
    #[error("there is no log")]
    Nothing,
    /// A checkpoint that is not one, or not of this log.
    #[error("record {0} holds a checkpoint that is not of this log")]
    Checkpoint(u64),
    /// The root that was signed is not that of the records.
    #[error("record {0} holds a checkpoint of other records than these")]
    Root(u64),
    /// The signature is not that of the key.
    #[error("record {0} holds a checkpoint whose signature does not verify")]
    Signature(u64),
    /// No key that was given signed it.
    #[error("record {0} holds a checkpoint that the given key did not sign")]
    Stranger(u64),
    /// A checkpoint that is known from elsewhere covers more, or other records.
    #[error("a checkpoint of {size} records is known, and the log {has}")]
    Known {
        /// How many records it covers.
        size: u64,
        /// What the log has instead.
        has: Has,
    },
}

/// What a log has instead of what a known checkpoint covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Has {
    /// Not so many: it was cut off.
    Fewer(u64),
    /// Those, and not the record that holds it: it was cut off there.
    NotItself,
    /// Others.
    Others,
}

impl std::fmt::Display for Has {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Has::Fewer(records) => write!(f, "ends after {records}: it was cut off"),
            Has::NotItself => f.write_str("ends before the record that holds it: it was cut off"),
            Has::Others => f.write_str("has others"),
        }
    }
}

/// Whose word the signatures are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// That of a key that the reader has pinned.
    Pinned,
    /// That of a key which was found beside the log: whoever changed the one may have changed the other.
    Untrusted,
    /// Nobody's.
    None,
}

/// By which checkpoint the end of a log is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// One that the reader gave.
    Given,
    /// The one beside the log, which whoever cuts the log can replace by an earlier one.
    Beside,
    /// By none, or by none that the log agrees with.
    Unknown,
}

/// What was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// The number of the first record that was read.
    pub first: u64,
    /// How many were read.
    pub records: u64,
    /// How many checkpoints were verified.
    pub checkpoints: u64,
    /// How many records the newest checkpoint covers.
    pub covered: u64,
    /// The newest checkpoint, a signed note.
    pub newest: Option<String>,
    /// Who says how long the log is at least. What is cut off at a checkpoint is not missed otherwise.
    pub end: End,
    /// Whether the end of the last line is not written, as happens while a log is written and when a process is killed.
    pub is_within_a_line: bool,
    /// Whose word the signatures are.
    pub trust: Trust,
    /// What is wrong.
    pub finding: Option<Finding>,
}

impl Report {
    /// Records after the newest checkpoint and its own: their chain holds, and nobody has signed for them.
    #[must_use]
    pub fn unproven(&self) -> u64 {
        let end = self.first + self.records;
        let signed = self.covered + u64::from(self.newest.is_some());
        // What was before the first is not here to be proven.
        end.saturating_sub(signed.max(self.first))
    }
}

/// Follows a log from its first line to its last.
#[derive(Debug)]
pub struct Verifier<'a> {
    keys: &'a [VerifierKey],
    trust: Trust,
    /// From where on the log must be there.
    from: u64,
    origin: Option<String>,
    state: Option<State>,
    first: u64,
    /// The tree as the newest checkpoint covers it, and the leaves since.
    proven: Tree,
    since: Vec<Hash>,
    checkpoints: u64,
    newest: Option<String>,
    /// A checkpoint that is known from elsewhere, and whether the log agreed with it.
    known: Option<(Checkpoint, bool)>,
    /// Who told of that one.
    source: End,
    finding: Option<Finding>,
}

impl<'a> Verifier<'a> {
    /// With these keys. A log that begins after record `from` lacks its beginning.
    #[must_use]
    pub fn new(keys: &'a [VerifierKey], trust: Trust, from: u64) -> Verifier<'a> {
        Verifier {
            keys,
            trust,
            from,
            origin: None,
            state: None,
            first: 0,
            proven: Tree::default(),
            since: Vec::new(),
            checkpoints: 0,
            newest: None,
            known: None,
            source: End::Unknown,
            finding: None,
        }
    }

    /// Holds the log to a checkpoint that is known from elsewhere.
    ///
    /// # Errors
    /// When it is none, or none of the keys signed it.
    pub fn know(&mut self, note: &str, source: End) -> Result<(), Finding> {
        let wrong = Finding::Known {
            size: 0,
            has: Has::Others,
        };
        let parsed: Note = note.parse().map_err(|_| wrong.clone())?;
        let checkpoint: Checkpoint = parsed.text().parse().map_err(|_| wrong.clone())?;
        let is_signed = self
            .keys
            .iter()
            .any(|key| key.verifies(&parsed) == Some(true));
        if !is_signed && !self.keys.is_empty() {
            return Err(wrong);
        }
        self.known = Some((checkpoint, false));
        self.source = source;
        Ok(())
    }

    /// Takes the next line; after a finding nothing more is of interest, and the answer is `false`.
    pub fn line(&mut self, line: &[u8]) -> bool {
        if self.finding.is_none() {
            self.finding = self.follow(line).err();
        }
        self.finding.is_none()
    }

    fn follow(&mut self, line: &[u8]) -> Result<(), Finding> {
        let seq = self.state.as_ref().map_or(0, State::next);
        let is_first = self.state.is_none();
        let record = |broken| Finding::Record { seq, broken };
        let (leaf, event) = State::follow(&mut self.state, line).map_err(record)?;
        match event {
            Some(Event::Segment(segment)) if is_first => {
                self.first = segment.seq;
                self.origin = Some(segment.origin.clone());
                if self.first > self.from {
                    return Err(Finding::Beginning(self.first));
                }
                let before = segment.state().ok_or_else(|| record(Broken::Segment))?;
                self.proven = before.tree;
            }
            Some(Event::Segment(segment)) if self.origin.as_ref() != Some(&segment.origin) => {
                return Err(record(Broken::Segment));
            }
            Some(Event::Checkpoint { note }) => self.checkpoint(seq, note)?,
            Some(Event::Segment(_)) | None => {}
        }
        self.since.push(leaf);
        Ok(())
    }

    fn checkpoint(&mut self, seq: u64, note: String) -> Result<(), Finding> {
        let wrong = || Finding::Checkpoint(seq);
        let parsed: Note = note.parse().map_err(|_| wrong())?;
        let checkpoint: Checkpoint = parsed.text().parse().map_err(|_| wrong())?;
        if self.origin.as_ref() != Some(&checkpoint.origin) {
            return Err(wrong());
        }
        // It was being signed when the file began that is the first one here: its records are not there.
        if self.is_cut_short() && checkpoint.size < self.first {
            return self.signature(seq, &parsed);
        }
        // Each covers more than the one before it, and nothing that comes after it.
        let is_later = checkpoint.size > self.proven.size() || self.is_cut_short();
        let more = checkpoint.size.checked_sub(self.proven.size());
        let more = more.filter(|more| is_later && *more <= self.since.len() as u64);
        let more = usize::try_from(more.ok_or_else(wrong)?).map_err(|_| wrong())?;
        self.since
            .drain(..more)
            .for_each(|leaf| self.proven.push(leaf));
        if self.proven.root() != checkpoint.root {
            return Err(Finding::Root(seq));
        }
        self.signature(seq, &parsed)?;
        if let Some((known, is_there)) = &mut self.known
            && known.size == checkpoint.size
        {
            *is_there = *known == checkpoint;
        }
        self.checkpoints += 1;
        self.newest = Some(note);
        Ok(())
    }

    /// Whether the beginning is not there and no checkpoint since has been met.
    fn is_cut_short(&self) -> bool {
        self.first > 0 && self.checkpoints == 0
    }

    fn signature(&self, seq: u64, note: &Note) -> Result<(), Finding> {
        let mut verified = self.keys.iter().filter_map(|key| key.verifies(note));
        match verified.next() {
            Some(true) => Ok(()),
            Some(false) => Err(Finding::Signature(seq)),
            None if self.keys.is_empty() => Ok(()),
            None => Err(Finding::Stranger(seq)),
        }
    }

    /// The root of the first records, so many of them.
    fn root_of(&self, size: u64) -> Option<Hash> {
        let mut tree = self.proven.clone();
        let more = usize::try_from(size.checked_sub(tree.size())?).ok()?;
        for leaf in self.since.get(..more)? {
            tree.push(*leaf);
        }
        Some(tree.root())
    }

    /// What was found out.
    #[must_use]
    pub fn finish(self, is_within_a_line: bool) -> Report {
        let end = self.state.as_ref().map_or(0, State::next);
        let mut finding = self.finding.clone();
        if finding.is_none() && self.state.is_none() {
            finding = Some(Finding::Nothing);
        }
        if let (None, Some((known, false))) = (&finding, &self.known) {
            let has = match end {
                end if end < known.size => Has::Fewer(end),
                _ if self.root_of(known.size) == Some(known.root) => Has::NotItself,
                _ => Has::Others,
            };
            let size = known.size;
            finding = Some(Finding::Known { size, has });
        }
        Report {
            first: self.first,
            records: end.saturating_sub(self.first),
            checkpoints: self.checkpoints,
            covered: self.proven.size(),
            newest: self.newest,
            end: match self.known {
                Some((_, true)) => self.source,
                _ => End::Unknown,
            },
            is_within_a_line,
            trust: match self.checkpoints {
                0 => Trust::None,
                _ if self.keys.is_empty() => Trust::None,
                _ => self.trust,
            },
            finding,
        }
    }
}

/// Verifies the log of this name, also while it is written. `known` is a checkpoint from elsewhere; without it the one
/// that lies beside the log is taken, if there is one.
///
/// # Errors
/// When it cannot be read.
pub fn verify(mut verifier: Verifier<'_>, path: &Path, known: Option<&str>) -> io::Result<Report> {
    // Before the log: what it covers is there already.
    let beside = match fs::read_to_string(checkpoint_file(path)) {
        Ok(note) => Some(note),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Some(String::new()),
        Err(error) => return Err(error),
    };
    let known = known.map(|note| (note, End::Given));
    let beside = beside.as_deref().map(|note| (note, End::Beside));
    if let Some((note, source)) = known.or(beside)
        && let Err(finding) = verifier.know(note, source)
    {
        verifier.finding = Some(finding);
        return Ok(verifier.finish(false));
    }
    let mut reader = Reader::open(path, 0)?;
    while let Next::Line(line) = reader.read()? {
        if !verifier.line(&line) {
            break;
        }
    }
    Ok(verifier.finish(reader.is_within_a_line()))
}

#[cfg(test)]
mod tests {
    use super::{End, Report, Trust};

    #[test]
    fn the_unproven_tail_is_of_what_is_there() {
        for (first, records, covered, unproven) in [
            (0, 0, None, 0),
            (0, 3, None, 3),
            (0, 10, Some(6), 3),
            (95, 1, None, 1),
            (95, 10, Some(100), 4),
        ] {
            let report = Report {
                first,
                records,
                checkpoints: u64::from(covered.is_some()),
                covered: covered.unwrap_or(0),
                newest: covered.map(|_| String::new()),
                end: End::Unknown,
                is_within_a_line: false,
                trust: Trust::None,
                finding: None,
            };
            assert_eq!(report.unproven(), unproven, "{report:?}");
        }
    }
}
