//! K-6: the doctor says of any module what the service can do with it, tries a PIN once, leaves nothing behind, and writes
//! a configuration that the service takes.

use std::fs;
use std::path::Path;

use clap::Parser;
use cryptoki::object::Attribute;
use key_service::config::Config;
use key_service::doctor;
use key_service::serve::Service;
use pki::Authority;
use serde_json::Value;
use support::kryoptic::Kryoptic;
use support::softhsm::{self, SoftHsm};

use crate::device_faults::faulty;
use crate::running::write_certificate;

#[derive(Debug, Parser)]
struct Line {
    #[command(flatten)]
    options: doctor::Options,
}

/// What `key-service doctor` answers: its exit code, and what it writes.
fn doctor(arguments: &[&str]) -> (u8, String) {
    let line = Line::try_parse_from(["doctor"].iter().chain(arguments)).unwrap();
    let mut out = Vec::new();
    match doctor::run(&line.options, &mut out) {
        Ok(code) => (code, String::from_utf8(out).unwrap()),
        Err(error) => (error.code(), error.to_string()),
    }
}

fn json(arguments: &[&str]) -> Value {
    let (code, text) = doctor(&[arguments, &["--json"]].concat());
    let answer: Value = serde_json::from_str(&text).expect(&text);
    assert_eq!(code == 0, answer["usable"] == true, "{answer}");
    answer
}

fn working(answer: &Value) -> Vec<&str> {
    let tried = answer["algorithms"].as_array().unwrap().iter();
    let works = tried.filter(|it| it["works"] == true);
    works.map(|it| it["alg"].as_str().unwrap()).collect()
}

fn finding<'a>(answer: &'a Value, name: &str) -> &'a str {
    let all = answer["findings"].as_array().unwrap();
    let found = all.iter().find(|it| it["name"] == name);
    found.unwrap_or_else(|| panic!("{name}: {answer}"))["detail"]
        .as_str()
        .unwrap()
}

/// SoftHSM 2.6.1.
const SOFTHSM: [&str; 16] = [
    "RS256",
    "RS384",
    "RS512",
    "PS256",
    "PS384",
    "PS512",
    "ES256",
    "ES384",
    "ES512",
    "EdDSA",
    "RSA-OAEP",
    "ECDH-ES",
    "ECDH-ES-P384",
    "ECDH-ES-P521",
    "A256GCM",
    "HS256",
];

#[test]
fn a_token_is_examined_and_left_as_it_was() {
    let name = "doctor::a_token_is_examined_and_left_as_it_was";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let token = softhsm.token("signet", "1234");
    let pin = token.pin_file.to_str().unwrap();
    let module = ["--module", softhsm::MODULE];
    let with_pin = [&module[..], &["--pin-file", pin]].concat();
    let measured = [&with_pin[..], &["--lanes", "1,2", "--seconds", "0.2"]].concat();
    let answer = json(&measured);
    assert_eq!(answer["tried"], true);
    assert_eq!(working(&answer), SOFTHSM);
    let oaep = answer["algorithms"].as_array().unwrap();
    let oaep = oaep.iter().find(|it| it["alg"] == "RSA-OAEP-256").unwrap();
    assert_eq!(oaep["reason"], "the token does OAEP with SHA-1 only");
    assert_eq!(answer["token"]["label"], "signet");
    for (name, said) in [
        ("key attributes", "never extractable"),
        ("CKA_SENSITIVE", "honoured"),
        ("CKA_SIGN", "false is honoured"),
        ("CKA_ALLOWED_MECHANISMS", "honoured"),
        ("Ed25519 point", "DER"),
        ("CKO_DATA", "its value cannot be changed"),
        ("other sessions", "seen at once"),
        ("other processes", "the service writes again"),
        ("digest length", ""),
        ("keys made at once", ""),
    ] {
        let detail = finding(&answer, name);
        assert!(detail.contains(said), "{name}: {detail}");
    }
    let speed = answer["speed"].as_array().unwrap();
    for alg in ["RS256", "ES256"] {
        for lanes in [1, 2] {
            let of = |it: &&Value| it["alg"] == alg && it["lanes"] == lanes;
            let rows: Vec<&Value> = speed.iter().filter(of).collect();
            assert!(rows.iter().any(|it| it["key"] == "token key"), "{speed:?}");
            assert!(rows.iter().all(|it| it["per_second"].as_f64() > Some(1.0)));
            assert!(
                rows.iter()
                    .all(|it| it["cpu_microseconds"].as_f64() > Some(1.0))
            );
        }
    }
    assert_eq!(answer["left"], serde_json::json!([]));
    assert_eq!(objects(), 0, "something is left behind");

    // What an examination that was killed left is removed, and nothing else is.
    leave("signet-doctor");
    leave("somebody's");
    let answer = json(&[&with_pin[..], &["--seconds", "0"]].concat());
    assert!(finding(&answer, "leftovers").starts_with("1 object"));
    assert_eq!(objects(), 1);
    assert_eq!(answer["speed"], serde_json::json!([]));

    // For a person.
    let (code, text) = doctor(&measured);
    assert_eq!(code, 0, "{text}");
    for said in [
        "✓ RS256",
        "✗ RSA-OAEP-256",
        "✓ CKO_DATA",
        "lanes 2",
        "[backend]",
        "# request-object/",
        "The key-service can be run with it.",
    ] {
        assert_eq!(
            said.starts_with('#'),
            !text.contains(said),
            "{said}: {text}"
        );
    }
    assert!(!text.contains("1234"), "{text}");

    // Without a login.
    let answer = json(&module);
    assert_eq!(answer["tried"], false);
    assert_eq!(answer["configuration"], Value::Null);
    assert_eq!(answer["findings"], serde_json::json!([]));
    // The list says so, and is wrong.
    assert!(working(&answer).contains(&"RSA-OAEP-256"));
    assert!(!working(&answer).contains(&"ECDH-ES-X25519"));
    let (code, text) = doctor(&module);
    assert_eq!(code, 0);
    assert!(text.contains("Nothing was tried"), "{text}");
}

