//! The only place that picks a gRPC status. A caller learns the rule that it broke, and nothing about keys, devices or
//! why something did not decrypt.

use std::time::Duration;

use tonic::{Code, Status};

use crate::backend;
use crate::error::Error;
use crate::keyring::claims;
use crate::keyring::policy::Rule;

/// When what is only busy is worth another try.
const SOON: Duration = Duration::from_millis(50);

/// gRPC A6: a server's advice when to try again, in milliseconds.
const RETRY_PUSHBACK: &str = "grpc-retry-pushback-ms";

/// The name of success.
pub(crate) const OK: &str = "OK";

/// What the caller is told.
pub(crate) fn of(error: &Error) -> Status {
    match error {
        Error::NotAllowed => not_allowed(),
        Error::Policy(refusal) => Status::failed_precondition(refusal.rule().as_str()),
        Error::Claims(claims::Invalid::TooLong) => Status::failed_precondition(Rule::Size.as_str()),
        Error::Claims(claims::Invalid::Syntax) => {
            Status::invalid_argument("claims are not one strict JSON object")
        }
        Error::TooOften(after) => retry(Status::resource_exhausted("too many operations"), *after),
        Error::BeingSigned => retry(Status::aborted("once_key is being signed for"), SOON),
        Error::Malformed(what) => Status::invalid_argument(*what),
        Error::Lifecycle(rule) => Status::failed_precondition(*rule),
        Error::StillOpens { .. } => Status::failed_precondition(error.to_string()),
        Error::NotBuilt(what) => Status::unimplemented(*what),
        Error::NotAudited => not_audited(),
        Error::NoAuditLog => Status::unimplemented("no audit log is kept"),
        Error::NoActiveKey => Status::unavailable("the ring has no key that may be used now"),
        Error::Undecryptable => Status::invalid_argument("not decrypted"),
        Error::NotVerified(_) => Status::invalid_argument("not verified"),
        Error::Key(_) => Status::invalid_argument("key not accepted"),
        Error::Backend(error) => backend(error),
    }
}

fn backend(error: &backend::Error) -> Status {
    match error {
        backend::Error::Undecryptable => Status::invalid_argument("not decrypted"),
        backend::Error::Unsupported => Status::unimplemented("not supported by this backend"),
        backend::Error::QueueFull => retry(Status::resource_exhausted("the queue is full"), SOON),
        backend::Error::DeadlinePassed => {
            Status::deadline_exceeded("the deadline passed in the queue")
        }
        backend::Error::Device(_) => retry(keys_away(), Duration::from_secs(1)),
        backend::Error::NoSuchKey | backend::Error::Unusable(_) => keys_away(),
    }
}

/// Unknown or foreign: the same answer.
pub(crate) fn not_allowed() -> Status {
    Status::permission_denied("not allowed")
}

/// What cannot be written down is not done.
pub(crate) fn not_audited() -> Status {
    Status::unavailable("the audit log cannot be written at the moment")
}

/// A stream of records that ends early.
pub(crate) fn not_read() -> Status {
    Status::unavailable("the audit log cannot be read at the moment")
}

/// No such service or method.
pub(crate) fn no_such_method() -> Status {
    Status::unimplemented("no such method")
}

/// A second stream of signatures on a connection.
pub(crate) fn streams_already() -> Status {
    Status::resource_exhausted("the connection has its SignStream already")
}

/// The caller's deadline passed while it was worked on.
pub(crate) fn too_late() -> Status {
    Status::deadline_exceeded("the deadline passed")
}

/// A stream that ends before what it has read is answered.
pub(crate) fn stream_broke() -> Status {
    Status::internal("not all that was read is answered")
}

fn keys_away() -> Status {
    Status::unavailable("the keys cannot be used at the moment")
}

fn retry(mut status: Status, after: Duration) -> Status {
    let after = after.as_nanos().div_ceil(1_000_000);
    if let Ok(after) = after.to_string().parse() {
        status.metadata_mut().insert(RETRY_PUSHBACK, after);
    }
    status
}

/// The advice of a status that is told in a message, where no metadata goes with it.
pub(crate) fn retry_pushback(status: &Status) -> Option<u32> {
    let after = status.metadata().get(RETRY_PUSHBACK)?.to_str().ok()?;
    after.parse().ok()
}

/// The status' name, for metrics.
pub(crate) fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => OK,
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}
