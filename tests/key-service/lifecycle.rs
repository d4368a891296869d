//! The life cycle of keys beyond rotation (NIST SP 800-57 part 1, §8): K-3 disabling, enabling and destroying, the
//! schedule, and keys that come too late or from a future.

use std::fs;
use std::time::Duration;

use key_service::backend::{Device, Label};
use key_service::config::{Config, Period};
use proto::v1::key_admin_client::KeyAdminClient;
use proto::v1::{self, KeyState, verify_request};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::running::{GENERATION, KeyService, LEAD, jwks, sign, verification};
use crate::surface::get;

const RING: &str = "id-token/ES256";
const PROFILES: &str = "profiles = [\"id_token\"]";
const HOUR: i64 = 3600;

type Admin = KeyAdminClient<Channel>;

fn later(service: &KeyService, seconds: i64) {
    service
        .clock
        .advance(Duration::from_secs(seconds.unsigned_abs()));
    service.running.keyring().refresh();
}

fn reason() -> String {
    "for a test".to_owned()
}

async fn all(admin: &mut Admin) -> Vec<v1::Key> {
    let request = v1::ListKeysRequest::default();
    admin.list_keys(request).await.unwrap().into_inner().keys
}

async fn in_state(admin: &mut Admin, state: KeyState) -> String {
    let keys = all(admin).await;
    let key = keys.into_iter().find(|key| key.state() == state);
    key.map(|key| key.kid).unwrap_or_default()
}

async fn rotate(admin: &mut Admin, ring: &str) -> Result<v1::RotateKeyResponse, Status> {
    let request = v1::RotateKeyRequest {
        ring: ring.to_owned(),
        dry_run: false,
    };
    Ok(admin.rotate_key(request).await?.into_inner())
}

async fn revoke(admin: &mut Admin, kid: &str) -> Result<v1::Key, Status> {
    let (kid, reason) = (kid.to_owned(), reason());
    let answer = admin.revoke_key(v1::RevokeKeyRequest { kid, reason }).await;
    Ok(answer?.into_inner().revoked.unwrap())
}

async fn disable(admin: &mut Admin, kid: &str) -> Result<v1::DisableKeyResponse, Status> {
    let (kid, reason) = (kid.to_owned(), reason());
    let request = v1::DisableKeyRequest { kid, reason };
    Ok(admin.disable_key(request).await?.into_inner())
}

async fn enable(admin: &mut Admin, kid: &str) -> Result<v1::Key, Status> {
    let kid = kid.to_owned();
    let answer = admin.enable_key(v1::EnableKeyRequest { kid }).await;
    Ok(answer?.into_inner().key.unwrap())
}

async fn destroy(admin: &mut Admin, kid: &str) -> Result<v1::Key, Status> {
    let kid = kid.to_owned();
    let request = v1::DestroyKeyRequest {
        kid,
        nothing_uses_it: false,
    };
    let answer = admin.destroy_key(request).await;
    Ok(answer?.into_inner().key.unwrap())
}

fn key_files(service: &KeyService) -> usize {
    let entries = fs::read_dir(service.folder.path().join("keys")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name());
    names
        .filter(|name| name.to_string_lossy().ends_with(".key"))
        .count()
}

#[tokio::test]
async fn a_disabled_key_is_followed_at_once_and_never_signs_again() {
    let service = KeyService::with_rings(&[RING]);
    let (mut keys, mut admin) = (service.keys().await, service.admin().await);
    let token = sign(&mut keys, RING, service.now()).await.unwrap();
    let disabled = disable(&mut admin, &token.kid).await.unwrap();
    assert_eq!(disabled.key.unwrap().state(), KeyState::Disabled);
    let heir = sign(&mut keys, RING, service.now()).await.unwrap();
    assert_eq!(disabled.signing_kid, heir.kid);
    assert_ne!(heir.kid, token.kid);
    let own = || verify_request::Key::Ring(RING.to_owned());
    let refused = keys
        .verify(verification(&token.compact, "ES256", own()))
        .await;
    assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument);
    let published = jwks(&mut keys).await.keys;
    assert!(!published.iter().any(|key| key.kid == token.kid));
    // A standby was made at once: the heir was the one before.
    assert_ne!(in_state(&mut admin, KeyState::Next).await, "");

    // Twice changes nothing, and one enabling is enough.
    disable(&mut admin, &token.kid).await.unwrap();
    let enabled = enable(&mut admin, &token.kid).await.unwrap();
    assert_eq!(
        (enabled.state(), enabled.reason.as_str()),
        (KeyState::Retired, "enabled")
    );
    let verified = keys
        .verify(verification(&token.compact, "ES256", own()))
        .await;
    assert_eq!(verified.unwrap().into_inner().kid, token.kid);
    let again = sign(&mut keys, RING, service.now()).await.unwrap();
    assert_eq!(again.kid, heir.kid);

    // Disabled before it ever signed, and enabled: its withdrawal takes nothing from the active key.
    let standby = in_state(&mut admin, KeyState::Next).await;
    disable(&mut admin, &standby).await.unwrap();
    enable(&mut admin, &standby).await.unwrap();
    revoke(&mut admin, &standby).await.unwrap();
    let again = sign(&mut keys, RING, service.now()).await.unwrap();
    assert_eq!(again.kid, heir.kid);
}

