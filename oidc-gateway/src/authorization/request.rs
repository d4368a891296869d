//! The authentication request (OpenID Connect Core §3.1.2.1), parsed: what is left is a matter of decision. Unknown
//! parameters are ignored; a known one that comes twice is refused (RFC 6749 §3.1).

use serde::{Deserialize, Serialize};

use super::claims_parameter::ClaimsRequest;
use super::settings::Settings;
use crate::client::Client;
use crate::client::metadata::{GrantType, ResponseMode, ResponseType};
use crate::error::{Code, Refusal};
use crate::page::locale::Locales;
use crate::params::{Duplicate, Params};
use crate::pkce::{Challenge, Required};
use crate::scope::{OFFLINE_ACCESS, OPENID, Scope};

/// A "nonce" longer than this is refused: octets.
const LONGEST_NONCE: usize = 1024;
/// Seconds in ten years: a larger max_age asks for nothing.
const LONGEST_MAX_AGE: u32 = 315_360_000;

/// OpenID Connect Core §3.1.2.1 "display". The pages fit each of them; the values that are advertised pass.
pub(crate) const DISPLAY: [&str; 4] = ["page", "popup", "touch", "wap"];

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
    pub(crate) response_type: ResponseType,
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
    /// The name that is asked for and that a sign-in here amounts to, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) acr: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) claims: Option<ClaimsRequest>,
    #[serde(default, skip_serializing_if = "Locales::is_empty")]
    pub(crate) claims_locales: Locales,
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
                _ => return Err(invalid("unknown value of prompt")),
            }
        }
        if prompt.none && (prompt.login || prompt.consent || prompt.select_account) {
            return Err(invalid("prompt=none goes with no other value"));
        }
        Ok(prompt)
    }
}

impl AuthorizationRequest {
    /// Parses what the client asks for. A refusal goes to its address.
    pub(crate) fn parse(
        params: &Params<'_>,
        client: &Client,
        settings: &Settings,
    ) -> Result<AuthorizationRequest, Refusal> {
        if SINGLE.iter().any(|name| params.one(name) == Err(Duplicate)) {
            return Err(Duplicate.into());
        }
        let one = |name| params.one(name).ok().flatten();
        // OpenID Connect Core §3.1.2.6: what we do not support is said, not ignored.
        if one("registration").is_some() {
            return Err(Refusal::new(
                Code::RegistrationNotSupported,
                "registration is not supported",
            ));
        }
        let response_type = response_type(one("response_type"), client)?;
        response_mode(one("response_mode"), response_type, client)?;
        let scope = scope(one("scope"), response_type, client)?;
        let is_openid = scope.has(OPENID);
        let nonce = one("nonce");
        if nonce.is_some_and(|nonce| nonce.len() > LONGEST_NONCE) {
            return Err(invalid("nonce is too long"));
        }
        // §3.2.2.1, §3.3.2.11: without it an ID token from the front channel could be one of another request.
        if nonce.is_none() && response_type.has_id_token() {
            return Err(invalid("nonce is required with this response_type"));
        }
        let is_short = |value: &str| value.len() < settings.minimum_parameter_entropy;
        if one("state").is_some_and(is_short) {
            return Err(invalid("state is too short to be hard to guess"));
        }
        if nonce.is_some_and(is_short) {
            return Err(invalid("nonce is too short to be hard to guess"));
        }
        let max_age = match one("max_age").map(seconds) {
            None => client.default_max_age,
            Some(Some(seconds)) => Some(seconds.min(LONGEST_MAX_AGE)),
            Some(None) => return Err(invalid("max_age is not a number of seconds")),
        };
        if one("display").is_some_and(|display| !DISPLAY.contains(&display)) {
            return Err(invalid("unknown value of display"));
        }
        let claims = match one("claims")
            .filter(|_| is_openid)
            .map(ClaimsRequest::parse)
        {
            None => None,
            Some(Ok(claims)) => Some(claims).filter(|claims| !claims.is_empty()),
            Some(Err(_)) => return Err(invalid("claims is not a claims request")),
        };
        let pkce = match response_type.has_code() {
            true => client.pkce,
            false => Required::No,
        };
        let login_hint = one("login_hint").filter(|hint| hint.len() <= 256);
        Ok(AuthorizationRequest {
            prompt: Prompt::parse(one("prompt").unwrap_or_default())?,
            challenge: Challenge::parse(one("code_challenge"), one("code_challenge_method"), pkce)?,
            nonce: nonce.map(str::to_owned),
            max_age,
            login_hint: login_hint.map(str::to_owned),
            id_token_hint: one("id_token_hint").map(str::to_owned),
            acr: acr(claims.as_ref(), one("acr_values"), client, settings)?,
            claims,
            claims_locales: Locales::parse(one("claims_locales").unwrap_or_default()),
            response_type,
            scope,
        })
    }

