//! Keys that are not kept as ours are (HS-01): somebody else made or changed them, and may hold a copy. With one that
//! relying parties would be told to believe, nothing starts; one that is found while the service runs, or that is not
//! published any more, is not used and raises an alarm.

use std::fmt::Write as _;

use crate::algorithm::RingAlgorithm;
use crate::backend::{Listing, StoredKey, weakness};

use super::key;
use super::snapshot::tombstones;
use super::state::{self, Lifecycle, Seen, State};
use super::{RingSettings, Settings};

/// Why the service does not start.
#[derive(Debug, thiserror::Error)]
#[error(
    "{location} holds keys of this service that are not kept as it makes them, so others may have a copy:{keys}\n\
     find out who made them; then remove them with the token's own program, for example \
     `pkcs11-tool --delete-object --type privkey --id ID` and `--type pubkey` (secrkey for seal and mac)"
)]
pub struct Weak {
    location: String,
    /// A line for each.
    keys: String,
}

/// Looks at what a device listed before any of it is used.
///
/// # Errors
/// A key of these rings has a weak attribute, and would be used or published if it had not.
pub fn refuse_weak(
    listing: &Listing,
    settings: &Settings,
    location: &str,
    now: i64,
) -> Result<(), Weak> {
    let mut keys = String::new();
    for ring in &settings.rings {
        for stored in of_ring(listing, settings, ring, now) {
            let weaknesses: Vec<&str> = weaknesses(stored).collect();
            let (id, label) = (&stored.id, &stored.label);
            // Writing to memory cannot fail.
            let _ = write!(keys, "\n  {label}, id {id:?}: {}", weaknesses.join(", "));
        }
    }
    if keys.is_empty() {
        return Ok(());
    }
    Err(Weak {
        location: location.to_owned(),
        keys,
    })
}

/// The weak keys of a ring that would be published, or used, if they were not weak.
fn of_ring<'a>(
    listing: &'a Listing,
    settings: &Settings,
    ring: &RingSettings,
    now: i64,
) -> Vec<&'a StoredKey> {
    let own = || listing.keys.iter().filter(|it| it.label.ring == ring.name);
    let is_weak = |stored: &StoredKey| weaknesses(stored).next().is_some();
    if !own().any(is_weak) {
        return Vec::new();
    }
    let seen: Vec<Seen> = own()
        .map(|stored| Seen {
            kid: key::kid(stored),
            generation: stored.label.generation,
            created: stored.label.created,
            // What is wrong with it beside a weakness makes it useless whatever happens.
            defective: stored.defects.len() > weaknesses(stored).count(),
        })
        .collect();
    let lifecycle = Lifecycle {
        lead: settings.lead,
        retention: match ring.name.algorithm() {
            RingAlgorithm::Seal | RingAlgorithm::Mac => None,
            _ => Some(settings.retention),
        },
    };
    let standings = state::judge(&seen, &tombstones(listing, &ring.name), lifecycle, now);
    let would_count = |stored: &&StoredKey| {
        let kid = key::kid(stored);
        let standing = standings.iter().find(|standing| standing.key.kid == kid);
        standing.is_some_and(|standing| {
            matches!(standing.state, State::Next | State::Active | State::Retired)
        })
    };
    own().filter(|it| is_weak(it)).filter(would_count).collect()
}

