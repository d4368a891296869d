//! The pages that people see: compile-time checked templates, plain forms that work without a script. Ids, names and
//! headings are a contract that tests in a browser rely on; every value is escaped by the templates.

pub(crate) mod locale;
pub(crate) mod text;

use askama::Template;

use text::{ENGLISH, Text};

/// The application that a person comes from, as its metadata shows it.
#[derive(Debug, Clone)]
pub(crate) struct Application {
    pub(crate) name: String,
    pub(crate) logo_uri: Option<String>,
    pub(crate) policy_uri: Option<String>,
    pub(crate) tos_uri: Option<String>,
}

/// Asks for name and password. The form sends `username`, `password`, `csrf`, and `cancel=yes` from the other button.
#[derive(Debug, Template)]
#[template(path = "login.html")]
pub(crate) struct Login {
    pub(crate) text: &'static Text,
    pub(crate) application: Application,
    /// To begin with: `login_hint`, or what was typed before.
    pub(crate) username: String,
    /// The page's own URL.
    pub(crate) action: String,
    pub(crate) csrf: String,
    pub(crate) problem: Option<Problem>,
}

/// Asks as whom to go on (`prompt=select_account`). The form sends `account=this|another` and `csrf`.
#[derive(Debug, Template)]
#[template(path = "select_account.html")]
pub(crate) struct SelectAccount {
    pub(crate) text: &'static Text,
    pub(crate) application: Application,
    /// Who is signed in.
    pub(crate) account: String,
    pub(crate) action: String,
    pub(crate) csrf: String,
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
    pub(crate) text: &'static Text,
    pub(crate) application: Application,
    pub(crate) scopes: Vec<ScopeLine>,
    /// Asked for one by one (OpenID Connect Core §5.5), beside those of the scopes.
    pub(crate) claims: Vec<String>,
    /// For labelled scopes.
    pub(crate) labels: Vec<LabelChoice>,
    /// Who is signed in.
    pub(crate) account: String,
    pub(crate) action: String,
    pub(crate) csrf: String,
}

/// A scope value by its name, and in words if there are any for it.
#[derive(Debug, Clone)]
pub(crate) struct ScopeLine {
    pub(crate) name: String,
    pub(crate) description: String,
}

impl ScopeLine {
    /// With our words for the scopes of OpenID Connect Core §5.4 and §11; none for others.
    pub(crate) fn of(name: &str, text: &Text) -> ScopeLine {
        ScopeLine::described(name, text.scope(name))
    }

    /// With the operator's words.
    pub(crate) fn described(name: &str, description: &str) -> ScopeLine {
        ScopeLine {
            name: name.to_owned(),
            description: description.to_owned(),
        }
    }
}

/// Which of the person's own labels stands behind a labelled scope.
#[derive(Debug, Clone)]
pub(crate) struct LabelChoice {
    pub(crate) scope: String,
    /// The name of the form's field.
    pub(crate) field: String,
    pub(crate) labels: Vec<String>,
    pub(crate) suggested: String,
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
    pub(crate) text: &'static Text,
    /// The redirect URI.
    pub(crate) action: String,
    pub(crate) fields: Vec<(String, String)>,
}

/// Asks before it signs out. The form sends `csrf` and `confirm=yes`.
#[derive(Debug, Template)]
#[template(path = "logout.html")]
pub(crate) struct LogoutConfirm {
    pub(crate) text: &'static Text,
    pub(crate) action: String,
    pub(crate) csrf: String,
    /// Who is signed in.
    pub(crate) account: String,
}

/// "You are logged out". With frames or a place to go on to it needs `Response::framing_page`.
#[derive(Debug, Template)]
#[template(path = "logged_out.html")]
pub(crate) struct LoggedOut {
    pub(crate) text: &'static Text,
    /// Where each application signs the person out (OpenID Connect Front-Channel Logout §3).
    pub(crate) frames: Vec<String>,
    /// Where the browser goes when they are done.
    pub(crate) next: Option<String>,
    /// Of the page `Applications`, if there are any.
    pub(crate) applications: Option<String>,
}

/// "Logout error".
#[derive(Debug, Template)]
#[template(path = "logout_error.html")]
pub(crate) struct LogoutError {
    pub(crate) text: &'static Text,
    pub(crate) message: &'static str,
    pub(crate) request_id: String,
}

/// The applications that can be started from here (OpenID Connect Core §4).
#[derive(Debug, Template)]
#[template(path = "applications.html")]
pub(crate) struct Applications {
    pub(crate) text: &'static Text,
    pub(crate) links: Vec<Link>,
}

