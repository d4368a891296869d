//! The contract of the store, kept by both: each row on memory and on a real Redis.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use oidc_gateway::random::Random;
use oidc_gateway::store::settings::Settings;
use oidc_gateway::store::table::{Tag, hash_of};
use oidc_gateway::store::{Claim, Key, Lease, Store, Stored, Swap, Write};
use support::redis::Redis;

pub(crate) const LEASE: Duration = Duration::from_secs(5);
pub(crate) const SHORT: Duration = Duration::from_millis(60);
const LONG: Duration = Duration::from_secs(60);

pub(crate) struct Fixture {
    pub(crate) store: Arc<dyn Store>,
    random: Random,
}

impl Fixture {
    pub(crate) fn key(&self) -> Key {
        Key::grant(&Tag::random(&self.random))
    }

    // Two more names in the slot of a third.
    fn family(&self) -> (Key, Key, Key) {
        let tag = Tag::random(&self.random);
        (
            Key::grant(&tag),
            Key::revoked(&tag, "one"),
            Key::revoked(&tag, "two"),
        )
    }

    // A code, and where what comes of it goes.
    fn places(&self) -> Places {
        let tag = Tag::random(&self.random);
        Places {
            code: Key::code(&tag),
            grant: Key::grant(&tag),
        }
    }

    async fn issued(&self, value: &'static str) -> (Places, String) {
        let binding = hash_of("binding", &[&self.random.token256()]);
        let places = self.places();
        self.store
            .issue(&write(&places.code, value, LONG), &binding)
            .await
            .unwrap();
        (places, binding)
    }

    async fn read(&self, key: &Key) -> Option<Bytes> {
        content(self.stored(key).await)
    }

    async fn read_all(&self, keys: &[Key]) -> Vec<Option<Bytes>> {
        let values = self.store.get(keys).await.unwrap();
        values.into_iter().map(content).collect()
    }

    async fn stored(&self, key: &Key) -> Option<Stored> {
        let key = std::slice::from_ref(key);
        self.store.get(key).await.unwrap().remove(0)
    }

    async fn claim(&self, places: &Places, binding: &str) -> Claim {
        let claim = self
            .store
            .claim(&places.code, &places.grant, binding, LEASE);
        claim.await.unwrap()
    }

    // What was claimed; `Err`: what became of it instead.
    async fn lease(&self, places: &Places, binding: &str) -> Result<(Bytes, Lease), Claim> {
        match self.claim(places, binding).await {
            Claim::Claimed(value, lease) => Ok((value, lease)),
            other => Err(other),
        }
    }

    async fn commit(
        &self,
        lease: Lease,
        binding: &str,
        places: &Places,
        value: &'static str,
    ) -> bool {
        let write = write(&places.grant, value, LONG);
        self.store.commit(lease, binding, &write).await.unwrap()
    }
}

#[derive(Debug, Clone)]
struct Places {
    code: Key,
    grant: Key,
}

fn write(key: &Key, value: &'static str, lives: Duration) -> Write {
    Write {
        key: key.clone(),
        value: Bytes::from_static(value.as_bytes()),
        lives,
    }
}

fn content(stored: Option<Stored>) -> Option<Bytes> {
    stored.map(|stored| stored.value().clone())
}

/// What a swap that did not happen found.
fn found(swap: Swap) -> Option<Bytes> {
    match swap {
        Swap::Done => panic!("it was done"),
        Swap::Changed(current) => content(current),
    }
}

fn some(value: &'static str) -> Option<Bytes> {
    Some(Bytes::from_static(value.as_bytes()))
}

/// The lease of a claim that must have been granted.
fn claimed(claim: Claim, value: &'static str) -> Lease {
    match claim {
        Claim::Claimed(found, lease) => {
            assert_eq!(found, value.as_bytes());
            lease
        }
        other => panic!("{other:?}"),
    }
}

fn spent(value: &'static str) -> Claim {
    Claim::Spent(Bytes::from_static(value.as_bytes()))
}

