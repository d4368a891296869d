//! One multiplexed connection, kept up: made again with back-off, and given up when it no longer answers.
//!
//! A command is sent once. Whoever waits for its answer when the connection ends is told that the store is
//! unavailable, since the command may have been carried out. There is no timer per command: while commands wait, a
//! watch looks whether answers still come.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, RedisError, Value};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::script::Script;
use super::{Address, Target};
use crate::store::Unavailable;

// Redis is to be used again at most a second after it is back (safety.md, 8).
const FIRST_WAIT: Duration = Duration::from_millis(20);
const LONGEST_WAIT: Duration = Duration::from_millis(500);
// How many commands may be on their way to the connection's task; more wait for their turn.
const QUEUE: usize = 1024;

/// A connection that comes back.
pub(super) struct Link {
    shared: Arc<Shared>,
    keeper: JoinHandle<()>,
    beginning: [u8; 16],
    written: AtomicU64,
}

struct Shared {
    target: Arc<Target>,
    current: Mutex<Option<Connection>>,
    waiting: AtomicUsize,
    answered: AtomicU64,
    useless: Notify,
}

#[derive(Clone)]
struct Connection {
    multiplexed: MultiplexedConnection,
    digests: Arc<[String; Script::ALL.len()]>,
}

impl Link {
    /// Begins to connect, on the current runtime.
    pub(super) fn to(target: Arc<Target>) -> Link {
        let shared = Arc::new(Shared {
            target,
            current: Mutex::new(None),
            waiting: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            useless: Notify::new(),
        });
        let keeper = tokio::spawn(keep(Arc::clone(&shared)));
        // Random for each link, from the system: versions need to differ, not to be secret.
        let random = RandomState::new().build_hasher().finish();
        let mut beginning = [0; 16];
        beginning[..8].copy_from_slice(&random.to_be_bytes());
        Link {
            shared,
            keeper,
            beginning,
            written: AtomicU64::new(0),
        }
    }

    /// Sends one command.
    pub(super) async fn command(&self, command: &Cmd) -> Result<Value, Unavailable> {
        let mut connection = self.shared.connection()?;
        let waiting = Waiting::one(&self.shared);
        let answer = connection.multiplexed.send_packed_command(command).await;
        waiting.answered(answer)
    }

    /// Sends several commands as one transaction.
    pub(super) async fn transaction(&self, commands: &Pipeline) -> Result<(), Unavailable> {
        let mut connection = self.shared.connection()?;
        let waiting = Waiting::one(&self.shared);
        let answer = connection
            .multiplexed
            .send_packed_commands(commands, commands.len() + 1, 1)
            .await;
        waiting.answered(answer.map(Value::Array)).map(|_| ())
    }

    /// Tells one writing from every other: a random beginning and a count.
    pub(super) fn version(&self) -> [u8; 16] {
        let count = self.written.fetch_add(1, Ordering::Relaxed);
        let mut version = self.beginning;
        version[8..].copy_from_slice(&count.to_be_bytes());
        version
    }

    /// Sends two commands, one after the other, in one round trip.
    pub(super) async fn both(&self, first: Cmd, second: Cmd) -> Result<[Value; 2], Unavailable> {
        let mut connection = self.shared.connection()?;
        let waiting = Waiting::one(&self.shared);
        let mut both = Pipeline::with_capacity(2);
        both.add_command(first).add_command(second);
        let answers = connection
            .multiplexed
            .send_packed_commands(&both, 0, 2)
            .await;
        waiting.both_answered(answers)
    }

