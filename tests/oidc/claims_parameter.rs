//! The `claims` parameter (OpenID Connect Core §5.5): claims one by one, in the ID token and at userinfo; who is meant;
//! and what the person is asked. S2-18, S4-7, AZ-18.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};

use crate::hybrid::EVERY;
use crate::params::Params;
use crate::person::{AtConsent, Person};
use crate::registration::{CAREFUL, WEB};
use crate::stack;
use crate::verified::id_token;

async fn signed_in(number: usize) -> Person {
    let mut person = Person::new(&stack::shared().site(), number);
    person.code(&WEB, "openid").await;
    person
}

fn asking(claims: &Value) -> Params {
    WEB.request().set("claims", &claims.to_string())
}

/// What is said beyond an ID token and a userinfo response for which nothing was asked.
async fn told(person: &mut Person, request: &Params) -> (Value, Value) {
    let site = person.site.clone();
    let code = person.authorize(request).await.code();
    let tokens = WEB.redeem(&site, &code).await.json();
    let header = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
    let userinfo = site
        .request(Method::GET, "/userinfo")
        .header("authorization", header);
    let userinfo = site.send(userinfo.body(Vec::new()).unwrap()).await.json();
    (id_token(&site, WEB.id, &tokens).await, userinfo)
}

fn names(claims: &Value) -> BTreeSet<&str> {
    claims
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

/// S2-18.
#[tokio::test]
async fn where_each_claim_is_told() {
    let mut person = signed_in(63).await;
    let (bare_token, bare_userinfo) = told(&mut person, &WEB.request()).await;
    #[rustfmt::skip]
    let rows: Vec<(&str, Value, &[&str], &[&str])> = vec![
        ("nothing", json!({}), &[], &[]),
        ("to the ID token", json!({"id_token": {"email": null}}), &["email"], &[]),
        ("to userinfo", json!({"userinfo": {"email": null}}), &[], &["email"]),
        ("to both", json!({"id_token": {"name": {"essential": true}}, "userinfo": {"name": null}}), &["name"], &["name"]),
        ("essential and not known", json!({"userinfo": {"nickname": {"essential": true}}}), &[], &[]),
        ("unknown", json!({"id_token": {"x": null}, "userinfo": {"https://x.example/y": null}}), &[], &[]),
        ("technical ones stay where they are", json!({"userinfo": {"nonce": null, "auth_time": null, "acr": null, "amr": null, "azp": null, "iat": null, "exp": null}}), &[], &[]),
        ("AZ-18 none is made up", json!({"id_token": {"iss": {"value": "evil"}, "aud": {"value": "evil"}, "roles": {"value": ["admin"]}}}), &[], &[]),
        ("elsewhere", json!({"elsewhere": {"email": null}}), &[], &[]),
        ("an object", json!({"userinfo": {"address": null}}), &[], &["address"]),
    ];
    for (row, claims, in_token, at_userinfo) in rows {
        let (token, userinfo) = told(&mut person, &asking(&claims)).await;
        let more: Vec<&str> = names(&token)
            .difference(&names(&bare_token))
            .copied()
            .collect();
        assert_eq!(more, in_token, "{row}: ID token");
        let more: Vec<&str> = names(&userinfo)
            .difference(&names(&bare_userinfo))
            .copied()
            .collect();
        assert_eq!(more, at_userinfo, "{row}: userinfo");
        assert_eq!(token["iss"], bare_token["iss"], "{row}");
        assert_eq!(token["aud"], bare_token["aud"], "{row}");
    }
}

#[tokio::test]
async fn refusals_beside_what_passes() {
    let mut person = signed_in(39).await;
    let with = |claims: &str| WEB.request().set("claims", claims);
    let (code, invalid) = ("query code", "query invalid_request");
    let many = |count: usize| {
        let claims: Vec<String> = (0..count).map(|n| format!("\"c{n}\":null")).collect();
        with(&format!("{{\"userinfo\":{{{}}}}}", claims.join(",")))
    };
    #[rustfmt::skip]
    let rows = vec![
        ("an object", with("{}"), code),
        ("empty", with(""), code),
        ("64 claims", many(64), code),
        ("HT-08 65 claims", many(65), invalid),
        ("HT-08 deep", with(&format!("{{\"id_token\":{{\"a\":{{\"value\":{}", "[".repeat(1000))), invalid),
        ("HT-08 a claim twice", with("{\"id_token\":{\"a\":null,\"a\":null}}"), invalid),
        ("text", with("email"), invalid),
        ("a list", with("[\"email\"]"), invalid),
        ("not closed", with("{\"userinfo\":"), invalid),
        ("a claim is a string", with("{\"userinfo\":{\"email\":\"x\"}}"), invalid),
        ("essential is a string", with("{\"userinfo\":{\"email\":{\"essential\":\"yes\"}}}"), invalid),
        ("long", with(&format!("{{{}}}", " ".repeat(4096))), invalid),
        ("OAuth alone has no claims", with("email").set("scope", "email"), code),
    ];
    for (row, request, outcome) in rows {
        let landing = person.authorize(&request).await;
        assert_eq!(landing.outcome(), outcome, "{row}");
    }
}

/// §5.5.1: "sub" with a value says who is meant.
#[tokio::test]
async fn who_is_meant() {
    let mut person = signed_in(38).await;
    let sub = |value: Value| asking(&json!({"id_token": {"sub": value}}));
    let none = |value: Value| sub(value).set("prompt", "none");
    #[rustfmt::skip]
    let rows = [
        ("whoever it is", none(json!(null)), "query code"),
        ("me", none(json!({"value": "user38"})), "query code"),
        ("me among others", none(json!({"values": ["user1", "user38"]})), "query code"),
        ("somebody else", none(json!({"value": "user37"})), "query login_required"),
        ("somebody else, of several", none(json!({"values": ["user1", "user37"]})), "query login_required"),
        ("somebody else, and I sign in again", sub(json!({"value": "user37"})), "query login_required"),
    ];
    for (row, request, outcome) in rows {
        let landing = person.authorize(&request).await;
        assert_eq!(landing.outcome(), outcome, "{row}");
    }
    assert_eq!(person.saw, ["Sign in"]);
    person.username = "user37".to_owned();
    let landing = person.authorize(&sub(json!({"value": "user37"}))).await;
    assert_eq!(
        landing.outcome(),
        "query code",
        "and now it is who was meant"
    );
}

/// §3.1.2.4: the person sees what is asked for beside the scopes, and is asked again when it is more.
#[tokio::test]
async fn asked_of_the_person() {
    let mut person = signed_in(35).await;
    let asking = |claims: Value| CAREFUL.request().set("claims", &claims.to_string());
    let page = |text: &str, claim: &str| text.contains(&format!("<code>{claim}</code>"));
    person.at_consent = AtConsent::Stop;
    let request = asking(
        json!({"userinfo": {"email": null, "nickname": null, "sub": null, "x\"><b>": null}}),
    );
    let landing = person.authorize(&request).await;
    let text = landing.answer.text();
    assert!(page(&text, "email"), "{text}");
    // What nobody would be told is not asked for.
    assert!(
        !page(&text, "nickname") && !page(&text, "sub") && !text.contains("<b>"),
        "{text}"
    );
    let landing = person
        .authorize(&request.clone().set("scope", "openid email"))
        .await;
    assert_eq!(
        landing.answer.text().matches("<code>email</code>").count(),
        1,
        "by its scope"
    );

    #[rustfmt::skip]
    let rows: [(&str, Params, &[&str], &str); 5] = [
        ("allowed", asking(json!({"userinfo": {"email": null}})), &["Allow access?"], "query code"),
        ("remembered", asking(json!({"userinfo": {"email": null}})), &[], "query code"),
        ("less", CAREFUL.request(), &[], "query code"),
        ("at another place", asking(json!({"id_token": {"email": null}})), &[], "query code"),
        ("more", asking(json!({"userinfo": {"email": null, "name": null}})), &["Allow access?"], "query code"),
    ];
    person.at_consent = AtConsent::Allow;
    for (row, request, saw, outcome) in rows {
        let landing = person.authorize(&request).await;
        assert_eq!(landing.outcome(), outcome, "{row}");
        assert_eq!(person.saw, saw, "{row}");
    }
    let none = asking(json!({"userinfo": {"phone_number": null}})).set("prompt", "none");
    assert_eq!(
        person.authorize(&none).await.outcome(),
        "query consent_required"
    );
}

/// §3.2, §3.3: in an ID token from the front channel too.
#[tokio::test]
async fn in_the_front_channel() {
    let mut person = signed_in(34).await;
    let claims = json!({"id_token": {"email": null}}).to_string();
    for response_type in ["id_token", "id_token token", "code id_token"] {
        let request = EVERY
            .request()
            .set("response_type", response_type)
            .set("claims", &claims);
        let landing = person.authorize(&request).await;
        let token = crate::verified::payload(landing.field("id_token"));
        assert_eq!(token["email"], "user34@example.com", "{response_type}");
    }
}
