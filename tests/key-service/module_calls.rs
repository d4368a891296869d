//! S0-1: what a PKCS#11 module sees of the key-service: no more calls for a signature beside many keys, and the end
//! of a process whose call does not end.

use std::path::Path;
use std::time::Duration;

use fault_token::Control;
use proto::v1;
use proto::v1::key_service_client::KeyServiceClient;
use support::softhsm::{self, SoftHsm, Token};
use tonic::transport::Channel;

use crate::listing::crowd;
use crate::process::Process;
use crate::running::{id_token, item};

/// sysexits.h: EX_TEMPFAIL.
const HUNG: i32 = 75;

/// A key-service whose module counts and fails, before SoftHSM's.
async fn before_softhsm(folder: &Path, token: &Token, tables: &str) -> (Control, Process) {
    let control = Control::make(&folder.join("faults"), Path::new(softhsm::MODULE)).unwrap();
    let told = control.folder().to_str().unwrap().to_owned();
    let environment = [(fault_token::ENVIRONMENT, told.as_str())];
    let module = fault_token::module();
    let service = Process::start(&module, token, tables, &environment).await;
    (control, service)
}

async fn sign(keys: &mut KeyServiceClient<Channel>, ring: &str) -> Result<(), tonic::Status> {
    let claims = id_token(key_service::clock::Clock::system().now());
    let items = vec![item(ring, v1::Profile::IdToken, &claims)];
    keys.sign(v1::SignRequest { items }).await.map(drop)
}

#[tokio::test]
async fn a_signature_looks_for_nothing_however_many_keys_there_are() {
    let name = "module_calls::a_signature_looks_for_nothing_however_many_keys_there_are";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    // One lane, which has met each key soon, and no listing in between.
    let tables = "lanes = 1\n[lifecycle]\nreload = \"1h\"";
    let folder = softhsm.tokens().parent().unwrap().to_owned();
    for others in [0, 60] {
        let token = softhsm.token(&format!("beside {others}"), "1234");
        drop(crowd(&token, others));
        let own = folder.join(others.to_string());
        std::fs::create_dir(&own).unwrap();
        let (control, mut service) = before_softhsm(&own, &token, tables).await;
        let mut keys = service.keys().await;
        let rings = ["id-token/ES256", "id-token/RS256"];
        for ring in rings {
            sign(&mut keys, ring).await.unwrap();
        }
        let functions = [
            "C_OpenSession",
            "C_Login",
            "C_FindObjectsInit",
            "C_GetAttributeValue",
            "C_CopyObject",
        ];
        announced(&control).await;
        let before = functions.map(|function| control.calls(function));
        let signatures = control.calls("C_Sign");
        for _ in 0..20 {
            for ring in rings {
                sign(&mut keys, ring).await.unwrap();
            }
        }
        for (function, before) in functions.iter().zip(before) {
            assert_eq!(
                control.calls(function),
                before,
                "{function} beside {others} keys"
            );
        }
        // One call for the length, and one for the signature.
        assert!(control.calls("C_Sign") >= signatures + 80);
        service.end().await;
    }
}

/// Returns when the changes of the token have been announced to other processes, which takes calls of its own: the pauses
/// in between are at most 3.6 s.
async fn announced(control: &Control) {
    loop {
        let written = control.calls("C_CreateObject");
        tokio::time::sleep(Duration::from_secs(4)).await;
        if written > 0 && control.calls("C_CreateObject") == written {
            return;
        }
    }
}

#[tokio::test]
async fn a_call_that_does_not_end_ends_the_process() {
    let name = "module_calls::a_call_that_does_not_end_ends_the_process";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let token = softhsm.token("signet", "1234");
    let folder = softhsm.tokens().parent().unwrap().to_owned();
    let (control, mut service) =
        before_softhsm(&folder, &token, "lanes = 2\nhang_limit = \"2s\"").await;
    let mut keys = service.keys().await;
    sign(&mut keys, "id-token/ES256").await.unwrap();

    // Slow is not hanging.
    control.set("C_Sign delay 500 times 4\n").unwrap();
    sign(&mut keys, "id-token/ES256").await.unwrap();
    service.must_run();

    control.set("C_Sign hang times 1\n").unwrap();
    let mut other = service.keys().await;
    let lost = tokio::spawn(async move { sign(&mut keys, "id-token/ES256").await });
    tokio::time::sleep(Duration::from_millis(500)).await;
    // The other lane goes on.
    sign(&mut other, "id-token/ES256").await.unwrap();
    let status = service.ended().await;
    assert_eq!(status.code(), Some(HUNG), "{}", service.said());
    assert!(lost.await.unwrap().is_err());
    let said = "a call into the module does not end: the process has to";
    assert_eq!(service.lines(said).len(), 1, "{}", service.said());
}
