//! The claims firewall: what may be signed, whoever asks (RFC 8725 §3.8–3.12). It answers with a [`Permit`], and
//! nothing signs without one. Every refusal has the name of its rule.

use std::marker::PhantomData;
use std::sync::Arc;

use super::claims::{Claims, Shape};
use super::key::Key;
pub use super::refusal::{Refusal, Rule};
use super::restriction::Restriction;
use super::{Ring, SignatureAlgorithm};
use crate::algorithm::RingAlgorithm;
use crate::error::Error;
use crate::signature::{self, MacKey};

/// How far `iat` may be from our clock, in seconds.
pub(crate) const IAT_WINDOW: i64 = 60;

macro_rules! names {
    ($(#[$meta:meta])* $type:ident { $($(#[$doc:meta])* $variant:ident = $wire:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $type { $($(#[$doc])* $variant,)+ }

        impl $type {
            /// Every value.
            pub const ALL: [$type; [$($wire),+].len()] = [$($type::$variant),+];

            /// Its name.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $($type::$variant => $wire,)+ }
            }
        }
    };
}
pub(super) use names;

names! {
    /// What kind of JWT is signed.
    Profile {
        /// OpenID Connect Core §2.
        IdToken = "id_token",
        /// RFC 9068.
        AccessToken = "access_token",
        /// OpenID Connect Back-Channel Logout §2.4.
        LogoutToken = "logout_token",
        /// OpenID Connect Core §5.3.2.
        Userinfo = "userinfo",
        /// RFC 9701.
        Introspection = "introspection",
        /// JARM §2.1.
        AuthorizationResponse = "authorization_response",
        /// RFC 8414 §2.1.
        Metadata = "metadata",
        /// RFC 7523 §3.
        ClientAssertion = "client_assertion",
    }
}

names! {
    /// The JOSE header's "typ" (RFC 8725 §3.11).
    Typ {
        /// RFC 7519 §5.1.
        Jwt = "JWT",
        /// RFC 9068 §2.1.
        AccessToken = "at+jwt",
        /// OpenID Connect Back-Channel Logout §2.4.
        LogoutToken = "logout+jwt",
        /// RFC 9701 §5.
        Introspection = "token-introspection+jwt",
    }
}

impl Profile {
    /// Its place in a header.
    #[must_use]
    pub fn typ(self) -> Typ {
        match self {
            Profile::AccessToken => Typ::AccessToken,
            Profile::LogoutToken => Typ::LogoutToken,
            Profile::Introspection => Typ::Introspection,
            Profile::IdToken
            | Profile::Userinfo
            | Profile::AuthorizationResponse
            | Profile::Metadata
            | Profile::ClientAssertion => Typ::Jwt,
        }
    }

    /// Claims without which it is not signed.
    pub(crate) fn required(self) -> &'static [&'static str] {
        match self {
            Profile::IdToken => &["iss", "sub", "aud", "exp", "iat"],
            Profile::AccessToken => &["iss", "exp", "aud", "sub", "client_id", "iat", "jti"],
            Profile::LogoutToken => &["iss", "aud", "iat", "jti", "events", "exp"],
            Profile::Userinfo => &["iss", "sub", "aud"],
            Profile::Introspection => &["iss", "aud", "iat", "token_introspection"],
            Profile::AuthorizationResponse => &["iss", "aud", "exp"],
            Profile::Metadata => &["iss"],
            Profile::ClientAssertion => &["iss", "sub", "aud", "exp", "iat", "jti"],
        }
    }

    /// Claims with which it is not signed.
    pub(crate) fn forbidden(self) -> &'static [&'static str] {
        match self {
            // Back-Channel Logout §2.4: so that it cannot be taken for an ID token.
            Profile::LogoutToken => &["nonce"],
            // RFC 9701 §5: so that it cannot be taken for an access token.
            Profile::Introspection => &["sub", "exp"],
            // JARM §2.1, RFC 8414 §2.1: they are about nobody, and without a subject no ID token (RFC 8725 §3.12).
            Profile::AuthorizationResponse | Profile::Metadata => &["sub"],
            _ => &[],
        }
    }
}

/// What a permit is for: a signature.
#[derive(Debug)]
pub enum Sign {}

/// Who signs what is permitted.
#[derive(Debug)]
pub(super) enum Signer {
    /// A key of a ring.
    Ring(Arc<Key>, SignatureAlgorithm),
    /// A secret that we share with the token's recipient.
    Secret(MacKey),
}

