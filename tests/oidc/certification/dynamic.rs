//! The profile Dynamic beyond keys and request objects, and Third-Party-Initiated Login: what is registered is kept, is
//! shown, works, and can be managed (OpenID Connect Registration, RFC 7592).

use std::time::Duration;

use http::Method;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::relying_party::{
    Auth, REDIRECT_URI, RelyingParty, SIGNS, document, merge, metadata, register,
};
use super::{alice, provider, row};
use crate::person::{AtLogin, Person};

/// S4-21: shown on the login page, never fetched.
#[tokio::test]
async fn shown_to_people() {
    for (module, member, tag) in [
        ("oidcc-registration-logo-uri", "logo_uri", "src"),
        ("oidcc-registration-policy-uri", "policy_uri", "href"),
        ("oidcc-registration-tos-uri", "tos_uri", "href"),
    ] {
        row("Dynamic", "code", module);
        let rp = RelyingParty::with(
            Auth::PrivateKeyJwt,
            "code",
            |server, _| json!({member: server.url(&format!("/{member}"))}),
        );
        let rp = rp.await;
        let mut person = Person {
            at_login: AtLogin::Stop,
            ..alice()
        };
        let landing = rp.authorize(&mut person, &rp.request()).await;
        assert_eq!(landing.outcome(), "page Sign in");
        let page = landing.answer.text();
        let uri = rp.client[member].as_str().unwrap();
        assert!(page.contains(&format!("{tag}=\"{uri}\"")), "{page}");
        assert_eq!(rp.server.visits(&format!("/{member}")), 0);
    }
    row("Dynamic", "code", "client_name#fr and ui_locales S2-U11");
    let rp = RelyingParty::with(
        Auth::Basic,
        "code",
        |_, _| json!({"client_name#fr": "Le vérificateur"}),
    );
    let rp = rp.await;
    for (locales, name) in [("fr", "Le vérificateur"), ("en", "Certification")] {
        let mut person = Person {
            at_login: AtLogin::Stop,
            ..alice()
        };
        let request = rp.request().set("ui_locales", locales);
        let page = rp.authorize(&mut person, &request).await.answer.text();
        assert!(page.contains(name), "{locales}: {page}");
        assert!(
            page.contains(&format!("<html lang=\"{locales}\"")),
            "{page}"
        );
    }
}

/// S2-28, S4-16, Core §8.1: hosts of one sector share a subject; other sectors have another.
#[tokio::test]
async fn sectors() {
    row(
        "Dynamic",
        "code",
        "oidcc-registration-sector-uri S2-28 S4-16",
    );
    let sector = || {
        RelyingParty::with(Auth::PrivateKeyJwt, "code", |server, _| {
            let uris = json!([REDIRECT_URI, "https://other.test/callback"]);
            let place = server.put("/sector", "application/json", &uris.to_string());
            json!({"subject_type": "pairwise", "redirect_uris": uris, "sector_identifier_uri": place})
        })
    };
    let (one, same) = (sector().await, sector().await);
    assert_eq!(one.server.visits("/sector"), 1, "fetched at registration");
    let other = RelyingParty::with(
        Auth::Basic,
        "code",
        |_, _| json!({"subject_type": "pairwise", "redirect_uris": ["https://elsewhere.test/cb"]}),
    );
    let (other, public) = (other.await, RelyingParty::new(Auth::Basic, "code").await);
    let sub = async |rp: &RelyingParty| {
        let login = rp.login(&mut alice(), &rp.request()).await;
        login.claims()["sub"].as_str().unwrap().to_owned()
    };
    let (first, second) = (sub(&one).await, sub(&same).await);
    assert_eq!(first, second, "one sector");
    let subjects = [first, sub(&other).await, sub(&public).await];
    for (number, subject) in subjects.iter().enumerate() {
        assert!(!subjects[..number].contains(subject), "{subjects:?}");
    }
    assert_eq!(subjects[0], sub(&one).await, "always the same");

    row("Dynamic", "code", "oidcc-registration-sector-bad S2-28");
    let key = &*SIGNS;
    let bad = one.server.put(
        "/bad",
        "application/json",
        r#"["https://other.test/callback"]"#,
    );
    let missing = one.server.url("/nothing");
    let two = json!([REDIRECT_URI, "https://other.test/callback"]);
    #[rustfmt::skip]
    let rows = [
        ("another's", json!({"sector_identifier_uri": bad, "subject_type": "pairwise"})),
        ("another's, without pairwise", json!({"sector_identifier_uri": bad})),
        ("missing", json!({"sector_identifier_uri": missing, "subject_type": "pairwise"})),
        ("two hosts and no sector", json!({"redirect_uris": two, "subject_type": "pairwise"})),
    ];
    for (name, members) in rows {
        row("Dynamic", "code", name);
        let mut wanted = metadata(Auth::Basic, "code", key, None);
        merge(&mut wanted, &members);
        let answer = register(&one.site, &one.document, &wanted).await;
        let expected = "400 invalid_client_metadata";
        assert_eq!(answer.outcome(), expected, "{wanted}: {}", answer.text());
    }
}

