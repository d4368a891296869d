//! One running product: started in order, ended in the opposite order, its folder removed.

use std::fs;
use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::clients::{Client, PASSWORD, User};
use super::prepare::{choose_backend, free_port, start_store, wait_for_redis, write_people};
use super::process::Process;
use super::profile::Values;
use super::run_folder::RunFolder;
use super::settings::Settings;
use crate::http;

/// How long one process may take until it answers. RSA keys are made at the first start.
pub(super) const PATIENCE: Duration = Duration::from_secs(120);

/// What a stack serves beside its settings.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Told of in `stack.json`, and configured.
    pub clients: Vec<Client>,
    /// Configured.
    pub users: Vec<User>,
}

/// The running processes. Fields are dropped in order: who calls goes before who is called.
#[derive(Debug)]
pub struct Stack {
    gateways: Vec<Process>,
    key_service: Process,
    redis: Option<Process>,
    redis_port: Option<u16>,
    folder: RunFolder,
    settings: Settings,
    configuration: PathBuf,
    keys_port: u16,
    keys_metrics: u16,
    clients: Vec<Client>,
    location: String,
    http: http::Client,
}

impl Stack {
    /// Starts everything and returns when everything answers.
    ///
    /// # Errors
    /// When a program is missing, a port is taken, or a process ends before it answers: then with its last words.
    pub async fn start(settings: Settings, parts: Parts) -> anyhow::Result<Self> {
        for port in settings.ports() {
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).with_context(|| {
                format!("port {port} is taken: end what listens there, or set ISSUER")
            })?;
        }
        let folder = RunFolder::make(&settings.folder)?;
        let run = folder.path.clone();
        let names: Vec<&str> = settings.host_name.as_deref().into_iter().collect();
        pki::ensure(&run.join("pki"), &names)?;
        let http = http::Client::new(&run.join("pki/ca.pem"))?;

        let mut values = Values::new();
        values.set("RUN", run.display().to_string());
        values.set("ISSUER", &settings.issuer);
        let (redis, redis_port) = start_store(&settings, &run, &mut values).await?.unzip();

        let keys_port = free_port()?;
        let keys_metrics = free_port()?;
        values.set("KEYS_PORT", keys_port.to_string());
        values.set("METRICS_KEYS_PORT", keys_metrics.to_string());
        let (token, location) = choose_backend(settings.backend, &run, &mut values)?;
        let configuration = values.write(
            &template(&settings, "key-service"),
            &run.join("key-service.toml"),
        )?;
        let mut command = Command::new(settings.programs.join("key-service"));
        command.arg("serve").arg("--config").arg(&configuration);
        if let Some(token) = &token {
            command.env("SOFTHSM2_CONF", &token.configuration);
        }
        let mut key_service = Process::start("key-service", &command, &run)?;
        let ready = format!("http://127.0.0.1:{keys_metrics}/health/ready");
        wait_for(&mut key_service, &http, &ready).await?;

