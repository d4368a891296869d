//! Whether metadata goes together (OpenID Connect Registration §2, RFC 7591 §2.1): one function for each matter. Each
//! refusal names the member that has to be changed.

use std::collections::BTreeSet;

use url::Url;

use super::metadata::{
    ApplicationType, AuthenticationMethod, ConsentMode, GrantType, Metadata, ResponseType,
    SubjectType,
};
use super::redirect_uri::{self, is_https, origin};
use super::secret::ClientSecret;
use super::{AssertionAudience, Client, Invalid, Wrong, methods, protection};
use crate::scope::Scope;

/// What a client may ask for unless its metadata says otherwise.
pub(super) const DEFAULT_SCOPE: &str = "openid profile email address phone offline_access";
/// Values of one member; and octets of one that people read.
const MOST_VALUES: usize = 100;
const LONGEST_TEXT: usize = 1024;

impl Client {
    /// Checks the metadata of a configured client.
    ///
    /// # Errors
    /// Which member, and why.
    pub fn parse(metadata: Metadata) -> Result<Client, Invalid> {
        let client_id = metadata.client_id.clone();
        methods::configured_secret(&metadata)
            .and_then(|secret| Client::of(metadata, secret))
            .map_err(|wrong| Invalid {
                client_id,
                member: wrong.member,
                sentence: wrong.sentence.into_owned(),
            })
    }

    /// Checks that the members go together, with each other and with the secret.
    pub(super) fn of(metadata: Metadata, secret: Option<ClientSecret>) -> Result<Client, Wrong> {
        check_id(&metadata.client_id)?;
        check_lists(&metadata)?;
        check_shown(&metadata)?;
        methods::check_secret(&metadata, secret.as_ref())?;
        let (grant_types, response_types) = grants(&metadata)?;
        let application_type = metadata.application_type.unwrap_or(ApplicationType::Web);
        check_redirect_uris(&metadata, application_type, &response_types)?;
        check_addresses(&metadata)?;
        let keys = protection::keys(&metadata)?;
        let [token_endpoint, introspection_endpoint, revocation_endpoint] =
            methods::endpoints(&metadata, &keys)?;
        let is_public = token_endpoint.method == AuthenticationMethod::None;
        if is_public && grant_types.contains(&GrantType::ClientCredentials) {
            // RFC 6749 §4.4: confidential clients only.
            return Err(Wrong::new(
                "grant_types",
                "a public client cannot use `client_credentials`",
            ));
        }
        let scope = Scope::parse(metadata.scope.as_deref().unwrap_or(DEFAULT_SCOPE))
            .map_err(|refusal| Wrong::new("scope", refusal.description))?;
        Ok(Client {
            id_token: protection::id_token(&metadata, &keys)?,
            userinfo: protection::userinfo(&metadata, &keys)?,
            request_object: protection::request_object(&metadata, &keys)?,
            sector: sector(&metadata)?,
            access_token: protection::access_token(&metadata)?,
            pkce: methods::pkce(&metadata, is_public)?,
            name: metadata
                .client_name
                .filter(|name| !name.trim().is_empty())
                .unwrap_or_else(|| metadata.client_id.clone()),
            id: metadata.client_id,
            logo_uri: metadata.logo_uri,
            policy_uri: metadata.policy_uri,
            tos_uri: metadata.tos_uri,
            localized: metadata.localized,
            application_type,
            redirect_origins: metadata
                .redirect_uris
                .iter()
                .map(|uri| origin(uri))
                .collect(),
            redirect_uris: metadata.redirect_uris,
            post_logout_redirect_uris: metadata.post_logout_redirect_uris,
            grant_types,
            response_types,
            response_modes: metadata.response_modes,
            scope,
            token_endpoint,
            introspection_endpoint,
            revocation_endpoint,
            assertion_audience: match metadata.allow_token_endpoint_audience {
                Some(true) => AssertionAudience::TokenEndpointToo,
                _ => AssertionAudience::IssuerAlone,
            },
            secret,
            jwks: keys,
            request_uris: metadata.request_uris,
            default_max_age: metadata.default_max_age,
            default_acr_values: metadata.default_acr_values,
            initiate_login_uri: metadata.initiate_login_uri,
            frontchannel_logout_uri: metadata.frontchannel_logout_uri,
            backchannel_logout_uri: metadata.backchannel_logout_uri,
            consent: metadata.consent.unwrap_or(ConsentMode::Explicit),
            audience: metadata.audience,
            scope_separator: metadata.scope_separator.unwrap_or_default(),
            claims_by_scope: metadata.claims_by_scope == Some(true),
            refresh_token_without_offline_access: metadata.refresh_token_without_offline_access
                == Some(true),
            allow_omitted_redirect_uri: metadata.allow_omitted_redirect_uri == Some(true),
            disabled: metadata.disabled,
            kept_until: None,
        })
    }
}

