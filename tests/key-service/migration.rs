//! K-3, K-1: others' public keys, published and never signing; and a ring that moves from software to a token while
//! relying parties, who keep what they fetched for as long as they may, verify everything.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::{Jwk, JwkSet};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use key_service::backend;
use key_service::config::Config;
use key_service::serve::Service;
use proto::v1::key_admin_client::KeyAdminClient;
use proto::v1::key_service_client::KeyServiceClient;
use proto::v1::{self, KeyState, verify_request};
use serde_json::{Value, json};
use support::softhsm::{SoftHsm, write_secret};
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::contract::pkcs11;
use crate::hardening::{Serving, configuration, program, serve};
use crate::running::{GATEWAY, KeyService, LEAD, caller, id_token, item, jwks, sign, verification};
use crate::surface::get;

const RING: &str = "id-token/EdDSA";
const OTHER: &str = "access-token/EdDSA";
const RINGS: &str = "[[rings]]\nname = \"id-token/EdDSA\"\n[[rings]]\nname = \"access-token/EdDSA\"\n\
                     [[rings]]\nname = \"request-object/ECDH-ES\"\n";
const DAY: i64 = 24 * 3600;

type Admin = KeyAdminClient<Channel>;

/// Another provider, with its own way to name keys.
struct Provider {
    pair: Ed25519KeyPair,
    kid: &'static str,
}

impl Provider {
    fn new(kid: &'static str) -> Provider {
        let pair = Ed25519KeyPair::generate().unwrap();
        Provider { pair, kid }
    }

    fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid, "use": "sig", "alg": "EdDSA" })
    }

    fn token(&self, now: i64) -> String {
        let header = json!({ "alg": "EdDSA", "kid": self.kid, "typ": "JWT" });
        let encode = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let input = format!("{}.{}", encode(header), encode(id_token(now)));
        let signature = self.pair.sign(input.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

fn wanted(ring: &str, jwk: &Value, until: i64) -> v1::ImportPublicKeyRequest {
    v1::ImportPublicKeyRequest {
        ring: ring.to_owned(),
        jwk: jwk.to_string().into(),
        until,
        dry_run: false,
    }
}

async fn import(
    admin: &mut Admin,
    request: v1::ImportPublicKeyRequest,
) -> Result<v1::ImportPublicKeyResponse, Status> {
    Ok(admin.import_public_key(request).await?.into_inner())
}

async fn verified(
    keys: &mut KeyServiceClient<Channel>,
    token: &str,
    ring: &str,
) -> Result<String, Code> {
    let own = verify_request::Key::Ring(ring.to_owned());
    let answer = keys.verify(verification(token, "EdDSA", own)).await;
    answer
        .map(|verified| verified.into_inner().kid)
        .map_err(|status| status.code())
}

async fn listed(admin: &mut Admin, kid: &str) -> Vec<v1::Key> {
    let list = admin.list_keys(v1::ListKeysRequest::default()).await;
    let keys = list.unwrap().into_inner().keys.into_iter();
    keys.filter(|key| key.kid == kid).collect()
}

fn later(service: &KeyService, seconds: i64) {
    let by = Duration::from_secs(seconds.unsigned_abs());
    service.clock.advance(by);
    service.running.keyring().refresh();
}

fn published(set: &v1::PublicJwksResponse, kid: &str) -> usize {
    let set: JwkSet = serde_json::from_slice(&set.jwks).unwrap();
    let of = set.keys.iter();
    of.filter(|key| key.common.key_id.as_deref() == Some(kid))
        .count()
}

#[tokio::test]
async fn an_imported_key_verifies_until_its_end_and_never_signs() {
    let mut home = None;
    let service = KeyService::configured(RINGS, |config| home = Some(config.backend.clone()));
    let (mut keys, mut admin) = (service.keys().await, service.admin().await);
    let theirs = Provider::new("public:theirs/2011-04-29");
    let token = theirs.token(service.now());
    let until = service.now() + DAY;
    assert_eq!(
        verified(&mut keys, &token, RING).await,
        Err(Code::InvalidArgument)
    );

    let before = jwks(&mut keys).await;
    let mut told = service.running.keyring().watch();
    told.mark_unchanged();
    let mut plan = wanted(RING, &theirs.jwk(), until);
    plan.dry_run = true;
    let planned = import(&mut admin, plan).await.unwrap();
    assert!(planned.dry_run);
    assert_eq!(jwks(&mut keys).await.epoch, before.epoch, "only a plan");

    let made = import(&mut admin, wanted(RING, &theirs.jwk(), until))
        .await
        .unwrap();
    let key = made.key.unwrap();
    assert_eq!(key.kid, theirs.kid);
    assert_eq!(
        (key.state(), key.reason.as_str()),
        (KeyState::Retired, "imported")
    );
    assert_eq!((key.generation, key.location.as_str()), (0, "imported"));
    assert_eq!((key.expires_at, key.activates_at), (until, 0));
    assert!((made.known_by - service.now() - LEAD).abs() <= 2);
    // Who watches is told.
    assert!(told.has_changed().unwrap());
    let after = jwks(&mut keys).await;
    assert_ne!(after.epoch, before.epoch);
    assert_eq!(published(&after, theirs.kid), 1);
    let relying_party: JwkSet = serde_json::from_slice(&after.jwks).unwrap();
    let found = DecodingKey::from_jwk(relying_party.find(theirs.kid).unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.validate_aud = false;
    jsonwebtoken::decode::<Value>(&token, &found, &validation).unwrap();

    // By the ring and by its purpose, and by no other ring.
    for ring in [RING, "id-token/*"] {
        assert_eq!(
            verified(&mut keys, &token, ring).await.as_deref(),
            Ok(theirs.kid)
        );
    }
    assert_eq!(
        verified(&mut keys, &token, OTHER).await,
        Err(Code::InvalidArgument)
    );
    // Another provider signs everything with one key: it is published once.
    import(&mut admin, wanted(OTHER, &theirs.jwk(), until))
        .await
        .unwrap();
    assert_eq!(
        verified(&mut keys, &token, OTHER).await.as_deref(),
        Ok(theirs.kid)
    );
    assert_eq!(published(&jwks(&mut keys).await, theirs.kid), 1);

    // It never signs, though all others be revoked.
    for _ in 0..3 {
        let signed = sign(&mut keys, RING, service.now()).await.unwrap();
        assert_ne!(signed.kid, theirs.kid);
        let (kid, reason) = (signed.kid, "for a test".to_owned());
        admin
            .revoke_key(v1::RevokeKeyRequest { kid, reason })
            .await
            .unwrap();
    }

    // Another process with the same home publishes the same.
    let replica = KeyService::start_at(&home.unwrap(), RINGS);
    let mut replicas = replica.keys().await;
    assert_eq!(jwks(&mut replicas).await.epoch, jwks(&mut keys).await.epoch);
    assert_eq!(
        verified(&mut replicas, &token, RING).await.as_deref(),
        Ok(theirs.kid)
    );

    later(&service, DAY + 1);
    assert_eq!(
        verified(&mut keys, &token, RING).await,
        Err(Code::InvalidArgument)
    );
    assert_eq!(published(&jwks(&mut keys).await, theirs.kid), 0);
    let over = listed(&mut admin, theirs.kid).await;
    assert!(
        over.iter()
            .all(|key| key.state() == KeyState::Expired && key.jwk.is_empty())
    );
    assert_eq!(over.len(), 2);
}

#[tokio::test]
async fn an_imported_key_is_withdrawn_like_any_other() {
    let service = KeyService::start(RINGS);
    let (mut keys, mut admin) = (service.keys().await, service.admin().await);
    let records = || {
        let entries = fs::read_dir(service.folder.path().join("keys")).unwrap();
        let names = entries.map(|entry| entry.unwrap().path());
        names
            .filter(|path| path.extension().is_some_and(|it| it == "imported"))
            .count()
    };
    let until = service.now() + DAY;
    let reason = || "for a test".to_owned();
    let (first, second) = (Provider::new("first"), Provider::new("second"));
    for provider in [&first, &second] {
        for ring in [RING, OTHER] {
            import(&mut admin, wanted(ring, &provider.jwk(), until))
                .await
                .unwrap();
        }
    }
    let own = sign(&mut keys, RING, service.now()).await.unwrap().kid;
    assert_eq!(records(), 4);
    // The same again adds nothing, for longer it adds a record.
    import(&mut admin, wanted(RING, &first.jwk(), until - 10))
        .await
        .unwrap();
    assert_eq!(records(), 4);
    let longer = import(&mut admin, wanted(RING, &first.jwk(), until + 10))
        .await
        .unwrap();
    assert_eq!(longer.key.unwrap().expires_at, until + 10);
    assert_eq!(records(), 5);

    let (one, other) = (first.token(service.now()), second.token(service.now()));
    let kid = || first.kid.to_owned();
    let disable = v1::DisableKeyRequest {
        kid: kid(),
        reason: reason(),
    };
    let disabled = admin.disable_key(disable).await.unwrap().into_inner();
    assert_eq!(disabled.key.unwrap().state(), KeyState::Disabled);
    assert_eq!(disabled.signing_kid, "");
    for ring in [RING, OTHER] {
        assert_eq!(
            verified(&mut keys, &one, ring).await,
            Err(Code::InvalidArgument)
        );
        assert!(verified(&mut keys, &other, ring).await.is_ok());
    }
    let enabled = admin
        .enable_key(v1::EnableKeyRequest { kid: kid() })
        .await
        .unwrap();
    let enabled = enabled.into_inner().key.unwrap();
    assert_eq!(
        (enabled.state(), enabled.reason.as_str()),
        (KeyState::Retired, "imported")
    );
    assert!(verified(&mut keys, &one, OTHER).await.is_ok());

    let refused = admin
        .destroy_key(v1::DestroyKeyRequest { kid: kid() })
        .await;
    assert!(
        refused
            .unwrap_err()
            .message()
            .starts_with("destroy.retention: ")
    );
    let revoke = v1::RevokeKeyRequest {
        kid: kid(),
        reason: reason(),
    };
    let revoked = admin.revoke_key(revoke).await.unwrap().into_inner();
    assert_eq!(revoked.revoked.unwrap().state(), KeyState::Revoked);
    // Nothing that signs was touched.
    assert_eq!((revoked.signing_kid.as_str(), revoked.created), ("", None));
    assert_eq!(sign(&mut keys, RING, service.now()).await.unwrap().kid, own);
    assert_eq!(
        verified(&mut keys, &one, RING).await,
        Err(Code::InvalidArgument)
    );
    for _ in 0..2 {
        let destroyed = admin
            .destroy_key(v1::DestroyKeyRequest { kid: kid() })
            .await;
        let destroyed = destroyed.unwrap().into_inner().key.unwrap();
        assert_eq!(destroyed.state(), KeyState::Destroyed);
    }
    assert_eq!(records(), 2);
    let again = import(&mut admin, wanted(RING, &first.jwk(), until))
        .await
        .unwrap_err();
    assert!(again.message().starts_with("import.withdrawn: "), "{again}");
    // Its tombstones are no key's of the ring: the next rotation goes on as if it had not been.
    let rotate = v1::RotateKeyRequest {
        ring: RING.to_owned(),
        dry_run: true,
    };
    let plan = admin.rotate_key(rotate).await.unwrap().into_inner();
    assert_eq!(
        (plan.created.unwrap().generation, plan.next_generation),
        (3, 2)
    );
    assert!(verified(&mut keys, &other, RING).await.is_ok());
}

#[tokio::test]
async fn what_may_not_be_imported_names_its_rule() {
    let log = "[audit]\npath = \"audit.log\"\ndurability = \"write\"\n";
    let service = KeyService::start(&format!("{log}{RINGS}"));
    let (mut keys, mut admin) = (service.keys().await, service.admin().await);
    let now = service.now();
    let theirs = Provider::new("theirs");
    let with = |name: &str, value: Value| {
        let mut jwk = theirs.jwk();
        jwk[name] = value;
        jwk
    };
    let own: Value = serde_json::from_slice(&jwks(&mut keys).await.jwks).unwrap();
    let own_kid = own["keys"][0]["kid"].clone();
    let own_key = |kid: Value| {
        let mut jwk = own["keys"][0].clone();
        jwk["kid"] = kid;
        jwk
    };
    // RFC 7638 §3.1, cut to 1024 bits.
    let n = "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjBZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGg";
    let weak = json!({ "kty": "RSA", "n": n, "e": "AQAB", "kid": "weak" });
    import(
        &mut admin,
        wanted(RING, &Provider::new("taken").jwk(), now + DAY),
    )
    .await
    .unwrap();
    let rows = [
        (
            "private",
            RING,
            with("d", json!("AA")),
            DAY,
            "import.private",
        ),
        (
            "a shared secret",
            RING,
            json!({ "kty": "oct", "k": "AA" }),
            DAY,
            "import.private",
        ),
        ("a short RSA key", RING, weak, DAY, "import.key"),
        (
            "of an unknown type",
            RING,
            json!({ "kty": "AKP" }),
            DAY,
            "import.key",
        ),
        (
            "for another algorithm",
            RING,
            with("alg", json!("ES256")),
            DAY,
            "import.alg",
        ),
        (
            "to encrypt with",
            RING,
            with("use", json!("enc")),
            DAY,
            "import.use",
        ),
        (
            "a ring that does not sign",
            "request-object/ECDH-ES",
            theirs.jwk(),
            DAY,
            "import.ring",
        ),
        (
            "a kid with a quote",
            RING,
            with("kid", json!("a\"b")),
            DAY,
            "import.kid",
        ),
        (
            "no kid in it",
            RING,
            with("kid", json!("")),
            DAY,
            "import.kid",
        ),
        (
            "a kid that is taken",
            RING,
            with("kid", json!("taken")),
            DAY,
            "import.kid",
        ),
        (
            "our own key",
            RING,
            own_key(json!("theirs")),
            DAY,
            "import.own",
        ),
        ("our own kid", RING, with("kid", own_kid), DAY, "import.own"),
        ("over already", RING, theirs.jwk(), -1, "import.until"),
        (
            "for too long",
            RING,
            theirs.jwk(),
            401 * DAY,
            "import.until",
        ),
    ];
    for (what, ring, jwk, life, rule) in &rows {
        let refused = import(&mut admin, wanted(ring, jwk, now + life))
            .await
            .unwrap_err();
        assert_eq!(
            refused.code(),
            Code::FailedPrecondition,
            "{what}: {refused}"
        );
        assert!(
            refused.message().starts_with(&format!("{rule}: ")),
            "{what}: {refused}"
        );
    }
    let mut no_json = wanted(RING, &theirs.jwk(), now + DAY);
    no_json.jwk = "{".into();
    let refused = import(&mut admin, no_json).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    // A gateway's certificate opens no administration, and a ring that is not there is like one that is not ours.
    let unknown = import(
        &mut admin,
        wanted("id-token/RS256", &theirs.jwk(), now + DAY),
    )
    .await;
    assert_eq!(unknown.unwrap_err().code(), Code::PermissionDenied);
    let gateway = service
        .channel(&caller(&service.authority, GATEWAY))
        .await
        .unwrap();
    let mut gateway = KeyAdminClient::new(gateway);
    let foreign = import(&mut gateway, wanted(RING, &theirs.jwk(), now + DAY)).await;
    assert_eq!(foreign.unwrap_err().code(), Code::PermissionDenied);
    // Nothing of it was kept, and the nearest that is allowed is.
    import(&mut admin, wanted(RING, &theirs.jwk(), now + 400 * DAY - 5))
        .await
        .unwrap();
    assert_eq!(listed(&mut admin, "theirs").await.len(), 1);
    for count in 2..32 {
        let other = Provider::new("other").jwk();
        let mut jwk = other.clone();
        jwk["kid"] = json!(format!("other-{count}"));
        import(&mut admin, wanted(RING, &jwk, now + DAY))
            .await
            .unwrap();
    }
    let many = import(
        &mut admin,
        wanted(RING, &Provider::new("many").jwk(), now + DAY),
    )
    .await;
    assert!(many.unwrap_err().message().starts_with("import.many: "));

    // Each is on the audit log.
    let text = fs::read_to_string(service.folder.path().join("audit.log")).unwrap();
    let records: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let imports = records
        .iter()
        .filter(|it| it["method"] == "ImportPublicKey");
    let imports: Vec<&Value> = imports.collect();
    for (what, _, _, _, rule) in &rows {
        assert!(imports.iter().any(|it| it["rule"] == *rule), "{what}");
    }
    let made: Vec<&Value> = imports
        .iter()
        .filter(|it| it["status"] == "OK")
        .map(|it| &it["kid"])
        .collect();
    assert_eq!(made[..2], [&json!("taken"), &json!("theirs")]);
    let foreign = records
        .iter()
        .rfind(|it| it["status"] == "PERMISSION_DENIED");
    assert_eq!(foreign.unwrap()["caller"], "gateway");
}

/// The command line, with a service of its own.
struct Line {
    folder: tempfile::TempDir,
    _service: Serving,
}

impl Line {
    fn start() -> Line {
        let folder = tempfile::tempdir().unwrap();
        write_secret(&folder.path().join("passphrase"), "correct horse");
        let backend = "kind = \"software\"\ndirectory = \"keys\"\npassphrase_file = \"passphrase\"";
        let admin = format!(
            "[admin]\nendpoint = \"unix:{}\"\n",
            folder.path().join("socket").display()
        );
        let path = folder.path().join("key-service.toml");
        fs::write(&path, configuration(backend, &admin)).unwrap();
        let service = Serving::start(serve(&path));
        Line {
            folder,
            _service: service,
        }
    }

    fn run(&self, command: &[&str]) -> (Option<i32>, String) {
        let mut program = Command::new(program());
        program
            .args(["admin", "--config"])
            .arg(self.folder.path().join("key-service.toml"))
            .args(command)
            .stdin(Stdio::null());
        let output = program.output().unwrap();
        let words = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(words).unwrap())
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).unwrap();
        path
    }
}

#[test]
fn the_command_line_moves_public_keys_and_never_private_ones() {
    let (here, there) = (Line::start(), Line::start());
    const RING: &str = "id-token/ES256";
    let run = |words: &[&str]| {
        let (code, said) = there.run(words);
        assert_eq!(code, Some(0), "{words:?}: {said}");
        said
    };
    let (code, exported) = here.run(&["export", RING]);
    assert_eq!(code, Some(0), "{exported}");
    let set: JwkSet = serde_json::from_str(&exported).unwrap();
    let kids: Vec<&str> = set
        .keys
        .iter()
        .map(|key| key.common.key_id.as_deref().unwrap())
        .collect();
    assert_eq!(kids.len(), 2);
    let file = there.file("here.json", &exported);
    let import = ["import", "--ring", RING, "--jwks", file.to_str().unwrap()];
    let plan = run(&[&import[..], &["--until", "30d", "--dry-run"]].concat());
    assert!(
        plan.contains(&format!("{} would be published until ", kids[0])),
        "{plan}"
    );
    assert!(!run(&["list"]).contains(kids[0]));
    let said = run(&[&import[..], &["--until", "30d"]].concat());
    for kid in &kids {
        assert!(
            said.contains(&format!("{RING}: {kid} is published until ")),
            "{said}"
        );
        assert!(run(&["list"]).contains(kid));
    }
    assert!(
        said.contains("every relying party knows it from "),
        "{said}"
    );
    let one = run(&[&import[..], &["--until", "30d", "--json", "--kid", kids[1]]].concat());
    let one: Value = serde_json::from_str(&one).unwrap();
    assert_eq!(one["imported"][0]["key"]["kid"], kids[1]);
    assert_eq!(one["imported"][1], Value::Null);
    let words = [&import[..], &["--until", "2999-01-01T00:00:00Z"]].concat();
    let (code, said) = there.run(&words);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("import.until: "), "{said}");
    // What was imported is not the service's own to hand on.
    assert!(!run(&["export", RING]).contains(kids[0]));

    let private = json!({ "keys": [{ "kty": "EC", "kid": "p", "d": "SECRET" }] }).to_string();
    for (what, content, until, said) in [
        (
            "private",
            private.as_str(),
            "30d",
            "holds private key material: nothing was sent",
        ),
        ("no JSON", "keys", "30d", "is not JSON"),
        (
            "for ever",
            exported.as_str(),
            "forever",
            "--until forever: neither a duration",
        ),
        (
            "nothing for it",
            "{\"keys\":[]}",
            "30d",
            "none of its 0 keys is for id-token/ES256",
        ),
    ] {
        let file = there.file("wrong.json", content);
        let (code, words) = there.run(&[
            "import",
            "--ring",
            RING,
            "--jwks",
            file.to_str().unwrap(),
            "--until",
            until,
        ]);
        assert_eq!(code, Some(64), "{what}: {words}");
        assert!(words.contains(said), "{what}: {words}");
        assert!(!words.contains("SECRET"), "{what}: {words}");
    }
    let own = there.file("own.json", &run(&["export", RING]));
    let (code, words) = there.run(&[
        "import",
        "--ring",
        RING,
        "--jwks",
        own.to_str().unwrap(),
        "--until",
        "30d",
    ]);
    assert_eq!(code, Some(1), "{words}");
    assert!(words.contains("import.own: "), "{words}");
}

