//! RP-Initiated Logout 1.0 §2: what a request for logout says, before anything is ended.

use form_urlencoded::Serializer;

use crate::error::{Failure, Refusal};
use crate::params::Params;
use crate::provider::Provider;
use crate::session::Session;
use crate::token::id_token::Hint;

/// A "state" longer than this is not sent back: octets.
const LONGEST_STATE: usize = 4096;

/// Why a request for logout is not followed: words for the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Refused(pub(crate) &'static str);

impl From<crate::params::Duplicate> for Refused {
    fn from(_: crate::params::Duplicate) -> Refused {
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
    subject: Option<String>,
    /// Where the person goes afterwards: registered by the client.
    redirect: Option<String>,
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
        Ok(LogoutRequest::of(provider, params, hint))
    }

    fn of(
        provider: &Provider,
        params: &Params<'_>,
        hint: Option<Hint>,
    ) -> Result<LogoutRequest, Refused> {
        let client_id = params.one("client_id")?;
        if let (Some(client_id), Some(hint)) = (client_id, &hint)
            && client_id != hint.client_id
        {
            return Err(Refused(
                "The id_token_hint was issued to another application.",
            ));
        }
        let client_id = client_id.or(hint.as_ref().map(|hint| hint.client_id.as_str()));
        let redirect = match params.one("post_logout_redirect_uri")? {
            None => None,
            Some(uri) => {
                let client = client_id.and_then(|client_id| provider.clients.find(client_id));
                let is_registered = client.is_some_and(|client| {
                    client
                        .post_logout_redirect_uris
                        .iter()
                        .any(|each| each == uri)
                });
                if !is_registered {
                    return Err(Refused(
                        "The post_logout_redirect_uri is not one that the application has registered.",
                    ));
                }
                Some(with_state(uri, params.one("state")?)?)
            }
        };
        Ok(LogoutRequest {
            subject: hint.map(|hint| hint.subject),
            redirect,
        })
    }

    /// Whether the client has shown that it means the person who is signed in; otherwise the person is asked.
    pub(crate) fn is_for(&self, session: &Session) -> bool {
        self.subject.as_ref() == Some(&session.subject)
    }

    /// Where the person goes afterwards.
    pub(crate) fn redirect(self) -> Option<String> {
        self.redirect
    }
}

fn with_state(uri: &str, state: Option<&str>) -> Result<String, Refused> {
    let Some(state) = state else {
        return Ok(uri.to_owned());
    };
    if state.len() > LONGEST_STATE {
        return Err(Refused("The parameter state is too long."));
    }
    let joint = if uri.contains('?') { '&' } else { '?' };
    let location = format!("{uri}{joint}");
    let begin = location.len();
    let mut pairs = Serializer::for_suffix(location, begin);
    pairs.append_pair("state", state);
    Ok(pairs.finish())
}
