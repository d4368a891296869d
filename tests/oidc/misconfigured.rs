//! A gateway that asks for what the key-service's rules never allow. To try again does not help, so nobody is told to.

use crate::person::Person;
use crate::registration::WEB;
use crate::stack::{self, Options};

#[tokio::test]
async fn what_the_rules_never_allow_is_no_outage() {
    let stack = stack::start(&Options {
        tables: "[tokens]\nid_token = \"48h\"\n",
        ..Options::default()
    });
    let site = stack.site();
    let mut person = Person::new(&site, 0);
    let code = person.code(&WEB, "openid").await;
    let request = WEB.build(&site, "/token", WEB.redemption(&code));
    let refused = site.try_send(request).await.unwrap();
    assert_eq!(refused.outcome(), "500 server_error", "{}", refused.text());
    assert_eq!(refused.header("retry-after"), "");
    assert!(
        !refused.text().contains("lifetime"),
        "a rule is not for clients"
    );
    let log = stack.log("gateway0");
    let line = log.lines().find(|line| line.contains("lifetime"));
    assert!(
        line.is_some_and(|line| line.contains("configured")),
        "{log}"
    );
    // And there is nothing wrong with the rest.
    let ready = site.get("/health/ready").await;
    assert_eq!(ready.status, 200);
}

/// What an operator gets wrong is named in the log of the service, and in no shell's JWK Set.
#[tokio::test]
async fn what_an_operator_mistypes_is_named() {
    let stack = stack::shared();
    for (arguments, said, logged) in [
        (
            &["rotate", "id-token/ES265"][..],
            "",
            Some(("RotateKey", "id-token/ES265")),
        ),
        (
            &["revoke", "no-such-kid", "--reason", "a test"],
            "",
            Some(("RevokeKey", "no-such-kid")),
        ),
        (&["export", "seal/A256GCM"], "no public key", None),
    ] {
        let output = stack.admin().args(arguments).output().unwrap();
        assert!(!output.status.success(), "{arguments:?}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(words.contains(said), "{arguments:?}: {words}");
        let Some((method, of)) = logged else {
            continue;
        };
        let log = stack.log("key-service");
        let is_named =
            |line: &str| line.contains("refused") && line.contains(method) && line.contains(of);
        assert!(log.lines().any(is_named), "{arguments:?}: {log}");
    }
}

#[tokio::test]
async fn a_key_whose_work_is_lost_with_it_is_not_revoked_by_mistake() {
    let stack = stack::shared();
    for ring in ["pairwise-subject/HS256", "seal/A256GCM"] {
        let list = || {
            let output = stack.admin().args(["list", ring, "--json"]).output();
            let listed: serde_json::Value =
                serde_json::from_slice(&output.unwrap().stdout).unwrap();
            listed["keys"][0].clone()
        };
        let key = list();
        let kid = key["kid"].as_str().unwrap();
        let revoke = ["revoke", kid, "--reason", "a mistake"];
        let output = stack.admin().args(revoke).output().unwrap();
        assert!(!output.status.success());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.contains(ring) && said.contains("--lose-what-it-made"),
            "{said}"
        );
        assert_eq!(list(), key);
    }
}
