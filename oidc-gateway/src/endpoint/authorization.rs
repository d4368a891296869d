//! `GET` and `POST /authorize` (OpenID Connect Core §3.1.2): parse, decide, and either answer the client or send the
//! person to a page. Also what the pages do when they are done.

use std::sync::Arc;

use super::session_of;
use crate::authorization::consent::{Asked, Labels};
use crate::authorization::decision::{self, Decision, Done};
use crate::authorization::interaction::{Interaction, Waiting};
use crate::authorization::response::Approval;
use crate::authorization::{
    Answer, AuthorizationRequest, ReturnAddress, request_object, return_address,
};
use crate::client::Client;
use crate::error::Failure;
use crate::page::locale::Locales;
use crate::page::text::Text;
use crate::page::{self, Application};
use crate::params::Params;
use crate::provider::Provider;
use crate::session::Session;
use crate::token::hint::Hint;
use crate::user::subject;
use crate::web::csrf::Browser;
use crate::web::{Method, Request, Response};

const ENDED: Failure = Failure::Page(page::text::INTERACTION_ENDED);

pub(crate) async fn handle(provider: &Provider, request: &Request) -> Result<Response, Failure> {
    // §3.1.2.1: both methods, the parameters in the query or in the body.
    let outer = match request.method() {
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
    // Another site's form comes without the session, and this would be a new browser.
    if provider.cookies.none_with(request)
        && let Some(again) = outer.behind(&provider.url("/authorize"))
    {
        return Ok(Response::see_other(&again));
    }
    let request_id = request.id().as_str();
    let client = return_address::client_of(provider, &outer).await?;
    let inner = match request_object::open(provider, request_id, &client, &outer).await? {
        Ok(inner) => inner,
        Err(refusal) => {
            let address = ReturnAddress::of(&outer, &client)
                .map_err(|_| Failure::Page("The request object was refused."))?;
            return Ok(respond(address.refuse(provider, refusal)));
        }
    };
    let params = inner.as_ref().unwrap_or(&outer);
    let address = ReturnAddress::of(params, &client)?;
    let settings = &provider.config.authorization;
    let asked = match AuthorizationRequest::parse(params, &client, settings) {
        Ok(asked) => asked,
        Err(refusal) => return Ok(respond(address.refuse(provider, refusal))),
    };
    let meant = match asked.id_token_hint.as_deref() {
        None => None,
        Some(hint) => match Hint::parse(provider, request_id, hint).await? {
            Ok(hint) => Some(hint),
            Err(refusal) => return Ok(respond(address.refuse(provider, refusal))),
        },
    };
    let session = current_session(provider, request).await?;
    let context = Context {
        provider,
        request_id,
        client: &client,
        address: &address,
        asked: &asked,
    };
    let done = Done {
        somebody_else: context
            .is_somebody_else(meant.as_ref(), session.as_ref())
            .await?,
        ..Done::default()
    };
    let (page, session) = match context.decide(session.as_ref(), done).await? {
        Decision::Refuse(refusal) => return Ok(respond(address.refuse(provider, refusal))),
        Decision::Authorize(labels) => return context.authorize(session.as_ref(), labels).await,
        Decision::Login => ("/login", None),
        Decision::SelectAccount => ("/select-account", None),
        Decision::Consent => ("/consent", session),
    };
    let browser = Browser::of_or_new(request, provider.cookies, &provider.random);
    let mut waiting = Waiting::new(provider, address, asked, browser.binding());
    waiting.interaction.meant = meant;
    if let Err(refusal) = waiting.fits() {
        let address = &waiting.interaction.address;
        return Ok(respond(address.refuse(provider, refusal)));
    }
    if let Some(session) = session {
        waiting.is_for(provider, session.subject);
    }
    waiting.save(provider).await?;
    let response = Response::see_other(&page_url(provider, page, &waiting.id));
    Ok(browser.remember(response, provider.cookies))
}

/// After a person did something for a waiting request: what comes next.
pub(super) async fn go_on(
    provider: &Provider,
    request_id: &str,
    mut waiting: Waiting,
    session: &Session,
    done: Done,
) -> Result<Response, Failure> {
    let client = client_of(provider, &waiting.interaction).await?;
    let context = Context::of(provider, request_id, &client, &waiting.interaction);
    let meant = waiting.interaction.meant.as_ref();
    let done = Done {
        somebody_else: context.is_somebody_else(meant, Some(session)).await?,
        ..done
    };
    match context.decide(Some(session), done).await? {
        Decision::Consent => {
            waiting.is_for(provider, session.subject.clone());
            waiting.save(provider).await?;
            let page = page_url(provider, "/consent", &waiting.id);
            Ok(Response::see_other(&page))
        }
        Decision::Authorize(labels) => {
            let interaction = waiting.finish(provider).await?;
            allowed(provider, request_id, &interaction, session, labels).await
        }
        Decision::Refuse(refusal) => {
            let interaction = waiting.finish(provider).await?;
            Ok(respond(interaction.address.refuse(provider, refusal)))
        }
        // The session that was selected is too old.
        Decision::Login if !done.signed_in => {
            let page = page_url(provider, "/login", &waiting.id);
            Ok(Response::see_other(&page))
        }
        Decision::Login | Decision::SelectAccount => Err(ENDED),
    }
}

/// The person allowed a request that waited and has been taken: it is answered.
pub(super) async fn allowed(
    provider: &Provider,
    request_id: &str,
    interaction: &Interaction,
    session: &Session,
    labels: Labels,
) -> Result<Response, Failure> {
    let client = client_of(provider, interaction).await?;
    let context = Context::of(provider, request_id, &client, interaction);
    context.authorize(Some(session), labels).await
}

struct Context<'a> {
    provider: &'a Provider,
    request_id: &'a str,
    client: &'a Client,
    address: &'a ReturnAddress,
    asked: &'a AuthorizationRequest,
}

