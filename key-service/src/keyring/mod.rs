//! Which key does what: rings of keys (a purpose and an algorithm), their states, and the policy for their use.
//!
//! A [`Snapshot`] is everything that a request asks for, computed once and swapped whole: a request takes no lock and
//! computes no state. Which key of a ring is active is the one thing that a request reads from the clock.

pub mod audience;
pub mod claims;
mod gate;
pub mod imported;
mod inventory;
pub mod key;
pub mod mac;
pub mod openings;
pub mod policy;
mod published;
mod refusal;
#[cfg(test)]
mod replicas_tests;
pub mod restriction;
pub mod rotation;
mod schedule;
mod snapshot;
pub mod state;
mod upkeep;
mod weak;
pub mod withdrawal;

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use tokio::sync::watch;

use crate::algorithm::{RingAlgorithm, RingName, SignatureAlgorithm};
use crate::backend::Device;
use crate::clock::Clock;
use crate::error::Error;
use crate::signature::MacKey;

use gate::Gate;
use inventory::Inventory;
use key::Key;
use openings::Openings;
use policy::{Permit, Policy, Profile, Sign, Signer, Wanted};
pub(crate) use published::jwk_set;
pub use published::{Capabilities, Published};
pub use schedule::Alarm;
pub use snapshot::{Ring, Snapshot};
pub use weak::{Weak, refuse_weak};

/// A ring as it is configured.
#[derive(Debug, Clone)]
pub struct RingSettings {
    /// Its name.
    pub name: RingName,
    /// What it may sign.
    pub profiles: Vec<Profile>,
    /// The longest `exp − iat`, in seconds.
    pub longest_life: i64,
    /// How old, in seconds, its standby becomes before the next one is made. `None`: only an operator rotates it.
    pub period: Option<i64>,
}

/// Everything about keys that is configured.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The rings, in the order they are published.
    pub rings: Vec<RingSettings>,
    /// Seconds that a key is published before it signs.
    pub lead: i64,
    /// How long making a key takes, until every replica sees it.
    pub generation: Duration,
    /// Seconds that a retired key stays published.
    pub retention: i64,
    /// Seconds that clocks of replicas may differ.
    pub skew: i64,
    /// Seconds that a key waits for gateways that do not publish it yet.
    pub gate_limit: i64,
    /// The rules for every ring.
    pub policy: Policy,
}

/// A compact JWS of ours.
#[derive(Debug, Clone)]
pub struct Signed {
    /// The compact serialisation.
    pub compact: String,
    /// By which key; `None` where a shared secret signed.
    pub key: Option<Arc<Key>>,
}

impl Signed {
    /// The name of the key that signed; a shared secret has none.
    #[must_use]
    pub fn kid(&self) -> &str {
        self.key.as_ref().map_or("", |key| key.kid())
    }
}

/// The keys, their states and the device that holds them.
#[derive(Debug)]
pub struct Keyring {
    device: Device,
    clock: Clock,
    settings: Settings,
    snapshot: ArcSwap<Snapshot>,
    /// What the device listed last, and what the gateways serve.
    seen: Mutex<View>,
    /// Held while keys or tombstones are made: one change after the other.
    changes: tokio::sync::Mutex<()>,
    /// How long the last making of a key took, in milliseconds.
    took: AtomicU64,
    epoch: watch::Sender<String>,
    openings: Openings,
}

/// What the states are computed from, beside the clock.
#[derive(Debug, Default)]
struct View {
    inventory: Inventory,
    gate: Gate,
    /// The alarms that were written down.
    alarms: Vec<(String, Alarm)>,
}

