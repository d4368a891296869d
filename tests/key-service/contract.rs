//! What every home of keys must do alike. The same checks over software keys and over a SoftHSM token; results are
//! checked by other people's code.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use key_service::algorithm::{
    ContentEncryption, KeyManagementAlgorithm, RingAlgorithm, SignatureAlgorithm,
};
use key_service::backend::{
    Curve, Device, Error, KeyId, Label, Point, Settings, State, StoredKey, Tombstone,
    TombstoneReason,
};
use key_service::jwe::{self, KeyRef};
use key_service::jwk::{self, Jwk};
use key_service::signature;
use serde_json::Value;
use support::softhsm::{self, SoftHsm, Token};

use crate::foreign::{self, Recipient};

pub(crate) const INPUT: &[u8] = b"eyJhbGciOiJFUzI1NiJ9.e30";

#[tokio::test]
async fn software_keys_keep_the_contract() {
    let folder = tempfile::tempdir().unwrap();
    let settings = software(folder.path());
    let device = Device::open(&settings).unwrap();
    assert_eq!(device.facts().gaps, [""; 0]);
    assert_eq!(device.facts().algorithms.len(), 14);
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
    // SoftHSM 2.6.1 knows RSA-OAEP with SHA-1 only.
    let [gap] = device.facts().gaps.as_slice() else {
        panic!("{:?}", device.facts().gaps);
    };
    assert!(gap.starts_with("RSA-OAEP-256: "), "{gap}");
    assert_eq!(device.facts().algorithms.len(), 13);
    assert_eq!(device.facts().location, "SoftHSM v2 token \"signet\"");
    keeps_the_contract(device, || Device::open(&settings).unwrap()).await;
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
        softhsm::MODULE,
        token.label,
        token.pin_file.display()
    );
    toml::from_str(&toml).unwrap()
}

async fn keeps_the_contract(device: Device, reopen: impl FnOnce() -> Device) {
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
    under_load(&device, &keys).await;

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
        RingAlgorithm::KeyManagement(_) => "request-object",
        RingAlgorithm::Seal => "seal",
    };
    let label = Label {
        ring: format!("{purpose}/{}", algorithm.as_str()).parse().unwrap(),
        generation: 1,
        created: 1_700_000_000,
    };
    let key = device.generate(&label).await.unwrap();
    assert_eq!(key.label, label);
    assert_eq!(key.id.0.len(), 16);
    assert_eq!(key.defects, [""; 0], "{label}");
    assert_eq!(key.public.is_some(), algorithm != RingAlgorithm::Seal);
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

/// The key as a JWK, by way of JSON.
fn published(key: &StoredKey) -> Value {
    let public = key.public.as_ref().unwrap();
    let alg = key.label.ring.algorithm().as_str();
    let json = jwk::to_json(public, alg, "sig", &jwk::thumbprint(public));
    serde_json::from_str(&json).unwrap()
}

async fn computes(device: &Device, key: &StoredKey) {
    match key.label.ring.algorithm() {
        RingAlgorithm::Signature(algorithm) => signs(device, key, algorithm).await,
        RingAlgorithm::KeyManagement(algorithm) => opens(device, key, algorithm).await,
        RingAlgorithm::Seal => seals(device, key).await,
    }
}

async fn signs(device: &Device, key: &StoredKey, algorithm: SignatureAlgorithm) {
    let input = Bytes::from_static(INPUT);
    let signed = device.sign(&key.id, algorithm, input, None).await.unwrap();
    assert!(
        foreign::verifies(algorithm, &published(key), INPUT, &signed),
        "{algorithm}"
    );
    assert!(
        !foreign::verifies(algorithm, &published(key), b"other", &signed),
        "{algorithm}"
    );
    let public = key.public.as_ref().unwrap();
    assert_eq!(signature::verify(algorithm, public, INPUT, &signed), Ok(()));
    // As long as a request may be.
    let long = Bytes::from(vec![b'x'; 70_000]);
    let signed = device
        .sign(&key.id, algorithm, long.clone(), None)
        .await
        .unwrap();
    assert!(
        foreign::verifies(algorithm, &published(key), &long, &signed),
        "{algorithm}"
    );
    device.probe(&key.id, algorithm).await.unwrap();
}

