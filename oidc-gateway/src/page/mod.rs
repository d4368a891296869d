//! The pages that people see: compile-time checked templates, plain forms that work without a script. Ids, names and
//! headings are a contract that tests in a browser rely on; every value is escaped by the templates.

pub(crate) mod text;

use askama::Template;

use text::{ENGLISH, Text};

/// Asks for name and password. The form sends `username`, `password`, `csrf`, and `cancel=yes` from the other button.
#[derive(Debug, Template)]
#[template(path = "login.html")]
pub(crate) struct Login {
    pub(crate) client_name: String,
    pub(crate) logo_uri: Option<String>,
    pub(crate) policy_uri: Option<String>,
    pub(crate) tos_uri: Option<String>,
    /// To begin with: `login_hint`, or what was typed before.
    pub(crate) username: String,
    /// The page's own URL.
    pub(crate) action: String,
    pub(crate) csrf: String,
    pub(crate) problem: Option<Problem>,
}

/// Why the page is shown again. Never whether the name or the password was wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Problem {
    /// Name or password is wrong.
    Refused,
    /// Too many tries: wait.
    Throttled,
    /// We have too much to do.
    Busy,
}

impl Problem {
    fn sentence(self, text: &Text) -> &'static str {
        match self {
            Problem::Refused => text.login_refused,
            Problem::Throttled => text.login_throttled,
            Problem::Busy => text.login_busy,
        }
    }
}

/// Asks whether a client may have what it asks for. The form sends `decision=allow|deny`, `remember=yes`, `csrf`.
#[derive(Debug, Template)]
#[template(path = "consent.html")]
pub(crate) struct Consent {
    pub(crate) client_name: String,
    pub(crate) logo_uri: Option<String>,
    pub(crate) policy_uri: Option<String>,
    pub(crate) tos_uri: Option<String>,
    pub(crate) scopes: Vec<ScopeLine>,
    /// Who is signed in.
    pub(crate) account: String,
    pub(crate) action: String,
    pub(crate) csrf: String,
}

/// A scope value by its name, and in words if it is one of ours.
#[derive(Debug, Clone)]
pub(crate) struct ScopeLine {
    pub(crate) name: String,
    pub(crate) description: &'static str,
}

impl ScopeLine {
    /// With our words for the scopes of OpenID Connect Core §5.4 and §11; none for others.
    pub(crate) fn of(name: &str) -> ScopeLine {
        ScopeLine {
            name: name.to_owned(),
            description: ENGLISH.scope(name),
        }
    }
}

/// "Authorization error": where a redirect would be unsafe.
#[derive(Debug, Template)]
#[template(path = "error.html")]
pub(crate) struct Error {
    pub(crate) message: &'static str,
    pub(crate) request_id: String,
}

/// Sends an authorization response by POST (OAuth 2.0 Form Post Response Mode §2). Needs `Response::script_page`.
#[derive(Debug, Template)]
#[template(path = "form_post.html")]
pub(crate) struct FormPost {
    /// The redirect URI.
    pub(crate) action: String,
    pub(crate) fields: Vec<(String, String)>,
}

/// Asks before it signs out. The form sends `csrf` and `confirm=yes`.
#[derive(Debug, Template)]
#[template(path = "logout.html")]
pub(crate) struct LogoutConfirm {
    pub(crate) action: String,
    pub(crate) csrf: String,
    /// Who is signed in.
    pub(crate) account: String,
}

/// "You are logged out".
#[derive(Debug, Template)]
#[template(path = "logged_out.html")]
pub(crate) struct LoggedOut;

/// "Logout error".
#[derive(Debug, Template)]
#[template(path = "logout_error.html")]
pub(crate) struct LogoutError {
    pub(crate) message: &'static str,
    pub(crate) request_id: String,
}

