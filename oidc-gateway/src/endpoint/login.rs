//! `GET` and `POST /login`: the page on which a person signs in for a waiting request.

use super::authorization::{application, client_of, go_on, page_url, respond};
use super::{begin_session, with_session};
use crate::authorization::decision::Done;
use crate::authorization::interaction::Waiting;
use crate::error::{Code, Failure, Refusal};
use crate::login::password::{self, Refused};
use crate::page;
use crate::page::text::Text;
use crate::params::Params;
use crate::provider::Provider;
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
        return show(provider, &waiting, &browser, hint, None).await;
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
            )
            .await;
        }
    };
    let (cookie, session) = begin_session(provider, request, &authenticated).await?;
    let done = Done {
        signed_in: true,
        ..Done::default()
    };
    let response = go_on(provider, request.id().as_str(), waiting, &session, done).await?;
    Ok(with_session(provider, response, &cookie, &session))
}

fn purpose(waiting: &Waiting) -> String {
    format!("login/{}", waiting.id)
}

async fn show(
    provider: &Provider,
    waiting: &Waiting,
    browser: &Browser<'_>,
    username: String,
    problem: Option<page::Problem>,
) -> Result<Response, Failure> {
    let client = client_of(provider, &waiting.interaction).await?;
    let locales = &waiting.interaction.address.ui_locales;
    let page = page::Login {
        text: Text::of(locales),
        application: application(&client, locales),
        username,
        action: page_url(provider, "/login", &waiting.id),
        csrf: browser.token(&purpose(waiting)),
        problem,
    };
    Ok(Response::page(page.render()))
}
