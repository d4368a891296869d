//! Which key is in which state (NIST SP 800-57 part 1, §7): a pure function of the keys seen, the tombstones, the
//! policy and the clock, so that replicas that share a device agree without talking to each other.
//!
//! Within a ring, the lowest `(created, kid)` of each generation wins. Generation g signs from
//!
//! ```text
//! activation(lowest) = always
//! activation(g) = max(created(g) + lead, created(g + 1), activation(g − 1))
//! ```
//!
//! so the newest generation never signs: it is the published standby, and rotation is the making of the next one.

use std::collections::HashMap;

use crate::backend::{Tombstone, TombstoneReason};

/// A moment before all others.
pub const ALWAYS: i64 = i64::MIN;

/// The durations that decide, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Lifecycle {
    /// How long a key is published before it signs.
    pub lead: i64,
    /// How long a key that no longer signs stays published. `None`: for ever.
    pub retention: Option<i64>,
}

/// A key of one ring, as far as its state depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// RFC 7638 thumbprint, or what stands for it.
    pub kid: String,
    /// From its label.
    pub generation: u64,
    /// From its label: seconds since 1970-01-01T00:00:00Z.
    pub created: i64,
    /// Its attributes are not what we give a key: never used, never published, displaces nobody.
    pub defective: bool,
}

/// The state of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Published, not signing yet.
    Next,
    /// Published and signing.
    Active,
    /// Published, no longer signing.
    Retired,
    /// No longer published.
    Expired,
    /// Withdrawn for good.
    Revoked,
    /// Withdrawn until it is enabled again.
    Disabled,
    /// The material is gone.
    Destroyed,
}

impl State {
    /// For people, logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            State::Next => "NEXT",
            State::Active => "ACTIVE",
            State::Retired => "RETIRED",
            State::Expired => "EXPIRED",
            State::Revoked => "REVOKED",
            State::Disabled => "DISABLED",
            State::Destroyed => "DESTROYED",
        }
    }
}

/// A key and what has become of it. Times are seconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// The key.
    pub key: Seen,
    /// Its state at the given time.
    pub state: State,
    /// When it signs, or signed, from. `None`: not known yet, or never.
    pub activates_at: Option<i64>,
    /// When its successor signs from.
    pub retires_at: Option<i64>,
    /// When it is no longer published.
    pub expires_at: Option<i64>,
    /// Why its state is not what its age says; empty: it is.
    pub reason: &'static str,
    /// It may sign from this moment until the next one that may.
    pub signs_from: Option<i64>,
}

/// What a key's tombstones say together, whatever their order.
#[derive(Debug, Clone, Copy)]
struct Bar {
    revoked: bool,
    destroyed: bool,
    late: bool,
    disabled: usize,
    enabled: usize,
    was_active: bool,
    at: i64,
}

/// A generation: its winner, and since when it signs.
struct Generation<'a> {
    kid: &'a str,
    created: i64,
    bar: Option<Bar>,
    start: Option<i64>,
}

impl Generation<'_> {
    /// Whether it signed for some time and never will again.
    fn is_spent(&self) -> bool {
        self.bar.is_some_and(|bar| bar.was_active)
    }
}

/// The state of every key of a ring at `now`, in the order of generation, creation and kid. Tombstones of keys that are
/// gone count too.
#[must_use]
pub fn judge(
    seen: &[Seen],
    tombstones: &[Tombstone],
    lifecycle: Lifecycle,
    now: i64,
) -> Vec<Standing> {
    let bars = bars(tombstones, now);
    let keys = in_order(seen, tombstones);
    let generations = generations(&keys, &bars, lifecycle);
    let spent = generations.iter().rposition(Generation::is_spent);
    let may_sign =
        |index: usize| generations[index].bar.is_none() && spent.is_none_or(|spent| index > spent);
    let active = (0..generations.len())
        .rfind(|&index| may_sign(index) && generations[index].start.is_some_and(|at| at <= now));
    let present = |kid: &str| seen.iter().any(|key| key.kid == kid);

    let judged = keys.iter().map(|key| {
        let bar = bars.get(key.kid.as_str());
        let generation = generations.iter().position(|won| won.kid == key.kid);
        let start = generation.and_then(|index| generations[index].start);
        let successor = generation.and_then(|index| successor(&generations, index));
        let withdrawn_at = bar.map(|bar| bar.at);
        let (state, leaves_at, reason) = match (bar, generation) {
            (Some(bar), _) if bar.destroyed => (State::Destroyed, None, "destroyed"),
            (Some(bar), _) if bar.revoked => (State::Revoked, None, "revoked"),
            (Some(bar), _) if bar.disabled > bar.enabled => (State::Disabled, None, "disabled"),
            (Some(_), _) if !present(&key.kid) => (State::Destroyed, None, "missing"),
            _ if key.defective => (State::Disabled, None, "defective"),
            (Some(bar), _) if bar.late => (State::Retired, withdrawn_at, "late"),
            (Some(_), _) => (
                State::Retired,
                start.and(successor).or(withdrawn_at),
                "enabled",
            ),
            (None, None) => (State::Retired, Some(key.created), "duplicate"),
            (None, Some(index)) if Some(index) == active => (State::Active, successor, ""),
            (None, Some(index)) if may_sign(index) && Some(index) > active => {
                (State::Next, None, "")
            }
            (None, Some(_)) => {
                let superseded = || spent.and_then(|spent| generations[spent].start);
                (State::Retired, successor.or_else(superseded), "")
            }
        };
        let expires_at = match (leaves_at, lifecycle.retention) {
            (Some(at), Some(retention)) => Some(at.saturating_add(retention)),
            _ => None,
        };
        let is_over = state == State::Retired && expires_at.is_some_and(|at| at <= now);
        Standing {
            key: key.clone(),
            state: if is_over { State::Expired } else { state },
            activates_at: start.map(|at| if at == ALWAYS { key.created } else { at }),
            retires_at: leaves_at,
            expires_at,
            reason,
            signs_from: generation.filter(|&index| may_sign(index)).and(start),
        }
    });
    judged.collect()
}

