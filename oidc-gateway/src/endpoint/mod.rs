//! One file for each URL, named as in the discovery document. Each reads: authenticate, parse, decide, answer.

pub(crate) mod authorization;
pub(crate) mod consent;
pub(crate) mod discovery;
pub(crate) mod end_session;
pub(crate) mod health;
pub(crate) mod introspection;
pub(crate) mod jwks;
pub(crate) mod login;
pub(crate) mod revocation;
pub(crate) mod token;
pub(crate) mod userinfo;