/// oidcc-server-rotate-keys: a new key is published within seconds, and the old one stays.
#[tokio::test]
async fn rotation() {
    row("Dynamic", "code", "oidcc-server-rotate-keys");
    let site = provider().site();
    let signers = async || {
        let jwks = site.get("/jwks").await.json();
        let keys = jwks["keys"].as_array().unwrap().iter();
        keys.filter(|key| key["alg"] == "ES384")
            .map(|key| key["kid"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let before = signers().await;
    assert!(!before.is_empty());
    let mut rotate = provider().admin();
    rotate.args(["rotate", "id-token/ES384"]);
    let rotated = tokio::task::spawn_blocking(move || rotate.output().unwrap());
    let rotated = rotated.await.unwrap();
    assert!(
        rotated.status.success(),
        "{}",
        String::from_utf8_lossy(&rotated.stderr)
    );
    let until = Instant::now() + Duration::from_secs(10);
    loop {
        let after = signers().await;
        assert!(
            before.iter().all(|kid| after.contains(kid)),
            "{before:?} {after:?}"
        );
        if after.len() > before.len() {
            return;
        }
        assert!(Instant::now() < until, "no new key");
        sleep(Duration::from_millis(100)).await;
    }
}

/// S2-U8, S2-U5, S4-11, S2-U15: oidcc-3rd_party-init-login, and RFC 7592.
#[tokio::test]
async fn management() {
    row(
        "Third-Party-Initiated Login",
        "code",
        "oidcc-3rd_party-init-login S2-U5 S4-11 S2-U10",
    );
    let uri = "https://rp.test/initiate";
    let rp = RelyingParty::with(
        Auth::Basic,
        "code",
        |_, _| json!({"initiate_login_uri": uri}),
    );
    let rp = rp.await;
    let answer = rp.manage(Method::GET, None).await;
    assert_eq!(
        (answer.status, answer.header("content-type")),
        (200, "application/json")
    );
    let read = answer.json();
    assert_eq!(read["initiate_login_uri"], uri);

    row("Dynamic", "code", "RFC 7592 S2-U8 S2-U15");
    assert_eq!(read["client_id"], rp.id());
    assert!(rp.client["client_id_issued_at"].is_u64());
    assert!(rp.client["client_secret_expires_at"].is_u64());
    let mut wanted = metadata(Auth::Basic, "code", rp.key, None);
    merge(
        &mut wanted,
        &json!({"client_id": rp.id(), "client_name": "Renamed"}),
    );
    let answer = rp.manage(Method::PUT, Some(&wanted)).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let updated = answer.json();
    assert_eq!(updated["client_name"], "Renamed");
    assert_eq!(
        updated.get("initiate_login_uri"),
        None,
        "a whole replacement"
    );
    rp.login(&mut alice(), &rp.request()).await;
    assert_eq!(rp.manage(Method::DELETE, None).await.status, 204);
    assert_eq!(rp.manage(Method::GET, None).await.status, 401);
    let landing = rp.authorize(&mut alice(), &rp.request()).await;
    assert_eq!(landing.outcome(), "page 400");
}

/// S0-7, Discovery §2: the issuer of an account, the same for accounts that do not exist.
#[tokio::test]
async fn webfinger() {
    let site = provider().site();
    let rel = "http%3A%2F%2Fopenid.net%2Fspecs%2Fconnect%2F1.0%2Fissuer";
    let ask = async |resource: &str| {
        let place = format!("/.well-known/webfinger?resource={resource}&rel={rel}");
        site.get(&place).await
    };
    for account in ["acct%3Aalice%40op.test", "acct%3Anobody%40op.test"] {
        row("Dynamic", "", &format!("OP-Discovery-WebFinger {account}"));
        let answer = ask(account).await;
        assert_eq!(
            (answer.status, answer.header("content-type")),
            (200, "application/jrd+json")
        );
        let links = answer.json()["links"].clone();
        assert_eq!(links[0]["href"], site.issuer());
    }
    assert_eq!(ask("acct%3Aalice%40elsewhere.test").await.status, 404);
    let document: Value = document(&site).await;
    assert_eq!(document["issuer"], site.issuer());
}
