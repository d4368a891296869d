//! Any error → a response: the only place that picks an error's HTTP status. Descriptions are constant text; reasons
//! stay in the log.

use http::header::{ALLOW, CONNECTION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use serde::Deserialize;

use super::router::{Endpoint, Methods};
use super::{Request, Response};
use crate::error::{self, Body, Code, Failure, Refusal};
use crate::page;

const BASIC: HeaderValue = HeaderValue::from_static("Basic realm=\"signet\", charset=\"UTF-8\"");
const BEARER: HeaderValue = HeaderValue::from_static("Bearer realm=\"signet\"");
const SOON: HeaderValue = HeaderValue::from_static("1");

/// The answer to a request that an endpoint did not fulfil.
pub(super) fn answer(
    failure: Failure,
    endpoint: Endpoint,
    request: &Request,
    errors: &error::Settings,
) -> Response {
    let json = |status, refusal: Refusal| json(status, refusal, errors.page(refusal.code));
    let page = |status, message| {
        let request_id = request.id().as_str().to_owned();
        Response::page(
            page::Error {
                message,
                request_id,
            }
            .render(),
        )
        .with_status(status)
    };
    let is_page = endpoint.is_page();
    match failure {
        Failure::Page(message) => page(StatusCode::BAD_REQUEST, message),
        Failure::Json(refusal) if is_page => page(StatusCode::BAD_REQUEST, refusal.description),
        Failure::Json(refusal) => refused(refusal, errors),
        Failure::Bearer(refusal) => challenge(refusal, "signet", Verbosity::default()),
        Failure::Unavailable(reason) => {
            tracing::warn!(
                request_id = request.id().as_str(),
                endpoint = endpoint.name(),
                reason,
                "a request could not be served"
            );
            let response = match is_page {
                true => page(StatusCode::SERVICE_UNAVAILABLE, page::text::UNAVAILABLE),
                false => json(
                    StatusCode::SERVICE_UNAVAILABLE,
                    Refusal::new(Code::TemporarilyUnavailable, "try again in a moment"),
                ),
            };
            response.with_header(RETRY_AFTER, SOON)
        }
        Failure::Misconfigured(reason) => {
            tracing::warn!(
                request_id = request.id().as_str(),
                endpoint = endpoint.name(),
                reason,
                "a request cannot be served as the gateway and the key-service are configured"
            );
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            match is_page {
                true => page(status, page::text::MISCONFIGURED),
                false => json(
                    status,
                    Refusal::new(Code::ServerError, "the provider is not configured for this"),
                ),
            }
        }
        Failure::Metadata {
            code,
            member,
            sentence,
        } => described(
            StatusCode::BAD_REQUEST,
            code,
            &format!("{member} {sentence}"),
        ),
        Failure::TooOften(wait) => {
            let refusal = Refusal::new(Code::SlowDown, "too many requests: try again later");
            let seconds = HeaderValue::from(wait.as_secs() + 1);
            json(StatusCode::TOO_MANY_REQUESTS, refusal).with_header(RETRY_AFTER, seconds)
        }
        Failure::Body(wrong) => {
            let (status, description) = body(wrong);
            match is_page {
                true => page(status, page::text::NOT_UNDERSTOOD),
                false => json(status, Refusal::new(Code::InvalidRequest, description)),
            }
        }
    }
}

/// There is nothing of that name.
pub(crate) fn not_found() -> Response {
    Response::text("Not found\n").with_status(StatusCode::NOT_FOUND)
}

/// A request that does not say which host it is for, or says it twice.
pub(super) fn no_host() -> Response {
    Response::text("Bad request\n")
        .with_status(StatusCode::BAD_REQUEST)
        .with_header(CONNECTION, HeaderValue::from_static("close"))
}

/// There is, but not with this method (RFC 9110 §15.5.6).
pub(super) fn method_not_allowed(methods: Methods) -> Response {
    Response::text("Method not allowed\n")
        .with_status(StatusCode::METHOD_NOT_ALLOWED)
        .with_header(ALLOW, HeaderValue::from_static(methods.allow()))
}

/// "Logout error": a request for logout that must not be followed (RP-Initiated Logout §4).
pub(crate) fn logout_error(
    message: &'static str,
    text: &'static page::text::Text,
    request: &Request,
) -> Response {
    let request_id = request.id().as_str().to_owned();
    Response::page(
        page::LogoutError {
            text,
            message,
            request_id,
        }
        .render(),
    )
    .with_status(StatusCode::BAD_REQUEST)
}

/// A probe says no.
pub(crate) fn not_ready(body: &'static str) -> Response {
    Response::json(body).with_status(StatusCode::SERVICE_UNAVAILABLE)
}

fn refused(refusal: Refusal, errors: &error::Settings) -> Response {
    let json = |status, refusal: Refusal| json(status, refusal, errors.page(refusal.code));
    match refusal.code {
        // RFC 6749 §5.2.
        Code::InvalidClient => {
            json(StatusCode::UNAUTHORIZED, refusal).with_header(WWW_AUTHENTICATE, BASIC)
        }
        Code::TemporarilyUnavailable => {
            json(StatusCode::SERVICE_UNAVAILABLE, refusal).with_header(RETRY_AFTER, SOON)
        }
        _ => json(StatusCode::BAD_REQUEST, refusal),
    }
}

/// How much a refusal of an access token says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verbosity {
    /// The status alone.
    Status,
    /// And the code.
    Code,
    /// And words.
    #[default]
    Description,
}

