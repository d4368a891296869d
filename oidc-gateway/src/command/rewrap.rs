//! `oidc-gateway rewrap`: has everything in the store sealed by the key that seals now, and says whether a key before it is
//! still needed (NIST SP 800-57 part 1, §8.4). `deploy/README.md` has the whole procedure.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{keys, runtime};
pub use crate::client::rewrap::Mode;
use crate::client::rewrap::{self, Configured, Count, Rewrap};
use crate::clock::Clock;
use crate::config::Config;
use crate::keys::Unusable;
use crate::store::Store as _;
use crate::store::redis::Redis;
use crate::store::settings::Invalid;

/// How long to wait for the store.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is nothing that outlives a gateway.
    #[error(
        "[store] kind is `memory`: what it holds is in the gateway's own process and ends with it, so there is nothing to re-wrap"
    )]
    Memory,
    /// `[store]` cannot be used.
    #[error("[store] {0}")]
    Settings(#[from] Invalid),
    /// `[keys]` cannot be used.
    #[error("[keys] {0}")]
    Keys(#[from] Unusable),
    /// The store or the key-service did not do its part. What was replaced is replaced: to run it again is safe.
    #[error("{0}; what is done is done: run it again")]
    Interrupted(String),
    /// No runtime.
    #[error(transparent)]
    Runtime(#[from] std::io::Error),
}

impl From<rewrap::Error> for Error {
    fn from(error: rewrap::Error) -> Error {
        Error::Interrupted(error.to_string())
    }
}

/// What was found and done.
#[derive(Debug)]
pub struct Report {
    inner: rewrap::Report,
    mode: Mode,
}

/// Goes through the store.
///
/// # Errors
/// As said.
pub fn run(config: &Config, mode: Mode) -> Result<Report, Error> {
    let location = config.store.locate(&config.base)?;
    let inner = runtime()?.block_on(async {
        let store = location.redis().ok_or(Error::Memory)?;
        let keys = keys(config)?;
        answers(&store).await?;
        let rewrap = Rewrap {
            keys: &keys,
            store: &store,
            clock: &Clock::system(),
            mode,
        };
        Ok::<_, Error>(rewrap.run(&config.clients).await?)
    })?;
    Ok(Report { inner, mode })
}

async fn answers(store: &Redis) -> Result<(), Error> {
    let until = Instant::now() + PATIENCE;
    loop {
        match store.ping().await {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() > until => {
                return Err(Error::Interrupted(error.to_string()));
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

impl Report {
    /// Whether nothing is sealed by another key than the one that seals now.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.inner.is_clean()
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> String {
        let report = &self.inner;
        let after = |count: &Count| match self.mode {
            Mode::Replace => json!(count.after),
            Mode::Look => Value::Null,
        };
        let values = report.counts.iter().map(
            |(kid, count)| json!({ "kid": kid, "before": count.before, "after": after(count) }),
        );
        let configured = report.configured.iter().map(|it| {
            json!({ "client_id": it.client_id, "kid": it.kid, "client_secret_sealed": it.sealed })
        });
        let report = json!({
            "kid": report.kid,
            "dry_run": self.mode == Mode::Look,
            "values": values.collect::<Vec<_>>(),
            "configuration": configured.collect::<Vec<_>>(),
            "not_opened": report.broken,
            "clean": self.is_clean(),
        });
        format!("{report:#}\n")
    }

    /// For people.
    #[must_use]
    pub fn to_text(&self) -> String {
        let report = &self.inner;
        let mut text = format!("{:44} {:>8} {:>8}\n", "SEALED BY", "BEFORE", "AFTER");
        for (kid, count) in &report.counts {
            let after = match self.mode {
                Mode::Replace => count.after.to_string(),
                Mode::Look => "-".to_owned(),
            };
            // Writing to memory cannot fail.
            let _ = writeln!(text, "{kid:44} {:>8} {after:>8}", count.before);
        }
        let _ = writeln!(text, "{} is the key that seals now", report.kid);
        for (kid, count) in report.counts.iter().filter(|(kid, _)| **kid != report.kid) {
            let _ = match count.after {
                0 => writeln!(text, "nothing in this store is sealed by {kid} any more"),
                left => writeln!(text, "{left} in this store are sealed by {kid}"),
            };
        }
        for name in &report.broken {
            let _ = writeln!(
                text,
                "{name} cannot be opened: by a key that is withdrawn, or of another service"
            );
        }
        for client in &report.configured {
            write_configured(&mut text, client);
        }
        if report.counts.keys().all(|kid| *kid == report.kid) && self.is_clean() {
            text.push_str("nothing in this store is sealed by another key\n");
        }
        text
    }
}

fn write_configured(text: &mut String, client: &Configured) {
    let Configured {
        client_id,
        kid,
        sealed,
    } = client;
    let _ = match sealed {
        Some(sealed) => writeln!(
            text,
            "the configuration of `{client_id}` is sealed by {kid}: write instead\nclient_secret_sealed = \"{sealed}\""
        ),
        None => writeln!(
            text,
            "the configuration of `{client_id}` is sealed by {kid} and cannot be opened: `key-service admin enable {kid}` if it is only disabled, else `oidc-gateway seal-secret` makes it anew"
        ),
    };
}
