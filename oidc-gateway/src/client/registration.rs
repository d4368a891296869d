//! Dynamic registration (RFC 7591, OpenID Connect Registration) and its management (RFC 7592): clients say who they are
//! within what the operator allows, and get a secret and a token to change it. Each change is checked whole.

use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use zeroize::{Zeroize as _, Zeroizing};

pub use super::gate::Unusable;
pub(crate) use super::gate::{Gate, Permit, Refused};
use super::metadata::{AuthenticationMethod, GrantType};
use super::proposed::{Proposed, object};
use super::registered::{self, Found, Record, digest};
use super::{Wrong, check};
use crate::clock::seconds;
use crate::error::{Code, Failure, Refusal};
use crate::provider::Provider;
use crate::scope::Scope;
use crate::secret::{self, Secret};
use crate::store::{Key, Swap};

/// What a client is told, in octets: all that it may say of itself, and what we add.
const LONGEST: usize = 40 * 1024;

/// `[registration]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Who may register. Default: `off`.
    pub mode: Mode,
    /// For `token`: a line for each initial access token, or its hash. Default: none.
    pub initial_access_tokens_file: Option<PathBuf>,
    /// For `token`: hashes of initial access tokens. Default: none.
    pub initial_access_token_hashes: Vec<String>,
    /// Whether each initial access token is good for one client. Default: true.
    pub initial_access_tokens_once: bool,
    /// Registrations and changes in a minute from one address, in this process; 0: any number. Default: 10.
    pub per_address: u32,
    /// The same from all addresses. Default: 120.
    pub in_all: u32,
    /// A client that does not authenticate itself for so long is forgotten. Default: 365 d.
    #[serde(with = "crate::duration")]
    pub keep: Duration,
    /// How long a secret is good; 0: for ever. Default: 0.
    #[serde(with = "crate::duration")]
    pub secret_lifetime: Duration,
    /// What may be registered. Default: authorization_code, implicit, refresh_token.
    pub grant_types: Vec<GrantType>,
    /// What may be registered. Default: all.
    pub token_endpoint_auth_methods: Vec<AuthenticationMethod>,
    /// The most that a client may ask for; what goes beyond it is left out. Default: openid profile email address phone
    /// offline_access.
    pub scope: String,
    /// Whether the audience of client assertions may be the token endpoint, or a list. Default: false.
    pub allow_token_endpoint_audience: bool,
    /// Whether userinfo may be encrypted without being signed. Default: false.
    pub allow_unsigned_userinfo_encryption: bool,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            mode: Mode::Off,
            initial_access_tokens_file: None,
            initial_access_token_hashes: Vec::new(),
            initial_access_tokens_once: true,
            per_address: 10,
            in_all: 120,
            keep: Duration::from_secs(365 * 86_400),
            secret_lifetime: Duration::ZERO,
            grant_types: vec![
                GrantType::AuthorizationCode,
                GrantType::Implicit,
                GrantType::RefreshToken,
            ],
            token_endpoint_auth_methods: AuthenticationMethod::ALL.to_vec(),
            scope: check::DEFAULT_SCOPE.to_owned(),
            allow_token_endpoint_audience: false,
            allow_unsigned_userinfo_encryption: false,
        }
    }
}

/// Who may register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// Nobody: there is no such endpoint.
    Off,
    /// Whoever has an initial access token.
    Token,
    /// Everybody.
    Open,
}

impl Settings {
    /// Which key is wrong, and why.
    pub(crate) fn check(&self) -> Result<(), (&'static str, String)> {
        let gate = Gate::open(self).map_err(|why| {
            let key = match self.initial_access_tokens_file {
                Some(_) => "initial_access_tokens_file",
                None => "initial_access_token_hashes",
            };
            (key, why.to_string())
        })?;
        if self.mode == Mode::Token && gate.tokens() == 0 {
            let sentence =
                "`token` needs initial_access_tokens_file or initial_access_token_hashes";
            return Err(("mode", sentence.to_owned()));
        }
        if Scope::parse(&self.scope).is_err() {
            return Err(("scope", "must be words with spaces between".to_owned()));
        }
        if self.keep < Duration::from_secs(3600) {
            return Err(("keep", "must be at least 1h".to_owned()));
        }
        if !self.secret_lifetime.is_zero() && self.secret_lifetime < Duration::from_secs(1) {
            return Err(("secret_lifetime", "must be 0s or at least 1s".to_owned()));
        }
        Ok(())
    }
}

