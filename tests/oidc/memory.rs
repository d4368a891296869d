//! What a process has in its memory (proc(5)), and a search for secrets in it, in each form in which one may lie there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const PAGE: u64 = 4096;
/// Pages of one read.
const PIECE: u64 = 1024;

/// A process of ours that stands still.
struct Stopped(Pid);

impl Stopped {
    fn stop(pid: Pid) -> Stopped {
        kill(pid, Signal::SIGSTOP).unwrap();
        Stopped(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

/// All that a process has written in its memory and still has: its writable pages, those that follow each other in one
/// piece. It stands still meanwhile.
pub(crate) fn dump(pid: Pid) -> Vec<Vec<u8>> {
    let _stopped = Stopped::stop(pid);
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let pagemap = File::open(format!("/proc/{pid}/pagemap")).unwrap();
    let mut pieces = Vec::new();
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next().unwrap(), words.next().unwrap());
        if !rights.starts_with("rw") || line.ends_with("[vvar]") {
            continue;
        }
        let (from, to) = range.split_once('-').unwrap();
        let number = |text| u64::from_str_radix(text, 16).unwrap();
        for (first, last) in present(&pagemap, number(from), number(to)) {
            let mut piece = vec![0; usize::try_from(last - first).unwrap()];
            // What went away meanwhile is not there.
            if memory.read_exact_at(&mut piece, first).is_ok() {
                pieces.push(piece);
            }
        }
    }
    assert!(!pieces.is_empty(), "the memory of {pid} can be read");
    pieces
}

/// The ranges of a mapping that are in memory: an allocator reserves much more than it uses.
fn present(pagemap: &File, from: u64, to: u64) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    let mut at = from;
    while at < to {
        let pages = ((to - at) / PAGE).min(PIECE);
        let mut entries = vec![0; usize::try_from(pages * 8).unwrap()];
        if pagemap.read_exact_at(&mut entries, at / PAGE * 8).is_err() {
            return vec![(from, to)];
        }
        for entry in entries.chunks(8) {
            let entry = u64::from_ne_bytes(entry.try_into().unwrap());
            // Present, or swapped.
            if entry >> 62 != 0 {
                match ranges.last_mut() {
                    Some(last) if last.1 == at => last.1 += PAGE,
                    _ => ranges.push((at, at + PAGE)),
                }
            }
            at += PAGE;
        }
    }
    ranges
}

/// What is looked for.
#[derive(Default)]
pub(crate) struct Secrets {
    needles: Vec<(String, Vec<u8>)>,
    /// By the first two octets.
    begins: BTreeMap<[u8; 2], Vec<usize>>,
}

impl Secrets {
    /// A secret by its name: raw, in base64, base64url and hexadecimal.
    pub(crate) fn add(&mut self, name: &str, secret: &[u8]) {
        assert!(secret.len() >= 16, "{name} may be anywhere");
        // What follows a whole group of three does not change how it looks.
        let whole = &secret[..secret.len() / 3 * 3];
        let hex: String = secret.iter().map(|octet| format!("{octet:02x}")).collect();
        for (form, needle) in [
            ("raw", secret.to_vec()),
            ("base64", STANDARD.encode(whole).into_bytes()),
            ("base64url", URL_SAFE_NO_PAD.encode(whole).into_bytes()),
            ("hex", hex.clone().into_bytes()),
            ("HEX", hex.to_uppercase().into_bytes()),
        ] {
            let begin = [needle[0], needle[1]];
            let all = self.begins.entry(begin).or_default();
            all.push(self.needles.len());
            self.needles.push((format!("{name} ({form})"), needle));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.needles.len()
    }

    /// Those that are there, with what stands around the first of each.
    pub(crate) fn found(&self, pieces: &[Vec<u8>]) -> BTreeMap<String, String> {
        let mut table = vec![false; 1 << 16];
        for begin in self.begins.keys() {
            table[usize::from(u16::from_ne_bytes(*begin))] = true;
        }
        let mut found = BTreeMap::new();
        for piece in pieces {
            let mut before = piece.first().copied().unwrap_or(0);
            for (at, octet) in piece.iter().enumerate().skip(1) {
                let begin = [before, *octet];
                before = *octet;
                if !table[usize::from(u16::from_ne_bytes(begin))] {
                    continue;
                }
                for index in &self.begins[&begin] {
                    let (name, needle) = &self.needles[*index];
                    if piece[at - 1..].starts_with(needle) {
                        let around = &piece[at.saturating_sub(60)..piece.len().min(at + 100)];
                        let around = String::from_utf8_lossy(around).into_owned();
                        found.entry(name.clone()).or_insert(around);
                    }
                }
            }
        }
        found
    }
}

/// Everything that looks like a compact JWE (RFC 7516 §7.1).
pub(crate) fn jwes(pieces: &[Vec<u8>]) -> BTreeSet<String> {
    let is_part = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_.".contains(octet);
    let mut found = BTreeSet::new();
    for piece in pieces {
        for word in piece.split(|octet| !is_part(octet)) {
            let word = std::str::from_utf8(word).unwrap();
            let begin = word.find("eyJ").filter(|_| word.matches('.').count() >= 4);
            let Some(begin) = begin else { continue };
            let segments: Vec<&str> = word[begin..].splitn(6, '.').take(5).collect();
            if segments.len() == 5 {
                found.insert(segments.join("."));
            }
        }
    }
    found
}