/// What the gateway does with the published keys: it serves what it fetched a while ago.
struct Gateway {
    name: &'static str,
    keys: KeyServiceClient<Channel>,
    served: Option<(i64, JwkSet)>,
}

impl Gateway {
    /// As old as it may be: [lifecycle] gateway_refresh of the tests' configuration.
    const REFRESH: i64 = 10;

    async fn jwks(&mut self, now: i64) -> JwkSet {
        if self
            .served
            .as_ref()
            .is_none_or(|(at, _)| now - at >= Self::REFRESH)
        {
            let set = serde_json::from_slice(&jwks(&mut self.keys).await.jwks).unwrap();
            self.served = Some((now, set));
        }
        self.served.as_ref().unwrap().1.clone()
    }
}

/// One that never asks again before it must: a token of a kid that it does not know is refused.
#[derive(Default)]
struct RelyingParty {
    kept: Option<(i64, JwkSet)>,
    verified: usize,
}

impl RelyingParty {
    /// [lifecycle] jwks_max_age of the tests' configuration.
    const MAX_AGE: i64 = 50;

    async fn look(&mut self, gateway: &mut Gateway, now: i64) {
        if self
            .kept
            .as_ref()
            .is_none_or(|(at, _)| now - at >= Self::MAX_AGE)
        {
            self.kept = Some((now, gateway.jwks(now).await));
        }
    }