    /// Sends a command and runs a script, one after the other, in one round trip.
    pub(super) async fn command_then_script(
        &self,
        command: Cmd,
        script: Script,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<[Value; 2], Unavailable> {
        let mut connection = self.shared.connection()?;
        let waiting = Waiting::one(&self.shared);
        let mut call = Cmd::with_capacity(16, 1024);
        call.arg("EVALSHA")
            .arg(&connection.digests[script as usize]);
        arguments(&mut call);
        let mut both = Pipeline::with_capacity(2);
        both.add_command(command).add_command(call);
        let mut answers = connection
            .multiplexed
            .send_packed_commands(&both, 0, 2)
            .await;
        if let Ok([_, outcome]) = answers.as_deref_mut()
            && is_forgotten(outcome)
        {
            // As below: once more is safe.
            *outcome = self.script(script, arguments).await?;
        }
        waiting.both_answered(answers)
    }

    /// Runs a script. `arguments` appends the number of keys, the keys and the arguments.
    pub(super) async fn script(
        &self,
        script: Script,
        arguments: impl Fn(&mut Cmd),
    ) -> Result<Value, Unavailable> {
        let mut connection = self.shared.connection()?;
        let waiting = Waiting::one(&self.shared);
        let mut command = Cmd::with_capacity(16, 512);
        command
            .arg("EVALSHA")
            .arg(&connection.digests[script as usize]);
        arguments(&mut command);
        let mut answer = connection.multiplexed.send_packed_command(&command).await;
        // Redis forgets scripts when it is restarted or told to. It has then done nothing, so once more is safe.
        if answer.as_ref().is_ok_and(is_forgotten) {
            command.clear();
            command.arg("EVAL").arg(script.body());
            arguments(&mut command);
            answer = connection.multiplexed.send_packed_command(&command).await;
        }
        waiting.answered(answer)
    }
}

fn is_forgotten(answer: &Value) -> bool {
    matches!(answer, Value::ServerError(error) if error.code() == "NOSCRIPT")
}

impl Drop for Link {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

impl Shared {
    fn connection(&self) -> Result<Connection, Unavailable> {
        self.current
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
            .ok_or_else(|| self.unavailable(format!("no connection to {}", self.target.address)))
    }

    fn unavailable(&self, reason: String) -> Unavailable {
        self.target.errors.inc();
        Unavailable(reason)
    }

    fn publish(&self, connection: Option<Connection>) {
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = connection;
    }

    async fn connect(&self) -> Result<(Connection, Driver), RedisError> {
        let target = &*self.target;
        match &target.address {
            Address::Unix(path) => self.greet(UnixStream::connect(path).await?).await,
            Address::Tcp { host, port } => self.greet(tcp(host, *port).await?).await,
            Address::Tls { host, port, name } => {
                let config = target.tls.clone().ok_or_else(|| {
                    std::io::Error::new(std::io::ErrorKind::InvalidInput, "no TLS configuration")
                })?;
                let stream = tokio_rustls::TlsConnector::from(config)
                    .connect(name.clone(), tcp(host, *port).await?)
                    .await?;
                self.greet(stream).await
            }
        }
    }

    async fn greet<S>(&self, stream: S) -> Result<(Connection, Driver), RedisError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let target = &*self.target;
        let mut login = RedisConnectionInfo::default()
            .set_db(target.database)
            .set_skip_set_lib_name();
        if let Some(username) = &target.username {
            login = login.set_username(username);
        }
        if let Some(password) = &target.password {
            login = login.set_password(password.expose());
        }
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_pipeline_buffer_size(QUEUE);
        let (mut multiplexed, driver) =
            MultiplexedConnection::new_with_config(&login, stream, config).await?;
        let driver = Driver(tokio::spawn(driver));
        let mut digests: [String; Script::ALL.len()] = Default::default();
        for (script, digest) in Script::ALL.into_iter().zip(&mut digests) {
            let mut load = Cmd::new();
            load.arg("SCRIPT").arg("LOAD").arg(script.body());
            *digest = load.query_async(&mut multiplexed).await?;
        }
        warn_of_eviction(&mut multiplexed, target).await;
        let connection = Connection {
            multiplexed,
            digests: Arc::new(digests),
        };
        Ok((connection, driver))
    }