async fn opens(device: &Device, key: &StoredKey, algorithm: KeyManagementAlgorithm) {
    let jwk = published(key);
    let kid: Arc<str> = jwk["kid"].as_str().unwrap().into();
    let find = |wanted: Option<&str>, alg| {
        let fits = alg == algorithm && wanted.is_none_or(|wanted| wanted == &*kid);
        let id = key.id.clone();
        let kid = Arc::clone(&kid);
        fits.then_some(KeyRef { id, kid }).into_iter().collect()
    };
    for encryption in [ContentEncryption::A128Gcm, ContentEncryption::A256Gcm] {
        let token = foreign::encrypt(algorithm, encryption, &jwk, b"{}");
        let opened = jwe::open(device, &token, None, find).await.unwrap();
        assert_eq!(
            &**opened.plaintext,
            b"{}",
            "{algorithm} {}",
            encryption.as_str()
        );

        // Every segment, changed in its first and last octet.
        for at in 1..5 {
            for end in [0, usize::MAX] {
                let changed = change(&token, at, end);
                let error = jwe::open(device, &changed, None, find).await.unwrap_err();
                assert!(matches!(error, jwe::Error::Undecryptable), "{at}: {error}");
            }
        }
    }
    assert_eq!(device.state(), State::Up);
    if algorithm == KeyManagementAlgorithm::EcdhEs {
        return;
    }
    for wrong in [
        &b""[..],
        b"x",
        &[0; 256],
        &[0xff; 256],
        &[1; 255],
        &[1; 257],
        &[1; 512],
    ] {
        let asked = device
            .unwrap_key(&key.id, algorithm, wrong.to_vec(), None)
            .await;
        assert!(matches!(asked, Err(Error::Undecryptable)), "{asked:?}");
    }
    assert_eq!(device.state(), State::Up);
}

/// The token with one bit of a segment's first or last octet changed.
fn change(token: &str, segment: usize, end: usize) -> String {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let mut segments: Vec<String> = token.split('.').map(str::to_owned).collect();
    let mut octets = URL_SAFE_NO_PAD.decode(&segments[segment]).unwrap();
    match octets.len() {
        0 => octets.push(1),
        length => octets[end.min(length - 1)] ^= 1,
    }
    segments[segment] = URL_SAFE_NO_PAD.encode(octets);
    segments.join(".")
}

async fn seals(device: &Device, key: &StoredKey) {
    let own = KeyRef {
        id: key.id.clone(),
        kid: "own".into(),
    };
    let find = |kid: &str| (kid == "own").then(|| key.id.clone());
    let secret = || b"secret".to_vec().into();
    let token = jwe::seal(device, &own, "client \"x\"", secret(), None)
        .await
        .unwrap();
    let again = jwe::seal(device, &own, "client \"x\"", secret(), None)
        .await
        .unwrap();
    assert_ne!(token, again);
    let opened = jwe::unseal(device, &token, "client \"x\"", None, find)
        .await
        .unwrap();
    assert_eq!(&**opened, b"secret");
    for (token, context) in [
        (token.clone(), ""),
        (token.clone(), "client \"X\""),
        (change(&token, 1, 0), "client \"x\""),
        (change(&token, 2, 0), "client \"x\""),
        (change(&token, 3, 0), "client \"x\""),
        (change(&token, 4, 0), "client \"x\""),
        (change(&token, 0, 20), "client \"x\""),
    ] {
        let error = jwe::unseal(device, &token, context, None, find)
            .await
            .unwrap_err();
        assert!(matches!(error, jwe::Error::Undecryptable), "{error}");
    }
    let aad = b"aad".to_vec();
    let sealed = device
        .seal(&key.id, [1; 12], aad.clone(), secret(), None)
        .await
        .unwrap();
    assert_eq!(sealed.len(), 6 + 16);
    for (nonce, aad, sealed) in [
        ([2; 12], aad.clone(), sealed.clone()),
        ([1; 12], b"other".to_vec(), sealed.clone()),
        ([1; 12], aad.clone(), sealed[..21].to_vec()),
        ([1; 12], aad, Vec::new()),
    ] {
        let asked = device.unseal(&key.id, nonce, aad, sealed, None).await;
        assert!(matches!(asked, Err(Error::Undecryptable)), "{asked:?}");
    }
    assert_eq!(device.state(), State::Up);
}

