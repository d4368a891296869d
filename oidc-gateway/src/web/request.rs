//! A request as the endpoints see it: whole, within limits, and without a word of hyper.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::error::{Code, Failure, Refusal};
use crate::params::Params;

/// The methods that mean anything here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    /// Like GET, for what changes nothing.
    Head,
    Post,
    Put,
    Delete,
    Other,
}

/// A request with its body, which is empty unless the method is POST or PUT.
#[derive(Debug)]
pub(crate) struct Request {
    pub(super) parts: Parts,
    pub(super) body: Bytes,
    pub(super) client_address: IpAddr,
    pub(super) id: RequestId,
}

impl Request {
    /// GET, HEAD, POST or another.
    pub(crate) fn method(&self) -> Method {
        match self.parts.method {
            http::Method::GET => Method::Get,
            http::Method::HEAD => Method::Head,
            http::Method::POST => Method::Post,
            http::Method::PUT => Method::Put,
            http::Method::DELETE => Method::Delete,
            _ => Method::Other,
        }
    }

    /// The path as it came, undecoded.
    pub(crate) fn path(&self) -> &str {
        self.parts.uri.path()
    }

    /// What follows the question mark; may be empty.
    pub(crate) fn query(&self) -> &str {
        self.parts.uri.query().unwrap_or_default()
    }

    /// `Authorization`, if it came exactly once. `Err`: several or not ASCII (RFC 9110 §11.6.2 allows one).
    pub(crate) fn authorization(&self) -> Result<Option<&str>, Refusal> {
        const UNREADABLE: Refusal = Refusal::new(
            Code::InvalidRequest,
            "the Authorization header is not understood",
        );
        let mut values = self.parts.headers.get_all(AUTHORIZATION).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value.to_str().map(Some).map_err(|_| UNREADABLE),
            (Some(_), Some(_)) => Err(UNREADABLE),
        }
    }

    /// Whether the body says that it is `application/x-www-form-urlencoded`.
    pub(crate) fn is_form(&self) -> bool {
        self.is_of_type(b"application/x-www-form-urlencoded")
    }

    /// The body, if it says that it is JSON.
    pub(crate) fn json(&self) -> Result<&[u8], Refusal> {
        match self.is_of_type(b"application/json") {
            true => Ok(&self.body),
            false => Err(Refusal::new(
                Code::InvalidRequest,
                "the content type must be application/json",
            )),
        }
    }

    fn is_of_type(&self, expected: &[u8]) -> bool {
        let Some(content_type) = self.parts.headers.get(CONTENT_TYPE) else {
            return false;
        };
        let essence = content_type.as_bytes().split(|&octet| octet == b';').next();
        essence.is_some_and(|essence| essence.trim_ascii().eq_ignore_ascii_case(expected))
    }

    /// A cookie. One that came twice is none at all: a sub-domain may have shadowed ours (RFC 6265 §8.6).
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        cookie(&self.parts.headers, name)
    }

    /// Where the request came from: what trusted proxies say, else the peer.
    pub(crate) fn client_address(&self) -> IpAddr {
        self.client_address
    }

    /// The name of this request in logs here and in the key-service.
    pub(crate) fn id(&self) -> &RequestId {
        &self.id
    }
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut found = None;
    for header in headers.get_all(COOKIE) {
        for pair in header.as_bytes().split(|&octet| octet == b';') {
            let pair = pair.trim_ascii();
            let Some(at) = pair.iter().position(|&octet| octet == b'=') else {
                continue;
            };
            if &pair[..at] == name.as_bytes() && found.replace(&pair[at + 1..]).is_some() {
                return None;
            }
        }
    }
    found.and_then(|value| std::str::from_utf8(value).ok())
}

