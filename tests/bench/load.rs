//! Runs one operation again and again, so many in flight, and prints a line of figures.

use std::cell::RefCell;
use std::io::Write as _;
use std::time::{Duration, Instant};

use support::launch::Process;

use crate::cpu;

/// Not counted: connections are made, caches filled.
const WARM_UP: Duration = Duration::from_millis(500);

/// What each measurement needs.
pub(crate) struct Bench {
    processes: Vec<(String, u32)>,
    length: Duration,
    only: String,
}

/// Of one measurement.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Figures {
    /// Operations a second.
    pub(crate) rate: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    /// CPU time of all processes, microseconds an operation.
    pub(crate) cpu: f64,
}

impl Figures {
    /// Of operations that took so long, and all together so much CPU time.
    pub(crate) fn of(mut latencies: Vec<Duration>, length: Duration, used: Duration) -> Self {
        latencies.sort_unstable();
        let count = latencies.len().max(1);
        let at = |share: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss
            )]
            let index = (count as f64 * share) as usize;
            let latency = latencies.get(index.min(count - 1));
            latency.copied().unwrap_or_default()
        };
        #[expect(clippy::cast_precision_loss)]
        let count_of = count as f64;
        Self {
            rate: count_of / length.as_secs_f64(),
            p50: at(0.5),
            p99: at(0.99),
            cpu: used.as_secs_f64() * 1e6 / count_of,
        }
    }
}

/// A service, and what it cannot do without.
pub(crate) struct Turn {
    pub(crate) service: Figures,
    /// The module alone.
    pub(crate) raw: Figures,
    /// A call with nothing behind it.
    pub(crate) bare: Figures,
}

/// The one in the middle; of none, nothing.
fn median<T>(of: &[T], value: impl Fn(&T) -> f64) -> f64 {
    let mut sorted: Vec<f64> = of.iter().map(value).collect();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What the tasks of one measurement saw.
#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    failure: Option<anyhow::Error>,
}

impl Bench {
    pub(crate) fn new(length: Duration, only: String) -> Self {
        Self {
            processes: Vec::new(),
            length,
            only,
        }
    }

