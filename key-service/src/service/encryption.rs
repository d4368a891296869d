//! Wrap and Decrypt (RFC 7516): towards others' keys, what is addressed to ours, and what we seal for ourselves.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use bytes::Bytes;
use proto::v1::{self, recipient, wrap_request};
use zeroize::Zeroizing;

use crate::algorithm::{
    ContentEncryption, DecryptionAlgorithm, KeyManagementAlgorithm, RingAlgorithm,
};
use crate::backend::SecretBytes;
use crate::error::Error;
use crate::jwe::{self, KeyRef, Recipient};
use crate::jwk;
use crate::keyring::key::Key;
use crate::keyring::{Ring, Snapshot};

use super::keys::Keys;

/// The longest plaintext of Wrap, in octets.
const PLAINTEXT: usize = 64 * 1024;
/// The longest context of something sealed, in octets.
const CONTEXT: usize = 256;
/// The longest "cty" of a JWE, in octets (RFC 6838 §4.2: type and subtype).
const CONTENT_TYPE: usize = 255;
/// What is sealed under such a context may be used here and is never told (client secrets, seeds).
const USE_ONLY: &str = "use-only:";

impl Keys {
    pub(super) async fn open(
        &self,
        token: &str,
        deadline: Option<Instant>,
    ) -> Result<v1::DecryptResponse, Error> {
        let snapshot = self.shared.keyring.snapshot_full();
        let find = |kid: Option<&str>, algorithm: DecryptionAlgorithm| {
            let wanted = RingAlgorithm::Decryption(algorithm);
            snapshot
                .rings()
                .filter(|ring| ring.name().algorithm() == wanted)
                .filter(|ring| self.caller.may_use(&ring.name().to_string()))
                .flat_map(Ring::trusted)
                .filter(|key| kid.is_none_or(|kid| key.kid() == kid))
                .map(|key| key_ref(key))
                .collect()
        };
        let opened = jwe::open(self.shared.keyring.device(), token, deadline, find).await?;
        Ok(v1::DecryptResponse {
            plaintext: Bytes::from_owner(opened.plaintext),
            header: opened.header.into(),
        })
    }

    pub(super) async fn unseal(
        &self,
        sealed: &v1::Sealed,
        deadline: Option<Instant>,
    ) -> Result<v1::DecryptResponse, Error> {
        if sealed.context.starts_with(USE_ONLY) {
            return Err(Error::NotAllowed);
        }
        let plaintext = self
            .opened(&sealed.sealed, &sealed.context, deadline)
            .await?;
        Ok(v1::DecryptResponse {
            plaintext: Bytes::from_owner(plaintext),
            header: Bytes::new(),
        })
    }

    /// Opens a secret that may be used here and is told to nobody. What could be told is no such secret: whoever sealed it
    /// has made a mistake that must be seen.
    pub(super) async fn open_wrapped_secret(
        &self,
        secret: &v1::WrappedSecret,
        deadline: Option<Instant>,
    ) -> Result<SecretBytes, Error> {
        if !secret.context.starts_with(USE_ONLY) {
            return Err(Error::NotAllowed);
        }
        self.opened(&secret.sealed, &secret.context, deadline).await
    }

    /// What was sealed, for use: the key that sealed it is still needed.
    async fn opened(
        &self,
        sealed: &str,
        context: &str,
        deadline: Option<Instant>,
    ) -> Result<SecretBytes, Error> {
        let (plaintext, key) = self.unsealed(sealed, context, deadline).await?;
        self.shared.keyring.opened(&key);
        Ok(plaintext)
    }

