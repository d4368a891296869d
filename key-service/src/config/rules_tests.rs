//! Rules that cannot work are explained, and those that can hold where they say.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::*;

const BASE: &str = r#"
[listen]
unix = "socket"

[[callers.allow]]
name = "gateway"
uid = 1
services = ["keys"]
rings = ["*"]

[[callers.allow]]
name = "batch"
uid = 2
services = ["keys"]
rings = ["access-token/*"]

[[callers.allow]]
name = "operator"
uid = 3
services = ["admin"]
rings = ["*"]

[backend]
kind = "software"
directory = "keys"
passphrase_file = "passphrase"

[policy]
issuer = "https://issuer.example"

[[rings]]
name = "id-token/ES256"
[[rings]]
name = "access-token/ES256"
[[rings]]
name = "mac/HS256"
"#;

fn parse(rules: &str) -> Result<Config, String> {
    let text = format!("{BASE}{rules}");
    Config::parse(&text, Path::new("")).map_err(|problem| problem.to_string())
}

#[test]
fn what_cannot_work_is_refused_with_both_sides() {
    for (rules, start) in [
        (
            "callers = [\"gatewy\"]\nforbidden = [\"act\"]",
            "[[policy.rules]] 1: no caller has the name `gatewy`; [[callers.allow]] has gateway, batch, operator; did you mean `gateway`?",
        ),
        (
            "callers = [\"x\"]\nforbidden = [\"act\"]",
            "[[policy.rules]] 1: no caller has the name `x`; [[callers.allow]] has gateway, batch, operator",
        ),
        (
            "callers = [\"operator\"]\nforbidden = [\"act\"]",
            "[[policy.rules]] 1: `operator` signs nothing",
        ),
        (
            "callers = []\nforbidden = [\"act\"]",
            "[[policy.rules]] 1: `callers` is empty",
        ),
        (
            "rings = [\"id-tokens/*\"]\nforbidden = [\"act\"]",
            "[[policy.rules]] 1: no ring that signs matches `id-tokens/*`; there are id-token/ES256, access-token/ES256, secret/HS256, secret/HS384, secret/HS512",
        ),
        (
            "rings = [\"mac/*\"]\nforbidden = [\"act\"]",
            "[[policy.rules]] 1: no ring that signs matches `mac/*`",
        ),
        (
            "rings = [\"secret/ES256\"]\nforbidden = [\"act\"]",
            "[[policy.rules]] 1: no ring that signs matches `secret/ES256`",
        ),
        (
            "callers = [\"batch\"]\nrings = [\"id-token/*\"]\nforbidden = [\"act\"]",
            "[[policy.rules]] 1: no caller that it names may sign, in a ring that it names",
        ),
        (
            "rings = [\"access-token/*\"]\nwhen = [\"id_token\"]\nforbidden = [\"act\"]",
            "[[policy.rules]] 1: no caller that it names may sign, in a ring that it names",
        ),
        (
            "callers = [\"gateway\"]",
            "[[policy.rules]] 1: it takes nothing away",
        ),
        (
            "when = [\"idtoken\"]\nforbidden = [\"act\"]",
            "[[policy.rules]] 1: unknown profile `idtoken`; there are id_token,",
        ),
        (
            "when = [\"id_token\"]\nprofiles = [\"id_token\"]",
            "[[policy.rules]] 1: `when` says which",
        ),
        ("profiles = []", "[[policy.rules]] 1: `profiles` is empty"),
        (
            "longest_life = \"25h\"",
            "[[policy.rules]] 1: longest_life = 90000s is not from 1s to [lifecycle] longest_token_life = 86400s",
        ),
        (
            "longest_life = \"0s\"",
            "[[policy.rules]] 1: longest_life = 0ns is not from 1s",
        ),
        (
            "iat_window = \"61s\"",
            "[[policy.rules]] 1: iat_window = 61s is not from 1s to 60s",
        ),
        (
            "iat_window = \"0s\"",
            "[[policy.rules]] 1: iat_window = 0ns is not from 1s to 60s",
        ),
        (
            "claims_size = 16385",
            "[[policy.rules]] 1: claims_size = 16385 is not from 1 to [policy] claims_size = 16384",
        ),
        (
            "claims_size = 0",
            "[[policy.rules]] 1: claims_size = 0 is not",
        ),
        ("audiences = []", "[[policy.rules]] 1: `audiences` is empty"),
        (
            "audiences = [\"a\", \"\"]",
            "[[policy.rules]] 1: `audiences` has an empty name",
        ),
        (
            "audiences = [\"**\"]",
            "[[policy.rules]] 1: `audiences` has `*`",
        ),
        (
            "required = [\"\"]",
            "[[policy.rules]] 1: `required` has an empty name",
        ),
        (
            "required = [\"act\"]\nforbidden = [\"act\"]",
            "[[policy.rules]] 1: it requires `act` and forbids it, so no id_token could be signed: gateway in id-token/ES256",
        ),
        (
            "rings = [\"access-token/*\"]\nrequired = [\"act\"]\nallowed = [\"iss\", \"sub\", \"aud\", \"exp\", \"iat\", \"jti\", \"client_id\"]",
            "[[policy.rules]] 1: it requires `act` and does not allow it, so no access_token could be signed: gateway in access-token/ES256",
        ),
        (
            "allowed = [\"iss\", \"aud\"]",
            "[[policy.rules]] 1 does not allow `sub`, without which no id_token is signed; `when` says what it is about: gateway in id-token/ES256",
        ),
        (
            "forbidden = [\"events\"]",
            "[[policy.rules]] 1 forbids `events`, without which no logout_token is signed; `when` says",
        ),
        (
            "required = [\"nonce\"]",
            "[[policy.rules]] 1 requires `nonce`, which logout_token must not have; `when` says",
        ),
        (
            "rings = [\"id-token/*\"]\nprofiles = [\"access_token\"]",
            "[[policy.rules]] 1: `profiles` leaves nothing of id_token, logout_token, userinfo, introspection, authorization_response, metadata: gateway in id-token/ES256",
        ),
        (
            "rings = [\"id-token/*\"]\nprofiles = [\"id_token\"]\n[[policy.rules]]\nprofiles = [\"userinfo\", \"access_token\"]",
            "[[policy.rules]] 1 and 2: `profiles` leaves nothing of id_token",
        ),
        (
            "callers = [\"gateway\"]\nwhen = [\"id_token\"]\nrequired = [\"act\"]\n[[policy.rules]]\nforbidden = [\"act\"]",
            "[[policy.rules]] 1 requires `act` and 2 forbids it, so no id_token could be signed: gateway in id-token/ES256",
        ),
        (
            "audience = [\"a\"]",
            "38:1: unknown field `audience`, expected one of",
        ),
    ] {
        let problem = parse(&format!("[[policy.rules]]\n{rules}\n")).unwrap_err();
        assert!(problem.starts_with(start), "{rules}\n{problem}");
    }
    let ring = "[[rings]]\nname = \"secret/ES256\"\n";
    let problem = parse(ring).unwrap_err();
    assert!(
        problem.starts_with("[[rings]] secret/ES256: so [[policy.rules]] names"),
        "{problem}"
    );
}

