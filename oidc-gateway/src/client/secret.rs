//! A client's secret: compared when it is presented, or used as a key (OpenID Connect Core §10). As a key it is used by
//! the key-service alone: here it is sealed under a context that nobody, this process included, can open.

use bytes::Bytes;
use zeroize::Zeroizing;

use super::Client;
use super::secret_key::SecretKey;
use crate::error::Failure;
use crate::keys::WrappedSecret;
use crate::password::{self, PasswordHash};
use crate::provider::Provider;
use crate::store::table::hash_of;

/// How long one that somebody wrote down is, in octets. A shorter one can be guessed (RFC 6819 §5.1.4.2.2) and is no key of
/// any algorithm (RFC 7518 §3.2); what is presented and longer is wrong before it is compared.
pub(crate) const LENGTHS: std::ops::RangeInclusive<usize> = 32..=1024;

/// A secret, as it is kept.
#[derive(Debug)]
pub(crate) enum ClientSecret {
    /// In the configuration: compared, never used as a key.
    Hashed(PasswordHash),
    /// In the configuration: used as a key.
    Key(SecretKey),
    /// Generated at registration.
    Issued(Issued),
}

/// A secret that we generated: its hash, and the secret itself sealed if it is a key.
#[derive(Debug, Clone)]
pub(crate) struct Issued {
    pub(crate) hash: PasswordHash,
    pub(crate) sealed: Option<WrappedSecret>,
    /// Seconds since 1970-01-01T00:00:00Z; 0: never.
    pub(crate) expires: i64,
}

impl ClientSecret {
    /// Whether it was good for so long only (OpenID Connect Registration §3.2 "client_secret_expires_at").
    pub(crate) fn has_expired(&self, now: i64) -> bool {
        match self {
            ClientSecret::Issued(issued) => issued.expires != 0 && issued.expires <= now,
            ClientSecret::Hashed(_) | ClientSecret::Key(_) => false,
        }
    }

    /// Whether this is the secret.
    pub(super) async fn is(&self, provider: &Provider, presented: &str) -> Result<bool, Failure> {
        let hash = match self {
            ClientSecret::Hashed(hash) | ClientSecret::Issued(Issued { hash, .. }) => hash,
            ClientSecret::Key(key) => match key.hash() {
                Some(hash) => hash,
                // It is not one that is presented.
                None => return Ok(false),
            },
        };
        let verified = provider.passwords.verify_client_secret(hash, presented);
        verified
            .await
            .map_err(|password::Busy| Failure::Unavailable("password hashing is busy".to_owned()))
    }
}

/// What clients' secrets are sealed under begins so; `use-only` is the key-service's word for "never told to anybody".
const CONTEXT: &str = "use-only:client-secret:";

/// What a client's secret is sealed under.
pub(crate) fn context(client_id: &str) -> String {
    format!("{CONTEXT}{}", hash_of("client_secret", &[client_id]))
}

/// Whether a client's secret is sealed under this.
pub(super) fn seals(context: &str) -> bool {
    context.starts_with(CONTEXT)
}

/// Seals a secret.
pub(super) async fn seal(
    provider: &Provider,
    request_id: &str,
    client_id: &str,
    secret: &str,
) -> Result<WrappedSecret, Failure> {
    let context = context(client_id);
    let plaintext = Bytes::from_owner(Zeroizing::new(secret.as_bytes().to_vec()));
    let sealed = provider.keys.seal(request_id, &context, plaintext).await?;
    Ok(WrappedSecret { sealed, context })
}

impl Client {
    /// The secret as a key for the key-service to use. Metadata that needs one has been checked to have one.
    pub(crate) async fn wrapped_secret(
        &self,
        provider: &Provider,
    ) -> Result<WrappedSecret, Failure> {
        let wrapped = match &self.secret {
            Some(ClientSecret::Key(key)) => Some(key.wrapped(provider, &self.id).await?),
            Some(ClientSecret::Issued(issued)) => issued.sealed.clone(),
            Some(ClientSecret::Hashed(_)) | None => None,
        };
        wrapped.ok_or_else(|| {
            Failure::Misconfigured("the client's secret is not kept as a key".to_owned())
        })
    }

    /// Whether the secret can be used as a key.
    pub(crate) fn has_secret_key(&self) -> bool {
        match &self.secret {
            Some(ClientSecret::Key(_)) => true,
            Some(ClientSecret::Issued(issued)) => issued.sealed.is_some(),
            Some(ClientSecret::Hashed(_)) | None => false,
        }
    }
}
