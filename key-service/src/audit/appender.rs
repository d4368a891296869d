//! The file that is written: appended to, closed when it is full, noticed when it is gone, and never left with a record
//! that nobody was told of.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};

use crate::clock::Clock;
use crate::permissions;

use super::chain::{self, Line, State};
use super::read::{beside, closed, closed_files, folder};
use super::tree::Hash;

/// How long a file that somebody removed is waited for, before another is begun: nothing is signed meanwhile.
const ABSENCE: Duration = Duration::from_secs(3);
/// The largest file that is read to go on with it, in octets.
const LARGEST: u64 = 1 << 32;

/// Why a log cannot be gone on with.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// The system says so.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What it says.
        source: io::Error,
    },
    /// Others can write where it is.
    #[error(transparent)]
    Loose(#[from] permissions::Refused),
    /// Another process writes it.
    #[error("{}: another process writes this log", .0.display())]
    Taken(PathBuf),
    /// It does not hold together.
    #[error(
        "{}: line {line} {broken}: keep the file as evidence, move it away, and start again",
        path.display()
    )]
    Broken {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        broken: chain::Broken,
    },
}

/// What is written, and how.
#[derive(Debug, Clone)]
pub(super) struct Form {
    pub(super) path: PathBuf,
    pub(super) origin: String,
    /// Whether each record is on the disk before it counts.
    pub(super) is_durable: bool,
    pub(super) segment_size: u64,
}

/// The end of the log.
#[derive(Debug)]
pub(super) struct Appender {
    form: Form,
    clock: Clock,
    state: State,
    open: Option<Open>,
    /// Since when records were refused because the file is not where it was.
    absent: Option<Instant>,
    /// Whether nobody else moved the file away.
    is_to_begin: bool,
    buffer: Vec<u8>,
    leaves: Vec<Hash>,
    _lock: Flock<File>,
}

#[derive(Debug)]
struct Open {
    file: File,
    device: u64,
    inode: u64,
    /// Up to here it holds whole records that count.
    length: u64,
    /// There may be something behind.
    is_torn: bool,
    /// The number of its first record.
    first: u64,
}

