//! Which key does what: rings of keys (a purpose and an algorithm), their states, and the policy for their use.
//!
//! A [`Snapshot`] is everything that a request asks for, computed once and swapped whole: a request takes no lock and
//! computes no state. Which key of a ring is active is the one thing that a request reads from the clock.

pub mod claims;
pub mod key;
pub mod policy;
mod published;
pub mod rotation;
mod snapshot;
pub mod state;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, Guard};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use tokio::sync::watch;

use crate::algorithm::{RingName, SignatureAlgorithm};
use crate::backend::{Device, Listing};
use crate::clock::Clock;
use crate::error::Error;

use key::Key;
use policy::{Permit, Policy, Profile, Sign};
pub(crate) use published::jwk_set;
pub use published::{Capabilities, Published};
pub use snapshot::{Ring, Snapshot};
use state::Standing;

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
    /// How long making a key takes, until every replica sees it.
    pub generation: Duration,
    /// Seconds that a retired key stays published.
    pub retention: i64,
    /// Seconds that clocks of replicas may differ.
    pub skew: i64,
    /// The rules for every ring.
    pub policy: Policy,
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
        let snapshot = Snapshot::of(&settings, &empty, clock.now());
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
        let Permit {
            key,
            algorithm,
            typ,
            claims,
            ..
        } = permit;
        let header = key.header(typ);
        let payload = claims.as_bytes();
        // Room for the signature of the largest key too: 512 octets are 683 characters.
        let mut compact = String::with_capacity(header.len() + payload.len() * 4 / 3 + 700);
        compact.push_str(header);
        compact.push('.');
        URL_SAFE_NO_PAD.encode_string(payload, &mut compact);
        let signature = self
            .device
            .sign(
                &key.id,
                algorithm,
                Bytes::copy_from_slice(compact.as_bytes()),
                deadline,
            )
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
            tracing::warn!(
                count = strange,
                "objects with a label of ours that are not understood"
            );
        }
        self.refresh();
        Ok(())
    }

    /// Computes the states again, from what the device listed last and the clock.
    pub fn refresh(&self) {
        // Held to the end, so that an older snapshot does not replace a newer one.
        let listing = self.listing.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.clock.now();
        let snapshot = Snapshot::of(&self.settings, &listing, now);
        let epoch = snapshot.published().epoch.clone();
        let made = self.clock.second_after(self.settings.generation);
        let latest = made + self.settings.skew + SLACK;
        for ring in snapshot.rings() {
            let is_ahead = |standing: &&Standing| standing.key.created > latest;
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
