//! K-2: `[[policy.rules]]`, each beside the nearest that passes: for the callers and in the rings that it names, and for
//! nobody and nowhere else.

use proto::v1::key_service_client::KeyServiceClient;
use proto::v1::{self, Profile, sign_item};
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::audit::records;
use crate::policy::merged;
use crate::running::{KeyService, caller, id_token, item, wrapped};

const ID: &str = "id-token/ES256";
const ACCESS: &str = "access-token/ES256";
const BATCH: &str = "spiffe://signet/batch";
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

const TABLES: &str = r#"
[audit]
path = "audit.log"
durability = "write"

[[rings]]
name = "id-token/ES256"
[[rings]]
name = "access-token/ES256"
[[rings]]
name = "seal/A256GCM"

[[callers.allow]]
name = "batch"
san = "spiffe://signet/batch"
services = ["keys"]
rings = ["access-token/*", "seal/*"]

[[policy.rules]]
callers = ["gateway"]
rings = ["id-token/*"]
when = ["id_token"]
longest_life = "10m"
iat_window = "30s"
audiences = ["client", "r-*"]
required = ["nonce"]
allowed = ["iss", "sub", "aud", "exp", "iat", "nonce", "at_hash"]
claims_size = 400

[[policy.rules]]
callers = ["gateway"]
rings = ["id-token/*"]
profiles = ["id_token", "logout_token"]

[[policy.rules]]
callers = ["batch"]
audiences = ["https://*.batch.example"]

[[policy.rules]]
rings = ["access-token/*"]
forbidden = ["act"]

[[policy.rules]]
rings = ["secret/HS256"]
longest_life = "5m"
"#;

struct Parties {
    service: KeyService,
    gateway: KeyServiceClient<Channel>,
    batch: KeyServiceClient<Channel>,
}

async fn parties() -> Parties {
    let service = KeyService::start(TABLES);
    let certificate = caller(&service.authority, BATCH);
    let batch = KeyServiceClient::new(service.channel(&certificate).await.unwrap());
    Parties {
        gateway: service.keys().await,
        batch,
        service,
    }
}

fn id(now: i64, changes: Value) -> v1::SignItem {
    let nonce = json!({ "nonce": "n" });
    let claims = merged(merged(id_token(now), nonce), changes);
    item(ID, Profile::IdToken, &claims)
}

fn access(now: i64, changes: Value) -> v1::SignItem {
    let own = json!({ "client_id": "c", "jti": "1", "aud": "https://a.batch.example" });
    let claims = merged(merged(id_token(now), own), changes);
    item(ACCESS, Profile::AccessToken, &claims)
}

async fn sign(
    keys: &mut KeyServiceClient<Channel>,
    items: Vec<v1::SignItem>,
) -> Result<v1::SignResponse, Status> {
    Ok(keys.sign(v1::SignRequest { items }).await?.into_inner())
}

#[track_caller]
fn check(what: &str, answer: Result<v1::SignResponse, Status>, rule: &str) {
    match answer {
        Ok(_) => assert_eq!("", rule, "{what}"),
        Err(status) => assert_eq!(
            (status.code(), status.message()),
            (Code::FailedPrecondition, rule),
            "{what}"
        ),
    }
}

#[tokio::test]
async fn k_2_a_rule_narrows_what_its_callers_have_signed() {
    let mut parties = parties().await;
    let now = parties.service.now();
    let logout = json!({ "jti": "1", "events": { "http://schemas.openid.net/event/backchannel-logout": {} } });
    #[rustfmt::skip]
    let rows = [
        ("legal", id(now, json!({})), ""),
        ("the longest", id(now, json!({ "exp": now + 600 })), ""),
        ("longer", id(now, json!({ "exp": now + 601 })), "lifetime"),
        ("a little early", id(now, json!({ "iat": now + 10 })), ""),
        ("early", id(now, json!({ "iat": now + 50 })), "iat"),
        ("late", id(now, json!({ "iat": now - 40, "exp": now + 100 })), "iat"),
        ("a pattern's", id(now, json!({ "aud": "r-1" })), ""),
        ("both", id(now, json!({ "aud": ["client", "r-1"] })), ""),
        ("another's", id(now, json!({ "aud": "other" })), "audience"),
        ("another's too", id(now, json!({ "aud": ["client", "other"] })), "audience"),
        ("without what is required", id(now, json!({ "nonce": null })), "claims.required"),
        ("with an empty one", id(now, json!({ "nonce": "" })), "claims.required"),
        ("with what is not allowed", id(now, json!({ "acr": "1" })), "claims.allowed"),
        ("large", id(now, json!({ "nonce": "n".repeat(300) })), "size"),
        ("another profile",
            item(ID, Profile::Userinfo, &merged(id_token(now), json!({ "exp": null }))), "profile"),
        ("a profile that the first is not about",
            item(ID, Profile::LogoutToken, &merged(id_token(now), logout.clone())), ""),
        ("nor its audiences",
            item(ID, Profile::LogoutToken, &merged(id_token(now), merged(logout, json!({ "aud": "other" })))), ""),
        ("another ring", access(now, json!({ "aud": "other", "acr": "1" })), ""),
        ("a rule for all", access(now, json!({ "act": {} })), "claims.forbidden"),
    ];
    for (what, item, rule) in rows {
        check(what, sign(&mut parties.gateway, vec![item]).await, rule);
    }
    // Another caller: what holds for it, and for all.
    for (what, item, rule) in [
        ("its own", access(now, json!({})), ""),
        (
            "another's",
            access(now, json!({ "aud": "client" })),
            "audience",
        ),
        (
            "for all",
            access(now, json!({ "act": {} })),
            "claims.forbidden",
        ),
    ] {
        check(what, sign(&mut parties.batch, vec![item]).await, rule);
    }
}

