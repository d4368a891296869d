//! Who watches the published keys, and which epoch each now serves: so that rotation can know who publishes the next key
//! (replicas of a gateway share a certificate, so each process names its instance).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use proto::v1::{PublicJwksResponse, WatchPublicJwksRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::Shared;
use super::connection::ended;
use super::peer::Caller;
use super::publication::public_jwks;

/// The most instances that are remembered at a time.
const INSTANCES: usize = 1024;
/// The longest name of an instance, in octets.
const LONGEST_NAME: usize = 128;

/// Instances that are connected, and the epoch each serves.
#[derive(Debug, Default)]
pub(crate) struct Watchers {
    serving: Mutex<HashMap<Watcher, String>>,
    streams: AtomicU64,
}

/// One stream of one instance of a caller: nobody speaks for another's, nor a stream that ends for the one after it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Watcher {
    caller: String,
    instance: String,
    stream: u64,
}

/// What an instance of a caller serves.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Serving {
    pub(super) caller: String,
    pub(super) instance: String,
    /// Empty: it has not said.
    pub(super) epoch: String,
}

impl Watchers {
    fn join(&self, caller: &str, instance: String) -> Watcher {
        Watcher {
            caller: caller.to_owned(),
            instance,
            stream: self.streams.fetch_add(1, Ordering::Relaxed),
        }
    }

    fn acknowledge(&self, watcher: &Watcher, serving: String) {
        let mut instances = self.lock();
        if let Some(known) = instances.get_mut(watcher) {
            *known = serving;
        } else if instances.len() < INSTANCES {
            instances.insert(watcher.clone(), serving);
        }
    }

    fn leave(&self, watcher: &Watcher) {
        self.lock().remove(watcher);
    }

    /// The instances that are connected, with the epoch that each serves: its latest stream speaks for it.
    pub(super) fn serving(&self) -> Vec<Serving> {
        let mut latest: HashMap<(&str, &str), (u64, &str)> = HashMap::new();
        let instances = self.lock();
        for (watcher, epoch) in instances.iter() {
            let instance = (watcher.caller.as_str(), watcher.instance.as_str());
            let known = latest.entry(instance).or_insert((watcher.stream, epoch));
            if known.0 < watcher.stream {
                *known = (watcher.stream, epoch);
            }
        }
        let mut serving: Vec<Serving> = latest
            .into_iter()
            .map(|((caller, instance), (_, epoch))| Serving {
                caller: caller.to_owned(),
                instance: instance.to_owned(),
                epoch: epoch.to_owned(),
            })
            .collect();
        serving.sort_unstable();
        serving
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Watcher, String>> {
        self.serving.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers at once with what is published, and again on every change, until the caller or the connection, which began
/// `since`, ends.
pub(super) fn watch(
    shared: Arc<Shared>,
    caller: &Caller,
    since: Instant,
    requests: Streaming<WatchPublicJwksRequest>,
) -> ReceiverStream<Result<PublicJwksResponse, Status>> {
    let (answers, stream) = mpsc::channel(2);
    let caller = caller.name().to_owned();
    tokio::spawn(async move {
        let mut watcher = None;
        let age = shared.limits.connection_age.saturating_sub(since.elapsed());
        tokio::select! {
            () = ended(shared.stop.clone(), age) => {}
            () = push(&shared, answers) => {}
            () = acknowledgements(&shared, &caller, requests, &mut watcher) => {}
        }
        if let Some(watcher) = watcher {
            shared.watchers.leave(&watcher);
            tell_gate(&shared);
        }
    });
    ReceiverStream::new(stream)
}

fn tell_gate(shared: &Shared) {
    shared.keyring.gateways_serve(|| {
        let serving = shared.watchers.serving().into_iter();
        serving.map(|serving| serving.epoch).collect()
    });
}

async fn push(shared: &Shared, answers: mpsc::Sender<Result<PublicJwksResponse, Status>>) {
    let mut epoch = shared.keyring.watch();
    loop {
        epoch.mark_unchanged();
        let message = public_jwks(shared, &[], "");
        if answers.send(Ok(message)).await.is_err() {
            return;
        }
        tokio::select! {
            changed = epoch.changed() => if changed.is_err() { return },
            () = answers.closed() => return,
        }
    }
}

async fn acknowledgements(
    shared: &Shared,
    caller: &str,
    mut requests: Streaming<WatchPublicJwksRequest>,
    watcher: &mut Option<Watcher>,
) {
    while let Ok(Some(message)) = requests.message().await {
        let names_another = watcher
            .as_ref()
            .is_some_and(|watcher| watcher.instance != message.instance_id);
        if message.instance_id.len() > LONGEST_NAME
            || message.serving_epoch.len() > LONGEST_NAME
            || names_another
        {
            return;
        }
        let watchers = &shared.watchers;
        let watcher = watcher.get_or_insert_with(|| watchers.join(caller, message.instance_id));
        watchers.acknowledge(watcher, message.serving_epoch);
        tell_gate(shared);
    }
    // Who has nothing more to say still listens.
    std::future::pending::<()>().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_watcher_speaks_for_itself_alone() {
        let watchers = Watchers::default();
        let join = |caller, epoch: &str| {
            let watcher = watchers.join(caller, "one".to_owned());
            watchers.acknowledge(&watcher, epoch.to_owned());
            watcher
        };
        let (first, other) = (join("gateway", "a"), join("other", "b"));
        let again = join("gateway", "c");
        let serving = || {
            let mut epochs: Vec<String> = watchers.lock().values().cloned().collect();
            epochs.sort_unstable();
            epochs.concat()
        };
        assert_eq!(serving(), "abc");
        watchers.acknowledge(&other, "d".to_owned());
        assert_eq!(serving(), "acd");
        // The second stream of an instance speaks for it.
        let latest: String = watchers.serving().into_iter().map(|it| it.epoch).collect();
        assert_eq!(latest, "cd");
        watchers.leave(&first);
        assert_eq!(serving(), "cd");
        watchers.leave(&again);
        watchers.leave(&again);
        assert_eq!(serving(), "d");
        for _ in 0..2 * INSTANCES {
            join("flood", "x");
        }
        assert_eq!(watchers.lock().len(), INSTANCES);
    }
}
