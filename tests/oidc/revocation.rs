//! Revocation (RFC 7009): its own tokens alone, at once, at every gateway. RT-08.

use http::Method;
use serde_json::Value;

use crate::client::Client;
use crate::params::Params;
use crate::person::Person;
use crate::registration::{CAREFUL, JWT, JWT_RS, MACHINE, PUBLIC, WEB};
use crate::site::Site;
use crate::stack;

fn text<'a>(tokens: &'a Value, name: &str) -> &'a str {
    tokens[name].as_str().unwrap()
}

async fn opens_userinfo(site: &Site, tokens: &Value) -> bool {
    let header = format!("Bearer {}", text(tokens, "access_token"));
    let request = site
        .request(Method::GET, "/userinfo")
        .header("authorization", header);
    let status = site.send(request.body(Vec::new()).unwrap()).await.status;
    assert!([200, 401].contains(&status));
    status == 200
}

async fn revoke(site: &Site, client: &Client, token: &str) {
    let answer = client.revoke(site, token).await;
    assert_eq!(
        (answer.status, answer.text().as_str()),
        (200, ""),
        "{}",
        client.id
    );
}

/// S2-U13: JWTs too, to whoever asks us about them.
#[tokio::test]
async fn tokens_of_its_own() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 43);
    for client in [WEB, JWT, JWT_RS, PUBLIC] {
        // An access token alone.
        let tokens = client.tokens(&mut person, "openid offline_access").await;
        assert!(opens_userinfo(&site, &tokens).await);
        revoke(&site, &client, text(&tokens, "access_token")).await;
        for gateway in 0..3 {
            assert!(
                !opens_userinfo(&site.at(gateway), &tokens).await,
                "{} at {gateway}",
                client.id
            );
        }
        revoke(&site, &client, text(&tokens, "access_token")).await;
        let renewed = client.refresh(&site, text(&tokens, "refresh_token")).await;
        assert_eq!(
            renewed.outcome(),
            "200",
            "{}: the refresh token lives on",
            client.id
        );
        let renewed = renewed.json();
        assert!(opens_userinfo(&site, &renewed).await, "{}", client.id);
        // A refresh token: with everything of its family.
        let form = Params::of(&[
            ("token", text(&renewed, "refresh_token")),
            ("token_type_hint", "access_token"),
        ]);
        assert_eq!(client.post(&site, "/revoke", form).await.status, 200);
        for gateway in 0..3 {
            assert!(
                !opens_userinfo(&site.at(gateway), &renewed).await,
                "{} at {gateway}",
                client.id
            );
        }
        let answer = client.refresh(&site, text(&renewed, "refresh_token")).await;
        assert_eq!(answer.outcome(), "400 invalid_grant", "{}", client.id);
    }
    for client in [MACHINE, JWT] {
        let own = client
            .post(
                &site,
                "/token",
                Params::of(&[("grant_type", "client_credentials")]),
            )
            .await
            .json();
        assert!(client.is_active(&site, text(&own, "access_token")).await);
        revoke(&site, &client, text(&own, "access_token")).await;
        assert!(
            !client.is_active(&site, text(&own, "access_token")).await,
            "{}",
            client.id
        );
    }
}

/// An access token that is revoked while its family is refreshed: it ends, and the family goes on.
#[tokio::test]
async fn while_its_family_is_refreshed() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 44);
    for client in [WEB, JWT] {
        let mut tokens = client.tokens(&mut person, "openid offline_access").await;
        for round in 0..10 {
            let (renewed, ()) = tokio::join!(
                client.refresh(&site, text(&tokens, "refresh_token")),
                revoke(&site, &client, text(&tokens, "access_token")),
            );
            assert_eq!(renewed.outcome(), "200", "{} {round}", client.id);
            assert!(!opens_userinfo(&site, &tokens).await, "{}", client.id);
            tokens = renewed.json();
            assert!(opens_userinfo(&site, &tokens).await, "{}", client.id);
        }
    }
}

/// Somebody else has renewed it, and the client does not know: what came of it ends all the same.
#[tokio::test]
async fn a_refresh_token_that_was_replaced() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 44);
    for client in [WEB, JWT] {
        let first = client.tokens(&mut person, "openid offline_access").await;
        let mut last = first.clone();
        for _ in 0..2 {
            last = client
                .refresh(&site, text(&last, "refresh_token"))
                .await
                .json();
        }
        let old = text(&first, "refresh_token");
        assert!(!client.is_active(&site, old).await, "{}", client.id);
        revoke(&site, &CAREFUL, old).await;
        assert!(
            opens_userinfo(&site, &last).await,
            "{}: not its client's",
            client.id
        );
        revoke(&site, &client, old).await;
        assert!(!opens_userinfo(&site, &last).await, "{}", client.id);
        let answer = client.refresh(&site, text(&last, "refresh_token")).await;
        assert_eq!(answer.outcome(), "400 invalid_grant", "{}", client.id);
    }
}

#[tokio::test]
async fn tokens_of_others_and_none() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 44);
    for owner in [WEB, JWT] {
        let tokens = owner.tokens(&mut person, "openid offline_access").await;
        for name in ["access_token", "refresh_token", "id_token"] {
            for client in [CAREFUL, PUBLIC, MACHINE] {
                revoke(&site, &client, text(&tokens, name)).await;
            }
        }
        // RFC 7009 §2.2: what is no token is as good as revoked. An ID token is none here.
        revoke(&site, &owner, text(&tokens, "id_token")).await;
        for token in [
            "x",
            "a.b.c",
            "\0",
            &text(&tokens, "refresh_token")[1..],
            &format!("{}A", text(&tokens, "access_token")),
        ] {
            revoke(&site, &owner, token).await;
        }
        assert!(opens_userinfo(&site, &tokens).await, "{}", owner.id);
        assert_eq!(
            owner
                .refresh(&site, text(&tokens, "refresh_token"))
                .await
                .outcome(),
            "200"
        );
    }
    // Nor does a code end by it.
    let code = person.code(&WEB, "openid").await;
    revoke(&site, &WEB, &code).await;
    assert_eq!(WEB.redeem(&site, &code).await.outcome(), "200");

    #[rustfmt::skip]
    let rows = [
        ("no token", Params::default(), "400 invalid_request"),
        ("twice", Params::of(&[("token", "a"), ("token", "a")]), "400 invalid_request"),
    ];
    for (row, form, outcome) in rows {
        assert_eq!(
            WEB.post(&site, "/revoke", form).await.outcome(),
            outcome,
            "{row}"
        );
    }
    assert_eq!(
        site.post("/revoke", "token=a").await.outcome(),
        "401 invalid_client"
    );
    assert_eq!(site.get("/revoke?token=a").await.status, 405);
}
