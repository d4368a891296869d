//! When a ring needs a new key, and what an operator must be told about it: pure functions of its keys' standings, so
//! that every replica comes to the same answer.

use super::Settings;
use super::state::{Standing, State};

/// Keys that are made in the same second are stamped with the seconds after it.
const SLACK: i64 = 10;

/// Something about a ring that a person should look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Alarm {
    /// A key that was made long ago was seen only now: it never signs.
    Late,
    /// A key of a time that is not yet: somebody's clock is wrong.
    Future,
    /// No key waits to follow the active one.
    NoStandby,
    /// The next key should have been made long ago.
    Overdue,
    /// A key signs that a connected gateway does not publish.
    Unacknowledged,
    /// A key is not as we make them, and is not used.
    Defective,
    /// Keys there were, and none is left to use.
    NoKey,
}

impl Alarm {
    /// All there are.
    pub const ALL: [Alarm; 7] = [
        Alarm::Late,
        Alarm::Future,
        Alarm::NoStandby,
        Alarm::Overdue,
        Alarm::Unacknowledged,
        Alarm::Defective,
        Alarm::NoKey,
    ];

    /// The word for it, in logs and metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Alarm::Late => "late",
            Alarm::Future => "future",
            Alarm::NoStandby => "no_standby",
            Alarm::Overdue => "overdue",
            Alarm::Unacknowledged => "unacknowledged",
            Alarm::Defective => "defective",
            Alarm::NoKey => "no_key",
        }
    }
}

/// The published standby: a waiting key of the newest generation.
pub(super) fn standby<'a>(
    standings: impl Iterator<Item = &'a Standing> + Clone,
    now: i64,
) -> Option<&'a Standing> {
    let newest = standings.clone().map(|one| one.key.generation).max()?;
    standings.into_iter().find(|one| {
        one.key.generation == newest
            && one.state == State::Next
            && one.signs_from.is_none_or(|from| from > now)
    })
}

/// When the next key is to be made: when the standby is one period old.
pub(super) fn due<'a>(
    standings: impl Iterator<Item = &'a Standing> + Clone,
    period: Option<i64>,
    now: i64,
) -> Option<i64> {
    let standby = standby(standings, now)?;
    Some(standby.key.created.saturating_add(period?))
}

/// What a person should look at. The gate speaks for itself.
pub(super) fn alarms<'a>(
    standings: impl Iterator<Item = &'a Standing> + Clone,
    settings: &Settings,
    period: Option<i64>,
    now: i64,
) -> Vec<Alarm> {
    let latest = now
        .saturating_add(super::rotation::ahead(settings))
        .saturating_add(settings.skew + SLACK);
    let is_late = |one: &Standing| one.reason == "late" && one.state == State::Retired;
    let overdue = due(standings.clone(), period, now);
    let mut alarms = Vec::new();
    for (alarm, is_so) in [
        (Alarm::Late, standings.clone().any(is_late)),
        (
            Alarm::Future,
            standings.clone().any(|one| one.key.created > latest),
        ),
        (
            Alarm::NoStandby,
            standings.clone().next().is_some() && standby(standings, now).is_none(),
        ),
        (
            Alarm::Overdue,
            overdue.is_some_and(|at| at.saturating_add(settings.lead) <= now),
        ),
    ] {
        if is_so {
            alarms.push(alarm);
        }
    }
    alarms
}
