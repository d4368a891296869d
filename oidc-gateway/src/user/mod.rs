//! Users: who can sign in, and what may be told about them.

pub(crate) mod claims;
pub mod custom;
pub mod directory;
pub mod label;
pub(crate) mod subject;

use serde_json::{Map, Value};

pub use directory::{Directory, Entry};

use crate::password::PasswordHash;

/// A person who can sign in. What clients may learn is in `claims`.
#[derive(Debug, Clone)]
pub struct User {
    /// `sub`: never given to anybody else, never changed (OpenID Connect Core §2).
    pub subject: String,
    /// What the person types.
    pub username: String,
    /// What the person's password is compared with.
    pub password_hash: PasswordHash,
    /// Standard claims by their names (OpenID Connect Core §5.1), and others that the configuration adds.
    pub claims: Map<String, Value>,
    /// Addresses and numbers by the person's own labels.
    pub labels: label::Labels,
    /// Neither can sign in nor be given tokens for.
    pub disabled: bool,
}
