//! Invariant 7: everything that the discovery document advertises works, shown by a request for each value, and what
//! it does not advertise is refused (OpenID Connect Discovery §3, RFC 8414).

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use crate::assertion::{TYPE, claims};
use crate::client::Client;
use crate::client_secret_jwt;
use crate::hybrid::EVERY;
use crate::params::Params;
use crate::person::{AtLogin, Landing, Person, Place};
use crate::registration::{
    CURVE_384, JWT, JWT_RS, POST, PUBLIC, SECRET_JWT, WEB, key_for, secret, signing, signing_rs,
};
use crate::site::Site;
use crate::stack;
use crate::verified::{header, id_token};

/// Registered (IANA "OAuth Authorization Server Metadata", OpenID Connect specifications) and in use here.
#[rustfmt::skip]
const MEMBERS: &[&str] = &[
    "issuer", "authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri", "introspection_endpoint",
    "revocation_endpoint", "end_session_endpoint", "scopes_supported", "response_types_supported",
    "response_modes_supported", "grant_types_supported", "subject_types_supported",
    "id_token_signing_alg_values_supported", "token_endpoint_auth_methods_supported",
    "token_endpoint_auth_signing_alg_values_supported", "introspection_endpoint_auth_methods_supported",
    "introspection_endpoint_auth_signing_alg_values_supported", "revocation_endpoint_auth_methods_supported",
    "revocation_endpoint_auth_signing_alg_values_supported", "code_challenge_methods_supported",
    "prompt_values_supported", "acr_values_supported", "claim_types_supported", "claims_supported",
    "claims_parameter_supported", "request_parameter_supported", "request_uri_parameter_supported",
    "authorization_response_iss_parameter_supported", "require_request_uri_registration", "display_values_supported",
    "ui_locales_supported", "claims_locales_supported", "request_object_signing_alg_values_supported",
    "request_object_encryption_alg_values_supported", "request_object_encryption_enc_values_supported",
    "id_token_encryption_alg_values_supported", "id_token_encryption_enc_values_supported",
    "userinfo_signing_alg_values_supported", "userinfo_encryption_alg_values_supported",
    "userinfo_encryption_enc_values_supported", "registration_endpoint", "check_session_iframe",
    "frontchannel_logout_supported", "frontchannel_logout_session_supported", "backchannel_logout_supported",
    "backchannel_logout_session_supported", "service_documentation", "op_policy_uri", "op_tos_uri",
];

async fn document(site: &Site) -> Value {
    site.get("/.well-known/openid-configuration").await.json()
}

#[track_caller]
fn values(document: &Value, member: &str) -> BTreeSet<String> {
    let list = document[member]
        .as_array()
        .unwrap_or_else(|| panic!("no {member}"));
    let set: BTreeSet<String> = list
        .iter()
        .map(|value| value.as_str().unwrap().to_owned())
        .collect();
    assert!(!set.is_empty() && set.len() == list.len(), "{member}");
    set
}

#[tokio::test]
async fn the_document() {
    let site = stack::shared().site();
    let document = document(&site).await;
    for (name, value) in document.as_object().unwrap() {
        assert!(MEMBERS.contains(&name.as_str()), "{name} is not registered");
        assert_ne!(*value, Value::Null, "{name}");
        if !(name.ends_with("_endpoint") || name == "jwks_uri") {
            continue;
        }
        // Below the issuer, and there.
        let url = value.as_str().unwrap();
        assert!(url.starts_with(&format!("{}/", site.issuer())), "{url}");
        assert_ne!(site.get(url).await.status, 404, "{url}");
    }
    assert_eq!(document["issuer"], site.issuer());
    let other = site
        .get("/.well-known/oauth-authorization-server")
        .await
        .json();
    assert_eq!(other, document, "RFC 8414");

    for place in [
        "/.well-known/openid-configuration",
        "/.well-known/oauth-authorization-server",
        "/jwks",
    ] {
        let answer = site.get(place).await;
        assert_eq!(answer.header("content-type"), "application/json", "{place}");
        assert!(
            answer
                .header("cache-control")
                .starts_with("public, max-age="),
            "{place}"
        );
        let tag = answer.header("etag").to_owned();
        for (known, status) in [(tag.as_str(), 304), ("\"x\"", 200), ("*", 304)] {
            let request = site
                .request(Method::GET, place)
                .header("if-none-match", known)
                .body(Vec::new());
            let again = site.send(request.unwrap()).await;
            assert_eq!(
                (again.status, again.header("etag")),
                (status, tag.as_str()),
                "{place} {known}"
            );
            assert_eq!(again.body.is_empty(), status == 304, "{place}");
            assert_eq!(
                again.header("cache-control"),
                answer.header("cache-control"),
                "{place}"
            );
        }
        let head = site
            .send(site.request(Method::HEAD, place).body(Vec::new()).unwrap())
            .await;
        assert_eq!(
            (head.status, head.body.len(), head.header("etag")),
            (200, 0, tag.as_str()),
            "{place}"
        );
        assert_eq!(site.post(place, "").await.status, 405, "{place}");
    }
    // All gateways say the same.
    for gateway in 0..3 {
        assert_eq!(self::document(&site.at(gateway)).await, document);
    }
}