#[tokio::test]
async fn what_the_life_cycle_does_not_allow_names_its_rule() {
    let tables = format!(
        "[[rings]]\nname = \"{RING}\"\n{PROFILES}\n[[rings]]\nname = \"pairwise-subject/HS256\"\n"
    );
    let service = KeyService::start(&tables);
    let mut admin = service.admin().await;
    rotate(&mut admin, RING).await.unwrap();
    later(&service, LEAD + GENERATION + 1);
    rotate(&mut admin, RING).await.unwrap();
    later(&service, LEAD + GENERATION + 1);
    let keys = all(&mut admin).await;
    let of = |state| {
        let found = keys
            .iter()
            .find(|key| key.ring == RING && key.state() == state);
        found.unwrap().kid.clone()
    };
    let (retired, active) = (of(KeyState::Retired), of(KeyState::Active));
    let fixed = keys.iter().find(|key| key.ring != RING).unwrap();
    let fixed = fixed.kid.clone();
    rotate(&mut admin, RING).await.unwrap();
    let next = in_state(&mut admin, KeyState::Next).await;

    for (kid, rule) in [
        (&active, "destroy.active: "),
        (&next, "destroy.next: "),
        (&retired, "destroy.retention: "),
        (&fixed, "destroy.active: "),
    ] {
        let refused = destroy(&mut admin, kid).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{rule}");
        assert!(refused.message().starts_with(rule), "{refused}");
    }
    for kid in [&active, &next, &retired] {
        let refused = enable(&mut admin, kid).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(
            refused.message().starts_with("enable.state: "),
            "{refused:?}"
        );
    }
    let refused = disable(&mut admin, &fixed).await.unwrap_err();
    assert!(refused.message().starts_with("disable.never: "));
    let codes = [
        destroy(&mut admin, "unknown").await.unwrap_err().code(),
        enable(&mut admin, "unknown").await.unwrap_err().code(),
        disable(&mut admin, "unknown").await.unwrap_err().code(),
    ];
    assert_eq!(codes, [Code::PermissionDenied; 3]);
    let wordless = v1::DisableKeyRequest {
        kid: active.clone(),
        reason: String::new(),
    };
    let refused = admin.disable_key(wordless).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);

    // The nearest that is allowed.
    revoke(&mut admin, &retired).await.unwrap();
    let refused = disable(&mut admin, &retired).await.unwrap_err();
    assert!(refused.message().starts_with("disable.revoked: "));
    let destroyed = destroy(&mut admin, &retired).await.unwrap();
    assert_eq!(destroyed.state(), KeyState::Destroyed);
    let refused = revoke(&mut admin, &retired).await.unwrap_err();
    assert!(refused.message().starts_with("withdrawal.destroyed: "));
}

