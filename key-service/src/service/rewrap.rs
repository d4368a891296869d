//! Rewrap (RFC 7518 §4.5): what a retired key sealed is sealed again by the one that seals now, in its own context. The
//! plaintext does not leave, so who may seal may re-wrap, also what is told to nobody.

use std::time::Instant;

use proto::v1;

use crate::audit::{Entry, Resealed};
use crate::error::Error;
use crate::jwe::{self, KeyRef};

use super::keys::Keys;

/// The most items of one request.
const ITEMS: usize = 64;
/// Whatever is wrong with an item.
const NOT_OPENED: &str = "not decrypted";

impl Keys {
    pub(super) async fn rewrap_items(
        &self,
        items: &[v1::Sealed],
        deadline: Option<Instant>,
        entry: &mut Entry,
    ) -> Result<v1::RewrapResponse, Error> {
        if items.is_empty() || items.len() > ITEMS {
            return Err(Error::Malformed(
                "from 1 to 64 items are re-wrapped at a time",
            ));
        }
        let key = self.sealing_key()?;
        let mut rewrapped = Vec::with_capacity(items.len());
        for (index, item) in items.iter().enumerate() {
            let outcome = self.resealed(item, &key, deadline).await;
            let (answer, from) = match outcome {
                Ok(resealed) => resealed,
                // One that does not open is in nobody else's way.
                Err(Error::Undecryptable) => (not_opened(), String::new()),
                Err(error) => return Err(error),
            };
            entry.resealed(&Resealed {
                index,
                context: &item.context,
                from: &from,
                kid: &answer.kid,
                sealed: &answer.sealed,
                finding: &answer.finding,
            });
            rewrapped.push(answer);
        }
        Ok(v1::RewrapResponse {
            items: rewrapped,
            kid: key.kid.to_string(),
        })
    }

    /// One item, and the key that had sealed it. It is opened also where nothing changes: who asks learns whether it
    /// can be used.
    async fn resealed(
        &self,
        item: &v1::Sealed,
        key: &KeyRef,
        deadline: Option<Instant>,
    ) -> Result<(v1::Rewrapped, String), Error> {
        let (plaintext, before) = self.unsealed(&item.sealed, &item.context, deadline).await?;
        let changed = before.id != key.id;
        let sealed = match changed {
            false => item.sealed.clone(),
            true => {
                let device = self.shared.keyring.device();
                jwe::seal(device, key, &item.context, plaintext, deadline).await?
            }
        };
        let answer = v1::Rewrapped {
            sealed,
            changed,
            kid: key.kid.to_string(),
            finding: String::new(),
        };
        Ok((answer, before.kid().to_owned()))
    }
}

fn not_opened() -> v1::Rewrapped {
    v1::Rewrapped {
        finding: NOT_OPENED.to_owned(),
        ..v1::Rewrapped::default()
    }
}