    // Ends when commands wait and for the whole timeout no answer comes, or when an answer told to give up.
    async fn watch(&self) {
        let timeout = self.target.timeout;
        let mut ticks = tokio::time::interval(timeout / 4);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut answered = self.answered.load(Ordering::Relaxed);
        let mut silent_since: Option<Instant> = None;
        loop {
            tokio::select! {
                () = self.useless.notified() => return,
                now = ticks.tick() => {
                    let answers = self.answered.load(Ordering::Relaxed);
                    if self.waiting.load(Ordering::Relaxed) == 0 || answers != answered {
                        answered = answers;
                        silent_since = None;
                        continue;
                    }
                    let since = *silent_since.get_or_insert(now.into_std());
                    if now.into_std().duration_since(since) >= timeout {
                        return;
                    }
                }
            }
        }
    }
}

async fn keep(shared: Arc<Shared>) {
    let address = shared.target.address.to_string();
    let mut wait = FIRST_WAIT;
    let mut told = false;
    loop {
        let connected = tokio::time::timeout(shared.target.connect_timeout, shared.connect()).await;
        let reason = match connected {
            Ok(Ok((connection, mut driver))) => {
                tracing::info!(%address, "connected to the store");
                (wait, told) = (FIRST_WAIT, false);
                shared.publish(Some(connection));
                tokio::select! {
                    _ = &mut driver.0 => {}
                    () = shared.watch() => {}
                }
                shared.publish(None);
                tracing::warn!(%address, "lost the connection to the store");
                tokio::time::sleep(wait).await;
                continue;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => "no answer in time".to_owned(),
        };
        if !told {
            tracing::error!(%address, %reason, "cannot connect to the store; will try until it works");
            told = true;
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
}

// The task that reads and writes; it ends with the connection, and the connection ends with it.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

// One command on its way; also when whoever sent it stops waiting.
struct Waiting<'a>(&'a Shared);

impl Waiting<'_> {
    fn one(shared: &Shared) -> Waiting<'_> {
        shared.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(shared)
    }

    /// An error in place of either answer is one of both.
    fn both_answered(
        self,
        answers: Result<Vec<Value>, RedisError>,
    ) -> Result<[Value; 2], Unavailable> {
        let Value::Array(answers) = self.answered(answers.map(Value::Array))? else {
            return Err(super::strange());
        };
        answers.try_into().map_err(|_| super::strange())
    }

    fn answered(self, answer: Result<Value, RedisError>) -> Result<Value, Unavailable> {
        let answer = match answer {
            Ok(answer) => {
                self.0.answered.fetch_add(1, Ordering::Relaxed);
                answer.extract_error()
            }
            Err(error) => Err(error),
        };
        answer.map_err(|error| {
            // A replica: after a failover the same name leads to the new primary.
            if error.code() == Some("READONLY") {
                self.0.useless.notify_one();
            }
            let address = &self.0.target.address;
            self.0.unavailable(match error.code() {
                Some(code) => format!("{address} refused: {code}"),
                None => format!("{address}: {}", error.category()),
            })
        })
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn tcp(host: &str, port: u16) -> std::io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(Duration::from_secs(15))
        .with_interval(Duration::from_secs(5));
    socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(stream)
}

// A store that evicts would forget that a code was used or a token revoked (RD-08). An ACL may forbid the question.
async fn warn_of_eviction(connection: &mut MultiplexedConnection, target: &Target) {
    let mut question = Cmd::new();
    question.arg("INFO").arg("memory");
    let Ok(memory) = question.query_async::<String>(connection).await else {
        return;
    };
    let policy = memory
        .lines()
        .find_map(|line| line.strip_prefix("maxmemory_policy:"))
        .map(str::trim);
    if policy.is_some_and(|policy| policy != "noeviction") {
        tracing::warn!(address = %target.address, "the store may evict values: set maxmemory-policy to noeviction");
    }
}
