//! Rewrap (RFC 7518 §4.5): what a retired key sealed is sealed again without being told, and a key that seals is destroyed
//! when nothing uses it any more.

use std::fs;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proto::v1::key_admin_client::KeyAdminClient;
use proto::v1::key_service_client::KeyServiceClient;
use proto::v1::{self, KeyState, Profile, decrypt_request, sign_item};
use serde_json::Value;
use support::softhsm::SoftHsm;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::contract::pkcs11;
use crate::running::{GENERATION, KeyService, LEAD, caller, id_token, item, jwks, wrapped};
use crate::surface::get;

const SEAL: &str = "seal/A256GCM";
const MAC: &str = "mac/HS256";
/// What the services of these tests are configured with.
const RETENTION: i64 = 2 * 3600;
const USE_ONLY: &str = "use-only:client-secret:x";
const SECRET: &[u8; 32] = b"0123456789abcdef0123456789abcdef";
const TABLES: &str = r#"
[audit]
path = "audit.log"
durability = "write"
[[rings]]
name = "id-token/ES256"
[[rings]]
name = "seal/A256GCM"
[[rings]]
name = "mac/HS256"
"#;

type Keys = KeyServiceClient<Channel>;
type Admin = KeyAdminClient<Channel>;

fn later(service: &KeyService, seconds: i64) {
    service
        .clock
        .advance(Duration::from_secs(seconds.unsigned_abs()));
    service.running.keyring().refresh();
}

/// Makes the standby the active key.
async fn rotate(service: &KeyService, admin: &mut Admin, ring: &str) {
    let request = v1::RotateKeyRequest {
        ring: ring.to_owned(),
        dry_run: false,
    };
    later(service, LEAD + GENERATION + 1);
    admin.rotate_key(request).await.unwrap();
    later(service, GENERATION + 1);
}

async fn seal(keys: &mut Keys, context: &str) -> v1::Sealed {
    let secret = wrapped(keys, context, SECRET, "").await;
    v1::Sealed {
        sealed: secret.sealed,
        context: secret.context,
    }
}

async fn rewrap(keys: &mut Keys, items: &[v1::Sealed]) -> Result<v1::RewrapResponse, Status> {
    let items = items.to_vec();
    Ok(keys.rewrap(v1::RewrapRequest { items }).await?.into_inner())
}

/// The key that something sealed names.
fn kid(sealed: &str) -> String {
    let header = sealed.split('.').next().unwrap();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    header["kid"].as_str().unwrap().to_owned()
}

async fn told(keys: &mut Keys, sealed: &v1::Sealed) -> Result<Vec<u8>, Status> {
    let request = v1::DecryptRequest {
        ciphertext: Some(decrypt_request::Ciphertext::Sealed(sealed.clone())),
    };
    let answer = keys.decrypt(request).await?.into_inner();
    Ok(answer.plaintext.to_vec())
}

/// Uses a shared secret.
async fn sign(keys: &mut Keys, sealed: &v1::Sealed, now: i64) -> Result<(), Status> {
    let item = v1::SignItem {
        key: Some(sign_item::Key::WrappedSecret(v1::WrappedSecret {
            sealed: sealed.sealed.clone(),
            context: sealed.context.clone(),
            alg: "HS256".to_owned(),
        })),
        ..item("", Profile::IdToken, &id_token(now))
    };
    let items = vec![item];
    keys.sign(v1::SignRequest { items }).await.map(drop)
}

async fn seal_kids(keys: &mut Keys) -> (Vec<String>, String) {
    let published = jwks(keys).await;
    (published.capabilities.unwrap().seal_kids, published.epoch)
}

