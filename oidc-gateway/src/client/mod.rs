//! Clients (RFC 6749 §2): parsed metadata in which everything goes together, and the registry of those that are
//! configured. Those that register themselves live in the store: see `registered`.

pub(crate) mod assertion;
pub(crate) mod authentication;
mod check;
mod gate;
pub mod jwks;
mod localized;
pub mod metadata;
mod methods;
mod proposed;
mod protection;
pub(crate) mod redirect_uri;
pub(crate) mod registered;
pub mod registration;
pub(crate) mod rewrap;
pub(crate) mod secret;
pub(crate) mod secret_key;
mod sector;
pub mod supported;
mod wire;

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

pub use metadata::Metadata;
use metadata::{
    ApplicationType, AuthenticationMethod, ConsentMode, GrantType, Localized, ResponseMode,
    ResponseType,
};

use self::jwks::ClientKeys;
use self::secret::ClientSecret;
use crate::error::Failure;
use crate::jose::alg::{Algorithm, Protection};
use crate::keys::{Expected, VerificationKey, Verified};
use crate::page::locale::Locales;
use crate::pkce;
use crate::provider::Provider;
use crate::scope::{Scope, Separator};
use crate::user::label::LabelledScope;

/// Metadata that cannot work: which member, and a sentence (RFC 7591 §3.2.2 `invalid_client_metadata`).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("client `{client_id}`: {member}: {sentence}")]
pub struct Invalid {
    /// Whose.
    pub client_id: String,
    /// Which.
    pub member: &'static str,
    /// Why, and what to do.
    pub sentence: String,
}

/// The same of metadata that is nobody's yet. Made of constant words alone where it is said to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) member: &'static str,
    pub(crate) sentence: Cow<'static, str>,
}

impl Wrong {
    pub(crate) fn new(member: &'static str, sentence: impl Into<Cow<'static, str>>) -> Wrong {
        Wrong {
            member,
            sentence: sentence.into(),
        }
    }
}

/// A client whose metadata goes together. The members are those of the wire.
#[derive(Debug)]
pub struct Client {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) logo_uri: Option<String>,
    pub(crate) policy_uri: Option<String>,
    pub(crate) tos_uri: Option<String>,
    localized: Localized,
    pub(crate) application_type: ApplicationType,
    pub(crate) redirect_uris: Vec<String>,
    /// Of each of `redirect_uris`, where it has one.
    redirect_origins: Vec<Option<String>>,
    pub(crate) post_logout_redirect_uris: Vec<String>,
    grant_types: Vec<GrantType>,
    pub(crate) response_types: Vec<ResponseType>,
    /// Absent: all.
    pub(crate) response_modes: Option<Vec<ResponseMode>>,
    pub(crate) scope: Scope,
    token_endpoint: Authentication,
    introspection_endpoint: Authentication,
    revocation_endpoint: Authentication,
    assertion_audience: AssertionAudience,
    secret: Option<ClientSecret>,
    pub(crate) jwks: ClientKeys,
    pub(crate) id_token: Protection,
    pub(crate) userinfo: Protection,
    pub(crate) request_object: RequestObjectRules,
    pub(crate) request_uris: Vec<String>,
    /// The sector of pairwise subjects: a host, or host and port. Absent: public subjects.
    pub(crate) sector: Option<String>,
    pub(crate) default_max_age: Option<u32>,
    pub(crate) default_acr_values: Vec<String>,
    pub(crate) initiate_login_uri: Option<String>,
    pub(crate) frontchannel_logout_uri: Option<String>,
    pub(crate) backchannel_logout_uri: Option<String>,
    pub(crate) consent: ConsentMode,
    pub(crate) access_token: AccessToken,
    pub(crate) audience: Vec<String>,
    pub(crate) pkce: pkce::Required,
    /// Signet's own members for clients that were written for other providers.
    pub(crate) scope_separator: Separator,
    pub(crate) claims_by_scope: bool,
    pub(crate) refresh_token_without_offline_access: bool,
    pub(crate) allow_omitted_redirect_uri: bool,
    pub(crate) disabled: bool,
    /// Of a registered client: when its record goes unless it is used. Seconds since 1970-01-01T00:00:00Z.
    kept_until: Option<i64>,
}

/// How a client proves that it is itself at one endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Authentication {
    pub(crate) method: AuthenticationMethod,
    /// The only one of assertions; absent: each that goes with the method.
    pub(crate) signing_alg: Option<Algorithm>,
}

/// Which "aud" a client assertion may have (CA-02).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AssertionAudience {
    /// The issuer as the one string.
    IssuerAlone,
    /// The issuer or the token endpoint, alone or in a list (RFC 7523 §3 as it was before 2025).
    TokenEndpointToo,
}

/// What its request objects must be (OpenID Connect Registration §2); absent: what it likes. How it means to encrypt
/// them binds it to nothing: it "MAY still use other supported encryption algorithms".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RequestObjectRules {
    pub(crate) signing_alg: Option<Algorithm>,
}

/// What its access tokens look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccessToken {
    Opaque,
    Jwt(Algorithm),
}

/// An endpoint to which clients authenticate themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum At {
    Token,
    Introspection,
    Revocation,
}

impl Client {
    /// Its `client_id`.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Whether it registered itself.
    pub(crate) fn is_registered(&self) -> bool {
        self.kept_until.is_some()
    }

