//! A key-service process that nothing else asks.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use proto::v1::key_service_client::KeyServiceClient;
use serde_json::json;
use support::http;
use support::launch::Process;
use tokio::time::{Instant, sleep};
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use super::home::Home;
use crate::load::{Bench, Figures};
use crate::sign;

const ISSUER: &str = "https://issuer.example";
/// Keys of three algorithms are made at the first start, twice.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a record of the audit log survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Durability {
    /// There is no log.
    None,
    Write,
    Fsync,
}

impl Durability {
    pub(super) fn name(self) -> &'static str {
        match self {
            Durability::None => "none",
            Durability::Write => "write",
            Durability::Fsync => "fsync",
        }
    }
}

pub(super) struct Service {
    process: Process,
    channel: Channel,
    metrics: String,
    http: http::Client,
}

impl Service {
    pub(super) async fn start(
        programs: &Path,
        home: &Home,
        folder: &Path,
        durability: Durability,
    ) -> anyhow::Result<Service> {
        pki::ensure(&folder.join("pki"), &[])?;
        let (port, metrics) = (free_port()?, free_port()?);
        let configuration = folder.join("key-service.toml");
        fs::write(
            &configuration,
            text(home, folder, durability, port, metrics),
        )?;
        let mut command = Command::new(programs.join("key-service"));
        command.arg("serve").arg("--config").arg(&configuration);
        command.envs(
            home.environment
                .as_ref()
                .map(|(name, value)| (*name, value)),
        );
        let mut process = Process::start("key-service", &command, folder)?;
        let http = http::Client::new(&folder.join("pki/ca.pem"))?;
        let metrics = format!("http://127.0.0.1:{metrics}");
        let until = Instant::now() + PATIENCE;
        loop {
            process.check()?;
            let ready = http.get(&format!("{metrics}/health/ready")).await;
            if ready.is_ok_and(|answer| answer.status().is_success()) {
                break;
            }
            ensure!(Instant::now() < until, "{}", process.last_lines());
            sleep(Duration::from_millis(50)).await;
        }
        let channel = sign::connect(&folder.join("pki"), port)?;
        Ok(Service {
            process,
            channel,
            metrics,
            http,
        })
    }

    pub(super) fn process(&self) -> &Process {
        &self.process
    }

    /// A call with nothing behind it, on the same connection.
    pub(super) async fn bare(&self, bench: &Bench, name: &str) -> anyhow::Result<Figures> {
        let client = HealthClient::new(self.channel.clone());
        let call = |_| {
            let mut client = client.clone();
            async move {
                client.check(HealthCheckRequest::default()).await?;
                Ok(())
            }
        };
        bench.measure(name, 16, call).await
    }

    pub(super) async fn sign(
        &self,
        bench: &Bench,
        name: &str,
        ring: &str,
        in_flight: usize,
    ) -> anyhow::Result<Option<Figures>> {
        let client = KeyServiceClient::new(self.channel.clone());
        let request = sign::request(ring, ISSUER)?;
        let call = |_| {
            let (mut client, request) = (client.clone(), request.clone());
            async move {
                client.sign(request).await?;
                Ok(())
            }
        };
        bench.run(name, in_flight, call).await
    }

    /// Records in the audit log, and the writes that they took.
    pub(super) async fn audited(&self) -> anyhow::Result<(u64, u64)> {
        let answer = self.http.get(&format!("{}/metrics", self.metrics)).await?;
        let page = String::from_utf8_lossy(answer.body()).into_owned();
        let of = |name: &str| {
            let line = page.lines().find_map(|line| line.strip_prefix(name));
            line.and_then(|value| value.trim().parse().ok())
                .unwrap_or(0)
        };
        Ok((
            of("key_service_audit_records "),
            of("key_service_audit_writes_total "),
        ))
    }

    pub(super) fn end(mut self) -> anyhow::Result<()> {
        self.process.terminate();
        let status = self.process.wait_or_kill();
        status.context("the key-service had to be killed")?;
        Ok(())
    }
}

fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

fn text(home: &Home, folder: &Path, durability: Durability, port: u16, metrics: u16) -> String {
    let file = |name: &str| json!(folder.join("pki").join(name));
    let audit = match durability {
        Durability::None => String::new(),
        kind => format!(
            "[audit]\npath = {}\ndurability = {}\n",
            json!(folder.join("audit/log")),
            json!(kind.name())
        ),
    };
    format!(
        r#"allow_root = true
[listen]
tcp = "127.0.0.1:{port}"
[tls]
certificate_file = {certificate}
key_file = {key}
client_ca_file = {ca}
[callers]
identity = "uri"
[[callers.allow]]
name = "gateway"
san = "spiffe://signet/oidc-gateway"
services = ["keys"]
rings = ["*"]
[backend]
{backend}
[policy]
issuer = "{ISSUER}"
[[rings]]
name = "id-token/ES256"
[[rings]]
name = "id-token/EdDSA"
[[rings]]
name = "id-token/RS256"
{audit}
[metrics]
address = "127.0.0.1:{metrics}"
[log]
format = "text"
level = "warn"
"#,
        certificate = file("key-service.pem"),
        key = file("key-service.key"),
        ca = file("ca.pem"),
        backend = home.backend,
    )
}