/// What a shared secret signs: what its recipient alone has to believe.
pub(crate) const BY_SECRET: [Profile; 5] = [
    Profile::IdToken,
    Profile::LogoutToken,
    Profile::Userinfo,
    Profile::Introspection,
    Profile::AuthorizationResponse,
];

/// What somebody wants to have signed.
#[derive(Debug)]
pub struct Wanted<'a> {
    /// As what.
    pub profile: Profile,
    /// The claims that were handed over.
    pub claims: Claims,
    /// The names of those that the service fills in.
    pub hashes: &'a [&'a str],
    /// What is configured for whoever wants it.
    pub restrictions: &'a [Arc<Restriction>],
}

impl Wanted<'_> {
    /// Before anything is signed: claims that the service fills in have the name of a hash, and each is filled in once.
    fn check_hashes(&self) -> Result<(), Error> {
        let is_letter = |octet: u8| octet.is_ascii_lowercase() || octet == b'_';
        for (index, claim) in self.hashes.iter().enumerate() {
            if !claim.ends_with("_hash") || claim.len() > 32 || !claim.bytes().all(is_letter) {
                return Err(Error::Malformed("hash_of.claim is not the name of a hash"));
            }
            if self.claims.has(claim) || self.hashes[..index].contains(claim) {
                return Err(Error::Malformed(
                    "hash_of.claim is among the claims already",
                ));
            }
        }
        Ok(())
    }
}

/// When a token begins and ends, in seconds since 1970-01-01T00:00:00Z.
#[derive(Debug)]
pub(super) struct Times {
    now: i64,
    issued_at: i64,
    expires_at: Option<i64>,
}

impl Times {
    fn of(claims: &Claims, now: i64) -> Times {
        Times {
            now,
            issued_at: date(claims, "iat").unwrap_or(now),
            expires_at: date(claims, "exp"),
        }
    }

    /// How far `iat` is from our clock.
    pub(super) fn skew(&self) -> i64 {
        (self.issued_at - self.now).abs()
    }

    /// `exp − iat`.
    pub(super) fn life(&self) -> Option<i64> {
        self.expires_at
            .map(|expires_at| expires_at - self.issued_at)
    }
}

/// Proof that the firewall was asked and agreed.
#[derive(Debug)]
pub struct Permit<Use> {
    pub(super) signer: Signer,
    pub(super) typ: Typ,
    pub(super) claims: Claims,
    granted: PhantomData<Use>,
}

impl Permit<Sign> {
    /// The "typ" of what is signed.
    pub(crate) fn typ(&self) -> Typ {
        self.typ
    }

    /// A claim of what is signed, as compact JSON.
    pub(crate) fn claim(&self, name: &str) -> Option<&[u8]> {
        self.claims.value(name)
    }

    /// Adds the hash of another token (OpenID Connect Core §3.1.3.6), which only this service computes: with the hash of
    /// the algorithm that signs this one. The claim is one of those that were wanted.
    pub(crate) fn add_hash(&mut self, claim: &str, of: &str) {
        let hash = match &self.signer {
            Signer::Ring(_, algorithm) => algorithm.hash_of_tokens(),
            Signer::Secret(key) => key.algorithm().hash(),
        };
        let hash = signature::left_half_hash(hash, of);
        self.claims.append(claim, &hash);
    }
}

/// The rules that hold for every ring.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Our names as compact JSON, to compare octets.
    issuers: Vec<Vec<u8>>,
    /// The longest claims, in octets.
    size: usize,
    /// The longest `exp − iat` of any token, in seconds.
    longest_life: i64,
}

