//! Whether a client's ways of authentication go together with what it has for them: a secret, keys, or neither
//! (OpenID Connect Core §9).

use super::jwks::ClientKeys;
use super::metadata::{AuthenticationMethod, Metadata};
use super::secret::{self, ClientSecret, LENGTHS};
use super::secret_key::SecretKey;
use super::{Authentication, Wrong};
use crate::jose::alg::Algorithm;
use crate::jose::jwe::SealedHeader;
use crate::keys::WrappedSecret;
use crate::password::PasswordHash;
use crate::pkce;
use crate::secret::Secret;

/// Of a configured client, whose secret somebody wrote down.
pub(super) fn configured_secret(metadata: &Metadata) -> Result<Option<ClientSecret>, Wrong> {
    let hash = metadata.client_secret_hash.as_ref();
    let hash = hash.map(|hash| PasswordHash::parse(hash.expose()));
    let hash = hash
        .transpose()
        .map_err(|why| Wrong::new("client_secret_hash", why.to_string()))?;
    match (&metadata.client_secret, &metadata.client_secret_sealed) {
        (Some(_), _) if hash.is_some() => Err(Wrong::new(
            "client_secret_hash",
            "give either client_secret or client_secret_hash",
        )),
        (Some(_), Some(_)) => Err(Wrong::new(
            "client_secret_sealed",
            "give either client_secret or client_secret_sealed",
        )),
        (Some(clear), None) => clear_secret(metadata, clear).map(Some),
        (None, Some(sealed)) => sealed_secret(metadata, sealed, hash).map(Some),
        (None, None) => Ok(hash.map(ClientSecret::Hashed)),
    }
}

/// What is compared needs no more than its hash from here on, for it was generated.
fn clear_secret(metadata: &Metadata, clear: &Secret<String>) -> Result<ClientSecret, Wrong> {
    let length = clear.expose().len();
    if length < *LENGTHS.start() {
        return Err(Wrong::new(
            "client_secret",
            "a secret in clear has at least 32 characters: give client_secret_hash for a shorter one",
        ));
    }
    if length > *LENGTHS.end() {
        return Err(Wrong::new("client_secret", "has more than 1024 characters"));
    }
    match metadata.shortest_key() {
        None => Ok(ClientSecret::Hashed(PasswordHash::of_generated(
            clear.expose(),
        ))),
        Some(shortest) if length < shortest => Err(Wrong::new(
            "client_secret",
            "is too short for an algorithm that it is the key of: HS384 takes 48 characters, HS512 64",
        )),
        Some(_) => {
            let hash = is_presented(metadata).then(|| PasswordHash::of_key(clear.expose()));
            Ok(ClientSecret::Key(SecretKey::clear(clear.clone(), hash)))
        }
    }
}

/// What the key-service sealed: whether it opens is known when that answers.
fn sealed_secret(
    metadata: &Metadata,
    sealed: &str,
    hash: Option<PasswordHash>,
) -> Result<ClientSecret, Wrong> {
    let wrong = |sentence: &'static str| Err(Wrong::new("client_secret_sealed", sentence));
    let Some(SealedHeader { context, .. }) = SealedHeader::parse(sealed) else {
        return wrong("is not what `oidc-gateway seal-secret` prints");
    };
    if context != secret::context(&metadata.client_id) {
        return wrong(
            "was sealed for another client_id: `oidc-gateway seal-secret` makes one for this",
        );
    }
    if metadata.shortest_key().is_none() {
        return wrong(
            "is for a secret that is the key of an algorithm: here client_secret_hash is enough",
        );
    }
    if is_presented(metadata) && hash.is_none() {
        return Err(Wrong::new(
            "client_secret_hash",
            "is missing beside client_secret_sealed: the client also presents its secret",
        ));
    }
    if hash.as_ref().is_some_and(PasswordHash::is_a_key_itself) {
        return Err(Wrong::new(
            "client_secret_hash",
            "would do as the key (OpenID Connect Core §10.2): take the one that `oidc-gateway seal-secret` prints",
        ));
    }
    let sealed = sealed.to_owned();
    let wrapped = WrappedSecret { sealed, context };
    Ok(ClientSecret::Key(SecretKey::sealed(wrapped, hash)))
}

/// Whether the secret itself is sent to one of the endpoints.
fn is_presented(metadata: &Metadata) -> bool {
    use AuthenticationMethod::{ClientSecretBasic, ClientSecretPost};
    let token = metadata.token_endpoint_auth_method;
    [
        Some(token.unwrap_or(ClientSecretBasic)),
        metadata.introspection_endpoint_auth_method,
        metadata.revocation_endpoint_auth_method,
    ]
    .into_iter()
    .flatten()
    .any(|method| matches!(method, ClientSecretBasic | ClientSecretPost))
}

