//! The state function's promises, on histories that nobody would think of.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::algorithm::RingName;

const LEAD: i64 = 100;
const RETENTION: i64 = 1000;
const LIFECYCLE: Lifecycle = Lifecycle {
    lead: LEAD,
    retention: Some(RETENTION),
};

fn seen(kid: &str, generation: u64, created: i64) -> Seen {
    Seen {
        kid: kid.to_owned(),
        generation,
        created,
        defective: false,
    }
}

fn tombstone(key: &Seen, reason: TombstoneReason, at: i64, was_active: bool) -> Tombstone {
    Tombstone {
        kid: key.kid.clone(),
        ring: "id-token/ES256".parse::<RingName>().unwrap(),
        generation: key.generation,
        created: key.created,
        reason,
        at,
        was_active,
        note: "test".to_owned(),
    }
}

fn show(standings: &[Standing]) -> String {
    let each = standings.iter().map(|standing| {
        let (kid, state) = (&standing.key.kid, standing.state.as_str());
        format!(
            "{kid}:{state}{}{}",
            if standing.reason.is_empty() { "" } else { " " },
            standing.reason
        )
    });
    each.collect::<Vec<_>>().join(", ")
}

#[test]
fn a_ring_lives() {
    let first = [seen("a", 1, 0), seen("b", 2, 1)];
    let rotated = [first.to_vec(), vec![seen("c", 3, 500)]].concat();
    let hurried = [first.to_vec(), vec![seen("c", 3, 10), seen("d", 4, 11)]].concat();
    let raced = [
        seen("z", 1, 0),
        seen("a", 1, 0),
        seen("m", 1, -5),
        seen("b", 2, 1),
    ];
    let (revoked, disabled) = (TombstoneReason::Revoked, TombstoneReason::Disabled);
    let rows: &[(&[Seen], &[Tombstone], i64, &str)] = &[
        (&first[..1], &[], 0, "a:ACTIVE"),
        (&first, &[], 0, "a:ACTIVE, b:NEXT"),
        (&first, &[], 1_000_000, "a:ACTIVE, b:NEXT"),
        (&rotated, &[], 499, "a:ACTIVE, b:NEXT, c:NEXT"),
        (&rotated, &[], 500, "a:RETIRED, b:ACTIVE, c:NEXT"),
        (&rotated, &[], 1499, "a:RETIRED, b:ACTIVE, c:NEXT"),
        (&rotated, &[], 1500, "a:EXPIRED, b:ACTIVE, c:NEXT"),
        // Rotated before the standby had been published for the lead: it waits.
        (&hurried, &[], 100, "a:ACTIVE, b:NEXT, c:NEXT, d:NEXT"),
        (&hurried, &[], 101, "a:RETIRED, b:ACTIVE, c:NEXT, d:NEXT"),
        (&hurried, &[], 110, "a:RETIRED, b:RETIRED, c:ACTIVE, d:NEXT"),
        (
            &raced,
            &[],
            10,
            "m:ACTIVE, a:RETIRED duplicate, z:RETIRED duplicate, b:NEXT",
        ),
        // The active key is revoked: the standby signs at once, whatever its age.
        (
            &first,
            &[tombstone(&first[0], revoked, 10, true)],
            10,
            "a:REVOKED revoked, b:ACTIVE",
        ),
        // One that has never signed: nothing else changes.
        (
            &rotated,
            &[tombstone(&first[1], revoked, 20, false)],
            600,
            "a:ACTIVE, b:REVOKED revoked, c:NEXT",
        ),
        (
            &first,
            &[tombstone(&first[0], disabled, 10, true)],
            10,
            "a:DISABLED disabled, b:ACTIVE",
        ),
        (
            &first,
            &[
                tombstone(&first[0], TombstoneReason::Enabled, 20, true),
                tombstone(&first[0], disabled, 10, true),
            ],
            30,
            "a:RETIRED enabled, b:ACTIVE",
        ),
        (
            &first[1..],
            &[tombstone(&first[0], TombstoneReason::Destroyed, 10, true)],
            30,
            "a:DESTROYED destroyed, b:ACTIVE",
        ),
        (
            &first,
            &[tombstone(&first[1], TombstoneReason::Late, 10, false)],
            30,
            "a:ACTIVE, b:RETIRED late",
        ),
        (
            &first,
            &[
                tombstone(&first[0], revoked, 10, true),
                tombstone(&first[1], revoked, 11, true),
            ],
            12,
            "a:REVOKED revoked, b:REVOKED revoked",
        ),
    ];
    for (keys, tombstones, now, expected) in rows {
        assert_eq!(
            show(&judge(keys, tombstones, LIFECYCLE, *now)),
            *expected,
            "at {now}"
        );
    }
}

