//! `key-service audit`: verifying, proving and reading a log, without the service and without its keys.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use clap::Subcommand;
use serde_json::{Value, json};

use super::note::{Malformed, VerifierKey};
use super::proof::{self, Proof};
use super::read::{Next, Reader, beside, closed_files};
use super::verify::{End, Report, Trust, Verifier, verify};

/// How often a log that is followed is looked at.
const PAUSE: Duration = Duration::from_millis(200);

/// What to do with a log.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Says whether a log is as it was written. Exit codes: 0, it is; 1, it cannot be read; 2, it was changed; 3, nobody
    /// who is trusted has signed it
    Verify {
        /// The log's file, or a copy of it
        path: PathBuf,
        /// The pinned key, as the service wrote it when it was made; without it one beside the log is taken and not trusted
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// A checkpoint that was kept elsewhere; without it the one beside the log is taken
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
        /// The log may begin with this record: what was before is kept elsewhere
        #[arg(long, value_name = "RECORD", default_value_t = 0)]
        from: u64,
    },
    /// Writes a proof that a token was signed: its record, and what leads from it to a signed checkpoint
    Prove {
        /// The log's file, or a copy of it
        path: PathBuf,
        /// The token's `jti`
        #[arg(long, allow_hyphen_values = true)]
        jti: String,
        /// The pinned key: the proof is verified before it is written
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
    /// Verifies such a proof, without the log
    VerifyProof {
        /// The proof; `-` for standard input
        proof: PathBuf,
        /// The pinned key
        #[arg(long, value_name = "FILE")]
        key: PathBuf,
    },
    /// Shows the newest records
    Tail {
        /// The log's file, or a copy of it
        path: PathBuf,
        /// How many
        #[arg(long, short = 'n', default_value_t = 20)]
        lines: usize,
        /// And those that come, until it is interrupted
        #[arg(long, short)]
        follow: bool,
    },
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The log cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file with no key in it.
    #[error("{}: {problem}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: Malformed,
    },
    /// No proof, or one that does not hold.
    #[error(transparent)]
    Proof(#[from] proof::Error),
    /// The answer could not be written.
    #[error("standard output: {0}")]
    Output(io::Error),
}

impl Error {
    /// The program's exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Error::Proof(
                proof::Error::NotIncluded | proof::Error::Malformed | proof::Error::Log(_),
            ) => 2,
            Error::Proof(proof::Error::NotSigned) => 3,
            _ => 1,
        }
    }
}

/// Does it; answers with the exit code.
///
/// # Errors
/// When a file cannot be read, or a proof does not hold.
pub fn run(command: &Command, as_json: bool, out: &mut impl Write) -> Result<u8, Error> {
    let (text, code) = match command {
        Command::Verify {
            path,
            key,
            checkpoint,
            from,
        } => {
            let (keys, trust) = match key {
                Some(key) => (keys(key)?, Trust::Pinned),
                None => (keys_beside(path), Trust::Untrusted),
            };
            is_there(path)?;
            let known = checkpoint.as_deref().map(read).transpose()?;
            let verifier = Verifier::new(&keys, trust, *from);
            let report = verify(verifier, path, known.as_deref()).map_err(failed(path))?;
            (show(&report, as_json), code(&report))
        }
        Command::Prove { path, jti, key } => {
            is_there(path)?;
            let proof = Proof::find(path, jti)?;
            if let Some(key) = key {
                proof.verify(&keys(key)?)?;
            }
            (proof.to_string(), 0)
        }
        Command::VerifyProof { proof, key } => {
            let text = if proof == Path::new("-") {
                io::read_to_string(io::stdin()).map_err(failed(proof))?
            } else {
                read(proof)?
            };
            let proof = Proof::parse(&text)?;
            let checkpoint = proof.verify(&keys(key)?)?;
            let record: Value = serde_json::from_slice(&proof.record).unwrap_or_default();
            let text = if as_json {
                let answer = json!({ "included": true, "index": proof.index, "size": checkpoint.size,
                    "origin": checkpoint.origin, "record": record });
                format!("{answer}\n")
            } else {
                format!(
                    "Record {} is among the {} of {}:\n{}\n",
                    proof.index, checkpoint.size, checkpoint.origin, record
                )
            };
            (text, 0)
        }
        Command::Tail {
            path,
            lines,
            follow,
        } => {
            is_there(path)?;
            tail(path, *lines, *follow, as_json, out)?;
            return Ok(0);
        }
    };
    // A reader that has seen enough is no failure.
    let _ = out.write_all(text.as_bytes());
    Ok(code)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}

