//! A certificate authority for development and tests (RFC 5280): keys are ECDSA P-256, and nothing outlives a year.
//!
//! The services name each other by URI SANs, so a leaf is above all a list of names and what it may be used for.

mod folder;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};

pub use folder::{GATEWAY, KEY_SERVICE, OPERATOR, ensure};

/// How long a CA lasts, in days.
const AUTHORITY_DAYS: i64 = 365;
/// How long a leaf lasts when it does not say, in days.
const LEAF_DAYS: i64 = 90;
/// `not_before` lies this far back, so that a machine whose clock is behind accepts a new certificate.
const CLOCK_SKEW: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Why a certificate could not be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A name cannot stand in a certificate, or a key or certificate could not be made or parsed.
    #[error("certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
}

/// What a leaf certificate says. All names are SANs; the common name is for people only.
#[derive(Clone, Copy, Debug, Default)]
pub struct Leaf<'a> {
    /// Subject common name.
    pub common_name: &'a str,
    /// URI SANs, in order.
    pub uris: &'a [&'a str],
    /// DNS SANs, in order.
    pub dns: &'a [&'a str],
    /// IP address SANs, in order.
    pub ips: &'a [IpAddr],
    /// May be used by a TLS server.
    pub server: bool,
    /// May be used by a TLS client.
    pub client: bool,
    /// Days from now until it expires; 90 when absent. A negative number makes an expired certificate, for tests.
    pub days: Option<i64>,
}

/// A leaf certificate and its private key.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate, PEM.
    pub certificate_pem: String,
    /// The private key, PKCS#8 PEM.
    pub key_pem: String,
}

/// A CA: it can sign leaves, never another CA.
#[derive(Debug)]
pub struct Authority {
    certificate_pem: String,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a new CA in memory.
    ///
    /// # Errors
    /// When `name` cannot stand in a certificate.
    pub fn new(name: &str) -> Result<Self, Error> {
        let key = KeyPair::generate()?;
        let key_pem = key.serialize_pem();
        let mut params = named(name, AUTHORITY_DAYS);
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = params.self_signed(&key)?.pem();
        let issuer = Issuer::new(params, key);
        Ok(Self {
            certificate_pem,
            key_pem,
            issuer,
        })
    }

    /// Reads `ca.pem` and `ca.key` from `folder`.
    ///
    /// # Errors
    /// When a file is missing or is not what its name says.
    pub fn load(folder: &Path) -> Result<Self, Error> {
        let certificate_pem = folder::read(&folder.join("ca.pem"))?;
        let key_pem = folder::read(&folder.join("ca.key"))?;
        let issuer = Issuer::from_ca_cert_pem(&certificate_pem, KeyPair::from_pem(&key_pem)?)?;
        Ok(Self {
            certificate_pem,
            key_pem,
            issuer,
        })
    }

    /// The CA's own certificate, PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The CA's private key, PKCS#8 PEM.
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Makes a key and signs a certificate for it.
    ///
    /// # Errors
    /// When a name of `leaf` cannot stand in a certificate.
    pub fn issue(&self, leaf: &Leaf<'_>) -> Result<Issued, Error> {
        let mut params = named(leaf.common_name, leaf.days.unwrap_or(LEAF_DAYS));
        params.subject_alt_names = subject_alternative_names(leaf)?;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        if leaf.server {
            params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ServerAuth);
        }
        if leaf.client {
            params.insert_extended_key_usage(ExtendedKeyUsagePurpose::ClientAuth);
        }
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(Issued {
            certificate_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
        })
    }
}

fn named(common_name: &str, days: i64) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params
        .distinguished_name
        .push(DnType::CommonName, common_name);
    #[expect(
        clippy::disallowed_methods,
        reason = "a certificate is made for the time that it is"
    )]
    let now = SystemTime::now();
    let length = DAY * u32::try_from(days.unsigned_abs()).unwrap_or(u32::MAX);
    let (from, until) = if days < 0 {
        (now - length - DAY, now - length)
    } else {
        (now - CLOCK_SKEW, now + length)
    };
    params.not_before = from.into();
    params.not_after = until.into();
    params
}

fn subject_alternative_names(leaf: &Leaf<'_>) -> Result<Vec<SanType>, rcgen::Error> {
    let mut names = Vec::new();
    for uri in leaf.uris {
        names.push(SanType::URI((*uri).try_into()?));
    }
    for name in leaf.dns {
        names.push(SanType::DnsName((*name).try_into()?));
    }
    names.extend(leaf.ips.iter().copied().map(SanType::IpAddress));
    Ok(names)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use x509_parser::extensions::GeneralName;

    #[test]
    fn a_leaf_says_what_was_asked_for() {
        let authority = Authority::new("test CA").unwrap();
        let issued = authority
            .issue(&Leaf {
                common_name: "signer",
                uris: &["spiffe://signet/key-service"],
                dns: &["localhost"],
                ips: &[IpAddr::from([127, 0, 0, 1])],
                server: true,
                ..Leaf::default()
            })
            .unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(issued.certificate_pem.as_bytes()).unwrap();
        let certificate = pem.parse_x509().unwrap();
        assert!(certificate.validity().is_valid());
        assert!(!certificate.is_ca());
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        assert_eq!(
            names.value.general_names,
            [
                GeneralName::URI("spiffe://signet/key-service"),
                GeneralName::DNSName("localhost"),
                GeneralName::IPAddress(&[127, 0, 0, 1]),
            ]
        );
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && !usage.client_auth);
    }

    #[test]
    fn negative_days_make_an_expired_leaf() {
        let authority = Authority::new("test CA").unwrap();
        let issued = authority
            .issue(&Leaf {
                common_name: "late",
                client: true,
                days: Some(-1),
                ..Leaf::default()
            })
            .unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(issued.certificate_pem.as_bytes()).unwrap();
        assert!(!pem.parse_x509().unwrap().validity().is_valid());
    }
}
