//! Sign-ins that must succeed, in all flows of OpenID Connect Core §3 and with `form_post`: the modules that the
//! profiles Basic, Implicit, Hybrid and Form Post have in common.

use std::collections::BTreeSet;

use serde_json::json;

use super::relying_party::{Auth, RelyingParty};
use super::{RESPONSE_TYPES, alice, row};
use crate::client::{CHALLENGE, VERIFIER};
use crate::person::Person;

/// Module and feature ids; what the request has beside the usual.
type Row = (&'static str, &'static [(&'static str, &'static str)]);

#[rustfmt::skip]
const ACCEPTED: [Row; 12] = [
    ("oidcc-server S0-3 S0-6 S0-9 S1-1 S1-2 S2-14", &[]),
    ("oidcc-display-page S4-7", &[("display", "page")]),
    ("oidcc-display-popup S4-7", &[("display", "popup")]),
    ("oidcc-ensure-request-with-unknown-parameter-succeeds", &[("extra", "foobar")]),
    ("oidcc-login-hint S4-7", &[("login_hint", "buffy@op.test")]),
    ("oidcc-ui-locales S2-U11", &[("ui_locales", "se")]),
    ("oidcc-claims-locales S2-U11", &[("claims_locales", "se")]),
    ("oidcc-ensure-request-with-acr-values-succeeds S1-3 S2-17", &[("acr_values", "1 2")]),
    ("oidcc-ensure-other-scope-order-succeeds", &[("scope", "email openid")]),
    ("oidcc-max-age-10000 S2-20 S4-6", &[("max_age", "10000")]),
    ("oidcc-rp-initiated-logout: a state of 128 characters", &[("state", LONG_STATE)]),
    ("oidcc-server: a nonce of 43 characters", &[("nonce", "0123456789-abcdefghijklmnopqrstuvwxyz_ABCDE")]),
];

const LONG_STATE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
                          ~!*()-_.0123456789abcdef0123456789abcdef0123456789abcdef01234567";

/// Each response type: S2-1, S2-2 and S2-3 are the flows, S2-6 to S2-11 the types.
async fn accepted(form_post: bool) {
    for (profile, response_type) in RESPONSE_TYPES {
        let rp = RelyingParty::new(Auth::Basic, response_type).await;
        let mut person = alice();
        for (module, more) in ACCEPTED {
            let profile = if form_post { "Form Post" } else { profile };
            row(profile, response_type, module);
            let mut request = rp.request().with(more);
            if form_post {
                request = request.set("response_mode", "form_post");
            }
            let login = rp.login(&mut person, &request).await;
            let has = |word| response_type.split(' ').any(|part| part == word);
            assert_eq!(login.front.is_some(), has("id_token"));
            assert_eq!(login.back.is_some(), has("code"));
            if login.front.is_some() || login.back.is_some() {
                let acr = login.claims()["acr"].as_str().unwrap();
                assert!(["1", "2"].contains(&acr), "{acr}");
            }
        }
    }
}

#[tokio::test]
async fn accepted_by_default() {
    accepted(false).await;
}

#[tokio::test]
async fn accepted_with_form_post() {
    accepted(true).await;
}

/// OpenID Connect Core §5.1 and §5.4; alice has every standard claim.
#[rustfmt::skip]
const SCOPES: [(&str, &str, &[&str]); 5] = [
    ("oidcc-scope-profile S2-26", "openid profile", &[
        "name", "given_name", "family_name", "middle_name", "nickname", "preferred_username", "profile", "picture",
        "website", "gender", "birthdate", "zoneinfo", "locale", "updated_at",
    ]),
    ("oidcc-scope-email S2-26", "openid email", &["email", "email_verified"]),
    ("oidcc-scope-address S2-26", "openid address", &["address"]),
    ("oidcc-scope-phone S2-26", "openid phone", &["phone_number", "phone_number_verified"]),
    ("oidcc-scope-all S2-18 S2-26", "openid profile email address phone", &[
        "name", "given_name", "family_name", "middle_name", "nickname", "preferred_username", "profile", "picture",
        "website", "gender", "birthdate", "zoneinfo", "locale", "updated_at", "email", "email_verified", "address",
        "phone_number", "phone_number_verified",
    ]),
];

#[tokio::test]
async fn scopes() {
    for (profile, response_type) in RESPONSE_TYPES {
        let rp = RelyingParty::new(Auth::Basic, response_type).await;
        let mut person = alice();
        for (module, scope, expected) in SCOPES {
            row(profile, response_type, module);
            let request = rp.request().set("scope", scope);
            let login = rp.login(&mut person, &request).await;
            let claims = match response_type {
                "id_token" => login.front.unwrap(),
                _ => rp.claims_of_userinfo(&login.access_token).await,
            };
            super::answers::check_standard_claims(&json!({
                "sub": claims["sub"], "address": {"country": "x"},
            }));
            // Names in other languages come with claims_locales alone.
            let told: BTreeSet<&str> = (claims.as_object().unwrap().keys())
                .map(String::as_str)
                .filter(|name| {
                    ![
                        "sub",
                        "iss",
                        "aud",
                        "exp",
                        "iat",
                        "auth_time",
                        "nonce",
                        "acr",
                        "amr",
                        "azp",
                        "sid",
                    ]
                    .contains(name)
                })
                .filter(|name| !name.contains('#'))
                .collect();
            assert_eq!(told, expected.iter().copied().collect(), "{claims}");
        }
    }
}

