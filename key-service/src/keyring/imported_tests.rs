//! K-3: what has become of an imported key is a pure function of records, tombstones and the clock, like that of our own.
#![allow(clippy::unwrap_used)]

use crate::backend::{PublicKey, Tombstone};

use super::*;

const RING: &str = "id-token/EdDSA";
const OTHER: &str = "access-token/EdDSA";

/// A public key of this number: whether somebody has its private half is no matter here.
fn public(number: u8) -> PublicKey {
    PublicKey::Ed25519 { x: [number; 32] }
}

fn record(ring: &str, kid: &str, key: u8, (at, until): (i64, i64)) -> Imported {
    Imported {
        kid: kid.to_owned(),
        ring: ring.parse().unwrap(),
        public: public(key),
        at,
        until,
    }
}

fn tombstone(generation: u64, kid: &str, reason: TombstoneReason) -> Tombstone {
    Tombstone {
        kid: kid.to_owned(),
        ring: RING.parse().unwrap(),
        generation,
        created: 1,
        reason,
        at: 2,
        was_active: false,
        note: "for a test".to_owned(),
    }
}

/// The ring's imported keys at 100: kid, state, reason, end.
fn judged(
    imported: Vec<Imported>,
    tombstones: Vec<Tombstone>,
) -> Vec<(String, State, &'static str, Option<i64>)> {
    let listing = Listing {
        imported,
        tombstones,
        ..Listing::default()
    };
    let (keys, gone) = of_ring(&RING.parse().unwrap(), &listing, 100);
    let standings = keys.iter().map(|key| key.standing.clone()).chain(gone);
    standings
        .map(|it| {
            assert!(it.is_imported() && it.signs_from.is_none() && it.activates_at.is_none());
            (it.key.kid, it.state, it.reason, it.expires_at)
        })
        .collect()
}

#[test]
fn records_and_tombstones_say_what_has_become_of_it() {
    use TombstoneReason::{Destroyed, Disabled, Enabled, Revoked};
    let one = || vec![record(RING, "a", 1, (10, 200))];
    let withdrawn = |reasons: &[TombstoneReason]| -> Vec<Tombstone> {
        let of = reasons.iter();
        of.map(|reason| tombstone(GENERATION, "a", *reason))
            .collect()
    };
    let is = |state, reason, until| vec![("a".to_owned(), state, reason, until)];
    let retired = is(State::Retired, "imported", Some(200));
    for (what, imported, tombstones, expected) in [
        ("nothing", vec![], vec![], vec![]),
        ("published", one(), vec![], retired.clone()),
        (
            "another ring's",
            vec![record(OTHER, "a", 1, (10, 200))],
            vec![],
            vec![],
        ),
        (
            "its time is over",
            vec![record(RING, "a", 1, (10, 100))],
            vec![],
            is(State::Expired, "imported", Some(100)),
        ),
        (
            "imported again for longer",
            vec![
                record(RING, "a", 1, (50, 300)),
                record(RING, "a", 1, (10, 200)),
            ],
            vec![],
            is(State::Retired, "imported", Some(300)),
        ),
        (
            "imported again for less",
            vec![
                record(RING, "a", 1, (10, 200)),
                record(RING, "a", 1, (50, 150)),
            ],
            vec![],
            retired.clone(),
        ),
        (
            "another key under its kid, later",
            vec![
                record(RING, "a", 2, (50, 300)),
                record(RING, "a", 1, (10, 200)),
            ],
            vec![],
            retired.clone(),
        ),
        (
            "revoked",
            one(),
            withdrawn(&[Revoked]),
            is(State::Revoked, "revoked", Some(200)),
        ),
        (
            "disabled",
            one(),
            withdrawn(&[Disabled]),
            is(State::Disabled, "disabled", Some(200)),
        ),
        (
            "enabled",
            one(),
            withdrawn(&[Disabled, Enabled]),
            retired.clone(),
        ),
        (
            "disabled again",
            one(),
            withdrawn(&[Disabled, Enabled, Disabled]),
            is(State::Disabled, "disabled", Some(200)),
        ),
        (
            "to be destroyed",
            one(),
            withdrawn(&[Disabled, Destroyed]),
            is(State::Destroyed, "destroyed", Some(200)),
        ),
        (
            "destroyed",
            vec![],
            withdrawn(&[Disabled, Destroyed]),
            is(State::Destroyed, "destroyed", None),
        ),
        (
            "gone without a word",
            vec![],
            withdrawn(&[Disabled, Enabled]),
            is(State::Destroyed, "missing", None),
        ),
        (
            "a tombstone of an own key",
            one(),
            vec![tombstone(1, "a", Revoked)],
            retired.clone(),
        ),
    ] {
        assert_eq!(judged(imported, tombstones), expected, "{what}");
    }
}