impl Keyring {
    /// Lists the device's keys and makes those that a ring needs to begin with.
    ///
    /// # Errors
    /// When the device cannot list or make them.
    pub async fn open(device: Device, clock: Clock, settings: Settings) -> Result<Keyring, Error> {
        let mut view = View::default();
        let empty = view.inventory.listing();
        let snapshot = Snapshot::of(&settings, &empty, &mut view.gate, clock.now());
        let keyring = Keyring {
            device,
            clock,
            settings,
            snapshot: ArcSwap::from_pointee(snapshot),
            seen: Mutex::new(view),
            changes: tokio::sync::Mutex::default(),
            took: AtomicU64::new(0),
            epoch: watch::Sender::new(String::new()),
            openings: Openings::default(),
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

    /// What keys that seal have opened here.
    #[must_use]
    pub fn openings(&self) -> &Openings {
        &self.openings
    }

    /// Notes that the key opened something.
    pub(crate) fn opened(&self, key: &Key) {
        self.openings.count(key.kid(), self.clock.now());
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
    pub fn permit(&self, ring: &Ring, wanted: Wanted<'_>) -> Result<Permit<Sign>, Error> {
        let now = self.clock.now();
        self.settings.policy.permit(ring, wanted, now)
    }

    /// Asks the policy about a shared secret's signature.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub fn permit_secret(&self, secret: MacKey, wanted: Wanted<'_>) -> Result<Permit<Sign>, Error> {
        let now = self.clock.now();
        self.settings.policy.permit_secret(secret, wanted, now)
    }

    /// Whether the key was withdrawn: what it signs is for nobody.
    pub(crate) fn is_withdrawn(&self, kid: &str) -> bool {
        self.snapshot.load().is_withdrawn(kid)
    }

    /// Signs what was permitted (RFC 7515 §5.1).
    ///
    /// # Errors
    /// When the device does not do it before the deadline; or the key was withdrawn meanwhile.
    pub async fn sign(
        &self,
        permit: Permit<Sign>,
        deadline: Option<Instant>,
    ) -> Result<Signed, Error> {
        let Permit {
            signer,
            typ,
            claims,
            ..
        } = permit;
        let header = match &signer {
            Signer::Ring(key, _) => Cow::Borrowed(key.header(typ)),
            Signer::Secret(secret) => key::header(secret.algorithm().as_str(), None, typ).into(),
        };
        let payload = claims.as_bytes();
        // Room for the signature of the largest key too: 512 octets are 683 characters.
        let mut compact = String::with_capacity(header.len() + payload.len() * 4 / 3 + 700);
        compact.push_str(&header);
        compact.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut compact);
        let signature = match &signer {
            Signer::Ring(key, algorithm) => {
                let input = Bytes::copy_from_slice(compact.as_bytes());
                let signed = self.device.sign(&key.id, *algorithm, input, deadline);
                let signature = signed.await?;
                // It has waited for the device, and nothing by a withdrawn key leaves.
                if self.is_withdrawn(key.kid()) {
                    return Err(Error::NoActiveKey);
                }
                signature
            }
            Signer::Secret(secret) => secret.sign(compact.as_bytes()),
        };
        compact.push('.');
        URL_SAFE_NO_PAD.encode_string(signature, &mut compact);
        let key = match &signer {
            Signer::Ring(key, _) => Some(Arc::clone(key)),
            Signer::Secret(_) => None,
        };
        Ok(Signed { compact, key })
    }

    /// Computes the states again, from what the device listed last, what gateways serve and the clock.
    pub fn refresh(&self) {
        self.refresh_from(&mut self.view());
    }

    /// With the view held to the end, so that an older snapshot does not replace a newer one.
    fn refresh_from(&self, view: &mut View) {
        let now = self.clock.now();
        for ring in self.snapshot.load().rings() {
            view.gate.pass(ring.signers(), now);
        }
        let listing = view.inventory.listing();
        let snapshot = Snapshot::of(&self.settings, &listing, &mut view.gate, now);
        view.gate.publish(snapshot.published());
        self.expect(&snapshot, now);
        let epoch = snapshot.published().epoch.clone();
        self.snapshot.store(Arc::new(snapshot));
        self.epoch.send_if_modified(|current| {
            let changed = *current != epoch;
            *current = epoch;
            changed
        });
    }

    /// Tells the device which keys sign: those that its health is known by, and that may have copies there.
    fn expect(&self, snapshot: &Snapshot, now: i64) {
        let (mut active, mut signers) = (Vec::new(), HashSet::new());
        for ring in snapshot.rings() {
            let RingAlgorithm::Signature(algorithm) = ring.name().algorithm() else {
                continue;
            };
            active.extend(ring.active(now).map(|key| (key.id.clone(), algorithm)));
            signers.extend(ring.expected(now).map(|key| key.id.clone()));
        }
        self.device.expect(active, signers);
    }

    /// Says which epochs the gateways serve that are connected to this replica: see the gate. They are asked for in
    /// here, so that an older answer does not replace a newer one.
    pub(crate) fn gateways_serve(&self, epochs: impl FnOnce() -> HashSet<String>) {
        let mut view = self.view();
        if view.gate.serve(epochs()) {
            self.refresh_from(&mut view);
        }
    }

    /// Seconds that a key waits for gateways that do not publish it yet, at most.
    pub(crate) fn gate_limit(&self) -> i64 {
        self.settings.gate_limit
    }

    /// Whether a gateway that serves this epoch publishes the key.
    pub(crate) fn epoch_holds(&self, epoch: &str, kid: &str) -> bool {
        self.view().gate.holds(epoch, kid)
    }

    fn view(&self) -> MutexGuard<'_, View> {
        // Its parts are replaced whole, so a panic leaves nothing half done.
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
