//! The whole product as processes on loopback: certificates, a token, Redis, the key-service, gateways.
//!
//! `bin/stack.rs` starts it for tools that measure, `bin/demo.rs` for people and for the browser test. Nothing
//! outlives the launcher: each child is tied to its life by the kernel.

mod asked;
mod clients;
mod held;
mod prepare;
mod process;
mod profile;
mod run_folder;
mod settings;
mod stack;
mod token;

pub use asked::Asked;
pub use clients::{Client, PASSWORD, User};
pub use held::obey;
pub use process::Process;
pub use settings::{Backend, Defaults, Refused, Settings, Store};
pub use stack::{Parts, Stack};

use std::io::Write as _;
use std::process::ExitCode;

/// EX_USAGE of sysexits.h, as the services answer a wrong configuration.
const USAGE: u8 = 64;

/// A launcher's `main`: runs `run` on this thread, and says on standard error why it failed.
pub fn main<F: Future<Output = anyhow::Result<()>>>(run: impl FnOnce() -> F) -> ExitCode {
    let outcome = process::become_child().and_then(|()| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(run())
    });
    let Err(error) = outcome else {
        return ExitCode::SUCCESS;
    };
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(std::io::stderr(), "{error:#}");
    if error.is::<Refused>() {
        ExitCode::from(USAGE)
    } else {
        ExitCode::FAILURE
    }
}
