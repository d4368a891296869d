//! `GET` and `POST /login`: the page on which a person signs in for a waiting request.

use super::authorization::{client_of, page_url, respond, signed_in};
use crate::authorization::interaction::Waiting;
use crate::error::{Code, Failure, Refusal};
use crate::login::password::{self, Refused};
use crate::page;
use crate::params::Params;
use crate::provider::Provider;
use crate::session;
use crate::web::cookie::Cookie;
use crate::web::csrf::{self, Browser};
use crate::web::{Method, Request, Response};

pub(crate) async fn handle(provider: &Provider, request: &Request) -> Result<Response, Failure> {
    let query = Params::query(request)?;
    let browser = Browser::of(request, provider.cookies);
    let binding = browser.as_ref().map(Browser::binding);
    let waiting = Waiting::load(provider, query.one("interaction")?, binding.as_deref()).await?;
    let browser = browser.ok_or(Failure::Page(page::text::INTERACTION_ENDED))?;
    if request.method() != Method::Post {
        let hint = waiting
            .interaction
            .request
            .login_hint
            .clone()
            .unwrap_or_default();
        return show(provider, &waiting, &browser, hint, None);
    }
    let form = Params::form(request)?;
    browser.check(&purpose(&waiting), form.one(csrf::FIELD)?)?;
    if form.one("cancel")?.is_some() {
        let interaction = waiting.finish(provider).await?;
        let refusal = Refusal::new(Code::AccessDenied, "the person did not sign in");
        return Ok(respond(interaction.address.refuse(provider, refusal)));
    }
    let username = form.one("username")?.unwrap_or_default();
    let presented = form.one("password")?.unwrap_or_default();
    let attempt = password::Attempt {
        username,
        password: presented,
        address: request.client_address(),
        request_id: request.id().as_str(),
    };
    let authenticated = match password::verify(provider, &attempt).await {
        Ok(authenticated) => authenticated,
        Err(refused) => {
            let problem = match refused {
                Refused::Wrong => page::Problem::Refused,
                Refused::Throttled(_) => page::Problem::Throttled,
                Refused::Busy => page::Problem::Busy,
            };
            return show(
                provider,
                &waiting,
                &browser,
                username.to_owned(),
                Some(problem),
            );
        }
    };
    // BR-01: whatever session the browser came with ends, and the new one has a name that nobody knew before.
    if let Some(before) = provider.cookies.read(request, Cookie::Session) {
        session::end(provider, before).await?;
    }
    let (cookie, session) = session::create(provider, authenticated).await?;
    let response = signed_in(provider, waiting, &session).await?;
    Ok(response.with_cookie(provider.cookies.set(Cookie::Session, &cookie, None)))
}

fn purpose(waiting: &Waiting) -> String {
    format!("login/{}", waiting.id)
}

fn show(
    provider: &Provider,
    waiting: &Waiting,
    browser: &Browser<'_>,
    username: String,
    problem: Option<page::Problem>,
) -> Result<Response, Failure> {
    let client = client_of(provider, &waiting.interaction)?;
    let page = page::Login {
        client_name: client.name.clone(),
        logo_uri: client.logo_uri.clone(),
        policy_uri: client.policy_uri.clone(),
        tos_uri: client.tos_uri.clone(),
        username,
        action: page_url(provider, "/login", &waiting.id),
        csrf: browser.token(&purpose(waiting)),
        problem,
    };
    Ok(Response::page(page.render()))
}
