//! The authentication request (OpenID Connect Core §3.1.2.1), parsed: what is left is a matter of decision. Unknown
//! parameters are ignored; a known one that comes twice is refused (RFC 6749 §3.1).

use serde::{Deserialize, Serialize};

use crate::client::Client;
use crate::client::metadata::{ResponseMode, ResponseType};
use crate::error::{Code, Refusal};
use crate::params::{Duplicate, Params};
use crate::pkce::Challenge;
use crate::scope::{OPENID, Scope};

/// A "nonce" longer than this is refused: octets.
const LONGEST_NONCE: usize = 1024;
/// Seconds in ten years: a larger max_age asks for nothing.
const LONGEST_MAX_AGE: u32 = 315_360_000;

/// Parameters that come at most once.
const SINGLE: [&str; 20] = [
    "response_type",
    "scope",
    "state",
    "response_mode",
    "nonce",
    "display",
    "prompt",
    "max_age",
    "ui_locales",
    "id_token_hint",
    "login_hint",
    "acr_values",
    "claims",
    "claims_locales",
    "request",
    "request_uri",
    "registration",
    "code_challenge",
    "code_challenge_method",
    "dpop_jkt",
];

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AuthorizationRequest {
    pub(crate) scope: Scope,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) nonce: Option<String>,
    pub(crate) prompt: Prompt,
    /// Seconds since the End-User signed in, at the most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) max_age: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) login_hint: Option<String>,
    /// Not verified yet. Not kept: an ID token has no place in the store (RD-06), and who was meant is known by then.
    #[serde(skip)]
    pub(crate) id_token_hint: Option<String>,
    pub(crate) challenge: Challenge,
}

/// OpenID Connect Core §3.1.2.1 "prompt".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Prompt {
    pub(crate) none: bool,
    pub(crate) login: bool,
    pub(crate) consent: bool,
    pub(crate) select_account: bool,
}

impl Prompt {
    /// The values that are advertised, and no others pass.
    pub(crate) const ALL: [&'static str; 4] = ["none", "login", "consent", "select_account"];

    fn parse(text: &str) -> Result<Prompt, Refusal> {
        let mut prompt = Prompt::default();
        for word in text.split(' ').filter(|word| !word.is_empty()) {
            match word {
                "none" => prompt.none = true,
                "login" => prompt.login = true,
                "consent" => prompt.consent = true,
                "select_account" => prompt.select_account = true,
                _ => {
                    return Err(Refusal::new(
                        Code::InvalidRequest,
                        "unknown value of prompt",
                    ));
                }
            }
        }
        if prompt.none && (prompt.login || prompt.consent || prompt.select_account) {
            return Err(Refusal::new(
                Code::InvalidRequest,
                "prompt=none goes with no other value",
            ));
        }
        Ok(prompt)
    }
}

impl AuthorizationRequest {
    /// Parses what the client asks for. A refusal goes to its address.
    pub(crate) fn parse(
        params: &Params<'_>,
        client: &Client,
    ) -> Result<AuthorizationRequest, Refusal> {
        if SINGLE.iter().any(|name| params.one(name) == Err(Duplicate)) {
            return Err(Duplicate.into());
        }
        let one = |name| params.one(name).ok().flatten();
        let refuse = |code, description| Err(Refusal::new(code, description));
        // OpenID Connect Core §3.1.2.6: what we do not support is said, not ignored.
        if one("request").is_some() {
            return refuse(
                Code::RequestNotSupported,
                "request objects are not supported",
            );
        }
        if one("request_uri").is_some() {
            return refuse(Code::RequestUriNotSupported, "request_uri is not supported");
        }
        if one("registration").is_some() {
            return refuse(
                Code::RegistrationNotSupported,
                "registration is not supported",
            );
        }
        match one("response_type") {
            None => return refuse(Code::InvalidRequest, "response_type is missing"),
            Some(name) if ResponseType::named(name).is_some() => {
                if !client.may_ask_for(ResponseType::Code) {
                    return refuse(
                        Code::UnauthorizedClient,
                        "the client is not registered for this response_type",
                    );
                }
            }
            Some(_) => {
                return refuse(
                    Code::UnsupportedResponseType,
                    "this response_type is not supported",
                );
            }
        }
        if one("response_mode").is_some_and(|name| ResponseMode::named(name).is_none()) {
            return refuse(Code::InvalidRequest, "unknown response_mode");
        }
        // §3.1.2.1: "Scope values used that are not understood by an implementation SHOULD be ignored."
        let scope =
            Scope::parse(one("scope").unwrap_or_default())?.filtered(|word| client.scope.has(word));
        if scope.is_empty() {
            return refuse(
                Code::InvalidScope,
                "scope names nothing that the client may ask for",
            );
        }
        if one("nonce").is_some_and(|nonce| nonce.len() > LONGEST_NONCE) {
            return refuse(Code::InvalidRequest, "nonce is too long");
        }
        let max_age = match one("max_age").map(seconds) {
            None => client.default_max_age,
            Some(Some(seconds)) => Some(seconds.min(LONGEST_MAX_AGE)),
            Some(None) => {
                return refuse(Code::InvalidRequest, "max_age is not a number of seconds");
            }
        };
        let login_hint = one("login_hint").filter(|hint| hint.len() <= 256);
        Ok(AuthorizationRequest {
            prompt: Prompt::parse(one("prompt").unwrap_or_default())?,
            challenge: Challenge::parse(
                one("code_challenge"),
                one("code_challenge_method"),
                client.pkce,
            )?,
            nonce: one("nonce").map(str::to_owned),
            max_age,
            login_hint: login_hint.map(str::to_owned),
            id_token_hint: one("id_token_hint").map(str::to_owned),
            scope,
        })
    }

    /// Whether this is OpenID Connect (Core §3.1.2.1) rather than OAuth alone.
    pub(crate) fn is_openid(&self) -> bool {
        self.scope.has(OPENID)
    }
}

/// Digits alone: `parse` would take a sign too.
fn seconds(text: &str) -> Option<u32> {
    let is_digits = text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|_| is_digits)
}
