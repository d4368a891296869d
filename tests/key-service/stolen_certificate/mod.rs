//! K-2, KS-05, KS-06, KS-08: whoever has stolen a gateway's certificate asks for what would be of use, in every way that
//! we know. Nothing of it is signed, all of it is on the audit log, and beside each attempt the nearest that is legal
//! works.

mod claims;
mod requests;
mod syntax;

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proto::v1::key_admin_client::KeyAdminClient;
use proto::v1::key_service_client::KeyServiceClient;
use proto::v1::{self, Profile};
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::audit::{intact, records};
use crate::policy::merged;
use crate::running::{GATEWAY, ISSUER, KeyService, caller, id_token, item, wrapped};

const ID: &str = "id-token/ES256";
const ACCESS: &str = "access-token/ES256";
/// There is such a ring, and it is not the gateway's.
const OTHERS: &str = "client-assertion/ES256";
const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const CONTEXT: &str = "use-only:client-secret:client";

/// What a bank would configure.
const TABLES: &str = r#"
[audit]
path = "audit.log"
durability = "write"

[[rings]]
name = "id-token/ES256"
[[rings]]
name = "access-token/ES256"
longest_life = "10m"
[[rings]]
name = "client-assertion/ES256"
[[rings]]
name = "mac/HS256"
[[rings]]
name = "pairwise-subject/HS256"
[[rings]]
name = "seal/A256GCM"

[[policy.rules]]
callers = ["gateway"]
audiences = ["client", "r-*", "https://*.example/api"]

[[policy.rules]]
when = ["id_token"]
longest_life = "15m"
iat_window = "30s"
allowed = ["iss", "sub", "aud", "exp", "iat", "nbf", "auth_time", "nonce", "at_hash", "name", "address"]
claims_size = 2048

[[policy.rules]]
when = ["access_token"]
required = ["scope"]
forbidden = ["act", "may_act"]

# So that nothing that is told at userinfo passes for an ID token.
[[policy.rules]]
when = ["userinfo"]
forbidden = ["exp", "nonce", "auth_time", "at_hash"]
"#;

/// Somebody asks for something.
#[derive(Debug, Clone)]
enum Request {
    Sign(Vec<v1::SignItem>),
    Mac(v1::MacRequest),
    Decrypt(v1::DecryptRequest),
    Wrap(v1::WrapRequest),
    Verify(v1::VerifyRequest),
    Administer(Method),
}

#[derive(Debug, Clone, Copy)]
enum Method {
    List,
    Rotate,
    Revoke,
    Disable,
    Enable,
    Destroy,
    Info,
    ReadAudit,
    VerifyAudit,
}

impl Request {
    /// As the audit log calls it.
    fn rpc(&self) -> &'static str {
        match self {
            Request::Sign(_) => "Sign",
            Request::Mac(_) => "Mac",
            Request::Decrypt(_) => "Decrypt",
            Request::Wrap(_) => "Wrap",
            Request::Verify(_) => "Verify",
            Request::Administer(_) => "keyservice.v1.KeyAdmin",
        }
    }
}

/// What the thief knows: everything that the gateway knows.
struct Loot {
    now: i64,
    /// A client's secret, sealed.
    secret: v1::WrappedSecret,
}

type Make = Box<dyn Fn(&Loot) -> Request>;

struct Row {
    what: String,
    attack: Make,
    code: Code,
    message: &'static str,
    /// The nearest that is legal.
    control: Make,
}

/// A refusal by policy.
fn refused(what: &str, rule: &'static str, attack: Make, control: Make) -> Row {
    Row {
        what: what.to_owned(),
        attack,
        code: Code::FailedPrecondition,
        message: rule,
        control,
    }
}

/// An ordinary JWT of a profile, and the ring that signs it.
fn ordinary(profile: Profile, now: i64) -> (&'static str, Value) {
    let event = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
    let with = |changes: Value| merged(id_token(now), changes);
    match profile {
        Profile::AccessToken => (
            ACCESS,
            with(json!({ "client_id": "client", "jti": "1", "scope": "openid" })),
        ),
        Profile::LogoutToken => (ID, with(json!({ "jti": "1", "events": event }))),
        Profile::Userinfo => (ID, with(json!({ "exp": null, "iat": null }))),
        Profile::Introspection => (
            ID,
            json!({ "iss": ISSUER, "aud": "client", "iat": now, "token_introspection": {} }),
        ),
        Profile::AuthorizationResponse => (
            ID,
            json!({ "iss": ISSUER, "aud": "client", "exp": now + 60, "code": "x" }),
        ),
        _ => (ID, with(json!({}))),
    }
}

fn sign_one(item: v1::SignItem) -> Request {
    Request::Sign(vec![item])
}

/// The same with changes; `null` takes a claim away.
fn changed(profile: Profile, changes: fn(i64) -> Value) -> Make {
    Box::new(move |loot| {
        let (ring, claims) = ordinary(profile, loot.now);
        let claims = merged(claims, changes(loot.now));
        sign_one(item(ring, profile, &claims))
    })
}

async fn send(
    keys: &mut KeyServiceClient<Channel>,
    admin: &mut KeyAdminClient<Channel>,
    request: Request,
) -> Result<Vec<String>, Status> {
    match request {
        Request::Sign(items) => {
            let signed = keys.sign(v1::SignRequest { items }).await?.into_inner();
            return Ok(signed.items.into_iter().map(|it| it.compact).collect());
        }
        Request::Mac(request) => drop(keys.mac(request).await?),
        Request::Decrypt(request) => drop(keys.decrypt(request).await?),
        Request::Wrap(request) => drop(keys.wrap(request).await?),
        Request::Verify(request) => drop(keys.verify(request).await?),
        Request::Administer(method) => administer(admin, method).await?,
    }
    Ok(Vec::new())
}

