//! Parts that are killed, stopped or away (safety.md): an outage is said to be one, nothing is spent twice or lost by it,
//! and what comes back is used again at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nix::sys::signal::Signal::{self, SIGCONT, SIGKILL, SIGSTOP, SIGTERM};
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::params::Params;
use crate::person::{Person, Place};
use crate::registration::{JWT_RS, POST, WEB};
use crate::site::{Answer, Site};
use crate::stack::{self, Options, Stack};

const UNAVAILABLE: &str = "503 temporarily_unavailable";
const INVALID: &str = "400 invalid_grant";
/// How long a claimed code waits for its owner.
const LEASE: Duration = Duration::from_secs(5);

fn two_gateways() -> Arc<Stack> {
    Arc::new(stack::start(&Options {
        gateways: 2,
        ..Options::default()
    }))
}

/// Redeems a code, whatever comes of it. Our own outages say when to come back.
async fn redeem(site: &Site, client: Client, code: &str) -> String {
    let request = client.build(site, "/token", client.redemption(code));
    outcome(&site.try_send(request).await.unwrap())
}

fn outcome(answer: &Answer) -> String {
    let outcome = answer.outcome();
    assert_eq!(answer.header("retry-after").is_empty(), outcome != UNAVAILABLE, "{outcome}");
    assert_eq!(answer.header("cache-control"), "no-store", "{outcome}");
    outcome
}

fn redeem_all(site: &Site, codes: &[(Client, String)]) -> Vec<JoinHandle<String>> {
    let tasks = codes.iter().map(|(client, code)| {
        let (site, client, code) = (site.clone(), *client, code.clone());
        tokio::spawn(async move { redeem(&site, client, &code).await })
    });
    tasks.collect()
}

async fn codes(person: &mut Person, count: usize) -> Vec<(Client, String)> {
    let mut codes = Vec::new();
    for number in 0..count {
        let client = [WEB, JWT_RS, POST][number % 3];
        codes.push((client, person.code(&client, "openid offline_access").await));
    }
    codes
}

/// Starts a process again, without holding up who sends requests meanwhile.
fn start_again(stack: &Arc<Stack>, name: &'static str) -> JoinHandle<()> {
    let stack = Arc::clone(stack);
    tokio::task::spawn_blocking(move || stack.start_again(name))
}

fn assert_orderly(stack: &Stack, names: &[&str]) {
    for name in names {
        let log = stack.log(name);
        for word in ["panicked", "ERROR"] {
            assert!(!log.contains(word), "{name}: {log}");
        }
    }
}

#[tokio::test]
async fn key_service_killed_between_claim_and_commit() {
    let stack = two_gateways();
    let site = stack.site();
    let mut person = Person::new(&site, 0);
    let codes = codes(&mut person, 30).await;
    // Stopped first: every request has claimed its code and waits for a signature.
    stack.signal("key-service", SIGSTOP);
    let waiting = redeem_all(&site, &codes);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (client, code) = &codes[0];
    assert_eq!(redeem(&site, *client, code).await, INVALID, "while another has claimed it");
    stack.signal("key-service", SIGKILL);
    for outcome in join_all(waiting).await {
        assert_eq!(outcome.unwrap(), UNAVAILABLE);
    }
    // It stays so, and what needs no signature goes on.
    for outcome in join_all(redeem_all(&site, &codes)).await {
        assert_eq!(outcome.unwrap(), UNAVAILABLE);
    }
    assert_eq!(site.get("/jwks").await.status, 200);
    assert_eq!(site.get("/.well-known/openid-configuration").await.status, 200);
    let own = Params::of(&[("grant_type", "client_credentials")]);
    assert_eq!(WEB.post(&site, "/token", own).await.outcome(), "200");
    let late = person.code(&WEB, "openid").await;

    let begun = Instant::now();
    let starting = start_again(&stack, "key-service");
    while redeem(&site, WEB, &late).await == UNAVAILABLE {
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let recovery = begun.elapsed();
    assert!(recovery <= Duration::from_secs(2), "{recovery:?}");
    starting.await.unwrap();
    // No code was burned, and none is spent twice.
    for expected in ["200", INVALID] {
        for outcome in join_all(redeem_all(&site, &codes)).await {
            assert_eq!(outcome.unwrap(), expected);
        }
    }
    killed_at_random(&stack, &mut person).await;
    assert_orderly(&stack, &["gateway0", "gateway1"]);
}

/// Every code gives tokens, sooner or later, and once: its client comes again as long as it is told to.
async fn killed_at_random(stack: &Arc<Stack>, person: &mut Person) {
    let stop = Arc::new(AtomicBool::new(false));
    let clients = (0..6).map(|_| {
        let (mut person, stop) = (person.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            let (mut redeemed, mut refused) = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                for (client, code) in codes(&mut person, 6).await {
                    loop {
                        match redeem(&person.site, client, &code).await.as_str() {
                            "200" => break,
                            UNAVAILABLE => refused += 1,
                            other => panic!("{other} after an outage, for a code that gave nothing"),
                        }
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                    assert_eq!(redeem(&person.site, client, &code).await, INVALID);
                    redeemed += 1;
                }
            }
            (redeemed, refused)
        })
    });
    let clients: Vec<_> = clients.collect();
    for pause in [300, 170, 410] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        stack.signal("key-service", SIGKILL);
        start_again(stack, "key-service").await.unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let (mut redeemed, mut refused) = (0, 0);
    for client in join_all(clients).await {
        let (some, none) = client.unwrap();
        redeemed += some;
        refused += none;
    }
    assert!(redeemed > 36 && refused > 0, "{redeemed} redeemed, {refused} refused");
}

