//! Outgoing calls (SR-01 to SR-09), seen from where they go: a relying party's server counts who comes. And the keys of
//! clients that are fetched: when, and how often (S2-U4, SR-08).

use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use crate::assertion::{Key, TYPE, claims};
use crate::certification::server::Server;
use crate::params::Params;
use crate::registering::{
    REFETCH_AFTER, Registered, metadata, open, outside, register, register_with,
};
use crate::site::Site;
use crate::stack::{self, Options, Stack};

const REFUSED: &str = "401 invalid_client";

/// Who registers with keys at this URL, and signs with them.
async fn signing(site: &Site, jwks_uri: &str) -> Registered {
    let members = json!({"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": jwks_uri});
    Registered::with(site, &members).await
}

async fn present(site: &Site, client: &Registered, key: &Key) -> String {
    let header = key.header();
    present_as(site, client, key, &header).await
}

async fn present_as(site: &Site, client: &Registered, key: &Key, header: &Value) -> String {
    let assertion = key.sign(header, &claims(client.id(), site.issuer()));
    let form = Params::of(&[
        ("token", "x"),
        ("client_assertion_type", TYPE),
        ("client_assertion", &assertion),
    ]);
    site.post("/introspect", &form.encode()).await.outcome()
}

fn set(keys: &[&Key]) -> String {
    let keys: Vec<Value> = keys.iter().map(|key| key.jwk()).collect();
    json!({"keys": keys}).to_string()
}

/// S2-U4: fetched when they are needed, kept, and fetched again for a key that is not among them.
#[tokio::test]
async fn keys_by_reference() {
    // One gateway: each has a cache of its own.
    let site = open().site().at(0);
    let server = Server::start().await;
    let (old, new) = (Key::new("old", "ES256"), Key::new("new", "RS256"));
    let uri = server.put("/jwks", "application/jwk-set+json", &set(&[&old]));
    let client = signing(&site, &uri).await;
    assert_eq!(server.visits("/jwks"), 0, "not at registration");
    assert_eq!(present(&site, &client, &old).await, "200");
    assert_eq!(present(&site, &client, &old).await, "200");
    assert_eq!(server.visits("/jwks"), 1, "kept");
    // The client rotates, and uses the new key at once.
    server.put("/jwks", "application/json", &set(&[&new]));
    assert_eq!(present(&site, &client, &new).await, "200");
    assert_eq!(server.visits("/jwks"), 2, "again for an unknown kid");
    assert_eq!(present(&site, &client, &old).await, REFUSED);
    // SR-08: however many unknown kids come, once in the interval.
    for number in 0..50 {
        let header = json!({"alg": "RS256", "kid": format!("unknown-{number}")});
        let outcome = present_as(&site, &client, &new, &header).await;
        assert_eq!(outcome, REFUSED);
    }
    assert!(server.visits("/jwks") <= 3, "{}", server.visits("/jwks"));
    assert_eq!(present(&site, &client, &new).await, "200");
    // JO-04: nobody goes where a header says.
    let stranger = Key::new("stranger", "RS256");
    let header = json!({
        "alg": "RS256", "kid": "new", "jku": server.put("/jku", "application/json", &set(&[&stranger])),
    });
    let outcome = present_as(&site, &client, &stranger, &header).await;
    assert_eq!(outcome, REFUSED);
    assert_eq!(server.visits("/jku"), 0);
    // A server that is away does no harm to keys that are known.
    let visits = server.visits("/jwks");
    sleep(Duration::from_secs(REFETCH_AFTER)).await;
    server.put("/jwks", "application/json", "no JSON at all");
    assert_eq!(present(&site, &client, &old).await, REFUSED);
    assert_eq!(server.visits("/jwks"), visits + 1);
    assert_eq!(
        present(&site, &client, &new).await,
        "200",
        "stale is served"
    );
}

/// Many at once want keys that nobody has yet: one goes.
#[tokio::test]
async fn one_fetch_at_a_time() {
    let site = open().site().at(1);
    let server = Server::start().await;
    let key = Key::new("one", "ES256");
    let uri = server.put("/jwks", "application/json", &set(&[&key]));
    let client = signing(&site, &uri).await;
    let all = (0..16).map(|_| present(&site, &client, &key));
    for outcome in futures_util::future::join_all(all).await {
        assert_eq!(outcome, "200");
    }
    assert_eq!(server.visits("/jwks"), 1);
}

