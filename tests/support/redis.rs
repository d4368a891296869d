//! A Redis of one's own: on a Unix socket in a temporary folder, without persistence, gone with the value.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

/// How long a start may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A running redis-server.
#[derive(Debug)]
pub struct Redis {
    folder: tempfile::TempDir,
    arguments: Vec<String>,
    server: Option<Child>,
}

impl Redis {
    /// Starts one.
    ///
    /// # Errors
    /// When redis-server is not installed or does not answer.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_with(&[])
    }

    /// Starts one with more command-line arguments (`--tls-port`, `--user` …). It must still answer `PING` on its
    /// socket, be it with an error.
    ///
    /// # Errors
    /// When redis-server is not installed or does not answer.
    pub fn start_with(arguments: &[&str]) -> anyhow::Result<Self> {
        let mut redis = Self {
            folder: tempfile::tempdir()?,
            arguments: arguments
                .iter()
                .map(|&argument| argument.to_owned())
                .collect(),
            server: None,
        };
        redis.start_again()?;
        Ok(redis)
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    /// Kills it, and with it all that it held.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut server) = self.server.take() {
            server.kill()?;
            server.wait()?;
        }
        Ok(())
    }

    /// Starts it after `kill`, at the same place.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        ensure!(self.server.is_none(), "redis-server is running");
        let server = Command::new("redis-server")
            .args([
                "--port",
                "0",
                "--save",
                "",
                "--appendonly",
                "no",
                "--daemonize",
                "no",
            ])
            .args(["--maxmemory-policy", "noeviction"])
            .arg("--unixsocket")
            .arg(self.socket())
            .arg("--dir")
            .arg(self.folder.path())
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .context("redis-server cannot be started: is it installed?")?;
        self.server = Some(server);
        let until = Instant::now() + PATIENCE;
        while self.command("PING").is_err() {
            if Instant::now() > until {
                bail!("redis-server does not answer");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    /// The process id, for tests that stop it for a while.
    pub fn id(&self) -> Option<u32> {
        self.server.as_ref().map(Child::id)
    }

    /// Sends one command of simple words and gives the answer as it comes, without its line end.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn command(&self, words: &str) -> anyhow::Result<String> {
        let mut stream = UnixStream::connect(self.socket())?;
        stream.set_read_timeout(Some(PATIENCE))?;
        writeln!(stream, "{words}\r")?;
        let mut answer = [0; 4096];
        let length = stream.read(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer[..length])
            .trim_end()
            .to_owned())
    }

    /// Its folder, for files that the arguments name.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("redis.sock")
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Nothing can be done about a failure here.
        let _ = self.kill();
    }
}
