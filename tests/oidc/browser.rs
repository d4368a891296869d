//! A person with a real browser, two foreign relying parties, keys in SoftHSM, sessions in a real Redis: the demo as
//! `make demo` starts it, driven by tests/browser/flow.js.

use std::fs::{self, File};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};
use support::launch::{Client, PASSWORD};

/// How long the demo may take to come up; it makes RSA keys in the token.
const START: Duration = Duration::from_secs(180);
const END: Duration = Duration::from_secs(40);

#[test]
fn a_person_signs_in_for_relying_parties_that_we_did_not_write() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    crate::stack::build();

    let folder = tempfile::tempdir().unwrap();
    let redirect_uri = format!("http://127.0.0.1:{}/callback", free_port());
    let post_logout = redirect_uri.replace("callback", "");
    let members = json!({
        "client_name": "openid-client",
        "id_token_signed_response_alg": "ES256",
        "post_logout_redirect_uris": [post_logout],
    });
    let client = Client::new("openid-client", &redirect_uri, members).unwrap();
    let clients = folder.path().join("more-clients.json");
    fs::write(&clients, json!([client.metadata]).to_string()).unwrap();

    let mut demo = Demo::start(folder.path(), &clients);
    let told = demo.told();
    let issuer = told["issuer"].as_str().unwrap();
    let flow = json!({
        "relying_party": format!("{}/", told["relying_party"].as_str().unwrap()),
        "client": {
            "issuer": issuer, "id": client.id, "secret": client.secret, "redirect_uri": redirect_uri,
        },
        "username": "demo",
        "password": PASSWORD,
        "admin": told["admin"],
        "screenshots": root.join("target/screenshots"),
    });
    let output = Command::new("node")
        .arg("flow.js")
        .arg(flow.to_string())
        .current_dir(root.join("tests/browser"))
        .env("NODE_EXTRA_CA_CERTS", told["ca"].as_str().unwrap())
        .output()
        .expect("node is installed (`make setup`)");
    assert!(
        output.status.success(),
        "{}{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        demo.logs()
    );
    demo.end(&told);
}

/// A running `demo`.
struct Demo {
    child: Child,
    run: PathBuf,
    log: PathBuf,
}

impl Demo {
    fn start(folder: &Path, clients: &Path) -> Self {
        let run = folder.join("run");
        let log = folder.join("demo.log");
        let output = File::create(&log).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_demo"))
            .env("STORE", "redis")
            .env_remove("REDIS_URL")
            .env("ISSUER", format!("https://localhost:{}", free_port()))
            .env("RELYING_PARTY_PORT", free_port().to_string())
            .env("CLIENTS_FILE", clients)
            .env("FOLDER", &run)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        Self { child, run, log }
    }

    /// What it writes when everything answers.
    fn told(&mut self) -> Value {
        let path = self.run.with_extension("json");
        let until = Instant::now() + START;
        while !path.exists() {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && Instant::now() < until, "{}", self.logs());
            std::thread::sleep(Duration::from_millis(100));
        }
        serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
    }

    /// Ends it, and looks whether anything is left.
    fn end(mut self, told: &Value) {
        kill(self.id(), Signal::SIGTERM).unwrap();
        let until = Instant::now() + END;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "the demo does not end");
            std::thread::sleep(Duration::from_millis(50));
        };
        assert!(status.success(), "{}", self.logs());
        assert!(!self.run.exists() && !self.run.with_extension("json").exists());
        let pids = &told["pids"];
        for pid in [&pids["gateway"][0], &pids["key_service"], &pids["redis"]] {
            let pid = i32::try_from(pid.as_i64().unwrap()).unwrap();
            assert!(kill(Pid::from_raw(pid), None).is_err(), "{pid} is left");
        }
    }

    fn logs(&self) -> String {
        let mut text = fs::read_to_string(&self.log).unwrap_or_default();
        for name in ["key-service", "gateway0", "relying-party"] {
            let log = fs::read_to_string(self.run.join(format!("{name}.log")));
            text += &format!("\n--- {name}\n{}", log.unwrap_or_default());
        }
        text
    }

    fn id(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).unwrap())
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = kill(self.id(), Signal::SIGTERM);
            let _ = self.child.wait();
        }
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap().port()
}
