//! The gateway's own TLS: 1.3, and 1.2 with ephemeral keys and AES-GCM alone (RFC 9325 §4.2). Certificates are read
//! again when their files change; connections that are open keep what they began with.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde::Deserialize;

/// `listen.tls`: the files, in PEM.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Files {
    /// The certificate, then what it needs to be believed.
    pub certificate_file: PathBuf,
    /// Its key: PKCS#8, PKCS#1 or SEC1.
    pub key_file: PathBuf,
}

/// Files that cannot be used; says which, and why.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", file.display())]
pub struct Unusable {
    file: PathBuf,
    reason: String,
}

/// What new connections are offered.
#[derive(Debug)]
pub(crate) struct Certificates {
    files: Files,
    offered: ArcSwap<ServerConfig>,
}

impl Certificates {
    /// Reads the files.
    pub(crate) fn load(files: &Files) -> Result<Certificates, Unusable> {
        Ok(Certificates {
            files: files.clone(),
            offered: ArcSwap::from(read(files)?),
        })
    }

    /// For a new connection.
    pub(crate) fn offered(&self) -> Arc<ServerConfig> {
        self.offered.load_full()
    }

    /// Reads the files again. Those that cannot be used are logged, and the old ones stay.
    pub(crate) fn reload(&self) {
        match read(&self.files) {
            Ok(config) => {
                self.offered.store(config);
                tracing::info!("the TLS certificate was read again");
            }
            Err(error) => tracing::error!(%error, "the new TLS certificate cannot be used"),
        }
    }

    /// When the younger of the files was written.
    pub(crate) fn changed_at(&self) -> Option<SystemTime> {
        let changed = |file: &Path| file.metadata().and_then(|about| about.modified()).ok();
        changed(&self.files.certificate_file).max(changed(&self.files.key_file))
    }
}

fn read(files: &Files) -> Result<Arc<ServerConfig>, Unusable> {
    let unusable = |file: &Path, reason: String| Unusable {
        file: file.to_owned(),
        reason,
    };
    let chain: Vec<_> = CertificateDer::pem_file_iter(&files.certificate_file)
        .and_then(Iterator::collect)
        .map_err(|error| unusable(&files.certificate_file, error.to_string()))?;
    if chain.is_empty() {
        return Err(unusable(
            &files.certificate_file,
            "holds no certificate".to_owned(),
        ));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key_file).map_err(|error| {
        let reason = match error {
            pem::Error::NoItemsFound => "holds no private key".to_owned(),
            other => other.to_string(),
        };
        unusable(&files.key_file, reason)
    })?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(cryptography()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(|error| unusable(&files.certificate_file, error.to_string()))?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| {
            let reason = match error {
                rustls::Error::InconsistentKeys(_) => {
                    format!("is not the key of {}", files.certificate_file.display())
                }
                other => other.to_string(),
            };
            unusable(&files.key_file, reason)
        })?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

fn cryptography() -> CryptoProvider {
    use aws_lc_rs::cipher_suite::{
        TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
        TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256, TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
        TLS13_AES_128_GCM_SHA256, TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
    };
    CryptoProvider {
        cipher_suites: vec![
            TLS13_AES_256_GCM_SHA384,
            TLS13_AES_128_GCM_SHA256,
            TLS13_CHACHA20_POLY1305_SHA256,
            TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
            TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256,
            TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
        ],
        ..aws_lc_rs::default_provider()
    }
}
