//! What a keyring does by itself: it lists the device's keys again, says which came too late, makes the standby that is
//! missing and the key that is due, and tells what a person should look at.

use crate::error::Error;

use super::Keyring;
use super::schedule;

/// Seconds after a key was withdrawn in which the standby is left to the replica that withdrew it.
fn courtesy(settings: &super::Settings) -> i64 {
    super::rotation::ahead(settings).saturating_add(settings.skew)
}

impl Keyring {
    /// Lists the device's keys again: another process may have made some.
    ///
    /// # Errors
    /// When the device cannot list them; what was known stays.
    pub async fn reload(&self) -> Result<(), Error> {
        let _alone = self.changes.lock().await;
        self.list_again().await
    }

    /// The same, then makes what is missing or due. Several replicas may do so at once: of one generation the first key
    /// counts, and the others are published as retired.
    ///
    /// # Errors
    /// When the device cannot list its keys, or make the ones that are needed: to be tried again.
    pub async fn keep_up(&self) -> Result<(), Error> {
        let outcome = {
            let _alone = self.changes.lock().await;
            self.keep_up_alone().await
        };
        self.report();
        outcome
    }

    async fn keep_up_alone(&self) -> Result<(), Error> {
        self.list_again().await?;
        let mut outcome = Ok(());
        for ring in &self.settings.rings {
            // One ring's trouble is not the others'.
            if let Err(error) = self.keep_up_ring(&ring.name.to_string()).await {
                outcome = Err(error);
            }
        }
        outcome
    }

    async fn keep_up_ring(&self, name: &str) -> Result<(), Error> {
        let now = self.clock.now();
        let snapshot = self.snapshot_full();
        let Some(ring) = snapshot.ring(name).filter(|ring| !ring.name().is_fixed()) else {
            return Ok(());
        };
        if schedule::standby(ring.standings(), now).is_none() {
            let withdrawn = self.view().inventory.listing();
            let withdrawn = withdrawn
                .tombstones
                .iter()
                .filter(|tombstone| tombstone.ring == *ring.name());
            let last = withdrawn.map(|tombstone| tombstone.at).max();
            let is_ours = |at: i64| at.saturating_add(courtesy(&self.settings)) <= now;
            if last.is_none_or(is_ours)
                && let Some(kid) = self.stand_by(name).await?
            {
                tracing::warn!(ring = %name, kid = %kid, "the standby was missing: key made");
            }
            return Ok(());
        }
        let due = schedule::due(ring.standings(), ring.settings().period, now);
        if due.is_some_and(|at| at <= now) && super::rotation::may_rotate(ring).is_ok() {
            let made = self.make(name).await?;
            let kid = super::key::kid(&made);
            let generation = made.label.generation;
            tracing::info!(ring = %name, kid = %kid, generation, "key made by schedule");
        }
        Ok(())
    }

    /// To be called while `changes` is held: an older listing must not replace a newer one.
    pub(super) async fn list_again(&self) -> Result<(), Error> {
        let begun = self.clock.now();
        let listing = self.device.list().await?;
        let slack = (self.settings.skew, super::rotation::ahead(&self.settings));
        let late = {
            let mut view = self.view();
            let strange = listing.strange.len();
            if strange > view.inventory.listing().strange.len() {
                tracing::warn!(
                    count = strange,
                    "objects with a label of ours that are not understood"
                );
            }
            let late = view.inventory.take(listing, begun, slack);
            self.refresh_from(&mut view);
            late
        };
        for tombstone in late {
            let (ring, kid) = (&tombstone.ring, &tombstone.kid);
            tracing::error!(%ring, %kid, created = tombstone.created, "a key was first seen too long after it was made: it never signs");
            if let Err(error) = self.device.bury(&tombstone).await {
                tracing::warn!(%ring, %kid, reason = %error, "this could not be written: to be tried again");
            }
        }
        Ok(())
    }

    /// Writes down what a person should look at, once.
    fn report(&self) {
        let snapshot = self.snapshot_full();
        let mut now = Vec::new();
        for ring in snapshot.rings() {
            let name = ring.name().to_string();
            now.extend(ring.alarms().iter().map(|alarm| (name.clone(), *alarm)));
        }
        let before = std::mem::replace(&mut self.view().alarms, now.clone());
        for (ring, alarm) in now.iter().filter(|one| !before.contains(one)) {
            tracing::error!(%ring, alarm = alarm.as_str(), "alarm");
        }
        for (ring, alarm) in before.iter().filter(|one| !now.contains(one)) {
            tracing::info!(%ring, alarm = alarm.as_str(), "the alarm is over");
        }
    }
}
