//! KS-14: `once_key`. The same again gets the same answer, something else is refused, and what was not signed was not.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::join_all;
use proto::v1::key_service_client::KeyServiceClient;
use proto::v1::{self, Profile};
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::audit::{intact, records};
use crate::policy::merged;
use crate::running::{KeyService, caller, id_token, item, jwks, wrapped};
use crate::surface::get;

const ID: &str = "id-token/ES256";
const ACCESS: &str = "access-token/ES256";
const TABLES: &str = r#"
[audit]
path = "audit.log"
durability = "write"

[[rings]]
name = "id-token/ES256"
[[rings]]
name = "access-token/ES256"
[[rings]]
name = "seal/A256GCM"

[[callers.allow]]
name = "another"
san = "spiffe://signet/another"
services = ["keys"]
rings = ["*"]
"#;

fn id(now: i64, key: &str, changes: Value) -> v1::SignItem {
    let mut item = item(ID, Profile::IdToken, &merged(id_token(now), changes));
    item.once_key = (!key.is_empty()).then(|| format!("once key number {key}").into());
    item
}

/// An access token, and the ID token that has its hash.
fn pair(now: i64, keys: (&str, &str), jti: &str) -> Vec<v1::SignItem> {
    let claims = merged(id_token(now), json!({ "client_id": "c", "jti": jti }));
    let mut access = item(ACCESS, Profile::AccessToken, &claims);
    access.once_key = (!keys.0.is_empty()).then(|| format!("once key number {}", keys.0).into());
    let mut id = id(now, keys.1, json!({}));
    id.hash_of = vec![v1::HashOf {
        claim: "at_hash".to_owned(),
        item: 0,
    }];
    vec![access, id]
}

async fn sign(
    keys: &mut KeyServiceClient<Channel>,
    items: Vec<v1::SignItem>,
) -> Result<Vec<String>, Status> {
    let signed = keys.sign(v1::SignRequest { items }).await?.into_inner();
    Ok(signed.items.into_iter().map(|it| it.compact).collect())
}

#[track_caller]
fn refused(answer: Result<Vec<String>, Status>) -> (Code, String) {
    let status = answer.unwrap_err();
    (status.code(), status.message().to_owned())
}

fn once() -> (Code, String) {
    (Code::FailedPrecondition, "once".to_owned())
}

#[tokio::test]
async fn the_same_again_gets_the_same_and_something_else_nothing() {
    let service = KeyService::start(TABLES);
    let mut keys = service.keys().await;
    let now = service.now();
    let first = sign(&mut keys, vec![id(now, "1", json!({}))])
        .await
        .unwrap();
    for _ in 0..3 {
        assert_eq!(
            sign(&mut keys, vec![id(now, "1", json!({}))])
                .await
                .unwrap(),
            first
        );
    }
    // Without a key each signature is another one.
    assert_ne!(
        sign(&mut keys, vec![id(now, "", json!({}))]).await.unwrap(),
        first
    );
    for (what, changes) in [
        ("another subject", json!({ "sub": "mallory" })),
        ("another audience", json!({ "aud": "other" })),
        ("another second", json!({ "iat": now - 1 })),
        ("one claim more", json!({ "nonce": "n" })),
    ] {
        let answer = sign(&mut keys, vec![id(now, "1", changes)]).await;
        assert_eq!(refused(answer), once(), "{what}");
    }
    let mut as_userinfo = id(now, "1", json!({}));
    as_userinfo.profile = Profile::Userinfo.into();
    assert_eq!(
        refused(sign(&mut keys, vec![as_userinfo]).await),
        once(),
        "as something else"
    );
    let mut by_another = id(now, "1", json!({}));
    by_another.key = Some(v1::sign_item::Key::Ring(ACCESS.to_owned()));
    assert_eq!(
        refused(sign(&mut keys, vec![by_another]).await),
        once(),
        "by another key"
    );
    // Beside others it is the same, and keeps them from being signed.
    let two = vec![
        id(now, "2", json!({})),
        id(now, "1", json!({ "nonce": "n" })),
    ];
    assert_eq!(refused(sign(&mut keys, two).await), once());
    let two = vec![
        id(now, "2", json!({ "nonce": "n" })),
        id(now, "1", json!({})),
    ];
    assert_eq!(sign(&mut keys, two).await.unwrap()[1], first[0]);

    // Somebody else's key is somebody else's.
    let certificate = caller(&service.authority, "spiffe://signet/another");
    let mut another = KeyServiceClient::new(service.channel(&certificate).await.unwrap());
    let other = vec![id(now, "1", json!({ "sub": "bob" }))];
    assert_ne!(sign(&mut another, other).await.unwrap(), first);

    // For twice the life of a code, also when its `iat` is no longer one of now.
    service.clock.advance(Duration::from_secs(100));
    assert_eq!(
        sign(&mut keys, vec![id(now, "1", json!({}))])
            .await
            .unwrap(),
        first
    );
    let later = service.now();
    assert_eq!(
        refused(sign(&mut keys, vec![id(later, "1", json!({}))]).await),
        once()
    );
    service.clock.advance(Duration::from_secs(21));
    let later = service.now();
    assert_ne!(
        sign(&mut keys, vec![id(later, "1", json!({}))])
            .await
            .unwrap(),
        first
    );

    let metrics = get(service.running.metrics_address().unwrap(), "/metrics");
    for line in [
        r#"key_service_refusals_total{rule="once"} 8"#,
        "key_service_once_forgotten_total 0",
    ] {
        assert!(metrics.contains(line), "{line}\n{metrics}");
    }
    let log = service.folder.path().join("audit.log");
    let of = |record: &Value| record["items"][0]["sha256"].clone();
    let told: Vec<Value> = records(&log)
        .into_iter()
        .filter(|it| it["rpc"] == "Sign")
        .collect();
    assert_eq!(told[0]["items"][0].get("again"), None);
    for record in &told[1..4] {
        assert_eq!(record["items"][0]["again"], "once_key");
        assert_eq!(of(record), of(&told[0]), "the same signature");
    }
    assert_eq!(told[5]["rule"], "once");
    intact(&log);
}

