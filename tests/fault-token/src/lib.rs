//! A PKCS#11 module (PKCS #11 Specification 3.1) that stands before a real one and fails as a test tells it: it returns
//! an error, delays, hangs, loses handles or the login, or flips a bit of what it puts out; and it counts calls.
//!
//! `module` is what is loaded, and the one file of this workspace that may be unsafe; `state` decides what happens to a
//! call; `fault` is the language of the tests and `control` their side.

mod control;
mod fault;
mod module;
mod state;

pub use control::{Control, module};
pub use fault::Malformed;

/// The environment variable that names the folder of a [`Control`], for the process that opens the module.
pub const ENVIRONMENT: &str = "SIGNET_FAULT_TOKEN";

/// In the folder: the path of the real module.
const MODULE: &str = "module";
/// In the folder: the faults, as text.
const FAULTS: &str = "faults";
/// In the folder: the version of the faults, then for each function how often it was called and how often it met a
/// fault; 64 bits each, least significant octet first.
const COUNTS: &str = "counts";

/// Where in the file of counts a function's are.
fn place(function: usize) -> u64 {
    8 + 16 * function as u64
}
