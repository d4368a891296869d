//! Pairwise subjects (OpenID Connect Core §8.1): the same for the clients of a sector, another for everybody else; and
//! our own name for the person is nowhere to be seen. S2-28, S4-16.

use serde_json::Value;

use crate::client::Client;
use crate::person::Person;
use crate::site::Site;
use crate::tailored::{self, NEIGHBOUR, PAIRWISE, PLAIN, STRANGER, person};
use crate::verified::{header, id_token, payload};

async fn userinfo(site: &Site, token: &str) -> Value {
    let request = site
        .request(http::Method::GET, "/userinfo")
        .header("authorization", format!("Bearer {token}"));
    site.send(request.body(Vec::new()).unwrap()).await.json()
}

/// The one "sub" of all that a client is given.
async fn subject(site: &Site, person: &mut Person, client: &Client) -> String {
    let tokens = client.tokens(person, "openid offline_access").await;
    let token = tokens["access_token"].as_str().unwrap();
    let sub = id_token(site, client.id, &tokens).await["sub"].clone();
    let told = client.introspect(site, token).await;
    assert_eq!(told["sub"], sub, "introspection: {}", client.id);
    let is_pairwise = client.id != PLAIN.id;
    assert_eq!(told.get("username").is_none(), is_pairwise, "{}", client.id);
    assert_eq!(userinfo(site, token).await["sub"], sub, "{}", client.id);
    if token.matches('.').count() == 2 {
        assert_eq!(header(token)["typ"], "at+jwt");
        assert_eq!(payload(token)["sub"], sub, "{}", client.id);
    }
    let refresh_token = tokens["refresh_token"].as_str().unwrap();
    let told = client.introspect(site, refresh_token).await;
    assert_eq!(told["sub"], sub, "a refresh token: {}", client.id);
    let again = client.refresh(site, refresh_token).await.json();
    let later = id_token(site, client.id, &again).await;
    assert_eq!(later["sub"], sub, "after a refresh: {}", client.id);
    let token = again["access_token"].as_str().unwrap();
    assert_eq!(userinfo(site, token).await["sub"], sub, "{}", client.id);
    sub.as_str().unwrap().to_owned()
}

#[tokio::test]
async fn one_for_each_sector() {
    let site = tailored::site();
    let mut first = person(&site, "sub1");
    let mut second = person(&site, "sub2");
    let mut seen = Vec::new();
    for client in [PLAIN, PAIRWISE, NEIGHBOUR, STRANGER] {
        for person in [&mut first, &mut second] {
            seen.push(subject(&site, person, &client).await);
        }
    }
    let [a0, b0, a1, b1, a2, b2, a3, b3] = &seen[..] else {
        panic!("{seen:?}");
    };
    assert_eq!([a0, b0], ["subject-of-sub1", "subject-of-sub2"], "public");
    assert_eq!([a1, b1], [a2, b2], "S2-28, S4-16 one sector");
    let mut different = vec![a0, b0, a1, b1, a3, b3];
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), 6, "S2-28, S4-16 {seen:?}");
    for sub in &seen[2..] {
        assert_eq!(sub.len(), 43, "S2-28 256 bits: {sub}");
    }
    // The same at another time, in another browser.
    let again = subject(&site, &mut person(&site, "sub1"), &PAIRWISE).await;
    assert_eq!(again, *a1, "S2-28");
}

/// A hint with such a subject is still understood.
#[tokio::test]
async fn as_a_hint() {
    let site = tailored::site();
    let mut first = person(&site, "sub1");
    let mut second = person(&site, "sub2");
    let tokens = PAIRWISE.tokens(&mut first, "openid").await;
    let hint = tokens["id_token"].as_str().unwrap();
    second.code(&PAIRWISE, "openid").await;
    let request = PAIRWISE
        .request()
        .set("prompt", "none")
        .set("id_token_hint", hint);
    #[rustfmt::skip]
    let rows = [
        ("S2-28 the person whom it means", &mut first, "query code"),
        ("S2-28 another", &mut second, "query login_required"),
    ];
    for (row, person, outcome) in rows {
        assert_eq!(person.authorize(&request).await.outcome(), outcome, "{row}");
    }
}
