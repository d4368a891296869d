//! Reading a log, also while it is written: its files in the order of their records, line by line.

use std::fs::{self, File};
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::chain::{LONGEST, Line};

/// How many digits the number of a file's first record has in its name.
const DIGITS: usize = 20;

/// The name of a closed file whose first record has this number.
pub(super) fn closed(path: &Path, first: u64) -> PathBuf {
    beside(path, &format!("{first:0DIGITS$}"))
}

/// The newest checkpoint, which is in the log too.
pub(super) fn checkpoint_file(path: &Path) -> PathBuf {
    beside(path, "checkpoint")
}

pub(super) fn beside(path: &Path, extension: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(extension);
    name.into()
}

/// The folder of a file.
pub(super) fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// The closed files of a log with the numbers of their first records, in order.
pub(super) fn closed_files(path: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    for entry in fs::read_dir(folder(path))? {
        let entry = entry?;
        let file = entry.file_name();
        let rest = file.as_encoded_bytes().strip_prefix(name);
        let digits = rest.and_then(|rest| rest.strip_prefix(b"."));
        let digits = digits.filter(|digits| digits.len() == DIGITS);
        let number = digits.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
        files.extend(number.map(|number| (number, entry.path())));
    }
    files.sort_unstable();
    Ok(files)
}

/// What comes next in a log.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    /// A line without its end.
    Line(Vec<u8>),
    /// Nothing at the moment.
    End,
}

/// Reads a log from its first file, or from the one that holds a record.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    open: Option<Open>,
    /// The file after the one that is open, which is read to its end once more: it may have grown before it was closed.
    upcoming: Option<Open>,
    /// The number of the record after the last one that was read.
    next: u64,
    /// The beginning of a line whose end is not written yet.
    begun: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    file: BufReader<File>,
    inode: u64,
    /// The number of its first record, where its name has it.
    first: Option<u64>,
}

impl Reader {
    /// At the beginning of the file that holds this record, or of the first one.
    ///
    /// # Errors
    /// When the log's folder cannot be read.
    pub fn open(path: &Path, from: u64) -> io::Result<Reader> {
        let files = closed_files(path)?;
        let first = files.iter().rev().find(|(first, _)| *first <= from);
        let after_all = files.len() == files.iter().filter(|(first, _)| *first <= from).count();
        let mut reader = Reader {
            path: path.to_owned(),
            open: None,
            upcoming: None,
            next: first.map_or(0, |(first, _)| *first),
            begun: Vec::new(),
        };
        // Perhaps in the file that is being written.
        if after_all && from > 0 && reader.begins_by(from)? {
            reader.next = from;
        }
        Ok(reader)
    }

    /// Whether the file that is being written begins with this record or one before it.
    fn begins_by(&self, from: u64) -> io::Result<bool> {
        let Some(open) = self.current()? else {
            return Ok(false);
        };
        let mut line = Vec::new();
        open.file.take(LONGEST).read_until(b'\n', &mut line)?;
        let line = line.strip_suffix(b"\n").unwrap_or(&line);
        Ok(Line::parse(line).is_ok_and(|line| line.seq <= from))
    }

    /// The next line.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn read(&mut self) -> io::Result<Next> {
        loop {
            if let Some(open) = &mut self.open {
                let room = LONGEST.saturating_sub(self.begun.len() as u64);
                let read = (&mut open.file).take(room);
                { read }.read_until(b'\n', &mut self.begun)?;
                if self.begun.last() == Some(&b'\n') {
                    self.begun.pop();
                    return Ok(self.line());
                }
                if self.begun.len() as u64 >= LONGEST {
                    // No record is so long; whoever reads says what is wrong with it.
                    return Ok(self.line());
                }
            }
            if let Some(upcoming) = self.upcoming.take() {
                self.open = Some(upcoming);
                if !self.begun.is_empty() {
                    return Ok(self.line());
                }
            } else {
                self.upcoming = self.find_upcoming()?;
                if self.upcoming.is_none() {
                    return Ok(Next::End);
                }
            }
        }
    }

    fn line(&mut self) -> Next {
        let line = std::mem::take(&mut self.begun);
        if let Ok(line) = Line::parse(&line) {
            self.next = line.seq.saturating_add(1);
        }
        Next::Line(line)
    }

    /// Whether a line was begun and not ended.
    #[must_use]
    pub fn is_within_a_line(&self) -> bool {
        !self.begun.is_empty()
    }

    fn find_upcoming(&self) -> io::Result<Option<Open>> {
        loop {
            if let Some((first, path)) = self.next_closed()? {
                return Open::of(File::open(path)?, Some(first)).map(Some);
            }
            let Some(current) = self.current()? else {
                return Ok(None);
            };
            if self
                .open
                .as_ref()
                .is_some_and(|open| open.inode == current.inode)
            {
                return Ok(None);
            }
            // It may have been closed, and another begun, since the folder was read.
            if self.next_closed()?.is_none() {
                return Ok(Some(current));
            }
        }
    }

    fn current(&self) -> io::Result<Option<Open>> {
        match File::open(&self.path) {
            Ok(file) => Open::of(file, None).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn next_closed(&self) -> io::Result<Option<(u64, PathBuf)>> {
        let opened = self.open.as_ref().and_then(|open| open.first);
        let is_later = |first: u64| first >= self.next && opened.is_none_or(|it| first > it);
        let mut files = closed_files(&self.path)?.into_iter();
        Ok(files.find(|(first, _)| is_later(*first)))
    }
}

impl Open {
    fn of(file: File, first: Option<u64>) -> io::Result<Open> {
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::other("not a file"));
        }
        Ok(Open {
            file: BufReader::with_capacity(64 * 1024, file),
            inode: metadata.ino(),
            first,
        })
    }
}