    /// What was sealed, and the key that did it.
    pub(super) async fn unsealed(
        &self,
        sealed: &str,
        context: &str,
        deadline: Option<Instant>,
    ) -> Result<(SecretBytes, Arc<Key>), Error> {
        let snapshot = self.shared.keyring.snapshot_full();
        let sealed_by = OnceLock::new();
        let find = |kid: &str| {
            let mut keys = self.seal_rings(&snapshot).flat_map(Ring::trusted);
            let key = keys.find(|key| key.kid() == kid)?;
            Some(sealed_by.get_or_init(|| Arc::clone(key)).id.clone())
        };
        let device = self.shared.keyring.device();
        let plaintext = jwe::unseal(device, sealed, context, deadline, find).await?;
        let key = sealed_by.into_inner().ok_or(Error::Undecryptable)?;
        Ok((plaintext, key))
    }

    /// The key that seals now.
    pub(super) fn sealing_key(&self) -> Result<KeyRef, Error> {
        let snapshot = self.shared.keyring.snapshot();
        let ring = self.seal_rings(&snapshot).next().ok_or(Error::NotAllowed)?;
        let now = self.shared.keyring.clock().now();
        Ok(key_ref(ring.active(now).ok_or(Error::NoActiveKey)?))
    }

    pub(super) async fn wrap_plaintext(
        &self,
        request: &v1::WrapRequest,
        deadline: Option<Instant>,
    ) -> Result<String, Error> {
        if request.plaintext.len() > PLAINTEXT {
            return Err(Error::Malformed("plaintext is too long"));
        }
        match &request.to {
            Some(wrap_request::To::Recipient(to)) => {
                let recipient = self.recipient(to, deadline).await?;
                Ok(jwe::encrypt(&recipient, &request.plaintext)?)
            }
            Some(wrap_request::To::Context(context)) => {
                if context.is_empty() || context.len() > CONTEXT {
                    return Err(Error::Malformed("context is empty or too long"));
                }
                let key = self.sealing_key()?;
                let plaintext = Zeroizing::new(request.plaintext.to_vec());
                let device = self.shared.keyring.device();
                Ok(jwe::seal(device, &key, context, plaintext, deadline).await?)
            }
            None => Err(Error::Malformed("to is missing")),
        }
    }

    /// Somebody else to encrypt to: `jwk` is one public key or a JWK Set, of which the first key that is for `alg` is taken.
    /// A wrapped secret's own `alg` says nothing here: its key is made for the recipient's (OpenID Connect Core §10.2).
    pub(super) async fn recipient(
        &self,
        to: &v1::Recipient,
        deadline: Option<Instant>,
    ) -> Result<Recipient, Error> {
        let (Ok(algorithm), Ok(encryption)) = (
            to.alg.parse::<KeyManagementAlgorithm>(),
            to.enc.parse::<ContentEncryption>(),
        ) else {
            return Err(Error::Malformed("algorithm not supported"));
        };
        if to.cty.len() > CONTENT_TYPE {
            return Err(Error::Malformed("cty is too long"));
        }
        let recipient = match &to.key {
            Some(recipient::Key::Jwk(json)) => {
                Recipient::public(jwk::recipient(json, algorithm)?, algorithm, encryption)?
            }
            Some(recipient::Key::WrappedSecret(_)) if !algorithm.is_symmetric() => {
                return Err(Error::Malformed("algorithm not supported"));
            }
            Some(recipient::Key::WrappedSecret(secret)) => {
                let secret = self.open_wrapped_secret(secret, deadline).await?;
                Recipient::secret(&secret, algorithm, encryption)?
            }
            None => return Err(Error::Malformed("recipient.key is missing")),
        };
        Ok(match to.cty.as_str() {
            "" => recipient,
            cty => recipient.with_content_type(cty),
        })
    }

    fn seal_rings<'a>(&'a self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a Ring> {
        snapshot
            .rings()
            .filter(|ring| ring.name().algorithm() == RingAlgorithm::Seal)
            .filter(|ring| self.caller.may_use(&ring.name().to_string()))
    }
}

fn key_ref(key: &Key) -> KeyRef {
    KeyRef {
        id: key.id.clone(),
        kid: key.kid().into(),
    }
}
