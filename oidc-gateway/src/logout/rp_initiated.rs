//! RP-Initiated Logout 1.0 §2: what a request for logout says, before anything is ended.

use crate::error::{Failure, Refusal};
use crate::params::{Duplicate, Params, with_query};
use crate::provider::Provider;
use crate::session::Session;
use crate::token::hint::Hint;

/// A "state" longer than this is not sent back: octets.
const LONGEST_STATE: usize = 4096;

/// Why a request for logout is not followed: words for the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) &'static str);

impl From<Duplicate> for Refused {
    fn from(_: Duplicate) -> Refused {
        Refused("A parameter is repeated.")
    }
}

impl From<Refusal> for Refused {
    fn from(_: Refusal) -> Refused {
        Refused("The id_token_hint is not an ID token of this provider.")
    }
}

/// A request for logout.
#[derive(Debug, Default)]
pub(crate) struct LogoutRequest {
    /// Whom the client means, by an ID token of ours.
    hint: Option<Hint>,
    /// Where the person goes afterwards: registered by the client.
    redirect: Option<String>,
    /// A stranger registered that, and shows nothing that we gave: where nobody is signed in and so nobody is asked,
    /// this would lead from our address to anybody's.
    is_strangers: bool,
}

impl LogoutRequest {
    /// Parses a request. The outer error is an outage, the inner one is the sender's.
    pub(crate) async fn parse(
        provider: &Provider,
        request_id: &str,
        params: &Params<'_>,
    ) -> Result<Result<LogoutRequest, Refused>, Failure> {
        let hint = match params.one("id_token_hint") {
            Err(duplicate) => return Ok(Err(duplicate.into())),
            Ok(None) => None,
            Ok(Some(hint)) => match Hint::parse(provider, request_id, hint).await? {
                Err(refusal) => return Ok(Err(refusal.into())),
                Ok(hint) => Some(hint),
            },
        };
        LogoutRequest::of(provider, params, hint).await
    }

    async fn of(
        provider: &Provider,
        params: &Params<'_>,
        hint: Option<Hint>,
    ) -> Result<Result<LogoutRequest, Refused>, Failure> {
        let asked = match Asked::of(params, hint.as_ref()) {
            Ok(asked) => asked,
            Err(refused) => return Ok(Err(refused)),
        };
        let Some(uri) = asked.redirect else {
            return Ok(Ok(LogoutRequest {
                hint,
                ..LogoutRequest::default()
            }));
        };
        let client = match asked.client_id {
            Some(client_id) => provider.client(client_id).await?,
            None => None,
        };
        let client = client.filter(|client| {
            let registered = &client.post_logout_redirect_uris;
            registered.iter().any(|each| each == uri)
        });
        let Some(client) = client else {
            return Ok(Err(Refused(
                "The post_logout_redirect_uri is not one that the application has registered.",
            )));
        };
        let state: Vec<_> = asked
            .state
            .map(|state| ("state", state))
            .into_iter()
            .collect();
        let redirect = Some(with_query(uri, &state));
        Ok(Ok(LogoutRequest {
            is_strangers: hint.is_none() && client.is_registered(),
            hint,
            redirect,
        }))
    }

    /// Whether the client has shown that it means the person who is signed in; otherwise the person is asked. An ID
    /// token that names another session is suspect (§2), though it be the same person's.
    pub(crate) async fn is_for(
        &self,
        provider: &Provider,
        request_id: &str,
        session: &Session,
    ) -> Result<bool, Failure> {
        let Some(hint) = &self.hint else {
            return Ok(false);
        };
        match &hint.sid {
            Some(sid) if *sid != session.sid => Ok(false),
            // Whoever registers a client could sign out everybody whose name is known. A session's name is not.
            None if hint.is_clients => Ok(false),
            _ => hint.is(provider, request_id, &session.subject).await,
        }
    }

    /// Where the person goes if nobody is signed in.
    pub(crate) fn redirect_of_nobody(self) -> Option<String> {
        self.redirect.filter(|_| !self.is_strangers)
    }

    /// Where the person goes afterwards.
    pub(crate) fn redirect(self) -> Option<String> {
        self.redirect
    }
}

/// The parameters, each once, that go together.
struct Asked<'a> {
    client_id: Option<&'a str>,
    redirect: Option<&'a str>,
    state: Option<&'a str>,
}

impl<'a> Asked<'a> {
    fn of(params: &'a Params<'_>, hint: Option<&'a Hint>) -> Result<Asked<'a>, Refused> {
        let client_id = params.one("client_id")?;
        let hinted = hint.map(|hint| hint.client_id.as_str());
        if let (Some(client_id), Some(hinted)) = (client_id, hinted)
            && client_id != hinted
        {
            return Err(Refused(
                "The id_token_hint was issued to another application.",
            ));
        }
        let state = params.one("state")?;
        if state.is_some_and(|state| state.len() > LONGEST_STATE) {
            return Err(Refused("The parameter state is too long."));
        }
        Ok(Asked {
            client_id: client_id.or(hinted),
            redirect: params.one("post_logout_redirect_uri")?,
            state,
        })
    }
}
