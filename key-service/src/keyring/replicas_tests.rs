//! Several replicas on one device, as the life cycle promises for them: clocks apart, listings of different moments, races
//! and crashes, with the real state function, schedule and tombstones, and a model of everything else.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use proptest::prelude::*;
use proptest::sample::Index;

use super::schedule;
use super::state::{ALWAYS, Lifecycle, Seen, Standing, State, judge};
use super::withdrawal::was_active;
use crate::backend::{Tombstone, TombstoneReason};

const REPLICAS: usize = 3;
/// Seconds that clocks are apart at most.
const SKEW: i64 = 10;
/// Seconds until an object that was made can be seen by others.
const VISIBILITY: i64 = 3;
/// Seconds between two listings.
const RELOAD: i64 = 10;
/// `[lifecycle] generation`: until every replica has seen what was made.
const GENERATION: i64 = VISIBILITY + RELOAD + 2;
const LEAD: i64 = 60;
const PERIOD: i64 = 150;
/// Longer than any token lives, by more than the replicas may differ.
const RETENTION: i64 = 200;
const TOKEN_LIFE: i64 = RETENTION - SKEW - AGREED;
/// Seconds after which all replicas know of what happened.
const AGREED: i64 = VISIBILITY + RELOAD + 1;

const LIFECYCLE: Lifecycle = Lifecycle {
    lead: LEAD,
    retention: Some(RETENTION),
};

#[derive(Debug, Clone)]
enum Act {
    Wait(i64),
    Rotate(usize),
    /// At a replica, a key; it may crash before it makes a standby.
    Withdraw(usize, Index, TombstoneReason, bool),
    Crash(usize),
    Start(usize),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let reason = prop_oneof![
        Just(TombstoneReason::Revoked),
        Just(TombstoneReason::Disabled),
        Just(TombstoneReason::Enabled),
    ];
    let act = prop_oneof![
        6 => (1..120_i64).prop_map(Act::Wait),
        3 => (0..REPLICAS).prop_map(Act::Rotate),
        3 => (0..REPLICAS, any::<Index>(), reason, any::<bool>())
            .prop_map(|(at, key, reason, crash)| Act::Withdraw(at, key, reason, crash)),
        1 => (0..REPLICAS).prop_map(Act::Crash),
        2 => (0..REPLICAS).prop_map(Act::Start),
    ];
    prop::collection::vec(act, 1..30)
}

/// Something on the device, and when it was written.
#[derive(Debug, Clone)]
struct Made<T> {
    at: i64,
    by: usize,
    it: T,
}

#[derive(Debug, Clone)]
struct Replica {
    /// How far its clock is ahead.
    ahead: i64,
    reload_at: i64,
    /// `None`: it is down.
    view: Option<Vec<Standing>>,
    /// The generation that it signed with last, since it started.
    generation: u64,
}

struct World {
    now: i64,
    replicas: Vec<Replica>,
    keys: Vec<Made<Seen>>,
    tombstones: Vec<Made<Tombstone>>,
    /// By kid: since when a replica signs with it.
    begun: HashMap<String, i64>,
    /// By kid: when it signed last.
    signed: HashMap<String, i64>,
    /// By kid: when every replica that was up had seen it.
    seen: HashMap<String, i64>,
}

impl World {
    fn new(clocks: &[i64]) -> World {
        let replicas = clocks.iter().enumerate().map(|(index, ahead)| Replica {
            ahead: *ahead,
            reload_at: 1000 + i64::try_from(index).unwrap(),
            view: None,
            generation: 0,
        });
        let mut world = World {
            now: 1000,
            replicas: replicas.collect(),
            keys: Vec::new(),
            tombstones: Vec::new(),
            begun: HashMap::new(),
            signed: HashMap::new(),
            seen: HashMap::new(),
        };
        // All start at once, on a device without a key.
        let empty: Vec<Standing> = Vec::new();
        for at in 0..REPLICAS {
            world.replicas[at].view = Some(empty.clone());
        }
        for at in 0..REPLICAS {
            world.make(at);
            world.list(at);
        }
        for at in 0..REPLICAS {
            world.make(at);
            world.list(at);
        }
        world
    }

    fn clock(&self, at: usize) -> i64 {
        self.now + self.replicas[at].ahead
    }

    fn list(&mut self, at: usize) {
        let is_seen = |by: usize, made: i64| by == at || made + VISIBILITY <= self.now;
        let keys = self.keys.iter().filter(|made| is_seen(made.by, made.at));
        let keys: Vec<Seen> = keys.map(|made| made.it.clone()).collect();
        let tombstones = self
            .tombstones
            .iter()
            .filter(|made| is_seen(made.by, made.at));
        let tombstones: Vec<Tombstone> = tombstones.map(|made| made.it.clone()).collect();
        let view = judge(&keys, &tombstones, LIFECYCLE, self.clock(at));
        self.replicas[at].view = Some(view);
        self.replicas[at].reload_at = self.now + RELOAD;
    }

