//! A request that waits for a person: kept in the store under a random name that stands in the page's URL, and bound
//! to the browser that made it (BR-02). It ends when the answer is given: an approval succeeds at most once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{AuthorizationRequest, ReturnAddress};
use crate::clock::seconds;
use crate::error::{Code, Failure, Refusal};
use crate::provider::Provider;
use crate::store::{Key, Stored, Swap, Write};
use crate::token::hint::Hint;
use crate::{json, page};

/// How long a person may take to sign in. Anybody can begin this without having shown who they are: it is kept short.
const UNTIL_SIGNED_IN: Duration = Duration::from_secs(10 * 60);

/// How long a person who has signed in may take.
const LIVES: Duration = Duration::from_secs(30 * 60);

/// Octets of a request that is kept: more is not, for the same reason.
const LONGEST: usize = 4096;

/// How often a change is tried while others change it too.
const TRIES: usize = 4;

const GONE: Failure = Failure::Page(page::text::INTERACTION_ENDED);

/// What waits.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Interaction {
    pub(crate) address: ReturnAddress,
    pub(crate) request: AuthorizationRequest,
    /// Which browser it belongs to: a hash of its cookie.
    browser: String,
    /// Who signed in for this very request, or said to go on as who they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) signed_in: Option<String>,
    /// Whom a verified `id_token_hint` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) meant: Option<Hint>,
    /// Seconds since 1970-01-01T00:00:00Z.
    expires: i64,
}

/// An interaction and its name.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    pub(crate) id: String,
    pub(crate) interaction: Interaction,
    /// As it was loaded; `None`: it is new.
    before: Option<Stored>,
}

impl Waiting {
    /// Not stored yet.
    pub(crate) fn new(
        provider: &Provider,
        address: ReturnAddress,
        request: AuthorizationRequest,
        browser: String,
    ) -> Waiting {
        Waiting {
            id: provider.random.token256(),
            interaction: Interaction {
                address,
                request,
                browser,
                signed_in: None,
                meant: None,
                expires: provider.clock.now() + seconds(UNTIL_SIGNED_IN),
            },
            before: None,
        }
    }

    /// Whether it is short enough to be kept.
    pub(crate) fn fits(&self) -> Result<(), Refusal> {
        match json::write(&self.interaction).len() {
            0..=LONGEST => Ok(()),
            _ => Err(Refusal::new(
                Code::InvalidRequest,
                "the request is too long to be kept while a person signs in",
            )),
        }
    }

    /// Somebody is known by now: there is more time.
    pub(crate) fn is_for(&mut self, provider: &Provider, subject: String) {
        self.interaction.signed_in = Some(subject);
        self.interaction.expires = provider.clock.now() + seconds(LIVES);
    }

    /// Stores it as it is, unless it was finished meanwhile: then it stays so.
    pub(crate) async fn save(&self, provider: &Provider) -> Result<(), Failure> {
        let left = self.interaction.expires - provider.clock.now();
        let write = Write {
            key: Key::interaction(&self.id),
            value: json::write(&self.interaction),
            lives: Duration::from_secs(u64::try_from(left).unwrap_or(0).max(1)),
        };
        let Some(mut before) = self.before.clone() else {
            provider.store.put(&[write]).await?;
            return Ok(());
        };
        // A form that was sent twice is saved twice; whoever is later wins.
        for _ in 0..TRIES {
            match provider.store.swap(&before, &write).await? {
                Swap::Done => return Ok(()),
                Swap::Changed(None) => return Err(GONE),
                Swap::Changed(Some(current)) => before = current,
            }
        }
        Err(GONE)
    }

    /// The interaction of this name, if it is this browser's.
    pub(crate) async fn load(
        provider: &Provider,
        id: Option<&str>,
        browser: Option<&str>,
    ) -> Result<Waiting, Failure> {
        let (Some(id), Some(browser)) = (id, browser) else {
            return Err(GONE);
        };
        let key = [Key::interaction(id)];
        let value = provider
            .store
            .get(&key)
            .await?
            .pop()
            .flatten()
            .ok_or(GONE)?;
        let interaction: Interaction = json::read(value.value()).ok_or(GONE)?;
        if interaction.browser != browser || interaction.expires <= provider.clock.now() {
            return Err(GONE);
        }
        Ok(Waiting {
            id: id.to_owned(),
            interaction,
            before: Some(value),
        })
    }

    /// Takes it: whoever else comes with it finds nothing.
    pub(crate) async fn finish(self, provider: &Provider) -> Result<Interaction, Failure> {
        match provider.store.delete(&[Key::interaction(&self.id)]).await? {
            0 => Err(GONE),
            _ => Ok(self.interaction),
        }
    }
}
