//! Reads the body of a request: no more than allowed, no longer than allowed.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use crate::error::Body::{BrokenOff, TooLarge, TooSlow};
use crate::error::Failure;

/// How much, and how long it may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// In octets.
    pub(crate) size: usize,
    /// From the end of the headers to the end of the body.
    pub(crate) time: Duration,
}

/// The whole body.
pub(super) async fn read(body: Incoming, limits: Limits) -> Result<Bytes, Failure> {
    if body.is_end_stream() {
        return Ok(Bytes::new());
    }
    if body.size_hint().lower() > limits.size as u64 {
        return Err(Failure::Body(TooLarge));
    }
    // The timer is registered only if the body is not there yet.
    match tokio::time::timeout(limits.time, collect(body, limits.size)).await {
        Ok(read) => read,
        Err(_) => Err(Failure::Body(TooSlow)),
    }
}

async fn collect(mut body: Incoming, most: usize) -> Result<Bytes, Failure> {
    // Nearly every body comes in one piece, which is then not copied.
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| Failure::Body(BrokenOff))?;
        let Ok(piece) = frame.into_data() else {
            continue;
        };
        if first.len() + rest.len() + piece.len() > most {
            return Err(Failure::Body(TooLarge));
        }
        if first.is_empty() {
            first = piece;
        } else {
            rest.extend_from_slice(&piece);
        }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(whole.freeze())
}
