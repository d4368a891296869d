//! Logs: one line for each event, as JSON or as text, on standard error. Messages are constant; what varies is in
//! fields, and nothing that a client sent is among them.

use std::io::IsTerminal;

use serde::Deserialize;
use tracing_subscriber::EnvFilter;

/// `[log]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// `json` or `text`. Default: `json`.
    pub format: Format,
    /// `error`, `warn`, `info` (default) or `debug`; or directives such as `info,oidc_gateway=debug`.
    pub level: String,
}

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One object for each line.
    Json,
    /// For people.
    Text,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            format: Format::Json,
            level: "info".to_owned(),
        }
    }
}

impl Settings {
    /// Whether the level is understood.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn check(&self) -> Result<(), String> {
        self.filter().map(drop)
    }

    /// A bare level is for our own events; the libraries' stay at warnings.
    fn filter(&self) -> Result<EnvFilter, String> {
        let wrong = || {
            format!(
                "`{}` is not a level: error, warn, info or debug",
                self.level
            )
        };
        let directives = match self.level.as_str() {
            level @ ("off" | "error" | "warn" | "info" | "debug" | "trace") => {
                format!("warn,oidc_gateway={level}")
            }
            directives if directives.contains('=') => directives.to_owned(),
            _ => return Err(wrong()),
        };
        EnvFilter::try_new(directives).map_err(|_| wrong())
    }

    /// Begins to log. A second call changes nothing: tests start many gateways in one process.
    pub fn begin(&self) {
        let Ok(filter) = self.filter() else {
            return;
        };
        let lines = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(std::io::stderr().is_terminal())
            .with_writer(std::io::stderr);
        let _ = match self.format {
            Format::Json => lines.json().flatten_event(true).try_init(),
            Format::Text => lines.try_init(),
        };
    }
}
