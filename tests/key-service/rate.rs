//! KS-09: a caller's rate, over all its connections together; and what it does not count.

use std::time::Instant;

use proto::v1::key_service_client::KeyServiceClient;
use proto::v1::{self, MacPurpose, Profile, mac_request, wrap_request};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::audit::records;
use crate::running::{KeyService, caller, id_token, item, jwks, sign, verification, wrapped};
use crate::sign_stream::{answers, request, stream};
use crate::surface::get;

const RING: &str = "id-token/ES256";
const LIMITED: &str = "spiffe://signet/limited";
/// What the rate gives back while a test runs is counted.
const TABLES: &str = r#"
[audit]
path = "audit.log"
durability = "write"

[[rings]]
name = "id-token/ES256"
[[rings]]
name = "mac/HS256"
[[rings]]
name = "seal/A256GCM"

[[callers.allow]]
name = "limited"
san = "spiffe://signet/limited"
services = ["keys"]
rings = ["*"]
rate = 1
burst = 40
"#;

async fn limited(service: &KeyService) -> KeyServiceClient<Channel> {
    let certificate = caller(&service.authority, LIMITED);
    KeyServiceClient::new(service.channel(&certificate).await.unwrap())
}

fn is_too_often(status: &Status) -> bool {
    if status.code() != Code::ResourceExhausted {
        return false;
    }
    assert_eq!(status.message(), "too many operations");
    let after = status.metadata().get("grpc-retry-pushback-ms").unwrap();
    let after: u64 = after.to_str().unwrap().parse().unwrap();
    // As long as the most that one request can have takes.
    assert!((1..=64_000).contains(&after), "{after}");
    true
}

#[tokio::test]
async fn a_stream_has_no_rate_of_its_own() {
    let service = KeyService::start(TABLES);
    let begun = Instant::now();
    let (ask, mut stream) = stream(&mut limited(&service).await).await.unwrap();
    for id in 0..60 {
        let request = request(id, RING, &id_token(service.now()));
        ask.send(request).await.unwrap();
    }
    let answers = answers(&mut stream, 60).await;
    let refused: Vec<&v1::Refusal> = answers
        .values()
        .filter_map(|answer| answer.as_ref().err())
        .collect();
    for refusal in &refused {
        assert_eq!(refusal.code, Code::ResourceExhausted as u32);
        let after = refusal.retry_pushback_ms.unwrap();
        assert!((1..=64_000).contains(&after), "{after}");
    }
    let done = 60 - refused.len();
    let most = 41 + usize::try_from(begun.elapsed().as_secs()).unwrap();
    assert!((40..=most).contains(&done), "{done}");
}

#[tokio::test]
async fn a_caller_has_its_rate_on_all_its_connections() {
    let service = KeyService::start(TABLES);
    let begun = Instant::now();
    let mut connections = Vec::new();
    for _ in 0..4 {
        connections.push(limited(&service).await);
    }
    let (mut done, mut refused) = (0, 0);
    for turn in 0..80 {
        match sign(&mut connections[turn % 4], RING, service.now()).await {
            Ok(_) => done += 1,
            Err(status) if is_too_often(&status) => refused += 1,
            Err(status) => panic!("{status:?}"),
        }
    }
    let given_back = usize::try_from(begun.elapsed().as_secs()).unwrap() + 1;
    assert!(
        (40..=40 + given_back).contains(&done),
        "{done} and {given_back}"
    );
    // Nobody else has less for it.
    let mut gateway = service.keys().await;
    for _ in 0..60 {
        sign(&mut gateway, RING, service.now()).await.unwrap();
    }
    let log = records(&service.folder.path().join("audit.log"));
    let told = log.iter().filter(|record| record["rule"] == "rate");
    let told: Vec<_> = told.collect();
    assert_eq!(told.len(), refused);
    assert!(
        told.iter()
            .all(|it| it["caller"] == "limited" && it["status"] == "RESOURCE_EXHAUSTED")
    );
    let metrics = get(service.running.metrics_address().unwrap(), "/metrics");
    let line = format!("key_service_refusals_total{{rule=\"rate\"}} {refused}");
    assert!(metrics.contains(&line), "{line}\n{metrics}");
}

/// Each of these once more than what is left of forty operations.
#[tokio::test]
async fn each_operation_with_a_key_counts() {
    let items = |service: &KeyService, count: usize| v1::SignRequest {
        items: vec![item(RING, Profile::IdToken, &id_token(service.now())); count],
    };
    let mac = || v1::MacRequest {
        purpose: MacPurpose::OpaqueToken.into(),
        key: Some(mac_request::Key::Ring("mac/HS256".to_owned())),
        input: "x".into(),
        ..v1::MacRequest::default()
    };
    let wrap = || v1::WrapRequest {
        plaintext: "x".into(),
        to: Some(wrap_request::To::Context("session".to_owned())),
    };
    for what in [
        "items",
        "too many items",
        "no items",
        "refused",
        "Mac",
        "Wrap",
        "Decrypt",
        "a secret",
        "Rewrap",
    ] {
        let service = KeyService::start(TABLES);
        let secret = wrapped(&mut service.keys().await, "use-only:c", &[7; 32], "HS256").await;
        let token = sign(&mut service.keys().await, RING, service.now())
            .await
            .unwrap();
        let sealed = v1::Sealed {
            sealed: secret.sealed.clone(),
            context: secret.context.clone(),
        };
        let mut keys = limited(&service).await;
        let begun = Instant::now();
        let (mut cost, mut status) = (0, None);
        while status.is_none() {
            let (operations, answer) = match what {
                "items" => (16, keys.sign(items(&service, 16)).await.map(drop)),
                "too many items" => (16, keys.sign(items(&service, 17)).await.map(drop)),
                "no items" => (1, keys.sign(items(&service, 0)).await.map(drop)),
                "refused" => (
                    1,
                    sign(&mut keys, RING, service.now() - 600).await.map(drop),
                ),
                "Mac" => (1, keys.mac(mac()).await.map(drop)),
                "Wrap" => (1, keys.wrap(wrap()).await.map(drop)),
                "Decrypt" => (
                    1,
                    keys.decrypt(v1::DecryptRequest::default()).await.map(drop),
                ),
                // More than the burst, once.
                "Rewrap" => {
                    let items = vec![sealed.clone(); 64];
                    let answer = keys.rewrap(v1::RewrapRequest { items }).await;
                    (64, answer.map(drop))
                }
                _ => {
                    let key = v1::verify_request::Key::WrappedSecret(secret.clone());
                    let verify = verification(&token.compact, "HS256", key);
                    (1, keys.verify(verify).await.map(drop))
                }
            };
            status = answer.err().filter(is_too_often);
            cost += operations;
            assert!(cost < 400, "{what}");
        }
        let given_back = begun.elapsed().as_secs() + 1;
        let most = if what == "Rewrap" {
            128
        } else {
            57 + given_back
        };
        assert!((40..=most).contains(&cost), "{what}: {cost}");
        // What needs no key of ours goes on.
        for _ in 0..3 {
            jwks(&mut keys).await;
            let own = v1::verify_request::Key::Ring(RING.to_owned());
            keys.verify(verification(&token.compact, "ES256", own))
                .await
                .unwrap();
        }
    }
}