fn open(settings: &Settings) -> Arc<dyn Store> {
    settings.locate(Path::new("/")).unwrap().connect()
}

async fn until_it_answers(store: &dyn Store) -> Duration {
    let start = Instant::now();
    while store.ping().await.is_err() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "the store never answered"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    start.elapsed()
}

pub(crate) fn run<F: Future>(test: impl FnOnce() -> F) -> F::Output {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap()
        .block_on(test())
}

pub(crate) async fn on_both<F: Future<Output = ()>>(contract: impl Fn(Arc<Fixture>) -> F) {
    let redis = Redis::start().unwrap();
    for settings in [Settings::memory(), Settings::redis(&redis.url())] {
        let fixture = Fixture {
            store: open(&settings),
            random: Random::new().unwrap(),
        };
        until_it_answers(&*fixture.store).await;
        contract(Arc::new(fixture)).await;
    }
}

macro_rules! contract {
    ($($name:ident = |$fixture:ident| $body:block)+) => { $(
        #[test]
        fn $name() {
            run(|| on_both(async |$fixture: Arc<Fixture>| $body));
        }
    )+ };
}

contract! {
    plain_values = |on| {
        let (one, two, three) = on.family();
        assert_eq!(on.store.get(&[]).await.unwrap(), []);
        on.store.put(&[]).await.unwrap();
        on.store.put(&[write(&one, "1", LONG)]).await.unwrap();
        on.store.put(&[write(&two, "2", LONG), write(&three, "", LONG)]).await.unwrap();
        assert_eq!(on.read(&one).await, some("1"));
        let keys = [three.clone(), on.key(), one.clone()];
        assert_eq!(on.read_all(&keys).await, [some(""), None, some("1")]);
        on.store.put(&[write(&one, "1b", LONG)]).await.unwrap();
        assert_eq!(on.read(&one).await, some("1b"));
        assert_eq!(on.store.delete(&[]).await.unwrap(), 0);
        assert_eq!(on.store.delete(&[one.clone(), two.clone(), on.key()]).await.unwrap(), 2);
        assert_eq!(on.read_all(&[one, two, three]).await, [None, None, some("")]);
    }

    any_octets_are_a_value = |on| {
        let places = on.places();
        let octets: Bytes = (0..=255).collect();
        let with = |key: &Key, value: &Bytes| Write { key: key.clone(), value: value.clone(), lives: LONG };
        on.store.put(&[with(&places.grant, &octets)]).await.unwrap();
        assert_eq!(on.read(&places.grant).await.as_ref(), Some(&octets));
        on.store.delete(std::slice::from_ref(&places.grant)).await.unwrap();
        on.store.issue(&with(&places.code, &octets), "b").await.unwrap();
        let (value, lease) = on.lease(&places, "b").await.unwrap();
        assert_eq!(value, octets);
        assert!(on.store.commit(lease, "b", &with(&places.grant, &octets)).await.unwrap());
        assert_eq!(on.claim(&places, "b").await, Claim::Spent(octets.clone()));
        let reverse: Bytes = (0..=255).rev().collect();
        let before = on.stored(&places.grant).await.unwrap();
        assert_eq!(on.store.swap(&before, &with(&places.grant, &reverse)).await.unwrap(), Swap::Done);
        assert_eq!(on.read(&places.grant).await, Some(reverse));
    }

    values_end = |on| {
        let (one, two, three) = on.family();
        let places = on.places();
        on.store.put(&[write(&one, "1", SHORT), write(&two, "2", SHORT)]).await.unwrap();
        on.store.put(&[write(&three, "3", SHORT)]).await.unwrap();
        on.store.issue(&write(&places.code, "4", SHORT), "b").await.unwrap();
        assert!(!on.store.put_new(&write(&two, "no", LONG)).await.unwrap());
        let before = on.stored(&one).await;
        tokio::time::sleep(SHORT * 2).await;
        assert_eq!(on.read_all(&[one.clone(), two.clone()]).await, [None, None]);
        assert_eq!(on.claim(&places, "b").await, Claim::Missing);
        let before = before.unwrap();
        let swapped = on.store.swap(&before, &write(&one, "x", LONG)).await.unwrap();
        assert_eq!(swapped, Swap::Changed(None));
        assert!(on.store.put_new(&write(&two, "new", LONG)).await.unwrap());
        assert_eq!(on.store.delete(&[one, two, three]).await.unwrap(), 1);
    }

    put_new_once = |on| {
        let key = on.key();
        let tries = (0..50).map(|_| {
            let (on, key) = (Arc::clone(&on), key.clone());
            tokio::spawn(async move { on.store.put_new(&write(&key, "v", LONG)).await.unwrap() })
        });
        let mut written = 0;
        for attempt in tries.collect::<Vec<_>>() {
            written += u32::from(attempt.await.unwrap());
        }
        assert_eq!(written, 1);
    }

    claim_then_commit = |on| {
        let places = on.places();
        on.store.issue(&write(&places.code, "code", LONG), "b").await.unwrap();
        assert_eq!(on.read(&places.code).await, None, "what is to be claimed is not to be read");
        let lease = claimed(on.claim(&places, "b").await, "code");
        assert_eq!(on.read(&places.code).await, None);
        assert_eq!(on.claim(&places, "b").await, Claim::InFlight);
        assert!(on.commit(lease, "b", &places, "family").await);
        assert_eq!(on.claim(&places, "b").await, spent("family"));
        assert_eq!(on.claim(&places, "c").await, Claim::Mismatch, "spent, and not theirs");
        assert_eq!(on.read(&places.grant).await, some("family"));
    }

    fifty_claims_one_claimed = |on| {
        for _ in 0..20 {
            let (places, binding) = on.issued("code").await;
            let claims = (0..50).map(|_| {
                let (on, places, binding) = (Arc::clone(&on), places.clone(), binding.clone());
                tokio::spawn(async move { on.claim(&places, &binding).await })
            });
            let mut won = 0;
            for claim in claims.collect::<Vec<_>>() {
                match claim.await.unwrap() {
                    Claim::Claimed(..) => won += 1,
                    Claim::InFlight => {}
                    other => panic!("{other:?}"),
                }
            }
            assert_eq!(won, 1);
        }
    }

    // Each claims as soon as the lease before is over, and all commit: one has.
    twenty_commits_one_done = |on| {
        for _ in 0..5 {
            let (places, binding) = on.issued("code").await;
            let commits = (0..20).map(|_| {
                let (on, places, binding) = (Arc::clone(&on), places.clone(), binding.clone());
                tokio::spawn(async move {
                    loop {
                        let short = Duration::from_millis(2);
                        let claim = on.store.claim(&places.code, &places.grant, &binding, short);
                        match claim.await.unwrap() {
                            Claim::Claimed(_, lease) => {
                                tokio::task::yield_now().await;
                                if on.commit(lease, &binding, &places, "family").await {
                                    return true;
                                }
                            }
                            Claim::InFlight => tokio::time::sleep(Duration::from_millis(1)).await,
                            Claim::Spent(_) => return false,
                            other => panic!("{other:?}"),
                        }
                    }
                })
            });
            let mut done = 0;
            for commit in commits.collect::<Vec<_>>() {
                done += u32::from(commit.await.unwrap());
            }
            assert_eq!(done, 1);
        }
    }

    a_wrong_binding_changes_nothing = |on| {
        let (places, binding) = on.issued("code").await;
        for wrong in ["", "b", &binding[1..], &format!("{binding}x"), &hash_of("binding", &["other"])] {
            assert_eq!(on.claim(&places, wrong).await, Claim::Mismatch, "{wrong}");
        }
        let lease = claimed(on.claim(&places, &binding).await, "code");
        assert_eq!(on.claim(&places, "b").await, Claim::Mismatch, "while claimed");
        assert!(on.commit(lease, &binding, &places, "f").await);
    }

    what_cannot_be_claimed = |on| {
        let (plain, absent) = (on.places(), on.places());
        on.store.put(&[write(&plain.code, "v", LONG)]).await.unwrap();
        assert_eq!(on.claim(&plain, "").await, Claim::Missing);
        assert_eq!(on.claim(&absent, "").await, Claim::Missing);
        assert_eq!(on.read(&plain.code).await, some("v"));
        let (taken, binding) = on.issued("code").await;
        on.store.put(&[write(&taken.grant, "v", LONG)]).await.unwrap();
        assert_eq!(on.claim(&taken, &binding).await, Claim::Missing);
    }

    after_the_lease = |on| {
        let (places, binding) = on.issued("code").await;
        let claim = || on.store.claim(&places.code, &places.grant, &binding, SHORT);
        let slow = claimed(claim().await.unwrap(), "code");
        let slower = claim().await.unwrap();
        assert_eq!(slower, Claim::InFlight);
        tokio::time::sleep(SHORT * 2).await;
        assert!(!on.commit(slow, &binding, &places, "slow").await);
        assert_eq!(on.read(&places.grant).await, None, "nothing was written");
        let slow = claimed(claim().await.unwrap(), "code");
        tokio::time::sleep(SHORT * 2).await;
        let quick = claimed(on.claim(&places, &binding).await, "code");
        on.store.release(slow, &binding).await.unwrap();
        assert_eq!(on.claim(&places, &binding).await, Claim::InFlight, "not theirs to release");
        assert!(on.commit(quick, &binding, &places, "quick").await);
        assert_eq!(on.read(&places.grant).await, some("quick"));
    }

    what_was_ended_is_over = |on| {
        let (places, binding) = on.issued("code").await;
        let lease = claimed(on.claim(&places, &binding).await, "code");
        on.store.end(&places.grant, LONG).await.unwrap();
        assert!(!on.commit(lease, &binding, &places, "family").await);
        assert_eq!(on.claim(&places, &binding).await, Claim::Missing);
        assert_eq!(on.read(&places.grant).await, None);
        assert!(!on.store.put_new(&write(&places.grant, "x", LONG)).await.unwrap());
        let (places, binding) = on.issued("code").await;
        let lease = claimed(on.claim(&places, &binding).await, "code");
        assert!(on.commit(lease, &binding, &places, "family").await);
        let before = on.stored(&places.grant).await.unwrap();
        on.store.end(&places.grant, SHORT).await.unwrap();
        assert_eq!(on.claim(&places, &binding).await, Claim::Missing);
        let swapped = on.store.swap(&before, &write(&places.grant, "x", LONG)).await.unwrap();
        assert_eq!(swapped, Swap::Changed(None));
        tokio::time::sleep(SHORT * 2).await;
        assert!(on.store.put_new(&write(&places.grant, "x", LONG)).await.unwrap());
    }

    release_gives_it_back = |on| {
        let (places, binding) = on.issued("code").await;
        let lease = claimed(on.claim(&places, &binding).await, "code");
        assert_eq!(on.claim(&places, &binding).await, Claim::InFlight);
        on.store.release(lease, &binding).await.unwrap();
        claimed(on.claim(&places, &binding).await, "code");
    }

    claims_do_not_lengthen_life = |on| {
        let places = on.places();
        on.store.issue(&write(&places.code, "code", SHORT), "b").await.unwrap();
        let lease = claimed(on.claim(&places, "b").await, "code");
        on.store.release(lease, "b").await.unwrap();
        tokio::time::sleep(SHORT * 2).await;
        assert_eq!(on.claim(&places, "b").await, Claim::Missing);
    }

    swap_of_plain_and_spent = |on| {
        for is_spent in [false, true] {
            let places = on.places();
            let key = places.grant.clone();
            if is_spent {
                on.store.issue(&write(&places.code, "code", LONG), "b").await.unwrap();
                let lease = claimed(on.claim(&places, "b").await, "code");
                assert!(on.commit(lease, "b", &places, "1").await);
            } else {
                on.store.put(&[write(&key, "1", LONG)]).await.unwrap();
            }
            let before = on.stored(&key).await.unwrap();
            let right = on.store.swap(&before, &write(&key, "1b", LONG)).await;
            assert_eq!(right.unwrap(), Swap::Done);
            let again = on.store.swap(&before, &write(&key, "x", LONG)).await;
            assert_eq!(found(again.unwrap()), some("1b"));
            // Not even if the content is what it was.
            let now = on.stored(&key).await.unwrap();
            assert_eq!(on.store.swap(&now, &write(&key, "1", LONG)).await.unwrap(), Swap::Done);
            let again = on.store.swap(&before, &write(&key, "x", LONG)).await;
            assert_eq!(found(again.unwrap()), some("1"));
            let after = on.claim(&places, "b").await;
            assert_eq!(after, if is_spent { spent("1") } else { Claim::Missing }, "the state stays");
        }
    }

    fifty_swaps_one_done = |on| {
        let key = on.key();
        on.store.put(&[write(&key, "1", LONG)]).await.unwrap();
        let before = on.stored(&key).await.unwrap();
        let swaps = (0..50).map(|_| {
            let (on, key, before) = (Arc::clone(&on), key.clone(), before.clone());
            tokio::spawn(async move { on.store.swap(&before, &write(&key, "2", LONG)).await })
        });
        let mut done = 0;
        for swap in swaps.collect::<Vec<_>>() {
            match swap.await.unwrap().unwrap() {
                Swap::Done => done += 1,
                changed => assert_eq!(found(changed), some("2")),
            }
        }
        assert_eq!(done, 1);
    }
}

