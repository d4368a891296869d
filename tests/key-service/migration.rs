//! K-3: a ring that moves from software into a token, while relying parties that keep what they fetched for as long as they
//! may verify everything.

use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{DecodingKey, Validation};
use key_service::config::Config;
use key_service::serve::Service;
use proto::v1;
use proto::v1::key_service_client::KeyServiceClient;
use serde_json::{Value, json};
use support::softhsm::SoftHsm;
use tonic::transport::Channel;

use crate::contract::pkcs11;
use crate::import::{Admin, DAY, import, later, wanted};
use crate::running::{KeyService, id_token, item, jwks};
use crate::surface::get;

/// What the gateway does with the published keys: it serves what it fetched a while ago.
struct Gateway {
    name: &'static str,
    keys: KeyServiceClient<Channel>,
    served: Option<(i64, JwkSet)>,
}

impl Gateway {
    /// As old as it may be: [lifecycle] gateway_refresh of the tests' configuration.
    const REFRESH: i64 = 10;

    async fn jwks(&mut self, now: i64) -> JwkSet {
        if self
            .served
            .as_ref()
            .is_none_or(|(at, _)| now - at >= Self::REFRESH)
        {
            let set = serde_json::from_slice(&jwks(&mut self.keys).await.jwks).unwrap();
            self.served = Some((now, set));
        }
        self.served.as_ref().unwrap().1.clone()
    }
}

/// One that never asks again before it must: a token of a kid that it does not know is refused.
#[derive(Default)]
struct RelyingParty {
    kept: Option<(i64, JwkSet)>,
    verified: usize,
}

impl RelyingParty {
    /// [lifecycle] jwks_max_age of the tests' configuration.
    const MAX_AGE: i64 = 50;

    async fn look(&mut self, gateway: &mut Gateway, now: i64) {
        if self
            .kept
            .as_ref()
            .is_none_or(|(at, _)| now - at >= Self::MAX_AGE)
        {
            self.kept = Some((now, gateway.jwks(now).await));
        }
    }

    /// The key by which it would verify this: only its kid says which.
    fn knows(&self, (at, token): &(i64, v1::Signed), what: &str) -> &Jwk {
        let (_, set) = self.kept.as_ref().unwrap();
        let found = set.find(&token.kid);
        found.unwrap_or_else(|| panic!("{what}: {} of {at} is unknown", token.kid))
    }

    fn verify(&mut self, token: &(i64, v1::Signed), what: &str) {
        let key = DecodingKey::from_jwk(self.knows(token, what)).unwrap();
        let compact = &token.1.compact;
        let algorithm = jsonwebtoken::decode_header(compact).unwrap().alg;
        let mut validation = Validation::new(algorithm);
        // By the moved clock; the tests' own check is that it lives.
        validation.validate_exp = false;
        validation.validate_aud = false;
        jsonwebtoken::decode::<Value>(compact, &key, &validation).unwrap();
        self.verified += 1;
    }
}

/// Everything but the key-services.
struct World {
    gateways: Vec<Gateway>,
    parties: Vec<RelyingParty>,
    living: Vec<(i64, v1::Signed)>,
    ticks: usize,
}

const MOVING: [&str; 2] = ["id-token/ES256", "id-token/RS256"];
/// Seconds that the tokens of this test live.
const LIFE: i64 = 300;
/// Seconds between two looks.
const TICK: i64 = 5;

impl World {
    /// Each gateway signs with each ring, and every relying party verifies all that lives.
    async fn tick(&mut self, services: &[&KeyService], what: &str) {
        for service in services {
            later(service, TICK);
        }
        let now = services[0].now();
        for gateway in &mut self.gateways {
            for ring in MOVING {
                let mut claims = id_token(now);
                claims["exp"] = json!(now + LIFE);
                let items = vec![item(ring, v1::Profile::IdToken, &claims)];
                let answer = gateway.keys.sign(v1::SignRequest { items }).await;
                let answer =
                    answer.unwrap_or_else(|status| panic!("{what}: {}: {status}", gateway.name));
                self.living.push((now, answer.into_inner().items.remove(0)));
            }
        }
        self.living.retain(|(at, _)| at + LIFE > now);
        let count = self.gateways.len();
        for (index, party) in self.parties.iter_mut().enumerate() {
            // A balancer sends each to another gateway than the last time.
            let gateway = &mut self.gateways[(index + self.ticks) % count];
            party.look(gateway, now).await;
            for token in &self.living {
                party.knows(token, what);
            }
            // A key that a party has verifies the same always: one new and one old token of those that it knows.
            let newest = self.living.len() - 1 - index % self.living.len().min(4);
            for token in [newest, self.ticks % self.living.len()] {
                party.verify(&self.living[token], what);
            }
        }
        self.ticks += 1;
    }

