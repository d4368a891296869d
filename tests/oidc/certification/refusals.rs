//! Requests that must be refused, each in the right place: the modules of Basic, Implicit, Hybrid and Dynamic that
//! expect an error.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::sleep;

use super::relying_party::{
    Auth, REDIRECT_URI, RelyingParty, SIGNS, document, merge, metadata, register,
};
use super::{RESPONSE_TYPES, alice, provider, row};
use crate::person::Place;

/// OpenID Connect Core §3.2.2.1, §3.3.2.1: with an ID token in the front channel, the nonce is required.
#[tokio::test]
async fn without_nonce() {
    for (profile, response_type) in RESPONSE_TYPES {
        row(
            profile,
            response_type,
            "oidcc-ensure-request-without-nonce-fails",
        );
        let rp = RelyingParty::new(Auth::Basic, response_type).await;
        let mut person = alice();
        rp.login(&mut person, &rp.request()).await;
        let request = rp.request().without("nonce");
        let landing = rp.authorize(&mut person, &request).await;
        match response_type.contains("id_token") {
            true => rp.check_error(&request, &landing, "invalid_request"),
            false => drop(rp.finish(&request, &landing).await),
        }
    }
}

#[tokio::test]
async fn response_types() {
    let rp = RelyingParty::new(Auth::Basic, "code").await;
    let mut person = alice();
    rp.login(&mut person, &rp.request()).await;
    row("Basic", "code", "oidcc-response-type-missing");
    let request = rp.request().without("response_type");
    let landing = rp.authorize(&mut person, &request).await;
    match landing.place {
        Place::Page(status) => assert_eq!(status, 400),
        _ => rp.check_error(&request, &landing, "invalid_request"),
    }
    // S2-16: what is not registered does not work, whatever the document says of others.
    for other in ["id_token", "code id_token", "token", "none"] {
        row("Basic", "code", other);
        let request = rp.request().set("response_type", other);
        let landing = rp.authorize(&mut person, &request).await;
        rp.check_error(&request, &landing, "unauthorized_client");
    }
}

/// Form Post Response Mode §2: refusals come the same way.
#[tokio::test]
async fn by_form_post() {
    for (_, response_type) in RESPONSE_TYPES {
        row(
            "Form Post",
            response_type,
            "oidcc-prompt-none-not-logged-in",
        );
        let rp = RelyingParty::new(Auth::Basic, response_type).await;
        let request = rp.request().set("response_mode", "form_post");
        let asked = request.clone().set("prompt", "none");
        let landing = rp.authorize(&mut alice(), &asked).await;
        rp.check_error(&asked, &landing, "login_required");
        row(
            "Form Post",
            response_type,
            "oidcc-ensure-request-without-nonce-fails",
        );
        let asked = request.without("nonce");
        let landing = rp.authorize(&mut alice(), &asked).await;
        match response_type.contains("id_token") {
            true => rp.check_error(&asked, &landing, "invalid_request"),
            false => drop(rp.finish(&asked, &landing).await),
        }
    }
}

/// RFC 6749 §3.1.2: compared octet by octet; no redirect to what is not registered.
#[tokio::test]
async fn redirect_uris() {
    let with_query = format!("{REDIRECT_URI}?dummy1=lorem&dummy2=ipsum");
    for (profile, module, registered, requested, works) in [
        (
            "Basic",
            "oidcc-ensure-registered-redirect-uri (control)",
            REDIRECT_URI,
            Some(REDIRECT_URI),
            true,
        ),
        (
            "Basic",
            "oidcc-ensure-registered-redirect-uri",
            REDIRECT_URI,
            Some("https://rp.test/a/signet/callback/unregistered"),
            false,
        ),
        (
            "Dynamic",
            "oidcc-ensure-redirect-uri-in-authorization-request",
            REDIRECT_URI,
            None,
            false,
        ),
        (
            "Dynamic",
            "oidcc-redirect-uri-query-OK",
            with_query.as_str(),
            Some(with_query.as_str()),
            true,
        ),
        (
            "Dynamic",
            "oidcc-redirect-uri-query-mismatch",
            with_query.as_str(),
            Some("https://rp.test/a/signet/callback?bar=foo"),
            false,
        ),
        (
            "Dynamic",
            "oidcc-redirect-uri-query-added",
            REDIRECT_URI,
            Some(with_query.as_str()),
            false,
        ),
    ] {
        for response_type in ["code", "code id_token"] {
            row(profile, response_type, module);
            let rp = RelyingParty::with(
                Auth::PrivateKeyJwt,
                response_type,
                |_, _| json!({"redirect_uris": [registered]}),
            );
            let rp = rp.await;
            let mut person = alice();
            let request = match requested {
                Some(uri) => rp.request().set("redirect_uri", uri),
                None => rp.request().without("redirect_uri"),
            };
            let landing = rp.authorize(&mut person, &request).await;
            if works {
                rp.finish(&request, &landing).await;
            } else {
                assert_eq!(landing.outcome(), "page 400");
            }
        }
    }
}

