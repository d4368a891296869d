//! The rings at some moment: computed from what the device listed and the clock, and never changed afterwards.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::algorithm::{RingAlgorithm, RingName};
use crate::backend::{Listing, StoredKey, Tombstone};

use super::gate::{self, Gate, Signer};
use super::imported;
use super::key::{self, Key};
use super::policy::Profile;
use super::published::Published;
use super::schedule::{self, Alarm};
use super::state::{self, Lifecycle, Seen, Standing, State};
use super::{RingSettings, Settings};

/// A ring and its keys at some moment.
#[derive(Debug)]
pub struct Ring {
    settings: RingSettings,
    keys: Vec<Arc<Key>>,
    /// Keys that the device no longer has, known from their tombstones.
    gone: Vec<Standing>,
    /// Others' public keys beside them.
    pub(super) imported: Vec<Arc<Key>>,
    /// Those of others that the device no longer has.
    forgotten: Vec<Standing>,
    /// Which key may sign from when, in order of time.
    signers: Vec<Signer>,
    alarms: Vec<Alarm>,
}

impl Ring {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &RingName {
        &self.settings.name
    }

    /// Its own keys, in the order of generation, creation and kid.
    #[must_use]
    pub fn keys(&self) -> &[Arc<Key>] {
        &self.keys
    }

    /// What has become of each of its own keys, those that are gone included.
    pub fn standings(&self) -> impl Iterator<Item = &Standing> + Clone {
        self.keys.iter().map(|key| &key.standing).chain(&self.gone)
    }

    /// The same, and what has become of the imported ones.
    pub fn all_standings(&self) -> impl Iterator<Item = &Standing> + Clone {
        let imported = self.imported.iter().map(|key| &key.standing);
        self.standings().chain(imported).chain(&self.forgotten)
    }

    /// The key of this name, an imported one too.
    #[must_use]
    pub fn key(&self, kid: &str) -> Option<&Arc<Key>> {
        let mut keys = self.keys.iter().chain(&self.imported);
        keys.find(|key| key.kid() == kid)
    }

    /// The key that signs here at `now`.
    #[must_use]
    pub fn active(&self, now: i64) -> Option<&Arc<Key>> {
        gate::signing(&self.signers, now).map(|signer| &signer.key)
    }

    pub(super) fn signers(&self) -> &[Signer] {
        &self.signers
    }

    /// The keys that sign here at `now` or later.
    pub(super) fn expected(&self, now: i64) -> impl Iterator<Item = &Arc<Key>> {
        let later = self.signers.iter().filter(move |signer| signer.here > now);
        self.active(now)
            .into_iter()
            .chain(later.map(|signer| &signer.key))
    }

    /// What a person should look at.
    #[must_use]
    pub fn alarms(&self) -> &[Alarm] {
        &self.alarms
    }

    /// What is configured for it.
    pub(super) fn settings(&self) -> &RingSettings {
        &self.settings
    }

    pub(crate) fn profiles(&self) -> &[Profile] {
        &self.settings.profiles
    }

    pub(crate) fn longest_life(&self) -> i64 {
        self.settings.longest_life
    }

    /// Keys whose signatures are accepted, and which open what was encrypted to them; the active one first.
    pub fn trusted(&self) -> impl Iterator<Item = &Arc<Key>> {
        let is = |state| move |key: &&Arc<Key>| key.standing.state == state;
        self.keys
            .iter()
            .filter(is(State::Active))
            .chain(self.keys.iter().filter(is(State::Next)))
            .chain(self.keys.iter().rev().filter(is(State::Retired)))
            .chain(self.imported.iter().filter(is(State::Retired)))
    }
}

/// All rings at some moment.
#[derive(Debug)]
pub struct Snapshot {
    rings: HashMap<String, Ring>,
    /// Ring names as configured.
    order: Vec<String>,
    published: Published,
    /// When the next state of a key changes by itself.
    pub(super) next_change: Option<i64>,
    /// The kids of the keys that were withdrawn.
    withdrawn: HashSet<String>,
}

impl Snapshot {
    /// The ring of this name.
    #[must_use]
    pub fn ring(&self, name: &str) -> Option<&Ring> {
        self.rings.get(name)
    }

    /// The rings, in the order of the configuration.
    pub fn rings(&self) -> impl Iterator<Item = &Ring> {
        self.order.iter().filter_map(|name| self.rings.get(name))
    }

    /// What relying parties see.
    #[must_use]
    pub fn published(&self) -> &Published {
        &self.published
    }

    /// The key of this name that is the service's own, and its ring.
    #[must_use]
    pub fn key(&self, kid: &str) -> Option<(&Ring, &Arc<Key>)> {
        self.rings()
            .flat_map(|ring| ring.keys.iter().map(move |key| (ring, key)))
            .find(|(_, key)| key.kid() == kid)
    }

    /// Whether the key was withdrawn: what it signs is for nobody.
    #[must_use]
    pub fn is_withdrawn(&self, kid: &str) -> bool {
        self.withdrawn.contains(kid)
    }

    /// What has become of the key of this name, also of one that is gone.
    #[must_use]
    pub fn standing(&self, kid: &str) -> Option<(&Ring, &Standing)> {
        self.rings()
            .flat_map(|ring| ring.all_standings().map(move |standing| (ring, standing)))
            .find(|(_, standing)| standing.key.kid == kid)
    }

