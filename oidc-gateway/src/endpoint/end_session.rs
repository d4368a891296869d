//! `GET` and `POST /logout` (RP-Initiated Logout 1.0): ends the session, after asking the person where the request
//! does not show that the client means that very person.

use super::{initiate_login, session_of, without_session};
use crate::error::Failure;
use crate::logout::rp_initiated::{LogoutRequest, Refused};
use crate::logout::{self, Ended};
use crate::page;
use crate::page::locale::Locales;
use crate::page::text::Text;
use crate::params::{Params, with_query};
use crate::provider::Provider;
use crate::web::cookie::Cookie;
use crate::web::csrf::{self, Browser};
use crate::web::{Method, Request, Response, failure};

/// The purpose of the form.
const PURPOSE: &str = "logout";
/// What the form carries on, in the query of its URL.
const CARRIED: [&str; 5] = [
    "id_token_hint",
    "client_id",
    "post_logout_redirect_uri",
    "state",
    "ui_locales",
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
    let locales = Locales::parse(params.one("ui_locales").ok().flatten().unwrap_or_default());
    let text = Text::of(&locales);
    let id = request.id().as_str();
    let asked = match LogoutRequest::parse(provider, id, params).await? {
        Ok(asked) => asked,
        Err(Refused(why)) => return Ok(failure::logout_error(why, text, request)),
    };
    let cookie = provider.cookies.read(request, Cookie::Session);
    // Also of somebody who was disabled: it ends, and its clients are told.
    let Some(session) = session_of(provider, request).await? else {
        let done = Done {
            text,
            redirect: asked.redirect_of_nobody(),
            ended: Ended::default(),
        };
        return Ok(done.answer(provider, cookie.is_some()));
    };
    let browser = Browser::of_or_new(request, provider.cookies, &provider.random);
    match confirmed {
        Some(token) => browser.check(PURPOSE, Some(token?))?,
        None if asked.is_for(provider, id, &session).await? => {}
        None => {
            let page = page::LogoutConfirm {
                text,
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
    let ended = logout::end(provider, &session).await?;
    tracing::info!(request_id = id, "signed out");
    let done = Done {
        text,
        redirect: asked.redirect(),
        ended,
    };
    Ok(done.answer(provider, true))
}

/// What is left to be done.
struct Done {
    text: &'static Text,
    redirect: Option<String>,
    ended: Ended,
}

impl Done {
    /// `came`: the browser sent its cookie. One that it kept back, for another site made it ask, stays.
    fn answer(self, provider: &Provider, came: bool) -> Response {
        let response = match self.redirect {
            Some(location) if self.ended.frames.is_empty() => Response::see_other(&location),
            next => {
                let frames = &self.ended.frames;
                let applications = initiate_login::is_of_use(provider)
                    .then(|| provider.url("/initiate"))
                    .filter(|_| next.is_none());
                let page = page::LoggedOut {
                    text: self.text,
                    frames: frames.iter().map(|frame| frame.url.clone()).collect(),
                    next,
                    applications,
                };
                match frames.is_empty() {
                    true => Response::page(page.render()),
                    false => {
                        let origins = frames.iter().map(|frame| frame.origin.as_str());
                        Response::framing_page(origins, page.render())
                    }
                }
            }
        };
        match came {
            true => without_session(provider, response),
            false => response,
        }
    }
}

fn action(provider: &Provider, params: &Params<'_>) -> Result<String, Failure> {
    let mut carried = Vec::with_capacity(CARRIED.len());
    for name in CARRIED {
        if let Some(value) = params.one(name)? {
            carried.push((name, value));
        }
    }
    Ok(with_query(&provider.url("/logout"), &carried))
}