/// RFC 6749 appendix A.1: client-id = *VSCHAR.
fn check_id(id: &str) -> Result<(), Wrong> {
    let is_visible = id.bytes().all(|octet| matches!(octet, 0x21..=0x7e));
    match (1..=256).contains(&id.len()) && is_visible {
        true => Ok(()),
        false => Err(Wrong::new(
            "client_id",
            "must be 1 to 256 visible ASCII characters",
        )),
    }
}

fn check_lists(metadata: &Metadata) -> Result<(), Wrong> {
    let lists = [
        ("redirect_uris", &metadata.redirect_uris),
        (
            "post_logout_redirect_uris",
            &metadata.post_logout_redirect_uris,
        ),
        ("request_uris", &metadata.request_uris),
        ("contacts", &metadata.contacts),
        ("default_acr_values", &metadata.default_acr_values),
    ];
    for (member, values) in lists {
        if values.len() > MOST_VALUES {
            return Err(Wrong::new(member, "has more than 100 values"));
        }
        if values.iter().any(|value| value.len() > 2048) {
            return Err(Wrong::new(
                member,
                "has a value of more than 2048 characters",
            ));
        }
    }
    Ok(())
}

/// What people see or open, in every language.
fn check_shown(metadata: &Metadata) -> Result<(), Wrong> {
    let plain = [
        ("client_name", &metadata.client_name),
        ("client_uri", &metadata.client_uri),
        ("logo_uri", &metadata.logo_uri),
        ("policy_uri", &metadata.policy_uri),
        ("tos_uri", &metadata.tos_uri),
    ];
    let plain = plain
        .into_iter()
        .filter_map(|(member, value)| Some((member, value.as_deref()?)));
    for (member, value) in plain.chain(metadata.localized.iter()) {
        if member != "client_name" {
            if !is_https(value) {
                return Err(Wrong::new(member, "must be an https URI"));
            }
        } else if value.len() > LONGEST_TEXT || value.chars().any(is_odd) {
            return Err(Wrong::new(
                member,
                "must be at most 1024 octets without control characters",
            ));
        }
    }
    Ok(())
}

