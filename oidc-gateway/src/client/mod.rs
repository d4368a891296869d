//! Clients (RFC 6749 §2): parsed metadata in which everything goes together, and the registry of them.

pub(crate) mod assertion;
pub(crate) mod authentication;
pub mod metadata;
pub(crate) mod redirect_uri;

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;

pub use metadata::Metadata;
use metadata::{
    AccessTokenFormat, ApplicationType, AuthenticationMethod, ConsentMode, GrantType, ResponseType,
};

use crate::jose::alg::Algorithm;
use crate::password::PasswordHash;
use crate::pkce;
use crate::scope::Scope;
use crate::secret::Secret;

/// What a client may ask for unless its metadata says otherwise.
const DEFAULT_SCOPE: &str = "openid profile email address phone offline_access";
/// A configured secret in clear shorter than this can be guessed (RFC 6819 §5.1.4.2.2).
const SHORTEST_SECRET: usize = 32;

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

/// A client whose metadata goes together.
#[derive(Debug)]
pub struct Client {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) logo_uri: Option<String>,
    pub(crate) policy_uri: Option<String>,
    pub(crate) tos_uri: Option<String>,
    pub(crate) application_type: ApplicationType,
    pub(crate) redirect_uris: Vec<String>,
    pub(crate) post_logout_redirect_uris: Vec<String>,
    grant_types: Vec<GrantType>,
    response_types: Vec<ResponseType>,
    pub(crate) scope: Scope,
    pub(crate) authentication: Authentication,
    pub(crate) id_token_algorithm: Algorithm,
    pub(crate) default_max_age: Option<u32>,
    pub(crate) consent: ConsentMode,
    pub(crate) access_token: AccessToken,
    pub(crate) audience: Vec<String>,
    pub(crate) pkce: pkce::Required,
    pub(crate) disabled: bool,
}

/// How a client proves that it is itself: one way, with what that way needs.
#[derive(Debug)]
pub(crate) enum Authentication {
    /// `client_secret_basic`.
    SecretBasic(ClientSecret),
    /// `client_secret_post`.
    SecretPost(ClientSecret),
    /// `private_key_jwt`.
    PrivateKeyJwt {
        /// A JWK Set of public keys as JSON.
        jwks: bytes::Bytes,
        algorithms: Vec<Algorithm>,
        audience: AssertionAudience,
    },
    /// `none`.
    None,
}

/// Which "aud" a client assertion may have (CA-02).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AssertionAudience {
    /// The issuer as the one string.
    IssuerAlone,
    /// The issuer or the token endpoint, alone or in a list (RFC 7523 §3 as it was before 2025).
    TokenEndpointToo,
}

/// A secret that is compared, never used as a key.
#[derive(Debug)]
pub(crate) enum ClientSecret {
    Clear(Secret<String>),
    Hashed(PasswordHash),
}

/// What its access tokens look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AccessToken {
    Opaque,
    Jwt(Algorithm),
}