    /// Every key that seals or did, with its ring.
    pub(crate) fn seal_kids(&self) -> impl Iterator<Item = (&RingName, &str)> {
        self.rings()
            .filter(|ring| ring.name().algorithm() == RingAlgorithm::Seal)
            .flat_map(|ring| ring.standings().map(move |standing| (ring, standing)))
            .map(|(ring, standing)| (ring.name(), standing.key.kid.as_str()))
    }

    /// The rings that have, or had, a key of this name: an imported one may stand in several.
    pub fn rings_of<'a>(&'a self, kid: &'a str) -> impl Iterator<Item = &'a Ring> {
        let has = move |ring: &&Ring| ring.all_standings().any(|it| it.key.kid == kid);
        self.rings().filter(has)
    }

    pub(super) fn of(
        settings: &Settings,
        listing: &Listing,
        gate: &mut Gate,
        now: i64,
    ) -> Snapshot {
        let mut rings = HashMap::new();
        let mut order = Vec::new();
        let mut next_change: Option<i64> = None;
        for of in &settings.rings {
            let ring = ring(settings, of, listing, gate, now);
            let standings = ring.keys.iter().chain(&ring.imported);
            let standings = standings.map(|key| &key.standing);
            let times = standings.flat_map(|standing| [standing.signs_from, standing.expires_at]);
            let here = ring.signers.iter().map(|signer| signer.here);
            let next = times.flatten().chain(here).filter(|at| *at > now).min();
            next_change = [next_change, next].into_iter().flatten().min();
            order.push(of.name.to_string());
            rings.insert(of.name.to_string(), ring);
        }
        let is_withdrawn = |standing: &&Standing| {
            matches!(
                standing.state,
                State::Revoked | State::Disabled | State::Destroyed
            )
        };
        let standings = rings.values().flat_map(Ring::standings);
        let withdrawn = standings.filter(is_withdrawn);
        let withdrawn = withdrawn.map(|it| it.key.kid.clone()).collect();
        let published = Published::of(order.iter().filter_map(|name| rings.get(name)));
        Snapshot {
            rings,
            order,
            published,
            next_change,
            withdrawn,
        }
    }
}

fn ring(
    settings: &Settings,
    of: &RingSettings,
    listing: &Listing,
    gate: &mut Gate,
    now: i64,
) -> Ring {
    let stored: HashMap<String, &StoredKey> = listing
        .keys
        .iter()
        .filter(|stored| stored.label.ring == of.name)
        .filter(|stored| !of.name.is_fixed() || stored.label.generation == 1)
        .map(|stored| (key::kid(stored), stored))
        .collect();
    let seen: Vec<Seen> = stored
        .iter()
        .map(|(kid, stored)| Seen {
            kid: kid.clone(),
            generation: stored.label.generation,
            created: stored.label.created,
            defective: !stored.defects.is_empty(),
        })
        .collect();
    let lifecycle = Lifecycle {
        lead: settings.lead,
        // What we made for ourselves has no end but the one that somebody decides.
        retention: match of.name.algorithm() {
            RingAlgorithm::Seal | RingAlgorithm::Mac => None,
            _ => Some(settings.retention),
        },
    };
    let (mut keys, mut gone) = (Vec::new(), Vec::new());
    for standing in state::judge(&seen, &tombstones(listing, &of.name), lifecycle, now) {
        match stored.get(&standing.key.kid) {
            Some(stored) => keys.push(Arc::new(Key::new(stored, standing))),
            None => gone.push(standing),
        }
    }
    let signer = |key: &Arc<Key>| {
        let from = key.standing.signs_from?;
        let key = Arc::clone(key);
        Some(Signer {
            from,
            here: from,
            key,
        })
    };
    let (imported, forgotten) = imported::of_ring(&of.name, listing, now);
    let mut ring = Ring {
        settings: of.clone(),
        signers: keys.iter().filter_map(signer).collect(),
        keys,
        gone,
        imported,
        forgotten,
        alarms: Vec::new(),
    };
    // Relying parties know no other keys, so only these must be published before they are used.
    if matches!(of.name.algorithm(), RingAlgorithm::Signature(_)) {
        gate.hold(&mut ring.signers, settings.gate_limit, now);
    }
    if !of.name.is_fixed() {
        ring.alarms = schedule::alarms(ring.standings(), settings, of.period, now);
    }
    if ring.keys.iter().any(|key| gate.is_forced(key.kid())) {
        ring.alarms.push(Alarm::Unacknowledged);
    }
    if ring.standings().any(|one| one.reason == "defective") {
        ring.alarms.push(Alarm::Defective);
    }
    let has_key = |one: &Standing| matches!(one.state, State::Active | State::Next);
    if ring.standings().next().is_some() && !ring.standings().any(has_key) {
        ring.alarms.push(Alarm::NoKey);
    }
    ring
}

/// What was written down about a ring's own keys.
pub(super) fn tombstones(listing: &Listing, ring: &RingName) -> Vec<Tombstone> {
    let of_ring = listing.tombstones.iter().filter(|it| it.ring == *ring);
    let own = of_ring.filter(|it| it.generation != imported::GENERATION);
    own.cloned().collect()
}