#[tokio::test]
async fn the_keys() {
    let site = stack::shared().site();
    let jwks = site.get("/jwks").await.json();
    let keys = jwks["keys"].as_array().unwrap();
    let kids: BTreeSet<&str> = keys
        .iter()
        .map(|key| key["kid"].as_str().unwrap())
        .collect();
    assert_eq!(kids.len(), keys.len(), "distinct kids");
    let algs = values(
        &document(&site).await,
        "id_token_signing_alg_values_supported",
    );
    assert!(algs.contains("RS256"), "Discovery §3");
    for key in keys {
        let members: Vec<&str> = key
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        for member in &members {
            assert!(
                ["kty", "crv", "x", "y", "n", "e", "alg", "use", "kid"].contains(member),
                "{member}"
            );
        }
        assert!(["RSA", "EC", "OKP"].contains(&key["kty"].as_str().unwrap()));
    }
    // One with a client's secret has no key here (OpenID Connect Core §10.1).
    for alg in algs.iter().filter(|alg| !alg.starts_with("HS")) {
        let signs = |key: &&Value| key["alg"] == alg.as_str() && key["use"] == "sig";
        assert!(keys.iter().any(|key| signs(&key)), "{alg}");
    }
}

/// For the authorization endpoint: each value that anybody knows, those advertised and no others.
#[tokio::test]
async fn authorization_values() {
    let site = stack::shared().site();
    let document = document(&site).await;
    let mut person = Person::new(&site, 49);
    person.code(&WEB, "openid").await;
    #[rustfmt::skip]
    let rows = [
        ("response_types_supported", "response_type", &[
            "code", "token", "id_token", "id_token token", "code id_token", "code token", "code id_token token", "none",
            "code id_token none", "device_code",
        ][..]),
        ("response_modes_supported", "response_mode", &[
            "query", "fragment", "form_post", "jwt", "query.jwt", "fragment.jwt", "form_post.jwt", "web_message",
        ]),
        ("code_challenge_methods_supported", "code_challenge_method", &["S256", "plain", "S512"]),
        ("prompt_values_supported", "prompt", &["none", "login", "consent", "select_account", "create", "register"]),
        ("display_values_supported", "display", &["page", "popup", "touch", "wap", "hologram"]),
    ];
    let works = |landing: &Landing| {
        !matches!(landing.place, Place::Page(_)) && !landing.fields.contains_key("error")
    };
    for (member, name, known) in rows {
        let advertised = values(&document, member);
        assert!(
            advertised
                .iter()
                .all(|value| known.contains(&value.as_str())),
            "{member}"
        );
        for value in known {
            let landing = person.authorize(&EVERY.request().set(name, value)).await;
            assert_eq!(
                works(&landing),
                advertised.contains(*value),
                "{name}={value}: {}",
                landing.outcome()
            );
        }
    }
    // request_object.rs looks at what the last two can do.
    #[rustfmt::skip]
    let rows = [
        ("claims_parameter_supported", "claims", "{\"id_token\":{\"email\":null}}", "query code"),
        ("request_parameter_supported", "request", "e30.e30.", "query invalid_request_object"),
        ("request_uri_parameter_supported", "request_uri", "https://rp.example/r", "query invalid_request_uri"),
    ];
    for (member, name, value, outcome) in rows {
        assert_eq!(document[member], true, "{member}");
        let landing = person.authorize(&EVERY.request().set(name, value)).await;
        assert_eq!(landing.outcome(), outcome, "{member}");
    }
    assert_eq!(document["require_request_uri_registration"], true);
    for locale in values(&document, "ui_locales_supported") {
        let mut person = Person::new(&site, 49);
        person.at_login = AtLogin::Stop;
        let request = EVERY.request().set("ui_locales", &locale);
        let page = person.authorize(&request).await.answer.text();
        assert!(
            page.contains(&format!("<html lang=\"{locale}\">")),
            "{locale}"
        );
    }
    assert_eq!(
        document["authorization_response_iss_parameter_supported"], true,
        "authorization.rs looks at each iss"
    );
}

