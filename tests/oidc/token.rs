//! The token endpoint (RFC 6749 §3.2, §5.2): each refusal beside the request that passes; client credentials (§4.4).

use http::Method;

use crate::client::{Client, basic};
use crate::params::Params;
use crate::person::Person;
use crate::registration::{CAREFUL, JWT, MACHINE, PUBLIC, RESOURCE, SINGLE, WEB, secret};
use crate::site::form_of;
use crate::stack;
use crate::verified::{keys, payload, verify};

fn grant(name: &str) -> Params {
    Params::of(&[("grant_type", name)])
}

#[tokio::test]
async fn grant_types() {
    let site = stack::shared().site();
    let unsupported = "400 unsupported_grant_type";
    let invalid = "400 invalid_request";
    let unauthorized = "400 unauthorized_client";
    let own = || grant("client_credentials");
    let password = grant("password")
        .set("username", "user0")
        .set("password", "correct horse battery staple");
    #[rustfmt::skip]
    let rows: Vec<(&str, Client, Params, &str)> = vec![
        ("control", WEB, own(), "200"),
        ("unknown parameters", WEB, own().set("foo", "1").set("bar", ""), "200"),
        ("none", WEB, Params::default(), invalid),
        ("empty", WEB, grant(""), invalid),
        ("twice", WEB, own().and("grant_type", "client_credentials"), invalid),
        ("any parameter twice", WEB, own().and("foo", "1").and("foo", "2"), invalid),
        ("scope twice", WEB, own().and("scope", "email").and("scope", "email"), invalid),
        ("unknown", WEB, grant("foo"), unsupported),
        ("of other case", WEB, grant("Client_Credentials"), unsupported),
        ("a space more", WEB, grant("client_credentials "), unsupported),
        ("password (CX-02)", WEB, password, unsupported),
        ("implicit", WEB, grant("implicit"), unsupported),
        ("device", WEB, grant("urn:ietf:params:oauth:grant-type:device_code"), unsupported),
        ("jwt-bearer", WEB, grant("urn:ietf:params:oauth:grant-type:jwt-bearer").set("assertion", "a.b.c"), unsupported),
        ("exchange", WEB, grant("urn:ietf:params:oauth:grant-type:token-exchange"), unsupported),
        ("CIBA", WEB, grant("urn:openid:params:grant-type:ciba"), unsupported),
        ("unknown, of another client", MACHINE, grant("foo"), unsupported),
        ("not registered: code", MACHINE, MACHINE.redemption("x.y"), unauthorized),
        ("not registered: refresh", SINGLE, grant("refresh_token").set("refresh_token", "x.y"), unauthorized),
        ("not registered: own", SINGLE, own(), unauthorized),
        ("public", PUBLIC, own(), unauthorized),
        ("code missing", WEB, WEB.redemption("").without("code"), invalid),
        ("code empty", WEB, WEB.redemption(""), invalid),
        ("redirect_uri missing", WEB, WEB.redemption("x.y").without("redirect_uri"), invalid),
        ("refresh_token missing", WEB, grant("refresh_token"), invalid),
        ("code unknown", WEB, WEB.redemption("x.y"), "400 invalid_grant"),
        ("refresh_token unknown", WEB, grant("refresh_token").set("refresh_token", "x.y"), "400 invalid_grant"),
        ("too many parameters", WEB, (0..101).fold(own(), |all, n| all.and(&format!("p{n}"), "")), invalid),
    ];
    for (row, client, form, outcome) in rows {
        let answer = client.post(&site, "/token", form).await;
        assert_eq!(answer.outcome(), outcome, "{row}: {}", answer.text());
    }
}

#[tokio::test]
async fn methods_and_bodies() {
    let site = stack::shared().site();
    let form = "grant_type=client_credentials";
    let as_web = |method: Method| {
        site.request(method, "/token")
            .header("authorization", basic("web", &secret("web")))
    };
    let mut statuses = Vec::new();
    for method in [
        Method::GET,
        Method::PUT,
        Method::DELETE,
        Method::PATCH,
        Method::HEAD,
        Method::OPTIONS,
    ] {
        let answer = site.send(form_of(as_web(method.clone()), form)).await;
        assert_eq!(answer.header("allow"), "POST", "{method}");
        statuses.push(answer.status);
    }
    assert_eq!(statuses, [405; 6]);
    let in_query = site
        .request(Method::POST, &format!("/token?{form}"))
        .header("authorization", basic("web", &secret("web")));
    assert_eq!(
        site.send(form_of(in_query, "")).await.outcome(),
        "400 invalid_request",
        "parameters in the query"
    );
    #[rustfmt::skip]
    let rows = [
        ("control", "application/x-www-form-urlencoded", form, "200"),
        ("a charset", "application/x-www-form-urlencoded; charset=UTF-8", form, "200"),
        ("of other case", "Application/X-WWW-Form-Urlencoded", form, "200"),
        ("JSON", "application/json", "{\"grant_type\":\"client_credentials\"}", "400 invalid_request"),
        ("text", "text/plain", form, "400 invalid_request"),
        ("multipart", "multipart/form-data; boundary=x", "--x--", "400 invalid_request"),
        ("two types", "text/plain, application/x-www-form-urlencoded", form, "400 invalid_request"),
        ("no pairs", "application/x-www-form-urlencoded", "&&&;;=", "400 invalid_request"),
        ("not UTF-8", "application/x-www-form-urlencoded", "grant_type=%ff%fe", "400 unsupported_grant_type"),
    ];
    for (row, content_type, body, outcome) in rows {
        let request = as_web(Method::POST)
            .header("content-type", content_type)
            .body(body.as_bytes().to_vec());
        let answer = site.send(request.unwrap()).await;
        assert_eq!(answer.outcome(), outcome, "{row}");
    }
}

