//! The shape of the repository: the invariants of ARCHITECTURE.md, each as a test that names what breaks it.

mod crates;
mod documents;
mod features;
mod layers;
mod names;
mod sizes;
mod source;
