//! The OpenID Provider, seen from outside: one binary, one file per behaviour.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod assertion;
mod authorization;
mod authorization_code;
mod browser;
mod client;
mod client_authentication;
mod confusion;
mod consent;
mod discovery;
mod faults;
mod introspection;
mod lifetimes;
mod login;
mod logout;
mod outage;
mod page;
mod params;
mod person;
mod races;
mod redirect_uri;
mod refresh_token;
mod registration;
mod revocation;
mod rotation;
mod secrets;
mod site;
mod stack;
mod store;
mod surface;
mod tls;
mod token;
mod userinfo;
mod verified;
mod web;
