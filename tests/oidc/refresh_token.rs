//! Refresh tokens (RFC 6749 §6, RFC 9700 §4.14): bound to their client, rotated, and revoked when an old one comes
//! again. RT-02, RT-05, RT-06. The shared stack's grace window is three seconds.

use std::time::Duration;

use serde_json::Value;

use crate::params::Params;
use crate::person::Person;
use crate::registration::{CAREFUL, JWT, POST, PUBLIC, SINGLE, WEB};
use crate::site::Site;
use crate::stack;
use crate::tailored::{self, TIED};
use crate::verified::id_token;

const INVALID: &str = "400 invalid_grant";

fn text<'a>(tokens: &'a Value, name: &str) -> &'a str {
    tokens[name]
        .as_str()
        .unwrap_or_else(|| panic!("no {name}: {tokens}"))
}

#[tokio::test]
async fn rotation() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 31);
    for client in [WEB, JWT, PUBLIC, POST] {
        let mut before = client
            .tokens(&mut person, "openid email offline_access")
            .await;
        let first = id_token(&site, client.id, &before).await;
        for _ in 0..3 {
            let answer = client.refresh(&site, text(&before, "refresh_token")).await;
            assert_eq!(answer.outcome(), "200", "{}", answer.text());
            let after = answer.json();
            for name in ["refresh_token", "access_token"] {
                assert_ne!(after[name], before[name], "{}", client.id);
            }
            assert_eq!(after["scope"], "openid email offline_access");
            // OpenID Connect Core §12.2.
            let claims = id_token(&site, client.id, &after).await;
            for same in ["iss", "sub", "aud", "auth_time", "azp"] {
                assert_eq!(claims[same], first[same], "{same}");
            }
            assert!(claims["iat"].as_i64() >= first["iat"].as_i64());
            assert!(
                claims.get("nonce").is_none(),
                "a renewed one should have no nonce"
            );
            before = after;
        }
    }
}

/// A response may be lost: the same request gets the same successor for a while, and then the family ends.
#[tokio::test]
async fn repeated_within_grace_and_after() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 32);
    for client in [WEB, JWT] {
        let first = client.tokens(&mut person, "openid offline_access").await;
        let old = text(&first, "refresh_token");
        let second = client.refresh(&site, old).await.json();
        for _ in 0..3 {
            let again = client.refresh(&site, old).await.json();
            assert_eq!(
                again["refresh_token"], second["refresh_token"],
                "{}",
                client.id
            );
        }
        let third = client
            .refresh(&site, text(&second, "refresh_token"))
            .await
            .json();
        assert_ne!(third["refresh_token"], second["refresh_token"]);
        tokio::time::sleep(Duration::from_millis(3200)).await;
        assert!(client.is_active(&site, text(&third, "access_token")).await);
        ended(&site, client, old, &[&first, &second, &third]).await;
    }
}

/// S2-5, S4-18: who gets one.
#[tokio::test]
async fn with_offline_access_or_a_switch() {
    let shared = stack::shared().site();
    let tailored = tailored::site();
    #[rustfmt::skip]
    let rows = [
        ("S2-5 not asked for", WEB, "openid", false),
        ("S2-5, S4-18 asked for", WEB, "openid offline_access", true),
        ("S2-5 not registered for it", SINGLE, "openid offline_access", false),
        ("S2-5 a switch of the client's", TIED, "openid", true),
        ("S2-5 the same without openid", TIED, "email", true),
    ];
    for (row, client, scope, is_given) in rows {
        let mut person = match client.id == TIED.id {
            true => tailored::person(&tailored, "worker"),
            false => Person::new(&shared, 30),
        };
        let tokens = client.tokens(&mut person, scope).await;
        assert_eq!(tokens.get("refresh_token").is_some(), is_given, "{row}");
        if is_given {
            let again = client.refresh(&person.site, text(&tokens, "refresh_token"));
            assert_eq!(again.await.outcome(), "200", "{row}");
        }
    }
}

/// RT-02: two steps behind is old at once, however fast.
#[tokio::test]
async fn reuse_of_an_older_one_ends_the_family_at_once() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 33);
    let first = WEB.tokens(&mut person, "openid offline_access").await;
    let second = WEB
        .refresh(&site, text(&first, "refresh_token"))
        .await
        .json();
    let third = WEB
        .refresh(&site, text(&second, "refresh_token"))
        .await
        .json();
    ended(
        &site,
        WEB,
        text(&first, "refresh_token"),
        &[&first, &second, &third],
    )
    .await;
}

