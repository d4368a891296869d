//! CPU time of other processes, from /proc (proc_pid_stat(5)).

use std::fs;
use std::time::Duration;

/// Clock ticks of /proc are a hundredth of a second on every Linux of today (sysconf(_SC_CLK_TCK)).
const TICK: Duration = Duration::from_millis(10);

/// User and system time of the process so far; nothing when it has ended.
pub(crate) fn used(process: u32) -> Duration {
    // The scheduler's own sum is exact, for one thread; the ticks are for all, and coarse.
    exact(process).unwrap_or_else(|| ticks(process))
}

/// Sum over the threads of the nanoseconds that each ran.
fn exact(process: u32) -> Option<Duration> {
    let mut sum = Duration::ZERO;
    for thread in fs::read_dir(format!("/proc/{process}/task")).ok()? {
        let text = fs::read_to_string(thread.ok()?.path().join("schedstat")).ok()?;
        let nanoseconds: u64 = text.split(' ').next()?.parse().ok()?;
        sum += Duration::from_nanos(nanoseconds);
    }
    Some(sum)
}

/// Time of the calling thread so far.
pub(crate) fn of_this_thread() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok());
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

fn ticks(process: u32) -> Duration {
    let text = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
    // The second field is a name in parentheses that may hold anything.
    let after = text.rsplit(')').next().unwrap_or_default();
    let numbers = after.split_whitespace().skip(11).take(2);
    let ticks: u32 = numbers
        .filter_map(|number| number.parse::<u32>().ok())
        .sum();
    TICK * ticks
}

/// Resident memory in mebibytes.
pub(crate) fn resident(process: u32) -> u64 {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kibibytes.unwrap_or_default() / 1024
}
