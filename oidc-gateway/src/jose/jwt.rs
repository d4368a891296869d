//! What can be said of a JWT (RFC 7519) before anybody has verified it: enough to find whose it is, never to trust it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

/// Longer than any assertion or hint that a client has reason to send.
const LONGEST: usize = 16 * 1024;

/// The "sub" of a JWT that nobody has verified: to look up whose keys to verify it with.
pub(crate) fn unverified_subject(compact: &str) -> Option<String> {
    match unverified_claims(compact)?.get("sub")? {
        Value::String(subject) => Some(subject.clone()),
        _ => None,
    }
}

fn unverified_claims(compact: &str) -> Option<Map<String, Value>> {
    if compact.len() > LONGEST {
        return None;
    }
    let mut segments = compact.split('.');
    let (_, payload, _) = (segments.next()?, segments.next()?, segments.next()?);
    if segments.next().is_some() {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()
}

/// A NumericDate (RFC 7519 §2) among verified claims: an integer, not a string, not out of range.
pub(crate) fn numeric_date(
    claims: &Map<String, Value>,
    name: &str,
) -> Result<Option<i64>, Malformed> {
    match claims.get(name) {
        None => Ok(None),
        Some(value) => match value.as_i64() {
            Some(seconds) if (0..1 << 53).contains(&seconds) => Ok(Some(seconds)),
            _ => Err(Malformed),
        },
    }
}

/// A claim that has not the form that its specification gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed;