    /// The key by which it would verify this: only its kid says which.
    fn knows(&self, (at, token): &(i64, v1::Signed), what: &str) -> &Jwk {
        let (_, set) = self.kept.as_ref().unwrap();
        let found = set.find(&token.kid);
        found.unwrap_or_else(|| panic!("{what}: {} of {at} is unknown", token.kid))
    }

    fn verify(&mut self, token: &(i64, v1::Signed), what: &str) {
        let key = DecodingKey::from_jwk(self.knows(token, what)).unwrap();
        let compact = &token.1.compact;
        let algorithm = jsonwebtoken::decode_header(compact).unwrap().alg;
        let mut validation = Validation::new(algorithm);
        // By the moved clock; the tests' own check is that it lives.
        validation.validate_exp = false;
        validation.validate_aud = false;
        jsonwebtoken::decode::<Value>(compact, &key, &validation).unwrap();
        self.verified += 1;
    }
}

/// Everything but the key-services.
struct World {
    gateways: Vec<Gateway>,
    parties: Vec<RelyingParty>,
    living: Vec<(i64, v1::Signed)>,
    ticks: usize,
}

const MOVING: [&str; 2] = ["id-token/ES256", "id-token/RS256"];
/// Seconds that the tokens of this test live.
const LIFE: i64 = 300;
/// Seconds between two looks.
const TICK: i64 = 5;

