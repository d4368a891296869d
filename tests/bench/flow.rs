//! Whole flows over HTTP: metadata, client credentials, the code flow, refreshing, userinfo, introspection.

use std::cell::RefCell;

use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Request, Response, header};
use serde_json::Value;
use support::http::Client as Http;
use support::launch::{Client, PASSWORD};
use url::Url;

use crate::load::Bench;

/// As the goals are stated.
const IN_FLIGHT: usize = 16;

/// The provider and one client of it.
struct Party<'a> {
    http: &'a Http,
    issuer: &'a str,
    client: &'a Client,
}

/// All of them.
pub(crate) async fn measure(
    bench: &Bench,
    http: &Http,
    issuer: &str,
    clients: &[Client],
) -> anyhow::Result<()> {
    for (name, path) in [
        ("discovery", "/.well-known/openid-configuration"),
        ("jwks", "/jwks"),
    ] {
        let url = &format!("{issuer}{path}");
        bench
            .run(name, IN_FLIGHT, |_| async move {
                let answer = http.get(url).await?;
                ensure!(answer.status() == 200, "{}", answer.status());
                Ok(())
            })
            .await?;
    }
    for client in clients {
        let party = &Party {
            http,
            issuer,
            client,
        };
        let id = &client.id;
        let form = &[("grant_type", "client_credentials")];
        bench
            .run(&format!("client_credentials {id}"), IN_FLIGHT, |_| async {
                party.token(form).await.map(drop)
            })
            .await?;
        if !id.ends_with("-jwt") {
            party.measure(bench).await?;
        }
    }
    Ok(())
}

impl Party<'_> {
    /// The flows that need a person.
    async fn measure(&self, bench: &Bench) -> anyhow::Result<()> {
        let id = &self.client.id;
        let names =
            ["code flow", "refresh", "userinfo", "introspect"].map(|name| format!("{name} {id}"));
        let [code_flow, refresh, userinfo, introspect] = &names;
        if !names.iter().any(|name| bench.is_wanted(name)) {
            return Ok(());
        }
        let mut people = Vec::new();
        for number in 0..IN_FLIGHT {
            people.push(Person::sign_in(self, number).await?);
        }
        let people = &people;
        bench
            .run(code_flow, IN_FLIGHT, |number| async move {
                let code = people[number].authorize(self, "openid", "none").await?;
                self.redeem(&code).await.map(drop)
            })
            .await?;
        bench
            .run(refresh, IN_FLIGHT, |number| async move {
                let presented = people[number].refresh_token.borrow().clone();
                let form = [
                    ("grant_type", "refresh_token"),
                    ("refresh_token", presented.as_str()),
                ];
                let tokens = self.token(&form).await?;
                *people[number].refresh_token.borrow_mut() = text(&tokens, "refresh_token")?;
                Ok(())
            })
            .await?;
        bench
            .run(userinfo, IN_FLIGHT, |number| async move {
                let request = Request::get(format!("{}/userinfo", self.issuer))
                    .header(
                        header::AUTHORIZATION,
                        format!("Bearer {}", people[number].access_token),
                    )
                    .body(Vec::new())?;
                success(self.http.send(request).await?).map(drop)
            })
            .await?;
        bench
            .run(introspect, IN_FLIGHT, |number| async move {
                let form = [("token", people[number].access_token.as_str())];
                let answer = success(self.post("/introspect", &form).await?)?;
                ensure!(answer["active"] == true, "not active");
                Ok(())
            })
            .await?;
        Ok(())
    }

    async fn redeem(&self, code: &str) -> anyhow::Result<Value> {
        self.token(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", &self.client.redirect_uri),
        ])
        .await
    }

    async fn token(&self, form: &[(&str, &str)]) -> anyhow::Result<Value> {
        success(self.post("/token", form).await?)
    }

    async fn post(&self, path: &str, form: &[(&str, &str)]) -> anyhow::Result<Response<Vec<u8>>> {
        let Client { id, secret, .. } = self.client;
        let credentials = STANDARD.encode(format!("{id}:{secret}"));
        let request = Request::post(format!("{}{path}", self.issuer))
            .header(header::AUTHORIZATION, format!("Basic {credentials}"));
        self.http.send(with_form(request, form)?).await
    }
}

/// A browser in which somebody is signed in.
struct Person {
    name: String,
    cookies: RefCell<Vec<(String, String)>>,
    access_token: String,
    refresh_token: RefCell<String>,
}

