//! The OAuth error codes that this provider answers with: each has its string, and where it is registered.
//! `web/failure.rs` alone turns them into HTTP.

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
    /// OpenID Connect Core §3.1.2.6.
    RequestNotSupported = "request_not_supported",
    /// OpenID Connect Core §3.1.2.6.
    RequestUriNotSupported = "request_uri_not_supported",
    /// OpenID Connect Core §3.1.2.6.
    RegistrationNotSupported = "registration_not_supported",
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

/// Why an endpoint did not do what it was asked.
#[derive(Debug)]
pub enum Failure {
    /// A page with the heading "Authorization error", status 400: where a redirect would be unsafe.
    Page(&'static str),
    /// JSON (RFC 6749 §5.2); status 400, or 401 with `WWW-Authenticate: Basic` for `invalid_client`.
    Json(Refusal),
    /// RFC 6750 §3: `WWW-Authenticate: Bearer`, with the refusal unless nothing was presented.
    Bearer(Option<Refusal>),
    /// Something of ours is out of order: 503 with Retry-After; a page or JSON by endpoint. The reason is for the log.
    Unavailable(String),
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
