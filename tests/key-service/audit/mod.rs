//! K-5, KS-20: nothing is answered that the audit log does not tell of, and nothing that it tells can be changed unseen.

mod changes;
mod faults;
mod reading;

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use key_service::audit::note::VerifierKey;
use key_service::audit::verify::{Report, Trust, Verifier, verify};
use key_service::config::Config;
use proto::v1::key_service_client::KeyServiceClient;
use proto::v1::{self, mac_request};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::softhsm::SoftHsm;
use tonic::Request;
use tonic::transport::Channel;

use crate::contract::pkcs11;
use crate::running::{GATEWAY, KeyService, caller, id_token, item};

const RINGS: &str = r#"
[[rings]]
name = "id-token/ES256"
profiles = ["id_token"]
[[rings]]
name = "mac/HS256"
"#;
const RING: &str = "id-token/ES256";

fn audited(more: &str) -> String {
    format!("[audit]\npath = \"audit.log\"\n{more}\n{RINGS}")
}

/// A key-service with its log in a folder that outlives it.
fn at(folder: &Path, change: impl FnOnce(&mut Config)) -> KeyService {
    KeyService::configured(&audited("durability = \"write\""), |config| {
        let passphrase = folder.join("passphrase");
        support::softhsm::write_secret(&passphrase, "correct horse");
        if let Some(audit) = &mut config.audit {
            audit.path = folder.join("audit.log");
        }
        config.backend = key_service::backend::Settings::Software(
            toml::from_str(&format!(
                "directory = {:?}\npassphrase_file = {passphrase:?}",
                folder.join("keys")
            ))
            .unwrap(),
        );
        change(config);
    })
}

pub(crate) fn log_of(service: &KeyService) -> PathBuf {
    service.folder.path().join("audit.log")
}

async fn sign(
    keys: &mut KeyServiceClient<Channel>,
    now: i64,
    jti: &str,
) -> Result<v1::Signed, tonic::Status> {
    let mut claims = id_token(now);
    claims["jti"] = json!(jti);
    let items = vec![item(RING, v1::Profile::IdToken, &claims)];
    let mut response = keys.sign(v1::SignRequest { items }).await?.into_inner();
    Ok(response.items.remove(0))
}

fn pinned(log: &Path) -> Vec<VerifierKey> {
    let text = fs::read_to_string(log.with_extension("log.vkey")).unwrap();
    vec![text.trim().parse().unwrap()]
}

fn checked(log: &Path) -> Report {
    verify(Verifier::new(&pinned(log), Trust::Pinned, 0), log, None).unwrap()
}

pub(crate) fn intact(log: &Path) -> Report {
    let report = checked(log);
    assert_eq!(report.finding, None);
    report
}

pub(crate) fn records(log: &Path) -> Vec<Value> {
    let text = fs::read_to_string(log).unwrap();
    let lines = text.lines().map(serde_json::from_str);
    lines.collect::<Result<_, _>>().unwrap()
}

