//! Who may register a client: nobody, whoever has an initial access token (RFC 7591 §3), or everybody; and how often,
//! for each address and in all.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::registration::{Mode, Settings};
use crate::error::Failure;
use crate::password::PasswordHash;
use crate::provider::Provider;
use crate::secret;
use crate::store::{Key, Write};

/// A token shorter than this can be guessed: characters.
const SHORTEST_TOKEN: usize = 32;
/// Addresses that are remembered.
const MOST_ADDRESSES: usize = 100_000;
const MINUTE: f64 = 60.0;
/// A token that was used stays so for longer than anybody leaves it in the configuration.
const SPENT: Duration = Duration::from_secs(10 * 365 * 86_400);

/// The initial access tokens cannot be used; says why.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {reason}")]
pub struct Unusable {
    file: String,
    reason: String,
}

/// Lets registrations in. One for the process, shared by its workers.
#[derive(Debug)]
pub(crate) struct Gate {
    mode: Mode,
    /// Hashes of initial access tokens.
    tokens: Vec<String>,
    once: bool,
    per_address: f64,
    in_all: f64,
    /// Addresses are hashed with keys of this process: they are not kept, nor can they be made to collide.
    state: RandomState,
    buckets: Mutex<Buckets>,
}

#[derive(Debug)]
struct Buckets {
    all: Bucket,
    by_address: HashMap<u64, Bucket>,
}

/// What is left of what may be used in a minute.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    left: f64,
    filled: Instant,
}

/// That somebody may register.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Permit {
    /// As often as they like.
    Any,
    /// Once: by the hash of the initial access token.
    Once(String),
}

/// Why somebody may not register.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refused {
    /// No initial access token.
    NoToken,
    /// One that is not known.
    WrongToken,
    /// Not yet: how long to wait.
    TooOften(Duration),
}

impl Gate {
    /// Reads the initial access tokens.
    pub(crate) fn open(settings: &Settings) -> Result<Gate, Unusable> {
        let mut tokens = Vec::new();
        for hash in &settings.initial_access_token_hashes {
            tokens.push(hash_of(hash).map_err(|reason| Unusable {
                file: "initial_access_token_hashes".to_owned(),
                reason: reason.to_owned(),
            })?);
        }
        if let Some(file) = &settings.initial_access_tokens_file {
            tokens.extend(read(file)?);
        }
        Ok(Gate {
            mode: settings.mode,
            tokens,
            once: settings.initial_access_tokens_once,
            per_address: settings.per_address.into(),
            in_all: settings.in_all.into(),
            state: RandomState::new(),
            buckets: Mutex::new(Buckets {
                all: Bucket::full(settings.in_all.into(), Instant::now()),
                by_address: HashMap::new(),
            }),
        })
    }

    /// Whether there is registration at all.
    pub(crate) fn is_there(&self) -> bool {
        self.mode != Mode::Off
    }

    /// How many initial access tokens there are.
    pub(crate) fn tokens(&self) -> usize {
        self.tokens.len()
    }

    /// Whether somebody may register now. It counts, but not for those without a token where one is needed: they would
    /// use up what others have one for.
    pub(crate) fn permit(&self, token: Option<&str>, address: IpAddr) -> Result<Permit, Refused> {
        if self.mode == Mode::Open {
            self.take(address, Instant::now())?;
            return Ok(Permit::Any);
        }
        let token = token.ok_or(Refused::NoToken)?;
        let presented = PasswordHash::of_generated(token);
        // All are compared, so that the time does not tell which it was.
        let known = self.tokens.iter().fold(false, |known, token| {
            secret::equal(token.as_bytes(), presented.as_str().as_bytes()) | known
        });
        if !known {
            return Err(Refused::WrongToken);
        }
        self.take(address, Instant::now())?;
        Ok(match self.once {
            true => Permit::Once(presented.as_str().to_owned()),
            false => Permit::Any,
        })
    }

    /// Whether somebody may change a client now, which costs as much as a new one. It counts.
    pub(crate) fn permit_change(&self, address: IpAddr) -> Result<(), Refused> {
        self.take(address, Instant::now())
    }

    fn take(&self, address: IpAddr, now: Instant) -> Result<(), Refused> {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let Buckets { all, by_address } = &mut *buckets;
        if self.per_address > 0.0 {
            let key = self.state.hash_one(network(address));
            if by_address.len() >= MOST_ADDRESSES {
                by_address.retain(|_, bucket| !bucket.is_full(self.per_address, now));
            }
            if by_address.len() >= MOST_ADDRESSES && !by_address.contains_key(&key) {
                return Err(Refused::TooOften(Duration::from_secs(60)));
            }
            let full = Bucket::full(self.per_address, now);
            let bucket = by_address.entry(key).or_insert(full);
            bucket.take(self.per_address, now)?;
        }
        if self.in_all > 0.0 {
            all.take(self.in_all, now)?;
        }
        Ok(())
    }
}

impl Permit {
    /// Uses it up, on every replica; `false`: it was.
    pub(super) async fn spend(&self, provider: &Provider) -> Result<bool, Failure> {
        let Permit::Once(hash) = self else {
            return Ok(true);
        };
        let spent = Write {
            key: Key::initial_access_token(hash),
            value: Bytes::from_static(b"1"),
            lives: SPENT,
        };
        Ok(provider.store.put_new(&spent).await?)
    }
}

