//! A key that seals is rotated and its values are moved, while clients register and authenticate themselves: nobody is
//! refused, nothing is lost, and what is left is said.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::Request;
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::assertion::claims;
use crate::client_secret_jwt::{present, sign};
use crate::registering::Registered;
use crate::secrets::{configuration, folder};
use crate::site::Site;
use crate::stack::{self, Options, Stack};

const SEAL: &str = "seal/A256GCM";
/// A key is published for two seconds before it signs, and made two seconds ahead.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// More than one call of the key-service takes.
const MANY: usize = 70;
pub(crate) const WRITTEN: (&str, &str) = (
    "written",
    "the-secret-of-written-in-these-tests-alone-1234567",
);
pub(crate) const SEALED: (&str, &str) = (
    "sealed",
    "the-secret-of-sealed-in-these-tests-alone-12345678",
);

/// More than Redis looks at for one SCAN.
const OTHERS: usize = 2500;
const STRANGE: &str = "k:strange";

/// The metadata of a client whose secret is a key, in TOML.
pub(crate) fn table(client_id: &str, secret: &str) -> String {
    format!(
        "\n[[clients]]\nclient_id = \"{client_id}\"\n{secret}\ngrant_types = [\"client_credentials\"]\n\
         response_types = []\ntoken_endpoint_auth_method = \"client_secret_jwt\"\n"
    )
}

/// `oidc-gateway WORDS --config FILE`.
pub(crate) fn gateway(file: &Path, words: &[&str], input: &str) -> Output {
    let program = Path::new(env!("CARGO_BIN_EXE_stack")).with_file_name("oidc-gateway");
    let mut child = Command::new(program)
        .args(words)
        .arg("--config")
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    writeln!(stdin, "{input}").unwrap();
    drop(stdin);
    child.wait_with_output().unwrap()
}