#[tokio::test]
async fn what_the_service_fills_in_is_a_claim_like_others() {
    let mut parties = parties().await;
    let now = parties.service.now();
    let with = |claim: &str| {
        let mut id = id(now, json!({}));
        id.hash_of = vec![v1::HashOf {
            claim: claim.to_owned(),
            item: 1,
        }];
        vec![id, access(now, json!({}))]
    };
    check(
        "allowed",
        sign(&mut parties.gateway, with("at_hash")).await,
        "",
    );
    check(
        "not allowed",
        sign(&mut parties.gateway, with("c_hash")).await,
        "claims.allowed",
    );
}

#[tokio::test]
async fn secrets_have_rules_by_their_algorithm() {
    let mut parties = parties().await;
    let now = parties.service.now();
    let keys = &mut parties.gateway;
    let secret = wrapped(keys, "use-only:c", &[SECRET, SECRET].concat(), "HS256").await;
    for (alg, life, rule) in [
        ("HS256", 300, ""),
        ("HS256", 301, "lifetime"),
        ("HS512", 301, ""),
    ] {
        let mut item = item(
            "",
            Profile::IdToken,
            &merged(id_token(now), json!({ "exp": now + life })),
        );
        item.key = Some(sign_item::Key::WrappedSecret(v1::WrappedSecret {
            alg: alg.to_owned(),
            ..secret.clone()
        }));
        check(alg, sign(keys, vec![item]).await, rule);
    }
}

#[tokio::test]
async fn the_audit_log_has_the_rule() {
    let mut parties = parties().await;
    let now = parties.service.now();
    let refused = id(now, json!({ "canary\n": 1 }));
    check(
        "refused",
        sign(&mut parties.gateway, vec![refused]).await,
        "claims.allowed",
    );
    let log = parties.service.folder.path().join("audit.log");
    let record = records(&log)
        .into_iter()
        .find(|it| it["rpc"] == "Sign")
        .unwrap();
    assert_eq!(record["rule"], "claims.allowed");
    assert!(!record.to_string().contains("canary"));
}

/// What has all the claims of an ID token is one to relying parties, whatever it was signed as.
#[tokio::test]
async fn an_id_token_by_another_name_is_bound_by_the_same_rules() {
    let tables = format!(
        "[[rings]]\nname = \"{ID}\"\n[[policy.rules]]\nwhen = [\"id_token\"]\naudiences = [\"client\"]\n"
    );
    let service = KeyService::start(&tables);
    let mut keys = service.keys().await;
    let now = service.now();
    let evil = merged(id_token(now), json!({ "aud": "evil" }));
    #[rustfmt::skip]
    let rows = [
        ("an ID token", Profile::IdToken, evil.clone(), "audience"),
        ("as userinfo", Profile::Userinfo, evil.clone(), "audience"),
        ("userinfo for whom it may be", Profile::Userinfo, id_token(now), ""),
        ("userinfo that never ends", Profile::Userinfo, merged(evil, json!({ "exp": null })), ""),
    ];
    for (what, profile, claims, rule) in rows {
        let items = vec![item(ID, profile, &claims)];
        let answer = keys.sign(v1::SignRequest { items }).await;
        check(what, answer.map(tonic::Response::into_inner), rule);
    }
}

/// `null` is there, and says nothing: what a rule requires is something.
#[tokio::test]
async fn what_is_required_is_not_null() {
    let tables = format!(
        "[[rings]]\nname = \"{ID}\"\n[[policy.rules]]\nrequired = [\"acr\"]\nwhen = [\"id_token\"]\n"
    );
    let service = KeyService::start(&tables);
    let mut keys = service.keys().await;
    let claims = id_token(service.now()).to_string();
    let claims = claims.strip_suffix('}').unwrap();
    for (acr, rule) in [
        ("null", "claims.required"),
        (r#""""#, "claims.required"),
        (r#""1""#, ""),
        ("0", ""),
    ] {
        let mut asked = item(ID, Profile::IdToken, &json!({}));
        asked.claims = format!(r#"{claims},"acr":{acr}}}"#).into();
        let items = vec![asked];
        let answer = keys.sign(v1::SignRequest { items }).await;
        check(acr, answer.map(tonic::Response::into_inner), rule);
    }
}