#[tokio::test]
async fn hashes_between_items_stay_right() {
    let service = KeyService::start(TABLES);
    let mut keys = service.keys().await;
    let now = service.now();
    let first = sign(&mut keys, pair(now, ("a", "b"), "1")).await.unwrap();
    assert_eq!(
        sign(&mut keys, pair(now, ("a", "b"), "1")).await.unwrap(),
        first
    );
    // The other way round: a hash of what comes after it.
    let turned = |mut items: Vec<v1::SignItem>| {
        items.reverse();
        items[0].hash_of[0].item = 1;
        items
    };
    let again = sign(&mut keys, turned(pair(now, ("a", "b"), "1")))
        .await
        .unwrap();
    assert_eq!(again, [first[1].clone(), first[0].clone()]);
    for (what, items) in [
        ("another access token", pair(now, ("a", "b"), "2")),
        (
            "a new one for the same ID token",
            pair(now, ("c", "b"), "1"),
        ),
        ("the ID token without it", vec![id(now, "b", json!({}))]),
    ] {
        assert_eq!(refused(sign(&mut keys, items).await), once(), "{what}");
    }
    // What was refused beside it has not taken the key of another.
    sign(&mut keys, pair(now, ("c", "d"), "3")).await.unwrap();
    // The access token alone, and then its ID token.
    let alone = sign(&mut keys, vec![pair(now, ("e", ""), "1").remove(0)])
        .await
        .unwrap();
    let both = sign(&mut keys, pair(now, ("e", "f"), "1")).await.unwrap();
    assert_eq!(both[0], alone[0]);
    let answer = sign(&mut keys, pair(now, ("", "g"), "1")).await;
    assert_eq!(
        refused(answer),
        (
            Code::InvalidArgument,
            "hash_of.item of an item with a once_key has none".to_owned()
        )
    );
}

#[tokio::test]
async fn what_was_not_signed_has_not_taken_its_key() {
    let service = KeyService::start(TABLES);
    let mut keys = service.keys().await;
    let now = service.now();
    let mut not_json = id(now, "1", json!({}));
    not_json.claims = "{".into();
    for item in [
        id(now, "1", json!({ "iss": "https://evil.example" })),
        id(now - 600, "1", json!({})),
        not_json,
    ] {
        sign(&mut keys, vec![item]).await.unwrap_err();
    }
    // One that is refused beside it.
    let two = vec![id(now, "1", json!({})), id(now, "2", json!({ "sub": "" }))];
    sign(&mut keys, two).await.unwrap_err();
    sign(&mut keys, vec![id(now, "1", json!({}))])
        .await
        .unwrap();
    sign(&mut keys, vec![id(now, "2", json!({}))])
        .await
        .unwrap();
}

