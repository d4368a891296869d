//! `client_secret_jwt` (OpenID Connect Core §9, S2-U3) and methods that differ by endpoint (S2-U10): the secret is the
//! key, the key-service alone uses it, and no public key ever stands in for it (JO-02).

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde_json::{Value, json};

use crate::assertion::{Key, TYPE, claims, now, signing_input};
use crate::client::basic;
use crate::params::Params;
use crate::registering::{EC, Registered, open};
use crate::secrets;
use crate::site::{Answer, Site, form_of};

const REFUSED: &str = "401 invalid_client";
const SHARED: &str = "the-secret-of-shared-key-in-these-tests-alone, of 64 characters.";
const HS256_ALONE: &str = "the-secret-of-hs256-alone-in-these-tests-alone";
const THREE_WAYS: &str = "the-secret-of-three-ways-in-these-tests-alone";

/// A compact JWS by a secret.
pub(crate) fn sign(alg: &str, secret: &str, claims: &Value) -> String {
    sign_as(&json!({"alg": alg}), alg, secret.as_bytes(), claims)
}

fn sign_as(header: &Value, alg: &str, secret: &[u8], claims: &Value) -> String {
    let hash = match alg {
        "HS256" => hmac::HMAC_SHA256,
        "HS384" => hmac::HMAC_SHA384,
        _ => hmac::HMAC_SHA512,
    };
    let input = signing_input(header, claims);
    let tag = hmac::sign(&hmac::Key::new(hash, secret), input.as_bytes());
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(tag))
}

pub(crate) async fn present(site: &Site, path: &str, assertion: &str) -> Answer {
    let form = Params::of(&[
        ("grant_type", "client_credentials"),
        ("token", "x"),
        ("client_assertion_type", TYPE),
        ("client_assertion", assertion),
    ]);
    site.post(path, &form.encode()).await
}

#[tokio::test]
async fn assertions_by_the_secret() {
    let site = open().site();
    let fresh = |id: &str| claims(id, site.issuer());
    let with = |name: &str, value: Value| {
        let mut claims = fresh("shared-key");
        claims[name] = value;
        claims
    };
    let header = |members: Value| {
        let mut header = json!({"alg": "HS256"});
        for (name, value) in members.as_object().unwrap() {
            header[name] = value.clone();
        }
        header
    };
    let key = SHARED.as_bytes();
    assert_eq!(key.len(), 64, "as HS512 needs it");
    let good = sign("HS256", SHARED, &fresh("shared-key"));
    let by_jwk = EC.jwk().to_string();
    #[rustfmt::skip]
    let rows = vec![
        ("S2-U3 HS256", good.clone(), "200"),
        ("CA-01 again", good, REFUSED),
        ("S2-U3 HS384", sign("HS384", SHARED, &fresh("shared-key")), "200"),
        ("S2-U3 HS512", sign("HS512", SHARED, &fresh("shared-key")), "200"),
        ("typ JWT", sign_as(&header(json!({"typ": "JWT"})), "HS256", key, &fresh("shared-key")), "200"),
        ("another kid", sign_as(&header(json!({"kid": "x"})), "HS256", key, &fresh("shared-key")), "200"),
        ("typ of an access token", sign_as(&header(json!({"typ": "at+jwt"})), "HS256", key, &fresh("shared-key")), REFUSED),
        ("crit", sign_as(&header(json!({"crit": ["exp"]})), "HS256", key, &fresh("shared-key")), REFUSED),
        ("another secret", sign("HS256", HS256_ALONE, &fresh("shared-key")), REFUSED),
        ("a character less", sign("HS256", &SHARED[1..], &fresh("shared-key")), REFUSED),
        ("no secret", sign("HS256", "", &fresh("shared-key")), REFUSED),
        ("JO-02 the JWK of somebody", sign("HS256", &by_jwk, &fresh("shared-key")), REFUSED),
        ("HS256 said, HS512 done", sign_as(&json!({"alg": "HS256"}), "HS512", key, &fresh("shared-key")), REFUSED),
        ("JO-01 none", format!("{}.", signing_input(&json!({"alg": "none"}), &fresh("shared-key"))), REFUSED),
        ("no signature", format!("{}.", signing_input(&json!({"alg": "HS256"}), &fresh("shared-key"))), REFUSED),
        ("a public key", EC.sign(&EC.header(), &fresh("shared-key")), REFUSED),
        ("CA-05 iss", sign("HS256", SHARED, &with("iss", json!("web"))), REFUSED),
        ("CA-05 sub", sign("HS256", SHARED, &with("sub", json!("web"))), REFUSED),
        ("CA-05 exp over", sign("HS256", SHARED, &with("exp", json!(now() - 30))), REFUSED),
        ("CA-05 exp as text", sign("HS256", SHARED, &with("exp", json!("9999999999"))), REFUSED),
        ("CA-02 aud", sign("HS256", SHARED, &with("aud", json!(format!("{}/token", site.issuer())))), REFUSED),
        ("CA-02 aud as a list", sign("HS256", SHARED, &with("aud", json!([site.issuer()]))), REFUSED),
        ("S2-U10 one alg: HS256", sign("HS256", HS256_ALONE, &fresh("hs256-alone")), "200"),
        ("S2-U10 one alg: HS384", sign("HS384", HS256_ALONE, &fresh("hs256-alone")), REFUSED),
        ("another client's registration", sign("HS256", THREE_WAYS, &fresh("three-ways")), REFUSED),
    ];
    for (row, assertion, outcome) in rows {
        let answer = present(&site, "/token", &assertion).await;
        assert_eq!(answer.outcome(), outcome, "{row}: {}", answer.text());
    }
    // The secret is not presented any more.
    for form in [
        Params::of(&[("client_id", "shared-key"), ("client_secret", SHARED)]),
        Params::of(&[("client_id", "shared-key")]),
    ] {
        let form = form.and("grant_type", "client_credentials");
        let answer = site.post("/token", &form.encode()).await;
        assert_eq!(answer.outcome(), REFUSED);
    }
}

