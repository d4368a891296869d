//! `key-service doctor`: what a home of keys can do, by trying, and the configuration to use with it. It asks no running
//! service, and leaves nothing behind.

mod configuration;
mod show;
mod software;

use std::io::Write;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use toml::Table;

use crate::backend::examination::{Examination, Plan};
use crate::backend::pkcs11::ELSEWHERE;
use crate::backend::pkcs11::examine::{Look, Shown, examine, look};
use crate::backend::{self, pkcs11};
use crate::config::Config;

/// More threads than any device serves, and fewer than a machine refuses.
const MOST_LANES: usize = 256;

/// What to examine, and how.
#[derive(Debug, Args)]
pub struct Options {
    /// The PKCS#11 module; this or --config is required
    #[arg(long, value_name = "FILE", required_unless_present = "config")]
    pub module: Option<PathBuf>,
    /// The token's label; needed where the module shows several
    #[arg(long, value_name = "LABEL", conflicts_with = "slot")]
    pub token: Option<String>,
    /// The number of its slot, instead of its label
    #[arg(long, value_name = "NUMBER")]
    pub slot: Option<u64>,
    /// File with the user PIN, of mode 0600; without it nothing is tried that needs a login. A PIN is tried once
    #[arg(long, value_name = "FILE")]
    pub pin_file: Option<PathBuf>,
    /// Takes [backend] from a configuration of the service instead, software keys too
    #[arg(long, value_name = "FILE", conflicts_with_all = ["module", "token", "slot", "pin_file"])]
    pub config: Option<PathBuf>,
    /// With how many threads the speed is measured
    #[arg(long, value_name = "NUMBERS", value_delimiter = ',', default_values = ["1", "2", "4"], value_parser = lanes)]
    pub lanes: Vec<NonZeroUsize>,
    /// For how many seconds each time; 0: not at all
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub seconds: f64,
    /// JSON
    #[arg(long)]
    pub json: bool,
}

/// Each is a thread, with a session of its own.
fn lanes(text: &str) -> Result<NonZeroUsize, &'static str> {
    match text.parse::<NonZeroUsize>() {
        Ok(lanes) if lanes.get() <= MOST_LANES => Ok(lanes),
        _ => Err("a number from 1 to 256"),
    }
}