    async fn ticks(&mut self, services: &[&KeyService], seconds: i64, what: &str) {
        for _ in 0..seconds / TICK {
            self.tick(services, what).await;
        }
    }
}

/// `admin export`, as JSON Web Keys by ring.
async fn exported(admin: &mut Admin, ring: &str) -> Vec<Value> {
    let request = v1::ListKeysRequest {
        ring: ring.to_owned(),
    };
    let keys = admin.list_keys(request).await.unwrap().into_inner().keys;
    let own = keys
        .iter()
        .filter(|key| key.generation > 0 && !key.jwk.is_empty());
    own.map(|key| serde_json::from_slice(&key.jwk).unwrap())
        .collect()
}

/// The signatures that a service counts, by backend.
fn signatures(service: &KeyService, backend: &str) -> u64 {
    let metrics = get(service.running.metrics_address().unwrap(), "/metrics");
    let of = |ring: &str| {
        let start =
            format!("key_service_signatures_total{{ring=\"{ring}\",backend=\"{backend}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("{start}: {metrics}"))
            .parse::<u64>()
            .unwrap()
    };
    MOVING.iter().map(|ring| of(ring)).sum()
}

#[tokio::test]
async fn a_ring_moves_into_a_token_and_nothing_fails_to_verify() {
    let name = "migration::a_ring_moves_into_a_token_and_nothing_fails_to_verify";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let tables: Vec<String> = MOVING
        .iter()
        .map(|ring| format!("[[rings]]\nname = \"{ring}\"\n"))
        .collect();
    let tables = tables.concat();
    let mut settings: Option<Config> = None;
    let software = KeyService::configured(&tables, |config| settings = Some(config.clone()));
    let gateway = async |service: &KeyService, name| Gateway {
        name,
        keys: service.keys().await,
        served: None,
    };
    let mut world = World {
        gateways: vec![
            gateway(&software, "first").await,
            gateway(&software, "second").await,
        ],
        parties: Vec::new(),
        living: Vec::new(),
        ticks: 0,
    };
    // Each comes at another moment, so that each has a copy of another age.
    for _ in 0..11 {
        world.parties.push(RelyingParty::default());
        world.tick(&[&software], "before").await;
    }
    let mut admin = software.admin().await;

    // The new home gets its keys, and nobody uses it.
    let home = pkcs11(&softhsm.token("signet", "1234"));
    let mut config = settings.unwrap();
    config.backend = home.clone();
    let until = software.now() + 30 * DAY;
    let mut known_by = 0;
    for ring in MOVING {
        let made = Service::make_keys(&config, Some(ring)).unwrap();
        let made: Value = serde_json::from_slice(&made).unwrap();
        let made = made["keys"].as_array().unwrap();
        assert_eq!(made.len(), 2);
        for jwk in made {
            let imported = import(&mut admin, wanted(ring, jwk, until)).await.unwrap();
            known_by = imported.known_by;
        }
    }
    world.tick(&[&software], "imported").await;
    let wait = known_by - software.now();
    assert!(wait > 0, "{wait}");
    world
        .ticks(&[&software], wait + TICK, "until all know the new keys")
        .await;

    // It serves beside the old one, and publishes what the old one signed.
    let token = KeyService::start_at(&home, &tables);
    later(&token, software.now() - token.now());
    let mut new_admin = token.admin().await;
    let over = token.now() + 7200;
    for ring in MOVING {
        for jwk in exported(&mut admin, ring).await {
            import(&mut new_admin, wanted(ring, &jwk, over))
                .await
                .unwrap();
        }
    }
    let both = [&software, &token];
    world.ticks(&both, 20, "both serve").await;
    world.gateways[0] = gateway(&token, "first, moved").await;
    world.ticks(&both, 120, "the first gateway has moved").await;
    world.gateways[1] = gateway(&token, "second, moved").await;
    let before = signatures(&software, "software");
    assert!(before > 0);
    world.ticks(&both, LIFE + 120, "all have moved").await;

    // Nothing comes from software any more, and the numbers say so.
    assert_eq!(signatures(&software, "software"), before);
    assert_eq!(signatures(&token, "software"), 0);
    assert!(signatures(&token, "pkcs11") > 100);
    assert_eq!(signatures(&software, "pkcs11"), 0);
    drop(admin);
    drop(software);
    // Its keys go when their time is over, and the ring goes on.
    later(&token, over - token.now());
    world.living.clear();
    for party in &mut world.parties {
        party.kept = None;
    }
    for gateway in &mut world.gateways {
        gateway.served = None;
    }
    world.ticks(&[&token], 60, "alone").await;
    let own = world.gateways[0].jwks(token.now()).await;
    assert_eq!(own.keys.len(), 2 * MOVING.len());
    assert!(world.parties.iter().all(|party| party.verified > 100));
}