#[tokio::test]
async fn a_destroyed_key_is_gone_and_still_counts() {
    let service = KeyService::with_rings(&[RING]);
    let (mut keys, mut admin) = (service.keys().await, service.admin().await);
    let first = sign(&mut keys, RING, service.now()).await.unwrap().kid;
    rotate(&mut admin, RING).await.unwrap();
    later(&service, LEAD + GENERATION + 1);
    let second = sign(&mut keys, RING, service.now()).await.unwrap().kid;
    assert_ne!(first, second);
    // Expired: after the retention.
    later(&service, 2 * HOUR);
    let files = key_files(&service);
    let destroyed = destroy(&mut admin, &first).await.unwrap();
    assert_eq!(destroyed.state(), KeyState::Destroyed);
    assert_eq!(key_files(&service), files - 1);
    // Once more, as after a crash between the tombstone and the deletion.
    destroy(&mut admin, &first).await.unwrap();
    let again = sign(&mut keys, RING, service.now()).await.unwrap();
    assert_eq!(again.kid, second);

    // The newest generation's number is not given twice, though its key is gone.
    let standby = in_state(&mut admin, KeyState::Next).await;
    revoke(&mut admin, &standby).await.unwrap();
    destroy(&mut admin, &standby).await.unwrap();
    let mut numbers: Vec<u64> = all(&mut admin)
        .await
        .iter()
        .map(|key| key.generation)
        .collect();
    numbers.sort_unstable();
    assert_eq!(numbers, [1, 2, 3, 4]);
    // It is all in the keys' home: another process sees the same.
    service.running.keyring().reload().await.unwrap();
    let states: Vec<KeyState> = all(&mut admin).await.iter().map(v1::Key::state).collect();
    let count = |state| states.iter().filter(|&&it| it == state).count();
    assert_eq!(count(KeyState::Destroyed), 2);
    assert_eq!((count(KeyState::Active), count(KeyState::Next)), (1, 1));
}

#[tokio::test]
async fn a_ring_rotates_by_itself() {
    let tables = format!(
        "[[rings]]\nname = \"{RING}\"\n{PROFILES}\n\
         [[rings]]\nname = \"access-token/ES256\"\nperiod = \"2h\"\n\
         [[rings]]\nname = \"client-assertion/ES256\"\nperiod = \"never\"\n\
         [[rings]]\nname = \"mac/HS256\"\n"
    );
    let hourly = |config: &mut Config| {
        config.lifecycle.period = Period::Every(Duration::from_secs(3600));
    };
    let service = KeyService::configured(&tables, hourly);
    let mut admin = service.admin().await;
    let mut keys = service.keys().await;
    let first = sign(&mut keys, RING, service.now()).await.unwrap().kid;
    let keep_up = async || service.running.keyring().keep_up().await.unwrap();
    let mut generations = Vec::new();
    // 10 s ahead are the keys, and of a later second each.
    for seconds in [0, HOUR - 1, 15, HOUR + 15, HOUR + 15] {
        later(&service, seconds);
        keep_up().await;
        keep_up().await;
        let newest = |ring: &str, keys: &[v1::Key]| {
            let of = keys.iter().filter(|key| key.ring == ring);
            of.map(|key| key.generation).max().unwrap()
        };
        let keys = all(&mut admin).await;
        let rings = [
            RING,
            "access-token/ES256",
            "client-assertion/ES256",
            "mac/HS256",
        ];
        generations.push(rings.map(|ring| newest(ring, &keys)));
    }
    assert_eq!(
        generations,
        [
            [2, 2, 2, 2],
            [2, 2, 2, 2],
            [3, 2, 2, 2],
            [4, 3, 2, 2],
            [5, 3, 2, 2]
        ]
    );
    later(&service, GENERATION + 1);
    let now = sign(&mut keys, RING, service.now()).await.unwrap();
    assert_ne!(now.kid, first);
    assert!(!metrics(&service).contains("alarm=\"overdue\"} 1"));
}

fn metrics(service: &KeyService) -> String {
    get(service.running.metrics_address().unwrap(), "/metrics")
}

