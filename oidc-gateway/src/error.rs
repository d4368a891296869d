//! The OAuth error codes that this provider answers with: each has its string, and where it is registered.
//! `web/failure.rs` alone turns them into HTTP.

use std::borrow::Cow;
use std::time::Duration;

use serde::Deserialize;

macro_rules! codes {
    ($($(#[$doc:meta])* $variant:ident = $wire:literal,)+) => {
        /// A registered error code.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $variant,)+ }

        impl Code {
            /// The string on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $(Code::$variant => $wire,)+ }
            }
        }
    };
}

codes! {
    /// RFC 6749 §4.1.2.1, §5.2.
    InvalidRequest = "invalid_request",
    /// RFC 6749 §5.2.
    InvalidClient = "invalid_client",
    /// RFC 6749 §5.2.
    InvalidGrant = "invalid_grant",
    /// RFC 6749 §4.1.2.1, §5.2.
    UnauthorizedClient = "unauthorized_client",
    /// RFC 6749 §5.2.
    UnsupportedGrantType = "unsupported_grant_type",
    /// RFC 6749 §4.1.2.1, §5.2.
    InvalidScope = "invalid_scope",
    /// RFC 6749 §4.1.2.1.
    AccessDenied = "access_denied",
    /// RFC 6749 §4.1.2.1.
    UnsupportedResponseType = "unsupported_response_type",
    /// RFC 6749 §4.1.2.1; also in JSON, where §5.2 has no word for it.
    ServerError = "server_error",
    /// RFC 6749 §4.1.2.1.
    TemporarilyUnavailable = "temporarily_unavailable",
    /// RFC 6750 §3.1.
    InvalidToken = "invalid_token",
    /// RFC 6750 §3.1.
    InsufficientScope = "insufficient_scope",
    /// OpenID Connect Core §3.1.2.6.
    LoginRequired = "login_required",
    /// OpenID Connect Core §3.1.2.6.
    ConsentRequired = "consent_required",
    /// OpenID Connect Core Error Code unmet_authentication_requirements 1.0 §2.
    UnmetAuthenticationRequirements = "unmet_authentication_requirements",
    /// OpenID Connect Core §3.1.2.6.
    InvalidRequestObject = "invalid_request_object",
    /// OpenID Connect Core §3.1.2.6.
    InvalidRequestUri = "invalid_request_uri",
    /// OpenID Connect Core §3.1.2.6.
    RegistrationNotSupported = "registration_not_supported",
    /// RFC 7591 §3.2.2.
    InvalidRedirectUri = "invalid_redirect_uri",
    /// RFC 7591 §3.2.2.
    InvalidClientMetadata = "invalid_client_metadata",
    /// RFC 8628 §3.5: too often, not yet.
    SlowDown = "slow_down",
}

/// A refusal: a registered code and constant words for the developer of the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// Which.
    pub code: Code,
    /// `error_description`: constant text in the characters of RFC 6749 §5.2, never input, never an inner error.
    pub description: &'static str,
}

impl Refusal {
    /// A refusal.
    pub const fn new(code: Code, description: &'static str) -> Refusal {
        Refusal { code, description }
    }
}

/// `[errors]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// A page about the errors that clients get, with the code behind `#`: their `error_uri`. Default: none.
    pub uri: Option<String>,
}

impl Settings {
    /// Why the page cannot be named.
    pub(crate) fn check(&self) -> Result<(), &'static str> {
        // RFC 6749 §5.2: error_uri is written into JSON and into URLs as it is.
        let plain = |octet: u8| octet.is_ascii_graphic() && !matches!(octet, b'"' | b'\\' | b'#');
        match &self.uri {
            Some(uri) if !uri.starts_with("https://") || !uri.bytes().all(plain) => {
                Err("must be an https URL without a fragment")
            }
            _ => Ok(()),
        }
    }

    /// "error_uri" (RFC 6749 §4.1.2.1, §5.2).
    pub(crate) fn page(&self, code: Code) -> Option<String> {
        let uri = self.uri.as_ref()?;
        Some(format!("{uri}#{}", code.as_str()))
    }
}

/// Why an endpoint did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// A page with the heading "Authorization error", status 400: where a redirect would be unsafe.
    Page(&'static str),
    /// JSON (RFC 6749 §5.2); status 400, or 401 with `WWW-Authenticate: Basic` for `invalid_client`.
    Json(Refusal),
    /// RFC 6750 §3: `WWW-Authenticate: Bearer`, with the refusal unless nothing was presented.
    Bearer(Option<Refusal>),
    /// RFC 7591 §3.2.2: JSON, status 400; which member, and constant words about it.
    Metadata {
        /// Which.
        code: Code,
        /// The member that has to be changed.
        member: &'static str,
        /// Why.
        sentence: Cow<'static, str>,
    },
    /// RFC 6585 §4: 429 with Retry-After.
    TooOften(Duration),
    /// Something of ours is out of order: 503 with Retry-After; a page or JSON by endpoint. The reason is for the log.
    Unavailable(String),
    /// The same at every attempt, until an operator mends it: 500; a page or JSON. The reason is for the log.
    Misconfigured(String),
    /// The body of the request did not arrive as it must.
    Body(Body),
}

/// What is wrong with how a body arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// Longer than `listen.limits.body_size`.
    TooLarge,
    /// Not whole within `listen.limits.body_timeout`.
    TooSlow,
    /// It ended before its end.
    BrokenOff,
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Failure {
        Failure::Json(refusal)
    }
}
