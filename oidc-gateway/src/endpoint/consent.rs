//! `GET` and `POST /consent`: the page on which a person allows or denies what a client asks for.

use super::authorization::{allowed, application, client_of, current_session, page_url, respond};
use crate::authorization::consent::{Asked, Labels, choices};
use crate::authorization::interaction::Waiting;
use crate::error::{Code, Failure, Refusal};
use crate::page;
use crate::page::text::Text;
use crate::params::{Duplicate, Params};
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
    let client = client_of(provider, &waiting.interaction).await?;
    let user = provider.users.by_subject(&session.subject).ok_or(ENDED)?;
    let (address, asked) = (&waiting.interaction.address, &waiting.interaction.request);
    let question = Asked::of(provider, user, &client, asked, &address.redirect_uri);
    let choices = choices(user, &client, asked);
    let purpose = format!("consent/{}", waiting.id);
    if request.method() != Method::Post {
        let text = Text::of(&address.ui_locales);
        let described = &provider.config.claims.scopes;
        let line = |word: &str| match described.get(word) {
            Some(description) => page::ScopeLine::described(word, description),
            None => page::ScopeLine::of(word, text),
        };
        let page = page::Consent {
            text,
            application: application(&client, &address.ui_locales),
            account: user.username.clone(),
            scopes: asked.scope.words().map(line).collect(),
            claims: question.claims.iter().cloned().collect(),
            labels: choices
                .into_iter()
                .map(|choice| page::LabelChoice {
                    field: field(&choice.scope),
                    scope: choice.scope,
                    labels: choice.labels,
                    suggested: choice.suggested,
                })
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
    let chosen: Result<Labels, Duplicate> = choices
        .into_iter()
        .map(|choice| {
            let field = form.one(&field(&choice.scope))?;
            let is_own = |label: &&str| choice.labels.iter().any(|own| own == label);
            let label = field.filter(is_own).unwrap_or(&choice.suggested).to_owned();
            Ok((choice.scope, label))
        })
        .collect();
    let labels = chosen?;
    // Taken first: what is remembered is what was decided, also when Allow and Deny come at once.
    let interaction = waiting.finish(provider).await?;
    if form.one("remember")?.is_some() {
        question
            .remember(provider, user, &client, labels.clone())
            .await?;
    }
    let request_id = request.id().as_str();
    allowed(provider, request_id, &interaction, &session, labels).await
}

/// The name of the field for a labelled scope.
fn field(scope: &str) -> String {
    format!("label:{scope}")
}
