//! `GET` and `POST /logout` (RP-Initiated Logout 1.0): ends the session, after asking the person where the request
//! does not show that the client means that very person.

use form_urlencoded::Serializer;

use super::authorization::current_session;
use crate::error::Failure;
use crate::logout::rp_initiated::{LogoutRequest, Refused};
use crate::page;
use crate::params::Params;
use crate::provider::Provider;
use crate::session;
use crate::web::cookie::Cookie;
use crate::web::csrf::{self, Browser};
use crate::web::{Method, Request, Response, failure};

/// The purpose of the form.
const PURPOSE: &str = "logout";
/// What the form carries on, in the query of its URL.
const CARRIED: [&str; 4] = [
    "id_token_hint",
    "client_id",
    "post_logout_redirect_uri",
    "state",
];

pub(crate) async fn handle(provider: &Provider, request: &Request) -> Result<Response, Failure> {
    let form = match request.method() {
        Method::Post => Some(Params::form(request)?),
        _ => None,
    };
    // Our own form carries the request in its URL; a client posts it in the body (§2).
    let confirmed = form
        .as_ref()
        .and_then(|form| form.one(csrf::FIELD).transpose());
    // Without its cookies a browser would be told that it is signed out, and would not be.
    if let Some(form) = form.as_ref().filter(|_| confirmed.is_none())
        && provider.cookies.none_with(request)
        && let Some(again) = form.behind(&provider.url("/logout"))
    {
        return Ok(Response::see_other(&again));
    }
    let params = match form.as_ref().filter(|_| confirmed.is_none()) {
        Some(form) => form,
        None => &Params::query(request)?,
    };
    let asked = match LogoutRequest::parse(provider, request.id().as_str(), params).await? {
        Ok(asked) => asked,
        Err(Refused(why)) => return Ok(failure::logout_error(why, request)),
    };
    let cookie = provider.cookies.read(request, Cookie::Session);
    let Some(session) = current_session(provider, request).await? else {
        return Ok(after(provider, asked, cookie));
    };
    let browser = Browser::of_or_new(request, provider.cookies, &provider.random);
    match confirmed {
        Some(token) => browser.check(PURPOSE, Some(token?))?,
        None if asked.is_for(&session) => {}
        None => {
            let page = page::LogoutConfirm {
                account: provider
                    .users
                    .by_subject(&session.subject)
                    .map(|user| user.username.clone())
                    .unwrap_or_default(),
                action: action(provider, params)?,
                csrf: browser.token(PURPOSE),
            };
            let response = Response::page(page.render());
            return Ok(browser.remember(response, provider.cookies));
        }
    }
    if let Some(cookie) = cookie {
        session::end(provider, cookie).await?;
    }
    tracing::info!(request_id = request.id().as_str(), "signed out");
    Ok(after(provider, asked, cookie))
}

/// `cookie`: what the browser sent. One that it kept back, for another site made it ask, stays.
fn after(provider: &Provider, asked: LogoutRequest, cookie: Option<&str>) -> Response {
    let response = match asked.redirect() {
        Some(location) => Response::see_other(&location),
        None => Response::page(page::LoggedOut.render()),
    };
    match cookie {
        Some(_) => response.with_cookie(provider.cookies.clear(Cookie::Session)),
        None => response,
    }
}

fn action(provider: &Provider, params: &Params<'_>) -> Result<String, Failure> {
    let mut action = provider.url("/logout?");
    let begin = action.len();
    let mut pairs = Serializer::for_suffix(std::mem::take(&mut action), begin);
    for name in CARRIED {
        if let Some(value) = params.one(name)? {
            pairs.append_pair(name, value);
        }
    }
    Ok(pairs.finish())
}
