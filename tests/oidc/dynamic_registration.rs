//! Dynamic registration (RFC 7591, OpenID Connect Registration): what may be registered, what comes back, what is refused
//! with which words, and who may. S0-8, S2-12 to S2-16, S2-23, S2-U8, S2-U10, S2-U11, S2-U15, S4-21, DR-04.

use std::collections::BTreeSet;
use std::time::Duration;

use http::{Method, header};
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::certification::server::Server;
use crate::client::basic;
use crate::jwe::Recipient;
use crate::params::Params;
use crate::person::Person;
use crate::registering::{
    EC, REDIRECT_URI, Registered, metadata, open, outside, register, register_with,
};
use crate::site::{Site, form_of};
use crate::stack::{self, Options};
use crate::verified::{header as jose_header, id_token};

/// S4-21, S0-8: what is not said is filled in, and all of it is told.
#[tokio::test]
async fn what_comes_back() {
    let site = open().site();
    let answer = register(&site, &metadata(&json!({"client_name": null}))).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.header("content-type"), "application/json");
    let client = answer.json();
    let names: BTreeSet<&str> = client
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    #[rustfmt::skip]
    let expected = BTreeSet::from([
        "client_id", "client_id_issued_at", "client_secret", "client_secret_expires_at", "registration_access_token",
        "registration_client_uri", "redirect_uris", "scope", "application_type", "grant_types", "response_types",
        "token_endpoint_auth_method", "id_token_signed_response_alg", "subject_type",
    ]);
    assert_eq!(names, expected);
    let rows = [
        ("redirect_uris", json!([REDIRECT_URI])),
        (
            "scope",
            json!("openid profile email address phone offline_access"),
        ),
        ("application_type", json!("web")),
        ("grant_types", json!(["authorization_code"])),
        ("response_types", json!(["code"])),
        ("token_endpoint_auth_method", json!("client_secret_basic")),
        ("id_token_signed_response_alg", json!("RS256")),
        ("subject_type", json!("public")),
        ("client_secret_expires_at", json!(0)),
    ];
    for (member, value) in rows {
        assert_eq!(client[member], value, "{member}");
    }
    let issued = client["client_id_issued_at"].as_i64().unwrap();
    assert!((0..60).contains(&(crate::assertion::now() - issued)));
    // 256 random bits, in another form each time.
    let other = Registered::with(&site, &json!({})).await;
    for member in ["client_id", "client_secret", "registration_access_token"] {
        assert_ne!(client[member], other.0[member], "{member}");
    }
    assert_eq!(other.secret().len(), 43);
    assert_eq!(
        other.text("registration_client_uri"),
        format!("{}/register/{}", site.issuer(), other.id())
    );
    // And it works, on every gateway at once.
    let mut person = Person::new(&site, 40);
    let tokens = other.tokens(&mut person, "openid email").await;
    let claims = id_token(&site, other.id(), &tokens).await;
    assert_eq!(claims["aud"], other.id());
    assert!(person.saw.contains(&"Allow access?".to_owned()), "asked");
}

