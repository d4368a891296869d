//! `key-service serve`, `init`, `admin`, `audit` and `doctor`. Exit codes: 0; 1, it did not work, or of `doctor`, the service
//! cannot be run with what was examined; 64, the command line or the configuration is wrong (EX_USAGE of sysexits.h); of
//! `serve` also 75, a call into the HSM's module did not end, and whoever supervises this process should start it again
//! (EX_TEMPFAIL); and of `audit` also 2, the log was changed, and 3, nobody who is trusted signed it.
#![forbid(unsafe_code)]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use clap::{Parser, Subcommand};
use key_service::audit::OpenError;
use key_service::config::Config;
use key_service::serve::{Running, Service, StartError};
use key_service::{admin, audit, backend, doctor};
use key_service::{hardening, log};
use nix::sys::signal::Signal;
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// EX_USAGE.
const USAGE: u8 = 64;
/// EX_TEMPFAIL.
const HUNG: u8 = 75;
/// How long the end in order may take when a thread hangs, and after it what a module does at the end of a process.
const LAST_ORDERS: Duration = Duration::from_secs(3);

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
    /// Makes the keys that its rings begin with, serves nothing, and writes what is published as a JWK Set
    Init {
        /// The configuration file
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Only the public keys of this ring, for example id-token/ES256
        #[arg(long)]
        ring: Option<String>,
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
    /// Says what a home of keys can do, by trying, and the configuration to use; asks no service. Exit codes: 0, the
    /// service can be run with it; 1, it cannot
    Doctor {
        #[command(flatten)]
        options: doctor::Options,
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
        Command::Init { config, ring } => init(&config, ring.as_deref()),
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
        Command::Doctor { options } => match examine(&options) {
            Ok(code) => return ExitCode::from(code),
            Err(failure) => Err(failure),
        },
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

/// What comes before any secret is read, and the one that comes by a descriptor, before another can have its number.
fn begin(path: &Path) -> Result<Config, Failure> {
    let config = read(path)?;
    log::start(&config.log);
    let at = |what: String| Failure(format!("{}: {what}", path.display()), USAGE);
    hardening::harden(config.allow_root).map_err(|refused| at(refused.to_string()))?;
    let taken = config.backend.take_descriptor();
    taken.map_err(|error| at(format!("[backend] {error}")))?;
    Ok(config)
}

fn not_started(path: &Path, error: &StartError) -> Failure {
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
}

fn init(path: &Path, ring: Option<&str>) -> Result<(), Failure> {
    let config = begin(path)?;
    if let Some(ring) = ring
        && !config.rings.iter().any(|known| known.name == ring)
    {
        let sentence = format!("{}: no [[rings]] {ring}", path.display());
        return Err(Failure(sentence, USAGE));
    }
    let jwks = Service::make_keys(&config, ring).map_err(|error| not_started(path, &error))?;
    let mut out = std::io::stdout().lock();
    let written = out.write_all(&jwks).and_then(|()| out.write_all(b"\n"));
    written.map_err(|error| Failure(error.to_string(), 1))
}

fn serve(path: &Path) -> Result<(), Failure> {
    let config = begin(path)?;
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
    let running = Service::start(&config).map_err(|error| not_started(path, &error))?;
    tracing::info!(
        tcp = running.tcp_address().map(tracing::field::display),
        metrics = running.metrics_address().map(tracing::field::display),
        version = env!("CARGO_PKG_VERSION"),
        "serving"
    );
    let is_hung = runtime.block_on(async {
        tokio::select! {
            _ = terminate.recv() => false,
            _ = interrupt.recv() => false,
            () = running.hung() => true,
        }
    });
    tracing::info!("ending");
    if is_hung {
        return Err(give_up(running));
    }
    running.shutdown();
    Ok(())
}

/// Ends in order as far as that goes: a thread inside a module cannot be stopped, nor may what it uses be taken away.
fn give_up(running: Running) -> Failure {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        running.shutdown();
        // Nobody waits any more when it took too long.
        let _ = done.send(());
    });
    // Whether it came to an end or not, this process does.
    let _ = is_done.recv_timeout(LAST_ORDERS);
    thread::spawn(|| {
        // Modules have functions that run at the end of a process, and this one is not well.
        thread::sleep(LAST_ORDERS);
        std::process::abort();
    });
    let sentence = "a call into the PKCS#11 module did not end within [backend] hang_limit";
    Failure(sentence.to_owned(), HUNG)
}

fn examine(options: &doctor::Options) -> Result<u8, Failure> {
    // It reads a PIN, and is no service: whoever may, runs it.
    hardening::harden(true).map_err(|refused| Failure(refused.to_string(), 1))?;
    doctor::run(options, &mut std::io::stdout().lock())
        .map_err(|error| Failure(error.to_string(), error.code()))
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
