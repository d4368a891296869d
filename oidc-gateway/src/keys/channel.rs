//! How the key-service is reached: TLS 1.3 with certificates on both sides, or a Unix socket whose peer the kernel
//! vouches for. Certificates are read again when their files change.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::Uri;
use http::uri::Scheme;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde::Deserialize;

use super::connection::{Address, Connection};

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

/// A connection that is made when it is first needed, and again after it broke.
pub(super) fn open(settings: &Settings) -> Result<Connection, Unusable> {
    let (address, tls) = endpoint(settings)?;
    Ok(Connection::new(address, tls, settings.timeout))
}

type Endpoint = (Address, Option<Arc<rustls::ClientConfig>>);

fn endpoint(settings: &Settings) -> Result<Endpoint, Unusable> {
    if let Some(path) = settings.endpoint.strip_prefix("unix:") {
        return Ok((Address::Unix(path.into()), None));
    }
    let unusable = |why: &str| Unusable(format!("endpoint: `{}` {why}", settings.endpoint));
    let not_understood = || unusable("is not understood: https://host:port or unix:/path");
    let uri: Uri = settings.endpoint.parse().map_err(|_| not_understood())?;
    if uri.scheme() != Some(&Scheme::HTTPS) {
        return Err(unusable(
            "must begin with https:// (or unix:/): the key-service wants to know who calls",
        ));
    }
    let authority = uri.authority().ok_or_else(not_understood)?.clone();
    let host = authority.host().trim_matches(['[', ']']);
    let name = settings.server_name.as_deref().unwrap_or(host).to_owned();
    let name = ServerName::try_from(name)
        .map_err(|_| Unusable("server_name: neither a DNS name nor an address".to_owned()))?;
    Ok((Address::Tls(authority, name), Some(tls(settings)?)))
}

fn tls(settings: &Settings) -> Result<Arc<rustls::ClientConfig>, Unusable> {
    let read = |name: &str, path: &Option<PathBuf>| -> Result<Vec<u8>, Unusable> {
        let path = path
            .as_ref()
            .ok_or_else(|| Unusable(format!("{name} is missing")))?;
        std::fs::read(path)
            .map_err(|error| Unusable(format!("{name}: {}: {error}", path.display())))
    };
    let certificates = |name: &str, path: &Option<PathBuf>| {
        let certificates: Result<Vec<_>, _> =
            CertificateDer::pem_slice_iter(&read(name, path)?).collect();
        match certificates {
            Ok(certificates) if !certificates.is_empty() => Ok(certificates),
            _ => Err(Unusable(format!("{name} holds no certificate"))),
        }
    };
    let mut roots = rustls::RootCertStore::empty();
    for certificate in certificates("ca_file", &settings.ca_file)? {
        roots
            .add(certificate)
            .map_err(|error| Unusable(format!("ca_file: {error}")))?;
    }
    let chain = certificates("certificate_file", &settings.certificate_file)?;
    let key = PrivateKeyDer::from_pem_slice(&read("key_file", &settings.key_file)?)
        .map_err(|_| Unusable("key_file holds no private key".to_owned()))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .and_then(|builder| {
            builder
                .with_root_certificates(roots)
                .with_client_auth_cert(chain, key)
        })
        .map_err(|error| Unusable(format!("certificate_file, key_file: {error}")))?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

/// Every ten seconds: where a file has changed, the next call connects with what it holds now. Ends when nobody holds
/// the connection any more.
pub(super) fn reload_on_change(settings: Settings, connection: &Connection) {
    let connection = connection.downgrade();
    let mut seen = changed_at(&settings);
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(10)).await;
            let Some(connection) = connection.upgrade() else {
                return;
            };
            let now = changed_at(&settings);
            if now == seen {
                continue;
            }
            match endpoint(&settings) {
                Ok((_, tls)) => {
                    connection.renew(tls);
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
