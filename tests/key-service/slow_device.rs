//! K-3: a device that stands still while it makes a key. Whatever holds it up, no key signs that was not published for its
//! whole lead.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use key_service::backend::{Calls, Device};
use key_service::clock::Clock;
use key_service::config::Config;
use key_service::keyring::Keyring;
use key_service::keyring::state::{Standing, State};

use crate::contract::worked::{self, Memory};

const RING: &str = "id-token/ES256";
const LEAD: i64 = 100;
const GENERATION: i64 = 10;

fn configuration() -> Config {
    let text = format!(
        r#"
[listen]
unix = "socket"
[callers]
[backend]
kind = "software"
directory = "keys"
passphrase_file = "passphrase"
[lifecycle]
lead = "{LEAD}s"
jwks_max_age = "30s"
gateway_refresh = "10s"
skew = "5s"
generation = "{GENERATION}s"
period = "never"
[policy]
issuer = "https://issuer.example"
[[rings]]
name = "{RING}"
"#
    );
    Config::parse(&text, Path::new("/")).unwrap()
}

#[tokio::test]
async fn no_key_signs_that_came_too_late() {
    // How long each key takes, in seconds, and how many keys of how many came too late after the start, after one
    // rotation and after another.
    type Row = (&'static str, &'static [i64], [(usize, usize); 3]);
    #[rustfmt::skip]
    let rows: &[Row] = &[
        ("never late", &[0, 1, 9, 9], [(0, 2), (0, 3), (0, 4)]),
        ("a first key signs at once", &[500, 1, 1, 1], [(0, 2), (0, 3), (0, 4)]),
        ("the standby is made again", &[0, 25, 25, 25, 25], [(1, 3), (1, 4), (1, 5)]),
        ("once it stood still", &[0, 1, 300, 1, 1], [(0, 2), (1, 4), (1, 5)]),
        // And without a standby one is made before the rotation.
        ("slower each time", &[0, 13, 30, 70, 1, 1], [(3, 4), (3, 6), (3, 7)]),
    ];
    for (row, takes, expected) in rows {
        let clock = Clock::movable();
        let takes: Mutex<VecDeque<i64>> = Mutex::new(takes.iter().copied().collect());
        let made = Arc::new(Mutex::new(Vec::new()));
        let (of, at) = (clock.clone(), Arc::clone(&made));
        let memory = Memory::making(move |label| {
            let seconds = takes.lock().unwrap().pop_front().unwrap_or(1);
            of.advance(Duration::from_secs(seconds.unsigned_abs()));
            at.lock().unwrap().push((label.generation, of.now()));
        });
        let device = Device::over(worked::facts(), Arc::new(memory), Calls::Inline);
        let settings = configuration().keyring().unwrap();
        let keyring = Keyring::open(device, clock.clone(), settings)
            .await
            .unwrap();
        for (index, (late, all)) in expected.iter().enumerate() {
            if index > 0 {
                clock.advance(Duration::from_secs(2000));
                keyring.keep_up().await.unwrap();
                keyring.rotate(RING).await.unwrap();
            }
            let standings = standings(&keyring);
            let is_late = |one: &&Standing| one.reason == "late";
            let late_ones: Vec<_> = standings.iter().filter(is_late).collect();
            assert_eq!((late_ones.len(), standings.len()), (*late, *all), "{row}");
            assert!(
                late_ones.iter().all(|one| one.signs_from.is_none()),
                "{row}"
            );
            for standing in &standings {
                let made = made.lock().unwrap();
                let of = |(generation, _): &&(u64, i64)| *generation == standing.key.generation;
                let (_, at) = made.iter().find(of).unwrap();
                let is_first = standing.key.generation == 1;
                let from = standing.signs_from.unwrap_or(i64::MAX);
                assert!(is_first || from >= at + LEAD, "{row}: {standing:?}");
            }
        }
        // What is said of them is with the keys, for the others and for later.
        let listed = keyring.device().list().await.unwrap();
        assert_eq!(listed.tombstones.len(), expected[2].0, "{row}");
    }
}

fn standings(keyring: &Keyring) -> Vec<Standing> {
    let snapshot = keyring.snapshot_full();
    let ring = snapshot.ring(RING).unwrap();
    assert!(ring.active(keyring.clock().now()).is_some());
    let standings: Vec<Standing> = ring.standings().cloned().collect();
    assert!(standings.iter().all(|one| one.state != State::Revoked));
    standings
}
