//! Others' public keys beside ours, so that what another provider signed goes on verifying, and what another home of our
//! keys will sign verifies already (publish before use). They are retired from the start: published until the time that
//! their importer names, and never signing.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::algorithm::{RingAlgorithm, RingName};
use crate::backend::{Imported, Listing, TombstoneReason};
use crate::error::Error;
use crate::jwk::{self, Invalid, Jwk};

use super::key::{self, Key};
use super::state::{Seen, Standing, State};
use super::{Keyring, Ring};

/// The generation that tombstones and listings give an imported key: a ring's own begin with 1.
pub(super) const GENERATION: u64 = 0;
/// Why it is retired.
const REASON: &str = "imported";
/// The longest that an imported key is published, in seconds: 400 days.
const LONGEST: i64 = 400 * 24 * 3600;
/// The most that are published at a time: relying parties read every one of them.
const MOST: usize = 32;

/// A public key that is to be imported.
#[derive(Debug, Clone, Copy)]
pub struct Wanted<'a> {
    /// The ring beside whose keys it is to stand.
    pub ring: &'a str,
    /// The public JWK as JSON.
    pub jwk: &'a [u8],
    /// Until when it is published: seconds since 1970-01-01T00:00:00Z.
    pub until: i64,
}

/// What an import did, or would do.
#[derive(Debug)]
pub struct Import {
    /// The ring.
    pub ring: RingName,
    /// The key.
    pub imported: Standing,
    /// From when every relying party knows it, whatever copy of the JWK Set it keeps.
    pub known_by: i64,
}

impl Standing {
    /// Whether it is somebody else's key.
    #[must_use]
    pub fn is_imported(&self) -> bool {
        self.key.generation == GENERATION
    }
}

impl Keyring {
    /// Publishes somebody else's public key, for verification only. What is there already is left as it is, or stays for
    /// longer.
    ///
    /// # Errors
    /// No such ring; a key that is private, weak, for something else, or of a kid that is taken; the device cannot write.
    pub async fn import(&self, wanted: Wanted<'_>) -> Result<Import, Error> {
        let _alone = self.changes.lock().await;
        self.list_again().await?;
        let key = self.importable(wanted)?;
        let listing = self.view().inventory.listing();
        let is_there = |it: &Imported| {
            (&it.kid, &it.ring, &it.public) == (&key.kid, &key.ring, &key.public)
                && it.until >= key.until
        };
        if !listing.imported.iter().any(is_there) {
            self.device.import(&key).await?;
            tracing::warn!(ring = %key.ring, kid = %key.kid, until = key.until, "public key imported");
            self.list_again().await?;
        }
        let snapshot = self.snapshot_full();
        let ring = snapshot.ring(wanted.ring).ok_or(Error::NotAllowed)?;
        let mut standings = ring.imported.iter().map(|key| &key.standing);
        let imported = standings.find(|standing| standing.key.kid == key.kid);
        let imported = imported.ok_or(crate::backend::Error::NoSuchKey)?.clone();
        Ok(self.outcome(key.ring, imported))
    }

    /// Says what [`Keyring::import`] would do now.
    ///
    /// # Errors
    /// As there.
    pub async fn plan_import(&self, wanted: Wanted<'_>) -> Result<Import, Error> {
        let _alone = self.changes.lock().await;
        self.list_again().await?;
        let key = self.importable(wanted)?;
        let imported = standing(&key, None, self.clock.now());
        Ok(self.outcome(key.ring, imported))
    }

    fn outcome(&self, ring: RingName, imported: Standing) -> Import {
        Import {
            ring,
            imported,
            known_by: self.clock.now().saturating_add(self.settings.lead),
        }
    }

    /// To be called while `changes` is held, after a listing.
    fn importable(&self, wanted: Wanted<'_>) -> Result<Imported, Error> {
        let now = self.clock.now();
        let snapshot = self.snapshot_full();
        let ring = snapshot.ring(wanted.ring).ok_or(Error::NotAllowed)?;
        let key = read(ring, wanted, now)?;
        let listing = self.view().inventory.listing();
        is_free(&key, &listing)?;
        let mut published: Vec<&str> = snapshot
            .rings()
            .flat_map(|ring| &ring.imported)
            .filter(|other| other.standing.state == State::Retired)
            .map(|other| other.kid())
            .filter(|kid| *kid != key.kid)
            .collect();
        published.sort_unstable();
        published.dedup();
        if published.len() >= MOST {
            return Err(Error::Lifecycle(
                "import.many: 32 imported keys are published already; destroy those that are over",
            ));
        }
        Ok(key)
    }
}

/// The key, if it can verify what this ring signs.
fn read(ring: &Ring, wanted: Wanted<'_>, now: i64) -> Result<Imported, Error> {
    let RingAlgorithm::Signature(algorithm) = ring.name().algorithm() else {
        return Err(Error::Lifecycle(
            "import.ring: keys of this ring do not sign",
        ));
    };
    let jwk = Jwk::parse(wanted.jwk).map_err(refusal)?;
    if !jwk.may_verify() {
        return Err(Error::Lifecycle(
            "import.use: the key is not for signatures",
        ));
    }
    let is_named = jwk
        .alg
        .as_deref()
        .is_none_or(|alg| alg == algorithm.as_str());
    if !is_named || !algorithm.fits(&jwk.public) {
        return Err(Error::Lifecycle(
            "import.alg: the key is for another algorithm than the ring's",
        ));
    }
    let kid = jwk.kid.unwrap_or_else(|| jwk::thumbprint(&jwk.public));
    if !Imported::is_kid(&kid) {
        return Err(Error::Lifecycle(
            "import.kid: a kid is of 1 to 256 visible ASCII characters, without quotes and backslashes",
        ));
    }
    if wanted.until <= now {
        return Err(Error::Lifecycle("import.until: that time is over"));
    }
    if wanted.until > now.saturating_add(LONGEST) {
        return Err(Error::Lifecycle(
            "import.until: that is more than 400 days from now; import it again when they are over",
        ));
    }
    Ok(Imported {
        kid,
        ring: ring.name().clone(),
        public: jwk.public,
        at: now,
        until: wanted.until,
    })
}

