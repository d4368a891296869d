//! Client authentication (RFC 6749 §2.3, OpenID Connect Core §9): exactly one method for each request, and the one
//! that the client registered.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use super::metadata::AuthenticationMethod;
use super::{At, Client, assertion, registered};
use crate::error::{Code, Failure, Refusal};
use crate::jose::jwt;
use crate::params::Params;
use crate::provider::Provider;
use crate::secret::Secret;

const MORE_THAN_ONE: Refusal = Refusal::new(
    Code::InvalidRequest,
    "more than one method of client authentication",
);
const NOT_AUTHENTICATED: Refusal =
    Refusal::new(Code::InvalidClient, "client authentication failed");

/// A client that has proved that it is itself; a public one has named itself.
#[derive(Debug, Clone)]
pub(crate) struct AuthenticatedClient(Arc<Client>);

impl std::ops::Deref for AuthenticatedClient {
    type Target = Client;
    fn deref(&self) -> &Client {
        &self.0
    }
}

impl AuthenticatedClient {
    /// Public clients have no secret: they may not introspect (RFC 7662 §2.1).
    pub(crate) fn is_public(&self) -> bool {
        self.0.authentication(At::Token).method == AuthenticationMethod::None
    }
}

/// What a request presents, in one of the ways there are.
#[derive(Debug)]
pub(crate) struct Credentials<'a>(Presented<'a>);

#[derive(Debug)]
enum Presented<'a> {
    Basic {
        id: String,
        secret: Secret<String>,
    },
    Post {
        id: &'a str,
        secret: &'a str,
    },
    Assertion {
        id: Option<&'a str>,
        assertion: &'a str,
    },
    Nothing {
        id: &'a str,
    },
}

/// Authenticates the client of a request.
pub(crate) async fn authenticate(
    provider: &Provider,
    request_id: &str,
    at: At,
    Credentials(presented): Credentials<'_>,
) -> Result<AuthenticatedClient, Failure> {
    let client = match presented {
        Presented::Basic { id, secret } => {
            let client = find(provider, &id).await?;
            let method = AuthenticationMethod::ClientSecretBasic;
            compare(provider, &client, at, method, secret.expose()).await?;
            client
        }
        Presented::Post { id, secret } => {
            let client = find(provider, id).await?;
            let method = AuthenticationMethod::ClientSecretPost;
            compare(provider, &client, at, method, secret).await?;
            client
        }
        Presented::Assertion { id, assertion } => {
            let subject = jwt::unverified_subject(assertion).ok_or(NOT_AUTHENTICATED)?;
            // RFC 7521 §4.2: client_id is unnecessary, but where it is there it names the same client.
            if id.is_some_and(|id| id != subject) {
                return Err(NOT_AUTHENTICATED.into());
            }
            let client = find(provider, &subject).await?;
            let registered = client.authentication(at);
            match registered.method {
                AuthenticationMethod::PrivateKeyJwt | AuthenticationMethod::ClientSecretJwt => {
                    assertion::verify(provider, request_id, assertion, &client, registered).await?;
                }
                _ => return Err(NOT_AUTHENTICATED.into()),
            }
            client
        }
        Presented::Nothing { id } => {
            let client = find(provider, id).await?;
            match client.authentication(at).method {
                AuthenticationMethod::None => client,
                _ => return Err(NOT_AUTHENTICATED.into()),
            }
        }
    };
    if client.is_registered() {
        Box::pin(registered::keep(provider, &client)).await?;
    }
    Ok(AuthenticatedClient(client))
}

async fn find(provider: &Provider, client_id: &str) -> Result<Arc<Client>, Failure> {
    let client = provider.client(client_id).await?;
    client.ok_or(Failure::Json(NOT_AUTHENTICATED))
}

impl<'a> Credentials<'a> {
    /// RFC 6749 §2.3: "The client MUST NOT use more than one authentication method in each request."
    pub(crate) fn present(
        authorization: Option<&str>,
        params: &'a Params<'_>,
    ) -> Result<Credentials<'a>, Refusal> {
        let id = params.one("client_id")?;
        let secret = params.one("client_secret")?;
        let assertion = params.one("client_assertion")?;
        let assertion_type = params.one("client_assertion_type")?;
        let presented = match (authorization, secret, assertion, assertion_type) {
            (Some(header), None, None, None) => {
                let (basic_id, secret) = basic(header).ok_or(NOT_AUTHENTICATED)?;
                if id.is_some_and(|id| id != basic_id) {
                    return Err(MORE_THAN_ONE);
                }
                Presented::Basic {
                    id: basic_id,
                    secret: Secret::new(secret),
                }
            }
            (None, Some(secret), None, None) => Presented::Post {
                id: id.ok_or(NOT_AUTHENTICATED)?,
                secret,
            },
            (None, None, Some(assertion), Some(assertion::TYPE)) => {
                Presented::Assertion { id, assertion }
            }
            (None, None, Some(_), _) => {
                return Err(Refusal::new(
                    Code::InvalidRequest,
                    "unknown client_assertion_type",
                ));
            }
            (None, None, None, None) => Presented::Nothing {
                id: id.ok_or(NOT_AUTHENTICATED)?,
            },
            _ => return Err(MORE_THAN_ONE),
        };
        Ok(Credentials(presented))
    }
}

/// RFC 7617, with both parts form-encoded (RFC 6749 §2.3.1). Whatever is odd is refused (CA-06).
fn basic(header: &str) -> Option<(String, String)> {
    let pair = STANDARD.decode(header.strip_prefix("Basic ")?).ok()?;
    let pair = Zeroizing::new(pair);
    let (id, secret) = std::str::from_utf8(&pair).ok()?.split_once(':')?;
    Some((form_decoded(id)?, form_decoded(secret)?))
}

fn form_decoded(text: &str) -> Option<String> {
    if !text.contains(['%', '+']) {
        return Some(text.to_owned());
    }
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(octet) = rest.next() {
        octets.push(match octet {
            b'+' => b' ',
            b'%' => {
                let high = char::from(rest.next()?).to_digit(16)?;
                let low = char::from(rest.next()?).to_digit(16)?;
                u8::try_from(high * 16 + low).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(octets).ok()
}

async fn compare(
    provider: &Provider,
    client: &Client,
    at: At,
    method: AuthenticationMethod,
    presented: &str,
) -> Result<(), Failure> {
    let secret = client.secret.as_ref().ok_or(NOT_AUTHENTICATED)?;
    if client.authentication(at).method != method
        || secret.has_expired(provider.clock.now())
        || !secret.is(provider, presented).await?
    {
        return Err(NOT_AUTHENTICATED.into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_credentials() {
        let header = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
        let rows = [
            (header("id:secret"), Some(("id", "secret"))),
            (header("a%3Ab:s+e%25"), Some(("a:b", "s e%"))),
            (header("id:se:cret"), Some(("id", "se:cret"))),
            (header("id"), None),
            (header("id:%"), None),
            (header("id:%zz"), None),
            (header("id:%ff"), None),
            ("Basic not base64".to_owned(), None),
            (header("id:secret").replace("Basic", "basic"), None),
            (header("id:secret").replace("Basic ", "Basic  "), None),
            ("Bearer abc".to_owned(), None),
        ];
        for (header, wanted) in rows {
            let got = basic(&header);
            let got = got
                .as_ref()
                .map(|(id, secret)| (id.as_str(), secret.as_str()));
            assert_eq!(got, wanted, "{header}");
        }
    }
}
