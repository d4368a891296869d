//! The withdrawal of keys (NIST SP 800-57 part 1, §8.3): tombstones that are only ever added. A key that was withdrawn
//! never signs again; everything else follows from the state function.

use crate::algorithm::{RingAlgorithm, RingName};
use crate::backend::{LONGEST_NOTE, Tombstone, TombstoneReason};
use crate::error::Error;

use super::Keyring;
use super::state::{Standing, State};

/// How often a tombstone is written again where another replica says the opposite at the same time.
const MOST_TRIES: usize = 8;

/// What a revocation did, or a disabling.
#[derive(Debug)]
pub struct Withdrawal {
    /// The ring.
    pub ring: RingName,
    /// The key, withdrawn.
    pub withdrawn: Standing,
    /// The key that signs from now on, where the withdrawn one did.
    pub signing: Option<String>,
    /// The new standby, where one was needed.
    pub created: Option<Standing>,
}

/// What is known of a key's use elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assurance {
    /// Nothing.
    None,
    /// Somebody has seen that nothing uses it.
    NothingUsesIt,
}

impl Keyring {
    /// Withdraws a key for good. Its successor signs at once where it was active, and a standby is made where it is
    /// needed. Revoking a revoked key changes nothing.
    ///
    /// # Errors
    /// No such key; a note that is empty, too long or not printable; the device cannot write.
    pub async fn revoke(&self, kid: &str, note: &str) -> Result<Withdrawal, Error> {
        self.withdraw(kid, TombstoneReason::Revoked, note).await
    }

    /// Withdraws a key until it is enabled again, which lets it verify and decrypt, never sign.
    ///
    /// # Errors
    /// As for [`Keyring::revoke`]; or the key is withdrawn for good, or is the only one that its ring can ever have.
    pub async fn disable(&self, kid: &str, note: &str) -> Result<Withdrawal, Error> {
        self.withdraw(kid, TombstoneReason::Disabled, note).await
    }

    async fn withdraw(
        &self,
        kid: &str,
        reason: TombstoneReason,
        note: &str,
    ) -> Result<Withdrawal, Error> {
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
        let (ring, standing) = snapshot.standing(kid).ok_or(Error::NotAllowed)?;
        let name = ring.name().to_string();
        let was_signing = ring.active(now).is_some_and(|active| active.kid() == kid);
        may_withdraw(ring.name(), standing, reason)?;
        if self.bury_until(kid, reason, note).await? {
            tracing::warn!(ring = %name, kid, reason = reason.as_str(), "key withdrawn");
        }
        // Not a copy of it stays in any session.
        self.device.settle().await;
        let created = self.stand_by(&name).await?;
        let snapshot = self.snapshot_full();
        let ring = snapshot.ring(&name).ok_or(Error::NotAllowed)?;
        let find = |kid: &str| {
            ring.all_standings()
                .find(|standing| standing.key.kid == kid)
                .cloned()
        };
        let signing = ring
            .active(self.clock.now())
            .map(|key| key.kid().to_owned());
        Ok(Withdrawal {
            ring: ring.name().clone(),
            withdrawn: find(kid).ok_or(Error::NotAllowed)?,
            signing: signing.filter(|_| was_signing),
            created: created.and_then(|kid| find(&kid)),
        })
    }

    /// Publishes a disabled key again, as retired.
    ///
    /// # Errors
    /// No such key; it is not disabled; the device cannot write.
    pub async fn enable(&self, kid: &str) -> Result<(RingName, Standing), Error> {
        let _alone = self.changes.lock().await;
        self.list_again().await?;
        let snapshot = self.snapshot_full();
        let (ring, standing) = snapshot.standing(kid).ok_or(Error::NotAllowed)?;
        if (standing.state, standing.reason) != (State::Disabled, "disabled") {
            return Err(Error::Lifecycle(
                "enable.state: the key is not a disabled one",
            ));
        }
        if self
            .bury_until(kid, TombstoneReason::Enabled, "enabled")
            .await?
        {
            tracing::warn!(ring = %ring.name(), kid, "key enabled");
        }
        self.found(kid)
    }

    /// Deletes a key's material. Its tombstone is written first, and stays.
    ///
    /// # Errors
    /// No such key; it is still published or needed, as far as this process knows or nobody says otherwise; the device
    /// cannot write or delete.
    pub async fn destroy(
        &self,
        kid: &str,
        assurance: Assurance,
    ) -> Result<(RingName, Standing), Error> {
        let _alone = self.changes.lock().await;
        self.list_again().await?;
        let snapshot = self.snapshot_full();
        let (ring, standing) = snapshot.standing(kid).ok_or(Error::NotAllowed)?;
        may_destroy(standing)?;
        if standing.state != State::Destroyed {
            self.may_lose(ring.name(), kid, assurance)?;
        }
        if standing.reason != "destroyed" {
            let note = "the material is deleted";
            let tombstone = self.tombstone(ring.name(), standing, TombstoneReason::Destroyed, note);
            self.device.bury(&tombstone).await?;
            self.list_again().await?;
        }
        if standing.is_imported() {
            let listing = self.view().inventory.listing();
            for copy in listing.imported.iter().filter(|it| it.kid == kid) {
                self.device.forget(copy).await?;
                tracing::warn!(ring = %copy.ring, kid, "imported key deleted");
            }
            self.list_again().await?;
        }
        // After a crash between the two: the tombstone is there, and so is the material.
        if let Some((_, key)) = self.snapshot_full().key(kid) {
            self.device.destroy(&key.id).await?;
            tracing::warn!(ring = %ring.name(), kid, "key destroyed");
            self.list_again().await?;
        }
        self.found(kid)
    }

