//! The authorization response (RFC 6749 §4.1.2, OAuth Response Modes, RFC 9207): the same parameters in the query,
//! in the fragment or in a form, always with `iss`.

use form_urlencoded::Serializer;

use super::{AuthorizationRequest, ReturnAddress};
use crate::client::metadata::ResponseMode;
use crate::error::{Failure, Refusal};
use crate::grant::authorization_code::{Authorized, issue};
use crate::grant::{Grant, SignedIn};
use crate::provider::Provider;
use crate::session::Session;

/// How the browser carries the answer to the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// By redirect.
    Redirect(String),
    /// By a form that it posts (Form Post Response Mode §2).
    FormPost {
        action: String,
        fields: Vec<(&'static str, String)>,
    },
}

impl ReturnAddress {
    /// The answer yes: a code.
    pub(crate) async fn authorize(
        &self,
        provider: &Provider,
        request: &AuthorizationRequest,
        session: &Session,
    ) -> Result<Answer, Failure> {
        let grant = Grant {
            client_id: self.client_id.clone(),
            sub: session.subject.clone(),
            scope: request.scope.clone(),
            signed_in: Some(SignedIn {
                auth_time: session.auth_time,
                acr: session.acr.clone(),
                amr: session.amr.clone(),
            }),
        };
        let authorized = Authorized {
            grant,
            nonce: request.nonce.as_deref().filter(|_| request.is_openid()),
            redirect_uri: &self.redirect_uri,
            challenge: &request.challenge,
        };
        let code = issue(provider, authorized).await?;
        Ok(self.answer(provider, vec![("code", code)]))
    }

    /// The answer no (RFC 6749 §4.1.2.1).
    pub(crate) fn refuse(&self, provider: &Provider, refusal: Refusal) -> Answer {
        let fields = vec![
            ("error", refusal.code.as_str().to_owned()),
            ("error_description", refusal.description.to_owned()),
        ];
        self.answer(provider, fields)
    }

    fn answer(&self, provider: &Provider, mut fields: Vec<(&'static str, String)>) -> Answer {
        if let Some(state) = &self.state {
            fields.push(("state", state.clone()));
        }
        // RFC 9207 §2: against mix-up, in success and in failure.
        fields.push(("iss", provider.issuer.to_string()));
        match self.mode {
            ResponseMode::FormPost => Answer::FormPost {
                action: self.redirect_uri.clone(),
                fields,
            },
            ResponseMode::Fragment => Answer::Redirect(with(&self.redirect_uri, '#', &fields)),
            // RFC 6749 §3.1.2: a query that is there is kept.
            ResponseMode::Query => {
                let joint = if self.redirect_uri.contains('?') {
                    '&'
                } else {
                    '?'
                };
                Answer::Redirect(with(&self.redirect_uri, joint, &fields))
            }
        }
    }
}

fn with(uri: &str, joint: char, fields: &[(&'static str, String)]) -> String {
    let mut location = String::with_capacity(uri.len() + 256);
    location.push_str(uri);
    location.push(joint);
    let begin = location.len();
    let mut pairs = Serializer::for_suffix(location, begin);
    for (name, value) in fields {
        pairs.append_pair(name, value);
    }
    pairs.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirect_uris_keep_what_they_have() {
        let fields = [
            ("code", "a b&c".to_owned()),
            ("state", "\r\nX: y".to_owned()),
        ];
        let rows = [
            (
                "https://rp/cb",
                '?',
                "https://rp/cb?code=a+b%26c&state=%0D%0AX%3A+y",
            ),
            (
                "https://rp/cb?x=%20",
                '&',
                "https://rp/cb?x=%20&code=a+b%26c&state=%0D%0AX%3A+y",
            ),
            (
                "https://rp/cb",
                '#',
                "https://rp/cb#code=a+b%26c&state=%0D%0AX%3A+y",
            ),
        ];
        for (uri, joint, wanted) in rows {
            assert_eq!(with(uri, joint, &fields), wanted);
        }
    }
}