    /// As `Keyring::next_label` says.
    fn make(&mut self, at: usize) {
        let view = self.replicas[at].view.clone().unwrap();
        let newest = view.iter().map(|one| one.key.created).max();
        let ahead = newest.map_or(0, |_| GENERATION);
        let created = self.clock(at) + ahead;
        let generation = view.iter().map(|one| one.key.generation).max().unwrap_or(0) + 1;
        let kid = format!("{:05}", (self.keys.len() * 7919) % 10007);
        let it = Seen {
            kid,
            generation,
            created: newest.map_or(created, |newest| created.max(newest + 1)),
            defective: false,
        };
        let (by, at) = (at, self.now);
        self.keys.push(Made { at, by, it });
    }

    /// As `Keyring::keep_up` does.
    fn keep_up(&mut self, at: usize) {
        self.list(at);
        let (view, now) = (self.replicas[at].view.clone().unwrap(), self.clock(at));
        let made = match schedule::standby(view.iter(), now) {
            None => {
                let last = self.tombstones.iter().map(|made| made.it.at).max();
                last.is_none_or(|last| last + GENERATION + SKEW <= now)
            }
            Some(_) => schedule::due(view.iter(), Some(PERIOD), now).is_some_and(|due| due <= now),
        };
        if made {
            self.make(at);
            self.list(at);
        }
    }

    fn act(&mut self, act: &Act) -> Result<(), TestCaseError> {
        match act {
            Act::Wait(seconds) => {
                for _ in 0..*seconds {
                    self.now += 1;
                    for at in 0..REPLICAS {
                        let replica = &self.replicas[at];
                        if replica.view.is_some() && replica.reload_at <= self.now {
                            self.keep_up(at);
                        }
                    }
                    self.check()?;
                }
            }
            Act::Crash(at) => self.replicas[*at].view = None,
            Act::Start(at) if self.replicas[*at].view.is_none() => {
                self.replicas[*at].generation = 0;
                self.list(*at);
            }
            Act::Rotate(at) if self.replicas[*at].view.is_some() => {
                self.list(*at);
                let waiting = self.replicas[*at].view.iter().flatten();
                if waiting.filter(|one| one.state == State::Next).count() < 8 {
                    self.make(*at);
                    self.list(*at);
                }
            }
            Act::Withdraw(at, key, reason, crash) if self.replicas[*at].view.is_some() => {
                self.withdraw(*at, *key, *reason, *crash);
            }
            Act::Start(_) | Act::Rotate(_) | Act::Withdraw(..) => {}
        }
        self.check()
    }

    fn withdraw(&mut self, at: usize, key: Index, reason: TombstoneReason, crash: bool) {
        self.list(at);
        let view = self.replicas[at].view.clone().unwrap();
        let standing = key.get(&view);
        let is_disabled = standing.state == State::Disabled;
        if standing.state == State::Revoked
            || (reason == TombstoneReason::Enabled) != is_disabled
                && reason != TombstoneReason::Revoked
        {
            return;
        }
        let it = Tombstone {
            kid: standing.key.kid.clone(),
            ring: "id-token/ES256".parse().unwrap(),
            generation: standing.key.generation,
            created: standing.key.created,
            reason,
            at: self.clock(at),
            was_active: was_active(standing, self.clock(at)),
            note: "test".to_owned(),
        };
        let made = Made {
            at: self.now,
            by: at,
            it,
        };
        self.tombstones.push(made);
        if crash {
            self.replicas[at].view = None;
            return;
        }
        self.list(at);
        let view = self.replicas[at].view.clone().unwrap();
        if schedule::standby(view.iter(), self.clock(at)).is_none() {
            self.make(at);
            self.list(at);
        }
    }

    fn signing(&self, at: usize) -> Option<&Standing> {
        let now = self.clock(at);
        let view = self.replicas[at].view.as_ref()?;
        view.iter()
            .rfind(|one| one.signs_from.is_some_and(|from| from <= now))
    }

    /// When the device had what is said of a key, if it had.
    fn barred_at(&self, kid: &str) -> Option<i64> {
        let of = self.tombstones.iter().filter(|made| made.it.kid == kid);
        of.map(|made| made.at).min()
    }

