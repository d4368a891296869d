//! What an ID token is to each client: whose key signs it, for whom it is encrypted, what it says beside who signed in.
//! S1-1 to S1-3, S1-13, S2-4, S2-12 to S2-14, S2-17, S2-18, S4-1, S4-2.

use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};

use crate::client::Client;
use crate::page::Page;
use crate::params::Params;
use crate::person::Landing;
use crate::registration::secret;
use crate::site::Site;
use crate::tailored::{
    self, ENCRYPTED, ES384, EVERYTHING, HS256, HS512, PLAIN, PLAIN_JWT, WEAK_KEY, person,
};
use crate::verified::{at_hash, header, id_token, keys, payload, verify};

fn names(claims: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = claims
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    names.sort_unstable();
    names
}

fn text<'a>(tokens: &'a Value, name: &str) -> &'a str {
    tokens[name].as_str().unwrap()
}

/// Verified with the client's secret.
fn with_secret(site: &Site, client: &Client, alg: Algorithm, token: &str) -> Value {
    let expected = json!({"alg": format!("{alg:?}"), "typ": "JWT"});
    assert_eq!(header(token), expected, "no kid: {}", client.id);
    let mut rules = Validation::new(alg);
    rules.set_audience(&[client.id]);
    rules.set_issuer(&[site.issuer()]);
    rules.set_required_spec_claims(&["iss", "aud", "sub"]);
    rules.validate_exp = false;
    let key = DecodingKey::from_secret(secret(client.id).as_bytes());
    let decoded = jsonwebtoken::decode::<Value>(token, &key, &rules);
    decoded.unwrap().claims
}

#[tokio::test]
async fn signed_as_registered() {
    let site = tailored::site();
    let mut person = person(&site, "worker");
    for (row, client, alg) in [
        ("S2-12 RS256 by default", PLAIN, "RS256"),
        ("S1-13 ES384", ES384, "ES384"),
    ] {
        let tokens = client.tokens(&mut person, "openid").await;
        assert_eq!(header(text(&tokens, "id_token"))["alg"], alg, "{row}");
        let claims = id_token(&site, client.id, &tokens).await;
        assert_eq!(claims["sub"], "subject-of-worker", "{row}");
        assert_eq!(claims["nonce"], "some nonce", "{row}");
        assert!(claims["at_hash"].is_string(), "{row}");
    }
    for (row, client, alg) in [
        ("S2-12 HS256", HS256, Algorithm::HS256),
        ("S2-12 HS512", HS512, Algorithm::HS512),
    ] {
        let tokens = client.tokens(&mut person, "openid").await;
        let claims = with_secret(&site, &client, alg, text(&tokens, "id_token"));
        assert_eq!(claims["sub"], "subject-of-worker", "{row}");
        if alg == Algorithm::HS256 {
            let hash = at_hash(text(&tokens, "access_token"));
            assert_eq!(claims["at_hash"], hash.as_str(), "{row}");
        }
        // It comes back as a hint.
        let hint = client
            .request()
            .set("prompt", "none")
            .set("id_token_hint", text(&tokens, "id_token"));
        assert_eq!(
            person.authorize(&hint).await.outcome(),
            "query code",
            "{row}"
        );
        let mut other = tailored::person(&site, "sub1");
        other.code(&client, "openid").await;
        let landing = other.authorize(&hint).await;
        assert_eq!(landing.outcome(), "query login_required", "{row}");
        // One that is signed with another client's secret is none of ours.
        let (head, _) = text(&tokens, "id_token").rsplit_once('.').unwrap();
        let forged = hint.set("id_token_hint", &format!("{head}.{}", "A".repeat(43)));
        let landing = person.authorize(&forged).await;
        assert_eq!(landing.outcome(), "query invalid_request", "{row}");
        // The client could have made it for anybody: it does not sign out without a question.
        let query = Params::of(&[("id_token_hint", text(&tokens, "id_token"))]).encode();
        let answer = person.open(&format!("/logout?{query}")).await;
        assert!(
            Page::parse(&answer.text()).has("logout-confirm"),
            "JO-17 {row}"
        );
    }
}

