//! Sessions, logins and searches that fail, when a lane must begin again; and PINs, which are tried once.

use std::time::Duration;

use key_service::backend::Device;
use support::softhsm::SoftHsm;

use super::values::{DEVICE, FIND, LOGIN, OPEN, Once, PIN};
use super::{Faulty, RING};

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

/// Whatever is wrong with the PIN, it is tried once: not again by another lane, nor later, nor after a recovery.
#[tokio::test]
async fn a_refused_pin_is_tried_once() {
    let name = "device_faults::opening::a_refused_pin_is_tried_once";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let mut faulty = Faulty::start(&softhsm.token("signet", "1234"), &[RING]).await;
    faulty.resumes("no fault").await;
    for (value, name) in PIN {
        let row = format!("C_Login CKR_{name}");
        // At the start: said with the cause, and not tried again.
        let tries = faulty.control.calls("C_Login");
        let fault = format!("lose sessions\nlose login\nC_Login error {value:#x}");
        faulty.control.set(&fault).unwrap();
        let refused = Device::open(&faulty.settings).unwrap_err().to_string();
        assert!(refused.contains("PIN"), "{row}: {refused}");
        assert_eq!(faulty.control.calls("C_Login"), tries + 1, "{row} at start");

        // While it runs: one more try, by the first lane that needs it; callers are told that nothing can be signed.
        for _ in 0..6 {
            assert!(!faulty.sign_or_not(&row).await, "{row}");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!faulty.sign_or_not(&row).await, "{row}");
        assert_eq!(faulty.control.calls("C_Login"), tries + 2, "{row} later");

        // Not even when the PIN would be right again: that is a person's decision, who starts it anew.
        faulty.control.clear().unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!faulty.sign_or_not(&row).await, "{row}");
        assert_eq!(faulty.control.calls("C_Login"), tries + 2, "{row} again");
        faulty.is_audited();
        let Faulty {
            control,
            settings,
            service,
            ..
        } = faulty;
        drop(service);
        faulty = Faulty::over(control, settings, &[RING]).await;
        faulty.resumes(&row).await;
    }
}
