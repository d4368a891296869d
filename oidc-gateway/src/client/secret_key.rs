//! A secret of the configuration that is used as a key (OpenID Connect Core §10): sealed as soon as the key-service
//! answers, from when on its text is nowhere in this process; and sealed again when another key seals (NIST SP 800-57
//! part 1, §8.2), so that the one before can be destroyed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::time::timeout;

use super::Client;
use super::secret::{ClientSecret, seal};
use crate::error::Failure;
use crate::keys::{REWRAPPED_AT_ONCE, WrappedSecret};
use crate::password::PasswordHash;
use crate::provider::Provider;
use crate::secret::Secret;

/// What nobody asked for is logged under this name.
const ID: &str = "client-secret";
/// How long to wait after the key-service did not do its part.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// A configured secret that is a key.
#[derive(Debug)]
pub(crate) struct SecretKey {
    /// What it is compared with where it is presented; absent: it never is.
    hash: Option<PasswordHash>,
    /// Until it is sealed for the first time.
    clear: Mutex<Option<Secret<String>>>,
    sealed: ArcSwapOption<WrappedSecret>,
    /// Whether the key-service has opened it.
    is_known_to_open: AtomicBool,
}

impl SecretKey {
    /// As somebody wrote it down.
    pub(super) fn clear(clear: Secret<String>, hash: Option<PasswordHash>) -> SecretKey {
        SecretKey {
            hash,
            clear: Mutex::new(Some(clear)),
            sealed: ArcSwapOption::empty(),
            is_known_to_open: AtomicBool::new(true),
        }
    }

    /// As the key-service sealed it before.
    pub(super) fn sealed(wrapped: WrappedSecret, hash: Option<PasswordHash>) -> SecretKey {
        SecretKey {
            hash,
            clear: Mutex::new(None),
            sealed: ArcSwapOption::from_pointee(wrapped),
            is_known_to_open: AtomicBool::new(false),
        }
    }

    pub(super) fn hash(&self) -> Option<&PasswordHash> {
        self.hash.as_ref()
    }

    /// For the key-service to use.
    pub(super) async fn wrapped(
        &self,
        provider: &Provider,
        client_id: &str,
    ) -> Result<WrappedSecret, Failure> {
        loop {
            if let Some(wrapped) = &*self.sealed.load() {
                return Ok(WrappedSecret::clone(wrapped));
            }
            let clear = self.text().clone();
            // Without its text it was sealed in this moment, by somebody else.
            if let Some(clear) = clear {
                let wrapped = Box::pin(seal(provider, ID, client_id, clear.expose())).await?;
                let wrapped = Some(Arc::new(wrapped));
                self.sealed.compare_and_swap(&None::<Arc<_>>, wrapped);
                drop(self.text().take());
            }
        }
    }

    fn text(&self) -> std::sync::MutexGuard<'_, Option<Secret<String>>> {
        self.clear.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be sealed again, because another key seals, or because nobody knows yet whether it opens.
    fn to_be_rewrapped(&self, seal_kids: &[String]) -> Option<Arc<WrappedSecret>> {
        let sealed = self.sealed.load_full()?;
        let is_current = sealed.kid().is_some_and(|kid| seal_kids.contains(&kid));
        let is_done = is_current && self.is_known_to_open.load(Ordering::Relaxed);
        (!is_done).then_some(sealed)
    }

    fn is_rewrapped(&self, wrapped: WrappedSecret) {
        self.sealed.store(Some(Arc::new(wrapped)));
        self.is_known_to_open.store(true, Ordering::Relaxed);
    }
}

/// Keeps the configured secrets sealed by the key that seals. One worker does it for all of the process.
pub(crate) async fn keep_sealed(provider: Provider) {
    let clients: Vec<Arc<Client>> = provider.clients.iter().cloned().collect();
    let keys: Vec<(&str, &SecretKey)> = clients
        .iter()
        .filter_map(|client| match &client.secret {
            Some(ClientSecret::Key(key)) => Some((client.id.as_str(), key)),
            _ => None,
        })
        .collect();
    if keys.is_empty() {
        return;
    }
    let mut seal_kids = provider.keys.seal_kids();
    let mut pause = FIRST_PAUSE;
    loop {
        let current = seal_kids.borrow_and_update().clone();
        if let Err(failure) = seal_all(&provider, &keys, &current).await {
            tracing::warn!(reason = ?failure, "the configured clients' secrets are not sealed yet");
            // Another state of the keys may be what it takes.
            let _ = timeout(pause, seal_kids.changed()).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            continue;
        }
        pause = FIRST_PAUSE;
        if seal_kids.changed().await.is_err() {
            return;
        }
    }
}

async fn seal_all(
    provider: &Provider,
    keys: &[(&str, &SecretKey)],
    seal_kids: &[String],
) -> Result<(), Failure> {
    if seal_kids.is_empty() {
        // It has not answered yet, or does not say: what is used is sealed when it is.
        return Ok(());
    }
    let mut waiting = Vec::new();
    for (client_id, key) in keys {
        key.wrapped(provider, client_id).await?;
        let sealed = key.to_be_rewrapped(seal_kids);
        waiting.extend(sealed.map(|sealed| (client_id, key, sealed)));
    }
    for batch in waiting.chunks(REWRAPPED_AT_ONCE) {
        let secrets: Vec<&WrappedSecret> = batch.iter().map(|(_, _, sealed)| &**sealed).collect();
        let rewrapped = provider.keys.rewrap(ID, &secrets).await?;
        let mut sealed_again = 0;
        for ((client_id, key, sealed), after) in batch.iter().zip(rewrapped.secrets) {
            match after {
                Some(after) => {
                    key.is_rewrapped(after);
                    sealed_again += 1;
                }
                None => tracing::error!(
                    client_id,
                    kid = sealed.kid(),
                    "the key-service cannot open this client's secret: that key is withdrawn, or another service's; \
                     `oidc-gateway seal-secret` makes a new client_secret_sealed"
                ),
            }
        }
        if sealed_again > 0 {
            tracing::info!(
                kid = rewrapped.kid,
                clients = sealed_again,
                "configured clients' secrets are sealed by the key that seals now"
            );
        }
    }
    Ok(())
}
