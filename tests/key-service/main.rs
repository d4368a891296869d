//! The key-service, seen from outside: one binary, one file per behaviour.
#![allow(clippy::unwrap_used)]

mod callers;
mod contract;
mod foreign;
mod policy;
mod rotation;
mod running;
mod sign;
mod surface;
mod token;
mod wrap;