/// kryoptic 1.5.4: what it does otherwise than SoftHSM.
#[test]
fn another_kind_of_token_is_told_from_it() {
    let name = "doctor::another_kind_of_token_is_told_from_it";
    let Some(kryoptic) = Kryoptic::in_own_process(name) else {
        return;
    };
    let token = kryoptic.token("signet", "1234");
    let (module, pin) = (&token.module, &token.pin_file);
    let module = ["--module", module.to_str().unwrap(), "--token", "signet"];
    let with_pin = ["--pin-file", pin.to_str().unwrap(), "--seconds", "0.2"];
    let answer = json(&[&module[..], &with_pin, &["--lanes", "1"]].concat());
    assert_eq!(working(&answer).len(), 18);
    for (name, said) in [
        ("key attributes", "never extractable"),
        ("CKA_SENSITIVE", "honoured"),
        ("CKA_SIGN", "false is honoured"),
        ("CKA_ALLOWED_MECHANISMS", "honoured"),
        ("Ed25519 point", "the 32 octets"),
        ("CKO_DATA", "held"),
        ("other sessions", "seen at once"),
        ("keys made at once", ""),
        ("session copies", "times as fast"),
    ] {
        let detail = finding(&answer, name);
        assert!(detail.contains(said), "{name}: {detail}");
    }
    let speed = answer["speed"].as_array().unwrap();
    let copies = speed.iter().filter(|it| it["key"] == "session copy");
    assert_eq!(copies.count(), 2, "{speed:?}");
    assert_eq!(answer["left"], serde_json::json!([]));
}

#[test]
fn a_token_that_fails_is_told_and_cleaned_up() {
    let name = "doctor::a_token_that_fails_is_told_and_cleaned_up";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let (control, token) = faulty(&softhsm.token("signet", "1234"));
    let wrong = softhsm.secret("wrong", "9999");
    let module = ["--module", token.module.to_str().unwrap()];
    let quick = ["--lanes", "1", "--seconds", "0.05", "--pin-file"];
    let with_pin = |pin: &Path| {
        let pin = pin.to_str().unwrap().to_owned();
        let arguments = module.iter().chain(&quick).map(ToString::to_string);
        arguments.chain([pin]).collect::<Vec<String>>()
    };
    let examine = || {
        let arguments = with_pin(&token.pin_file);
        json(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    };
    #[rustfmt::skip]
    let rows = [
        ("no copies", "C_CopyObject error 0x54", true, "session copies", "none of RS256: FunctionNotSupported"),
        ("no records", "C_CreateObject error 0x54", false, "CKO_DATA", "no key could be revoked"),
        ("no signatures", "C_Sign error 0x30", false, "CKO_DATA", "held"),
        ("no second key", "C_GenerateKeyPair error 0x31 after 14", true, "CKO_DATA", "held"),
    ];
    for (row, fault, is_usable, name, said) in rows {
        control.set(fault).unwrap();
        let answer = examine();
        control.clear().unwrap();
        assert_eq!(answer["usable"], is_usable, "{row}: {answer}");
        let detail = finding(&answer, name);
        assert!(detail.contains(said), "{row}: {detail}");
        assert_eq!(answer["left"], serde_json::json!([]), "{row}");
        assert_eq!(objects(), 0, "{row}");
    }
    // What it cannot take away it names, and the next one does.
    control.set("C_DestroyObject error 0x30").unwrap();
    let answer = examine();
    control.clear().unwrap();
    let left = answer["left"].as_array().unwrap();
    assert!(
        left.len() > 2 && left[0].as_str().unwrap().contains("signet-doctor"),
        "{answer}"
    );
    assert!(objects() > 0);
    assert!(!finding(&examine(), "leftovers").is_empty());
    assert_eq!(objects(), 0);

    let tries = control.calls("C_Login");
    let arguments = with_pin(&wrong);
    let (code, said) = doctor(&arguments.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!((code, control.calls("C_Login")), (1, tries + 1), "{said}");
}

/// A session beside the doctor's.
fn session() -> cryptoki::session::Session {
    use cryptoki::context::{CInitializeArgs, CInitializeFlags, Pkcs11};
    use cryptoki::session::UserType;
    use cryptoki::types::AuthPin;
    let module = Pkcs11::new(softhsm::MODULE).unwrap();
    // The doctor may have left it started.
    let _ = module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK));
    let slot = module.get_slots_with_initialized_token().unwrap()[0];
    let session = module.open_rw_session(slot).unwrap();
    let _ = session.login(UserType::User, Some(&AuthPin::new("1234".into())));
    session
}