pub(super) fn check_secret(
    metadata: &Metadata,
    secret: Option<&ClientSecret>,
) -> Result<(), Wrong> {
    match (metadata.needs_secret(), secret) {
        (true, None) => {
            if !is_presented(metadata) {
                return Err(Wrong::new(
                    "client_secret_sealed",
                    "is missing: `oidc-gateway seal-secret` makes one, before there is this entry",
                ));
            }
            return Err(Wrong::new(
                "client_secret_hash",
                "is missing: `oidc-gateway hash-password` makes one, or set token_endpoint_auth_method",
            ));
        }
        (false, Some(_)) => {
            return Err(Wrong::new(
                "client_secret",
                "is not used with this token_endpoint_auth_method",
            ));
        }
        _ => {}
    }
    match (metadata.shortest_key(), secret) {
        (Some(_), Some(ClientSecret::Hashed(_))) => Err(Wrong::new(
            "client_secret_hash",
            "is not enough: an algorithm takes the secret as its key, so give client_secret, or client_secret_sealed",
        )),
        _ => Ok(()),
    }
}

/// Token, introspection and revocation.
pub(super) fn endpoints(
    metadata: &Metadata,
    keys: &ClientKeys,
) -> Result<[Authentication; 3], Wrong> {
    let token = token_endpoint(metadata)?;
    let introspection = other_endpoint(
        &token,
        (
            "introspection_endpoint_auth_method",
            metadata.introspection_endpoint_auth_method,
        ),
        (
            "introspection_endpoint_auth_signing_alg",
            metadata.introspection_endpoint_auth_signing_alg,
        ),
    )?;
    let revocation = other_endpoint(
        &token,
        (
            "revocation_endpoint_auth_method",
            metadata.revocation_endpoint_auth_method,
        ),
        (
            "revocation_endpoint_auth_signing_alg",
            metadata.revocation_endpoint_auth_signing_alg,
        ),
    )?;
    let all = [token, introspection, revocation];
    let signs = |each: &Authentication| each.method == AuthenticationMethod::PrivateKeyJwt;
    match keys.is_none() && all.iter().any(signs) {
        true => Err(Wrong::new(
            "jwks",
            "is missing, or jwks_uri: private_key_jwt needs the client's public keys",
        )),
        false => Ok(all),
    }
}

fn token_endpoint(metadata: &Metadata) -> Result<Authentication, Wrong> {
    let method = metadata
        .token_endpoint_auth_method
        .unwrap_or(AuthenticationMethod::ClientSecretBasic);
    authentication(
        method,
        (
            "token_endpoint_auth_signing_alg",
            metadata.token_endpoint_auth_signing_alg,
        ),
    )
}

/// RFC 8414 §2: introspection and revocation, by default as at the token endpoint.
fn other_endpoint(
    token_endpoint: &Authentication,
    (member, method): (&'static str, Option<AuthenticationMethod>),
    signing: (&'static str, Option<Algorithm>),
) -> Result<Authentication, Wrong> {
    let is_public = token_endpoint.method == AuthenticationMethod::None;
    match (method, signing.1) {
        (None, None) => Ok(token_endpoint.clone()),
        (Some(method), _) if is_public != (method == AuthenticationMethod::None) => {
            Err(Wrong::new(
                member,
                "`none` goes with token_endpoint_auth_method = \"none\" alone",
            ))
        }
        (method, _) => authentication(method.unwrap_or(token_endpoint.method), signing),
    }
}

fn authentication(
    method: AuthenticationMethod,
    (member, signing_alg): (&'static str, Option<Algorithm>),
) -> Result<Authentication, Wrong> {
    let possible = algorithms(method);
    match signing_alg {
        Some(_) if possible.is_empty() => Err(Wrong::new(
            member,
            "goes with private_key_jwt and client_secret_jwt",
        )),
        Some(algorithm) if !possible.contains(&algorithm) => Err(Wrong::new(
            member,
            "HS256, HS384 and HS512 go with client_secret_jwt, all others with private_key_jwt",
        )),
        _ => Ok(Authentication {
            method,
            signing_alg,
        }),
    }
}

/// Those of the assertions of a method.
pub(super) fn algorithms(method: AuthenticationMethod) -> &'static [Algorithm] {
    match method {
        AuthenticationMethod::PrivateKeyJwt => Algorithm::ASYMMETRIC,
        AuthenticationMethod::ClientSecretJwt => Algorithm::SYMMETRIC,
        _ => &[],
    }
}

pub(super) fn pkce(metadata: &Metadata, is_public: bool) -> Result<pkce::Required, Wrong> {
    match (is_public, metadata.require_pkce) {
        (true, Some(false)) => Err(Wrong::new(
            "require_pkce",
            "a public client always uses PKCE (RFC 9700 §2.1.1)",
        )),
        (true, _) | (_, Some(true)) => Ok(pkce::Required::Yes),
        (false, _) => Ok(pkce::Required::No),
    }
}
