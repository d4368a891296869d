//! Headers that tell a browser what these answers may do: OAuth 2.0 Security BCP (RFC 9700 §4.16), CSP level 3,
//! Strict-Transport-Security (RFC 6797).

use http::HeaderValue;
use http::header::{STRICT_TRANSPORT_SECURITY, X_CONTENT_TYPE_OPTIONS};

use super::Response;

/// No script, nothing from elsewhere but the clients' logos, in nobody's frame. `form-action` stays unset: browsers
/// apply it to the redirect after a form too, and that one leads to the client.
pub(super) const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; img-src 'self' https:; base-uri 'none'; frame-ancestors 'none'",
);

/// The same with our own script files: for the response mode `form_post`.
pub(super) const SCRIPT_PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https:; base-uri 'none'; \
     frame-ancestors 'none'",
);

/// The same with frames of these origins (Front-Channel Logout §3).
pub(super) fn framing_policy(origins: &str) -> String {
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' https:; frame-src {origins}; \
         base-uri 'none'; frame-ancestors 'none'"
    )
}

/// A page that shows nothing, and may be in anybody's frame (Session Management §3.3).
pub(super) const FRAMED_POLICY: HeaderValue =
    HeaderValue::from_static("default-src 'none'; script-src 'self'; base-uri 'none'");

pub(super) const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");

const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const TWO_YEARS: HeaderValue = HeaderValue::from_static("max-age=63072000");

/// What every response carries; `https`: whether the issuer is one.
pub(super) fn add(response: &mut Response, https: bool) {
    let headers = response.0.headers_mut();
    headers.insert(X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    if https {
        headers.insert(STRICT_TRANSPORT_SECURITY, TWO_YEARS);
    }
}
