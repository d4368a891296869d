//! `[policy]`: what may be signed, for everybody and for some (`[[policy.rules]]`), and how often.

use std::time::Duration;

use serde::Deserialize;

use super::check::{require, seconds, show};
use super::{Allow, Invalid, Service, duration};

/// The most items of one Sign: a rate that is used up by fewer would never let it pass.
pub(super) const ITEMS: u32 = 16;
/// The highest rate: the interval between two operations is counted in nanoseconds.
const HIGHEST_RATE: u32 = 1_000_000;
/// The longest life of an authorization code that RFC 6749 §4.1.2 recommends.
const LONGEST_CODE: Duration = Duration::from_secs(600);

/// What may be signed.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The only `iss`, beside `token_issuer`.
    pub issuer: String,
    /// The `iss` of tokens, where that is another word than the issuer's URL (RFC 7519 §4.1.1).
    pub token_issuer: Option<String>,
    /// Longest claims, in octets.
    #[serde(default = "default_claims_size")]
    pub claims_size: usize,
    /// How long a gateway's authorization codes live: what is signed for a `once_key` is remembered for twice as long.
    #[serde(default = "default_code_life", with = "duration")]
    pub authorization_code_life: Duration,
    /// How much of it is remembered, in octets.
    #[serde(default = "default_once_size")]
    pub once_size: usize,
    /// What some callers may have signed in some rings.
    #[serde(default)]
    pub rules: Vec<PolicyRule>,
}

/// One of `[[policy.rules]]`: for whom and where it is, and what it takes from what is allowed.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyRule {
    /// Names of `[[callers.allow]]`; default: all.
    pub callers: Option<Vec<String>>,
    /// Rings: `*`, `<purpose>/*` or `<purpose>/<alg>`; `secret/HS256` is what clients' secrets sign. Default: all.
    pub rings: Option<Vec<String>>,
    /// The profiles that it is about; default: all.
    pub when: Option<Vec<String>>,
    /// The profiles that may be signed.
    pub profiles: Option<Vec<String>>,
    /// The longest `exp − iat`.
    #[serde(default, with = "duration::optional")]
    pub longest_life: Option<Duration>,
    /// How far `iat` may be from the clock.
    #[serde(default, with = "duration::optional")]
    pub iat_window: Option<Duration>,
    /// Who may be in `aud`: names, and patterns with `*`.
    pub audiences: Option<Vec<String>>,
    /// Claims that must be there.
    #[serde(default)]
    pub required: Vec<String>,
    /// The only claims that may be there.
    pub allowed: Option<Vec<String>>,
    /// Claims that must not be there.
    #[serde(default)]
    pub forbidden: Vec<String>,
    /// Longest claims, in octets.
    pub claims_size: Option<usize>,
}

fn default_claims_size() -> usize {
    16 * 1024
}

fn default_code_life() -> Duration {
    Duration::from_secs(60)
}

fn default_once_size() -> usize {
    32 * 1024 * 1024
}

impl Policy {
    /// Seconds that what was signed for a `once_key` is remembered.
    #[must_use]
    pub fn once_lives(&self) -> i64 {
        seconds(self.authorization_code_life).saturating_mul(2)
    }

    pub(super) fn check_once(&self) -> Result<(), Invalid> {
        let life = self.authorization_code_life;
        require(
            (Duration::from_secs(1)..=LONGEST_CODE).contains(&life),
            format!(
                "[policy] authorization_code_life = {} is not from 1s to {}",
                show(life),
                show(LONGEST_CODE)
            ),
        )?;
        require(
            self.once_size >= 1 << 20,
            format!(
                "[policy] once_size = {} is less than 1048576: a few answers would fill it",
                self.once_size
            ),
        )
    }
}

impl Allow {
    pub(super) fn check_rate(&self) -> Result<(), Invalid> {
        let named = |problem: String| format!("[[callers.allow]] {}: {problem}", self.name);
        let Some(rate) = self.rate else {
            return require(
                self.burst.is_none(),
                named("`burst` is for a caller with a `rate`".to_owned()),
            );
        };
        require(
            self.services.contains(&Service::Keys),
            named("`rate` is for a caller of \"keys\"".to_owned()),
        )?;
        require(
            (1..=HIGHEST_RATE).contains(&rate),
            named(format!("rate = {rate} is not from 1 to {HIGHEST_RATE}")),
        )?;
        let burst = self.burst();
        require(
            (ITEMS..=HIGHEST_RATE).contains(&burst),
            named(format!(
                "burst = {burst} is not from {ITEMS} to {HIGHEST_RATE}: one Sign has up to {ITEMS} items"
            )),
        )
    }
}
