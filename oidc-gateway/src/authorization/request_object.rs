//! Request objects (OpenID Connect Core §6, RFC 9101): the parameters of a request as claims that the client signed,
//! by value or by reference, perhaps encrypted to us. Once there is one, nothing but its claims counts.

use serde_json::{Map, Value};

use crate::client::Client;
use crate::error::{Code, Failure, Refusal};
use crate::jose::alg::Algorithm;
use crate::jose::jwt::{numeric_date, unverified_encryption};
use crate::keys::{Expected, Verified};
use crate::params::Params;
use crate::provider::Provider;

/// Octets of a request object as it comes.
const LONGEST: usize = 32 * 1024;
/// Octets of a `request_uri`.
const LONGEST_URI: usize = 2048;
/// Clocks differ by this much at the most, in seconds.
const SKEW: i64 = 10;

/// What servers are told that we take (RFC 9101 §10.2, and the names in use before it).
const ACCEPT: &str = "application/oauth-authz-req+jwt, application/jwt, application/jose";

/// RFC 9101 §10.8: another kind of JWT is no request object. Without a "typ" it may be one (OpenID Connect Core §6.1).
const TYP: [&str; 3] = ["", "JWT", "oauth-authz-req+jwt"];

/// RFC 7519 §4.1: about the object itself, and no parameters.
const OWN: [&str; 7] = ["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

/// RFC 9101 §5, OpenID Connect Core §6.1: stand beside the object for the sake of OAuth, and count where it says
/// nothing of them.
const BESIDE: [&str; 3] = ["client_id", "response_type", "scope"];

const INVALID: Refusal = Refusal::new(
    Code::InvalidRequestObject,
    "the request object was refused: its signature, its form or its claims",
);
const INVALID_URI: Refusal = Refusal::new(
    Code::InvalidRequestUri,
    "request_uri is not registered, or nothing can be fetched there",
);

/// The parameters of a request's request object; `None`: it has none. The outer error is an outage, the inner one is
/// the client's.
pub(crate) async fn open(
    provider: &Provider,
    request_id: &str,
    client: &Client,
    params: &Params<'_>,
) -> Result<Result<Option<Params<'static>>, Refusal>, Failure> {
    let source = match Source::of(params) {
        Ok(Some(source)) => source,
        Ok(None) => return Ok(Ok(None)),
        Err(refusal) => return Ok(Err(refusal)),
    };
    let opener = Opener {
        provider,
        request_id,
        client,
    };
    let compact = match source {
        Source::Value(compact) => compact.to_owned(),
        Source::Reference(uri) => match opener.fetch(uri).await {
            Some(compact) => compact,
            None => return Ok(Err(INVALID_URI)),
        },
    };
    let claims = match opener.claims(compact).await? {
        Ok(claims) => claims,
        Err(refusal) => return Ok(Err(refusal)),
    };
    let rules = Rules {
        client_id: client.id(),
        issuer: &provider.issuer,
        now: provider.clock.now(),
    };
    Ok(rules.parameters(&claims, params).map(Some).ok_or(INVALID))
}

/// Where the object is.
enum Source<'a> {
    Value(&'a str),
    Reference(&'a str),
}

impl<'a> Source<'a> {
    fn of(params: &'a Params<'_>) -> Result<Option<Source<'a>>, Refusal> {
        match (params.one("request")?, params.one("request_uri")?) {
            (None, None) => Ok(None),
            (Some(compact), None) => Ok(Some(Source::Value(compact))),
            (None, Some(uri)) => Ok(Some(Source::Reference(uri))),
            // RFC 9101 §5: "MUST NOT be used in the same request".
            (Some(_), Some(_)) => Err(Refusal::new(
                Code::InvalidRequest,
                "request and request_uri do not go together",
            )),
        }
    }
}

struct Opener<'a> {
    provider: &'a Provider,
    request_id: &'a str,
    client: &'a Client,
}

