//! `GET` and `POST /userinfo` (OpenID Connect Core §5.3): the claims about a person that an access token opens, as plain
//! JSON or as the client is registered: signed, encrypted, both.

use proto::v1::Profile;
use serde::Deserialize;
use serde_json::Value;

use crate::error::{Code, Failure, Refusal};
use crate::jose::alg::Protection;
use crate::json;
use crate::params::Params;
use crate::provider::Provider;
use crate::scope::OPENID;
use crate::token::claims::Asking;
use crate::token::protection::{self, Outgoing};
use crate::token::{bearer, id_token, issuer};
use crate::web::failure::{self, Verbosity};
use crate::web::{Method, Request, Response};

const INVALID_TOKEN: Failure = Failure::Bearer(Some(Refusal::new(
    Code::InvalidToken,
    "the access token is unknown, has expired or was revoked",
)));

/// OpenID Connect Core §5.3.2.
const JWT: &str = "application/jwt";

/// `[userinfo]`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// How an access token may be presented (RFC 6750 §2). Default: in the header and in the body.
    pub bearer_methods: Vec<BearerMethod>,
    /// Of the challenge (RFC 6750 §3). Default: `signet`.
    pub realm: String,
    /// What a refusal says. Default: code and description.
    pub error_verbosity: Verbosity,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            bearer_methods: vec![BearerMethod::Header, BearerMethod::Body],
            realm: "signet".to_owned(),
            error_verbosity: Verbosity::default(),
        }
    }
}

/// How an access token is presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BearerMethod {
    /// RFC 6750 §2.1.
    Header,
    /// RFC 6750 §2.2.
    Body,
    /// RFC 6750 §2.3: URLs are logged along the way.
    Query,
}

impl Settings {
    /// What is wrong, for whoever wrote it.
    pub(crate) fn check(&self) -> Result<(), (&'static str, &'static str)> {
        let is_plain = |octet: u8| matches!(octet, b' '..=b'~') && octet != b'"' && octet != b'\\';
        if self.bearer_methods.is_empty() {
            return Err((
                "bearer_methods",
                "must name at least one of header, body, query",
            ));
        }
        match self.realm.bytes().all(is_plain) {
            true => Ok(()),
            false => Err(("realm", "must be ASCII without quotes and backslashes")),
        }
    }
}

pub(crate) async fn handle(provider: &Provider, request: &Request) -> Result<Response, Failure> {
    match claims(provider, request).await {
        Err(Failure::Bearer(refusal)) => {
            let settings = &provider.config.userinfo;
            let verbosity = settings.error_verbosity;
            Ok(failure::challenge(refusal, &settings.realm, verbosity))
        }
        answer => answer,
    }
}

async fn claims(provider: &Provider, request: &Request) -> Result<Response, Failure> {
    let id = request.id().as_str();
    let form = match request.method() {
        Method::Post if request.is_form() => Params::form(request)?,
        _ => Params::default(),
    };
    let query = match is_accepted(provider, BearerMethod::Query) {
        true => Params::query(request)?,
        false => Params::default(),
    };
    let token = presented(provider, request, [&form, &query])?;
    let access = bearer::access(provider, id, token).await?;
    let access = access.ok_or(INVALID_TOKEN)?;
    let grant = &access.grant;
    // A client's own token opens nobody's claims. A person's opens them when the grant was for OpenID Connect: the token
    // itself may have been narrowed since.
    if !access.record.is_persons || !grant.scope.has(OPENID) {
        return Err(Failure::Bearer(Some(Refusal::new(
            Code::InsufficientScope,
            "the access token was not issued for a person with the scope openid",
        ))));
    }
    let user = provider.users.by_subject(&grant.sub).ok_or(INVALID_TOKEN)?;
    let client = &access.client;
    let asking = Asking {
        client,
        grant,
        scope: &access.record.scope,
    };
    let mut claims = asking.userinfo(provider, user);
    // §5.3.2: "The sub Claim MUST always be returned".
    claims.shift_insert(0, "sub".to_owned(), Value::from(grant.subject()));
    let jwt = match client.userinfo {
        Protection {
            signed: None,
            encrypted: None,
        } => return Ok(Response::json(json::write(&claims))),
        Protection {
            signed: None,
            encrypted: Some(encryption),
        } => {
            let plain = json::write(&claims);
            protection::encrypt(provider, id, client, encryption, plain).await?
        }
        Protection {
            signed: Some(algorithm),
            encrypted,
        } => {
            // §5.3.2: "the response SHOULD contain the Claims iss and aud".
            claims.insert("iss".to_owned(), Value::from(issuer(provider)));
            claims.insert("aud".to_owned(), Value::from(client.id()));
            let outgoing = Outgoing {
                profile: Profile::Userinfo,
                purpose: id_token::PURPOSE,
                algorithm,
                encryption: encrypted,
                client,
                claims: json::write(&claims),
                hash_of: &[],
                once_key: None,
            };
            let mut signed = protection::sign(provider, id, &[outgoing]).await?;
            signed
                .pop()
                .ok_or_else(|| Failure::Unavailable("a signature is missing".to_owned()))?
        }
    };
    Ok(Response::of_type(JWT, jwt))
}

fn is_accepted(provider: &Provider, method: BearerMethod) -> bool {
    provider.config.userinfo.bearer_methods.contains(&method)
}

/// RFC 6750 §2: in one of the ways that are accepted, never twice.
fn presented<'a>(
    provider: &Provider,
    request: &'a Request,
    [form, query]: [&'a Params<'_>; 2],
) -> Result<&'a str, Failure> {
    let malformed =
        |description| Failure::Bearer(Some(Refusal::new(Code::InvalidRequest, description)));
    let parameter = |params: &'a Params<'_>| {
        let token = params.one("access_token");
        token.map_err(|_| malformed("access_token is repeated"))
    };
    let in_body = parameter(form)?.filter(|_| is_accepted(provider, BearerMethod::Body));
    let in_query = parameter(query)?;
    let header = request
        .authorization()
        .map_err(|refusal| Failure::Bearer(Some(refusal)))?
        .filter(|_| is_accepted(provider, BearerMethod::Header));
    match (header, in_body, in_query) {
        (None, None, None) => Err(Failure::Bearer(None)),
        (None, Some(token), None) | (None, None, Some(token)) => Ok(token),
        (Some(header), None, None) => {
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
        _ => Err(malformed("the access token is presented twice")),
    }
}