#[test]
fn redis_is_killed_and_comes_back() {
    run(|| async {
        let mut redis = Redis::start().unwrap();
        let store = open(&Settings::redis(&redis.url()));
        let random = Random::new().unwrap();
        until_it_answers(&*store).await;
        redis.kill().unwrap();
        let start = Instant::now();
        let refused = store.ping().await.unwrap_err();
        assert!(start.elapsed() < Duration::from_secs(1), "{refused}");
        redis.start_again().unwrap();
        let wait = until_it_answers(&*store).await;
        assert!(
            wait < Duration::from_secs(1),
            "{wait:?} is more than safety.md allows"
        );
        let tag = Tag::random(&random);
        let (code, grant) = (Key::code(&tag), Key::grant(&tag));
        store.issue(&write(&code, "v", LONG), "b").await.unwrap();
        let claim = store.claim(&code, &grant, "b", LEASE).await.unwrap();
        claimed(claim, "v");
    });
}

#[test]
fn redis_is_there_later_than_the_gateway() {
    run(|| async {
        let mut redis = Redis::start().unwrap();
        redis.kill().unwrap();
        let store = open(&Settings::redis(&redis.url()));
        assert!(store.ping().await.is_err());
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(store.ping().await.is_err());
        redis.start_again().unwrap();
        until_it_answers(&*store).await;
    });
}

