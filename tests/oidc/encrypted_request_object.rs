//! Request objects that are encrypted to the provider (OpenID Connect Core §6.1): opened by the key-service, and no more
//! often than the configuration allows. S2-27.

use serde_json::{Value, json};

use crate::assertion::signing_input;
use crate::jwe;
use crate::person::Person;
use crate::registration::{PUBLIC, WEB};
use crate::request_object::{OBJECTS, claims, outside, sign, signed_in};
use crate::stack;

/// S2-27: encrypted to a key that we publish, a signed object inside.
#[tokio::test]
async fn encrypted() {
    let mut person = signed_in(62).await;
    let site = person.site.clone();
    let document = site.get("/.well-known/openid-configuration").await.json();
    let keys = site.get("/jwks").await.json();
    let algorithms = document["request_object_encryption_alg_values_supported"]
        .as_array()
        .unwrap();
    let contents = &document["request_object_encryption_enc_values_supported"];
    assert!(
        contents.as_array().unwrap().contains(&json!("A256GCM")),
        "{contents}"
    );
    assert!(!algorithms.is_empty());
    let claims = claims(&OBJECTS, &site);
    let signed = sign(&OBJECTS, "ES256", &claims);
    // The rest of the family differs in how the key is wrapped: tests/key-service opens those.
    let known = ["RSA-OAEP", "RSA-OAEP-256", "ECDH-ES"];
    for alg in known {
        if !algorithms.contains(&json!(alg)) {
            continue;
        }
        // A key for key agreement serves all of its family.
        let kty = if alg.starts_with("RSA") { "RSA" } else { "EC" };
        let fits = |key: &&Value| key["use"] == "enc" && key["kty"] == kty;
        let exactly = |key: &&Value| fits(key) && key["alg"] == alg;
        let mut all = keys["keys"].as_array().unwrap().iter();
        let key = all
            .clone()
            .find(exactly)
            .or_else(|| all.find(fits))
            .unwrap_or_else(|| panic!("no key for {alg}"));
        let refused = "query invalid_request_object";
        let good = jwe::encrypt(alg, key, &signed);
        let unsigned = format!("{}.", signing_input(&json!({"alg": "none"}), &claims));
        let (head, tag) = good.rsplit_once('.').unwrap();
        let flipped = if tag.starts_with('A') { "B" } else { "A" };
        let rows = [
            ("signed inside", good.clone(), "query code"),
            (
                "unsigned inside",
                jwe::encrypt(alg, key, &unsigned),
                refused,
            ),
            (
                "claims inside",
                jwe::encrypt(alg, key, &claims.to_string()),
                refused,
            ),
            ("encrypted twice", jwe::encrypt(alg, key, &good), refused),
            ("forged", format!("{head}.{flipped}{}", &tag[1..]), refused),
        ];
        for (row, object, outcome) in rows {
            let request = outside(&OBJECTS).set("request", &object);
            let landing = person.authorize_by_post(&request).await;
            assert_eq!(landing.outcome(), outcome, "{row} {alg}: {landing:?}");
        }
        // Nobody decrypts for a client that could not have signed.
        let request = outside(&PUBLIC).set("request", &good);
        let landing = person.authorize_by_post(&request).await;
        assert_eq!(landing.outcome(), refused, "{alg}");
    }
}

/// No more private-key operations than the configuration allows, whoever asks.
#[tokio::test]
async fn encrypted_objects_have_a_budget() {
    let stack = stack::start(&stack::Options {
        tables: "[authorization]\nencrypted_request_objects = 2\n\
            [discovery]\nrequest_object_encryption_alg_values_supported = [\"RSA-OAEP\"]\n",
        ..stack::Options::default()
    });
    let site = stack.site();
    let mut person = Person::new(&site, 0);
    person.code(&WEB, "openid").await;
    let mut outcomes = Vec::new();
    for alg in ["RSA-OAEP-256", "ECDH-ES", "RSA1_5", "RSA-OAEP"] {
        for _ in 0..8 {
            let begin = signing_input(&json!({"alg": alg, "enc": "A256GCM"}), &json!({}));
            let request = outside(&OBJECTS).set("request", &format!("{begin}.c.d.e"));
            outcomes.push(person.authorize(&request).await.outcome());
        }
    }
    // What is not listed costs nothing.
    let listed = outcomes.split_off(24);
    for outcome in outcomes {
        assert_eq!(outcome, "query invalid_request_object", "S2-U11");
    }
    let outcomes = listed;
    let refused = outcomes
        .iter()
        .filter(|outcome| *outcome == "query temporarily_unavailable");
    assert!(refused.count() >= 2, "{outcomes:?}");
    assert_eq!(outcomes[0], "query invalid_request_object", "{outcomes:?}");
    // Others are served.
    assert_eq!(
        person.authorize(&WEB.request()).await.outcome(),
        "query code"
    );
    // Without a budget it is not advertised, and not done.
    let stack = stack::start(&stack::Options {
        tables: "[authorization]\nencrypted_request_objects = 0\n",
        ..stack::Options::default()
    });
    let document = stack
        .site()
        .get("/.well-known/openid-configuration")
        .await
        .json();
    let advertised = &document["request_object_encryption_alg_values_supported"];
    assert!(
        advertised.as_array().is_none_or(Vec::is_empty),
        "{advertised}"
    );
}
