//! S2-U14, P-2: OpenID Connect Front-Channel Logout 1.0: each client of the session gets a frame in which it signs the
//! person out, and then the browser goes on. `session_management.rs` has a real browser do it.

use crate::client::Client;
use crate::page::{Page, attributes};
use crate::params::Params;
use crate::person::Person;
use crate::registration::{ALSO_LEAVING, LEAVING, WEB};
use crate::site::Answer;
use crate::stack;
use crate::verified::{id_token, payload};

const BYE: &str = "https://leaving.example/bye";

/// Signs in to each client in turn; the last ID token of `LEAVING`, and its `sid`.
async fn visit(person: &mut Person, clients: &[Client]) -> (String, String) {
    let mut seen = (String::new(), String::new());
    for client in clients {
        let tokens = client.tokens(person, "openid").await;
        let claims = id_token(&person.site, client.id, &tokens).await;
        match claims["sid"].as_str() {
            Some(sid) => seen.1 = sid.to_owned(),
            None => assert_eq!(client.id, WEB.id, "only who is told needs it"),
        }
        if client.id == LEAVING.id {
            seen.0 = tokens["id_token"].as_str().unwrap().to_owned();
        }
    }
    seen
}

/// What the frames lead to.
fn frames(answer: &Answer) -> Vec<String> {
    attributes(&answer.text(), "iframe", "src")
}

fn frame(uri: &str, person: &Person, sid: &str) -> String {
    let joint = if uri.contains('?') { '&' } else { '?' };
    let told = Params::of(&[("iss", person.site.issuer()), ("sid", sid)]);
    format!("{uri}{joint}{}", told.encode())
}

#[tokio::test]
async fn who_gets_a_frame() {
    let site = stack::shared().site();
    let (first, second) = (
        "https://leaving.example/out?from=op&x",
        "https://also.example:8443/out",
    );
    let (one, other) = ("https://leaving.example", "https://also.example:8443");
    #[rustfmt::skip]
    let rows = [
        ("S2-U14 one", &[LEAVING][..], vec![first], one.to_owned()),
        ("S2-U14 two", &[LEAVING, ALSO_LEAVING], vec![first, second], format!("{one} {other}")),
        ("S2-U14 twice the same", &[LEAVING, ALSO_LEAVING, LEAVING], vec![first, second], format!("{one} {other}")),
        ("S2-U14 one that has no such URI", &[WEB, LEAVING], vec![first], one.to_owned()),
    ];
    for (row, clients, expected, origins) in rows {
        let mut person = Person::new(&site, 58);
        let (hint, sid) = visit(&mut person, clients).await;
        // Somebody else's session is none of theirs.
        visit(&mut Person::new(&site, 58), &[ALSO_LEAVING]).await;
        let query = Params::of(&[("id_token_hint", &hint), ("state", "a&b")])
            .and("post_logout_redirect_uri", BYE);
        let answer = person.open(&format!("/logout?{}", query.encode())).await;
        assert_eq!(answer.status, 200, "{row}: {}", answer.text());
        let expected: Vec<String> = expected
            .iter()
            .map(|uri| frame(uri, &person, &sid))
            .collect();
        assert_eq!(frames(&answer), expected, "{row}");
        let policy = answer.header("content-security-policy");
        for part in [
            &format!("; frame-src {origins};"),
            "default-src 'none'",
            "script-src 'self'",
            "frame-ancestors 'none'",
        ] {
            assert!(policy.contains(part), "{row}: {policy}");
        }
        let text = answer.text();
        let next = format!("{BYE}?state=a%26b");
        assert_eq!(Page::parse(&text).heading, "You are logged out", "{row}");
        assert!(attributes(&text, "a", "href").contains(&next), "{row}");
        let refresh = attributes(&text, "meta", "content");
        assert!(refresh.contains(&format!("5;url={next}")), "{row}: {text}");
        let scripts = attributes(&text, "script", "src");
        assert_eq!(scripts, ["assets/front_channel_logout.js"], "{row}");
        assert_eq!(person.session(), "", "{row}");
        // And once more: nobody is left to be told.
        let answer = person.open(&format!("/logout?{}", query.encode())).await;
        assert_eq!(answer.header("location"), next, "{row}");
    }
}

#[tokio::test]
async fn without_a_place_to_go_on_to() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 59);
    let (_, sid) = visit(&mut person, &[LEAVING]).await;
    let asked = person.open("/logout?ui_locales=de").await;
    let page = Page::parse(&asked.text());
    assert_eq!(page.heading, "Abmelden");
    assert!(frames(&asked).is_empty(), "asked is not done");
    let form = page.filled(&[], "logout-confirm").encode();
    let answer = person.submit(&page.action, &form).await;
    let text = answer.text();
    assert_eq!(Page::parse(&text).heading, "Sie sind abgemeldet");
    let uri = "https://leaving.example/out?from=op&x";
    assert_eq!(frames(&answer), [frame(uri, &person, &sid)]);
    assert!(attributes(&text, "script", "src").is_empty(), "{text}");
}

/// The same person, signing in again, is still in the same session; another person ends it.
#[tokio::test]
async fn signing_in_again() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 60);
    let (_, sid) = visit(&mut person, &[LEAVING]).await;
    let cookie = person.session().to_owned();
    let again = ALSO_LEAVING.request().set("prompt", "login");
    let code = person.authorize(&again).await.code();
    assert_ne!(person.session(), cookie, "BR-01");
    let tokens = ALSO_LEAVING.redeem(&site, &code).await.json();
    assert_eq!(payload(tokens["id_token"].as_str().unwrap())["sid"], sid);
    let mut left = person.clone();
    let page = left.open("/logout").await;
    let page = Page::parse(&page.text());
    let form = page.filled(&[], "logout-confirm").encode();
    let answer = left.submit(&page.action, &form).await;
    assert_eq!(frames(&answer).len(), 2, "both are in it");

    let mut person = Person::new(&site, 60);
    let (_, sid) = visit(&mut person, &[LEAVING]).await;
    let before = person.clone();
    person.username = "user61".to_owned();
    let other = LEAVING.request().set("prompt", "login");
    let code = person.authorize(&other).await.code();
    let tokens = LEAVING.redeem(&site, &code).await.json();
    assert_ne!(payload(tokens["id_token"].as_str().unwrap())["sid"], sid);
    let landing = before
        .clone()
        .authorize(&LEAVING.request().set("prompt", "none"))
        .await;
    assert_eq!(landing.outcome(), "query login_required");
}

/// RP-Initiated Logout §2: an ID token of another session is suspect, though the person be the same.
#[tokio::test]
async fn a_hint_of_another_session() {
    let site = stack::shared().site();
    let (old, _) = visit(&mut Person::new(&site, 62), &[LEAVING]).await;
    let mut person = Person::new(&site, 62);
    let (hint, _) = visit(&mut person, &[LEAVING]).await;
    let ask = |hint: &str| {
        format!(
            "/logout?{}",
            Params::of(&[("id_token_hint", hint)]).encode()
        )
    };
    let answer = person.open(&ask(&old)).await;
    assert!(Page::parse(&answer.text()).has("logout-confirm"));
    let answer = person.open(&ask(&hint)).await;
    assert_eq!(Page::parse(&answer.text()).heading, "You are logged out");
}