/// S2-U10: each member is kept as it was sent, and told again.
#[tokio::test]
async fn members_that_are_kept() {
    let site = open().site();
    let server = Server::start().await;
    let keys = json!({"keys": [EC.jwk(), Recipient::of("RSA-OAEP", "").jwk()]});
    let sector = server.put(
        "/kept",
        "application/json",
        &json!([REDIRECT_URI, "https://other.example/cb"]).to_string(),
    );
    #[rustfmt::skip]
    let rows = [
        ("S2-U11 localized", json!({
            "client_name#fr": "Un client", "client_name#ja-Hani-JP": "クライアント", "logo_uri#de": "https://rp.example/de.png",
            "tos_uri": "https://rp.example/terms", "policy_uri#fr-CA": "https://rp.example/politique",
            "client_uri": "https://rp.example/",
        })),
        ("native", json!({"application_type": "native", "redirect_uris": ["http://127.0.0.1/cb", "com.example.app:/cb"]})),
        ("query in the redirect URI", json!({"redirect_uris": ["https://rp.example/cb?a=b&c=%20"]})),
        ("contacts and software", json!({"contacts": ["ops@rp.example"], "software_id": "x", "software_version": "1.0"})),
        ("implicit", json!({"grant_types": ["implicit"], "response_types": ["id_token", "id_token token"]})),
        ("hybrid, words in another order", json!({"grant_types": ["authorization_code", "implicit"], "response_types": ["token code id_token"]})),
        ("none", json!({"response_types": ["code", "none"]})),
        ("refresh tokens", json!({"grant_types": ["authorization_code", "refresh_token"]})),
        ("S2-U10 token_endpoint_auth_signing_alg", json!({
            "token_endpoint_auth_method": "private_key_jwt", "token_endpoint_auth_signing_alg": "ES256", "jwks": keys,
        })),
        ("S2-U4 jwks_uri", json!({"token_endpoint_auth_method": "private_key_jwt", "jwks_uri": server.url("/not-fetched")})),
        ("S2-U3 client_secret_jwt", json!({"token_endpoint_auth_method": "client_secret_jwt", "token_endpoint_auth_signing_alg": "HS512"})),
        ("S2-12 HS256", json!({"id_token_signed_response_alg": "HS256"})),
        ("S2-13 encrypted ID tokens", json!({
            "jwks": keys, "id_token_encrypted_response_alg": "RSA-OAEP", "id_token_encrypted_response_enc": "A256GCM",
        })),
        ("S2-13 with the secret", json!({"id_token_encrypted_response_alg": "dir"})),
        ("S2-22 userinfo", json!({
            "jwks": keys, "userinfo_signed_response_alg": "RS256", "userinfo_encrypted_response_alg": "RSA-OAEP",
        })),
        ("S2-22 userinfo plain", json!({"userinfo_signed_response_alg": "none"})),
        ("request objects", json!({
            "jwks": keys, "request_object_signing_alg": "ES256", "request_object_encryption_alg": "RSA-OAEP",
            "request_object_encryption_enc": "A128GCM", "request_uris": ["https://rp.example/r#1", "https://rp.example/s"],
        })),
        ("S2-28 pairwise", json!({"subject_type": "pairwise"})),
        ("S2-28 sector", json!({
            "subject_type": "pairwise", "sector_identifier_uri": sector,
            "redirect_uris": [REDIRECT_URI, "https://other.example/cb"],
        })),
        ("defaults of requests", json!({"default_max_age": 60, "require_auth_time": true, "default_acr_values": ["2", "1"]})),
        ("S2-U10 initiate_login_uri", json!({"initiate_login_uri": "https://rp.example/start"})),
        ("logout", json!({
            "post_logout_redirect_uris": ["https://rp.example/bye"], "frontchannel_logout_uri": "https://rp.example/out?x=1",
            "frontchannel_logout_session_required": true, "backchannel_logout_uri": "https://elsewhere.example/out",
            "backchannel_logout_session_required": true,
        })),
    ];
    for (row, members) in rows {
        let client = Registered::with(&site, &members).await;
        for (name, value) in members.as_object().unwrap() {
            assert_eq!(client.0[name], *value, "{row}: {name}");
        }
        // The other gateway says the same.
        let read = client.manage(&site, Method::GET, None).await;
        assert_eq!(read.status, 200, "{row}: {}", read.text());
        for (name, value) in members.as_object().unwrap() {
            assert_eq!(read.json()[name], *value, "{row}: {name}");
        }
    }
    assert_eq!(server.visits("/not-fetched"), 0, "keys are fetched at need");
    assert_eq!(server.visits("/kept"), 1, "a sector at once");
}

