//! Which key does what: rings of keys (a purpose and an algorithm), their states, and the policy for their use.
//!
//! A [`Snapshot`] is everything that a request asks for, computed once and swapped whole: a request takes no lock and
//! computes no state. Which key of a ring is active is the one thing that a request reads from the clock.

pub mod claims;
pub mod key;
pub mod policy;
mod published;
pub mod rotation;
pub mod state;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use arc_swap::{ArcSwap, Guard};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use tokio::sync::watch;

use crate::algorithm::{RingAlgorithm, RingName, SignatureAlgorithm};
use crate::backend::{Device, Listing, StoredKey};
use crate::clock::Clock;
use crate::error::Error;

use key::Key;
use policy::{Permit, Policy, Profile, Sign};
pub(crate) use published::jwk_set;
pub use published::{Capabilities, Published};
use state::{Lifecycle, Seen, Standing, State};

/// Keys that are made in the same second are stamped with the seconds after it.
const SLACK: i64 = 10;

/// A ring as it is configured.
#[derive(Debug, Clone)]
pub struct RingSettings {
    /// Its name.
    pub name: RingName,
    /// What it may sign.
    pub profiles: Vec<Profile>,
    /// The longest `exp − iat`, in seconds.
    pub longest_life: i64,
}

/// Everything about keys that is configured.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The rings, in the order they are published.
    pub rings: Vec<RingSettings>,
    /// Seconds that a key is published before it signs.
    pub lead: i64,
    /// Seconds that a retired key stays published.
    pub retention: i64,
    /// Seconds that clocks of replicas may differ.
    pub skew: i64,
    /// The rules for every ring.
    pub policy: Policy,
}

/// A ring and its keys at some moment.
#[derive(Debug)]
pub struct Ring {
    settings: RingSettings,
    keys: Vec<Arc<Key>>,
    /// Keys that the device no longer has, known from their tombstones.
    gone: Vec<Standing>,
    /// Which key may sign from when, in order of time.
    signers: Vec<(i64, Arc<Key>)>,
}

impl Ring {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &RingName {
        &self.settings.name
    }

    /// Its keys, in the order of generation, creation and kid.
    #[must_use]
    pub fn keys(&self) -> &[Arc<Key>] {
        &self.keys
    }

    /// What has become of each of its keys, those that are gone included.
    pub fn standings(&self) -> impl Iterator<Item = &Standing> {
        self.keys.iter().map(|key| &key.standing).chain(&self.gone)
    }

    /// The key that signs at `now`.
    #[must_use]
    pub fn active(&self, now: i64) -> Option<&Arc<Key>> {
        let (_, key) = self.signers.iter().rfind(|(from, _)| *from <= now)?;
        Some(key)
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
    next_change: Option<i64>,
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

    /// The key of this name, and its ring.
    #[must_use]
    pub fn key(&self, kid: &str) -> Option<(&Ring, &Arc<Key>)> {
        self.rings()
            .flat_map(|ring| ring.keys.iter().map(move |key| (ring, key)))
            .find(|(_, key)| key.kid() == kid)
    }
}

/// A compact JWS of ours.
#[derive(Debug)]
pub struct Signed {
    /// The compact serialisation.
    pub compact: String,
    /// By which key.
    pub key: Arc<Key>,
}

/// The keys, their states and the device that holds them.
#[derive(Debug)]
pub struct Keyring {
    device: Device,
    clock: Clock,
    settings: Settings,
    snapshot: ArcSwap<Snapshot>,
    /// What the device listed last.
    listing: Mutex<Arc<Listing>>,
    /// Held while keys or tombstones are made: one change after the other.
    changes: tokio::sync::Mutex<()>,
    epoch: watch::Sender<String>,
}

impl Keyring {
    /// Lists the device's keys and makes those that a ring needs to begin with.
    ///
    /// # Errors
    /// When the device cannot list or make them.
    pub async fn open(device: Device, clock: Clock, settings: Settings) -> Result<Keyring, Error> {
        let empty = Listing::default();
        let snapshot = snapshot(&settings, &empty, clock.now());
        let keyring = Keyring {
            device,
            clock,
            settings,
            snapshot: ArcSwap::from_pointee(snapshot),
            listing: Mutex::new(Arc::new(empty)),
            changes: tokio::sync::Mutex::default(),
            epoch: watch::Sender::new(String::new()),
        };
        keyring.bootstrap().await?;
        Ok(keyring)
    }

    /// Everything at this moment. Cheap; not to be held across an await.
    pub fn snapshot(&self) -> Guard<Arc<Snapshot>> {
        self.snapshot.load()
    }