fn bars(tombstones: &[Tombstone], now: i64) -> HashMap<&str, Bar> {
    let mut bars: HashMap<&str, Bar> = HashMap::new();
    for tombstone in tombstones {
        let bar = bars.entry(&tombstone.kid).or_insert(Bar {
            revoked: false,
            destroyed: false,
            late: false,
            disabled: 0,
            enabled: 0,
            was_active: false,
            at: now,
        });
        // It counts as soon as it is seen, whatever clock wrote it.
        bar.at = bar.at.min(tombstone.at);
        bar.was_active |= tombstone.was_active;
        match tombstone.reason {
            TombstoneReason::Revoked => bar.revoked = true,
            TombstoneReason::Disabled => bar.disabled += 1,
            TombstoneReason::Enabled => bar.enabled += 1,
            TombstoneReason::Late => bar.late = true,
            TombstoneReason::Destroyed => bar.destroyed = true,
        }
    }
    bars
}

fn in_order(seen: &[Seen], tombstones: &[Tombstone]) -> Vec<Seen> {
    let buried = tombstones.iter().map(|tombstone| Seen {
        kid: tombstone.kid.clone(),
        generation: tombstone.generation,
        created: tombstone.created,
        defective: false,
    });
    let mut keys: Vec<Seen> = seen.to_vec();
    for key in buried {
        if !keys.iter().any(|known| known.kid == key.kid) {
            keys.push(key);
        }
    }
    keys.sort_by(|a, b| {
        (a.generation, a.created, &a.kid, a.defective).cmp(&(
            b.generation,
            b.created,
            &b.kid,
            b.defective,
        ))
    });
    keys.dedup_by(|a, b| a.kid == b.kid);
    keys
}

fn generations<'a>(
    keys: &'a [Seen],
    bars: &HashMap<&str, Bar>,
    lifecycle: Lifecycle,
) -> Vec<Generation<'a>> {
    let mut generations: Vec<Generation<'a>> = Vec::new();
    let mut number = None;
    for key in keys {
        let bar = bars.get(key.kid.as_str()).copied();
        if number == Some(key.generation) || key.defective || bar.is_some_and(|bar| bar.late) {
            continue;
        }
        number = Some(key.generation);
        generations.push(Generation {
            kid: &key.kid,
            created: key.created,
            bar,
            start: None,
        });
    }
    // The first generation was active from the start, whatever was written down about it.
    if let Some(bar) = generations.first_mut().and_then(|first| first.bar.as_mut()) {
        bar.was_active = true;
    }

    let mut activation = Some(ALWAYS);
    for index in 0..generations.len() {
        if index > 0 {
            let earliest = generations[index].created.saturating_add(lifecycle.lead);
            let next = generations.get(index + 1).map(|next| next.created);
            activation = match (activation, next) {
                (Some(before), Some(next)) => Some(earliest.max(next).max(before)),
                _ => None,
            };
        }
        let start = match (activation, inherits(&generations[..index])) {
            (Some(planned), Some(inherited)) => Some(planned.min(inherited)),
            (planned, inherited) => planned.or(inherited),
        };
        generations[index].start = match generations[index].bar {
            None => start,
            Some(bar) if bar.was_active => Some(start.map_or(bar.at, |start| start.min(bar.at))),
            Some(_) => None,
        };
    }
    generations
}

/// When everything below became barred, the active one included: the next generation signs from then, whatever its age.
fn inherits(below: &[Generation<'_>]) -> Option<i64> {
    let mut at = ALWAYS;
    for generation in below.iter().rev() {
        at = at.max(generation.bar?.at);
        if generation.is_spent() {
            return Some(at);
        }
    }
    None
}

/// When the next higher generation that really signs, or signed, began to.
fn successor(generations: &[Generation<'_>], index: usize) -> Option<i64> {
    let higher = generations[index + 1..].iter();
    higher.filter_map(|generation| generation.start).min()
}

#[cfg(test)]
#[path = "state_tests.rs"]
mod tests;