fn objects() -> usize {
    session()
        .find_objects(&[Attribute::Token(true)])
        .unwrap()
        .len()
}

fn leave(label: &str) {
    use cryptoki::object::ObjectClass;
    let object = [
        Attribute::Class(ObjectClass::DATA),
        Attribute::Token(true),
        Attribute::Private(true),
        Attribute::Label(label.as_bytes().to_vec()),
    ];
    session().create_object(&object).unwrap();
}

#[test]
fn what_cannot_be_examined_is_told_with_what_is_there() {
    let name = "doctor::what_cannot_be_examined_is_told_with_what_is_there";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let module = ["--module", softhsm::MODULE];
    let (code, said) = doctor(&module);
    assert_eq!(code, 1);
    assert!(said.contains("no initialised token at all"), "{said}");
    assert!(said.contains("SOFTHSM2_CONF"), "{said}");
    let token = softhsm.token("signet", "1234");
    let _other = softhsm.token("other", "4321");
    let wrong = softhsm.secret("wrong", "9999");
    let (good, wrong) = (token.pin_file.to_str().unwrap(), wrong.to_str().unwrap());
    for (row, arguments, code, said) in [
        (
            "no module",
            &["--module", "/usr/lib/none.so"][..],
            1,
            "there is no PKCS#11 module",
        ),
        (
            "no module at all",
            &["--module", "/etc/hostname"],
            1,
            "cannot load the module",
        ),
        ("several tokens", &module, 1, "which token?"),
        (
            "another label",
            &[module[0], module[1], "--token", "Signet"],
            1,
            "\"signet\" (slot",
        ),
        (
            "another slot",
            &[module[0], module[1], "--slot", "4711"],
            1,
            "no such token",
        ),
        (
            "no PIN file",
            &[
                module[0],
                module[1],
                "--token",
                "signet",
                "--pin-file",
                "/none",
            ],
            1,
            "/none",
        ),
        (
            "a wrong PIN",
            &[
                module[0],
                module[1],
                "--token",
                "signet",
                "--pin-file",
                wrong,
            ],
            1,
            "PIN refused; not tried again",
        ),
        (
            "no configuration",
            &["--config", "/none.toml"],
            64,
            "/none.toml",
        ),
    ] {
        let (told, text) = doctor(arguments);
        assert_eq!(told, code, "{row}: {text}");
        assert!(text.contains(said), "{row}: {text}");
        assert!(!text.contains("9999"), "{row}: {text}");
    }
    // It was tried, and before anybody tries another one that is told.
    let signet = [&module[..], &["--token", "signet", "--seconds", "0"]].concat();
    assert_eq!(json(&signet)["token"]["warning"], "a wrong PIN was tried");
    assert_eq!(doctor(&[&signet[..], &["--pin-file", good]].concat()).0, 0);
    assert_eq!(json(&signet)["token"]["warning"], "");
    for wrong in [
        &[][..],
        &["--module", "m", "--config", "c"],
        &["--module", "m", "--slot", "1", "--token", "t"],
        &["--module", "m", "--lanes", "0"],
        &["--module", "m", "--seconds", "-1"],
        &["--module", "m", "--seconds", "1000"],
        &["--module", "m", "--pin", "1234"],
    ] {
        let refused = Line::try_parse_from(["doctor"].iter().chain(wrong));
        assert!(refused.unwrap_err().use_stderr(), "{wrong:?}");
    }
}

