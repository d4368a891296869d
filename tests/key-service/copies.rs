//! K-8: copies of keys that live in sessions compute what the keys compute, and none outlives its key's use.

use cryptoki::object::{Attribute, ObjectClass};
use cryptoki::session::Session;
use key_service::algorithm::{RingAlgorithm, SignatureAlgorithm};
use key_service::backend::{Device, Error, KeyId, Settings, StoredKey};
use support::softhsm::{SoftHsm, Token};

use crate::contract::{INPUT, keeps_the_contract, make, pkcs11};
use crate::running::{KeyService, sign};
use crate::token::intruder;

fn copying(token: &Token, choice: &str) -> Settings {
    let mut settings = pkcs11(token);
    if let Settings::Pkcs11(settings) = &mut settings {
        let toml = format!("copies = {choice}");
        let mut table: toml::Table = toml.parse().unwrap();
        settings.session_copies = table.remove("copies").unwrap().try_into().unwrap();
    }
    settings
}

/// The copies of this key that sessions of this process hold. Every session of a process sees them.
fn copies(session: &Session, id: &[u8]) -> usize {
    let found = session.find_objects(&[
        Attribute::Class(ObjectClass::PRIVATE_KEY),
        Attribute::Token(false),
        Attribute::Id(id.to_vec()),
    ]);
    found.unwrap().len()
}

#[tokio::test]
async fn a_token_whose_keys_are_copied_keeps_the_contract() {
    let name = "copies::a_token_whose_keys_are_copied_keeps_the_contract";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let settings = copying(&softhsm.token("signet", "1234"), "true");
    let device = Device::open(&settings).unwrap();
    keeps_the_contract(device, || Device::open(&settings).unwrap()).await;
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
        let es256 = RingAlgorithm::Signature(SignatureAlgorithm::Es256);
        let key = make(&device, es256).await;
        let other = make_another(&device, &key).await;
        for key in [&key, &other] {
            signs(&device, key).await.unwrap();
        }
        let session = intruder(&token.label);
        let count = |key: &StoredKey| copies(&session, &key.id.0);
        assert_eq!(count(&key) > 0, is_copied, "session_copies = {choice}");
        device.destroy(&key.id).await.unwrap();
        assert_eq!(count(&key), 0, "destroyed");
        let refused = signs(&device, &key).await;
        assert!(matches!(refused, Err(Error::NoSuchKey)), "{refused:?}");

        // By another program: a listing shows it.
        assert_eq!(count(&other) > 0, is_copied);
        let own =
            session.find_objects(&[Attribute::Token(true), Attribute::Id(other.id.0.to_vec())]);
        for object in own.unwrap() {
            session.destroy_object(object).unwrap();
        }
        assert!(device.list().await.unwrap().keys.is_empty());
        assert_eq!(count(&other), 0, "destroyed by somebody else");
    }
}

async fn make_another(device: &Device, like: &StoredKey) -> StoredKey {
    let mut label = like.label.clone();
    label.generation += 1;
    device.generate(&label).await.unwrap()
}

async fn signs(device: &Device, key: &StoredKey) -> Result<(), Error> {
    // As often as there are lanes, and more.
    for _ in 0..8 {
        device
            .sign(&key.id, SignatureAlgorithm::Es256, INPUT.into(), None)
            .await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_withdrawn_key_leaves_no_copy() {
    let name = "copies::a_withdrawn_key_leaves_no_copy";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let token = softhsm.token("signet", "1234");
    let home = copying(&token, "true");
    let rings = "[[rings]]\nname = \"id-token/ES256\"";
    let service = KeyService::start_at(&home, rings);
    let (mut keys, mut admin) = (service.keys().await, service.admin().await);
    let session = intruder("signet");
    for disable in [false, true] {
        let mut kid = String::new();
        for _ in 0..8 {
            kid = sign(&mut keys, "id-token/ES256", service.now())
                .await
                .unwrap()
                .kid;
        }
        let id = id_of(&service, &kid);
        assert!(copies(&session, &id.0) > 0, "the key that signs");
        let reason = "lost".to_owned();
        if disable {
            let request = proto::v1::DisableKeyRequest { kid, reason };
            admin.disable_key(request).await.unwrap();
        } else {
            let request = proto::v1::RevokeKeyRequest { kid, reason };
            admin.revoke_key(request).await.unwrap();
        }
        assert_eq!(copies(&session, &id.0), 0, "withdrawn");
    }
    tokio::task::spawn_blocking(|| drop(service)).await.unwrap();
}

fn id_of(service: &KeyService, kid: &str) -> KeyId {
    let snapshot = service.running.keyring().snapshot_full();
    let (_, key) = snapshot.key(kid).unwrap();
    key.id.clone()
}
