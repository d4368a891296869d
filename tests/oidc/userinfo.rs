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
use crate::tailored::{self, ENCRYPTED, ENCRYPTED_ALONE, ES384, HS256, PLAIN, person};
use crate::verified::{keys, verify_with};

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

/// S2-22: as the client is registered.
#[tokio::test]
async fn protected_as_registered() {
    let site = tailored::site();
    let keys = keys(&site).await;
    let mut person = person(&site, "worker");
    let get = async |token: &str| {
        let answer = bearer(&site, Method::GET, &format!("Bearer {token}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), "application/jwt");
        answer.text()
    };
    let check = |row: &str, claims: &Value, client_id: &str| {
        assert_eq!(claims["iss"], site.issuer(), "{row}");
        assert_eq!(claims["aud"], client_id, "{row}");
        assert_eq!(claims["sub"], "subject-of-worker", "{row}");
        assert_eq!(claims["email"], "wanda@example.com", "{row}");
        assert_eq!(claims["email_verified"], true, "{row}");
        assert!(claims.get("exp").is_none(), "{row}");
    };
    let tokens = ES384.tokens(&mut person, "openid email").await;
    let jws = get(tokens["access_token"].as_str().unwrap()).await;
    let claims = verify_with(
        &site,
        &keys,
        &jws,
        ("JWT", ES384.id),
        &["iss", "aud", "sub"],
    );
    check("S2-22, S4-13 signed", &claims, ES384.id);

    let tokens = HS256.tokens(&mut person, "openid email").await;
    let jws = get(tokens["access_token"].as_str().unwrap()).await;
    let mut rules = jsonwebtoken::Validation::new(jsonwebtoken::Algorithm::HS256);
    rules.set_audience(&[HS256.id]);
    rules.set_required_spec_claims(&["iss", "aud"]);
    let key = jsonwebtoken::DecodingKey::from_secret(secret(HS256.id).as_bytes());
    let claims = jsonwebtoken::decode::<Value>(&jws, &key, &rules).unwrap();
    check("S2-22 signed with the secret", &claims.claims, HS256.id);

    for each in ENCRYPTED.iter() {
        let row = format!("S2-22 signed and encrypted, {} {}", each.alg, each.enc);
        let tokens = each.client.tokens(&mut person, "openid email").await;
        let jwe = get(tokens["access_token"].as_str().unwrap()).await;
        let (header, plaintext) = each.recipient.decrypt(&jwe);
        assert_eq!(
            [&header["alg"], &header["enc"], &header["cty"]],
            [each.alg, each.enc, "JWT"],
            "{row}"
        );
        let jws = String::from_utf8(plaintext).unwrap();
        let id = each.client.id;
        let claims = verify_with(&site, &keys, &jws, ("JWT", id), &["iss", "aud", "sub"]);
        check(&row, &claims, id);
        // It has no exp, and is no hint.
        let hint = each
            .client
            .request()
            .set("prompt", "none")
            .set("id_token_hint", &jws);
        let landing = person.authorize(&hint).await;
        assert_eq!(landing.outcome(), "query invalid_request", "{row}");
    }

    let (client, recipient) = &*ENCRYPTED_ALONE;
    let tokens = client.tokens(&mut person, "openid email").await;
    let jwe = get(tokens["access_token"].as_str().unwrap()).await;
    let (header, plaintext) = recipient.decrypt(&jwe);
    let claims: Value = serde_json::from_slice(&plaintext).unwrap();
    assert_eq!(header["enc"], "A128CBC-HS256", "S2-22 the default");
    assert!(header.get("cty").is_none(), "S2-22 encrypted alone");
    assert_eq!(
        claims["email"], "wanda@example.com",
        "S2-22 encrypted alone"
    );
}

/// What the person is told in which language, and by name.
#[tokio::test]
async fn by_name_and_in_languages() {
    let site = tailored::site();
    let mut person = person(&site, "worker");
    let (kana, hani) = ("family_name#ja-Kana-JP", "family_name#ja-Hani-JP");
    let asked = |members: Value| json!({ "userinfo": members }).to_string();
    #[rustfmt::skip]
    let rows = [
        ("control", "openid profile", "", String::new(), vec!["family_name", "name", "updated_at"]),
        ("claims_locales", "openid profile", "ja-Kana-JP en", String::new(), vec!["family_name", kana, "name", "updated_at"]),
        ("claims_locales, a wide one", "openid profile", "de JA", String::new(), vec!["family_name", hani, kana, "name", "updated_at"]),
        ("claims_locales, one that is not there", "openid profile", "fr", String::new(), vec!["family_name", "name", "updated_at"]),
        ("S2-18 by name", "openid", "", asked(json!({"name": {"essential": true}, "nickname": null})), vec!["name"]),
        ("S2-18 by name and language", "openid", "", asked(json!({"family_name#JA-Kana-JP": null})), vec!["family_name#JA-Kana-JP"]),
        ("S2-18 with a value", "openid", "", asked(json!({"name": {"value": "Wanda Worker"}, "email": {"values": ["x"]}})), vec!["name"]),
        ("S2-18 sub is there anyhow", "openid", "", asked(json!({"sub": null, "iss": null, "auth_time": null})), vec![]),
    ];
    for (row, scope, locales, claims, expected) in rows {
        let mut request = PLAIN.request().set("scope", scope);
        for (name, value) in [("claims_locales", locales), ("claims", &*claims)] {
            if !value.is_empty() {
                request = request.set(name, value);
            }
        }
        let code = person.authorize(&request).await.code();
        let tokens = PLAIN.redeem(&site, &code).await.json();
        let token = tokens["access_token"].as_str().unwrap();
        let told = bearer(&site, Method::GET, &format!("Bearer {token}"))
            .await
            .json();
        let mut names: Vec<&str> = told
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .filter(|name| !["sub", "tenant"].contains(name))
            .collect();
        names.sort_unstable();
        assert_eq!(names, expected, "{row}");
    }
}

/// S2-24: the grant was for OpenID Connect; the token need not be.
#[tokio::test]
async fn narrowed_tokens() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 36);
    for client in [WEB, JWT] {
        let tokens = client
            .tokens(&mut person, "openid email profile offline_access")
            .await;
        let form = Params::of(&[
            ("grant_type", "refresh_token"),
            ("refresh_token", tokens["refresh_token"].as_str().unwrap()),
            ("scope", "email"),
        ]);
        let narrowed = client.post(&site, "/token", form).await.json();
        let token = narrowed["access_token"].as_str().unwrap();
        let answer = bearer(&site, Method::GET, &format!("Bearer {token}")).await;
        let expected = json!({
            "sub": "user36", "email": "user36@example.com", "email_verified": true,
        });
        assert_eq!(answer.json(), expected, "S2-24 {}", client.id);
    }
}

