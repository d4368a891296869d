//! S2-U14, P-2: OpenID Connect Back-Channel Logout 1.0: clients are told of the end of their sessions by a logout token,
//! at least once, whatever happens to them or to us in between.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::certification::server::{self, Seen, Server};
use crate::client::{Client, Proof};
use crate::page::Page;
use crate::params::Params;
use crate::person::Person;
use crate::site::Site;
use crate::stack::{self, Options, Stack};
use crate::verified::{header, id_token, keys, payload, verify};

const EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// How long a notice may take that does not have to wait.
const SOON: Duration = Duration::from_secs(10);

const ONE: Client = client("one");
const TWO: Client = client("two");
/// ID tokens with ES256.
const CURVE: Client = client("curve");
const NO_CONTENT: Client = client("no-content");
/// Knows people by names of its own.
const PAIRWISE: Client = client("pairwise");
/// Answers as `answers_badly` wants it.
const BAD: Client = client("bad");
/// The same, for the tests that end processes.
const LATE: Client = client("late");

const fn client(id: &'static str) -> Client {
    Client {
        id,
        redirect_uri: "https://rp.example/cb",
        proof: Proof::None,
    }
}

/// A stack of two gateways with clients that this server hears for.
fn start(server: &Server, more: &str) -> Stack {
    let mut tables = format!(
        "{more}\n[fetch]\nextra_ca_file = {}\nallow_networks = [\"127.0.0.0/8\", \"::1/128\"]\n",
        json!(server::authority())
    );
    for client in [ONE, TWO, CURVE, NO_CONTENT, PAIRWISE, BAD, LATE] {
        let alg = if client.id == CURVE.id {
            "ES256"
        } else {
            "RS256"
        };
        let mut metadata = json!({
            "client_id": client.id,
            "redirect_uris": [client.redirect_uri],
            "post_logout_redirect_uris": ["https://rp.example/bye"],
            "token_endpoint_auth_method": "none",
            "consent": "implicit",
            "id_token_signed_response_alg": alg,
            "backchannel_logout_uri": server.url(&path(client)),
        });
        if client.id == PAIRWISE.id {
            metadata["subject_type"] = json!("pairwise");
        }
        let metadata = metadata.as_object_mut().unwrap();
        tables += "[[clients]]\n";
        for (name, value) in metadata {
            tables += &format!("{name} = {value}\n");
        }
    }
    stack::start(&Options {
        gateways: 2,
        tables: tables.leak(),
        ..Options::default()
    })
}

fn path(client: Client) -> String {
    format!("/{}/told", client.id)
}

/// Signs in to each client; the claims of the last one's ID token, and itself.
async fn visit(person: &mut Person, clients: &[Client]) -> (Value, String) {
    let mut last = (Value::Null, String::new());
    for client in clients {
        let tokens = client.tokens(person, "openid").await;
        let claims = id_token(&person.site, client.id, &tokens).await;
        last = (claims, tokens["id_token"].as_str().unwrap().to_owned());
    }
    last
}

async fn leave(person: &mut Person, hint: &str) {
    let query = Params::of(&[("id_token_hint", hint)]).encode();
    let answer = person.open(&format!("/logout?{query}")).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(person.session(), "");
}

/// Waits until so many have come, and for a moment whether there are more.
async fn told(server: &Server, client: Client, count: usize, patience: Duration) -> Vec<Seen> {
    let until = Instant::now() + patience;
    while server.visits(&path(client)) < count {
        let came = server.visits(&path(client));
        assert!(
            Instant::now() < until,
            "{}: {came} of {count} came",
            client.id
        );
        sleep(Duration::from_millis(20)).await;
    }
    server.all_seen(&path(client))
}