#[test]
fn a_planted_key_displaces_nobody() {
    let mut rogue = seen("0", 1, -1000);
    rogue.defective = true;
    let keys = [rogue, seen("a", 1, 0), seen("b", 2, 1)];
    assert_eq!(
        show(&judge(&keys, &[], LIFECYCLE, 5)),
        "0:DISABLED defective, a:ACTIVE, b:NEXT"
    );
}

#[test]
fn what_is_sealed_never_expires() {
    let keys = [seen("a", 1, 0), seen("b", 2, 1), seen("c", 3, 2)];
    let forever = Lifecycle {
        retention: None,
        ..LIFECYCLE
    };
    assert_eq!(
        show(&judge(&keys, &[], forever, i64::MAX)),
        "a:RETIRED, b:ACTIVE, c:NEXT"
    );
}

/// What operators and replicas may do, in any order.
#[derive(Debug, Clone)]
enum Act {
    Wait(i64),
    Rotate,
    Revoke(prop::sample::Index),
    /// Another replica makes the generation that is there already.
    Race(prop::sample::Index),
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (1..400_i64).prop_map(Act::Wait),
        4 => Just(Act::Rotate),
        2 => any::<prop::sample::Index>().prop_map(Act::Revoke),
        1 => any::<prop::sample::Index>().prop_map(Act::Race),
    ];
    prop::collection::vec(act, 1..40)
}

#[derive(Default)]
struct World {
    now: i64,
    keys: Vec<Seen>,
    tombstones: Vec<Tombstone>,
    made: u32,
}

impl World {
    fn new() -> World {
        let mut world = World {
            now: 10,
            ..World::default()
        };
        world.make();
        world.make();
        world
    }

    fn judge(&self, now: i64) -> Vec<Standing> {
        judge(&self.keys, &self.tombstones, LIFECYCLE, now)
    }

    fn name(&mut self) -> String {
        self.made += 1;
        // Names in no order of time.
        format!("{:04}", (u64::from(self.made) * 7919) % 10007)
    }

