//! Our cookies: `__Host-`, Secure, HttpOnly, SameSite=Lax, the whole host (RFC 6265bis §4.1.3.2). With an issuer on
//! plain http, which the configuration allows on loopback only, a browser would refuse the prefix: then without. One of
//! them is made to be read, by the script of our own page within relying parties' pages, and opens nothing.

use std::time::Duration;

use http::HeaderValue;

use super::{Method, Request};

/// The cookies there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cookie {
    /// The session of a signed-in person.
    Session,
    /// A random value that tells one browser from another: forms and interactions are bound to it.
    Browser,
    /// Session Management 1.0 §4.2: changes when the session does.
    State,
}

/// How cookies are named and set.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    secure: bool,
}

impl Policy {
    /// By the scheme of the issuer.
    pub(crate) fn of_issuer(issuer: &str) -> Policy {
        Policy {
            secure: issuer.starts_with("https://"),
        }
    }

    fn name(self, cookie: Cookie) -> &'static str {
        match (cookie, self.secure) {
            (Cookie::Session, true) => "__Host-signet-session",
            (Cookie::Session, false) => "signet-session",
            (Cookie::Browser, true) => "__Host-signet-browser",
            (Cookie::Browser, false) => "signet-browser",
            (Cookie::State, true) => "__Host-signet-state",
            (Cookie::State, false) => "signet-state",
        }
    }

    /// The cookie's value, if it came exactly once and looks like one of ours: letters, digits, `-`, `_` and `.`.
    pub(crate) fn read(self, request: &Request, cookie: Cookie) -> Option<&str> {
        let value = request.cookie(self.name(cookie))?;
        is_ours(value).then_some(value)
    }

    /// Whether none of ours came with a form: another site may have posted it, and `SameSite=Lax` keeps cookies from
    /// that, though not from a GET from there.
    pub(crate) fn none_with(self, request: &Request) -> bool {
        request.method() == Method::Post
            && [Cookie::Session, Cookie::Browser]
                .iter()
                .all(|&cookie| request.cookie(self.name(cookie)).is_none())
    }

    /// Sets a cookie; without `lives` it ends with the browser's session. `value` is one that we made.
    pub(crate) fn set(self, cookie: Cookie, value: &str, lives: Option<Duration>) -> HeaderValue {
        debug_assert!(is_ours(value));
        let attributes = match (cookie, self.secure) {
            (Cookie::Session | Cookie::Browser, _) => "HttpOnly; SameSite=Lax",
            (Cookie::State, true) => "SameSite=None",
            // Not without Secure; but a port makes no other site, and on one machine all are one.
            (Cookie::State, false) => "SameSite=Lax",
        };
        let mut line = format!("{}={value}; Path=/; {attributes}", self.name(cookie));
        if self.secure {
            line.push_str("; Secure");
        }
        if let Some(lives) = lives {
            line.push_str(&format!("; Max-Age={}", lives.as_secs()));
        }
        HeaderValue::from_str(&line).expect("a value of ours is visible ASCII")
    }

    /// Removes a cookie.
    pub(crate) fn clear(self, cookie: Cookie) -> HeaderValue {
        self.set(cookie, "", Some(Duration::ZERO))
    }
}

fn is_ours(value: &str) -> bool {
    value
        .bytes()
        .all(|octet| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet))
        && value.len() <= 256
}

#[cfg(test)]
mod tests {
    use super::super::request::tests::request;
    use super::*;

    #[test]
    fn attributes() {
        let minute = Some(Duration::from_secs(60));
        let (https, http) = ("https://id.example", "http://127.0.0.1:8080");
        let rows = [
            (
                https,
                Cookie::Session,
                "__Host-signet-session=v; Path=/; HttpOnly; SameSite=Lax; Secure; Max-Age=60",
            ),
            (
                http,
                Cookie::Session,
                "signet-session=v; Path=/; HttpOnly; SameSite=Lax; Max-Age=60",
            ),
            (
                https,
                Cookie::State,
                "__Host-signet-state=v; Path=/; SameSite=None; Secure; Max-Age=60",
            ),
            (
                http,
                Cookie::State,
                "signet-state=v; Path=/; SameSite=Lax; Max-Age=60",
            ),
        ];
        for (issuer, cookie, expected) in rows {
            let policy = Policy::of_issuer(issuer);
            assert_eq!(policy.set(cookie, "v", minute), expected);
        }
    }

    #[test]
    fn only_our_values_are_read() {
        let policy = Policy::of_issuer("https://id.example");
        let rows = [
            ("__Host-signet-session=abc-_.1", Some("abc-_.1")),
            ("signet-session=abc", None),
            ("__Host-signet-session=a\"b", None),
            ("__Host-signet-session=a; __Host-signet-session=b", None),
        ];
        for (header, expected) in rows {
            let request = request("GET", "/", &[("cookie", header)], "");
            assert_eq!(policy.read(&request, Cookie::Session), expected, "{header}");
        }
    }
}