    /// Whose CPU time is counted from now on; says so in a line above the figures.
    pub(crate) fn watch<'a>(
        &mut self,
        processes: impl IntoIterator<Item = &'a Process>,
    ) -> anyhow::Result<()> {
        let named = |process: &Process| (process.name().to_owned(), process.id());
        let processes: Vec<_> = processes.into_iter().map(named).collect();
        let is_same = |(one, other): (&(String, u32), &(String, u32))| one.0 == other.0;
        let was = std::mem::replace(&mut self.processes, processes);
        if was.len() == self.processes.len() && was.iter().zip(&self.processes).all(is_same) {
            return Ok(());
        }
        self.head()
    }

    /// How long each measurement is.
    pub(crate) fn length(&self) -> Duration {
        self.length
    }

    /// The line above the figures. CPU is microseconds per operation.
    fn head(&self) -> anyhow::Result<()> {
        let mut out = std::io::stdout();
        write!(
            out,
            "{:42}{:>10}{:>10}{:>9}{:>9}{:>9}",
            "operation", "in flight", "per s", "p50 µs", "p99 µs", "CPU µs"
        )?;
        for (name, _) in &self.processes {
            write!(out, "{name:>13}")?;
        }
        writeln!(out, "  MiB")?;
        Ok(())
    }

    /// Does anybody want this one?
    pub(crate) fn is_wanted(&self, name: &str) -> bool {
        name.contains(&self.only)
    }

    /// Measures `operation`, which gets a number below `in_flight` for its virtual user.
    pub(crate) async fn run<F>(
        &self,
        name: &str,
        in_flight: usize,
        operation: impl Fn(usize) -> F,
    ) -> anyhow::Result<Option<Figures>>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        if !self.is_wanted(name) {
            return Ok(None);
        }
        self.measure(name, in_flight, operation).await.map(Some)
    }

    /// The same, wanted or not.
    pub(crate) async fn measure<F>(
        &self,
        name: &str,
        in_flight: usize,
        operation: impl Fn(usize) -> F,
    ) -> anyhow::Result<Figures>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        let seen = RefCell::new(Seen::default());
        self.repeat(in_flight, WARM_UP, &operation, &seen).await;
        seen.take();
        let before: Vec<Duration> = self.used();
        let start = Instant::now();
        self.repeat(in_flight, self.length, &operation, &seen).await;
        let length = start.elapsed();
        let after = self.used();
        let Seen { latencies, failure } = seen.into_inner();
        if let Some(failure) = failure {
            return Err(failure.context(name.to_owned()));
        }
        let count = latencies.len().max(1);
        #[expect(clippy::cast_precision_loss)]
        let each = |total: Duration| total.as_secs_f64() * 1e6 / count as f64;
        let used: Vec<Duration> = after
            .iter()
            .zip(before)
            .map(|(a, b)| a.saturating_sub(b))
            .collect();
        let figures = Figures::of(latencies, length, used.iter().sum());

        let mut out = std::io::stdout();
        self.begin(name, in_flight, &figures)?;
        for one in &used {
            write!(out, "{:13.1}", each(*one))?;
        }
        let memory: Vec<String> = self
            .processes
            .iter()
            .map(|(_, process)| cpu::resident(*process).to_string())
            .collect();
        writeln!(out, "  {}", memory.join("/"))?;
        Ok(figures)
    }

    /// A line of figures that were measured elsewhere.
    pub(crate) fn line(&self, name: &str, at_once: usize, figures: &Figures) -> anyhow::Result<()> {
        self.begin(name, at_once, figures)?;
        writeln!(std::io::stdout())?;
        Ok(())
    }

    /// What two processes take that nobody asks.
    pub(crate) async fn at_rest(
        &self,
        name: &str,
        processes: [&Process; 2],
        length: Duration,
    ) -> anyhow::Result<()> {
        let used = || processes.map(|process| cpu::used(process.id()));
        let before = used();
        tokio::time::sleep(length).await;
        let [one, other] = std::array::from_fn(|at| used()[at].saturating_sub(before[at]));
        self.remark(&format!(
            "{name}, at rest: {:.1} → {:.1} ms in {} s",
            one.as_secs_f64() * 1e3,
            other.as_secs_f64() * 1e3,
            length.as_secs()
        ))
    }

    /// A sentence between the figures.
    pub(crate) fn remark(&self, sentence: &str) -> anyhow::Result<()> {
        Ok(writeln!(std::io::stdout(), "  {sentence}")?)
    }

    /// The service as a multiple of what it cannot do without.
    pub(crate) fn compare(&self, name: &str, turns: &[Turn]) -> anyhow::Result<()> {
        if turns.is_empty() {
            return Ok(());
        }
        let floor = |turn: &Turn| turn.raw.cpu + turn.bare.cpu;
        self.remark(&format!(
            "{name}, 16 in flight: {:.1} µs = {:.2} × (raw {:.1} + bare call {:.1}), medians of {}",
            median(turns, |turn| turn.service.cpu),
            median(turns, |turn| turn.service.cpu / floor(turn)),
            median(turns, |turn| turn.raw.cpu),
            median(turns, |turn| turn.bare.cpu),
            turns.len()
        ))
    }

    /// What the second of two is of the first. Each turn: one and the other.
    pub(crate) fn beside(&self, name: &str, turns: &[(Figures, Figures)]) -> anyhow::Result<()> {
        if turns.is_empty() {
            return Ok(());
        }
        self.remark(&format!(
            "{name}: {:.1} → {:.1} µs, {:.2} ×, medians of {}",
            median(turns, |(one, _)| one.cpu),
            median(turns, |(_, other)| other.cpu),
            median(turns, |(one, other)| other.cpu / one.cpu),
            turns.len()
        ))
    }

    /// What a record costs, and how many share a write. Each turn: without a log and with one; before and after:
    /// records and writes.
    pub(crate) fn audited(
        &self,
        durability: &str,
        turns: &[(Figures, Figures)],
        before: (u64, u64),
        after: (u64, u64),
    ) -> anyhow::Result<()> {
        if turns.is_empty() {
            return Ok(());
        }
        #[expect(clippy::cast_precision_loss)]
        let shared = (after.0 - before.0) as f64 / (after.1 - before.1).max(1) as f64;
        self.remark(&format!(
            "audit {durability}, 16 in flight: {:.1} µs CPU a record, median of {}; {shared:.1} records a write",
            median(turns, |(without, with)| with.cpu - without.cpu),
            turns.len()
        ))
    }

    fn begin(&self, name: &str, in_flight: usize, figures: &Figures) -> anyhow::Result<()> {
        Ok(write!(
            std::io::stdout(),
            "{name:42}{in_flight:10}{:10.0}{:9}{:9}{:9.1}",
            figures.rate,
            figures.p50.as_micros(),
            figures.p99.as_micros(),
            figures.cpu
        )?)
    }

    fn used(&self) -> Vec<Duration> {
        self.processes
            .iter()
            .map(|(_, process)| cpu::used(*process))
            .collect()
    }

    async fn repeat<F>(
        &self,
        in_flight: usize,
        length: Duration,
        operation: &impl Fn(usize) -> F,
        seen: &RefCell<Seen>,
    ) where
        F: Future<Output = anyhow::Result<()>>,
    {
        let until = Instant::now() + length;
        let users = (0..in_flight).map(|user| async move {
            while Instant::now() < until {
                let start = Instant::now();
                let outcome = operation(user).await;
                let mut seen = seen.borrow_mut();
                match outcome {
                    Ok(()) => seen.latencies.push(start.elapsed()),
                    Err(error) => {
                        seen.failure.get_or_insert(error);
                        return;
                    }
                }
            }
        });
        futures_util::future::join_all(users).await;
    }
}
