//! MACs of ours (RFC 2104): what one is for decides which ring makes it, and is part of what it covers, so that no MAC
//! can stand for one of another purpose.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::key::Key;
use super::policy::Rule;
use super::{Keyring, Ring};
use crate::algorithm::{self, RingAlgorithm};
use crate::error::Error;

/// The longest input, in octets.
const LONGEST_INPUT: usize = 4096;

/// What a MAC is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacPurpose {
    /// OpenID Connect Core §8.1: what a sector knows a person by.
    PairwiseSubject,
    /// An opaque token of the caller's.
    OpaqueToken,
}

impl MacPurpose {
    /// What the MAC covers before its input. A NUL ends it, so no purpose is the beginning of another.
    fn label(self) -> &'static [u8] {
        match self {
            MacPurpose::PairwiseSubject => b"pairwise_subject\0",
            MacPurpose::OpaqueToken => b"opaque_token\0",
        }
    }

    /// The purpose of the ring that makes it.
    fn ring(self) -> &'static str {
        match self {
            MacPurpose::PairwiseSubject => algorithm::PAIRWISE_SUBJECT,
            MacPurpose::OpaqueToken => algorithm::MAC,
        }
    }
}

/// Proof that a ring's key may compute this.
#[derive(Debug)]
pub struct MacPermit {
    key: Arc<Key>,
    input: Bytes,
}

impl Keyring {
    /// Decides whether the ring's key may compute a MAC for this purpose.
    ///
    /// # Errors
    /// The rule that forbids it; an input that is empty or too long; or there is no key that may be used.
    pub fn permit_mac(
        &self,
        ring: &Ring,
        purpose: MacPurpose,
        input: &[u8],
    ) -> Result<MacPermit, Error> {
        if ring.name().algorithm() != RingAlgorithm::Mac || ring.name().purpose() != purpose.ring()
        {
            return Err(Rule::Purpose.into());
        }
        if input.is_empty() || input.len() > LONGEST_INPUT {
            return Err(Error::Malformed("input is from 1 to 4096 octets"));
        }
        let key = ring.active(self.clock().now()).ok_or(Error::NoActiveKey)?;
        Ok(MacPermit {
            key: Arc::clone(key),
            input: [purpose.label(), input].concat().into(),
        })
    }

    /// Computes what was permitted: 32 octets.
    ///
    /// # Errors
    /// When the device does not do it before the deadline.
    pub async fn mac(
        &self,
        permit: MacPermit,
        deadline: Option<Instant>,
    ) -> Result<Vec<u8>, Error> {
        let MacPermit { key, input } = permit;
        Ok(self.device().mac(&key.id, input, deadline).await?)
    }
}