/// The rest of a configuration, beside what the doctor writes.
const REST: &str = r#"
allow_root = true
[listen]
tcp = "127.0.0.1:0"
[tls]
certificate_file = "key-service.pem"
key_file = "key-service.key"
client_ca_file = "ca.pem"
[callers]
[policy]
issuer = "https://issuer.example"
"#;

/// Serves with what the doctor wrote: its rings, with a key that signs and a standby.
fn serve(folder: &Path, configuration: &str) -> Vec<String> {
    let authority = Authority::new("test CA").unwrap();
    write_certificate(folder, &authority);
    fs::write(folder.join("ca.pem"), authority.certificate_pem()).unwrap();
    let config = Config::parse(&format!("{REST}\n{configuration}"), folder).unwrap();
    let running = Service::start(&config).unwrap();
    let snapshot = running.keyring().snapshot_full();
    let now = running.keyring().clock().now();
    let served = snapshot.rings().filter(|ring| ring.active(now).is_some());
    served.map(|ring| ring.name().to_string()).collect()
}

#[test]
fn what_it_writes_can_be_pasted() {
    let name = "doctor::what_it_writes_can_be_pasted";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    // A label that TOML must quote with care.
    let token = softhsm.token("sig\"net", "1234");
    let pin = token.pin_file.to_str().unwrap();
    let module = ["--module", softhsm::MODULE, "--pin-file", pin];
    let answer = json(&[&module[..], &["--lanes", "1,2", "--seconds", "0.1"]].concat());
    let configuration = answer["configuration"].as_str().unwrap();
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        serve(folder.path(), configuration),
        [
            "id-token/RS256",
            "id-token/ES256",
            "id-token/EdDSA",
            "access-token/RS256",
            "access-token/ES256",
            "request-object/RSA-OAEP",
            "request-object/ECDH-ES",
            "seal/A256GCM",
            "mac/HS256",
            "pairwise-subject/HS256",
        ]
    );
    assert!(configuration.contains("lanes = "), "{configuration}");
    let serial = answer["token"]["serial"].as_str().unwrap();
    assert!(configuration.contains(&format!("serial = \"{serial}\"")));

    // And that configuration examined: its keys stay as they are.
    let file = folder.path().join("key-service.toml");
    fs::write(&file, format!("{REST}\n{configuration}")).unwrap();
    let before = objects();
    let again = json(&["--config", file.to_str().unwrap(), "--seconds", "0"]);
    assert_eq!(working(&again), SOFTHSM);
    assert_eq!(again["configuration"].as_str().unwrap(), configuration);
    assert_eq!(objects(), before);
}

#[test]
fn software_keys_are_examined_elsewhere_than_where_they_are() {
    let folder = tempfile::tempdir().unwrap();
    softhsm::write_secret(
        &folder.path().join("passphrase"),
        "correct horse battery staple",
    );
    let backend =
        "[backend]\nkind = \"software\"\ndirectory = \"keys\"\npassphrase_file = \"passphrase\"\n";
    let file = folder.path().join("key-service.toml");
    let all = format!("{REST}{backend}\n[[rings]]\nname = \"id-token/ES256\"\n");
    fs::write(&file, all).unwrap();
    let config = ["--config", file.to_str().unwrap()];
    let answer = json(&[&config[..], &["--lanes", "2", "--seconds", "0.1"]].concat());
    assert_eq!(working(&answer).len(), 18);
    assert_eq!(answer["module"], Value::Null);
    assert_eq!(finding(&answer, "tombstones"), "written, and read again");
    assert_eq!(answer["speed"].as_array().unwrap().len(), 2);
    // Whoever opens the folder first chooses its passphrase, and that is the service.
    assert_eq!(
        finding(&answer, "folder"),
        "not used yet: the service begins it"
    );
    assert!(!folder.path().join("keys").exists());
    let configuration = answer["configuration"].as_str().unwrap();
    let mut lines = backend.lines().chain(["[[rings]]"]);
    assert!(
        lines.all(|line| configuration.contains(line)),
        "{configuration}"
    );
    assert!(
        serve(folder.path(), configuration).contains(&"request-object/RSA-OAEP-256".to_owned())
    );

    let entries = || fs::read_dir(folder.path().join("keys")).unwrap().count();
    let before = entries();
    let answer = json(&[&config[..], &["--seconds", "0"]].concat());
    assert_eq!(
        finding(&answer, "folder"),
        "opened with the passphrase, and can be written"
    );
    assert_eq!(entries(), before);

    softhsm::write_secret(&folder.path().join("passphrase"), "another one");
    let (code, said) = doctor(&config);
    assert_eq!(code, 1);
    assert!(said.contains("the passphrase"), "{said}");
    assert!(!said.contains("another one"), "{said}");
}
