//! Tokens from the authorization endpoint (OpenID Connect Core §3.2 and §3.3, OAuth 2.0 Multiple Response Types): every
//! response type, every way that its answer may come, and what is refused. S2-1..3, S2-6..11, S2-U7, S4-3.

use http::Method;
use serde_json::{Value, json};

use crate::client::{Client, Proof};
use crate::params::Params;
use crate::person::{Landing, Person};
use crate::registration::{WEB, secret};
use crate::site::Site;
use crate::stack;
use crate::verified::{at_hash, keys, payload, verify};

const fn client(id: &'static str, redirect_uri: &'static str) -> Client {
    Client {
        id,
        redirect_uri,
        proof: Proof::Basic,
    }
}

/// Every response type. RS256, opaque access tokens.
pub(crate) const EVERY: Client = client("every", "https://every.example/cb");
/// The same with ES256 and JWT access tokens.
pub(crate) const EVERY_JWT: Client = client("every-jwt", "https://every-jwt.example/cb");
/// Its answers come in a form or not at all.
pub(crate) const FORM: Client = client("form", "https://form.example/cb");

const RESPONSE_TYPES: [&str; 8] = [
    "code",
    "id_token",
    "id_token token",
    "code id_token",
    "code token",
    "code id_token token",
    "token",
    "none",
];

/// For `registration::clients`.
pub(crate) fn clients() -> Vec<Value> {
    let metadata = |client: Client, members: Value| {
        let mut metadata = json!({
            "client_id": client.id,
            "client_secret": secret(client.id),
            "redirect_uris": [client.redirect_uri],
            "response_types": RESPONSE_TYPES,
            "grant_types": ["authorization_code", "implicit", "refresh_token", "client_credentials"],
            "consent": "implicit",
        });
        for (name, value) in members.as_object().unwrap() {
            metadata[name] = value.clone();
        }
        metadata
    };
    vec![
        metadata(EVERY, json!({})),
        metadata(
            EVERY_JWT,
            json!({
                "id_token_signed_response_alg": "ES256",
                "access_token_format": "jwt",
                "access_token_signed_response_alg": "ES256",
            }),
        ),
        metadata(
            FORM,
            json!({
                "response_modes": ["form_post"],
                "client_name": "The form",
                "client_name#fr": "Le formulaire",
                "tos_uri": "https://form.example/terms",
                "tos_uri#fr": "https://form.example/conditions",
            }),
        ),
    ]
}

fn asked(client: &Client, response_type: &str) -> Params {
    client.request().set("response_type", response_type)
}

async fn signed_in(number: usize) -> Person {
    let mut person = Person::new(&stack::shared().site(), number);
    person.code(&WEB, "openid").await;
    person
}

async fn userinfo(site: &Site, token: &str) -> u16 {
    let request = site
        .request(Method::GET, "/userinfo")
        .header("authorization", format!("Bearer {token}"));
    site.send(request.body(Vec::new()).unwrap()).await.status
}

/// What must hold of an answer to a response type, in whichever way it came.
async fn check(
    row: &str,
    person: &Person,
    client: &Client,
    response_type: &str,
    landing: &Landing,
) {
    let site = &person.site;
    let has = |word: &str| response_type.split(' ').any(|each| each == word);
    assert_eq!(landing.fields.contains_key("code"), has("code"), "{row}");
    assert_eq!(
        landing.fields.contains_key("id_token"),
        has("id_token"),
        "{row}"
    );
    assert_eq!(
        landing.fields.contains_key("access_token"),
        has("token"),
        "{row}"
    );
    assert_eq!(landing.field("iss"), site.issuer(), "{row}");
    assert_eq!(landing.field("state"), "some state", "{row}");
    let access_token = landing.field("access_token");
    if has("token") {
        // RFC 6749 §4.2.2.
        assert_eq!(landing.field("token_type"), "Bearer", "{row}");
        assert_eq!(landing.field("expires_in"), "3600", "{row}");
        assert_eq!(landing.field("scope"), "openid", "{row}");
        assert_eq!(userinfo(site, access_token).await, 200, "{row}");
        assert!(client.is_active(site, access_token).await, "{row}");
    }
    if has("id_token") {
        let audience = ("JWT", client.id);
        let claims = verify(site, &keys(site).await, landing.field("id_token"), audience);
        assert_eq!(claims["nonce"], "some nonce", "{row}");
        assert_eq!(claims["sub"], person.username.as_str(), "{row}");
        // §3.2.2.10, §3.3.2.11: of what comes beside it, and of nothing else.
        let hash = |present: bool, value: &str| match present {
            true => at_hash(value).into(),
            false => Value::Null,
        };
        assert_eq!(claims["at_hash"], hash(has("token"), access_token), "{row}");
        assert_eq!(
            claims["c_hash"],
            hash(has("code"), landing.field("code")),
            "{row}"
        );
    }
    if has("code") {
        let tokens = client.redeem(site, landing.field("code")).await.json();
        let again = tokens["id_token"]
            .as_str()
            .unwrap_or_else(|| panic!("{row}: {tokens}"));
        let claims = verify(site, &keys(site).await, again, ("JWT", client.id));
        assert_eq!(claims["nonce"], "some nonce", "{row}");
        // §3.3.3.6: the same person as before.
        assert_eq!(claims["sub"], person.username.as_str(), "{row}");
        assert_eq!(
            claims["at_hash"],
            at_hash(tokens["access_token"].as_str().unwrap()),
            "{row}"
        );
        assert_ne!(tokens["access_token"], access_token, "{row}");
        if has("token") {
            assert_eq!(
                userinfo(site, access_token).await,
                200,
                "{row}: after the code"
            );
        }
    }
}

