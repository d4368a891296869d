//! The whole product as processes: one stack that all tests share, and others for tests that end or slow down parts.
//!
//! Most tests begin with `let site = stack::shared().site();`, make a [`Person`](crate::person::Person) and a
//! [`Client`](crate::client::Client), and use one runtime (`#[tokio::test]`): a `Site` keeps connections and belongs to
//! the runtime that made it. Its requests go to the three gateways in turn; `site.at(1)` stays with one.
//!
//! `stack::start(&Options { .. })` starts another stack (two seconds), gone when dropped. There
//! `stack.signal("key-service", Signal::SIGKILL)` and `stack.start_again("key-service")` name `gateway0` …,
//! `key-service` and `redis`.
//!
//! Each stack is one `stack` launcher that holds the end of a pipe: whichever way this process ends, the kernel closes
//! the pipe and the launcher ends what it started and removes its folder.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, Once, OnceLock};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::http;

use crate::registration;
use crate::site::Site;

/// What a stack may be.
#[derive(Debug)]
pub(crate) struct Options {
    /// `software` or `softhsm`.
    pub(crate) backend: &'static str,
    pub(crate) gateways: u16,
    /// `0` or `1`.
    pub(crate) tls: &'static str,
    /// The pair of configuration files.
    pub(crate) profile: &'static str,
    /// Host of the issuer; all connections go to 127.0.0.1.
    pub(crate) host: &'static str,
    /// A file with further CAs, for profiles that name it.
    pub(crate) extra_ca: Option<PathBuf>,
    /// TOML tables for the gateways, such as `[tokens]`.
    pub(crate) tables: &'static str,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            backend: "software",
            gateways: 1,
            tls: "0",
            profile: "stack",
            host: "127.0.0.1",
            extra_ca: None,
            tables: "",
        }
    }
}

/// A running stack.
#[derive(Debug)]
pub(crate) struct Stack {
    launcher: Child,
    conversation: Mutex<Option<(ChildStdin, BufReader<ChildStdout>)>>,
    folder: PathBuf,
    told: Value,
}

/// The one that all tests share: three gateways, a real Redis. A refresh token may be repeated for three seconds.
pub(crate) fn shared() -> &'static Stack {
    static SHARED: OnceLock<Stack> = OnceLock::new();
    SHARED.get_or_init(|| {
        start(&Options {
            gateways: 3,
            tables: "[tokens]\nrefresh_grace = \"3s\"\n[webfinger]\ndomains = [\"example.com\"]\n",
            ..Options::default()
        })
    })
}

/// Starts one.
pub(crate) fn start(options: &Options) -> Stack {
    build();
    // Somebody else may take a free port before the stack does.
    (0..3)
        .find_map(|_| Stack::try_start(options))
        .expect("a stack starts: its launcher says above why not")
}

/// Cargo builds another package's programs for no test.
pub(crate) fn build() {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "--workspace", "--bins"])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap())
            .status()
            .unwrap();
        assert!(built.success());
    });
}

impl Stack {
    fn try_start(options: &Options) -> Option<Stack> {
        static NUMBER: AtomicU16 = AtomicU16::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let program = Path::new(env!("CARGO_BIN_EXE_stack"));
        let target = program.ancestors().nth(2).unwrap();
        let folder = target.join(format!("oidc-{}-{number}", std::process::id()));
        let clients = folder.with_extension("clients");
        fs::write(&clients, registration::clients().to_string()).unwrap();
        let scheme = if options.tls == "1" { "https" } else { "http" };
        let mut launcher = Command::new(program)
            .env("HELD", "1")
            .env("BUILD", "debug")
            .env("BACKEND", options.backend)
            .env("STORE", "redis")
            .env_remove("REDIS_URL")
            .env(
                "EXTRA_CA",
                options.extra_ca.as_deref().unwrap_or(Path::new("")),
            )
            .env("PROFILE", options.profile)
            .env("TLS", options.tls)
            .env("GATEWAYS", options.gateways.to_string())
            .env("GATEWAY_TABLES", options.tables)
            .env(
                "ISSUER",
                format!(
                    "{scheme}://{}:{}",
                    options.host,
                    free_ports(options.gateways)
                ),
            )
            .env("CLIENTS_FILE", &clients)
            .env("FOLDER", &folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let words = launcher.stdin.take().unwrap();
        let mut answers = BufReader::new(launcher.stdout.take().unwrap());
        let mut ready = String::new();
        answers.read_line(&mut ready).unwrap();
        fs::remove_file(&clients).unwrap();
        if !ready.starts_with("ready: ") {
            launcher.wait().unwrap();
            let _ = fs::remove_dir_all(&folder);
            return None;
        }
        Some(Stack {
            told: told(&folder),
            launcher,
            conversation: Mutex::new(Some((words, answers))),
            folder,
        })
    }

    /// For requests to all its gateways in turn.
    pub(crate) fn site(&self) -> Site {
        let ca = Path::new(self.told["ca"].as_str().unwrap());
        let gateways = self.told["gateways"].as_array().unwrap().iter();
        Site::new(
            http::Client::new(ca).unwrap(),
            self.told["issuer"].as_str().unwrap(),
            gateways
                .map(|url| url.as_str().unwrap().to_owned())
                .collect(),
        )
    }

    /// `key-service admin` for this stack; arguments such as `rotate id-token/ES256` are to be added.
    pub(crate) fn admin(&self) -> Command {
        let mut words = self.told["admin"]
            .as_array()
            .unwrap()
            .iter()
            .map(|word| word.as_str().unwrap());
        let mut command = Command::new(words.next().unwrap());
        command.args(words);
        command
    }

    /// The process of this name, as it is now.
    pub(crate) fn pid(&self, name: &str) -> Pid {
        let pids = &told(&self.folder)["pids"];
        let pid = match name {
            "key-service" => &pids["key_service"],
            "redis" => &pids["redis"],
            gateway => {
                &pids["gateway"][gateway
                    .trim_start_matches("gateway")
                    .parse::<usize>()
                    .unwrap()]
            }
        };
        Pid::from_raw(i32::try_from(pid.as_i64().unwrap()).unwrap())
    }

    /// Sends a signal, such as the one that kills.
    pub(crate) fn signal(&self, name: &str, signal: Signal) {
        kill(self.pid(name), signal).unwrap();
    }

    /// Starts a process again that has been ended, and returns when it answers.
    pub(crate) fn start_again(&self, name: &str) {
        let mut conversation = self.conversation.lock().unwrap();
        let (words, answers) = conversation.as_mut().unwrap();
        writeln!(words, "{name}").unwrap();
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        assert_eq!(answer.trim_end(), "started", "{name}");
    }

    /// What a process has logged.
    pub(crate) fn log(&self, name: &str) -> String {
        fs::read_to_string(self.folder.join(format!("{name}.log"))).unwrap()
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // The end of its input is the launcher's end.
        self.conversation.get_mut().unwrap().take();
        let _ = self.launcher.wait();
    }
}

fn told(folder: &Path) -> Value {
    serde_json::from_slice(&fs::read(folder.with_extension("json")).unwrap()).unwrap()
}

/// The first of so many ports in a row that are free now.
fn free_ports(count: u16) -> u16 {
    let bind = |port| TcpListener::bind((Ipv4Addr::LOCALHOST, port));
    loop {
        let first = bind(0).unwrap().local_addr().unwrap().port();
        if first < u16::MAX - count && (first..first + count).all(|port| bind(port).is_ok()) {
            return first;
        }
    }
}
