//! What a person who made a mistake is told, and that the shipped files have none.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use super::Config;

const GOOD: &str = r#"
[listen]
tcp = "127.0.0.1:0"

[tls]
certificate_file = "cert.pem"
key_file = "key.pem"
client_ca_file = "/etc/ca.pem"

[callers]
identity = "uri"
[[callers.allow]]
name = "gateway"
san = "spiffe://signet/oidc-gateway"
services = ["keys"]
rings = ["id-token/*"]

[backend]
kind = "software"
directory = "keys"
passphrase_file = "passphrase"

[lifecycle]
lead = "24h"

[policy]
issuer = "https://issuer.example"

[[rings]]
name = "id-token/ES256"
"#;

#[test]
fn mistakes_are_explained() {
    let rows = [
        (
            "lead =",
            "laed =",
            "24:1: unknown field `laed`, expected one of",
            "; did you mean `lead`?",
        ),
        (
            "passphrase_file",
            "pasphrase_file",
            "21:1: unknown field `pasphrase_file`",
            "; did you mean `passphrase_file`?",
        ),
        (
            "[policy]",
            "[polcy]",
            "26:2: unknown field `polcy`",
            "; did you mean `policy`?",
        ),
        (
            "\"keys\"]",
            "\"kees\"]",
            "15:13: unknown variant `kees`",
            "; did you mean `keys`?",
        ),
        (
            "\"24h\"",
            "\"1 day\"",
            "24:8: `1 day` is not a duration",
            "",
        ),
        (
            "\"24h\"",
            "24",
            "24:8: invalid type: integer `24`, expected a duration such as \"2s\"",
            "",
        ),
        (
            "\"24h\"",
            "\"10m\"",
            "[lifecycle] lead = 600s is too short: jwks_max_age 900s",
            "= 990s",
        ),
        (
            "lead = \"24h\"",
            "retention = \"1h\"",
            "[lifecycle] retention = 3600s is too short",
            "",
        ),
        (
            "lead = \"24h\"",
            "gate_limit = \"2h\"",
            "[lifecycle] retention = 90000s is too short: longest_token_life 86400s + gate_limit 7200s",
            "= 93630s",
        ),
        (
            "lead = \"24h\"",
            "period = \"12h\"",
            "[[rings]] id-token/ES256: period = 43200s is too short: lead 86400s + generation 60s",
            "= 86460s",
        ),
        (
            "lead = \"24h\"",
            "period = \"often\"",
            "24:10: `often` is neither `never` nor a duration",
            "",
        ),
        (
            "id-token/ES256\"",
            "id-token/ES256\"\n[[rings]]\nname = \"pairwise-subject/HS256\"\nperiod = \"90d\"",
            "[[rings]] pairwise-subject/HS256: `period` is for rings that rotate",
            "",
        ),
        (
            "id-token/*",
            "id-tokens/*",
            "[[callers.allow]] gateway: no ring matches `id-tokens/*`; [[rings]] has id-token/ES256",
            "",
        ),
        (
            "id-token/ES256",
            "id-token/ES257",
            "[[rings]] id-token/ES257: not `<purpose>/<alg>`",
            "",
        ),
        ("[tls]", "[tls]\nx = 1", "6:1: unknown field `x`", ""),
        (
            "certificate_file = \"cert.pem\"",
            "",
            "5:1: missing field `certificate_file`",
            "",
        ),
        ("uri\"", "email\"", "11:12: unknown variant `email`", ""),
        (
            "san = \"spiffe://signet/oidc-gateway\"",
            "",
            "[[callers.allow]] gateway: exactly one of `san` and `uid`",
            "",
        ),
        (
            "san = \"spiffe://signet/oidc-gateway\"",
            "uid = 0",
            "[[callers.allow]] gateway: `uid` is for the Unix socket",
            "",
        ),
        ("https://issuer", "issuer", "[policy] issuer is not", ""),
        (
            "[policy]",
            "[policy]\ntoken_issuer = \"a:b\"",
            "[policy] token_issuer is not",
            "",
        ),
        ("tcp = \"127.0.0.1:0\"", "", "[listen] needs", ""),
        ("tcp = \"127.0.0.1:0\"", "tcp = 1", "3:7: ", ""),
        (
            "id-token/ES256\"",
            "id-token/ES256\"\nprofiles = [\"idtoken\"]",
            "[[rings]] id-token/ES256: unknown profile `idtoken`",
            "",
        ),
        (
            "id-token/ES256\"",
            "id-token/ES256\"\nlongest_life = \"2d\"",
            "[[rings]] id-token/ES256: longest_life",
            "",
        ),
        (
            "id-token/ES256\"",
            "id-token/ES256\"\n[[rings]]\nname = \"id-token/ES256\"",
            "[[rings]] id-token/ES256: is there twice",
            "",
        ),
        (
            "id-token/ES256\"",
            "id-token/ES256\"\n[[rings]]\nname = \"other/ES256\"",
            "[[rings]] other/ES256: `profiles` is required",
            "",
        ),
        (
            "id-token/ES256\"",
            "id-token/ES256\"\n[[rings]]\nname = \"audit/EdDSA\"",
            "[[rings]] audit/EdDSA: the audit log's key is in no ring",
            "",
        ),
        (
            "kind = \"software\"\ndirectory = \"keys\"\npassphrase_file = \"passphrase\"",
            "kind = \"pkcs11\"\nmodule = \"/m.so\"\ntoken = \"t\"\npin_file = \"p\"\nhang_limit = \"500ms\"",
            "[backend] hang_limit = 500ms is too short: at least 1s",
            "",
        ),
        (
            "kind = \"software\"\ndirectory = \"keys\"\npassphrase_file = \"passphrase\"",
            "kind = \"pkcs11\"\nmodule = \"/m.so\"\ntoken = \"t\"\npin_file = \"p\"\nsession_copies = \"sometimes\"",
            "18:1: invalid value: string \"sometimes\", expected \"auto\", true or false",
            "",
        ),
        (
            "[policy]",
            "[audit]\n[policy]",
            "26:1: missing field `path`",
            "",
        ),
        (
            "[policy]",
            "[audit]\npath = \"a\"\ndurability = \"sync\"\n[policy]",
            "28:14: unknown variant `sync`, expected `fsync` or `write`",
            "; did you mean `fsync`?",
        ),
        (
            "[policy]",
            "[audit]\npath = \"a\"\norigin = \"a b\"\n[policy]",
            "[audit] origin is not a name",
            "",
        ),
        (
            "[policy]",
            "[audit]\npath = \"a\"\ncheckpoint_interval = \"0s\"\n[policy]",
            "[audit] checkpoint_interval must be more than 0s",
            "",
        ),
        (
            "[policy]",
            "[audit]\npath = \"a\"\nsegment_size = 1\n[policy]",
            "[audit] segment_size is from 4096",
            "",
        ),
        (
            "passphrase_file = \"passphrase\"",
            "",
            "[backend] exactly one of `passphrase_file`, `passphrase_fd` and `passphrase_credential`",
            "is required",
        ),
        (
            "[lifecycle]",
            "passphrase_credential = \"signet\"\n[lifecycle]",
            "[backend] exactly one of `passphrase_file`, `passphrase_fd` and `passphrase_credential`",
            "is required",
        ),
        (
            "passphrase_file = \"passphrase\"",
            "passphrase_credential = \"../signet\"",
            "[backend] passphrase_credential = \"../signet\" is not the name of a file",
            "",
        ),
        (
            "passphrase_file = \"passphrase\"",
            "passphrase_fd = 2",
            "[backend] passphrase_fd = 2 is not a descriptor that can be handed over",
            "3 or a higher number",
        ),
        (
            "services = [\"keys\"]",
            "services = [\"keys\"]\nimports = true",
            "[[callers.allow]] gateway: `imports` is for a caller of \"admin\"",
            "",
        ),
        ("[policy]", "[policy", "26:8: unclosed table", ""),
    ];
    assert!(Config::parse(GOOD, Path::new("")).is_ok());
    for (from, to, start, end) in rows {
        assert!(GOOD.contains(from), "{from}");
        let text = GOOD.replacen(from, to, 1);
        let problem = Config::parse(&text, Path::new("")).unwrap_err().to_string();
        assert!(problem.starts_with(start), "{to}: {problem}");
        assert!(problem.contains(end), "{to}: {problem}");
    }
}