/// A name that is mistyped is no log that was changed. One whose last file was removed has others beside it.
fn is_there(path: &Path) -> Result<(), Error> {
    let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
    match fs::metadata(path) {
        Err(error) if is_gone(&error) && closed_files(path).is_ok_and(|all| !all.is_empty()) => {
            Ok(())
        }
        found => found.map(drop).map_err(failed(path)),
    }
}

fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(failed(path))
}

/// Each line of the file is a key: a log may have had more than one.
fn keys(path: &Path) -> Result<Vec<VerifierKey>, Error> {
    let text = read(path)?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let keys: Result<Vec<VerifierKey>, Malformed> = lines.map(str::parse).collect();
    let keys = keys.and_then(|keys| match keys.is_empty() {
        true => Err(Malformed::Key),
        false => Ok(keys),
    });
    keys.map_err(|problem| Error::Key {
        path: path.to_owned(),
        problem,
    })
}

/// Whatever key lies there: it says who claims to have signed, and proves nothing.
fn keys_beside(log: &Path) -> Vec<VerifierKey> {
    let places = [beside(log, "vkey"), log.with_extension("vkey")];
    places
        .iter()
        .find_map(|place| keys(place).ok())
        .unwrap_or_default()
}

fn code(report: &Report) -> u8 {
    match (&report.finding, report.trust) {
        (Some(_), _) => 2,
        (None, Trust::Pinned) => 0,
        (None, Trust::Untrusted | Trust::None) => 3,
    }
}

fn show(report: &Report, as_json: bool) -> String {
    let trust = match report.trust {
        Trust::Pinned => "pinned",
        Trust::Untrusted => "untrusted",
        Trust::None => "none",
    };
    let finding = report.finding.as_ref().map(ToString::to_string);
    if as_json {
        let answer = json!({
            "intact": finding.is_none(),
            "trusted": report.trust == Trust::Pinned,
            "key": trust,
            "first": report.first,
            "records": report.records,
            "checkpoints": report.checkpoints,
            "covered": report.covered,
            "unproven": report.unproven(),
            "end": end(report.end),
            "unfinished_line": report.is_within_a_line,
            "checkpoint": report.newest,
            "finding": finding,
        });
        return format!("{answer}\n");
    }
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        // Writing to memory cannot fail.
        let _ = writeln!(text, "{name:15}{value}");
    };
    row(
        "log",
        match &finding {
            Some(finding) => format!("CHANGED: {finding}"),
            None => "intact".to_owned(),
        },
    );
    row(
        "signatures",
        match report.trust {
            Trust::Pinned => "by the given key".to_owned(),
            Trust::Untrusted => {
                "UNTRUSTED: by a key found beside the log; give a pinned one with --key".to_owned()
            }
            Trust::None => "NONE verified".to_owned(),
        },
    );
    row("records", report.records.to_string());
    row("checkpoints", report.checkpoints.to_string());
    row("covered", report.covered.to_string());
    row(
        "unproven tail",
        match (report.unproven(), report.is_within_a_line) {
            (records, false) => records.to_string(),
            (records, true) => format!("{records}, and the beginning of one"),
        },
    );
    row(
        "end",
        match report.end {
            End::Given => "known by the given checkpoint".to_owned(),
            End::Beside => {
                "known by the checkpoint beside the log; one that was kept elsewhere, with --checkpoint, proves more"
                    .to_owned()
            }
            End::Unknown if report.finding.is_some() => "not known".to_owned(),
            End::Unknown => {
                "NOT KNOWN: what was cut off is not missed; give a checkpoint with --checkpoint"
                    .to_owned()
            }
        },
    );
    text
}

