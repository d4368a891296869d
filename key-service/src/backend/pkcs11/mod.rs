//! Keys in a token behind a PKCS#11 module (PKCS #11 Specification 3.1): made there, sensitive, never extractable.
//!
//! `token` opens the module and logs in, `canary` asks whether it is alive, `recovery` brings it back after a failure,
//! and `watchdog` sees when it never will; `session` is one conversation with it, `open` what is known in a session and
//! `copy` the copies of keys there, `lane` the threads that hold them and `queue` what waits for those; `listing` reads
//! all that is ours in it, and `strangers` remembers what is not; `patience` tries again; `mechanism` says how JOSE's
//! algorithms are asked for, `object` what keys look like, `trial` finds out what a token and a key really do, `announce`
//! lets other processes see what was written, `examine` finds out what else `key-service doctor` tells, `error` says
//! what the module's return values mean for us.

mod announce;
mod canary;
mod copy;
mod error;
pub(crate) mod examine;
mod lane;
mod listing;
mod mechanism;
mod object;
mod open;
mod patience;
mod queue;
mod recovery;
mod session;
mod strangers;
mod token;
mod trial;
mod watchdog;

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use serde::Deserialize;

pub use self::copy::SessionCopies;
pub(super) use self::lane::Lanes;
use self::patience::{is_failure, patiently};
use self::token::Token;
use super::secret::{Descriptor, Source};
use super::{Error, Facts, RsaBits};
use crate::config::duration;
use crate::permissions;

/// What to do where a module has no tokens to show, or does not start at all.
pub(crate) const ELSEWHERE: &str = "a module learns from its own configuration where tokens are (SoftHSM: SOFTHSM2_CONF), \
                                    which this user must be able to read; its own tool makes one";

/// How many requests may wait, unless the configuration says otherwise.
const QUEUE: usize = 256;

/// `[backend]` with `kind = "pkcs11"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The module, an absolute path: `/usr/lib/softhsm/libsofthsm2.so`.
    pub module: PathBuf,
    /// Label of the token.
    pub token: String,
    /// Serial number of the token. Set: another token with the same label is refused.
    #[serde(default)]
    pub serial: Option<String>,
    /// File with the user PIN, which nobody else may read. A line end after it does not count.
    #[serde(default)]
    pub pin_file: Option<PathBuf>,
    /// Or the descriptor that it is read from.
    #[serde(default)]
    pub pin_fd: Option<Descriptor>,
    /// Or the name of systemd's credential.
    #[serde(default)]
    pub pin_credential: Option<String>,
    /// How many threads, each with a session of its own, call the module. Default: one for each core.
    #[serde(default)]
    pub lanes: Option<NonZeroUsize>,
    /// How many requests may wait for a lane; more are refused. Default: 256.
    #[serde(default)]
    pub queue: Option<NonZeroUsize>,
    /// Length of RSA moduli that are made, in bits: 2048, 3072 or 4096.
    #[serde(default)]
    pub rsa_bits: RsaBits,
    /// Whether keys sign through copies that live in a session: `"auto"`, `true` or `false`.
    #[serde(default)]
    pub session_copies: SessionCopies,
    /// How long one call into the module may take before the process ends, so that another takes its place.
    #[serde(default = "default_hang_limit", with = "duration")]
    pub hang_limit: Duration,
}

fn default_hang_limit() -> Duration {
    Duration::from_secs(30)
}

impl Settings {
    /// Where the PIN comes from.
    pub(super) fn pin(&self) -> Result<Source, Error> {
        let file = self.pin_file.clone().map(Source::File);
        let descriptor = self.pin_fd.clone().map(Source::Descriptor);
        let credential = self.pin_credential.clone().map(Source::Credential);
        Source::only_one("pin", [file, descriptor, credential])
    }
}

/// Opens the token, finds out what it can do, and starts the lanes.
pub(super) fn open(settings: &Settings) -> Result<(Facts, Lanes), Error> {
    // What cannot be loaded at all, `Token::open` says.
    if settings.module.is_absolute() && settings.module.exists() {
        permissions::check_code(&settings.module)
            .map_err(|refused| Error::Unusable(format!("the module: {refused}")))?;
    }
    let token = Arc::new(Token::open(settings)?);
    let facts = patiently(|| token.facts(), is_failure)?;
    let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    let lanes = settings.lanes.unwrap_or(cores).get();
    let queue = settings.queue.map_or(QUEUE, NonZeroUsize::get);
    Ok((facts, Lanes::start(&token, lanes, queue)?))
}
