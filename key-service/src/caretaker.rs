//! What is not a request, on a thread of its own: states that change by themselves, keys that another process made or that
//! are due, a canary signature, certificates that were renewed, and the metrics.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use crate::algorithm::{RingAlgorithm, SignatureAlgorithm};
use crate::audit::Log;
use crate::backend::{KeyId, State};
use crate::jwk;
use crate::keyring::Keyring;
use crate::metrics::{self, Page};
use crate::service::Shared;
use crate::tls::Certificates;

/// How often files are looked at for a renewed certificate.
const CERTIFICATES: Duration = Duration::from_secs(2);
/// A device that made no signature for so long is asked for one.
const SILENCE: Duration = Duration::from_secs(2);
/// States are computed for whole seconds.
const SECOND: Duration = Duration::from_secs(1);

/// Until the service stops.
pub(crate) async fn take_care(
    shared: &Shared,
    metrics: Option<TcpListener>,
    page: Arc<Page>,
    reload: Duration,
) {
    let serve_metrics = async {
        if let Some(listener) = metrics {
            metrics::serve(listener, page).await;
        }
        // Without metrics, or where they cannot be served, all the rest goes on.
        std::future::pending::<()>().await;
    };
    let keep_audit = async {
        match &shared.audit {
            Some(log) => tokio::select! {
                () = log.take_care() => {}
                () = tell_of_keys(&shared.keyring, log) => {}
            },
            None => std::future::pending().await,
        }
    };
    let mut stop = shared.stop.clone();
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => {}
        () = serve_metrics => {}
        () = follow_clock(&shared.keyring) => {}
        () = keep_up(&shared.keyring, reload) => {}
        () = break_silence(&shared.keyring) => {}
        () = follow_device(shared) => {}
        () = follow_certificates(shared) => {}
        () = keep_audit => {}
    }
}

/// Which keys sign, whenever something else is published.
async fn tell_of_keys(keyring: &Keyring, log: &Log) {
    let mut published = keyring.watch();
    loop {
        let epoch = published.borrow_and_update().clone();
        let now = keyring.clock().now();
        let snapshot = keyring.snapshot_full();
        let active = snapshot.rings().filter_map(|ring| {
            let key = ring.active(now)?;
            Some(format!("{} {}", ring.name(), key.kid()))
        });
        let active: Vec<String> = active.collect();
        // By their thumbprints: what they are called is for whoever imports them to say.
        let imported = snapshot.published().keys.iter().filter_map(|(ring, key)| {
            let public = key.public.as_ref();
            let public = public.filter(|_| key.standing.is_imported())?;
            Some(format!("{ring} {}", jwk::thumbprint(public)))
        });
        let imported: Vec<String> = imported.collect();
        log.published(&epoch, &active, &imported).await;
        if published.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// States that change by themselves. The clock may be moved, so it is asked every second.
async fn follow_clock(keyring: &Keyring) {
    loop {
        if keyring.next_change_in() == Some(0) {
            keyring.refresh();
        }
        let until_next_second = 1000 - keyring.clock().now_millis().rem_euclid(1000);
        let wait = Duration::from_millis(until_next_second.unsigned_abs());
        tokio::time::sleep(wait.min(SECOND)).await;
    }
}

/// Keys that another process made, also while the device was away.
async fn keep_up(keyring: &Keyring, every: Duration) {
    let mut states = keyring.device().states();
    // Kept from one turn to the next: it may come back while the listing that it failed is still under way.
    let mut was = *states.borrow_and_update();
    loop {
        let is_back = async {
            loop {
                let now = *states.borrow_and_update();
                let before = std::mem::replace(&mut was, now);
                if before != State::Up && now == State::Up {
                    return;
                }
                if states.changed().await.is_err() {
                    // It never changes.
                    return std::future::pending().await;
                }
            }
        };
        // Whichever comes first.
        let _ = tokio::time::timeout(every, is_back).await;
        if let Err(error) = keyring.keep_up().await {
            tracing::warn!(reason = %error, "the keys were not listed, or one that is needed was not made");
        }
    }
}

/// A device may say that it is well after it has gone: in silence the keys that sign take turns at a canary signature.
async fn break_silence(keyring: &Keyring) {
    let device = keyring.device();
    let Some(mut before) = device.signatures() else {
        return std::future::pending().await;
    };
    let mut turn = 0;
    loop {
        tokio::time::sleep(SILENCE).await;
        let active = active(keyring);
        if device.signatures() == Some(before)
            && device.state() == State::Up
            && let Some((key, algorithm)) = active.get(turn % active.len().max(1))
        {
            turn += 1;
            if let Err(error) = device.probe(key, *algorithm).await {
                tracing::warn!(reason = %error, "the canary signature failed");
            }
        }
        before = device.signatures().unwrap_or(before);
    }
}

/// The keys that sign, one of each ring.
fn active(keyring: &Keyring) -> Vec<(KeyId, SignatureAlgorithm)> {
    let now = keyring.clock().now();
    let snapshot = keyring.snapshot_full();
    let active = snapshot.rings().filter_map(|ring| {
        let RingAlgorithm::Signature(algorithm) = ring.name().algorithm() else {
            return None;
        };
        Some((ring.active(now)?.id.clone(), algorithm))
    });
    active.collect()
}

/// Whoever watches our health learns what has become of the device.
async fn follow_device(shared: &Shared) {
    let mut states = shared.keyring.device().states();
    let mut told = State::Up;
    loop {
        let state = *states.borrow_and_update();
        if state != told {
            shared.serving(state == State::Up).await;
            told = state;
        }
        if states.changed().await.is_err() {
            // It never changes.
            return std::future::pending().await;
        }
    }
}

async fn follow_certificates(shared: &Shared) {
    loop {
        tokio::time::sleep(CERTIFICATES).await;
        match shared.certificates.as_ref().map(Certificates::reload) {
            Some(Ok(true)) => tracing::info!("certificates were read again"),
            Some(Err(error)) => {
                tracing::warn!(reason = %error, "renewed certificates cannot be used; the old ones stay");
            }
            Some(Ok(false)) | None => {}
        }
    }
}
