//! S0-1, S0-5: what every home of keys must do alike, and a token is one that no private key leaves. The same checks over
//! software keys, tokens of SoftHSM and of kryoptic, each with what it is known not to do, and the backend of the page on
//! writing one; results are checked by other people's code.

mod results;
pub(crate) mod worked;

use std::collections::HashSet;
use std::fs;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use key_service::algorithm::{RingAlgorithm, SignatureAlgorithm};
use key_service::backend::{
    Calls, Device, Error, Imported, KeyId, Label, Settings, StoredKey, Tombstone, TombstoneReason,
};
use key_service::jwk::Jwk;
use key_service::signature;
use support::kryoptic::Kryoptic;
use support::softhsm::{self, SoftHsm, Token};

use crate::copies::copying;

use results::{computes, refuses_what_is_not_its_own};

pub(crate) const INPUT: &[u8] = b"eyJhbGciOiJFUzI1NiJ9.e30";

#[tokio::test]
async fn software_keys_keep_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let settings = software(folder.path());
    let device = Device::open(&settings).unwrap();
    assert_eq!(device.facts().gaps, [""; 0]);
    assert_eq!(device.facts().algorithms.len(), 18);
    keeps_the_contract(device, || Device::open(&settings).unwrap()).await;
    for entry in fs::read_dir(folder.path().join("keys")).unwrap() {
        let entry = entry.unwrap();
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{:?}", entry.file_name());
    }
}

#[tokio::test]
async fn a_softhsm_token_keeps_the_contract() {
    let name = "contract::a_softhsm_token_keeps_the_contract";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let settings = pkcs11(&softhsm.token("signet", "1234"));
    let device = Device::open(&settings).unwrap();
    // SoftHSM 2.6.1.
    assert_eq!(
        device.facts().gaps,
        [
            "RSA-OAEP-256: the token does OAEP with SHA-1 only",
            "ECDH-ES-X25519: the token has no CKM_EC_MONTGOMERY_KEY_PAIR_GEN",
        ]
    );
    assert_eq!(device.facts().algorithms.len(), 16);
    assert_eq!(device.facts().location, "SoftHSM v2 token \"signet\"");
    keeps_the_contract(device, || Device::open(&settings).unwrap()).await;
}

#[tokio::test]
async fn a_kryoptic_token_keeps_the_contract() {
    let name = "contract::a_kryoptic_token_keeps_the_contract";
    let Some(kryoptic) = Kryoptic::in_own_process(name) else {
        return;
    };
    let settings = pkcs11(&kryoptic.token("signet", "1234"));
    let device = Device::open(&settings).unwrap();
    // kryoptic 1.5.4: nothing is missing that JOSE has.
    assert_eq!(device.facts().gaps, [""; 0]);
    assert_eq!(device.facts().algorithms.len(), 18);
    assert_eq!(device.facts().location, "v1 token \"signet\"");
    keeps_the_contract(device, || Device::open(&settings).unwrap()).await;
}

/// The same with copies of the keys in sessions, of whatever can be copied.
#[tokio::test]
async fn a_kryoptic_token_with_copies_keeps_the_contract() {
    let name = "contract::a_kryoptic_token_with_copies_keeps_the_contract";
    let Some(kryoptic) = Kryoptic::in_own_process(name) else {
        return;
    };
    let settings = copying(&kryoptic.token("signet", "1234"), "true");
    let device = Device::open(&settings).unwrap();
    keeps_the_contract(device, || Device::open(&settings).unwrap()).await;
}

/// S0-5: what the page on writing a backend leads to, called in each of the two ways.
#[tokio::test]
async fn the_backend_of_the_page_keeps_the_contract() {
    let threads = Calls::Threads {
        at_once: NonZeroUsize::new(4).unwrap(),
        queue: 200,
    };
    for calls in [Calls::Inline, threads] {
        let memory = Arc::new(worked::Memory::default());
        let open = || Device::over(worked::facts(), memory.clone(), calls);
        keeps_the_contract(open(), open).await;
    }
}