        write_people(&settings, &parts, &run, &mut values)?;
        let mut gateways = Vec::new();
        for (index, port) in settings.ports().enumerate() {
            gateways.push(start_gateway(&settings, &run, &mut values, index, port)?);
        }
        for (gateway, base) in gateways.iter_mut().zip(settings.gateway_urls()) {
            wait_for(gateway, &http, &gateway_ready(&settings, &base)?).await?;
        }
        Ok(Self {
            gateways,
            key_service,
            redis,
            redis_port,
            folder,
            configuration,
            keys_port,
            keys_metrics,
            clients: parts.clients,
            location,
            settings,
            http,
        })
    }

    /// Starts a process again, by its name, that somebody has ended; returns when it answers.
    ///
    /// # Errors
    /// When there is none of that name or it does not come up.
    pub async fn start_again(&mut self, name: &str) -> anyhow::Result<()> {
        if let Some(redis) = self.redis.as_mut().filter(|redis| redis.name() == name) {
            redis.start_again()?;
            let port = self.redis_port.context("it has a port")?;
            return wait_for_redis(redis, port).await;
        }
        let (process, ready) = if name == self.key_service.name() {
            let ready = format!("http://127.0.0.1:{}/health/ready", self.keys_metrics);
            (&mut self.key_service, ready)
        } else {
            let urls = self.settings.gateway_urls().into_iter();
            let mut gateways = self.gateways.iter_mut().zip(urls);
            let (gateway, base) = (gateways.find(|(gateway, _)| gateway.name() == name))
                .with_context(|| format!("there is no process {name}"))?;
            (gateway, gateway_ready(&self.settings, &base)?)
        };
        process.start_again()?;
        wait_for(process, &self.http, &ready).await
    }

    /// Where the private keys are, for people.
    #[must_use]
    pub fn location(&self) -> String {
        format!(
            "{}, opened by the key-service alone (process {})",
            self.location,
            self.key_service.id()
        )
    }

    /// The command line of the key-service's administration, ready for `list` or `rotate RING`.
    #[must_use]
    pub fn admin(&self) -> [String; 4] {
        [
            self.settings
                .programs
                .join("key-service")
                .display()
                .to_string(),
            "admin".to_owned(),
            "--config".to_owned(),
            self.configuration.display().to_string(),
        ]
    }

    /// The audit log, and the file of the key that signs its checkpoints, as the profiles say.
    #[must_use]
    pub fn audit(&self) -> (PathBuf, PathBuf) {
        let folder = self.folder();
        (folder.join("audit.log"), folder.join("audit.vkey"))
    }

    /// Where the key-service listens.
    #[must_use]
    pub fn keys_port(&self) -> u16 {
        self.keys_port
    }

    /// Each process with its name: gateways, key-service, Redis.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        let keys = std::iter::once(&self.key_service);
        self.gateways.iter().chain(keys).chain(&self.redis)
    }

    /// The development CA's certificate.
    #[must_use]
    pub fn ca(&self) -> PathBuf {
        self.folder.path.join("pki/ca.pem")
    }

    /// Where logs of further processes may go.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder.path
    }

    /// Writes what a tool must know, `extra` included, to `NAME.json` beside the run folder.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn tell(&mut self, extra: Value) -> anyhow::Result<&Path> {
        let mut told = json!({
            "issuer": self.settings.issuer,
            "ca": self.ca(),
            "gateways": self.settings.gateway_urls(),
            "pids": {
                "gateway": self.gateways.iter().map(Process::id).collect::<Vec<_>>(),
                "key_service": self.key_service.id(),
                "redis": self.redis.as_ref().map(Process::id),
            },
            "clients": self.clients.iter().map(|client| json!({
                "id": client.id, "secret": client.secret, "redirect_uri": client.redirect_uri,
            })).collect::<Vec<_>>(),
            "users": {"names": "user0 … user63", "password": PASSWORD},
            "admin": self.admin(),
            "audit": self.audit().0,
            "audit_key": self.audit().1,
        });
        if let (Value::Object(told), Value::Object(extra)) = (&mut told, extra) {
            told.extend(extra);
        }
        self.folder.tell(&serde_json::to_string_pretty(&told)?)
    }

    /// Waits until a signal asks for the end, which is fine, or a process of the stack or of `others` ends by itself.
    ///
    /// # Errors
    /// The last words of the process that ended.
    pub async fn wait(&mut self, others: &mut [Process]) -> anyhow::Result<()> {
        // Registered before the first look, so that no death falls in between.
        let mut child = signal(SignalKind::child())?;
        loop {
            let own = self.gateways.iter_mut().chain([&mut self.key_service]);
            for process in own.chain(&mut self.redis).chain(others.iter_mut()) {
                process.check()?;
            }
            child.recv().await;
        }
    }

    /// Ends everything, gateways first.
    ///
    /// # Errors
    /// When files cannot be removed.
    pub fn end(mut self) -> anyhow::Result<()> {
        self.gateways.iter().for_each(Process::terminate);
        self.gateways.clear();
        let Self {
            key_service,
            redis,
            folder,
            ..
        } = self;
        drop(key_service);
        drop(redis);
        folder.remove()
    }
}

fn start_gateway(
    settings: &Settings,
    run: &Path,
    values: &mut Values,
    index: usize,
    port: u16,
) -> anyhow::Result<Process> {
    values.set("LISTEN", format!("127.0.0.1:{port}"));
    values.set("METRICS_PORT", free_port()?.to_string());
    let tls = if settings.tls {
        format!(
            "tls = {{ certificate_file = {}, key_file = {} }}",
            json!(run.join("pki/web.pem")),
            json!(run.join("pki/web.key"))
        )
    } else {
        String::new()
    };
    values.set("TLS", tls);
    let configuration = values.write(
        &template(settings, "gateway"),
        &run.join(format!("gateway{index}.toml")),
    )?;
    let mut file = fs::OpenOptions::new().append(true).open(&configuration)?;
    file.write_all(settings.gateway_tables.as_bytes())?;
    let mut command = Command::new(settings.programs.join("oidc-gateway"));
    command.arg("serve").arg("--config").arg(configuration);
    Process::start(&format!("gateway{index}"), &command, run)
}

/// Where a gateway says that it is ready.
fn gateway_ready(settings: &Settings, base: &str) -> anyhow::Result<String> {
    let issuer = url::Url::parse(&settings.issuer)?;
    let path = issuer.path().trim_end_matches('/');
    Ok(format!("{base}{path}/health/ready"))
}

/// Waits until `url` answers 200.
async fn wait_for(process: &mut Process, http: &http::Client, url: &str) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    loop {
        process.check()?;
        let last = match http.get(url).await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => answer.status().to_string(),
            Err(error) => format!("{error:#}"),
        };
        if Instant::now() > until {
            bail!(
                "{} is not ready ({url}: {last}):\n{}",
                process.name(),
                process.last_lines()
            );
        }
        sleep(Duration::from_millis(50)).await;
    }
}

fn template(settings: &Settings, part: &str) -> PathBuf {
    settings
        .root
        .join(format!("deploy/config/{}.{part}.toml", settings.profile))
}
