//! Nothing that is worth stealing leaves by a side door: logs, metrics and the store's dump hold no code, token, cookie,
//! secret or password, and no words of a client. IN-05, IN-06, RD-06.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{Method, Request, header};
use nix::sys::signal::Signal;
use serde_json::Value;
use support::launch::PASSWORD;

use crate::assertion;
use crate::client::{Client, VERIFIER, basic};
use crate::page::Page;
use crate::params::Params;
use crate::person::{AtConsent, AtLogin, Person};
use crate::registration::{self, CAREFUL, JWT, WEB, signing};
use crate::site::{Site, form_of};
use crate::stack::{self, Options, Stack};

/// What a client sends where it does not belong: should it be seen again, it is in the wrong place.
const WORD: &str = "canary";
const FORGED: &str =
    "canary\r\n{\"level\":\"ERROR\",\"message\":\"canary\"}\n\u{1b}[31mcanary\u{202e}";

/// Everything secret that was issued or sent, by what it is.
#[derive(Default)]
struct Secrets(BTreeSet<(&'static str, String)>);

impl Secrets {
    fn add(&mut self, what: &'static str, value: &str) {
        assert!(value.len() >= 8, "{what}: {value:?} may be anywhere");
        self.0.insert((what, value.to_owned()));
    }

    /// Of a code or an opaque token the part that nobody can guess; of a JWT the signature; and each as a whole.
    fn add_token(&mut self, what: &'static str, value: &str) {
        self.add(what, value);
        self.add(what, value.rsplit('.').next().unwrap());
    }

    fn add_tokens(&mut self, tokens: &Value) {
        for what in ["access_token", "refresh_token", "id_token"] {
            if let Some(token) = tokens[what].as_str() {
                self.add_token(what, token);
            }
        }
    }

    fn add_cookies(&mut self, person: &Person) {
        for value in person.cookies.values() {
            self.add_token("cookie", value);
        }
    }

    fn check(&self, place: &str, content: &str) {
        for (what, value) in &self.0 {
            assert!(!content.contains(value), "{place} holds a {what}: {value}");
        }
    }
}

#[tokio::test]
async fn nothing_leaves_by_a_side_door() {
    let stack = stack::start(&Options::default());
    let folder = folder(&stack);
    let before = ["gateway0", "key-service"].map(|name| {
        say_everything(&stack, &folder, name);
        (name, stack.log(name).len())
    });
    let site = stack.site();
    let mut secrets = Secrets::default();
    secrets.add("password", PASSWORD);
    secrets.add("code_verifier", VERIFIER);
    let code = everything_that_passes(&site, &mut secrets).await;
    everything_that_is_refused(&site, &mut secrets).await;

    let dump = dump(&folder);
    let tag = code.split('.').next().unwrap();
    assert!(
        dump.contains(tag),
        "a dump that was read would show the tag of a code"
    );
    secrets.check("the store's dump", &dump);

    for name in ["gateway0", "key-service"] {
        let answer = site.try_send(
            Request::get(metrics(&folder, name))
                .body(Vec::new())
                .unwrap(),
        );
        let answer = answer.await.unwrap();
        assert_eq!(answer.status, 200, "{name}");
        let metrics = answer.text();
        secrets.check(&format!("metrics of {name}"), &metrics);
        assert!(!metrics.contains(WORD), "metrics of {name}");
    }

    outages(&stack, &site, &mut secrets).await;
    for (name, length) in before {
        let log = &stack.log(name)[length..];
        secrets.check(&format!("the log of {name}"), log);
        assert!(!log.contains(WORD), "{name}: {log}");
        let levels = levels(log);
        assert!(
            levels.contains("DEBUG") && levels.contains("INFO"),
            "{name}: {levels:?}"
        );
    }
    let log = stack.log("gateway0");
    for shown in [
        "a code was used again",
        "\"client_id\":\"web\"",
        "\"subject\":\"user1\"",
    ] {
        assert!(log.contains(shown), "{shown}");
    }
}

/// IN-06: each event is one line. The levels that were seen.
fn levels(log: &str) -> BTreeSet<String> {
    let events = log.lines().map(|line| {
        let event: Value =
            serde_json::from_str(line).unwrap_or_else(|_| panic!("no event: {line}"));
        assert!(
            event["timestamp"].is_string() && event["target"].is_string(),
            "{line}"
        );
        event["level"].as_str().unwrap().to_owned()
    });
    events.collect()
}

/// Each endpoint does what it is for. A code of a live family.
async fn everything_that_passes(site: &Site, secrets: &mut Secrets) -> String {
    let mut person = Person::new(site, 1);
    for client in [WEB, JWT, CAREFUL, signing()] {
        let code = person
            .code(&client, "openid profile email offline_access")
            .await;
        secrets.add_token("code", &code);
        let tokens = client.redeem(site, &code).await.json();
        secrets.add_tokens(&tokens);
        let access_token = tokens["access_token"].as_str().unwrap();
        assert!(client.is_active(site, access_token).await);
        let bearer = format!("Bearer {access_token}");
        let userinfo = site
            .request(Method::GET, "/userinfo")
            .header(header::AUTHORIZATION, bearer);
        assert_eq!(
            site.send(userinfo.body(Vec::new()).unwrap()).await.status,
            200
        );
        let refreshed = client
            .refresh(site, tokens["refresh_token"].as_str().unwrap())
            .await
            .json();
        secrets.add_tokens(&refreshed);
        if client.id != CAREFUL.id {
            let own = Params::of(&[("grant_type", "client_credentials")]);
            secrets.add_tokens(&client.post(site, "/token", own).await.json());
        }
        if client.id == JWT.id {
            client.revoke(site, access_token).await;
        }
        if client.id != signing().id {
            secrets.add("client_secret", &registration::secret(client.id));
        }
        let last = client
            .refresh(site, refreshed["refresh_token"].as_str().unwrap())
            .await
            .json();
        secrets.add_tokens(&last);
        secrets.add_cookies(&person);
    }
    // A session that ends, and one that goes on.
    let mut leaving = Person::new(site, 2);
    leaving.code(&WEB, "openid").await;
    secrets.add_cookies(&leaving);
    leaving.open("/logout").await;
    waiting(site, secrets).await;
    let code = person.code(&WEB, "openid").await;
    secrets.add_token("code", &code);
    code
}

/// Pages that wait for a person.
async fn waiting(site: &Site, secrets: &mut Secrets) {
    for number in [3, 4] {
        let mut person = Person::new(site, number);
        person.at_consent = AtConsent::Stop;
        if number == 4 {
            person.at_login = AtLogin::Stop;
        }
        let landing = person
            .authorize(&CAREFUL.request().set("state", "a secret state"))
            .await;
        let page = Page::parse(&landing.answer.text());
        let interaction = page.action.rsplit("interaction=").next().unwrap();
        secrets.add("interaction", interaction);
        secrets.add_cookies(&person);
    }
}

/// Each input wrong in turn. No answer repeats what it was not asked to.
async fn everything_that_is_refused(site: &Site, secrets: &mut Secrets) {
    let mut person = Person::new(site, 5);
    let code = person.code(&WEB, "openid").await;
    secrets.add_token("code", &code);
    WEB.redeem(site, &code).await;
    assert_eq!(WEB.redeem(site, &code).await.status, 400, "used again");
    for name in WEB.request().names().map(str::to_owned).collect::<Vec<_>>() {
        let mut person = Person::new(site, 6);
        person.at_login = AtLogin::Stop;
        person.authorize(&WEB.request().set(&name, FORGED)).await;
    }
    for (username, password) in [(FORGED, PASSWORD), ("user7", FORGED), (FORGED, FORGED)] {
        let mut person = Person::new(site, 7);
        person.at_login = AtLogin::Stop;
        let landing = person.authorize(&WEB.request()).await;
        let page = Page::parse(&landing.answer.text());
        let typed = [
            ("username", username.to_owned()),
            ("password", password.to_owned()),
        ];
        person
            .submit(&page.action, &page.filled(&typed, "login-submit").encode())
            .await;
        secrets.add_cookies(&person);
    }
    let redemption = WEB.redemption(FORGED);
    for name in redemption.names().map(str::to_owned).collect::<Vec<_>>() {
        let form = WEB.redemption(&code).set(&name, FORGED);
        assert_eq!(WEB.post(site, "/token", form).await.status, 400, "{name}");
    }
    for (path, name) in [
        ("/token", "refresh_token"),
        ("/introspect", "token"),
        ("/revoke", "token"),
    ] {
        let form = Params::of(&[("grant_type", "refresh_token"), (name, FORGED)]);
        WEB.post(site, path, form).await;
    }
    for request in strange_requests(site) {
        let path = request.uri().path().to_owned();
        let answer = site.send(request).await;
        assert!((400..500).contains(&answer.status), "{path}");
        assert!(!answer.text().contains(WORD), "{path}: {}", answer.text());
    }
    let mut claims = assertion::claims(WORD, site.issuer());
    claims["sub"] = FORGED.into();
    for client_id in [WORD, signing().id] {
        let token = format!(
            "{}.{WORD}",
            assertion::signing_input(&serde_json::json!({"alg": FORGED}), &claims)
        );
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client_id),
            ("client_assertion_type", assertion::TYPE),
            ("client_assertion", &token),
        ];
        let answer = site.post("/token", &Params::of(&form).encode()).await;
        assert_eq!(answer.outcome(), "401 invalid_client");
    }
}

