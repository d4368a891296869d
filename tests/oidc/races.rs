//! Many at once: what may succeed once succeeds once, through whichever gateway (RFC 6749 §4.1.2, RFC 9700 §4.14,
//! RFC 7523 §3). Three gateways, a real Redis. CO-03, RT-03, CA-05.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::Request;
use tokio::sync::Barrier;

use crate::page::Page;
use crate::params::Params;
use crate::person::{AtConsent, Person};
use crate::registration::{CAREFUL, JWT, POST, signing};
use crate::site::{Answer, Site, form_of};
use crate::stack::{self, Stack};

const ROUNDS: usize = 200;
const CALLERS: usize = 50;
/// The shared stack repeats a successor for three seconds.
const GRACE: Duration = Duration::from_secs(3);

/// Callers who each keep a connection of their own, to the three gateways in turn.
struct Callers(Vec<Site>);

impl Callers {
    async fn new(stack: &Stack, count: usize) -> Callers {
        let sites = (0..count)
            .map(|number| stack.site().at(number % 3))
            .collect();
        let callers = Callers(sites);
        callers
            .at_once(|site| {
                site.request(http::Method::GET, "/jwks")
                    .body(Vec::new())
                    .unwrap()
            })
            .await;
        callers
    }

    /// Everybody's request is ready, and then all are sent. No answer may be 5xx.
    async fn at_once(&self, request: impl Fn(&Site) -> Request<Vec<u8>>) -> Vec<Answer> {
        let start = Arc::new(Barrier::new(self.0.len()));
        let calls = self.0.iter().map(|site| {
            let (site, request, start) = (site.clone(), request(site), Arc::clone(&start));
            tokio::spawn(async move {
                start.wait().await;
                site.send(request).await
            })
        });
        let answers = join_all(calls.collect::<Vec<_>>()).await;
        answers.into_iter().map(Result::unwrap).collect()
    }
}

/// How often each outcome came.
fn outcomes(answers: &[Answer]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for answer in answers {
        *counts.entry(answer.outcome()).or_default() += 1;
    }
    counts
}

#[track_caller]
fn check(what: &str, answers: &[Answer], expected: &[(&str, usize)]) {
    let expected = expected
        .iter()
        .map(|&(outcome, count)| (outcome.to_owned(), count));
    assert_eq!(outcomes(answers), expected.collect(), "{what}");
}

fn success(answers: &[Answer]) -> serde_json::Value {
    answers
        .iter()
        .find(|answer| answer.status == 200)
        .unwrap()
        .json()
}

#[tokio::test]
async fn one_code_fifty_callers() {
    let stack = stack::shared();
    let site = stack.site();
    let callers = Callers::new(stack, CALLERS).await;
    let mut person = Person::new(&site, 50);
    for round in 0..ROUNDS {
        // Tokens of each kind: signed twice, and signed once and stored.
        let client = if round % 4 == 0 { JWT } else { POST };
        let code = person.code(&client, "openid offline_access").await;
        let answers = callers
            .at_once(|site| client.build(site, "/token", client.redemption(&code)))
            .await;
        check(
            &format!("round {round}"),
            &answers,
            &[("200", 1), ("400 invalid_grant", CALLERS - 1)],
        );
        if round + 1 == ROUNDS {
            // Whoever comes after the race has an old code, and what it gave is taken back.
            assert_eq!(
                client.redeem(&site, &code).await.outcome(),
                "400 invalid_grant"
            );
            let token = success(&answers)["access_token"]
                .as_str()
                .unwrap()
                .to_owned();
            assert!(!client.is_active(&site, &token).await);
        }
    }
}

#[tokio::test]
async fn one_refresh_token_fifty_callers() {
    let stack = stack::shared();
    let site = stack.site();
    let callers = Callers::new(stack, CALLERS).await;
    let mut person = Person::new(&site, 51);
    let form =
        |token: &str| Params::of(&[("grant_type", "refresh_token"), ("refresh_token", token)]);
    let tokens = POST.tokens(&mut person, "openid offline_access").await;
    let mut current = tokens["refresh_token"].as_str().unwrap().to_owned();
    let mut all = Vec::new();
    for round in 0..ROUNDS {
        let answers = callers
            .at_once(|site| POST.build(site, "/token", form(&current)))
            .await;
        check(&format!("round {round}"), &answers, &[("200", CALLERS)]);
        let answers: Vec<_> = answers.iter().map(Answer::json).collect();
        let next = answers[0]["refresh_token"].as_str().unwrap().to_owned();
        assert_ne!(next, current);
        for answer in &answers {
            assert_eq!(
                answer["refresh_token"], next,
                "round {round}: a second successor"
            );
        }
        if round + 1 == ROUNDS {
            for answer in answers {
                all.push(answer["access_token"].as_str().unwrap().to_owned());
            }
            break;
        }
        current = next;
    }
    for token in &all {
        assert!(
            POST.is_active(&site, token).await,
            "each caller's access token works"
        );
    }

    // After the window an old one has leaked, however many bring it.
    tokio::time::sleep(GRACE + Duration::from_millis(200)).await;
    let answers = callers
        .at_once(|site| POST.build(site, "/token", form(&current)))
        .await;
    check(
        "after the window",
        &answers,
        &[("400 invalid_grant", CALLERS)],
    );
    for token in &all {
        assert!(!POST.is_active(&site, token).await, "the family is revoked");
    }
}

/// An assertion is good once, though each gateway alone has not seen it (RFC 7523 §3, point 7).
#[tokio::test]
async fn one_assertion_many_callers() {
    const CALLERS: usize = 12;
    let stack = stack::shared();
    let callers = Callers::new(stack, CALLERS).await;
    let form = Params::of(&[("grant_type", "client_credentials")]);
    for round in 0..50 {
        let body = signing()
            .build(&stack.site(), "/token", form.clone())
            .into_body();
        let body = String::from_utf8(body).unwrap();
        let answers = callers
            .at_once(|site| form_of(site.request(http::Method::POST, "/token"), &body))
            .await;
        check(
            &format!("round {round}"),
            &answers,
            &[("200", 1), ("401 invalid_client", CALLERS - 1)],
        );
    }
}

/// BR-04: a person presses twice, and the page reaches two gateways.
#[tokio::test]
async fn one_approval_many_presses() {
    const PRESSES: usize = 6;
    let stack = stack::shared();
    let callers = Callers::new(stack, PRESSES).await;
    let mut person = Person::new(&stack.site(), 52);
    person.at_consent = AtConsent::Stop;
    for round in 0..30 {
        let landing = person.authorize(&CAREFUL.request()).await;
        let page = Page::parse(&landing.answer.text());
        let form = page
            .filled(&[("remember", String::new())], "consent-allow")
            .encode();
        let cookies: Vec<_> = person
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let answers = callers
            .at_once(|site| {
                let request = site.request(http::Method::POST, &page.action);
                form_of(request.header("cookie", cookies.join("; ")), &form)
            })
            .await;
        let approved = answers.iter().filter(|answer| answer.status == 303).count();
        let refused = answers.iter().filter(|answer| answer.status == 400).count();
        assert_eq!((approved, refused), (1, PRESSES - 1), "round {round}");
    }
}