/// An application and what starts it.
#[derive(Debug, Clone)]
pub(crate) struct Link {
    pub(crate) name: String,
    pub(crate) url: String,
}

macro_rules! pages {
    ($($page:ty => $text:expr,)+) => {$(
        impl $page {
            /// As HTML.
            pub(crate) fn render(&self) -> String {
                Template::render(self).expect("writing to a string cannot fail")
            }

            /// The words, in the language of the page.
            fn text(&self) -> &'static Text {
                let text: fn(&$page) -> &'static Text = $text;
                text(self)
            }
        }
    )+};
}

pages! {
    Login => |page| page.text,
    SelectAccount => |page| page.text,
    Consent => |page| page.text,
    FormPost => |page| page.text,
    Error => |_| &ENGLISH,
    LogoutConfirm => |page| page.text,
    LoggedOut => |page| page.text,
    LogoutError => |page| page.text,
    Applications => |page| page.text,
}

#[cfg(test)]
mod tests {
    use super::*;

    const EVIL: &str = "\"><svg onload=alert(1)>'";

    fn link() -> Option<String> {
        Some(format!("https://rp.example/{EVIL}"))
    }

    fn pages() -> [(&'static str, String, &'static [&'static str]); 10] {
        let evil = || EVIL.to_owned();
        let application = || Application {
            name: evil(),
            logo_uri: link(),
            policy_uri: link(),
            tos_uri: link(),
        };
        let login = Login {
            text: &ENGLISH,
            application: application(),
            username: evil(),
            action: evil(),
            csrf: evil(),
            problem: Some(Problem::Refused),
        };
        let select_account = SelectAccount {
            text: &ENGLISH,
            application: application(),
            account: evil(),
            action: evil(),
            csrf: evil(),
        };
        let consent = Consent {
            text: &ENGLISH,
            application: application(),
            scopes: vec![
                ScopeLine::of("email", &ENGLISH),
                ScopeLine::of(EVIL, &ENGLISH),
            ],
            claims: vec![evil()],
            labels: vec![LabelChoice {
                scope: evil(),
                field: evil(),
                labels: vec![evil()],
                suggested: evil(),
            }],
            account: evil(),
            action: evil(),
            csrf: evil(),
        };
        let error = Error {
            message: "why",
            request_id: evil(),
        };
        let form_post = FormPost {
            text: &ENGLISH,
            action: evil(),
            fields: vec![(evil(), evil())],
        };
        let logout = LogoutConfirm {
            text: &ENGLISH,
            action: evil(),
            csrf: evil(),
            account: evil(),
        };
        let logged_out = |next: Option<String>| LoggedOut {
            text: &ENGLISH,
            frames: vec![evil()],
            next,
            applications: Some(evil()),
        };
        let applications = Applications {
            text: &ENGLISH,
            links: vec![Link {
                name: evil(),
                url: evil(),
            }],
        };
        let logout_error = LogoutError {
            text: &ENGLISH,
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
                "select_account",
                select_account.render(),
                &[
                    "<h1>Choose an account</h1>",
                    "id=\"account-this\"",
                    "id=\"account-another\"",
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
                logged_out(None).render(),
                &[
                    "<h1>You are logged out</h1>",
                    "<iframe",
                    "id=\"applications\"",
                ],
            ),
            (
                "logged_out_and_on",
                logged_out(Some(evil())).render(),
                &["id=\"logout-continue\"", "assets/front_channel_logout.js"],
            ),
            (
                "applications",
                applications.render(),
                &["<h1>Applications</h1>"],
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
                "select_account" => "account-this",
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

    #[test]
    fn languages() {
        let rows = [
            ("", "en", "Sign in"),
            ("it de-AT", "de", "Anmelden"),
            ("fr", "fr", "Se connecter"),
        ];
        for (preferred, language, heading) in rows {
            let page = Login {
                text: Text::of(&locale::Locales::parse(preferred)),
                application: Application {
                    name: "a".to_owned(),
                    logo_uri: None,
                    policy_uri: None,
                    tos_uri: None,
                },
                username: String::new(),
                action: "b".to_owned(),
                csrf: "c".to_owned(),
                problem: None,
            };
            let html = page.render();
            assert!(
                html.contains(&format!("<html lang=\"{language}\">")),
                "{preferred}"
            );
            assert!(html.contains(&format!("<h1>{heading}</h1>")), "{preferred}");
        }
    }
}
