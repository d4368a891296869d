//! What the key-service is asked to make: claims, whose key signs them, and for whom they are encrypted.

use bytes::Bytes;
use proto::v1;
use proto::v1::{recipient, sign_item};

use crate::jose::alg::{Algorithm, ContentEncryption, KeyManagement};
use crate::jose::jwe::SealedHeader;

/// A JWS to be made, or a JWE around it (RFC 7519 §5.2).
#[derive(Debug)]
pub(crate) struct Item {
    pub(crate) profile: v1::Profile,
    pub(crate) key: SigningKey,
    /// A JSON object.
    pub(crate) claims: Bytes,
    /// Claims that the key-service fills in with the hash of another item: their names and that item's index.
    pub(crate) hash_of: &'static [(&'static str, u32)],
    pub(crate) encrypt_to: Option<Recipient>,
    /// With the same key nothing else is signed: see `once_key` in the contract.
    pub(crate) once_key: Option<String>,
}

/// With what a JWS is signed.
#[derive(Debug, Clone)]
pub(crate) enum SigningKey {
    /// A key of ours.
    Ring {
        /// For example `id-token`.
        purpose: &'static str,
        algorithm: Algorithm,
    },
    /// A client's secret (OpenID Connect Core §10.1).
    Secret {
        secret: WrappedSecret,
        algorithm: Algorithm,
    },
}

/// A secret that only the key-service can use: sealed under a context that it opens for nobody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WrappedSecret {
    /// What `Keys::seal` gave.
    pub(crate) sealed: String,
    /// The context that it was sealed under.
    pub(crate) context: String,
}

/// For whom something is encrypted, and how.
#[derive(Debug, Clone)]
pub(crate) struct Recipient {
    pub(crate) key: RecipientKey,
    pub(crate) alg: KeyManagement,
    pub(crate) enc: ContentEncryption,
    /// JWE "cty": `JWT` around a JWT; empty: absent.
    pub(crate) cty: &'static str,
}

/// With what it is encrypted.
#[derive(Debug, Clone)]
pub(crate) enum RecipientKey {
    /// The client's JWK Set as JSON: the key-service takes the first key in it that fits.
    Jwks(Bytes),
    /// The client's secret (OpenID Connect Core §10.2).
    Secret(WrappedSecret),
}

impl Item {
    pub(super) fn into_message(self) -> v1::SignItem {
        v1::SignItem {
            profile: self.profile.into(),
            key: Some(match self.key {
                SigningKey::Ring { purpose, algorithm } => {
                    sign_item::Key::Ring(format!("{purpose}/{algorithm}"))
                }
                SigningKey::Secret { secret, algorithm } => {
                    sign_item::Key::WrappedSecret(secret.used_with(algorithm.as_str()))
                }
            }),
            claims: self.claims,
            hash_of: self
                .hash_of
                .iter()
                .map(|&(claim, item)| v1::HashOf {
                    claim: claim.to_owned(),
                    item,
                })
                .collect(),
            encrypt_to: self.encrypt_to.map(Recipient::into_message),
            once_key: self.once_key.map(Bytes::from),
        }
    }
}

impl WrappedSecret {
    /// The key that sealed it, as it says itself.
    pub(crate) fn kid(&self) -> Option<String> {
        Some(SealedHeader::parse(&self.sealed)?.kid)
    }

    pub(super) fn to_message(&self) -> v1::Sealed {
        v1::Sealed {
            sealed: self.sealed.clone(),
            context: self.context.clone(),
        }
    }

    pub(super) fn used_with(&self, alg: &str) -> v1::WrappedSecret {
        v1::WrappedSecret {
            sealed: self.sealed.clone(),
            context: self.context.clone(),
            alg: alg.to_owned(),
        }
    }
}

impl Recipient {
    pub(super) fn into_message(self) -> v1::Recipient {
        v1::Recipient {
            key: Some(match self.key {
                RecipientKey::Jwks(jwks) => recipient::Key::Jwk(jwks),
                RecipientKey::Secret(secret) => {
                    recipient::Key::WrappedSecret(secret.used_with(self.alg.as_str()))
                }
            }),
            alg: self.alg.as_str().to_owned(),
            enc: self.enc.as_str().to_owned(),
            cty: self.cty.to_owned(),
        }
    }
}
