//! What to do with a request, given who is signed in and what they allowed before: one screen, no I/O.

use super::AuthorizationRequest;
use super::consent::Labels;
use crate::client::Client;
use crate::client::metadata::ConsentMode;
use crate::error::{Code, Refusal};
use crate::session::Session;

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// A person signs in.
    Login,
    /// The person says as whom to go on.
    SelectAccount,
    /// The person is asked.
    Consent,
    /// The answer is yes, with these of the person's labels.
    Authorize(Labels),
    /// The answer is no.
    Refuse(Refusal),
}

/// What has been done for this request already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Done {
    /// The person signed in for this very request.
    pub(crate) signed_in: bool,
    /// The person said for this very request to go on as who they are.
    pub(crate) selected: bool,
    /// Who was meant, from a verified `id_token_hint` or the claims parameter: somebody else than who is signed in.
    pub(crate) somebody_else: bool,
}

/// OpenID Connect Core §3.1.2.3: whether a person must do something before they may be asked. `None`: the session
/// will do.
pub(crate) fn authentication(
    request: &AuthorizationRequest,
    session: Option<&Session>,
    done: Done,
    now: i64,
) -> Option<Decision> {
    let prompt = request.prompt;
    let must_sign_in = match session {
        None => true,
        Some(_) if done.somebody_else => true,
        Some(_) if done.signed_in => false,
        Some(session) => {
            let is_old = |max_age: u32| now - session.auth_time > i64::from(max_age);
            // max_age=0 means the same as prompt=login.
            prompt.login || request.max_age == Some(0) || request.max_age.is_some_and(is_old)
        }
    };
    match (must_sign_in, prompt.none) {
        (false, _) if prompt.select_account && !done.signed_in && !done.selected => {
            Some(Decision::SelectAccount)
        }
        (false, _) => None,
        (true, true) => Some(Decision::Refuse(Refusal::new(
            Code::LoginRequired,
            "nobody is signed in as the request wants it",
        ))),
        // Whoever signed in for this request is not who was meant: there is no use in asking again.
        (true, false) if done.signed_in && done.somebody_else => {
            Some(Decision::Refuse(Refusal::new(
                Code::LoginRequired,
                "another person signed in than the request names",
            )))
        }
        (true, false) => Some(Decision::Login),
    }
}

/// OpenID Connect Core §3.1.2.4: whether nobody is asked, so that nobody need look for what was allowed before.
pub(crate) fn needs_no_consent(request: &AuthorizationRequest, client: &Client) -> bool {
    !request.prompt.consent && client.consent == ConsentMode::Implicit
}

/// What follows from a consent that was given before; `None`: it was not.
pub(crate) fn consent(request: &AuthorizationRequest, given: Option<Labels>) -> Decision {
    match (given, request.prompt) {
        (Some(labels), prompt) if !prompt.consent => Decision::Authorize(labels),
        (_, prompt) if prompt.none => Decision::Refuse(Refusal::new(
            Code::ConsentRequired,
            "the person has not allowed this to the client",
        )),
        _ => Decision::Consent,
    }
}