/// S2-21 and S2-25: where the configuration says so.
#[tokio::test]
async fn by_configuration() {
    let site = tailored::site();
    let mut person = person(&site, "worker");
    let tokens = PLAIN.tokens(&mut person, "openid").await;
    let token = tokens["access_token"].as_str().unwrap();
    let query = format!("/userinfo?access_token={token}");
    let form = format!("access_token={token}");
    let header = format!("Bearer {token}");
    let both = form_of(
        site.request(Method::POST, &query)
            .header("authorization", &header),
        "",
    );
    #[rustfmt::skip]
    let rows = [
        ("S2-21 GET, header", bearer(&site, Method::GET, &header).await, 200, ""),
        ("S2-21 POST, body", site.post("/userinfo", &form).await, 200, ""),
        ("S2-21 GET, query", site.get(&query).await, 200, ""),
        ("S2-21 POST, query", site.post(&query, "").await, 200, ""),
        ("S2-21 query and body", site.post(&query, &form).await, 400, "invalid_request"),
        ("S2-21 query and header", site.send(both).await, 400, "invalid_request"),
        ("S2-21 twice in the query", site.get(&format!("{query}&{form}")).await, 400, "invalid_request"),
        ("S2-25 unknown", site.get("/userinfo?access_token=x").await, 401, "invalid_token"),
        ("S2-25 nothing", site.get("/userinfo").await, 401, ""),
    ];
    for (row, answer, status, code) in rows {
        assert_eq!(answer.status, status, "{row}: {}", answer.text());
        let challenge = match code {
            "" => "Bearer realm=\"people\"".to_owned(),
            code => format!("Bearer realm=\"people\", error=\"{code}\""),
        };
        if status != 200 {
            assert_eq!(answer.header("www-authenticate"), challenge, "S2-25 {row}");
        }
        if !code.is_empty() {
            assert_eq!(answer.json(), json!({ "error": code }), "S2-25 {row}");
        }
    }
}