fn refusal(invalid: Invalid) -> Error {
    Error::Lifecycle(match invalid {
        Invalid::Private => {
            "import.private: the JWK holds private key material, and whoever sent it should make another key"
        }
        Invalid::Unsupported => "import.key: its type is not supported",
        Invalid::Length => {
            "import.key: an RSA key under 2048 bits, or a number of the wrong length"
        }
        Invalid::Point => "import.key: its point is not on its curve",
        Invalid::Syntax | Invalid::TooManyKeys | Invalid::NoKey => {
            return Error::Malformed("jwk is not one JWK");
        }
    })
}

/// Whether nobody else has the kid: relying parties find a key by it.
fn is_free(key: &Imported, listing: &Listing) -> Result<(), Error> {
    let is_own = |own: &crate::backend::StoredKey| {
        key::kid(own) == key.kid || own.public.as_ref() == Some(&key.public)
    };
    if listing.keys.iter().any(is_own) {
        return Err(Error::Lifecycle(
            "import.own: this key, or another of that kid, is one of the service's own",
        ));
    }
    let mut tombstones = listing.tombstones.iter();
    let was_own = tombstones.any(|it| it.kid == key.kid && it.generation != GENERATION);
    if was_own || withdrawn(listing, &key.kid).is_some() {
        return Err(Error::Lifecycle(
            "import.withdrawn: a key of that kid was withdrawn here",
        ));
    }
    // One key may serve several rings of one algorithm: other providers sign ID tokens and access tokens with it.
    let is_another = |other: &Imported| {
        other.kid == key.kid
            && (&other.public, other.ring.algorithm()) != (&key.public, key.ring.algorithm())
    };
    if listing.imported.iter().any(is_another) {
        return Err(Error::Lifecycle(
            "import.kid: another key of that kid is imported, or for another algorithm",
        ));
    }
    Ok(())
}

/// Whether tombstones say that an imported key is no longer wanted, and which.
fn withdrawn(listing: &Listing, kid: &str) -> Option<(State, &'static str)> {
    let count = |reason| {
        let of = listing.tombstones.iter();
        of.filter(|it| it.generation == GENERATION && it.kid == kid && it.reason == reason)
            .count()
    };
    if count(TombstoneReason::Destroyed) > 0 {
        Some((State::Destroyed, "destroyed"))
    } else if count(TombstoneReason::Revoked) > 0 {
        Some((State::Revoked, "revoked"))
    } else if count(TombstoneReason::Disabled) > count(TombstoneReason::Enabled) {
        Some((State::Disabled, "disabled"))
    } else {
        None
    }
}

/// A ring's imported keys, and what is known of those that are gone.
pub(super) fn of_ring(
    ring: &RingName,
    listing: &Listing,
    now: i64,
) -> (Vec<Arc<Key>>, Vec<Standing>) {
    let mut sorted: Vec<&Imported> = listing
        .imported
        .iter()
        .filter(|it| it.ring == *ring)
        .collect();
    // Replicas that list in another order take the same.
    sorted.sort_by_cached_key(|it| (it.at, it.jwk(), it.until));
    let mut keys: BTreeMap<&str, Imported> = BTreeMap::new();
    for imported in sorted {
        let key = keys
            .entry(&imported.kid)
            .or_insert_with(|| imported.clone());
        // Of two that were imported at one moment under one kid, the first counts.
        if key.public == imported.public {
            key.until = key.until.max(imported.until);
        }
    }
    let mut gone: BTreeMap<&str, Standing> = BTreeMap::new();
    for tombstone in &listing.tombstones {
        let kid = tombstone.kid.as_str();
        let is_of_ring = tombstone.generation == GENERATION && tombstone.ring == *ring;
        if is_of_ring && !keys.contains_key(kid) {
            let (state, reason) = withdrawn(listing, kid).unwrap_or((State::Destroyed, "missing"));
            let seen = seen(kid, tombstone.created);
            gone.insert(kid, at_rest(seen, state, reason, None));
        }
    }
    let keys = keys.values().map(|imported| {
        let standing = standing(imported, withdrawn(listing, &imported.kid), now);
        Arc::new(Key::imported(imported, standing))
    });
    (keys.collect(), gone.into_values().collect())
}

fn standing(imported: &Imported, withdrawn: Option<(State, &'static str)>, now: i64) -> Standing {
    let by_time = if imported.until <= now {
        State::Expired
    } else {
        State::Retired
    };
    let (state, reason) = withdrawn.unwrap_or((by_time, REASON));
    let seen = seen(&imported.kid, imported.at);
    at_rest(seen, state, reason, Some(imported.until))
}

fn seen(kid: &str, created: i64) -> Seen {
    Seen {
        kid: kid.to_owned(),
        generation: GENERATION,
        created,
        defective: false,
    }
}

/// It never signs, so of all its times only the end is one.
fn at_rest(key: Seen, state: State, reason: &'static str, until: Option<i64>) -> Standing {
    Standing {
        key,
        state,
        activates_at: None,
        retires_at: None,
        expires_at: until,
        reason,
        signs_from: None,
    }
}

#[cfg(test)]
#[path = "imported_tests.rs"]
mod tests;
