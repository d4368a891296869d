//! Keys change while people sign in (NIST SP 800-57 part 1, §8; OpenID Connect Core §10.1.1): nobody is told to wait,
//! and every relying party can verify every token. Keys in files, and keys in a token.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::JwkSet;
use serde_json::Value;

use crate::client::Client;
use crate::person::Person;
use crate::registration::{JWT, POST, PUBLIC, WEB};
use crate::site::Site;
use crate::stack::{self, Options, Stack};
use crate::verified::{header, keys, verify};

const RING: &str = "id-token/ES256";
/// What the stack's profile says.
const LEAD: Duration = Duration::from_secs(2);
const MAX_AGE: Duration = Duration::from_secs(1);
const GATEWAY_REFRESH: Duration = Duration::from_millis(500);
const GATEWAYS: usize = 2;
/// How long the last key may take until it signs: its lead, and a turn for each before it.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn in_files() {
    five_times("software").await;
}

#[tokio::test]
async fn in_a_token() {
    five_times("softhsm").await;
}

async fn five_times(backend: &'static str) {
    let stack = Arc::new(stack::start(&Options {
        backend,
        gateways: 2,
        ..Options::default()
    }));
    let site = stack.site();
    let world = Arc::new(World::default());
    let mut running = vec![tokio::spawn(watch(Arc::clone(&world), stack.site()))];
    for (number, client) in [POST, JWT, PUBLIC, WEB].into_iter().enumerate() {
        let traffic = traffic(
            Arc::clone(&world),
            Person::new(&stack.site(), number),
            client,
        );
        running.push(tokio::spawn(traffic));
    }
    // The standby that is there from the start has been published for its lead when it is first seen.
    tokio::time::sleep(LEAD).await;
    let first = world.signers();
    assert_eq!(first.len(), 1, "{first:?}");
    for _ in 0..5 {
        let made = admin(&stack, &["rotate", RING]).await;
        assert_eq!(made["created"]["state"], "NEXT", "{made}");
        tokio::time::sleep(Duration::from_millis(400)).await;
    }
    let begun = Instant::now();
    while world.signers().len() < 6 {
        assert!(begun.elapsed() < PATIENCE, "{:?}", world.signers());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    world.stop.store(true, Ordering::Relaxed);
    for each in running {
        each.await.unwrap();
    }
    let all = keys(&site).await;
    world.check(&stack, &all);
    standby(&stack, &world).await;
    revoked(&stack, &mut Person::new(&site, 9)).await;
}

/// What was seen from outside.
#[derive(Default)]
struct World {
    stop: AtomicBool,
    tokens: Mutex<Vec<Token>>,
    /// By kid and gateway, when it was not in the JWK Set for the last time.
    published: Mutex<BTreeMap<(String, usize), Instant>>,
}

struct Token {
    client: Client,
    jws: String,
    kid: String,
    received: Instant,
}

impl World {
    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    /// The kids of ES256 ID tokens in the order of their first use.
    fn signers(&self) -> Vec<String> {
        let mut kids: Vec<String> = Vec::new();
        for token in self.tokens.lock().unwrap().iter() {
            if token.client.id != WEB.id && !kids.contains(&token.kid) {
                kids.push(token.kid.clone());
            }
        }
        kids
    }

    fn check(&self, stack: &Stack, all: &JwkSet) {
        let site = stack.site();
        let published = self.published.lock().unwrap();
        let tokens = self.tokens.lock().unwrap();
        let first = &tokens[0].kid;
        let mut used: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for token in tokens.iter() {
            verify(&site, all, &token.jws, ("JWT", token.client.id));
            used.entry(token.client.id).or_default().insert(&token.kid);
            let is_first = token.kid == *first || token.client.id == WEB.id;
            for gateway in (0..GATEWAYS).filter(|_| !is_first) {
                let since = published[&(token.kid.clone(), gateway)];
                let waited = token.received.duration_since(since);
                assert!(
                    waited >= LEAD,
                    "{} signed {waited:?} after it was published: {}",
                    token.kid,
                    stack.log("key-service")
                );
            }
        }
        let counts: Vec<_> = used
            .iter()
            .map(|(client, kids)| (*client, kids.len()))
            .collect();
        assert_eq!(
            counts,
            [(JWT.id, 6), (POST.id, 6), (PUBLIC.id, 6), (WEB.id, 1)]
        );
    }
}

/// Looks at every gateway's JWK Set all the time.
async fn watch(world: Arc<World>, site: Site) {
    let mut looked = [Instant::now(); GATEWAYS];
    while world.goes_on() {
        for (gateway, looked) in looked.iter_mut().enumerate() {
            let now = Instant::now();
            let seen = keys(&site.at(gateway)).await;
            let mut published = world.published.lock().unwrap();
            for key in seen.keys {
                published
                    .entry((key.common.key_id.unwrap(), gateway))
                    .or_insert(*looked);
            }
            *looked = now;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A relying party's copy of the JWK Set.
struct Copy {
    keys: JwkSet,
    fetched: Instant,
}

impl Copy {
    async fn fetch(site: &Site) -> Copy {
        // Before the request: the copy may be older than its arrival.
        let fetched = Instant::now();
        let keys = keys(site).await;
        Copy { keys, fetched }
    }
}

/// Signs in again and again, refreshes, and verifies as relying parties do.
async fn traffic(world: Arc<World>, mut person: Person, client: Client) {
    let site = person.site.clone();
    // Fetches again when it meets an unknown kid, and never else.
    let mut once = Copy::fetch(&site).await;
    // Fetches again when its copy is too old, and never else.
    let mut aging = Copy::fetch(&site).await;
    while world.goes_on() {
        let mut tokens = client.tokens(&mut person, "openid offline_access").await;
        for _ in 0..4 {
            let received = Instant::now();
            let jws = tokens["id_token"].as_str().unwrap().to_owned();
            let kid = header(&jws)["kid"].as_str().unwrap().to_owned();
            if once.keys.find(&kid).is_none() {
                once = Copy::fetch(&site).await;
            }
            verify(&site, &once.keys, &jws, ("JWT", client.id));
            // By then the token is older than the copy may be: what counts is the moment that it came.
            if received.saturating_duration_since(aging.fetched) > MAX_AGE {
                aging = Copy::fetch(&site).await;
            }
            verify(&site, &aging.keys, &jws, ("JWT", client.id));
            world.tokens.lock().unwrap().push(Token {
                client,
                jws,
                kid,
                received,
            });
            tokio::time::sleep(Duration::from_millis(15)).await;
            let answer = client
                .refresh(&site, tokens["refresh_token"].as_str().unwrap())
                .await;
            assert_eq!(answer.outcome(), "200", "{}", answer.text());
            tokens = answer.json();
        }
    }
}

/// The newest key is published and has not signed: it is the standby.
async fn standby(stack: &Arc<Stack>, world: &World) {
    let listed = admin(stack, &["list", RING]).await;
    let listed = listed["keys"].as_array().unwrap();
    let of = |state: &str| -> Vec<&str> {
        let matching = listed.iter().filter(|key| key["state"] == state);
        matching.map(|key| key["kid"].as_str().unwrap()).collect()
    };
    let signers = world.signers();
    assert_eq!(
        of("RETIRED"),
        signers[..5],
        "in the order of their generations"
    );
    assert_eq!(of("ACTIVE"), signers[5..]);
    let [newest] = of("NEXT")[..] else {
        panic!("{listed:?}");
    };
    let published = world.published.lock().unwrap();
    assert!((0..GATEWAYS).all(|gateway| published.contains_key(&(newest.to_owned(), gateway))));
}

/// The standby signs at once, and no gateway publishes the revoked key.
async fn revoked(stack: &Arc<Stack>, person: &mut Person) {
    let site = person.site.clone();
    let kid = |tokens: &Value| header(tokens["id_token"].as_str().unwrap())["kid"].clone();
    let before = kid(&POST.tokens(person, "openid").await);
    let lost = before.as_str().unwrap();
    let answer = admin(stack, &["revoke", lost, "--reason", "lost"]).await;
    let after = kid(&POST.tokens(person, "openid").await);
    assert_eq!((&answer["signing_kid"], after == before), (&after, false));
    let created = answer["created"]["kid"].as_str().unwrap();
    let begun = Instant::now();
    for gateway in 0..GATEWAYS {
        loop {
            let published = keys(&site.at(gateway)).await;
            let has = |kid: &str| published.find(kid).is_some();
            assert!(has(after.as_str().unwrap()), "{after} signs");
            if !has(lost) && has(created) {
                break;
            }
            assert!(begun.elapsed() < GATEWAY_REFRESH, "{published:?}");
        }
    }
}

/// What `key-service admin` answers, without holding up the traffic.
async fn admin(stack: &Arc<Stack>, arguments: &[&str]) -> Value {
    let mut command = stack.admin();
    command.args(arguments).arg("--json");
    let output = tokio::task::spawn_blocking(move || command.output().unwrap())
        .await
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}