async fn administer(admin: &mut KeyAdminClient<Channel>, method: Method) -> Result<(), Status> {
    let rotation = v1::RotateKeyRequest {
        ring: ID.to_owned(),
        dry_run: false,
    };
    match method {
        Method::List => drop(admin.list_keys(v1::ListKeysRequest::default()).await?),
        Method::Rotate => drop(admin.rotate_key(rotation).await?),
        Method::Revoke => drop(admin.revoke_key(v1::RevokeKeyRequest::default()).await?),
        Method::Disable => drop(admin.disable_key(v1::DisableKeyRequest::default()).await?),
        Method::Enable => drop(admin.enable_key(v1::EnableKeyRequest::default()).await?),
        Method::Destroy => drop(admin.destroy_key(v1::DestroyKeyRequest::default()).await?),
        Method::Info => drop(admin.info(v1::InfoRequest::default()).await?),
        Method::ReadAudit => drop(admin.read_audit(v1::ReadAuditRequest::default()).await?),
        Method::VerifyAudit => drop(
            admin
                .verify_audit(v1::VerifyAuditRequest::default())
                .await?,
        ),
    }
    Ok(())
}

/// One that has the rings of others too, and lets the gateway use all but them.
fn service() -> KeyService {
    KeyService::configured(TABLES, |config| {
        let rings = [
            "id-token/*",
            "access-token/*",
            "mac/*",
            "pairwise-subject/*",
            "seal/*",
        ];
        config.callers.allow[0].rings = rings.map(str::to_owned).to_vec();
    })
}

#[tokio::test]
async fn k_2_a_stolen_certificate_signs_nothing_but_what_is_allowed() {
    let service = service();
    let certificate = caller(&service.authority, GATEWAY);
    let channel = service.channel(&certificate).await.unwrap();
    let mut keys = KeyServiceClient::new(channel.clone());
    let mut admin = KeyAdminClient::new(channel);
    let secret = wrapped(&mut keys, CONTEXT, SECRET, "HS256").await;
    let mut rows = claims::rows();
    rows.extend(syntax::rows());
    rows.extend(requests::rows());
    assert!(rows.len() >= 200, "{}", rows.len());

    let mut told = vec![("Wrap", "OK".to_owned(), String::new())];
    let mut tokens = Vec::new();
    for row in &rows {
        let loot = Loot {
            now: service.now(),
            secret: secret.clone(),
        };
        let (attack, control) = ((row.attack)(&loot), (row.control)(&loot));
        for request in prerequisites(&attack) {
            told.push((request.rpc(), "OK".to_owned(), String::new()));
            tokens.extend(send(&mut keys, &mut admin, request).await.unwrap());
        }
        let rpc = attack.rpc();
        let refused = send(&mut keys, &mut admin, attack).await;
        let status = refused.expect_err(&row.what);
        assert_eq!(
            (status.code(), status.message()),
            (row.code, row.message),
            "{}",
            row.what
        );
        let rule = match row.code {
            Code::FailedPrecondition => row.message,
            _ => "",
        };
        told.push((rpc, name(row.code), rule.to_owned()));
        told.push((control.rpc(), "OK".to_owned(), String::new()));
        match send(&mut keys, &mut admin, control).await {
            Ok(signed) => tokens.extend(signed),
            Err(status) => panic!("{}: the nearest legal: {status:?}", row.what),
        }
    }
    tokens.iter().for_each(|token| check_header(token));
    check_log(&service.folder.path().join("audit.log"), &told, &tokens);
}

/// What was signed before, so that the attack is one.
fn prerequisites(attack: &Request) -> Vec<Request> {
    match attack {
        Request::Sign(items) => requests::signed_before(items),
        _ => Vec::new(),
    }
}

/// A claim never becomes a header.
fn check_header(token: &str) {
    let header = token.split('.').next().unwrap();
    let header: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
    let members: Vec<&str> = header
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let expected: &[&str] = match header["alg"].as_str() {
        Some("HS256") => &["alg", "typ"],
        _ => &["alg", "kid", "typ"],
    };
    assert_eq!(members, expected, "{header}");
    let typs = ["JWT", "at+jwt", "logout+jwt", "token-introspection+jwt"];
    assert!(typs.contains(&header["typ"].as_str().unwrap()), "{header}");
}

/// Each request has its record, in order, and there are as many signatures as tokens.
fn check_log(log: &Path, told: &[(&str, String, String)], tokens: &[String]) {
    let text = |record: &Value, name: &str| record[name].as_str().unwrap_or_default().to_owned();
    let of_thief = records(log)
        .into_iter()
        .filter(|it| it["caller"] == "gateway");
    let of_thief: Vec<Value> = of_thief.collect();
    assert_eq!(of_thief.len(), told.len());
    for (record, (rpc, status, rule)) in of_thief.iter().zip(told) {
        let found = (
            text(record, "rpc"),
            text(record, "status"),
            text(record, "rule"),
        );
        assert_eq!(
            found,
            ((*rpc).to_owned(), status.clone(), rule.clone()),
            "{record}"
        );
    }
    let signatures: usize = of_thief
        .iter()
        .filter_map(|record| record["items"].as_array())
        .map(|items| items.iter().filter(|it| it["sha256"].is_string()).count())
        .sum();
    assert_eq!(signatures, tokens.len());
    intact(log);
}

/// As the audit log has it.
fn name(code: Code) -> String {
    match code {
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::PermissionDenied => "PERMISSION_DENIED",
        other => panic!("{other:?} is no refusal"),
    }
    .to_owned()
}