    /// What a key sealed for ourselves is lost with it, so somebody must have seen that there is no more of it; and this
    /// process must not know better.
    fn may_lose(&self, ring: &RingName, kid: &str, assurance: Assurance) -> Result<(), Error> {
        if !matches!(ring.algorithm(), RingAlgorithm::Seal | RingAlgorithm::Mac) {
            return Ok(());
        }
        if assurance == Assurance::None {
            return Err(Error::Lifecycle(
                "destroy.unconfirmed: what only this key opens or computes is lost with it; re-wrap every store, and then say that nothing uses it (--nothing-uses-it)",
            ));
        }
        let Some(opened) = self.openings.of(kid) else {
            return Ok(());
        };
        let until = opened.last.saturating_add(self.settings.retention);
        if self.clock.now() < until {
            let at = opened.last;
            return Err(Error::StillOpens { at, until });
        }
        Ok(())
    }

    fn found(&self, kid: &str) -> Result<(RingName, Standing), Error> {
        let snapshot = self.snapshot_full();
        let (ring, standing) = snapshot.standing(kid).ok_or(Error::NotAllowed)?;
        Ok((ring.name().clone(), standing.clone()))
    }

    /// Writes tombstones until the key's state says so: disabling and enabling count each other up. Answers whether one
    /// was needed.
    async fn bury_until(
        &self,
        kid: &str,
        reason: TombstoneReason,
        note: &str,
    ) -> Result<bool, Error> {
        for written in 0..MOST_TRIES {
            let (ring, standing) = self.found(kid)?;
            if says(&standing, reason) {
                return Ok(written > 0);
            }
            let tombstone = self.tombstone(&ring, &standing, reason, note);
            self.device.bury(&tombstone).await?;
            self.list_again().await?;
        }
        Err(Error::Lifecycle(
            "withdrawal.contested: another replica says the opposite at the same time",
        ))
    }

    fn tombstone(
        &self,
        ring: &RingName,
        standing: &Standing,
        reason: TombstoneReason,
        note: &str,
    ) -> Tombstone {
        let now = self.clock.now();
        Tombstone {
            kid: standing.key.kid.clone(),
            ring: ring.clone(),
            generation: standing.key.generation,
            created: standing.key.created,
            reason,
            at: now,
            was_active: was_active(standing, now),
            note: note.to_owned(),
        }
    }
}

/// Whether a key signs, or did: somewhere at least.
pub(super) fn was_active(standing: &Standing, now: i64) -> bool {
    // A duplicate, a late key or an enabled one is retired too, and may never have signed.
    let is_spent =
        matches!(standing.state, State::Retired | State::Expired) && standing.reason.is_empty();
    is_spent || standing.signs_from.is_some_and(|from| from <= now)
}

fn says(standing: &Standing, reason: TombstoneReason) -> bool {
    let is_disabled = (standing.state, standing.reason) == (State::Disabled, "disabled");
    match reason {
        TombstoneReason::Revoked => standing.state == State::Revoked,
        TombstoneReason::Disabled => is_disabled,
        TombstoneReason::Enabled => !is_disabled,
        TombstoneReason::Late => standing.reason == "late",
        TombstoneReason::Destroyed => standing.reason == "destroyed",
    }
}

fn may_withdraw(
    ring: &RingName,
    standing: &Standing,
    reason: TombstoneReason,
) -> Result<(), Error> {
    let is_over = matches!(standing.state, State::Revoked | State::Destroyed);
    match (standing.state, standing.reason) {
        (State::Destroyed, _) => Err(Error::Lifecycle(
            "withdrawal.destroyed: the material of this key is gone",
        )),
        // A tombstone would let it count among the generations, where it displaces the rightful winner.
        (State::Disabled, "defective") => Err(Error::Lifecycle(
            "withdrawal.defective: this key is not used, nor published; remove it with the token's own program",
        )),
        _ if reason == TombstoneReason::Disabled && is_over => {
            Err(Error::Lifecycle("disable.revoked: the key is revoked"))
        }
        // Enabled again it would not compute, and no other key may take its place.
        _ if reason == TombstoneReason::Disabled && ring.is_fixed() => Err(Error::Lifecycle(
            "disable.never: this ring has one key for ever, and a key that was disabled computes nothing new",
        )),
        _ => Ok(()),
    }
}

fn may_destroy(standing: &Standing) -> Result<(), Error> {
    let rule = match (standing.state, standing.reason) {
        (State::Disabled, "defective") => {
            "destroy.defective: this key is not ours; remove it with the token's own program"
        }
        (State::Expired | State::Revoked | State::Disabled | State::Destroyed, _) => return Ok(()),
        (State::Active, _) => "destroy.active: the key signs, or seals",
        (State::Next, _) => "destroy.next: the key waits to sign; revoke it first",
        (State::Retired, _) => {
            "destroy.retention: the key is published, or decrypts what was sealed; disable it first"
        }
    };
    Err(Error::Lifecycle(rule))
}