async fn refuses_what_is_not_its_own(device: &Device, key: &StoredKey) {
    let own = key.label.ring.algorithm();
    let point = Point {
        sec1: BASE_POINT.to_vec(),
    };
    let nobody = KeyId(vec![0; 16].into());
    for id in [&key.id, &nobody] {
        let expected = |algorithm: RingAlgorithm, result: Result<(), Error>| match result {
            Err(Error::NoSuchKey) => true,
            Err(Error::Unsupported) => *id == key.id,
            _ => algorithm == own && *id == key.id,
        };
        for alg in SignatureAlgorithm::ALL {
            let asked = device
                .sign(id, *alg, Bytes::from_static(INPUT), None)
                .await
                .map(drop);
            assert!(
                expected(RingAlgorithm::Signature(*alg), asked),
                "{alg} {}",
                key.label
            );
        }
        for alg in [
            KeyManagementAlgorithm::RsaOaep,
            KeyManagementAlgorithm::RsaOaep256,
        ] {
            let asked = device
                .unwrap_key(id, alg, vec![1; 256], None)
                .await
                .map(drop);
            assert!(
                expected(RingAlgorithm::KeyManagement(alg), asked),
                "{alg} {}",
                key.label
            );
        }
        let asked = device
            .agree(id, Curve::P256, point.clone(), None)
            .await
            .map(drop);
        let ecdh = RingAlgorithm::KeyManagement(KeyManagementAlgorithm::EcdhEs);
        assert!(expected(ecdh, asked), "{}", key.label);
        let asked = device
            .seal(id, [0; 12], Vec::new(), Vec::new().into(), None)
            .await
            .map(drop);
        assert!(expected(RingAlgorithm::Seal, asked), "{}", key.label);
    }
}

/// P-256's generator (SEC 2 §2.4.2).
const BASE_POINT: [u8; 65] = [
    0x04, 0x6b, 0x17, 0xd1, 0xf2, 0xe1, 0x2c, 0x42, 0x47, 0xf8, 0xbc, 0xe6, 0xe5, 0x63, 0xa4, 0x40,
    0xf2, 0x77, 0x03, 0x7d, 0x81, 0x2d, 0xeb, 0x33, 0xa0, 0xf4, 0xa1, 0x39, 0x45, 0xd8, 0x98, 0xc2,
    0x96, 0x4f, 0xe3, 0x42, 0xe2, 0xfe, 0x1a, 0x7f, 0x9b, 0x8e, 0xe7, 0xeb, 0x4a, 0x7c, 0x0f, 0x9e,
    0x16, 0x2b, 0xce, 0x33, 0x57, 0x6b, 0x31, 0x5e, 0xce, 0xcb, 0xb6, 0x40, 0x68, 0x37, 0xbf, 0x51,
    0xf5,
];

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

#[test]
fn what_is_encrypted_for_others_can_be_read_by_them() {
    let (rsa, ec) = (Recipient::rsa(), Recipient::ec());
    for algorithm in KeyManagementAlgorithm::ALL.iter().copied() {
        let (theirs, other) = match algorithm {
            KeyManagementAlgorithm::EcdhEs => (&ec, &rsa),
            _ => (&rsa, &ec),
        };
        let jwk = Jwk::parse(theirs.jwk().to_string().as_bytes()).unwrap();
        for encryption in [ContentEncryption::A128Gcm, ContentEncryption::A256Gcm] {
            let encrypt = |cty| jwe::encrypt(&jwk, algorithm, encryption, cty, b"text").unwrap();
            let (header, plaintext) = theirs.decrypt(&encrypt(Some("JWT")));
            assert_eq!(plaintext, b"text");
            assert_eq!(header["cty"], "JWT");
            assert_eq!(header["kid"], "theirs");
            assert_eq!(theirs.decrypt(&encrypt(None)).0.get("cty"), None);
            let jwk = Jwk::parse(other.jwk().to_string().as_bytes()).unwrap();
            let wrong = jwe::encrypt(&jwk, algorithm, encryption, None, b"text");
            assert!(matches!(wrong, Err(jwe::Error::Unsupported)));
        }
    }
    let mut signing = rsa.jwk();
    signing["use"] = "sig".into();
    let jwk = Jwk::parse(signing.to_string().as_bytes()).unwrap();
    let (alg, enc) = (KeyManagementAlgorithm::RsaOaep, ContentEncryption::A128Gcm);
    assert!(matches!(
        jwe::encrypt(&jwk, alg, enc, None, b""),
        Err(jwe::Error::Unsupported)
    ));
}
