//! The claims firewall: what may be signed, whoever asks (RFC 8725 §3.8–3.12). It answers with a [`Permit`], and
//! nothing signs without one. Every refusal has the name of its rule.

use std::marker::PhantomData;
use std::sync::Arc;

use super::claims::{Claims, Shape};
use super::key::Key;
use super::{Ring, SignatureAlgorithm};
use crate::algorithm::RingAlgorithm;
use crate::error::Error;
use crate::signature::{self, MacKey};

/// How far `iat` may be from our clock, in seconds.
const IAT_WINDOW: i64 = 60;

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

names! {
    /// Why the firewall said no. The name is what the caller is told.
    Rule {
        /// The ring does not sign JWTs of this profile.
        Profile = "profile",
        /// The claims are longer than the configured size.
        Size = "size",
        /// `iss` is not ours.
        Issuer = "issuer",
        /// A claim that the profile requires is absent.
        Required = "claims.required",
        /// A claim is there that the profile forbids.
        Forbidden = "claims.forbidden",
        /// A registered claim is not of its type: times are whole numbers, names are not empty.
        Type = "claims.type",
        /// `iat` is more than a minute from our clock.
        IssuedAt = "iat",
        /// `exp` has passed.
        Expired = "exp",
        /// `exp − iat` is longer than a token may live.
        Lifetime = "lifetime",
        /// The ring does not make MACs of this purpose.
        Purpose = "purpose",
        /// A shared secret is shorter than its algorithm demands.
        SecretLength = "secret.length",
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

    fn required(self) -> &'static [&'static str] {
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

    fn forbidden(self) -> &'static [&'static str] {
        match self {
            // Back-Channel Logout §2.4: so that it cannot be taken for an ID token.
            Profile::LogoutToken => &["nonce"],
            // RFC 9701 §5: so that it cannot be taken for an access token.
            Profile::Introspection => &["sub", "exp"],
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
const BY_SECRET: [Profile; 5] = [
    Profile::IdToken,
    Profile::LogoutToken,
    Profile::Userinfo,
    Profile::Introspection,
    Profile::AuthorizationResponse,
];

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
    /// the algorithm that signs this one.
    ///
    /// # Errors
    /// When the name is not that of a hash, or is taken.
    pub fn add_hash(&mut self, claim: &str, of: &str) -> Result<(), Error> {
        let plain = claim
            .bytes()
            .all(|octet| octet.is_ascii_lowercase() || octet == b'_');
        if !claim.ends_with("_hash") || claim.len() > 32 || !plain {
            return Err(Error::Malformed("hash_of.claim is not the name of a hash"));
        }
        if self.claims.has(claim) {
            return Err(Error::Malformed(
                "hash_of.claim is among the claims already",
            ));
        }
        let hash = match &self.signer {
            Signer::Ring(_, algorithm) => algorithm.hash_of_tokens(),
            Signer::Secret(key) => key.algorithm().hash(),
        };
        let hash = signature::left_half_hash(hash, of);
        self.claims.append(claim, &hash);
        Ok(())
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
    /// `issuers` are all of ours; `size` in octets, of the claims after they were written again; `longest_life` in seconds, of any token.
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

    /// Decides whether the ring's active key may sign these claims as this profile at `now`.
    ///
    /// # Errors
    /// The rule that forbids it; or there is no key that may sign.
    pub fn permit(
        &self,
        ring: &Ring,
        profile: Profile,
        claims: Claims,
        now: i64,
    ) -> Result<Permit<Sign>, Error> {
        let RingAlgorithm::Signature(algorithm) = ring.name().algorithm() else {
            return Err(Error::NotAllowed);
        };
        if !ring.profiles().contains(&profile) {
            return Err(Error::Policy(Rule::Profile));
        }
        self.check(profile, &claims, ring.longest_life(), now)
            .map_err(Error::Policy)?;
        let key = ring.active(now).ok_or(Error::NoActiveKey)?;
        Ok(Permit {
            signer: Signer::Ring(Arc::clone(key), algorithm),
            typ: profile.typ(),
            claims,
            granted: PhantomData,
        })
    }

    /// Decides whether a shared secret may sign these claims as this profile at `now`.
    ///
    /// # Errors
    /// The rule that forbids it.
    pub fn permit_secret(
        &self,
        secret: MacKey,
        profile: Profile,
        claims: Claims,
        now: i64,
    ) -> Result<Permit<Sign>, Error> {
        if !BY_SECRET.contains(&profile) {
            return Err(Error::Policy(Rule::Profile));
        }
        self.check(profile, &claims, self.longest_life, now)
            .map_err(Error::Policy)?;
        Ok(Permit {
            signer: Signer::Secret(secret),
            typ: profile.typ(),
            claims,
            granted: PhantomData,
        })
    }

    fn check(&self, profile: Profile, claims: &Claims, longest: i64, now: i64) -> Result<(), Rule> {
        if claims.as_bytes().len() > self.size {
            return Err(Rule::Size);
        }
        if !profile.required().iter().all(|name| claims.has(name)) {
            return Err(Rule::Required);
        }
        if profile.forbidden().iter().any(|name| claims.has(name)) {
            return Err(Rule::Forbidden);
        }
        check_types(claims)?;
        self.check_issuer(profile, claims)?;
        if profile == Profile::LogoutToken && !claims.has("sub") && !claims.has("sid") {
            return Err(Rule::Required);
        }

        let issued_at = date(claims, "iat").unwrap_or(now);
        if (issued_at - now).abs() > IAT_WINDOW {
            return Err(Rule::IssuedAt);
        }
        if let Some(expires_at) = date(claims, "exp") {
            if expires_at <= now {
                return Err(Rule::Expired);
            }
            if expires_at - issued_at > longest {
                return Err(Rule::Lifetime);
            }
        }
        Ok(())
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
fn check_types(claims: &Claims) -> Result<(), Rule> {
    const TEXT: Shape = Shape::Text { empty: false };
    for name in ["exp", "iat", "nbf", "auth_time"] {
        if !matches!(claims.shape(name), None | Some(Shape::Date(_))) {
            return Err(Rule::Type);
        }
    }
    for name in ["iss", "sub", "jti", "client_id", "sid"] {
        if !matches!(claims.shape(name), None | Some(TEXT)) {
            return Err(Rule::Type);
        }
    }
    for name in ["events", "token_introspection"] {
        if !matches!(claims.shape(name), None | Some(Shape::Object)) {
            return Err(Rule::Type);
        }
    }
    match claims.shape("aud") {
        None | Some(TEXT | Shape::Texts) => Ok(()),
        Some(_) => Err(Rule::Type),
    }
}