/// S2-U11: whoever has registered no algorithm uses one of those that the discovery document lists.
#[tokio::test]
async fn algorithms_that_are_not_listed() {
    let site = open().site();
    let key = Key::new("rsa", "RS256");
    let jwks = json!({"keys": [key.jwk()]});
    let members = json!({"token_endpoint_auth_method": "private_key_jwt", "jwks": jwks});
    let client = Registered::with(&site, &members).await;
    for (alg, outcome) in [("RS256", "200"), ("RS384", REFUSED), ("PS256", REFUSED)] {
        let header = json!({"alg": alg, "kid": "rsa"});
        let assertion = key.sign(&header, &claims(client.id(), site.issuer()));
        let answer = present(&site, "/introspect", &assertion).await;
        assert_eq!(answer.outcome(), outcome, "S2-U11 {alg}");
    }
}

/// RFC 8414 §2: introspection and revocation each with a method of its own.
#[tokio::test]
async fn other_endpoints_other_methods() {
    let site = open().site();
    let assertion = || sign("HS256", THREE_WAYS, &claims("three-ways", site.issuer()));
    for (path, method) in [
        ("/token", "basic"),
        ("/introspect", "post"),
        ("/revoke", "jwt"),
    ] {
        for presented in ["basic", "post", "jwt"] {
            let form = Params::of(&[("grant_type", "client_credentials"), ("token", "x")]);
            let request = site.request(Method::POST, path);
            let (request, form) = match presented {
                "basic" => {
                    let header = basic("three-ways", &THREE_WAYS.replace(' ', "+"));
                    (request.header("authorization", header), form)
                }
                "post" => {
                    let form = form.and("client_id", "three-ways");
                    (request, form.and("client_secret", THREE_WAYS))
                }
                _ => {
                    let form = form.and("client_assertion_type", TYPE);
                    (request, form.and("client_assertion", &assertion()))
                }
            };
            let answer = site.send(form_of(request, &form.encode())).await;
            let outcome = if presented == method { "200" } else { REFUSED };
            assert_eq!(answer.outcome(), outcome, "S2-U10 {presented} at {path}");
        }
    }
}

/// A registered secret that is a key is nowhere but in the client's hands.
#[tokio::test]
async fn registered_secrets_are_keys() {
    let site = open().site();
    let client = Registered::with(
        &site,
        &json!({"token_endpoint_auth_method": "client_secret_jwt"}),
    )
    .await;
    let other = Registered::with(
        &site,
        &json!({"token_endpoint_auth_method": "client_secret_jwt"}),
    )
    .await;
    // On either gateway: the secret came sealed from the store.
    for gateway in [0, 1] {
        for alg in ["HS256", "HS384", "HS512"] {
            let own = sign(alg, client.secret(), &claims(client.id(), site.issuer()));
            let answer = present(&site.at(gateway), "/introspect", &own).await;
            assert_eq!(answer.outcome(), "200", "{alg} at {gateway}");
        }
        let crossed = sign("HS256", other.secret(), &claims(client.id(), site.issuer()));
        let answer = present(&site.at(gateway), "/introspect", &crossed).await;
        assert_eq!(answer.outcome(), REFUSED);
    }
    let compared = Registered::with(&site, &json!({})).await;
    let dump = secrets::dump(&secrets::folder(open()));
    assert!(dump.contains("A client"), "metadata can be read there");
    for client in [&client, &other, &compared] {
        for member in ["client_secret", "registration_access_token"] {
            let secret = client.text(member);
            assert!(!dump.contains(secret), "the store knows a {member}");
            for gateway in ["gateway0", "gateway1"] {
                assert!(!open().log(gateway).contains(secret), "{gateway}: {member}");
            }
        }
    }
}