fn end(end: End) -> &'static str {
    match end {
        End::Given => "given",
        End::Beside => "beside",
        End::Unknown => "unknown",
    }
}

fn tail(
    path: &Path,
    lines: usize,
    follow: bool,
    as_json: bool,
    out: &mut impl Write,
) -> Result<(), Error> {
    let failed_here = |source| failed(path)(source);
    let mut reader = Reader::open(path, u64::MAX).map_err(failed_here)?;
    let mut newest = std::collections::VecDeque::new();
    let mut shown = false;
    loop {
        match reader.read().map_err(failed_here)? {
            Next::Line(line) => {
                newest.push_back(line);
                if newest.len() > lines && !shown {
                    newest.pop_front();
                }
            }
            Next::End if shown && newest.is_empty() => thread::sleep(PAUSE),
            Next::End => shown = true,
        }
        if shown {
            for line in newest.drain(..) {
                let text = if as_json {
                    format!("{}\n", String::from_utf8_lossy(&line))
                } else {
                    row(&line)
                };
                if out.write_all(text.as_bytes()).is_err() {
                    return Ok(());
                }
            }
            out.flush().map_err(Error::Output)?;
            if !follow {
                return Ok(());
            }
        }
    }
}

/// A text of a record, in quotes where it is not one word: callers chose some of them, and none may look like a record.
fn shown(value: Option<&Value>) -> String {
    let text = value.and_then(Value::as_str).unwrap_or_default();
    if text.bytes().all(|octet| octet.is_ascii_graphic()) {
        text.to_owned()
    } else {
        format!("{text:?}")
    }
}

/// A record for a person: when, who, what, how it ended, and what was signed.
fn row(line: &[u8]) -> String {
    let record: Value = serde_json::from_slice(line).unwrap_or_default();
    let text = |name: &str| shown(record.get(name));
    let time = record
        .get("time")
        .and_then(Value::as_i64)
        .unwrap_or_default();
    let time = jiff::Timestamp::from_millisecond(time).unwrap_or_default();
    let what = match (&*text("event"), &*text("method")) {
        ("", "") => text("rpc"),
        ("", method) => method.to_owned(),
        (event, _) => format!("({event})"),
    };
    let mut row = format!(
        "{:>8}  {time:.3}  {what:16} {:12} {}",
        record
            .get("seq")
            .and_then(Value::as_u64)
            .unwrap_or_default(),
        text("caller"),
        text("status"),
    );
    for name in ["rule", "ring", "kid", "reason"] {
        if !text(name).is_empty() {
            let _ = write!(row, "  {name}={}", text(name));
        }
    }
    let items = record.get("items").and_then(Value::as_array);
    for item in items.into_iter().flatten() {
        let text = |name: &str| shown(item.get(name));
        let _ = write!(
            row,
            "  {} {} {}",
            text("profile"),
            text("ring"),
            text("jti")
        );
    }
    row.truncate(row.trim_end().len());
    row.push('\n');
    row
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line() {
        let record = br#"{"seq":7,"time":0,"rpc":"KeyAdmin","method":"RevokeKey","caller":"operator","status":"INVALID_ARGUMENT","kid":"abc","reason":"ok\n     100  OK","items":[{"profile":"id_token","ring":"id-token/ES256","jti":"a\u001b[31m b"}]}"#;
        let row = row(record);
        assert_eq!(row.lines().count(), 1, "{row}");
        assert!(!row.contains('\x1b'), "{row}");
        for part in [
            "  kid=abc  ",
            r#"reason="ok\n     100  OK""#,
            r#""a\u{1b}[31m b""#,
        ] {
            assert!(row.contains(part), "{part} in {row}");
        }
    }
}
