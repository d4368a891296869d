//! `make stack`: the whole product on loopback, in the foreground, for tools that measure it from outside.
//!
//! | variable | values, the default first |
//! |---|---|
//! | `BACKEND` | `software`, `softhsm` |
//! | `STORE` | `redis`, `memory`; a Redis of the stack's own unless `REDIS_URL` names one |
//! | `TLS` | `0`, `1` |
//! | `GATEWAYS` | `1`; more share the Redis, on the ports that follow |
//! | `PROFILE` | `stack`, `certification`: `deploy/config/PROFILE.{key-service,gateway}.toml` |
//! | `ISSUER` | `http://127.0.0.1:8080`; with `TLS=1` `https://…` |
//! | `CLIENTS_FILE` | none; a JSON array of further clients |
//! | `EXTRA_CA` | the stack's own CA; a bundle for profiles that name it, such as `certification` |
//! | `GATEWAY_TABLES` | none; TOML tables for the gateways beside the profile's |
//! | `BUILD` | `release`, `debug`: which programs |
//! | `HELD` | `0`; `1`: standard input is a pipe, see `support/launch/held.rs` |
//! | `FOLDER` | `target/stack`; `FOLDER.json` beside it tells of the stack |
//!
//! When everything answers, `target/stack.json` says where it is. SIGTERM and Ctrl-C end everything.

use std::io::Write as _;
use std::process::ExitCode;

use serde_json::json;
use support::launch::{self, Asked, Client, Defaults, Parts, Settings, Stack, User};

const DEFAULTS: Defaults = Defaults {
    profile: "stack",
    backend: "software",
    store: "redis",
    tls: "0",
    authority: "127.0.0.1:8080",
    build: "release",
};

fn main() -> ExitCode {
    launch::main(run)
}

async fn run() -> anyhow::Result<()> {
    let variable = |name: &str| std::env::var(name).ok();
    let settings = Settings::of(&DEFAULTS, variable)?;
    let parts = Parts {
        clients: Client::measured()?,
        users: User::measured(),
    };
    let mut asked = Asked::listen()?;
    let mut stack = tokio::select! {
        stack = Stack::start(settings, parts) => stack?,
        () = asked.to_end() => return Ok(()),
    };
    let told = stack.tell(json!({}))?.display().to_string();
    writeln!(std::io::stdout(), "ready: {told}")?;
    if variable("HELD").as_deref() == Some("1") {
        tokio::select! {
            () = asked.to_end() => {}
            ended = launch::obey(&mut stack) => ended?,
        }
        return stack.end();
    }
    tokio::select! {
        () = asked.to_end() => {}
        died = stack.wait(&mut []) => died?,
    }
    stack.end()
}
