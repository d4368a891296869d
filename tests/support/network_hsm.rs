//! A network HSM for tests: `p11-kit server` before SoftHSM's module. It can be killed, with all of its connections, and
//! started again; its client's module finds it by an environment variable.

use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::softhsm;

/// Tells the client's module where the HSM is.
pub const ADDRESS: &str = "P11_KIT_SERVER_ADDRESS";
/// How long it may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// The HSM. Killed when dropped.
#[derive(Debug)]
pub struct NetworkHsm {
    socket: PathBuf,
    server: Option<Child>,
}

impl NetworkHsm {
    /// Starts it, with a socket in this folder.
    ///
    /// # Panics
    /// When `p11-kit server` does not start.
    #[must_use]
    pub fn start(folder: &Path) -> NetworkHsm {
        let mut hsm = NetworkHsm {
            socket: folder.join("hsm"),
            server: None,
        };
        hsm.again();
        hsm
    }

    /// The value of [`ADDRESS`].
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix:path={}", self.socket.display())
    }

    /// Kills it, with everything that it serves.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn kill(&mut self) {
        let Some(mut server) = self.server.take() else {
            return;
        };
        let group = Pid::from_raw(i32::try_from(server.id()).expect("a process id"));
        // It has a process for each connection.
        killpg(group, Signal::SIGKILL).expect("the server can be killed");
        server.wait().expect("the server has ended");
        let _ = std::fs::remove_file(&self.socket);
    }

    /// Starts it again.
    ///
    /// # Panics
    /// When `p11-kit server` does not start.
    pub fn again(&mut self) {
        let server = Command::new("p11-kit")
            .args(["server", "--foreground", "--provider", softhsm::MODULE])
            .arg("--name")
            .arg(&self.socket)
            .arg("pkcs11:")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        self.server = Some(server.expect("p11-kit is installed (`make setup`)"));
        let until = Instant::now() + PATIENCE;
        while !answers(&self.socket) {
            assert!(Instant::now() < until, "p11-kit server does not start");
            sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for NetworkHsm {
    fn drop(&mut self) {
        self.kill();
    }
}

fn answers(socket: &Path) -> bool {
    UnixStream::connect(socket).is_ok()
}

/// The module that speaks to it, of Debian's package p11-kit-modules.
///
/// # Panics
/// When it is not installed.
#[must_use]
pub fn client_module() -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").expect("/usr/lib");
    let mut places = folders
        .filter_map(Result::ok)
        .map(|folder| folder.path())
        .chain([PathBuf::from("/usr/lib")])
        .map(|folder| folder.join("pkcs11/p11-kit-client.so"));
    places
        .find(|place| place.exists())
        .expect("p11-kit-client.so is installed (`make setup`)")
}