#[tokio::test]
async fn client_credentials() {
    let site = stack::shared().site();
    let scope = |scope: &str| grant("client_credentials").set("scope", scope);
    #[rustfmt::skip]
    let rows = [
        ("no scope", MACHINE, grant("client_credentials"), "200", None),
        ("one", MACHINE, scope("read"), "200", Some("read")),
        ("two", MACHINE, scope("write read"), "200", Some("write read")),
        ("openid is no person's", MACHINE, scope("openid read"), "200", Some("read")),
        ("offline_access gives nothing", WEB, scope("offline_access email"), "200", Some("email")),
        ("not registered", MACHINE, scope("admin"), "400 invalid_scope", None),
        ("not all registered", MACHINE, scope("read admin"), "400 invalid_scope", None),
        ("odd", MACHINE, scope("re\"ad"), "400 invalid_scope", None),
        ("many (HT-09)", MACHINE, scope(&"read x ".repeat(4000)), "400 invalid_scope", None),
    ];
    for (row, client, form, outcome, granted) in rows {
        let answer = client.post(&site, "/token", form).await;
        assert_eq!(answer.outcome(), outcome, "{row}");
        if answer.status != 200 {
            continue;
        }
        let tokens = answer.json();
        assert_eq!(tokens["scope"].as_str(), granted, "{row}");
        assert_eq!(
            (&tokens["token_type"], &tokens["expires_in"]),
            (&"Bearer".into(), &3600.into()),
            "{row}"
        );
        for never in ["id_token", "refresh_token"] {
            assert!(tokens.get(never).is_none(), "{row}: {never}");
        }
        let said = client
            .introspect(&site, tokens["access_token"].as_str().unwrap())
            .await;
        assert_eq!(
            (&said["active"], &said["sub"]),
            (&true.into(), &client.id.into()),
            "{row}"
        );
        assert!(said.get("username").is_none(), "{row}");
    }
}

/// RFC 6749 §5.1, RFC 9068 §2: what an answer holds, for each form of access token. S2-U12.
#[tokio::test]
async fn what_is_answered() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 25);
    #[rustfmt::skip]
    let rows = [
        (WEB, "openid", &["access_token", "token_type", "expires_in", "id_token", "scope"][..]),
        (WEB, "email", &["access_token", "token_type", "expires_in", "scope"]),
        (WEB, "openid offline_access", &[
            "access_token", "token_type", "expires_in", "refresh_token", "id_token", "scope",
        ]),
        (SINGLE, "openid offline_access", &["access_token", "token_type", "expires_in", "id_token", "scope"]),
        (CAREFUL, "email offline_access", &["access_token", "token_type", "expires_in", "refresh_token", "scope"]),
    ];
    for (client, scope, members) in rows {
        let tokens = client.tokens(&mut person, scope).await;
        let names: Vec<_> = tokens
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        assert_eq!(names, members, "{} {scope}", client.id);
        assert_eq!(tokens["scope"], scope);
    }
    let tokens = JWT.tokens(&mut person, "openid email").await;
    let token = tokens["access_token"].as_str().unwrap();
    let published = keys(&site).await;
    for audience in [site.issuer(), RESOURCE.id] {
        let claims = verify(&site, &published, token, ("at+jwt", audience));
        let members: Vec<_> = claims
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        let mut expected = vec![
            "iss",
            "sub",
            "aud",
            "exp",
            "iat",
            "jti",
            "client_id",
            "scope",
            "auth_time",
            "acr",
            "amr",
        ];
        expected.retain(|name| members.contains(name));
        assert_eq!(members.len(), 11, "{members:?}");
        assert_eq!(expected.len(), 11, "{members:?}");
        assert_eq!(
            (&claims["sub"], &claims["client_id"]),
            (&"user25".into(), &"jwt".into())
        );
        assert_eq!(claims["scope"], "openid email");
    }
    let own = JWT
        .post(&site, "/token", grant("client_credentials"))
        .await
        .json();
    let claims = payload(own["access_token"].as_str().unwrap());
    assert_eq!(
        (&claims["sub"], claims.get("auth_time")),
        (&"jwt".into(), None),
        "a client's own"
    );
}
