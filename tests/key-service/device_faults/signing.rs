//! Signing with a token that fails: each return value, once and for as long as it lasts; and tokens that forget.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use proto::v1;
use support::kryoptic::Kryoptic;
use support::softhsm::{SoftHsm, Token};
use tonic::Code;

use super::values::{DEVICE, Once, Row, SESSION, SIGN, SIGN_INIT};
use super::{Faulty, RING, sign_as};
use crate::running::{id_token, item, jwks};

/// One row: the fault once, then until it is over.
async fn row(faulty: &mut Faulty, function: &str, (value, name, once): Row) {
    let row = format!("{function} CKR_{name}");
    let before = faulty.control.faults(function);
    faulty
        .control
        .set(&format!("{function} error {value:#x} times 1"))
        .unwrap();
    let is_answered = faulty.sign_or_not(&row).await;
    if once == Once::Hidden {
        assert!(is_answered, "{row} once");
    }
    assert!(faulty.control.faults(function) > before, "{row} once");
    faulty.resumes(&row).await;

    faulty
        .control
        .set(&format!("{function} error {value:#x}"))
        .unwrap();
    for _ in 0..3 {
        assert!(!faulty.sign_or_not(&row).await, "{row} lasting");
    }
    faulty.control.clear().unwrap();
    faulty.resumes(&row).await;
}

#[tokio::test]
async fn each_return_value_of_c_sign_init() {
    let name = "device_faults::signing::each_return_value_of_c_sign_init";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let mut faulty = Faulty::start(&softhsm.token("signet", "1234"), &[RING]).await;
    faulty.resumes("no fault").await;
    for value in [DEVICE, SESSION, SIGN_INIT].concat() {
        row(&mut faulty, "C_SignInit", value).await;
    }
    faulty.is_audited();
}

#[tokio::test]
async fn each_return_value_of_c_sign() {
    let name = "device_faults::signing::each_return_value_of_c_sign";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let mut faulty = Faulty::start(&softhsm.token("signet", "1234"), &[RING]).await;
    for value in [DEVICE, SESSION, SIGN].concat() {
        row(&mut faulty, "C_Sign", value).await;
    }
    // The device signed, and then said that it did not: the signature is nobody's.
    faulty.control.set("C_Sign error 0x30 late").unwrap();
    assert!(!faulty.sign_or_not("late").await);
    faulty.control.clear().unwrap();
    faulty.resumes("late").await;
    faulty.is_audited();
}

#[tokio::test]
async fn what_softhsm_forgets_is_found_again() {
    let name = "device_faults::signing::what_softhsm_forgets_is_found_again";
    if let Some(softhsm) = SoftHsm::in_own_process(name) {
        forgets(&softhsm.token("signet", "1234")).await;
    }
}

#[tokio::test]
async fn what_kryoptic_forgets_is_found_again() {
    let name = "device_faults::signing::what_kryoptic_forgets_is_found_again";
    if let Some(kryoptic) = Kryoptic::in_own_process(name) {
        forgets(&kryoptic.token("signet", "1234")).await;
    }
}

/// What a token forgets, and whether the caller sees anything of it.
async fn forgets(token: &Token) {
    let mut faulty = Faulty::start(token, &[RING]).await;
    faulty.resumes("no fault").await;
    for lost in [
        "lose sessions",
        "lose objects",
        "lose login",
        "lose sessions\nlose objects",
        "lose sessions\nlose objects\nlose login",
    ] {
        faulty.control.set(lost).unwrap();
        // As many as there are lanes, and more.
        for _ in 0..6 {
            assert!(faulty.sign_or_not(lost).await, "{lost}");
        }
    }
    // The device itself is gone, until the module is started afresh.
    for value in ["0x32", "0xe0", "0x30", "0x190"] {
        let gone = format!("* error {value} until C_Initialize");
        let before = faulty.control.calls("C_Initialize");
        faulty.control.set(&gone).unwrap();
        assert!(!faulty.sign_or_not(&gone).await, "{gone}");
        faulty.resumes(&gone).await;
        assert!(
            faulty.control.calls("C_Initialize") > before,
            "{gone}: without a new start of the module"
        );
    }
    faulty.is_audited();
}

