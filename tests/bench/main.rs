//! `make bench`: where the time goes. Sign calls by algorithm and whole flows, with the CPU time of each process.
//!
//! First the key-service alone, over each home of keys; then the stack of `make stack`, with the same variables, on a
//! port of its own. `BENCH_SECONDS` is the length of each measurement (default 3), `BENCH_ONLY` a part of the names of
//! those that are wanted. Figures, never a verdict.

mod cpu;
mod custody;
mod flow;
mod load;
mod sign;

use std::io::Write as _;
use std::net::TcpListener;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use support::http;
use support::launch::{self, Asked, Client, Defaults, Parts, Settings, Stack, User};

use crate::load::Bench;

const DEFAULTS: Defaults = Defaults {
    profile: "stack",
    backend: "software",
    store: "redis",
    tls: "0",
    authority: "",
    build: "release",
};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.split_first() {
        Some((first, rest)) if first == custody::SUBCOMMAND => custody::raw(rest),
        _ => launch::main(run),
    }
}

async fn run() -> anyhow::Result<()> {
    let seconds = match std::env::var("BENCH_SECONDS") {
        Ok(seconds) => seconds.parse().context("BENCH_SECONDS is not a number")?,
        Err(_) => 3.0,
    };
    let only = std::env::var("BENCH_ONLY").unwrap_or_default();
    let mut bench = Bench::new(Duration::from_secs_f64(seconds), only);
    let settings = settings()?;
    let mut asked = Asked::listen()?;
    tokio::select! {
        measured = custody::measure(&mut bench, &settings.programs) => measured?,
        () = asked.to_end() => return Ok(()),
    }
    let issuer = settings.issuer.clone();
    let parts = Parts {
        clients: Client::measured()?,
        users: User::measured(),
    };
    let clients = parts.clients.clone();
    let stack = tokio::select! {
        stack = Stack::start(settings, parts) => stack?,
        () = asked.to_end() => return Ok(()),
    };
    let measured = tokio::select! {
        measured = measure(&mut bench, &stack, &issuer, &clients) => measured,
        () = asked.to_end() => Ok(()),
    };
    stack.end()?;
    measured
}

fn settings() -> anyhow::Result<Settings> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let variable = |name: &str| std::env::var(name).ok();
    let settings = Settings::of(&DEFAULTS, |name| match (name, variable(name)) {
        (_, Some(value)) => Some(value),
        ("FOLDER", None) => Some("target/bench".to_owned()),
        ("ISSUER", None) => {
            let secure = variable("TLS").is_some_and(|tls| tls == "1");
            let scheme = if secure { "https" } else { "http" };
            Some(format!("{scheme}://127.0.0.1:{port}"))
        }
        _ => None,
    })?;
    Ok(settings)
}

async fn measure(
    bench: &mut Bench,
    stack: &Stack,
    issuer: &str,
    clients: &[Client],
) -> anyhow::Result<()> {
    bench.watch(stack.processes())?;
    sign::measure(bench, stack, issuer).await?;
    let http = http::Client::new(&stack.ca())?;
    flow::measure(bench, &http, issuer, clients).await?;
    std::io::stdout().flush()?;
    Ok(())
}