impl Bucket {
    fn full(per_minute: f64, now: Instant) -> Bucket {
        Bucket {
            left: per_minute,
            filled: now,
        }
    }

    fn fill(&mut self, per_minute: f64, now: Instant) {
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        self.left = (self.left + since * per_minute / MINUTE).min(per_minute);
        self.filled = now;
    }

    fn is_full(mut self, per_minute: f64, now: Instant) -> bool {
        self.fill(per_minute, now);
        self.left >= per_minute
    }

    fn take(&mut self, per_minute: f64, now: Instant) -> Result<(), Refused> {
        self.fill(per_minute, now);
        if self.left >= 1.0 {
            self.left -= 1.0;
            return Ok(());
        }
        let wait = (1.0 - self.left) * MINUTE / per_minute;
        Err(Refused::TooOften(Duration::from_secs_f64(wait)))
    }
}

/// Whoever has an IPv6 address has 2^64 of them.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// A line for each: the token itself, or its hash as `oidc-gateway hash-password --generated` prints it.
fn read(file: &Path) -> Result<Vec<String>, Unusable> {
    let unusable = |reason: String| Unusable {
        file: PathBuf::from(file).display().to_string(),
        reason,
    };
    let text = std::fs::read_to_string(file)
        .map_err(|error| unusable(format!("cannot be read: {error}")))?;
    let mut tokens = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let token = match line.starts_with('$') {
            true => hash_of(line),
            false if line.len() < SHORTEST_TOKEN => {
                Err("a token has at least 32 characters: `openssl rand -hex 32` makes one")
            }
            false => Ok(PasswordHash::of_generated(line).as_str().to_owned()),
        };
        tokens.push(token.map_err(|why| unusable(format!("line {}: {why}", number + 1)))?);
    }
    Ok(tokens)
}

fn hash_of(text: &str) -> Result<String, &'static str> {
    match PasswordHash::parse(text) {
        Ok(_) if text.starts_with("$sha256$") => Ok(text.to_owned()),
        _ => Err("is not a hash that `oidc-gateway hash-password --generated` makes"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn gate(mode: Mode, per_address: u32, in_all: u32) -> Gate {
        let token = "an initial access token of 42 characters..";
        Gate::open(&Settings {
            mode,
            per_address,
            in_all,
            initial_access_token_hashes: vec![
                PasswordHash::of_generated(token).as_str().to_owned(),
            ],
            ..Settings::default()
        })
        .unwrap()
    }

    #[test]
    fn tokens() {
        let token = "an initial access token of 42 characters..";
        let hash = PasswordHash::of_generated(token).as_str().to_owned();
        let address = IpAddr::from([192, 0, 2, 1]);
        for (mode, presented, expected) in [
            (Mode::Open, None, Ok(Permit::Any)),
            (Mode::Open, Some("x"), Ok(Permit::Any)),
            (Mode::Token, Some(token), Ok(Permit::Once(hash.clone()))),
            (Mode::Token, None, Err(Refused::NoToken)),
            (Mode::Token, Some("x"), Err(Refused::WrongToken)),
            (Mode::Token, Some(""), Err(Refused::WrongToken)),
        ] {
            let gate = gate(mode, 0, 0);
            assert_eq!(gate.permit(presented, address), expected, "{presented:?}");
        }
        assert!(
            Gate::open(&Settings {
                initial_access_token_hashes: vec!["$2b$10$x".to_owned()],
                ..Settings::default()
            })
            .is_err()
        );
    }

    #[test]
    fn who_has_no_token_uses_nothing_up() {
        let address = IpAddr::from([192, 0, 2, 1]);
        let gate = gate(Mode::Token, 2, 2);
        for (presented, expected) in [
            (None, Err(Refused::NoToken)),
            (Some("x"), Err(Refused::WrongToken)),
            (Some("x"), Err(Refused::WrongToken)),
        ] {
            assert_eq!(gate.permit(presented, address), expected, "{presented:?}");
        }
        let token = Some("an initial access token of 42 characters..");
        assert!(gate.permit(token, address).is_ok());
        assert!(gate.permit_change(address).is_ok());
        for refused in [
            gate.permit(token, address).map(drop),
            gate.permit_change(address),
        ] {
            assert!(matches!(refused, Err(Refused::TooOften(_))), "{refused:?}");
        }
    }

    #[test]
    fn so_many_in_a_minute() {
        let gate = gate(Mode::Open, 6, 10);
        let begin = Instant::now();
        let (one, other) = (IpAddr::from([192, 0, 2, 1]), "2001:db8::1".parse().unwrap());
        let same: IpAddr = "2001:db8::2".parse().unwrap();
        let taken = |address, after| {
            let now = begin + Duration::from_secs(after);
            (0..20).filter(|_| gate.take(address, now).is_ok()).count()
        };
        for (address, after, expected) in [
            (one, 0, 6),
            (one, 10, 1),
            (other, 10, 4),
            (same, 11, 0),
            (one, 3600, 6),
        ] {
            assert_eq!(taken(address, after), expected, "{address} after {after}");
        }
    }
}