/// S2-21, S4-13: Bearer tokens in each legal place (RFC 6750 §2).
#[tokio::test]
async fn userinfo() {
    let rp = RelyingParty::new(Auth::Basic, "code").await;
    let login = rp.login(&mut alice(), &rp.request()).await;
    for (module, how) in [
        ("oidcc-userinfo-get", "GET"),
        ("oidcc-userinfo-post-header", "POST header"),
        ("oidcc-userinfo-post-header", "POST header, no form"),
        ("oidcc-userinfo-post-body", "POST body"),
    ] {
        row("Basic", "code", module);
        let answer = rp.userinfo(how, &login.access_token).await;
        let claims = rp.read_userinfo(&answer).await;
        assert_eq!(claims["sub"], login.claims()["sub"]);
    }
}

/// Requests of the code flow alone.
#[tokio::test]
async fn code_flow() {
    let rp = RelyingParty::new(Auth::Basic, "code").await;
    let mut person = alice();
    row(
        "Basic",
        "code",
        "oidcc-ensure-request-without-nonce-succeeds-for-code-flow",
    );
    rp.login(&mut person, &rp.request().without("nonce")).await;

    row(
        "Basic",
        "code",
        "oidcc-ensure-request-with-valid-pkce-succeeds",
    );
    let pkce = [
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    let request = rp.request().with(&pkce);
    let landing = rp.authorize(&mut person, &request).await;
    let request = request.set("code_verifier", VERIFIER);
    rp.finish(&request, &landing).await;

    row("Basic", "code", "oidcc-ensure-post-request-succeeds");
    let request = rp.request();
    let landing = person.authorize_by_post(&request).await;
    rp.finish(&request, &landing).await;

    row("Basic", "code", "response type none S2-U7");
    let both = json!({"response_types": ["code", "none"]});
    let rp = RelyingParty::with(Auth::Basic, "code", |_, _| both).await;
    let request = rp.request().set("response_type", "none");
    let landing = rp.authorize(&mut person, &request).await;
    rp.check_response(&request, &landing);
}

/// S2-29, S2-U3, S2-U4, S4-17: every way of authentication, in each flow that has a code.
#[tokio::test]
async fn client_authentication() {
    for (profile, module, auth) in [
        ("Basic", "oidcc-server (client_secret_basic)", Auth::Basic),
        ("Basic", "oidcc-server-client-secret-post", Auth::Post),
        (
            "Dynamic",
            "oidcc-server (client_secret_jwt)",
            Auth::SecretJwt,
        ),
        (
            "Dynamic",
            "oidcc-server (private_key_jwt)",
            Auth::PrivateKeyJwt,
        ),
    ] {
        for response_type in ["code", "code id_token"] {
            row(profile, response_type, module);
            let rp = RelyingParty::new(auth, response_type).await;
            rp.login(&mut alice(), &rp.request()).await;
        }
    }
    row("Basic", "code", "a public client uses PKCE");
    let rp = RelyingParty::new(Auth::None, "code").await;
    let pkce = [
        ("code_challenge", CHALLENGE),
        ("code_challenge_method", "S256"),
    ];
    let request = rp.request().with(&pkce);
    let landing = rp.authorize(&mut alice(), &request).await;
    rp.finish(&request.set("code_verifier", VERIFIER), &landing)
        .await;

    row(
        "Dynamic",
        "code",
        "oidcc-ensure-client-assertion-with-iss-aud-succeeds",
    );
    let rp = RelyingParty::new(Auth::PrivateKeyJwt, "code").await;
    let landing = rp.authorize(&mut alice(), &rp.request()).await;
    let issuer = rp.site.issuer().to_owned();
    let answer = rp.token_for(rp.redemption(&landing.code()), &issuer).await;
    assert_eq!(answer.outcome(), "200", "{}", answer.text());
}

/// oidcc-server of Dynamic: the one key has an algorithm and no name.
#[tokio::test]
async fn a_key_without_a_name() {
    row("Dynamic", "code", "oidcc-server (a key without kid)");
    let rp = RelyingParty::with(Auth::PrivateKeyJwt, "code", |_, key| {
        let mut jwk = key.jwk();
        let members = jwk.as_object_mut().unwrap();
        members.remove("kid");
        members.remove("use");
        members.insert("alg".to_owned(), "RS256".into());
        json!({"jwks": {"keys": [jwk]}})
    });
    let rp = rp.await;
    let mut person = alice();
    rp.login(&mut person, &rp.request()).await;
    let request = rp.request();
    let object = rp.request_object("RS256", &request);
    let landing = rp
        .authorize(&mut person, &request.clone().set("request", &object))
        .await;
    rp.finish(&request, &landing).await;
}

/// Clients of CLIENTS_FILE, beside those that register themselves.
#[tokio::test]
async fn static_clients() {
    row("Basic", "code", "oidcc-server (static client)");
    let tokens = crate::registration::WEB
        .tokens(&mut alice(), "openid email")
        .await;
    assert!(tokens["id_token"].is_string());
}

/// Core §5.2: what `claims_locales` asks for comes beside, or instead of, the plain claim.
#[tokio::test]
async fn claims_in_other_languages() {
    let rp = RelyingParty::new(Auth::Basic, "code").await;
    let mut person = alice();
    for (locales, expected) in [("ja-Kana-JP", Some("アリス・アダムス")), ("se", None)] {
        row(
            "Basic",
            "code",
            &format!("oidcc-claims-locales ({locales}) S2-U11"),
        );
        let asked = [("scope", "openid profile"), ("claims_locales", locales)];
        let login = rp.login(&mut person, &rp.request().with(&asked)).await;
        let claims = rp.claims_of_userinfo(&login.access_token).await;
        assert_eq!(claims["name"], ALICE);
        assert_eq!(
            claims.get("name#ja-Kana-JP"),
            expected.map(serde_json::Value::from).as_ref()
        );
    }
}

/// S2-18, OpenID Connect Core §5.5: `name` is asked for as essential, in userinfo or in the ID token, and comes there
/// alone.
#[tokio::test]
async fn claims_essential() {
    for (profile, response_type) in RESPONSE_TYPES {
        row(profile, response_type, "oidcc-claims-essential");
        let rp = RelyingParty::new(Auth::Basic, response_type).await;
        let place = match response_type {
            "id_token" => "id_token",
            _ => "userinfo",
        };
        let claims = json!({place: {"name": {"essential": true}}});
        let request = rp.request().set("claims", &claims.to_string());
        let login = rp.login(&mut alice(), &request).await;
        if place == "id_token" {
            assert_eq!(login.claims()["name"], ALICE);
            continue;
        }
        let told = rp.claims_of_userinfo(&login.access_token).await;
        assert_eq!(told["name"], ALICE);
        for id_token in [&login.front, &login.back].into_iter().flatten() {
            assert_eq!(id_token.get("name"), None, "nobody asked for it here");
        }
    }
}

/// Her name.
const ALICE: &str = "Alice Adams";

/// S2-5, S4-18: a refresh token for `offline_access`, with consent; it rotates and belongs to its client.
#[tokio::test]
async fn refresh_token() {
    for (profile, response_type) in RESPONSE_TYPES {
        if !response_type.contains("code") {
            continue;
        }
        row(profile, response_type, "oidcc-refresh-token");
        let offline = || {
            RelyingParty::with(Auth::Basic, response_type, |_, _| {
                let mut grants = vec!["authorization_code", "refresh_token"];
                if response_type != "code" {
                    grants.push("implicit");
                }
                json!({"grant_types": grants})
            })
        };
        let (rp, other) = (offline().await, offline().await);
        let mut person: Person = alice();
        let asked = [("scope", "openid offline_access"), ("prompt", "consent")];
        let request = rp.request().with(&asked);
        let login = rp.login(&mut person, &request).await;
        assert!(
            person.saw.contains(&"Allow access?".to_owned()),
            "{:?}",
            person.saw
        );
        let first = login.tokens["refresh_token"]
            .as_str()
            .expect("a refresh token");
        let form = |token: &str| {
            let form = [("grant_type", "refresh_token"), ("refresh_token", token)];
            crate::params::Params::of(&form)
        };
        assert_eq!(
            other.token(form(first)).await.outcome(),
            "400 invalid_grant"
        );
        let answer = rp.token(form(first)).await;
        assert_eq!(answer.outcome(), "200", "{}", answer.text());
        let tokens = answer.json();
        assert_ne!(tokens["access_token"], login.tokens["access_token"]);
        assert!(tokens["refresh_token"].is_string());
        rp.claims_of_userinfo(tokens["access_token"].as_str().unwrap())
            .await;
        // OpenID Connect Core §12.2.
        let (id_token, request) = (&tokens["id_token"], request.without("nonce"));
        let claims = rp.id_token(id_token.as_str().unwrap(), &request).await;
        let before = login.claims();
        for name in ["iss", "sub", "aud", "auth_time", "azp"] {
            assert_eq!(claims.get(name), before.get(name), "{name}");
        }
        assert!(claims["iat"].as_i64() >= before["iat"].as_i64());
    }
}