/// RFC 7591 §2: unknown members are ignored; so are those that are the operator's to say (DR-04).
#[tokio::test]
async fn members_that_are_ignored() {
    let site = open().site();
    #[rustfmt::skip]
    let rows = [
        ("unknown", json!({"foo": {"bar": 1}}), "foo"),
        ("software statement", json!({"software_statement": "x.y.z"}), "software_statement"),
        ("null", json!({"logo_uri": null}), "logo_uri"),
        ("language of what nobody reads", json!({"redirect_uris#fr": ["x"]}), "redirect_uris#fr"),
        ("consent", json!({"consent": "implicit"}), "consent"),
        ("audience", json!({"audience": ["https://api.example"]}), "audience"),
        ("JWT access tokens", json!({"access_token_format": "jwt"}), "access_token_format"),
        ("sector by name", json!({"sector_identifier": "other.example"}), "sector_identifier"),
        ("disabled", json!({"disabled": true}), "disabled"),
        ("lenient audience", json!({"allow_token_endpoint_audience": true}), "allow_token_endpoint_audience"),
        ("secret by hash", json!({"client_secret_hash": "$2b$10$x"}), "client_secret_hash"),
    ];
    for (row, members, ignored) in rows {
        let client = Registered::with(&site, &members).await;
        assert!(client.0.get(ignored).is_none(), "{row}: {}", client.0);
    }
    let chosen = json!({"client_id": "web", "client_secret": "chosen", "registration_access_token": "chosen"});
    let client = Registered::with(&site, &chosen).await;
    assert_ne!(client.id(), "web");
    assert_ne!(client.secret(), "chosen");
    assert_ne!(client.text("registration_access_token"), "chosen");
    // More than may be asked for is left out, and the answer says so.
    let client = Registered::with(&site, &json!({"scope": "openid admin email"})).await;
    assert_eq!(client.text("scope"), "openid email");
    let mut person = Person::new(&site, 41);
    let tokens = client.tokens(&mut person, "openid admin email").await;
    assert_eq!(tokens["scope"], "openid email");
}

/// S2-29, S2-U3, S2-U4, S4-17: a secret where one is used, as long as it must be, and each method works.
#[tokio::test]
async fn secrets_and_methods() {
    let site = open().site();
    let key = json!({"keys": [EC.jwk()]});
    #[rustfmt::skip]
    let rows = [
        ("S2-29 client_secret_basic", json!({"token_endpoint_auth_method": "client_secret_basic"}), Some(43)),
        ("S2-29 client_secret_post", json!({"token_endpoint_auth_method": "client_secret_post"}), Some(43)),
        ("S2-U3 client_secret_jwt", json!({"token_endpoint_auth_method": "client_secret_jwt"}), Some(86)),
        ("S2-U4 private_key_jwt", json!({"token_endpoint_auth_method": "private_key_jwt", "jwks": key}), None),
        ("private_key_jwt and HS512", json!({"token_endpoint_auth_method": "private_key_jwt", "jwks": key, "id_token_signed_response_alg": "HS512"}), Some(86)),
        ("none", json!({"token_endpoint_auth_method": "none"}), None),
        ("none and HS256", json!({"token_endpoint_auth_method": "none", "id_token_signed_response_alg": "HS256"}), Some(86)),
        ("dir", json!({"id_token_encrypted_response_alg": "dir"}), Some(86)),
    ];
    for (row, members, length) in rows {
        let client = Registered::with(&site, &members).await;
        let secret = client
            .0
            .get("client_secret")
            .map(|secret| secret.as_str().unwrap());
        assert_eq!(secret.map(str::len), length, "{row}");
        assert_eq!(
            client.0.get("client_secret_expires_at").is_some(),
            length.is_some(),
            "{row}"
        );
        let method = client.text("token_endpoint_auth_method");
        let answers = authenticated(&site, &client, method).await;
        // It is itself, but may not use this grant.
        let expected = match method {
            "none" => ["400 unauthorized_client", "401 invalid_client", "200"],
            _ => ["400 unauthorized_client", "200", "200"],
        };
        assert_eq!(answers, expected, "{row}");
        for other in ["client_secret_basic", "client_secret_post"] {
            if other != method && length.is_some() {
                let answers = authenticated(&site, &client, other).await;
                assert_eq!(answers, ["401 invalid_client"; 3], "{row}: {other}");
            }
        }
    }
}

