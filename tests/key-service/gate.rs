//! K-3: a key does not sign while a gateway that is connected does not publish it, for a time that has an end.

use std::time::Duration;

use proto::v1;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use crate::running::{GENERATION, KeyService, LEAD, sign};
use crate::surface::get;

const RING: &str = "id-token/ES256";
/// `gate_limit` of a configuration that does not say.
const LIMIT: i64 = 30 * 60;

/// A gateway as the key-service sees it.
struct Gateway {
    name: &'static str,
    acknowledge: mpsc::Sender<v1::WatchPublicJwksRequest>,
    published: Streaming<v1::PublicJwksResponse>,
}

impl Gateway {
    async fn join(service: &KeyService, name: &'static str) -> Gateway {
        let (acknowledge, requests) = mpsc::channel(8);
        let mut keys = service.keys().await;
        let gateway = Gateway {
            name,
            acknowledge,
            published: keys
                .watch_public_jwks(ReceiverStream::new(requests))
                .await
                .unwrap()
                .into_inner(),
        };
        gateway.say(String::new()).await;
        gateway
    }

    async fn say(&self, serving_epoch: String) {
        let message = v1::WatchPublicJwksRequest {
            instance_id: self.name.to_owned(),
            serving_epoch,
        };
        self.acknowledge.send(message).await.unwrap();
    }

    /// Reads what was pushed last.
    async fn latest(&mut self) -> String {
        let mut epoch = String::new();
        let pause = Duration::from_millis(100);
        while let Ok(message) = tokio::time::timeout(pause, self.published.message()).await {
            epoch = message.unwrap().unwrap().epoch;
        }
        epoch
    }

    async fn follow(&mut self) {
        let epoch = self.latest().await;
        self.say(epoch).await;
    }
}

fn later(service: &KeyService, seconds: i64) {
    service
        .clock
        .advance(Duration::from_secs(seconds.unsigned_abs()));
    service.running.keyring().refresh();
}

async fn kid(service: &KeyService) -> String {
    let mut keys = service.keys().await;
    sign(&mut keys, RING, service.now()).await.unwrap().kid
}

async fn rotate(service: &KeyService, dry_run: bool) -> v1::RotateKeyResponse {
    let mut admin = service.admin().await;
    let ring = RING.to_owned();
    let request = v1::RotateKeyRequest { ring, dry_run };
    admin.rotate_key(request).await.unwrap().into_inner()
}

fn lagging(rotation: &v1::RotateKeyResponse) -> Vec<&str> {
    let lagging = rotation.lagging.iter();
    lagging
        .map(|gateway| gateway.instance_id.as_str())
        .collect()
}

async fn until(is_so: impl AsyncFn() -> bool) {
    for _ in 0..100 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it did not come true");
}

#[tokio::test]
async fn who_publishes_the_key_lets_it_sign() {
    let service = KeyService::with_rings(&[RING]);
    let first = kid(&service).await;
    let mut quick = Gateway::join(&service, "quick").await;
    let mut slow = Gateway::join(&service, "slow").await;
    quick.follow().await;
    until(async || lagging(&rotate(&service, true).await) == ["slow"]).await;
    let plan = rotate(&service, true).await;
    assert_eq!(plan.lagging[0].caller, "gateway");
    assert_eq!(plan.next_signs_by, plan.next_activates_at + LIMIT);

    rotate(&service, false).await;
    later(&service, LEAD + GENERATION + 1);
    assert_eq!(kid(&service).await, first);
    slow.follow().await;
    until(async || kid(&service).await != first).await;
    let second = kid(&service).await;
    let plan = rotate(&service, true).await;
    // Both publish the standby, though neither acknowledged the latest epoch.
    assert_eq!(lagging(&plan), ["quick"]);
    quick.follow().await;
    until(async || rotate(&service, true).await.lagging.is_empty()).await;
    let plan = rotate(&service, true).await;
    assert_eq!(plan.next_signs_by, plan.next_activates_at);

    // Who comes later takes nothing back.
    let late = Gateway::join(&service, "late").await;
    until(async || lagging(&rotate(&service, true).await) == ["late"]).await;
    assert_eq!(kid(&service).await, second);
    drop(late);
    until(async || rotate(&service, true).await.lagging.is_empty()).await;
}

#[tokio::test]
async fn a_new_stream_speaks_for_its_gateway() {
    let service = KeyService::with_rings(&[RING]);
    let first = kid(&service).await;
    let gone = Gateway::join(&service, "one").await;
    let mut back = Gateway::join(&service, "one").await;
    rotate(&service, false).await;
    back.follow().await;
    until(async || rotate(&service, true).await.lagging.is_empty()).await;
    later(&service, LEAD + GENERATION + 1);
    assert_ne!(kid(&service).await, first);
    drop(gone);
}

#[tokio::test]
async fn the_gate_has_an_end_and_an_alarm() {
    let service = KeyService::with_rings(&[RING]);
    let first = kid(&service).await;
    let mut deaf = Gateway::join(&service, "deaf").await;
    until(async || lagging(&rotate(&service, true).await) == ["deaf"]).await;
    let from = rotate(&service, false).await.next_activates_at;
    let alarm = |is_raised: u8| {
        let line =
            format!("key_service_alarm{{ring=\"{RING}\",alarm=\"unacknowledged\"}} {is_raised}");
        let metrics = get(service.running.metrics_address().unwrap(), "/metrics");
        assert!(metrics.contains(&line), "{line}");
    };
    later(&service, from + LIMIT - 2 - service.now());
    assert_eq!(kid(&service).await, first);
    alarm(0);
    later(&service, 2);
    assert_ne!(kid(&service).await, first);
    alarm(1);
    deaf.follow().await;
    until(async || rotate(&service, true).await.lagging.is_empty()).await;
    service.running.keyring().refresh();
    alarm(0);
}

#[tokio::test]
async fn a_revoked_key_waits_for_nobody() {
    let service = KeyService::with_rings(&[RING]);
    let first = kid(&service).await;
    let _deaf = Gateway::join(&service, "deaf").await;
    until(async || lagging(&rotate(&service, true).await) == ["deaf"]).await;
    let mut admin = service.admin().await;
    let request = v1::RevokeKeyRequest {
        kid: first.clone(),
        reason: "lost".to_owned(),
    };
    let revoked = admin.revoke_key(request).await.unwrap().into_inner();
    let second = kid(&service).await;
    assert_ne!(second, first);
    assert_eq!(revoked.signing_kid, second);

    // Held back behind the heir, and the heir is revoked: it signs at once too.
    rotate(&service, false).await;
    later(&service, LEAD + GENERATION + 1);
    assert_eq!(kid(&service).await, second);
    let request = v1::RevokeKeyRequest {
        kid: second.clone(),
        reason: "lost".to_owned(),
    };
    admin.revoke_key(request).await.unwrap();
    assert_ne!(kid(&service).await, second);
}