fn strange_requests(site: &Site) -> Vec<Request<Vec<u8>>> {
    let get = |path: &str| site.request(Method::GET, path);
    let bearer = get("/userinfo").header(header::AUTHORIZATION, format!("Bearer {WORD}.{WORD}"));
    let user = site.request(Method::POST, "/token");
    let user = user.header(header::AUTHORIZATION, basic(FORGED, FORGED));
    let agent = get(&format!("/{WORD}?{WORD}={WORD}"));
    let agent = agent
        .header(header::USER_AGENT, WORD)
        .header("x-request-id", WORD);
    vec![
        form_of(user, "grant_type=client_credentials"),
        bearer.body(Vec::new()).unwrap(),
        agent
            .header(header::COOKIE, format!("signet-session={WORD}"))
            .body(Vec::new())
            .unwrap(),
        get(&format!("/login?interaction={WORD}"))
            .body(Vec::new())
            .unwrap(),
        get("/jwks").method(WORD).body(Vec::new()).unwrap(),
    ]
}

/// What is said when parts are away. The store is lost by it.
async fn outages(stack: &Stack, site: &Site, secrets: &mut Secrets) {
    let mut person = Person::new(site, 8);
    let code = person.code(&WEB, "openid").await;
    secrets.add_token("code", &code);
    secrets.add_cookies(&person);
    for name in ["key-service", "redis"] {
        stack.signal(name, Signal::SIGKILL);
        tokio::time::sleep(Duration::from_millis(50)).await;
        for client in [WEB, JWT, signing()] as [Client; 3] {
            let request = client.build(site, "/token", client.redemption(&code));
            let answer = site.try_send(request).await.unwrap();
            // Another client's request needs no key to be refused.
            assert!(
                [400, 503].contains(&answer.status),
                "{name}: {}",
                answer.text()
            );
            secrets.check("an answer", &answer.text());
        }
    }
    for name in ["redis", "key-service"] {
        stack.start_again(name);
    }
}

