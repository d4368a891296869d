//! Parts that are killed, stopped or away (safety.md): an outage is said to be one, nothing is spent twice or lost by it,
//! and what comes back is used again at once.

use std::fs::{self, DirEntry};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use nix::sys::signal::Signal::{SIGCONT, SIGKILL, SIGSTOP, SIGTERM};
use serde_json::Value;
use tokio::task::JoinHandle;

use crate::client::Client;
use crate::params::Params;
use crate::person::Person;
use crate::registration::{JWT_RS, POST, WEB};
use crate::site::{Answer, Site};
use crate::stack::{self, Options, Stack};

pub(crate) const UNAVAILABLE: &str = "503 temporarily_unavailable";
const INVALID: &str = "400 invalid_grant";
/// How long a claimed code waits for its owner.
const LEASE: Duration = Duration::from_secs(5);

pub(crate) fn two_gateways() -> Arc<Stack> {
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

pub(crate) fn outcome(answer: &Answer) -> String {
    let outcome = answer.outcome();
    assert_eq!(
        answer.header("retry-after").is_empty(),
        outcome != UNAVAILABLE,
        "{outcome}"
    );
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
pub(crate) fn start_again(stack: &Arc<Stack>, name: &'static str) -> JoinHandle<()> {
    let stack = Arc::clone(stack);
    tokio::task::spawn_blocking(move || stack.start_again(name))
}

/// Stops a process. The signal takes effect thread by thread, and a thread that is not stopped yet may still commit.
async fn stop(stack: &Stack, name: &str) {
    stack.signal(name, SIGSTOP);
    let threads = format!("/proc/{}/task", stack.pid(name));
    let is_stopped = |thread: DirEntry| {
        let Ok(status) = fs::read_to_string(thread.path().join("stat")) else {
            return true;
        };
        // proc(5): the name is in parentheses, and the state follows.
        status.rsplit(") ").next().unwrap().starts_with('T')
    };
    while !fs::read_dir(&threads)
        .unwrap()
        .all(|thread| is_stopped(thread.unwrap()))
    {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
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
    stop(&stack, "key-service").await;
    let waiting = redeem_all(&site, &codes);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let (client, code) = &codes[0];
    assert_eq!(
        redeem(&site, *client, code).await,
        INVALID,
        "while another has claimed it"
    );
    stack.signal("key-service", SIGKILL);
    for outcome in join_all(waiting).await {
        assert_eq!(outcome.unwrap(), UNAVAILABLE);
    }
    // It stays so, and what needs no signature goes on.
    for outcome in join_all(redeem_all(&site, &codes)).await {
        assert_eq!(outcome.unwrap(), UNAVAILABLE);
    }
    assert_eq!(site.get("/jwks").await.status, 200);
    assert_eq!(
        site.get("/.well-known/openid-configuration").await.status,
        200
    );
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

/// Every code and every refresh token gives tokens, sooner or later: its client comes again as long as it is told to.
async fn killed_at_random(stack: &Arc<Stack>, person: &mut Person) {
    let stop = Arc::new(AtomicBool::new(false));
    let clients = (0..6).map(|_| {
        let (mut person, stop) = (person.clone(), Arc::clone(&stop));
        tokio::spawn(async move {
            let (mut redeemed, mut refused) = (0, 0);
            while !stop.load(Ordering::Relaxed) {
                for (client, code) in codes(&mut person, 6).await {
                    let first = client.redemption(&code);
                    let tokens = insist(&person.site, client, first, &mut refused).await;
                    let token = tokens["refresh_token"].as_str().unwrap();
                    let next =
                        Params::of(&[("grant_type", "refresh_token")]).set("refresh_token", token);
                    insist(&person.site, client, next, &mut refused).await;
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
    assert!(
        redeemed > 36 && refused > 0,
        "{redeemed} redeemed, {refused} refused"
    );
}

/// Tokens, however often it takes to ask for them.
async fn insist(site: &Site, client: Client, form: Params, refused: &mut usize) -> Value {
    loop {
        let request = client.build(site, "/token", form.clone());
        let answer = site.try_send(request).await.unwrap();
        match outcome(&answer).as_str() {
            "200" => return answer.json(),
            UNAVAILABLE => *refused += 1,
            other => panic!("{other} after an outage, for what gave nothing yet"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A gateway that was stopped for longer than its claim lasts has lost it.
#[tokio::test]
async fn gateway_stopped_between_claim_and_commit() {
    let stack = two_gateways();
    let site = stack.site();
    let mut person = Person::new(&site, 0);
    let codes = codes(&mut person, 6).await;
    stop(&stack, "key-service").await;
    let begun = Instant::now();
    let waiting = redeem_all(&site.at(0), &codes);
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop(&stack, "gateway0").await;
    stack.signal("key-service", SIGCONT);
    for outcome in join_all(redeem_all(&site.at(1), &codes)).await {
        assert_eq!(outcome.unwrap(), INVALID, "while it is claimed");
    }
    tokio::time::sleep(LEASE).await;
    for outcome in join_all(redeem_all(&site.at(1), &codes)).await {
        let log = || stack.log("gateway0") + &stack.log("gateway1");
        assert_eq!(outcome.unwrap(), "200", "{:?} {}", begun.elapsed(), log());
    }
    stack.signal("gateway0", SIGCONT);
    for outcome in join_all(waiting).await {
        let outcome = outcome.unwrap();
        assert!(
            [INVALID, UNAVAILABLE].contains(&outcome.as_str()),
            "{outcome}"
        );
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
                assert_eq!(
                    redeem(&site.at(1), client, &code).await,
                    "200",
                    "it was carried out"
                );
                unanswered += 1;
            }
        }
    }
    assert!(
        answered > 0 && unanswered > 0,
        "{answered} answered, {unanswered} not"
    );
    let begun = Instant::now();
    start_again(stack, "gateway0").await.unwrap();
    let recovery = begun.elapsed();
    assert!(
        recovery < Duration::from_secs(1),
        "{recovery:?}, its end included"
    );
    assert!(!stack.log("gateway0").contains("cut off"));
    assert_orderly(stack, &["gateway0", "gateway1", "key-service"]);
}