/// The claims of the logout token in a request.
async fn claims(site: &Site, client: Client, seen: &Seen) -> Value {
    assert_eq!(seen.method, "POST");
    assert_eq!(seen.tls, "TLSv1_3");
    assert_eq!(seen.content_type, "application/x-www-form-urlencoded");
    let form = Params::decode(&seen.body).into_map();
    assert_eq!(form.len(), 1, "{form:?}");
    let token = &form["logout_token"];
    let keys = keys(site).await;
    verify(site, &keys, token, ("logout+jwt", client.id))
}

#[tokio::test]
async fn who_is_told_and_what() {
    let server = Server::start().await;
    for client in [ONE, TWO, CURVE, PAIRWISE] {
        server.answer(&path(client), 200);
    }
    server.answer(&path(NO_CONTENT), 204);
    let stack = start(&server, "");
    let site = stack.site();
    let mut person = Person::new(&site, 1);
    let (first, _) = visit(&mut person, &[ONE, CURVE, NO_CONTENT, ONE]).await;
    let (pairwise, _) = visit(&mut person, &[PAIRWISE]).await;
    assert_ne!(pairwise["sub"], first["sub"]);
    let (_, hint) = visit(&mut person, &[CURVE]).await;
    // The same person elsewhere, and another session of a client that is told.
    visit(&mut Person::new(&site, 1), &[TWO, ONE]).await;
    leave(&mut person, &hint).await;
    for client in [ONE, CURVE, NO_CONTENT, PAIRWISE] {
        let known = if client.id == PAIRWISE.id {
            &pairwise
        } else {
            &first
        };
        let row = format!("S2-U14 {}", client.id);
        let seen = told(&server, client, 1, SOON).await;
        let claims = claims(&site, client, &seen[0]).await;
        let mut names: Vec<&str> = claims
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        names.sort_unstable();
        assert_eq!(
            names,
            ["aud", "events", "exp", "iat", "iss", "jti", "sid", "sub"],
            "{row}"
        );
        assert_eq!(claims["events"], json!({EVENT: {}}), "{row}");
        assert_eq!(
            (&claims["sub"], &claims["sid"]),
            (&known["sub"], &known["sid"]),
            "{row}"
        );
        let life = claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap();
        assert_eq!(life, 120, "{row}");
        let token = &Params::decode(&seen[0].body).into_map()["logout_token"];
        let alg = if client.id == CURVE.id {
            "ES256"
        } else {
            "RS256"
        };
        assert_eq!(header(token)["alg"], alg, "{row}");
        // RT-09: it is no ID token.
        let query = Params::of(&[("id_token_hint", token)]).encode();
        let answer = site.get(&format!("/logout?{query}")).await;
        assert_eq!(answer.status, 400, "{row}");
    }
    sleep(Duration::from_secs(2)).await;
    for (client, count) in [(ONE, 1), (TWO, 0), (CURVE, 1), (NO_CONTENT, 1)] {
        let came = server.visits(&path(client));
        assert_eq!(came, count, "S2-U14 {}: once is enough", client.id);
    }
    signing_in_as_somebody_else(&server, &site).await;
}

/// Another person at the same browser ends the session of the one before.
async fn signing_in_as_somebody_else(server: &Server, site: &Site) {
    let before = server.visits(&path(TWO));
    let mut person = Person::new(site, 2);
    let (first, _) = visit(&mut person, &[TWO]).await;
    person.username = "user3".to_owned();
    let request = ONE.request().set("prompt", "login");
    person.authorize(&request).await.code();
    let seen = told(server, TWO, before + 1, SOON).await;
    let claims = claims(site, TWO, seen.last().unwrap()).await;
    assert_eq!(
        (&claims["sub"], &claims["sid"]),
        (&first["sub"], &first["sid"])
    );
}