fn weaknesses(stored: &StoredKey) -> impl Iterator<Item = &'static str> {
    let defects = stored.defects.iter().copied();
    defects.filter(|defect| weakness::ALL.contains(defect))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::backend::{KeyId, Tombstone, TombstoneReason};
    use crate::keyring::policy::Policy;

    use super::*;

    const OTHER_ID: &str = "its id is also another key's";

    fn settings() -> Settings {
        let issuer = "https://issuer.example".to_owned();
        let ring = |name: &str| RingSettings {
            name: name.parse().unwrap(),
            profiles: Vec::new(),
            longest_life: 3600,
            period: None,
        };
        Settings {
            rings: vec![ring("id-token/ES256"), ring("mac/HS256")],
            lead: 100,
            generation: std::time::Duration::from_secs(10),
            retention: 1000,
            skew: 10,
            gate_limit: 10,
            policy: Policy::new(std::iter::once(&issuer), 1024, 3600),
        }
    }

    fn stored(label: &str, id: u8, defects: &[&'static str]) -> StoredKey {
        StoredKey {
            id: KeyId([id; 4].into()),
            label: label.parse().unwrap(),
            public: None,
            defects: defects.to_vec(),
        }
    }

    /// Whether the service starts at 10,000 with this key beside three good generations.
    fn refusal(key: StoredKey, tombstones: Vec<Tombstone>) -> Option<String> {
        let good = |generation: u64, created: i64| {
            let label = format!("k1/id-token/ES256/{generation}/{created}");
            stored(&label, u8::try_from(generation).unwrap(), &[])
        };
        let listing = Listing {
            // The first signed until 8,000 and is expired, the second signs, the third waits.
            keys: vec![good(1, 100), good(2, 7000), good(3, 8000), key],
            tombstones,
            ..Listing::default()
        };
        let refused = refuse_weak(&listing, &settings(), "the token", 10_000);
        refused.err().map(|weak| weak.to_string())
    }

    #[test]
    fn a_weak_key_that_would_count_refuses_the_start() {
        let extractable = &[weakness::EXTRACTABLE, weakness::WAS_EXTRACTABLE][..];
        for (what, label, defects, is_refused) in [
            (
                "it would sign next",
                "k1/id-token/ES256/4/9990",
                extractable,
                true,
            ),
            (
                "it would sign",
                "k1/id-token/ES256/2/6000",
                extractable,
                true,
            ),
            (
                "it would be a duplicate",
                "k1/id-token/ES256/2/9900",
                extractable,
                true,
            ),
            (
                "its time would be over",
                "k1/id-token/ES256/1/90",
                extractable,
                false,
            ),
            (
                "a MAC key never expires",
                "k1/mac/HS256/1/90",
                extractable,
                true,
            ),
            (
                "a ring that is not configured",
                "k1/id-token/RS256/1/90",
                extractable,
                false,
            ),
            (
                "every weakness",
                "k1/id-token/ES256/4/9990",
                &[weakness::USAGE],
                true,
            ),
            (
                "a rogue, not a weak one",
                "k1/id-token/ES256/4/9990",
                &[OTHER_ID],
                false,
            ),
            (
                "useless and weak",
                "k1/id-token/ES256/4/9990",
                &[weakness::EXTRACTABLE, OTHER_ID],
                false,
            ),
        ] {
            let refused = refusal(stored(label, 0xab, defects), Vec::new());
            assert_eq!(refused.is_some(), is_refused, "{what}: {refused:?}");
            if let Some(refused) = refused {
                let named = format!("{label}, id abababab: {}", defects.join(", "));
                assert!(refused.contains(&named), "{what}: {refused}");
            }
        }
    }

    #[test]
    fn a_weak_key_that_was_withdrawn_is_no_danger() {
        let weak = stored("k1/id-token/ES256/4/9990", 0xab, &[weakness::NOT_LOCAL]);
        for (reason, is_refused) in [
            (TombstoneReason::Revoked, false),
            (TombstoneReason::Destroyed, false),
            (TombstoneReason::Disabled, false),
            (TombstoneReason::Late, true),
        ] {
            let tombstone = Tombstone {
                kid: key::kid(&weak),
                ring: weak.label.ring.clone(),
                generation: 4,
                created: 9990,
                reason,
                at: 9995,
                was_active: false,
                note: String::new(),
            };
            let refused = refusal(weak.clone(), vec![tombstone]);
            assert_eq!(refused.is_some(), is_refused, "{reason:?}");
        }
    }
}
