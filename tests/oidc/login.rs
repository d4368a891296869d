//! The pages between a request and its answer: sign-in, consent, and the session that spares them next time (OpenID
//! Connect Core §3.1.2.3 and §3.1.2.4). BR-01, BR-02, BR-05, BR-06, BR-09, BR-14.

use std::time::Duration;

use support::launch::PASSWORD;

use crate::assertion::now;
use crate::page::Page;
use crate::params::Params;
use crate::person::{AtLogin, Person, Place};
use crate::registration::{AGED, WEB};
use crate::stack;
use crate::verified::id_token;

fn person(number: usize) -> Person {
    Person::new(&stack::shared().site(), number)
}

/// Where a browser that was sent to the sign-in is.
async fn waiting(person: &mut Person, request: &Params) -> (String, Page) {
    let answer = person
        .open(&format!("/authorize?{}", request.encode()))
        .await;
    let location = answer.header("location").to_owned();
    assert!(location.contains("/login?interaction="), "{location}");
    let page = Page::parse(&person.open(&location).await.text());
    (location, page)
}

fn typed(username: &str, password: &str) -> Vec<(&'static str, String)> {
    vec![
        ("username", username.to_owned()),
        ("password", password.to_owned()),
    ]
}

/// Each prompt, with a session and without: what is shown, and what comes of it.
#[tokio::test]
async fn prompts() {
    let mut person = person(10);
    let with = |name: &str, value: &str| WEB.request().set(name, value);
    let none = |mode: &str| with("prompt", "none").set("response_mode", mode);
    #[rustfmt::skip]
    let rows: &[(&str, Params, &[&str], &str)] = &[
        ("none, signed out", with("prompt", "none"), &[], "query login_required"),
        ("none, signed out, fragment", none("fragment"), &[], "fragment login_required"),
        ("none, signed out, a form", none("form_post"), &[], "form_post login_required"),
        ("signed out", WEB.request(), &["Sign in"], "query code"),
        ("none", with("prompt", "none"), &[], "query code"),
        ("no prompt", WEB.request(), &[], "query code"),
        ("login", with("prompt", "login"), &["Sign in"], "query code"),
        ("select_account", with("prompt", "select_account"), &["Choose an account"], "query code"),
        ("consent", with("prompt", "consent"), &["Allow access?"], "query code"),
        ("login consent", with("prompt", "login consent"), &["Sign in", "Allow access?"], "query code"),
        ("max_age=0", with("max_age", "0"), &["Sign in"], "query code"),
        ("max_age=0, none", with("max_age", "0").set("prompt", "none"), &[], "query login_required"),
        ("max_age=1000", with("max_age", "1000"), &[], "query code"),
    ];
    for (row, request, pages, outcome) in rows {
        let landing = person.authorize(request).await;
        assert_eq!(landing.outcome(), *outcome, "{row}");
        assert_eq!(person.saw, *pages, "{row}");
    }
    tokio::time::sleep(Duration::from_millis(2100)).await;
    #[rustfmt::skip]
    let rows = [
        ("max_age=1", with("max_age", "1").set("prompt", "none"), &[][..], "query login_required"),
        ("max_age=1, asked", with("max_age", "1"), &["Sign in"], "query code"),
        ("max_age=1, fresh again", with("max_age", "1"), &[], "query code"),
        ("default_max_age, fresh", AGED.request(), &[], "query code"),
    ];
    for (row, request, pages, outcome) in rows {
        let landing = person.authorize(&request).await;
        assert_eq!(landing.outcome(), outcome, "{row}");
        assert_eq!(person.saw, pages, "{row}");
    }
    tokio::time::sleep(Duration::from_millis(2100)).await;
    person
        .authorize(&AGED.request().set("max_age", "60"))
        .await
        .code();
    assert!(
        person.saw.is_empty(),
        "max_age of the request counts, not the default"
    );
    person.authorize(&AGED.request()).await.code();
    assert_eq!(person.saw, ["Sign in"], "default_max_age");
}