impl World {
    /// Each gateway signs with each ring, and every relying party verifies all that lives.
    async fn tick(&mut self, services: &[&KeyService], what: &str) {
        for service in services {
            later(service, TICK);
        }
        let now = services[0].now();
        for gateway in &mut self.gateways {
            for ring in MOVING {
                let mut claims = id_token(now);
                claims["exp"] = json!(now + LIFE);
                let items = vec![item(ring, v1::Profile::IdToken, &claims)];
                let answer = gateway.keys.sign(v1::SignRequest { items }).await;
                let answer =
                    answer.unwrap_or_else(|status| panic!("{what}: {}: {status}", gateway.name));
                self.living.push((now, answer.into_inner().items.remove(0)));
            }
        }
        self.living.retain(|(at, _)| at + LIFE > now);
        let count = self.gateways.len();
        for (index, party) in self.parties.iter_mut().enumerate() {
            // A balancer sends each to another gateway than the last time.
            let gateway = &mut self.gateways[(index + self.ticks) % count];
            party.look(gateway, now).await;
            for token in &self.living {
                party.knows(token, what);
            }
            // A key that a party has verifies the same always: one new and one old token of those that it knows.
            let newest = self.living.len() - 1 - index % self.living.len().min(4);
            for token in [newest, self.ticks % self.living.len()] {
                party.verify(&self.living[token], what);
            }
        }
        self.ticks += 1;
    }

