//! A small HTTP client for tools and tests: HTTP/1.1, keeps connections, trusts one CA, follows no redirect.

use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_rustls::HttpsConnector;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};

/// Longest body that is read, in octets.
const MAXIMUM: usize = 1 << 20;

/// Sends requests over `http` and `https`.
#[derive(Clone, Debug)]
pub struct Client {
    inner: hyper_util::client::legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Client {
    /// Trusts the CA in the PEM file `ca` and no other.
    ///
    /// # Errors
    /// When the file holds no certificate.
    pub fn new(ca: &Path) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_file_iter(ca)
            .with_context(|| format!("cannot read {}", ca.display()))?
        {
            roots.add(certificate?)?;
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = hyper_rustls::HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .build();
        let inner =
            hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(connector);
        Ok(Self { inner })
    }

    /// Sends a request and reads the whole answer.
    ///
    /// # Errors
    /// When there is no connection or no answer, or it is longer than a mebibyte.
    pub async fn send(&self, request: Request<Vec<u8>>) -> anyhow::Result<Response<Vec<u8>>> {
        let uri = request.uri().clone();
        let request = request.map(|body| Full::new(Bytes::from(body)));
        let response =
            (self.inner.request(request).await).with_context(|| format!("no answer from {uri}"))?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAXIMUM)
            .collect()
            .await
            .map_err(|error| anyhow::anyhow!("{uri}: {error}"))?
            .to_bytes();
        Ok(Response::from_parts(head, body.into()))
    }

    /// `GET`s `url`.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn get(&self, url: &str) -> anyhow::Result<Response<Vec<u8>>> {
        self.send(Request::get(url).body(Vec::new())?).await
    }
}
