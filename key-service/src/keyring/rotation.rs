//! The making of keys (NIST SP 800-57 part 1, §8.1). A ring always has a published standby, and to rotate is to make the
//! next one. Everything else follows from the state function.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::algorithm::RingName;
use crate::backend::{Label, StoredKey};
use crate::error::Error;

use super::Keyring;
use super::snapshot::tombstones;
use super::state::{self, Lifecycle, Seen, Standing, State};
use super::{Ring, Settings, Snapshot};
use super::{inventory, schedule};

/// The most keys of a ring that wait to sign, the standby included: each is published, and a device has room for so many.
const MOST_WAITING: usize = 8;
/// How often a key is made again that took too long. Each time it has twice as long.
const MOST_TRIES: usize = 3;

/// What a rotation made, or would make.
#[derive(Debug)]
pub struct Rotation {
    /// The ring.
    pub ring: RingName,
    /// The new key; without a kid where it is only a plan.
    pub created: Standing,
    /// What signs next.
    pub next: Option<Upcoming>,
}

/// A key that will sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upcoming {
    /// Its name.
    pub kid: String,
    /// Its generation.
    pub generation: u64,
    /// From when it may.
    pub from: i64,
}

impl Keyring {
    /// Gives every ring its first key, which signs at once, and its standby.
    pub(super) async fn bootstrap(&self) -> Result<(), Error> {
        let _alone = self.changes.lock().await;
        self.list_again().await?;
        for ring in &self.settings.rings {
            let name = ring.name.to_string();
            // Twice at most: a device whose new keys are of no use is not filled with them.
            for _ in 0..2 {
                if let Some(kid) = self.stand_by(&name).await? {
                    tracing::info!(ring = %name, kid = %kid, "key made");
                }
            }
        }
        Ok(())
    }

    /// Makes the next generation of a ring, and with it the standby's activation due.
    ///
    /// # Errors
    /// No such ring, or the device cannot make the key.
    pub async fn rotate(&self, ring: &str) -> Result<Rotation, Error> {
        let _alone = self.changes.lock().await;
        self.list_again().await?;
        let snapshot = self.known(ring)?;
        let of = snapshot.ring(ring).ok_or(Error::NotAllowed)?;
        may_rotate(of)?;
        let begun = self.clock.now();
        let label = self.make(ring).await?.label;
        let generation = label.generation;
        let due = begun.min(label.created - 1);
        let snapshot = self.known(ring)?;
        let ring = snapshot.ring(ring).ok_or(Error::NotAllowed)?;
        let standings: Vec<Standing> = ring.standings().cloned().collect();
        let created = standings
            .iter()
            .find(|standing| standing.key.generation == generation);
        let created = created.ok_or(Error::Backend(crate::backend::Error::NoSuchKey))?;
        tracing::info!(ring = %ring.name(), kid = %created.key.kid, generation, "key made by rotation");
        Ok(Rotation {
            ring: ring.name().clone(),
            created: created.clone(),
            // What became due while the key was made is next, too.
            next: upcoming(&standings, due),
        })
    }

    /// Says what [`Keyring::rotate`] would do now.
    ///
    /// # Errors
    /// No such ring, or the device cannot list its keys.
    pub async fn plan_rotation(&self, ring: &str) -> Result<Rotation, Error> {
        let _alone = self.changes.lock().await;
        self.list_again().await?;
        let snapshot = self.known(ring)?;
        let ring = snapshot.ring(ring).ok_or(Error::NotAllowed)?;
        may_rotate(ring)?;
        let label = self.next_label(ring);
        let mut seen: Vec<Seen> = ring
            .standings()
            .map(|standing| standing.key.clone())
            .collect();
        seen.push(Seen {
            kid: String::new(),
            generation: label.generation,
            created: label.created,
            defective: false,
        });
        let tombstones = tombstones(&self.view().inventory.listing(), ring.name());
        let lifecycle = Lifecycle {
            lead: self.settings.lead,
            retention: Some(self.settings.retention),
        };
        let now = self.clock.now();
        let mut standings = state::judge(&seen, &tombstones, lifecycle, now);
        let next = upcoming(&standings, now);
        let created = standings.pop().ok_or(Error::NoActiveKey)?;
        Ok(Rotation {
            ring: ring.name().clone(),
            created,
            next,
        })
    }