macro_rules! pages {
    ($($page:ty)+) => {$(
        impl $page {
            /// As HTML.
            pub(crate) fn render(&self) -> String {
                Template::render(self).expect("writing to a string cannot fail")
            }

            /// The words, in the language of the page.
            fn text(&self) -> &'static Text {
                &ENGLISH
            }
        }
    )+};
}

pages!(Login Consent Error FormPost LogoutConfirm LoggedOut LogoutError);

#[cfg(test)]
mod tests {
    use super::*;

    const EVIL: &str = "\"><svg onload=alert(1)>'";

    fn link() -> Option<String> {
        Some(format!("https://rp.example/{EVIL}"))
    }

    fn pages() -> [(&'static str, String, &'static [&'static str]); 7] {
        let evil = || EVIL.to_owned();
        let login = Login {
            client_name: evil(),
            logo_uri: link(),
            policy_uri: link(),
            tos_uri: link(),
            username: evil(),
            action: evil(),
            csrf: evil(),
            problem: Some(Problem::Refused),
        };
        let consent = Consent {
            client_name: evil(),
            logo_uri: link(),
            policy_uri: link(),
            tos_uri: link(),
            scopes: vec![ScopeLine::of("email"), ScopeLine::of(EVIL)],
            account: evil(),
            action: evil(),
            csrf: evil(),
        };
        let error = Error {
            message: "why",
            request_id: evil(),
        };
        let form_post = FormPost {
            action: evil(),
            fields: vec![(evil(), evil())],
        };
        let logout = LogoutConfirm {
            action: evil(),
            csrf: evil(),
            account: evil(),
        };
        let logout_error = LogoutError {
            message: "why",
            request_id: evil(),
        };
        [
            (
                "login",
                login.render(),
                &[
                    "<h1>Sign in</h1>",
                    "id=\"username\" name=\"username\"",
                    "id=\"password\" name=\"password\"",
                    "id=\"login-submit\"",
                    "id=\"login-cancel\"",
                ],
            ),
            (
                "consent",
                consent.render(),
                &["id=\"consent-allow\"", "id=\"consent-deny\"", "email"],
            ),
            (
                "error",
                error.render(),
                &["<h1>Authorization error</h1>", "why"],
            ),
            (
                "form_post",
                form_post.render(),
                &["assets/form_post.js", "type=\"submit\""],
            ),
            ("logout", logout.render(), &["id=\"logout-confirm\""]),
            (
                "logged_out",
                LoggedOut.render(),
                &["<h1>You are logged out</h1>"],
            ),
            (
                "logout_error",
                logout_error.render(),
                &["<h1>Logout error</h1>", "why"],
            ),
        ]
    }

    #[test]
    fn the_contract() {
        for (name, html, marks) in pages() {
            for mark in marks {
                assert!(html.contains(mark), "{name} lacks {mark}:\n{html}");
            }
            assert!(html.contains("<html lang=\"en\">"), "{name}");
            assert!(
                html.matches("<form").count() <= 1,
                "{name}: no other form precedes the one"
            );
        }
    }

    #[test]
    fn the_affirmative_button_is_the_first_submit_button() {
        for (name, html, _) in pages() {
            let affirmative = match name {
                "login" => "login-submit",
                "consent" => "consent-allow",
                "logout" => "logout-confirm",
                _ => continue,
            };
            let first = html.find("type=\"submit\"").unwrap_or_default();
            let button = html[..first].rfind("<button").unwrap_or_default();
            assert!(
                html[button..].starts_with(&format!("<button id=\"{affirmative}\"")),
                "{name}"
            );
        }
    }

    #[test]
    fn everything_is_escaped() {
        for (name, html, _) in pages() {
            assert!(!html.contains("<svg onload"), "{name}:\n{html}");
            assert!(
                !html.contains("style=") && !html.contains("<style"),
                "{name}: no inline style"
            );
            assert!(
                !html.contains(" on") || !html.contains(" onload=\""),
                "{name}"
            );
            assert!(!html.contains("<script>"), "{name}: no inline script");
        }
    }
}
