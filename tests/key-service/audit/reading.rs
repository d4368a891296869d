//! K-5: the command line, proofs, and the log read from elsewhere.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use key_service::audit::command::{self, Command as Audit};
use key_service::audit::proof::Proof;
use proto::v1;
use serde_json::{Value, json};

use crate::running::KeyService;

use super::{audited, log_of, pinned, sign};

fn run(command: &Audit) -> (u8, String) {
    let mut out = Vec::new();
    let code = match command::run(command, true, &mut out) {
        Ok(code) => code,
        Err(error) => error.code(),
    };
    (code, String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn one_record_is_proven_to_whoever_has_the_key() {
    let service = KeyService::start(&audited("checkpoint_interval = \"50ms\""));
    let log = log_of(&service);
    let mut keys = service.keys().await;
    for jti in ["a", "wanted", "b"] {
        sign(&mut keys, service.now(), jti).await.unwrap();
    }
    let (path, key) = (log.clone(), Some(log.with_extension("log.vkey")));
    let jti = "wanted".to_owned();
    let prove = Audit::Prove { path, jti, key };
    let begun = Instant::now();
    let text = loop {
        match run(&prove) {
            (0, text) => break text,
            (code, _) => assert_eq!(code, 1),
        }
        assert!(begun.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(text.starts_with("c2sp.org/tlog-proof@v1\nextra "));
    let proof = Proof::parse(&text).unwrap();
    assert_eq!(proof.to_string(), text);
    let record: Value = serde_json::from_slice(&proof.record).unwrap();
    assert_eq!(record["items"][0]["jti"], "wanted");
    proof.verify(&pinned(&log)).unwrap();
    let key = log.with_extension("log.vkey");
    let file = service.folder.path().join("proof");
    let lines: Vec<&str> = text.lines().collect();
    for (name, changed, expected) in [
        ("as it is", text.clone(), 0),
        ("another index", text.replace(lines[2], "index 0"), 2),
        ("another record", text.replace(lines[1], "extra e30="), 2),
        (
            "without a hash",
            text.replace(&format!("{}\n", lines[3]), ""),
            2,
        ),
        ("another signature", text.replace("\n— ", "\n— other."), 3),
        ("nothing", String::new(), 2),
    ] {
        fs::write(&file, changed).unwrap();
        let (proof, key) = (file.clone(), key.clone());
        assert_eq!(
            run(&Audit::VerifyProof { proof, key }).0,
            expected,
            "{name}"
        );
    }
    let (path, key) = (log.clone(), None);
    let jti = "never".to_owned();
    assert_eq!(run(&Audit::Prove { path, jti, key }).0, 1);
}

#[tokio::test]
async fn the_command_trusts_a_pinned_key_alone() {
    let service = KeyService::start(&audited(""));
    let log = log_of(&service);
    let mut keys = service.keys().await;
    sign(&mut keys, service.now(), "a").await.unwrap();
    let beside = log.with_extension("log.vkey");
    let pinned = service.folder.path().join("pinned");
    fs::copy(&beside, &pinned).unwrap();
    let verify = |key: Option<&Path>, path: &Path| {
        let (code, text) = run(&Audit::Verify {
            path: path.to_owned(),
            key: key.map(Path::to_owned),
            checkpoint: None,
            from: 0,
        });
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        (
            code,
            answer["key"].as_str().unwrap_or_default().to_owned(),
            answer,
        )
    };
    assert_eq!(verify(Some(&pinned), &log).0, 0);
    let (code, key, answer) = verify(None, &log);
    assert_eq!((code, key.as_str()), (3, "untrusted"));
    assert_eq!(
        (&answer["intact"], &answer["trusted"]),
        (&json!(true), &json!(false))
    );
    assert!(answer["unproven"].as_u64().is_some_and(|count| count > 0));
    // A copy alone, without what lies beside it.
    let copy = service.folder.path().join("copy");
    fs::copy(&log, &copy).unwrap();
    assert_eq!(answer["end"], "beside");
    let (code, _, answer) = verify(Some(&pinned), &copy);
    assert_eq!((code, &answer["end"]), (0, &json!("unknown")));
    assert_eq!(verify(None, &copy).1, "none");
    let text = fs::read_to_string(&copy).unwrap();
    fs::write(&copy, text.replacen("OK", "KO", 1)).unwrap();
    assert_eq!(verify(Some(&pinned), &copy).0, 2);
    assert_eq!(verify(Some(&pinned), Path::new("/nowhere/audit.log")).0, 1);
    assert_eq!(verify(Some(&copy), &log).0, 1);
    let (path, lines) = (log.clone(), 2);
    let (code, text) = run(&Audit::Tail {
        path,
        lines,
        follow: false,
    });
    assert_eq!((code, text.lines().count()), (0, 2));
    assert!(text.contains("\"jti\":\"a\""));
}

#[tokio::test]
async fn operators_read_and_verify_it_from_elsewhere() {
    let service = KeyService::start(&audited(""));
    let mut keys = service.keys().await;
    let mut admin = service.admin().await;
    let request = v1::ReadAuditRequest {
        from: 2,
        follow: true,
    };
    let mut stream = admin.read_audit(request).await.unwrap().into_inner();
    for number in 0..5 {
        sign(&mut keys, service.now(), &number.to_string())
            .await
            .unwrap();
    }
    let mut indices = Vec::new();
    let mut seen = 0;
    while seen < 5 {
        let next = tokio::time::timeout(Duration::from_secs(5), stream.message());
        let record = next.await.unwrap().unwrap().unwrap();
        indices.push(record.index);
        let record: Value = serde_json::from_slice(&record.record).unwrap();
        seen += usize::from(record["rpc"] == "Sign");
    }
    let expected: Vec<u64> = (2..2 + indices.len() as u64).collect();
    assert_eq!(indices, expected);
    let answer = admin
        .verify_audit(v1::VerifyAuditRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(answer.intact && answer.records > 6, "{answer:?}");
    assert!(answer.checkpoint.starts_with("issuer.example/audit\n"));
    let some = v1::VerifyAuditRequest { from: 1, to: 4 };
    assert_eq!(
        admin.verify_audit(some).await.unwrap().into_inner().records,
        3
    );
    let log = log_of(&service);
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, text.replacen("gateway", "Gateway", 1)).unwrap();
    let answer = admin
        .verify_audit(v1::VerifyAuditRequest::default())
        .await
        .unwrap()
        .into_inner();
    assert!(!answer.intact && answer.finding.contains("does not match its hash"));
}
