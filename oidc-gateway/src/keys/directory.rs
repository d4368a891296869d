//! What the key-service publishes, as this process serves it: kept current by a stream that pushes every change, and
//! acknowledged, so that a rotation knows who publishes the next key.

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use proto::v1;
use proto::v1::key_service_client::KeyServiceClient;
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;

use super::connection::{Connection, Unowned};

/// Shared by all workers of a process.
#[derive(Debug)]
pub(crate) struct Directory {
    /// Tells this process from others that share its certificate.
    instance_id: String,
    published: ArcSwapOption<Published>,
    /// Of the capabilities: whoever keeps what was sealed waits for another.
    seal_kids: watch::Sender<Vec<String>>,
}

/// One state of the published keys.
#[derive(Debug)]
pub(crate) struct Published {
    /// JWK Set as JSON.
    pub(crate) jwks: Bytes,
    pub(crate) epoch: String,
    /// For Cache-Control, in seconds.
    pub(crate) max_age: u32,
    pub(crate) capabilities: v1::Capabilities,
}

impl Published {
    /// Whether a ring signs.
    pub(crate) fn signs(&self, purpose: &str, algorithm: &str) -> bool {
        let mut rings = self.capabilities.sign_rings.iter();
        rings.any(|ring| ring.split_once('/') == Some((purpose, algorithm)))
    }
}

impl Directory {
    pub(crate) fn new(instance_id: String) -> Directory {
        Directory {
            instance_id,
            published: ArcSwapOption::empty(),
            seal_kids: watch::Sender::new(Vec::new()),
        }
    }

    pub(super) fn published(&self) -> Option<Arc<Published>> {
        self.published.load_full()
    }

    pub(super) fn seal_kids(&self) -> watch::Receiver<Vec<String>> {
        self.seal_kids.subscribe()
    }

    fn store(&self, message: v1::PublicJwksResponse) {
        let capabilities = message.capabilities.unwrap_or_default();
        let seal_kids = capabilities.seal_kids.clone();
        self.published.store(Some(Arc::new(Published {
            jwks: message.jwks,
            epoch: message.epoch,
            max_age: message.max_age,
            capabilities,
        })));
        self.seal_kids.send_if_modified(|known| {
            let are_others = *known != seal_kids;
            *known = seal_kids;
            are_others
        });
    }
}

/// Follows the key-service for as long as somebody holds the connection. What is known is served on while it is away:
/// relying parties must be able to verify what was signed before.
pub(super) async fn watch(connection: Unowned, directory: Arc<Directory>, endpoint: Arc<str>) {
    const SHORTEST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(3);
    let mut pause = SHORTEST;
    loop {
        let Some(current) = connection.upgrade() else {
            return;
        };
        match follow(current, &directory).await {
            // The key-service ends a stream when it drains, and connections when they are old.
            Ok(()) => pause = SHORTEST,
            Err(status) => {
                tracing::warn!(
                    endpoint = &*endpoint,
                    code = ?status.code(),
                    reason = root_cause(&status),
                    "the key-service does not tell its keys"
                );
                pause = (pause * 2).min(LONGEST);
            }
        }
        tokio::time::sleep(pause).await;
    }
}

/// Whether nobody listens there, or a certificate is not accepted, is said at the end of the chain.
fn root_cause(status: &tonic::Status) -> String {
    let mut cause = status.source();
    while let Some(source) = cause.and_then(Error::source) {
        cause = Some(source);
    }
    cause.map_or_else(|| status.message().to_owned(), ToString::to_string)
}

async fn follow(connection: Connection, directory: &Directory) -> Result<(), tonic::Status> {
    let (acknowledge, acknowledgements) = mpsc::channel(8);
    let hello = v1::WatchPublicJwksRequest {
        instance_id: directory.instance_id.clone(),
        serving_epoch: String::new(),
    };
    // There is room for eight.
    let _ = acknowledge.try_send(hello);
    let stream = KeyServiceClient::new(connection)
        .watch_public_jwks(ReceiverStream::new(acknowledgements))
        .await?;
    let mut stream = stream.into_inner();
    while let Some(message) = stream.message().await? {
        let epoch = message.epoch.clone();
        directory.store(message);
        tracing::info!(epoch, "serving the published keys");
        let serving = v1::WatchPublicJwksRequest {
            instance_id: directory.instance_id.clone(),
            serving_epoch: epoch,
        };
        if acknowledge.send(serving).await.is_err() {
            break;
        }
    }
    Ok(())
}
