//! K-5: whoever asks for a change and does not wait for the answer has asked for it all the same, and the audit log tells.

use std::time::{Duration, Instant};

use proto::v1;
use tokio::time::{sleep, timeout};

use crate::audit::records;
use crate::running::KeyService;

const RING: &str = "id-token/RS256";
/// A key of it takes some time to be made.
const TABLES: &str = r#"
[audit]
path = "audit.log"
durability = "write"

[[rings]]
name = "id-token/RS256"
"#;
/// In which a key is made, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_change_is_written_down_also_when_nobody_waits_for_it() {
    let service = KeyService::start(TABLES);
    let log = service.folder.path().join("audit.log");
    let told = || {
        let records = records(&log).into_iter();
        records.filter(|it| it["method"] == "RotateKey").count()
    };
    let keys = || {
        let snapshot = service.running.keyring().snapshot_full();
        snapshot.ring(RING).unwrap().keys().len()
    };
    let before = keys();
    let mut admin = service.admin().await;
    let begun = Instant::now();
    // The shortest time in which the request reaches the device is not known: longer ones are tried.
    let mut abandoned = false;
    for milliseconds in [2, 4, 8, 16, 32] {
        let rotate = v1::RotateKeyRequest {
            ring: RING.to_owned(),
            dry_run: false,
        };
        let answer = timeout(
            Duration::from_millis(milliseconds),
            admin.rotate_key(rotate),
        );
        abandoned |= answer.await.is_err();
    }
    assert!(abandoned, "every key was made at once");
    // One more, to the end: the device makes one after the other.
    let rotate = v1::RotateKeyRequest {
        ring: RING.to_owned(),
        dry_run: false,
    };
    admin.rotate_key(rotate).await.unwrap();
    while told() < keys() - before && begun.elapsed() < PATIENCE {
        sleep(Duration::from_millis(20)).await;
    }
    assert!(
        told() >= keys() - before,
        "{} keys made, {} told",
        keys() - before,
        told()
    );
    let told_of = records(&log)
        .into_iter()
        .filter(|it| it["method"] == "RotateKey");
    assert!(told_of.into_iter().all(|it| it["caller"] == "operator"));
}