/// What the three endpoints say to a client that authenticates itself by this method.
async fn authenticated(site: &Site, client: &Registered, method: &str) -> [String; 3] {
    let mut outcomes = Vec::new();
    for (path, form) in [
        (
            "/token",
            Params::of(&[("grant_type", "client_credentials")]),
        ),
        ("/introspect", Params::of(&[("token", "x")])),
        ("/revoke", Params::of(&[("token", "x")])),
    ] {
        let claims = crate::assertion::claims(client.id(), site.issuer());
        let assertion = match method {
            "private_key_jwt" => EC.sign(&EC.header(), &claims),
            "client_secret_jwt" => {
                crate::client_secret_jwt::sign("HS256", client.secret(), &claims)
            }
            _ => String::new(),
        };
        let request = site.request(Method::POST, path);
        let (request, form) = match method {
            "client_secret_basic" => {
                let header = basic(client.id(), client.secret());
                (request.header(header::AUTHORIZATION, header), form)
            }
            "client_secret_post" => {
                let form = form.and("client_id", client.id());
                (request, form.and("client_secret", client.secret()))
            }
            "none" => (request, form.and("client_id", client.id())),
            _ => {
                let form = form.and("client_assertion_type", crate::assertion::TYPE);
                (request, form.and("client_assertion", &assertion))
            }
        };
        outcomes.push(site.send(form_of(request, &form.encode())).await.outcome());
    }
    outcomes.try_into().unwrap()
}

/// S2-16, S2-23: what a list leaves out is not advertised and cannot be registered, and who has it keeps it.
#[tokio::test]
async fn lists_of_the_configuration() {
    let site = open().site();
    let document = site.get("/.well-known/openid-configuration").await.json();
    #[rustfmt::skip]
    let rows = [
        ("S2-16 id_token_signing_alg_values_supported", json!(["RS256", "HS256", "HS512"])),
        ("S2-16 id_token_encryption_alg_values_supported", json!(["RSA-OAEP", "ECDH-ES", "dir"])),
        ("S2-16 id_token_encryption_enc_values_supported", json!(["A128CBC-HS256", "A256GCM"])),
        ("S2-23 userinfo_signing_alg_values_supported", json!(["RS256", "HS256"])),
        ("S2-23 userinfo_encryption_alg_values_supported", json!(["RSA-OAEP"])),
        ("S2-23 userinfo_encryption_enc_values_supported", json!(["A128CBC-HS256"])),
        ("S2-U11 request_object_signing_alg_values_supported", json!(["ES256", "HS256"])),
        ("S2-U11 token_endpoint_auth_signing_alg_values_supported", json!(["RS256", "ES256", "HS256", "HS384", "HS512"])),
        ("S2-28 subject_types_supported", json!(["public", "pairwise"])),
        ("S4-21 registration_endpoint", json!(format!("{}/register", site.issuer()))),
        ("service_documentation", json!("https://op.example/docs")),
        ("op_policy_uri", json!("https://op.example/policy")),
        ("op_tos_uri", json!("https://op.example/terms")),
    ];
    for (row, expected) in rows {
        let member = row.rsplit(' ').next().unwrap();
        let sorted = |value: &Value| match value.as_array() {
            Some(list) => list
                .iter()
                .map(ToString::to_string)
                .collect::<BTreeSet<_>>(),
            None => BTreeSet::from([value.to_string()]),
        };
        assert_eq!(sorted(&document[member]), sorted(&expected), "{row}");
    }
    // Configured with ES256, which is on none of the lists.
    let before = Registered(json!({
        "client_id": "before", "client_secret": "the-secret-of-before-in-these-tests-alone",
    }));
    let tokens = before.tokens(&mut Person::new(&site, 42), "openid").await;
    assert_eq!(
        jose_header(tokens["id_token"].as_str().unwrap())["alg"],
        "ES256"
    );
    id_token(&site, "before", &tokens).await;
}

