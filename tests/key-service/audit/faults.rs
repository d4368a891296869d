//! K-5: disks that are full, files that are gone, processes that are killed.

use std::collections::HashSet;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use key_service::audit::verify::Finding;
use key_service::config::Durability;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use proto::v1;
use tokio::signal::unix::{SignalKind, signal};
use tonic::Code;

use crate::running::KeyService;

use super::{at, audited, checked, intact, log_of, sign, signed};

/// The test that is run in a process of its own, and where its files are.
const OWN: &str = "SIGNET_TEST_AUDIT";

#[tokio::test]
async fn a_removed_or_replaced_file_refuses_until_it_is_there_again() {
    let service = KeyService::start(&audited("durability = \"write\""));
    let log = log_of(&service);
    let aside = service.folder.path().join("aside");
    let mut keys = service.keys().await;
    let now = service.now();
    sign(&mut keys, now, "before").await.unwrap();

    // Moved away, and back.
    fs::rename(&log, &aside).unwrap();
    let refused = sign(&mut keys, now, "away").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    // What is public is told all the same.
    keys.public_jwks(v1::PublicJwksRequest::default())
        .await
        .unwrap();
    fs::rename(&aside, &log).unwrap();
    sign(&mut keys, now, "back").await.unwrap();
    intact(&log);

    // Something else in its place.
    fs::rename(&log, &aside).unwrap();
    std::os::unix::fs::symlink("/dev/full", &log).unwrap();
    let refused = sign(&mut keys, now, "full").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    let metrics = crate::surface::get(service.running.metrics_address().unwrap(), "/metrics");
    assert!(metrics.contains("key_service_audit_up 0"), "{metrics}");
    fs::remove_file(&log).unwrap();
    fs::rename(&aside, &log).unwrap();
    sign(&mut keys, now, "again").await.unwrap();
    let metrics = crate::surface::get(service.running.metrics_address().unwrap(), "/metrics");
    assert!(metrics.contains("key_service_audit_up 1"), "{metrics}");
    assert_eq!(
        signed(&log),
        ["before", "back", "again"].map(str::to_owned).into()
    );
    intact(&log);

    // Removed for good: refused for a while, then the chain goes on in another file, and the loss is seen.
    fs::remove_file(&log).unwrap();
    let begun = Instant::now();
    let mut refusals = 0;
    while sign(&mut keys, now, "later").await.is_err() {
        refusals += 1;
        assert!(begun.elapsed() < Duration::from_secs(10));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(refusals > 5);
    assert!(matches!(checked(&log).finding, Some(Finding::Beginning(_))));
}

#[tokio::test]
async fn a_restart_goes_on_with_the_chain_and_cuts_off_what_was_not_ended() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("audit.log");
    let mut sizes = Vec::new();
    for round in 0..3 {
        let service = at(folder.path(), |_| ());
        let second = std::panic::catch_unwind(|| at(folder.path(), |_| ()));
        assert!(second.is_err(), "two processes write one log");
        let mut keys = service.keys().await;
        sign(&mut keys, service.now(), &format!("{round}"))
            .await
            .unwrap();
        tokio::task::spawn_blocking(move || service.running.shutdown())
            .await
            .unwrap();
        sizes.push(intact(&log).records);
        let mut file = fs::OpenOptions::new().append(true).open(&log).unwrap();
        file.write_all(b"{\"seq\":").unwrap();
        let report = intact(&log);
        assert!(report.is_within_a_line);
    }
    assert!(sizes.is_sorted() && signed(&whole(&log)).len() == 3);

    // Changed while nobody looked: the service does not go on.
    let text = fs::read_to_string(&log).unwrap();
    fs::write(&log, text.replacen("gateway", "somebody", 1)).unwrap();
    assert!(std::panic::catch_unwind(|| at(folder.path(), |_| ())).is_err());
    // Nor with another key than the one that was pinned.
    fs::write(&log, text).unwrap();
    fs::write(
        log.with_extension("log.vkey"),
        "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW\n",
    )
    .unwrap();
    assert!(std::panic::catch_unwind(|| at(folder.path(), |_| ())).is_err());
}

