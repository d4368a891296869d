//! The connection to the key-service: TLS 1.3 with certificates on both sides, or a Unix socket whose peer the kernel
//! vouches for. Certificates are read again when their files change.

use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::Deserialize;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity, Uri};

/// `[keys]`: where the key-service is, and how each knows the other.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `https://host:port`, or `unix:/path/of/the.sock`.
    pub endpoint: String,
    /// The DNS name in the key-service's certificate. Default: the endpoint's host.
    pub server_name: Option<String>,
    /// Who issued the key-service's certificate (PEM). Needed for https.
    pub ca_file: Option<PathBuf>,
    /// Our certificate and what it needs to be believed (PEM). Needed for https.
    pub certificate_file: Option<PathBuf>,
    /// Its key (PEM, PKCS#8). Needed for https.
    pub key_file: Option<PathBuf>,
    /// How long a call may take. Default: 2 s.
    #[serde(default = "two_seconds", with = "crate::duration")]
    pub timeout: Duration,
}

fn two_seconds() -> Duration {
    Duration::from_secs(2)
}

impl Settings {
    /// Makes paths relative to the folder of the configuration file absolute.
    pub fn resolve_paths(&mut self, base: &Path) {
        for path in [
            &mut self.ca_file,
            &mut self.certificate_file,
            &mut self.key_file,
        ]
        .into_iter()
        .flatten()
        {
            *path = base.join(&*path);
        }
        if let Some(socket) = self.endpoint.strip_prefix("unix:") {
            self.endpoint = format!("unix:{}", base.join(socket).display());
        }
    }

    /// Whether everything is there and can be read: for `check-config`, before anything binds.
    pub fn check(&self) -> Result<(), Unusable> {
        endpoint(self).map(drop)
    }
}

/// Settings of `[keys]` that cannot work; says which and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Unusable(String);

/// A channel that connects when it is first needed and again after it broke.
pub(super) fn open(settings: &Settings) -> Result<Channel, Unusable> {
    let endpoint = endpoint(settings)?;
    Ok(match settings.endpoint.strip_prefix("unix:") {
        None => endpoint.connect_lazy(),
        Some(path) => {
            let path = PathBuf::from(path);
            endpoint.connect_with_connector_lazy(tower::service_fn(move |_: Uri| {
                let path = path.clone();
                async move {
                    tokio::net::UnixStream::connect(path)
                        .await
                        .map(TokioIo::new)
                }
            }))
        }
    })
}

fn endpoint(settings: &Settings) -> Result<Endpoint, Unusable> {
    let unix = settings.endpoint.starts_with("unix:");
    let uri = if unix {
        "http://key-service"
    } else {
        settings.endpoint.as_str()
    };
    let unusable = |why: &str| Unusable(format!("endpoint: `{}` {why}", settings.endpoint));
    let endpoint = Endpoint::from_shared(uri.to_owned())
        .map_err(|_| unusable("is not understood: https://host:port or unix:/path"))?
        .tcp_nodelay(true)
        .connect_timeout(settings.timeout)
        // A peer that vanished without a word is noticed.
        .http2_keep_alive_interval(Duration::from_secs(10))
        .keep_alive_timeout(Duration::from_secs(5))
        .keep_alive_while_idle(true);
    if unix {
        return Ok(endpoint);
    }
    if !uri.starts_with("https://") {
        return Err(unusable(
            "must begin with https:// (or unix:/): the key-service wants to know who calls",
        ));
    }
    let read = |name: &str, path: &Option<PathBuf>| -> Result<Vec<u8>, Unusable> {
        let path = path
            .as_ref()
            .ok_or_else(|| Unusable(format!("{name} is missing")))?;
        std::fs::read(path)
            .map_err(|error| Unusable(format!("{name}: {}: {error}", path.display())))
    };
    let authority = read("ca_file", &settings.ca_file)?;
    if !matches!(
        CertificateDer::pem_slice_iter(&authority).next(),
        Some(Ok(_))
    ) {
        return Err(Unusable("ca_file holds no certificate".to_owned()));
    }
    let mut tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(authority))
        .identity(Identity::from_pem(
            read("certificate_file", &settings.certificate_file)?,
            read("key_file", &settings.key_file)?,
        ));
    if let Some(name) = &settings.server_name {
        tls = tls.domain_name(name);
    }
    endpoint.tls_config(tls).map_err(|error| {
        // The error itself says "transport error"; its source, what does not go together.
        let reason = error
            .source()
            .map_or_else(|| error.to_string(), ToString::to_string);
        Unusable(format!("certificate_file, key_file: {reason}"))
    })
}

/// Every ten seconds: where a file is newer than the channel, opens a new one. Calls under way end on the old one.
/// Ends when nobody holds the channel any more.
pub(super) fn reload_on_change(settings: Settings, channel: &Arc<ArcSwap<Channel>>) {
    let channel: Weak<ArcSwap<Channel>> = Arc::downgrade(channel);
    let mut seen = changed_at(&settings);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(10)).await;
            let Some(channel) = channel.upgrade() else {
                return;
            };
            let now = changed_at(&settings);
            if now == seen {
                continue;
            }
            match open(&settings) {
                Ok(fresh) => {
                    channel.store(Arc::new(fresh));
                    seen = now;
                    tracing::info!("certificates for the key-service were read again");
                }
                Err(error) => {
                    tracing::warn!(%error, "certificates for the key-service changed and cannot be used");
                }
            }
        }
    });
}

fn changed_at(settings: &Settings) -> [Option<SystemTime>; 3] {
    [
        &settings.ca_file,
        &settings.certificate_file,
        &settings.key_file,
    ]
    .map(|path| {
        let metadata = std::fs::metadata(path.as_ref()?).ok()?;
        metadata.modified().ok()
    })
}
