//! Wrap and Decrypt (RFC 7516): towards others' keys, what is addressed to ours, and what we seal for ourselves.

use std::time::Instant;

use bytes::Bytes;
use proto::v1::{self, recipient, wrap_request};
use zeroize::Zeroizing;

use crate::algorithm::{ContentEncryption, KeyManagementAlgorithm, RingAlgorithm};
use crate::error::Error;
use crate::jwe::{self, KeyRef};
use crate::jwk::Jwk;
use crate::keyring::key::Key;
use crate::keyring::{Ring, Snapshot};

use super::keys::Keys;

/// The longest plaintext of Wrap, in octets.
const PLAINTEXT: usize = 64 * 1024;
/// The longest context of something sealed, in octets.
const CONTEXT: usize = 256;
/// What is sealed under such a context may be used here and is never told (client secrets, seeds).
const USE_ONLY: &str = "use-only:";

impl Keys {
    pub(super) async fn open(
        &self,
        token: &str,
        deadline: Option<Instant>,
    ) -> Result<v1::DecryptResponse, Error> {
        let snapshot = self.shared.keyring.snapshot_full();
        let find = |kid: Option<&str>, algorithm: KeyManagementAlgorithm| {
            let wanted = RingAlgorithm::KeyManagement(algorithm);
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
        let snapshot = self.shared.keyring.snapshot_full();
        let find = |kid: &str| {
            self.seal_rings(&snapshot)
                .flat_map(Ring::trusted)
                .find(|key| key.kid() == kid)
                .map(|key| key.id.clone())
        };
        let device = self.shared.keyring.device();
        let plaintext =
            jwe::unseal(device, &sealed.sealed, &sealed.context, deadline, find).await?;
        Ok(v1::DecryptResponse {
            plaintext: Bytes::from_owner(plaintext),
            header: Bytes::new(),
        })
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
            Some(wrap_request::To::Recipient(recipient)) => encrypt(recipient, &request.plaintext),
            Some(wrap_request::To::Context(context)) => {
                if context.is_empty() || context.len() > CONTEXT {
                    return Err(Error::Malformed("context is empty or too long"));
                }
                let key = {
                    let snapshot = self.shared.keyring.snapshot();
                    let ring = self.seal_rings(&snapshot).next().ok_or(Error::NotAllowed)?;
                    let now = self.shared.keyring.clock().now();
                    key_ref(ring.active(now).ok_or(Error::NoActiveKey)?)
                };
                let plaintext = Zeroizing::new(request.plaintext.to_vec());
                let device = self.shared.keyring.device();
                Ok(jwe::seal(device, &key, context, plaintext, deadline).await?)
            }
            None => Err(Error::Malformed("to is missing")),
        }
    }

    fn seal_rings<'a>(&'a self, snapshot: &'a Snapshot) -> impl Iterator<Item = &'a Ring> {
        snapshot
            .rings()
            .filter(|ring| ring.name().algorithm() == RingAlgorithm::Seal)
            .filter(|ring| self.caller.may_use(&ring.name().to_string()))
    }
}

fn encrypt(to: &v1::Recipient, plaintext: &[u8]) -> Result<String, Error> {
    let jwk = match &to.key {
        Some(recipient::Key::Jwk(jwk)) => Jwk::parse(jwk)?,
        Some(recipient::Key::WrappedSecret(_)) => return Err(Error::NotBuilt("wrapped_secret")),
        None => return Err(Error::Malformed("recipient.key is missing")),
    };
    let unknown = Error::Malformed("algorithm not supported");
    let (Ok(algorithm), Ok(encryption)) = (
        to.alg.parse::<KeyManagementAlgorithm>(),
        to.enc.parse::<ContentEncryption>(),
    ) else {
        return Err(unknown);
    };
    let cty = Some(to.cty.as_str()).filter(|cty| !cty.is_empty());
    Ok(jwe::encrypt(&jwk, algorithm, encryption, cty, plaintext)?)
}

fn key_ref(key: &Key) -> KeyRef {
    KeyRef {
        id: key.id.clone(),
        kid: key.kid().into(),
    }
}
