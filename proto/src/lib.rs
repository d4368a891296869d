//! Messages and stubs of `keyservice.v1`. What the two processes share is this contract and nothing else.

/// The contract between `oidc-gateway` and `key-service`, version 1.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::unwrap_used,
    clippy::needless_pass_by_value
)]
pub mod v1 {
    include!("generated/keyservice.v1.rs");
}
