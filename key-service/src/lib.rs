//! The key-service: the only process that may ask the keys to compute (NIST SP 800-57 part 2, §2.3: a key owner).
//!
//! `service` is the gRPC surface and decides nothing, `keyring` decides which key may do what, `backend` is where key
//! material lives. The house rule: a caller names a purpose and hands over claims; it never names a key.
#![forbid(unsafe_code)]

pub mod admin;
pub mod algorithm;
pub mod audit;
pub mod backend;
mod caretaker;
pub mod clock;
pub mod config;
pub mod doctor;
pub mod error;
pub mod hardening;
pub mod jwe;
pub mod jwk;
pub mod keyring;
pub mod log;
pub mod metrics;
pub mod permissions;
pub mod serve;
pub mod service;
pub mod signature;
pub mod tls;
