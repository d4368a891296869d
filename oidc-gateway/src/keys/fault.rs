//! What an error of HTTP/2 says of the request that it ended.

use tonic::Status;

/// RFC 9113 §8.7: refused, or above the last stream that a connection which ends has named. It can be asked again.
pub(super) fn is_unprocessed(error: &h2::Error) -> bool {
    let refused = error.reason() == Some(h2::Reason::REFUSED_STREAM);
    let closing = error.is_go_away() && error.reason() == Some(h2::Reason::NO_ERROR);
    error.is_remote() && (refused || closing)
}

pub(super) fn unavailable(error: &h2::Error) -> Status {
    let reason = error.get_io().map(ToString::to_string);
    Status::unavailable(reason.unwrap_or_else(|| error.to_string()))
}
