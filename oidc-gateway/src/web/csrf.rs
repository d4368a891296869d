//! Whether a form was filled in by the browser that we gave it to: its token is a hash over a random cookie of that
//! browser and the purpose of the form. Origin and Referer are not needed for it.

use std::borrow::Cow;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use super::cookie::{Cookie, Policy};
use super::{Request, Response};
use crate::error::Failure;
use crate::random::Random;

/// The name of the hidden field.
pub(crate) const FIELD: &str = "csrf";

/// A browser, known by its cookie.
#[derive(Debug)]
pub(crate) struct Browser<'a> {
    cookie: Cow<'a, str>,
    is_new: bool,
}

impl<'a> Browser<'a> {
    /// The browser that sent this request, if we know it.
    pub(crate) fn of(request: &'a Request, policy: Policy) -> Option<Browser<'a>> {
        let cookie = policy.read(request, Cookie::Browser)?;
        // 256 bit in base64url.
        (cookie.len() == 43).then_some(Browser {
            cookie: Cow::Borrowed(cookie),
            is_new: false,
        })
    }

    /// The browser that sent this request, or a new one that `remember` must then tell.
    pub(crate) fn of_or_new(request: &'a Request, policy: Policy, random: &Random) -> Browser<'a> {
        Browser::of(request, policy).unwrap_or_else(|| Browser {
            cookie: Cow::Owned(random.token256()),
            is_new: true,
        })
    }

    /// The token of a form. `purpose` tells forms apart: the kind and the interaction it belongs to.
    pub(crate) fn token(&self, purpose: &str) -> String {
        self.hash("csrf", purpose)
    }

    /// What other things of this browser are bound to, such as an interaction.
    pub(crate) fn binding(&self) -> String {
        self.hash("browser", "")
    }

    fn hash(&self, label: &str, purpose: &str) -> String {
        let mut hash = Sha256::new();
        for part in [label, &self.cookie, purpose] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        URL_SAFE_NO_PAD.encode(hash.finalize())
    }

    /// Whether the form is the one that this browser was given.
    pub(crate) fn check(&self, purpose: &str, presented: Option<&str>) -> Result<(), Failure> {
        let expected = self.token(purpose);
        let presented = presented.unwrap_or_default();
        match bool::from(expected.as_bytes().ct_eq(presented.as_bytes())) {
            true => Ok(()),
            false => Err(Failure::Page(
                "This form is not valid any more. Go back to the application and start again.",
            )),
        }
    }

    /// Sets the cookie of a new browser.
    pub(crate) fn remember(&self, response: Response, policy: Policy) -> Response {
        match self.is_new {
            true => response.with_cookie(policy.set(Cookie::Browser, &self.cookie, None)),
            false => response,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::super::request::tests::request;
    use super::*;

    #[test]
    fn a_token_is_for_one_browser_and_one_form() {
        let policy = Policy::of_issuer("http://localhost");
        let cookie = |letter: &str| format!("signet-browser={}", letter.repeat(43));
        let mine = request("POST", "/login", &[("cookie", &cookie("a"))], "");
        let other = request("POST", "/login", &[("cookie", &cookie("b"))], "");
        let mine = Browser::of(&mine, policy).unwrap();
        let other = Browser::of(&other, policy).unwrap();
        let token = mine.token("login/1");
        let rows: [(&Browser<'_>, &str, Option<&str>, bool); 6] = [
            (&mine, "login/1", Some(&token), true),
            (&other, "login/1", Some(&token), false),
            (&mine, "login/2", Some(&token), false),
            (&mine, "login/1", Some(&token[1..]), false),
            (&mine, "login/1", Some(""), false),
            (&mine, "login/1", None, false),
        ];
        for (browser, purpose, presented, passes) in rows {
            let checked = browser.check(purpose, presented);
            assert_eq!(checked.is_ok(), passes, "{purpose} {presented:?}");
        }
    }

    #[test]
    fn a_cookie_of_another_length_is_no_browser() {
        let policy = Policy::of_issuer("http://localhost");
        let request = request("GET", "/", &[("cookie", "signet-browser=a")], "");
        assert!(Browser::of(&request, policy).is_none());
    }
}
