//! The gateway as a whole: threads with a current-thread runtime each, which share a listener and little else.

use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::{Semaphore, watch};

use crate::authorization::budget::Budget;
use crate::client::registration::{self, Gate};
use crate::client::{self, Clients};
use crate::clock::Clock;
use crate::config::Config;
use crate::fetch::{self, Fetch};
use crate::keys::{self, Directory};
use crate::login::throttle::Throttle;
use crate::logout::back_channel;
use crate::metrics::Metrics;
use crate::password::Passwords;
use crate::provider::{Provider, Shared};
use crate::random::Random;
use crate::store::settings::{Invalid, Location};
use crate::tls::{self, Certificates};
use crate::user;
use crate::web::body;
use crate::web::client_address::TrustedProxies;
use crate::web::cors::Cors;
use crate::web::observability;
use crate::web::request::RequestIds;
use crate::web::router::{Endpoint, Site, Worker};
use crate::web::server::{self, Limits};

/// How often the files of the certificate are looked at.
const CERTIFICATE_CHECK: Duration = Duration::from_secs(5);

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Somebody else has it, or we may not.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// No thread, no runtime.
    #[error("cannot start a worker: {0}")]
    Worker(#[from] std::io::Error),
    /// The operating system has no generator.
    #[error("no random numbers: {0}")]
    Random(#[from] getrandom::Error),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] tls::Unusable),
    /// `[store]` cannot be used.
    #[error("[store] {0}")]
    Store(#[from] Invalid),
    /// `[keys]` cannot be used.
    #[error("[keys] {0}")]
    Keys(#[from] keys::Unusable),
    /// A client's metadata does not go together.
    #[error(transparent)]
    Client(#[from] client::Invalid),
    /// `[fetch]` cannot be used.
    #[error("[fetch] {0}")]
    Fetch(#[from] fetch::Unusable),
    /// `[registration]` cannot be used.
    #[error("[registration] {0}")]
    Registration(#[from] registration::Unusable),
    /// The users do not go together.
    #[error(transparent)]
    User(#[from] user::directory::Invalid),
}

/// A gateway that serves, until `shutdown`. When this is dropped instead, it ends the same way, and nobody waits.
#[derive(Debug)]
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// Where its metrics are, if they are anywhere.
    pub metrics_address: Option<SocketAddr>,
    certificates: Option<Arc<Certificates>>,
    stop: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts a gateway on threads of its own, in this process. When this returns, the listener accepts; whether requests
/// succeed yet, `/health/ready` knows.
///
/// # Errors
/// A port that is taken; or what `Config::load` would have refused.
pub fn start(mut config: Config, clock: Clock) -> Result<Running, Error> {
    // A second installation in one process changes nothing.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let certificates = match &config.listen.tls {
        Some(files) => Some(Arc::new(Certificates::load(files)?)),
        None => None,
    };
    let location = config.store.locate(&config.base)?;
    let random = Random::new()?;
    let metrics = Metrics::new(&Endpoint::ALL.map(Endpoint::name), location.errors());
    // With them go secrets that were written down in clear: what is left of those is in `clients`.
    let clients = Clients::parse(std::mem::take(&mut config.clients))?;
    let config = Arc::new(config);
    let shared = Shared {
        clients: Arc::new(clients),
        client_jwks: Arc::new(client::jwks::Cache::new(config.client_jwks.clone())),
        registration: Arc::new(Gate::open(&config.registration)?),
        fetch: Arc::new(Fetch::new(&config.fetch)?),
        users: Arc::new(user::directory::Directory::of(config.users.clone())?),
        passwords: Arc::new(Passwords::new(&random)),
        throttle: Arc::new(match config.login.throttle {
            true => Throttle::on(),
            false => Throttle::Off,
        }),
        decryptions: Arc::new(Budget::new(config.authorization.encrypted_request_objects)),
        directory: Arc::new(Directory::new(random.token128())),
        documents: Arc::new(ArcSwapOption::empty()),
        config: config.clone(),
        clock,
        random,
        metrics,
        back_channel: back_channel::Bell::default(),
    };
    let (listener, address) = bind(config.listen.address)?;
    let metrics_listener = match &config.metrics {
        Some(metrics) => Some(bind(metrics.address)?),
        None => None,
    };
    let metrics_address = metrics_listener.as_ref().map(|(_, address)| *address);
    let mut once = Some(Once {
        metrics: metrics_listener.map(|(listener, _)| listener),
    });
    let (stop, stopped) = watch::channel(false);
    let connections = Arc::new(Semaphore::new(config.listen.limits.connections));
    let mut threads = Vec::new();
    for number in 0..workers(&config) {
        let start = Start {
            shared: shared.clone(),
            location: location.clone(),
            listener: listener.try_clone()?,
            certificates: certificates.clone(),
            connections: connections.clone(),
            stop: stopped.clone(),
            once: once.take(),
        };
        let (report, reported) = mpsc::channel();
        let thread = thread::Builder::new().name(format!("worker-{number}"));
        threads.push(thread.spawn(move || start.run(&report))?);
        match reported.recv() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(std::io::Error::other("a worker ended at once").into()),
        }
    }
    Ok(Running {
        address,
        metrics_address,
        certificates,
        stop,
        threads,
    })
}

impl Running {
    /// Reads the TLS certificate again, as it also happens when its files change.
    pub fn reload_certificate(&self) {
        if let Some(certificates) = &self.certificates {
            certificates.reload();
        }
    }

    /// Accepts nothing more, lets open requests end within `listen.limits.drain_timeout`, and waits for that.
    pub fn shutdown(self) {
        self.stop.send_replace(true);
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a worker had panicked");
            }
        }
    }
}

fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), Error> {
    let failed = |error| Error::Listen(address, error);
    let listener = TcpListener::bind(address).map_err(failed)?;
    listener.set_nonblocking(true).map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    Ok((listener, bound))
}

fn workers(config: &Config) -> usize {
    match config.workers {
        0 => thread::available_parallelism().map_or(1, usize::from),
        workers => workers,
    }
}

/// What a worker thread is started with.
struct Start {
    shared: Shared,
    location: Location,
    listener: TcpListener,
    certificates: Option<Arc<Certificates>>,
    connections: Arc<Semaphore>,
    stop: watch::Receiver<bool>,
    once: Option<Once>,
}

/// What one worker does for all of the process.
struct Once {
    metrics: Option<TcpListener>,
}

impl Start {
    fn run(self, report: &mpsc::Sender<Result<(), Error>>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => {
                // Nobody listens only if the start was given up.
                let _ = report.send(Err(error.into()));
                return;
            }
        };
        let context = runtime.enter();
        let prepared = self.prepare();
        drop(context);
        match prepared {
            Ok(serving) => {
                let _ = report.send(Ok(()));
                runtime.block_on(serving);
            }
            Err(error) => {
                let _ = report.send(Err(error));
            }
        }
        // A password hash that nobody waits for any more must not hold up the end.
        runtime.shutdown_background();
    }

    fn prepare(self) -> Result<impl Future<Output = ()>, Error> {
        let config = &self.shared.config;
        let limits = &config.listen.limits;
        let provider = Provider::assemble(&self.shared, self.location.connect())?;
        if let Some(once) = self.once {
            provider.keys.watch();
            tokio::spawn(back_channel::work(provider.clone()));
            tokio::spawn(client::secret_key::keep_sealed(provider.clone()));
            if let Some(listener) = once.metrics {
                let listener = tokio::net::TcpListener::from_std(listener)?;
                tokio::spawn(observability::serve(listener, self.shared.metrics.clone()));
            }
            if let Some(certificates) = self.certificates.clone() {
                tokio::spawn(reload_on_change(certificates));
            }
        }
        let random = &self.shared.random;
        let worker = Worker {
            site: Site::new(
                &config.issuer,
                TrustedProxies::new(config.listen.trusted_proxies.clone()),
                body::Limits {
                    size: limits.body_size,
                    time: limits.body_timeout,
                },
            ),
            request_ids: RequestIds::starting_at(
                u64::from_be_bytes(random.octets()),
                u64::from_be_bytes(random.octets()),
            ),
            metrics: self.shared.metrics.clone(),
            cors: Arc::new(Cors::of(&config.cors, &provider.clients)),
            provider,
        };
        let limits = Limits {
            connections: self.connections,
            handshake: limits.handshake_timeout,
            headers: limits.header_timeout,
            header_size: limits.header_size,
            drain: limits.drain_timeout,
        };
        let listener = tokio::net::TcpListener::from_std(self.listener)?;
        Ok(server::serve(
            listener,
            Arc::new(worker),
            self.certificates,
            limits,
            self.stop,
        ))
    }
}

async fn reload_on_change(certificates: Arc<Certificates>) {
    let mut seen = certificates.changed_at();
    loop {
        tokio::time::sleep(CERTIFICATE_CHECK).await;
        let now = certificates.changed_at();
        if now.is_some() && now != seen {
            seen = now;
            certificates.reload();
        }
    }
}