#[test]
fn redis_forgets_its_scripts() {
    run(|| async {
        let redis = Redis::start().unwrap();
        let store = open(&Settings::redis(&redis.url()));
        let random = Random::new().unwrap();
        until_it_answers(&*store).await;
        for _ in 0..2 {
            assert_eq!(redis.command("SCRIPT FLUSH").unwrap(), "+OK");
            let tag = Tag::random(&random);
            let (code, grant) = (Key::code(&tag), Key::grant(&tag));
            store.issue(&write(&code, "v", LONG), "b").await.unwrap();
            let lease = claimed(store.claim(&code, &grant, "b", LEASE).await.unwrap(), "v");
            store.release(lease, "b").await.unwrap();
            let lease = claimed(store.claim(&code, &grant, "b", LEASE).await.unwrap(), "v");
            let family = write(&grant, "f", LONG);
            assert!(store.commit(lease, "b", &family).await.unwrap());
            let before = store.get(std::slice::from_ref(&grant)).await.unwrap();
            let before = before[0].clone().unwrap();
            let swapped = store.swap(&before, &write(&grant, "g", LONG)).await;
            assert_eq!(swapped.unwrap(), Swap::Done);
        }
    });
}

#[test]
fn redis_stops_answering() {
    run(|| async {
        let redis = Redis::start().unwrap();
        let mut settings = Settings::redis(&redis.url());
        settings.timeout = Some(Duration::from_millis(200));
        let store = open(&settings);
        until_it_answers(&*store).await;
        // All connections are served, none gets an answer.
        assert_eq!(redis.command("CLIENT PAUSE 1500").unwrap(), "+OK");
        let start = Instant::now();
        assert!(store.ping().await.is_err());
        let waited = start.elapsed();
        assert!(
            waited > Duration::from_millis(190) && waited < Duration::from_millis(800),
            "{waited:?}"
        );
        until_it_answers(&*store).await;
    });
}

