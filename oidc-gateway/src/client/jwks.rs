//! A client's public keys (RFC 7517 §5): by value, or by reference. Those are fetched when they are first needed, and
//! again when they are old or lack a key that a JWS names: clients rotate their keys without telling anybody.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::error::Failure;
use crate::fetch;
use crate::jose::jwt;
use crate::keys::{Expected, VerificationKey, Verified};
use crate::provider::Provider;

/// As many as the key-service reads.
const MOST_KEYS: usize = 32;
/// As many clients' keys are remembered; more are fetched more often.
const MOST_REMEMBERED: usize = 1024;
/// Keys that cannot be fetched any more are good for this long: a client's outage is not ours.
const STALE: Duration = Duration::from_secs(24 * 3600);
/// Members of a public key (RFC 7517 §4, RFC 7518 §6, RFC 8037 §2).
const READ: [&str; 10] = [
    "kty", "use", "key_ops", "alg", "kid", "crv", "x", "y", "n", "e",
];
/// Members of a private or symmetric one (RFC 7518 §6.2.2, §6.3.2, §6.4.1).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
const ACCEPT: &str = "application/jwk-set+json, application/json";

/// `[client_jwks]`: keys that clients publish at their `jwks_uri`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// After it they are fetched again. Default: 15 min.
    #[serde(with = "crate::duration")]
    pub max_age: Duration,
    /// A key that is not among them has them fetched again, but not more often than this; nor does a failure.
    /// Default: 60 s.
    #[serde(with = "crate::duration")]
    pub refetch_after: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            max_age: Duration::from_secs(15 * 60),
            refetch_after: Duration::from_secs(60),
        }
    }
}

/// Where a client's keys are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ClientKeys {
    /// It has none.
    None,
    /// A JWK Set of public keys as JSON.
    ByValue(Bytes),
    /// `jwks_uri`.
    ByReference(Arc<str>),
}

/// How new they must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// Not older than `client_jwks.max_age`.
    Cached,
    /// As new as `client_jwks.refetch_after` allows.
    Newer,
}

