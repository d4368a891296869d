//! What can be said of a JWT (RFC 7519) before anybody has verified it: enough to find whose it is, never to trust it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value};

use super::alg::{Algorithm, ContentEncryption, Encryption, KeyManagement};

/// Longer than any assertion or hint that a client has reason to send.
const LONGEST: usize = 16 * 1024;

/// The "sub" of a JWT that nobody has verified: to look up whose keys to verify it with.
pub(crate) fn unverified_subject(compact: &str) -> Option<String> {
    match unverified_claims(compact)?.get("sub")? {
        Value::String(subject) => Some(subject.clone()),
        _ => None,
    }
}

/// The "aud" of a JWT that nobody has verified, where it is one string: to look up whose secret to verify it with.
pub(crate) fn unverified_audience(compact: &str) -> Option<String> {
    match unverified_claims(compact)?.get("aud")? {
        Value::String(audience) => Some(audience.clone()),
        _ => None,
    }
}

/// The "alg" that a JWS names: to choose the kind of key, which then decides.
pub(crate) fn unverified_algorithm(compact: &str) -> Option<Algorithm> {
    match segment(compact, 0)?.get("alg")? {
        Value::String(name) => Algorithm::named(name),
        _ => None,
    }
}

/// The "alg" and "enc" that a JWE names: those that are not supported need not be tried.
pub(crate) fn unverified_encryption(compact: &str) -> Option<Encryption> {
    let header = decoded(compact.split('.').next()?)?;
    let text = |name: &str| header.get(name).and_then(Value::as_str);
    Some(Encryption {
        alg: KeyManagement::named(text("alg")?)?,
        enc: ContentEncryption::named(text("enc")?)?,
    })
}

/// The "kid" that a JWS names: to see whether a set of keys has it.
pub(crate) fn unverified_kid(compact: &str) -> Option<String> {
    match segment(compact, 0)?.get("kid")? {
        Value::String(kid) => Some(kid.clone()),
        _ => None,
    }
}

fn unverified_claims(compact: &str) -> Option<Map<String, Value>> {
    segment(compact, 1)
}

/// One of a JWS' first two segments.
fn segment(compact: &str, index: usize) -> Option<Map<String, Value>> {
    if compact.len() > LONGEST {
        return None;
    }
    let mut segments = compact.split('.');
    let (header, payload, _) = (segments.next()?, segments.next()?, segments.next()?);
    if segments.next().is_some() {
        return None;
    }
    decoded(if index == 0 { header } else { payload })
}

fn decoded(segment: &str) -> Option<Map<String, Value>> {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(segment).ok()?).ok()
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
