//! The signals by which a launcher is asked to end everything: SIGTERM, Ctrl-C, a closed terminal.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Listens from the moment that it is made.
#[derive(Debug)]
pub struct Asked {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Asked {
    /// From here on these signals do not end the launcher by themselves.
    ///
    /// # Errors
    /// When the handlers cannot be set.
    pub fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    /// Resolves when one of them came.
    pub async fn to_end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
            _ = self.hang_up.recv() => {}
        }
    }
}
