//! Who is asked again, and who is not: `prompt`, `max_age`, `id_token_hint` (OpenID Connect Core §3.1.2.1), in all flows.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::relying_party::{Auth, RelyingParty};
use super::{RESPONSE_TYPES, alice, row};
use crate::assertion::now;
use crate::person::AtLogin;

/// Longer than the second that `auth_time` counts in.
const MOMENT: Duration = Duration::from_millis(2100);

fn auth_time(claims: &Value) -> i64 {
    claims["auth_time"].as_i64().expect("auth_time")
}

/// S4-9, S4-19: each flow by itself, side by side for their waits.
#[tokio::test]
async fn prompts_and_ages() {
    let rows =
        RESPONSE_TYPES.map(|(profile, response_type)| tokio::spawn(ages(profile, response_type)));
    for each in rows {
        each.await.unwrap();
    }
}

async fn ages(profile: &'static str, response_type: &'static str) {
    // Who has no ID token cannot look into one: that is "code token", whose ID token comes from the token endpoint.
    let rp = RelyingParty::new(Auth::Basic, response_type).await;
    let mut person = alice();

    row(
        profile,
        response_type,
        "oidcc-prompt-none-not-logged-in S4-9",
    );
    let request = rp.request().set("prompt", "none");
    let landing = rp.authorize(&mut person, &request).await;
    assert!(person.saw.is_empty());
    rp.check_error(&request, &landing, "login_required");

    let first = rp.login(&mut person, &rp.request()).await;
    assert!(person.saw.contains(&"Sign in".to_owned()));
    sleep(MOMENT).await;

    row(profile, response_type, "oidcc-prompt-none-logged-in S4-9");
    let login = rp
        .login(&mut person, &rp.request().set("prompt", "none"))
        .await;
    assert!(person.saw.is_empty(), "{:?}", person.saw);
    assert_eq!(login.claims()["sub"], first.claims()["sub"]);
    assert_eq!(auth_time(login.claims()), auth_time(first.claims()));

    row(profile, response_type, "oidcc-max-age-10000 S2-20");
    let login = rp
        .login(&mut person, &rp.request().set("max_age", "10000"))
        .await;
    assert!(person.saw.is_empty(), "{:?}", person.saw);
    assert_eq!(auth_time(login.claims()), auth_time(first.claims()));

    row(profile, response_type, "oidcc-id-token-hint S4-7");
    let hint = [
        ("prompt", "none"),
        ("id_token_hint", first.id_token.as_str()),
    ];
    let login = rp.login(&mut person, &rp.request().with(&hint)).await;
    assert_eq!(login.claims()["sub"], first.claims()["sub"]);

    row(profile, response_type, "oidcc-max-age-1 S2-20 S4-6");
    let aged = rp
        .login(&mut person, &rp.request().set("max_age", "1"))
        .await;
    assert!(
        person.saw.contains(&"Sign in".to_owned()),
        "{:?}",
        person.saw
    );
    assert!(auth_time(aged.claims()) > auth_time(first.claims()));
    assert!(now() - auth_time(aged.claims()) < 10);
    assert_eq!(aged.claims()["sub"], first.claims()["sub"]);
    sleep(MOMENT).await;

    row(profile, response_type, "oidcc-prompt-login S4-9 S4-19");
    let login = rp
        .login(&mut person, &rp.request().set("prompt", "login"))
        .await;
    assert!(
        person.saw.contains(&"Sign in".to_owned()),
        "{:?}",
        person.saw
    );
    assert_ne!(auth_time(login.claims()), auth_time(aged.claims()));
}

/// OpenID Connect Core §3.1.2.1: the person of the hint is not the one at the browser.
#[tokio::test]
async fn hints_of_somebody_else() {
    let rp = RelyingParty::new(Auth::Basic, "code").await;
    let hers = rp.login(&mut alice(), &rp.request()).await;
    let mut other = crate::person::Person::new(&rp.site, 7);
    let his = rp.login(&mut other, &rp.request()).await;
    for (module, hint, outcome) in [
        ("control: his own hint", &his.id_token, None),
        ("her hint", &hers.id_token, Some("login_required")),
    ] {
        row("Basic", "code", module);
        let request = rp
            .request()
            .with(&[("prompt", "none"), ("id_token_hint", hint)]);
        let landing = rp.authorize(&mut other, &request).await;
        match outcome {
            None => drop(rp.finish(&request, &landing).await),
            Some(error) => rp.check_error(&request, &landing, error),
        }
    }
}

/// Registration §2: `default_max_age` and `require_auth_time`.
#[tokio::test]
async fn registered_ages() {
    row(
        "Dynamic",
        "code",
        "default_max_age, require_auth_time S2-20",
    );
    let rp = RelyingParty::with(
        Auth::Basic,
        "code",
        |_, _| json!({"default_max_age": 1, "require_auth_time": true}),
    );
    let rp = rp.await;
    let mut person = alice();
    rp.login(&mut person, &rp.request()).await;
    sleep(MOMENT).await;
    let request = rp.request().set("prompt", "none");
    let landing = rp.authorize(&mut person, &request).await;
    rp.check_error(&request, &landing, "login_required");
    rp.login(
        &mut person,
        &rp.request().with(&[("prompt", "none"), ("max_age", "100")]),
    )
    .await;
}

/// S2-19: acr values in the order of preference; an essential one that no login reaches is an error.
#[tokio::test]
async fn acr_values() {
    let rp = RelyingParty::with(
        Auth::Basic,
        "code",
        |_, _| json!({"default_acr_values": ["2"]}),
    );
    let rp = rp.await;
    let mut person = alice();
    person.at_login = AtLogin::SignIn;
    let essential = |values: &[&str]| {
        json!({"id_token": {"acr": {"essential": true, "values": values}}}).to_string()
    };
    let (one, unknown) = (essential(&["1"]), essential(&["urn:nobody:reaches:this"]));
    for (module, more, acr) in [
        ("default_acr_values", &[][..], "2"),
        (
            "acr_values before the registered ones",
            &[("acr_values", "1")],
            "1",
        ),
        (
            "claims before acr_values",
            &[("acr_values", "2"), ("claims", one.as_str())],
            "1",
        ),
    ] {
        row("Basic", "code", module);
        let login = rp.login(&mut person, &rp.request().with(more)).await;
        assert_eq!(login.claims()["acr"], acr);
    }
    row("Basic", "code", "an essential acr that nobody reaches");
    let request = rp.request().set("claims", &unknown);
    let landing = rp.authorize(&mut person, &request).await;
    assert!(landing.fields.contains_key("error"), "{landing:?}");
    rp.check_response(&request, &landing);
}
