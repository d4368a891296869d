//! Switches for clients that were written for other providers: labelled scopes whose claims have the scope's name, commas
//! between scopes, redirect_uri left out at the token endpoint. S1-1, S1-4 to S1-11, S1-14, S4-10.

use serde_json::{Value, json};

use crate::client::Client;
use crate::params::Params;
use crate::person::{AtConsent, Person};
use crate::registration::{JWT, WEB};
use crate::stack::{self, Options};
use crate::tailored::{self, LABELS, OMITS, OMITS_ONE_OF_TWO, PLAIN, person};
use crate::verified::{id_token, payload};

/// Beside what every ID token has, and what the configuration adds.
fn about(claims: &Value) -> Value {
    let mut claims = claims.as_object().unwrap().clone();
    for name in [
        "iss",
        "sub",
        "aud",
        "exp",
        "iat",
        "auth_time",
        "nonce",
        "acr",
        "amr",
        "azp",
        "at_hash",
        "tenant",
    ] {
        claims.remove(name);
    }
    claims.into()
}

async fn claims(person: &mut Person, scope: &str) -> [Value; 2] {
    let tokens = LABELS.tokens(person, scope).await;
    let request = person.site.request(http::Method::GET, "/userinfo").header(
        "authorization",
        format!("Bearer {}", tokens["access_token"].as_str().unwrap()),
    );
    let answer = person.site.send(request.body(Vec::new()).unwrap()).await;
    [
        about(&id_token(&person.site, LABELS.id, &tokens).await),
        about(&answer.json()),
    ]
}

#[tokio::test]
async fn claims_by_the_names_of_scopes() {
    let site = tailored::site();
    let mut person = person(&site, "labelled");
    #[rustfmt::skip]
    let rows = [
        ("S1-1 nothing more", "openid", json!({})),
        ("S1-4", "openid,user:name", json!({"user:name": "Lara Labelled"})),
        ("S1-5, S1-9 main by default", "openid,user:email", json!({"user:email": "lara@example.com"})),
        ("S1-5 with a label of her own", "openid,user:email:work", json!({"user:email:work": "lara@work.example"})),
        ("S1-6", "openid,user:validated:email:billing", json!({"user:validated:email:billing": "lara@example.com"})),
        ("S1-7", "openid,user:phone:mobile", json!({"user:phone:mobile": "+41310000000"})),
        ("S1-8 not validated", "openid,user:validated:phone", json!({})),
        ("S1-11 spaces too", "openid user:name,user:phone", json!({"user:name": "Lara Labelled", "user:phone": "+41310000000"})),
        ("S1-14 no standard claims", "openid,email,user:email", json!({"user:email": "lara@example.com"})),
    ];
    for (row, scope, expected) in rows {
        for told in claims(&mut person, scope).await {
            assert_eq!(told, expected, "{row}");
        }
    }
    let tokens = LABELS
        .tokens(&mut person, "openid,user:name,user:avatar,user:email:a:b")
        .await;
    assert_eq!(
        tokens["scope"], "openid user:name",
        "S1-11 unknown ones are left out"
    );
    let other = PLAIN.tokens(&mut person, "openid user:name").await;
    assert_eq!(other["scope"], "openid", "S1-14 a switch of the client's");
    let commas = PLAIN.request().set("scope", "openid,profile");
    let landing = person.authorize(&commas).await;
    assert_eq!(
        landing.outcome(),
        "query invalid_scope",
        "S1-11 a switch of the client's"
    );
}

