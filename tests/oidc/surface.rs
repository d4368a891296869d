//! What surrounds every endpoint: paths and methods, the issuer whatever the headers say, what the pages tell a browser,
//! odd bodies, logs. BR-10, BR-12, BR-13, HT-08, HT-09, IN-05, IN-06. `web.rs` sends what a client library cannot.

use http::Method;

use crate::client::basic;
use crate::page::Page;
use crate::params::Params;
use crate::person::{AtConsent, AtLogin, Person};
use crate::registration::{CAREFUL, WEB, secret};
use crate::site::Answer;
use crate::stack;

#[tokio::test]
async fn paths_and_methods() {
    let site = stack::shared().site();
    #[rustfmt::skip]
    let rows = [
        "/", "/favicon.ico", "//token", "/token/", "/token/x", "/Token", "/token;x=1", "/%74oken", "/token%00", "/./token",
        "/x/../token", "/.well-known", "/.well-known/", "/.well-known/..;/jwks", "/.well-known/openid-configuration/",
        "/.well-known/openid-configuration.css", "/jwks.json", "/jwks/x.css", "/login/x", "/assets/", "/assets/../jwks",
        "/assets/..%2fCargo.toml", "/assets/x.css", "/register", "/par", "/metrics", "/health", "/admin",
    ];
    for path in rows {
        let answer = site.get(path).await;
        assert_eq!(answer.status, 404, "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
    let (get, post, both) = ("GET, HEAD", "POST", "GET, POST");
    #[rustfmt::skip]
    let rows = [
        ("/.well-known/openid-configuration", get), ("/.well-known/webfinger", get), ("/check_session", get), ("/initiate", get), ("/jwks", get), ("/health/live", get), ("/health/ready", get),
        ("/assets/signet.css", get), ("/token", post), ("/introspect", post), ("/revoke", post), ("/authorize", both),
        ("/userinfo", both), ("/logout", both), ("/login", both), ("/consent", both),
    ];
    for (path, allowed) in rows {
        for method in [
            "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "FOO",
        ] {
            let request = site
                .request(Method::from_bytes(method.as_bytes()).unwrap(), path)
                .body(Vec::new());
            let answer = site.send(request.unwrap()).await;
            let is_allowed = allowed.split(", ").any(|each| each == method);
            assert_eq!(answer.status != 405, is_allowed, "{method} {path}");
            assert_eq!(
                answer.header("allow"),
                if is_allowed { "" } else { allowed },
                "{method} {path}"
            );
        }
    }
}

/// BR-12: the issuer comes from the configuration.
#[tokio::test]
async fn no_header_changes_who_we_are() {
    let site = stack::shared().site();
    let token_form = Params::of(&[("grant_type", "client_credentials")]).encode();
    #[rustfmt::skip]
    let rows = [
        ("host", "evil.test"), ("host", "evil.test:80"), ("host", "127.0.0.1@evil.test"), ("x-forwarded-host", "evil.test"),
        ("x-forwarded-proto", "https"), ("x-forwarded-port", "443"), ("x-forwarded-server", "evil.test"),
        ("forwarded", "host=evil.test;proto=https"), ("x-original-host", "evil.test"), ("x-host", "evil.test"),
        ("x-original-url", "/token"), ("x-rewrite-url", "/jwks"), ("x-forwarded-prefix", "/evil.test"),
        ("x-http-method-override", "DELETE"), ("origin", "https://evil.test"), ("referer", "https://evil.test/"),
    ];
    for (name, value) in rows {
        let row = format!("{name}: {value}");
        let get = |path: &str| {
            site.send(
                site.request(Method::GET, path)
                    .header(name, value)
                    .body(Vec::new())
                    .unwrap(),
            )
        };
        let document = get("/.well-known/openid-configuration").await;
        assert_eq!(document.json()["issuer"], site.issuer(), "{row}");
        let answer = get(&format!("/authorize?{}", WEB.request().encode())).await;
        assert!(
            answer
                .header("location")
                .starts_with(&format!("{}/login?", site.issuer())),
            "{row}"
        );
        let refused = get("/authorize").await;
        let request = site.request(Method::POST, "/token").header(name, value);
        let request = request.header("authorization", basic("jwt", &secret("jwt")));
        let token = site.send(crate::site::form_of(request, &token_form)).await;
        let claims = crate::verified::payload(token.json()["access_token"].as_str().unwrap());
        assert_eq!(claims["iss"], site.issuer(), "{row}");
        for answer in [document, answer, refused, token] {
            assert!(!answer.text().contains("evil.test"), "{row}");
            let says = |value: &http::HeaderValue| value.to_str().unwrap().contains("evil.test");
            assert!(!answer.headers.values().any(says), "{row}");
            // The discovery document alone is for every page: see `cors.rs`.
            let shared = answer.headers.get("access-control-allow-origin");
            assert!(shared.is_none_or(|value| value == "*"), "{row}");
        }
    }
}

fn is_page(row: &str, answer: &Answer) {
    assert_eq!(
        answer.header("content-type"),
        "text/html; charset=utf-8",
        "{row}"
    );
    assert_eq!(answer.header("cache-control"), "no-store", "{row}");
    assert_eq!(answer.header("referrer-policy"), "no-referrer", "{row}");
    let policy = answer.header("content-security-policy");
    for part in [
        "default-src 'none'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    ] {
        assert!(policy.contains(part), "{row}: {policy}");
    }
    assert!(!policy.contains("unsafe"), "{row}: {policy}");
    let text = answer.text();
    for never in [
        "<script>",
        " style=",
        "<style",
        " onload=",
        " onclick=",
        "javascript:",
    ] {
        assert!(!text.contains(never), "{row}: {never}");
    }
    assert!(
        text.starts_with("<!DOCTYPE html>\n<html lang=\"en\">"),
        "{row}"
    );
}

#[tokio::test]
async fn what_the_pages_tell_a_browser() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 53);
    is_page("error", &person.open("/authorize").await);
    is_page("login over", &person.open("/login?interaction=x").await);
    is_page(
        "logout error",
        &person.open("/logout?id_token_hint=x").await,
    );
    person.at_login = AtLogin::Stop;
    is_page("login", &person.authorize(&WEB.request()).await.answer);
    person.at_login = AtLogin::SignIn;
    person.at_consent = AtConsent::Stop;
    is_page(
        "consent",
        &person.authorize(&CAREFUL.request()).await.answer,
    );
    let form_post = person
        .authorize(&WEB.request().set("response_mode", "form_post"))
        .await;
    is_page("form_post", &form_post.answer);
    assert!(
        form_post
            .answer
            .header("content-security-policy")
            .contains("script-src 'self'")
    );
    let logout = person.open("/logout").await;
    is_page("logout", &logout);
    let page = Page::parse(&logout.text());
    is_page(
        "logged out",
        &person
            .submit(&page.action, &page.filled(&[], "logout-confirm").encode())
            .await,
    );
    // Whatever the pages load is there, and may be kept.
    for asset in ["signet.css", "signet.svg", "form_post.js"] {
        let answer = site.get(&format!("/assets/{asset}")).await;
        assert_eq!(answer.status, 200, "{asset}");
        assert!(
            answer
                .header("cache-control")
                .starts_with("public, max-age="),
            "{asset}"
        );
    }
}