impl<'a> Context<'a> {
    fn of(
        provider: &'a Provider,
        request_id: &'a str,
        client: &'a Client,
        interaction: &'a Interaction,
    ) -> Context<'a> {
        Context {
            provider,
            request_id,
            client,
            address: &interaction.address,
            asked: &interaction.request,
        }
    }

    /// Whether the request names somebody else than who is signed in, by a hint (§3.1.2.1) or by "sub" among the claims
    /// that it asks for (§5.5.1).
    async fn is_somebody_else(
        &self,
        meant: Option<&Hint>,
        session: Option<&Session>,
    ) -> Result<bool, Failure> {
        let Some(session) = session else {
            return Ok(false);
        };
        let (provider, id, local) = (self.provider, self.request_id, &session.subject);
        if let Some(meant) = meant
            && !meant.is(provider, id, local).await?
        {
            return Ok(true);
        }
        let expected = self.asked.expected_subjects();
        Ok(!expected.is_empty()
            && !subject::matches(provider, id, self.client, local, &expected).await?)
    }

    async fn decide(&self, session: Option<&Session>, done: Done) -> Result<Decision, Failure> {
        let now = self.provider.clock.now();
        let authentication = |done| decision::authentication(self.asked, session, done, now);
        // BR-05: who has been allowed nothing does not learn without a page whether the person is whom it names.
        let somebody_else = done.somebody_else && !self.asked.prompt.none;
        if let Some(decision) = authentication(Done {
            somebody_else,
            ..done
        }) {
            return Ok(decision);
        }
        let decision = self.consent(session).await?;
        Ok(match (decision, authentication(done)) {
            (Decision::Authorize(_), Some(decision)) => decision,
            (decision, _) => decision,
        })
    }

    async fn consent(&self, session: Option<&Session>) -> Result<Decision, Failure> {
        if decision::needs_no_consent(self.asked, self.client) {
            return Ok(Decision::Authorize(Labels::new()));
        }
        let users = &self.provider.users;
        let user = session.and_then(|session| users.by_subject(&session.subject));
        let given = match user {
            Some(user) => {
                let redirect_uri = &self.address.redirect_uri;
                Asked::of(self.provider, user, self.client, self.asked, redirect_uri)
                    .allowed_before(self.provider, user, self.client)
                    .await?
            }
            None => None,
        };
        Ok(decision::consent(self.asked, given))
    }

    async fn authorize(
        &self,
        session: Option<&Session>,
        labels: Labels,
    ) -> Result<Response, Failure> {
        let approval = Approval {
            client: self.client,
            request: self.asked,
            session: session.ok_or(ENDED)?,
            labels,
        };
        let answer = self
            .address
            .authorize(self.provider, self.request_id, approval)
            .await?;
        Ok(respond(answer))
    }
}

/// The session of the browser that sent a request, if its person may still sign in.
pub(super) async fn current_session(
    provider: &Provider,
    request: &Request,
) -> Result<Option<Session>, Failure> {
    let session = session_of(provider, request).await?;
    Ok(session.filter(|session| {
        let user = provider.users.by_subject(&session.subject);
        user.is_some_and(|user| !user.disabled)
    }))
}

/// The client of a waiting request, which may have been disabled since (AZ-22).
pub(super) async fn client_of(
    provider: &Provider,
    interaction: &Interaction,
) -> Result<Arc<Client>, Failure> {
    let client = provider.client(&interaction.address.client_id).await?;
    client.ok_or(ENDED)
}

pub(super) fn page_url(provider: &Provider, page: &str, interaction: &str) -> String {
    format!("{}{page}?interaction={interaction}", provider.issuer)
}

/// What the pages show of a client, in the languages that the person reads.
pub(super) fn application(client: &Client, locales: &Locales) -> Application {
    Application {
        name: client.name(locales).to_owned(),
        logo_uri: client.logo_uri(locales).map(str::to_owned),
        policy_uri: client.policy_uri(locales).map(str::to_owned),
        tos_uri: client.tos_uri(locales).map(str::to_owned),
    }
}

/// An answer as HTTP.
pub(super) fn respond(answer: Answer) -> Response {
    match answer {
        Answer::Redirect(location) => Response::see_other(&location),
        Answer::FormPost {
            action,
            fields,
            ui_locales,
        } => {
            let fields = fields
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value))
                .collect();
            let page = page::FormPost {
                text: Text::of(&ui_locales),
                action,
                fields,
            };
            Response::script_page(page.render())
        }
    }
}
