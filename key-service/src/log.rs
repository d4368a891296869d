//! Log lines go to standard error: constant messages with typed fields, never what a caller sent.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Starts logging. Called once, by the program and not by the library.
pub fn start(settings: &Log) {
    // The PKCS#11 crate reports each mechanism that it does not know as an error.
    let wanted = EnvFilter::new(format!("{},cryptoki=off", settings.level));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(wanted)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Json => lines.json().flatten_event(true).init(),
        LogFormat::Text => lines.init(),
    }
}
