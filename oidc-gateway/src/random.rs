//! Chance: the operating system's generator, a page at a time.

use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroize;

// One system call gives enough for a dozen tokens. What was handed out is wiped here at once.
const PAGE: usize = 512;

/// Gives random octets.
#[derive(Clone)]
pub struct Random {
    page: Arc<Mutex<Page>>,
}

struct Page {
    octets: [u8; PAGE],
    used: usize,
}

// The one place that the ban on asking the system elsewhere leaves.
#[allow(clippy::disallowed_methods)]
impl Random {
    /// Asks the operating system once, so that a missing generator is known at start.
    ///
    /// # Errors
    /// There is no generator.
    pub fn new() -> Result<Random, getrandom::Error> {
        let mut octets = [0; PAGE];
        getrandom::fill(&mut octets)?;
        Ok(Random {
            page: Arc::new(Mutex::new(Page { octets, used: 0 })),
        })
    }

    /// `N` random octets; at most 512.
    pub fn octets<const N: usize>(&self) -> [u8; N] {
        const { assert!(N <= PAGE) };
        let mut page = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        if page.used + N > PAGE {
            getrandom::fill(&mut page.octets)
                .expect("it worked at start, and cannot stop (getrandom(2))");
            page.used = 0;
        }
        let from = page.used;
        page.used += N;
        let taken = &mut page.octets[from..from + N];
        let mut octets = [0; N];
        octets.copy_from_slice(taken);
        taken.zeroize();
        octets
    }

    /// 128 random bits in 22 characters of base64url.
    pub fn token128(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.octets::<16>())
    }

    /// 256 random bits in 43 characters of base64url.
    pub fn token256(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.octets::<32>())
    }
}

impl std::fmt::Debug for Random {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Random")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn tokens_have_their_length_and_differ() {
        let random = Random::new().unwrap();
        let tokens: std::collections::HashSet<String> =
            (0..1000).map(|_| random.token256()).collect();
        assert_eq!(tokens.len(), 1000);
        assert!(tokens.iter().all(|token| token.len() == 43));
        assert_eq!(random.token128().len(), 22);
    }
}
