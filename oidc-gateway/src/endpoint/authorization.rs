//! `GET` and `POST /authorize` (OpenID Connect Core §3.1.2): parse, decide, and either answer the client or send the
//! person to a page. Also what the pages do when they are done.

use crate::authorization::decision::{self, Decision, Done};
use crate::authorization::interaction::{Interaction, Waiting};
use crate::authorization::{Answer, AuthorizationRequest, ReturnAddress, consent};
use crate::client::Client;
use crate::error::Failure;
use crate::page;
use crate::params::Params;
use crate::provider::Provider;
use crate::session::{self, Session};
use crate::token::id_token::Hint;
use crate::web::cookie::Cookie;
use crate::web::csrf::Browser;
use crate::web::{Method, Request, Response};

pub(crate) async fn handle(provider: &Provider, request: &Request) -> Result<Response, Failure> {
    // §3.1.2.1: both methods, the parameters in the query or in the body.
    let params = match request.method() {
        Method::Post => {
            let form = Params::form(request)?;
            // What stands in the URL as well would be read one way here and another way elsewhere (AZ-06).
            if Params::query(request)?.overlaps(&form) {
                return Err(Failure::Page("A parameter is repeated."));
            }
            form
        }
        _ => Params::query(request)?,
    };
    let (client, address) = ReturnAddress::of(&params, &provider.clients)?;
    let asked = match AuthorizationRequest::parse(&params, &client) {
        Ok(asked) => asked,
        Err(refusal) => return Ok(respond(address.refuse(provider, refusal))),
    };
    // Another site's form comes without the session, and this would be a new browser.
    if provider.cookies.none_with(request)
        && let Some(again) = params.behind(&provider.url("/authorize"))
    {
        return Ok(Response::see_other(&again));
    }
    let meant = match asked.id_token_hint.as_deref() {
        None => None,
        Some(hint) => match Hint::parse(provider, request.id().as_str(), hint).await? {
            Ok(hint) => Some(hint.subject),
            Err(refusal) => return Ok(respond(address.refuse(provider, refusal))),
        },
    };
    let session = current_session(provider, request).await?;
    let done = Done {
        signed_in: false,
        somebody_else: is_somebody_else(meant.as_deref(), session.as_ref()),
    };
    let context = Context {
        provider,
        client: &client,
        address: &address,
        asked: &asked,
    };
    let (page, session) = match context.decide(session.as_ref(), done).await? {
        Decision::Refuse(refusal) => return Ok(respond(address.refuse(provider, refusal))),
        Decision::Authorize => return context.authorize(session.as_ref()).await,
        Decision::Login => ("/login", None),
        Decision::Consent => ("/consent", session),
    };
    let browser = Browser::of_or_new(request, provider.cookies, &provider.random);
    let mut waiting = Waiting::new(provider, address, asked, browser.binding());
    waiting.interaction.meant = meant;
    waiting.interaction.signed_in = session.map(|session| session.subject);
    waiting.save(provider).await?;
    let response = Response::see_other(&page_url(provider, page, &waiting.id));
    Ok(browser.remember(response, provider.cookies))
}

/// After a person signed in for a waiting request: what comes next.
pub(super) async fn signed_in(
    provider: &Provider,
    mut waiting: Waiting,
    session: &Session,
) -> Result<Response, Failure> {
    let client = client_of(provider, &waiting.interaction)?;
    let Interaction {
        address,
        request: asked,
        meant,
        ..
    } = &waiting.interaction;
    let context = Context {
        provider,
        client: &client,
        address,
        asked,
    };
    let done = Done {
        signed_in: true,
        somebody_else: is_somebody_else(meant.as_deref(), Some(session)),
    };
    match context.decide(Some(session), done).await? {
        Decision::Consent => {
            waiting.interaction.signed_in = Some(session.subject.clone());
            waiting.save(provider).await?;
            Ok(Response::see_other(&page_url(
                provider,
                "/consent",
                &waiting.id,
            )))
        }
        Decision::Authorize => {
            let interaction = waiting.finish(provider).await?;
            allowed(provider, &interaction, session).await
        }
        Decision::Refuse(refusal) => {
            let interaction = waiting.finish(provider).await?;
            Ok(respond(interaction.address.refuse(provider, refusal)))
        }
        Decision::Login => Err(Failure::Page(page::text::INTERACTION_ENDED)),
    }
}

/// The person allowed a request that waited and has been taken: it is answered.
pub(super) async fn allowed(
    provider: &Provider,
    interaction: &Interaction,
    session: &Session,
) -> Result<Response, Failure> {
    let client = client_of(provider, interaction)?;
    let context = Context {
        provider,
        client: &client,
        address: &interaction.address,
        asked: &interaction.request,
    };
    context.authorize(Some(session)).await
}

struct Context<'a> {
    provider: &'a Provider,
    client: &'a Client,
    address: &'a ReturnAddress,
    asked: &'a AuthorizationRequest,
}

impl Context<'_> {
    async fn decide(&self, session: Option<&Session>, done: Done) -> Result<Decision, Failure> {
        let now = self.provider.clock.now();
        if let Some(decision) = decision::authentication(self.asked, session, done, now) {
            return Ok(decision);
        }
        if decision::needs_no_consent(self.asked, self.client) {
            return Ok(Decision::Authorize);
        }
        let was_given = match session {
            Some(session) => {
                let redirect_uri = &self.address.redirect_uri;
                consent::was_given(
                    self.provider,
                    &session.subject,
                    self.client,
                    self.asked,
                    redirect_uri,
                )
                .await?
            }
            None => false,
        };
        Ok(decision::consent(self.asked, was_given))
    }

    async fn authorize(&self, session: Option<&Session>) -> Result<Response, Failure> {
        let session = session.ok_or(Failure::Page(page::text::INTERACTION_ENDED))?;
        let answer = self
            .address
            .authorize(self.provider, self.asked, session)
            .await?;
        Ok(respond(answer))
    }
}

/// The session of the browser that sent a request, if its person may still sign in.
pub(super) async fn current_session(
    provider: &Provider,
    request: &Request,
) -> Result<Option<Session>, Failure> {
    let Some(cookie) = provider.cookies.read(request, Cookie::Session) else {
        return Ok(None);
    };
    let session = session::load(provider, cookie).await?;
    Ok(session.filter(|session| {
        let user = provider.users.by_subject(&session.subject);
        user.is_some_and(|user| !user.disabled)
    }))
}

/// The client of a waiting request, which may have been disabled since (AZ-22).
pub(super) fn client_of(
    provider: &Provider,
    interaction: &Interaction,
) -> Result<std::sync::Arc<Client>, Failure> {
    let client = provider.clients.find(&interaction.address.client_id);
    client
        .cloned()
        .ok_or(Failure::Page(page::text::INTERACTION_ENDED))
}

fn is_somebody_else(meant: Option<&str>, session: Option<&Session>) -> bool {
    match (meant, session) {
        (Some(meant), Some(session)) => meant != session.subject,
        _ => false,
    }
}

pub(super) fn page_url(provider: &Provider, page: &str, interaction: &str) -> String {
    format!("{}{page}?interaction={interaction}", provider.issuer)
}

/// An answer as HTTP.
pub(super) fn respond(answer: Answer) -> Response {
    match answer {
        Answer::Redirect(location) => Response::see_other(&location),
        Answer::FormPost { action, fields } => {
            let fields = fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect();
            Response::script_page(page::FormPost { action, fields }.render())
        }
    }
}