impl From<Wrong> for Failure {
    fn from(wrong: Wrong) -> Failure {
        Failure::Metadata {
            // RFC 7591 §3.2.2.
            code: match wrong.member {
                "redirect_uris" => Code::InvalidRedirectUri,
                _ => Code::InvalidClientMetadata,
            },
            member: wrong.member,
            sentence: wrong.sentence,
        }
    }
}

/// Whoever asks for a client by a name or a token that is not its own (DR-05): whether there is one is not told.
const WRONG_TOKEN: Failure = Failure::Bearer(Some(Refusal::new(
    Code::InvalidToken,
    "the registration access token is not that of this client",
)));

const SPENT_TOKEN: Failure = Failure::Bearer(Some(Refusal::new(
    Code::InvalidToken,
    "the initial access token was used",
)));

/// Registers a client: what it is told about itself (RFC 7591 §3.2.1).
pub(crate) async fn register(
    provider: &Provider,
    request_id: &str,
    permit: Permit,
    body: &[u8],
) -> Result<Told, Failure> {
    let client_id = registered::new_id(&provider.random);
    let proposed = Proposed::parse(provider, &client_id, object(body)?)?;
    proposed.check(provider, request_id).await?;
    let new = match proposed.metadata.needs_secret() {
        true => Some(proposed.secret(provider, request_id).await?),
        false => None,
    };
    let (clear, secret) = new.unzip();
    if !permit.spend(provider).await? {
        return Err(SPENT_TOKEN);
    }
    let token = provider.random.token256();
    let now = provider.clock.now();
    let life = provider.config.registration.keep;
    let record = Record {
        metadata: proposed.members,
        issued: now,
        secret,
        registration_access_token: digest(&token),
        kept_until: now + seconds(life),
    };
    let write = record.write(&client_id, life);
    if !provider.store.put_new(&write).await? {
        // 128 random bits came twice.
        return Err(Failure::Unavailable("a client_id is taken".to_owned()));
    }
    tracing::info!(client_id, request_id, "a client was registered");
    Ok(told(provider, &client_id, &record, clear.as_ref(), &token))
}

/// What a client is registered as (RFC 7592 §2.1).
pub(crate) async fn read(
    provider: &Provider,
    client_id: &str,
    token: &str,
) -> Result<Told, Failure> {
    let Found { record, .. } = authorized(provider, client_id, token).await?;
    Ok(told(provider, client_id, &record, None, token))
}

/// Replaces all that a client is registered as (RFC 7592 §2.2).
pub(crate) async fn replace(
    provider: &Provider,
    request_id: &str,
    (client_id, token): (&str, &str),
    body: &[u8],
) -> Result<Told, Failure> {
    let Found { record, stored } = authorized(provider, client_id, token).await?;
    let object = object(body)?;
    let named = |name: &str| object.get(name).and_then(Value::as_str);
    if named("client_id") != Some(client_id) {
        return Err(Wrong::new("client_id", "must be there, and be this client's").into());
    }
    let presented = named("client_secret").map(|secret| Secret::new(secret.to_owned()));
    let current = record.secret;
    if let Some(presented) = &presented
        && !current
            .as_ref()
            .is_some_and(|current| current.is(presented.expose()))
    {
        return Err(Wrong::new(
            "client_secret",
            "is not the current one, and cannot be chosen",
        )
        .into());
    }
    let proposed = Proposed::parse(provider, client_id, object)?;
    proposed.check(provider, request_id).await?;
    let metadata = &proposed.metadata;
    let must_be_key = metadata.shortest_key().is_some();
    let good = current.filter(|current| !must_be_key || current.sealed.is_some());
    let (clear, secret) = match (metadata.needs_secret(), good) {
        (false, _) => (None, None),
        (true, Some(current)) => (presented, Some(current)),
        (true, None) => {
            let (clear, secret) = proposed.secret(provider, request_id).await?;
            (Some(clear), Some(secret))
        }
    };
    let life = provider.config.registration.keep;
    let record = Record {
        metadata: proposed.members,
        secret,
        kept_until: provider.clock.now() + seconds(life),
        ..record
    };
    let after = record.write(client_id, life);
    match provider.store.swap(&stored, &after).await? {
        Swap::Done => {
            tracing::info!(client_id, request_id, "a client was changed");
            Ok(told(provider, client_id, &record, clear.as_ref(), token))
        }
        Swap::Changed(None) => Err(WRONG_TOKEN),
        Swap::Changed(Some(_)) => Err(Failure::Unavailable(
            "a client was changed twice at once".to_owned(),
        )),
    }
}

