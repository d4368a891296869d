//! The context that everything below the surface works with: who we are, and the ports to store, keys, clock and
//! chance. Nothing is ambient. One for each worker thread, for connections belong to a runtime.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::client::Clients;
use crate::clock::Clock;
use crate::config::Config;
use crate::endpoint::discovery::Documents;
use crate::keys::{Directory, Keys};
use crate::login::throttle::Throttle;
use crate::metrics::Metrics;
use crate::password::Passwords;
use crate::random::Random;
use crate::store::Store;
use crate::user::Directory as Users;
use crate::web::cookie;

/// One worker's view of the provider.
#[derive(Clone)]
pub(crate) struct Provider {
    /// From the configuration alone, never from a request (BR-12).
    pub(crate) issuer: Arc<str>,
    pub(crate) config: Arc<Config>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) users: Arc<Users>,
    pub(crate) passwords: Arc<Passwords>,
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keys: Keys,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) metrics: Metrics,
    pub(crate) cookies: cookie::Policy,
    /// What is published, rendered once for each state of the keys.
    pub(crate) documents: Arc<ArcSwapOption<Documents>>,
}

/// What all workers of a process share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) users: Arc<Users>,
    pub(crate) passwords: Arc<Passwords>,
    pub(crate) throttle: Arc<Throttle>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) documents: Arc<ArcSwapOption<Documents>>,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) metrics: Metrics,
}

impl Provider {
    /// One worker's provider. Must be called on the worker's runtime: its connections live there.
    pub(crate) fn assemble(
        shared: &Shared,
        store: Arc<dyn Store>,
    ) -> Result<Provider, crate::keys::Unusable> {
        let keys = Keys::connect(
            &shared.config.keys,
            shared.directory.clone(),
            shared.metrics.clone(),
        )?;
        Ok(Provider {
            issuer: shared.config.issuer.as_str().into(),
            cookies: cookie::Policy::of_issuer(&shared.config.issuer),
            config: shared.config.clone(),
            clients: shared.clients.clone(),
            users: shared.users.clone(),
            passwords: shared.passwords.clone(),
            throttle: shared.throttle.clone(),
            documents: shared.documents.clone(),
            clock: shared.clock.clone(),
            random: shared.random.clone(),
            metrics: shared.metrics.clone(),
            store,
            keys,
        })
    }

    /// A URL below the issuer.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer)
    }
}