#[tokio::test]
async fn auth_time_is_fresh_after_prompt_login() {
    let mut person = person(11);
    let redeem = async |person: &mut Person, request: Params| {
        let code = person.authorize(&request).await.code();
        let tokens = WEB.redeem(&person.site, &code).await.json();
        id_token(&person.site, WEB.id, &tokens).await
    };
    let first = redeem(&mut person, WEB.request()).await;
    assert!((now() - first["auth_time"].as_i64().unwrap()).abs() < 5);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let silent = redeem(&mut person, WEB.request()).await;
    assert_eq!(silent["auth_time"], first["auth_time"]);
    let before = person.session().to_owned();
    let again = redeem(&mut person, WEB.request().set("prompt", "login")).await;
    assert!(again["auth_time"].as_i64() > first["auth_time"].as_i64());
    assert_eq!(again["sub"], "user11");

    // BR-01: signing in gives another cookie, and the one before opens nothing.
    assert_ne!(person.session(), before);
    let name = person
        .cookies
        .keys()
        .find(|name| name.ends_with("session"))
        .unwrap()
        .clone();
    let mut old = person.clone();
    old.cookies.insert(name, before);
    let landing = old.authorize(&WEB.request().set("prompt", "none")).await;
    assert_eq!(landing.outcome(), "query login_required");
}

/// BR-01, BR-09: a value that somebody else put there.
#[tokio::test]
async fn cookies_from_elsewhere() {
    let mut person = person(12);
    let planted = "A".repeat(43);
    person
        .cookies
        .insert("signet-session".to_owned(), planted.clone());
    person.code(&WEB, "openid").await;
    assert_ne!(person.session(), planted);
    let none = WEB.request().set("prompt", "none").encode();
    #[rustfmt::skip]
    let rows = [
        ("one", format!("signet-session={}", person.session()), "query code"),
        ("others beside", format!("a=b; signet-session={}; c", person.session()), "query code"),
        ("twice", format!("signet-session={0}; signet-session={0}", person.session()), "query login_required"),
        ("planted first", format!("signet-session=x; signet-session={}", person.session()), "query login_required"),
        ("quoted", format!("signet-session=\"{}\"", person.session()), "query login_required"),
        ("of other case", format!("Signet-Session={}", person.session()), "query login_required"),
        ("longer", format!("signet-session={}A", person.session()), "query login_required"),
        ("shorter", format!("signet-session={}", &person.session()[1..]), "query login_required"),
        ("odd", "signet-session=*{}".to_owned(), "query login_required"),
    ];
    for (row, cookies, outcome) in rows {
        let url = person.site.url(&format!("/authorize?{none}"));
        let request = http::Request::get(url)
            .header("cookie", cookies)
            .body(Vec::new())
            .unwrap();
        let answer = person.site.send(request).await;
        let landing = person.clone().follow("/authorize", answer).await;
        assert_eq!(landing.outcome(), outcome, "{row}");
    }
}

#[tokio::test]
async fn a_sign_in_that_fails_and_one_that_is_given_up() {
    let mut person = person(13);
    let (location, page) = waiting(&mut person, &WEB.request().set("login_hint", "\"><svg>")).await;
    let mut answers = Vec::new();
    let long = "a".repeat(300);
    #[rustfmt::skip]
    let rows = [
        ("user13", "wrong"), ("nobody", PASSWORD), ("nobody", "wrong"), ("USER13", PASSWORD), ("user13 ", PASSWORD),
        ("", PASSWORD), ("user13", ""), (&long, PASSWORD), ("*", PASSWORD), ("user13\0", PASSWORD),
        ("user13", "correct horse battery staple "), ("<svg onload=alert(1)>", "x"),
    ];
    for (username, password) in rows {
        let answer = person
            .submit(
                &page.action,
                &page
                    .filled(&typed(username, password), "login-submit")
                    .encode(),
            )
            .await;
        assert_eq!(answer.status, 200, "{username:?}");
        assert!(!answer.text().contains("<svg"), "{username:?}");
        let again = Page::parse(&answer.text());
        assert_eq!(again.heading, "Sign in", "{username:?}");
        assert_eq!(person.session(), "", "{username:?}");
        answers.push(
            answer
                .text()
                .replace(&format!("value=\"{username}\""), "value=\"\""),
        );
    }
    // BR-14: nobody learns which of the two was wrong.
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
    let answer = person
        .submit(
            &page.action,
            &page
                .filled(&typed("user13", PASSWORD), "login-submit")
                .encode(),
        )
        .await;
    assert_eq!(
        person.follow(&location, answer).await.outcome(),
        "query code",
        "the right password still works"
    );

    for mode in ["query", "fragment", "form_post"] {
        let mut other = Person::new(&person.site, 13);
        other.at_login = AtLogin::Cancel;
        let landing = other
            .authorize(&WEB.request().set("response_mode", mode))
            .await;
        assert_eq!(landing.outcome(), format!("{mode} access_denied"));
        assert_eq!(landing.field("state"), "some state");
        assert_eq!(landing.field("iss"), other.site.issuer());
    }
}