#[tokio::test]
async fn every_response_type_in_every_mode() {
    let mut person = signed_in(40).await;
    #[rustfmt::skip]
    let rows = [
        ("S2-6 code", "code", "code", "query"),
        ("S2-7 id_token", "id_token", "id_token", "fragment"),
        ("S2-8 id_token token", "id_token token", "id_token access_token", "fragment"),
        ("S2-9 code id_token", "code id_token", "code id_token", "fragment"),
        ("S2-10 code token", "code token", "code access_token", "fragment"),
        ("S2-11 code id_token token", "code id_token token", "code id_token access_token", "fragment"),
        ("token", "token", "access_token", "fragment"),
        ("S2-U7 none", "none", "nothing", "query"),
    ];
    for client in [EVERY, EVERY_JWT] {
        for (row, response_type, given, default) in rows {
            for mode in ["", "fragment", "form_post", "query"] {
                let row = format!("{row} of {} by {mode:?}", client.id);
                let request = asked(&client, response_type).set("response_mode", mode);
                let landing = person.authorize(&request).await;
                let place = if mode.is_empty() { default } else { mode };
                // Multiple Response Types §3: tokens never come in the query, nor does that they do not.
                if (mode, default) == ("query", "fragment") {
                    assert_eq!(landing.outcome(), "fragment invalid_request", "{row}");
                    continue;
                }
                assert_eq!(landing.outcome(), format!("{place} {given}"), "{row}");
                check(&row, &person, &client, response_type, &landing).await;
            }
        }
    }
}

#[tokio::test]
async fn words_come_in_any_order() {
    let mut person = signed_in(41).await;
    #[rustfmt::skip]
    let rows = [
        ("token id_token", "fragment id_token access_token"),
        ("id_token code", "fragment code id_token"),
        ("token code", "fragment code access_token"),
        ("token id_token code", "fragment code id_token access_token"),
        ("id_token token code", "fragment code id_token access_token"),
        ("id_token id_token", "query unsupported_response_type"),
        ("none code", "query unsupported_response_type"),
        ("id_token none", "query unsupported_response_type"),
    ];
    for (response_type, outcome) in rows {
        let landing = person.authorize(&asked(&EVERY, response_type)).await;
        assert_eq!(landing.outcome(), outcome, "{response_type}");
    }
}

