//! Client management (RFC 7592): a client reads, changes and deletes its registration, whole and alone. S2-U8, DR-03,
//! DR-05.

use http::Method;
use serde_json::{Value, json};

use crate::params::Params;
use crate::person::Person;
use crate::registering::{EC, REDIRECT_URI, Registered, manage, metadata, open};
use crate::verified::{header, id_token};

/// What a PUT sends: what was registered, with the client's name, and with changes.
fn replacement(client: &Registered, members: &Value) -> Value {
    let mut body = metadata(members);
    if members.get("client_id").is_none() {
        body["client_id"] = client.id().into();
    }
    body
}

/// S2-U8, DR-05: with its token alone; whether there is a client is told to nobody else.
#[tokio::test]
async fn whose_token() {
    let site = open().site();
    let client = Registered::with(&site, &json!({})).await;
    let other = Registered::with(&site, &json!({})).await;
    let place = client.text("registration_client_uri").to_owned();
    let own = client.text("registration_access_token");
    let unknown = place.replace(client.id(), "r-AAAAAAAAAAAAAAAAAAAAAA");
    let configured = place.replace(client.id(), "before");
    let nothing = place.replace(client.id(), "");
    #[rustfmt::skip]
    let rows = [
        ("its own", &place, Some(own), 200),
        ("another client's", &place, Some(other.text("registration_access_token")), 401),
        ("its secret", &place, Some(client.secret()), 401),
        ("its id", &place, Some(client.id()), 401),
        ("a part of it", &place, Some(&own[1..]), 401),
        ("none", &place, None, 401),
        ("of a client that is not there", &unknown, Some(own), 401),
        ("of a configured client", &configured, Some(own), 401),
        ("of a configured client, by its secret", &configured, Some("the-secret-of-before-in-these-tests-alone"), 401),
        ("of nobody", &nothing, Some(own), 401),
        ("below it", &format!("{place}/x"), Some(own), 401),
    ];
    let mut refused: Vec<(String, Vec<u8>)> = Vec::new();
    for (row, place, token, status) in rows {
        for method in [Method::GET, Method::PUT, Method::DELETE] {
            if status == 200 && method != Method::GET {
                continue;
            }
            let body = (method == Method::PUT).then(|| replacement(&client, &json!({})));
            let answer = manage(&site, method.clone(), place, token, body.as_ref()).await;
            assert_eq!(answer.status, status, "{row} {method}: {}", answer.text());
            if status == 401 {
                assert!(
                    answer.header("www-authenticate").starts_with("Bearer "),
                    "{row}"
                );
                let challenge = answer.header("www-authenticate").to_owned();
                if token.is_some() {
                    refused.push((challenge, answer.body));
                }
            }
        }
    }
    refused.dedup();
    assert_eq!(refused.len(), 1, "DR-05: all refusals are the same");
    // Nothing happened to it.
    let read = client.manage(&site, Method::GET, None).await.json();
    let mut expected = client.0.clone();
    expected.as_object_mut().unwrap().remove("client_secret");
    assert_eq!(
        read, expected,
        "all of it but the secret, which nobody knows any more"
    );
    let request = site.request(Method::POST, &place).body(Vec::new()).unwrap();
    let answer = site.send(request).await;
    assert_eq!(
        (answer.status, answer.header("allow")),
        (405, "GET, PUT, DELETE")
    );
}

