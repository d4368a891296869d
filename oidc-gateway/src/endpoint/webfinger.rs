//! `GET /.well-known/webfinger` (OpenID Connect Discovery §2, RFC 7033): who is the issuer for an account. The answer
//! is the same for every account of a domain, whether there is one or not.

use serde::Deserialize;
use serde_json::json;
use url::{Host, Url};

use crate::error::{Code, Failure, Refusal};
use crate::params::Params;
use crate::provider::Provider;
use crate::web::{Request, Response, failure};

/// The link relation of an issuer.
const ISSUER: &str = "http://openid.net/specs/connect/1.0/issuer";

/// `[webfinger]`.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Domains whose accounts sign in here, beside the issuer's own host: `example.com`, or `example.com:8443`.
    pub domains: Vec<String>,
}

impl Settings {
    /// Whether each is a domain.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn check(&self) -> Result<(), String> {
        match self
            .domains
            .iter()
            .find(|domain| authority(domain).as_deref() != Some(domain))
        {
            None => Ok(()),
            Some(domain) => Err(format!(
                "`{domain}` is not a domain in lower case such as `example.com`"
            )),
        }
    }
}

pub(crate) async fn handle(provider: &Provider, request: &Request) -> Result<Response, Failure> {
    let malformed = |description| Failure::Json(Refusal::new(Code::InvalidRequest, description));
    let params = Params::query(request)?;
    // RFC 7033 §4.2: "If the "resource" parameter is absent or malformed … 400".
    let resource = params
        .one("resource")?
        .ok_or_else(|| malformed("resource is missing"))?;
    let (scheme, rest) = resource
        .split_once(':')
        .ok_or_else(|| malformed("resource is not a URI"))?;
    let domain = match scheme {
        "acct" => rest
            .rsplit_once('@')
            .filter(|(account, _)| !account.is_empty())
            .and_then(|(_, domain)| authority(domain)),
        "https" | "http" => Url::parse(resource).ok().and_then(|url| host(&url)),
        _ => None,
    };
    if !domain.is_some_and(|domain| is_ours(provider, &domain)) {
        return Ok(failure::not_found());
    }
    // §4.3: other relations than those that are asked for may be left out.
    let mut wanted = params.all("rel").peekable();
    let is_wanted = wanted.peek().is_none() || wanted.any(|rel| rel == ISSUER);
    let issuer = json!({ "rel": ISSUER, "href": &*provider.issuer });
    let links: Vec<_> = is_wanted.then_some(issuer).into_iter().collect();
    let document = json!({ "subject": resource, "links": links });
    Ok(Response::of_type(
        "application/jrd+json",
        document.to_string(),
    ))
}

fn is_ours(provider: &Provider, domain: &str) -> bool {
    let issuer = Url::parse(&provider.issuer).ok();
    let own = issuer.as_ref();
    own.and_then(host).as_deref() == Some(domain)
        || own.and_then(Url::host_str) == Some(domain)
        || provider
            .config
            .webfinger
            .domains
            .iter()
            .any(|each| each == domain)
}

/// `host` or `host:port` in its one spelling; `None`: it is something else.
fn authority(text: &str) -> Option<String> {
    let is_plain = !text.contains(['/', '\\', '?', '#', '@']);
    let url = Url::parse(&format!("https://{text}")).ok();
    url.filter(|_| is_plain).and_then(|url| host(&url))
}

fn host(url: &Url) -> Option<String> {
    let host = url.host().filter(|host| *host != Host::Domain(""))?;
    Some(match url.port() {
        None => host.to_string(),
        Some(port) => format!("{host}:{port}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains() {
        for (text, expected) in [
            ("example.com", Some("example.com")),
            ("EXAMPLE.com", Some("example.com")),
            ("example.com:443", Some("example.com")),
            ("example.com:8443", Some("example.com:8443")),
            ("bücher.example", Some("xn--bcher-kva.example")),
            ("[::1]:8443", Some("[::1]:8443")),
            ("", None),
            ("example.com/", None),
            ("example.com?x", None),
            ("me@example.com", None),
            ("exa mple.com", None),
            ("example.com:port", None),
        ] {
            assert_eq!(authority(text).as_deref(), expected, "{text}");
        }
    }
}
