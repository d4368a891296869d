//! One file for each URL, named as in the discovery document. Each reads: authenticate, parse, decide, answer.

pub(crate) mod authorization;
pub(crate) mod check_session;
pub(crate) mod consent;
pub(crate) mod discovery;
pub(crate) mod end_session;
pub(crate) mod health;
pub(crate) mod initiate_login;
pub(crate) mod introspection;
pub(crate) mod jwks;
pub(crate) mod login;
pub(crate) mod registration;
pub(crate) mod revocation;
pub(crate) mod select_account;
pub(crate) mod token;
pub(crate) mod userinfo;
pub(crate) mod webfinger;

use crate::client::At;
use crate::client::authentication::{AuthenticatedClient, Credentials, authenticate};
use crate::error::Failure;
use crate::login::Authenticated;
use crate::logout;
use crate::params::Params;
use crate::provider::Provider;
use crate::session::{self, Session};
use crate::web::cookie::Cookie;
use crate::web::{Request, Response};

/// The parameters of a request that a client sends itself, each once, and the client that has shown to be itself
/// (RFC 6749 §2.3, §3.2).
async fn from_client<'a>(
    provider: &Provider,
    request: &'a Request,
    at: At,
) -> Result<(AuthenticatedClient, Params<'a>), Failure> {
    let params = Params::form(request)?;
    params.each_once()?;
    let credentials = Credentials::present(request.authorization()?, &params)?;
    let client = authenticate(provider, request.id().as_str(), at, credentials).await?;
    Ok((client, params))
}

/// A session for whoever has just signed in, and its cookie's value. Another person's, with which the browser came, ends
/// as if that person had signed out. The same person's goes on under a new value (BR-01).
async fn begin_session(
    provider: &Provider,
    request: &Request,
    authenticated: &Authenticated,
) -> Result<(String, Session), Failure> {
    let before = session_of(provider, request).await?;
    let person = &authenticated.user.subject;
    if let Some(before) = before.as_ref().filter(|before| before.subject != *person) {
        logout::end(provider, before).await?;
    }
    Ok(session::create(provider, before.as_ref(), authenticated).await?)
}

/// The session of the browser that sent a request, whatever has become of its person.
async fn session_of(provider: &Provider, request: &Request) -> Result<Option<Session>, Failure> {
    Ok(match provider.cookies.read(request, Cookie::Session) {
        Some(cookie) => session::load(provider, cookie).await?,
        None => None,
    })
}

/// Sets a session's cookies.
fn with_session(
    provider: &Provider,
    response: Response,
    cookie: &str,
    session: &Session,
) -> Response {
    let cookies = provider.cookies;
    let response = response.with_cookie(cookies.set(Cookie::Session, cookie, None));
    match provider.config.session_management.enabled {
        true => response.with_cookie(cookies.set(Cookie::State, &session.browser_state(), None)),
        false => response,
    }
}

/// Removes them.
fn without_session(provider: &Provider, response: Response) -> Response {
    let cookies = provider.cookies;
    let response = response.with_cookie(cookies.clear(Cookie::Session));
    match provider.config.session_management.enabled {
        true => response.with_cookie(cookies.clear(Cookie::State)),
        false => response,
    }
}
