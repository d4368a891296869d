//! Our own types as JSON (RFC 8259): what is stored, signed and answered.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A value's octets.
pub(crate) fn write(value: &impl Serialize) -> Bytes {
    serde_json::to_vec(value)
        .expect("maps with text keys and finite numbers always serialise")
        .into()
}

/// A value that was written; `None`: another kind of value, or one of another version.
pub(crate) fn read<T: DeserializeOwned>(octets: &[u8]) -> Option<T> {
    serde_json::from_slice(octets).ok()
}
