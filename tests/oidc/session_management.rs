//! S2-U14, P-2: OpenID Connect Session Management 1.0: `session_state`, the cookie that goes with it, and the frame that
//! compares them; a real browser with relying parties' pages around our frames, for front-channel logout too.

use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::json;
use sha2::{Digest as _, Sha256};
use support::launch::PASSWORD;

use crate::certification::server::Server;
use crate::params::Params;
use crate::person::{Landing, Person};
use crate::registration::{LEAVING, NATIVE, POST, WEB};
use crate::stack::{self, Options};

/// What the frame would say to a page of this client.
fn unchanged(person: &Person, landing: &Landing, client_id: &str, origin: &str) -> bool {
    let mut cookies = person.cookies.iter();
    let state = cookies.find(|(name, _)| name.ends_with("signet-state"));
    let state = state.map_or("", |(_, value)| value);
    let (_, salt) = landing.field("session_state").split_once('.').unwrap();
    let hash = Sha256::digest(format!("{client_id} {origin} {state} {salt}"));
    format!("{}.{salt}", URL_SAFE_NO_PAD.encode(hash)) == landing.field("session_state")
}

#[tokio::test]
async fn session_state() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 63);
    let mut seen = Vec::new();
    #[rustfmt::skip]
    let rows = [
        ("S2-U14 first", WEB, WEB.request(), "https://rp.example"),
        ("S2-U14 again", WEB, WEB.request(), "https://rp.example"),
        ("S2-U14 another client", POST, POST.request(), "https://rp.example"),
        ("S2-U14 a client's own origin", LEAVING, LEAVING.request(), "https://leaving.example"),
        ("S2-U14 in a form", WEB, WEB.request().set("response_mode", "form_post"), "https://rp.example"),
        ("S2-U14 in the fragment", WEB, WEB.request().set("response_mode", "fragment"), "https://rp.example"),
        ("S2-U14 after another sign-in", WEB, WEB.request().set("prompt", "login"), "https://rp.example"),
    ];
    for (row, client, request, origin) in rows {
        let landing = person.authorize(&request).await;
        assert!(unchanged(&person, &landing, client.id, origin), "{row}");
        assert!(
            !unchanged(&person, &landing, client.id, "https://evil.test"),
            "{row}"
        );
        assert!(!unchanged(&person, &landing, "evil", origin), "{row}");
        seen.push((client, landing, origin));
    }
    let (first, (_, last)) = (&seen[0].1, seen.last().map(|(a, b, _)| (a, b)).unwrap());
    assert_ne!(
        first.field("session_state"),
        last.field("session_state"),
        "a salt"
    );
    for (client, landing, origin) in &seen {
        let same = unchanged(&person, landing, client.id, origin);
        assert!(same, "S2-U14 the same person is still signed in");
    }
    let mut another = person.clone();
    another.username = "user0".to_owned();
    another
        .authorize(&WEB.request().set("prompt", "login"))
        .await
        .code();
    assert!(
        !unchanged(&another, first, WEB.id, "https://rp.example"),
        "S2-U14 somebody else"
    );

    let mut person = Person::new(&site, 63);
    let landing = person.authorize(&WEB.request()).await;
    assert!(unchanged(&person, &landing, WEB.id, "https://rp.example"));
    let page = person.open("/logout").await;
    let page = crate::page::Page::parse(&page.text());
    person
        .submit(&page.action, &page.filled(&[], "logout-confirm").encode())
        .await;
    assert!(
        !unchanged(&person, &landing, WEB.id, "https://rp.example"),
        "S2-U14 nobody"
    );

    let mut person = Person::new(&site, 63);
    #[rustfmt::skip]
    let rows = [
        ("S2-U14 not OpenID Connect", WEB.request().set("scope", "email")),
        ("S2-U14 no origin", NATIVE.request().set("redirect_uri", "com.example.app:/cb")),
        ("S2-U14 refused", WEB.request().with(&[("prompt", "none"), ("max_age", "0")])),
    ];
    for (row, request) in rows {
        let landing = person.authorize(&request).await;
        assert_eq!(landing.field("session_state"), "", "{row}: {landing:?}");
    }
}

