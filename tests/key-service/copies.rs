//! K-3: a copy of a key that lives in a session does not outlive the key's use.
//!
//! SoftHSM copies no key whose attributes may not change, which ours may not; so for it keys are made as another program
//! would. kryoptic copies ours.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::Session;
use key_service::algorithm::{RingAlgorithm, SignatureAlgorithm};
use key_service::backend::{Device, Error, KeyId, Settings};
use support::kryoptic::Kryoptic;
use support::softhsm::{SoftHsm, Token};

use crate::contract::{self, INPUT, pkcs11};
use crate::running::{KeyService, sign};
use crate::token::intruder;

pub(crate) fn copying(token: &Token, choice: &str) -> Settings {
    let mut settings = pkcs11(token);
    if let Settings::Pkcs11(settings) = &mut settings {
        let toml = format!("copies = {choice}");
        let mut table: toml::Table = toml.parse().unwrap();
        settings.session_copies = table.remove("copies").unwrap().try_into().unwrap();
    }
    settings
}

/// The copies of this key that sessions of this process hold. Every session of a process sees them.
fn copies(session: &Session, key: &KeyId) -> usize {
    let found = session.find_objects(&[
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::Token(false),
        Attribute::Id(key.0.to_vec()),
    ]);
    found.unwrap().len()
}

/// Makes a key that is as ours are, but for one attribute: it may be changed.
fn make(session: &Session, generation: u8) -> KeyId {
    let id = [generation; 16];
    let names = [
        Attribute::Token(true),
        Attribute::Label(format!("k1/id-token/ES256/{generation}/1700000000").into_bytes()),
        Attribute::Id(id.to_vec()),
    ];
    let p256 = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    let public = [Attribute::EcParams(p256.to_vec()), Attribute::Verify(true)];
    let private = [
        Attribute::Private(true),
        Attribute::Sensitive(true),
        Attribute::Extractable(false),
        Attribute::Sign(true),
        Attribute::Decrypt(false),
        Attribute::Derive(false),
        Attribute::Unwrap(false),
        Attribute::SignRecover(false),
    ];
    let (public, private) = (
        [&names[..], &public].concat(),
        [&names[..], &private].concat(),
    );
    let mechanism = Mechanism::EccKeyPairGen;
    session
        .generate_key_pair(&mechanism, &public, &private)
        .unwrap();
    KeyId(id.to_vec().into())
}

async fn signs(device: &Device, key: &KeyId) -> Result<(), Error> {
    // As often as there are lanes, and more.
    for _ in 0..8 {
        let (alg, input) = (SignatureAlgorithm::Es256, INPUT.into());
        device.sign(key, alg, input, None).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_copy_is_made_where_it_is_wanted_and_goes_with_its_key() {
    let name = "copies::a_copy_is_made_where_it_is_wanted_and_goes_with_its_key";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    for (choice, is_copied) in [("true", true), ("false", false)] {
        let token = softhsm.token(choice, "1234");
        let device = Device::open(&copying(&token, choice)).unwrap();
        let session = intruder(&token);
        let keys = [1, 2, 3].map(|generation| make(&session, generation));
        let listing = device.list().await.unwrap();
        assert!(listing.keys.iter().all(|key| key.defects.is_empty()));
        for key in &keys {
            signs(&device, key).await.unwrap();
            assert_eq!(copies(&session, key) > 0, is_copied, "{choice}");
        }
        let [key, other, last] = keys;
        device.destroy(&key).await.unwrap();
        assert_eq!(copies(&session, &key), 0, "destroyed");
        let refused = signs(&device, &key).await;
        assert!(matches!(refused, Err(Error::NoSuchKey)), "{refused:?}");

        // By another program: a listing shows it.
        let lasting = [Attribute::Token(true), Attribute::Id(other.0.to_vec())];
        for object in session.find_objects(&lasting).unwrap() {
            session.destroy_object(object).unwrap();
        }
        assert_eq!(device.list().await.unwrap().keys.len(), 1);
        assert_eq!(copies(&session, &other), 0, "destroyed by somebody else");
        let refused = signs(&device, &other).await;
        assert!(matches!(refused, Err(Error::NoSuchKey)), "{refused:?}");

        // The one that is left keeps what it has, until the device is closed.
        assert_eq!(copies(&session, &last) > 0, is_copied, "{choice}");
        drop(device);
        assert_eq!(copies(&session, &last), 0, "closed");
    }
}

#[tokio::test]
async fn a_withdrawn_key_leaves_no_copy() {
    let name = "copies::a_withdrawn_key_leaves_no_copy";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let token = softhsm.token("signet", "1234");
    let home = copying(&token, "true");
    // For its login, which is the whole process'.
    let device = Device::open(&home).unwrap();
    let session = intruder(&token);
    let mut expected = [1, 2]
        .map(|generation| make(&session, generation))
        .into_iter();
    let rings = "[[rings]]\nname = \"id-token/ES256\"";
    let service = KeyService::start_at(&home, rings);
    let (mut keys, mut admin) = (service.keys().await, service.admin().await);
    for disable in [false, true] {
        let key = expected.next().unwrap();
        let mut kid = String::new();
        for _ in 0..8 {
            let signed = sign(&mut keys, "id-token/ES256", service.now()).await;
            kid = signed.unwrap().kid;
        }
        assert!(copies(&session, &key) > 0, "the key that signs");
        let reason = "lost".to_owned();
        if disable {
            let request = proto::v1::DisableKeyRequest { kid, reason };
            admin.disable_key(request).await.unwrap();
        } else {
            let request = proto::v1::RevokeKeyRequest { kid, reason };
            admin.revoke_key(request).await.unwrap();
        }
        assert_eq!(copies(&session, &key), 0, "withdrawn");
    }
    // And the next one signs, although it cannot be copied.
    sign(&mut keys, "id-token/ES256", service.now())
        .await
        .unwrap();
    let done = tokio::task::spawn_blocking(|| drop((service, device)));
    done.await.unwrap();
}

#[tokio::test]
async fn our_own_keys_are_copied_in_kryoptic() {
    let name = "copies::our_own_keys_are_copied_in_kryoptic";
    let Some(kryoptic) = Kryoptic::in_own_process(name) else {
        return;
    };
    let token = kryoptic.token("signet", "1234");
    let device = Device::open(&copying(&token, "true")).unwrap();
    let session = intruder(&token);
    let es256 = RingAlgorithm::Signature(SignatureAlgorithm::Es256);
    let key = contract::make(&device, es256).await;
    // One that stays: a token that shows none any more has vanished.
    let other = contract::make(&device, es256).await;
    for key in [&key, &other] {
        signs(&device, &key.id).await.unwrap();
        assert!(copies(&session, &key.id) > 0);
    }
    device.destroy(&key.id).await.unwrap();
    assert_eq!(copies(&session, &key.id), 0);
    let refused = signs(&device, &key.id).await;
    assert!(matches!(refused, Err(Error::NoSuchKey)), "{refused:?}");
    assert!(copies(&session, &other.id) > 0);
}