async fn ended(site: &Site, client: crate::client::Client, presented: &str, all: &[&Value]) {
    assert_eq!(
        client.refresh(site, presented).await.outcome(),
        INVALID,
        "{}",
        client.id
    );
    for tokens in all {
        assert!(
            !client.is_active(site, text(tokens, "access_token")).await,
            "{}",
            client.id
        );
        assert!(
            !client.is_active(site, text(tokens, "refresh_token")).await,
            "{}",
            client.id
        );
        assert_eq!(
            client
                .refresh(site, text(tokens, "refresh_token"))
                .await
                .outcome(),
            INVALID
        );
    }
}

/// Nothing that was issued is lost by what is issued later (safety.md 2).
#[tokio::test]
async fn access_tokens_outlive_the_rotation() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 56);
    for client in [WEB, JWT] {
        let mut all = vec![client.tokens(&mut person, "openid offline_access").await];
        for _ in 0..20 {
            let last = text(all.last().unwrap(), "refresh_token");
            all.push(client.refresh(&site, last).await.json());
        }
        for tokens in &all {
            assert!(
                client.is_active(&site, text(tokens, "access_token")).await,
                "{}",
                client.id
            );
        }
    }
}

/// RT-05, and CO-04 for refresh tokens. None of it harms the rightful one.
#[tokio::test]
async fn of_others_and_tampered() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 34);
    let tokens = WEB.tokens(&mut person, "openid offline_access").await;
    let mine = text(&tokens, "refresh_token");
    let form =
        |token: &str| Params::of(&[("grant_type", "refresh_token"), ("refresh_token", token)]);
    for client in [PUBLIC, JWT, CAREFUL, POST] {
        assert_eq!(
            client.refresh(&site, mine).await.outcome(),
            INVALID,
            "{}",
            client.id
        );
    }
    let theirs = PUBLIC.tokens(&mut person, "openid offline_access").await;
    assert_eq!(
        WEB.refresh(&site, text(&theirs, "refresh_token"))
            .await
            .outcome(),
        INVALID,
        "a public client's"
    );
    let (tag, secret) = mine.split_once('.').unwrap();
    #[rustfmt::skip]
    let rows = [
        format!("{mine}A"), mine[1..].to_owned(), mine[..mine.len() - 1].to_owned(), format!("{tag}."), tag.to_owned(),
        format!("{tag}.{}", "A".repeat(secret.len())), format!("{secret}.{tag}"), mine.to_uppercase(), format!("{mine} "),
    ];
    for mutant in rows {
        assert_eq!(
            WEB.post(&site, "/token", form(&mutant)).await.outcome(),
            INVALID,
            "{mutant}"
        );
    }
    #[rustfmt::skip]
    let rows = [
        ("twice", form(mine).and("refresh_token", mine)),
        ("empty", form("")),
    ];
    for (row, form) in rows {
        assert_eq!(
            WEB.post(&site, "/token", form).await.outcome(),
            "400 invalid_request",
            "{row}"
        );
    }
    assert_eq!(WEB.refresh(&site, mine).await.outcome(), "200");
    assert_eq!(
        PUBLIC
            .refresh(&site, text(&theirs, "refresh_token"))
            .await
            .outcome(),
        "200"
    );
}

/// RT-06: narrower, never wider; what was narrowed once is not lost (RFC 6749 §6).
#[tokio::test]
async fn scope() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 35);
    let tokens = WEB.tokens(&mut person, "openid email offline_access").await;
    let mut current = text(&tokens, "refresh_token").to_owned();
    #[rustfmt::skip]
    let rows = [
        ("wider", "openid email profile", "400 invalid_scope"),
        ("another", "profile", "400 invalid_scope"),
        ("odd", "openid\"", "400 invalid_scope"),
        ("narrower", "openid", "200"),
        ("without openid", "email", "200"),
        ("all again", "openid email offline_access", "200"),
    ];
    for (row, asked, outcome) in rows {
        let form = Params::of(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", &current),
            ("scope", asked),
        ]);
        let answer = WEB.post(&site, "/token", form).await;
        assert_eq!(answer.outcome(), outcome, "{row}");
        if answer.status == 200 {
            let tokens = answer.json();
            assert_eq!(tokens["scope"], asked, "{row}");
            assert_eq!(
                tokens.get("id_token").is_some(),
                asked.contains("openid"),
                "{row}"
            );
            let said = WEB.introspect(&site, text(&tokens, "access_token")).await;
            assert_eq!(said["scope"], asked, "{row}");
            text(&tokens, "refresh_token").clone_into(&mut current);
        }
    }
}
