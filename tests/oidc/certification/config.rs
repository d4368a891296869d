//! The profile Config: the discovery document and the keys (OpenID Connect Discovery §3 and §4, RFC 7517), and what the
//! logout profiles look for in it.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use super::relying_party::document;
use super::{provider, row};

#[track_caller]
fn values<'a>(document: &'a Value, member: &str) -> BTreeSet<&'a str> {
    let list = document[member].as_array();
    let list = list.unwrap_or_else(|| panic!("no {member}")).iter();
    list.map(|value| value.as_str().unwrap()).collect()
}

/// S0-7, S4-20: oidcc-discovery-endpoint-verification, for a provider that registers clients.
#[tokio::test]
async fn discovery() {
    let site = provider().site();
    let answer = site.get("/.well-known/openid-configuration").await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/json")
    );
    let document = answer.json();
    assert_eq!(document["issuer"], site.issuer());
    assert!(site.issuer().starts_with("https://op.test:"));
    #[rustfmt::skip]
    let rows: [(&str, &[&str]); 16] = [
        ("response_types_supported", &[
            "code", "id_token", "id_token token", "code id_token", "code token", "code id_token token", "none",
        ]),
        ("response_modes_supported", &["query", "fragment", "form_post"]),
        ("grant_types_supported", &["authorization_code", "implicit", "refresh_token"]),
        ("subject_types_supported", &["public", "pairwise"]),
        ("id_token_signing_alg_values_supported", &["RS256", "ES256", "HS256"]),
        ("id_token_encryption_alg_values_supported", &["RSA-OAEP", "ECDH-ES"]),
        ("id_token_encryption_enc_values_supported", &["A128CBC-HS256", "A256GCM"]),
        ("userinfo_signing_alg_values_supported", &["RS256", "ES256"]),
        ("request_object_signing_alg_values_supported", &["RS256", "ES256", "HS256"]),
        ("token_endpoint_auth_methods_supported", &[
            "client_secret_basic", "client_secret_post", "client_secret_jwt", "private_key_jwt", "none",
        ]),
        ("token_endpoint_auth_signing_alg_values_supported", &["RS256", "ES256", "HS256"]),
        ("scopes_supported", &["openid", "profile", "email", "address", "phone", "offline_access"]),
        ("claims_supported", &["sub", "iss", "auth_time", "acr", "name", "email", "address", "phone_number"]),
        ("acr_values_supported", &["1", "2"]),
        ("display_values_supported", &["page", "popup"]),
        ("prompt_values_supported", &["none", "login", "consent", "select_account"]),
    ];
    for (member, least) in rows {
        row("Config", "S2-U11", member);
        let advertised = values(&document, member);
        for value in least {
            assert!(
                advertised.contains(value),
                "{member}: {value} of {advertised:?}"
            );
        }
        assert!(
            !member.contains("signing_alg") || !advertised.contains("none"),
            "{member}"
        );
    }
    for member in [
        "claims_parameter_supported",
        "request_parameter_supported",
        "request_uri_parameter_supported",
        "frontchannel_logout_supported",
        "frontchannel_logout_session_supported",
        "backchannel_logout_supported",
        "backchannel_logout_session_supported",
    ] {
        row("Config, logout profiles S2-U14", "", member);
        assert_eq!(document[member], true, "{member}");
    }
    for member in [
        "authorization_endpoint",
        "token_endpoint",
        "userinfo_endpoint",
        "jwks_uri",
        "registration_endpoint",
        "end_session_endpoint",
        "check_session_iframe",
    ] {
        row("Config, logout profiles S2-U14", "", member);
        let url = document[member]
            .as_str()
            .unwrap_or_else(|| panic!("no {member}"));
        assert!(url.starts_with(&format!("{}/", site.issuer())), "{url}");
    }
    let endpoints = document.as_object().unwrap().iter();
    for (name, url) in endpoints.filter(|(name, _)| name.ends_with("_endpoint")) {
        assert!(
            url.as_str().unwrap().starts_with("https://"),
            "{name}: {url}"
        );
    }
}

/// ValidateServerJWKs, CheckDistinctKeyIdValueInServerJWKs, EnsureServerJwksDoesNotContainPrivateOrSymmetricKeys.
#[tokio::test]
async fn keys() {
    row("Config", "S0-7", "the JWK Set");
    let site = provider().site();
    let place = document(&site).await["jwks_uri"]
        .as_str()
        .unwrap()
        .to_owned();
    let jwks = site.get(&place).await.json();
    let keys = jwks["keys"].as_array().unwrap();
    let kids: BTreeSet<&str> = keys
        .iter()
        .map(|key| key["kid"].as_str().unwrap())
        .collect();
    assert_eq!(kids.len(), keys.len(), "distinct kids");
    for key in keys {
        let public: &[&str] = match key["kty"].as_str().unwrap() {
            "RSA" => &["n", "e"],
            "EC" => &["x", "y"],
            "OKP" => &["x"],
            other => panic!("{other}"),
        };
        for member in public {
            let octets = URL_SAFE_NO_PAD
                .decode(key[*member].as_str().unwrap())
                .unwrap();
            assert!(!octets.is_empty());
        }
        for private in ["d", "p", "q", "dp", "dq", "qi", "oth", "k"] {
            assert_eq!(key.get(private), None, "{private}");
        }
        assert!(["sig", "enc"].contains(&key["use"].as_str().unwrap()));
    }
    for (usage, kty) in [("sig", "RSA"), ("sig", "EC"), ("enc", "RSA"), ("enc", "EC")] {
        let fits = |key: &&Value| key["use"] == usage && key["kty"] == kty;
        assert!(keys.iter().any(|key| fits(&key)), "{usage} {kty}");
    }
}
