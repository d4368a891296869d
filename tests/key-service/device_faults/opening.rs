//! Sessions, logins and searches that fail, when a lane must begin again; and PINs, which are tried once.

use std::time::{Duration, Instant};

use key_service::backend::Device;
use support::softhsm::SoftHsm;

use super::values::{DEVICE, FIND, LOGIN, OPEN, Once, PIN};
use super::{Faulty, PATIENCE, RING, faulty};
use crate::contract::pkcs11;

#[tokio::test]
async fn each_return_value_when_a_lane_begins_again() {
    let name = "device_faults::opening::each_return_value_when_a_lane_begins_again";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let mut faulty = Faulty::start(&softhsm.token("signet", "1234"), &[RING]).await;
    faulty.resumes("no fault").await;
    for (lost, function, tables) in [
        ("lose sessions", "C_OpenSession", &[DEVICE, OPEN][..]),
        ("lose sessions", "C_FindObjectsInit", &[DEVICE, FIND]),
        ("lose objects", "C_FindObjects", &[DEVICE, FIND]),
        ("lose objects", "C_FindObjectsFinal", &[DEVICE, FIND]),
        ("lose sessions\nlose login", "C_Login", &[DEVICE, LOGIN]),
    ] {
        for (value, name, once) in tables.concat() {
            let row = format!("{lost:?}, {function} CKR_{name}");
            let fault = format!("{lost}\n{function} error {value:#x}");
            faulty.control.set(&format!("{fault} times 1")).unwrap();
            let is_answered = faulty.sign_or_not(&row).await;
            assert!(is_answered || once == Once::Told, "{row} once");
            faulty.control.clear().unwrap();
            faulty.resumes(&row).await;

            faulty.control.set(&fault).unwrap();
            for _ in 0..3 {
                // A lane that was not asked yet has nothing to open; what it answers is right.
                faulty.sign_or_not(&row).await;
            }
            faulty.control.clear().unwrap();
            faulty.resumes(&row).await;
        }
    }
    faulty.is_audited();
}

/// Whatever is wrong with the PIN, it is tried once: not again by another lane, nor later, nor when it would be right again.
/// That is the decision of a person, who starts the service anew.
#[tokio::test]
async fn a_refused_pin_is_tried_once() {
    let name = "device_faults::opening::a_refused_pin_is_tried_once";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let (mut control, token) = faulty(&softhsm.token("signet", "1234"));
    let settings = pkcs11(&token);
    for (value, name) in PIN {
        // At the start: said with the cause, and not tried again.
        let row = format!("C_Login CKR_{name} at the start");
        let tries = control.calls("C_Login");
        let refused = format!("C_Login error {value:#x}");
        control.set(&format!("lose login\n{refused}")).unwrap();
        let error = Device::open(&settings).unwrap_err().to_string();
        assert!(error.contains("PIN"), "{row}: {error}");
        assert_eq!(control.calls("C_Login"), tries + 1, "{row}");
        control.clear().unwrap();

        // While it runs: by the first lane that begins again, or by the recovery.
        for lost in [
            "lose sessions\nlose login",
            "lose login\n* error 0x32 until C_Initialize",
        ] {
            let row = format!("C_Login CKR_{name} after {lost:?}");
            let mut faulty = Faulty::over(control, &settings, &[RING]).await;
            faulty.resumes(&row).await;
            let tries = faulty.control.calls("C_Login");
            faulty.control.set(&format!("{lost}\n{refused}")).unwrap();
            let end = Instant::now() + PATIENCE;
            while faulty.control.calls("C_Login") == tries {
                assert!(!faulty.sign_or_not(&row).await, "{row}");
                assert!(Instant::now() < end, "{row}: nobody logs in");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            for is_right_again in [false, true] {
                if is_right_again {
                    faulty.control.clear().unwrap();
                }
                for _ in 0..6 {
                    assert!(!faulty.sign_or_not(&row).await, "{row}");
                    tokio::time::sleep(Duration::from_millis(80)).await;
                }
                assert_eq!(faulty.control.calls("C_Login"), tries + 1, "{row}");
            }
            faulty.is_audited();
            control = faulty.stop();
        }
    }
}

/// A supervisor that starts the service again and again must not lock the token with a PIN that is wrong.
#[tokio::test]
async fn the_last_try_of_a_pin_is_left_to_a_person() {
    let name = "device_faults::opening::the_last_try_of_a_pin_is_left_to_a_person";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let (control, token) = faulty(&softhsm.token("signet", "1234"));
    let settings = pkcs11(&token);
    control.set("lose login\nC_GetTokenInfo flip").unwrap();
    for _ in 0..3 {
        let error = Device::open(&settings).unwrap_err().to_string();
        assert!(error.contains("one more wrong PIN locks it"), "{error}");
    }
    assert_eq!(control.calls("C_Login"), 0);
    control.clear().unwrap();

    // Others may have come to that while the service is logged in: a lane that begins again is not that try.
    let mut faulty = Faulty::over(control, &settings, &[RING]).await;
    faulty.resumes("no fault").await;
    let logins = faulty.control.calls("C_Login");
    let lost = "lose sessions\nlose login\nC_GetTokenInfo flip";
    faulty.control.set(lost).unwrap();
    faulty.resumes("the last try, while logged in").await;
    assert!(faulty.control.calls("C_Login") > logins);
    faulty.is_audited();
}
