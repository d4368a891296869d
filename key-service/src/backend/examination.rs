//! What was found out about a home of keys by trying everything that the service needs of it, with keys of no worth.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike as _;

use super::Error;
use crate::algorithm::{RingAlgorithm, SignatureAlgorithm};

/// The signatures whose speed is measured: the two that every relying party can verify.
pub(crate) const MEASURED: [SignatureAlgorithm; 2] =
    [SignatureAlgorithm::Rs256, SignatureAlgorithm::Es256];

/// What was found.
#[derive(Debug, Default)]
pub struct Examination {
    /// What it is.
    pub description: String,
    /// Every algorithm that a ring can have.
    pub algorithms: Vec<Tried>,
    /// What else was looked at.
    pub findings: Vec<Finding>,
    /// How fast it signs.
    pub paces: Vec<Pace>,
    /// Objects of the examination that are still there, to be removed by hand.
    pub left: Vec<String>,
}

/// An algorithm.
#[derive(Debug, Clone)]
pub struct Tried {
    /// Which.
    pub algorithm: RingAlgorithm,
    /// How it is asked for: a PKCS#11 mechanism, or a library.
    pub mechanism: String,
    /// The lengths of its keys, as the device tells them.
    pub key_sizes: Option<(usize, usize)>,
    /// Whether it did what it should; `Err` says why not.
    pub outcome: Result<(), String>,
}

/// Something that was looked at.
#[derive(Debug, Clone)]
pub struct Finding {
    /// What was looked at, in a word or two that stay the same.
    pub name: &'static str,
    /// Whether it is as the service would have it.
    pub is_good: bool,
    /// Whether the service cannot do without.
    pub is_essential: bool,
    /// What was seen.
    pub detail: String,
}

impl Finding {
    pub(crate) fn good(name: &'static str, detail: impl Into<String>) -> Finding {
        Finding {
            name,
            is_good: true,
            is_essential: false,
            detail: detail.into(),
        }
    }

    pub(crate) fn odd(name: &'static str, detail: impl Into<String>) -> Finding {
        Finding {
            is_good: false,
            ..Finding::good(name, detail)
        }
    }

    pub(crate) fn essential(self) -> Finding {
        Finding {
            is_essential: true,
            ..self
        }
    }
}

/// How fast something signs.
#[derive(Debug, Clone)]
pub struct Pace {
    /// With which algorithm.
    pub algorithm: SignatureAlgorithm,
    /// With which kind of key: `token key`, `session copy`, `key`.
    pub key: &'static str,
    /// How many threads signed.
    pub lanes: usize,
    /// Signatures in a second.
    pub per_second: f64,
    /// CPU time of this process for each, in microseconds.
    pub cpu: f64,
}

/// What is to be measured.
#[derive(Debug, Clone)]
pub struct Plan {
    /// With how many threads.
    pub lanes: Vec<usize>,
    /// For how long each time. Zero: nothing is measured.
    pub time: Duration,
}

impl Examination {
    /// Whether the service can be run with it.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        let signs = |tried: &Tried| {
            matches!(tried.algorithm, RingAlgorithm::Signature(_)) && tried.outcome.is_ok()
        };
        self.algorithms.iter().any(signs)
            && self
                .findings
                .iter()
                .all(|it| it.is_good || !it.is_essential)
    }

    /// Whether an algorithm did what it should.
    #[must_use]
    pub fn can(&self, algorithm: RingAlgorithm) -> bool {
        let is = |tried: &Tried| tried.algorithm == algorithm && tried.outcome.is_ok();
        self.algorithms.iter().any(is)
    }
}

/// Signs for some time with as many threads; `open` is called in each of them before the time begins.
pub(crate) fn measure<S>(
    (lanes, time): (usize, Duration),
    open: impl Fn() -> Result<S, Error> + Sync,
    sign: impl Fn(&mut S) -> Result<(), Error> + Sync,
) -> Result<(f64, f64), Error> {
    let start = Barrier::new(lanes + 1);
    let run = || {
        let opened = open();
        // All come here, so that nobody waits for one that could not open.
        start.wait();
        let mut session = opened?;
        let (begun, mut count) = (Instant::now(), 0_u32);
        while begun.elapsed() < time {
            sign(&mut session)?;
            count += 1;
        }
        Ok(count)
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..lanes).map(|_| scope.spawn(run)).collect();
        start.wait();
        let (begun, before) = (Instant::now(), cpu());
        let mut count = 0;
        let mut failure = None;
        for thread in threads {
            match thread.join() {
                Ok(Ok(signed)) => count += signed,
                Ok(Err(error)) => failure = Some(error),
                Err(_) => failure = Some(Error::Device("a panic while it signed".to_owned())),
            }
        }
        let (elapsed, used) = (begun.elapsed().as_secs_f64(), cpu().saturating_sub(before));
        match failure {
            Some(error) => Err(error),
            None if count == 0 => Err(Error::Device("it signed nothing".to_owned())),
            None => {
                let count = f64::from(count);
                Ok((count / elapsed, used.as_secs_f64() * 1e6 / count))
            }
        }
    })
}

/// What this process has used.
fn cpu() -> Duration {
    let micros = getrusage(UsageWho::RUSAGE_SELF).map_or(0, |usage| {
        usage.user_time().num_microseconds() + usage.system_time().num_microseconds()
    });
    Duration::from_micros(u64::try_from(micros).unwrap_or_default())
}
