//! The store in Redis: plain commands where one is enough, else one script for an atomic step; a single round trip
//! each. `script` has the encoding of values, `link` the connection.

mod link;
mod scan;
mod script;

use std::fmt;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use redis::{Cmd, RedisWrite, ToRedisArgs, Value};

use self::link::Link;
use self::script::Script;
use super::{Answer, Claim, Key, Lease, Store, Stored, Swap, Unavailable, Write};
use crate::secret::Secret;

/// How Redis is reached; see [`super::settings::Settings`] for each part.
pub struct Target {
    pub(super) address: Address,
    pub(super) tls: Option<Arc<rustls::ClientConfig>>,
    pub(super) database: i64,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret<String>>,
    pub(super) timeout: Duration,
    pub(super) connect_timeout: Duration,
    /// Calls that it did not answer, of all connections.
    pub(super) errors: Counter,
}

/// Where Redis listens.
#[derive(Debug, Clone)]
pub(super) enum Address {
    Tcp {
        host: String,
        port: u16,
    },
    Tls {
        host: String,
        port: u16,
        name: rustls::pki_types::ServerName<'static>,
    },
    Unix(PathBuf),
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp { host, port } | Address::Tls { host, port, .. } if host.contains(':') => {
                write!(formatter, "[{host}]:{port}")
            }
            Address::Tcp { host, port } | Address::Tls { host, port, .. } => {
                write!(formatter, "{host}:{port}")
            }
            Address::Unix(path) => path.display().fmt(formatter),
        }
    }
}

/// The store in Redis.
pub struct Redis {
    link: Link,
}

impl Redis {
    /// Begins to connect, on the current runtime.
    pub(super) fn connect(target: Arc<Target>) -> Redis {
        Redis {
            link: Link::to(target),
        }
    }
}

impl Store for Redis {
    fn get<'a>(&'a self, keys: &'a [Key]) -> Answer<'a, Vec<Option<Stored>>> {
        Box::pin(async move {
            if keys.is_empty() {
                return Ok(Vec::new());
            }
            let mut command = Cmd::with_capacity(1 + keys.len(), 96 * keys.len());
            command.arg(if keys.len() == 1 { "GET" } else { "MGET" });
            for key in keys {
                command.arg(&key.0);
            }
            match self.link.command(&command).await? {
                Value::Array(values) if values.len() == keys.len() => {
                    values.into_iter().map(readable).collect()
                }
                value if keys.len() == 1 => Ok(vec![readable(value)?]),
                _ => Err(strange()),
            }
        })
    }

    fn put<'a>(&'a self, writes: &'a [Write]) -> Answer<'a, ()> {
        Box::pin(async move {
            if let [write] = writes {
                let command = set(write, &self.plain(&write.value));
                return self.link.command(&command).await.map(|_| ());
            }
            if writes.is_empty() {
                return Ok(());
            }
            let mut commands = redis::Pipeline::with_capacity(writes.len());
            commands.atomic();
            for write in writes {
                commands.add_command(set(write, &self.plain(&write.value)));
            }
            self.link.transaction(&commands).await
        })
    }

    fn put_new<'a>(&'a self, write: &'a Write) -> Answer<'a, bool> {
        Box::pin(async move {
            let mut command = set(write, &self.plain(&write.value));
            command.arg("NX");
            match self.link.command(&command).await? {
                Value::Okay => Ok(true),
                Value::Nil => Ok(false),
                _ => Err(strange()),
            }
        })
    }

