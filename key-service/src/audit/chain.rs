//! The form of the log: JSON lines, each a record that holds the hash over the one before it and itself. So nothing can
//! be changed, left out, doubled or moved without everything after it being written anew.
//!
//! A line is `{"seq":N,MEMBERS,"chain":"HASH"}` where HASH is base64url of SHA-256(HASH before ‖ `{"seq":N,MEMBERS`);
//! before the first it is 32 zero octets. The Merkle tree's leaf is the whole line without its end.

use std::io::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use super::note::Note;
use super::tree::{self, Hash, Tree};

/// What stands between a record's members and its hash.
const LINK: &[u8] = b",\"chain\":\"";
/// What ends a record after its hash.
const END: &[u8] = b"\"}";
/// Length of a hash in base64url.
const HASH: usize = 43;
/// The longest line that is read, in octets: sixteen items with their names.
pub(super) const LONGEST: u64 = 64 * 1024;

/// Why a line is not the next record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// It is not of the form.
    #[error("is not a record")]
    Malformed,
    /// It has another number than the one that comes next.
    #[error("is not the record that comes next: some are missing, doubled or moved")]
    Order,
    /// It, or one before it, was changed.
    #[error("does not match its hash: it was changed, or what stood before it")]
    Hash,
    /// The first line of a file says something else of what was before.
    #[error("does not continue what stands before it")]
    Segment,
}

/// Writes a record with its line's end; answers with its hash and its leaf.
pub(super) fn write(line: &mut Vec<u8>, seq: u64, members: &[u8], previous: &Hash) -> (Hash, Hash) {
    let start = line.len();
    // Writing to memory cannot fail.
    let _ = write!(line, "{{\"seq\":{seq},");
    line.extend_from_slice(members);
    let chain = tree::hash(&[previous, &line[start..]]);
    line.extend_from_slice(LINK);
    encode(line, &chain);
    line.extend_from_slice(END);
    let leaf = tree::leaf(&line[start..]);
    line.push(b'\n');
    (chain, leaf)
}

fn encode(to: &mut Vec<u8>, hash: &Hash) {
    let mut text = [0; HASH];
    let length = URL_SAFE_NO_PAD.encode_slice(hash, &mut text).unwrap_or(0);
    to.extend_from_slice(&text[..length]);
}

/// A hash as records have it.
pub(super) fn text(hash: &Hash) -> String {
    URL_SAFE_NO_PAD.encode(hash)
}

fn decode(text: &[u8]) -> Option<Hash> {
    URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()
}

/// A line, taken apart.
#[derive(Debug, Clone, Copy)]
pub struct Line<'a> {
    /// Its number.
    pub seq: u64,
    /// All that its hash covers.
    body: &'a [u8],
    /// Its hash.
    pub(super) chain: Hash,
    /// All of it, without its end.
    octets: &'a [u8],
}