/// What comes back instead of keys.
#[tokio::test]
async fn answers_that_are_no_keys() {
    let site = open().site().at(0);
    let server = Server::start().await;
    let key = Key::new("key", "ES256");
    let good = set(&[&key]);
    let large = json!({"keys": [key.jwk()], "x": "x".repeat(300 * 1024)}).to_string();
    let private = json!({"keys": [key.jwk(), {"kty": "oct", "k": "x"}]}).to_string();
    let many = json!({"keys": vec![key.jwk(); 33]}).to_string();
    let odd = json!({"keys": [{"kty": "AKP", "pub": "x"}, key.jwk()]}).to_string();
    #[rustfmt::skip]
    let rows = [
        ("control", "/good", Some(good.as_str()), 200, "200"),
        ("with a type that nobody knows", "/odd", Some(odd.as_str()), 200, "200"),
        ("not found", "/nothing", None, 404, REFUSED),
        ("SR-04 redirect", "/moved", None, 302, REFUSED),
        ("no content", "/empty", None, 204, REFUSED),
        ("error", "/error", None, 500, REFUSED),
        ("too large", "/large", Some(large.as_str()), 200, REFUSED),
        ("no JSON", "/text", Some("<html>"), 200, REFUSED),
        ("a list", "/list", Some("[]"), 200, REFUSED),
        ("no keys", "/none", Some("{\"keys\": []}"), 200, REFUSED),
        ("a secret among them", "/private", Some(private.as_str()), 200, REFUSED),
        ("33 keys", "/many", Some(many.as_str()), 200, REFUSED),
    ];
    for (row, path, body, status, outcome) in rows {
        let uri = match body {
            Some(body) => server.put(path, "application/json", body),
            None => server.answer(path, status),
        };
        let client = signing(&site, &uri).await;
        assert_eq!(present(&site, &client, &key).await, outcome, "{row}");
        assert_eq!(server.visits(path), 1, "{row}");
        // SR-08: a failure is not tried again at once either.
        if outcome == REFUSED {
            present(&site, &client, &key).await;
            assert_eq!(server.visits(path), 1, "{row}");
        }
    }
    // Nobody listens there; the answer does not take longer than a call may.
    let client = signing(&site, "https://localhost:1/jwks").await;
    let begun = Instant::now();
    assert_eq!(present(&site, &client, &key).await, REFUSED);
    assert!(begun.elapsed() < Duration::from_secs(4));
}

/// A gateway that may call no inner address, and one that may and does not know the relying parties' CA.
fn guarded() -> &'static [Stack; 2] {
    static GUARDED: OnceLock<[Stack; 2]> = OnceLock::new();
    GUARDED.get_or_init(|| {
        let tables = [
            outside(&[]),
            "[fetch]\nallow_networks = [\"127.0.0.0/8\", \"::1/128\"]\n".to_owned(),
        ];
        tables.map(|fetch| {
            let tables =
                format!("[registration]\nmode = \"open\"\nper_address = 0\nin_all = 0\n{fetch}");
            stack::start(&Options {
                tables: tables.leak(),
                ..Options::default()
            })
        })
    })
}

/// SR-01, SR-05, SR-09: nobody comes, in whatever notation.
#[tokio::test]
async fn where_nobody_goes() {
    let server = Server::start().await;
    let key = Key::new("key", "ES256");
    let uri = server.put("/jwks", "application/json", &set(&[&key]));
    let at = |host: &str| uri.replace("localhost", host);
    #[rustfmt::skip]
    let rows = [
        ("SR-01 name", uri.clone()),
        ("SR-01 address", at("127.0.0.1")),
        ("SR-01 number", at("2130706433")),
        ("SR-01 hexadecimal", at("0x7f000001")),
        ("SR-01 octal", at("0177.0.0.1")),
        ("SR-01 short", at("127.1")),
        ("SR-01 zero", at("0")),
        ("SR-01 mapped", at("[::ffff:127.0.0.1]")),
        ("SR-01 IPv6", at("[::1]")),
        ("SR-01 NAT64", at("[64:ff9b::7f00:1]")),
        ("SR-01 metadata", "https://169.254.169.254/latest".to_owned()),
        ("SR-01 private", "https://10.0.0.1/jwks".to_owned()),
        ("SR-01 unknown name", "https://signet.invalid/jwks".to_owned()),
    ];
    let site = guarded()[0].site();
    for (row, uri) in rows {
        let client = signing(&site, &uri).await;
        assert_eq!(present(&site, &client, &key).await, REFUSED, "{row}");
    }
    assert_eq!(server.visits("/jwks"), 0);
    // SR-09: the certificate is of a CA that is not known.
    let site = guarded()[1].site();
    let client = signing(&site, &uri).await;
    assert_eq!(present(&site, &client, &key).await, REFUSED, "SR-09");
    assert_eq!(server.visits("/jwks"), 0);
    // SR-09: of a known one, but for another name; and the control.
    let site = open().site().at(0);
    for (row, host, outcome) in [
        ("control", "localhost", "200"),
        ("control by address", "127.0.0.1", "200"),
        ("SR-09 another name", "127.0.0.2", REFUSED),
    ] {
        let client = signing(&site, &at(host)).await;
        assert_eq!(present(&site, &client, &key).await, outcome, "{row}");
    }
    // SR-06: what people see is never fetched.
    let members = json!({
        "logo_uri": server.url("/logo"), "policy_uri": server.url("/logo"), "tos_uri": server.url("/logo"),
        "client_uri": server.url("/logo"), "request_uris": [server.url("/logo")],
    });
    Registered::with(&site, &members).await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(server.visits("/logo"), 0);
    assert_eq!(
        register(
            &site,
            &metadata(&json!({"jwks_uri": uri.replace("https", "http")}))
        )
        .await
        .status,
        400
    );
    assert_eq!(
        register_with(&site, Some("x"), &metadata(&json!({})))
            .await
            .status,
        201,
        "open"
    );
}