#[tokio::test]
async fn refusals_beside_what_passes() {
    let mut person = signed_in(42).await;
    let of = |response_type: &str| asked(&EVERY, response_type);
    let no_nonce = |response_type: &str| of(response_type).without("nonce");
    let invalid = "fragment invalid_request";
    #[rustfmt::skip]
    let rows = [
        ("nonce missing, code", no_nonce("code"), "query code"),
        ("nonce missing, code token", no_nonce("code token"), "fragment code access_token"),
        ("nonce missing, token", no_nonce("token"), "fragment access_token"),
        ("nonce missing, id_token", no_nonce("id_token"), invalid),
        ("nonce missing, id_token token", no_nonce("id_token token"), invalid),
        ("nonce missing, code id_token", no_nonce("code id_token"), invalid),
        ("nonce missing, code id_token token", no_nonce("code id_token token"), invalid),
        ("nonce empty", of("id_token").set("nonce", ""), invalid),
        ("S4-5 id_token without openid", of("id_token").set("scope", "email"), "fragment invalid_scope"),
        ("S4-5 hybrid without openid", of("code id_token").set("scope", "email"), "fragment invalid_scope"),
        ("S4-5 token without openid", of("token").set("scope", "email"), "fragment access_token"),
        ("no scope", of("id_token token").without("scope"), "fragment invalid_scope"),
        ("refused in a form", no_nonce("id_token").set("response_mode", "form_post"), "form_post invalid_request"),
        ("PKCE is for codes", of("id_token").without("code_challenge").without("code_challenge_method"), "fragment id_token"),
        ("only by form, not said", FORM.request(), "query unauthorized_client"),
        ("only by form, query", FORM.request().set("response_mode", "query"), "query unauthorized_client"),
        ("only by form, fragment", FORM.request().set("response_mode", "fragment"), "fragment unauthorized_client"),
        ("only by form", FORM.request().set("response_mode", "form_post"), "form_post code"),
    ];
    for (row, request, outcome) in rows {
        let landing = person.authorize(&request).await;
        assert_eq!(landing.outcome(), outcome, "{row}");
    }
    // S4-9, §3.2.2.6: an error comes where the tokens would have.
    let mut stranger = Person::new(&person.site, 42);
    for (response_type, outcome) in [
        ("id_token", "fragment login_required"),
        ("code token", "fragment login_required"),
        ("none", "query login_required"),
    ] {
        let request = of(response_type).set("prompt", "none");
        let landing = stranger.authorize(&request).await;
        assert_eq!(landing.outcome(), outcome, "{response_type}");
    }
}

/// Through the pages, and with what the pages keep.
#[tokio::test]
async fn with_a_sign_in() {
    for (client, number) in [(EVERY, 43), (EVERY_JWT, 44)] {
        let mut person = Person::new(&stack::shared().site(), number);
        let request = asked(&client, "code id_token token").set("prompt", "login consent");
        let landing = person.authorize(&request).await;
        assert_eq!(person.saw, ["Sign in", "Allow access?"]);
        let row = "code id_token token after login and consent";
        check(row, &person, &client, "code id_token token", &landing).await;
    }
}

/// OpenID Connect Core §5.4: what the scopes open is in the ID token where there is no access token to ask for it with,
/// and only there. §11: no refresh token comes from the front channel.
#[tokio::test]
async fn what_the_scopes_open() {
    let mut person = signed_in(45).await;
    for (response_type, told) in [
        ("id_token", true),
        ("id_token token", false),
        ("code id_token", false),
    ] {
        let request = asked(&EVERY, response_type).set("scope", "openid email offline_access");
        let landing = person.authorize(&request).await;
        let claims = payload(landing.field("id_token"));
        assert_eq!(claims.get("email").is_some(), told, "{response_type}");
    }
    let request = asked(&EVERY, "token").set("scope", "openid offline_access");
    let landing = person.authorize(&request).await;
    assert_eq!(landing.field("scope"), "openid", "{landing:?}");
}

/// CO-02: a code that comes again takes the access token beside it along.
#[tokio::test]
async fn reuse_of_the_code_ends_the_token_beside_it() {
    let mut person = signed_in(46).await;
    let site = person.site.clone();
    for client in [EVERY, EVERY_JWT] {
        let landing = person.authorize(&asked(&client, "code token")).await;
        let (code, beside) = (landing.code(), landing.field("access_token"));
        assert_eq!(userinfo(&site, beside).await, 200, "before the code");
        let tokens = client.redeem(&site, &code).await.json();
        let redeemed = tokens["access_token"].as_str().unwrap();
        assert_eq!(userinfo(&site, beside).await, 200, "after the code");
        let answer = client.redeem(&site, &code).await;
        assert_eq!(answer.outcome(), "400 invalid_grant", "{}", client.id);
        assert_eq!(userinfo(&site, redeemed).await, 401, "{}", client.id);
        assert_eq!(userinfo(&site, beside).await, 401, "{}", client.id);
        assert!(!client.is_active(&site, beside).await, "{}", client.id);
    }
}