pub(crate) fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// The lines that `seal-secret` prints, without those for people.
pub(crate) fn seal_secret(file: &Path, client_id: &str, secret: &str) -> Vec<String> {
    let output = gateway(file, &["seal-secret", "--client-id", client_id], secret);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let printed = text(&output.stdout);
    assert!(!printed.contains(secret), "{printed}");
    let lines = printed.lines().filter(|line| !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

/// The report, and whether there is nothing to do.
fn rewrap(file: &Path, words: &[&str]) -> (Value, bool) {
    let words = [&["rewrap", "--json"], words].concat();
    let output = gateway(file, &words, "");
    let report = serde_json::from_slice(&output.stdout);
    let report: Value = report.unwrap_or_else(|_| panic!("{}", text(&output.stderr)));
    assert_eq!(report["clean"], output.status.success(), "{report}");
    (report, output.status.success())
}

fn count(report: &Value, kid: &str, when: &str) -> u64 {
    let values = report["values"].as_array().unwrap();
    let of = values.iter().find(|value| value["kid"] == kid);
    of.map_or(0, |value| value[when].as_u64().unwrap())
}

fn admin(stack: &Stack, words: &[&str]) -> Output {
    stack.admin().args(words).arg("--json").output().unwrap()
}

/// The key that seals.
fn active(stack: &Stack) -> String {
    let listed: Value = serde_json::from_slice(&admin(stack, &["list", SEAL]).stdout).unwrap();
    let keys = listed["keys"].as_array().unwrap();
    let active = keys.iter().find(|key| key["state"] == "ACTIVE").unwrap();
    active["kid"].as_str().unwrap().to_owned()
}

/// The standby becomes the key that seals; answers with the one before and the new one.
async fn rotate(stack: &Stack) -> (String, String) {
    let before = active(stack);
    assert!(admin(stack, &["rotate", SEAL]).status.success());
    let begun = Instant::now();
    loop {
        let now = active(stack);
        if now != before {
            return (before, now);
        }
        assert!(begun.elapsed() < PATIENCE, "{now} seals on");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// How often a key was needed, as the key-service counts it.
async fn openings(stack: &Stack, site: &Site, kid: &str) -> u64 {
    let (_, settings) = configuration(&folder(stack), "key-service");
    let settings: toml::Table = settings.parse().unwrap();
    let address = settings["metrics"]["address"].as_str().unwrap();
    let request = Request::get(format!("http://{address}/metrics"));
    let answer = site.try_send(request.body(Vec::new()).unwrap()).await;
    let metrics = answer.unwrap().text();
    let begin = format!("key_service_seal_opened_total{{ring=\"{SEAL}\",kid=\"{kid}\"}} ");
    let mut lines = metrics.lines().filter_map(|line| line.strip_prefix(&begin));
    lines.next().unwrap().parse().unwrap()
}

/// What becomes of a client that shows that it has its secret.
pub(crate) async fn authenticate(site: &Site, client_id: &str, secret: &str) -> String {
    let assertion = sign("HS256", secret, &claims(client_id, site.issuer()));
    present(site, "/introspect", &assertion).await.outcome()
}

async fn register(site: &Site) -> Registered {
    let members = json!({"token_endpoint_auth_method": "client_secret_jwt"});
    Registered::with(site, &members).await
}

pub(crate) fn start() -> Stack {
    let tables = format!(
        "\n[registration]\nmode = \"open\"\nper_address = 0\nin_all = 0\n{}",
        table(WRITTEN.0, &format!("client_secret = \"{}\"", WRITTEN.1))
    );
    stack::start(&Options {
        gateways: 2,
        tables: tables.leak(),
        ..Options::default()
    })
}

pub(crate) fn file_of(stack: &Stack, gateway: usize) -> PathBuf {
    configuration(&folder(stack), &format!("gateway{gateway}")).0
}

/// Adds to a gateway's configuration, or changes it, and starts it again.
pub(crate) fn change(stack: &Stack, gateway: usize, change: impl Fn(&str) -> String) {
    let name = format!("gateway{gateway}");
    let (path, before) = configuration(&folder(stack), &name);
    fs::write(path, change(&before)).unwrap();
    stack.signal(&name, Signal::SIGTERM);
    stack.start_again(&name);
}

/// Clients come and go while values are moved.
async fn traffic(site: Site, stop: Arc<AtomicBool>) -> Vec<Registered> {
    let mut registered = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let new = register(&site).await;
        for _ in 0..2 {
            assert_eq!(authenticate(&site, new.id(), new.secret()).await, "200");
            assert_eq!(authenticate(&site, WRITTEN.0, WRITTEN.1).await, "200");
        }
        registered.push(new);
    }
    registered
}

#[tokio::test]
async fn values_are_moved_while_they_are_used() {
    let stack = start();
    let file = file_of(&stack, 0);
    let lines = seal_secret(&file, SEALED.0, SEALED.1);
    for gateway in [0, 1] {
        let table = table(SEALED.0, &lines[0]);
        change(&stack, gateway, |text| format!("{text}{table}"));
    }
    let site = stack.site();
    let mut clients = Vec::new();
    for _ in 0..MANY {
        clients.push(register(&site).await);
    }
    // The key-service remembers that it was needed.
    assert_eq!(authenticate(&site, WRITTEN.0, WRITTEN.1).await, "200");
    let (old, new) = rotate(&stack).await;

    let (report, is_clean) = rewrap(&file, &["--dry-run"]);
    assert!(!is_clean, "{report}");
    assert_eq!(
        (&report["kid"], &report["dry_run"]),
        (&json!(new), &json!(true))
    );
    assert_eq!(count(&report, &old, "before"), MANY as u64, "{report}");
    assert_eq!(report["not_opened"], json!([]), "{report}");

    let stop = Arc::new(AtomicBool::new(false));
    let running = tokio::spawn(traffic(site.clone(), Arc::clone(&stop)));
    let (report, is_clean) = {
        let file = file.clone();
        let run = tokio::task::spawn_blocking(move || rewrap(&file, &[]));
        run.await.unwrap()
    };
    stop.store(true, Ordering::Relaxed);
    clients.extend(running.await.unwrap());
    assert_eq!(count(&report, &old, "before"), MANY as u64, "{report}");
    assert_eq!(count(&report, &old, "after"), 0, "{report}");
    assert!(count(&report, &new, "after") >= MANY as u64, "{report}");
    // What the operator wrote down is the operator's to replace.
    assert!(!is_clean, "{report}");
    let [configured] = &report["configuration"].as_array().unwrap()[..] else {
        panic!("{report}");
    };
    assert_eq!(
        (&configured["client_id"], &configured["kid"]),
        (&json!(SEALED.0), &json!(old))
    );

    // What the gateways keep in memory was sealed again by themselves.
    let begun = Instant::now();
    loop {
        let before = openings(&stack, &site, &old).await;
        for gateway in [0, 1] {
            for (id, secret) in [WRITTEN, SEALED] {
                assert_eq!(
                    authenticate(&site.at(gateway), id, secret).await,
                    "200",
                    "{id}"
                );
            }
        }
        if openings(&stack, &site, &old).await == before {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "{old} is still needed");
    }

    let before = lines[0].split('"').nth(1).unwrap();
    let after = configured["client_secret_sealed"].as_str().unwrap();
    for gateway in [0, 1] {
        change(&stack, gateway, |text| text.replace(before, after));
    }
    // Connections of before are closed.
    let site = stack.site();
    let (report, is_clean) = rewrap(&file, &[]);
    assert!(is_clean, "twice is safe: {report}");
    assert_eq!(count(&report, &old, "before"), 0, "{report}");

    // Without the old key nobody misses anything.
    let words = ["disable", &old, "--reason", "its values are moved"];
    assert!(admin(&stack, &words).status.success());
    for client in &clients {
        assert_eq!(
            authenticate(&site, client.id(), client.secret()).await,
            "200"
        );
    }
    for (id, secret) in [WRITTEN, SEALED] {
        assert_eq!(authenticate(&site, id, secret).await, "200", "{id}");
    }
    for (words, rule) in [
        (&["destroy", &old][..], "destroy.unconfirmed"),
        (&["destroy", &old, "--nothing-uses-it"], "destroy.opened"),
    ] {
        let refused = admin(&stack, words);
        assert!(!refused.status.success(), "{rule}");
        assert!(
            text(&refused.stderr).contains(rule),
            "{}",
            text(&refused.stderr)
        );
    }
}

/// Says something to the store.
fn say(stack: &Stack, commands: &str, answered: &str) {
    let (_, settings) = configuration(&folder(stack), "gateway0");
    let settings: toml::Table = settings.parse().unwrap();
    let url = settings["store"]["url"].as_str().unwrap();
    let mut redis = TcpStream::connect(url.strip_prefix("redis://").unwrap()).unwrap();
    redis.write_all(commands.as_bytes()).unwrap();
    let mut answers = vec![0; answered.len()];
    redis.read_exact(&mut answers).unwrap();
    assert_eq!(text(&answers), answered);
}

/// What cannot be opened any more is said, and is in nobody's way.
#[tokio::test]
async fn what_is_left_is_said() {
    let stack = start();
    let site = stack.site();
    let file = file_of(&stack, 0);
    // Other values than clients, more than one look at the store shows; and one that is like a client's and is none.
    let others = (0..OTHERS).map(|number| format!("SET z:{number} Pnumber-{number:09}x\r\n"));
    let others: String = others.collect();
    say(&stack, &others, &"+OK\r\n".repeat(OTHERS));
    let strange = format!("SET {STRANGE} Pa-version-of-16-x{{}}\r\n");
    say(&stack, &strange, "+OK\r\n");
    assert_eq!(rewrap(&file, &[]).0["not_opened"], json!([STRANGE]));
    say(&stack, &format!("DEL {STRANGE}\r\n"), ":1\r\n");
    let lost = register(&site).await;
    let (old, new) = rotate(&stack).await;
    let kept = register(&site).await;
    let words = ["disable", &old, "--reason", "too early"];
    assert!(admin(&stack, &words).status.success());
    assert_ne!(authenticate(&site, lost.id(), lost.secret()).await, "200");
    let (report, is_clean) = rewrap(&file, &[]);
    assert!(!is_clean, "{report}");
    assert_eq!(count(&report, &old, "after"), 1, "{report}");
    assert_eq!(count(&report, &new, "after"), 1, "{report}");
    assert_eq!(
        report["not_opened"].as_array().unwrap().len(),
        1,
        "{report}"
    );
    assert_eq!(authenticate(&site, kept.id(), kept.secret()).await, "200");
    let said = text(&gateway(&file, &["rewrap"], "").stdout);
    for part in [
        format!("1 in this store are sealed by {old}"),
        format!("{new} is the key that seals now"),
        "cannot be opened".to_owned(),
    ] {
        assert!(said.contains(&part), "{part}: {said}");
    }
    // A mistake can be undone.
    assert!(admin(&stack, &["enable", &old]).status.success());
    let (report, is_clean) = rewrap(&file, &[]);
    assert!(is_clean, "{report}");
    assert_eq!(authenticate(&site, lost.id(), lost.secret()).await, "200");
    let said = text(&gateway(&file, &["rewrap"], "").stdout);
    assert!(
        said.contains("nothing in this store is sealed by another key"),
        "{said}"
    );

    // Words for who cannot be helped.
    let (path, settings) = configuration(&folder(&stack), "gateway0");
    let memory = path.with_file_name("memory.toml");
    let mut table: toml::Table = settings.parse().unwrap();
    table.insert(
        "store".to_owned(),
        toml::Value::Table([("kind".to_owned(), "memory".into())].into_iter().collect()),
    );
    fs::write(&memory, table.to_string()).unwrap();
    let rows = [
        (
            "memory",
            &memory,
            &["rewrap"][..],
            "",
            "there is nothing to re-wrap",
        ),
        (
            "short",
            &file,
            &["seal-secret", "--client-id", "x"],
            "too short",
            "from 32 to 1024",
        ),
    ];
    for (row, file, words, input, said) in rows {
        let output = gateway(file, words, input);
        assert_eq!(output.status.code(), Some(1), "{row}");
        assert!(
            text(&output.stderr).contains(said),
            "{row}: {}",
            text(&output.stderr)
        );
    }
}