/// A gateway that was stopped for longer than its claim lasts has lost it.
#[tokio::test]
async fn gateway_stopped_between_claim_and_commit() {
    let stack = two_gateways();
    let site = stack.site();
    let mut person = Person::new(&site, 0);
    let codes = codes(&mut person, 6).await;
    stack.signal("key-service", SIGSTOP);
    let waiting = redeem_all(&site.at(0), &codes);
    tokio::time::sleep(Duration::from_millis(300)).await;
    stack.signal("gateway0", SIGSTOP);
    stack.signal("key-service", SIGCONT);
    for outcome in join_all(redeem_all(&site.at(1), &codes)).await {
        assert_eq!(outcome.unwrap(), INVALID, "while it is claimed");
    }
    tokio::time::sleep(LEASE).await;
    for outcome in join_all(redeem_all(&site.at(1), &codes)).await {
        assert_eq!(outcome.unwrap(), "200");
    }
    stack.signal("gateway0", SIGCONT);
    for outcome in join_all(waiting).await {
        let outcome = outcome.unwrap();
        assert!([INVALID, UNAVAILABLE].contains(&outcome.as_str()), "{outcome}");
    }
    terminated(&stack, person).await;
}

/// SIGTERM: what was sent is answered. A request without an answer was not carried out.
async fn terminated(stack: &Arc<Stack>, mut person: Person) {
    let site = stack.site();
    person.site = site.at(1);
    let codes = codes(&mut person, 120).await;
    let callers = codes.chunks(10).map(|codes| {
        let (site, codes) = (stack.site().at(0), codes.to_vec());
        tokio::spawn(async move {
            let mut outcomes = Vec::new();
            for (client, code) in codes {
                let request = client.build(&site, "/token", client.redemption(&code));
                let answer = site.try_send(request).await;
                outcomes.push((client, code, answer.map(|answer| outcome(&answer)).ok()));
            }
            outcomes
        })
    });
    let callers: Vec<_> = callers.collect();
    tokio::time::sleep(Duration::from_millis(60)).await;
    stack.signal("gateway0", SIGTERM);
    let (mut answered, mut unanswered) = (0, 0);
    for outcomes in join_all(callers).await {
        for (client, code, outcome) in outcomes.unwrap() {
            if let Some(outcome) = outcome {
                assert_eq!(outcome, "200");
                answered += 1;
            } else {
                assert_eq!(redeem(&site.at(1), client, &code).await, "200", "it was carried out");
                unanswered += 1;
            }
        }
    }
    assert!(answered > 0 && unanswered > 0, "{answered} answered, {unanswered} not");
    let begun = Instant::now();
    start_again(stack, "gateway0").await.unwrap();
    let recovery = begun.elapsed();
    assert!(recovery < Duration::from_secs(1), "{recovery:?}, its end included");
    assert!(!stack.log("gateway0").contains("cut off"));
    assert_orderly(stack, &["gateway0", "gateway1", "key-service"]);
}