/// The example for a bank in the annotated configuration.
#[test]
fn the_shipped_example_is_right() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/config/key-service.toml");
    let text = std::fs::read_to_string(file).unwrap();
    let example = text
        .lines()
        .skip_while(|line| *line != "#   [[policy.rules]]")
        .map_while(|line| line.strip_prefix('#'))
        .collect::<Vec<_>>()
        .join("\n");
    let config = Config::parse(&format!("{text}\n{example}"), Path::new("/")).unwrap();
    assert_eq!(config.policy.rules.len(), 4);
}

#[test]
fn rates_are_checked() {
    for (limits, problem) in [
        ("rate = 2000", ""),
        ("rate = 5", ""),
        ("rate = 5\nburst = 16", ""),
        (
            "rate = 5\nburst = 15",
            "[[callers.allow]] gateway: burst = 15 is not from 16 to 1000000: one Sign has up to 16 items",
        ),
        (
            "rate = 0",
            "[[callers.allow]] gateway: rate = 0 is not from 1 to 1000000",
        ),
        (
            "rate = 1000001",
            "[[callers.allow]] gateway: rate = 1000001 is not",
        ),
        (
            "burst = 20",
            "[[callers.allow]] gateway: `burst` is for a caller with a `rate`",
        ),
    ] {
        let text = BASE.replacen("uid = 1", &format!("uid = 1\n{limits}"), 1);
        let found = Config::parse(&text, Path::new("")).map_err(|problem| problem.to_string());
        match problem {
            "" => assert!(found.is_ok(), "{limits}: {found:?}"),
            _ => assert!(found.is_err_and(|it| it.starts_with(problem)), "{limits}"),
        }
    }
    for (once, problem) in [
        (
            "once_size = 1048575",
            "[policy] once_size = 1048575 is less than 1048576",
        ),
        (
            "authorization_code_life = \"500ms\"",
            "[policy] authorization_code_life = 500ms is not from 1s to 600s",
        ),
        (
            "authorization_code_life = \"11m\"",
            "[policy] authorization_code_life = 660s is not",
        ),
    ] {
        let text = BASE.replacen("[policy]", &format!("[policy]\n{once}"), 1);
        let found = Config::parse(&text, Path::new("")).unwrap_err().to_string();
        assert!(found.starts_with(problem), "{once}: {found}");
    }
}

#[test]
fn a_rule_holds_where_it_says_and_nowhere_else() {
    let places = |rule: &str| {
        let config = parse(&format!("[[policy.rules]]\n{rule}\n")).unwrap();
        let by_caller = config.restrictions().unwrap();
        let mut places: Vec<String> = config
            .callers
            .allow
            .iter()
            .zip(by_caller)
            .flat_map(|(caller, by_ring)| {
                let names = by_ring
                    .into_keys()
                    .map(|ring| format!("{} {ring}", caller.name));
                names.collect::<Vec<_>>()
            })
            .collect();
        places.sort();
        places
    };
    for (rule, expected) in [
        (
            "rings = [\"id-token/*\"]\nlongest_life = \"1h\"",
            &["gateway id-token/ES256"][..],
        ),
        (
            "rings = [\"access-token/ES256\"]\nlongest_life = \"1h\"",
            &["batch access-token/ES256", "gateway access-token/ES256"],
        ),
        (
            "callers = [\"batch\"]\nrings = [\"access-token/*\"]\nlongest_life = \"1h\"",
            &["batch access-token/ES256"],
        ),
        (
            "callers = [\"gateway\"]\nlongest_life = \"1h\"",
            &[
                "gateway access-token/ES256",
                "gateway id-token/ES256",
                "gateway secret/HS256",
                "gateway secret/HS384",
                "gateway secret/HS512",
            ],
        ),
        (
            "when = [\"access_token\"]\nlongest_life = \"1h\"",
            &["batch access-token/ES256", "gateway access-token/ES256"],
        ),
        (
            "rings = [\"secret/HS384\"]\nlongest_life = \"1h\"",
            &["batch secret/HS384", "gateway secret/HS384"],
        ),
    ] {
        assert_eq!(places(rule), expected, "{rule}");
    }
    assert!(
        parse("")
            .unwrap()
            .restrictions()
            .unwrap()
            .iter()
            .all(HashMap::is_empty)
    );
}
