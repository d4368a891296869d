//! Redirect URIs are compared as octets (RFC 6749 §3.1.2.3, RFC 9700 §2.1), but for the port on a native client's
//! loopback address (RFC 8252 §7.3). AZ-01, AZ-02, AZ-04, AZ-05, AZ-08, AZ-09.

use crate::client::Client;
use crate::person::{Person, Place};
use crate::registration::{NATIVE, POST, WEB};
use crate::stack;

/// Of `https://rp.example/cb`.
#[rustfmt::skip]
const MUTANTS: [&str; 46] = [
    "https://rp.example/cb/", "https://rp.example/cb/x", "https://rp.example/cb?x", "https://rp.example/cb?",
    "https://rp.example/cb#f", "https://rp.example/cb#", "https://rp.example/cB", "https://rp.example/c",
    "https://rp.example/", "https://rp.example", "https://rp.example//cb", "https://rp.example/./cb",
    "https://rp.example/x/../cb", "https://rp.example/cb/..", "https://rp.example/cb/..;/x",
    "https://rp.example/%63b", "https://rp.example/cb%20", "https://rp.example/cb ", " https://rp.example/cb",
    "https://rp.example/cb\t", "https://rp.example/cb\r\n", "https://rp.example/cb\0", "https://rp.example/cb%00",
    "https://rp.example/%2e%2e/cb", "https://rp.example\\cb", "https://rp.example/cb\\..\\x",
    "https://RP.example/cb", "HTTPS://rp.example/cb", "http://rp.example/cb", "https://rp.example:443/cb",
    "https://rp.example:444/cb", "https://rp.example./cb", "https://rp.example.evil.test/cb",
    "https://evil.test/rp.example/cb", "https://evil.test/https://rp.example/cb", "https://x.rp.example/cb",
    "https://rp.example@evil.test/cb", "https://evil.test#@rp.example/cb", "https://evil.test\\@rp.example/cb",
    "https://user@rp.example/cb", "//rp.example/cb", "/cb", "rp.example/cb", "https:rp.example/cb",
    "https://rp.example/cb,https://evil.test", "https://rp.example/cb https://evil.test",
];

/// Those that a browser would run.
#[rustfmt::skip]
const SCRIPTS: [&str; 8] = [
    "javascript:alert(1)", "JaVaScRiPt:alert(1)", "\tjavascript:alert(1)", "\rjavascript:alert(1)",
    "\0javascript:alert(1)", "java\nscript:alert(1)", "data:text/html,<script>", "vbscript:x",
];

async fn refused(person: &mut Person, client: &Client, uri: &str) {
    // In each mode, and where no page would be shown.
    #[rustfmt::skip]
    let rows = [
        ("response_mode", "query"), ("response_mode", "fragment"), ("response_mode", "form_post"),
        ("response_mode", "form_post.jwt"), ("prompt", "none"), ("response_type", "token"), ("scope", "zzz"),
    ];
    for (name, value) in rows {
        let request = client.request().set("redirect_uri", uri).set(name, value);
        let landing = person.authorize(&request).await;
        assert_eq!(landing.outcome(), "page 400", "{uri:?} {name}={value}");
        assert_eq!(landing.answer.header("location"), "", "{uri:?}");
        // Nor as a link.
        assert!(!landing.answer.text().contains("evil.test"), "{uri:?}");
    }
}

#[tokio::test]
async fn octet_by_octet() {
    let mut person = Person::new(&stack::shared().site(), 7);
    for uri in [WEB.redirect_uri, "https://rp.example/other"] {
        let landing = person
            .authorize(&WEB.request().set("redirect_uri", uri))
            .await;
        assert_eq!((landing.place, landing.uri.as_str()), (Place::Query, uri));
    }
    let landing = person.authorize(&POST.request()).await;
    assert_eq!(landing.field("x"), "a b", "its own query is kept");
    assert_eq!(landing.outcome(), "query code");
    for uri in MUTANTS.iter().chain(&SCRIPTS) {
        refused(&mut person, &WEB, uri).await;
    }
    for uri in [
        "https://rp.example/cb",
        "https://rp.example/cb?x=a+b",
        "https://rp.example/cb?x=a%20b&y",
        POST.id,
    ] {
        refused(&mut person, &POST, uri).await;
    }
}

#[tokio::test]
async fn loopback() {
    let mut person = Person::new(&stack::shared().site(), 8);
    #[rustfmt::skip]
    let rows = [
        "http://127.0.0.1/cb", "http://127.0.0.1:5123/cb", "http://127.0.0.1:1/cb", "http://[::1]/cb",
        "http://[::1]:65535/cb", "com.example.app:/cb",
    ];
    for uri in rows {
        let landing = person
            .authorize(&NATIVE.request().set("redirect_uri", uri))
            .await;
        assert_eq!(
            (landing.place, landing.uri.as_str()),
            (Place::Query, uri),
            "{uri}"
        );
        let answer = NATIVE.post(
            &person.site,
            "/token",
            NATIVE.redemption(&landing.code()).set("redirect_uri", uri),
        );
        assert_eq!(answer.await.status, 200, "{uri}");
    }
    #[rustfmt::skip]
    let rows = [
        "http://localhost/cb", "http://localhost:5123/cb", "http://localhost.evil.test/cb", "http://127.0.0.1/cb/",
        "http://127.0.0.1.evil.test/cb", "http://127.0.0.1.evil.test:5123/cb", "http://127.0.0.1@evil.test/cb",
        "http://127.0.0.1:5123@evil.test/cb", "http://127.0.0.2/cb", "http://127.1/cb", "http://0x7f000001/cb",
        "http://2130706433/cb", "http://127.0.0.1:/cb", "http://127.0.0.1:x/cb", "http://127.0.0.1:65536/cb",
        "http://127.0.0.1:-1/cb", "https://127.0.0.1/cb", "http://[::1]:1/other", "http://[::]/cb",
        "http://[::ffff:127.0.0.1]/cb", "com.example.app:/cb2", "com.example.app://cb", "com.example.evil:/cb",
    ];
    for uri in rows {
        refused(&mut person, &NATIVE, uri).await;
    }
    refused(&mut person, &WEB, "http://127.0.0.1/cb").await;
}
