//! What cannot be registered (RFC 7591 §3.2.2), each row beside the nearest that can in `dynamic_registration.rs`: the
//! code, and the member that the words begin with. DR-01, DR-04, AZ-04, AZ-05, S2-16, S2-22, S2-23, S2-28, S2-U11.

use http::{Method, header};
use serde_json::{Value, json};

use crate::certification::server::Server;
use crate::registering::{EC, REDIRECT_URI, metadata, open, register};

/// What cannot work together is refused, and the words name the member.
#[tokio::test]
async fn refusals() {
    let site = open().site();
    let server = Server::start().await;
    let keys = json!({"keys": [EC.jwk()]});
    let many: Vec<String> = (0..101)
        .map(|n| format!("https://rp.example/{n}"))
        .collect();
    let bad = server.put("/bad", "application/json", "[\"https://other.example/cb\"]");
    let no_list = server.put("/no-list", "application/json", "{}");
    let (metadata_code, uri_code) = ("400 invalid_client_metadata", "400 invalid_redirect_uri");
    #[rustfmt::skip]
    let rows: Vec<(&str, Value, &str, &str)> = vec![
        ("no redirect URI", json!({"redirect_uris": null}), uri_code, "redirect_uris"),
        ("none of them", json!({"redirect_uris": []}), uri_code, "redirect_uris"),
        ("too many", json!({"redirect_uris": many}), uri_code, "redirect_uris"),
        ("fragment", json!({"redirect_uris": ["https://rp.example/cb#x"]}), uri_code, "redirect_uris"),
        ("empty fragment", json!({"redirect_uris": ["https://rp.example/cb#"]}), uri_code, "redirect_uris"),
        ("relative", json!({"redirect_uris": ["/cb"]}), uri_code, "redirect_uris"),
        ("http", json!({"redirect_uris": ["http://rp.example/cb"]}), uri_code, "redirect_uris"),
        ("AZ-04", json!({"redirect_uris": ["http://localhost.evil.test/cb"]}), uri_code, "redirect_uris"),
        ("AZ-05 JaVaScRiPt", json!({"redirect_uris": ["JaVaScRiPt:alert(1)"]}), uri_code, "redirect_uris"),
        ("AZ-05 tab", json!({"redirect_uris": ["\tjavascript:alert(1)"]}), uri_code, "redirect_uris"),
        ("AZ-05 data", json!({"redirect_uris": ["data:text/html,x"]}), uri_code, "redirect_uris"),
        ("private scheme of a web client", json!({"redirect_uris": ["com.example.app:/cb"]}), uri_code, "redirect_uris"),
        ("one of two", json!({"redirect_uris": [REDIRECT_URI, "http://rp.example/cb"]}), uri_code, "redirect_uris"),
        ("a string", json!({"redirect_uris": REDIRECT_URI}), uri_code, "redirect_uris"),
        ("a number", json!({"redirect_uris": [1]}), uri_code, "redirect_uris"),
        ("implicit on localhost", json!({"redirect_uris": ["https://localhost/cb"], "grant_types": ["implicit"], "response_types": ["id_token"]}), uri_code, "redirect_uris"),
        ("implicit over http", json!({"redirect_uris": ["http://127.0.0.1/cb"], "grant_types": ["implicit"], "response_types": ["id_token"]}), uri_code, "redirect_uris"),
        ("implicit without its grant", json!({"response_types": ["code", "id_token"]}), metadata_code, "grant_types"),
        ("code without its grant", json!({"grant_types": ["implicit"], "response_types": ["code"]}), metadata_code, "response_types"),
        ("the grant without code", json!({"grant_types": ["authorization_code", "implicit"], "response_types": ["id_token"]}), metadata_code, "response_types"),
        ("refresh alone", json!({"grant_types": ["refresh_token", "implicit"], "response_types": ["id_token"]}), metadata_code, "grant_types"),
        ("DR-04 client credentials", json!({"grant_types": ["authorization_code", "client_credentials"]}), metadata_code, "grant_types"),
        ("unknown grant", json!({"grant_types": ["password"]}), metadata_code, "grant_types"),
        ("unknown response type", json!({"response_types": ["code foo"]}), metadata_code, "response_types"),
        ("application type", json!({"application_type": "desktop"}), metadata_code, "application_type"),
        ("method", json!({"token_endpoint_auth_method": "tls_client_auth"}), metadata_code, "token_endpoint_auth_method"),
        ("method as a list", json!({"token_endpoint_auth_method": ["none"]}), metadata_code, "token_endpoint_auth_method"),
        ("private_key_jwt without keys", json!({"token_endpoint_auth_method": "private_key_jwt"}), metadata_code, "jwks"),
        ("alg of a secret for a key", json!({"token_endpoint_auth_method": "private_key_jwt", "jwks": keys, "token_endpoint_auth_signing_alg": "HS256"}), metadata_code, "token_endpoint_auth_signing_alg"),
        ("alg of a key for a secret", json!({"token_endpoint_auth_method": "client_secret_jwt", "token_endpoint_auth_signing_alg": "ES256"}), metadata_code, "token_endpoint_auth_signing_alg"),
        ("alg without assertion", json!({"token_endpoint_auth_signing_alg": "ES256"}), metadata_code, "token_endpoint_auth_signing_alg"),
        ("alg none", json!({"token_endpoint_auth_method": "private_key_jwt", "jwks": keys, "token_endpoint_auth_signing_alg": "none"}), metadata_code, "token_endpoint_auth_signing_alg"),
        ("jwks and jwks_uri", json!({"jwks": keys, "jwks_uri": "https://rp.example/jwks"}), metadata_code, "jwks"),
        ("jwks_uri over http", json!({"jwks_uri": "http://rp.example/jwks"}), metadata_code, "jwks_uri"),
        ("jwks as a list", json!({"jwks": [EC.jwk()]}), metadata_code, "jwks"),
        ("private key", json!({"jwks": {"keys": [{"kty": "EC", "crv": "P-256", "x": "x", "y": "y", "d": "d"}]}}), metadata_code, "jwks"),
        ("symmetric key", json!({"jwks": {"keys": [{"kty": "oct", "k": "x"}]}}), metadata_code, "jwks"),
        ("no keys", json!({"jwks": {"keys": []}}), metadata_code, "jwks"),
        ("33 keys", json!({"jwks": {"keys": vec![EC.jwk(); 33]}}), metadata_code, "jwks"),
        ("unsigned ID tokens", json!({"id_token_signed_response_alg": "none"}), metadata_code, "id_token_signed_response_alg"),
        ("encryption without keys", json!({"id_token_encrypted_response_alg": "RSA-OAEP"}), metadata_code, "id_token_encrypted_response_alg"),
        ("encryption with a key of another kind", json!({"jwks": keys, "id_token_encrypted_response_alg": "RSA-OAEP"}), metadata_code, "id_token_encrypted_response_alg"),
        ("encryption with a key to sign", json!({"jwks": keys, "id_token_encrypted_response_alg": "ECDH-ES"}), metadata_code, "id_token_encrypted_response_alg"),
        ("RSA1_5", json!({"jwks_uri": "https://rp.example/jwks", "id_token_encrypted_response_alg": "RSA1_5"}), metadata_code, "id_token_encrypted_response_alg"),
        ("enc without alg", json!({"id_token_encrypted_response_enc": "A256GCM"}), metadata_code, "id_token_encrypted_response_enc"),
        ("userinfo enc without alg", json!({"userinfo_encrypted_response_enc": "A128CBC-HS256"}), metadata_code, "userinfo_encrypted_response_enc"),
        ("S2-22 userinfo encrypted alone", json!({"jwks_uri": "https://rp.example/jwks", "userinfo_encrypted_response_alg": "RSA-OAEP"}), metadata_code, "userinfo_signed_response_alg"),
        ("request objects unsigned", json!({"request_object_signing_alg": "none"}), metadata_code, "request_object_signing_alg"),
        ("request objects without keys", json!({"request_object_signing_alg": "ES256"}), metadata_code, "request_object_signing_alg"),
        ("request objects encrypted with the secret", json!({"request_object_encryption_alg": "dir"}), metadata_code, "request_object_encryption_alg"),
        ("request object enc without alg", json!({"request_object_encryption_enc": "A256GCM"}), metadata_code, "request_object_encryption_enc"),
        ("request_uris over http", json!({"request_uris": ["http://rp.example/r"]}), metadata_code, "request_uris"),
        ("subject type", json!({"subject_type": "ephemeral"}), metadata_code, "subject_type"),
        ("S2-28 pairwise of two hosts", json!({"subject_type": "pairwise", "redirect_uris": [REDIRECT_URI, "https://other.example/cb"]}), metadata_code, "sector_identifier_uri"),
        ("S2-28 pairwise by a host that anybody may write", json!({"subject_type": "pairwise", "application_type": "native", "redirect_uris": ["com.example.app://rp.example/cb"]}), metadata_code, "sector_identifier_uri"),
        ("S2-28 pairwise on everybody's machine", json!({"subject_type": "pairwise", "application_type": "native", "redirect_uris": ["http://127.0.0.1/cb"]}), metadata_code, "sector_identifier_uri"),
        ("S2-28 not in the sector", json!({"subject_type": "pairwise", "sector_identifier_uri": bad}), metadata_code, "sector_identifier_uri"),
        ("S2-28 not in the sector, public", json!({"sector_identifier_uri": bad}), metadata_code, "sector_identifier_uri"),
        ("S2-28 sector that is no list", json!({"sector_identifier_uri": no_list}), metadata_code, "sector_identifier_uri"),
        ("S2-28 sector that is not there", json!({"sector_identifier_uri": server.url("/nothing")}), metadata_code, "sector_identifier_uri"),
        ("sector over http", json!({"sector_identifier_uri": "http://rp.example/s"}), metadata_code, "sector_identifier_uri"),
        ("S2-U5 initiate_login_uri over http", json!({"initiate_login_uri": "http://rp.example/start"}), metadata_code, "initiate_login_uri"),
        ("logo over http", json!({"logo_uri": "http://rp.example/logo.png"}), metadata_code, "logo_uri"),
        ("DR-01 logo", json!({"logo_uri": "javascript:alert(1)"}), metadata_code, "logo_uri"),
        ("DR-01 terms", json!({"tos_uri": "https://rp.example/\"onload=x"}), metadata_code, "tos_uri"),
        ("logo in French", json!({"logo_uri#fr": "http://rp.example/logo.png"}), metadata_code, "logo_uri"),
        ("no language", json!({"client_name#f_r": "x"}), metadata_code, "client_name"),
        ("control characters", json!({"client_name": "a\u{0}b"}), metadata_code, "client_name"),
        ("a name that turns the page around", json!({"client_name": "a\u{202e}b"}), metadata_code, "client_name"),
        ("a name of 2000", json!({"client_name": "x".repeat(2000)}), metadata_code, "client_name"),
        ("name as a number", json!({"client_name": 7}), metadata_code, "client_name"),
        ("max age as text", json!({"default_max_age": "60"}), metadata_code, "default_max_age"),
        ("max age negative", json!({"default_max_age": -1}), metadata_code, "default_max_age"),
        ("scope as a list", json!({"scope": ["openid"]}), metadata_code, "scope"),
        ("scope with quotes", json!({"scope": "a\"b"}), metadata_code, "scope"),
        ("post logout", json!({"post_logout_redirect_uris": ["javascript:x"]}), metadata_code, "post_logout_redirect_uris"),
        ("front-channel elsewhere", json!({"frontchannel_logout_uri": "https://elsewhere.example/out"}), metadata_code, "frontchannel_logout_uri"),
        ("S2-U14 a host that is a directive", json!({"redirect_uris": ["https://rp.example;sandbox/cb"], "frontchannel_logout_uri": "https://rp.example;sandbox/out"}), uri_code, "redirect_uris"),
        ("S2-U14 any host", json!({"frontchannel_logout_uri": "https://*/out"}), metadata_code, "frontchannel_logout_uri"),
        ("front-channel over http", json!({"frontchannel_logout_uri": "http://rp.example/out"}), metadata_code, "frontchannel_logout_uri"),
        ("back-channel over http", json!({"backchannel_logout_uri": "http://rp.example/out"}), metadata_code, "backchannel_logout_uri"),
        ("back-channel with a fragment", json!({"backchannel_logout_uri": "https://rp.example/out#x"}), metadata_code, "backchannel_logout_uri"),
        ("session required as text", json!({"backchannel_logout_session_required": "yes"}), metadata_code, "backchannel_logout_session_required"),
        // S2-16, S2-23: lists of the configuration.
        ("S2-16 id_token alg", json!({"id_token_signed_response_alg": "ES256"}), metadata_code, "id_token_signed_response_alg"),
        ("S2-16 id_token encryption alg", json!({"jwks_uri": "https://rp.example/j", "id_token_encrypted_response_alg": "RSA-OAEP-256"}), metadata_code, "id_token_encrypted_response_alg"),
        ("S2-16 id_token encryption enc", json!({"jwks_uri": "https://rp.example/j", "id_token_encrypted_response_alg": "RSA-OAEP", "id_token_encrypted_response_enc": "A128GCM"}), metadata_code, "id_token_encrypted_response_enc"),
        ("S2-23 userinfo alg", json!({"userinfo_signed_response_alg": "ES256"}), metadata_code, "userinfo_signed_response_alg"),
        ("S2-23 userinfo encryption alg", json!({"jwks_uri": "https://rp.example/j", "userinfo_signed_response_alg": "RS256", "userinfo_encrypted_response_alg": "ECDH-ES"}), metadata_code, "userinfo_encrypted_response_alg"),
        ("S2-23 userinfo encryption enc", json!({"jwks_uri": "https://rp.example/j", "userinfo_signed_response_alg": "RS256", "userinfo_encrypted_response_alg": "RSA-OAEP", "userinfo_encrypted_response_enc": "A256GCM"}), metadata_code, "userinfo_encrypted_response_enc"),
        ("S2-U11 request object alg", json!({"jwks_uri": "https://rp.example/j", "request_object_signing_alg": "RS256"}), metadata_code, "request_object_signing_alg"),
        ("S2-U11 assertion alg", json!({"jwks_uri": "https://rp.example/j", "token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "PS256"}), metadata_code, "token_endpoint_auth_signing_alg"),
    ];
    for (row, members, outcome, member) in rows {
        let answer = register(&site, &metadata(&members)).await;
        assert_eq!(answer.outcome(), outcome, "{row}: {}", answer.text());
        let words = answer.json()["error_description"].to_string();
        assert!(
            words
                .trim_start_matches('"')
                .starts_with(&format!("{member} ")),
            "{row}: {words}"
        );
    }
}

/// The body: JSON, one object, not large.
#[tokio::test]
async fn bodies() {
    let site = open().site();
    let good = metadata(&json!({})).to_string();
    let large = metadata(&json!({"foo": "x".repeat(40_000)})).to_string();
    let repeated = good.replacen('{', "{\"redirect_uris\": [],", 1);
    let deep = format!("{{\"jwks\": {}1{}}}", "[".repeat(5000), "]".repeat(5000));
    let (json, refused) = ("application/json", "400 invalid_client_metadata");
    #[rustfmt::skip]
    let rows = [
        ("control", json, good.as_str(), "201"),
        ("with a charset", "application/json; charset=utf-8", &good, "201"),
        ("as a form", "application/x-www-form-urlencoded", &good, "400 invalid_request"),
        ("as text", "text/plain", &good, "400 invalid_request"),
        ("empty", json, "", refused),
        ("a list", json, "[]", refused),
        ("cut off", json, &good[..good.len() - 1], refused),
        ("two objects", json, &format!("{good}{good}"), refused),
        ("a name twice", json, &repeated, refused),
        ("deep", json, &deep, refused),
        ("large", json, &large, "413 invalid_request"),
    ];
    for (row, content_type, body, outcome) in rows {
        let request = site
            .request(Method::POST, "/register")
            .header(header::CONTENT_TYPE, content_type)
            .body(body.as_bytes().to_vec());
        let answer = site.send(request.unwrap()).await;
        let got = match answer.status {
            201 => "201".to_owned(),
            _ => answer.outcome(),
        };
        assert_eq!(got, outcome, "{row}: {}", answer.text());
    }
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let request = site.request(method, "/register").body(Vec::new()).unwrap();
        assert_eq!(site.send(request).await.status, 405);
    }
}