impl Appender {
    /// Goes on with the log that is there, or begins one.
    pub(super) fn open(form: Form, clock: Clock) -> Result<Appender, Unusable> {
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Unusable::File { path, source }
        };
        let home = folder(&form.path);
        let made = fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(home);
        made.map_err(failed(home))?;
        permissions::check_folder(home)?;
        let lock_file = beside(&form.path, "lock");
        let lock = private().create(true).truncate(false).open(&lock_file);
        let lock = lock.map_err(failed(&lock_file))?;
        let lock = Flock::lock(lock, FlockArg::LockExclusiveNonblock)
            .map_err(|_| Unusable::Taken(form.path.clone()))?;
        let mut appender = Appender {
            state: State::default(),
            open: None,
            absent: None,
            is_to_begin: false,
            buffer: Vec::new(),
            leaves: Vec::new(),
            clock,
            _lock: lock,
            form,
        };
        let path = appender.form.path.clone();
        appender.find_end()?;
        appender.ready().map_err(failed(&path))?;
        Ok(appender)
    }

    /// Where the log stands.
    pub(super) fn state(&self) -> &State {
        &self.state
    }

    /// Adds records, all or none. When this returns without an error they have survived what they are to survive.
    pub(super) fn append<'a>(
        &mut self,
        records: impl IntoIterator<Item = &'a [u8]>,
    ) -> io::Result<()> {
        self.ready().inspect_err(|_| {
            self.absent.get_or_insert_with(Instant::now);
        })?;
        self.write(records)
    }

    fn write<'a>(&mut self, records: impl IntoIterator<Item = &'a [u8]>) -> io::Result<()> {
        self.buffer.clear();
        self.leaves.clear();
        let (mut seq, mut chain) = (self.state.next(), self.state.chain);
        for members in records {
            let (hash, leaf) = chain::write(&mut self.buffer, seq, members, &chain);
            self.leaves.push(leaf);
            (seq, chain) = (seq + 1, hash);
        }
        let open = self.open.as_mut().ok_or_else(gone)?;
        let written = (&open.file).write_all(&self.buffer);
        let written = match self.form.is_durable {
            true => written.and_then(|()| open.file.sync_data()),
            false => written,
        };
        if let Err(error) = written {
            open.is_torn = true;
            // Tried again before the next record.
            let _ = open.mend();
            return Err(error);
        }
        open.length += self.buffer.len() as u64;
        self.state.chain = chain;
        for leaf in self.leaves.drain(..) {
            self.state.tree.push(leaf);
        }
        Ok(())
    }

    /// The file is there, is the one that we wrote, ends with the last record that counts, and has room.
    pub(super) fn ready(&mut self) -> io::Result<()> {
        match fs::metadata(&self.form.path) {
            Ok(metadata) => match &mut self.open {
                Some(open) if open.is_at(&metadata) => open.mend()?,
                _ => self.adopt()?,
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.open = None;
                if !self.is_to_begin {
                    if self.absent.is_none_or(|since| since.elapsed() < ABSENCE) {
                        return Err(gone());
                    }
                    tracing::error!("the audit log was removed: another file is begun");
                    self.is_to_begin = true;
                }
                self.begin()?;
            }
            Err(error) => return Err(error),
        }
        self.absent = None;
        self.is_to_begin = false;
        match &self.open {
            Some(open) if open.length >= self.form.segment_size => self.close(open.first),
            _ => Ok(()),
        }
    }

    /// Closes a full file and begins the next.
    fn close(&mut self, first: u64) -> io::Result<()> {
        let path = &self.form.path;
        fs::rename(path, closed(path, first))?;
        self.open = None;
        self.is_to_begin = true;
        self.begin()?;
        self.is_to_begin = false;
        Ok(())
    }

    /// Begins a file: its first record says all that is needed to go on from there.
    fn begin(&mut self) -> io::Result<()> {
        let path = self.form.path.clone();
        let file = private().append(true).create_new(true).open(&path)?;
        self.open = Some(Open::of(file, self.state.next(), 0)?);
        self.write_first().inspect_err(|_| {
            // Begun again next time.
            self.open = None;
            let _ = fs::remove_file(&path);
        })
    }

    fn write_first(&mut self) -> io::Result<()> {
        let now = self.clock.now_millis();
        let first = self.state.segment(&self.form.origin, now);
        self.write([&first[..]])?;
        File::open(folder(&self.form.path))?.sync_all()
    }

    /// Another file has the name: one that was put back, an empty one, or one that is not ours.
    fn adopt(&mut self) -> io::Result<()> {
        self.open = None;
        let path = self.form.path.clone();
        let mut file = OpenOptions::new().read(true).append(true).open(&path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() > LARGEST {
            return Err(io::Error::other("what is there now is no log"));
        }
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        if content.is_empty() {
            self.open = Some(Open::of(file, self.state.next(), 0)?);
            return self.write_first();
        }
        let first =
            first_of(&content).ok_or_else(|| io::Error::other("what is there now is no log"))?;
        if let Some(length) = self.end_in(&content) {
            let mut open = Open::of(file, first, length)?;
            open.is_torn = length < content.len() as u64;
            open.mend()?;
            self.open = Some(open);
            return Ok(());
        }
        // An older copy: it is kept, and what it lacks is seen by whoever verifies.
        tracing::error!(
            "the audit log was replaced by another: it is kept, and another file is begun"
        );
        let aside = closed(&path, first);
        if aside.exists() {
            return Err(io::Error::other(
                "what is there now is not the log that was there",
            ));
        }
        self.close(first)
    }

    /// Where our last record ends, if it is there.
    fn end_in(&self, content: &[u8]) -> Option<u64> {
        let mut end = 0;
        for line in content.split_inclusive(|octet| *octet == b'\n') {
            end += line.len() as u64;
            let is_last = |line: Line<'_>| {
                line.seq + 1 == self.state.next() && line.chain == self.state.chain
            };
            if Line::parse(line.strip_suffix(b"\n")?).is_ok_and(is_last) {
                return Some(end);
            }
        }
        None
    }

    /// What the files say of where the log stands.
    fn find_end(&mut self) -> Result<(), Unusable> {
        let path = self.form.path.clone();
        let failed = |path: &Path| {
            let path = path.to_owned();
            move |source| Unusable::File { path, source }
        };
        let content = match File::open(&path) {
            Ok(file) => read(file).map_err(failed(&path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.is_to_begin = true;
                Vec::new()
            }
            Err(error) => return Err(failed(&path)(error)),
        };
        if content.contains(&b'\n') {
            return self.replay(&path, &content);
        }
        if !content.is_empty() {
            // Nothing but the beginning of a first record.
            fs::write(&path, b"").map_err(failed(&path))?;
        }
        let files = closed_files(&path).map_err(failed(&path))?;
        let Some((_, last)) = files.last() else {
            return Ok(());
        };
        let content = File::open(last).and_then(read).map_err(failed(last))?;
        self.replay(last, &content)
    }

    /// A line that was not ended does not count: nobody was answered.
    fn replay(&mut self, path: &Path, content: &[u8]) -> Result<(), Unusable> {
        let mut state = None;
        let lines = content.split_inclusive(|octet| *octet == b'\n');
        for (index, line) in lines
            .filter_map(|line| line.strip_suffix(b"\n"))
            .enumerate()
        {
            State::follow(&mut state, line).map_err(|broken| Unusable::Broken {
                path: path.to_owned(),
                line: index + 1,
                broken,
            })?;
        }
        self.state = state.unwrap_or_default();
        Ok(())
    }
}

