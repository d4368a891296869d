//! K-3, S0-2: four key-service processes on one SoftHSM token that start at once, rotate at once and lose members, while
//! relying parties verify every token with a JWK Set that they keep for its whole max-age.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use key_service::config::Config;
use key_service::serve::Service;
use pki::Authority;
use proto::v1;
use proto::v1::key_admin_client::KeyAdminClient;
use proto::v1::key_service_client::KeyServiceClient;
use serde_json::json;
use support::softhsm::{self, SoftHsm, Token};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::running::{GATEWAY, ISSUER, OPERATOR, caller, item, jwks, write_certificate};

const RING: &str = "id-token/ES256";
/// Names a member's folder to its process.
const MEMBER: &str = "SIGNET_TEST_MEMBER";
const MEMBERS: usize = 4;
/// Seconds that a relying party keeps a JWK Set.
const MAX_AGE: u64 = 2;
/// Seconds that a token lives.
const LIFE: i64 = 8;
/// How long the members may sign with different keys: a listing, the making of a key and a slow machine.
const AGREEMENT: Duration = Duration::from_secs(4);
/// How long all of it may take.
const PATIENCE: Duration = Duration::from_secs(180);

/// Not a test of its own: one of the four, in a process of its own.
#[test]
#[ignore = "a process that another test starts"]
fn a_member() {
    let Some(folder) = std::env::var_os(MEMBER).map(PathBuf::from) else {
        return;
    };
    let config = Config::read(&folder.join("key-service.toml")).unwrap();
    key_service::log::start(&config.log);
    let running = Service::start(&config).unwrap();
    let port = running.tcp_address().unwrap().port();
    fs::write(folder.join("port.new"), port.to_string()).unwrap();
    fs::rename(folder.join("port.new"), folder.join("port")).unwrap();
    // Until whoever started it lets go.
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    running.shutdown();
}

struct Member {
    folder: PathBuf,
    process: Child,
}