/// An outage must not burn a code: what did not leave may be signed again, with other claims.
#[tokio::test]
async fn what_did_not_leave_has_not_taken_its_key() {
    let service = KeyService::start(TABLES);
    let mut keys = service.keys().await;
    let now = service.now();
    let [log, aside] = ["audit.log", "aside"].map(|name| service.folder.path().join(name));
    std::fs::rename(&log, &aside).unwrap();
    let withheld = sign(&mut keys, vec![id(now, "1", json!({}))]).await;
    assert_eq!(refused(withheld).0, Code::Unavailable);
    std::fs::rename(&aside, &log).unwrap();
    let other = json!({ "nonce": "another try" });
    sign(&mut keys, vec![id(now, "1", other)]).await.unwrap();
    let first = vec![id(now, "1", json!({}))];
    assert_eq!(refused(sign(&mut keys, first).await), once());
}

/// A revoked key's token verifies nowhere, so it is given to nobody again; nor is another one in its place.
#[tokio::test]
async fn what_a_revoked_key_signed_is_not_given_again() {
    let service = KeyService::start(TABLES);
    let mut keys = service.keys().await;
    let now = service.now();
    let both = |key: &str| pair(now, (key, &format!("{key} too")), "1");
    sign(&mut keys, both("1")).await.unwrap();
    let other = sign(&mut keys, vec![id(now, "2", json!({}))])
        .await
        .unwrap();
    let listed = jwks(&mut keys).await.keys;
    let access = listed
        .iter()
        .find(|key| key.ring == ACCESS && key.state == i32::from(v1::KeyState::Active));
    let revoke = v1::RevokeKeyRequest {
        kid: access.unwrap().kid.clone(),
        reason: "lost".to_owned(),
    };
    service.admin().await.revoke_key(revoke).await.unwrap();
    for items in [both("1"), vec![both("1").remove(0)]] {
        assert_eq!(refused(sign(&mut keys, items).await), once());
    }
    sign(&mut keys, both("3")).await.unwrap();
    let again = vec![id(now, "2", json!({}))];
    assert_eq!(sign(&mut keys, again).await.unwrap(), other);
}

#[tokio::test]
async fn what_is_encrypted_is_the_same_too() {
    let service = KeyService::start(TABLES);
    let mut keys = service.keys().await;
    let now = service.now();
    let secret = wrapped(&mut keys, "use-only:c", &[7; 32], "A128KW").await;
    let encrypted = |enc: &str| {
        let mut item = id(now, "1", json!({}));
        item.encrypt_to = Some(v1::Recipient {
            key: Some(v1::recipient::Key::WrappedSecret(secret.clone())),
            alg: "A128KW".to_owned(),
            enc: enc.to_owned(),
            cty: "JWT".to_owned(),
        });
        vec![item]
    };
    let first = sign(&mut keys, encrypted("A128GCM")).await.unwrap();
    assert_eq!(first[0].split('.').count(), 5);
    assert_eq!(sign(&mut keys, encrypted("A128GCM")).await.unwrap(), first);
    for item in [encrypted("A256GCM"), vec![id(now, "1", json!({}))]] {
        assert_eq!(refused(sign(&mut keys, item).await), once());
    }
}

/// Whoever comes meanwhile is told to come again: nobody ever gets a second signature.
#[tokio::test]
async fn many_at_once_get_one_signature() {
    let service = KeyService::start(TABLES);
    let mut connections = Vec::new();
    for _ in 0..8 {
        connections.push(service.keys().await);
    }
    let now = service.now();
    for round in 0..20 {
        let key = format!("round {round}");
        let calls = connections.iter().map(|keys| {
            let (mut keys, items) = (keys.clone(), vec![id(now, &key, json!({}))]);
            tokio::spawn(async move { sign(&mut keys, items).await })
        });
        let mut tokens = HashSet::new();
        for answer in join_all(calls.collect::<Vec<_>>()).await {
            match answer.unwrap() {
                Ok(signed) => tokens.extend(signed),
                Err(status) => {
                    assert_eq!(status.code(), Code::Aborted, "{status:?}");
                    assert!(status.metadata().get("grpc-retry-pushback-ms").is_some());
                }
            }
        }
        assert_eq!(tokens.len(), 1, "{key}");
    }
}