    /// The same, to keep.
    #[must_use]
    pub fn snapshot_full(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Where the keys live.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The clock that decides.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Says when another epoch is published.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<String> {
        self.epoch.subscribe()
    }

    /// Seconds until a state changes by itself; `None`: nothing is planned.
    #[must_use]
    pub fn next_change_in(&self) -> Option<i64> {
        let next = self.snapshot.load().next_change?;
        Some(next.saturating_sub(self.clock.now()).max(0))
    }

    /// Asks the policy.
    ///
    /// # Errors
    /// The rule that forbids it; or there is no key that may sign.
    pub fn permit(
        &self,
        ring: &Ring,
        profile: Profile,
        claims: claims::Claims,
    ) -> Result<Permit<Sign>, Error> {
        let now = self.clock.now();
        self.settings.policy.permit(ring, profile, claims, now)
    }

    /// Signs what was permitted (RFC 7515 §5.1).
    ///
    /// # Errors
    /// When the device does not do it before the deadline.
    pub async fn sign(
        &self,
        permit: Permit<Sign>,
        deadline: Option<Instant>,
    ) -> Result<Signed, Error> {
        let Permit { key, algorithm, typ, claims, .. } = permit;
        let header = key.header(typ);
        let payload = claims.as_bytes();
        // Room for the signature of the largest key too: 512 octets are 683 characters.
        let mut compact = String::with_capacity(header.len() + payload.len() * 4 / 3 + 700);
        compact.push_str(header);
        compact.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut compact);
        let signature = self
            .device
            .sign(&key.id, algorithm, Bytes::copy_from_slice(compact.as_bytes()), deadline)
            .await?;
        compact.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut compact);
        Ok(Signed { compact, key })
    }

    /// Lists the device's keys again: another process may have made some.
    ///
    /// # Errors
    /// When the device cannot list them; what was known stays.
    pub async fn reload(&self) -> Result<(), Error> {
        let _alone = self.changes.lock().await;
        self.list_again().await
    }

    /// To be called while `changes` is held: an older listing must not replace a newer one.
    async fn list_again(&self) -> Result<(), Error> {
        let listing = self.device.list().await?;
        let strange = listing.strange.len();
        let before = {
            let mut current = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *current, Arc::new(listing))
        };
        if strange > before.strange.len() {
            tracing::warn!(count = strange, "objects with a label of ours that are not understood");
        }
        self.refresh();
        Ok(())
    }

    /// Computes the states again, from what the device listed last and the clock.
    pub fn refresh(&self) {
        // Held to the end, so that an older snapshot does not replace a newer one.
        let listing = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let snapshot = snapshot(&self.settings, &listing, now);
        let epoch = snapshot.published.epoch.clone();
        for ring in snapshot.rings() {
            let is_ahead = |standing: &&Standing| standing.key.created > now + self.settings.skew + SLACK;
            if let Some(key) = ring.standings().find(is_ahead) {
                tracing::warn!(ring = %ring.name(), kid = %key.key.kid, "a key from the future: check the clocks");
            }
        }
        self.snapshot.store(Arc::new(snapshot));
        self.epoch.send_if_modified(|current| {
            let changed = *current != epoch;
            *current = epoch;
            changed
        });
    }

    fn listing(&self) -> Arc<Listing> {
        Arc::clone(&self.listing.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn snapshot(settings: &Settings, listing: &Listing, now: i64) -> Snapshot {
    let mut rings = HashMap::new();
    let mut order = Vec::new();
    let mut next_change: Option<i64> = None;
    for of in &settings.rings {
        let ring = ring(settings, of, listing, now);
        let standings = ring.keys.iter().map(|key| &key.standing);
        let times = standings.flat_map(|standing| [standing.signs_from, standing.expires_at]);
        let next = times.flatten().filter(|at| *at > now).min();
        next_change = [next_change, next].into_iter().flatten().min();
        order.push(of.name.to_string());
        rings.insert(of.name.to_string(), ring);
    }
    let published = Published::of(order.iter().filter_map(|name| rings.get(name)));
    Snapshot {
        rings,
        order,
        published,
        next_change,
    }
}

fn ring(settings: &Settings, of: &RingSettings, listing: &Listing, now: i64) -> Ring {
    let stored: HashMap<String, &StoredKey> = listing
        .keys
        .iter()
        .filter(|stored| stored.label.ring == of.name)
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
    let tombstones: Vec<_> = listing
        .tombstones
        .iter()
        .filter(|tombstone| tombstone.ring == of.name)
        .cloned()
        .collect();
    let lifecycle = Lifecycle {
        lead: settings.lead,
        // What we sealed ourselves has no end but the one that somebody decides.
        retention: (of.name.algorithm() != RingAlgorithm::Seal).then_some(settings.retention),
    };
    let (mut keys, mut gone) = (Vec::new(), Vec::new());
    for standing in state::judge(&seen, &tombstones, lifecycle, now) {
        match stored.get(&standing.key.kid) {
            Some(stored) => keys.push(Arc::new(Key::new(stored, standing))),
            None => gone.push(standing),
        }
    }
    let signers = keys
        .iter()
        .filter_map(|key| Some((key.standing.signs_from?, Arc::clone(key))))
        .collect();
    Ring {
        settings: of.clone(),
        keys,
        gone,
        signers,
    }
}
