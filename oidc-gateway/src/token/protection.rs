//! Whose key signs what a client is told, and to which of its keys that is encrypted (OpenID Connect Core §10).

use bytes::Bytes;
use proto::v1::Profile;

use crate::client::Client;
use crate::client::jwks::Freshness;
use crate::error::Failure;
use crate::jose::alg::{Algorithm, Encryption};
use crate::keys::{self, Item, Recipient, RecipientKey, SigningKey};
use crate::provider::Provider;

/// The "cty" of a JWE with a JWT in it (RFC 7519 §5.2).
const JWT: &str = "JWT";

/// A ring of ours, or the client's secret (§10.1).
async fn signing_key(
    provider: &Provider,
    client: &Client,
    purpose: &'static str,
    algorithm: Algorithm,
) -> Result<SigningKey, Failure> {
    if algorithm.is_symmetric() {
        let secret = client.wrapped_secret(provider).await?;
        return Ok(SigningKey::Secret { secret, algorithm });
    }
    Ok(SigningKey::Ring { purpose, algorithm })
}

/// The client's published keys, or its secret (§10.2).
async fn recipient(
    provider: &Provider,
    client: &Client,
    encryption: Encryption,
    freshness: Freshness,
) -> Result<Recipient, Failure> {
    let key = match encryption.alg.is_symmetric() {
        true => RecipientKey::Secret(client.wrapped_secret(provider).await?),
        false => RecipientKey::Jwks(client.jwks.set(provider, freshness).await?),
    };
    Ok(Recipient {
        key,
        alg: encryption.alg,
        enc: encryption.enc,
        cty: JWT,
    })
}

/// A JWT for a client as it is registered: signed, and then encrypted where it is to be.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub(crate) profile: Profile,
    pub(crate) purpose: &'static str,
    pub(crate) algorithm: Algorithm,
    pub(crate) encryption: Option<Encryption>,
    pub(crate) client: &'a Client,
    pub(crate) claims: Bytes,
    pub(crate) hash_of: &'static [(&'static str, u32)],
    /// Where nothing else may be signed with the same key.
    pub(crate) once_key: Option<String>,
}

impl Outgoing<'_> {
    async fn item(&self, provider: &Provider, freshness: Freshness) -> Result<Item, Failure> {
        let client = self.client;
        Ok(Item {
            profile: self.profile,
            key: signing_key(provider, client, self.purpose, self.algorithm).await?,
            claims: self.claims.clone(),
            hash_of: self.hash_of,
            once_key: self.once_key.clone(),
            encrypt_to: match self.encryption {
                None => None,
                Some(encryption) => Some(recipient(provider, client, encryption, freshness).await?),
            },
        })
    }
}

/// Makes them in one call to the key-service. Where a client's keys do not do, they are fetched again, once.
pub(crate) async fn sign(
    provider: &Provider,
    request_id: &str,
    outgoing: &[Outgoing<'_>],
) -> Result<Vec<String>, Failure> {
    let mut freshness = Freshness::Cached;
    loop {
        let mut items = Vec::with_capacity(outgoing.len());
        for each in outgoing {
            items.push(each.item(provider, freshness).await?);
        }
        match provider.keys.sign(request_id, items).await {
            Err(keys::Error::Recipient(_)) if freshness == Freshness::Cached => {
                freshness = Freshness::Newer;
            }
            signed => return Ok(signed?),
        }
    }
}

/// Encrypts for a client without signing (§5.3.2): whoever has the client's public key could have made it.
pub(crate) async fn encrypt(
    provider: &Provider,
    request_id: &str,
    client: &Client,
    encryption: Encryption,
    plaintext: Bytes,
) -> Result<String, Failure> {
    let mut freshness = Freshness::Cached;
    loop {
        let mut recipient = recipient(provider, client, encryption, freshness).await?;
        recipient.cty = "";
        let wrapped = provider.keys.wrap(request_id, plaintext.clone(), recipient);
        match wrapped.await {
            Err(keys::Error::Recipient(_)) if freshness == Freshness::Cached => {
                freshness = Freshness::Newer;
            }
            wrapped => return Ok(wrapped?),
        }
    }
}