    async fn ticks(&mut self, services: &[&KeyService], seconds: i64, what: &str) {
        for _ in 0..seconds / TICK {
            self.tick(services, what).await;
        }
    }
}

/// `admin export`, as JSON Web Keys by ring.
async fn exported(admin: &mut Admin, ring: &str) -> Vec<Value> {
    let request = v1::ListKeysRequest {
        ring: ring.to_owned(),
    };
    let keys = admin.list_keys(request).await.unwrap().into_inner().keys;
    let own = keys
        .iter()
        .filter(|key| key.generation > 0 && !key.jwk.is_empty());
    own.map(|key| serde_json::from_slice(&key.jwk).unwrap())
        .collect()
}

/// The signatures that a service counts, by backend.
fn signatures(service: &KeyService, backend: &str) -> u64 {
    let metrics = get(service.running.metrics_address().unwrap(), "/metrics");
    let of = |ring: &str| {
        let start =
            format!("key_service_signatures_total{{ring=\"{ring}\",backend=\"{backend}\"}} ");
        let line = metrics.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("{start}: {metrics}"))
            .parse::<u64>()
            .unwrap()
    };
    MOVING.iter().map(|ring| of(ring)).sum()
}

#[tokio::test]
async fn a_ring_moves_into_a_token_and_nothing_fails_to_verify() {
    let name = "migration::a_ring_moves_into_a_token_and_nothing_fails_to_verify";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let tables: Vec<String> = MOVING
        .iter()
        .map(|ring| format!("[[rings]]\nname = \"{ring}\"\n"))
        .collect();
    let tables = tables.concat();
    let mut settings: Option<Config> = None;
    let software = KeyService::configured(&tables, |config| settings = Some(config.clone()));
    let gateway = async |service: &KeyService, name| Gateway {
        name,
        keys: service.keys().await,
        served: None,
    };
    let mut world = World {
        gateways: vec![
            gateway(&software, "first").await,
            gateway(&software, "second").await,
        ],
        parties: Vec::new(),
        living: Vec::new(),
        ticks: 0,
    };
    // Each comes at another moment, so that each has a copy of another age.
    for _ in 0..11 {
        world.parties.push(RelyingParty::default());
        world.tick(&[&software], "before").await;
    }
    let mut admin = software.admin().await;

    // The new home gets its keys, and nobody uses it.
    let home = pkcs11(&softhsm.token("signet", "1234"));
    let mut config = settings.unwrap();
    config.backend = home.clone();
    let until = software.now() + 30 * DAY;
    let mut known_by = 0;
    for ring in MOVING {
        let made = Service::make_keys(&config, Some(ring)).unwrap();
        let made: Value = serde_json::from_slice(&made).unwrap();
        let made = made["keys"].as_array().unwrap();
        assert_eq!(made.len(), 2);
        for jwk in made {
            let imported = import(&mut admin, wanted(ring, jwk, until)).await.unwrap();
            known_by = imported.known_by;
        }
    }
    world.tick(&[&software], "imported").await;
    let wait = known_by - software.now();
    assert!(wait > 0, "{wait}");
    world
        .ticks(&[&software], wait + TICK, "until all know the new keys")
        .await;

    // It serves beside the old one, and publishes what the old one signed.
    let token = KeyService::start_at(&home, &tables);
    later(&token, software.now() - token.now());
    let mut new_admin = token.admin().await;
    let over = token.now() + 7200;
    for ring in MOVING {
        for jwk in exported(&mut admin, ring).await {
            import(&mut new_admin, wanted(ring, &jwk, over))
                .await
                .unwrap();
        }
    }
    let both = [&software, &token];
    world.ticks(&both, 20, "both serve").await;
    world.gateways[0] = gateway(&token, "first, moved").await;
    world.ticks(&both, 120, "the first gateway has moved").await;
    world.gateways[1] = gateway(&token, "second, moved").await;
    let before = signatures(&software, "software");
    assert!(before > 0);
    world.ticks(&both, LIFE + 120, "all have moved").await;

    // Nothing comes from software any more, and the numbers say so.
    assert_eq!(signatures(&software, "software"), before);
    assert_eq!(signatures(&token, "software"), 0);
    assert!(signatures(&token, "pkcs11") > 100);
    assert_eq!(signatures(&software, "pkcs11"), 0);
    drop(admin);
    drop(software);
    // Its keys go when their time is over, and the ring goes on.
    later(&token, over - token.now());
    world.living.clear();
    for party in &mut world.parties {
        party.kept = None;
    }
    for gateway in &mut world.gateways {
        gateway.served = None;
    }
    world.ticks(&[&token], 60, "alone").await;
    let own = world.gateways[0].jwks(token.now()).await;
    assert_eq!(own.keys.len(), 2 * MOVING.len());
    assert!(world.parties.iter().all(|party| party.verified > 100));
}

