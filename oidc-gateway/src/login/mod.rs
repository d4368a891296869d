//! Signing in, step by step. A step gives evidence; a session is made of evidence alone.

pub(crate) mod password;
pub(crate) mod throttle;

use std::sync::Arc;

use crate::user::User;

/// Somebody who has just shown to be this user.
#[derive(Debug, Clone)]
pub(crate) struct Authenticated {
    pub(crate) user: Arc<User>,
    /// What that amounts to (OpenID Connect Core §2).
    pub(crate) acr: &'static str,
    /// How, in the words of RFC 8176 §2.
    pub(crate) amr: &'static [&'static str],
    /// Seconds since 1970.
    pub(crate) auth_time: i64,
}
