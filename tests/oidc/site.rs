//! The provider as a caller sees it: requests to its gateways, and what must hold for every answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{HeaderMap, Method, Request, header};
use serde_json::Value;
use support::http::Client as Http;

/// Several gateways under one issuer.
#[derive(Clone, Debug)]
pub(crate) struct Site {
    http: Http,
    issuer: Arc<str>,
    gateways: Vec<String>,
    next: Arc<AtomicUsize>,
}

/// What came back.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Site {
    pub(crate) fn new(http: Http, issuer: &str, gateways: Vec<String>) -> Site {
        Site {
            http,
            issuer: issuer.into(),
            gateways,
            next: Arc::default(),
        }
    }

    pub(crate) fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The same through one gateway alone.
    pub(crate) fn at(&self, gateway: usize) -> Site {
        Site {
            gateways: vec![self.gateways[gateway].clone()],
            ..self.clone()
        }
    }

    /// A path below the issuer, or a URL there, at the gateway whose turn it is.
    pub(crate) fn url(&self, place: &str) -> String {
        let path = place.strip_prefix(self.issuer()).unwrap_or(place);
        let turn = self.next.fetch_add(1, Ordering::Relaxed) % self.gateways.len();
        format!("{}{path}", self.gateways[turn])
    }

    pub(crate) fn request(&self, method: Method, place: &str) -> http::request::Builder {
        Request::builder().method(method).uri(self.url(place))
    }

    pub(crate) async fn get(&self, place: &str) -> Answer {
        self.send(self.request(Method::GET, place).body(Vec::new()).unwrap())
            .await
    }

    /// POST of a form, from nobody in particular.
    pub(crate) async fn post(&self, place: &str, form: &str) -> Answer {
        self.send(form_of(self.request(Method::POST, place), form))
            .await
    }

    /// Sends a request and looks whether the answer is as all must be.
    pub(crate) async fn send(&self, request: Request<Vec<u8>>) -> Answer {
        let uri = request.uri().clone();
        let answer = self.try_send(request).await.unwrap();
        let path = uri.path();
        assert!(
            answer.status < 500,
            "{path}: {} {}",
            answer.status,
            answer.text()
        );
        let is_document =
            path.starts_with("/.well-known") || path == "/jwks" || path.starts_with("/assets");
        if !is_document || answer.status >= 400 {
            assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        }
        // RFC 9700 §4.12: after 307 and 308 a browser sends the password once more, to somebody else.
        assert!(
            !(300..400).contains(&answer.status) || [303, 304].contains(&answer.status),
            "{path}"
        );
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        answer
    }

    /// Sends a request, whatever comes of it.
    pub(crate) async fn try_send(&self, request: Request<Vec<u8>>) -> anyhow::Result<Answer> {
        let (head, body) = self.http.send(request).await?.into_parts();
        Ok(Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    }
}

/// Puts a form into a request.
pub(crate) fn form_of(builder: http::request::Builder, form: &str) -> Request<Vec<u8>> {
    builder
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(form.as_bytes().to_vec())
        .unwrap()
}

impl Answer {
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {}", self.status, self.text()))
    }

    /// A header that comes at most once; empty if it does not come.
    pub(crate) fn header(&self, name: &str) -> &str {
        assert!(
            self.headers.get_all(name).iter().count() <= 1,
            "{name} is repeated"
        );
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// `STATUS CODE` of an OAuth error in JSON, or `200`: the form in which tables name outcomes.
    #[track_caller]
    pub(crate) fn outcome(&self) -> String {
        if self.status == 200 {
            return "200".to_owned();
        }
        assert_eq!(
            self.header("content-type"),
            "application/json",
            "{}",
            self.text()
        );
        let error = self.json();
        let members: Vec<_> = error
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(members, ["error", "error_description"], "{error}");
        format!("{} {}", self.status, error["error"].as_str().unwrap())
    }
}
