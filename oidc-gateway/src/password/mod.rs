//! Verifying passwords without standing in anybody's way: slow hashes run on other threads, a few at a time, and
//! whoever would wait too long is told so at once (HT-13).

mod hash;

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

pub use hash::{PasswordHash, Unusable};

use crate::random::Random;

// How many may wait for their turn: at some tens of milliseconds each, a few seconds.
const MOST_WAITING: usize = 64;
// A client that authenticates with a slow hash pays once in this time.
const REMEMBERED_FOR: Duration = Duration::from_secs(5 * 60);
const MOST_REMEMBERED: usize = 4096;
/// Octets. Longer ones are wrong before they are hashed.
const LONGEST: usize = 1024;

/// Too many passwords are waiting to be verified. It says nothing about this one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too many passwords are being verified")]
pub struct Busy;

/// Verifies. One for the process, shared by its workers.
pub struct Passwords {
    people: Turns,
    // Of their own: whoever floods the token endpoint with wrong secrets keeps no person from signing in (HT-13).
    clients: Turns,
    remembered: Mutex<HashMap<[u8; 32], Instant>>,
    // Fingerprints are of no use to anybody else.
    key: Zeroizing<[u8; 32]>,
    nobodys: PasswordHash,
}

impl Passwords {
    /// As many verifications at once as half the cores, and at least one, for people and for clients each. Takes tens of
    /// milliseconds.
    pub fn new(random: &Random) -> Passwords {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Passwords {
            people: Turns::new((cores / 2).max(1)),
            clients: Turns::new((cores / 2).max(1)),
            remembered: Mutex::new(HashMap::new()),
            key: Zeroizing::new(random.octets()),
            nobodys: PasswordHash::of_password(&random.token256(), random),
        }
    }

    /// Whether the password is the user's. For nobody (`None`) it takes as long, and is not (BR-14).
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn verify(&self, hash: Option<&PasswordHash>, password: &str) -> Result<bool, Busy> {
        let verified = self
            .people
            .verify(hash.unwrap_or(&self.nobodys), password)
            .await?;
        Ok(verified && hash.is_some())
    }

    /// Whether the secret is the client's. A success is remembered for five minutes, in this process's memory.
    ///
    /// # Errors
    /// [`Busy`].
    pub async fn verify_client_secret(
        &self,
        hash: &PasswordHash,
        presented: &str,
    ) -> Result<bool, Busy> {
        if hash.is_fast() {
            return Ok(presented.len() <= LONGEST && hash.verify(presented));
        }
        let fingerprint = self.fingerprint(hash, presented);
        if self.is_remembered(&fingerprint) {
            return Ok(true);
        }
        let verified = self.clients.verify(hash, presented).await?;
        if verified {
            self.remember(fingerprint);
        }
        Ok(verified)
    }

    fn fingerprint(&self, hash: &PasswordHash, presented: &str) -> [u8; 32] {
        let mut sha256 = Sha256::new();
        sha256.update(*self.key);
        sha256.update((hash.as_str().len() as u64).to_be_bytes());
        sha256.update(hash.as_str());
        sha256.update(presented);
        sha256.finalize().into()
    }

    fn is_remembered(&self, fingerprint: &[u8; 32]) -> bool {
        let remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        remembered
            .get(fingerprint)
            .is_some_and(|since| since.elapsed() < REMEMBERED_FOR)
    }

    fn remember(&self, fingerprint: [u8; 32]) {
        let mut remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= MOST_REMEMBERED {
            remembered.retain(|_, since| since.elapsed() < REMEMBERED_FOR);
        }
        if remembered.len() < MOST_REMEMBERED {
            remembered.insert(fingerprint, Instant::now());
        }
    }
}

