//! Encrypting, sealing, opening and keyed hashing: `Wrap`, `Rewrap`, `Decrypt` and `Mac` of the key-service.

use bytes::Bytes;
use proto::v1;
use proto::v1::key_service_client::KeyServiceClient;
use proto::v1::{MacPurpose, decrypt_request, mac_request, wrap_request};
use tonic::Code;

use super::{Error, Keys, Recipient, WrappedSecret, refused};

pub(super) const DECRYPT: &str = "decrypt";
/// The most secrets of one call. The key-service takes 64; a device far away does two things for each within our timeout.
pub(crate) const REWRAPPED_AT_ONCE: usize = 16;

/// Secrets that are sealed by the key that seals now.
#[derive(Debug)]
pub(crate) struct Rewrapped {
    /// That key.
    pub(crate) kid: String,
    /// In the order in which they were handed over; `None`: it does not open, whatever the reason.
    pub(crate) secrets: Vec<Option<WrappedSecret>>,
}

impl Keys {
    /// Encrypts to a client: a compact JWE (RFC 7516 §7.1).
    pub(crate) async fn wrap(
        &self,
        id: &str,
        plaintext: Bytes,
        recipient: Recipient,
    ) -> Result<String, Error> {
        let to = wrap_request::To::Recipient(recipient.into_message());
        match self.wrapped(id, plaintext, to).await {
            Err(status) if status.code() == Code::InvalidArgument => {
                Err(Error::Recipient(status.message().to_owned()))
            }
            Err(status) => Err(refused(&status)),
            Ok(compact) => Ok(compact),
        }
    }

    /// Seals for the key-service itself, under a context that has to be named when it is used.
    pub(crate) async fn seal(
        &self,
        id: &str,
        context: &str,
        plaintext: Bytes,
    ) -> Result<String, Error> {
        let to = wrap_request::To::Context(context.to_owned());
        let sealed = self.wrapped(id, plaintext, to).await;
        sealed.map_err(|status| refused(&status))
    }

    /// Has secrets sealed again by the key that seals now, at most [`REWRAPPED_AT_ONCE`].
    pub(crate) async fn rewrap(
        &self,
        id: &str,
        secrets: &[&WrappedSecret],
    ) -> Result<Rewrapped, Error> {
        let message = v1::RewrapRequest {
            items: secrets.iter().map(|secret| secret.to_message()).collect(),
        };
        let mut client = KeyServiceClient::new(self.connection.clone());
        let answer = self.answer("rewrap", Box::pin(client.rewrap(self.request(id, message))));
        let answer = answer.await.map_err(|status| refused(&status))?;
        if answer.items.len() != secrets.len() {
            return Err(Error::Unavailable("another number of items".to_owned()));
        }
        let items = answer.items.into_iter().zip(secrets);
        let secrets = items.map(|(item, before)| {
            (!item.sealed.is_empty()).then(|| WrappedSecret {
                sealed: item.sealed,
                context: before.context.clone(),
            })
        });
        Ok(Rewrapped {
            secrets: secrets.collect(),
            kid: answer.kid,
        })
    }

    async fn wrapped(
        &self,
        id: &str,
        plaintext: Bytes,
        to: wrap_request::To,
    ) -> Result<String, tonic::Status> {
        let message = v1::WrapRequest {
            plaintext,
            to: Some(to),
        };
        let mut client = KeyServiceClient::new(self.connection.clone());
        let answer = self.answer("wrap", Box::pin(client.wrap(self.request(id, message))));
        Ok(answer.await?.compact)
    }

    /// Opens a compact JWE that is addressed to one of our keys; `None`: it cannot be opened, whatever the reason.
    pub(crate) async fn decrypt(
        &self,
        id: &str,
        compact_jwe: &str,
    ) -> Result<Option<Bytes>, Error> {
        let message = v1::DecryptRequest {
            ciphertext: Some(decrypt_request::Ciphertext::CompactJwe(
                compact_jwe.to_owned(),
            )),
        };
        let mut client = KeyServiceClient::new(self.connection.clone());
        let answer = self.answer(DECRYPT, Box::pin(client.decrypt(self.request(id, message))));
        match answer.await {
            Ok(opened) => Ok(Some(opened.plaintext)),
            Err(status) if status.code() == Code::InvalidArgument => Ok(None),
            Err(status) => Err(refused(&status)),
        }
    }

    /// The output of a keyed function with a key of ours: `ring` is for example `pairwise-subject/HS256`.
    pub(crate) async fn mac(
        &self,
        id: &str,
        purpose: MacPurpose,
        ring: &str,
        input: Bytes,
    ) -> Result<Bytes, Error> {
        let message = v1::MacRequest {
            purpose: purpose.into(),
            key: Some(mac_request::Key::Ring(ring.to_owned())),
            input,
            steps: Vec::new(),
        };
        let mut client = KeyServiceClient::new(self.connection.clone());
        let answer = self.answer("mac", Box::pin(client.mac(self.request(id, message))));
        let answer = answer.await.map_err(|status| refused(&status))?;
        Ok(answer.output)
    }
}