#[tokio::test]
async fn encrypted_as_registered() {
    let site = tailored::site();
    let keys = keys(&site).await;
    let mut person = person(&site, "worker");
    for each in ENCRYPTED.iter() {
        let row = format!("S2-13, S4-2 {} {}", each.alg, each.enc);
        let tokens = each.client.tokens(&mut person, "openid").await;
        let (header, plaintext) = each.recipient.decrypt(text(&tokens, "id_token"));
        assert_eq!(header["alg"], each.alg, "{row}");
        assert_eq!(header["enc"], each.enc, "{row}");
        assert_eq!(header["cty"], "JWT", "{row}");
        let jws = String::from_utf8(plaintext).unwrap();
        let claims = verify(&site, &keys, &jws, ("JWT", each.client.id));
        let hash = at_hash(text(&tokens, "access_token"));
        assert_eq!(claims["at_hash"], hash.as_str(), "{row}");
    }
}

#[tokio::test]
async fn what_it_says() {
    let site = tailored::site();
    let mut person = person(&site, "worker");
    // S1-2, S1-3, S2-17, S4-1; S2-14: at_hash with the code. The configuration adds `tenant`.
    let first = [
        "acr",
        "amr",
        "at_hash",
        "aud",
        "auth_time",
        "azp",
        "exp",
        "iat",
        "iss",
        "nonce",
        "sub",
        "tenant",
    ];
    let renewed = [
        "acr",
        "amr",
        "aud",
        "auth_time",
        "azp",
        "exp",
        "iat",
        "iss",
        "sub",
        "tenant",
    ];
    let every = "openid profile email address phone offline_access";
    for client in [PLAIN, PLAIN_JWT] {
        let tokens = client.tokens(&mut person, every).await;
        let claims = id_token(&site, client.id, &tokens).await;
        assert_eq!(names(&claims), first, "no claims of scopes: {}", client.id);
        assert_eq!(claims["azp"], client.id);
        assert_eq!(
            claims["at_hash"],
            at_hash(text(&tokens, "access_token")).as_str()
        );
        let again = client.refresh(&site, text(&tokens, "refresh_token")).await;
        let later = id_token(&site, client.id, &again.json()).await;
        assert_eq!(names(&later), renewed, "S2-4, S2-14 {}", client.id);
        for same in ["iss", "sub", "aud", "auth_time", "acr", "amr", "azp"] {
            assert_eq!(later[same], claims[same], "S2-4 {same}");
        }
    }
}

/// A key that cannot be used is the client's to mend: it is said, nothing is burned, and it is no outage of ours.
#[tokio::test]
async fn a_key_that_cannot_be_encrypted_to() {
    let site = tailored::site();
    let mut person = person(&site, "worker");
    let code = person.code(&WEAK_KEY, "openid").await;
    for when in ["S2-13 at first", "S2-13 again: the code is not burned"] {
        let answer = WEAK_KEY.redeem(&site, &code).await;
        assert_eq!(answer.outcome(), "400 invalid_request", "{when}");
    }
    let code = person.code(&WEAK_KEY, "email").await;
    let answer = WEAK_KEY.redeem(&site, &code).await;
    assert_eq!(answer.outcome(), "200", "without an ID token");
}

fn request(response_type: &str) -> Params {
    EVERYTHING
        .request()
        .set("response_type", response_type)
        .set("scope", "openid email offline_access")
}

fn id_token_of(landing: &Landing) -> &str {
    landing.field("id_token")
}

