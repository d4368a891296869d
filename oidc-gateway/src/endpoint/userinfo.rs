//! `GET` and `POST /userinfo` (OpenID Connect Core §5.3): the claims about a person that an access token opens.

use serde_json::{Map, Value};

use crate::error::{Code, Failure, Refusal};
use crate::json;
use crate::params::Params;
use crate::provider::Provider;
use crate::scope::OPENID;
use crate::token::bearer;
use crate::user::claims::claims_for;
use crate::web::{Method, Request, Response};

const INVALID_TOKEN: Failure = Failure::Bearer(Some(Refusal::new(
    Code::InvalidToken,
    "the access token is unknown, has expired or was revoked",
)));

pub(crate) async fn handle(provider: &Provider, request: &Request) -> Result<Response, Failure> {
    let params = match request.method() {
        Method::Post if request.is_form() => Params::form(request)?,
        _ => Params::default(),
    };
    let token = presented(request, &params)?;
    let found = bearer::access(provider, request.id().as_str(), token).await?;
    let record = found.ok_or(INVALID_TOKEN)?.record;
    // A client's own token opens nobody's claims, and one without openid may be meant for others alone (RFC 9068 §4).
    if !record.is_persons || !record.scope.has(OPENID) {
        return Err(Failure::Bearer(Some(Refusal::new(
            Code::InsufficientScope,
            "the access token was not issued for a person with the scope openid",
        ))));
    }
    let user = provider
        .users
        .by_subject(&record.sub)
        .ok_or(INVALID_TOKEN)?;
    let mut claims = Map::new();
    // §5.3.2: "The sub Claim MUST always be returned".
    claims.insert("sub".to_owned(), Value::String(record.sub));
    claims.extend(claims_for(&record.scope, user));
    Ok(Response::json(json::write(&claims)))
}

/// RFC 6750 §2: in the header or in the body, never twice, and not in the query, which is logged along the way.
fn presented<'a>(request: &'a Request, params: &'a Params<'_>) -> Result<&'a str, Failure> {
    let malformed =
        |description| Failure::Bearer(Some(Refusal::new(Code::InvalidRequest, description)));
    let in_body = params
        .one("access_token")
        .map_err(|_| malformed("access_token is repeated"))?;
    let header = request
        .authorization()
        .map_err(|refusal| Failure::Bearer(Some(refusal)))?;
    match (header, in_body) {
        (None, None) => Err(Failure::Bearer(None)),
        (Some(_), Some(_)) => Err(malformed("the access token is presented twice")),
        (None, Some(token)) => Ok(token),
        (Some(header), None) => {
            let (scheme, token) = header.split_once(' ').unwrap_or((header, ""));
            if !scheme.eq_ignore_ascii_case("Bearer") {
                return Err(Failure::Bearer(None));
            }
            // §2.1: b64token.
            let plain = |octet: u8| {
                octet.is_ascii_alphanumeric()
                    || matches!(octet, b'-' | b'.' | b'_' | b'~' | b'+' | b'/' | b'=')
            };
            if token.is_empty() || !token.bytes().all(plain) {
                return Err(malformed("the Authorization header is not understood"));
            }
            Ok(token)
        }
    }
}
