//! What may not be imported names its rule and is on the audit log; and what the command line sends, which is nothing private.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use proto::v1;
use proto::v1::key_admin_client::KeyAdminClient;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::softhsm::write_secret;
use tonic::Code;

use super::{DAY, Provider, RING, RINGS, import, listed, published, verified, wanted};
use crate::audit::records;
use crate::hardening::{Serving, configuration, program, serve};
use crate::running::{GATEWAY, KeyService, caller, jwks};

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

/// An operator's certificate is none to sign as anybody with: what is imported is believed.
#[tokio::test]
async fn only_who_is_told_to_may_import() {
    let service = KeyService::configured(RINGS, |config| {
        for caller in &mut config.callers.allow {
            caller.imports = false;
        }
    });
    let (mut keys, mut admin) = (service.keys().await, service.admin().await);
    let theirs = Provider::new("theirs");
    for dry_run in [false, true] {
        let mut wanted = wanted(RING, &theirs.jwk(), service.now() + DAY);
        wanted.dry_run = dry_run;
        let refused = import(&mut admin, wanted).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().starts_with("import.caller: "));
    }
    assert_eq!(published(&jwks(&mut keys).await, "theirs"), 0);
    let token = theirs.token(service.now());
    assert_eq!(
        verified(&mut keys, &token, RING).await,
        Err(Code::InvalidArgument)
    );
}

/// Its kid is what its importer likes; its thumbprint is what it is.
#[tokio::test]
async fn the_audit_log_tells_which_key_it_was() {
    let log = "[audit]\npath = \"audit.log\"\ndurability = \"write\"\n";
    let service = KeyService::start(&format!("{log}{RINGS}"));
    let mut admin = service.admin().await;
    let theirs = Provider::new("2011-04-29+x=");
    let jwk = theirs.jwk();
    let members = format!(
        r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#,
        jwk["x"].as_str().unwrap()
    );
    let thumbprint = URL_SAFE_NO_PAD.encode(Sha256::digest(members));
    for dry_run in [true, false] {
        let mut wanted = wanted(RING, &jwk, service.now() + DAY);
        wanted.dry_run = dry_run;
        import(&mut admin, wanted).await.unwrap();
    }
    let log = service.folder.path().join("audit.log");
    let of = |name: &str, value: &str| {
        let records = records(&log).into_iter();
        let found = records.filter(|it| it[name] == value);
        found.collect::<Vec<Value>>()
    };
    let imports = of("method", "ImportPublicKey");
    for (record, dry_run) in imports.iter().zip([json!("true"), Value::Null]) {
        assert_eq!(record["thumbprint"], thumbprint.as_str());
        assert_eq!(record["dry_run"], dry_run);
    }
    // Which keys are believed is told also where nobody asked for one.
    let expected = json!([format!("{RING} {thumbprint}")]);
    let begun = Instant::now();
    while !of("event", "published")
        .iter()
        .any(|it| it["imported"] == expected)
    {
        assert!(begun.elapsed() < Duration::from_secs(20), "not told");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let revoke = v1::RevokeKeyRequest {
        kid: theirs.kid.to_owned(),
        reason: "lost".to_owned(),
    };
    admin.revoke_key(revoke).await.unwrap();
    assert_eq!(of("method", "RevokeKey")[0]["kid"], theirs.kid);
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
    let plan = run(&[&import[..], &["--until", "1m", "--dry-run"]].concat());
    assert!(
        plan.contains("that is too soon for every relying party"),
        "{plan}"
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

    // RFC 7515 A.3.1, and a key that is the service's own already: of the first one it is said that it is there now.
    let mut set: Value = serde_json::from_str(&run(&["export", RING])).unwrap();
    let good = json!({
        "kty": "EC", "crv": "P-256", "kid": "theirs",
        "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
        "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    });
    set["keys"].as_array_mut().unwrap().insert(0, good);
    let file = there.file("half.json", &set.to_string());
    let half = ["import", "--ring", RING, "--jwks", file.to_str().unwrap()];
    let (code, said) = there.run(&[&half[..], &["--until", "30d"]].concat());
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("import.own: "), "{said}");
    assert!(said.contains("imported before that: theirs"), "{said}");
    assert!(run(&["list"]).contains("theirs"));

    let long = format!("{{\"keys\":[]}}{}", " ".repeat(1024 * 1024));
    let private = json!({ "keys": [{ "kty": "EC", "kid": "p", "d": "SECRET" }] }).to_string();
    for (what, content, until, said) in [
        (
            "private",
            private.as_str(),
            "30d",
            "holds private key material: nothing was sent",
        ),
        ("no JSON", "keys", "30d", "is not JSON"),
        ("too long", long.as_str(), "30d", "is longer than a MiB"),
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