#[test]
fn paths_are_taken_from_the_files_folder() {
    let config = Config::parse(GOOD, Path::new("/srv/signet")).unwrap();
    let tls = config.tls.unwrap();
    assert_eq!(tls.certificate_file, Path::new("/srv/signet/cert.pem"));
    assert_eq!(tls.client_ca_file, Path::new("/etc/ca.pem"));
}

#[test]
fn the_shipped_files_are_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/config");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !name.ends_with("key-service.toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let backend = "[backend]\nkind = \"software\"\ndirectory = \"k\"\npassphrase_file = \"p\"";
        let text = text
            .replace("@BACKEND@", backend)
            .replace(
                "@SOFTWARE_RINGS@",
                "[[rings]]\nname = \"request-object/RSA-OAEP-256\"",
            )
            .replace("@KEYS_PORT@", "1")
            .replace("@METRICS_KEYS_PORT@", "2")
            .replace("@ISSUER@", "http://127.0.0.1:8080")
            .replace("@RUN@", "/run");
        Config::parse(&text, Path::new("/")).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        // Every default that the annotated file shows is one that can be set.
        if name == "key-service.toml" {
            let software =
                text.find("# Or keys in files").unwrap()..text.find("# When keys change").unwrap();
            let mut shown = text.clone();
            shown.replace_range(software, "");
            let shown: Vec<&str> = shown
                .lines()
                .map(|line| {
                    line.strip_prefix("# ")
                        .filter(|rest| is_setting(rest))
                        .unwrap_or(line)
                })
                .collect();
            Config::parse(&shown.join("\n"), Path::new("/"))
                .unwrap_or_else(|problem| panic!("shown: {problem}"));
        }
        seen += 1;
    }
    assert!(seen >= 3);
}

fn is_setting(line: &str) -> bool {
    let name = line.split(" = ").next().unwrap_or("");
    line.contains(" = ") && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}