#[tokio::test]
async fn scopes_and_claims() {
    let site = stack::shared().site();
    let document = document(&site).await;
    let mut person = Person::new(&site, 50);
    let claims = values(&document, "claims_supported");
    let mut told = BTreeSet::new();
    let scopes = values(&document, "scopes_supported");
    for scope in &scopes {
        let asked = if scope == "openid" {
            scope.clone()
        } else {
            format!("openid {scope}")
        };
        let tokens = WEB.tokens(&mut person, &asked).await;
        assert_eq!(tokens["scope"], asked.as_str());
        assert_eq!(
            tokens.get("refresh_token").is_some(),
            scope == "offline_access"
        );
        let header = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
        let request = site
            .request(Method::GET, "/userinfo")
            .header("authorization", header);
        let answer = site.send(request.body(Vec::new()).unwrap()).await.json();
        told.extend(answer.as_object().unwrap().keys().cloned());
        let claims = id_token(&site, WEB.id, &tokens).await;
        told.extend(claims.as_object().unwrap().keys().cloned());
        assert!(
            values(&document, "acr_values_supported").contains(claims["acr"].as_str().unwrap())
        );
    }
    let silent: Vec<&String> = told.difference(&claims).collect();
    assert!(silent.is_empty(), "told and not advertised: {silent:?}");
    // Of the standard claims (OpenID Connect Core §5.1), these the test's people do not have.
    let lacking = [
        "given_name",
        "family_name",
        "middle_name",
        "nickname",
        "profile",
        "picture",
        "website",
        "gender",
        "birthdate",
        "zoneinfo",
        "locale",
        // hybrid.rs, and the tests of logout.
        "c_hash",
        "sid",
    ];
    let idle: Vec<&String> = claims
        .difference(&told)
        .filter(|name| !lacking.contains(&name.as_str()))
        .collect();
    assert!(idle.is_empty(), "advertised and not told: {idle:?}");
    assert_eq!(
        values(&document, "claim_types_supported"),
        ["normal".to_owned()].into()
    );
    assert_eq!(
        values(&document, "subject_types_supported"),
        ["public".to_owned(), "pairwise".to_owned()].into(),
        "pairwise.rs looks at the other"
    );
    let other = PUBLIC.tokens(&mut person, "openid").await;
    assert_eq!(
        id_token(&site, PUBLIC.id, &other).await["sub"],
        "user50",
        "public: the same for every client"
    );
    for unknown in ["groups", "roles", "admin", "openid2", "OPENID"] {
        let landing = person.authorize(&WEB.request().set("scope", unknown)).await;
        assert_eq!(landing.outcome(), "query invalid_scope", "{unknown}");
    }
}