#[tokio::test]
async fn keys_of_another_time_are_published_and_alarm() {
    let mut home = None;
    let service = KeyService::configured(
        &format!("[[rings]]\nname = \"{RING}\"\n{PROFILES}\n"),
        |config| home = Some(config.backend.clone()),
    );
    let (mut keys, mut admin) = (service.keys().await, service.admin().await);
    let signing = sign(&mut keys, RING, service.now()).await.unwrap().kid;
    // Another process, whose clock is wrong, or whose key was hidden for long.
    let home = home.unwrap();
    let other = tokio::task::spawn_blocking(move || Device::open(&home).unwrap())
        .await
        .unwrap();
    let make = async |generation, created| {
        let ring = RING.parse().unwrap();
        let label = Label {
            ring,
            generation,
            created,
        };
        other.generate(&label).await.unwrap();
    };
    service.running.keyring().keep_up().await.unwrap();
    assert!(!metrics(&service).contains("} 1\nkey_service_alarm"));

    // With that `created` it would win its generation, and sign.
    make(1, service.now() - HOUR).await;
    service.running.keyring().keep_up().await.unwrap();
    let late = all(&mut admin).await;
    let late = late.iter().find(|key| key.reason == "late").unwrap();
    assert_eq!(late.state(), KeyState::Retired);
    let now = sign(&mut keys, RING, service.now()).await.unwrap();
    assert_eq!(now.kid, signing);
    let published = jwks(&mut keys).await.keys;
    assert!(published.iter().any(|key| key.kid == late.kid));
    let alarm = |name: &str, is_raised: u8| {
        let line = format!("key_service_alarm{{ring=\"{RING}\",alarm=\"{name}\"}} {is_raised}");
        assert!(metrics(&service).contains(&line), "{line}");
    };
    alarm("late", 1);
    alarm("future", 0);
    // Written down: whoever lists next knows it.
    let listed = other.list().await.unwrap();
    assert_eq!(listed.tombstones.len(), 1);

    make(3, service.now() + HOUR).await;
    service.running.keyring().keep_up().await.unwrap();
    alarm("future", 1);
    let now = sign(&mut keys, RING, service.now()).await.unwrap();
    assert_eq!(now.kid, signing);
    // It keeps its number.
    let made = rotate(&mut admin, RING).await.unwrap().created.unwrap();
    assert_eq!(made.generation, 4);
    assert!(made.created_at > service.now() + HOUR - 10);
}

#[tokio::test]
async fn a_standby_that_nobody_made_is_made() {
    let mut home = None;
    let service = KeyService::configured(
        &format!("[[rings]]\nname = \"{RING}\"\n{PROFILES}\n"),
        |config| home = Some(config.backend.clone()),
    );
    let (mut keys, mut admin) = (service.keys().await, service.admin().await);
    let standby = in_state(&mut admin, KeyState::Next).await;
    let key = all(&mut admin).await;
    let key = key.iter().find(|key| key.kid == standby).unwrap();
    // A replica that revoked the standby, and ended before it made another.
    let other = tokio::task::spawn_blocking(move || Device::open(&home.unwrap()).unwrap())
        .await
        .unwrap();
    let tombstone = key_service::backend::Tombstone {
        kid: standby.clone(),
        ring: RING.parse().unwrap(),
        generation: key.generation,
        created: key.created_at,
        reason: key_service::backend::TombstoneReason::Revoked,
        at: service.now(),
        was_active: false,
        note: "lost".to_owned(),
    };
    other.bury(&tombstone).await.unwrap();
    service.running.keyring().keep_up().await.unwrap();
    let line = format!("key_service_alarm{{ring=\"{RING}\",alarm=\"no_standby\"}} 1");
    assert!(metrics(&service).contains(&line));
    // It signs on, and the replica that revoked gets its time.
    sign(&mut keys, RING, service.now()).await.unwrap();
    assert_eq!(in_state(&mut admin, KeyState::Next).await, "");
    later(&service, GENERATION + 11);
    service.running.keyring().keep_up().await.unwrap();
    assert_ne!(in_state(&mut admin, KeyState::Next).await, "");
    assert!(!metrics(&service).contains(&line));
}

/// Who can write the folder of keys, and has no passphrase, brings no revoked key back to a service that runs.
#[tokio::test]
async fn a_tombstone_that_is_deleted_goes_on_counting() {
    let service = KeyService::with_rings(&[RING]);
    let (mut keys, mut admin) = (service.keys().await, service.admin().await);
    let kid = in_state(&mut admin, KeyState::Active).await;
    revoke(&mut admin, &kid).await.unwrap();
    let files = fs::read_dir(service.folder.path().join("keys")).unwrap();
    let paths = files.map(|file| file.unwrap().path());
    let tombstones = paths.filter(|path| path.extension().is_some_and(|it| it == "tombstone"));
    let mut deleted = 0;
    for path in tombstones {
        fs::remove_file(path).unwrap();
        deleted += 1;
    }
    assert!(deleted > 0);
    for _ in 0..2 {
        service.running.keyring().reload().await.unwrap();
        assert_eq!(in_state(&mut admin, KeyState::Revoked).await, kid);
        let published = jwks(&mut keys).await;
        assert!(published.keys.iter().all(|key| key.kid != kid));
        let signed = sign(&mut keys, RING, service.now()).await.unwrap();
        assert_ne!(signed.kid, kid);
    }
}