#[tokio::test]
async fn k_4_what_another_key_sealed_is_sealed_again_and_nothing_is_told() {
    let service = KeyService::start(TABLES);
    let (mut keys, mut admin) = (service.keys().await, service.admin().await);
    let told_one = seal(&mut keys, "session:1").await;
    let used_one = seal(&mut keys, USE_ONLY).await;
    let old = kid(&told_one.sealed);

    // By the key that seals: nothing changes.
    let items = [told_one.clone(), used_one.clone()];
    let answer = rewrap(&mut keys, &items).await.unwrap();
    assert_eq!(answer.kid, old);
    for (before, after) in items.iter().zip(&answer.items) {
        let expected = (&before.sealed, false, &old, "");
        let found = (
            &after.sealed,
            after.changed,
            &after.kid,
            after.finding.as_str(),
        );
        assert_eq!(found, expected);
    }
    let (kids, epoch) = seal_kids(&mut keys).await;
    assert_eq!(kids, [old.as_str()]);

    rotate(&service, &mut admin, SEAL).await;
    let (kids, other_epoch) = seal_kids(&mut keys).await;
    assert_ne!(other_epoch, epoch, "gateways are told");
    assert_ne!(kids, [old.as_str()]);
    let new = kids[0].clone();
    let stranger = {
        let other = KeyService::with_rings(&[SEAL]);
        seal(&mut other.keys().await, USE_ONLY).await
    };
    let of = |sealed: &str, context: &str| v1::Sealed {
        sealed: sealed.to_owned(),
        context: context.to_owned(),
    };
    let tag_at = told_one.sealed.len() - 2;
    let mut changed = told_one.sealed.clone();
    let other_character = match &changed[tag_at..=tag_at] {
        "A" => "B",
        _ => "A",
    };
    changed.replace_range(tag_at..=tag_at, other_character);
    let rows = [
        ("one that is told", told_one.clone(), true),
        ("another context", of(&told_one.sealed, "session:2"), false),
        ("one that is used", used_one.clone(), true),
        (
            "told instead of used",
            of(&used_one.sealed, "client-secret:x"),
            false,
        ),
        ("no context", of(&used_one.sealed, ""), false),
        ("another service's", stranger, false),
        ("a changed tag", of(&changed, "session:1"), false),
        ("nothing", of("", USE_ONLY), false),
        ("no JWE", of("a.b.c.d.e", USE_ONLY), false),
    ];
    let items: Vec<v1::Sealed> = rows.iter().map(|(_, item, _)| item.clone()).collect();
    let answer = rewrap(&mut keys, &items).await.unwrap();
    assert_eq!(answer.kid, new);
    for ((row, before, opens), after) in rows.iter().zip(&answer.items) {
        assert!(!opens || before.sealed != after.sealed, "{row}");
        let expected = match opens {
            true => (true, new.as_str(), ""),
            false => (false, "", "not decrypted"),
        };
        let found = (after.changed, after.kid.as_str(), after.finding.as_str());
        assert_eq!(found, expected, "{row}");
        assert_eq!(after.sealed.is_empty(), !opens, "{row}");
    }
    let again = of(&answer.items[0].sealed, "session:1");
    assert_eq!(told(&mut keys, &again).await.unwrap(), SECRET);
    let again = of(&answer.items[2].sealed, USE_ONLY);
    assert_eq!(kid(&again.sealed), new);
    sign(&mut keys, &again, service.now()).await.unwrap();
    let refused = told(&mut keys, &again).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "still use-only");

    // Each item is on the record, and nothing of what is in it.
    let log = fs::read_to_string(service.folder.path().join("audit.log")).unwrap();
    let record = log
        .lines()
        .rfind(|line| line.contains("\"Rewrap\""))
        .unwrap();
    let record: Value = serde_json::from_str(record).unwrap();
    let written = record["items"].as_array().unwrap();
    for ((row, item, opens), written) in rows.iter().zip(written) {
        assert_eq!(written["sha256"].is_string(), *opens, "{row}");
        let (from, finding) = match opens {
            true => (Value::from(old.as_str()), Value::Null),
            false => (Value::Null, Value::from("not decrypted")),
        };
        assert_eq!(
            (&written["from"], &written["finding"]),
            (&from, &finding),
            "{row}"
        );
        let is_told = !item.context.is_empty() && record.to_string().contains(&item.context);
        assert!(!is_told, "{row}");
    }
    assert_eq!(written.len(), rows.len());
}

