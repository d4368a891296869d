//! Mutually authenticated TLS (RFC 8446 §4.3.2, RFC 9325): the service's certificate, whose callers it trusts, and their
//! renewal while it runs.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject as _};
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, ServerConfig, WebPkiClientVerifier};
use rustls::{CipherSuite, RootCertStore};

use crate::config::{Tls, TlsVersion};
use crate::permissions::{Refused, check_secret, open_unchangeable};

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read, or is not PEM of the right kind.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// Others can read the private key, or change it, the authorities or the revocation list.
    #[error(transparent)]
    Loose(#[from] Refused),
    /// A file holds no private key.
    #[error("{}: no private key in it", .0.display())]
    NoKey(PathBuf),
    /// The two files do not belong together.
    #[error("{}: is not the key of {}", key.display(), certificate.display())]
    Mismatch {
        /// `key_file`.
        key: PathBuf,
        /// `certificate_file`.
        certificate: PathBuf,
    },
    /// A file holds no certificate.
    #[error("{}: no certificate in it", .0.display())]
    Empty(PathBuf),
    /// A certificate or its key is not supported.
    #[error("{}: {source}", path.display())]
    Rejected {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The authorities or the revocation list cannot be used.
    #[error("{}: {source}", path.display())]
    Verifier {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::server::VerifierBuilderError,
    },
}

/// The server's side of TLS, replaced whole when a file changes.
#[derive(Debug)]
pub struct Certificates {
    settings: Tls,
    current: ArcSwap<ServerConfig>,
    stamps: ArcSwap<Vec<Option<(SystemTime, u64)>>>,
}

impl Certificates {
    /// Reads all files.
    ///
    /// # Errors
    /// The file that cannot be used, and why.
    pub fn load(settings: &Tls) -> Result<Certificates, Error> {
        let stamps = stamps(settings);
        check_files(settings)?;
        let current = server_config(settings)?;
        Ok(Certificates {
            settings: settings.clone(),
            current: ArcSwap::new(current),
            stamps: ArcSwap::from_pointee(stamps),
        })
    }

    /// For the next handshake.
    #[must_use]
    pub fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// Reads the files again if one has changed. Files that do not fit together, as they are while somebody replaces
    /// them, change nothing; they are looked at again. Answers whether the certificates were replaced.
    ///
    /// # Errors
    /// The file that cannot be used, and why.
    pub fn reload(&self) -> Result<bool, Error> {
        let stamps = stamps(&self.settings);
        if **self.stamps.load() == stamps {
            return Ok(false);
        }
        let renewed = server_config(&self.settings)?;
        // Not refused as at the start: without it there would soon be no certificate that is valid.
        if let Err(refused) = check_files(&self.settings) {
            tracing::error!(reason = %refused, "a renewed file is not kept well");
        }
        self.current.store(renewed);
        self.stamps.store(Arc::new(stamps));
        Ok(true)
    }
}

/// Nobody else reads the private key, or says whom this service believes.
fn check_files(settings: &Tls) -> Result<(), Refused> {
    check_secret(&settings.key_file)?;
    for path in [Some(&settings.client_ca_file), settings.crl_file.as_ref()]
        .into_iter()
        .flatten()
    {
        // What cannot be read is told where it is read.
        match open_unchangeable(path) {
            Ok(_) | Err(Refused::Unreadable { .. }) => {}
            Err(loose) => return Err(loose),
        }
    }
    Ok(())
}

fn stamps(settings: &Tls) -> Vec<Option<(SystemTime, u64)>> {
    let files = [
        Some(&settings.certificate_file),
        Some(&settings.key_file),
        Some(&settings.client_ca_file),
        settings.crl_file.as_ref(),
    ];
    let stamp = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len()))
    };
    files.into_iter().flatten().map(stamp).collect()
}

fn server_config(settings: &Tls) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(provider());
    let mut roots = RootCertStore::empty();
    for root in certificates(&settings.client_ca_file)? {
        roots.add(root).map_err(|source| Error::Rejected {
            path: settings.client_ca_file.clone(),
            source,
        })?;
    }
    let mut verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    if let Some(path) = &settings.crl_file {
        let lists: Result<Vec<_>, _> =
            CertificateRevocationListDer::pem_file_iter(path).and_then(Iterator::collect);
        verifier = verifier.with_crls(lists.map_err(file(path))?);
    }
    let verifier = verifier.build().map_err(|source| Error::Verifier {
        path: settings.client_ca_file.clone(),
        source,
    })?;

    let versions: &[&rustls::SupportedProtocolVersion] = match settings.minimum_version {
        TlsVersion::Tls13 => &[&rustls::version::TLS13],
        TlsVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
    };
    let rejected = |source| match source {
        rustls::Error::InconsistentKeys(_) => Error::Mismatch {
            key: settings.key_file.clone(),
            certificate: settings.certificate_file.clone(),
        },
        source => Error::Rejected {
            path: settings.certificate_file.clone(),
            source,
        },
    };
    let key = PrivateKeyDer::from_pem_file(&settings.key_file).map_err(|error| match error {
        pem::Error::NoItemsFound => Error::NoKey(settings.key_file.clone()),
        other => file(&settings.key_file)(other),
    })?;
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(rejected)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&settings.certificate_file)?, key)
        .map_err(rejected)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    // Every connection shows its certificate anew: a resumed one would bring an identity from before its renewal.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Of TLS 1.2, AES-GCM with ephemeral keys alone (RFC 9325 §4.2); all of TLS 1.3.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|suite| {
        !matches!(
            suite.suite(),
            CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256
        )
    });
    provider
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let found = found.map_err(file(path))?;
    if found.is_empty() {
        return Err(Error::Empty(path.to_owned()));
    }
    Ok(found)
}

fn file(path: &Path) -> impl Fn(pem::Error) -> Error + '_ {
    |source| Error::File {
        path: path.to_owned(),
        source,
    }
}
