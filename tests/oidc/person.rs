//! A person at a browser without JavaScript: keeps cookies, follows redirects, fills in forms by the page contract.
//!
//! `Person::new(&site, 3)` is `user3`. `person.authorize(&request).await` goes from the authorization endpoint through
//! login and consent, as `at_login` and `at_consent` say, and returns where it landed: at the client (query, fragment
//! or form) or on a page. `person.saw` then holds the headings of the pages in between. A [`Params`] is the request:
//! `client.request()` is a legal one, `.set(name, value)` and `.without(name)` change it.

use std::collections::BTreeMap;

use http::{Method, header};
use support::launch::PASSWORD;

use crate::client::Client;
use crate::page::Page;
use crate::params::Params;
use crate::site::{Answer, Site, form_of};

/// What the person does on the page "Sign in".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtLogin {
    SignIn,
    Cancel,
    Stop,
}

/// What the person does when asked for consent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtConsent {
    /// And it is remembered.
    Allow,
    AllowOnce,
    Deny,
    Stop,
}

/// What the person does when asked as whom to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AtAccount {
    GoOn,
    Another,
    Stop,
}

/// How an answer came to the client, or that none did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Query,
    Fragment,
    FormPost,
    /// With its status.
    Page(u16),
}

/// Where an authorization request ended.
#[derive(Clone, Debug)]
pub(crate) struct Landing {
    pub(crate) place: Place,
    /// The redirect URI without what was added; of a page, its path.
    pub(crate) uri: String,
    /// What the client is told.
    pub(crate) fields: BTreeMap<String, String>,
    /// Of a page.
    pub(crate) heading: String,
    pub(crate) answer: Answer,
}

impl Landing {
    /// A parameter of the answer; empty if it is not there.
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    #[track_caller]
    pub(crate) fn code(&self) -> String {
        assert!(self.fields.contains_key("code"), "{self:?}");
        self.field("code").to_owned()
    }

    /// `PLACE WHAT`: the form in which tables name outcomes, such as `query code`, `fragment code id_token`,
    /// `fragment login_required`, `query nothing`, `page 400` or `page Sign in`.
    pub(crate) fn outcome(&self) -> String {
        let given = ["code", "id_token", "access_token"];
        let given: Vec<&str> = given
            .into_iter()
            .filter(|name| self.fields.contains_key(*name))
            .collect();
        let what = match (self.fields.contains_key("error"), given.is_empty()) {
            (true, _) => self.field("error").to_owned(),
            (false, true) => "nothing".to_owned(),
            (false, false) => given.join(" "),
        };
        match self.place {
            Place::Query => format!("query {what}"),
            Place::Fragment => format!("fragment {what}"),
            Place::FormPost => format!("form_post {what}"),
            Place::Page(200) => format!("page {}", self.heading),
            Place::Page(status) => {
                assert_eq!(self.heading, "Authorization error", "{status}");
                format!("page {status}")
            }
        }
    }
}

/// A person and their browser.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) site: Site,
    pub(crate) username: String,
    pub(crate) password: &'static str,
    pub(crate) cookies: BTreeMap<String, String>,
    pub(crate) at_login: AtLogin,
    pub(crate) at_consent: AtConsent,
    pub(crate) at_account: AtAccount,
    /// Headings of the pages since `authorize` was called.
    pub(crate) saw: Vec<String>,
}

impl Person {
    /// `user0` to `user63`, with a new browser.
    pub(crate) fn new(site: &Site, number: usize) -> Person {
        Person {
            site: site.clone(),
            username: format!("user{number}"),
            password: PASSWORD,
            cookies: BTreeMap::new(),
            at_login: AtLogin::SignIn,
            at_consent: AtConsent::Allow,
            at_account: AtAccount::GoOn,
            saw: Vec::new(),
        }
    }

    /// Goes where the client sends the browser, by GET.
    pub(crate) async fn authorize(&mut self, request: &Params) -> Landing {
        self.saw.clear();
        let answer = self.open(&format!("/authorize?{}", request.encode())).await;
        self.follow("/authorize", answer).await
    }

    /// The same by POST (OpenID Connect Core §3.1.2.1).
    pub(crate) async fn authorize_by_post(&mut self, request: &Params) -> Landing {
        self.saw.clear();
        let answer = self.submit("/authorize", &request.encode()).await;
        self.follow("/authorize", answer).await
    }

    /// A code for a legal request of this client with this scope.
    pub(crate) async fn code(&mut self, client: &Client, scope: &str) -> String {
        self.authorize(&client.request().set("scope", scope))
            .await
            .code()
    }