/// The `jti` of everything that the log says was signed.
pub(crate) fn signed(log: &Path) -> HashSet<String> {
    let items = records(log).into_iter().flat_map(|record| {
        let items = record["items"].as_array().cloned();
        items.unwrap_or_default()
    });
    let signed = items.filter(|item| item["sha256"].is_string());
    signed
        .map(|item| item["jti"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[tokio::test]
async fn each_operation_has_a_record_of_typed_fields() {
    let service = KeyService::start(&audited(""));
    let log = log_of(&service);
    let now = service.now();
    let mut keys = service.keys().await;
    let mut admin = service.admin().await;

    let mut request = Request::new(v1::SignRequest {
        items: vec![item(RING, v1::Profile::IdToken, &id_token(now))],
    });
    request
        .metadata_mut()
        .insert("x-request-id", "r-1".parse().unwrap());
    let token = keys
        .sign(request)
        .await
        .unwrap()
        .into_inner()
        .items
        .remove(0);
    sign(&mut keys, now - 600, "old").await.unwrap_err();
    let nobody = vec![item("other/ES256", v1::Profile::IdToken, &id_token(now))];
    keys.sign(v1::SignRequest { items: nobody })
        .await
        .unwrap_err();
    let mac = v1::MacRequest {
        purpose: v1::MacPurpose::OpaqueToken.into(),
        key: Some(mac_request::Key::Ring("mac/HS256".to_owned())),
        input: "canary input".into(),
        ..v1::MacRequest::default()
    };
    keys.mac(mac).await.unwrap();
    let asked = v1::RevokeKeyRequest {
        kid: "none".to_owned(),
        reason: "a \"reason\"".to_owned(),
    };
    admin.revoke_key(asked).await.unwrap_err();
    let gateway = service
        .channel(&caller(&service.authority, GATEWAY))
        .await
        .unwrap();
    let mut not_admin = v1::key_admin_client::KeyAdminClient::new(gateway);
    not_admin.info(v1::InfoRequest {}).await.unwrap_err();

    let sha256 = {
        use base64::Engine as _;
        let hash = Sha256::digest(&token.compact);
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(hash)
    };
    let told = records(&log);
    let told: Vec<&Value> = told.iter().filter(|it| it["rpc"].is_string()).collect();
    let rows = [
        json!({ "rpc": "Sign", "caller": "gateway", "request": "r-1", "items": [{
            "item": 0, "profile": "id_token", "typ": "JWT", "exp": now + 600, "ring": RING,
            "kid": token.kid, "alg": "ES256", "sha256": sha256 }], "status": "OK" }),
        json!({ "rpc": "Sign", "caller": "gateway", "status": "FAILED_PRECONDITION", "rule": "iat" }),
        json!({ "rpc": "Sign", "caller": "gateway", "status": "PERMISSION_DENIED" }),
        json!({ "rpc": "Mac", "caller": "gateway", "purpose": "MAC_PURPOSE_OPAQUE_TOKEN",
            "ring": "mac/HS256", "status": "OK" }),
        json!({ "rpc": "KeyAdmin", "caller": "operator", "method": "RevokeKey", "kid": "none",
            "reason": "a \"reason\"", "status": "PERMISSION_DENIED" }),
        json!({ "rpc": "keyservice.v1.KeyAdmin", "caller": "gateway", "status": "PERMISSION_DENIED" }),
    ];
    assert_eq!(told.len(), rows.len());
    for (record, row) in told.iter().zip(rows) {
        let mut record = (*record).clone();
        for name in ["seq", "time", "chain"] {
            assert!(record.as_object_mut().unwrap().remove(name).is_some());
        }
        assert_eq!(record, row);
    }
    // KS-20: neither claims nor tokens nor inputs.
    let text = fs::read_to_string(&log).unwrap();
    let (_, signature) = token.compact.rsplit_once('.').unwrap();
    for canary in ["alice", "\"client\"", "canary", signature] {
        assert!(!text.contains(canary), "{canary}");
    }
    intact(&log);
}

#[tokio::test]
async fn a_token_signs_the_checkpoints_of_its_log() {
    let name = "audit::a_token_signs_the_checkpoints_of_its_log";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let home = pkcs11(&softhsm.token("signet", "1234"));
    let service = KeyService::start_at(&home, &audited(""));
    let log = log_of(&service);
    let mut keys = service.keys().await;
    sign(&mut keys, service.now(), "a").await.unwrap();
    // The key is the log's alone.
    let published = crate::running::jwks(&mut keys).await.jwks;
    assert!(!String::from_utf8_lossy(&published).contains("Ed25519"));
    tokio::task::spawn_blocking(move || {
        let folder = service.folder;
        service.running.shutdown();
        let report = intact(&log);
        assert!(report.checkpoints >= 2 && report.unproven() == 0);
        drop(folder);
    })
    .await
    .unwrap();
}