/// S1-10: what stands behind a label is the person's to say, and stays with the person.
#[tokio::test]
async fn the_person_maps_labels() {
    let site = tailored::site();
    let mut asked = person(&site, "labelled");
    asked.at_consent = AtConsent::Stop;
    let scope = "openid,user:email:billing,user:validated:email";
    let request = LABELS.request().set("scope", scope);
    let landing = asked.authorize(&request).await;
    let page = landing.answer.text();
    assert_eq!(landing.outcome(), "page Allow access?", "S1-10");
    for label in ["main", "home", "work"] {
        assert!(
            page.contains(&format!("value=\"{label}\"")),
            "S1-10 {label}: {page}"
        );
    }
    let form = crate::page::Page::parse(&page).filled(&[], "consent-allow");
    let chosen = ["user:email:billing", "user:validated:email"]
        .iter()
        .fold(form, |form, scope| {
            let name = format!("label:{scope}");
            form.set(
                &name,
                if scope.contains("billing") {
                    "home"
                } else {
                    "work"
                },
            )
        });
    let action = crate::page::Page::parse(&page).action;
    let answer = asked.submit(&action, &chosen.encode()).await;
    let landing = asked.follow(&action, answer).await;
    let tokens = LABELS.redeem(&site, &landing.code()).await.json();
    let claims = about(&id_token(&site, LABELS.id, &tokens).await);
    let expected = json!({
        "user:email:billing": "lara@home.example",
        "user:validated:email": "lara@work.example",
    });
    assert_eq!(claims, expected, "S1-10");
    let said = tokens.to_string();
    assert!(
        !said.contains("home\"") && !said.contains("work\""),
        "S1-10 {said}"
    );
}

/// S4-10, RFC 6749 §4.1.3.
#[tokio::test]
async fn redirect_uri_left_out() {
    let site = tailored::site();
    let mut person = person(&site, "worker");
    #[rustfmt::skip]
    let rows: [(&str, Client, &str, &str); 6] = [
        ("S4-10 control", OMITS, "sent", "200"),
        ("S4-10", OMITS, "left out", "200"),
        ("S4-10 another", OMITS, "another", "400 invalid_grant"),
        ("S4-10 two are registered", OMITS_ONE_OF_TWO, "left out", "400 invalid_request"),
        ("S4-10 two are registered, control", OMITS_ONE_OF_TWO, "sent", "200"),
        ("S4-10 without the switch", PLAIN, "left out", "400 invalid_request"),
    ];
    for (row, client, what, outcome) in rows {
        let code = person.code(&client, "openid").await;
        let form: Params = client.redemption(&code);
        let form = match what {
            "sent" => form,
            "left out" => form.without("redirect_uri"),
            _ => form.set("redirect_uri", "https://rp.example/another"),
        };
        let answer = client.post(&site, "/token", form).await;
        assert_eq!(answer.outcome(), outcome, "{row}");
    }
}

/// S1-12: `iss` as the clients know it. Discovery and what is no token keep the issuer's URL. Here ID tokens have the
/// claims of their scopes, too.
#[tokio::test]
async fn an_issuer_that_is_no_url() {
    let stack = stack::start(&Options {
        tables: "[tokens]\nissuer = \"itsyouonline\"\n[id_token]\nscope_claims = true\n",
        ..Options::default()
    });
    let site = stack.site();
    let mut person = Person::new(&site, 1);
    let metadata = site.get("/.well-known/openid-configuration").await.json();
    assert_eq!(metadata["issuer"], site.issuer(), "S1-12");
    for client in [WEB, JWT] {
        let request = client.request().set("scope", "openid email");
        let landing = person.authorize(&request).await;
        assert_eq!(landing.field("iss"), site.issuer(), "S1-12 RFC 9207");
        let tokens = client.redeem(&site, &landing.code()).await.json();
        let hint = tokens["id_token"].as_str().unwrap();
        let token = tokens["access_token"].as_str().unwrap();
        assert_eq!(payload(hint)["iss"], "itsyouonline", "S1-12");
        assert_eq!(payload(hint)["email"], "user1@example.com");
        assert!(payload(hint).get("name").is_none());
        if client.id == JWT.id {
            assert_eq!(payload(token)["iss"], "itsyouonline", "S1-12");
        }
        let said = client.introspect(&site, token).await;
        assert_eq!(said["iss"], "itsyouonline", "S1-12");
        let userinfo = site
            .post("/userinfo", &format!("access_token={token}"))
            .await;
        assert_eq!(userinfo.outcome(), "200", "S1-12");
        let again = client
            .request()
            .set("prompt", "none")
            .set("id_token_hint", hint);
        assert_eq!(
            person.authorize(&again).await.outcome(),
            "query code",
            "S1-12"
        );
    }
}