impl Opener<'_> {
    /// OpenID Connect Core §6.2: fetched now, from where the client registered. The fragment says only which version it
    /// is, and is not sent.
    async fn fetch(&self, uri: &str) -> Option<String> {
        let without_fragment = |uri: &str| uri.split('#').next().unwrap_or_default().to_owned();
        let place = without_fragment(uri);
        let mut registered = self.client.request_uris.iter();
        if uri.len() > LONGEST_URI || !registered.any(|each| without_fragment(each) == place) {
            return None;
        }
        match self.provider.fetch.get_for_anybody(&place, ACCEPT).await {
            Ok(body) => {
                let text = str::from_utf8(&body).ok()?;
                Some(text.trim_ascii().to_owned())
            }
            Err(error) => {
                let (client_id, request_id) = (self.client.id(), self.request_id);
                tracing::info!(client_id, request_id, %error, "a request object could not be fetched");
                None
            }
        }
    }

    /// The claims, if this client signed them.
    async fn claims(
        &self,
        compact: String,
    ) -> Result<Result<Map<String, Value>, Refusal>, Failure> {
        if compact.len() > LONGEST || !self.can_verify() {
            return Ok(Err(INVALID));
        }
        // RFC 7516 §7.1: five segments; RFC 7515 §7.1: three.
        let compact = match compact.bytes().filter(|&octet| octet == b'.').count() {
            2 => compact,
            4 => match self.decrypt(&compact).await? {
                Ok(compact) => compact,
                Err(refusal) => return Ok(Err(refusal)),
            },
            _ => return Ok(Err(INVALID)),
        };
        let verified = self.verify(&compact).await?;
        Ok(verified.map(|verified| verified.claims).ok_or(INVALID))
    }

    /// What is in a JWE that is addressed to us: a JWS. Costs an operation with a private key of ours.
    async fn decrypt(&self, compact: &str) -> Result<Result<String, Refusal>, Failure> {
        if !self.is_supported(compact) {
            return Ok(Err(INVALID));
        }
        if !self.provider.decryptions.take() {
            return Ok(Err(Refusal::new(
                Code::TemporarilyUnavailable,
                "too many encrypted request objects right now",
            )));
        }
        let keys = &self.provider.keys;
        let opened = keys.decrypt(self.request_id, compact).await?;
        let inner = opened.and_then(|opened| String::from_utf8(opened.to_vec()).ok());
        Ok(inner.ok_or(INVALID))
    }

    /// Whether it is encrypted as the discovery document lists. What there are keys for, the key-service knows.
    fn is_supported(&self, compact: &str) -> bool {
        let discovery = &self.provider.config.discovery;
        let (algs, encs) = (
            &discovery.request_object_encryption_alg_values_supported,
            &discovery.request_object_encryption_enc_values_supported,
        );
        unverified_encryption(compact).is_some_and(|named| {
            algs.as_ref().is_none_or(|algs| algs.contains(&named.alg))
                && encs.as_ref().is_none_or(|encs| encs.contains(&named.enc))
        })
    }

    /// By the algorithm that the client registered, else by any that it has a key for. `none` is nobody's signature.
    async fn verify(&self, compact: &str) -> Result<Option<Verified>, Failure> {
        let registered = self.client.request_object.signing_alg;
        let one = registered.map(|algorithm| [algorithm]);
        let supported = &self.provider.config.discovery;
        let supported = supported
            .request_object_signing_alg_values_supported
            .as_deref();
        let any = supported.unwrap_or(Algorithm::ALL);
        let expected = Expected {
            typ: &TYP,
            algorithms: one.as_ref().map_or(any, |one| one),
        };
        let (provider, id) = (self.provider, self.request_id);
        self.client.verify(provider, id, compact, &expected).await
    }

    /// Whether there is anything to verify a signature with.
    fn can_verify(&self) -> bool {
        let (has_keys, has_secret) = (!self.client.jwks.is_none(), self.client.has_secret_key());
        match self.client.request_object.signing_alg {
            Some(algorithm) if algorithm.is_symmetric() => has_secret,
            Some(_) => has_keys,
            None => has_keys || has_secret,
        }
    }
}

/// What claims are held against.
struct Rules<'a> {
    client_id: &'a str,
    issuer: &'a str,
    now: i64,
}

impl Rules<'_> {
    /// The parameters that verified claims stand for; `None`: they are not for us, not now, or of odd form.
    fn parameters(
        &self,
        claims: &Map<String, Value>,
        beside: &Params<'_>,
    ) -> Option<Params<'static>> {
        let text = |name: &str| claims.get(name).map(Value::as_str);
        let is_client = |name| text(name).is_none_or(|value| value == Some(self.client_id));
        // RFC 9101 §10.8: what has the client as its "sub" is an assertion of who the client is.
        if !is_client("iss") || text("sub") == Some(Some(self.client_id)) {
            return None;
        }
        let is_us = |audience: &Value| audience.as_str() == Some(self.issuer);
        let for_us = match claims.get("aud") {
            None => true,
            Some(Value::Array(all)) => all.iter().all(Value::is_string) && all.iter().any(is_us),
            Some(one) => is_us(one),
        };
        let date = |name| numeric_date(claims, name);
        let in_time = date("exp")
            .ok()?
            .is_none_or(|expires| expires > self.now - SKEW)
            && date("nbf")
                .ok()?
                .is_none_or(|begins| begins <= self.now + SKEW)
            && date("iat")
                .ok()?
                .is_none_or(|issued| issued <= self.now + SKEW);
        // RFC 9101 §4: "request and request_uri parameters MUST NOT be included in Request Objects."
        let is_nested = claims.contains_key("request") || claims.contains_key("request_uri");
        if !for_us || !in_time || is_nested {
            return None;
        }
        let mut pairs = Vec::with_capacity(claims.len() + BESIDE.len());
        for (name, value) in claims {
            if !OWN.contains(&name.as_str())
                && let Some(value) = parameter(value)?
            {
                pairs.push((name.clone(), value));
            }
        }
        for name in BESIDE {
            let inside = pairs.iter().find(|(each, _)| each == name);
            match (inside, beside.one(name).ok()?) {
                (None, Some(value)) => pairs.push((name.to_owned(), value.to_owned())),
                // OpenID Connect Core §6.1: "MUST match those in the Request Object, if present."
                (Some((_, inside)), Some(value)) if name != "scope" && inside != value => {
                    return None;
                }
                _ => {}
            }
        }
        Some(Params::of_pairs(pairs))
    }
}

