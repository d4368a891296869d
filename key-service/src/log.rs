//! Log lines go to standard error: constant messages with typed fields, never what a caller sent.

use crate::config::{Log, LogFormat};

/// Starts logging. Called once, by the program and not by the library.
pub fn start(settings: &Log) {
    let level = settings.level.parse().unwrap_or(tracing::Level::INFO);
    let lines = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(std::io::stderr);
    match settings.format {
        LogFormat::Json => lines.json().flatten_event(true).init(),
        LogFormat::Text => lines.init(),
    }
}
