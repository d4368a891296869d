//! Who watches the published keys, and which epoch each now serves: so that rotation can know who publishes the next key
//! (replicas of a gateway share a certificate, so each process names its instance).

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use proto::v1::{PublicJwksResponse, WatchPublicJwksRequest};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::Shared;
use super::connection::ended;
use super::publication::public_jwks;

/// The most instances that are remembered at a time.
const INSTANCES: usize = 1024;
/// The longest name of an instance, in octets.
const LONGEST_NAME: usize = 128;

/// Instances that are connected, and the epoch each serves.
#[derive(Debug, Default)]
pub(crate) struct Watchers(Mutex<HashMap<String, String>>);

impl Watchers {
    fn acknowledge(&self, message: WatchPublicJwksRequest) {
        let mut instances = self.lock();
        let known = instances.contains_key(&message.instance_id);
        if known || instances.len() < INSTANCES {
            instances.insert(message.instance_id, message.serving_epoch);
        }
    }

    fn forget(&self, instance: &str) {
        self.lock().remove(instance);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers at once with what is published, and again on every change, until the caller or the connection ends.
pub(super) fn watch(
    shared: Arc<Shared>,
    requests: Streaming<WatchPublicJwksRequest>,
) -> ReceiverStream<Result<PublicJwksResponse, Status>> {
    let (answers, stream) = mpsc::channel(2);
    tokio::spawn(async move {
        let mut instance = String::new();
        let age = shared.limits.connection_age;
        tokio::select! {
            () = ended(shared.stop.clone(), age) => {}
            () = push(&shared, answers) => {}
            () = acknowledgements(&shared, requests, &mut instance) => {}
        }
        shared.watchers.forget(&instance);
    });
    ReceiverStream::new(stream)
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
    mut requests: Streaming<WatchPublicJwksRequest>,
    instance: &mut String,
) {
    while let Ok(Some(message)) = requests.message().await {
        let names_another = !instance.is_empty() && message.instance_id != *instance;
        if message.instance_id.len() > LONGEST_NAME
            || message.serving_epoch.len() > LONGEST_NAME
            || names_another
        {
            return;
        }
        instance.clone_from(&message.instance_id);
        shared.watchers.acknowledge(message);
    }
    // Who has nothing more to say still listens.
    std::future::pending::<()>().await;
}