#[test]
fn replicas_that_list_in_another_order_publish_the_same() {
    let records = [
        record(RING, "b", 1, (10, 200)),
        record(RING, "a", 2, (10, 200)),
        record(RING, "a", 3, (10, 200)),
    ];
    let (mut forth, mut back) = (records.to_vec(), records.to_vec());
    back.reverse();
    forth.rotate_left(1);
    let jwks = |imported| {
        let listing = Listing {
            imported,
            ..Listing::default()
        };
        let (keys, _) = of_ring(&RING.parse().unwrap(), &listing, 100);
        super::super::jwk_set(keys.iter())
    };
    let published = jwks(forth);
    assert_eq!(published, jwks(back));
    // The two under one kid are one.
    assert_eq!(
        String::from_utf8_lossy(&published)
            .matches("\"kid\"")
            .count(),
        2
    );
}

#[test]
fn a_kid_names_one_key() {
    let own = crate::backend::StoredKey {
        id: crate::backend::KeyId([7; 16].into()),
        label: format!("k1/{RING}/1/5").parse().unwrap(),
        public: Some(public(9)),
        defects: Vec::new(),
    };
    let own_kid = key::kid(&own);
    let listing = Listing {
        keys: vec![own],
        imported: vec![record(RING, "a", 1, (10, 200))],
        tombstones: vec![
            tombstone(3, "own and gone", TombstoneReason::Destroyed),
            tombstone(GENERATION, "revoked", TombstoneReason::Revoked),
            tombstone(GENERATION, "disabled", TombstoneReason::Disabled),
            tombstone(GENERATION, "enabled", TombstoneReason::Disabled),
            tombstone(GENERATION, "enabled", TombstoneReason::Enabled),
        ],
        ..Listing::default()
    };
    for (what, key, rule) in [
        ("new", record(RING, "b", 2, (20, 200)), ""),
        ("the same again", record(RING, "a", 1, (20, 300)), ""),
        (
            "the same in another ring",
            record(OTHER, "a", 1, (20, 200)),
            "",
        ),
        (
            "another kid for the same",
            record(RING, "b", 1, (20, 200)),
            "",
        ),
        ("enabled again", record(RING, "enabled", 2, (20, 200)), ""),
        (
            "another key of its kid",
            record(RING, "a", 2, (20, 200)),
            "import.kid",
        ),
        (
            "our own kid",
            record(RING, &own_kid, 2, (20, 200)),
            "import.own",
        ),
        ("our own key", record(RING, "b", 9, (20, 200)), "import.own"),
        (
            "our own, destroyed",
            record(RING, "own and gone", 2, (20, 200)),
            "import.withdrawn",
        ),
        (
            "revoked",
            record(RING, "revoked", 2, (20, 200)),
            "import.withdrawn",
        ),
        (
            "disabled",
            record(RING, "disabled", 2, (20, 200)),
            "import.withdrawn",
        ),
    ] {
        let refused = is_free(&key, &listing);
        let refused = refused.err().map_or("", |error| error.rule());
        assert_eq!(refused, rule, "{what}");
    }
}
