//! The userinfo endpoint (OpenID Connect Core §5.3, RFC 6750): claims by scope, and nothing for any other token. IN-04,
//! IN-08, BR-13.

use http::Method;
use serde_json::{Value, json};

use crate::client::basic;
use crate::params::Params;
use crate::person::Person;
use crate::registration::{JWT, MACHINE, WEB, secret};
use crate::site::{Answer, Site, form_of};
use crate::stack;

async fn bearer(site: &Site, method: Method, header: &str) -> Answer {
    let request = site
        .request(method, "/userinfo")
        .header("authorization", header);
    site.send(request.body(Vec::new()).unwrap()).await
}

#[tokio::test]
async fn claims_by_scope() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 38);
    let all: Value = json!({
        "name": "User Number 38", "preferred_username": "user38", "updated_at": 1_700_000_000,
        "email": "user38@example.com", "email_verified": true,
        "address": {"locality": "Springfield", "country": "US"},
        "phone_number": "+15550100", "phone_number_verified": false,
    });
    #[rustfmt::skip]
    let rows = [
        ("openid", &[][..]),
        ("openid email", &["email", "email_verified"]),
        ("openid profile", &["name", "preferred_username", "updated_at"]),
        ("openid phone address", &["phone_number", "phone_number_verified", "address"]),
        ("openid offline_access", &[]),
    ];
    for (scope, names) in rows {
        for client in [WEB, JWT] {
            let tokens = client.tokens(&mut person, scope).await;
            let token = tokens["access_token"].as_str().unwrap();
            let mut expected = json!({"sub": "user38"});
            for name in names {
                expected[name] = all[name].clone();
            }
            let in_body = site
                .post(
                    "/userinfo",
                    &Params::of(&[("access_token", token)]).encode(),
                )
                .await;
            #[rustfmt::skip]
            let rows = [
                ("GET", bearer(&site, Method::GET, &format!("Bearer {token}")).await),
                ("POST", bearer(&site, Method::POST, &format!("Bearer {token}")).await),
                ("lower case (RFC 9110 §11.1)", bearer(&site, Method::GET, &format!("bearer {token}")).await),
                ("in the body", in_body),
            ];
            for (row, answer) in rows {
                assert_eq!(answer.status, 200, "{row} {scope}: {}", answer.text());
                assert_eq!(answer.json(), expected, "{row} {scope}");
                assert_eq!(answer.header("content-type"), "application/json");
            }
        }
    }
}

#[tokio::test]
async fn refused() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 39);
    let tokens = WEB.tokens(&mut person, "openid email offline_access").await;
    let jwts = JWT.tokens(&mut person, "openid").await;
    let text = |tokens: &Value, name: &str| tokens[name].as_str().unwrap().to_owned();
    let (opaque, jwt) = (text(&tokens, "access_token"), text(&jwts, "access_token"));
    let own = MACHINE
        .post(
            &site,
            "/token",
            Params::of(&[("grant_type", "client_credentials")]),
        )
        .await
        .json();
    let own_jwt = JWT
        .post(
            &site,
            "/token",
            Params::of(&[("grant_type", "client_credentials")]),
        )
        .await
        .json();
    let without_openid = text(&JWT.tokens(&mut person, "email").await, "access_token");
    let (head, signature) = jwt.rsplit_once('.').unwrap();
    let payload = head.split_once('.').unwrap().1;
    let bearer_of = |token: &str| format!("Bearer {token}");
    let unknown = "401 invalid_token";
    #[rustfmt::skip]
    let mut rows: Vec<(&str, String, &str)> = vec![
        ("control", bearer_of(&opaque), "200"),
        ("control, JWT", bearer_of(&jwt), "200"),
        ("unknown", bearer_of("abc"), unknown),
        ("a made-up reference", bearer_of(&format!("{}.{}", "A".repeat(22), "A".repeat(43))), unknown),
        ("an ID token", bearer_of(&text(&tokens, "id_token")), unknown),
        ("a refresh token", bearer_of(&text(&tokens, "refresh_token")), unknown),
        ("unsigned", bearer_of(&format!("{head}.")), unknown),
        ("alg none", bearer_of(&format!("eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0.{payload}.")), unknown),
        ("another signature", bearer_of(&format!("{head}.{}", signature.chars().rev().collect::<String>())), unknown),
        ("a segment more", bearer_of(&format!("{jwt}.x")), unknown),
        ("a client's own", bearer_of(&text(&own, "access_token")), "403 insufficient_scope"),
        ("a client's own JWT", bearer_of(&text(&own_jwt, "access_token")), "403 insufficient_scope"),
        ("for others alone", bearer_of(&without_openid), "403 insufficient_scope"),
        ("odd characters", bearer_of("a*b"), "400 invalid_request"),
        ("two", bearer_of(&format!("{opaque} {opaque}")), "400 invalid_request"),
        ("two spaces", bearer_of(&format!(" {opaque}")), "400 invalid_request"),
        ("nothing", "Bearer ".to_owned(), "400 invalid_request"),
        ("padded", bearer_of(&format!("{opaque}=")), unknown),
    ];
    // IN-08.
    for length in [1, 10, opaque.len() - 2, opaque.len() - 1] {
        rows.push(("a beginning", bearer_of(&opaque[..length]), unknown));
        rows.push((
            "an end",
            bearer_of(&opaque[opaque.len() - length..]),
            unknown,
        ));
    }
    for (row, header, outcome) in rows {
        let answer = bearer(&site, Method::GET, &header).await;
        assert_eq!(answer.outcome(), outcome, "{row}");
        let challenge = answer.header("www-authenticate");
        let code = outcome.split_once(' ').map(|(_, code)| code);
        assert_eq!(
            code.is_some_and(|code| challenge.contains(&format!("error=\"{code}\""))),
            answer.status != 200,
            "{row}"
        );
    }

    // RFC 6750 §3: where nothing was presented, nothing is said.
    let token = Params::of(&[("access_token", &opaque)]).encode();
    #[rustfmt::skip]
    let rows = [
        ("nothing", site.get("/userinfo").await),
        ("POST of nothing", site.post("/userinfo", "").await),
        ("in the query", site.get(&format!("/userinfo?{token}")).await),
        ("another scheme", bearer(&site, Method::GET, &basic("web", &secret("web"))).await),
        ("token as scheme", bearer(&site, Method::GET, &opaque).await),
        ("DPoP", bearer(&site, Method::GET, &format!("DPoP {opaque}")).await),
    ];
    for (row, answer) in rows {
        assert_eq!((answer.status, answer.text().as_str()), (401, ""), "{row}");
        assert_eq!(
            answer.header("www-authenticate"),
            "Bearer realm=\"signet\"",
            "{row}"
        );
    }
    // RFC 6750 §2: one way.
    let both = site
        .request(Method::POST, "/userinfo")
        .header("authorization", bearer_of(&opaque));
    assert_eq!(
        site.send(form_of(both, &token)).await.outcome(),
        "400 invalid_request",
        "header and body"
    );
    let answer = site.post("/userinfo", &format!("{token}&{token}")).await;
    assert_eq!(answer.outcome(), "400 invalid_request", "twice in the body");
    for path in [
        "/userinfo/",
        "/userinfo/x.css",
        "/userinfo;x",
        "/userinfo%2fx",
        "/Userinfo",
    ] {
        let request = site
            .request(Method::GET, path)
            .header("authorization", bearer_of(&opaque));
        assert_eq!(
            site.send(request.body(Vec::new()).unwrap()).await.status,
            404,
            "{path}"
        );
    }
}