/// BR-10: a browser with a hundred tabs has two cookies.
#[tokio::test]
async fn many_flows_in_one_browser() {
    let mut person = Person::new(&stack::shared().site(), 54);
    let mut first = None;
    for _ in 0..100 {
        let answer = person
            .open(&format!("/authorize?{}", WEB.request().encode()))
            .await;
        first.get_or_insert(answer.header("location").to_owned());
    }
    assert_eq!(person.cookies.len(), 1);
    let first = first.unwrap();
    let answer = person.open(&first).await;
    assert_eq!(
        person.follow(&first, answer).await.outcome(),
        "query code",
        "the first tab still works"
    );
    // And one that scripts read.
    assert_eq!(person.cookies.len(), 3);
}

/// HT-08, HT-09.
#[tokio::test]
async fn large_and_odd_bodies() {
    let site = stack::shared().site();
    let many = "p=1&".repeat(10_000);
    let scopes = format!(
        "grant_type=client_credentials&scope={}",
        "a+".repeat(30_000)
    );
    let locales = format!(
        "{}&ui_locales={}",
        WEB.request().encode(),
        "de+".repeat(15_000)
    );
    let deep = format!(
        "grant_type=client_credentials&client_assertion_type=x&client_assertion={}",
        "[".repeat(60_000)
    );
    let large = "a=".to_owned() + &"x".repeat(70_000);
    let escapes = format!("grant_type={}", "%".repeat(60_000));
    #[rustfmt::skip]
    let rows = [
        ("many parameters", &many, 400, 400),
        ("many scopes", &scopes, 400, 400),
        ("many locales", &locales, 401, 303),
        ("deep", &deep, 400, 400),
        ("large", &large, 413, 413),
        ("percent signs", &escapes, 401, 400),
    ];
    for (row, body, token, page) in rows {
        let begun = std::time::Instant::now();
        let (web, secret) = ("web", secret("web"));
        let request = site.request(Method::POST, "/token");
        let request = match token {
            401 => request,
            _ => request.header("authorization", basic(web, &secret)),
        };
        assert_eq!(
            site.send(crate::site::form_of(request, body)).await.status,
            token,
            "{row}"
        );
        assert_eq!(site.post("/authorize", body).await.status, page, "{row}");
        assert!(begun.elapsed() < std::time::Duration::from_secs(2), "{row}");
    }
}

/// IN-05, IN-06: what is secret, and what others send, is in no log.
#[tokio::test]
async fn logs_hold_no_secrets_and_nobody_elses_words() {
    let stack = stack::shared();
    let site = stack.site();
    let mut person = Person::new(&site, 55);
    let code = person.code(&WEB, "openid offline_access").await;
    let tokens = WEB.redeem(&site, &code).await.json();
    // Each of these is worth a warning.
    WEB.redeem(&site, &code).await;
    WEB.refresh(&site, tokens["refresh_token"].as_str().unwrap())
        .await;
    let canary = "canary\r\n\u{1b}[31mWARN forged";
    person
        .authorize(&WEB.request().set("client_id", canary))
        .await;
    person
        .authorize(&WEB.request().set("state", canary).set("scope", canary))
        .await;
    WEB.post(
        &site,
        "/token",
        Params::of(&[("grant_type", canary), ("code", canary)]),
    )
    .await;
    site.get("/canary").await;
    let mut secrets = vec![
        code,
        person.session().to_owned(),
        secret("web"),
        "canary".to_owned(),
    ];
    secrets.extend(
        ["access_token", "refresh_token", "id_token"]
            .map(|name| tokens[name].as_str().unwrap().to_owned()),
    );
    for process in ["gateway0", "gateway1", "gateway2", "key-service", "redis"] {
        let log = stack.log(process);
        for secret in &secrets {
            assert!(!log.contains(secret.as_str()), "{process}");
            // The part that opens it.
            let inner = secret.rsplit('.').next().unwrap();
            assert!(!log.contains(inner), "{process}");
        }
        assert!(!log.contains("forged"), "{process}");
    }
    assert!(
        (0..3).any(|number| stack
            .log(&format!("gateway{number}"))
            .contains("was used again")),
        "warnings are written"
    );
}