/// Why there are no keys.
#[derive(Debug, Clone, thiserror::Error)]
pub(crate) enum Unusable {
    /// The client has registered none.
    #[error("the client has no keys")]
    None,
    /// They could not be fetched.
    #[error("the client's keys could not be fetched: {0}")]
    Fetch(#[from] fetch::Error),
    /// What was fetched is not a set of public keys.
    #[error("the client's keys are no JWK Set of public keys: {0}")]
    Malformed(&'static str),
    /// They could not be fetched a moment ago.
    #[error("the client's keys could not be fetched a moment ago")]
    NotYet,
}

impl From<Unusable> for Failure {
    fn from(unusable: Unusable) -> Failure {
        Failure::Unavailable(unusable.to_string())
    }
}

impl ClientKeys {
    /// A JWK Set as JSON.
    pub(crate) async fn set(
        &self,
        provider: &Provider,
        freshness: Freshness,
    ) -> Result<Bytes, Unusable> {
        match self {
            ClientKeys::None => Err(Unusable::None),
            ClientKeys::ByValue(jwks) => Ok(jwks.clone()),
            ClientKeys::ByReference(uri) => {
                let fetched = provider.client_jwks.load(provider, uri, freshness).await?;
                Ok(fetched.jwks.clone())
            }
        }
    }

    /// Whether there may be any.
    pub(crate) fn is_none(&self) -> bool {
        *self == ClientKeys::None
    }

    /// Verifies a compact JWS under these keys; `None`: it does not verify, or the keys are not to be had.
    pub(crate) async fn verify(
        &self,
        provider: &Provider,
        request_id: &str,
        compact: &str,
        expected: &Expected<'_>,
    ) -> Result<Option<Verified>, Failure> {
        let jwks = match self.for_jws(provider, compact).await {
            Ok(jwks) => jwks,
            Err(why) => {
                tracing::info!(request_id, %why, "a client's signature cannot be verified");
                return Ok(None);
            }
        };
        let key = VerificationKey::Jwks(&jwks);
        Ok(provider
            .keys
            .verify(request_id, compact, expected, key)
            .await?)
    }

    /// The keys to verify a JWS with: fetched again if they lack the one that it names, or if it names none.
    async fn for_jws(&self, provider: &Provider, compact: &str) -> Result<Bytes, Unusable> {
        let ClientKeys::ByReference(uri) = self else {
            return self.set(provider, Freshness::Cached).await;
        };
        let cached = provider
            .client_jwks
            .load(provider, uri, Freshness::Cached)
            .await?;
        let has_it = jwt::unverified_kid(compact).is_some_and(|kid| cached.kids.contains(&kid));
        if has_it {
            return Ok(cached.jwks.clone());
        }
        self.set(provider, Freshness::Newer).await
    }
}

/// What was fetched. One for the process, shared by its workers.
#[derive(Debug)]
pub(crate) struct Cache {
    settings: Settings,
    entries: Mutex<HashMap<Arc<str>, Arc<Entry>>>,
}

#[derive(Debug, Default)]
struct Entry {
    fetched: ArcSwapOption<Fetched>,
    /// Held by whoever fetches.
    tries: tokio::sync::Mutex<Tries>,
}

#[derive(Debug)]
struct Fetched {
    jwks: Bytes,
    kids: Vec<String>,
    at: Instant,
}

#[derive(Debug, Default)]
struct Tries {
    failed: Option<Instant>,
    /// Because a key was not among those that were known.
    again: Option<Instant>,
}

impl Cache {
    pub(crate) fn new(settings: Settings) -> Cache {
        Cache {
            settings,
            entries: Mutex::default(),
        }
    }

    async fn load(
        &self,
        provider: &Provider,
        uri: &Arc<str>,
        freshness: Freshness,
    ) -> Result<Arc<Fetched>, Unusable> {
        let entry = self.entry(uri);
        let asked = Instant::now();
        if freshness == Freshness::Cached
            && let Some(fetched) = entry.younger_than(self.settings.max_age)
        {
            return Ok(fetched);
        }
        let mut tries = entry.tries.lock().await;
        // Whoever was before us may have fetched what we wait for.
        if let Some(fetched) = entry.fetched.load_full()
            && (fetched.at > asked
                || (freshness == Freshness::Cached && fetched.at.elapsed() < self.settings.max_age))
        {
            return Ok(fetched);
        }
        let too_soon = |last: Option<Instant>| {
            last.is_some_and(|last| last.elapsed() < self.settings.refetch_after)
        };
        if too_soon(tries.failed) || (freshness == Freshness::Newer && too_soon(tries.again)) {
            return entry.younger_than(STALE).ok_or(Unusable::NotYet);
        }
        if freshness == Freshness::Newer {
            tries.again = Some(asked);
        }
        match Box::pin(fetch(provider, uri)).await {
            Ok(fetched) => {
                let fetched = Arc::new(fetched);
                entry.fetched.store(Some(fetched.clone()));
                tries.failed = None;
                Ok(fetched)
            }
            Err(why) => {
                tries.failed = Some(Instant::now());
                tracing::warn!(%why, "the keys of a client");
                entry.younger_than(STALE).ok_or(why)
            }
        }
    }

    fn entry(&self, uri: &Arc<str>) -> Arc<Entry> {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(entry) = entries.get(uri) {
            return entry.clone();
        }
        if entries.len() >= MOST_REMEMBERED {
            let age = |entry: &Entry| entry.fetched.load().as_ref().map(|fetched| fetched.at);
            let oldest = entries
                .iter()
                .min_by_key(|(_, entry)| age(entry))
                .map(|(uri, _)| uri.clone());
            if let Some(oldest) = oldest {
                entries.remove(&oldest);
            }
        }
        let entry = Arc::new(Entry::default());
        entries.insert(uri.clone(), entry.clone());
        entry
    }
}

impl Entry {
    fn younger_than(&self, age: Duration) -> Option<Arc<Fetched>> {
        let fetched = self.fetched.load_full();
        fetched.filter(|fetched| fetched.at.elapsed() < age)
    }
}

async fn fetch(provider: &Provider, uri: &str) -> Result<Fetched, Unusable> {
    let body = provider.fetch.get(uri, ACCEPT).await?;
    let at = Instant::now();
    let jwks: Value = serde_json::from_slice(&body)
        .map_err(|_| Unusable::Malformed("it is not one JSON value"))?;
    let keys = public_keys(&jwks).map_err(Unusable::Malformed)?;
    let kid = |key: &Map<String, Value>| key.get("kid")?.as_str().map(str::to_owned);
    Ok(Fetched {
        kids: keys.iter().filter_map(|key| kid(key)).collect(),
        jwks: as_set(&keys),
        at,
    })
}

/// A JWK Set by value, in which whoever is to use it finds nothing else than public keys.
pub(super) fn by_value(jwks: &Value) -> Result<ClientKeys, &'static str> {
    public_keys(jwks).map(|keys| ClientKeys::ByValue(as_set(&keys)))
}

/// Whether a set by value may hold a key of one of these types with this use; one by reference may always.
pub(super) fn may_hold(jwks: &Value, types: &[&str], usage: &str) -> bool {
    public_keys(jwks).is_ok_and(|keys| {
        keys.iter().any(|key| {
            let text = |name: &str| key.get(name).and_then(Value::as_str);
            text("kty").is_some_and(|kty| types.contains(&kty))
                && text("use").is_none_or(|each| each == usage)
        })
    })
}

fn as_set(keys: &[&Map<String, Value>]) -> Bytes {
    // With the members that the key-service reads, and no others: a set is kept, and sent with each JWS.
    let plain = |key: &&Map<String, Value>| -> Map<String, Value> {
        let members = key.iter().filter(|(name, _)| READ.contains(&name.as_str()));
        members
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    let keys: Vec<_> = keys.iter().map(plain).collect();
    json!({ "keys": keys }).to_string().into()
}

/// The form of a JWK Set (RFC 7517 §5); the key-service checks the keys themselves. Keys of types that nobody knows
/// are left out, as §5 says.
fn public_keys(jwks: &Value) -> Result<Vec<&Map<String, Value>>, &'static str> {
    const SET: &str = "must be a JWK Set: {\"keys\": [...]}";
    const PUBLIC: &str = "must hold public keys only";
    let all = jwks.get("keys").and_then(Value::as_array).ok_or(SET)?;
    let mut keys = Vec::with_capacity(all.len());
    for key in all {
        let key = key.as_object().ok_or(SET)?;
        // RFC 7518 §6: a private or symmetric key has no business here.
        let is_private = PRIVATE.iter().any(|name| key.contains_key(*name));
        match key.get("kty").and_then(Value::as_str) {
            Some("RSA" | "EC" | "OKP") if !is_private => keys.push(key),
            Some("RSA" | "EC" | "OKP" | "oct") => return Err(PUBLIC),
            Some(_) => {}
            None => return Err(SET),
        }
    }
    match keys.len() {
        1..=MOST_KEYS => Ok(keys),
        _ => Err("must hold 1 to 32 keys"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_public_keys() {
        let ec = json!({"kty": "EC", "crv": "P-256", "x": "x", "y": "y", "use": "sig"});
        let rows = [
            (json!({"keys": [ec]}), true),
            (json!({"keys": [ec, {"kty": "AKP", "pub": "x"}]}), true),
            (json!({"keys": [{"kty": "AKP", "pub": "x"}]}), false),
            (json!({"keys": []}), false),
            (json!({"keys": vec![&ec; 33]}), false),
            (json!({"keys": [ec, {"kty": "EC", "d": "x"}]}), false),
            (
                json!({"keys": [{"kty": "RSA", "n": "x", "e": "AQAB", "qi": "x"}]}),
                false,
            ),
            (json!({"keys": [{"kty": "oct", "k": "x"}]}), false),
            (json!({"keys": [{"kty": "oct"}]}), false),
            (json!({"keys": [{"x": "x"}]}), false),
            (json!({"keys": ["x"]}), false),
            (json!({"keys": ec}), false),
            (json!([ec]), false),
            (json!("x"), false),
        ];
        for (jwks, good) in rows {
            assert_eq!(by_value(&jwks).is_ok(), good, "{jwks}");
        }
        let jwks = json!({"keys": [ec]});
        let more =
            json!({"kty": "EC", "crv": "P-256", "x": "x", "y": "y", "use": "sig", "x5c": ["x"]});
        assert_eq!(by_value(&json!({"keys": [more]})), by_value(&jwks));
        assert!(may_hold(&jwks, &["EC", "OKP"], "sig"));
        assert!(!may_hold(&jwks, &["EC", "OKP"], "enc"));
        assert!(!may_hold(&jwks, &["RSA"], "sig"));
    }
}