/// Deletes a client (RFC 7592 §2.3). What was granted to it ends: nobody is in good standing with a client that is not
/// there.
pub(crate) async fn delete(
    provider: &Provider,
    request_id: &str,
    client_id: &str,
    token: &str,
) -> Result<(), Failure> {
    authorized(provider, client_id, token).await?;
    provider.store.delete(&[Key::client(client_id)]).await?;
    tracing::info!(client_id, request_id, "a client was deleted");
    Ok(())
}

async fn authorized(provider: &Provider, client_id: &str, token: &str) -> Result<Found, Failure> {
    let found = registered::read(provider, client_id).await?;
    let found = found.filter(|Found { record, .. }| is(&record.registration_access_token, token));
    found.ok_or(WRONG_TOKEN)
}

fn is(hash: &str, presented: &str) -> bool {
    secret::equal(hash.as_bytes(), digest(presented).as_bytes())
}

/// RFC 7591 §3.2.1, RFC 7592 §3. A secret is told when it is new, and to whoever has just shown it.
fn told(
    provider: &Provider,
    client_id: &str,
    record: &Record,
    clear: Option<&Secret<String>>,
    token: &str,
) -> Told {
    let mut told = Map::new();
    told.insert("client_id".to_owned(), json!(client_id));
    told.insert("client_id_issued_at".to_owned(), json!(record.issued));
    if let Some(clear) = clear {
        told.insert("client_secret".to_owned(), json!(clear.expose()));
    }
    if let Some(secret) = &record.secret {
        told.insert("client_secret_expires_at".to_owned(), json!(secret.expires));
    }
    told.insert("registration_access_token".to_owned(), json!(token));
    let uri = provider.url(&format!("/register/{client_id}"));
    told.insert("registration_client_uri".to_owned(), json!(uri));
    told.extend(record.metadata.clone());
    Told(told)
}

/// What a client is told about itself. The one place where its secret is in clear, and it is wiped when that is sent.
pub(crate) struct Told(Map<String, Value>);

impl Told {
    /// As JSON.
    pub(crate) fn into_body(mut self) -> Bytes {
        // Room for all of it, so that growing leaves no copies behind.
        let mut body = Zeroizing::new(Vec::with_capacity(LONGEST));
        serde_json::to_writer(&mut *body, &self.0)
            .expect("maps with text keys always serialise, and memory takes them");
        for name in ["client_secret", "registration_access_token"] {
            if let Some(Value::String(secret)) = self.0.get_mut(name) {
                secret.zeroize();
            }
        }
        Bytes::from_owner(body)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn settings() {
        let hash = "$sha256$47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
        let rows = [
            ("", None),
            ("mode = \"open\"", None),
            ("mode = \"token\"", Some("mode")),
            (
                "mode = \"token\"\ninitial_access_token_hashes = [\"HASH\"]",
                None,
            ),
            (
                "mode = \"token\"\ninitial_access_token_hashes = [\"x\"]",
                Some("initial_access_token_hashes"),
            ),
            (
                "initial_access_tokens_file = \"/nowhere/at/all\"",
                Some("initial_access_tokens_file"),
            ),
            ("scope = \"a\\\"b\"", Some("scope")),
            ("keep = \"1m\"", Some("keep")),
            ("secret_lifetime = \"10ms\"", Some("secret_lifetime")),
            ("secret_lifetime = \"90d\"", None),
        ];
        for (text, expected) in rows {
            let settings: Settings = toml::from_str(&text.replace("HASH", hash)).unwrap();
            let wrong = settings.check().err().map(|(key, _)| key);
            assert_eq!(wrong, expected, "{text}");
        }
    }
}
