//! The answers there are: JSON, cached JSON, a page, a redirect. Each keeps out of caches unless it says otherwise.

use bytes::Bytes;
use http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH, LOCATION,
    REFERRER_POLICY, SET_COOKIE,
};
use http::{HeaderName, HeaderValue, StatusCode};
use http_body_util::Full;
use sha2::{Digest, Sha256};

use super::Request;
use super::security_headers::{
    FRAMED_POLICY, NO_REFERRER, PAGE_POLICY, SCRIPT_PAGE_POLICY, framing_policy,
};

const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// A response.
#[derive(Debug)]
pub(crate) struct Response(pub(super) http::Response<Full<Bytes>>);

/// A document that is the same for everybody, ready to be sent: made once, answered often.
#[derive(Debug, Clone)]
pub(crate) struct Document {
    body: Bytes,
    content_type: HeaderValue,
    cache_control: HeaderValue,
    etag: HeaderValue,
}

impl Document {
    /// A JSON document that may be kept for `max_age` seconds.
    pub(crate) fn json(body: impl Into<Bytes>, max_age: u64) -> Document {
        Document::new(body.into(), JSON, max_age)
    }

    pub(super) fn new(body: Bytes, content_type: HeaderValue, max_age: u64) -> Document {
        let hash = Sha256::digest(&body);
        let mut etag = String::with_capacity(34);
        etag.push('"');
        for octet in &hash[..16] {
            etag.push_str(&format!("{octet:02x}"));
        }
        etag.push('"');
        Document {
            body,
            content_type,
            cache_control: text(&format!("public, max-age={max_age}")),
            etag: text(&etag),
        }
    }
}

fn text(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).expect("digits and punctuation are visible ASCII")
}

impl Response {
    /// 200 with JSON.
    pub(crate) fn json(body: impl Into<Bytes>) -> Response {
        Response::new(JSON, body.into())
    }

    /// 200 with a body of another type, such as `application/jwt`.
    pub(crate) fn of_type(content_type: &'static str, body: impl Into<Bytes>) -> Response {
        Response::new(HeaderValue::from_static(content_type), body.into())
    }

    /// 201 with JSON (RFC 7591 §3.2.1).
    pub(crate) fn created(body: impl Into<Bytes>) -> Response {
        Response::json(body).with_status(StatusCode::CREATED)
    }

    /// 204 (RFC 7592 §2.3).
    pub(crate) fn no_content() -> Response {
        Response::empty().with_status(StatusCode::NO_CONTENT)
    }

    /// 200 without a body (RFC 7009 §2.2).
    pub(crate) fn empty() -> Response {
        let mut response = http::Response::new(Full::default());
        response.headers_mut().insert(CACHE_CONTROL, NO_STORE);
        Response(response)
    }

    /// 200 with a page that runs no script.
    pub(crate) fn page(html: String) -> Response {
        Response::page_under(PAGE_POLICY, html)
    }

    /// 200 with the one page that submits itself.
    pub(crate) fn script_page(html: String) -> Response {
        Response::page_under(SCRIPT_PAGE_POLICY, html)
    }