/// §2.2: all of it is replaced, and checked whole; on every gateway at once.
#[tokio::test]
async fn changes() {
    let site = open().site();
    let client = Registered::with(
        &site,
        &json!({"logo_uri": "https://rp.example/logo.png", "client_name#fr": "Un client"}),
    )
    .await;
    let other_uri = "https://rp.example/other";
    let body = replacement(
        &client,
        &json!({
            "redirect_uris": [other_uri], "id_token_signed_response_alg": "HS256",
            "client_secret": client.secret(),
        }),
    );
    let answer = client.manage(&site.at(0), Method::PUT, Some(&body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let changed = Registered(answer.json());
    assert_eq!(changed.0["redirect_uris"], json!([other_uri]));
    for gone in ["logo_uri", "client_name#fr"] {
        assert!(
            changed.0.get(gone).is_none(),
            "{gone} was not there any more"
        );
    }
    for same in [
        "client_id",
        "client_id_issued_at",
        "registration_access_token",
        "registration_client_uri",
    ] {
        assert_eq!(changed.0[same], client.0[same], "{same}");
    }
    // The secret was known by its hash, and is now a key: so it is another.
    assert_eq!(changed.secret().len(), 86);
    let site = site.at(1);
    let mut person = Person::new(&site, 43);
    let old = person.authorize(&changed.request()).await;
    assert_eq!(old.outcome(), "page 400");
    let request = changed.request().set("redirect_uri", other_uri);
    let code = person.authorize(&request).await.code();
    let form = Registered::redemption(&code).set("redirect_uri", other_uri);
    let refused = client.post(&site, "/token", &form).await;
    assert_eq!(refused.outcome(), "401 invalid_client", "the old secret");
    let tokens = changed.post(&site, "/token", &form).await.json();
    assert_eq!(header(tokens["id_token"].as_str().unwrap())["alg"], "HS256");

    // Kept where nothing asks for another.
    let body = replacement(
        &changed,
        &json!({"client_secret": changed.secret(), "id_token_signed_response_alg": "HS512"}),
    );
    let answer = changed.manage(&site, Method::PUT, Some(&body)).await;
    assert_eq!(answer.json()["client_secret"], changed.0["client_secret"]);
    let body = replacement(&changed, &json!({"token_endpoint_auth_method": "none"}));
    let public = changed.manage(&site, Method::PUT, Some(&body)).await.json();
    for gone in ["client_secret", "client_secret_expires_at"] {
        assert!(public.get(gone).is_none(), "{gone}");
    }
    let refused = changed
        .post(&site, "/revoke", &Params::of(&[("token", "x")]))
        .await;
    assert_eq!(refused.outcome(), "401 invalid_client");
}

#[tokio::test]
async fn changes_that_are_refused() {
    let site = open().site();
    let client = Registered::with(&site, &json!({})).await;
    let (metadata_code, uri_code) = ("400 invalid_client_metadata", "400 invalid_redirect_uri");
    #[rustfmt::skip]
    let rows = [
        ("control", json!({}), "200", ""),
        ("control with the secret", json!({"client_secret": client.secret()}), "200", ""),
        ("no client_id", json!({"client_id": null}), metadata_code, "client_id"),
        ("another client_id", json!({"client_id": "web"}), metadata_code, "client_id"),
        ("DR-03 a chosen secret", json!({"client_secret": "a-secret-that-was-chosen-by-somebody"}), metadata_code, "client_secret"),
        ("no redirect URIs", json!({"redirect_uris": null}), uri_code, "redirect_uris"),
        ("fragment", json!({"redirect_uris": ["https://rp.example/cb#x"]}), uri_code, "redirect_uris"),
        ("private_key_jwt without keys", json!({"token_endpoint_auth_method": "private_key_jwt"}), metadata_code, "jwks"),
        ("S2-28 pairwise of two hosts", json!({"subject_type": "pairwise", "redirect_uris": [REDIRECT_URI, "https://other.example/cb"]}), metadata_code, "sector_identifier_uri"),
        ("S2-28 sector that is not there", json!({"sector_identifier_uri": "https://localhost:1/s"}), metadata_code, "sector_identifier_uri"),
        ("S2-16", json!({"id_token_signed_response_alg": "ES256"}), metadata_code, "id_token_signed_response_alg"),
        ("DR-04", json!({"grant_types": ["authorization_code", "client_credentials"]}), metadata_code, "grant_types"),
    ];
    for (row, members, outcome, member) in rows {
        let body = replacement(&client, &members);
        let answer = client.manage(&site, Method::PUT, Some(&body)).await;
        assert_eq!(answer.outcome(), outcome, "{row}: {}", answer.text());
        if outcome != "200" {
            let words = answer.json()["error_description"].to_string();
            assert!(words.starts_with(&format!("\"{member} ")), "{row}: {words}");
        }
    }
    // It is what it was, and works.
    let read = client.manage(&site, Method::GET, None).await.json();
    assert_eq!(read["redirect_uris"], json!([REDIRECT_URI]));
    client.tokens(&mut Person::new(&site, 44), "openid").await;
}

/// §2.3, AZ-22: it is gone at once, and whatever it had been granted.
#[tokio::test]
async fn deletion() {
    let site = open().site();
    let client = Registered::with(
        &site,
        &json!({"grant_types": ["authorization_code", "refresh_token"]}),
    )
    .await;
    let mut person = Person::new(&site, 45);
    let tokens = client.tokens(&mut person, "openid offline_access").await;
    let waiting = person.authorize(&client.request()).await.code();
    id_token(&site, client.id(), &tokens).await;
    let userinfo = async || {
        let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
        let request = site.request(Method::GET, "/userinfo");
        let request = request.header("authorization", bearer).body(Vec::new());
        site.send(request.unwrap()).await.status
    };
    assert_eq!(userinfo().await, 200);
    let answer = client.manage(&site.at(0), Method::DELETE, None).await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    for (row, form) in [
        ("code", Registered::redemption(&waiting)),
        (
            "refresh token",
            Params::of(&[
                ("grant_type", "refresh_token"),
                ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
            ]),
        ),
    ] {
        let answer = client.post(&site.at(1), "/token", &form).await;
        assert_eq!(answer.outcome(), "401 invalid_client", "{row}");
    }
    assert_eq!(userinfo().await, 401);
    let again = person.authorize(&client.request()).await;
    assert_eq!(again.outcome(), "page 400");
    for method in [Method::GET, Method::PUT, Method::DELETE] {
        let body = (method == Method::PUT).then(|| replacement(&client, &json!({})));
        let answer = client.manage(&site, method.clone(), body.as_ref()).await;
        assert_eq!(answer.status, 401, "{method}");
    }
}

/// A client that signs its assertions changes its key by value.
#[tokio::test]
async fn a_key_is_replaced() {
    let site = open().site();
    let members = |key: &crate::assertion::Key| {
        json!({
            "token_endpoint_auth_method": "private_key_jwt", "jwks": {"keys": [key.jwk()]},
        })
    };
    let client = Registered::with(&site, &members(&EC)).await;
    let new = crate::assertion::Key::new("new", "ES256");
    let present = async |key: &crate::assertion::Key| {
        let claims = crate::assertion::claims(client.id(), site.issuer());
        let form = Params::of(&[
            ("token", "x"),
            ("client_assertion_type", crate::assertion::TYPE),
            ("client_assertion", &key.sign(&key.header(), &claims)),
        ]);
        site.post("/introspect", &form.encode()).await.outcome()
    };
    assert_eq!(present(&EC).await, "200");
    assert_eq!(present(&new).await, "401 invalid_client");
    let body = replacement(&client, &members(&new));
    let answer = client.manage(&site, Method::PUT, Some(&body)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(present(&EC).await, "401 invalid_client");
    assert_eq!(present(&new).await, "200");
}