/// Who may verify now, and how many wait.
struct Turns {
    permits: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Turns {
    fn new(at_once: usize) -> Turns {
        Turns {
            permits: Arc::new(Semaphore::new(at_once)),
            waiting: AtomicUsize::new(0),
        }
    }

    async fn verify(&self, hash: &PasswordHash, password: &str) -> Result<bool, Busy> {
        let too_long = password.len() > LONGEST;
        let password = Zeroizing::new(if too_long {
            String::new()
        } else {
            password.to_owned()
        });
        let turn = {
            let _waiting = Waiting::join(&self.waiting)?;
            Arc::clone(&self.permits)
                .acquire_owned()
                .await
                .map_err(|_| Busy)?
        };
        let hash = hash.clone();
        // The turn ends with the work, not with whoever asked for it and may be gone.
        let verified = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            hash.verify(&password)
        });
        Ok(verified.await.map_err(|_| Busy)? && !too_long)
    }
}

impl std::fmt::Debug for Passwords {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Passwords")
    }
}

struct Waiting<'a>(&'a AtomicUsize);

impl Waiting<'_> {
    fn join(waiting: &AtomicUsize) -> Result<Waiting<'_>, Busy> {
        let joined = Waiting(waiting);
        if waiting.fetch_add(1, Ordering::Relaxed) >= MOST_WAITING {
            return Err(Busy);
        }
        Ok(joined)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn right_wrong_nobody_and_too_long() {
        let random = Random::new().unwrap();
        let passwords = Passwords::new(&random);
        let hash = PasswordHash::of_password("right", &random);
        let long = "x".repeat(LONGEST + 1);
        let of_long = PasswordHash::of_password(&long, &random);
        for (hash, password, expected) in [
            (Some(&hash), "right", true),
            (Some(&hash), "wrong", false),
            (None, "right", false),
            (Some(&of_long), &*long, false),
        ] {
            assert_eq!(
                passwords.verify(hash, password).await,
                Ok(expected),
                "{password}"
            );
        }
    }

    #[tokio::test]
    async fn a_clients_secret_is_verified_once_in_a_while() {
        let random = Random::new().unwrap();
        let passwords = Passwords::new(&random);
        let slow = PasswordHash::of_password("secret", &random);
        let fast = PasswordHash::of_generated("secret");
        for hash in [&slow, &fast] {
            assert_eq!(
                passwords.verify_client_secret(hash, "wrong").await,
                Ok(false)
            );
            assert!(passwords.remembered.lock().unwrap().is_empty());
            assert_eq!(
                passwords.verify_client_secret(hash, "secret").await,
                Ok(true)
            );
            assert_eq!(
                passwords.verify_client_secret(hash, "secret").await,
                Ok(true)
            );
            assert_eq!(
                passwords.verify_client_secret(hash, "wrong").await,
                Ok(false)
            );
            passwords.remembered.lock().unwrap().clear();
        }
        let start = Instant::now();
        passwords
            .verify_client_secret(&slow, "secret")
            .await
            .unwrap();
        let first = start.elapsed();
        let start = Instant::now();
        passwords
            .verify_client_secret(&slow, "secret")
            .await
            .unwrap();
        assert!(start.elapsed() < first / 4);
    }

    #[tokio::test]
    async fn the_queue_ends() {
        let random = Random::new().unwrap();
        let passwords = Arc::new(Passwords::new(&random));
        let hash = PasswordHash::of_password("p", &random);
        // Nobody gets a turn.
        let turns = u32::try_from(passwords.people.permits.available_permits()).unwrap();
        let all = Arc::clone(&passwords.people.permits)
            .acquire_many_owned(turns)
            .await
            .unwrap();
        let waiting: Vec<_> = (0..MOST_WAITING)
            .map(|_| {
                let (passwords, hash) = (Arc::clone(&passwords), hash.clone());
                tokio::spawn(async move { passwords.verify(Some(&hash), "p").await })
            })
            .collect();
        while passwords.people.waiting.load(Ordering::Relaxed) < MOST_WAITING {
            tokio::task::yield_now().await;
        }
        assert_eq!(passwords.verify(Some(&hash), "p").await, Err(Busy));
        // Clients have turns of their own.
        let secret = passwords.verify_client_secret(&hash, "p").await;
        assert_eq!(secret, Ok(true));
        waiting.iter().for_each(tokio::task::JoinHandle::abort);
        for aborted in waiting {
            assert!(aborted.await.is_err());
        }
        drop(all);
        assert_eq!(passwords.verify(Some(&hash), "p").await, Ok(true));
    }
}
