//! What a request may say about the person and the pages (OpenID Connect Core §3.1.2.1): prompts, hints, ages, levels
//! and languages. S2-17, S2-19, S2-20, S4-6, S4-7, S4-9, S4-19.

use serde_json::Value;

use crate::client::Client;
use crate::hybrid::{EVERY, FORM};
use crate::page::Page;
use crate::params::Params;
use crate::person::{AtAccount, AtLogin, Landing, Person};
use crate::registration::{CAREFUL, WEB};
use crate::stack;
use crate::verified::{id_token, payload};

async fn signed_in(number: usize) -> Person {
    let mut person = Person::new(&stack::shared().site(), number);
    person.code(&WEB, "openid").await;
    person
}

/// The claims of the ID token that comes of a request.
async fn claims(person: &mut Person, client: &Client, request: &Params) -> Value {
    let code = person.authorize(request).await.code();
    let answer = client.redeem(&person.site, &code).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    id_token(&person.site, client.id, &answer.json()).await
}

/// S4-9, S4-19: the person says as whom to go on.
#[tokio::test]
async fn select_account() {
    let site = stack::shared().site();
    let with = |prompt: &str| WEB.request().set("prompt", prompt);
    let select = "Choose an account";
    use AtAccount::{Another, GoOn, Stop};
    #[rustfmt::skip]
    let rows: &[(&str, &str, AtAccount, &[&str], &str)] = &[
        ("nobody is signed in", "select_account", GoOn, &["Sign in"], "query code"),
        ("shown", "select_account", Stop, &[select], "page Choose an account"),
        ("goes on", "select_account", GoOn, &[select], "query code"),
        ("somebody else", "select_account", Another, &[select, "Sign in"], "query code"),
        ("and consents", "select_account consent", GoOn, &[select, "Allow access?"], "query code"),
        ("another consents", "select_account consent", Another, &[select, "Sign in", "Allow access?"], "query code"),
        ("sign-in lets choose anyway", "select_account login", GoOn, &["Sign in"], "query code"),
        ("not with none", "none select_account", GoOn, &[], "query invalid_request"),
    ];
    let mut person = Person::new(&site, 47);
    for (row, prompt, at_account, saw, outcome) in rows {
        person.at_account = *at_account;
        let landing = person.authorize(&with(prompt)).await;
        assert_eq!(landing.outcome(), *outcome, "{row}");
        assert_eq!(person.saw, *saw, "{row}");
    }
    // Whoever is chosen is whom the client hears of.
    person.at_account = Another;
    person.username = "user48".to_owned();
    let claims = claims(&mut person, &WEB, &with("select_account")).await;
    assert_eq!(claims["sub"], "user48");
}

/// An account that is too old for the request signs in again; a form for another account than is signed in by now is
/// refused.
#[tokio::test]
async fn a_selected_account_must_be_good_enough() {
    let mut person = signed_in(49).await;
    let request = WEB.request().set("prompt", "select_account");
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    let landing = person.authorize(&request.clone().set("max_age", "1")).await;
    assert_eq!(landing.outcome(), "query code");
    assert_eq!(person.saw, ["Sign in"]);

    person.at_account = AtAccount::Stop;
    let landing = person.authorize(&request).await;
    let page = Page::parse(&landing.answer.text());
    let mut other = person.clone();
    other.username = "user50".to_owned();
    other
        .authorize(&WEB.request().set("prompt", "login"))
        .await
        .code();
    let form = page.filled(&[], "account-this");
    let answer = other.submit(&page.action, &form.encode()).await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    let answer = person.submit(&page.action, &form.encode()).await;
    // The session of the form's person has gone on under another cookie.
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert!(answer.header("location").contains("/login?"), "{answer:?}");
}