/// A home whose calls wait refuses what it has no room for, and says that it is down when it is.
#[tokio::test]
async fn a_home_that_waits_has_an_end_of_its_queue() {
    let (held, free) = std::sync::mpsc::channel::<()>();
    let free = std::sync::Mutex::new(free);
    let memory = worked::Memory::making(move |_| free.lock().unwrap().recv().unwrap());
    let calls = Calls::Threads {
        at_once: NonZeroUsize::MIN,
        queue: 1,
    };
    let device = Device::over(worked::facts(), Arc::new(memory), calls);
    let first = tokio::spawn({
        let device = device.clone();
        async move { make(&device, RingAlgorithm::Seal).await }
    });
    let second = tokio::spawn({
        let device = device.clone();
        async move {
            let soon = Some(Instant::now());
            let (nobody, input) = (KeyId(vec![0; 16].into()), Bytes::from_static(INPUT));
            device.mac(&nobody, input, soon).await
        }
    });
    while device.queue_length() == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(matches!(device.list().await, Err(Error::QueueFull)));
    held.send(()).unwrap();
    first.await.unwrap();
    let late = second.await.unwrap();
    assert!(matches!(late, Err(Error::DeadlinePassed)), "{late:?}");
    assert_eq!(device.list().await.unwrap().keys.len(), 1);
    // The other end is gone: the call ends with a panic, and the device goes on.
    drop(held);
    let label = "k1/seal/A256GCM/2/1".parse().unwrap();
    let failed = device.generate(&label).await;
    assert!(matches!(failed, Err(Error::Device(_))), "{failed:?}");
    assert_eq!(device.list().await.unwrap().keys.len(), 1);
}

fn software(folder: &Path) -> Settings {
    let passphrase = folder.join("passphrase");
    softhsm::write_secret(&passphrase, "correct horse battery staple\n");
    let toml = format!(
        "kind = \"software\"\ndirectory = \"{}\"\npassphrase_file = \"{}\"",
        folder.join("keys").display(),
        passphrase.display()
    );
    toml::from_str(&toml).unwrap()
}

pub(crate) fn pkcs11(token: &Token) -> Settings {
    let toml = format!(
        "kind = \"pkcs11\"\nmodule = \"{}\"\ntoken = \"{}\"\npin_file = \"{}\"\nlanes = 2",
        token.module.display(),
        token.label,
        token.pin_file.display()
    );
    toml::from_str(&toml).unwrap()
}

async fn keeps_the_contract(device: Device, reopen: impl Fn() -> Device) {
    assert!(device.list().await.unwrap().keys.is_empty());
    let mut keys = Vec::new();
    for algorithm in device.facts().algorithms.clone() {
        keys.push(make(&device, algorithm).await);
    }
    assert_eq!(ids(&keys).len(), keys.len());
    lists(&device, &keys).await;
    for key in &keys {
        computes(&device, key).await;
        refuses_what_is_not_its_own(&device, key).await;
    }
    buries(&device).await;
    imports(&device).await;
    under_load(&device, &keys).await;
    destroys(&device).await;
    if device.facts().kind == "pkcs11" {
        make_at_once(&device, &reopen()).await;
    }

    let description = device.facts().description.clone();
    drop(device);
    let device = reopen();
    assert_eq!(device.facts().description, description);
    lists(&device, &keys).await;
    for key in &keys {
        computes(&device, key).await;
    }
}

fn ids(keys: &[StoredKey]) -> HashSet<KeyId> {
    keys.iter().map(|key| key.id.clone()).collect()
}

pub(crate) async fn make(device: &Device, algorithm: RingAlgorithm) -> StoredKey {
    let purpose = match algorithm {
        RingAlgorithm::Signature(_) => "id-token",
        RingAlgorithm::Decryption(_) => "request-object",
        RingAlgorithm::Seal => "seal",
        RingAlgorithm::Mac => "mac",
    };
    let label = Label {
        ring: format!("{purpose}/{}", algorithm.as_str()).parse().unwrap(),
        generation: 1,
        created: 1_700_000_000,
    };
    let key = device.generate(&label).await.unwrap();
    assert_eq!(key.label, label);
    assert!(!key.id.0.is_empty());
    assert_eq!(key.defects, [""; 0], "{label}");
    let is_secret = matches!(algorithm, RingAlgorithm::Seal | RingAlgorithm::Mac);
    assert_eq!(key.public.is_none(), is_secret);
    key
}

async fn lists(device: &Device, keys: &[StoredKey]) {
    let listing = device.list().await.unwrap();
    assert_eq!(listing.strange, [""; 0]);
    assert_eq!(listing.keys.len(), keys.len());
    for key in keys {
        let listed = listing
            .keys
            .iter()
            .find(|listed| listed.id == key.id)
            .unwrap();
        assert_eq!(listed.label, key.label);
        assert_eq!(listed.public, key.public, "{}", key.label);
        assert_eq!(listed.defects, [""; 0], "{}", key.label);
    }
}

async fn buries(device: &Device) {
    let tombstone = |reason, at| Tombstone {
        kid: "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs".to_owned(),
        ring: "id-token/ES256".parse().unwrap(),
        generation: 1,
        created: 1_700_000_000,
        reason,
        at,
        was_active: true,
        note: "lost — \"laptop\"".to_owned(),
    };
    let all = [
        tombstone(TombstoneReason::Disabled, 1_700_000_001),
        tombstone(TombstoneReason::Enabled, 1_700_000_002),
        tombstone(TombstoneReason::Revoked, 1_700_000_002),
    ];
    for tombstone in &all {
        device.bury(tombstone).await.unwrap();
    }
    let mut listed = device.list().await.unwrap().tombstones;
    listed.sort_by_key(|tombstone| (tombstone.at, tombstone.reason == TombstoneReason::Revoked));
    assert_eq!(listed, all);
}