#[tokio::test]
async fn who_may_not_seal_may_not_rewrap_and_there_are_limits() {
    let service = KeyService::start(TABLES);
    let mut keys = service.keys().await;
    let one = seal(&mut keys, USE_ONLY).await;
    let stranger = caller(&service.authority, "spiffe://signet/stranger");
    let strangers = Keys::new(service.channel(&stranger).await.unwrap());
    for (row, keys, items, code) in [
        ("none", &keys, 0, Some(Code::InvalidArgument)),
        ("as many as there may be", &keys, 64, None),
        ("one more", &keys, 65, Some(Code::InvalidArgument)),
        (
            "no ring that seals",
            &strangers,
            1,
            Some(Code::PermissionDenied),
        ),
    ] {
        let outcome = rewrap(&mut keys.clone(), &vec![one.clone(); items]).await;
        assert_eq!(outcome.err().map(|status| status.code()), code, "{row}");
    }
    let without = KeyService::with_rings(&["id-token/ES256"]);
    let outcome = rewrap(&mut without.keys().await, &[one]).await;
    assert_eq!(outcome.unwrap_err().code(), Code::PermissionDenied);
}

async fn keys_of(admin: &mut Admin, ring: &str) -> Vec<v1::Key> {
    let ring = ring.to_owned();
    let keys = admin.list_keys(v1::ListKeysRequest { ring }).await;
    keys.unwrap().into_inner().keys
}

async fn disable(admin: &mut Admin, kid: &str) {
    let request = v1::DisableKeyRequest {
        kid: kid.to_owned(),
        reason: "its values are re-wrapped".to_owned(),
    };
    admin.disable_key(request).await.unwrap();
}

async fn destroy(admin: &mut Admin, kid: &str, nothing_uses_it: bool) -> Result<KeyState, Status> {
    let request = v1::DestroyKeyRequest {
        kid: kid.to_owned(),
        nothing_uses_it,
    };
    let key = admin.destroy_key(request).await?.into_inner().key.unwrap();
    Ok(key.state())
}

fn openings(service: &KeyService, kid: &str) -> String {
    let text = get(service.running.metrics_address().unwrap(), "/metrics");
    let name = format!("key_service_seal_opened_total{{ring=\"{SEAL}\",kid=\"{kid}\"}} ");
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(&name));
    lines.next().unwrap_or("no line").to_owned()
}

/// A key that seals goes when nothing needs it: not as long as it seals, nor without somebody's word, nor against
/// what this service saw.
#[tokio::test]
async fn a_key_that_seals_is_destroyed_when_nothing_uses_it() {
    let service = KeyService::start(TABLES);
    let (mut keys, mut admin) = (service.keys().await, service.admin().await);
    let one = seal(&mut keys, USE_ONLY).await;
    let old = kid(&one.sealed);
    assert_eq!(openings(&service, &old), "0");
    sign(&mut keys, &one, service.now()).await.unwrap();
    assert_eq!(openings(&service, &old), "1");
    let rule = async |admin: &mut Admin, nothing_uses_it| {
        let refused = destroy(admin, &old, nothing_uses_it).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused}");
        refused.message().to_owned()
    };
    let said = rule(&mut admin, true).await;
    assert!(said.starts_with("destroy.active: "), "{said}");
    rotate(&service, &mut admin, SEAL).await;
    let said = rule(&mut admin, true).await;
    assert!(said.starts_with("destroy.retention: "), "{said}");

    // To be used it is opened by the old key, and that counts; to be re-wrapped does not.
    sign(&mut keys, &one, service.now()).await.unwrap();
    let used_at = service.now();
    let answer = rewrap(&mut keys, std::slice::from_ref(&one)).await.unwrap();
    let moved = v1::Sealed {
        sealed: answer.items[0].sealed.clone(),
        context: one.context.clone(),
    };
    sign(&mut keys, &moved, service.now()).await.unwrap();
    assert_eq!(openings(&service, &old), "2");
    assert_eq!(openings(&service, &kid(&moved.sealed)), "1");

    disable(&mut admin, &old).await;
    assert!(sign(&mut keys, &one, service.now()).await.is_err());
    later(&service, 60);
    let said = rule(&mut admin, false).await;
    assert!(said.starts_with("destroy.unconfirmed: "), "{said}");
    let said = rule(&mut admin, true).await;
    assert!(said.starts_with("destroy.opened: "), "{said}");
    let times: Vec<i64> = said
        .split(|c: char| c.is_whitespace() || c == ',')
        .filter_map(|word| word.parse::<jiff::Timestamp>().ok())
        .map(jiff::Timestamp::as_second)
        .collect();
    assert_eq!(times, [used_at, used_at + RETENTION], "{said}");

    later(&service, RETENTION);
    let said = rule(&mut admin, false).await;
    assert!(said.starts_with("destroy.unconfirmed: "), "{said}");
    let state = destroy(&mut admin, &old, true).await.unwrap();
    assert_eq!(state, KeyState::Destroyed);
    // Once more changes nothing, and needs no word.
    let state = destroy(&mut admin, &old, false).await.unwrap();
    assert_eq!(state, KeyState::Destroyed);
    sign(&mut keys, &moved, service.now()).await.unwrap();
    let log = fs::read_to_string(service.folder.path().join("audit.log")).unwrap();
    for part in [
        "\"assurance\":\"nothing_uses_it\",\"status\":\"OK\"",
        "\"rule\":\"destroy.opened\"",
        "\"rule\":\"destroy.unconfirmed\"",
    ] {
        assert!(log.contains(part), "{part}");
    }
}