/// Initial access tokens, rates, and secrets that expire (S2-U15).
#[tokio::test]
async fn who_may_register() {
    let token = |number: usize| format!("initial-access-token-{number:02}-of-these-tests");
    let tokens: Vec<String> = (0..20).map(token).collect();
    let mut fresh = tokens.iter().map(String::as_str);
    let file = std::env::temp_dir().join(format!("signet-tokens-{}", std::process::id()));
    std::fs::write(
        &file,
        format!("# For the tests.\n\n{}\n", tokens.join("\n")),
    )
    .unwrap();
    let tables = format!(
        "[registration]\nmode = \"token\"\ninitial_access_tokens_file = {}\nper_address = 12\nsecret_lifetime = \"4s\"\n{}",
        json!(file),
        outside(&[])
    );
    let stack = stack::start(&Options {
        tables: tables.leak(),
        ..Options::default()
    });
    std::fs::remove_file(&file).unwrap();
    let site = stack.site();
    let good = metadata(&json!({}));
    let first = fresh.next().unwrap();
    for (row, presented, members, status) in [
        ("no token", None, &good, 401),
        (
            "another",
            Some("another-initial-access-token-of-these-tests"),
            &good,
            401,
        ),
        ("a part of it", Some(&first[1..]), &good, 401),
        (
            "what is refused does not use it up",
            Some(first),
            &json!({}),
            400,
        ),
        ("the token", Some(first), &good, 201),
        ("DR-03 the token again", Some(first), &good, 401),
    ] {
        let answer = register_with(&site, presented, members).await;
        assert_eq!(answer.status, status, "{row}: {}", answer.text());
        let challenge = answer.header("www-authenticate");
        assert_eq!(challenge.starts_with("Bearer "), status == 401, "{row}");
    }
    let secret = Registered(register_with(&site, fresh.next(), &good).await.json());
    let expires = secret.0["client_secret_expires_at"].as_i64().unwrap();
    let issued = secret.0["client_id_issued_at"].as_i64().unwrap();
    assert_eq!(expires - issued, 4, "S2-U15");
    let form = Params::of(&[("token", "x")]);
    assert_eq!(secret.post(&site, "/revoke", &form).await.outcome(), "200");
    // SR-01: nobody has allowed calls to this machine.
    let server = Server::start().await;
    for (row, members) in [
        ("sector", json!({"sector_identifier_uri": server.url("/s")})),
        (
            "sector by address",
            json!({"sector_identifier_uri": server.url("/s").replace("localhost", "127.0.0.1")}),
        ),
        (
            "sector by number",
            json!({"sector_identifier_uri": server.url("/s").replace("localhost", "2130706433")}),
        ),
    ] {
        let answer = register_with(&site, fresh.next(), &metadata(&members)).await;
        assert_eq!(answer.outcome(), "400 invalid_client_metadata", "{row}");
    }
    assert_eq!(server.visits("/s"), 0);
    sleep(Duration::from_secs(4)).await;
    let expired = secret.post(&site, "/revoke", &form).await;
    assert_eq!(expired.outcome(), "401 invalid_client", "S2-U15");
    let mut refused = None;
    for _ in 0..8 {
        let answer = register_with(&site, fresh.next(), &good).await;
        if answer.status == 429 {
            refused = Some(answer);
            break;
        }
    }
    let refused = refused.expect("more than twelve in a minute");
    assert_eq!(refused.outcome(), "429 slow_down");
    assert!(refused.header("retry-after").parse::<u64>().unwrap() <= 6);
}

/// Where nobody may register there is nothing, and nothing is said of it.
#[tokio::test]
async fn nobody_may_register() {
    let site = stack::shared().site();
    assert_eq!(register(&site, &metadata(&json!({}))).await.status, 404);
    let document = site.get("/.well-known/openid-configuration").await.json();
    assert!(document.get("registration_endpoint").is_none());
}

/// RP-Initiated Logout §4: whoever registers an address does not make ours lead to it for people who are not signed in.
#[tokio::test]
async fn our_logout_leads_nobody_to_a_strangers_address() {
    let site = open().site();
    let bye = "https://rp.example/bye";
    let answer = register(
        &site,
        &metadata(&json!({"post_logout_redirect_uris": [bye]})),
    )
    .await;
    let registered = answer.json();
    let registered = registered["client_id"].as_str().unwrap();
    let rows = [
        (registered, bye, 200),
        (registered, "https://rp.example/else", 400),
    ];
    for (client_id, uri, status) in rows {
        let params = Params::of(&[("client_id", client_id), ("post_logout_redirect_uri", uri)]);
        let answer = site.get(&format!("/logout?{}", params.encode())).await;
        assert_eq!(answer.status, status, "{uri}: {}", answer.text());
        assert_eq!(answer.headers.get("location"), None, "{uri}");
    }
}
