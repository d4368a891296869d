//! `GET` and `POST /consent`: the page on which a person allows or denies what a client asks for.

use super::authorization::{allowed, client_of, current_session, page_url, respond};
use crate::authorization::consent;
use crate::authorization::interaction::Waiting;
use crate::error::{Code, Failure, Refusal};
use crate::page;
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
    let session = current_session(provider, request).await?.ok_or(ENDED)?;
    // Whoever signed in for this request is who decides on it.
    if waiting.interaction.signed_in.as_deref() != Some(session.subject.as_str()) {
        return Err(ENDED);
    }
    let client = client_of(provider, &waiting.interaction)?;
    let purpose = format!("consent/{}", waiting.id);
    if request.method() != Method::Post {
        let user = provider.users.by_subject(&session.subject).ok_or(ENDED)?;
        let page = page::Consent {
            client_name: client.name.clone(),
            logo_uri: client.logo_uri.clone(),
            policy_uri: client.policy_uri.clone(),
            tos_uri: client.tos_uri.clone(),
            account: user.username.clone(),
            scopes: waiting
                .interaction
                .request
                .scope
                .words()
                .map(page::ScopeLine::of)
                .collect(),
            action: page_url(provider, "/consent", &waiting.id),
            csrf: browser.token(&purpose),
        };
        return Ok(Response::page(page.render()));
    }
    let form = Params::form(request)?;
    browser.check(&purpose, form.one(csrf::FIELD)?)?;
    if form.one("decision")? != Some("allow") {
        let interaction = waiting.finish(provider).await?;
        let refusal = Refusal::new(Code::AccessDenied, "the person did not allow it");
        return Ok(respond(interaction.address.refuse(provider, refusal)));
    }
    // Taken first: what is remembered is what was decided, also when Allow and Deny come at once.
    let interaction = waiting.finish(provider).await?;
    if form.one("remember")?.is_some() {
        let redirect_uri = &interaction.address.redirect_uri;
        let asked = &interaction.request;
        consent::remember(provider, &session.subject, &client, asked, redirect_uri).await?;
    }
    allowed(provider, &interaction, &session).await
}
