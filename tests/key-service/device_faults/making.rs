//! Keys that a token fails to make, or makes and then says that it did not.

use std::time::Duration;

use proto::v1::{self, KeyState};
use support::softhsm::SoftHsm;
use tonic::Code;

use super::values::{DEVICE, GENERATE, SESSION};
use super::{Faulty, RING};
use crate::running::LEAD;

/// Asks for another key.
async fn rotate(faulty: &Faulty) -> Result<(), Code> {
    let request = v1::RotateKeyRequest {
        ring: RING.to_owned(),
        dry_run: false,
    };
    let rotated = faulty.service.admin().await.rotate_key(request).await;
    rotated.map(drop).map_err(|status| status.code())
}

#[tokio::test]
async fn each_return_value_of_c_generate_key_pair() {
    let name = "device_faults::making::each_return_value_of_c_generate_key_pair";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let mut faulty = Faulty::start(&softhsm.token("signet", "1234"), &[RING]).await;
    for (value, name, _) in [DEVICE, SESSION, GENERATE].concat() {
        let row = format!("C_GenerateKeyPair CKR_{name}");
        let fault = format!("C_GenerateKeyPair error {value:#x}");
        faulty.control.set(&fault).unwrap();
        assert_eq!(rotate(&faulty).await, Err(Code::Unavailable), "{row}");
        faulty.control.clear().unwrap();
        faulty.resumes(&row).await;
    }
    // None of them was made, and nothing stands in the way of the next.
    rotate(&faulty).await.unwrap();
    assert_eq!(generations(&faulty).await, [1, 2, 3]);
    faulty.is_audited();
}

async fn all(faulty: &Faulty) -> Vec<v1::Key> {
    let request = v1::ListKeysRequest::default();
    let answer = faulty.service.admin().await.list_keys(request).await;
    answer.unwrap().into_inner().keys
}

async fn generations(faulty: &Faulty) -> Vec<u64> {
    let mut generations: Vec<u64> = all(faulty).await.iter().map(|key| key.generation).collect();
    generations.sort_unstable();
    generations
}

/// A key that was made although the token said no, and one that was made but could not be tried: none of them is half a
/// key, of each generation one signs at most, and relying parties verify whatever is signed.
#[tokio::test]
async fn a_key_that_was_half_made_does_no_harm() {
    let name = "device_faults::making::a_key_that_was_half_made_does_no_harm";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let mut faulty = Faulty::start(&softhsm.token("signet", "1234"), &[RING]).await;
    for fault in [
        "C_GenerateKeyPair error 0x30 late",
        "C_GenerateKeyPair error 0x5 late times 1",
        "C_GenerateKeyPair error 0xb3 late times 1",
        "C_Sign error 0x30",
        "C_Sign flip",
    ] {
        faulty.control.set(fault).unwrap();
        // It may be hidden by another attempt, or refused.
        if let Err(code) = rotate(&faulty).await {
            assert_eq!(code, Code::Unavailable, "{fault}");
        }
        faulty.control.clear().unwrap();
        faulty.resumes(fault).await;
        let _ = faulty.service.running.keyring().reload().await;
        faulty.resumes(fault).await;

        let keys = all(&faulty).await;
        for generation in keys.iter().map(|key| key.generation) {
            let may_sign = keys.iter().filter(|key| {
                key.generation == generation
                    && [KeyState::Active, KeyState::Next].contains(&key.state())
            });
            assert!(may_sign.count() <= 1, "{fault}: generation {generation}");
        }
        // Long after: whatever signs by then is published, and verifies.
        let lead = Duration::from_secs(LEAD.unsigned_abs() + 60);
        faulty.service.clock.advance(lead);
        faulty.service.running.keyring().refresh();
        faulty.resumes(fault).await;
    }
    faulty.is_audited();
}