#[tokio::test]
async fn from_the_front_channel() {
    let site = tailored::site();
    let keys = keys(&site).await;
    let mut person = person(&site, "worker");
    #[rustfmt::skip]
    let rows = [
        ("S2-7", "id_token", false, false, true),
        ("S2-8", "id_token token", true, false, false),
        ("S2-9", "code id_token", false, true, false),
        ("S2-11", "code id_token token", true, true, false),
    ];
    for (row, response_type, has_token, has_code, has_email) in rows {
        let landing = person.authorize(&request(response_type)).await;
        let claims = verify(&site, &keys, id_token_of(&landing), ("JWT", EVERYTHING.id));
        assert_eq!(claims["nonce"], "some nonce", "{row}");
        let expected = |there: bool, name: &str| match there {
            true => Value::from(at_hash(landing.field(name))),
            false => Value::Null,
        };
        assert_eq!(
            claims["at_hash"],
            expected(has_token, "access_token"),
            "S2-14 {row}"
        );
        assert_eq!(claims["c_hash"], expected(has_code, "code"), "S2-14 {row}");
        assert_eq!(
            claims.get("email").is_some(),
            has_email,
            "OpenID Connect Core §5.4: {row}"
        );
        assert!(
            claims["sid"].is_string(),
            "told of the session's end: {row}"
        );
        if has_token {
            let userinfo = userinfo(&site, landing.field("access_token")).await;
            assert_eq!(userinfo["email"], "wanda@example.com", "{row}");
        }
        if has_code {
            let tokens = EVERYTHING.redeem(&site, landing.field("code")).await.json();
            let second = id_token(&site, EVERYTHING.id, &tokens).await;
            for same in ["iss", "sub", "nonce", "sid"] {
                assert_eq!(second[same], claims[same], "{row} {same}");
            }
            assert!(second.get("c_hash").is_none(), "{row}");
            let again = EVERYTHING
                .refresh(&site, text(&tokens, "refresh_token"))
                .await;
            assert!(
                again.json().get("id_token").is_none(),
                "S2-4, hybrid: {row}"
            );
        }
    }
    let tokens = EVERYTHING
        .tokens(&mut person, "openid offline_access")
        .await;
    let again = EVERYTHING
        .refresh(&site, text(&tokens, "refresh_token"))
        .await;
    assert!(again.json()["id_token"].is_string(), "S2-4, code");
}

async fn userinfo(site: &Site, token: &str) -> Value {
    let request = site
        .request(http::Method::GET, "/userinfo")
        .header("authorization", format!("Bearer {token}"));
    let answer = site.send(request.body(Vec::new()).unwrap()).await;
    match answer.status {
        200 => answer.json(),
        status => json!({ "status": status }),
    }
}

/// RFC 9700 §4.2: what came beside a code that is used twice is taken back too.
#[tokio::test]
async fn a_code_used_twice_takes_the_front_channel_along() {
    let site = tailored::site();
    let mut person = person(&site, "worker");
    let landing = person.authorize(&request("code id_token token")).await;
    let beside = landing.field("access_token").to_owned();
    let code = landing.field("code");
    let tokens = EVERYTHING.redeem(&site, code).await.json();
    for (when, token) in [
        ("beside", beside.as_str()),
        ("redeemed", text(&tokens, "access_token")),
    ] {
        assert_eq!(
            userinfo(&site, token).await["sub"],
            "subject-of-worker",
            "{when}"
        );
    }
    let again = EVERYTHING.redeem(&site, code).await;
    assert_eq!(again.outcome(), "400 invalid_grant");
    for (when, token) in [
        ("beside", beside.as_str()),
        ("redeemed", text(&tokens, "access_token")),
    ] {
        assert_eq!(userinfo(&site, token).await["status"], 401, "{when}");
    }
}

/// S2-18: claims that are asked for by name.
#[tokio::test]
async fn by_the_claims_parameter() {
    let site = tailored::site();
    let mut person = person(&site, "worker");
    let asked = json!({"id_token": {
        "email": null, "name": {"essential": true}, "family_name#ja-Kana-JP": null,
        "nickname": {"essential": true}, "unit": null, "department": null,
        "updated_at": {"value": 1}, "locale": {"values": ["de", "fr"]}, "exp": {"value": 1}, "iss": {"value": "x"},
    }});
    let request = PLAIN.request().set("claims", &asked.to_string());
    let code = person.authorize(&request).await.code();
    let tokens = PLAIN.redeem(&site, &code).await.json();
    let claims = id_token(&site, PLAIN.id, &tokens).await;
    #[rustfmt::skip]
    let rows = [
        ("asked for", "email", json!("wanda@example.com")),
        ("essential", "name", json!("Wanda Worker")),
        ("in a language", "family_name#ja-Kana-JP", json!("kana")),
        ("S2-18 missing though essential", "nickname", Value::Null),
        ("another value than asked for", "updated_at", Value::Null),
        ("S2-18 technical", "iss", json!(site.issuer())),
        ("of a scope that it is not registered for", "unit", Value::Null),
        ("S0-4 custom, of a scope that it could ask for", "department", json!("R&D")),
    ];
    for (row, name, value) in rows {
        assert_eq!(claims[name], value, "{row}");
    }
    assert!(claims["exp"].as_i64().unwrap() > 1);
    let plain = userinfo(&site, text(&tokens, "access_token")).await;
    assert!(plain.get("email").is_none(), "asked for there: {plain}");
    assert!(payload(text(&tokens, "id_token")).get("sid").is_none());
}