impl Client {
    /// Checks that the members go together.
    pub fn parse(metadata: Metadata) -> Result<Client, Invalid> {
        let id = metadata.client_id.clone();
        let invalid = |member, sentence: &str| Invalid {
            client_id: id.clone(),
            member,
            sentence: sentence.to_owned(),
        };
        // RFC 6749 appendix A.1: client-id = *VSCHAR.
        if id.is_empty() || id.len() > 256 || !id.bytes().all(|octet| matches!(octet, 0x21..=0x7e))
        {
            return Err(invalid(
                "client_id",
                "must be 1 to 256 visible ASCII characters",
            ));
        }
        let grant_types = metadata
            .grant_types
            .clone()
            .unwrap_or_else(|| vec![GrantType::AuthorizationCode]);
        let uses_code = grant_types.contains(&GrantType::AuthorizationCode);
        let response_types = match metadata.response_types.clone() {
            Some(types) => types,
            None if uses_code => vec![ResponseType::Code],
            None => Vec::new(),
        };
        // RFC 7591 §2.1: the two belong together.
        if uses_code != response_types.contains(&ResponseType::Code) {
            return Err(invalid(
                "response_types",
                "`code` and the grant type `authorization_code` need each other",
            ));
        }
        if grant_types.contains(&GrantType::RefreshToken) && !uses_code {
            return Err(invalid(
                "grant_types",
                "`refresh_token` needs `authorization_code`",
            ));
        }
        let application_type = metadata.application_type.unwrap_or(ApplicationType::Web);
        if uses_code && metadata.redirect_uris.is_empty() {
            return Err(invalid(
                "redirect_uris",
                "at least one is needed for `authorization_code`",
            ));
        }
        for uri in &metadata.redirect_uris {
            redirect_uri::check(uri, application_type)
                .map_err(|why| invalid("redirect_uris", why))?;
        }
        for uri in &metadata.post_logout_redirect_uris {
            redirect_uri::check(uri, application_type)
                .map_err(|why| invalid("post_logout_redirect_uris", why))?;
        }
        let shown = [
            ("client_uri", &metadata.client_uri),
            ("logo_uri", &metadata.logo_uri),
            ("policy_uri", &metadata.policy_uri),
            ("tos_uri", &metadata.tos_uri),
        ];
        for (member, uri) in shown {
            if uri
                .as_deref()
                .is_some_and(|uri| !redirect_uri::is_https(uri))
            {
                return Err(invalid(member, "must be an https URI"));
            }
        }
        let scope = Scope::parse(metadata.scope.as_deref().unwrap_or(DEFAULT_SCOPE))
            .map_err(|refusal| invalid("scope", refusal.description))?;
        let authentication = authentication(&metadata, &invalid)?;
        if matches!(authentication, Authentication::None)
            && grant_types.contains(&GrantType::ClientCredentials)
        {
            // RFC 6749 §4.4: confidential clients only.
            return Err(invalid(
                "grant_types",
                "a public client cannot use `client_credentials`",
            ));
        }
        let access_token = match metadata
            .access_token_format
            .unwrap_or(AccessTokenFormat::Opaque)
        {
            AccessTokenFormat::Opaque if metadata.access_token_signed_response_alg.is_some() => {
                return Err(invalid(
                    "access_token_signed_response_alg",
                    "goes with access_token_format = \"jwt\"",
                ));
            }
            AccessTokenFormat::Opaque => AccessToken::Opaque,
            AccessTokenFormat::Jwt => AccessToken::Jwt(
                metadata
                    .access_token_signed_response_alg
                    .unwrap_or(Algorithm::RS256),
            ),
        };
        let is_public = matches!(authentication, Authentication::None);
        if is_public && metadata.require_pkce == Some(false) {
            return Err(invalid(
                "require_pkce",
                "a public client always uses PKCE (RFC 9700 §2.1.1)",
            ));
        }
        let pkce = if is_public || metadata.require_pkce == Some(true) {
            pkce::Required::Yes
        } else {
            pkce::Required::No
        };
        Ok(Client {
            name: metadata
                .client_name
                .filter(|name| !name.is_empty())
                .unwrap_or_else(|| id.clone()),
            logo_uri: metadata.logo_uri,
            policy_uri: metadata.policy_uri,
            tos_uri: metadata.tos_uri,
            application_type,
            redirect_uris: metadata.redirect_uris,
            post_logout_redirect_uris: metadata.post_logout_redirect_uris,
            grant_types,
            response_types,
            scope,
            authentication,
            id_token_algorithm: metadata
                .id_token_signed_response_alg
                .unwrap_or(Algorithm::RS256),
            default_max_age: metadata.default_max_age,
            consent: metadata.consent.unwrap_or(ConsentMode::Explicit),
            access_token,
            audience: metadata.audience,
            pkce,
            disabled: metadata.disabled,
            id,
        })
    }

    /// Its `client_id`.
    pub fn id(&self) -> &str {
        &self.id
    }

    pub(crate) fn may_use(&self, grant: GrantType) -> bool {
        self.grant_types.contains(&grant)
    }

    pub(crate) fn may_ask_for(&self, response: ResponseType) -> bool {
        self.response_types.contains(&response)
    }
}

