//! When things end: codes, tokens, sessions, on a stack where they live for seconds, with TLS, so that cookies are as
//! they are in use. CO-12, RT-10, BR-10, IN-04.

use std::time::Duration;

use http::Method;
use serde_json::Value;

use crate::client::Client;
use crate::person::Person;
use crate::registration::{JWT, WEB};
use crate::site::Site;
use crate::stack::{self, Options, Stack};

const TABLES: &str = r#"
[tokens]
authorization_code = "1s"
access_token = "2s"
id_token = "2s"
refresh_token_idle = "5s"
refresh_token_absolute = "6s"
refresh_grace = "1s"
[sessions]
idle = "5s"
absolute = "8s"
"#;

fn short_lived() -> Stack {
    stack::start(&Options {
        tls: "1",
        tables: TABLES,
        ..Options::default()
    })
}

async fn seconds(count: f32) {
    tokio::time::sleep(Duration::from_secs_f32(count)).await;
}

fn text<'a>(tokens: &'a Value, name: &str) -> &'a str {
    tokens[name].as_str().unwrap()
}

async fn userinfo(site: &Site, token: &str) -> u16 {
    let request = site
        .request(Method::GET, "/userinfo")
        .header("authorization", format!("Bearer {token}"));
    site.send(request.body(Vec::new()).unwrap()).await.status
}

#[tokio::test]
async fn what_lives_for_seconds() {
    let stack = short_lived();
    let site = stack.site();
    let tests: [std::pin::Pin<Box<dyn Future<Output = ()> + '_>>; 6] = [
        Box::pin(codes(&site)),
        Box::pin(tokens(&site, WEB, 1)),
        Box::pin(tokens(&site, JWT, 2)),
        Box::pin(unused(&site)),
        Box::pin(sessions(&site)),
        Box::pin(cookies(&site)),
    ];
    futures_util::future::join_all(tests).await;
}

async fn codes(site: &Site) {
    let mut person = Person::new(site, 0);
    let code = person.code(&WEB, "openid").await;
    assert_eq!(WEB.redeem(site, &code).await.outcome(), "200");
    let code = person.code(&WEB, "openid").await;
    seconds(2.1).await;
    assert_eq!(WEB.redeem(site, &code).await.outcome(), "400 invalid_grant");
}

async fn tokens(site: &Site, client: Client, number: usize) {
    let mut person = Person::new(site, number);
    let first = client.tokens(&mut person, "openid offline_access").await;
    assert_eq!(first["expires_in"], 2);
    assert_eq!(userinfo(site, text(&first, "access_token")).await, 200);
    seconds(3.1).await;
    let id = client.id;
    assert_eq!(
        userinfo(site, text(&first, "access_token")).await,
        401,
        "{id}"
    );
    assert!(
        !client.is_active(site, text(&first, "access_token")).await,
        "{id}"
    );
    // The ID token is over too, and still tells whom a logout means.
    let hint = format!("/logout?id_token_hint={}", text(&first, "id_token"));
    let page = person.open(&hint).await.text();
    assert!(page.contains("You are logged out"), "{page}");

    // RT-10: each is used in time, and the family ends all the same.
    let second = client.refresh(site, text(&first, "refresh_token")).await;
    assert_eq!(second.outcome(), "200", "{id}");
    seconds(4.0).await;
    let third = client
        .refresh(site, text(&second.json(), "refresh_token"))
        .await;
    assert_eq!(
        third.outcome(),
        "400 invalid_grant",
        "{id}: the absolute end"
    );
}

async fn unused(site: &Site) {
    let mut person = Person::new(site, 5);
    let unused = WEB.tokens(&mut person, "openid offline_access").await;
    seconds(6.1).await;
    assert!(!WEB.is_active(site, text(&unused, "refresh_token")).await);
    let late = WEB.refresh(site, text(&unused, "refresh_token")).await;
    assert_eq!(late.outcome(), "400 invalid_grant", "not used for too long");
}

async fn sessions(site: &Site) {
    let mut person = Person::new(site, 3);
    person.code(&WEB, "openid").await;
    let none = WEB.request().set("prompt", "none");
    assert_eq!(person.authorize(&none).await.outcome(), "query code");
    seconds(9.1).await;
    assert_eq!(
        person.authorize(&none).await.outcome(),
        "query login_required"
    );
}

async fn cookies(site: &Site) {
    let mut person = Person::new(site, 4);
    let answer = person
        .open(&format!("/authorize?{}", WEB.request().encode()))
        .await;
    assert_eq!(
        answer.header("strict-transport-security"),
        "max-age=63072000"
    );
    let cookie = answer.header("set-cookie").to_owned();
    assert!(
        cookie.starts_with("__Host-") && cookie.ends_with("; Secure"),
        "{cookie}"
    );
    person.code(&WEB, "openid").await;
    let names: Vec<&str> = person.cookies.keys().map(String::as_str).collect();
    let ours = [
        "__Host-signet-browser",
        "__Host-signet-session",
        "__Host-signet-state",
    ];
    assert_eq!(names, ours);
    // BR-09: one without the prefix, which a sub-domain could have set, is nothing.
    let planted = format!("signet-session={}", person.session());
    let place = format!(
        "/authorize?{}",
        WEB.request().set("prompt", "none").encode()
    );
    let request = site
        .request(Method::GET, &place)
        .header("cookie", planted)
        .body(Vec::new());
    let landing = person
        .clone()
        .follow(&place, site.send(request.unwrap()).await)
        .await;
    assert_eq!(landing.outcome(), "query login_required");
}