fn seconds(text: &str) -> Result<f64, &'static str> {
    match text.parse() {
        Ok(seconds) if (0.0..=60.0).contains(&seconds) => Ok(seconds),
        _ => Err("a number from 0 to 60"),
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The options, or the configuration that they name, are wrong.
    #[error("{0}")]
    Usage(String),
    /// What is to be examined cannot be.
    #[error("{0}")]
    Home(#[from] backend::Error),
}

impl Error {
    /// The program's exit code.
    #[must_use]
    pub fn code(&self) -> u8 {
        match self {
            Error::Usage(_) => 64,
            Error::Home(_) => 1,
        }
    }
}

/// All that is told.
struct Report {
    /// What was looked at: a path.
    place: String,
    look: Option<Look>,
    token: Option<Shown>,
    /// `None`: nothing was tried, for that needs a PIN.
    examination: Option<Examination>,
    /// `[backend]`, as it was given or as it could be.
    backend: Table,
}

impl Report {
    /// Whether the service can be run with it, as far as is known.
    fn is_usable(&self) -> bool {
        match (&self.examination, &self.token) {
            (Some(examination), _) => examination.is_usable(),
            // The list of mechanisms is all that there is.
            (None, Some(token)) => token.algorithms.iter().any(|tried| tried.outcome.is_ok()),
            (None, None) => false,
        }
    }
}

/// Examines, and writes what was found; answers with the exit code: 0, the service can be run with it; 1, it cannot.
///
/// # Errors
/// The options are wrong; there is nothing to examine there; the PIN is refused.
pub fn run(options: &Options, out: &mut impl Write) -> Result<u8, Error> {
    let plan = Plan {
        lanes: options.lanes.iter().map(|lanes| lanes.get()).collect(),
        time: Duration::from_secs_f64(options.seconds),
    };
    let report = match (&options.config, &options.module) {
        (Some(config), _) => configured(config, &plan)?,
        (None, Some(module)) => module_at(module, options, &plan)?,
        (None, None) => return Err(Error::Usage("--module or --config is required".to_owned())),
    };
    let text = match options.json {
        true => show::json(&report),
        false => show::text(&report),
    };
    // A reader that has seen enough is no failure.
    let _ = out.write_all(text.as_bytes());
    Ok(u8::from(!report.is_usable()))
}

/// What a configuration of the service names.
fn configured(path: &Path, plan: &Plan) -> Result<Report, Error> {
    let config = Config::read(path).map_err(|invalid| Error::Usage(invalid.to_string()))?;
    let backend = table_of(path)?;
    match &config.backend {
        backend::Settings::Software(settings) => Ok(Report {
            place: settings.directory.display().to_string(),
            look: None,
            token: None,
            examination: Some(software::examine(settings, plan)?),
            backend,
        }),
        backend::Settings::Pkcs11(settings) => {
            let look = look(&settings.module)?;
            let examination = examine(settings, plan)?;
            let is_it = |shown: &&Shown| {
                shown.label == settings.token
                    && settings
                        .serial
                        .as_ref()
                        .is_none_or(|it| *it == shown.serial)
            };
            Ok(Report {
                place: settings.module.display().to_string(),
                token: look.tokens.iter().find(is_it).cloned(),
                look: Some(look),
                examination: Some(examination),
                backend,
            })
        }
    }
}

/// `[backend]` as it is written.
fn table_of(path: &Path) -> Result<Table, Error> {
    let unreadable = |problem: String| Error::Usage(format!("{}: {problem}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| unreadable(error.to_string()))?;
    let mut all: Table = toml::from_str(&text).map_err(|error| unreadable(error.to_string()))?;
    match all.remove("backend") {
        Some(toml::Value::Table(table)) => Ok(table),
        _ => Err(unreadable("there is no [backend]".to_owned())),
    }
}

/// A module on the command line.
fn module_at(module: &Path, options: &Options, plan: &Plan) -> Result<Report, Error> {
    let absolute = |path: &Path| {
        std::path::absolute(path)
            .map_err(|error| Error::Usage(format!("{}: {error}", path.display())))
    };
    let module = absolute(module)?;
    let look = look(&module)?;
    let token = choose(&look.tokens, options, &module)?;
    let mut table = Table::new();
    for (key, value) in [
        ("kind", "pkcs11"),
        ("module", &module.display().to_string()),
        ("token", &token.label),
        ("serial", &token.serial),
    ] {
        table.insert(key.to_owned(), value.into());
    }
    let examination = match &options.pin_file {
        None => None,
        Some(pin_file) => {
            let pin_file = absolute(pin_file)?.display().to_string();
            table.insert("pin_file".to_owned(), pin_file.into());
            let mut settings = table.clone();
            settings.remove("kind");
            let settings: pkcs11::Settings = settings
                .try_into()
                .map_err(|error: toml::de::Error| Error::Usage(error.to_string()))?;
            Some(examine(&settings, plan)?)
        }
    };
    Ok(Report {
        place: module.display().to_string(),
        token: Some(token),
        look: Some(look),
        examination,
        backend: table,
    })
}

/// The token that is meant. Where several are, none is tried.
fn choose(tokens: &[Shown], options: &Options, module: &Path) -> Result<Shown, Error> {
    let is_meant = |shown: &&Shown| match (&options.token, options.slot) {
        (Some(label), _) => shown.label == *label,
        (None, Some(slot)) => shown.slot == slot,
        (None, None) => true,
    };
    let meant: Vec<&Shown> = tokens.iter().filter(is_meant).collect();
    if let [one] = meant.as_slice() {
        return Ok((*one).clone());
    }
    let there: Vec<String> = tokens
        .iter()
        .map(|shown| {
            let Shown {
                slot,
                label,
                serial,
                ..
            } = shown;
            format!("\"{label}\" (slot {slot}, serial {serial})")
        })
        .collect();
    let module = module.display();
    let sentence = match (there.is_empty(), meant.is_empty()) {
        (true, _) => format!("{module} shows no initialised token at all; {ELSEWHERE}"),
        (false, true) => format!("no such token: {module} shows {}", there.join(", ")),
        (false, false) => format!(
            "which token? Choose by --slot, for {module} shows {}",
            there.join(", ")
        ),
    };
    Err(backend::Error::Unusable(sentence).into())
}
