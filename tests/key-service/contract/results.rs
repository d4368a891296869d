//! What keys compute, checked by other people's code, and what they refuse.

use std::sync::Arc;

use bytes::Bytes;
use key_service::algorithm::{
    ContentEncryption, DecryptionAlgorithm, KeyManagementAlgorithm, RingAlgorithm,
    SignatureAlgorithm,
};
use key_service::backend::{Curve, Device, Error, KeyId, Peer, PublicKey, State, StoredKey};
use key_service::jwe::{self, KeyRef};
use key_service::jwk::{self, Jwk};
use key_service::signature;
use serde_json::{Value, json};

use super::INPUT;
use crate::foreign::{self, Recipient, Wanted};

/// The key as a JWK, by way of JSON.
fn published(key: &StoredKey) -> Value {
    let public = key.public.as_ref().unwrap();
    let json = jwk::to_json(public, None, "sig", &jwk::thumbprint(public));
    serde_json::from_str(&json).unwrap()
}

pub(super) async fn computes(device: &Device, key: &StoredKey) {
    match key.label.ring.algorithm() {
        RingAlgorithm::Signature(algorithm) => signs(device, key, algorithm).await,
        RingAlgorithm::Decryption(algorithm) => opens(device, key, algorithm).await,
        RingAlgorithm::Seal => seals(device, key).await,
        RingAlgorithm::Mac => macs(device, key).await,
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

/// Every "alg" of which a key can be asked, with every "enc".
fn kinds(
    algorithm: DecryptionAlgorithm,
) -> impl Iterator<Item = (KeyManagementAlgorithm, ContentEncryption)> {
    let algorithms = KeyManagementAlgorithm::ALL.iter().filter(move |alg| {
        **alg == algorithm.alg() || alg.is_agreement() && algorithm.alg().is_agreement()
    });
    algorithms.flat_map(|alg| ContentEncryption::ALL.iter().map(|enc| (*alg, *enc)))
}

async fn opens(device: &Device, key: &StoredKey, algorithm: DecryptionAlgorithm) {
    let jwk = published(key);
    let kid: Arc<str> = jwk["kid"].as_str().unwrap().into();
    let find = |wanted: Option<&str>, alg| {
        let fits = alg == algorithm && wanted.is_none_or(|wanted| wanted == &*kid);
        let id = key.id.clone();
        let kid = Arc::clone(&kid);
        fits.then_some(KeyRef { id, kid }).into_iter().collect()
    };
    let wanted: Vec<Wanted<'_>> = kinds(algorithm)
        .map(|(alg, enc)| Wanted {
            alg: alg.as_str(),
            enc: enc.as_str(),
            to: &jwk,
            header: json!({ "kid": jwk["kid"] }),
        })
        .collect();
    for (token, Wanted { alg, enc, .. }) in foreign::encrypt(&wanted).iter().zip(&wanted) {
        let opened = jwe::open(device, token, None, find).await.unwrap();
        assert_eq!(
            &**opened.plaintext,
            foreign::PLAINTEXT.as_bytes(),
            "{algorithm} {alg} {enc}"
        );

        // Every segment, changed in its first and last octet.
        for at in 1..5 {
            for end in [0, usize::MAX] {
                let changed = change(token, at, end);
                let error = jwe::open(device, &changed, None, find).await.unwrap_err();
                let is_silent = matches!(error, jwe::Error::Undecryptable);
                assert!(is_silent, "{algorithm} {alg} {enc} {at}: {error}");
            }
        }
    }
    assert_eq!(device.state(), State::Up);
    if algorithm.alg().is_agreement() {
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

/// The key is nobody's to compute with, so the MACs are held against each other.
async fn macs(device: &Device, key: &StoredKey) {
    let long = Bytes::from(vec![b'x'; 70_000]);
    let mut seen = Vec::new();
    for input in [&b"a"[..], b"b", b"", INPUT, &long] {
        let mac = || device.mac(&key.id, Bytes::copy_from_slice(input), None);
        let first = mac().await.unwrap();
        assert_eq!(first.len(), 32);
        assert_eq!(mac().await.unwrap(), first);
        assert!(!seen.contains(&first));
        seen.push(first);
    }
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
    let peers = peers();
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
            DecryptionAlgorithm::RsaOaep,
            DecryptionAlgorithm::RsaOaep256,
        ] {
            let asked = device
                .unwrap_key(id, alg, vec![1; 256], None)
                .await
                .map(drop);
            assert!(
                expected(RingAlgorithm::Decryption(alg), asked),
                "{alg} {}",
                key.label
            );
        }
        for peer in &peers {
            let asked = device.agree(id, peer.clone(), None).await.map(drop);
            let ecdh = RingAlgorithm::Decryption(peer.algorithm());
            assert!(expected(ecdh, asked), "{ecdh:?} {}", key.label);
        }
        let asked = device
            .seal(id, [0; 12], Vec::new(), Vec::new().into(), None)
            .await
            .map(drop);
        assert!(expected(RingAlgorithm::Seal, asked), "{}", key.label);
        let asked = device.mac(id, Bytes::from_static(INPUT), None).await;
        assert!(
            expected(RingAlgorithm::Mac, asked.map(drop)),
            "{}",
            key.label
        );
    }
}

/// Somebody's public key on each curve.
fn peers() -> Vec<Peer> {
    use aws_lc_rs::agreement::{ECDH_P256, ECDH_P384, ECDH_P521, PrivateKey, X25519};
    let kinds = [
        (&ECDH_P256, Some(Curve::P256)),
        (&ECDH_P384, Some(Curve::P384)),
        (&ECDH_P521, Some(Curve::P521)),
        (&X25519, None),
    ];
    let peer = |(algorithm, curve)| {
        let key = PrivateKey::generate(algorithm).unwrap();
        let public = key.compute_public_key().unwrap();
        let public = match curve {
            None => PublicKey::X25519 {
                x: public.as_ref().try_into().unwrap(),
            },
            Some(curve) => {
                let (x, y) = public.as_ref()[1..].split_at(Curve::field_length(curve));
                PublicKey::Ec {
                    curve,
                    x: x.to_vec(),
                    y: y.to_vec(),
                }
            }
        };
        Peer::of(&public).unwrap()
    };
    kinds.map(peer).into()
}

/// The secret that somebody shares with us; as long as no key of AES is.
const SECRET: &str = "a client's secret, of a length that is not a key's";

#[test]
fn what_is_encrypted_for_others_can_be_read_by_them() {
    let theirs = Recipient::generate(&[
        ("RSA-OAEP", ""),
        ("RSA-OAEP-256", ""),
        ("ECDH-ES", "P-256"),
        ("ECDH-ES", "P-384"),
        ("ECDH-ES", "P-521"),
        ("ECDH-ES", "X25519"),
    ]);
    let secret = Recipient::with_secret(SECRET);
    let mut tokens = Vec::new();
    for alg in KeyManagementAlgorithm::ALL.iter().copied() {
        for enc in ContentEncryption::ALL.iter().copied() {
            let to = jwe::Recipient::secret(SECRET.as_bytes(), alg, enc);
            assert_eq!(to.is_ok(), alg.is_symmetric(), "{alg}");
            if let Ok(to) = to {
                let token = jwe::encrypt(&to.with_content_type("JWT"), b"text").unwrap();
                tokens.push((&secret, alg, enc, token));
            }
            for (index, recipient) in theirs.iter().enumerate() {
                let jwk = Jwk::parse(recipient.jwk().to_string().as_bytes()).unwrap();
                let to = jwe::Recipient::public(jwk, alg, enc);
                // Any RSA key can do either.
                let fits = match index {
                    0 | 1 => !alg.is_agreement() && !alg.is_symmetric(),
                    _ => alg.is_agreement(),
                };
                assert_eq!(to.is_ok(), fits, "{alg} {index}");
                if let Ok(to) = to {
                    let token = jwe::encrypt(&to.with_content_type("JWT"), b"text").unwrap();
                    tokens.push((recipient, alg, enc, token));
                }
            }
        }
    }
    assert_eq!(tokens.len(), 6 * (2 * 2 + 4 * 4 + 7));
    let given: Vec<_> = tokens
        .iter()
        .map(|(by, _, _, token)| (*by, &**token))
        .collect();
    for ((header, plaintext), (by, alg, enc, _)) in foreign::decrypt(&given).iter().zip(&tokens) {
        assert_eq!(plaintext, b"text", "{alg} {enc}");
        let kid = by.jwk()["kid"].clone();
        let said = (
            &header["alg"],
            &header["enc"],
            &header["cty"],
            &header["kid"],
        );
        let expected = (
            &alg.as_str().into(),
            &enc.as_str().into(),
            &"JWT".into(),
            &kid,
        );
        assert_eq!(said, expected);
    }
    let mut signing = theirs[0].jwk();
    signing["use"] = "sig".into();
    let jwk = Jwk::parse(signing.to_string().as_bytes()).unwrap();
    let (alg, enc) = (KeyManagementAlgorithm::RsaOaep, ContentEncryption::A128Gcm);
    let refused = jwe::Recipient::public(jwk, alg, enc).err();
    assert!(matches!(refused, Some(jwe::Error::Unsupported)));
}
