//! From a certificate to a [`Caller`] (RFC 5280 §4.2.1.6): exactly one SAN of the configured kind, compared octet by
//! octet. Neither the common name nor a part of a name nor a wildcard ever counts.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;

use crate::config::{self, ByRing, Identity, Service, ring_matches};
use crate::error::Error;
use crate::keyring::restriction::Restriction;

use super::rate::Rate;

/// The most operations that one request can have: those of a Rewrap.
const OPERATIONS: usize = 64;

/// Somebody who may call, and what.
#[derive(Debug)]
pub struct Caller {
    /// Its place in the configuration.
    number: usize,
    name: String,
    services: Vec<Service>,
    rings: Vec<String>,
    may_import: bool,
    restrictions: ByRing,
    rate: Option<Rate>,
}

impl Caller {
    /// For logs.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it may call the service.
    #[must_use]
    pub fn may_call(&self, service: Service) -> bool {
        self.services.contains(&service)
    }

    /// Whether it may use the ring.
    #[must_use]
    pub fn may_use(&self, ring: &str) -> bool {
        self.rings.iter().any(|pattern| ring_matches(pattern, ring))
    }

    /// Whether it may import others' public keys.
    pub(super) fn may_import(&self) -> bool {
        self.may_import
    }

    /// What tells it from other callers.
    pub(super) fn number(&self) -> usize {
        self.number
    }

    /// The `[[policy.rules]]` for what it has signed in the ring.
    pub(super) fn restrictions(&self, ring: &str) -> &[Arc<Restriction>] {
        self.restrictions.get(ring).map_or(&[], Vec::as_slice)
    }

    /// Those for what it has signed by secrets that others share with us.
    pub(super) fn restrictions_of_secrets(&self, alg: &str) -> &[Arc<Restriction>] {
        config::ring_of_secrets(alg).map_or(&[], |ring| self.restrictions(ring))
    }

    /// Counts operations with keys of ours against its rate. A request without any is refused, and costs its record.
    pub(super) fn spend(&self, operations: usize, at: Instant) -> Result<(), Error> {
        let Some(rate) = self.rate.as_ref().filter(|_| operations > 0) else {
            return Ok(());
        };
        // More of them are refused anyway, and cost no more.
        let operations = operations.min(OPERATIONS) as u64;
        rate.take(operations, at).map_err(Error::TooOften)
    }
}

/// Everybody who may call.
#[derive(Debug)]
pub struct Callers {
    identity: Identity,
    by_san: HashMap<String, Arc<Caller>>,
    by_uid: HashMap<u32, Arc<Caller>>,
}

impl Callers {
    /// The configured callers, each with its own of `[[policy.rules]]`.
    #[must_use]
    pub fn new(settings: &config::Callers, restrictions: Vec<ByRing>) -> Callers {
        let mut callers = Callers {
            identity: settings.identity,
            by_san: HashMap::new(),
            by_uid: HashMap::new(),
        };
        let begun = Instant::now();
        for (number, (allow, restrictions)) in settings.allow.iter().zip(restrictions).enumerate() {
            let caller = Arc::new(Caller {
                number,
                name: allow.name.clone(),
                services: allow.services.clone(),
                rings: allow.rings.clone(),
                may_import: allow.imports,
                restrictions,
                rate: allow.rate.map(|rate| Rate::new(rate, allow.burst(), begun)),
            });
            if let Some(san) = &allow.san {
                callers.by_san.insert(san.clone(), Arc::clone(&caller));
            }
            if let Some(uid) = allow.uid {
                callers.by_uid.insert(uid, caller);
            }
        }
        callers
    }

    /// Who the holder of this certificate is. The certificate was verified already.
    #[must_use]
    pub fn by_certificate(&self, certificate: &CertificateDer<'_>) -> Option<Arc<Caller>> {
        let certificate = EndEntityCert::try_from(certificate).ok()?;
        let san = match self.identity {
            Identity::Uri => only(certificate.valid_uri_names()),
            Identity::Dns => only(certificate.valid_dns_names()),
        };
        self.by_san.get(san?).cloned()
    }

    /// Who the user at the other end of the Unix socket is.
    #[must_use]
    pub fn by_uid(&self, uid: u32) -> Option<Arc<Caller>> {
        self.by_uid.get(&uid).cloned()
    }
}

fn only<'a>(mut names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let name = names.next()?;
    names.next().is_none().then_some(name)
}