    /// Whether this is OpenID Connect (Core §3.1.2.1) rather than OAuth alone.
    pub(crate) fn is_openid(&self) -> bool {
        self.scope.has(OPENID)
    }

    /// §5.5.1: whom the client expects, by the names under which it knows people; none: anybody.
    pub(crate) fn expected_subjects(&self) -> Vec<&str> {
        let asked = self
            .claims
            .as_ref()
            .and_then(|claims| claims.id_token.get("sub"));
        asked.map_or(Vec::new(), |sub| sub.texts().collect())
    }
}

const fn invalid(description: &'static str) -> Refusal {
    Refusal::new(Code::InvalidRequest, description)
}

fn response_type(text: Option<&str>, client: &Client) -> Result<ResponseType, Refusal> {
    let text = text.ok_or(invalid("response_type is missing"))?;
    let response_type = ResponseType::named(text).ok_or(Refusal::new(
        Code::UnsupportedResponseType,
        "this response_type is not supported",
    ))?;
    // RFC 7591 §2.1: what comes from the authorization endpoint is the implicit grant.
    if !client.may_ask_for(response_type)
        || (response_type.is_front_channel() && !client.may_use(GrantType::Implicit))
    {
        return Err(Refusal::new(
            Code::UnauthorizedClient,
            "the client is not registered for this response_type",
        ));
    }
    Ok(response_type)
}

fn response_mode(
    text: Option<&str>,
    response_type: ResponseType,
    client: &Client,
) -> Result<(), Refusal> {
    let mode = match text {
        None => response_type.default_mode(),
        Some(text) => ResponseMode::named(text).ok_or(invalid("unknown response_mode"))?,
    };
    if !response_type.may_come_by(mode) {
        return Err(invalid("tokens are not sent in the query"));
    }
    if !client.may_be_answered_by(mode) {
        return Err(Refusal::new(
            Code::UnauthorizedClient,
            "the client is not registered for this response_mode",
        ));
    }
    Ok(())
}

fn scope(
    text: Option<&str>,
    response_type: ResponseType,
    client: &Client,
) -> Result<Scope, Refusal> {
    let asked = Scope::parse_separated(text.unwrap_or_default(), client.scope_separator)?;
    // §11: a refresh token comes with a code or not at all.
    let is_possible = |word: &str| word != OFFLINE_ACCESS || response_type.has_code();
    // §3.1.2.1: "Scope values used that are not understood by an implementation SHOULD be ignored."
    let scope = asked.filtered(|word| client.may_have_scope(word) && is_possible(word));
    if scope.is_empty() {
        return Err(Refusal::new(
            Code::InvalidScope,
            "scope names nothing that the client may ask for",
        ));
    }
    if response_type.has_id_token() && !scope.has(OPENID) {
        return Err(Refusal::new(
            Code::InvalidScope,
            "an ID token needs the scope openid",
        ));
    }
    Ok(scope)
}

/// The first name that is asked for and that a sign-in here amounts to: the claims parameter's before `acr_values`'
/// before the client's own (§3.1.2.1, §5.5.1.1; Registration §2 "default_acr_values").
fn acr(
    claims: Option<&ClaimsRequest>,
    acr_values: Option<&str>,
    client: &Client,
    settings: &Settings,
) -> Result<Option<String>, Refusal> {
    let reached = |name: &&str| {
        settings
            .acr_values_supported
            .iter()
            .any(|each| each == name)
    };
    if let Some(asked) = claims.and_then(|claims| claims.id_token.get("acr")) {
        let found = asked.texts().find(reached);
        let is_bound = asked.value.is_some() || !asked.values.is_empty();
        // §5.5.1.1: "the Authorization Server MUST treat that outcome as a failed authentication attempt."
        if asked.essential && is_bound && found.is_none() {
            return Err(Refusal::new(
                Code::UnmetAuthenticationRequirements,
                "no sign-in here amounts to the acr that is essential",
            ));
        }
        if let Some(found) = found {
            return Ok(Some(found.to_owned()));
        }
    }
    let wanted = acr_values.unwrap_or_default().split(' ');
    let usual = client.default_acr_values.iter().map(String::as_str);
    Ok(wanted.chain(usual).find(reached).map(str::to_owned))
}

/// Digits alone: `parse` would take a sign too.
fn seconds(text: &str) -> Option<u32> {
    let is_digits = text.bytes().all(|octet| octet.is_ascii_digit());
    text.parse().ok().filter(|_| is_digits)
}