/// RFC 6750 §3: nothing presented, nothing said.
pub(crate) fn challenge(refusal: Option<Refusal>, realm: &str, verbosity: Verbosity) -> Response {
    let mut challenge = format!("Bearer realm=\"{realm}\"");
    let status = match refusal.map(|refusal| refusal.code) {
        Some(Code::InvalidRequest) => StatusCode::BAD_REQUEST,
        Some(Code::InsufficientScope) => StatusCode::FORBIDDEN,
        _ => StatusCode::UNAUTHORIZED,
    };
    let response = match (refusal, verbosity) {
        (None, _) | (_, Verbosity::Status) => Response::empty().with_status(status),
        (Some(refusal), Verbosity::Code) => {
            let code = refusal.code.as_str();
            challenge.push_str(&format!(", error=\"{code}\""));
            Response::json(format!("{{\"error\":\"{code}\"}}")).with_status(status)
        }
        (Some(refusal), Verbosity::Description) => {
            let (code, description) = (refusal.code.as_str(), refusal.description);
            challenge.push_str(&format!(
                ", error=\"{code}\", error_description=\"{description}\""
            ));
            json(status, refusal, None)
        }
    };
    let challenge = HeaderValue::from_str(&challenge).unwrap_or(BEARER);
    response.with_header(WWW_AUTHENTICATE, challenge)
}

/// Words that are constants of ours, in the characters of RFC 6749 §5.2.
fn described(status: StatusCode, code: Code, words: &str) -> Response {
    let words = words.replace('§', "section ").replace('"', "'");
    let plain = |character: &char| matches!(character, ' '..='~') && *character != '\\';
    let words: String = words.chars().filter(plain).collect();
    let body = format!(
        "{{\"error\":\"{}\",\"error_description\":\"{words}\"}}",
        code.as_str()
    );
    Response::json(body).with_status(status)
}

fn json(status: StatusCode, refusal: Refusal, page: Option<String>) -> Response {
    let page = page.map_or_else(String::new, |uri| format!(",\"error_uri\":\"{uri}\""));
    // These are constants, and a URL of the configuration, in the characters of RFC 6749 §5.2, which need no escape.
    let body = format!(
        "{{\"error\":\"{}\",\"error_description\":\"{}\"{page}}}",
        refusal.code.as_str(),
        refusal.description
    );
    Response::json(body).with_status(status)
}

fn body(wrong: Body) -> (StatusCode, &'static str) {
    match wrong {
        Body::TooSlow => (
            StatusCode::REQUEST_TIMEOUT,
            "the body of the request took too long",
        ),
        Body::TooLarge => (
            StatusCode::PAYLOAD_TOO_LARGE,
            "the body of the request is too large",
        ),
        Body::BrokenOff => (StatusCode::BAD_REQUEST, "the request is not understood"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::request::tests::request;
    use super::*;

    #[test]
    fn statuses_and_challenges() {
        let json = |code| Failure::Json(Refusal::new(code, "why"));
        let bearer = |code| Failure::Bearer(Some(Refusal::new(code, "why")));
        let rows = [
            (Endpoint::Token, json(Code::InvalidRequest), 400, None),
            (Endpoint::Token, json(Code::InvalidGrant), 400, None),
            (
                Endpoint::Token,
                json(Code::InvalidClient),
                401,
                Some("Basic realm=\"signet\", charset=\"UTF-8\""),
            ),
            (
                Endpoint::Authorization,
                json(Code::InvalidRequest),
                400,
                None,
            ),
            (Endpoint::Authorization, Failure::Page("why"), 400, None),
            (
                Endpoint::Userinfo,
                Failure::Bearer(None),
                401,
                Some("Bearer realm=\"signet\""),
            ),
            (
                Endpoint::Userinfo,
                bearer(Code::InvalidToken),
                401,
                Some("Bearer realm=\"signet\", error=\"invalid_token\", error_description=\"why\""),
            ),
            (
                Endpoint::Userinfo,
                bearer(Code::InsufficientScope),
                403,
                Some(
                    "Bearer realm=\"signet\", error=\"insufficient_scope\", error_description=\"why\"",
                ),
            ),
            (
                Endpoint::Userinfo,
                bearer(Code::InvalidRequest),
                400,
                Some(
                    "Bearer realm=\"signet\", error=\"invalid_request\", error_description=\"why\"",
                ),
            ),
            (
                Endpoint::Token,
                Failure::Unavailable("secret reason".into()),
                503,
                None,
            ),
            (
                Endpoint::Login,
                Failure::Unavailable("secret reason".into()),
                503,
                None,
            ),
            (
                Endpoint::Token,
                Failure::Misconfigured("secret reason".into()),
                500,
                None,
            ),
            (
                Endpoint::Login,
                Failure::Misconfigured("secret reason".into()),
                500,
                None,
            ),
            (Endpoint::Token, Failure::Body(Body::TooLarge), 413, None),
            (Endpoint::Login, Failure::Body(Body::TooSlow), 408, None),
        ];
        let request = request("POST", "/", &[], "");
        for (endpoint, failure, status, challenge) in rows {
            let row = format!("{endpoint:?} {failure:?}");
            let response = answer(failure, endpoint, &request, &error::Settings::default()).0;
            let headers = response.headers();
            assert_eq!(response.status(), status, "{row}");
            assert_eq!(headers["cache-control"], "no-store", "{row}");
            assert_eq!(headers.contains_key(RETRY_AFTER), status == 503, "{row}");
            let content_type = headers
                .get("content-type")
                .map(|value| value.to_str().unwrap());
            let expected = match (endpoint.is_page(), challenge) {
                (true, _) => Some("text/html; charset=utf-8"),
                (false, Some("Bearer realm=\"signet\"")) => None,
                (false, _) => Some("application/json"),
            };
            assert_eq!(content_type, expected, "{row}");
            let given = headers
                .get(WWW_AUTHENTICATE)
                .map(|value| value.to_str().unwrap());
            assert_eq!(given, challenge, "{row}");
        }
    }
}
