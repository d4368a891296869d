//! A child process that cannot outlive the launcher.
//!
//! Between fork and exec only unsafe code may run, so the launcher starts itself as the child; that copy asks the
//! kernel for a signal at the parent's death (prctl(2), PR_SET_PDEATHSIG, which survives exec) and then becomes the
//! program.

use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::sys::prctl;
use nix::sys::signal::{self, Signal};
use nix::unistd::{Pid, getppid};

/// First argument of the launcher's copy of itself.
const AS_CHILD: &str = "--as-child-of";
/// How long a child may drain before it is killed; the gateway allows itself ten seconds.
const PATIENCE: Duration = Duration::from_secs(15);
/// How much of a log is read to tell why its process ended, in octets.
const TAIL: usize = 4096;

/// Turns this process into the program that its arguments name when it is the launcher's copy; else does nothing.
/// Must be the first call of a launcher's `main`.
///
/// # Errors
/// When this is the copy and the program cannot be run.
pub(super) fn become_child() -> anyhow::Result<()> {
    let mut arguments = env::args_os().skip(1);
    if arguments.next().as_deref() != Some(OsStr::new(AS_CHILD)) {
        return Ok(());
    }
    let parent = arguments.next().context("no parent named")?;
    let program = arguments.next().context("no program named")?;
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // The parent may have died before that call.
    ensure!(
        parent.to_str() == Some(&getppid().to_string()),
        "the launcher is gone"
    );
    let error = Command::new(&program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", program.display()))
}

/// A running child, its output in a file. Ended when dropped.
#[derive(Debug)]
pub struct Process {
    name: String,
    command: Command,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` in a process group of its own, so that a Ctrl-C in the terminal reaches the launcher alone.
    ///
    /// Must be called on the launcher's main thread: the kernel's signal follows the thread that forked.
    ///
    /// # Errors
    /// When there is no such program or the log cannot be written.
    pub fn start(name: &str, command: &Command, folder: &Path) -> anyhow::Result<Self> {
        let log = folder.join(format!("{name}.log"));
        let output =
            File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        // By this name it is found even when it was built anew meanwhile.
        let mut copy = Command::new("/proc/self/exe");
        copy.arg(AS_CHILD)
            .arg(std::process::id().to_string())
            .arg(command.get_program())
            .args(command.get_args());
        for (key, value) in command.get_envs() {
            match value {
                Some(value) => copy.env(key, value),
                None => copy.env_remove(key),
            };
        }
        let child = copy
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            command: copy,
            child,
            log,
        })
    }

    /// Starts the same command once more after waiting for its end; the log goes on. For tests of failures.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start_again(&mut self) -> anyhow::Result<()> {
        self.wait_or_kill();
        self.child =
            (self.command.spawn()).with_context(|| format!("cannot start {}", self.name))?;
        Ok(())
    }

    /// What it is called.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Fails with the last lines of its log when it has ended.
    ///
    /// # Errors
    /// As said.
    pub fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended ({status}):\n{}", self.name, self.last_lines());
        }
        Ok(())
    }

    /// The end of its log.
    #[must_use]
    pub fn last_lines(&self) -> String {
        let text = fs::read(&self.log).unwrap_or_default();
        let tail = &text[text.len().saturating_sub(TAIL)..];
        String::from_utf8_lossy(tail).trim_end().to_owned()
    }

    /// Asks it to end, and does not wait.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
    }

    /// Waits for its end, and kills it when it takes too long.
    pub fn wait_or_kill(&mut self) -> Option<ExitStatus> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            match self.child.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(10)),
                Ok(status) => return status,
                Err(_) => return None,
            }
        }
        self.signal(Signal::SIGKILL);
        self.child.wait().ok()
    }

    fn signal(&self, signal: Signal) {
        if let Ok(id) = i32::try_from(self.child.id()) {
            // It may have ended already; it has not been waited for, so the id is still its own.
            let _ = signal::kill(Pid::from_raw(id), signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.terminate();
            self.wait_or_kill();
        }
    }
}

/// Runs `command` to its end and returns what it wrote.
pub(super) fn run(command: &mut Command) -> anyhow::Result<String> {
    let program = command.get_program().display().to_string();
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    if !output.status.success() {
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        bail!("{program} failed ({}): {}", output.status, text.trim());
    }
    Ok(text)
}