/// JO-17, S4-7: a hint says who is meant, whichever client got it and however old it is.
#[tokio::test]
async fn id_token_hints() {
    let mut person = signed_in(51).await;
    let tokens = EVERY.tokens(&mut person, "openid").await;
    let mine = tokens["id_token"].as_str().unwrap().to_owned();
    let hinted = |prompt: &str| {
        WEB.request()
            .set("id_token_hint", &mine)
            .set("prompt", prompt)
    };
    assert_eq!(
        person.authorize(&hinted("none")).await.outcome(),
        "query code"
    );
    // Somebody else sits at this browser: silently no, aloud they may sign in.
    let mut other = signed_in(52).await;
    let landing = other.authorize(&hinted("none")).await;
    assert_eq!(landing.outcome(), "query login_required");
    let landing = other.authorize(&hinted("")).await;
    assert_eq!(
        landing.outcome(),
        "query login_required",
        "and is still somebody else"
    );
    assert_eq!(other.saw, ["Sign in"]);
    other.username = "user51".to_owned();
    let landing = other.authorize(&hinted("")).await;
    assert_eq!(landing.outcome(), "query code", "and is who was meant");
    let mut nobody = Person::new(&person.site, 51);
    let landing = nobody.authorize(&hinted("none")).await;
    assert_eq!(landing.outcome(), "query login_required");
}

/// S4-6, S4-19, S2-20: whoever asks how old a sign-in is gets to know.
#[tokio::test]
async fn max_age_and_auth_time() {
    let mut person = signed_in(53).await;
    let first = claims(&mut person, &WEB, &WEB.request()).await;
    tokio::time::sleep(std::time::Duration::from_millis(2100)).await;
    let later = |max_age: &str| WEB.request().set("max_age", max_age);
    let silent = claims(&mut person, &WEB, &later("10000")).await;
    assert_eq!(silent["auth_time"], first["auth_time"]);
    assert!(person.saw.is_empty());
    let again = claims(&mut person, &WEB, &later("1")).await;
    assert_eq!(person.saw, ["Sign in"]);
    assert!(again["auth_time"].as_i64() > first["auth_time"].as_i64());
}

/// S4-7: the name is filled in, escaped, and can be changed.
#[tokio::test]
async fn login_hint() {
    let mut person = Person::new(&stack::shared().site(), 54);
    person.at_login = AtLogin::Stop;
    for (hint, shown) in [
        ("user54", "value=\"user54\""),
        ("\"><svg>", "value=\"&#34;&#62;&#60;svg&#62;\""),
        ("", "value=\"\""),
    ] {
        let landing = person
            .authorize(&WEB.request().set("login_hint", hint))
            .await;
        assert_eq!(landing.outcome(), "page Sign in");
        assert!(landing.answer.text().contains(shown), "{hint}");
    }
    let long = "a".repeat(257);
    let landing = person
        .authorize(&WEB.request().set("login_hint", &long))
        .await;
    assert!(!landing.answer.text().contains(&long));
}

/// S4-7: the pages speak the first language that they know.
#[tokio::test]
async fn languages() {
    let site = stack::shared().site();
    #[rustfmt::skip]
    let rows = [
        ("", "en", "Sign in", "Allow access?"),
        ("de", "de", "Anmelden", "Zugriff erlauben?"),
        ("fr-CA fr en", "fr", "Se connecter", "Autoriser l’accès ?"),
        ("it ja DE-at", "de", "Anmelden", "Zugriff erlauben?"),
        ("se", "en", "Sign in", "Allow access?"),
    ];
    for (locales, language, login, consent) in rows {
        let mut person = Person::new(&site, 55);
        let request = CAREFUL
            .request()
            .set("ui_locales", locales)
            .set("prompt", "consent")
            .set("response_mode", "form_post");
        let landing = person.authorize(&request).await;
        assert_eq!(landing.outcome(), "form_post code", "{locales}");
        assert_eq!(person.saw, [login, consent], "{locales}");
        let lang = format!("<html lang=\"{language}\">");
        assert!(landing.answer.text().contains(&lang), "{locales}");
    }
}

/// OpenID Connect Registration §2.1: and so do the client's own words.
#[tokio::test]
async fn what_the_client_says_of_itself() {
    let mut person = Person::new(&stack::shared().site(), 55);
    person.at_login = AtLogin::Stop;
    for (locales, name, terms) in [
        ("", "The form", "terms"),
        ("de", "The form", "terms"),
        ("fr-CH", "Le formulaire", "conditions"),
    ] {
        let request = FORM
            .request()
            .set("response_mode", "form_post")
            .set("ui_locales", locales);
        let page = person.authorize(&request).await.answer.text();
        assert!(
            page.contains(&format!("<strong>{name}</strong>")),
            "{locales}"
        );
        let link = format!("href=\"https://form.example/{terms}\"");
        assert!(page.contains(&link), "{locales}: {page}");
    }
}

