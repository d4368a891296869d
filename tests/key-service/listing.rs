//! S0-1: what a listing asks a token that others use too.

use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
use cryptoki::error::{Error, RvError};
use cryptoki::mechanism::Mechanism;
use cryptoki::object::{Attribute, ObjectClass, ObjectHandle};
use cryptoki::session::{Session, UserType};
use cryptoki::types::AuthPin;
use fault_token::Control;
use key_service::backend::{Device, KeyId, Label, Listing};
use support::softhsm::{self, SoftHsm, Token};

use crate::contract::pkcs11;
use crate::device_faults::faulty;

/// Somebody else's keys in the same token, and the session in which they can be changed.
pub(crate) fn crowd(token: &Token, count: u32) -> Session {
    let module = Pkcs11::new(softhsm::MODULE).unwrap();
    // Somebody in this process may have begun already.
    let _ = module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    let slots = module.get_slots_with_initialized_token().unwrap();
    let is_it =
        |slot: &cryptoki::slot::Slot| module.get_token_info(*slot).unwrap().label() == token.label;
    let slot = slots.into_iter().find(is_it).unwrap();
    let session: Session = module.open_rw_session(slot).unwrap();
    let pin = AuthPin::new("1234".into());
    let login = session.login(UserType::User, Some(&pin));
    let is_in = |error: &Error| matches!(error, Error::Pkcs11(RvError::UserAlreadyLoggedIn, _));
    assert!(login.as_ref().err().is_none_or(is_in), "{login:?}");
    let p256 = [0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    for number in 0..count {
        let names = [
            Attribute::Token(true),
            Attribute::Label(format!("somebody's {number}").into_bytes()),
            Attribute::Id(number.to_be_bytes().to_vec()),
        ];
        let public = [&names[..], &[Attribute::EcParams(p256.to_vec())]].concat();
        session
            .generate_key_pair(&Mechanism::EccKeyPairGen, &public, &names)
            .unwrap();
    }
    session
}

fn label(generation: u64) -> Label {
    format!("k1/id-token/ES256/{generation}/1").parse().unwrap()
}

/// How often a listing calls for attributes, and what it finds.
async fn reads(device: &Device, control: &Control) -> (u64, Listing) {
    let before = control.calls("C_GetAttributeValue");
    let listing = device.list().await.unwrap();
    (control.calls("C_GetAttributeValue") - before, listing)
}

/// Two devices on a token with 40 keys of somebody else.
fn in_a_crowd(softhsm: &SoftHsm) -> (Control, [Device; 2], Session) {
    let plain = softhsm.token("signet", "1234");
    let (control, token) = faulty(&plain);
    let devices = [(); 2].map(|()| Device::open(&pkcs11(&token)).unwrap());
    (control, devices, crowd(&plain, 40))
}

fn ids(listing: &Listing) -> Vec<&KeyId> {
    listing.keys.iter().map(|key| &key.id).collect()
}

#[tokio::test]
async fn it_reads_no_more_beside_many_keys() {
    let name = "listing::it_reads_no_more_beside_many_keys";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let plain = softhsm.token("signet", "1234");
    let (control, token) = faulty(&plain);
    let device = Device::open(&pkcs11(&token)).unwrap();
    let made = device.generate(&label(1)).await.unwrap();
    let mut seen = Vec::new();
    for more in [40, 80] {
        drop(crowd(&plain, more));
        for _ in 0..2 {
            let (calls, listing) = reads(&device, &control).await;
            assert!(calls >= u64::from(2 * more), "what is new: {calls}");
            assert_eq!(ids(&listing), [&made.id]);
        }
        for _ in 0..3 {
            let (calls, listing) = reads(&device, &control).await;
            assert_eq!(ids(&listing), [&made.id]);
            seen.push(calls);
        }
    }
    assert!(seen.iter().all(|calls| *calls == seen[0]), "{seen:?}");
    // 16 of each class, twice for what has a length of its own, and our key.
    assert!(seen[0] <= 80, "{seen:?}");
}

#[tokio::test]
async fn what_is_new_or_becomes_ours_is_found_among_many() {
    let name = "listing::what_is_new_or_becomes_ours_is_found_among_many";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let (control, [device, other], session) = in_a_crowd(&softhsm);
    for _ in 0..2 {
        assert!(reads(&device, &control).await.1.keys.is_empty());
    }

    // A key that another one made, at once.
    let made = other.generate(&label(1)).await.unwrap();
    let (_, listing) = reads(&device, &control).await;
    assert_eq!(ids(&listing), [&made.id]);

    // A second public key with its id: none can be told to be its own.
    let find = |class, number: u32| -> ObjectHandle {
        let id = Attribute::Id(number.to_be_bytes().to_vec());
        let found = session.find_objects(&[Attribute::Class(class), id]);
        found.unwrap()[0]
    };
    let public = find(ObjectClass::PUBLIC_KEY, 33);
    let id = Attribute::Id(made.id.0.to_vec());
    session.update_attributes(public, &[id]).unwrap();
    // A label that only this service gives.
    let private = find(ObjectClass::PRIVATE_KEY, 7);
    let own = Attribute::Label(b"k1/what is this".to_vec());
    session.update_attributes(private, &[own]).unwrap();
    // 40 of each class, of which 16 are read again each time.
    for _ in 0..2 {
        device.list().await.unwrap();
    }
    let (_, listing) = reads(&device, &control).await;
    assert_eq!(
        listing.keys[0].defects,
        ["without one public key of its own"]
    );
    assert_eq!(listing.strange, ["k1/what is this"]);
}

#[tokio::test]
async fn what_could_not_be_read_once_is_no_stranger() {
    let name = "listing::what_could_not_be_read_once_is_no_stranger";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let (control, [device, other], session) = in_a_crowd(&softhsm);
    let made = other.generate(&label(1)).await.unwrap();
    // CKR_ATTRIBUTE_TYPE_INVALID: an answer like any other, of which each attribute is missing.
    control.set("C_GetAttributeValue error 0x12").unwrap();
    let (_, listing) = reads(&device, &control).await;
    assert!(listing.keys.is_empty());
    control.clear().unwrap();
    let (_, listing) = reads(&device, &control).await;
    assert_eq!(ids(&listing), [&made.id]);
    assert_eq!(listing.keys[0].defects, [""; 0]);
    drop(session);
}