#[tokio::test]
async fn k_4_keys_in_a_token_move_what_they_sealed() {
    let name = "rewrap::k_4_keys_in_a_token_move_what_they_sealed";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let home = pkcs11(&softhsm.token("signet", "1234"));
    let service = KeyService::start_at(&home, TABLES);
    let (mut keys, mut admin) = (service.keys().await, service.admin().await);
    let one = seal(&mut keys, USE_ONLY).await;
    rotate(&service, &mut admin, SEAL).await;
    let old = kid(&one.sealed);
    let answer = rewrap(&mut keys, &[one.clone(), one.clone()])
        .await
        .unwrap();
    let moved = v1::Sealed {
        sealed: answer.items[1].sealed.clone(),
        context: one.context.clone(),
    };
    disable(&mut admin, &old).await;
    let state = destroy(&mut admin, &old, true).await.unwrap();
    assert_eq!(state, KeyState::Destroyed, "it opened nothing but for this");
    sign(&mut keys, &moved, service.now()).await.unwrap();
    let answer = rewrap(&mut keys, &[one, moved]).await.unwrap();
    let opened: Vec<bool> = answer
        .items
        .iter()
        .map(|item| item.finding.is_empty())
        .collect();
    assert_eq!(opened, [false, true]);
}

#[tokio::test]
async fn a_key_of_macs_needs_somebodys_word_too() {
    let service = KeyService::start(TABLES);
    let mut admin = service.admin().await;
    rotate(&service, &mut admin, MAC).await;
    let keys = keys_of(&mut admin, MAC).await;
    let retired = keys.iter().find(|key| key.state() == KeyState::Retired);
    let retired = retired.unwrap().kid.clone();
    disable(&mut admin, &retired).await;
    let refused = destroy(&mut admin, &retired, false).await.unwrap_err();
    assert!(refused.message().starts_with("destroy.unconfirmed: "));
    let state = destroy(&mut admin, &retired, true).await.unwrap();
    assert_eq!(state, KeyState::Destroyed);
    // A key that signs is none whose loss somebody must have thought of: its tokens are over.
    let signing = keys_of(&mut admin, "id-token/ES256").await;
    let standby = signing.iter().find(|key| key.state() == KeyState::Next);
    let standby = standby.unwrap().kid.clone();
    disable(&mut admin, &standby).await;
    let state = destroy(&mut admin, &standby, false).await.unwrap();
    assert_eq!(state, KeyState::Destroyed);
}