/// Those that end a line, or have what follows read in the other direction (UAX #9 §2): in a name they would rewrite
/// what our page says around it.
fn is_odd(character: char) -> bool {
    character.is_control() || matches!(character, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// RFC 7591 §2.1, OpenID Connect Registration §2: each response type has its grant types.
fn grants(metadata: &Metadata) -> Result<(Vec<GrantType>, Vec<ResponseType>), Wrong> {
    let grant_types = metadata
        .grant_types
        .clone()
        .unwrap_or_else(|| vec![GrantType::AuthorizationCode]);
    let has_grant = |grant| grant_types.contains(&grant);
    let uses_code = has_grant(GrantType::AuthorizationCode);
    let response_types = match metadata.response_types.clone() {
        Some(types) => types,
        None if uses_code => vec![ResponseType::Code],
        None => Vec::new(),
    };
    if uses_code != response_types.iter().any(|each| each.has_code()) {
        return Err(Wrong::new(
            "response_types",
            "`code` and the grant type `authorization_code` need each other",
        ));
    }
    if response_types.iter().any(|each| each.is_front_channel()) && !has_grant(GrantType::Implicit)
    {
        return Err(Wrong::new(
            "grant_types",
            "`id_token` and `token` as response types need the grant type `implicit`",
        ));
    }
    if has_grant(GrantType::RefreshToken) && !uses_code {
        return Err(Wrong::new(
            "grant_types",
            "`refresh_token` needs `authorization_code`",
        ));
    }
    Ok((grant_types, response_types))
}

fn check_redirect_uris(
    metadata: &Metadata,
    application: ApplicationType,
    response_types: &[ResponseType],
) -> Result<(), Wrong> {
    if !response_types.is_empty() && metadata.redirect_uris.is_empty() {
        return Err(Wrong::new(
            "redirect_uris",
            "at least one is needed for these response_types",
        ));
    }
    // OpenID Connect Registration §2: what comes in a fragment is not for whoever listens on this machine.
    let is_implicit = application == ApplicationType::Web
        && response_types.iter().any(|each| each.is_front_channel());
    for uri in &metadata.redirect_uris {
        redirect_uri::check(uri, application).map_err(|why| Wrong::new("redirect_uris", why))?;
        if is_implicit && !redirect_uri::is_remote(uri) {
            return Err(Wrong::new(
                "redirect_uris",
                "must be https and not localhost, for a web application that gets tokens from the authorization endpoint",
            ));
        }
    }
    for uri in &metadata.post_logout_redirect_uris {
        redirect_uri::check(uri, application)
            .map_err(|why| Wrong::new("post_logout_redirect_uris", why))?;
    }
    Ok(())
}

/// Addresses that are called, or to which browsers are sent.
fn check_addresses(metadata: &Metadata) -> Result<(), Wrong> {
    let https = [
        ("initiate_login_uri", &metadata.initiate_login_uri),
        ("sector_identifier_uri", &metadata.sector_identifier_uri),
        ("frontchannel_logout_uri", &metadata.frontchannel_logout_uri),
        ("backchannel_logout_uri", &metadata.backchannel_logout_uri),
        ("jwks_uri", &metadata.jwks_uri),
    ];
    for (member, uri) in https {
        let Some(uri) = uri else { continue };
        if !is_https(uri) {
            return Err(Wrong::new(member, "must be an https URI"));
        }
        if uri.contains('#') {
            return Err(Wrong::new(member, "must have no fragment"));
        }
    }
    // A fragment of request_uris tells one content from another (OpenID Connect Core §6.2).
    if !metadata.request_uris.iter().all(|uri| is_https(uri)) {
        return Err(Wrong::new("request_uris", "must be https URIs"));
    }
    // Front-Channel Logout §2.
    let of_a_redirect_uri = |uri: &String| {
        let mut redirect_uris = metadata.redirect_uris.iter();
        redirect_uris.any(|each| origin(each).is_some() && origin(each) == origin(uri))
    };
    if !metadata
        .frontchannel_logout_uri
        .iter()
        .all(of_a_redirect_uri)
    {
        return Err(Wrong::new(
            "frontchannel_logout_uri",
            "must have scheme, host and port of a redirect URI",
        ));
    }
    Ok(())
}

/// OpenID Connect Core §8.1: the host of `sector_identifier_uri`, else the one host of the redirect URIs.
fn sector(metadata: &Metadata) -> Result<Option<String>, Wrong> {
    let given = metadata.sector_identifier.as_deref();
    if given.is_some_and(|sector| !is_host_and_port(sector)) {
        return Err(Wrong::new(
            "sector_identifier",
            "must be a host, or host:port, in lower case",
        ));
    }
    let by_uri = metadata.sector_identifier_uri.as_deref();
    if by_uri.is_some() && metadata.redirect_uris.is_empty() {
        return Err(Wrong::new(
            "sector_identifier_uri",
            "is for the redirect URIs of a sector, and there are none",
        ));
    }
    if metadata.subject_type != Some(SubjectType::Pairwise) {
        return Ok(None);
    }
    if let Some(sector) = given {
        return Ok(Some(sector.to_owned()));
    }
    if let Some(uri) = by_uri {
        return Ok(host(uri));
    }
    // Only whose https server it is has a host: behind another scheme anybody may write any, and all machines have
    // the same loopback.
    let hosts: BTreeSet<Option<String>> = metadata
        .redirect_uris
        .iter()
        .map(|uri| host(uri).filter(|_| redirect_uri::is_remote(uri)))
        .collect();
    match (hosts.len(), hosts.into_iter().next().flatten()) {
        (1, Some(host)) => Ok(Some(host)),
        _ => Err(Wrong::new(
            "sector_identifier_uri",
            "is needed for pairwise subjects unless all redirect URIs are https and have the same host",
        )),
    }
}

fn host(uri: &str) -> Option<String> {
    Url::parse(uri).ok()?.host_str().map(str::to_owned)
}

fn is_host_and_port(text: &str) -> bool {
    let Ok(url) = Url::parse(&format!("https://{text}")) else {
        return false;
    };
    url.as_str() == format!("https://{text}/")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    const CLEAR: &str = "a-secret-of-forty-characters-and-no-more";

    /// Which member is wrong with a configured client that is otherwise in order.
    fn wrong(members: &Value) -> Option<&'static str> {
        let mut metadata = json!({
            "client_id": "c", "client_secret": CLEAR, "redirect_uris": ["https://rp.example/cb"],
        });
        for (name, value) in members.as_object().unwrap() {
            match value {
                Value::Null => drop(metadata.as_object_mut().unwrap().remove(name)),
                value => metadata[name] = value.clone(),
            }
        }
        let metadata: Metadata = serde_json::from_value(metadata).unwrap();
        Client::parse(metadata).err().map(|invalid| invalid.member)
    }

    #[test]
    fn configured_clients() {
        let hash = "$sha256$47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU";
        let longer = "x".repeat(64);
        let pairwise = |members: Value| {
            let mut all = members;
            all["subject_type"] = json!("pairwise");
            all
        };
        #[rustfmt::skip]
        let rows = [
            (json!({}), None),
            (json!({"client_id": "a b"}), Some("client_id")),
            (json!({"client_secret": null}), Some("client_secret_hash")),
            (json!({"client_secret": null, "token_endpoint_auth_method": "client_secret_jwt"}), Some("client_secret_sealed")),
            (json!({"client_secret": "short"}), Some("client_secret")),
            (json!({"client_secret": null, "client_secret_hash": hash}), None),
            (json!({"client_secret_hash": hash}), Some("client_secret_hash")),
            (json!({"token_endpoint_auth_method": "none"}), Some("client_secret")),
            (json!({"token_endpoint_auth_method": "none", "client_secret": null}), None),
            (json!({"token_endpoint_auth_method": "none", "id_token_signed_response_alg": "HS256"}), None),
            (json!({"id_token_signed_response_alg": "HS256"}), None),
            (json!({"id_token_signed_response_alg": "HS384"}), Some("client_secret")),
            (json!({"id_token_signed_response_alg": "HS512", "client_secret": longer}), None),
            (json!({"userinfo_signed_response_alg": "HS512"}), Some("client_secret")),
            (json!({"id_token_encrypted_response_alg": "A256KW"}), None),
            (json!({"client_secret": null, "client_secret_hash": hash, "id_token_encrypted_response_alg": "A256KW"}), Some("client_secret_hash")),
            (json!({"client_secret": null, "client_secret_hash": hash, "token_endpoint_auth_method": "client_secret_jwt"}), Some("client_secret_hash")),
            (json!({"introspection_endpoint_auth_method": "client_secret_post"}), None),
            (json!({"introspection_endpoint_auth_method": "none"}), Some("introspection_endpoint_auth_method")),
            (json!({"introspection_endpoint_auth_method": "private_key_jwt"}), Some("jwks")),
            (json!({"revocation_endpoint_auth_signing_alg": "HS256"}), Some("revocation_endpoint_auth_signing_alg")),
            (json!({"revocation_endpoint_auth_method": "client_secret_jwt", "revocation_endpoint_auth_signing_alg": "HS256"}), None),
            (json!({"token_endpoint_auth_method": "none", "client_secret": null, "revocation_endpoint_auth_method": "client_secret_post"}), Some("client_secret_hash")),
            (json!({"access_token_signed_response_alg": "RS256"}), Some("access_token_signed_response_alg")),
            (json!({"access_token_format": "jwt", "access_token_signed_response_alg": "HS256"}), Some("access_token_signed_response_alg")),
            (json!({"jwks_uri": "https://rp.example/j", "userinfo_encrypted_response_alg": "RSA-OAEP"}), Some("userinfo_signed_response_alg")),
            (json!({"jwks_uri": "https://rp.example/j", "userinfo_encrypted_response_alg": "RSA-OAEP", "allow_unsigned_userinfo_encryption": true}), None),
            (pairwise(json!({})), None),
            (pairwise(json!({"redirect_uris": ["https://a.example/", "https://b.example/"]})), Some("sector_identifier_uri")),
            (pairwise(json!({"redirect_uris": ["https://a.example/", "https://b.example/"], "sector_identifier": "rp.example:8443"})), None),
            (pairwise(json!({"redirect_uris": ["https://a.example/", "https://b.example/"], "sector_identifier_uri": "https://rp.example/s"})), None),
            (pairwise(json!({"application_type": "native", "redirect_uris": ["com.example.app://rp.example/cb"]})), Some("sector_identifier_uri")),
            (pairwise(json!({"application_type": "native", "redirect_uris": ["http://127.0.0.1/cb"]})), Some("sector_identifier_uri")),
            (pairwise(json!({"application_type": "native", "redirect_uris": ["http://127.0.0.1/cb"], "sector_identifier_uri": "https://rp.example/s"})), None),
            (pairwise(json!({"sector_identifier": "https://rp.example"})), Some("sector_identifier")),
            (pairwise(json!({"sector_identifier": "rp.example/x"})), Some("sector_identifier")),
            (pairwise(json!({"sector_identifier": "RP.example"})), Some("sector_identifier")),
            (json!({"grant_types": ["client_credentials"], "redirect_uris": null, "sector_identifier_uri": "https://rp.example/s"}), Some("sector_identifier_uri")),
            (json!({"token_endpoint_auth_method": "none", "client_secret": null, "require_pkce": false}), Some("require_pkce")),
        ];
        for (members, expected) in rows {
            assert_eq!(wrong(&members), expected, "{members}");
        }
    }

    #[test]
    fn sectors() {
        for (members, expected) in [
            (json!({}), None),
            (json!({"subject_type": "pairwise"}), Some("rp.example")),
            (
                json!({"subject_type": "pairwise", "sector_identifier_uri": "https://s.example:9/x"}),
                Some("s.example"),
            ),
            (
                json!({"subject_type": "pairwise", "sector_identifier": "s.example:9"}),
                Some("s.example:9"),
            ),
        ] {
            let mut metadata = json!({
                "client_id": "c", "client_secret": CLEAR,
                "redirect_uris": ["https://rp.example/cb", "https://rp.example/other"],
            });
            for (name, value) in members.as_object().unwrap() {
                metadata[name] = value.clone();
            }
            let client = Client::parse(serde_json::from_value(metadata).unwrap()).unwrap();
            assert_eq!(client.sector.as_deref(), expected, "{members}");
        }
    }
}
