//! Sealing for ourselves: a JWE with "dir" whose key never leaves the device (RFC 7518 §4.5).
//!
//! The context that a secret was sealed for stands in the protected header, so it is authenticated with it.

use std::borrow::Cow;
use std::time::Instant;

use serde::Deserialize;

use super::compact::{NONCE, Parsed, TAG, Written, compact};
use super::{Error, KeyRef, fill};
use crate::algorithm::ContentEncryption;
use crate::backend::{self, Device, KeyId, SecretBytes};
use crate::signature::LONGEST_HEADER;

/// The member that is not known beforehand.
#[derive(Deserialize)]
struct Header<'a> {
    #[serde(borrow)]
    kid: Cow<'a, str>,
}

/// Seals for ourselves: nobody else has the key. `context` says what for, and must be named again to open it.
///
/// # Errors
/// The backend's own.
pub async fn seal(
    device: &Device,
    key: &KeyRef,
    context: &str,
    plaintext: SecretBytes,
    deadline: Option<Instant>,
) -> Result<String, Error> {
    let protected = sealed_header(&key.kid, context).ok_or(Error::Unsupported)?;
    let mut nonce = [0; NONCE];
    fill(&mut nonce)?;
    let aad = protected.clone().into_bytes();
    let sealed = device
        .seal(&key.id, nonce, aad, plaintext, deadline)
        .await?;
    if sealed.len() < TAG {
        return Err(backend::Error::Device("a ciphertext without a tag".to_owned()).into());
    }
    Ok(compact(&protected, &[], &nonce, &sealed))
}

/// Opens what [`seal`] made under the same context. `find` names the key of a "kid".
///
/// # Errors
/// [`Error::Undecryptable`] for whatever is wrong with the token or its context, and the backend's own.
pub async fn unseal(
    device: &Device,
    token: &str,
    context: &str,
    deadline: Option<Instant>,
    find: impl Fn(&str) -> Option<KeyId>,
) -> Result<SecretBytes, Error> {
    let parsed = Parsed::parse(token).ok_or(Error::Undecryptable)?;
    let fields: Header<'_> =
        serde_json::from_slice(&parsed.header).map_err(|_| Error::Undecryptable)?;
    // There is one way to write the header, so the context is compared with all the rest of it.
    if sealed_header(&fields.kid, context).as_deref() != Some(parsed.protected)
        || !parsed.encrypted_key.is_empty()
    {
        return Err(Error::Undecryptable);
    }
    let key = find(&fields.kid).ok_or(Error::Undecryptable)?;
    let aad = parsed.protected.as_bytes().to_vec();
    match device
        .unseal(&key, parsed.nonce, aad, parsed.ciphertext, deadline)
        .await
    {
        Ok(plaintext) => Ok(plaintext),
        Err(backend::Error::Undecryptable) => Err(Error::Undecryptable),
        Err(error) => Err(error.into()),
    }
}

/// `None` when it would be too long to be read again.
fn sealed_header(kid: &str, context: &str) -> Option<String> {
    let header = Written {
        alg: "dir",
        enc: ContentEncryption::A256Gcm.as_str(),
        kid: Some(kid),
        cty: None,
        epk: None,
        ctx: Some(context),
    }
    .to_base64url();
    (header.len() <= LONGEST_HEADER).then_some(header)
}