    fn issue<'a>(&'a self, write: &'a Write, binding: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let issued = Prefixed {
                state: b'I',
                version: self.link.version(),
                binding: Some(binding.as_bytes()),
                value: &write.value,
            };
            self.link.command(&set(write, &issued)).await.map(|_| ())
        })
    }

    fn claim<'a>(
        &'a self,
        code: &'a Key,
        spent: &'a Key,
        binding: &'a str,
        lease: Duration,
    ) -> Answer<'a, Claim> {
        Box::pin(async move {
            let owner = self.link.version();
            let until = Instant::now() + lease;
            let mut claim = Cmd::with_capacity(6, 192);
            claim
                .arg("SET")
                .arg(&LeaseName(code, binding))
                .arg(&owner[..]);
            claim.arg("NX").arg("PX").arg(millis(lease));
            let mut read = Cmd::with_capacity(3, 128);
            read.arg("MGET").arg(&code.0).arg(&spent.0);
            let [claimed, values] = self.link.both(claim, read).await?;
            let Value::Array(values) = values else {
                return Err(strange());
            };
            let [issued, spent]: [Value; 2] = values.try_into().map_err(|_| strange())?;
            let is_bound =
                |stored: &Stored| stored.mark.get(VERSION_ENDS + 1..) == Some(binding.as_bytes());
            match parse(spent)? {
                None => {}
                Some((b'S', stored)) if is_bound(&stored) => return Ok(Claim::Spent(stored.value)),
                Some((b'S', _)) => return Ok(Claim::Mismatch),
                Some(_) => return Ok(Claim::Missing),
            }
            let stored = match parse(issued)? {
                Some((b'I', stored)) if is_bound(&stored) => stored,
                Some((b'I', _)) => return Ok(Claim::Mismatch),
                _ => return Ok(Claim::Missing),
            };
            let code = code.clone();
            match claimed {
                Value::Okay => Ok(Claim::Claimed(stored.value, Lease { code, owner, until })),
                Value::Nil => Ok(Claim::InFlight),
                _ => Err(strange()),
            }
        })
    }

    fn commit<'a>(&'a self, lease: Lease, binding: &'a str, spent: &'a Write) -> Answer<'a, bool> {
        Box::pin(async move {
            if lease.until <= Instant::now() {
                return Ok(false);
            }
            let value = Prefixed {
                state: b'S',
                version: self.link.version(),
                binding: Some(binding.as_bytes()),
                value: &spent.value,
            };
            let mut commit = set(spent, &value);
            commit.arg("NX");
            // Whoever committed: the code is used.
            let mut forget = Cmd::with_capacity(3, 192);
            forget.arg("DEL").arg(&lease.code.0);
            forget.arg(&LeaseName(&lease.code, binding));
            match self.link.both(commit, forget).await? {
                [Value::Okay, _] => Ok(true),
                [Value::Nil, _] => Ok(false),
                _ => Err(strange()),
            }
        })
    }

    fn release<'a>(&'a self, lease: Lease, binding: &'a str) -> Answer<'a, ()> {
        Box::pin(async move {
            let arguments = |command: &mut Cmd| {
                let name = LeaseName(&lease.code, binding);
                command.arg(1).arg(&name).arg(&lease.owner[..]);
            };
            self.link
                .script(Script::Release, arguments)
                .await
                .map(|_| ())
        })
    }

    fn end<'a>(&'a self, key: &'a Key, lives: Duration) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut command = Cmd::with_capacity(5, 64);
            command.arg("SET").arg(&key.0).arg("E");
            command.arg("PX").arg(millis(lives));
            self.link.command(&command).await.map(|_| ())
        })
    }

    fn swap<'a>(&'a self, before: &'a Stored, after: &'a Write) -> Answer<'a, Swap> {
        Box::pin(async move {
            let arguments = self.swapping(before, after);
            swapped(self.link.script(Script::Swap, arguments).await?)
        })
    }

    fn put_new_and_swap<'a>(
        &'a self,
        beside: &'a Write,
        before: &'a Stored,
        after: &'a Write,
    ) -> Answer<'a, (bool, Swap)> {
        Box::pin(async move {
            let mut put = set(beside, &self.plain(&beside.value));
            put.arg("NX");
            let arguments = self.swapping(before, after);
            let answers = self.link.command_then_script(put, Script::Swap, arguments);
            let [put, swap] = answers.await?;
            Ok((matches!(put, Value::Okay), swapped(swap)?))
        })
    }

    fn delete<'a>(&'a self, keys: &'a [Key]) -> Answer<'a, u64> {
        Box::pin(async move {
            if keys.is_empty() {
                return Ok(0);
            }
            let mut command = Cmd::with_capacity(1 + keys.len(), 96 * keys.len());
            command.arg("DEL");
            for key in keys {
                command.arg(&key.0);
            }
            match self.link.command(&command).await? {
                Value::Int(deleted) => Ok(u64::try_from(deleted).unwrap_or(0)),
                _ => Err(strange()),
            }
        })
    }

    fn enqueue<'a>(
        &'a self,
        queue: &'a Key,
        entries: &'a [Bytes],
        after: Duration,
    ) -> Answer<'a, ()> {
        Box::pin(async move {
            if entries.is_empty() {
                return Ok(());
            }
            let arguments = |command: &mut Cmd| {
                command.arg(1).arg(&queue.0).arg(after.as_millis() as u64);
                for entry in entries {
                    command.arg(&entry[..]);
                }
            };
            self.link
                .script(Script::Enqueue, arguments)
                .await
                .map(|_| ())
        })
    }

    fn due<'a>(&'a self, queue: &'a Key, most: usize, lease: Duration) -> Answer<'a, Vec<Bytes>> {
        Box::pin(async move {
            let arguments = |command: &mut Cmd| {
                command.arg(1).arg(&queue.0).arg(most).arg(millis(lease));
            };
            let Value::Array(entries) = self.link.script(Script::Due, arguments).await? else {
                return Err(strange());
            };
            let entry = |entry| match entry {
                Value::BulkString(entry) => Ok(Bytes::from(entry)),
                _ => Err(strange()),
            };
            entries.into_iter().map(entry).collect()
        })
    }

    fn dequeue<'a>(&'a self, queue: &'a Key, entry: &'a Bytes) -> Answer<'a, ()> {
        Box::pin(async move {
            let mut command = Cmd::with_capacity(3, queue.0.len() + entry.len() + 32);
            command.arg("ZREM").arg(&queue.0).arg(&entry[..]);
            self.link.command(&command).await.map(|_| ())
        })
    }

    fn ping(&self) -> Answer<'_, ()> {
        Box::pin(async move {
            let mut command = Cmd::with_capacity(1, 8);
            command.arg("PING");
            self.link.command(&command).await.map(|_| ())
        })
    }
}

