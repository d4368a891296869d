//! A key-service as the process that is shipped, with its keys in a token: for what the end of a process shows, and for
//! modules that are told by the environment.

use std::fs::{self, File};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Once;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use pki::Authority;
use proto::v1::key_service_client::KeyServiceClient;
use serde_json::Value;
use support::softhsm::Token;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::running::{GATEWAY, ISSUER, caller, write_certificate};

/// How long it may take to start or to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// The process. Killed when dropped.
pub(crate) struct Process {
    authority: Authority,
    child: Child,
    log: PathBuf,
    pub(crate) folder: tempfile::TempDir,
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Process {
    /// Starts it on a token, with these tables and this environment.
    pub(crate) async fn start(
        module: &Path,
        token: &Token,
        tables: &str,
        environment: &[(&str, &str)],
    ) -> Process {
        build();
        let folder = tempfile::tempdir().unwrap();
        let authority = Authority::new("test CA").unwrap();
        fs::write(folder.path().join("ca.pem"), authority.certificate_pem()).unwrap();
        write_certificate(folder.path(), &authority);
        let configuration = folder.path().join("key-service.toml");
        fs::write(&configuration, text(module, token, tables)).unwrap();
        let log = folder.path().join("log");
        let child = Command::new(program())
            .args(["serve", "--config"])
            .arg(configuration)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        let mut process = Process {
            authority,
            child,
            log,
            folder,
        };
        process.serving().await;
        process
    }

    /// What it said when it began to serve.
    async fn serving(&mut self) -> Value {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(line) = self.lines("serving").pop() {
                return line;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "{}", self.said());
            assert!(Instant::now() < until, "{}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// All that it said.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// The lines with this message.
    pub(crate) fn lines(&self, message: &str) -> Vec<Value> {
        let said = self.said();
        said.lines()
            .filter_map(|line| serde_json::from_str::<Value>(line).ok())
            .filter(|line| line["message"] == message)
            .collect()
    }

    async fn address(&mut self, of: &str) -> SocketAddr {
        let serving = self.serving().await;
        serving[of].as_str().unwrap().parse().unwrap()
    }

    pub(crate) async fn keys(&mut self) -> KeyServiceClient<Channel> {
        KeyServiceClient::new(self.channel().await)
    }

    pub(crate) async fn channel(&mut self) -> Channel {
        let address = self.address("tcp").await;
        let issued = caller(&self.authority, GATEWAY);
        let tls = ClientTlsConfig::new()
            .identity(Identity::from_pem(&issued.certificate_pem, &issued.key_pem))
            .ca_certificate(Certificate::from_pem(self.authority.certificate_pem()))
            .domain_name("localhost");
        let endpoint = Endpoint::from_shared(format!("https://{address}")).unwrap();
        let endpoint = endpoint.tls_config(tls).unwrap();
        endpoint.connect().await.unwrap()
    }

    /// A page of its metrics and probes.
    pub(crate) async fn get(&mut self, path: &str) -> String {
        let address = self.address("metrics").await;
        crate::surface::get(address, path)
    }

    /// Fails with all that it said when it has ended.
    pub(crate) fn must_run(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{status}: {}", self.said());
        }
    }

    /// Waits for its end.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < until, "{}", self.said());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends it in order.
    pub(crate) async fn end(&mut self) {
        let id = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(id, Signal::SIGTERM).unwrap();
        assert!(self.ended().await.success(), "{}", self.said());
    }
}

/// Cargo builds another package's programs for no test.
fn build() {
    static BUILT: Once = Once::new();
    BUILT.call_once(|| {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--quiet", "-p", "key-service", "--bins"])
            .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap())
            .status()
            .unwrap();
        assert!(built.success());
    });
}

fn program() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_stack")).with_file_name("key-service")
}

fn text(module: &Path, token: &Token, tables: &str) -> String {
    format!(
        r#"
workers = 2
allow_root = true

[listen]
tcp = "127.0.0.1:0"
drain = "200ms"

[tls]
certificate_file = "key-service.pem"
key_file = "key-service.key"
client_ca_file = "ca.pem"

[[callers.allow]]
name = "gateway"
san = "{GATEWAY}"
services = ["keys"]
rings = ["*"]

[policy]
issuer = "{ISSUER}"

[metrics]
address = "127.0.0.1:0"

[[rings]]
name = "id-token/ES256"

[[rings]]
name = "id-token/RS256"

[backend]
kind = "pkcs11"
module = "{module}"
token = "{label}"
pin_file = "{pin}"
{tables}
"#,
        module = module.display(),
        label = token.label,
        pin = token.pin_file.display(),
    )
}