impl<'a> Line<'a> {
    /// Of a line without its end.
    ///
    /// # Errors
    /// When it is not of the form.
    pub fn parse(octets: &'a [u8]) -> Result<Line<'a>, Broken> {
        Line::read(octets).ok_or(Broken::Malformed)
    }

    fn read(octets: &'a [u8]) -> Option<Line<'a>> {
        let rest = octets.strip_suffix(END)?;
        let (rest, chain) = rest.split_at_checked(rest.len().checked_sub(HASH)?)?;
        let body = rest.strip_suffix(LINK)?;
        let number = body.strip_prefix(b"{\"seq\":")?;
        let digits = number.iter().position(|octet| *octet == b',')?;
        let digits = std::str::from_utf8(&number[..digits]).ok()?;
        let seq: u64 = digits.parse().ok()?;
        (seq.to_string() == digits).then_some(Line {
            seq,
            body,
            chain: decode(chain)?,
            octets,
        })
    }

    /// Its leaf in the tree.
    #[must_use]
    pub fn leaf(&self) -> Hash {
        tree::leaf(self.octets)
    }

    /// What it says beyond an operation, for the few that say something of the log itself.
    ///
    /// # Errors
    /// When it says it in no form that we know.
    pub fn event(&self) -> Result<Option<Event>, Broken> {
        // A quotation mark inside a string has a backslash before it, so this is a member's name.
        let named = |event: &[u8]| {
            let mut windows = self.body.windows(event.len());
            windows.any(|window| window == event)
        };
        if !named(b"\"event\":\"segment\"") && !named(b"\"event\":\"checkpoint\"") {
            return Ok(None);
        }
        let event = serde_json::from_slice(self.octets).map_err(|_| Broken::Malformed)?;
        Ok(Some(event))
    }
}

/// A record that says something of the log itself.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Event {
    /// The first record of a file: all that is needed to go on from here.
    Segment(Segment),
    /// What the log's key signed.
    Checkpoint {
        /// A signed note.
        note: String,
    },
}

/// The first record of a file.
#[derive(Debug, Deserialize)]
pub struct Segment {
    /// Its number.
    pub seq: u64,
    /// Which log.
    pub origin: String,
    /// The hash of the record before it.
    previous: String,
    /// The roots of the complete subtrees over all records before it.
    tree: Vec<String>,
}

impl Segment {
    /// The state that it says was before it.
    pub(super) fn state(&self) -> Option<State> {
        let peaks: Option<Vec<Hash>> = self.tree.iter().map(|it| decode(it.as_bytes())).collect();
        Some(State {
            chain: decode(self.previous.as_bytes())?,
            tree: Tree::resume(self.seq, peaks?)?,
        })
    }
}

/// Where the log stands: the hash of its last record, and the tree over all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    pub(super) chain: Hash,
    pub(super) tree: Tree,
}

impl State {
    /// The members of a file's first record.
    pub(super) fn segment(&self, origin: &str, time: i64) -> Vec<u8> {
        let peaks: Vec<String> = self.tree.peaks().iter().map(text).collect();
        let peaks = serde_json::Value::from(peaks);
        let (origin, previous) = (serde_json::Value::from(origin), text(&self.chain));
        format!(
            "\"time\":{time},\"event\":\"segment\",\"origin\":{origin},\"previous\":\"{previous}\",\"tree\":{peaks}"
        )
        .into_bytes()
    }

    /// The number of the next record.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.tree.size()
    }

    /// Takes the next line, and says what it tells of the log itself. The first line of the first file that is read says
    /// where the log stands, and so `self` is `None` before it.
    ///
    /// # Errors
    /// When it is not the next record.
    pub fn follow(this: &mut Option<State>, line: &[u8]) -> Result<(Hash, Option<Event>), Broken> {
        let line = Line::parse(line)?;
        let event = line.event()?;
        let state = match (this.as_mut(), &event) {
            (Some(state), Some(Event::Segment(segment))) => {
                if segment.seq != state.next() {
                    return Err(Broken::Order);
                }
                if segment.state().as_ref() != Some(&*state) {
                    return Err(Broken::Segment);
                }
                state
            }
            (Some(state), _) => state,
            (None, Some(Event::Segment(segment))) => {
                this.insert(segment.state().ok_or(Broken::Segment)?)
            }
            (None, _) => return Err(Broken::Order),
        };
        if line.seq != state.next() {
            return Err(Broken::Order);
        }
        if tree::hash(&[&state.chain, line.body]) != line.chain {
            return Err(Broken::Hash);
        }
        let leaf = line.leaf();
        state.chain = line.chain;
        state.tree.push(leaf);
        Ok((leaf, event))
    }
}

/// The members of a record that holds a signed note.
pub(super) fn checkpoint(note: &str, time: i64) -> Vec<u8> {
    debug_assert!(note.parse::<Note>().is_ok());
    let note = serde_json::Value::from(note);
    format!("\"time\":{time},\"event\":\"checkpoint\",\"note\":{note}").into_bytes()
}
