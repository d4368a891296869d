//! The authorization response (RFC 6749 §4.1.2, OAuth Response Modes, RFC 9207): the same parameters in the query,
//! in the fragment or in a form, always with `iss`.

use form_urlencoded::byte_serialize;

use super::consent::Labels;
use super::{AuthorizationRequest, ReturnAddress};
use crate::client::Client;
use crate::client::metadata::ResponseMode;
use crate::error::{Code, Failure, Refusal};
use crate::grant::authorization_code::{Authorized, issue};
use crate::grant::{Grant, SignedIn};
use crate::page::locale::Locales;
use crate::provider::Provider;
use crate::session::{self, Session};
use crate::store::table::TaggedToken;
use crate::token::{FrontChannel, front_channel};
use crate::user::subject;

/// How the browser carries the answer to the client.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// By redirect.
    Redirect(String),
    /// By a form that it posts (Form Post Response Mode §2).
    FormPost {
        action: String,
        fields: Fields,
        /// Of the page around the form.
        ui_locales: Locales,
    },
}

/// The parameters of an answer.
pub(crate) type Fields = Vec<(&'static str, String)>;

/// What a person agreed to.
#[derive(Debug)]
pub(crate) struct Approval<'a> {
    pub(crate) client: &'a Client,
    pub(crate) request: &'a AuthorizationRequest,
    pub(crate) session: &'a Session,
    pub(crate) labels: Labels,
}

impl ReturnAddress {
    /// The answer yes: whatever the response type names; at most one call to the key-service.
    pub(crate) async fn authorize(
        &self,
        provider: &Provider,
        request_id: &str,
        approval: Approval<'_>,
    ) -> Result<Answer, Failure> {
        let Approval {
            client,
            request,
            session,
            labels,
        } = approval;
        let response_type = request.response_type;
        let grant = Grant {
            client_id: self.client_id.clone(),
            sub: session.subject.clone(),
            pairwise: subject::pairwise(provider, request_id, client, &session.subject).await?,
            scope: request.scope.clone(),
            signed_in: Some(signed_in(provider, request, session)),
            claims: request.claims.clone(),
            claims_locales: request.claims_locales.clone(),
            labels,
            is_hybrid: response_type.has_code() && response_type.is_front_channel(),
        };
        if !session::take_part(provider, session, client, grant.subject()).await? {
            let ended = Refusal::new(Code::LoginRequired, "the session has ended meanwhile");
            return Ok(self.refuse(provider, ended));
        }
        let nonce = request.nonce.as_deref().filter(|_| request.is_openid());
        let code = response_type
            .has_code()
            .then(|| TaggedToken::random(&provider.random));
        let mut fields = Fields::with_capacity(8);
        if let Some(code) = &code {
            fields.push(("code", code.as_string()));
        }
        if response_type.is_front_channel() {
            let asked = FrontChannel {
                client,
                grant: &grant,
                nonce,
                code: fields.first().map(|(_, code)| code.as_str()),
                access_token: response_type.has_token(),
                id_token: response_type.has_id_token(),
            };
            let tokens = front_channel(provider, request_id, asked).await?;
            // RFC 6749 §4.2.2.
            if let Some(access_token) = tokens.access_token {
                fields.push(("access_token", access_token));
                fields.push(("token_type", "Bearer".to_owned()));
                fields.push(("expires_in", tokens.expires_in.to_string()));
                fields.push(("scope", grant.scope.as_str().to_owned()));
            }
            fields.extend(tokens.id_token.map(|id_token| ("id_token", id_token)));
        }
        if request.is_openid() {
            let state = session.session_state(provider, client, &self.redirect_uri);
            fields.extend(state.map(|state| ("session_state", state)));
        }
        // Last, so that there is no code where the rest could not be made.
        if let Some(code) = &code {
            let authorized = Authorized {
                grant,
                nonce,
                redirect_uri: &self.redirect_uri,
                challenge: &request.challenge,
            };
            issue(provider, code, authorized).await?;
        }
        Ok(self.answer(provider, fields))
    }

    /// The answer no (RFC 6749 §4.1.2.1).
    pub(crate) fn refuse(&self, provider: &Provider, refusal: Refusal) -> Answer {
        let mut fields = vec![
            ("error", refusal.code.as_str().to_owned()),
            ("error_description", refusal.description.to_owned()),
        ];
        let page = provider.config.errors.page(refusal.code);
        fields.extend(page.map(|uri| ("error_uri", uri)));
        self.answer(provider, fields)
    }

    fn answer(&self, provider: &Provider, mut fields: Fields) -> Answer {
        if let Some(state) = &self.state {
            fields.push(("state", state.clone()));
        }
        // RFC 9207 §2: against mix-up, in success and in failure.
        fields.push(("iss", provider.issuer.to_string()));
        match self.mode {
            ResponseMode::FormPost => Answer::FormPost {
                action: self.redirect_uri.clone(),
                fields,
                ui_locales: self.ui_locales.clone(),
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

/// How the person had signed in, by the name that the request asks for where it amounts to that.
fn signed_in(provider: &Provider, request: &AuthorizationRequest, session: &Session) -> SignedIn {
    let usual = provider.config.authorization.default_acr();
    SignedIn {
        auth_time: session.auth_time,
        acr: request.acr.as_deref().unwrap_or(usual).to_owned(),
        amr: session.amr.clone(),
        sid: Some(session.sid.clone()),
    }
}

fn with(uri: &str, mut joint: char, fields: &[(&'static str, String)]) -> String {
    let mut location = String::with_capacity(uri.len() + 512);
    location.push_str(uri);
    for (name, value) in fields {
        location.push(joint);
        location.push_str(name);
        location.push('=');
        // Codes, tokens and most states are as they will be.
        if value.bytes().all(is_unreserved) {
            location.push_str(value);
        } else {
            location.extend(byte_serialize(value.as_bytes()));
        }
        joint = '&';
    }
    location
}

/// What application/x-www-form-urlencoded leaves as it is (WHATWG URL §1.3, the complement of its percent-encode set).
fn is_unreserved(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || matches!(octet, b'*' | b'-' | b'.' | b'_')
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

    #[test]
    fn values_are_encoded_as_forms_are() {
        for octet in 0..128u8 {
            let value = char::from(octet).to_string();
            let mut form = form_urlencoded::Serializer::new("https://rp/cb?".to_owned());
            let encoded: String = byte_serialize(value.as_bytes()).collect();
            assert_eq!(is_unreserved(octet), encoded == value, "{octet}");
            form.append_pair("state", &value);
            assert!(form.finish().ends_with(&format!("state={encoded}")));
            let located = with("https://rp/cb", '?', &[("state", value)]);
            assert_eq!(located, format!("https://rp/cb?state={encoded}"));
        }
    }
}