/// BR-02, BR-16: an interaction is one browser's, and ends with its answer.
#[tokio::test]
async fn an_interaction_belongs_to_a_browser_and_to_one_answer() {
    let mut victim = person(14);
    let (location, page) = waiting(&mut victim, &WEB.request()).await;
    let form = page.filled(&typed("user15", PASSWORD), "login-submit");
    let thief = person(15);
    let mut with_own_cookie = thief.clone();
    waiting(&mut with_own_cookie, &WEB.request()).await;
    for mut other in [thief, with_own_cookie] {
        let answer = other.open(&location).await;
        assert_eq!(
            (answer.status, Page::parse(&answer.text()).heading.as_str()),
            (400, "Authorization error")
        );
        let answer = other.submit(&page.action, &form.encode()).await;
        assert_eq!(answer.status, 400);
        assert_eq!(other.session(), "");
    }
    // A form of another interaction, without its token, or with another: somebody signs somebody in.
    let mut other_page = waiting(&mut victim, &WEB.request()).await.1;
    other_page.action.clone_from(&page.action);
    #[rustfmt::skip]
    let rows = [
        ("another interaction's", other_page.filled(&typed("user14", PASSWORD), "login-submit")),
        ("no token", form.clone().without("csrf")),
        ("an empty token", form.clone().set("csrf", "")),
        ("a made-up token", form.clone().set("csrf", &"A".repeat(43))),
        ("two tokens", form.clone().and("csrf", "x")),
        ("two passwords", form.clone().and("password", "x")),
    ];
    for (row, form) in rows {
        let answer = victim.submit(&page.action, &form.encode()).await;
        assert_eq!(answer.status, 400, "{row}");
        assert_eq!(victim.session(), "", "{row}");
    }
    let right = page
        .filled(&typed("user14", PASSWORD), "login-submit")
        .encode();
    let answer = victim.submit(&page.action, &right).await;
    victim.follow(&location, answer).await.code();
    // Back, and once more.
    for answer in [
        victim.open(&location).await,
        victim.submit(&page.action, &right).await,
    ] {
        assert_eq!(answer.status, 400);
        assert!(!answer.headers.contains_key("location"));
    }
    for place in [
        "/login",
        "/consent",
        "/login?interaction=",
        "/login?interaction=x",
        "/consent?interaction=%00",
    ] {
        assert_eq!(victim.open(place).await.status, 400, "{place}");
        assert_eq!(victim.submit(place, "").await.status, 400, "{place}");
    }
}

/// OpenID Connect Core §3.1.2.2, JO-17: the hint names somebody else.
#[tokio::test]
async fn another_person_than_the_hint_names() {
    let mut ada = person(16);
    let mut bob = person(17);
    let hers = WEB.tokens(&mut ada, "openid").await;
    let hint = WEB
        .request()
        .set("id_token_hint", hers["id_token"].as_str().unwrap());
    bob.code(&WEB, "openid").await;
    let landing = bob.authorize(&hint.clone().set("prompt", "none")).await;
    assert_eq!(landing.outcome(), "query login_required");
    let landing = bob.authorize(&hint).await;
    assert_eq!(
        (landing.outcome().as_str(), bob.saw.len()),
        ("query login_required", 1),
        "bob again"
    );
    bob.username.clone_from(&ada.username);
    let landing = bob.authorize(&hint).await;
    assert_eq!((landing.place, bob.saw.len()), (Place::Query, 1));
    let tokens = WEB.redeem(&bob.site, &landing.code()).await.json();
    assert_eq!(id_token(&bob.site, WEB.id, &tokens).await["sub"], "user16");
}