    /// The origin of a redirect URI of this client (RFC 6454 §4), where it has one. It is known of each that is
    /// registered, and found out for a native client's at another port.
    pub(crate) fn origin_of(&self, redirect_uri: &str) -> Option<Cow<'_, str>> {
        let mut registered = self.redirect_uris.iter();
        match registered.position(|each| each == redirect_uri) {
            Some(at) => self.redirect_origins[at].as_deref().map(Cow::Borrowed),
            None => redirect_uri::origin(redirect_uri).map(Cow::Owned),
        }
    }

    pub(crate) fn may_use(&self, grant: GrantType) -> bool {
        self.grant_types.contains(&grant)
    }

    /// Whether it is registered for a scope; for every label, if it is for one without.
    pub(crate) fn may_have_scope(&self, word: &str) -> bool {
        if self.scope.has(word) {
            return true;
        }
        let labelled = LabelledScope::parse(word).filter(|_| self.claims_by_scope);
        labelled.is_some_and(|labelled| self.scope.has(labelled.unlabelled()))
    }

    pub(crate) fn may_ask_for(&self, response: ResponseType) -> bool {
        self.response_types.contains(&response)
    }

    pub(crate) fn may_be_answered_by(&self, mode: ResponseMode) -> bool {
        let modes = self.response_modes.as_deref();
        modes.is_none_or(|modes| modes.contains(&mode))
    }

    pub(crate) fn authentication(&self, at: At) -> &Authentication {
        match at {
            At::Token => &self.token_endpoint,
            At::Introspection => &self.introspection_endpoint,
            At::Revocation => &self.revocation_endpoint,
        }
    }

    /// Its name, in the first of these languages that it has; without any, the one for everybody.
    pub(crate) fn name(&self, locales: &Locales) -> &str {
        let localized = self.localized.find("client_name", locales);
        let localized = localized.filter(|name| !name.trim().is_empty());
        localized.unwrap_or(&self.name)
    }

    pub(crate) fn logo_uri(&self, locales: &Locales) -> Option<&str> {
        let localized = self.localized.find("logo_uri", locales);
        localized.or(self.logo_uri.as_deref())
    }

    pub(crate) fn policy_uri(&self, locales: &Locales) -> Option<&str> {
        let localized = self.localized.find("policy_uri", locales);
        localized.or(self.policy_uri.as_deref())
    }

    pub(crate) fn tos_uri(&self, locales: &Locales) -> Option<&str> {
        let localized = self.localized.find("tos_uri", locales);
        localized.or(self.tos_uri.as_deref())
    }

    /// Verifies a JWS that this client signed: under its secret where the algorithm is symmetric, else under its keys.
    /// `None`: it does not verify, or is not what was expected.
    pub(crate) async fn verify(
        &self,
        provider: &Provider,
        request_id: &str,
        compact: &str,
        expected: &Expected<'_>,
    ) -> Result<Option<Verified>, Failure> {
        let named = crate::jose::jwt::unverified_algorithm(compact);
        let Some(algorithm) = named.filter(|named| expected.algorithms.contains(named)) else {
            return Ok(None);
        };
        if !algorithm.is_symmetric() {
            let keys = &self.jwks;
            return keys.verify(provider, request_id, compact, expected).await;
        }
        if !self.has_secret_key() || self.secret_has_expired(provider) {
            return Ok(None);
        }
        let secret = self.wrapped_secret(provider).await?;
        let key = VerificationKey::Secret(&secret);
        Ok(provider
            .keys
            .verify(request_id, compact, expected, key)
            .await?)
    }

    pub(crate) fn secret_has_expired(&self, provider: &Provider) -> bool {
        let now = provider.clock.now();
        self.secret
            .as_ref()
            .is_some_and(|secret| secret.has_expired(now))
    }
}

/// The configured clients, by `client_id`.
#[derive(Debug, Default)]
pub struct Clients(HashMap<String, Arc<Client>>);

impl Clients {
    /// Parses all metadata; refuses the first that does not go together, or a `client_id` that is there twice.
    ///
    /// # Errors
    /// Whose, which member, and why.
    pub fn parse(all: Vec<Metadata>) -> Result<Clients, Invalid> {
        let mut clients = HashMap::with_capacity(all.len());
        for metadata in all {
            let client = Client::parse(metadata)?;
            let invalid = |sentence: &str| Invalid {
                client_id: client.id.clone(),
                member: "client_id",
                sentence: sentence.to_owned(),
            };
            if registered::is_id(&client.id) {
                return Err(invalid(
                    "has the form of those that registration gives: choose another",
                ));
            }
            if clients.contains_key(&client.id) {
                return Err(invalid("is there twice"));
            }
            clients.insert(client.id.clone(), Arc::new(client));
        }
        Ok(Clients(clients))
    }

    /// A configured client that is not disabled. Those that registered themselves are found by `Provider::client`.
    pub(crate) fn find(&self, client_id: &str) -> Option<&Arc<Client>> {
        self.0.get(client_id).filter(|client| !client.disabled)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Client>> {
        self.0.values()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_configured_clients() {
        let metadata = |client_id: &str| Metadata {
            client_id: client_id.to_owned(),
            token_endpoint_auth_method: Some(AuthenticationMethod::None),
            redirect_uris: vec!["https://rp.example/cb".to_owned()],
            ..Metadata::default()
        };
        for (ids, good) in [
            (["one", "two"], true),
            (["one", "one"], false),
            (["one", "r-AAAAAAAAAAAAAAAAAAAAAA"], false),
            (["one", "r-A"], true),
        ] {
            let parsed = Clients::parse(ids.map(metadata).to_vec());
            let member = parsed.as_ref().err().map(|invalid| invalid.member);
            assert_eq!(member, (!good).then_some("client_id"), "{ids:?}");
            let found = parsed.ok().map(|clients| clients.find("one").is_some());
            assert_ne!(found, Some(false), "{ids:?}");
        }
    }
}
