//! Signatures with a wrong bit, and devices that take their time.

use std::time::{Duration, Instant};

use bytes::Bytes;
use key_service::algorithm::{RingAlgorithm, SignatureAlgorithm};
use key_service::backend::{Device, Error};
use support::softhsm::SoftHsm;
use tonic::Code;

use super::{Faulty, RING, faulty};
use crate::contract::{INPUT, make, pkcs11};
use crate::running::{id_token, item};

/// A fault in the CRT of RSA gives the private key away (Boneh, DeMillo and Lipton, 1997): every RSA signature is verified
/// before it leaves.
#[tokio::test]
async fn a_wrong_rsa_signature_never_leaves() {
    let name = "device_faults::wrong::a_wrong_rsa_signature_never_leaves";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let rings = ["id-token/RS256", "id-token/PS256", RING];
    let mut faulty = Faulty::start(&softhsm.token("signet", "1234"), &rings).await;
    for ring in &rings[..2] {
        for _ in 0..3 {
            faulty.control.set("C_Sign flip").unwrap();
            for _ in 0..3 {
                let refused = faulty.sign(ring).await.unwrap_err();
                assert_eq!(refused.code(), Code::Unavailable, "{ring}");
            }
            faulty.control.clear().unwrap();
            faulty.resumes(ring).await;
            faulty.sign(ring).await.unwrap();
        }
    }
    faulty.is_audited();
}

/// ECDSA signatures are verified by samples: a device that signs wrongly is out of service before long, and stays so
/// while its canary is wrong.
#[tokio::test]
async fn a_device_that_signs_wrongly_is_found_out() {
    let name = "device_faults::wrong::a_device_that_signs_wrongly_is_found_out";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let mut faulty = Faulty::start(&softhsm.token("signet", "1234"), &[RING]).await;
    let mut keys = faulty.service.keys().await;
    let now = faulty.service.now();
    faulty.control.set("C_Sign flip").unwrap();
    let mut released = 0;
    loop {
        let items = vec![item(RING, proto::v1::Profile::IdToken, &id_token(now))];
        match keys.sign(proto::v1::SignRequest { items }).await {
            Ok(_) => released += 1,
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable);
                break;
            }
        }
        // One in 64 for each of two lanes.
        assert!(released < 128, "{released} wrong signatures left");
    }
    faulty.control.clear().unwrap();
    faulty.resumes("the signatures are right again").await;
}

/// A deadline that has passed is answered without the device; one that passes inside the device changes nothing.
#[tokio::test]
async fn a_deadline_counts_until_the_device_is_called() {
    let name = "device_faults::wrong::a_deadline_counts_until_the_device_is_called";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let (control, token) = faulty(&softhsm.token("signet", "1234"));
    let mut settings = pkcs11(&token);
    if let key_service::backend::Settings::Pkcs11(settings) = &mut settings {
        settings.lanes = std::num::NonZeroUsize::new(1);
    }
    let device = Device::open(&settings).unwrap();
    let algorithm = SignatureAlgorithm::Es256;
    let key = make(&device, RingAlgorithm::Signature(algorithm)).await;
    let sign = |limit: Option<u64>| {
        let deadline = limit.map(|limit| Instant::now() + Duration::from_millis(limit));
        device.sign(&key.id, algorithm, Bytes::from_static(INPUT), deadline)
    };
    sign(None).await.unwrap();

    control.set("C_SignInit delay 500").unwrap();
    let before = control.calls("C_SignInit");
    // The first holds the only lane; the second waits for longer than it may, the third may wait.
    let (first, second, third) = tokio::join!(sign(Some(100)), sign(Some(100)), sign(Some(60_000)));
    assert!(first.is_ok(), "the device had been called: {first:?}");
    assert!(matches!(second, Err(Error::DeadlinePassed)), "{second:?}");
    assert!(third.is_ok(), "{third:?}");
    assert_eq!(control.calls("C_SignInit"), before + 2);
}
