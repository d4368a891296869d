//! `oidc-gateway serve | check-config | hash-password | seal-secret | rewrap`. Exit status 64 (EX_USAGE): the command line or
//! the configuration is wrong; 1: it did not work, or `rewrap` left something.
#![forbid(unsafe_code)]

use std::io::{self, BufRead, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::termios::{LocalFlags, SetArg, tcgetattr, tcsetattr};
use oidc_gateway::clock::Clock;
use oidc_gateway::command::rewrap::{self, Mode};
use oidc_gateway::command::seal_secret;
use oidc_gateway::config::Config;
use oidc_gateway::password::PasswordHash;
use oidc_gateway::random::Random;
use oidc_gateway::secret::Secret;
use oidc_gateway::serve;
use tokio::signal::unix::{SignalKind, signal};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// An OpenID Provider whose keys never leave the HSM: the gateway.
#[derive(Parser)]
#[command(version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Serves until SIGTERM or SIGINT; SIGHUP reads the TLS certificate again.
    Serve {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Checks a configuration file and all files that it names.
    CheckConfig {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Reads a password from standard input and prints its hash for the configuration.
    HashPassword {
        /// Generates a client secret instead, and prints it and its hash, of which the configuration needs one.
        #[arg(long)]
        generated: bool,
    },
    /// Reads a client's secret from standard input and prints it sealed for the configuration: the key-service alone can use it.
    SealSecret {
        /// The configuration file: its [keys] says where the key-service is.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Whose secret it is.
        #[arg(long, value_name = "ID", allow_hyphen_values = true)]
        client_id: String,
    },
    /// Has the key-service seal again, by the key that seals now, what another one sealed in the store.
    Rewrap {
        /// The configuration file.
        #[arg(long, value_name = "FILE")]
        config: PathBuf,
        /// Counts what there is, and changes nothing.
        #[arg(long)]
        dry_run: bool,
        /// JSON.
        #[arg(long)]
        json: bool,
    },
}

/// `EX_USAGE` of sysexits.h.
const USAGE: u8 = 64;

fn main() -> ExitCode {
    let command = match CommandLine::try_parse() {
        Ok(line) => line.command,
        Err(error) => {
            // If not even this can be written, the status says it.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { USAGE } else { 0 });
        }
    };
    let result = match command {
        Command::Serve { config } => return serve(&config),
        Command::CheckConfig { config } => match Config::load(&config) {
            Ok(_) => writeln!(
                io::stdout(),
                "{}: the configuration is good",
                config.display()
            ),
            Err(error) => return refused(&error),
        },
        Command::HashPassword { generated } => hash_password(generated),
        Command::SealSecret { config, client_id } => {
            let config = match Config::load(&config) {
                Ok(config) => config,
                Err(error) => return refused(&error),
            };
            seal_secret(&config, &client_id)
        }
        Command::Rewrap {
            config,
            dry_run,
            json,
        } => {
            let config = match Config::load(&config) {
                Ok(config) => config,
                Err(error) => return refused(&error),
            };
            let mode = match dry_run {
                true => Mode::Look,
                false => Mode::Replace,
            };
            return rewrap(&config, mode, json);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn serve(file: &Path) -> ExitCode {
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(error) => return refused(&error),
    };
    config.log.begin();
    raise_descriptor_limit();
    let issuer = config.issuer.clone();
    let running = match serve::start(config, Clock::system()) {
        Ok(running) => running,
        Err(error) => return failed(&error),
    };
    tracing::info!(
        issuer,
        address = %running.address,
        version = env!("CARGO_PKG_VERSION"),
        "the gateway serves"
    );
    if let Err(error) = wait_for_the_end(&running) {
        return failed(&error);
    }
    tracing::info!("the gateway ends");
    running.shutdown();
    ExitCode::SUCCESS
}

fn wait_for_the_end(running: &serve::Running) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        loop {
            tokio::select! {
                _ = terminate.recv() => return Ok(()),
                _ = interrupt.recv() => return Ok(()),
                _ = hang_up.recv() => running.reload_certificate(),
            }
        }
    })
}

/// A connection needs a descriptor, and many systems start processes with 1024.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, most)| setrlimit(Resource::RLIMIT_NOFILE, most, most));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

fn hash_password(generated: bool) -> io::Result<()> {
    let random = Random::new().map_err(io::Error::other)?;
    let mut out = io::stdout();
    if generated {
        let secret = random.token256();
        let hash = PasswordHash::of_generated(&secret);
        return writeln!(
            out,
            "client_secret = \"{secret}\"\nclient_secret_hash = \"{}\"",
            hash.as_str()
        );
    }
    let password = read_password("Password: ")?;
    if password.expose().is_empty() {
        return Err(io::Error::other("the password is empty"));
    }
    let hash = PasswordHash::of_password(password.expose(), &random);
    writeln!(out, "{}", hash.as_str())
}

fn seal_secret(config: &Config, client_id: &str) -> io::Result<()> {
    let secret = read_password("Secret: ")?;
    let lines = seal_secret::run(config, client_id, &secret).map_err(io::Error::other)?;
    write!(io::stdout(), "{lines}")
}

fn rewrap(config: &Config, mode: Mode, as_json: bool) -> ExitCode {
    let report = match rewrap::run(config, mode) {
        Ok(report) => report,
        Err(error) => return failed(&error),
    };
    let text = match as_json {
        true => report.to_json(),
        false => report.to_text(),
    };
    // A reader that has seen enough is no failure.
    let _ = io::stdout().write_all(text.as_bytes());
    match report.is_clean() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// One line of standard input; from a terminal it is asked for, twice, and not shown.
fn read_password(question: &str) -> io::Result<Secret<String>> {
    let input = io::stdin();
    if !input.is_terminal() {
        return read_line(&input);
    }
    let before = tcgetattr(input.as_fd())?;
    let mut hidden = before.clone();
    hidden.local_flags.remove(LocalFlags::ECHO);
    tcsetattr(input.as_fd(), SetArg::TCSAFLUSH, &hidden)?;
    let both = ask(&input, question).and_then(|one| Ok((one, ask(&input, "Again: ")?)));
    tcsetattr(input.as_fd(), SetArg::TCSAFLUSH, &before)?;
    let (one, other) = both?;
    match one == other {
        true => Ok(one),
        false => Err(io::Error::other("the two are not the same")),
    }
}

fn ask(input: &io::Stdin, question: &str) -> io::Result<Secret<String>> {
    let mut terminal = io::stderr();
    write!(terminal, "{question}")?;
    terminal.flush()?;
    let line = read_line(input)?;
    writeln!(terminal)?;
    Ok(line)
}

fn read_line(input: &io::Stdin) -> io::Result<Secret<String>> {
    let mut line = String::new();
    input.lock().read_line(&mut line)?;
    let password = Secret::new(line.trim_end_matches(['\r', '\n']).to_owned());
    // What was read is wiped with the password's own copy.
    drop(Secret::new(line));
    Ok(password)
}

fn refused(error: &dyn std::fmt::Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "{error}");
    ExitCode::from(USAGE)
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    let _ = writeln!(io::stderr(), "oidc-gateway: {error}");
    ExitCode::FAILURE
}