impl Open {
    fn of(file: File, first: u64, length: u64) -> io::Result<Open> {
        let metadata = file.metadata()?;
        Ok(Open {
            device: metadata.dev(),
            inode: metadata.ino(),
            is_torn: false,
            file,
            length,
            first,
        })
    }

    fn is_at(&self, metadata: &fs::Metadata) -> bool {
        (metadata.dev(), metadata.ino()) == (self.device, self.inode)
    }

    /// Cuts off what does not count.
    fn mend(&mut self) -> io::Result<()> {
        if self.is_torn {
            self.file.set_len(self.length)?;
            self.is_torn = false;
        }
        Ok(())
    }
}

fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o600);
    options
}

fn gone() -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, "the file was removed")
}

fn first_of(content: &[u8]) -> Option<u64> {
    let line = content.split(|octet| *octet == b'\n').next()?;
    Line::parse(line).ok().map(|line| line.seq)
}

fn read(mut file: File) -> io::Result<Vec<u8>> {
    let metadata = file.metadata()?;
    if !metadata.is_file() || metadata.len() > LARGEST {
        return Err(io::Error::other("is not a log"));
    }
    let mut content = Vec::new();
    file.read_to_end(&mut content)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::entry::{Entry, Item, Signature};
    use super::*;

    fn signature(time: i64) -> Vec<u8> {
        let id = "08a5019c-17e1-4977-8f42-65a12843ea02";
        let mut entry = Entry::begin(time, "Sign", "gateway", id);
        entry.signs(&Item {
            index: 0,
            profile: "id_token",
            typ: "JWT",
            jti: Some(format!("\"{id}\"").as_bytes()),
            exp: Some(b"1763740000"),
        });
        entry.signed(&Signature {
            ring: Some("id-token/ES256"),
            kid: "S7wxTTpqhpCOm4wuiWJG0HfrfFY8CQW25Oh4VwpAdUU",
            alg: "ES256",
            compact: &"a".repeat(620),
        });
        entry.end("OK", "").unwrap()
    }

    /// Figures, no verdict: `cargo test --release -p key-service --lib -- --ignored --nocapture what_a_record_costs`.
    #[test]
    #[ignore = "a measurement"]
    fn what_a_record_costs() {
        let used = || {
            let times = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
            times.split(' ').next().unwrap().parse::<u64>().unwrap()
        };
        for (is_durable, batch, count) in [
            (false, 1, 100_000),
            (false, 16, 100_000),
            (true, 1, 2_000),
            (true, 16, 20_000),
        ] {
            let folder = tempfile::tempdir_in(".").unwrap();
            let form = Form {
                path: folder.path().join("audit.log"),
                origin: "issuer.example/audit".to_owned(),
                is_durable,
                segment_size: 1 << 26,
            };
            let clock = Clock::system();
            let mut appender = Appender::open(form, clock.clone()).unwrap();
            let (before, begun) = (used(), Instant::now());
            for _ in 0..count / batch {
                let now = clock.now_millis();
                let records: Vec<Vec<u8>> = (0..batch).map(|_| signature(now)).collect();
                appender.append(records.iter().map(|it| &it[..])).unwrap();
            }
            let cpu = (used() - before) / count;
            let wall = begun.elapsed().as_nanos() / u128::from(count);
            let durability = if is_durable { "fsync" } else { "write" };
            let line =
                format!("{durability}, {batch:2} at a time: {cpu} ns CPU, {wall} ns a record\n");
            io::stdout().write_all(line.as_bytes()).unwrap();
        }
    }

    #[test]
    fn what_failed_half_way_leaves_no_trace() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.log");
        let form = Form {
            path: path.clone(),
            origin: "issuer.example/audit".to_owned(),
            is_durable: true,
            segment_size: 4096,
        };
        let clock = Clock::system();
        let mut appender = Appender::open(form.clone(), clock.clone()).unwrap();
        for _ in 0..50 {
            appender.append([&signature(1)[..]]).unwrap();
        }
        let state = appender.state().clone();
        assert!(matches!(
            Appender::open(form.clone(), clock.clone()),
            Err(Unusable::Taken(_))
        ));
        drop(appender);
        // Killed while a file was closed: renamed, and the next not begun, or begun without its first record.
        let first = first_of(&fs::read(&path).unwrap()).unwrap();
        fs::rename(&path, closed(&path, first)).unwrap();
        for content in [None, Some(""), Some("{\"seq\":")] {
            if let Some(content) = content {
                fs::write(&path, content).unwrap();
            }
            let mut appender = Appender::open(form.clone(), clock.clone()).unwrap();
            assert_eq!(appender.state().next(), state.next() + 1, "{content:?}");
            appender.append([&signature(1)[..]]).unwrap();
            drop(appender);
            fs::remove_file(&path).unwrap();
        }
    }
}
