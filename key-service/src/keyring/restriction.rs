//! What `[[policy.rules]]` takes from what callers may sign (RFC 8725 §3.8–3.12): each rule narrows, none widens. Which
//! of them hold for a caller in a ring is known from the start, so that where none does nothing is looked at.

use std::collections::HashSet;

use super::audience::Audiences;
use super::policy::{Profile, Refusal, Rule, Times, Wanted};

/// One of `[[policy.rules]]`. What is `None` or empty says nothing.
#[derive(Debug, Clone, Default)]
pub struct Restriction {
    /// Which it is, counted from 1.
    pub number: usize,
    /// The profiles that it is about.
    pub when: Option<Vec<Profile>>,
    /// The profiles that are left.
    pub profiles: Option<Vec<Profile>>,
    /// The longest `exp − iat`, in seconds.
    pub longest_life: Option<i64>,
    /// How far `iat` may be from our clock, in seconds.
    pub iat_window: Option<i64>,
    /// Who may be in `aud`.
    pub audiences: Option<Audiences>,
    /// Claims that must be there.
    pub required: Vec<String>,
    /// The only claims that may be there.
    pub allowed: Option<HashSet<String>>,
    /// Claims that must not be there.
    pub forbidden: Vec<String>,
    /// The longest claims, in octets.
    pub claims_size: Option<usize>,
}

impl Restriction {
    /// Whether it is about JWTs of this profile.
    #[must_use]
    pub fn is_about(&self, profile: Profile) -> bool {
        let when = self.when.as_ref();
        when.is_none_or(|profiles| profiles.contains(&profile))
    }

    pub(super) fn check(&self, wanted: &Wanted<'_>, times: &Times) -> Result<(), Refusal> {
        let is_about = self.is_about(wanted.profile)
            || (is_id_token_too(wanted) && self.is_about(Profile::IdToken));
        if !is_about {
            return Ok(());
        }
        self.broken_by(wanted, times)
            .map_or(Ok(()), |refusal| Err(refusal.of(self.number)))
    }

    fn broken_by(&self, wanted: &Wanted<'_>, times: &Times) -> Option<Refusal> {
        let Wanted {
            profile, claims, ..
        } = wanted;
        let profiles = self.profiles.as_ref();
        if profiles.is_some_and(|profiles| !profiles.contains(profile)) {
            return Some(Rule::Profile.into());
        }
        let longest = self.claims_size.unwrap_or(usize::MAX);
        if claims.as_bytes().len() > longest {
            return Some(Rule::Size.into());
        }
        if let Some(refusal) = self.names(wanted) {
            return Some(refusal);
        }
        let window = self.iat_window.unwrap_or(i64::MAX);
        if times.skew() > window {
            return Some(Rule::IssuedAt.into());
        }
        let longest = self.longest_life.unwrap_or(i64::MAX);
        if times.life().is_some_and(|life| life > longest) {
            return Some(Rule::Lifetime.into());
        }
        let aud = claims.value("aud").zip(claims.shape("aud"));
        let audiences = self.audiences.as_ref();
        let is_for_others = audiences.is_some_and(|audiences| !audiences.hold(aud));
        is_for_others.then(|| Rule::Audience.into())
    }

    /// The names of the claims, with those that the service fills in.
    fn names(&self, wanted: &Wanted<'_>) -> Option<Refusal> {
        let has = |name: &str| wanted.claims.has(name) || wanted.hashes.contains(&name);
        // A reader takes what says nothing for what is not there.
        let says = |name: &str| {
            let value = wanted.claims.value(name);
            value.is_some_and(|value| !matches!(value, b"null" | b"\"\""))
                || wanted.hashes.contains(&name)
        };
        if let Some(name) = self.required.iter().find(|name| !says(name)) {
            return Some(Rule::Required.by(name));
        }
        if let Some(name) = self.forbidden.iter().find(|name| has(name)) {
            return Some(Rule::Forbidden.by(name));
        }
        let allowed = self.allowed.as_ref()?;
        let mut names = wanted.claims.names().chain(wanted.hashes.iter().copied());
        names
            .find(|name| !allowed.contains(*name))
            .map(|name| Rule::Allowed.by(name))
    }
}

/// Relying parties tell what is signed at userinfo from an ID token by nothing but its claims: with an end it is one to
/// them (RFC 8725 §2.8), so what is said of ID tokens is said of it.
fn is_id_token_too(wanted: &Wanted<'_>) -> bool {
    wanted.profile == Profile::Userinfo && wanted.claims.has("exp")
}
