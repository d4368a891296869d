//! The OpenID Provider: stateless, without a key. See ARCHITECTURE.md for the map.
#![forbid(unsafe_code)]

// Surface.
mod endpoint;
mod page;
mod web;

// Domain.
pub mod authorization;
pub mod client;
mod grant;
mod login;
mod logout;
mod session;
mod token;
pub mod user;

// Ports.
pub mod fetch;
pub mod keys;
pub mod store;

// The process.
pub mod command;
pub mod config;
pub mod log;
mod metrics;
mod provider;
pub mod serve;
pub mod tls;

// Vocabulary.
pub mod clock;
pub mod duration;
pub mod error;
pub mod jose;
mod json;
mod params;
pub mod password;
mod pkce;
pub mod random;
pub mod scope;
pub mod secret;