/// The one page that may be in a frame: it holds a script of ours and nothing else.
#[tokio::test]
async fn the_frame() {
    let site = stack::shared().site();
    let document = site.get("/.well-known/openid-configuration").await.json();
    let place = document["check_session_iframe"].as_str().unwrap();
    assert_eq!(place, format!("{}/check_session", site.issuer()));
    let answer = site.get(place).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
    assert_eq!(
        answer.header("content-security-policy"),
        "default-src 'none'; script-src 'self'; base-uri 'none'"
    );
    assert_eq!(answer.header("x-frame-options"), "");
    assert!(!answer.text().contains("<script>"));
    let script = site.get("/assets/check_session.js").await;
    assert_eq!(
        script.header("content-type"),
        "text/javascript; charset=utf-8"
    );
}

/// Switched off, there is nothing of it.
#[tokio::test]
async fn switched_off() {
    let stack = stack::start(&Options {
        tables: "[session_management]\nenabled = false\n",
        ..Options::default()
    });
    let site = stack.site();
    let document = site.get("/.well-known/openid-configuration").await.json();
    assert_eq!(document.get("check_session_iframe"), None);
    assert_eq!(site.get("/check_session").await.status, 404);
    let mut person = Person::new(&site, 1);
    let landing = person.authorize(&WEB.request()).await;
    assert_eq!(landing.field("session_state"), "");
    assert_eq!(person.cookies.len(), 2);
    let query = Params::of(&[("client_id", WEB.id)]).encode();
    assert_eq!(person.open(&format!("/logout?{query}")).await.status, 200);
}

/// A relying party's page: asks the provider's frame, and shows the answer.
const PAGE: &str = "<!DOCTYPE html><meta charset=\"utf-8\"><title>Relying party</title>\
    <iframe id=\"op\" src=\"ISSUER/check_session\" hidden></iframe><p id=\"answer\">-</p>\
    <script>\
    const answer = document.getElementById('answer');\
    addEventListener('message', (event) => event.origin === 'ISSUER' && (answer.textContent = event.data));\
    function ask(message) {\
      answer.textContent = '-';\
      document.getElementById('op').contentWindow.postMessage(message, 'ISSUER');\
    }\
    </script>";

/// Chromium, with the pages of two relying parties: see tests/browser/logout.js.
#[tokio::test]
async fn in_a_real_browser() {
    // Of one site, though not of one origin: Chromium shows other sites' frames no cookie.
    let servers = [Server::start().await, Server::start().await];
    let origins = servers
        .each_ref()
        .map(|server| server.url("").replace("localhost", "127.0.0.1"));
    let mut tables = String::new();
    for (id, origin) in ["first", "second"].iter().zip(&origins) {
        tables += &format!(
            "[[clients]]\nclient_id = \"{id}\"\nclient_secret = \"a-secret-of-nobody-who-ever-uses-it\"\nconsent = \"implicit\"\n\
             redirect_uris = [\"{origin}/cb\"]\npost_logout_redirect_uris = [\"{origin}/bye\"]\n\
             frontchannel_logout_uri = \"{origin}/out?from=op\"\n"
        );
    }
    let stack = stack::start(&Options {
        tls: "1",
        tables: tables.leak(),
        ..Options::default()
    });
    let issuer = stack.site().issuer().to_owned();
    for server in &servers {
        for path in ["/cb", "/out", "/bye"] {
            server.put(path, "text/html", &PAGE.replace("ISSUER", &issuer));
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let given = json!({
        "relying_parties": [{"id": "first", "origin": origins[0]}, {"id": "second", "origin": origins[1]}],
        "issuer": issuer,
        "username": "user1",
        "password": PASSWORD,
        "screenshots": root.join("target/screenshots"),
    });
    let mut node = Command::new("node");
    node.arg("logout.js")
        .arg(given.to_string())
        .current_dir(root.join("tests/browser"));
    let output = tokio::task::spawn_blocking(move || node.output()).await;
    let output = output.unwrap().expect("node is installed (`make setup`)");
    assert!(
        output.status.success(),
        "{}{}\n{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
        stack.log("gateway0")
    );
}
