//! Sealing for ourselves: a JWE with "dir" whose key never leaves the device (RFC 7518 §4.5).
//!
//! The context that a secret was sealed for stands in the protected header, so it is authenticated with it.

use std::borrow::Cow;
use std::time::Instant;

use serde::Deserialize;

use super::compact::{Parsed, Written, compact};
use super::content::{Encrypted, GCM_IV, GCM_TAG};
use super::{Error, KeyRef, fill};
use crate::algorithm::{ContentEncryption, KeyManagementAlgorithm};
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
    let mut nonce = [0; GCM_IV];
    fill(&mut nonce)?;
    let aad = protected.clone().into_bytes();
    let mut ciphertext = device
        .seal(&key.id, nonce, aad, plaintext, deadline)
        .await?;
    let Some(at) = ciphertext.len().checked_sub(GCM_TAG) else {
        return Err(backend::Error::Device("a ciphertext without a tag".to_owned()).into());
    };
    let tag = ciphertext.split_off(at);
    let content = Encrypted {
        iv: nonce.to_vec(),
        ciphertext,
        tag,
    };
    Ok(compact(&protected, &[], &content))
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
    let Encrypted {
        iv,
        ciphertext,
        tag,
    } = parsed.content;
    let nonce: [u8; GCM_IV] = iv.try_into().map_err(|_| Error::Undecryptable)?;
    if tag.len() != GCM_TAG {
        return Err(Error::Undecryptable);
    }
    let key = find(&fields.kid).ok_or(Error::Undecryptable)?;
    let aad = parsed.protected.as_bytes().to_vec();
    let sealed = [ciphertext, tag].concat();
    match device.unseal(&key, nonce, aad, sealed, deadline).await {
        Ok(plaintext) => Ok(plaintext),
        Err(backend::Error::Undecryptable) => Err(Error::Undecryptable),
        Err(error) => Err(error.into()),
    }
}

/// `None` when it would be too long to be read again.
fn sealed_header(kid: &str, context: &str) -> Option<String> {
    let mut header = Written::new(KeyManagementAlgorithm::Dir, ContentEncryption::A256Gcm);
    header.kid = Some(kid);
    header.ctx = Some(context);
    let header = header.to_base64url();
    (header.len() <= LONGEST_HEADER).then_some(header)
}