/// A client that does not answer well is told again, by the same `jti`, until it does.
#[tokio::test]
async fn again_until_it_is_understood() {
    let server = Server::start().await;
    let stack = start(&server, "");
    let site = stack.site();
    for status in [500, 400, 302] {
        let row = format!("S2-U14 {status}");
        let before = server.visits(&path(BAD));
        server.answer(&path(BAD), status);
        let mut person = Person::new(&site, 4);
        let (_, hint) = visit(&mut person, &[BAD]).await;
        leave(&mut person, &hint).await;
        told(&server, BAD, before + 2, SOON).await;
        server.answer(&path(BAD), 200);
        let seen = told(&server, BAD, before + 3, SOON).await.split_off(before);
        let mut names = Vec::new();
        for each in &seen {
            names.push(claims(&site, BAD, each).await["jti"].clone());
        }
        assert!(names.iter().all(|jti| *jti == names[0]), "{row}: {names:?}");
        sleep(Duration::from_secs(6)).await;
        let after = server.visits(&path(BAD)) - before;
        assert_eq!(after, seen.len(), "{row}: it has understood");
    }
}

/// What was to be told when a logout was answered is told, though whoever answered is gone: by another, or later.
#[tokio::test]
async fn nothing_is_forgotten() {
    let server = Server::start().await;
    let stack = start(&server, "");
    for (row, both) in [("one ends", false), ("both end", true)] {
        let before = server.visits(&path(LATE));
        server.answer(&path(LATE), 503);
        let mut person = Person::new(&stack.site().at(0), 5);
        let (claimed, hint) = visit(&mut person, &[LATE]).await;
        leave(&mut person, &hint).await;
        stack.signal("gateway0", Signal::SIGKILL);
        if both {
            stack.signal("gateway1", Signal::SIGKILL);
            stack.start_again("gateway1");
        }
        server.answer(&path(LATE), 200);
        // The lease of whoever was at it may have to end first.
        let seen = told(&server, LATE, before + 1, Duration::from_secs(45)).await;
        let told = claims(&stack.site().at(1), LATE, seen.last().unwrap()).await;
        assert_eq!(told["sid"], claimed["sid"], "S2-U14 {row}");
        stack.start_again("gateway0");
    }
}

/// A logout that needs no key is answered without the key-service, and told when that is back.
#[tokio::test]
async fn while_the_keys_are_away() {
    let server = Server::start().await;
    server.answer(&path(LATE), 200);
    let stack = start(&server, "");
    let mut person = Person::new(&stack.site(), 7);
    let (claimed, _) = visit(&mut person, &[LATE]).await;
    stack.signal("key-service", Signal::SIGKILL);
    let page = Page::parse(&person.open("/logout").await.text());
    let form = page.filled(&[], "logout-confirm").encode();
    let answer = person.submit(&page.action, &form).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert_eq!(server.visits(&path(LATE)), 0);
    stack.start_again("key-service");
    let seen = told(&server, LATE, 1, Duration::from_secs(45)).await;
    let told = claims(&stack.site(), LATE, &seen[0]).await;
    assert_eq!(told["sid"], claimed["sid"], "S2-U14");
}

/// A client that is never there is given up.
#[tokio::test]
async fn given_up() {
    let server = Server::start().await;
    server.answer(&path(BAD), 500);
    let stack = start(&server, "[back_channel_logout]\nretry_for = \"2s\"");
    let site = stack.site();
    let mut person = Person::new(&site, 6);
    let (_, hint) = visit(&mut person, &[BAD]).await;
    leave(&mut person, &hint).await;
    sleep(Duration::from_secs(9)).await;
    let count = server.visits(&path(BAD));
    assert!((2..=4).contains(&count), "S2-U14 {count}");
    sleep(Duration::from_secs(6)).await;
    assert_eq!(server.visits(&path(BAD)), count, "S2-U14 given up");
    let logs = format!("{}{}", stack.log("gateway0"), stack.log("gateway1"));
    assert!(logs.contains("will not be"), "{logs}");
    assert!(!logs.contains(payload(&hint)["sid"].as_str().unwrap()));
    let document = site.get("/.well-known/openid-configuration").await.json();
    assert_eq!(document["backchannel_logout_supported"], true);
    assert_eq!(document["backchannel_logout_session_supported"], true);
}