#[tokio::test]
async fn redis_killed() {
    let stack = two_gateways();
    let site = stack.site();
    let mut person = Person::new(&site, 0);
    let tokens = WEB.tokens(&mut person, "openid offline_access").await;
    let stop = Arc::new(AtomicBool::new(false));
    // Requests all the while, on kept connections.
    let callers = (0..6).map(|number| {
        let (site, stop) = (stack.site().at(number % 2), Arc::clone(&stop));
        tokio::spawn(async move {
            let mut outcomes = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let own = Params::of(&[("grant_type", "client_credentials")]);
                let answer = site.try_send(WEB.build(&site, "/token", own)).await.unwrap();
                outcomes.push(outcome(&answer));
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            outcomes
        })
    });
    let callers: Vec<_> = callers.collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    stack.signal("redis", SIGKILL);
    tokio::time::sleep(Duration::from_millis(100)).await;
    let refresh = [("grant_type", "refresh_token"), ("refresh_token", tokens["refresh_token"].as_str().unwrap())];
    let code = Params::of(&[("grant_type", "authorization_code"), ("redirect_uri", WEB.redirect_uri)]);
    let code = code.set("code", tokens["access_token"].as_str().unwrap());
    for gateway in 0..2 {
        let site = site.at(gateway);
        // Nobody is signed out, or told that a token is bad, because we cannot look.
        let requests = [
            WEB.build(&site, "/token", Params::of(&refresh)),
            WEB.build(&site, "/token", code.clone()),
            WEB.build(&site, "/introspect", Params::of(&[("token", tokens["access_token"].as_str().unwrap())])),
            WEB.build(&site, "/revoke", Params::of(&[("token", tokens["refresh_token"].as_str().unwrap())])),
        ];
        for request in requests {
            let path = request.uri().path().to_owned();
            assert_eq!(outcome(&site.try_send(request).await.unwrap()), UNAVAILABLE, "{path}");
        }
        let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
        let userinfo = site.request(http::Method::GET, "/userinfo").header("authorization", bearer);
        let answer = site.try_send(userinfo.body(Vec::new()).unwrap()).await.unwrap();
        assert_eq!(outcome(&answer), UNAVAILABLE, "/userinfo");
        for (path, status) in [
            (format!("/authorize?{}", WEB.request().encode()), 503),
            ("/health/ready".to_owned(), 503),
            ("/health/live".to_owned(), 200),
            ("/jwks".to_owned(), 200),
        ] {
            let request = site.request(http::Method::GET, &path).body(Vec::new()).unwrap();
            assert_eq!(site.try_send(request).await.unwrap().status, status, "{path}");
        }
    }
    start_again(&stack, "redis").await.unwrap();
    let begun = Instant::now();
    for gateway in 0..2 {
        let site = site.at(gateway);
        let ready = || site.request(http::Method::GET, "/health/ready").body(Vec::new()).unwrap();
        while site.try_send(ready()).await.unwrap().status != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let recovery = begun.elapsed();
        assert!(recovery <= Duration::from_secs(1), "{recovery:?}");
    }
    // What it held is gone, and people sign in anew.
    WEB.tokens(&mut person, "openid offline_access").await;
    stop.store(true, Ordering::Relaxed);
    for outcomes in join_all(callers).await {
        let mut outcomes = outcomes.unwrap();
        outcomes.dedup();
        assert_eq!(outcomes, ["200", UNAVAILABLE, "200"]);
    }
    for name in ["gateway0", "gateway1"] {
        assert!(!stack.log(name).contains("panicked"), "{name}");
    }
    away_at_the_start(&stack, &mut person).await;
}

/// Gateways start without the store and without keys, and say that they are not ready until both are there.
async fn away_at_the_start(stack: &Arc<Stack>, person: &mut Person) {
    for name in ["gateway0", "redis", "key-service"] {
        stack.signal(name, SIGKILL);
    }
    let (issuer, site) = (person.site.issuer().to_owned(), person.site.at(0));
    let mut gateway = stack.alone("gateway0");
    for (missing, back) in [("store", "redis"), ("key-service", "key-service")] {
        let begun = Instant::now();
        loop {
            let request = site.request(http::Method::GET, "/health/ready").body(Vec::new()).unwrap();
            match site.try_send(request).await {
                Ok(answer) if answer.text().contains(missing) => {
                    assert_eq!(answer.status, 503);
                    break;
                }
                other => assert!(begun.elapsed() < Duration::from_secs(5), "{missing}: {other:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        start_again(stack, back).await.unwrap();
    }
    let begun = Instant::now();
    while site.try_send(site.request(http::Method::GET, "/health/ready").body(Vec::new()).unwrap()).await.unwrap().status != 200 {
        assert!(begun.elapsed() < Duration::from_secs(4));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    person.cookies.clear();
    let landing = person.authorize(&WEB.request()).await;
    assert_eq!((landing.place, landing.field("iss")), (Place::Query, issuer.as_str()));
    gateway.kill().unwrap();
    gateway.wait().unwrap();
}