impl Policy {
    /// `issuers` are all of ours; `size` in octets, of the claims after they were written again; `longest_life` in seconds,
    /// of any token.
    #[must_use]
    pub fn new<'a>(
        issuers: impl Iterator<Item = &'a String>,
        size: usize,
        longest_life: i64,
    ) -> Policy {
        let json = |issuer: &String| serde_json::Value::from(issuer.as_str()).to_string();
        Policy {
            issuers: issuers.map(|issuer| json(issuer).into_bytes()).collect(),
            size,
            longest_life,
        }
    }

    /// Decides whether the ring's active key may sign this at `now`.
    ///
    /// # Errors
    /// The rule that forbids it; or there is no key that may sign.
    pub fn permit(&self, ring: &Ring, wanted: Wanted<'_>, now: i64) -> Result<Permit<Sign>, Error> {
        let RingAlgorithm::Signature(algorithm) = ring.name().algorithm() else {
            return Err(Error::NotAllowed);
        };
        if !ring.profiles().contains(&wanted.profile) {
            return Err(Rule::Profile.into());
        }
        wanted.check_hashes()?;
        self.check(&wanted, ring.longest_life(), now)?;
        let key = ring.active(now).ok_or(Error::NoActiveKey)?;
        Ok(Permit {
            signer: Signer::Ring(Arc::clone(key), algorithm),
            typ: wanted.profile.typ(),
            claims: wanted.claims,
            granted: PhantomData,
        })
    }

    /// Decides whether a shared secret may sign this at `now`.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub fn permit_secret(
        &self,
        secret: MacKey,
        wanted: Wanted<'_>,
        now: i64,
    ) -> Result<Permit<Sign>, Error> {
        if !BY_SECRET.contains(&wanted.profile) {
            return Err(Rule::Profile.into());
        }
        wanted.check_hashes()?;
        self.check(&wanted, self.longest_life, now)?;
        Ok(Permit {
            signer: Signer::Secret(secret),
            typ: wanted.profile.typ(),
            claims: wanted.claims,
            granted: PhantomData,
        })
    }

    fn check(&self, wanted: &Wanted<'_>, longest: i64, now: i64) -> Result<(), Refusal> {
        let Wanted {
            profile, claims, ..
        } = wanted;
        if claims.as_bytes().len() > self.size {
            return Err(Rule::Size.into());
        }
        let mut required = profile.required().iter();
        if let Some(name) = required.find(|name| !claims.has(name)) {
            return Err(Rule::Required.by(name));
        }
        let mut forbidden = profile.forbidden().iter();
        if let Some(name) = forbidden.find(|name| claims.has(name)) {
            return Err(Rule::Forbidden.by(name));
        }
        check_types(claims)?;
        self.check_issuer(*profile, claims)?;
        if *profile == Profile::LogoutToken && !claims.has("sub") && !claims.has("sid") {
            return Err(Rule::Required.by("sub"));
        }

        let times = Times::of(claims, now);
        if times.skew() > IAT_WINDOW {
            return Err(Rule::IssuedAt.into());
        }
        if times.expires_at.is_some_and(|expires_at| expires_at <= now) {
            return Err(Rule::Expired.into());
        }
        if times.life().is_some_and(|life| life > longest) {
            return Err(Rule::Lifetime.into());
        }
        let mut restrictions = wanted.restrictions.iter();
        restrictions.try_for_each(|restriction| restriction.check(wanted, &times))
    }

    /// Of a client assertion, issuer and subject are the client that we are to somebody else (RFC 7523 §3).
    fn check_issuer(&self, profile: Profile, claims: &Claims) -> Result<(), Rule> {
        let issuer = claims.value("iss");
        let is_right = match profile {
            Profile::ClientAssertion => issuer == claims.value("sub"),
            _ => self.issuers.iter().any(|ours| issuer == Some(ours)),
        };
        is_right.then_some(()).ok_or(Rule::Issuer)
    }
}

fn date(claims: &Claims, name: &str) -> Option<i64> {
    match claims.shape(name) {
        Some(Shape::Date(date)) => Some(date),
        _ => None,
    }
}

/// RFC 7519 §4.1: a registered claim of another type is an error, not an absent claim.
fn check_types(claims: &Claims) -> Result<(), Refusal> {
    const TEXT: Shape = Shape::Text { empty: false };
    for name in ["exp", "iat", "nbf", "auth_time"] {
        if !matches!(claims.shape(name), None | Some(Shape::Date(_))) {
            return Err(Rule::Type.by(name));
        }
    }
    for name in ["iss", "sub", "jti", "client_id", "sid"] {
        if !matches!(claims.shape(name), None | Some(TEXT)) {
            return Err(Rule::Type.by(name));
        }
    }
    for name in ["events", "token_introspection"] {
        if !matches!(claims.shape(name), None | Some(Shape::Object)) {
            return Err(Rule::Type.by(name));
        }
    }
    match claims.shape("aud") {
        None | Some(TEXT | Shape::Texts) => Ok(()),
        Some(_) => Err(Rule::Type.by("aud")),
    }
}