/// A copy of the log without the line that was not ended.
fn whole(log: &Path) -> PathBuf {
    let text = fs::read_to_string(log).unwrap();
    let end = text.rfind('\n').unwrap() + 1;
    let copy = log.with_extension("copy");
    fs::write(&copy, &text[..end]).unwrap();
    copy
}

/// Runs the test again in a process of its own, with its files in `folder`; `None` where this is it.
fn apart(test: &str, folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args([test, "--exact", "--nocapture"])
        // What it would clean up if it were not killed goes with the folder.
        .env("TMPDIR", folder)
        .env(OWN, folder);
    command
}

#[test]
fn nothing_answered_is_missing_after_a_kill_under_load() {
    let name = "audit::faults::nothing_answered_is_missing_after_a_kill_under_load";
    if let Some(folder) = std::env::var_os(OWN) {
        return sign_until_killed(Path::new(&folder));
    }
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("audit.log");
    let mut answered = HashSet::new();
    for round in 0..3 {
        let mut child = apart(name, folder.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        for line in lines {
            // The last line may be half of one.
            let line = line.unwrap();
            if let Some(jti) = line
                .strip_prefix("answered ")
                .and_then(|it| it.strip_suffix('.'))
            {
                answered.insert(jti.to_owned());
                if answered.len() == (round + 1) * 300 {
                    child.kill().unwrap();
                }
            }
        }
        child.wait().unwrap();
        let report = intact(&log);
        assert_eq!(report.first, 0);
        let signed = signed(&whole(&log));
        assert!(answered.len() > round * 300);
        assert_eq!(answered.difference(&signed).count(), 0);
    }
}

#[tokio::main(flavor = "current_thread")]
async fn sign_until_killed(folder: &Path) {
    let service = at(folder, |config| {
        if let Some(audit) = &mut config.audit {
            audit.checkpoint_interval = Duration::from_millis(5);
        }
    });
    let id = std::process::id();
    let now = service.now();
    let tasks = (0..8).map(|task| {
        let service = &service;
        async move {
            let mut keys = service.keys().await;
            for number in 0.. {
                let jti = format!("{id}-{task}-{number}");
                sign(&mut keys, now, &jti).await.unwrap();
                let line = format!("answered {jti}.\n");
                std::io::stdout().write_all(line.as_bytes()).unwrap();
            }
        }
    });
    futures_util::future::join_all(tasks).await;
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let name = "audit::faults::a_full_disk_refuses_and_goes_on_when_there_is_room";
    if let Some(folder) = std::env::var_os(OWN) {
        for durability in [Durability::Write, Durability::Fsync] {
            let folder = Path::new(&folder).join(format!("{durability:?}"));
            fs::create_dir(&folder).unwrap();
            fill(&folder, durability);
        }
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let status = apart(name, folder.path()).status().unwrap();
    assert!(status.success());
}

#[tokio::main(flavor = "current_thread")]
async fn fill(folder: &Path, durability: Durability) {
    let _ = signal(SignalKind::from_raw(Signal::SIGXFSZ as i32)).unwrap();
    let log = folder.join("audit.log");
    let service = at(folder, |config| {
        if let Some(audit) = &mut config.audit {
            audit.durability = durability;
        }
    });
    let mut keys = service.keys().await;
    let (soft, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    // Room for some records and a part of one.
    setrlimit(
        Resource::RLIMIT_FSIZE,
        fs::metadata(&log).unwrap().len() + 2000,
        hard,
    )
    .unwrap();
    let mut answered = HashSet::new();
    let mut refused = 0;
    for number in 0..40 {
        match sign(&mut keys, service.now(), &number.to_string()).await {
            Ok(_) => {
                assert_eq!(refused, 0);
                answered.insert(number.to_string());
            }
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable);
                refused += 1;
            }
        }
    }
    assert!(refused > 20 && answered.len() > 2, "{refused}");
    assert!(!intact(&log).is_within_a_line);
    setrlimit(Resource::RLIMIT_FSIZE, soft, hard).unwrap();
    sign(&mut keys, service.now(), "room").await.unwrap();
    answered.insert("room".to_owned());
    assert_eq!(signed(&log), answered);
    intact(&log);
}