/// A claim as a parameter (RFC 9101 §4): text as it is, numbers and objects as JSON. The outer `None`: no parameter has
/// this form; the inner one: as if it were not there.
fn parameter(value: &Value) -> Option<Option<String>> {
    match value {
        Value::Null => Some(None),
        Value::String(text) => Some(Some(text.clone())),
        Value::Number(_) | Value::Object(_) | Value::Bool(_) => Some(Some(value.to_string())),
        Value::Array(_) => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn claims_of_a_request_object() {
        let rules = Rules {
            client_id: "c",
            issuer: "https://op",
            now: 1000,
        };
        let good = json!({
            "iss": "c", "aud": "https://op", "exp": 1060, "nbf": 1000, "iat": 1000, "jti": "x",
            "client_id": "c", "response_type": "code", "scope": "openid", "state": "inside",
        });
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            claims
        };
        let rows = [
            ("as it should be", good.clone(), true),
            ("nothing of its own", json!({"state": "inside"}), true),
            ("another iss", with("iss", json!("d")), false),
            ("iss is a number", with("iss", json!(1)), false),
            ("an assertion", with("sub", json!("c")), false),
            ("a sub that is somebody", with("sub", json!("d")), true),
            (
                "a list of us",
                with("aud", json!(["https://op", "https://x"])),
                true,
            ),
            ("a list of others", with("aud", json!(["https://x"])), false),
            (
                "a list with a number",
                with("aud", json!(["https://op", 7])),
                false,
            ),
            ("another aud", with("aud", json!("https://op/")), false),
            ("aud is null", with("aud", Value::Null), false),
            ("expired within the skew", with("exp", json!(992)), true),
            ("expired", with("exp", json!(940)), false),
            ("exp is text", with("exp", json!("1060")), false),
            ("begins soon", with("nbf", json!(1008)), true),
            ("begins later", with("nbf", json!(1060)), false),
            ("from the future", with("iat", json!(1060)), false),
            ("another client_id", with("client_id", json!("d")), false),
            (
                "another response_type",
                with("response_type", json!("token")),
                false,
            ),
            ("another scope", with("scope", json!("openid email")), true),
            ("request", with("request", json!("x")), false),
            (
                "request_uri",
                with("request_uri", json!("https://x")),
                false,
            ),
            ("a list", with("prompt", json!(["login"])), false),
        ];
        let outside =
            Params::parse(b"client_id=c&response_type=code&scope=openid&state=outside&nonce=n");
        let outside = outside.unwrap();
        for (row, claims, passes) in rows {
            let params = rules.parameters(claims.as_object().unwrap(), &outside);
            assert_eq!(params.is_some(), passes, "{row}");
            let Some(params) = params else { continue };
            assert_eq!(params.one("client_id"), Ok(Some("c")), "{row}");
            assert_eq!(params.one("response_type"), Ok(Some("code")), "{row}");
            assert_eq!(params.one("state"), Ok(Some("inside")), "{row}");
            // What only stands outside does not count.
            assert_eq!(params.one("nonce"), Ok(None), "{row}");
        }
    }

    #[test]
    fn claims_as_parameters() {
        let rows = [
            (json!("text"), Some(Some("text"))),
            (json!(3600), Some(Some("3600"))),
            (
                json!({"id_token": {"acr": null}}),
                Some(Some("{\"id_token\":{\"acr\":null}}")),
            ),
            (json!(null), Some(None)),
            (json!([]), None),
        ];
        for (claim, expected) in rows {
            let expected = expected.map(|inner| inner.map(str::to_owned));
            assert_eq!(parameter(&claim), expected, "{claim}");
        }
    }
}
