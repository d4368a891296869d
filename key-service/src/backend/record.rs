//! How immutable facts are written beside a key: its label, and tombstones. The same words in every backend, so that
//! a person can read them with any tool.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::{LONGEST_NOTE, Label, Tombstone, TombstoneReason};

/// What every label of ours begins with.
pub(super) const LABEL_PREFIX: &str = "k1/";
/// What the name of every tombstone begins with.
pub(super) const TOMBSTONE_PREFIX: &str = "t1/";
/// What the name of every imported key begins with.
pub(super) const IMPORTED_PREFIX: &str = "i1/";

/// A label or a tombstone that cannot be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a record of ours")]
pub struct Strange;

impl fmt::Display for Label {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Label {
            ring,
            generation,
            created,
        } = self;
        write!(f, "{LABEL_PREFIX}{ring}/{generation}/{created}")
    }
}

impl FromStr for Label {
    type Err = Strange;

    fn from_str(text: &str) -> Result<Self, Strange> {
        let rest = text.strip_prefix(LABEL_PREFIX).ok_or(Strange)?;
        let (rest, created) = rest.rsplit_once('/').ok_or(Strange)?;
        let (ring, generation) = rest.rsplit_once('/').ok_or(Strange)?;
        let label = Label {
            ring: ring.parse().map_err(|_| Strange)?,
            generation: generation.parse().map_err(|_| Strange)?,
            created: created.parse().map_err(|_| Strange)?,
        };
        // One spelling only: two labels that mean the same would be two keys of one generation.
        if label.generation == 0 || label.to_string() != text {
            return Err(Strange);
        }
        Ok(label)
    }
}

/// A tombstone as JSON.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    kid: String,
    ring: String,
    generation: u64,
    created: i64,
    reason: String,
    at: i64,
    was_active: bool,
    note: String,
}

impl TombstoneReason {
    const ALL: [TombstoneReason; 5] = [
        TombstoneReason::Revoked,
        TombstoneReason::Disabled,
        TombstoneReason::Enabled,
        TombstoneReason::Late,
        TombstoneReason::Destroyed,
    ];

    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            TombstoneReason::Revoked => "revoked",
            TombstoneReason::Disabled => "disabled",
            TombstoneReason::Enabled => "enabled",
            TombstoneReason::Late => "late",
            TombstoneReason::Destroyed => "destroyed",
        }
    }
}

impl Tombstone {
    /// A name for the object that holds it: it need not be unique.
    pub(super) fn name(&self) -> String {
        let (kid, reason, at) = (&self.kid, self.reason.as_str(), self.at);
        format!("{TOMBSTONE_PREFIX}{kid}/{reason}/{at}")
    }

    pub(super) fn to_json(&self) -> Vec<u8> {
        let written = Written {
            kid: self.kid.clone(),
            ring: self.ring.to_string(),
            generation: self.generation,
            created: self.created,
            reason: self.reason.as_str().to_owned(),
            at: self.at,
            was_active: self.was_active,
            note: self.note.chars().take(LONGEST_NOTE).collect(),
        };
        serde_json::to_vec(&written).expect("strings and numbers always have a JSON form")
    }

    pub(super) fn from_json(json: &[u8]) -> Result<Tombstone, Strange> {
        let written: Written = serde_json::from_slice(json).map_err(|_| Strange)?;
        let reason = TombstoneReason::ALL
            .into_iter()
            .find(|reason| reason.as_str() == written.reason)
            .ok_or(Strange)?;
        Ok(Tombstone {
            kid: written.kid,
            ring: written.ring.parse().map_err(|_| Strange)?,
            generation: written.generation,
            created: written.created,
            reason,
            at: written.at,
            was_active: written.was_active,
            note: written.note,
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn labels_have_one_spelling() {
        for text in [
            "k1/id-token/ES256/1/1700000000",
            "k1/seal/A256GCM/18446744073709551615/-1",
            "k1/request-object/ECDH-ES-P384/1/1700000000",
            "k1/request-object/ECDH-ES-X25519/1/1700000000",
            "k1/mac/HS256/1/1",
            "k1/pairwise-subject/HS256/1/1",
        ] {
            assert_eq!(text.parse::<Label>().unwrap().to_string(), text);
        }
        for text in [
            "",
            "k1/",
            "k2/id-token/ES256/1/1",
            "k1/id-token/ES256/1",
            "k1/id-token/ES256/1/1/1",
            "k1/id-token/ES256/0/1",
            "k1/id-token/ES256/01/1",
            "k1/id-token/ES256/+1/1",
            "k1/id-token/ES256/1/1 ",
            "k1/id-token/none/1/1",
            // Not what a key computes.
            "k1/request-object/ECDH-ES+A128KW/1/1",
            "k1/request-object/A128KW/1/1",
            "k1/request-object/dir/1/1",
            "k1/id-token/HS256/1/1",
            "k1/mac/HS512/1/1",
            "k1/mac/ES256/1/1",
            "k1/ID-token/ES256/1/1",
            "K1/id-token/ES256/1/1",
        ] {
            assert_eq!(text.parse::<Label>(), Err(Strange), "{text}");
        }
    }

    #[test]
    fn tombstones_survive_writing() {
        for reason in TombstoneReason::ALL {
            let tombstone = Tombstone {
                kid: "k".to_owned(),
                ring: "id-token/ES256".parse().unwrap(),
                generation: 3,
                created: 5,
                reason,
                at: 7,
                was_active: true,
                note: "a \"note\"".to_owned(),
            };
            let json = tombstone.to_json();
            assert_eq!(Tombstone::from_json(&json).unwrap(), tombstone);
        }
        assert!(Tombstone::from_json(b"{}").is_err());
    }
}
