//! The relying party's own pages: `/`, `/login`, `/callback`, `/logout`.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use openidconnect::CsrfToken;
use tokio::net::TcpListener;

use super::{Login, Pending, RelyingParty, page};

/// How many browsers are remembered; then all are forgotten.
const MOST_BROWSERS: usize = 1000;
const COOKIE: &str = "demo_session";

/// What is known of one browser.
#[derive(Debug, Default)]
struct Browser {
    pending: Option<Pending>,
    login: Option<Login>,
}

#[derive(Debug)]
struct Server {
    relying_party: RelyingParty,
    browsers: Mutex<HashMap<String, Browser>>,
}

/// Serves until it is dropped.
///
/// # Errors
/// When the listener breaks.
pub async fn serve(relying_party: RelyingParty, listener: TcpListener) -> anyhow::Result<()> {
    let server = Arc::new(Server {
        relying_party,
        browsers: Mutex::new(HashMap::new()),
    });
    loop {
        let (stream, _) = listener.accept().await?;
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let server = Arc::clone(&server);
                async move { Ok::<_, Infallible>(server.answer(&request).await) }
            });
            // A browser that goes away in the middle is no concern of ours.
            let _ = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .serve_connection(TokioIo::new(stream), service)
                .await;
        });
    }
}

impl Server {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let session = session(request);
        let settings = &self.relying_party.settings;
        let answer = match (request.uri().path(), session) {
            ("/", session) => {
                let login = session.and_then(|session| self.browser(session, |b| b.login.clone()));
                Ok(html(StatusCode::OK, page::home(settings, login.as_ref())))
            }
            ("/login", session) => self.login(session).await,
            ("/callback", Some(session)) => {
                let query = request.uri().query().unwrap_or_default();
                self.callback(session, query).await
            }
            ("/logout", Some(session)) => self.logout(session).await,
            _ => Ok(html(StatusCode::NOT_FOUND, page::failure("No such page"))),
        };
        answer.unwrap_or_else(|error| {
            html(
                StatusCode::BAD_GATEWAY,
                page::failure(&format!("{error:#}")),
            )
        })
    }

    async fn login(&self, session: Option<&str>) -> anyhow::Result<Response<Full<Bytes>>> {
        let (url, pending) = self.relying_party.begin().await?;
        let session = session.map_or_else(
            || CsrfToken::new_random_len(32).into_secret(),
            ToOwned::to_owned,
        );
        self.browser(&session, |browser| browser.pending = Some(pending));
        let mut answer = see_other(&url);
        let cookie = format!("{COOKIE}={session}; Path=/; HttpOnly; SameSite=Lax");
        answer
            .headers_mut()
            .insert(header::SET_COOKIE, cookie.parse()?);
        Ok(answer)
    }

    async fn callback(&self, session: &str, query: &str) -> anyhow::Result<Response<Full<Bytes>>> {
        let Some(pending) = self.browser(session, |browser| browser.pending.take()) else {
            return Ok(see_other("/"));
        };
        let login = self.relying_party.finish(query, pending).await?;
        self.browser(session, |browser| browser.login = Some(login));
        Ok(see_other("/"))
    }

    async fn logout(&self, session: &str) -> anyhow::Result<Response<Full<Bytes>>> {
        match self.browser(session, |browser| browser.login.take()) {
            Some(login) => Ok(see_other(&self.relying_party.sign_out(&login).await?)),
            None => Ok(see_other("/")),
        }
    }

    fn browser<T>(&self, session: &str, then: impl FnOnce(&mut Browser) -> T) -> T {
        let mut browsers = self.browsers.lock().unwrap_or_else(PoisonError::into_inner);
        if browsers.len() >= MOST_BROWSERS {
            browsers.clear();
        }
        then(browsers.entry(session.to_owned()).or_default())
    }
}

fn session(request: &Request<Incoming>) -> Option<&str> {
    request
        .headers()
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|cookies| cookies.to_str().ok())
        .flat_map(|cookies| cookies.split("; "))
        .find_map(|cookie| cookie.strip_prefix(COOKIE)?.strip_prefix('='))
}

fn see_other(location: &str) -> Response<Full<Bytes>> {
    let mut answer = html(StatusCode::SEE_OTHER, String::new());
    if let Ok(location) = location.parse() {
        answer.headers_mut().insert(header::LOCATION, location);
    }
    answer
}

fn html(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(text)));
    *answer.status_mut() = status;
    for (name, value) in [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
        ),
    ] {
        answer
            .headers_mut()
            .insert(name, header::HeaderValue::from_static(value));
    }
    answer
}
