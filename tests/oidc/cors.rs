//! S2-25: which pages may read our answers (Fetch §3.2). What is public is for every page, what answers clients is for
//! theirs, and what people look at is for none. Cookies never count.

use http::Method;

use crate::client::VERIFIER;
use crate::params::Params;
use crate::person::Person;
use crate::registration::PUBLIC;
use crate::site::{Answer, Site, form_of};
use crate::stack;

/// The origin of a redirect URI of the client `public`.
const MINE: &str = "https://spa.example";
const EVIL: &str = "https://evil.test";

/// Whom an answer allows, and that nothing else is said.
fn allowed(row: &str, answer: &Answer) -> String {
    let never = "access-control-allow-credentials";
    assert_eq!(answer.header(never), "", "{row}");
    answer.header("access-control-allow-origin").to_owned()
}

async fn send(site: &Site, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    let method = Method::from_bytes(method.as_bytes()).unwrap();
    let mut request = site.request(method, path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    site.send(request.body(Vec::new()).unwrap()).await
}

#[tokio::test]
async fn who_may_read_what() {
    let site = stack::shared().site();
    let webfinger = "/.well-known/webfinger?resource=acct:a@example.com";
    #[rustfmt::skip]
    let rows = [
        ("S2-25 discovery", "GET", "/.well-known/openid-configuration", MINE, 200, "*"),
        ("S2-25 discovery, any page", "GET", "/.well-known/openid-configuration", EVIL, 200, "*"),
        ("S2-25 discovery, RFC 8414", "GET", "/.well-known/oauth-authorization-server", EVIL, 200, "*"),
        ("S2-25 JWK Set", "GET", "/jwks", EVIL, 200, "*"),
        ("S2-25 JWK Set, HEAD", "HEAD", "/jwks", EVIL, 200, "*"),
        ("S2-25 WebFinger", "GET", webfinger, EVIL, 200, "*"),
        ("S2-25 WebFinger, refused", "GET", "/.well-known/webfinger", EVIL, 400, "*"),
        ("S2-25 userinfo, refused", "GET", "/userinfo", MINE, 401, MINE),
        ("S2-25 userinfo by POST, refused", "POST", "/userinfo", MINE, 401, MINE),
        ("S2-25 userinfo, another page", "GET", "/userinfo", EVIL, 401, ""),
        ("S2-25 userinfo, no page", "GET", "/userinfo", "", 401, ""),
        ("S2-25 userinfo, an opaque origin", "GET", "/userinfo", "null", 401, ""),
        ("S2-25 token, refused", "POST", "/token", MINE, 401, MINE),
        ("S2-25 token, another page", "POST", "/token", EVIL, 401, ""),
        ("S2-25 token, longer", "POST", "/token", "https://spa.example.evil.test", 401, ""),
        ("S2-25 token, another scheme", "POST", "/token", "http://spa.example", 401, ""),
        ("S2-25 token, another port", "POST", "/token", "https://spa.example:8443", 401, ""),
        ("S2-25 token, of a native client", "POST", "/token", "http://127.0.0.1", 401, ""),
        ("S2-25 revocation, refused", "POST", "/revoke", MINE, 401, MINE),
        ("S2-25 revocation, another page", "POST", "/revoke", EVIL, 401, ""),
        ("introspection: for no page", "POST", "/introspect", MINE, 401, ""),
        ("authorization: for no page", "GET", "/authorize", MINE, 400, ""),
        ("login: for no page", "GET", "/login", MINE, 400, ""),
        ("consent: for no page", "GET", "/consent", MINE, 400, ""),
        ("logout: for no page", "GET", "/logout", MINE, 200, ""),
        ("initiate: for no page", "GET", "/initiate", MINE, 200, ""),
        ("check_session: in frames, not for scripts", "GET", "/check_session", MINE, 200, ""),
        ("assets: for no page", "GET", "/assets/signet.css", MINE, 200, ""),
        ("nothing there", "GET", "/nothing", MINE, 404, ""),
        ("not this method", "GET", "/token", MINE, 405, ""),
    ];
    for (row, method, path, origin, status, expected) in rows {
        let origins = [("origin", origin)];
        let headers = if origin.is_empty() {
            &[][..]
        } else {
            &origins[..]
        };
        let answer = send(&site, method, path, headers).await;
        assert_eq!(answer.status, status, "{row}: {}", answer.text());
        assert_eq!(allowed(row, &answer), expected, "{row}");
        // A cache keeps what depends on the origin apart, whoever asked first.
        let depends = row.starts_with("S2-25");
        let vary = if depends { "Origin" } else { "" };
        assert_eq!(answer.header("vary"), vary, "{row}");
        assert_eq!(answer.header("access-control-allow-methods"), "", "{row}");
        let exposed = if expected == MINE {
            "WWW-Authenticate"
        } else {
            ""
        };
        assert_eq!(
            answer.header("access-control-expose-headers"),
            exposed,
            "{row}"
        );
    }
}

/// What a browser asks before a request that a form could not make.
#[tokio::test]
async fn preflights() {
    let site = stack::shared().site();
    let (get, post, both) = ("GET, HEAD", "POST", "GET, POST");
    #[rustfmt::skip]
    let rows = [
        ("S2-25 userinfo", "/userinfo", MINE, 204, MINE, both),
        ("S2-25 token", "/token", MINE, 204, MINE, post),
        ("S2-25 revocation", "/revoke", MINE, 204, MINE, post),
        ("S2-25 discovery", "/.well-known/openid-configuration", EVIL, 204, "*", get),
        ("S2-25 JWK Set", "/jwks", EVIL, 204, "*", get),
        ("S2-25 WebFinger", "/.well-known/webfinger", EVIL, 204, "*", get),
        ("S2-25 userinfo, another page", "/userinfo", EVIL, 204, "", ""),
        ("S2-25 token, another page", "/token", EVIL, 204, "", ""),
        ("introspection", "/introspect", MINE, 405, "", ""),
        ("authorization", "/authorize", MINE, 405, "", ""),
        ("login", "/login", MINE, 405, "", ""),
        ("logout", "/logout", MINE, 405, "", ""),
        ("nothing there", "/nothing", MINE, 404, "", ""),
    ];
    for (row, path, origin, status, expected, methods) in rows {
        let asked = [
            ("origin", origin),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "authorization"),
        ];
        let answer = send(&site, "OPTIONS", path, &asked).await;
        assert_eq!(answer.status, status, "{row}");
        assert_eq!(allowed(row, &answer), expected, "{row}");
        let said = |name: &str| answer.header(&format!("access-control-{name}")).to_owned();
        assert_eq!(said("allow-methods"), methods, "{row}");
        let (headers, age) = match methods {
            "" => ("", ""),
            _ => ("Authorization, Content-Type", "3600"),
        };
        assert_eq!(said("allow-headers"), headers, "{row}");
        assert_eq!(said("max-age"), age, "{row}");
        assert_eq!(said("expose-headers"), "", "{row}");
        assert!(answer.body.is_empty() || status != 204, "{row}");
        assert_eq!(answer.header("vary") == "Origin", status == 204, "{row}");
    }
    for (row, headers) in [
        ("no page asks", &[("access-control-request-method", "POST")]),
        ("nothing is asked", &[("origin", MINE)]),
    ] {
        let answer = send(&site, "OPTIONS", "/token", headers).await;
        assert_eq!(
            (answer.status, answer.header("allow")),
            (405, "POST"),
            "{row}"
        );
    }
}

