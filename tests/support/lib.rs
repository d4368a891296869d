//! What the tests and the development tools share: processes, a token, a store, a relying party.

pub mod http;
pub mod kryoptic;
pub mod launch;
pub mod network_hsm;
mod own_process;
pub mod redis;
pub mod relying_party;
pub mod softhsm;
