//! `oidc-gateway seal-secret`: a client's secret becomes what only the key-service can use (OpenID Connect Core §10), so that
//! neither the configuration nor a gateway ever holds it.

use bytes::Bytes;
use zeroize::Zeroizing;

use super::{keys, runtime};
use crate::client::secret::{LENGTHS, context};
use crate::config::Config;
use crate::keys::Unusable;
use crate::password::PasswordHash;
use crate::secret::Secret;

/// Why there is nothing sealed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is no key.
    #[error("the secret has {0} octets: from 32 to 1024 make a key (HS384 takes 48, HS512 64)")]
    Length(usize),
    /// `[keys]` cannot be used.
    #[error("[keys] {0}")]
    Keys(#[from] Unusable),
    /// The key-service did not do it.
    #[error("{0}")]
    Sealing(String),
    /// No runtime.
    #[error(transparent)]
    Runtime(#[from] std::io::Error),
}

/// The lines for the configuration.
///
/// # Errors
/// As said.
pub fn run(config: &Config, client_id: &str, secret: &Secret<String>) -> Result<String, Error> {
    let length = secret.expose().len();
    if !LENGTHS.contains(&length) {
        return Err(Error::Length(length));
    }
    let plaintext = Zeroizing::new(secret.expose().as_bytes().to_vec());
    let sealed = runtime()?.block_on(async {
        let (keys, context) = (keys(config)?, context(client_id));
        let sealed = keys.seal("seal-secret", &context, Bytes::from_owner(plaintext));
        let sealed = sealed.await;
        sealed.map_err(|error| Error::Sealing(error.to_string()))
    })?;
    let hash = PasswordHash::of_key(secret.expose());
    Ok(format!(
        "client_secret_sealed = \"{sealed}\"\n\
         # Only where the client also presents its secret (client_secret_basic, client_secret_post):\n\
         client_secret_hash = \"{}\"\n",
        hash.as_str()
    ))
}