/// S2-19: what is said of a sign-in where several names are right. The shared stack has one: `1`.
#[tokio::test]
async fn authentication_context() {
    let mut person = signed_in(56).await;
    let with = |name: &str, value: &str| WEB.request().set(name, value);
    let wanted = |acr: &str| with("claims", &format!("{{\"id_token\":{{\"acr\":{acr}}}}}"));
    let unmet = "query unmet_authentication_requirements";
    #[rustfmt::skip]
    let rows = [
        ("not asked", WEB.request(), "query code"),
        ("acr_values", with("acr_values", "1 2"), "query code"),
        ("acr_values that nobody reaches", with("acr_values", "2"), "query code"),
        ("voluntary", wanted("null"), "query code"),
        ("voluntary, of some value", wanted(r#"{"values":["9","8"]}"#), "query code"),
        ("essential", wanted(r#"{"essential":true}"#), "query code"),
        ("essential, reached", wanted(r#"{"essential":true,"values":["9","1"]}"#), "query code"),
        ("essential, of one value", wanted(r#"{"essential":true,"value":"1"}"#), "query code"),
        ("essential, not reached", wanted(r#"{"essential":true,"values":["9","8"]}"#), unmet),
        ("essential, none", wanted(r#"{"essential":true,"value":"9"}"#).set("prompt", "none"), unmet),
    ];
    for (row, request, outcome) in rows {
        let landing: Landing = person.authorize(&request).await;
        assert_eq!(landing.outcome(), outcome, "{row}");
        if !landing.fields.contains_key("code") {
            continue;
        }
        let answer = WEB.redeem(&person.site, &landing.code()).await.json();
        let claims = payload(answer["id_token"].as_str().unwrap());
        assert_eq!(claims["acr"], "1", "{row}");
        assert_eq!(claims["amr"][0], "pwd", "S2-17 {row}");
    }
}

/// S2-19: the claims parameter before `acr_values` before the client's own; names that the configuration has.
#[tokio::test]
async fn preference_of_authentication_contexts() {
    let stack = stack::start(&stack::Options {
        tables: "[authorization]\nacr_values_supported = [\"loa1\", \"loa2\", \"loa3\"]\nminimum_parameter_entropy = 0\n",
        ..stack::Options::default()
    });
    let site = stack.site();
    let mut person = Person::new(&site, 0);
    let acr = |claims: &str| format!("{{\"id_token\":{{\"acr\":{claims}}}}}");
    #[rustfmt::skip]
    let rows = [
        ("the first is said where none is asked for", "", String::new(), "loa1"),
        ("acr_values in order", "x loa3 loa2", String::new(), "loa3"),
        ("claims before acr_values", "loa3", acr(r#"{"values":["y","loa2"]}"#), "loa2"),
        ("claims that nobody reaches", "loa3", acr(r#"{"values":["y"]}"#), "loa3"),
        ("essential", "loa3", acr(r#"{"essential":true,"value":"loa2"}"#), "loa2"),
    ];
    for (row, acr_values, claims_parameter, expected) in rows {
        let request = WEB
            .request()
            .set("acr_values", acr_values)
            .set("claims", &claims_parameter);
        let claims = claims(&mut person, &WEB, &request).await;
        assert_eq!(claims["acr"], expected, "{row}");
    }
    let document = site.get("/.well-known/openid-configuration").await.json();
    assert_eq!(
        document["acr_values_supported"],
        serde_json::json!(["loa1", "loa2", "loa3"])
    );
    // Its default_acr_values.
    let client = crate::request_object::OBJECTS;
    let said = claims(&mut person, &client, &client.request()).await;
    assert_eq!(said["acr"], "loa2");
    // S3-9: switched off.
    let short = WEB.request().set("state", "1").set("nonce", "1");
    assert_eq!(person.authorize(&short).await.outcome(), "query code");
}

/// What nobody has authenticated is kept for a while only if it is short.
#[tokio::test]
async fn long_requests_are_not_kept() {
    let mut person = Person::new(&stack::shared().site(), 57);
    let long = WEB.request().set("state", &"s".repeat(4000));
    let landing = person.authorize(&long).await;
    assert_eq!(
        landing.outcome(),
        "query invalid_request",
        "nobody is signed in"
    );
    person.code(&WEB, "openid").await;
    let landing = person.authorize(&long).await;
    assert_eq!(landing.outcome(), "query code", "nothing has to be kept");
}
