//! What is told about a person beside who it is (OpenID Connect Core §5.4, §5.5): by scope, by the `claims` parameter,
//! and by the configuration. Asking is no right: a claim can be asked for by name where its scope could be.

use serde_json::{Map, Value};

use crate::authorization::claims_parameter::ClaimRequest;
use crate::client::Client;
use crate::grant::Grant;
use crate::provider::Provider;
use crate::scope::Scope;
use crate::user::User;
use crate::user::claims::{Telling, is_reserved, scope_of, value_of, without_language};
use crate::user::custom::{Custom, Target};
use crate::user::label::LabelledScope;

/// Who asks, and what for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asking<'a> {
    pub(crate) client: &'a Client,
    pub(crate) grant: &'a Grant,
    /// Within the grant's.
    pub(crate) scope: &'a Scope,
}

/// Which claims an ID token has about the person.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breadth {
    /// Those that were asked for by name, or that the configuration puts there.
    Asked,
    /// Those of the scopes too: there is no access token to get them with (§5.4).
    Scopes,
}

impl Asking<'_> {
    /// OpenID Connect Core §5.3.2, without "sub".
    pub(crate) fn userinfo(self, provider: &Provider, user: &User) -> Map<String, Value> {
        let mut telling = self.by_scope(user);
        self.custom(provider, Target::Userinfo, user, &mut telling);
        if let Some(claims) = &self.grant.claims {
            self.by_name(provider, &claims.userinfo, user, &mut telling);
        }
        telling.into_map()
    }

    /// OpenID Connect Core §2: "ID Tokens MAY contain other Claims."
    pub(super) fn id_token(self, provider: &Provider, breadth: Breadth) -> Map<String, Value> {
        let requested = self.grant.claims.as_ref().map(|claims| &claims.id_token);
        let requested = requested.filter(|claims| !claims.is_empty());
        let is_by_scope = self.client.claims_by_scope || breadth == Breadth::Scopes;
        let has_custom = has(provider, self.client, Target::IdToken);
        if !is_by_scope && !has_custom && requested.is_none() {
            return Map::new();
        }
        let Some(user) = provider.users.by_subject(&self.grant.sub) else {
            return Map::new();
        };
        let mut telling = match is_by_scope {
            true => self.by_scope(user),
            false => self.nothing(user),
        };
        if breadth == Breadth::Scopes {
            self.custom(provider, Target::Userinfo, user, &mut telling);
        }
        self.custom(provider, Target::IdToken, user, &mut telling);
        if let Some(requested) = requested {
            self.by_name(provider, requested, user, &mut telling);
        }
        telling.into_map()
    }

    /// What the configuration alone adds, to a JWT access token or an introspection.
    pub(crate) fn configured(self, provider: &Provider, target: Target) -> Map<String, Value> {
        if !has(provider, self.client, target) {
            return Map::new();
        }
        let is_persons = self.grant.signed_in.is_some();
        let user = is_persons
            .then(|| provider.users.by_subject(&self.grant.sub))
            .flatten();
        let mut told = Map::new();
        for (custom, value) in self.applicable(provider, target, user.map(|user| &**user)) {
            told.insert(custom.name.clone(), value);
        }
        told
    }

    fn nothing<'a>(&'a self, user: &'a User) -> Telling<'a> {
        Telling::of(user, self.grant.claims_locales.tags())
    }

    fn by_scope<'a>(&'a self, user: &'a User) -> Telling<'a> {
        let mut telling = self.nothing(user);
        for word in self.scope.words() {
            // Such a client knows claims by the scope that it asked for, and no others.
            if self.client.claims_by_scope {
                let chosen = self.grant.labels.get(word).map(String::as_str);
                let value = LabelledScope::parse(word).and_then(|scope| scope.value(user, chosen));
                if let Some(value) = value {
                    telling.insert(word, value);
                }
            } else {
                telling.scope(word);
            }
        }
        telling
    }

    fn custom(self, provider: &Provider, target: Target, user: &User, telling: &mut Telling<'_>) {
        for (custom, value) in self.applicable(provider, target, Some(user)) {
            telling.insert(&custom.name, value);
        }
    }

    fn applicable<'a>(
        self,
        provider: &'a Provider,
        target: Target,
        user: Option<&'a User>,
    ) -> impl Iterator<Item = (&'a Custom, Value)>
    where
        Self: 'a,
    {
        let all = provider.config.claims.custom.iter();
        all.filter(move |custom| {
            custom.targets.contains(&target)
                && custom.is_for(self.client.id())
                && custom.is_opened_by(self.scope)
        })
        .filter_map(move |custom| Some((custom, custom.value(user)?)))
    }

    /// §5.5: what is not there, or is another value, is left out, also if it is essential.
    fn by_name<'a>(
        self,
        provider: &Provider,
        requested: impl IntoIterator<Item = (&'a String, &'a ClaimRequest)>,
        user: &User,
        telling: &mut Telling<'_>,
    ) {
        for (name, request) in requested {
            let Some(value) = self.named(provider, name, user) else {
                continue;
            };
            let mut wanted = request.value.iter().chain(&request.values).peekable();
            if wanted.peek().is_none() || wanted.any(|wanted| *wanted == value) {
                telling.insert(name, value);
            }
        }
    }

    /// A claim by its name, if the client could have asked for a scope that opens it.
    fn named(self, provider: &Provider, name: &str, user: &User) -> Option<Value> {
        let base = without_language(name);
        if is_reserved(base) || self.client.claims_by_scope {
            return None;
        }
        let registered = &self.client.scope;
        let configured = provider.config.claims.custom.iter().find(|custom| {
            custom.name == name
                && custom.is_for(self.client.id())
                && custom.is_opened_by(registered)
        });
        if let Some(configured) = configured {
            return configured.value(Some(user));
        }
        if registered.has(scope_of(base).unwrap_or(base)) {
            return value_of(user, name).cloned();
        }
        None
    }
}

fn has(provider: &Provider, client: &Client, target: Target) -> bool {
    let mut all = provider.config.claims.custom.iter();
    all.any(|custom| custom.targets.contains(&target) && custom.is_for(client.id()))
}
