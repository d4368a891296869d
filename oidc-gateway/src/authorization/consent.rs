//! What a person allowed a client before (OpenID Connect Core §3.1.2.4). It is asked again when anything that was
//! shown is different: a scope or a claim more, another address, another name (BR-04).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::AuthorizationRequest;
use crate::client::Client;
use crate::error::Failure;
use crate::json;
use crate::provider::Provider;
use crate::scope::Scope;
use crate::store::{Key, Write};
use crate::user::label::LabelledScope;
use crate::user::{User, claims};

/// How long it is remembered.
const LIVES: Duration = Duration::from_secs(365 * 86_400);

/// Which of the person's own labels stands behind a labelled scope, by scope: never told to the client.
pub(crate) type Labels = BTreeMap<String, String>;

/// What was allowed.
#[derive(Debug, Serialize, Deserialize)]
struct Consent {
    asked: Asked,
    #[serde(default, skip_serializing_if = "Labels::is_empty")]
    labels: Labels,
}

/// What is shown when a person is asked.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    scope: Scope,
    /// Beside those of the scope.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub(crate) claims: BTreeSet<String>,
    redirect_uri: String,
    client_name: String,
}

impl Asked {
    /// What a request comes to for a person.
    pub(crate) fn of(
        provider: &Provider,
        user: &User,
        client: &Client,
        request: &AuthorizationRequest,
        redirect_uri: &str,
    ) -> Asked {
        Asked {
            scope: request.scope.clone(),
            claims: claims_beyond_scope(provider, user, request),
            redirect_uri: redirect_uri.to_owned(),
            client_name: client.name.clone(),
        }
    }

    /// Whether nothing of it is more than what was asked before.
    fn is_within(&self, before: &Asked) -> bool {
        self.scope.is_within(&before.scope)
            && self.claims.is_subset(&before.claims)
            && self.redirect_uri == before.redirect_uri
            && self.client_name == before.client_name
    }

    /// The labels with which all of it was allowed before; `None`: it was not.
    pub(crate) async fn allowed_before(
        &self,
        provider: &Provider,
        user: &User,
        client: &Client,
    ) -> Result<Option<Labels>, Failure> {
        let key = [Key::consent(&user.subject, client.id())];
        let value = provider.store.get(&key).await?.pop().flatten();
        let consent: Option<Consent> = value.and_then(|value| json::read(value.value()));
        let consent = consent.filter(|consent| self.is_within(&consent.asked));
        Ok(consent.map(|consent| consent.labels))
    }

    /// Remembers that it was allowed.
    pub(crate) async fn remember(
        self,
        provider: &Provider,
        user: &User,
        client: &Client,
        labels: Labels,
    ) -> Result<(), Failure> {
        let consent = Consent {
            asked: self,
            labels,
        };
        let write = Write {
            key: Key::consent(&user.subject, client.id()),
            value: json::write(&consent),
            lives: LIVES,
        };
        provider.store.put(&[write]).await?;
        Ok(())
    }
}

/// Claims that are asked for one by one (OpenID Connect Core §5.5), that the scope does not open and that there are.
fn claims_beyond_scope(
    provider: &Provider,
    user: &User,
    request: &AuthorizationRequest,
) -> BTreeSet<String> {
    let Some(asked) = &request.claims else {
        return BTreeSet::new();
    };
    let custom = &provider.config.claims.custom;
    asked
        .id_token
        .keys()
        .chain(asked.userinfo.keys())
        .filter(|name| {
            let base = claims::without_language(name);
            let is_open = claims::scope_of(base).is_some_and(|scope| request.scope.has(scope));
            let exists = user.claims.contains_key(base)
                || claims::value_of(user, name).is_some()
                || custom.iter().any(|custom| custom.name == **name);
            exists && !is_open && !claims::is_reserved(base)
        })
        .cloned()
        .collect()
}

/// A labelled scope, the person's labels that could stand behind it, and the likeliest one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) scope: String,
    pub(crate) labels: Vec<String>,
    pub(crate) suggested: String,
}

/// What a person chooses at consent: nothing, unless the client uses labelled scopes.
pub(crate) fn choices(user: &User, client: &Client, request: &AuthorizationRequest) -> Vec<Choice> {
    if !client.claims_by_scope {
        return Vec::new();
    }
    let words = request.scope.words();
    words
        .filter_map(|word| {
            let scope = LabelledScope::parse(word)?;
            let labels = scope.own_labels(user);
            let suggested = scope.suggested(&labels)?.to_owned();
            Some(Choice {
                scope: word.to_owned(),
                labels,
                suggested,
            })
        })
        .collect()
}
