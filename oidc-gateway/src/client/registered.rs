//! Clients that registered themselves (RFC 7591): one value of the store for each, read whenever it is asked for one, so
//! that what was changed or deleted is so on every replica at once.

use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Client;
use super::metadata::Metadata;
use super::secret::{ClientSecret, Issued, context};
use crate::clock::seconds;
use crate::error::Failure;
use crate::json;
use crate::keys::WrappedSecret;
use crate::password::PasswordHash;
use crate::provider::Provider;
use crate::random::Random;
use crate::store::table::Tag;
use crate::store::{Key, Stored, Write};

/// What the `client_id` of a registered client begins with; 128 random bits follow.
const PREFIX: &str = "r-";

/// What is stored of a registered client.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Record {
    /// As it was registered, with what was filled in.
    pub(super) metadata: Map<String, Value>,
    /// Seconds since 1970-01-01T00:00:00Z.
    pub(super) issued: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<Secret>,
    /// The hash of the registration access token.
    pub(super) registration_access_token: String,
    /// Seconds since 1970-01-01T00:00:00Z; inside the value too, not only its time to live.
    pub(super) kept_until: i64,
}

/// Its secret: 256 random bits at least, so a fast hash does.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Secret {
    pub(super) hash: String,
    /// Where it is used as a key: sealed by the key-service, which opens it for nobody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) sealed: Option<String>,
    /// Seconds since 1970-01-01T00:00:00Z; 0: never.
    pub(super) expires: i64,
}

/// A record, and which writing of it this was.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) record: Record,
    pub(super) stored: Stored,
}

/// A new `client_id`.
pub(super) fn new_id(random: &Random) -> String {
    format!("{PREFIX}{}", random.token128())
}

/// Whether a `client_id` has the form of those that registration gives.
pub(crate) fn is_id(client_id: &str) -> bool {
    let tag = client_id.strip_prefix(PREFIX);
    tag.is_some_and(|tag| Tag::parse(tag).is_some())
}

/// Tokens and secrets that we generate have 256 random bits at least: a fast hash does.
pub(super) fn digest(generated: &str) -> String {
    PasswordHash::of_generated(generated).as_str().to_owned()
}

/// A registered client.
pub(crate) async fn find(
    provider: &Provider,
    client_id: &str,
) -> Result<Option<Arc<Client>>, Failure> {
    let Some(Found { record, .. }) = read(provider, client_id).await? else {
        return Ok(None);
    };
    let client = record.client(provider, client_id);
    if client.is_none() {
        tracing::error!(client_id, "a registered client cannot be read");
    }
    Ok(client.map(Arc::new))
}

pub(super) async fn read(provider: &Provider, client_id: &str) -> Result<Option<Found>, Failure> {
    if !is_id(client_id) {
        return Ok(None);
    }
    let key = [Key::client(client_id)];
    let stored = provider.store.get(&key).await?.pop().flatten();
    let now = provider.clock.now();
    Ok(stored.and_then(|stored| {
        let record: Record = json::read(stored.value())?;
        (record.kept_until > now).then_some(Found { record, stored })
    }))
}

/// Lets the record of a client that has just authenticated itself live on. At most once in a tenth of its life.
pub(super) async fn keep(provider: &Provider, client: &Client) -> Result<(), Failure> {
    let (now, life) = (provider.clock.now(), provider.config.registration.keep);
    let is_young = |kept_until: i64| kept_until - now > seconds(life) / 10 * 9;
    if client.kept_until.is_none_or(is_young) {
        return Ok(());
    }
    if let Some(Found { mut record, stored }) = read(provider, &client.id).await? {
        record.kept_until = now + seconds(life);
        // Somebody else has changed or deleted it: then that stands.
        let after = record.write(&client.id, life);
        provider.store.swap(&stored, &after).await?;
    }
    Ok(())
}

impl Record {
    pub(super) fn write(&self, client_id: &str, life: Duration) -> Write {
        Write {
            key: Key::client(client_id),
            value: json::write(self),
            lives: life,
        }
    }

    fn client(&self, provider: &Provider, client_id: &str) -> Option<Client> {
        let metadata = metadata(provider, client_id, &self.metadata)?;
        let secret = match &self.secret {
            Some(secret) => Some(ClientSecret::Issued(secret.issued(client_id)?)),
            None => None,
        };
        let mut client = Client::of(metadata, secret).ok()?;
        client.kept_until = Some(self.kept_until);
        Some(client)
    }
}

impl Secret {
    /// Whether this is the secret.
    pub(super) fn is(&self, presented: &str) -> bool {
        let hash = PasswordHash::parse(&self.hash);
        hash.is_ok_and(|hash| hash.is_of_generated(presented))
    }

    fn issued(&self, client_id: &str) -> Option<Issued> {
        let wrapped = |sealed: &String| WrappedSecret {
            sealed: sealed.clone(),
            context: context(client_id),
        };
        Some(Issued {
            hash: PasswordHash::parse(&self.hash).ok()?,
            sealed: self.sealed.as_ref().map(wrapped),
            expires: self.expires,
        })
    }
}

/// Registered members as metadata, with what the operator says of all who register.
pub(super) fn metadata(
    provider: &Provider,
    client_id: &str,
    members: &Map<String, Value>,
) -> Option<Metadata> {
    let rules = &provider.config.registration;
    let metadata = Metadata::of_members(members)?;
    Some(Metadata {
        client_id: client_id.to_owned(),
        allow_token_endpoint_audience: Some(rules.allow_token_endpoint_audience),
        allow_unsigned_userinfo_encryption: Some(rules.allow_unsigned_userinfo_encryption),
        ..metadata
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_their_own() {
        let random = Random::new().unwrap();
        let id = new_id(&random);
        assert!(is_id(&id), "{id}");
        for other in [
            "web",
            "r-",
            "r-short",
            &id[2..],
            &format!("{id}A"),
            &format!("R{}", &id[1..]),
            &format!("r-{}=", &id[2..id.len() - 1]),
        ] {
            assert!(!is_id(other), "{other}");
        }
    }
}
