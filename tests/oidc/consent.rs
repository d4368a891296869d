//! Consent (OpenID Connect Core §3.1.2.4): asked for, remembered, and asked for again when something is different.
//! AZ-16, BR-04, BR-05.

use crate::page::Page;
use crate::params::Params;
use crate::person::{AtConsent, AtLogin, Person};
use crate::registration::{CAREFUL, WEB};
use crate::stack;

const ASKED: &[&str] = &["Allow access?"];

async fn signed_in(number: usize) -> Person {
    let mut person = Person::new(&stack::shared().site(), number);
    person.code(&WEB, "openid").await;
    person
}

#[tokio::test]
async fn remembered_until_something_is_different() {
    let mut person = signed_in(20).await;
    let scope = |scope: &str| CAREFUL.request().set("scope", scope);
    let by = |mode: &str| CAREFUL.request().set("response_mode", mode);
    let none = |request: Params| request.set("prompt", "none");
    let named = |sub: &str, words: &str| {
        let claims = format!(r#"{{"id_token": {{"sub": {{"value": "{sub}"}}}}}}"#);
        none(scope(words)).set("claims", &claims)
    };
    let other = |request: Params| request.set("redirect_uri", "https://careful.example/other");
    use AtConsent::{Allow, AllowOnce, Deny};
    #[rustfmt::skip]
    let rows: &[(&str, Params, AtConsent, &[&str], &str)] = &[
        ("never asked", none(scope("openid")), Allow, &[], "query consent_required"),
        ("BR-05 never asked, and named", named("user20", "openid"), Allow, &[], "query consent_required"),
        ("BR-05 never asked, another named", named("user21", "openid"), Allow, &[], "query consent_required"),
        ("denied", scope("openid"), Deny, ASKED, "query access_denied"),
        ("denied in the fragment", by("fragment"), Deny, ASKED, "fragment access_denied"),
        ("denied in a form", by("form_post"), Deny, ASKED, "form_post access_denied"),
        ("a denial is not remembered", scope("openid"), AllowOnce, ASKED, "query code"),
        ("nor what was allowed once", none(scope("openid")), Allow, &[], "query consent_required"),
        ("allowed", scope("openid email"), Allow, ASKED, "query code"),
        ("remembered", scope("openid email"), Deny, &[], "query code"),
        ("remembered, none", none(scope("openid email")), Deny, &[], "query code"),
        ("remembered, and named", named("user20", "openid email"), Deny, &[], "query code"),
        ("remembered, another named", named("user21", "openid email"), Deny, &[], "query login_required"),
        ("less", scope("openid"), Deny, &[], "query code"),
        ("more, none", none(scope("openid email profile")), Allow, &[], "query consent_required"),
        ("more", scope("openid email profile"), AllowOnce, ASKED, "query code"),
        ("offline_access", scope("openid offline_access"), Deny, ASKED, "query access_denied"),
        ("another redirect URI, none", other(none(scope("openid"))), Allow, &[], "query consent_required"),
        ("another redirect URI", other(scope("openid")), AllowOnce, ASKED, "query code"),
        ("asked for", scope("openid").set("prompt", "consent"), Deny, ASKED, "query access_denied"),
    ];
    for (row, request, at_consent, pages, outcome) in rows {
        person.at_consent = *at_consent;
        let landing = person.authorize(request).await;
        assert_eq!(landing.outcome(), *outcome, "{row}");
        assert_eq!(person.saw, *pages, "{row}");
    }
    let mut somebody_else = signed_in(21).await;
    let landing = somebody_else.authorize(&none(scope("openid email"))).await;
    assert_eq!(landing.outcome(), "query consent_required");
}

#[tokio::test]
async fn the_page_says_who_asks_for_what() {
    let mut person = signed_in(22).await;
    person.at_consent = AtConsent::Stop;
    let landing = person
        .authorize(
            &CAREFUL
                .request()
                .set("scope", "openid email zzz offline_access"),
        )
        .await;
    let text = landing.answer.text();
    for said in [
        "The client careful",
        "user22",
        "email",
        "offline_access",
        "https://careful.example/policy",
    ] {
        assert!(text.contains(said), "{said}: {text}");
    }
    assert!(!text.contains("zzz"));
    let page = Page::parse(&text);
    // What a person allows is what is granted, whatever the form is made to say (AZ-16).
    let form = page.filled(&[("remember", String::new())], "consent-allow");
    let answer = person
        .submit(&page.action, &form.and("scope", "openid profile").encode())
        .await;
    let code = person.follow("/consent", answer).await.code();
    let tokens = CAREFUL.redeem(&person.site, &code).await.json();
    assert_eq!(tokens["scope"], "openid email offline_access");
    let answer = person
        .submit(&page.action, &page.filled(&[], "consent-allow").encode())
        .await;
    assert_eq!(answer.status, 400, "allowed once is allowed once");
}

#[tokio::test]
async fn only_the_page_that_we_gave_counts() {
    let mut person = signed_in(23).await;
    person.at_consent = AtConsent::Stop;
    let landing = person.authorize(&CAREFUL.request()).await;
    let page = Page::parse(&landing.answer.text());
    let form = page.filled(&[], "consent-allow");
    #[rustfmt::skip]
    let rows = [
        ("no token", form.clone().without("csrf")),
        ("another token", form.clone().set("csrf", &"B".repeat(43))),
        ("two decisions", form.clone().and("decision", "deny")),
    ];
    for (row, form) in rows {
        let answer = person.submit(&page.action, &form.encode()).await;
        assert_eq!(answer.status, 400, "{row}");
    }
    // Another person's browser, and this one after somebody else has signed in.
    let mut other = signed_in(24).await;
    assert_eq!(other.open(&page.action).await.status, 400);
    assert_eq!(other.submit(&page.action, &form.encode()).await.status, 400);
    let mut switched = person.clone();
    switched.username = "user24".to_owned();
    switched
        .authorize(&WEB.request().set("prompt", "login"))
        .await
        .code();
    assert_eq!(
        switched.submit(&page.action, &form.encode()).await.status,
        400
    );
    // Signed out: the session of `person` was ended when user24 signed in.
    assert_eq!(
        person.submit(&page.action, &form.encode()).await.status,
        400
    );

    // The sign-in cannot be skipped by going to the consent page of the same interaction.
    let mut signed_out = Person::new(&person.site, 23);
    signed_out.at_login = AtLogin::Stop;
    let login = signed_out.authorize(&CAREFUL.request()).await;
    let action = Page::parse(&login.answer.text())
        .action
        .replace("/login", "/consent");
    assert_eq!(signed_out.open(&action).await.status, 400);
    assert_eq!(
        signed_out.submit(&action, "decision=allow").await.status,
        400
    );
}
