//! Ending a session on behalf of a client.

pub(crate) mod rp_initiated;
