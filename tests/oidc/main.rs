//! The OpenID Provider, seen from outside: one binary, one file per behaviour.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod browser;
mod store;
mod web;