/// Two that make keys at the same time in one token. SoftHSM fails then, and is asked again.
async fn make_at_once(one: &Device, other: &Device) {
    let before = ids(&one.list().await.unwrap().keys);
    let es256 = RingAlgorithm::Signature(SignatureAlgorithm::Es256);
    let (a, b, c, d) = tokio::join!(
        make(one, es256),
        make(other, es256),
        make(one, es256),
        make(other, es256)
    );
    let made = ids(&[a, b, c, d]);
    assert_eq!(made.len(), 4);
    let listed = ids(&one.list().await.unwrap().keys);
    assert_eq!(listed, before.union(&made).cloned().collect());
    for key in &made {
        other.destroy(key).await.unwrap();
    }
}

/// Others' public keys: as they were, each once however often it is said, and gone when they are forgotten.
async fn imports(device: &Device) {
    let key = |kid: &str, until| {
        Imported {
        kid: kid.to_owned(),
        ring: "id-token/ES256".parse().unwrap(),
        // RFC 7515 A.3.1.
        public: Jwk::parse(br#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#)
            .unwrap()
            .public,
        at: 1_700_000_000,
        until,
    }
    };
    let all = [
        key("public:theirs/1", 1_800_000_000),
        key("theirs", 1_800_000_000),
    ];
    for key in &all {
        device.import(key).await.unwrap();
    }
    let mut listed = device.list().await.unwrap();
    listed.imported.sort_by(|a, b| a.kid.cmp(&b.kid));
    assert_eq!(listed.imported, all);
    assert_eq!(listed.strange, [""; 0]);
    device.import(&all[0]).await.unwrap();
    // What is gone already needs no deletion.
    for _ in 0..2 {
        device.forget(&all[0]).await.unwrap();
        assert_eq!(device.list().await.unwrap().imported, all[1..]);
    }
}

async fn destroys(device: &Device) {
    let before = ids(&device.list().await.unwrap().keys);
    let es256 = RingAlgorithm::Signature(SignatureAlgorithm::Es256);
    for algorithm in [es256, RingAlgorithm::Seal] {
        let key = make(device, algorithm).await;
        // What is gone already needs no deletion.
        for _ in 0..2 {
            device.destroy(&key.id).await.unwrap();
            let left = device.list().await.unwrap();
            assert_eq!(ids(&left.keys), before, "{}", key.label);
            assert_eq!(left.strange, [""; 0]);
        }
        let input = Bytes::from_static(INPUT);
        let asked = device
            .sign(&key.id, SignatureAlgorithm::Es256, input, None)
            .await;
        assert!(matches!(asked, Err(Error::NoSuchKey)), "{asked:?}");
    }
}

/// Many at once, while keys are made and listed.
async fn under_load(device: &Device, keys: &[StoredKey]) {
    let es256 = RingAlgorithm::Signature(SignatureAlgorithm::Es256);
    let key = keys
        .iter()
        .find(|key| key.label.ring.algorithm() == es256)
        .unwrap();
    let tasks: Vec<_> = (0..100u32)
        .map(|count| {
            let (device, id) = (device.clone(), key.id.clone());
            let input = Bytes::from(count.to_string());
            tokio::spawn(async move {
                if count % 25 == 0 {
                    device.list().await.unwrap();
                }
                let signed = device
                    .sign(&id, SignatureAlgorithm::Es256, input.clone(), None)
                    .await;
                (input, signed.unwrap())
            })
        })
        .collect();
    let mut signatures = HashSet::new();
    for task in tasks {
        let (input, signed) = task.await.unwrap();
        let public = key.public.as_ref().unwrap();
        let verified = signature::verify(SignatureAlgorithm::Es256, public, &input, &signed);
        assert_eq!(
            verified,
            Ok(()),
            "an answer that belongs to another request"
        );
        signatures.insert(signed[..32].to_vec());
    }
    assert_eq!(signatures.len(), 100, "a repeated r");
    assert_eq!(device.queue_length(), 0);
    if device.facts().kind == "pkcs11" {
        let (alg, input) = (SignatureAlgorithm::Es256, Bytes::from_static(INPUT));
        let asked = device.sign(&key.id, alg, input, Some(Instant::now())).await;
        assert!(matches!(asked, Err(Error::DeadlinePassed)), "{asked:?}");
    }
}