    fn make(&mut self) {
        let generation = self
            .keys
            .iter()
            .map(|key| key.generation)
            .max()
            .unwrap_or(0)
            + 1;
        let newest = self.keys.iter().map(|key| key.created).max().unwrap_or(0);
        let kid = self.name();
        self.keys
            .push(seen(&kid, generation, self.now.max(newest + 1)));
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Wait(seconds) => self.now += seconds,
            Act::Rotate => self.make(),
            Act::Race(index) => {
                let rival = index.get(&self.keys).clone();
                let kid = self.name();
                // Races are over before the winner signs.
                if rival.created + 5 >= self.now {
                    self.keys
                        .push(seen(&kid, rival.generation, rival.created + 3));
                }
            }
            Act::Revoke(index) => {
                let key = index.get(&self.keys).clone();
                let standings = self.judge(self.now);
                let standing = standings
                    .iter()
                    .find(|standing| standing.key == key)
                    .unwrap();
                let was_active = standing.signs_from.is_some_and(|from| from <= self.now);
                if standing.state != State::Revoked {
                    self.tombstones.push(tombstone(
                        &key,
                        TombstoneReason::Revoked,
                        self.now,
                        was_active,
                    ));
                }
                let newest = self.keys.iter().map(|key| key.generation).max().unwrap();
                let waits = |standing: &Standing| {
                    standing.key.generation == newest && standing.state == State::Next
                };
                if !self.judge(self.now).iter().any(waits) {
                    self.make();
                }
            }
        }
    }

    fn active(&self, now: i64) -> Vec<Standing> {
        let mut standings = self.judge(now);
        standings.retain(|standing| standing.state == State::Active);
        standings
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn one_key_signs_and_only_after_its_lead(acts in acts()) {
        let mut world = World::new();
        let mut before: Option<Seen> = None;
        let mut published_until: HashMap<String, i64> = HashMap::new();
        for act in &acts {
            world.act(act);
            let standings = world.judge(world.now);

            // Exactly one signs, never a revoked one, never a duplicate.
            let active = world.active(world.now);
            prop_assert_eq!(active.len(), 1, "{}", show(&standings));
            let key = active[0].key.clone();
            prop_assert!(!world.tombstones.iter().any(|tombstone| tombstone.kid == key.kid));
            let rivals = world.keys.iter().filter(|rival| rival.generation == key.generation);
            prop_assert_eq!(rivals.min_by_key(|rival| (rival.created, rival.kid.clone())), Some(&key));

            // It was published for the lead first, but for the first key of all and after a revocation.
            let is_heir = world.tombstones.iter().any(|tombstone| tombstone.was_active && tombstone.generation < key.generation);
            prop_assert!(key.generation == 1 || is_heir || key.created + LEAD <= world.now, "{}", show(&standings));

            // Activation never goes back.
            if let Some(before) = &before {
                prop_assert!(before.generation <= key.generation);
            }
            before = Some(key.clone());

            // The clock alone picks the same key as the states do.
            let by_clock = standings.iter().rfind(|standing| standing.signs_from.is_some_and(|from| from <= world.now));
            prop_assert_eq!(by_clock.map(|standing| &standing.key), Some(&key));
            let signs_from: Vec<_> = standings.iter().filter_map(|standing| standing.signs_from).collect();
            prop_assert!(signs_from.is_sorted());

            // What signed stays published for the retention, unless it is revoked.
            published_until.insert(key.kid, world.now + RETENTION);
            for standing in &standings {
                let until = published_until.get(&standing.key.kid).copied().unwrap_or(i64::MIN);
                let is_trusted = matches!(standing.state, State::Next | State::Active | State::Retired);
                let revoked = standing.state == State::Revoked;
                prop_assert!(revoked || world.now >= until || is_trusted, "{}", show(&standings));
            }
        }
    }

    #[test]
    fn the_order_of_what_is_seen_does_not_matter(acts in acts(), keys in any::<u64>(), tombstones in any::<u64>()) {
        let mut world = World::new();
        acts.iter().for_each(|act| world.act(act));
        let expected = world.judge(world.now);
        let turn = |length: usize, by: u64| usize::try_from(by % length.max(1) as u64).unwrap();
        let by = turn(world.keys.len(), keys);
        world.keys.rotate_left(by);
        let by = turn(world.tombstones.len(), tombstones);
        world.tombstones.rotate_left(by);
        world.tombstones.reverse();
        prop_assert_eq!(world.judge(world.now), expected);
    }

    #[test]
    fn what_is_planned_comes_true(acts in acts(), wait in 0..2000_i64) {
        let mut world = World::new();
        acts.iter().for_each(|act| world.act(act));
        let plan = world.judge(world.now);
        let later = world.now + wait;
        let planned = plan.iter().rfind(|standing| standing.signs_from.is_some_and(|from| from <= later));
        let active = world.active(later);
        prop_assert_eq!(planned.map(|standing| &standing.key), active.first().map(|standing| &standing.key));
    }
}