impl Drop for Member {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Member {
    fn start(folder: PathBuf) -> Member {
        let _ = fs::remove_file(folder.join("port"));
        let process = Command::new(std::env::current_exe().unwrap())
            .args(["replicas::a_member", "--exact", "--ignored", "--nocapture"])
            .env(MEMBER, &folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Member { folder, process }
    }

    async fn port(&mut self) -> u16 {
        for _ in 0..1200 {
            if let Ok(port) = fs::read_to_string(self.folder.join("port")) {
                return port.parse().unwrap();
            }
            assert!(self.process.try_wait().unwrap().is_none(), "a member ended");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("a member does not start");
    }

    fn is_up(&self) -> bool {
        self.folder.join("port").exists()
    }

    /// What a crash is.
    fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

fn configuration(token: &Token, folder: &Path) -> String {
    format!(
        r#"
workers = 1
allow_root = true

[listen]
tcp = "127.0.0.1:0"
drain = "200ms"

[tls]
certificate_file = "key-service.pem"
key_file = "key-service.key"
client_ca_file = "{ca}"

[[callers.allow]]
name = "gateway"
san = "{GATEWAY}"
services = ["keys"]
rings = ["*"]

[[callers.allow]]
name = "operator"
san = "{OPERATOR}"
services = ["admin"]
rings = ["*"]

[backend]
kind = "pkcs11"
module = "{module}"
token = "{label}"
pin_file = "{pin}"
lanes = 1

[lifecycle]
period = "14s"
lead = "8s"
jwks_max_age = "{MAX_AGE}s"
gateway_refresh = "1s"
skew = "1s"
generation = "3s"
longest_token_life = "{LIFE}s"
gate_limit = "1s"
retention = "15s"
reload = "500ms"

[policy]
issuer = "{ISSUER}"

[[rings]]
name = "{RING}"

[log]
format = "text"
level = "warn"
"#,
        ca = folder.join("ca.pem").display(),
        module = softhsm::MODULE,
        label = token.label,
        pin = token.pin_file.display(),
    )
}

/// The four, and how to reach them.
struct Group {
    authority: Authority,
    members: Vec<Member>,
    channels: Vec<Option<(Channel, Channel)>>,
    _folder: tempfile::TempDir,
}

impl Group {
    async fn start(token: &Token) -> Group {
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("test CA").unwrap();
        fs::write(folder.path().join("ca.pem"), authority.certificate_pem()).unwrap();
        let members = (0..MEMBERS).map(|index| {
            let own = folder.path().join(index.to_string());
            fs::create_dir(&own).unwrap();
            write_certificate(&own, &authority);
            let configuration = configuration(token, folder.path());
            fs::write(own.join("key-service.toml"), configuration).unwrap();
            Member::start(own)
        });
        let mut group = Group {
            members: members.collect(),
            authority,
            channels: vec![None; MEMBERS],
            _folder: folder,
        };
        for index in 0..MEMBERS {
            group.connect(index).await;
        }
        group
    }

    async fn connect(&mut self, index: usize) {
        let port = self.members[index].port().await;
        let gateway = self.channel(port, GATEWAY).await;
        let operator = self.channel(port, OPERATOR).await;
        self.channels[index] = Some((gateway, operator));
    }

    async fn channel(&self, port: u16, name: &str) -> Channel {
        let issued = caller(&self.authority, name);
        let tls = ClientTlsConfig::new()
            .identity(Identity::from_pem(&issued.certificate_pem, &issued.key_pem))
            .ca_certificate(Certificate::from_pem(self.authority.certificate_pem()))
            .domain_name("localhost");
        let endpoint = Endpoint::from_shared(format!("https://127.0.0.1:{port}")).unwrap();
        let endpoint = endpoint.tls_config(tls).unwrap();
        endpoint.connect().await.unwrap()
    }

    fn lose(&mut self, index: usize) {
        self.channels[index] = None;
        self.members[index].kill();
    }

    fn again(&mut self, index: usize) {
        let folder = self.members[index].folder.clone();
        self.members[index] = Member::start(folder);
    }

    fn keys(&self) -> Vec<(usize, KeyServiceClient<Channel>)> {
        let up = self.channels.iter().enumerate();
        up.filter_map(|(index, channels)| {
            let (gateway, _) = channels.clone()?;
            Some((index, KeyServiceClient::new(gateway)))
        })
        .collect()
    }

    /// What each member knows, for whoever reads a failure.
    async fn story(&self) -> String {
        let mut story = format!("{}", key_service::clock::Clock::system().now());
        for (index, channels) in self.channels.iter().enumerate() {
            let Some((_, operator)) = channels else {
                continue;
            };
            let mut admin = KeyAdminClient::new(operator.clone());
            let list = admin.list_keys(v1::ListKeysRequest::default()).await;
            for key in list.unwrap().into_inner().keys {
                let (state, kid, why) = (key.state().as_str_name(), &key.kid[..4], &key.reason);
                let v1::Key {
                    generation,
                    created_at,
                    activates_at,
                    ..
                } = key;
                story += &format!(
                    "\n{index}: {generation} {kid} {created_at} {activates_at} {state} {why}"
                );
            }
        }
        story
    }

    /// Every member makes the next key of the ring at the same moment.
    async fn rotate_all(&self) -> usize {
        let calls = self.channels.iter().flatten().map(|(_, operator)| {
            let mut admin = KeyAdminClient::new(operator.clone());
            let request = v1::RotateKeyRequest {
                ring: RING.to_owned(),
                dry_run: false,
            };
            tokio::spawn(async move { admin.rotate_key(request).await })
        });
        let mut made = 0;
        for call in calls.collect::<Vec<_>>() {
            // Refused where as many keys wait as may.
            made += usize::from(call.await.unwrap().is_ok());
        }
        made
    }
}

/// A relying party, as strict as it may be: it knows what it fetched, for as long as it was told.
#[derive(Default)]
struct RelyingParty {
    set: Option<(Instant, JwkSet)>,
    verified: usize,
}

impl RelyingParty {
    async fn fetch(&mut self, keys: &mut KeyServiceClient<Channel>) {
        let is_old = |(at, _): &(Instant, JwkSet)| at.elapsed().as_secs() >= MAX_AGE;
        if self.set.as_ref().is_none_or(is_old) {
            // It may be as old as the request.
            let asked = Instant::now();
            let set = serde_json::from_slice(&jwks(keys).await.jwks).unwrap();
            self.set = Some((asked, set));
        }
    }

    /// Whether it knows the key. Nobody is shown a token after its end, however slow this machine is.
    fn verify(&mut self, (ends, token): &(i64, v1::Signed)) -> bool {
        if *ends < key_service::clock::Clock::system().now() {
            return true;
        }
        let (_, set) = self.set.as_ref().unwrap();
        let Some(key) = set.find(&token.kid) else {
            return false;
        };
        let mut validation = Validation::new(Algorithm::ES256);
        validation.validate_aud = false;
        validation.leeway = 2;
        let key = DecodingKey::from_jwk(key).unwrap();
        jsonwebtoken::decode::<serde_json::Value>(&token.compact, &key, &validation).unwrap();
        self.verified += 1;
        true
    }
}

/// What happens while relying parties verify.
#[derive(Clone, Copy, Debug)]
enum Event {
    Rotate,
    Lose(usize),
    Again(usize),
    Connect(usize),
}

#[tokio::test]
async fn four_processes_share_a_token() {
    let name = "replicas::four_processes_share_a_token";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let token = softhsm.token("signet", "1234");
    let mut group = Group::start(&token).await;
    // Each may have signed with a first key of its own before it saw the others': relying parties come now.
    agree(&group).await;

    let clock = key_service::clock::Clock::system();
    let mut parties: Vec<RelyingParty> = Vec::new();
    parties.resize_with(MEMBERS, RelyingParty::default);
    let mut living: Vec<(i64, v1::Signed)> = Vec::new();
    let (mut kids, mut apart, mut longest) = (HashSet::new(), None, Duration::ZERO);
    let mut script = vec![
        (1, Event::Rotate),
        (3, Event::Lose(0)),
        (3, Event::Rotate),
        (4, Event::Again(0)),
        (9, Event::Connect(0)),
        (9, Event::Rotate),
        (9, Event::Lose(1)),
        (10, Event::Again(1)),
        (15, Event::Connect(1)),
        (16, Event::Lose(2)),
        (17, Event::Again(2)),
        (22, Event::Connect(2)),
    ];
    script.reverse();
    let begun = Instant::now();
    let mut round = 0;
    while begun.elapsed() < Duration::from_secs(30) || !script.is_empty() {
        assert!(begun.elapsed() < PATIENCE, "{script:?} is left");
        while let Some((second, event)) = script.last().copied()
            && begun.elapsed() >= Duration::from_secs(second)
        {
            // Who takes long to start is waited for while the others go on.
            if matches!(event, Event::Connect(index) if !group.members[index].is_up()) {
                break;
            }
            script.pop();
            match event {
                Event::Rotate => assert!(group.rotate_all().await > 0),
                Event::Lose(index) => group.lose(index),
                Event::Again(index) => group.again(index),
                Event::Connect(index) => group.connect(index).await,
            }
        }
        let mut members = group.keys();
        let mut used = HashMap::new();
        for (index, keys) in &mut members {
            let now = clock.now();
            let token = sign(keys, now).await;
            used.insert(*index, token.kid.clone());
            kids.insert(token.kid.clone());
            living.push((now + LIFE, token));
        }
        // Each relying party asks another member than the last time.
        for (party, at) in parties.iter_mut().zip(round..) {
            let (_, keys) = &mut members[at % used.len()];
            party.fetch(keys).await;
            let fresh = living.iter().rev().take(used.len());
            for token in fresh {
                let is_known = party.verify(token);
                let kid = &token.1.kid;
                assert!(is_known, "{kid} is fresh: {}", group.story().await);
            }
        }
        // And at the end of a token's life, its key is still there.
        let (ending, rest) = living
            .into_iter()
            .partition(|(ends, _)| *ends <= clock.now() + 1);
        living = rest;
        let ending: Vec<(i64, v1::Signed)> = ending;
        if !ending.is_empty() {
            let mut party = RelyingParty::default();
            let (_, keys) = &mut members[round % used.len()];
            party.fetch(keys).await;
            for token in &ending {
                let is_known = party.verify(token);
                let kid = &token.1.kid;
                assert!(is_known, "{kid} was: {}", group.story().await);
            }
        }
        let distinct: HashSet<&String> = used.values().collect();
        if distinct.len() > 1 {
            let since = *apart.get_or_insert_with(Instant::now);
            longest = longest.max(since.elapsed());
            assert!(
                longest <= AGREEMENT,
                "they differ for {longest:?}: {used:?}"
            );
        } else {
            apart = None;
        }
        round += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(kids.len() > 3, "{} keys signed", kids.len());
    assert!(parties.iter().all(|party| party.verified > 20));
    agree(&group).await;
}

async fn sign(keys: &mut KeyServiceClient<Channel>, now: i64) -> v1::Signed {
    let claims =
        json!({ "iss": ISSUER, "sub": "alice", "aud": "client", "exp": now + LIFE, "iat": now });
    let items = vec![item(RING, v1::Profile::IdToken, &claims)];
    let response = keys.sign(v1::SignRequest { items }).await.unwrap();
    response.into_inner().items.remove(0)
}

/// Until all publish the same, with one key that signs.
async fn agree(group: &Group) {
    for _ in 0..100 {
        let mut published = Vec::new();
        for (_, mut keys) in group.keys() {
            published.push(jwks(&mut keys).await);
        }
        let epochs: HashSet<&String> = published.iter().map(|it| &it.epoch).collect();
        if epochs.len() == 1 {
            let keys = published[0].keys.iter();
            let active = keys.filter(|key| key.state() == v1::KeyState::Active);
            assert_eq!(active.count(), 1);
            return;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    panic!("they do not agree");
}