    /// Makes a key where the ring has none, or where its newest is not waiting. Answers the new key's kid.
    pub(super) async fn stand_by(&self, ring: &str) -> Result<Option<String>, Error> {
        let snapshot = self.known(ring)?;
        let of = snapshot.ring(ring).ok_or(Error::NotAllowed)?;
        // A fixed ring has no standby, and no heir: what another key computes is not what others know.
        if of.name().is_fixed() && of.standings().next().is_some() {
            return Ok(None);
        }
        if schedule::standby(of.standings(), self.clock.now()).is_some() {
            return Ok(None);
        }
        let made = self.make(ring).await?;
        Ok(Some(super::key::kid(&made)))
    }

    /// The label of a key that is made now.
    ///
    /// `created` is ahead by the configured `generation`, or by more where the device was seen to need it: by then the key
    /// is there and every replica sees it, so that its lead is time during which it is published, all of it. A ring's first
    /// key signs without a lead.
    pub(super) fn next_label(&self, ring: &Ring) -> Label {
        let keys = || ring.standings().map(|standing| &standing.key);
        let newest = keys().map(|key| key.created).max();
        let took = Duration::from_millis(self.took.load(Ordering::Relaxed));
        let lead = Duration::from_secs(self.settings.lead.unsigned_abs());
        let needed = self.settings.generation.max((2 * took).min(lead));
        let ahead = newest.map_or(Duration::ZERO, |_| needed);
        let created = self.clock.second_after(ahead);
        Label {
            ring: ring.name().clone(),
            generation: keys()
                .map(|key| key.generation)
                .max()
                .unwrap_or(0)
                .saturating_add(1),
            // No two generations of a ring are of the same second, so each has a time of its own to sign.
            created: newest.map_or(created, |newest| created.max(newest + 1)),
        }
    }

    /// Makes the next key of a ring. One that was not there by its `created`, whatever held it up, is never to sign, for
    /// relying parties would know it for less than its lead: it is said to be late, and another one is made.
    pub(super) async fn make(&self, ring: &str) -> Result<StoredKey, Error> {
        let mut tries = 0;
        loop {
            let snapshot = self.known(ring)?;
            let label = self.next_label(snapshot.ring(ring).ok_or(Error::NotAllowed)?);
            let begun = self.clock.now_millis();
            let made = self.device.generate(&label).await?;
            self.list_again().await?;
            tries += 1;
            let took = self.clock.now_millis().saturating_sub(begun).unsigned_abs();
            // The last one says what the next will need: a machine that stood still for an hour does so once.
            self.took.store(took, Ordering::Relaxed);
            // A ring's first key has no lead to be cut short.
            if label.generation == 1 || self.clock.now() <= label.created {
                return Ok(made);
            }
            tracing::warn!(ring = %label.ring, milliseconds = took, "making a key took longer than [lifecycle] generation: it never signs");
            let late = inventory::late(&made, self.clock.now());
            let known = self.snapshot_full();
            // The listing may have said so already.
            if known
                .standing(&late.kid)
                .is_none_or(|(_, standing)| standing.reason != late.reason.as_str())
            {
                self.device.bury(&late).await?;
                self.list_again().await?;
            }
            if tries == MOST_TRIES {
                return Ok(made);
            }
        }
    }

    fn known(&self, ring: &str) -> Result<std::sync::Arc<Snapshot>, Error> {
        let snapshot = self.snapshot_full();
        match snapshot.ring(ring) {
            Some(_) => Ok(snapshot),
            None => Err(Error::NotAllowed),
        }
    }
}

/// How far ahead of its making a key's `created` is, in whole seconds.
pub(super) fn ahead(settings: &Settings) -> i64 {
    i64::try_from(settings.generation.as_millis().div_ceil(1000)).unwrap_or(i64::MAX)
}

/// Whether a ring takes another key.
pub(super) fn may_rotate(ring: &Ring) -> Result<(), Error> {
    if ring.name().is_fixed() {
        return Err(Error::Lifecycle(
            "rotation.never: with another key every pairwise subject would change",
        ));
    }
    let is_next = |standing: &&Standing| standing.state == State::Next;
    if ring.standings().filter(is_next).count() >= MOST_WAITING {
        return Err(Error::Lifecycle(
            "rotation.queue: 8 keys of this ring wait to sign already",
        ));
    }
    Ok(())
}

/// What signs next.
fn upcoming(standings: &[Standing], now: i64) -> Option<Upcoming> {
    let planned = standings.iter().filter_map(|standing| {
        Some(Upcoming {
            kid: standing.key.kid.clone(),
            generation: standing.key.generation,
            from: standing.signs_from.filter(|from| *from > now)?,
        })
    });
    planned.min_by_key(|next| next.from)
}
