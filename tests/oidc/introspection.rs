//! Introspection (RFC 7662): told to whom a token concerns, and to nobody else. IN-01, IN-02, IN-08.

use serde_json::{Value, json};

use crate::assertion::now;
use crate::params::Params;
use crate::person::Person;
use crate::registration::{CAREFUL, JWT, JWT_RS, MACHINE, POST, PUBLIC, RESOURCE, WEB, signing};
use crate::stack;

fn names(value: &Value) -> Vec<&str> {
    value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[tokio::test]
async fn what_is_told() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 40);
    for client in [WEB, JWT, JWT_RS, POST, signing()] {
        let tokens = client
            .tokens(&mut person, "openid email offline_access")
            .await;
        let token = tokens["access_token"].as_str().unwrap();
        let told = client.introspect(&site, token).await;
        let mut members = vec![
            "active",
            "scope",
            "client_id",
            "username",
            "token_type",
            "exp",
            "iat",
            "sub",
            "aud",
            "iss",
        ];
        if token.matches('.').count() == 2 {
            members.push("jti");
        }
        assert_eq!(names(&told), members, "{}", client.id);
        #[rustfmt::skip]
        let rows = [
            ("active", json!(true)), ("scope", json!("openid email offline_access")), ("client_id", json!(client.id)),
            ("username", json!("user40")), ("sub", json!("user40")), ("token_type", json!("Bearer")),
            ("iss", json!(site.issuer())),
        ];
        for (name, value) in rows {
            assert_eq!(told[name], value, "{name} for {}", client.id);
        }
        let left = told["exp"].as_i64().unwrap() - now();
        assert!((3590..=3600).contains(&left), "{left}");
        assert!(
            told["aud"]
                .as_array()
                .unwrap()
                .contains(&json!(site.issuer())),
            "{told}"
        );

        let told = client
            .introspect(&site, tokens["refresh_token"].as_str().unwrap())
            .await;
        assert_eq!(told["active"], true);
        assert!(
            told.get("token_type").is_none(),
            "RFC 7662 §2.2: that is of access tokens"
        );
        // A hint may be wrong (RFC 7662 §2.1).
        for hint in ["refresh_token", "access_token", "foo"] {
            let form = Params::of(&[("token", token), ("token_type_hint", hint)]);
            assert_eq!(
                client.post(&site, "/introspect", form).await.json()["active"],
                true,
                "{hint}"
            );
        }
    }
}

/// IN-01.
#[tokio::test]
async fn to_whom() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 41);
    let mine = WEB.tokens(&mut person, "openid offline_access").await;
    let shared = JWT.tokens(&mut person, "openid offline_access").await;
    let own = JWT
        .post(
            &site,
            "/token",
            Params::of(&[("grant_type", "client_credentials")]),
        )
        .await
        .json();
    #[rustfmt::skip]
    let rows = [
        ("its own", WEB, &mine, "access_token", true),
        ("its own refresh token", WEB, &mine, "refresh_token", true),
        ("another's", CAREFUL, &mine, "access_token", false),
        ("another's refresh token", CAREFUL, &mine, "refresh_token", false),
        ("for another resource", RESOURCE, &mine, "access_token", false),
        ("in its aud", RESOURCE, &shared, "access_token", true),
        ("in its aud, a client's own", RESOURCE, &own, "access_token", true),
        ("no resource sees refresh tokens", RESOURCE, &shared, "refresh_token", false),
        ("a JWT of another", WEB, &shared, "access_token", false),
        ("an ID token", WEB, &mine, "id_token", false),
        ("an ID token, in its aud", JWT, &shared, "id_token", false),
    ];
    for (row, client, tokens, name, active) in rows {
        let told = client
            .introspect(&site, tokens[name].as_str().unwrap())
            .await;
        assert_eq!(told["active"], active, "{row}");
        if !active {
            assert_eq!(told, json!({"active": false}), "{row}");
        }
    }
}

/// IN-02, IN-08.
#[tokio::test]
async fn refused() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 42);
    let tokens = WEB.tokens(&mut person, "openid").await;
    let token = tokens["access_token"].as_str().unwrap();
    let form = || Params::of(&[("token", token)]);
    #[rustfmt::skip]
    let rows = [
        ("control", WEB, form(), "200"),
        ("public", PUBLIC, form(), "401 invalid_client"),
        ("no token", WEB, Params::default(), "400 invalid_request"),
        ("empty", WEB, form().set("token", ""), "400 invalid_request"),
        ("twice", WEB, form().and("token", token), "400 invalid_request"),
    ];
    for (row, client, form, outcome) in rows {
        assert_eq!(
            client.post(&site, "/introspect", form).await.outcome(),
            outcome,
            "{row}"
        );
    }
    assert_eq!(
        site.post("/introspect", &form().encode()).await.outcome(),
        "401 invalid_client"
    );
    let in_query = format!("/introspect?{}", form().encode());
    assert_eq!(
        WEB.post(&site, &in_query, Params::default())
            .await
            .outcome(),
        "400 invalid_request",
        "in the query"
    );
    let answer = site.get(&in_query).await;
    assert_eq!((answer.status, answer.header("allow")), (405, "POST"));

    let mut mutants: Vec<String> = (1..token.len())
        .map(|length| token[..length].to_owned())
        .collect();
    mutants.extend((1..token.len()).map(|begin| token[begin..].to_owned()));
    mutants.extend([
        format!("{token}A"),
        format!("{token}="),
        format!("{token} "),
        format!("A{token}"),
        token.to_uppercase(),
        "*".to_owned(),
        ".".repeat(60_000),
        "a.b.c".to_owned(),
        "\0".to_owned(),
        "é".to_owned(),
    ]);
    for mutant in mutants {
        assert_eq!(
            WEB.introspect(&site, &mutant).await,
            json!({"active": false}),
            "{mutant:?}"
        );
    }
    let own = MACHINE
        .post(
            &site,
            "/token",
            Params::of(&[("grant_type", "client_credentials")]),
        )
        .await
        .json();
    assert!(
        MACHINE
            .is_active(&site, own["access_token"].as_str().unwrap())
            .await
    );
}