/// The one way of authentication, and that what it needs is there and nothing else is.
fn authentication(
    metadata: &Metadata,
    invalid: &impl Fn(&'static str, &str) -> Invalid,
) -> Result<Authentication, Invalid> {
    let method = metadata
        .token_endpoint_auth_method
        .unwrap_or(AuthenticationMethod::ClientSecretBasic);
    let secret = || match (&metadata.client_secret, &metadata.client_secret_hash) {
        (Some(_), Some(_)) => Err(invalid(
            "client_secret_hash",
            "give either client_secret or client_secret_hash",
        )),
        (None, None) => Err(invalid(
            "client_secret_hash",
            "is missing: `oidc-gateway hash-password` makes one, or set token_endpoint_auth_method",
        )),
        (Some(clear), None) if clear.expose().len() < SHORTEST_SECRET => Err(invalid(
            "client_secret",
            "a secret in clear has at least 32 characters: give client_secret_hash for a shorter one",
        )),
        (Some(clear), None) => Ok(ClientSecret::Clear(clear.clone())),
        (None, Some(hash)) => PasswordHash::parse(hash.expose())
            .map(ClientSecret::Hashed)
            .map_err(|why| invalid("client_secret_hash", &why.to_string())),
    };
    let has_secret = metadata.client_secret.is_some() || metadata.client_secret_hash.is_some();
    let unused_secret = || {
        invalid(
            "client_secret",
            "is not used with this token_endpoint_auth_method",
        )
    };
    if method != AuthenticationMethod::PrivateKeyJwt
        && metadata.token_endpoint_auth_signing_alg.is_some()
    {
        return Err(invalid(
            "token_endpoint_auth_signing_alg",
            "goes with private_key_jwt",
        ));
    }
    match method {
        AuthenticationMethod::ClientSecretBasic => Ok(Authentication::SecretBasic(secret()?)),
        AuthenticationMethod::ClientSecretPost => Ok(Authentication::SecretPost(secret()?)),
        AuthenticationMethod::None if has_secret => Err(unused_secret()),
        AuthenticationMethod::None => Ok(Authentication::None),
        AuthenticationMethod::PrivateKeyJwt if has_secret => Err(unused_secret()),
        AuthenticationMethod::PrivateKeyJwt => {
            let jwks = metadata.jwks.as_ref().ok_or_else(|| {
                invalid(
                    "jwks",
                    "is missing: private_key_jwt needs the client's public keys",
                )
            })?;
            Ok(Authentication::PrivateKeyJwt {
                jwks: public_jwks(jwks).map_err(|why| invalid("jwks", why))?,
                algorithms: match metadata.token_endpoint_auth_signing_alg {
                    Some(algorithm) => vec![algorithm],
                    None => Algorithm::ALL.to_vec(),
                },
                audience: match metadata.allow_token_endpoint_audience {
                    Some(true) => AssertionAudience::TokenEndpointToo,
                    _ => AssertionAudience::IssuerAlone,
                },
            })
        }
    }
}

/// The form of a JWK Set (RFC 7517 §5) of public keys. The key-service checks the keys themselves when it uses one.
fn public_jwks(jwks: &Value) -> Result<bytes::Bytes, &'static str> {
    let keys = jwks
        .get("keys")
        .and_then(Value::as_array)
        .ok_or("must be a JWK Set: {\"keys\": [...]}")?;
    if keys.is_empty() || keys.len() > 32 {
        return Err("must hold 1 to 32 keys");
    }
    for key in keys {
        // RFC 7518 §6: a private or symmetric key has no business here.
        if !key.is_object()
            || ["d", "p", "q", "k"]
                .iter()
                .any(|member| key.get(member).is_some())
        {
            return Err("must hold public keys only");
        }
    }
    Ok(jwks.to_string().into())
}

/// All clients, by `client_id`.
#[derive(Debug, Default)]
pub struct Clients(HashMap<String, Arc<Client>>);

impl Clients {
    /// Parses all metadata; refuses the first that does not go together, or a `client_id` that is there twice.
    pub fn parse(all: Vec<Metadata>) -> Result<Clients, Invalid> {
        let mut clients = HashMap::with_capacity(all.len());
        for metadata in all {
            let idle = metadata.not_acted_upon();
            let client = Client::parse(metadata)?;
            if !idle.is_empty() {
                tracing::warn!(client_id = client.id, members = ?idle, "client metadata that this version does not act upon");
            }
            if let Some(before) = clients.insert(client.id.clone(), Arc::new(client)) {
                return Err(Invalid {
                    client_id: before.id.clone(),
                    member: "client_id",
                    sentence: "is there twice".to_owned(),
                });
            }
        }
        Ok(Clients(clients))
    }

    /// A client that exists and is not disabled.
    pub(crate) fn find(&self, client_id: &str) -> Option<&Arc<Client>> {
        self.0.get(client_id).filter(|client| !client.disabled)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Arc<Client>> {
        self.0.values()
    }
}