    fn check(&mut self) -> Result<(), TestCaseError> {
        let now = self.now;
        for made in &self.keys {
            let kid = &made.it.kid;
            let sees = |replica: &Replica| {
                let view = replica.view.as_ref();
                view.is_none_or(|view| view.iter().any(|one| one.key.kid == *kid))
            };
            if !self.seen.contains_key(kid) && self.replicas.iter().all(sees) {
                self.seen.insert(kid.clone(), now);
            }
        }
        let mut signed = Vec::new();
        for at in 0..REPLICAS {
            let Some(standing) = self.signing(at) else {
                continue;
            };
            let key = &standing.key;
            signed.push((at, key.clone()));
            let made = self.keys.iter().find(|made| made.it == *key).unwrap();

            // A key that was withdrawn signs for as long as nobody could know.
            let barred = self.barred_at(&key.kid);
            prop_assert!(
                barred.is_none_or(|barred| now <= barred + AGREED),
                "{key:?} signs though barred"
            );

            // So does one that lost its generation.
            let of = |made: &&Made<Seen>| made.it.generation == key.generation;
            let rivals = || self.keys.iter().filter(of);
            let winner = rivals().min_by_key(|rival| (rival.it.created, &rival.it.kid));
            let last = rivals().map(|rival| rival.at).max().unwrap();
            prop_assert!(
                winner.unwrap().it == *key || now <= last + AGREED,
                "{key:?} lost its generation"
            );

            // It was published everywhere for the lead, but for the first and for heirs.
            let is_heir = self
                .tombstones
                .iter()
                .any(|bar| bar.it.generation < key.generation && bar.it.was_active);
            let seen = self.seen.get(&key.kid).copied().unwrap_or(made.at);
            prop_assert!(
                key.generation == 1 || is_heir || now >= seen + LEAD - SKEW,
                "{key:?} signs too early"
            );
        }
        let is_used = |kid: &String| signed.iter().any(|(_, key)| key.kid == *kid);
        self.begun.retain(|kid, _| is_used(kid));
        for (at, key) in &signed {
            self.begun.entry(key.kid.clone()).or_insert(now);
            self.signed.insert(key.kid.clone(), now);
            // No replica goes back, unless it learns what happened elsewhere just now.
            let before = &mut self.replicas[*at].generation;
            let is_news = |by: usize, made: i64| by != *at && made + 2 * AGREED >= now;
            let mut news = self
                .keys
                .iter()
                .map(|made| is_news(made.by, made.at))
                .chain(self.tombstones.iter().map(|made| is_news(made.by, made.at)));
            prop_assert!(
                *before <= key.generation || news.any(|is_news| is_news),
                "{key:?} after {before}"
            );
            *before = key.generation;
        }
        // Replicas differ for no longer than their clocks and listings do.
        for (at, key) in &signed {
            let mut ahead = signed.iter().map(|(_, other)| other).filter(|other| {
                let begun = self.begun.get(&other.kid);
                other.generation > key.generation
                    && self.barred_at(&other.kid).is_none()
                    && begun.is_some_and(|begun| now > begun + SKEW + AGREED)
            });
            let ahead = ahead.next();
            prop_assert_eq!(ahead, None, "replica {} lags with {:?}", at, key);
        }
        self.check_published()
    }

    /// Every token that lives verifies everywhere, unless its key was withdrawn.
    fn check_published(&self) -> Result<(), TestCaseError> {
        for (kid, last) in &self.signed {
            let made = self.keys.iter().find(|made| made.it.kid == *kid).unwrap();
            let is_over = self.now > last + TOKEN_LIFE;
            let is_fresh = self.now <= made.at + AGREED;
            if is_over || is_fresh || self.barred_at(kid).is_some() {
                continue;
            }
            for replica in &self.replicas {
                let Some(view) = &replica.view else { continue };
                let standing = view.iter().find(|one| one.key.kid == *kid);
                let state = standing.map(|one| one.state);
                let is_trusted =
                    matches!(state, Some(State::Next | State::Active | State::Retired));
                prop_assert!(is_trusted, "{kid} is {state:?}");
            }
        }
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn replicas_agree_but_for_moments(
        clocks in prop::collection::vec(-SKEW / 2..=SKEW / 2, REPLICAS),
        acts in acts(),
    ) {
        let mut world = World::new(&clocks);
        world.check()?;
        for act in &acts {
            world.act(act)?;
        }
        // Where somebody is left, and a key that may sign, somebody signs.
        for at in 0..REPLICAS {
            if let Some(view) = &world.replicas[at].view {
                let can = view.iter().any(|one| one.signs_from == Some(ALWAYS));
                prop_assert!(!can || world.signing(at).is_some());
            }
        }
    }
}
