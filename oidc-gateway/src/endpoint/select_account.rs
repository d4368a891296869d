//! `GET` and `POST /select-account`: the page on which a person says as whom to go on (OpenID Connect Core §3.1.2.1
//! "select_account"). A browser has one session here: it is that person, or somebody who signs in.

use super::authorization::{application, client_of, current_session, go_on, page_url};
use crate::authorization::decision::Done;
use crate::authorization::interaction::Waiting;
use crate::error::Failure;
use crate::page;
use crate::page::text::Text;
use crate::params::Params;
use crate::provider::Provider;
use crate::web::csrf::{self, Browser};
use crate::web::{Method, Request, Response};

const ENDED: Failure = Failure::Page(page::text::INTERACTION_ENDED);

pub(crate) async fn handle(provider: &Provider, request: &Request) -> Result<Response, Failure> {
    let query = Params::query(request)?;
    let browser = Browser::of(request, provider.cookies);
    let binding = browser.as_ref().map(Browser::binding);
    let waiting = Waiting::load(provider, query.one("interaction")?, binding.as_deref()).await?;
    let browser = browser.ok_or(ENDED)?;
    let login = Response::see_other(&page_url(provider, "/login", &waiting.id));
    let Some(session) = current_session(provider, request).await? else {
        return Ok(login);
    };
    // Bound to the account too: another one may have signed in since the page was shown.
    let purpose = format!("select-account/{}/{}", waiting.id, session.subject);
    if request.method() != Method::Post {
        let client = client_of(provider, &waiting.interaction).await?;
        let user = provider.users.by_subject(&session.subject).ok_or(ENDED)?;
        let locales = &waiting.interaction.address.ui_locales;
        let page = page::SelectAccount {
            text: Text::of(locales),
            application: application(&client, locales),
            account: user.username.clone(),
            action: page_url(provider, "/select-account", &waiting.id),
            csrf: browser.token(&purpose),
        };
        return Ok(Response::page(page.render()));
    }
    let form = Params::form(request)?;
    browser.check(&purpose, form.one(csrf::FIELD)?)?;
    if form.one("account")? != Some("this") {
        return Ok(login);
    }
    let done = Done {
        selected: true,
        ..Done::default()
    };
    go_on(provider, request.id().as_str(), waiting, &session, done).await
}
