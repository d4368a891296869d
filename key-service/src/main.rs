//! `key-service serve`, `admin` and `audit`. Exit codes: 0; 1, it did not work; 64, the command line or the configuration
//! is wrong (EX_USAGE of sysexits.h); and of `audit` also 2, the log was changed, and 3, nobody who is trusted signed it.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use key_service::audit::OpenError;
use key_service::config::Config;
use key_service::serve::{Service, StartError};
use key_service::{admin, audit, backend};
use key_service::{hardening, log};
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// EX_USAGE.
const USAGE: u8 = 64;

/// Keeps the keys: signs, verifies, encrypts and decrypts for Signet's gateways.
#[derive(Debug, Parser)]
#[command(name = "key-service", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Runs the service until it is told to end
    Serve {
        /// The configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Asks a running service about its keys, or to rotate or revoke one
    Admin {
        /// The configuration file: its [admin] says where the service is
        #[arg(
            long,
            value_name = "FILE",
            global = true,
            required = false,
            default_value = "key-service.toml"
        )]
        config: PathBuf,
        /// JSON, with times as RFC 3339
        #[arg(long, global = true)]
        json: bool,
        #[command(subcommand)]
        command: admin::Command,
    },
    /// Verifies, proves from and shows an audit log, also a copy of one; asks no service
    Audit {
        /// JSON
        #[arg(long, global = true)]
        json: bool,
        #[command(subcommand)]
        command: audit::command::Command,
    },
}

/// Why the program ends without success: the sentence and the code.
struct Failure(String, u8);

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            let code = if error.use_stderr() { USAGE } else { 0 };
            // Nothing can be done about a closed terminal.
            let _ = error.print();
            return ExitCode::from(code);
        }
    };
    let outcome = match arguments.command {
        Command::Serve { config } => serve(&config),
        Command::Admin {
            config,
            json,
            command,
        } => administer(&config, command, json),
        Command::Audit { json, command } => {
            match audit::command::run(&command, json, &mut std::io::stdout().lock()) {
                Ok(code) => return ExitCode::from(code),
                Err(error) => Err(Failure(error.to_string(), error.code())),
            }
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(sentence, code)) => {
            let _ = writeln!(std::io::stderr(), "key-service: {sentence}");
            ExitCode::from(code)
        }
    }
}

fn read(config: &Path) -> Result<Config, Failure> {
    Config::read(config).map_err(|invalid| Failure(invalid.to_string(), USAGE))
}

fn serve(path: &Path) -> Result<(), Failure> {
    let config = read(path)?;
    log::start(&config.log);
    hardening::harden(config.allow_root)
        .map_err(|refused| Failure(format!("{}: {refused}", path.display()), USAGE))?;
    let failed = |error: std::io::Error| Failure(error.to_string(), 1);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    // Before anything starts: a signal that comes early ends it in order too.
    let (mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        // So that a file that may not grow is an error to the audit log, and not the end (setrlimit(2)).
        let _ = signal(SignalKind::from_raw(Signal::SIGXFSZ as i32)).map_err(failed)?;
        let terminate = signal(SignalKind::terminate()).map_err(failed)?;
        (terminate, signal(SignalKind::interrupt()).map_err(failed)?)
    };
    let running = Service::start(&config).map_err(|error| {
        let is_setting = matches!(
            error,
            StartError::Configuration(_)
                | StartError::Algorithm { .. }
                | StartError::Tls(_)
                | StartError::Audit(OpenError::Log(_) | OpenError::Key(_))
                | StartError::Backend(backend::Error::Unusable(_))
        );
        let code = if is_setting { USAGE } else { 1 };
        Failure(format!("{}: {error}", path.display()), code)
    })?;
    tracing::info!(
        tcp = running.tcp_address().map(tracing::field::display),
        metrics = running.metrics_address().map(tracing::field::display),
        version = env!("CARGO_PKG_VERSION"),
        "serving"
    );
    runtime.block_on(async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
    tracing::info!("ending");
    running.shutdown();
    Ok(())
}

fn administer(config: &Path, command: admin::Command, json: bool) -> Result<(), Failure> {
    let Some(settings) = read(config)?.admin else {
        let sentence = format!(
            "{}: [admin] is missing: where is the service?",
            config.display()
        );
        return Err(Failure(sentence, USAGE));
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure(error.to_string(), 1))?;
    let answer = runtime.block_on(admin::run(&settings, command, json));
    let text = answer.map_err(|error| {
        let code = if error.is_configuration() { USAGE } else { 1 };
        Failure(error.to_string(), code)
    })?;
    // A reader that has seen enough is no failure.
    let _ = std::io::stdout().lock().write_all(text.as_bytes());
    Ok(())
}
