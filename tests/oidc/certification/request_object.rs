//! Requests as signed and as encrypted objects, by value and by reference (OpenID Connect Core §6): the modules of
//! Dynamic, and those of Basic that no unsigned object may pass.

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::relying_party::{Auth, FOREIGN, NEXT, RelyingParty};
use super::{alice, row};
use crate::jwe;
use crate::params::Params;
use crate::verified::keys;

const JWT: &str = "application/jwt";

/// What is outside of the object too (§6.1): who asks, for what kind of answer, and that it is OpenID Connect.
fn outside(rp: &RelyingParty, request: &Params) -> Params {
    let copied = |name| (name, request.first(name).unwrap());
    Params::of(&[
        ("client_id", rp.id()),
        copied("response_type"),
        ("scope", "openid"),
        copied("redirect_uri"),
    ])
}

/// S2-27, S4-14: by value, with every algorithm that is advertised and that this relying party has a key for.
#[tokio::test]
async fn by_value() {
    for response_type in ["code", "id_token", "code id_token token"] {
        for alg in [
            "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "HS256", "HS384", "HS512",
        ] {
            row(
                "Dynamic",
                response_type,
                &format!("request object by value, {alg} S2-27 S4-14"),
            );
            // A secret is kept as a key where the registration says that it is one.
            let rp = RelyingParty::with(Auth::Basic, response_type, |_, _| {
                match alg.starts_with("HS") {
                    true => json!({"request_object_signing_alg": alg}),
                    false => json!({}),
                }
            });
            let rp = rp.await;
            let advertised = &rp.document["request_object_signing_alg_values_supported"];
            assert!(
                advertised.as_array().unwrap().contains(&json!(alg)),
                "{advertised}"
            );
            let request = rp.request();
            let object = rp.request_object(alg, &request);
            let landing = rp
                .authorize(
                    &mut alice(),
                    &outside(&rp, &request).set("request", &object),
                )
                .await;
            rp.finish(&request, &landing).await;
        }
    }
}

/// §6.1: what the object says counts, also of the redirect URI.
#[tokio::test]
async fn redirect_uri_of_the_object() {
    row(
        "Basic, Dynamic",
        "code",
        "oidcc-ensure-request-object-with-redirect-uri S2-27",
    );
    let rp = RelyingParty::new(Auth::PrivateKeyJwt, "code").await;
    let request = rp.request();
    let object = rp.request_object("RS256", &request);
    let sent = (request.clone())
        .set("redirect_uri", "https://rp.test/invalid")
        .set("request", &object);
    let landing = rp.authorize(&mut alice(), &sent).await;
    rp.finish(&request, &landing).await;
}

/// §6.2, §6.2.1, §15.2: registered, with a fragment of its own that need not be a hash, fetched at authorization.
#[tokio::test]
async fn by_reference() {
    for response_type in ["code", "id_token token", "code id_token"] {
        for alg in ["RS256", "PS256"] {
            row(
                "Dynamic",
                response_type,
                &format!("oidcc-request-uri-signed-rs256 ({alg}) S2-27 S2-U10"),
            );
            let rp = RelyingParty::with(
                Auth::PrivateKeyJwt,
                response_type,
                |server, _| json!({"request_uris": [format!("{}#any", server.url("/request.jwt"))]}),
            );
            let rp = rp.await;
            assert_eq!(rp.server.visits("/request.jwt"), 0, "not at registration");
            let request = rp.request();
            rp.server
                .put("/request.jwt", JWT, &rp.request_object(alg, &request));
            let sent = outside(&rp, &request).set(
                "request_uri",
                rp.client["request_uris"][0].as_str().unwrap(),
            );
            let landing = rp.authorize(&mut alice(), &sent).await;
            rp.finish(&request, &landing).await;
            assert!(rp.server.visits("/request.jwt") >= 1);
        }
    }
}

/// S2-27, RFC 9101 §6.1: signed, then encrypted to any key that the provider publishes; registered for it. (SoftHSM has no
/// RSA-OAEP-256.)
#[tokio::test]
async fn encrypted() {
    let mut person = alice();
    for (alg, kty) in [
        ("RSA-OAEP", "RSA"),
        ("ECDH-ES", "EC"),
        ("ECDH-ES+A128KW", "EC"),
        ("ECDH-ES+A256KW", "EC"),
    ] {
        row(
            "Dynamic",
            "code",
            &format!("request object, {alg} S2-27 S2-U11"),
        );
        let rp = RelyingParty::with(Auth::PrivateKeyJwt, "code", |_, _| {
            json!({
                "request_object_signing_alg": "RS256", "request_object_encryption_alg": alg,
                "request_object_encryption_enc": "A256GCM",
            })
        });
        let rp = rp.await;
        let advertised = &rp.document["request_object_encryption_alg_values_supported"];
        assert!(
            advertised.as_array().unwrap().contains(&json!(alg)),
            "{advertised}"
        );
        let jwks: Value = rp.site.get(rp.endpoint("jwks_uri")).await.json();
        let fits = |key: &&Value| {
            key["use"] == "enc" && key["kty"] == kty && (key["alg"].is_null() || key["alg"] == alg)
        };
        let keys: Vec<&Value> = jwks["keys"]
            .as_array()
            .unwrap()
            .iter()
            .filter(fits)
            .collect();
        assert!(keys.len() >= 2, "the active one and the standby: {jwks}");
        for key in keys {
            let request = rp.request();
            let object = jwe::encrypt(alg, key, &rp.request_object("RS256", &request));
            let sent = outside(&rp, &request).set("request", &object);
            let landing = rp.authorize(&mut person, &sent).await;
            rp.finish(&request, &landing).await;
        }
    }
}

