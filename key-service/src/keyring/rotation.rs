//! The making of keys and tombstones (NIST SP 800-57 part 1, §8). A ring always has a published standby, and to rotate is
//! to make the next one; to revoke is to write a tombstone. Everything else follows from the state function.

use std::time::Duration;

use crate::algorithm::RingName;
use crate::backend::{LONGEST_NOTE, Label, StoredKey, Tombstone, TombstoneReason};
use crate::error::Error;

use super::Keyring;
use super::state::{self, Lifecycle, Seen, Standing, State};
use super::{Ring, Snapshot};

/// What a rotation made, or would make.
#[derive(Debug)]
pub struct Rotation {
    /// The ring.
    pub ring: RingName,
    /// The new key; without a kid where it is only a plan.
    pub created: Standing,
    /// The generation that signs next, and from when.
    pub next: Option<(u64, i64)>,
}

/// What a revocation did.
#[derive(Debug)]
pub struct Revocation {
    /// The ring.
    pub ring: RingName,
    /// The key, revoked.
    pub revoked: Standing,
    /// The key that signs from now on, where the revoked one did.
    pub signing: Option<String>,
    /// The new standby, where one was needed.
    pub created: Option<Standing>,
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
        let label = self.next_label(self.known(ring)?.ring(ring).ok_or(Error::NotAllowed)?);
        let generation = label.generation;
        let due = self.clock.now().min(label.created - 1);
        self.make(&label).await?;
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
        let listing = self.listing();
        let tombstones: Vec<Tombstone> = listing
            .tombstones
            .iter()
            .filter(|tombstone| tombstone.ring == *ring.name())
            .cloned()
            .collect();
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

    /// Withdraws a key for good. Its successor signs at once where it was active, and a standby is made where it is
    /// needed. Revoking a revoked key changes nothing.
    ///
    /// # Errors
    /// No such key; a note that is empty, too long or not printable; the device cannot write.
    pub async fn revoke(&self, kid: &str, note: &str) -> Result<Revocation, Error> {
        let printable = note.chars().all(|character| !character.is_control());
        if note.trim().is_empty() || note.chars().count() > LONGEST_NOTE || !printable {
            return Err(Error::Malformed(
                "a reason of 1 to 256 printable characters is required",
            ));
        }
        let _alone = self.changes.lock().await;
        self.list_again().await?;
        let now = self.clock.now();
        let snapshot = self.snapshot_full();
        let (ring, key) = snapshot.key(kid).ok_or(Error::NotAllowed)?;
        let name = ring.name().to_string();
        let standing = &key.standing;
        let was_active = ring.active(now).is_some_and(|active| active.kid() == kid);
        if standing.state != State::Revoked {
            let tombstone = Tombstone {
                kid: kid.to_owned(),
                ring: ring.name().clone(),
                generation: standing.key.generation,
                created: standing.key.created,
                reason: TombstoneReason::Revoked,
                at: now,
                was_active: standing.signs_from.is_some_and(|from| from <= now)
                    || standing.state == State::Retired,
                note: note.to_owned(),
            };
            self.device.bury(&tombstone).await?;
            tracing::warn!(ring = %name, kid, "key revoked");
            self.list_again().await?;
        }
        let created = self.stand_by(&name).await?;
        let snapshot = self.snapshot_full();
        let ring = snapshot.ring(&name).ok_or(Error::NotAllowed)?;
        let find = |kid: &str| {
            ring.standings()
                .find(|standing| standing.key.kid == kid)
                .cloned()
        };
        let signing = ring
            .active(self.clock.now())
            .map(|key| key.kid().to_owned());
        Ok(Revocation {
            ring: ring.name().clone(),
            revoked: find(kid).ok_or(Error::NotAllowed)?,
            signing: signing.filter(|_| was_active),
            created: created.and_then(|kid| find(&kid)),
        })
    }

    /// Makes a key where the ring has none, or where its newest is not waiting. Answers the new key's kid.
    async fn stand_by(&self, ring: &str) -> Result<Option<String>, Error> {
        let snapshot = self.known(ring)?;
        let of = snapshot.ring(ring).ok_or(Error::NotAllowed)?;
        let now = self.clock.now();
        let newest = of
            .standings()
            .max_by_key(|standing| standing.key.generation);
        let stands_by = newest.is_some_and(|newest| {
            of.standings().any(|other| {
                other.key.generation == newest.key.generation
                    && other.state == State::Next
                    && other.signs_from.is_none_or(|from| from > now)
            })
        });
        if stands_by {
            return Ok(None);
        }
        let made = self.make(&self.next_label(of)).await?;
        Ok(Some(super::key::kid(&made)))
    }

    /// The label of a key that is made now.
    ///
    /// `created` is ahead by the configured `generation`: by then the key is there and every replica sees it, so that
    /// its lead is time during which it is published, all of it. A ring's first key signs without a lead.
    fn next_label(&self, ring: &Ring) -> Label {
        let keys = || ring.standings().map(|standing| &standing.key);
        let newest = keys().map(|key| key.created).max();
        let ahead = newest.map_or(Duration::ZERO, |_| self.settings.generation);
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

    async fn make(&self, label: &Label) -> Result<StoredKey, Error> {
        let made = self.device.generate(label).await?;
        self.list_again().await?;
        if label.generation > 1 && self.clock.now() > label.created {
            let late_by = self.clock.now() - label.created;
            tracing::warn!(ring = %label.ring, late_by, "making a key took longer than [lifecycle] generation: its lead is shortened");
        }
        Ok(made)
    }

    fn known(&self, ring: &str) -> Result<std::sync::Arc<Snapshot>, Error> {
        let snapshot = self.snapshot_full();
        match snapshot.ring(ring) {
            Some(_) => Ok(snapshot),
            None => Err(Error::NotAllowed),
        }
    }
}

/// The generation that signs next, and from when.
fn upcoming(standings: &[Standing], now: i64) -> Option<(u64, i64)> {
    let planned = standings.iter().filter_map(|standing| {
        let from = standing.signs_from.filter(|from| *from > now)?;
        Some((standing.key.generation, from))
    });
    planned.min_by_key(|(_, from)| *from)
}
