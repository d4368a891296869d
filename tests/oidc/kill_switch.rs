//! K-8: one call of an operator's drops a key everywhere within seconds. No gateway publishes it or takes a token of it, its
//! successor signs, and what is left is what relying parties keep: `deploy/README.md` says for how long.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::Value;

use crate::client::Client;
use crate::person::Person;
use crate::registration::{JWT, POST};
use crate::site::Site;
use crate::stack::{self, Options, Stack};
use crate::verified::{header, keys, verify};

const GATEWAYS: usize = 2;
/// "Within seconds": the longest that anybody may go on.
const SECONDS: Duration = Duration::from_secs(5);

/// What somebody holds when the key is withdrawn.
struct Holding {
    client: Client,
    id_token: String,
    access_token: String,
}

impl Holding {
    async fn of(client: Client, person: &mut Person) -> Holding {
        let tokens = client.tokens(person, "openid").await;
        let text = |name: &str| tokens[name].as_str().unwrap().to_owned();
        Holding {
            client,
            id_token: text("id_token"),
            access_token: text("access_token"),
        }
    }

    /// Whether a gateway takes the access token, by introspection and at userinfo: both say the same.
    async fn is_taken(&self, gateway: &Site) -> bool {
        let told = self.client.is_active(gateway, &self.access_token).await;
        let request = gateway
            .request(Method::GET, "/userinfo")
            .header("authorization", format!("Bearer {}", self.access_token));
        let answer = gateway.send(request.body(Vec::new()).unwrap()).await;
        let is_served = match answer.status {
            200 => true,
            401 => false,
            other => panic!("{other}: {}", answer.text()),
        };
        assert_eq!(told, is_served);
        told
    }

    /// What an authorization request with the ID token as its hint leads to.
    async fn hinted(&self, person: &mut Person) -> String {
        let request = POST
            .request()
            .set("prompt", "none")
            .set("id_token_hint", &self.id_token);
        person.authorize(&request).await.outcome()
    }
}

fn kid(token: &str) -> String {
    header(token)["kid"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn one_call_drops_a_key_everywhere() {
    let stack = stack::start(&Options {
        gateways: 2,
        ..Options::default()
    });
    let site = stack.site();
    let gateways: Vec<Site> = (0..GATEWAYS).map(|gateway| site.at(gateway)).collect();
    let mut person = Person::new(&site, 0);
    let held = Holding::of(JWT, &mut person).await;
    for gateway in &gateways {
        assert!(held.is_taken(gateway).await);
        assert_eq!(held.hinted(&mut person).await, "query code");
    }
    let copy = keys(&site).await;
    let encryption = encryption_kid(&stack);
    for (what, lost) in [
        ("signs access tokens", kid(&held.access_token)),
        ("signs ID tokens", kid(&held.id_token)),
        ("decrypts", encryption),
    ] {
        let begun = Instant::now();
        let answer = admin(&stack, &["revoke", &lost, "--reason", "it leaked"]);
        let successor = answer["signing_kid"].as_str().unwrap();
        let standby = answer["created"]["kid"].as_str().unwrap();
        for gateway in &gateways {
            loop {
                let published = keys(gateway).await;
                let has = |kid: &str| published.find(kid).is_some();
                if !has(&lost) && has(successor) && has(standby) {
                    break;
                }
                assert!(begun.elapsed() < SECONDS, "{what}: {published:?}");
            }
        }
    }

    // No token of the lost keys is taken, by any gateway, nor ever again.
    let begun = Instant::now();
    for gateway in &gateways {
        while held.is_taken(gateway).await {
            assert!(begun.elapsed() < SECONDS);
        }
    }
    for _ in 0..2 * GATEWAYS {
        assert_eq!(held.hinted(&mut person).await, "query invalid_request");
        for gateway in &gateways {
            assert!(!held.is_taken(gateway).await);
        }
    }

    // The successors sign, and every relying party that fetches the keys again verifies.
    let now = keys(&site).await;
    let fresh = Holding::of(JWT, &mut person).await;
    verify(&site, &now, &fresh.id_token, ("JWT", JWT.id));
    verify(&site, &now, &fresh.access_token, ("at+jwt", site.issuer()));
    for gateway in &gateways {
        assert!(fresh.is_taken(gateway).await);
        assert_eq!(fresh.hinted(&mut person).await, "query code");
    }
    // The successors were published before: also whoever keeps an old copy verifies.
    verify(&site, &copy, &fresh.id_token, ("JWT", JWT.id));
    // And the exposure: with that copy the lost key's tokens verify, until it is too old (jwks_max_age).
    verify(&site, &copy, &held.id_token, ("JWT", JWT.id));

    // It is told: in the list, and in the audit log.
    let listed = admin(&stack, &["list"]);
    let revoked = listed["keys"].as_array().unwrap().iter();
    let revoked = revoked.filter(|key| key["state"] == "REVOKED").count();
    assert_eq!(revoked, 3);
}

fn encryption_kid(stack: &Stack) -> String {
    let listed = admin(stack, &["list", "request-object/RSA-OAEP"]);
    let active = listed["keys"].as_array().unwrap().iter();
    let mut active = active.filter(|key| key["state"] == "ACTIVE");
    active.next().unwrap()["kid"].as_str().unwrap().to_owned()
}

/// What `key-service admin` answers.
fn admin(stack: &Stack, arguments: &[&str]) -> Value {
    let output = stack
        .admin()
        .args(arguments)
        .arg("--json")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}