/// RFC 9101 §6: what is unsigned, signed by somebody else, or for somebody else.
#[tokio::test]
async fn refused() {
    let rp = RelyingParty::new(Auth::Basic, "code").await;
    let mut person = alice();
    rp.login(&mut person, &rp.request()).await;
    let mut other = RelyingParty::new(Auth::Basic, "code").await;
    other.key = &FOREIGN;
    let request = rp.request();
    let changed = |name: &str, value: Value| {
        let mut claims = rp.request_claims(&request);
        claims[name] = value;
        rp.sign("RS256", &claims)
    };
    let unsigned = {
        let input =
            crate::assertion::signing_input(&json!({"alg": "none"}), &rp.request_claims(&request));
        format!("{input}.")
    };
    for (module, object, works) in [
        ("control", rp.request_object("RS256", &request), true),
        (
            "oidcc-unsigned-request-object-supported-correctly-or-rejected-as-unsupported",
            unsigned,
            false,
        ),
        (
            "another client's key",
            other.sign("RS256", &rp.request_claims(&request)),
            false,
        ),
        (
            "another audience",
            changed("aud", json!("https://other.test")),
            false,
        ),
        (
            "another client",
            changed("client_id", json!(other.id())),
            false,
        ),
        ("expired", changed("exp", json!(1)), false),
        ("no JWT", "nonsense".to_owned(), false),
    ] {
        row("Basic", "code", module);
        let sent = (request.clone()).set("request", &object);
        let landing = rp.authorize(&mut person, &sent).await;
        match works {
            true => drop(rp.finish(&request, &landing).await),
            // Where no redirect URI can be trusted, a page says it.
            false if landing.fields.is_empty() => assert_eq!(landing.outcome(), "page 400"),
            false => rp.check_error(&request, &landing, "invalid_request_object"),
        }
    }
    row("Dynamic", "code", "a request_uri that is not registered");
    let uri = rp
        .server
        .put("/other.jwt", JWT, &rp.request_object("RS256", &request));
    let sent = (request.clone()).set("request_uri", &uri);
    let landing = rp.authorize(&mut person, &sent).await;
    assert!(!landing.fields.contains_key("code"), "{landing:?}");
    assert_eq!(rp.server.visits("/other.jwt"), 0, "nobody fetches it");
}

/// S2-U10, oidcc-registration-jwks-uri and oidcc-refresh-token-rp-key-rotation: keys are fetched when they are needed,
/// and again for a kid that nobody has seen.
#[tokio::test]
async fn keys_by_reference() {
    row("Dynamic", "code", "oidcc-registration-jwks-uri");
    let rp = RelyingParty::with(Auth::PrivateKeyJwt, "code", |server, key| {
        let set = json!({"keys": [key.jwk()]}).to_string();
        json!({
            "jwks": null, "jwks_uri": server.put("/jwks", "application/json", &set),
            "grant_types": ["authorization_code", "refresh_token"],
        })
    });
    let mut rp = rp.await;
    let asked = [("scope", "openid offline_access"), ("prompt", "consent")];
    let request = rp.request().with(&asked);
    let login = rp.login(&mut alice(), &request).await;
    assert_eq!(rp.server.visits("/jwks"), 1, "once");

    row(
        "Dynamic",
        "code",
        "oidcc-refresh-token-rp-key-rotation S4-18",
    );
    rp.key = &NEXT;
    let set = json!({"keys": [rp.key.jwk()]}).to_string();
    rp.server.put("/jwks", "application/json", &set);
    // The profile fetches again after five seconds at the latest.
    sleep(Duration::from_secs(6)).await;
    let refresh_token = login.tokens["refresh_token"]
        .as_str()
        .expect("a refresh token");
    let form = [
        ("grant_type", "refresh_token"),
        ("refresh_token", refresh_token),
    ];
    let answer = rp.token(Params::of(&form)).await;
    assert_eq!(answer.outcome(), "200", "{}", answer.text());
    let tokens = answer.json();
    rp.claims_of_userinfo(tokens["access_token"].as_str().unwrap())
        .await;
    rp.id_token(
        tokens["id_token"].as_str().unwrap(),
        &request.without("nonce"),
    )
    .await;
    assert_eq!(rp.manage(Method::DELETE, None).await.status, 204);
    assert!(!keys(&rp.site).await.keys.is_empty());
}