/// S4-5: without `openid` it is no request of OpenID Connect, and there is no ID token.
#[tokio::test]
async fn without_openid() {
    let rp = RelyingParty::new(Auth::Basic, "code").await;
    let mut person = alice();
    rp.login(&mut person, &rp.request()).await;
    row("Basic", "code", "scope without openid S0-9");
    let request = rp.request().set("scope", "email");
    let landing = rp.authorize(&mut person, &request).await;
    if landing.fields.contains_key("error") {
        return rp.check_error(&request, &landing, "invalid_scope");
    }
    let answer = rp.token(rp.redemption(&landing.code())).await;
    assert_eq!(answer.outcome(), "200");
    assert_eq!(answer.json().get("id_token"), None);
}

/// RFC 6749 §4.1.2: a code that comes again is refused, and what it gave ends.
#[tokio::test]
async fn code_reuse() {
    let rows = [
        ("oidcc-codereuse", "code", 0),
        ("oidcc-codereuse", "code id_token token", 0),
        ("oidcc-codereuse-30seconds", "code", 31),
        ("oidcc-codereuse-30seconds", "code id_token token", 31),
    ];
    let rows = rows.map(|(module, response_type, seconds)| {
        tokio::spawn(async move {
            row("Basic, Hybrid", response_type, module);
            let rp = RelyingParty::new(Auth::Basic, response_type).await;
            let request = rp.request();
            let landing = rp.authorize(&mut alice(), &request).await;
            let login = rp.finish(&request, &landing).await;
            sleep(Duration::from_secs(seconds)).await;
            let again = rp.token(rp.redemption(&login.code)).await;
            assert_eq!(again.outcome(), "400 invalid_grant");
            let front = landing.fields.get("access_token");
            for token in [Some(&login.access_token), front].into_iter().flatten() {
                let answer = rp.userinfo("GET", token).await;
                assert_eq!(answer.status, 401, "{}", answer.text());
                assert!(answer.header("www-authenticate").contains("invalid_token"));
            }
        })
    });
    for each in rows {
        each.await.unwrap();
    }
}

/// S0-8, Registration §3.3, RFC 7591 §3.2.2: what cannot work is refused, and named.
#[tokio::test]
async fn registrations() {
    let site = provider().site();
    let document = document(&site).await;
    let (key, metadata_error) = (&*SIGNS, "400 invalid_client_metadata");
    let rows: [(&str, Value, &str); 10] = [
        ("control", json!({}), "201"),
        (
            "Dynamic oidcc-redirect-uri-regfrag",
            json!({"redirect_uris": ["https://rp.test/cb#fragment"]}),
            "400 invalid_redirect_uri",
        ),
        (
            "no redirect URI",
            json!({"redirect_uris": null}),
            "400 invalid_redirect_uri",
        ),
        (
            "Third-Party-Initiated Login oidcc-3rd_party-init-login-nonhttps S2-U10",
            json!({"initiate_login_uri": "http://rp.test/login"}),
            metadata_error,
        ),
        (
            "unsigned ID tokens",
            json!({"id_token_signed_response_alg": "none"}),
            metadata_error,
        ),
        (
            "unsigned request objects",
            json!({"request_object_signing_alg": "none"}),
            metadata_error,
        ),
        (
            "S2-13: encryption without a key",
            json!({"id_token_encrypted_response_alg": "ECDH-ES"}),
            metadata_error,
        ),
        (
            "S2-13: enc without alg",
            json!({"id_token_encrypted_response_enc": "A256GCM"}),
            metadata_error,
        ),
        (
            "jwks and jwks_uri",
            json!({"jwks_uri": "https://rp.test/jwks"}),
            metadata_error,
        ),
        (
            "implicit without its grant",
            json!({"response_types": ["id_token"]}),
            metadata_error,
        ),
    ];
    for (name, members, expected) in rows {
        row("Dynamic", "code", name);
        let mut wanted = metadata(Auth::Basic, "code", key, None);
        merge(&mut wanted, &members);
        let answer = register(&site, &document, &wanted).await;
        if expected == "201" {
            assert_eq!(answer.status, 201, "{}", answer.text());
        } else {
            assert_eq!(answer.outcome(), expected, "{name}: {}", answer.text());
        }
    }
}
