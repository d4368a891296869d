//! The store is away, and so are the keys (safety.md): nobody is signed out by it, and when it is back it is used at once.

use std::fs::File;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use http::Method;
use nix::sys::signal::Signal::SIGKILL;
use serde_json::Value;

use crate::faults::{UNAVAILABLE, outcome, start_again, two_gateways};
use crate::params::Params;
use crate::person::Person;
use crate::registration::WEB;
use crate::site::{Answer, Site};
use crate::stack::Stack;

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
                let answer = site
                    .try_send(WEB.build(&site, "/token", own))
                    .await
                    .unwrap();
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
    for gateway in 0..2 {
        says_so(&site.at(gateway), &tokens).await;
    }
    start_again(&stack, "redis").await.unwrap();
    let begun = Instant::now();
    for gateway in 0..2 {
        let site = site.at(gateway);
        until_ready(&site, 200, "ready").await;
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

/// Nobody is signed out, or told that a token is bad, because we cannot look.
async fn says_so(site: &Site, tokens: &Value) {
    let of = |name: &str| tokens[name].as_str().unwrap();
    let form = |pairs: &[(&str, &str)]| Params::of(pairs);
    let refresh = [
        ("grant_type", "refresh_token"),
        ("refresh_token", of("refresh_token")),
    ];
    for (path, form) in [
        ("/token", form(&refresh)),
        // Of the form that a code has.
        ("/token", WEB.redemption(of("access_token"))),
        ("/introspect", form(&[("token", of("access_token"))])),
        ("/revoke", form(&[("token", of("refresh_token"))])),
    ] {
        let answer = site.try_send(WEB.build(site, path, form)).await.unwrap();
        assert_eq!(outcome(&answer), UNAVAILABLE, "{path}");
    }
    let authorize = format!("/authorize?{}", WEB.request().encode());
    let bearer = format!("Bearer {}", of("access_token"));
    for (path, status) in [
        ("/userinfo", 503),
        (&authorize, 503),
        ("/health/ready", 503),
        ("/health/live", 200),
        ("/jwks", 200),
        ("/.well-known/openid-configuration", 200),
    ] {
        let request = site
            .request(Method::GET, path)
            .header("authorization", &bearer);
        let answer = site
            .try_send(request.body(Vec::new()).unwrap())
            .await
            .unwrap();
        assert_eq!(answer.status, status, "{path}");
        let is_probe = path.starts_with("/health");
        let says_when = !answer.header("retry-after").is_empty();
        assert_eq!(says_when, status == 503 && !is_probe, "{path}");
    }
}

/// A gateway that this test has started: its stack's own would be waited for.
struct Alone(Child);

impl Alone {
    fn start(stack: &Stack, name: &str) -> Alone {
        let admin = stack.admin();
        let program = Path::new(admin.get_program()).with_file_name("oidc-gateway");
        let configuration = Path::new(admin.get_args().last().unwrap()).with_file_name(name);
        let log = File::create(configuration.with_extension("alone.log")).unwrap();
        let mut command = Command::new(program);
        command
            .args(["serve", "--config"])
            .arg(configuration)
            .stdin(Stdio::null());
        Alone(
            command
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn()
                .unwrap(),
        )
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A gateway starts without the store and without keys, and says that it is not ready until both are there.
async fn away_at_the_start(stack: &Arc<Stack>, person: &mut Person) {
    for name in ["gateway0", "redis", "key-service"] {
        stack.signal(name, SIGKILL);
    }
    // Until the port is free.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let site = person.site.at(0);
    let _gateway = Alone::start(stack, "gateway0.toml");
    until_ready(&site, 503, "store").await;
    start_again(stack, "redis").await.unwrap();
    until_ready(&site, 503, "key-service").await;
    start_again(stack, "key-service").await.unwrap();
    until_ready(&site, 200, "ready").await;
    person.cookies.clear();
    person.site = site;
    WEB.tokens(person, "openid").await;
}

async fn until_ready(site: &Site, status: u16, said: &str) {
    let begun = Instant::now();
    loop {
        let answer = ready(site).await;
        let is_so = |answer: &Answer| answer.status == status && answer.text().contains(said);
        if answer.as_ref().is_ok_and(is_so) {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(4),
            "{status} {said}: {answer:?}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn ready(site: &Site) -> anyhow::Result<Answer> {
    let request = site
        .request(Method::GET, "/health/ready")
        .body(Vec::new())
        .unwrap();
    site.try_send(request).await
}