impl<'a> Params<'a> {
    /// The parameters of the query.
    pub(crate) fn query(request: &'a Request) -> Result<Params<'a>, Failure> {
        Params::parse(request.query().as_bytes()).ok_or_else(too_much)
    }

    /// The parameters of the body. An empty body needs no content type.
    pub(crate) fn form(request: &'a Request) -> Result<Params<'a>, Failure> {
        if request.body.is_empty() {
            return Ok(Params::default());
        }
        if !request.is_form() {
            return Err(Failure::Json(Refusal::new(
                Code::InvalidRequest,
                "the content type must be application/x-www-form-urlencoded",
            )));
        }
        Params::parse(&request.body).ok_or_else(too_much)
    }
}

fn too_much() -> Failure {
    Failure::Json(Refusal::new(
        Code::InvalidRequest,
        "the request has too many parameters",
    ))
}

/// The header that carries it.
pub(super) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The name of a request: 32 hexadecimal digits of ours, or what came in `X-Request-Id` if it is harmless.
#[derive(Debug, Clone)]
pub(crate) struct RequestId(HeaderValue);

impl RequestId {
    /// As text.
    pub(crate) fn as_str(&self) -> &str {
        // Only ever made of visible ASCII.
        self.0.to_str().unwrap_or_default()
    }

    pub(super) fn header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// What the caller sent, if it is short and of letters, digits, `-`, `_` and `.`: it goes into logs.
    pub(super) fn accept(headers: &HeaderMap) -> Option<RequestId> {
        let value = headers.get(X_REQUEST_ID)?;
        let harmless = (1..=64).contains(&value.len())
            && value
                .as_bytes()
                .iter()
                .all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(octet));
        harmless.then(|| RequestId(value.clone()))
    }
}

/// Makes request ids: a random beginning and a counter, so that no system call is needed for each.
#[derive(Debug)]
pub(crate) struct RequestIds {
    worker: u64,
    next: AtomicU64,
}

impl RequestIds {
    /// A series that starts at a random place.
    pub(crate) fn starting_at(worker: u64, first: u64) -> RequestIds {
        RequestIds {
            worker,
            next: AtomicU64::new(first),
        }
    }

    /// The next one.
    pub(super) fn next(&self) -> RequestId {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let mut text = Vec::with_capacity(32);
        for octet in self
            .worker
            .to_be_bytes()
            .iter()
            .chain(&number.to_be_bytes())
        {
            text.push(HEX[usize::from(octet >> 4)]);
            text.push(HEX[usize::from(octet & 15)]);
        }
        let value = HeaderValue::from_maybe_shared(Bytes::from(text));
        RequestId(value.expect("hexadecimal digits are visible ASCII"))
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
pub(super) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A request for tests: method, path with query, headers, body.
    pub(crate) fn request(
        method: &str,
        uri: &str,
        headers: &[(&str, &str)],
        body: &'static str,
    ) -> Request {
        let mut builder = http::Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        Request {
            parts: builder.body(()).unwrap().into_parts().0,
            body: Bytes::from_static(body.as_bytes()),
            client_address: IpAddr::from([127, 0, 0, 1]),
            id: RequestIds::starting_at(1, 0xfe).next(),
        }
    }

    #[test]
    fn cookies() {
        let rows: &[(&[&str], Option<&str>)] = &[
            (&["s=1"], Some("1")),
            (&["a=0; s=1;b=2"], Some("1")),
            (&["a=0", "s=1"], Some("1")),
            (&["s=a=b"], Some("a=b")),
            (&["s="], Some("")),
            (&["S=1"], None),
            (&["s=1; s=2"], None),
            (&["s=1", "s=1"], None),
            (&["xs=1; s"], None),
            (&[], None),
        ];
        for (lines, expected) in rows {
            let headers: Vec<_> = lines.iter().map(|line| ("cookie", *line)).collect();
            let request = request("GET", "/", &headers, "");
            assert_eq!(request.cookie("s"), *expected, "{lines:?}");
        }
    }

    #[test]
    fn forms() {
        let form = "application/x-www-form-urlencoded";
        let rows: &[(&[(&str, &str)], bool)] = &[
            (&[("content-type", form)], true),
            (
                &[(
                    "content-type",
                    "Application/X-WWW-Form-Urlencoded; charset=utf-8",
                )],
                true,
            ),
            (&[("content-type", "application/json")], false),
            (
                &[("content-type", "application/x-www-form-urlencoded2")],
                false,
            ),
            (&[], false),
        ];
        for (headers, passes) in rows {
            let request = request("POST", "/token", headers, "a=1");
            assert_eq!(Params::form(&request).is_ok(), *passes, "{headers:?}");
        }
        assert!(Params::form(&request("POST", "/token", &[], "")).is_ok());
    }

    #[test]
    fn authorization_comes_once() {
        let one = request("GET", "/", &[("authorization", "Bearer a")], "");
        assert_eq!(one.authorization(), Ok(Some("Bearer a")));
        let two = [("authorization", "Bearer a"), ("authorization", "Bearer a")];
        assert!(request("GET", "/", &two, "").authorization().is_err());
        assert_eq!(request("GET", "/", &[], "").authorization(), Ok(None));
    }

    #[test]
    fn ids() {
        let ids = RequestIds::starting_at(0x0123_4567_89ab_cdef, 0x10);
        assert_eq!(ids.next().as_str(), "0123456789abcdef0000000000000010");
        assert_eq!(ids.next().as_str(), "0123456789abcdef0000000000000011");
        for (value, passes) in [
            ("a-B_1.2", true),
            ("a b", false),
            ("", false),
            ("a\tb", false),
        ] {
            let request = request("GET", "/", &[("x-request-id", value)], "");
            let id = RequestId::accept(&request.parts.headers);
            assert_eq!(id.is_some(), passes, "{value:?}");
        }
    }
}
