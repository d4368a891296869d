//! ReadAudit and VerifyAudit: the log for operators who are not on this machine. Whoever administers every ring may read
//! it, for it tells of every ring.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use crate::audit::read::{Next, Reader};
use crate::audit::verify::{Report, Trust, Verifier, verify};
use crate::audit::{Line, Log, PURPOSE};
use crate::error::Error;

use super::Shared;
use super::peer::Caller;

/// How often a log that is followed is looked at.
const PAUSE: Duration = Duration::from_millis(200);
/// How many records are read ahead of whom they are sent to.
const AHEAD: usize = 64;

pub(super) type Records = ReceiverStream<Result<v1::AuditRecord, Status>>;

/// The log, if the caller may read it.
pub(super) fn readable(shared: &Shared, caller: &Caller) -> Result<Arc<Log>, Error> {
    // No ring has this name, so only who may use all of them may use it.
    if !caller.may_use(PURPOSE) {
        return Err(Error::NotAllowed);
    }
    shared.audit.clone().ok_or(Error::NoAuditLog)
}

/// The records from a number on; with `follow` also those that come, until the caller goes or the service stops.
pub(super) fn read(shared: &Arc<Shared>, log: &Log, request: v1::ReadAuditRequest) -> Records {
    let (records, stream) = mpsc::channel(AHEAD);
    let path = log.path().to_owned();
    let stop = shared.stop.clone();
    // Files are read by a thread that may block; it ends with the stream.
    let reads = move || {
        let is_wanted = || request.follow && !*stop.borrow();
        if let Err(error) = send(&path, request.from, &records, is_wanted) {
            tracing::warn!(reason = %error, "the audit log was not read");
            let _ = records.blocking_send(Err(super::status::not_read()));
        }
    };
    if let Err(error) = thread::Builder::new()
        .name("audit-read".to_owned())
        .spawn(reads)
    {
        tracing::warn!(reason = %error, "no thread reads the audit log");
    }
    ReceiverStream::new(stream)
}

fn send(
    path: &Path,
    from: u64,
    records: &mpsc::Sender<Result<v1::AuditRecord, Status>>,
    is_wanted: impl Fn() -> bool,
) -> io::Result<()> {
    let mut reader = Reader::open(path, from)?;
    loop {
        match reader.read()? {
            Next::Line(line) => {
                let Ok(index) = Line::parse(&line).map(|line| line.seq) else {
                    return Err(io::Error::other("a line that is no record"));
                };
                let record = v1::AuditRecord {
                    index,
                    record: line.into(),
                };
                if index >= from && records.blocking_send(Ok(record)).is_err() {
                    return Ok(());
                }
            }
            Next::End if is_wanted() && !records.is_closed() => thread::sleep(PAUSE),
            Next::End => return Ok(()),
        }
    }
}

/// Verifies all of the log with the service's own key; whoever does not believe the service verifies a copy with a
/// pinned one.
pub(super) async fn check(
    log: Arc<Log>,
    request: v1::VerifyAuditRequest,
) -> Result<v1::VerifyAuditResponse, Error> {
    let verified = tokio::task::spawn_blocking(move || {
        let keys = [log.public().clone()];
        verify(
            Verifier::new(&keys, Trust::Pinned, request.from),
            log.path(),
            None,
        )
    });
    let report = verified.await.map_err(|_| Error::NotAudited)?;
    let report = report.map_err(|error| {
        tracing::warn!(reason = %error, "the audit log was not read");
        Error::NotAudited
    })?;
    Ok(answer(&report, &request))
}

fn answer(report: &Report, request: &v1::VerifyAuditRequest) -> v1::VerifyAuditResponse {
    let end = report.first + report.records;
    let end = match request.to {
        0 => end,
        to => end.min(to),
    };
    v1::VerifyAuditResponse {
        intact: report.finding.is_none(),
        records: end.saturating_sub(report.first.max(request.from)),
        checkpoint: report.newest.clone().unwrap_or_default(),
        finding: report
            .finding
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
    }
}