#[tokio::test]
async fn under_load_softhsm_gives_right_answers_or_none() {
    let name = "device_faults::signing::under_load_softhsm_gives_right_answers_or_none";
    if let Some(softhsm) = SoftHsm::in_own_process(name) {
        under_load(&softhsm.token("signet", "1234")).await;
    }
}

#[tokio::test]
async fn under_load_kryoptic_gives_right_answers_or_none() {
    let name = "device_faults::signing::under_load_kryoptic_gives_right_answers_or_none";
    if let Some(kryoptic) = Kryoptic::in_own_process(name) {
        under_load(&kryoptic.token("signet", "1234")).await;
    }
}

async fn under_load(token: &Token) {
    let mut faulty = Faulty::start(token, &[RING]).await;
    let over = Arc::new(AtomicBool::new(false));
    let mut callers = Vec::new();
    for caller in 0..8 {
        let mut keys = faulty.service.keys().await;
        let (now, over) = (faulty.service.now(), Arc::clone(&over));
        callers.push(tokio::spawn(async move {
            let mut answered = Vec::new();
            let mut number = 0;
            while !over.load(Ordering::Relaxed) {
                number += 1;
                let jti = format!("{caller}-{number}");
                match sign_as(&mut keys, RING, now, &jti).await {
                    Ok(()) => answered.push(jti),
                    Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
                }
                tokio::task::yield_now().await;
            }
            answered
        }));
    }
    for round in 0..4 {
        for fault in [
            "lose sessions",
            "lose objects",
            "C_Sign error 0x30 times 3",
            "C_Sign error 0x82 after 5 times 2",
            "C_SignInit error 0xb3 times 4",
            "C_Sign delay 20 times 10",
            "lose login",
            "* error 0x32 until C_Initialize",
            "C_Sign error 0x5 late times 2",
        ] {
            faulty.control.set(fault).unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        faulty.control.clear().unwrap();
        faulty.resumes(&format!("round {round}")).await;
    }
    over.store(true, Ordering::Relaxed);
    for caller in callers {
        let answered = caller.await.unwrap();
        assert!(answered.len() > 10, "{}", answered.len());
        faulty.answered.extend(answered);
    }
    faulty.is_audited();
}

/// What waits for the device while its key is revoked is answered by nobody: the lanes' queue may be long.
#[tokio::test]
async fn what_waited_for_a_revoked_key_does_not_leave() {
    let name = "device_faults::signing::what_waited_for_a_revoked_key_does_not_leave";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let faulty = Faulty::start(&softhsm.token("signet", "1234"), &[RING]).await;
    let (service, now) = (&faulty.service, faulty.service.now());
    let mut keys = service.keys().await;
    let active = jwks(&mut keys).await.keys.into_iter();
    let mut active = active.filter(|key| key.state == i32::from(v1::KeyState::Active));
    let kid = active.next().unwrap().kid;
    faulty.control.set("C_Sign delay 150").unwrap();
    let before = faulty.control.calls("C_Sign");
    let calls = (0..64).map(|_| {
        let mut keys = keys.clone();
        let items = vec![item(RING, v1::Profile::IdToken, &id_token(now))];
        tokio::spawn(async move {
            let answer = keys.sign(v1::SignRequest { items }).await;
            (
                answer.map(|signed| signed.into_inner().items.remove(0).kid),
                Instant::now(),
            )
        })
    });
    let calls: Vec<_> = calls.collect();
    while faulty.control.calls("C_Sign") == before {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let revoke = v1::RevokeKeyRequest {
        kid: kid.clone(),
        reason: "lost".to_owned(),
    };
    service.admin().await.revoke_key(revoke).await.unwrap();
    let revoked = Instant::now();
    let mut waited = 0;
    for call in calls {
        let (answer, at) = call.await.unwrap();
        // One that was on its way already.
        if at < revoked + Duration::from_millis(100) {
            continue;
        }
        waited += 1;
        match answer {
            Ok(signed_by) => assert_ne!(signed_by, kid, "{:?} after it", at - revoked),
            Err(status) => assert_eq!(status.code(), Code::Unavailable, "{status:?}"),
        }
    }
    assert!(waited > 0, "nothing waited for the device");
}
