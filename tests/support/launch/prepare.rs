//! What a stack needs before its services start: a store, a place for keys, people and clients.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::clients::{self, User};
use super::process::Process;
use super::profile::Values;
use super::run_folder::write_secret;
use super::settings::{Backend, Settings, Store};
use super::stack::{PATIENCE, Parts};
use super::token::{LABEL, Token};

/// Prepares Redis, when the stack has one of its own, and says which store the gateways use.
pub(super) async fn start_store(
    settings: &Settings,
    run: &Path,
    values: &mut Values,
) -> anyhow::Result<Option<(Process, u16)>> {
    let port = match &settings.store {
        Store::Memory => {
            values.set("STORE", "[store]\nkind = \"memory\"");
            return Ok(None);
        }
        Store::Elsewhere(url) => {
            values.set("STORE", redis_table(url));
            return Ok(None);
        }
        Store::Redis => free_port()?,
    };
    values.set("STORE", redis_table(&format!("redis://127.0.0.1:{port}")));
    let mut command = Command::new("redis-server");
    command
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no"])
        .args(["--maxmemory-policy", "noeviction"])
        .arg("--dir")
        .arg(run);
    let mut redis = Process::start("redis", &command, run)
        .context("redis-server does not start (`make setup` installs it)")?;
    wait_for_redis(&mut redis, port).await?;
    Ok(Some((redis, port)))
}

pub(super) async fn wait_for_redis(redis: &mut Process, port: u16) -> anyhow::Result<()> {
    let until = Instant::now() + PATIENCE;
    while !answers_ping(port).await {
        redis.check()?;
        ensure!(Instant::now() < until, "redis does not answer");
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

fn redis_table(url: &str) -> String {
    format!("[store]\nkind = \"redis\"\nurl = {}", json!(url))
}

async fn answers_ping(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await else {
        return false;
    };
    let mut answer = [0; 7];
    stream.write_all(b"PING\r\n").await.is_ok()
        && stream.read_exact(&mut answer).await.is_ok()
        && &answer == b"+PONG\r\n"
}

/// What SoftHSM cannot do.
const SOFTWARE_RINGS: &str = "[[rings]]\nname = \"request-object/RSA-OAEP-256\"";

/// Prepares the place for keys and says which backend the key-service uses, and where that is.
pub(super) fn choose_backend(
    backend: Backend,
    run: &Path,
    values: &mut Values,
) -> anyhow::Result<(Option<Token>, String)> {
    let secret = clients::random()?;
    match backend {
        Backend::Software => {
            let passphrase = run.join("passphrase");
            write_secret(&passphrase, &secret)?;
            let keys = run.join("keys");
            values.set(
                "BACKEND",
                format!(
                    "[backend]\nkind = \"software\"\ndirectory = {}\npassphrase_file = {}",
                    json!(keys),
                    json!(passphrase)
                ),
            );
            values.set("SOFTWARE_RINGS", SOFTWARE_RINGS);
            Ok((None, format!("sealed files in {}", keys.display())))
        }
        Backend::SoftHsm => {
            let token = Token::make(run, &secret)?;
            values.set(
                "BACKEND",
                format!(
                    "[backend]\nkind = \"pkcs11\"\nmodule = {}\ntoken = \"{LABEL}\"\npin_file = {}",
                    json!(token.module),
                    json!(token.pin_file)
                ),
            );
            values.set("SOFTWARE_RINGS", "");
            let location = format!(
                "the token “{LABEL}” of the PKCS#11 module {}",
                token.module.display()
            );
            Ok((Some(token), location))
        }
    }
}

/// Writes `clients.json` and `users.json`.
pub(super) fn write_people(
    settings: &Settings,
    parts: &Parts,
    run: &Path,
    values: &mut Values,
) -> anyhow::Result<()> {
    let mut clients: Vec<Value> = parts
        .clients
        .iter()
        .map(|client| client.metadata.clone())
        .collect();
    if let Some(path) = &settings.clients_file {
        let text = fs::read_to_string(path)?;
        let more: Vec<Value> = serde_json::from_str(&text)
            .with_context(|| format!("{} is not a JSON array", path.display()))?;
        clients.extend(more);
    }
    for (name, file, list) in [
        ("CLIENTS", "clients.json", Value::Array(clients)),
        ("USERS", "users.json", User::file(&parts.users)?),
    ] {
        let path = run.join(file);
        write_secret(&path, &list.to_string())?;
        values.set(name, path.display().to_string());
    }
    // A profile that names it always gets a file: without another, the stack's own CA.
    let own_ca = run.join("pki/ca.pem");
    let extra_ca = settings.extra_ca.as_ref().unwrap_or(&own_ca);
    values.set("EXTRA_CA", extra_ca.display().to_string());
    Ok(())
}

/// A port that was free a moment ago.
pub(super) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}
