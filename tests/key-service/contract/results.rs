//! What keys compute, checked by other people's code, and what they refuse.

use std::sync::Arc;

use bytes::Bytes;
use key_service::algorithm::{
    ContentEncryption, KeyManagementAlgorithm, RingAlgorithm, SignatureAlgorithm,
};
use key_service::backend::{Curve, Device, Error, KeyId, Point, State, StoredKey};
use key_service::jwe::{self, KeyRef};
use key_service::jwk::{self, Jwk};
use key_service::signature;
use serde_json::Value;

use super::INPUT;
use crate::foreign::{self, Recipient};

/// The key as a JWK, by way of JSON.
fn published(key: &StoredKey) -> Value {
    let public = key.public.as_ref().unwrap();
    let alg = key.label.ring.algorithm().as_str();
    let json = jwk::to_json(public, alg, "sig", &jwk::thumbprint(public));
    serde_json::from_str(&json).unwrap()
}

pub(super) async fn computes(device: &Device, key: &StoredKey) {
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

pub(super) async fn refuses_what_is_not_its_own(device: &Device, key: &StoredKey) {
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
