//! What the device listed, and which of it came too late. A key that a complete listing did not show long after its
//! `created` may have been missing from what relying parties hold, and with that `created` it could even displace a key
//! that signs: it is published, and never signs (`keyring/state.rs`).

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::key;
use crate::backend::{KeyId, Listing, StoredKey, Tombstone, TombstoneReason};

/// The latest listing, and what is known from those before it.
#[derive(Debug, Default)]
pub(super) struct Inventory {
    listing: Arc<Listing>,
    /// Every key that this process ever saw: what was hidden for a while is not late.
    known: HashSet<KeyId>,
    /// When the last complete listing began.
    complete: Option<i64>,
    /// What is said about late keys, until the device says it.
    late: Vec<Tombstone>,
    /// Every tombstone that the device ever showed to this process: they are only added, so none is taken back.
    said: HashMap<Name, Tombstone>,
    /// How many of them it shows no more.
    taken_back: usize,
}

/// What tells a tombstone from others.
type Name = (String, TombstoneReason, i64);

fn name(tombstone: &Tombstone) -> Name {
    (tombstone.kid.clone(), tombstone.reason, tombstone.at)
}

impl Inventory {
    pub(super) fn listing(&self) -> Arc<Listing> {
        Arc::clone(&self.listing)
    }

    /// Takes a listing that began at `begun`, and answers with the tombstones that are to be written.
    ///
    /// A key's `created` is when every replica sees it, but for clocks that are apart by `skew`; a ring's first key is made at
    /// its `created`, and may be seen `generation` seconds later.
    pub(super) fn take(
        &mut self,
        mut listing: Listing,
        begun: i64,
        (skew, generation): (i64, i64),
    ) -> Vec<Tombstone> {
        for stored in &listing.keys {
            // With a defect it is published nowhere: without one, it is seen for the first time.
            let is_new = stored.defects.is_empty() && self.known.insert(stored.id.clone());
            let making = match stored.label.generation {
                1 => generation,
                _ => 0,
            };
            let latest = stored.label.created.saturating_add(skew + making);
            let was_missed = self.complete.is_some_and(|complete| complete > latest);
            if is_new && was_missed {
                self.late.push(late(stored, begun));
            }
        }
        let is_said = |late: &Tombstone, listing: &Listing| {
            let says = |said: &Tombstone| said.kid == late.kid && said.reason == late.reason;
            listing.tombstones.iter().any(says)
        };
        self.late.retain(|late| !is_said(late, &listing));
        self.remember(&mut listing);
        // It counts before it is written.
        listing.tombstones.extend(self.late.iter().cloned());
        // What could not be read may be a key.
        if listing.strange.is_empty() {
            self.complete = Some(begun);
        }
        self.listing = Arc::new(listing);
        self.late.clone()
    }

    /// Who can delete a file, or an object of the token, must not bring a withdrawn key back.
    fn remember(&mut self, listing: &mut Listing) {
        let shown: HashSet<Name> = listing.tombstones.iter().map(name).collect();
        let missing = self.said.iter().filter(|(name, _)| !shown.contains(*name));
        let missing: Vec<Tombstone> = missing.map(|(_, said)| said.clone()).collect();
        if missing.len() > self.taken_back {
            let count = missing.len();
            tracing::error!(
                count,
                "tombstones are gone from the keys' home: they go on counting here, and no longer after a start"
            );
        }
        self.taken_back = missing.len();
        for tombstone in &listing.tombstones {
            let known = self.said.entry(name(tombstone));
            known.or_insert_with(|| tombstone.clone());
        }
        listing.tombstones.extend(missing);
    }
}

/// What is said of a key that came too late.
pub(super) fn late(stored: &StoredKey, now: i64) -> Tombstone {
    Tombstone {
        kid: key::kid(stored),
        ring: stored.label.ring.clone(),
        generation: stored.label.generation,
        created: stored.label.created,
        reason: TombstoneReason::Late,
        at: now,
        was_active: false,
        note: "first seen too long after it was made".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SLACK: (i64, i64) = (5, 15);

    /// Keys below 10 are of the first generation, the others of the second.
    fn listing(keys: &[(u8, i64)]) -> Listing {
        let keys = keys.iter().map(|(id, created)| StoredKey {
            id: KeyId(vec![*id].into()),
            label: format!("k1/mac/HS256/{}/{created}", 1 + id / 10)
                .parse()
                .unwrap(),
            public: None,
            defects: Vec::new(),
        });
        Listing {
            keys: keys.collect(),
            ..Listing::default()
        }
    }

    #[test]
    fn late_is_what_a_complete_listing_missed() {
        type Rows<'a> = &'a [(&'a [(i64, &'a [(u8, i64)], bool)], usize)];
        // For each: listings at a time, with these keys, complete or not; how many keys are late.
        let rows: Rows<'_> = &[
            // The first listing knows nothing better.
            (&[(1000, &[(1, 0)], true)], 0),
            (&[(120, &[], true), (130, &[(1, 100)], true)], 0),
            (&[(121, &[], true), (130, &[(1, 100)], true)], 1),
            (&[(121, &[], false), (130, &[(1, 100)], true)], 0),
            // What follows is there when it says so: its lead begins then.
            (&[(105, &[], true), (130, &[(10, 100)], true)], 0),
            (&[(106, &[], true), (130, &[(10, 100)], true)], 1),
            // It was there before, and hidden for a while.
            (
                &[
                    (100, &[(1, 100)], true),
                    (200, &[], true),
                    (300, &[(1, 100)], true),
                ],
                0,
            ),
        ];
        for (listings, expected) in rows {
            let mut inventory = Inventory::default();
            let mut written = Vec::new();
            for (begun, keys, is_complete) in *listings {
                let mut listing = listing(keys);
                if !is_complete {
                    listing.strange.push("unreadable".to_owned());
                }
                written = inventory.take(listing, *begun, SLACK);
            }
            assert_eq!(written.len(), *expected, "{listings:?}");
            assert_eq!(inventory.listing().tombstones.len(), *expected);
        }
    }

    #[test]
    fn a_key_that_had_a_defect_is_seen_when_it_has_none() {
        let mut inventory = Inventory::default();
        inventory.take(listing(&[]), 100, SLACK);
        let mut defective = listing(&[(1, 100)]);
        defective.keys[0]
            .defects
            .push("without one public key of its own");
        assert!(inventory.take(defective, 110, SLACK).is_empty());
        inventory.take(listing(&[]), 1000, SLACK);
        assert_eq!(inventory.take(listing(&[(1, 100)]), 1010, SLACK).len(), 1);
    }

    #[test]
    fn it_is_said_until_it_is_written() {
        let mut inventory = Inventory::default();
        inventory.take(listing(&[]), 1000, SLACK);
        for _ in 0..2 {
            let late = inventory.take(listing(&[(1, 0)]), 1001, SLACK);
            assert_eq!(late.len(), 1);
        }
        let mut written = listing(&[(1, 0)]);
        written.tombstones = inventory.listing().tombstones.clone();
        assert_eq!(inventory.take(written, 1002, SLACK), []);
        assert_eq!(inventory.listing().tombstones.len(), 1);
    }
}
