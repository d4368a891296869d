//! The context that everything below the surface works with: who we are, and the ports to store, keys, clock and
//! chance. Nothing is ambient. One for each worker thread, for connections belong to a runtime.

use std::sync::Arc;

use arc_swap::ArcSwapOption;

use crate::authorization::budget::Budget;
use crate::client::{Client, Clients, jwks, registered, registration};
use crate::clock::Clock;
use crate::config::Config;
use crate::endpoint::discovery::Documents;
use crate::error::Failure;
use crate::fetch::Fetch;
use crate::keys::{Directory, Keys};
use crate::login::throttle::Throttle;
use crate::logout::back_channel::Bell;
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
    /// Those of the configuration; `Provider::client` finds the others too.
    pub(crate) clients: Arc<Clients>,
    /// What clients publish at their `jwks_uri`.
    pub(crate) client_jwks: Arc<jwks::Cache>,
    /// Who may register, and how often.
    pub(crate) registration: Arc<registration::Gate>,
    pub(crate) fetch: Arc<Fetch>,
    pub(crate) users: Arc<Users>,
    pub(crate) passwords: Arc<Passwords>,
    pub(crate) throttle: Arc<Throttle>,
    /// For encrypted request objects.
    pub(crate) decryptions: Arc<Budget>,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) keys: Keys,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) metrics: Metrics,
    pub(crate) cookies: cookie::Policy,
    /// Wakes whoever tells clients that a session has ended.
    pub(crate) back_channel: Bell,
    /// What is published, rendered once for each state of the keys.
    pub(crate) documents: Arc<ArcSwapOption<Documents>>,
}

/// What all workers of a process share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) config: Arc<Config>,
    pub(crate) clients: Arc<Clients>,
    pub(crate) client_jwks: Arc<jwks::Cache>,
    pub(crate) registration: Arc<registration::Gate>,
    pub(crate) fetch: Arc<Fetch>,
    pub(crate) users: Arc<Users>,
    pub(crate) passwords: Arc<Passwords>,
    pub(crate) throttle: Arc<Throttle>,
    /// For encrypted request objects.
    pub(crate) decryptions: Arc<Budget>,
    pub(crate) directory: Arc<Directory>,
    pub(crate) documents: Arc<ArcSwapOption<Documents>>,
    pub(crate) clock: Clock,
    pub(crate) random: Random,
    pub(crate) metrics: Metrics,
    pub(crate) back_channel: Bell,
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
            client_jwks: shared.client_jwks.clone(),
            registration: shared.registration.clone(),
            fetch: shared.fetch.clone(),
            users: shared.users.clone(),
            passwords: shared.passwords.clone(),
            throttle: shared.throttle.clone(),
            decryptions: shared.decryptions.clone(),
            documents: shared.documents.clone(),
            clock: shared.clock.clone(),
            random: shared.random.clone(),
            metrics: shared.metrics.clone(),
            back_channel: shared.back_channel.clone(),
            store,
            keys,
        })
    }

    /// A client that exists and is not disabled. A configured one is found without asking the store.
    pub(crate) async fn client(&self, client_id: &str) -> Result<Option<Arc<Client>>, Failure> {
        match self.clients.find(client_id) {
            Some(client) => Ok(Some(client.clone())),
            None if !registered::is_id(client_id) => Ok(None),
            // In memory of its own, so that the future of a request does not grow for those that need none of it.
            None => Box::pin(registered::find(self, client_id)).await,
        }
    }

    /// A URL below the issuer.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("{}{path}", self.issuer)
    }
}