    /// Follows redirects and fills in forms to the end.
    pub(crate) async fn follow(&mut self, place: &str, mut answer: Answer) -> Landing {
        let mut place = place.to_owned();
        for _ in 0..8 {
            if answer.status == 303 {
                let location = answer.header("location").to_owned();
                if !location.starts_with(&format!("{}/", self.site.issuer())) {
                    return redirect(&location, answer);
                }
                answer = self.open(&location).await;
                place = location;
                continue;
            }
            let page = Page::parse(&answer.text());
            if page.has("form-post") {
                return form_post(page, answer);
            }
            self.saw.push(page.heading.clone());
            // By their controls, for the words are in the person's language.
            let pressed = if page.has("login-submit") {
                self.press_at_login()
            } else if page.has("consent-allow") {
                self.press_at_consent()
            } else if page.has("account-this") {
                self.press_at_account()
            } else {
                None
            };
            let Some((button, fields)) = pressed else {
                let path = place.strip_prefix(self.site.issuer()).unwrap_or(&place);
                return Landing {
                    place: Place::Page(answer.status),
                    uri: path.split('?').next().unwrap_or_default().to_owned(),
                    fields: BTreeMap::new(),
                    heading: page.heading,
                    answer,
                };
            };
            let form = page.filled(&fields, button);
            answer = self.submit(&page.action, &form.encode()).await;
            place = page.action;
        }
        panic!("no end: {:?}", self.saw);
    }

    fn press_at_login(&self) -> Option<(&'static str, Vec<(&'static str, String)>)> {
        let typed = vec![
            ("username", self.username.clone()),
            ("password", self.password.to_owned()),
        ];
        match self.at_login {
            AtLogin::SignIn => Some(("login-submit", typed)),
            AtLogin::Cancel => Some(("login-cancel", Vec::new())),
            AtLogin::Stop => None,
        }
    }

    fn press_at_consent(&self) -> Option<(&'static str, Vec<(&'static str, String)>)> {
        let remember = |yes: &str| vec![("remember", yes.to_owned())];
        match self.at_consent {
            AtConsent::Allow => Some(("consent-allow", remember("yes"))),
            AtConsent::AllowOnce => Some(("consent-allow", remember(""))),
            AtConsent::Deny => Some(("consent-deny", Vec::new())),
            AtConsent::Stop => None,
        }
    }

    fn press_at_account(&self) -> Option<(&'static str, Vec<(&'static str, String)>)> {
        match self.at_account {
            AtAccount::GoOn => Some(("account-this", Vec::new())),
            AtAccount::Another => Some(("account-another", Vec::new())),
            AtAccount::Stop => None,
        }
    }

    /// GET with the cookies.
    pub(crate) async fn open(&mut self, place: &str) -> Answer {
        let request = self
            .browser(self.site.request(Method::GET, place))
            .body(Vec::new());
        let answer = self.site.send(request.unwrap()).await;
        self.keep_cookies(&answer);
        answer
    }

    /// POST of a form with the cookies.
    pub(crate) async fn submit(&mut self, place: &str, form: &str) -> Answer {
        let request = form_of(self.browser(self.site.request(Method::POST, place)), form);
        let answer = self.site.send(request).await;
        self.keep_cookies(&answer);
        answer
    }

    /// The cookie that holds the session; empty without one.
    pub(crate) fn session(&self) -> &str {
        let mut cookies = self.cookies.iter();
        let session = cookies.find(|(name, _)| name.ends_with("signet-session"));
        session.map_or("", |(_, value)| value)
    }

    fn browser(&self, builder: http::request::Builder) -> http::request::Builder {
        let pairs: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        match pairs.is_empty() {
            true => builder,
            false => builder.header(header::COOKIE, pairs.join("; ")),
        }
    }

    fn keep_cookies(&mut self, answer: &Answer) {
        for line in answer.headers.get_all(header::SET_COOKIE) {
            let line = line.to_str().unwrap();
            let mut parts = line.split("; ");
            let (name, value) = parts.next().unwrap().split_once('=').unwrap();
            let attributes: Vec<&str> = parts.collect();
            // One is for a script in other sites' pages (session management): it opens nothing.
            let expected = match name {
                "signet-state" => ["Path=/", "SameSite=Lax"].as_slice(),
                "__Host-signet-state" => &["Path=/", "SameSite=None", "Secure"],
                _ => &["Path=/", "HttpOnly", "SameSite=Lax"],
            };
            for attribute in expected {
                assert!(attributes.contains(attribute), "{line}");
            }
            match attributes.contains(&"Max-Age=0") {
                true => self.cookies.remove(name),
                false => self.cookies.insert(name.to_owned(), value.to_owned()),
            };
        }
    }
}

/// An answer that leaves for the client.
fn redirect(location: &str, answer: Answer) -> Landing {
    let (place, (uri, fields)) = match location.split_once('#') {
        Some(parts) => (Place::Fragment, parts),
        None => (
            Place::Query,
            location.split_once('?').unwrap_or((location, "")),
        ),
    };
    // RFC 9700 §4.2.4: neither the code nor the state may leave in a Referer.
    assert_eq!(
        answer.header("referrer-policy"),
        "no-referrer",
        "{location}"
    );
    Landing {
        place,
        uri: uri.to_owned(),
        fields: Params::decode(fields).into_map(),
        heading: String::new(),
        answer,
    }
}

fn form_post(page: Page, answer: Answer) -> Landing {
    assert_eq!(answer.header("referrer-policy"), "no-referrer");
    let fields = page.filled(&[], "form-post-submit").into_map();
    Landing {
        place: Place::FormPost,
        uri: page.action,
        fields,
        heading: String::new(),
        answer,
    }
}