/// A public key that is imported stays with the token: a record that only who has the PIN can write.
#[tokio::test]
async fn an_imported_key_in_a_token_needs_the_pin() {
    let name = "migration::an_imported_key_in_a_token_needs_the_pin";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let home: backend::Settings = pkcs11(&softhsm.token("signet", "1234"));
    let tables = format!("[[rings]]\nname = \"{RING}\"\n");
    let service = KeyService::start_at(&home, &tables);
    let (mut keys, mut admin) = (service.keys().await, service.admin().await);
    let theirs = Provider::new("theirs");
    let until = service.now() + DAY;
    import(&mut admin, wanted(RING, &theirs.jwk(), until))
        .await
        .unwrap();
    let token = theirs.token(service.now());
    assert_eq!(
        verified(&mut keys, &token, RING).await.as_deref(),
        Ok("theirs")
    );

    // The same record, but one that SoftHSM lets anybody write: it is no word of ours.
    let rogue = Provider::new("rogue");
    let session = crate::token::intruder("signet");
    use cryptoki::object::{Attribute, ObjectClass};
    let record = json!({ "ring": RING, "jwk": rogue.jwk(), "at": service.now(), "until": until });
    let object = |is_private| {
        [
            Attribute::Class(ObjectClass::DATA),
            Attribute::Token(true),
            Attribute::Private(is_private),
            Attribute::Application(b"signet".to_vec()),
            Attribute::Label(format!("i1/{RING}/1/rogue").into_bytes()),
            Attribute::Value(record.to_string().into_bytes()),
        ]
    };
    session.create_object(&object(false)).unwrap();
    service.running.keyring().reload().await.unwrap();
    let forged = rogue.token(service.now());
    assert_eq!(
        verified(&mut keys, &forged, RING).await,
        Err(Code::InvalidArgument)
    );
    // It is the PIN that makes the difference, and nothing else about the record.
    session.create_object(&object(true)).unwrap();
    service.running.keyring().reload().await.unwrap();
    assert_eq!(
        verified(&mut keys, &forged, RING).await.as_deref(),
        Ok("rogue")
    );

    // A later process knows it too.
    drop(service);
    let again = KeyService::start_at(&home, &tables);
    let mut keys = again.keys().await;
    assert_eq!(
        verified(&mut keys, &token, RING).await.as_deref(),
        Ok("theirs")
    );
    assert!(Path::new(&softhsm.tokens()).exists());
}