#[tokio::test]
async fn grants_and_algorithms() {
    let site = stack::shared().site();
    let document = document(&site).await;
    let mut person = Person::new(&site, 51);
    let tokens = WEB.tokens(&mut person, "openid offline_access").await;
    let refresh_token = tokens["refresh_token"].as_str().unwrap();
    let code = person.code(&WEB, "openid").await;
    let advertised = values(&document, "grant_types_supported");
    #[rustfmt::skip]
    let rows = [
        "authorization_code", "refresh_token", "client_credentials", "implicit", "password",
        "urn:ietf:params:oauth:grant-type:device_code", "urn:ietf:params:oauth:grant-type:jwt-bearer",
        "urn:ietf:params:oauth:grant-type:token-exchange", "urn:openid:params:grant-type:ciba",
    ];
    for known in rows {
        let form = WEB
            .redemption(&code)
            .set("grant_type", known)
            .set("refresh_token", refresh_token);
        let answer = WEB.post(&site, "/token", form).await;
        let expected = if known == "implicit" {
            // It is used at the authorization endpoint.
            "400 unsupported_grant_type"
        } else if advertised.contains(known) {
            "200"
        } else {
            "400 unsupported_grant_type"
        };
        assert_eq!(answer.outcome(), expected, "{known}");
    }

    // Clients that are registered for each algorithm: web and post; jwt and jwt-rs.
    let mut used = BTreeSet::new();
    for client in [WEB, POST, JWT, JWT_RS, CURVE_384] {
        let tokens = client.tokens(&mut person, "openid").await;
        id_token(&site, client.id, &tokens).await;
        used.insert(
            header(tokens["id_token"].as_str().unwrap())["alg"]
                .as_str()
                .unwrap()
                .to_owned(),
        );
    }
    // Those with a client's secret: protection.rs in `certification`.
    let mut advertised = values(&document, "id_token_signing_alg_values_supported");
    advertised.retain(|alg| !alg.starts_with("HS"));
    assert_eq!(used, advertised);
}

#[tokio::test]
async fn client_authentication() {
    let site = stack::shared().site();
    let document = document(&site).await;
    let methods: [(&str, Client); 5] = [
        ("client_secret_basic", WEB),
        ("client_secret_post", POST),
        ("client_secret_jwt", SECRET_JWT),
        ("private_key_jwt", signing()),
        ("none", PUBLIC),
    ];
    for (endpoint, path) in [
        ("token", "/token"),
        ("introspection", "/introspect"),
        ("revocation", "/revoke"),
    ] {
        let advertised = values(
            &document,
            &format!("{endpoint}_endpoint_auth_methods_supported"),
        );
        assert!(
            advertised
                .iter()
                .all(|name| methods.iter().any(|(method, _)| method == name)),
            "{advertised:?}"
        );
        for (method, client) in methods {
            let form = match (path, method) {
                ("/token", "none") => {
                    let code = Person::new(&site, 52).code(&client, "openid").await;
                    client.redemption(&code)
                }
                ("/token", _) => Params::of(&[("grant_type", "client_credentials")]),
                _ => Params::of(&[("token", "x")]),
            };
            let answer = client.post(&site, path, form).await;
            assert_eq!(
                answer.status == 200,
                advertised.contains(method),
                "{method} at {path}: {}",
                answer.text()
            );
        }
        let advertised = values(
            &document,
            &format!("{endpoint}_endpoint_auth_signing_alg_values_supported"),
        );
        assert!(!advertised.contains("none"));
        for alg in [
            "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512",
            "EdDSA", "ES256K", "HS256", "HS384", "HS512", "HS1",
        ] {
            let key = key_for(alg).or(key_for("ES256")).unwrap();
            let mut header = key.header();
            header["alg"] = json!(alg);
            let assertion = if alg.starts_with("HS") {
                let (id, secret) = (SECRET_JWT.id, secret(SECRET_JWT.id));
                client_secret_jwt::sign(alg, &secret, &claims(id, site.issuer()))
            } else {
                key.sign(&header, &claims(signing_rs().id, site.issuer()))
            };
            let form = Params::of(&[
                ("grant_type", "client_credentials"),
                ("token", "x"),
                ("client_assertion_type", TYPE),
                ("client_assertion", &assertion),
            ]);
            let answer = site.post(path, &form.encode()).await;
            let expected = if advertised.contains(alg) {
                "200"
            } else {
                "401 invalid_client"
            };
            assert_eq!(answer.outcome(), expected, "{alg} at {path}");
        }
    }
}