pub(crate) fn folder(stack: &Stack) -> PathBuf {
    let admin = stack.admin();
    let configuration = Path::new(admin.get_args().last().unwrap());
    configuration.parent().unwrap().to_owned()
}

pub(crate) fn configuration(folder: &Path, name: &str) -> (PathBuf, String) {
    let path = folder.join(format!("{name}.toml"));
    let text = fs::read_to_string(&path).unwrap();
    (path, text)
}

/// Starts a process again with all that it can say, for machines.
fn say_everything(stack: &Stack, folder: &Path, name: &str) {
    let (path, text) = configuration(folder, name);
    let replaced = text
        .replace("level = \"warn\"", "level = \"trace\"")
        .replace("format = \"text\"", "format = \"json\"");
    assert_ne!(replaced, text);
    fs::write(path, replaced).unwrap();
    stack.signal(name, Signal::SIGTERM);
    stack.start_again(name);
}

/// The address of a process' metrics.
pub(crate) fn metrics(folder: &Path, name: &str) -> String {
    let settings: toml::Table = configuration(folder, name).1.parse().unwrap();
    format!(
        "http://{}/metrics",
        settings["metrics"]["address"].as_str().unwrap()
    )
}

/// All that Redis would write to a disk, uncompressed.
pub(crate) fn dump(folder: &Path) -> String {
    let settings: toml::Table = configuration(folder, "gateway0").1.parse().unwrap();
    let url = settings["store"]["url"].as_str().unwrap();
    let mut stream = TcpStream::connect(url.strip_prefix("redis://").unwrap()).unwrap();
    for command in ["CONFIG SET rdbcompression no", "SAVE"] {
        write!(stream, "{command}\r\n").unwrap();
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"+OK\r\n", "{command}");
    }
    let dump = fs::read(folder.join("dump.rdb")).unwrap();
    String::from_utf8_lossy(&dump).into_owned()
}
