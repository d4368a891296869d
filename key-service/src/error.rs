//! Why a request was not carried out, with what an operator needs to know. What a caller is told stands in
//! `service/status.rs`.

use std::time::Duration;

use crate::backend;
use crate::keyring::claims;
use crate::keyring::policy::{Refusal, Rule};
use crate::{jwe, jwk, signature};

/// Why a request was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Unknown, or not for this caller: deliberately the same.
    #[error("no such key or ring, or not allowed")]
    NotAllowed,
    /// The claims firewall said no.
    #[error("refused by rule {0}")]
    Policy(#[from] Refusal),
    /// The claims are not one strict JSON object.
    #[error("claims: {0}")]
    Claims(#[from] claims::Invalid),
    /// The caller has used keys more often than its `rate`; it may again after this time.
    #[error("more often than the caller's rate")]
    TooOften(Duration),
    /// Another request is signing for this `once_key`.
    #[error("its once_key is being signed for")]
    BeingSigned,
    /// The request itself is wrong; the text is constant and may be told.
    #[error("{0}")]
    Malformed(&'static str),
    /// The life cycle of the ring does not allow it; the text is constant and begins with the rule's name.
    #[error("{0}")]
    Lifecycle(&'static str),
    /// A key that is to be destroyed has opened something of late. Seconds since 1970-01-01T00:00:00Z.
    #[error("destroy.opened: this service opened something with the key at {}, so something uses it; not before {}", time(*.at), time(*.until))]
    StillOpens {
        /// When last.
        at: i64,
        /// From when on it was long enough ago.
        until: i64,
    },
    /// A part of the contract that this version does not have.
    #[error("not built yet: {0}")]
    NotBuilt(&'static str),
    /// There is no record of it in the audit log, so it has not happened.
    #[error("the audit log cannot be written")]
    NotAudited,
    /// No audit log is kept.
    #[error("no audit log is kept")]
    NoAuditLog,
    /// The ring has no key that may sign now.
    #[error("the ring has no key that may be used now")]
    NoActiveKey,
    /// Nothing decrypted, whatever the reason was.
    #[error("decryption failed")]
    Undecryptable,
    /// A signature did not verify, or what it covers may not be accepted.
    #[error("not verified: {0}")]
    NotVerified(#[from] signature::Invalid),
    /// A public key of somebody else cannot be used.
    #[error("key: {0}")]
    Key(#[from] jwk::Invalid),
    /// The keys' home did not do it.
    #[error(transparent)]
    Backend(#[from] backend::Error),
}

impl Error {
    /// The name of the rule that was broken, where it has one.
    #[must_use]
    pub fn rule(&self) -> &'static str {
        match self {
            Error::Policy(refusal) => refusal.rule().as_str(),
            Error::TooOften(_) => "rate",
            Error::Claims(claims::Invalid::TooLong) => Rule::Size.as_str(),
            Error::Lifecycle(rule) => rule.split(':').next().unwrap_or(rule),
            Error::StillOpens { .. } => "destroy.opened",
            _ => "",
        }
    }
}

impl From<Rule> for Error {
    fn from(rule: Rule) -> Self {
        Error::Policy(rule.into())
    }
}

/// RFC 3339.
fn time(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |it| it.to_string())
}

impl From<jwe::Error> for Error {
    fn from(error: jwe::Error) -> Self {
        match error {
            jwe::Error::Undecryptable => Error::Undecryptable,
            jwe::Error::Backend(error) => error.into(),
            jwe::Error::Unsupported => Error::Malformed("algorithm not supported"),
        }
    }
}
