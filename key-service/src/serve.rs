//! The process: opens the keys, binds the sockets, and gives each core a runtime of its own. One `current_thread` runtime
//! per core costs less than one that steals work, for a request never changes threads.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;
use tonic_health::server::HealthReporter;

use crate::audit::{self, Log};
use crate::backend::{self, Device};
use crate::caretaker::take_care;
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::error::Error;
use crate::keyring::{Keyring, Weak, jwk_set, refuse_weak};
use crate::metrics::{self, Metrics, Page, Readiness};
use crate::service::peer::Callers;
use crate::service::{Once, Shared, Watchers, connection};
use crate::tls::{self, Certificates};

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot be used.
    #[error(transparent)]
    Configuration(#[from] config::Invalid),
    /// A ring's algorithm is not among what the device computes.
    #[error("[[rings]] {ring}: {backend} cannot do this; it can do {can}{gaps}")]
    Algorithm {
        /// The ring.
        ring: String,
        /// The device.
        backend: String,
        /// Its algorithms.
        can: String,
        /// What it cannot do, and why.
        gaps: String,
    },
    /// The keys' home cannot be used.
    #[error("[backend] {0}")]
    Backend(#[from] backend::Error),
    /// The keys a ring begins with were not made.
    #[error("keys: {0}")]
    Keys(#[from] Error),
    /// A key is not kept as ours are.
    #[error(transparent)]
    Weak(#[from] Weak),
    /// The audit log cannot be gone on with.
    #[error("[audit] {0}")]
    Audit(#[from] audit::OpenError),
    /// Certificates cannot be used.
    #[error("[tls] {0}")]
    Tls(#[from] tls::Error),
    /// An address cannot be bound.
    #[error("{what} {address}: {source}")]
    Bind {
        /// Which setting.
        what: &'static str,
        /// Its value.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A thread or a runtime was not made.
    #[error("{0}")]
    System(#[from] std::io::Error),
}

/// The service, before it runs.
#[derive(Debug)]
pub struct Service;

/// The service while it runs. Dropping it stops it.
#[derive(Debug)]
pub struct Running {
    tcp: Option<SocketAddr>,
    metrics: Option<SocketAddr>,
    unix: Option<PathBuf>,
    keyring: Arc<Keyring>,
    audit: Option<Arc<Log>>,
    shared: Arc<Shared>,
    ready: Arc<Readiness>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

struct Sockets {
    tcp: Option<TcpListener>,
    unix: Option<UnixListener>,
    metrics: Option<TcpListener>,
}

impl Service {
    /// Opens the keys, binds the sockets and serves. Blocks until requests are answered.
    ///
    /// # Errors
    /// What is wrong, with the remedy; nothing runs then.
    pub fn start(config: &Config) -> Result<Running, StartError> {
        Service::start_at(config, Clock::system())
    }

    /// The same, by another clock.
    ///
    /// # Errors
    /// As [`Service::start`].
    pub fn start_at(config: &Config, clock: Clock) -> Result<Running, StartError> {
        let certificates = match (&config.tls, config.listen.tcp) {
            (Some(tls), Some(_)) => Some(Certificates::load(tls)?),
            _ => None,
        };
        let keyring = Arc::new(open_keys(config.clone(), clock)?);
        let sockets = bind(config)?;
        let audit = open_audit(config, &keyring)?.map(Arc::new);
        if audit.is_none() {
            tracing::warn!("no [audit]: nobody can tell afterwards what was signed");
        }
        let ready = Arc::new(Readiness::default());
        let (stop, stopping) = watch::channel(false);
        let rings = config.rings.iter().map(|ring| ring.name.clone());
        let metrics = Arc::new(Metrics::new(rings, keyring.device().facts().kind));
        let shared = Arc::new(Shared {
            keyring: Arc::clone(&keyring),
            callers: Callers::new(&config.callers, config.restrictions()?),
            certificates,
            limits: config.listen.clone(),
            once: Arc::new(Once::new(
                config.policy.once_lives(),
                config.policy.once_size,
                metrics.once_forgotten.clone(),
            )),
            metrics,
            audit: audit.clone(),
            health: HealthReporter::new(),
            watchers: Watchers::default(),
            max_age: seconds(config.lifecycle.jwks_max_age),
            refresh_after: seconds(config.lifecycle.gateway_refresh),
            connections: Arc::new(tokio::sync::Semaphore::new(config.listen.connections)),
            stop: stopping,
        });

        let mut running = Running {
            tcp: local_address(sockets.tcp.as_ref())?,
            metrics: local_address(sockets.metrics.as_ref())?,
            unix: sockets
                .unix
                .is_some()
                .then(|| config.listen.unix.clone())
                .flatten(),
            keyring,
            audit,
            shared: Arc::clone(&shared),
            ready: Arc::clone(&ready),
            stop,
            threads: Vec::new(),
        };
        let cores = thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let workers = if config.workers == 0 {
            cores
        } else {
            config.workers
        };
        for worker in 0..workers {
            let tcp = sockets
                .tcp
                .as_ref()
                .map(TcpListener::try_clone)
                .transpose()?;
            let unix = sockets
                .unix
                .as_ref()
                .map(UnixListener::try_clone)
                .transpose()?;
            let shared = Arc::clone(&shared);
            running.spawn(format!("worker-{worker}"), move |runtime| {
                runtime.block_on(work(tcp, unix, shared));
            })?;
        }
        let page = Arc::new(Page {
            metrics: Arc::clone(&shared.metrics),
            keyring: Arc::clone(&shared.keyring),
            audit: shared.audit.clone(),
            ready: Arc::clone(&ready),
        });
        // Before anybody follows the device, which may have failed already.
        running.serving(true);
        let reload = config.lifecycle.reload;
        running.spawn("caretaker".to_owned(), move |runtime| {
            runtime.block_on(take_care(&shared, sockets.metrics, page, reload));
        })?;
        for gap in &running.keyring.device().facts().gaps {
            tracing::warn!(gap = %gap, "the device cannot do this");
        }
        Ok(running)
    }

    /// Opens the keys, makes those that a ring begins with, and ends: the JWK Set of what a service with them would
    /// publish, of one ring or of all.
    ///
    /// # Errors
    /// As [`Service::start`].
    pub fn make_keys(config: &Config, ring: Option<&str>) -> Result<Bytes, StartError> {
        let keyring = open_keys(config.clone(), Clock::system())?;
        let snapshot = keyring.snapshot_full();
        let published = snapshot.published().keys.iter();
        let wanted = published.filter(|(of, _)| ring.is_none_or(|ring| of.to_string() == ring));
        Ok(jwk_set(wanted.map(|(_, key)| key)))
    }
}

impl Running {
    /// The TCP address, with the port that was taken.
    #[must_use]
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        self.tcp
    }

    /// The address of metrics and probes.
    #[must_use]
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics
    }

    /// The keys.
    #[must_use]
    pub fn keyring(&self) -> &Arc<Keyring> {
        &self.keyring
    }

    /// Waits until a call into the keys' module does not end: then this process has to, for no thread can be stopped.
    pub async fn hung(&self) {
        let mut states = self.keyring.device().states();
        let hung = states.wait_for(|state| *state == backend::State::Hung);
        if hung.await.is_err() {
            // It never changes.
            std::future::pending::<()>().await;
        }
    }

    /// Says that no more requests are wanted, waits for those under way, and ends. Blocks.
    pub fn shutdown(mut self) {
        self.end();
    }

    fn end(&mut self) {
        self.serving(false);
        self.stop.send_replace(true);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread ended by a panic");
            }
        }
        // The last word, when nothing comes any more.
        if let Some(log) = self.audit.take()
            && let Some(Err(error)) = wait_for(async move { log.checkpoint().await })
        {
            tracing::warn!(reason = %error, "no checkpoint of the audit log at the end");
        }
        if let Some(path) = self.unix.take() {
            // A new process removes it too, if it is still there.
            let _ = std::fs::remove_file(path);
        }
    }

    fn serving(&self, serving: bool) {
        self.ready.set(serving);
        let shared = Arc::clone(&self.shared);
        // Its lock is held for moments only, so this thread may wait for it.
        wait_for(async move { shared.serving(serving).await });
    }

    fn spawn(
        &mut self,
        name: String,
        run: impl FnOnce(&Runtime) + Send + 'static,
    ) -> Result<(), std::io::Error> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let thread = thread::Builder::new()
            .name(name)
            .spawn(move || run(&runtime))?;
        self.threads.push(thread);
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

/// On a thread of its own: the caller's may belong to a runtime already.
fn wait_for<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Option<T> {
    let runtime = Builder::new_current_thread().enable_all().build().ok()?;
    thread::spawn(move || runtime.block_on(future)).join().ok()
}

fn open_keys(config: Config, clock: Clock) -> Result<Keyring, StartError> {
    let settings = config.keyring()?;
    let opened = wait_for(async move {
        let device = Device::open(&config.backend)?;
        let facts = device.facts();
        for ring in &settings.rings {
            if !facts.algorithms.contains(&ring.name.algorithm()) {
                let can: Vec<_> = facts.algorithms.iter().map(|alg| alg.as_str()).collect();
                let gaps: String = facts.gaps.iter().map(|gap| format!("; {gap}")).collect();
                return Err(StartError::Algorithm {
                    ring: ring.name.to_string(),
                    backend: facts.location.clone(),
                    can: can.join(", "),
                    gaps,
                });
            }
        }
        tracing::info!(backend = facts.kind, location = %facts.location, "the keys' home is open");
        let listing = device.list().await?;
        refuse_weak(&listing, &settings, &facts.location, clock.now())?;
        Ok(Keyring::open(device, clock, settings).await?)
    });
    opened.unwrap_or_else(|| Err(std::io::Error::other("opening the keys ended by a panic").into()))
}

fn open_audit(config: &Config, keyring: &Keyring) -> Result<Option<Log>, StartError> {
    let Some(settings) = config.audit.clone() else {
        return Ok(None);
    };
    let issuer = config.policy.issuer.clone();
    let (device, clock) = (keyring.device().clone(), keyring.clock().clone());
    let opened = wait_for(async move { Log::open(&settings, &issuer, &device, clock).await });
    let log = opened
        .unwrap_or_else(|| Err(std::io::Error::other("opening it ended by a panic").into()))?;
    Ok(Some(log))
}

fn bind(config: &Config) -> Result<Sockets, StartError> {
    let failed = |what, address: String| {
        move |source| StartError::Bind {
            what,
            address,
            source,
        }
    };
    let tcp = |what, address: Option<SocketAddr>| {
        let listener = address.map(metrics::bind).transpose();
        listener.map_err(failed(
            what,
            address
                .map(|address| address.to_string())
                .unwrap_or_default(),
        ))
    };
    let unix = config.listen.unix.as_deref().map(|path| {
        let mode = config.listen.unix_mode().unwrap_or(0o600);
        bind_unix(path, mode).map_err(failed("[listen] unix", path.display().to_string()))
    });
    Ok(Sockets {
        tcp: tcp("[listen] tcp", config.listen.tcp)?,
        unix: unix.transpose()?,
        metrics: tcp("[metrics] address", config.metrics.address)?,
    })
}

/// A socket file that nobody listens at is what a process that was killed left behind.
fn bind_unix(path: &Path, mode: u32) -> std::io::Result<UnixListener> {
    if path.exists() {
        if UnixStream::connect(path).is_ok() {
            return Err(std::io::Error::other("somebody listens there already"));
        }
        std::fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn local_address(listener: Option<&TcpListener>) -> std::io::Result<Option<SocketAddr>> {
    listener.map(TcpListener::local_addr).transpose()
}

async fn work(tcp: Option<TcpListener>, unix: Option<UnixListener>, shared: Arc<Shared>) {
    let tcp = tcp.and_then(|listener| tokio::net::TcpListener::from_std(listener).ok());
    let unix = unix.and_then(|listener| tokio::net::UnixListener::from_std(listener).ok());
    let serve_tcp = async {
        if let Some(listener) = tcp {
            connection::serve_tcp(listener, Arc::clone(&shared)).await;
        }
    };
    let serve_unix = async {
        if let Some(listener) = unix {
            connection::serve_unix(listener, Arc::clone(&shared)).await;
        }
    };
    tokio::join!(serve_tcp, serve_unix);
}

fn seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis().div_ceil(1000)).unwrap_or(u32::MAX)
}
