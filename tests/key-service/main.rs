//! The key-service, seen from outside: one binary, one file per behaviour.
#![allow(clippy::unwrap_used)]

mod audit;
mod callers;
mod contract;
mod copies;
mod decrypt;
mod device_faults;
mod doctor;
mod foreign;
mod gate;
mod hardening;
mod import;
mod lifecycle;
mod mac;
mod migration;
mod module_calls;
mod nested;
mod once;
mod policy;
mod process;
mod rate;
mod recovery;
mod replicas;
mod rewrap;
mod rotation;
mod rules;
mod running;
mod seal;
mod shared_secret;
mod sign;
mod slow_device;
mod stolen_certificate;
mod surface;
mod token;
mod visibility;
mod wrap;