#[test]
fn redis_with_tls_and_an_acl_user() {
    run(|| async {
        let folder = tempfile::tempdir().unwrap();
        let authority = pki::Authority::new("test").unwrap();
        let issued = authority
            .issue(&pki::Leaf {
                common_name: "redis",
                dns: &["localhost"],
                server: true,
                ..pki::Leaf::default()
            })
            .unwrap();
        let file = |name: &str, content: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, content).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let ca = file("ca.pem", authority.certificate_pem());
        let certificate = file("redis.pem", &issued.certificate_pem);
        let key = file("redis.key", &issued.key_pem);
        let password = file("password", "s3cret\n");
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let port = port.to_string();
        // What the documentation of `username` says.
        let user = "gateway on >s3cret ~* -@all +get +mget +getrange +set +del +zadd +zrem +zrangebyscore +time +multi +exec +eval +evalsha +script|load +ping";
        let mut arguments = vec!["--tls-port", &port, "--tls-cert-file", &certificate];
        arguments.extend([
            "--tls-key-file",
            &key,
            "--tls-ca-cert-file",
            &ca,
            "--tls-auth-clients",
            "no",
            "--user",
        ]);
        arguments.extend(user.split(' '));
        let _redis = Redis::start_with(&arguments).unwrap();
        let mut settings = Settings::redis(&format!("rediss://localhost:{port}"));
        settings.ca_file = Some(ca.into());
        settings.username = Some("gateway".to_owned());
        settings.password_file = Some(password.into());
        let store = open(&settings);
        until_it_answers(&*store).await;
        let random = Random::new().unwrap();
        let tag = Tag::random(&random);
        let (code, key, other) = (Key::code(&tag), Key::grant(&tag), Key::session("x"));
        store.issue(&write(&code, "v", LONG), "b").await.unwrap();
        let lease = claimed(store.claim(&code, &key, "b", LEASE).await.unwrap(), "v");
        store.release(lease, "b").await.unwrap();
        let lease = claimed(store.claim(&code, &key, "b", LEASE).await.unwrap(), "v");
        let family = write(&key, "f", LONG);
        assert!(store.commit(lease, "b", &family).await.unwrap());
        let before = store.get(std::slice::from_ref(&key)).await.unwrap();
        let before = before[0].clone().unwrap();
        assert_eq!(
            store.swap(&before, &write(&key, "g", LONG)).await.unwrap(),
            Swap::Done
        );
        store
            .put(&[write(&key, "h", LONG), write(&other, "1", LONG)])
            .await
            .unwrap();
        crate::queue::works(&*store).await;
        assert_eq!(store.delete(&[key, other]).await.unwrap(), 2);
    });
}