    /// 200 with a page that has frames of these origins, and a script.
    pub(crate) fn framing_page<'a>(
        origins: impl Iterator<Item = &'a str>,
        html: String,
    ) -> Response {
        let origins: Vec<&str> = origins.collect();
        let policy = HeaderValue::from_str(&framing_policy(&origins.join(" ")));
        // An origin as a browser writes it is visible ASCII; anything else gets no frame.
        Response::page_under(policy.unwrap_or(SCRIPT_PAGE_POLICY), html)
    }

    /// 200 with a page that others have in a frame.
    pub(crate) fn framed_page(html: &'static str) -> Response {
        Response::page_under(FRAMED_POLICY, html.to_owned())
    }

    fn page_under(policy: HeaderValue, html: String) -> Response {
        let mut response = Response::new(HTML, html.into());
        let headers = response.0.headers_mut();
        headers.insert(CONTENT_SECURITY_POLICY, policy);
        headers.insert(REFERRER_POLICY, NO_REFERRER);
        response
    }

    pub(super) fn text(body: &'static str) -> Response {
        Response::new(TEXT, Bytes::from_static(body.as_bytes()))
    }

    fn new(content_type: HeaderValue, body: Bytes) -> Response {
        let mut response = http::Response::new(Full::new(body));
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, content_type);
        headers.insert(CACHE_CONTROL, NO_STORE);
        Response(response)
    }

    /// A document, or 304 if the caller has it (RFC 9110 §13.1.2).
    pub(crate) fn document(request: &Request, document: &Document) -> Response {
        let known = request.parts.headers.get_all(IF_NONE_MATCH).iter();
        let fresh = known
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .map(|tag| tag.trim().trim_start_matches("W/"))
            .any(|tag| tag == "*" || tag.as_bytes() == document.etag.as_bytes());
        let mut response = http::Response::new(match fresh {
            true => Full::default(),
            false => Full::new(document.body.clone()),
        });
        if fresh {
            *response.status_mut() = StatusCode::NOT_MODIFIED;
        } else {
            let content_type = document.content_type.clone();
            response.headers_mut().insert(CONTENT_TYPE, content_type);
        }
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, document.cache_control.clone());
        headers.insert(ETAG, document.etag.clone());
        Response(response)
    }

    /// 303: whatever the method was, the next one is GET and carries nothing over (RFC 9700 §4.12). A location never
    /// holds a control character or a space, whatever it was made from.
    pub(crate) fn see_other(location: &str) -> Response {
        let mut response = http::Response::new(Full::default());
        *response.status_mut() = StatusCode::SEE_OTHER;
        let headers = response.headers_mut();
        headers.insert(LOCATION, location_header(location));
        headers.insert(CACHE_CONTROL, NO_STORE);
        headers.insert(REFERRER_POLICY, NO_REFERRER);
        Response(response)
    }

    /// The same with a cookie set or removed: see `cookie::Policy`.
    pub(crate) fn with_cookie(mut self, cookie: HeaderValue) -> Response {
        self.0.headers_mut().append(SET_COOKIE, cookie);
        self
    }

    pub(super) fn with_status(mut self, status: StatusCode) -> Response {
        *self.0.status_mut() = status;
        self
    }

    pub(super) fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Response {
        self.0.headers_mut().insert(name, value);
        self
    }
}

fn location_header(location: &str) -> HeaderValue {
    let is_plain = location.bytes().all(|octet| octet.is_ascii_graphic());
    if let (true, Ok(value)) = (is_plain, HeaderValue::from_str(location)) {
        return value;
    }
    let mut escaped = String::with_capacity(location.len() + 16);
    for octet in location.bytes() {
        match octet.is_ascii_graphic() {
            true => escaped.push(char::from(octet)),
            false => escaped.push_str(&format!("%{octet:02X}")),
        }
    }
    text(&escaped)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::request::tests::request;
    use super::*;

    #[test]
    fn documents_are_sent_once() {
        let document = Document::json("{}", 60);
        let etag = document.etag.to_str().unwrap().to_owned();
        let rows: &[(&str, u16)] = &[
            ("", 200),
            ("\"other\"", 200),
            (&etag, 304),
            (&format!("W/{etag}"), 304),
            (&format!("\"other\", {etag}"), 304),
            ("*", 304),
        ];
        for (header, status) in rows {
            let request = request("GET", "/jwks", &[("if-none-match", header)], "");
            let response = Response::document(&request, &document).0;
            assert_eq!(response.status(), *status, "{header}");
            assert_eq!(response.headers()[CACHE_CONTROL], "public, max-age=60");
            assert_eq!(response.headers()[ETAG], etag);
        }
    }

    #[test]
    fn locations_hold_one_line() {
        for (location, expected) in [
            ("https://a/cb?code=1#x", "https://a/cb?code=1#x"),
            ("https://a/\r\nX: y", "https://a/%0D%0AX:%20y"),
            ("https://a/é", "https://a/%C3%A9"),
        ] {
            let response = Response::see_other(location).0;
            assert_eq!(response.status(), 303);
            assert_eq!(response.headers()[LOCATION], expected);
        }
    }
}