impl Person {
    async fn sign_in(party: &Party<'_>, number: usize) -> anyhow::Result<Self> {
        let mut person = Self {
            name: format!("user{number}"),
            cookies: RefCell::default(),
            access_token: String::new(),
            refresh_token: RefCell::default(),
        };
        let code = person
            .authorize(party, "openid offline_access", "consent")
            .await?;
        let tokens = party.redeem(&code).await?;
        person.access_token = text(&tokens, "access_token")?;
        *person.refresh_token.borrow_mut() = text(&tokens, "refresh_token")?;
        Ok(person)
    }

    /// Follows redirects and fills in forms until the code comes.
    async fn authorize(
        &self,
        party: &Party<'_>,
        scope: &str,
        prompt: &str,
    ) -> anyhow::Result<String> {
        let redirect_uri = &party.client.redirect_uri;
        let mut url = Url::parse_with_params(
            &format!("{}/authorize", party.issuer),
            [
                ("response_type", "code"),
                ("client_id", &party.client.id),
                ("redirect_uri", redirect_uri),
                ("scope", scope),
                ("prompt", prompt),
                ("state", "af0ifjsldkj"),
                ("nonce", "n-0S6_WzA2Mj"),
            ],
        )?;
        let mut request = Request::get(url.as_str()).body(Vec::new())?;
        for _ in 0..10 {
            let answer = self.send(party.http, request).await?;
            if let Some(location) = answer.headers().get(header::LOCATION) {
                url = url.join(location.to_str()?)?;
                if url.as_str().starts_with(redirect_uri) {
                    let mut pairs = url.query_pairs();
                    let code = pairs.find(|(name, _)| name == "code");
                    return Ok(code
                        .with_context(|| format!("no code: {url}"))?
                        .1
                        .into_owned());
                }
                request = Request::get(url.as_str()).body(Vec::new())?;
            } else {
                let page = String::from_utf8_lossy(answer.body()).into_owned();
                let status = answer.status();
                let form = self
                    .fill_in(&page)
                    .with_context(|| format!("{url} {status}: no form"))?;
                let form: Vec<(&str, &str)> =
                    form.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
                request = with_form(Request::post(url.as_str()), &form)?;
            }
        }
        anyhow::bail!("the pages never end: {url}")
    }

    /// The page's inputs and its first submit button, as a browser would send them.
    fn fill_in(&self, page: &str) -> Option<Vec<(String, String)>> {
        let form = page.split("<form").nth(1)?.split("</form>").next()?;
        let mut fields = Vec::new();
        let mut pressed = false;
        for tag in form.split('<').skip(1) {
            let is_button = tag.starts_with("button");
            if !(tag.starts_with("input") || is_button && !pressed) {
                continue;
            }
            pressed |= is_button;
            let Some(name) = attribute(tag, "name") else {
                continue;
            };
            let value = match name {
                "username" => self.name.clone(),
                "password" => PASSWORD.to_owned(),
                _ => attribute(tag, "value")
                    .unwrap_or_default()
                    .replace("&amp;", "&"),
            };
            fields.push((name.to_owned(), value));
        }
        Some(fields)
    }

    async fn send(
        &self,
        http: &Http,
        mut request: Request<Vec<u8>>,
    ) -> anyhow::Result<Response<Vec<u8>>> {
        let cookies: Vec<String> = self
            .cookies
            .borrow()
            .iter()
            .map(|(n, v)| format!("{n}={v}"))
            .collect();
        if !cookies.is_empty() {
            request
                .headers_mut()
                .insert(header::COOKIE, cookies.join("; ").parse()?);
        }
        let answer = http.send(request).await?;
        for cookie in answer.headers().get_all(header::SET_COOKIE) {
            let pair = cookie.to_str()?.split(';').next().unwrap_or_default();
            let (name, value) = pair.split_once('=').context("a cookie is name=value")?;
            let mut cookies = self.cookies.borrow_mut();
            cookies.retain(|(other, _)| other != name);
            cookies.push((name.to_owned(), value.to_owned()));
        }
        Ok(answer)
    }
}

fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    tag.split(&format!(" {name}=\"")).nth(1)?.split('"').next()
}

fn with_form(
    request: http::request::Builder,
    form: &[(&str, &str)],
) -> anyhow::Result<Request<Vec<u8>>> {
    let body = form_urlencoded::Serializer::new(String::new())
        .extend_pairs(form)
        .finish();
    Ok(request
        .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
        .body(body.into_bytes())?)
}

fn success(answer: Response<Vec<u8>>) -> anyhow::Result<Value> {
    let (head, body) = answer.into_parts();
    ensure!(
        head.status == 200,
        "{}: {}",
        head.status,
        String::from_utf8_lossy(&body)
    );
    Ok(serde_json::from_slice(&body)?)
}

fn text(answer: &Value, member: &str) -> anyhow::Result<String> {
    let value = answer[member].as_str();
    Ok(value.with_context(|| format!("no {member}"))?.to_owned())
}