/// A page with a public client, whole: code, tokens, userinfo, revocation.
#[tokio::test]
async fn a_page_of_a_client() {
    let site = stack::shared().site();
    let code = Person::new(&site, 56).code(&PUBLIC, "openid email").await;
    let form = PUBLIC.redemption(&code).and("client_id", PUBLIC.id);
    assert_eq!(form.first("code_verifier"), Some(VERIFIER));
    let with_origin = |path: &str| site.request(Method::POST, path).header("origin", MINE);
    let answer = site
        .send(form_of(with_origin("/token"), &form.encode()))
        .await;
    assert_eq!(
        (answer.status, allowed("token", &answer).as_str()),
        (200, MINE)
    );
    let tokens = answer.json();
    let token = tokens["access_token"].as_str().unwrap();
    let bearer = format!("Bearer {token}");
    let headers = [("origin", MINE), ("authorization", bearer.as_str())];
    let answer = send(&site, "GET", "/userinfo", &headers).await;
    assert_eq!(
        (answer.status, allowed("userinfo", &answer).as_str()),
        (200, MINE)
    );
    assert_eq!(answer.json()["email"], "user56@example.com");
    let form = Params::of(&[("client_id", PUBLIC.id), ("token", token)]);
    let answer = site
        .send(form_of(with_origin("/revoke"), &form.encode()))
        .await;
    assert_eq!(
        (answer.status, allowed("revocation", &answer).as_str()),
        (200, MINE)
    );
}

/// The configuration's own list.
#[tokio::test]
async fn a_list_of_origins() {
    let all = stack::start(&stack::Options {
        tables: "[cors]\nallowed_origins = \"*\"\n",
        ..stack::Options::default()
    });
    let list = stack::start(&stack::Options {
        tables: "[cors]\nallowed_origins = [\"https://other.example\"]\n\
                 allowed_origins_from_client_redirect_uris = false\n",
        ..stack::Options::default()
    });
    #[rustfmt::skip]
    let rows = [
        ("all", &all, EVIL, "*"), ("all, a client's", &all, MINE, "*"),
        ("listed", &list, "https://other.example", "https://other.example"), ("a client's, not listed", &list, MINE, ""),
    ];
    for (row, stack, origin, expected) in rows {
        let answer = send(&stack.site(), "POST", "/token", &[("origin", origin)]).await;
        assert_eq!(allowed(row, &answer), expected, "{row}");
        let answer = send(&stack.site(), "GET", "/authorize", &[("origin", origin)]).await;
        assert_eq!(allowed(row, &answer), "", "{row}");
    }
}
