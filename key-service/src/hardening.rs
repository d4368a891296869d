//! What the process gives up before it touches a key: core dumps, the debugger, new privileges, files that others can
//! read, and root.

use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};

/// Why the process may not go on.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Root, and the configuration does not allow it.
    #[error("running as root: use an account of its own, or set `allow_root = true`")]
    Root,
    /// The kernel did not do what it was asked.
    #[error("{what}: {source}")]
    Kernel {
        /// What it was asked.
        what: &'static str,
        /// What it said.
        source: nix::Error,
    },
}

/// Hardens the process. To be called before any secret is read.
///
/// # Errors
/// Root without permission, or the kernel refuses.
pub fn harden(allow_root: bool) -> Result<(), Refused> {
    if nix::unistd::geteuid().is_root() && !allow_root {
        return Err(Refused::Root);
    }
    // What is meant for others (a socket) gets its mode by name.
    umask(Mode::S_IRWXG | Mode::S_IRWXO);
    let kernel = |what| move |source| Refused::Kernel { what, source };
    setrlimit(Resource::RLIMIT_CORE, 0, 0).map_err(kernel("forbidding core dumps"))?;
    // Also keeps other processes of the same user from reading our memory (ptrace(2)).
    prctl::set_dumpable(false).map_err(kernel("forbidding dumps"))?;
    prctl::set_no_new_privs().map_err(kernel("forbidding new privileges"))
}
