//! K-5: what was changed is found, whoever changed it.

use std::fs;
use std::time::Duration;

use key_service::audit::note::VerifierKey;
use key_service::audit::verify::{End, Finding, Report, Trust, Verifier, verify};
use key_service::config::Durability;

use super::{at, checked, intact, pinned, sign};

/// A log with several checkpoints, and its key.
async fn a_log(count: usize) -> (Vec<u8>, Vec<VerifierKey>, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("audit.log");
    let service = at(folder.path(), |config| {
        if let Some(audit) = &mut config.audit {
            audit.checkpoint_records = 20;
        }
    });
    let mut keys = service.keys().await;
    for number in 0..count {
        sign(&mut keys, service.now(), &format!("t{number}"))
            .await
            .unwrap();
        if number % 20 == 19 {
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
    }
    tokio::task::spawn_blocking(move || service.running.shutdown())
        .await
        .unwrap();
    let key = pinned(&log);
    (fs::read(&log).unwrap(), key, folder)
}

fn verified(content: &[u8], keys: &[VerifierKey], known: &str) -> Report {
    let mut verifier = Verifier::new(keys, Trust::Pinned, 0);
    verifier.know(known, End::Given).unwrap();
    let mut rest = content;
    while let Some(end) = rest.iter().position(|octet| *octet == b'\n') {
        if !verifier.line(&rest[..end]) {
            break;
        }
        rest = &rest[end + 1..];
    }
    verifier.finish(!rest.is_empty())
}

/// xorshift: the same mutations every time.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

#[tokio::test]
async fn ten_thousand_mutations_are_all_found() {
    let (log, keys, folder) = a_log(100).await;
    let known = fs::read_to_string(folder.path().join("audit.log.checkpoint")).unwrap();
    let whole = verified(&log, &keys, &known);
    assert_eq!(whole.finding, None);
    assert!(whole.checkpoints >= 4, "{whole:?}");
    let lines: Vec<&[u8]> = log.split_inclusive(|octet| *octet == b'\n').collect();
    // The newest checkpoint's own record is the last that anybody has signed for, by having signed for the log's size.
    let proven = usize::try_from(whole.covered).unwrap();
    let mut chance = Chance(0x5eed_1234_abcd_ef01);
    let mut seen = [0; 7];
    for round in 0..10_000 {
        let kind = round % 7;
        let (one, other) = (chance.below(proven), chance.below(proven));
        let mut mutated = lines.clone();
        let octets = match kind {
            // An octet is another.
            0 => {
                let mut octets = log.clone();
                let place = chance.below(lines[..proven].concat().len());
                octets[place] ^= 1 << chance.below(8);
                octets
            }
            // A record is gone, is there twice, or two have changed places.
            1 => {
                mutated.remove(one);
                mutated.concat()
            }
            2 => {
                mutated.insert(other, lines[one]);
                mutated.concat()
            }
            3 => {
                if one == other {
                    mutated.swap(one, (one + 1) % proven);
                } else {
                    mutated.swap(one, other);
                }
                mutated.concat()
            }
            // The end is cut off, at a record or within one.
            4 => {
                mutated.truncate(one);
                let mut octets = mutated.concat();
                let part = chance.below(lines[one].len());
                octets.extend_from_slice(&lines[one][..part]);
                octets
            }
            // Some records are those of another place.
            5 => {
                let count = 1 + chance.below(5);
                let from = (one + 1 + chance.below(proven - 1)) % proven;
                let count = count.min(proven - one.max(from));
                mutated[one..one + count].copy_from_slice(&lines[from..from + count]);
                mutated.concat()
            }
            // A field says something else.
            _ => {
                let text = String::from_utf8(lines[one].to_vec()).unwrap();
                let changed = text.replacen("\"time\":1", "\"time\":2", 1);
                assert_ne!(text, changed);
                mutated[one] = changed.as_bytes();
                mutated.concat()
            }
        };
        assert_ne!(octets, log, "{kind}");
        let report = verified(&octets, &keys, &known);
        assert!(report.finding.is_some(), "{kind} {one} {other}: {report:?}");
        seen[kind] += 1;
    }
    assert!(seen.iter().all(|count| *count > 1000));

    // Written anew, chain and tree and all, by somebody without the key: the signature tells.
    let stranger = VerifierKey::new(
        keys[0].name(),
        &key_service::backend::PublicKey::Ed25519 { x: [9; 32] },
    );
    let mut verifier = Verifier::new(
        std::slice::from_ref(stranger.as_ref().unwrap()),
        Trust::Pinned,
        0,
    );
    let stopped = lines
        .iter()
        .position(|line| !verifier.line(&line[..line.len() - 1]));
    assert!(stopped.is_some());
    let finding = verifier.finish(false).finding;
    assert!(matches!(finding, Some(Finding::Stranger(_))), "{finding:?}");
    // What comes after the newest checkpoint is no error when it is cut off: nobody has signed for it.
    let tail = verified(&lines[..=proven].concat(), &keys, &known);
    assert_eq!((tail.finding, tail.covered), (None, whole.covered));
}

#[tokio::test]
async fn many_connections_write_one_chain_that_verifies_meanwhile() {
    for durability in [Durability::Fsync, Durability::Write] {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("audit.log");
        let service = at(folder.path(), |config| {
            config.workers = 4;
            if let Some(audit) = &mut config.audit {
                audit.durability = durability;
                audit.checkpoint_interval = Duration::from_millis(20);
                audit.segment_size = 8 * 1024;
            }
        });
        let now = service.now();
        let mut tasks = tokio::task::JoinSet::new();
        for task in 0..16 {
            let mut keys = service.keys().await;
            tasks.spawn(async move {
                for number in 0..25 {
                    sign(&mut keys, now, &format!("{task}-{number}"))
                        .await
                        .unwrap();
                }
            });
        }
        let mut looks = 0;
        while tasks.try_join_next().is_none_or(|it| {
            it.unwrap();
            !tasks.is_empty()
        }) {
            let log = log.clone();
            tokio::task::spawn_blocking(move || intact(&log))
                .await
                .unwrap();
            looks += 1;
        }
        assert!(looks > 1);
        tokio::task::spawn_blocking(move || service.running.shutdown())
            .await
            .unwrap();
        let report = intact(&log);
        assert_eq!((report.first, report.unproven()), (0, 0));
        assert!(report.records > 400, "{report:?}");
        assert!(
            !log.with_extension("log.00000000000000000000")
                .metadata()
                .unwrap()
                .permissions()
                .readonly()
        );

        // A log that lacks its beginning says so, unless that is expected.
        fs::remove_file(log.with_extension("log.00000000000000000000")).unwrap();
        let report = checked(&log);
        assert!(matches!(report.finding, Some(Finding::Beginning(first)) if first > 0));
        let keys = pinned(&log);
        let expected = Verifier::new(&keys, Trust::Pinned, u64::MAX);
        assert_eq!(verify(expected, &log, None).unwrap().finding, None);
    }
}
