//! Runs one operation again and again, so many in flight, and prints a line of figures.

use std::cell::RefCell;
use std::io::Write as _;
use std::time::{Duration, Instant};

use support::launch::Stack;

use crate::cpu;

/// Not counted: connections are made, caches filled.
const WARM_UP: Duration = Duration::from_millis(500);

/// What each measurement needs.
pub(crate) struct Bench {
    processes: Vec<(String, u32)>,
    length: Duration,
    only: String,
}

/// What the tasks of one measurement saw.
#[derive(Default)]
struct Seen {
    latencies: Vec<Duration>,
    failure: Option<anyhow::Error>,
}

impl Bench {
    pub(crate) fn new(stack: &Stack, length: Duration, only: String) -> Self {
        let processes = stack
            .processes()
            .map(|process| (process.name().to_owned(), process.id()))
            .collect();
        Self {
            processes,
            length,
            only,
        }
    }

    /// The line above the figures. CPU is microseconds per operation.
    pub(crate) fn head(&self) -> anyhow::Result<()> {
        let mut out = std::io::stdout();
        write!(
            out,
            "{:34}{:>10}{:>10}{:>9}{:>9}{:>9}",
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
    ) -> anyhow::Result<()>
    where
        F: Future<Output = anyhow::Result<()>>,
    {
        if !self.is_wanted(name) {
            return Ok(());
        }
        let seen = RefCell::new(Seen::default());
        self.repeat(in_flight, WARM_UP, &operation, &seen).await;
        seen.take();
        let before: Vec<Duration> = self.used();
        let start = Instant::now();
        self.repeat(in_flight, self.length, &operation, &seen).await;
        let length = start.elapsed();
        let after = self.used();
        let Seen {
            mut latencies,
            failure,
        } = seen.into_inner();
        if let Some(failure) = failure {
            return Err(failure.context(name.to_owned()));
        }
        latencies.sort_unstable();
        let count = latencies.len().max(1);
        let at = |share: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss
            )]
            let index = (count as f64 * share) as usize;
            latencies
                .get(index.min(count - 1))
                .copied()
                .unwrap_or_default()
                .as_micros()
        };
        #[expect(clippy::cast_precision_loss)]
        let each = |total: Duration| total.as_secs_f64() * 1e6 / count as f64;
        let used: Vec<Duration> = after
            .iter()
            .zip(before)
            .map(|(a, b)| a.saturating_sub(b))
            .collect();

        let mut out = std::io::stdout();
        #[expect(clippy::cast_precision_loss)]
        let rate = count as f64 / length.as_secs_f64();
        write!(
            out,
            "{name:34}{in_flight:10}{rate:10.0}{:9}{:9}{:9.1}",
            at(0.5),
            at(0.99),
            each(used.iter().sum()),
        )?;
        for one in &used {
            write!(out, "{:13.1}", each(*one))?;
        }
        let memory: Vec<String> = self
            .processes
            .iter()
            .map(|(_, process)| cpu::resident(*process).to_string())
            .collect();
        writeln!(out, "  {}", memory.join("/"))?;
        Ok(())
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