/// Octets of the state and the version.
const VERSION_ENDS: usize = 17;

// What `get` gives: plain and spent values. What is still to be claimed, or is just claimed, is not to be read.
fn readable(value: Value) -> Result<Option<Stored>, Unavailable> {
    Ok(match parse(value)? {
        Some((b'P' | b'S', stored)) => Some(stored),
        _ => None,
    })
}

// A value as `script` says, with its state.
fn parse(value: Value) -> Result<Option<(u8, Stored)>, Unavailable> {
    let value = match value {
        Value::Nil => return Ok(None),
        Value::BulkString(value) => Bytes::from(value),
        _ => return Err(strange()),
    };
    let state = *value.first().ok_or_else(strange)?;
    let header = match state {
        b'E' => 1,
        b'P' => VERSION_ENDS,
        _ => VERSION_ENDS + 1 + usize::from(*value.get(VERSION_ENDS).ok_or_else(strange)?),
    };
    if value.len() < header {
        return Err(strange());
    }
    let stored = Stored {
        mark: value.slice(..header),
        value: value.slice(header..),
    };
    Ok(Some((state, stored)))
}

fn set(write: &Write, content: &Prefixed<'_>) -> Cmd {
    let mut command = Cmd::with_capacity(6, write.key.0.len() + write.value.len() + 96);
    command.arg("SET").arg(&write.key.0).arg(content);
    command.arg("PX").arg(millis(write.lives));
    command
}

fn swapped(answer: Value) -> Result<Swap, Unavailable> {
    match answer {
        Value::Int(1) => Ok(Swap::Done),
        there => Ok(Swap::Changed(readable(there)?)),
    }
}

// Redis refuses a life of nothing.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX >> 12)
        .max(1)
}

fn strange() -> Unavailable {
    Unavailable("an answer that does not fit its command".to_owned())
}

// A value with what `script` says comes before it, written without a copy.
struct Prefixed<'a> {
    state: u8,
    version: [u8; VERSION_ENDS - 1],
    binding: Option<&'a [u8]>,
    value: &'a [u8],
}

impl Redis {
    fn swapping<'a>(&self, before: &'a Stored, after: &'a Write) -> impl Fn(&mut Cmd) + 'a {
        let value = Prefixed {
            state: before.mark.first().copied().unwrap_or(b'P'),
            version: self.link.version(),
            binding: before.mark.get(VERSION_ENDS + 1..),
            value: &after.value,
        };
        move |command| {
            command.arg(1).arg(&after.key.0).arg(&*before.mark);
            command.arg(&value).arg(millis(after.lives));
        }
    }

    fn plain<'a>(&self, value: &'a [u8]) -> Prefixed<'a> {
        Prefixed {
            state: b'P',
            version: self.link.version(),
            binding: None,
            value,
        }
    }
}

// The name of the key that claims another, for those who know its binding.
struct LeaseName<'a>(&'a Key, &'a str);

impl ToRedisArgs for &LeaseName<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        let mut argument = out.writer_for_next_arg();
        // Writing to memory does not fail.
        for part in ["l:", &self.0.0, ":", self.1] {
            let _ = argument.write_all(part.as_bytes());
        }
    }
}

impl ToRedisArgs for &Prefixed<'_> {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        let mut argument = out.writer_for_next_arg();
        // Writing to memory does not fail.
        let _ = argument.write_all(&[self.state]);
        let _ = argument.write_all(&self.version);
        if let Some(binding) = self.binding {
            let binding = &binding[..binding.len().min(255)];
            let _ = argument.write_all(&[u8::try_from(binding.len()).unwrap_or(255)]);
            let _ = argument.write_all(binding);
        }
        let _ = argument.write_all(self.value);
    }
}
