//! The authorization endpoint (RFC 6749 §4.1.1 and §4.1.2.1, OpenID Connect Core §3.1.2): every refusal beside the
//! request that passes, by GET and by POST, and what every answer has.

use crate::client::{CHALLENGE, Client};
use crate::params::Params;
use crate::person::{Landing, Person, Place};
use crate::registration::{DISABLED, JWT, MACHINE, NARROW, POST, PUBLIC, WEB};
use crate::stack;

/// What holds for every answer, whatever it says.
#[track_caller]
fn check(row: &str, request: &Params, landing: &Landing, issuer: &str) {
    let asked = request.first("redirect_uri").unwrap_or_default();
    if let Place::Page(_) = landing.place {
        assert_eq!(landing.answer.header("location"), "", "{row}");
        assert_eq!(
            landing.uri, "/authorize",
            "{row}: an error is shown where it happened"
        );
        return;
    }
    // AZ-08: nowhere else. Our own parsing leaves out what stood in the URI's query.
    assert_eq!(landing.uri, asked.split('?').next().unwrap(), "{row}");
    // AZ-13, RFC 9207: in success and in failure.
    assert_eq!(landing.field("iss"), issuer, "{row}");
    let once = request.names().filter(|name| *name == "state").count() == 1;
    let state = request.first("state").filter(|_| once).unwrap_or_default();
    assert_eq!(landing.field("state"), state, "{row}");
    let mut allowed = vec!["state", "iss", "x"];
    match landing.fields.contains_key("error") {
        true => allowed.extend(["error", "error_description"]),
        false => allowed.extend(["code", "session_state"]),
    }
    let strange = landing
        .fields
        .keys()
        .find(|name| !allowed.contains(&name.as_str()));
    assert_eq!(strange, None, "{row}");
}

async fn table(person: &mut Person, rows: Vec<(&str, Params, &str)>) {
    let issuer = person.site.issuer().to_owned();
    for (row, request, outcome) in rows {
        for post in [false, true] {
            let landing = match post {
                false => person.authorize(&request).await,
                true => person.authorize_by_post(&request).await,
            };
            let row = format!("{row}{}", if post { " (POST)" } else { "" });
            assert_eq!(landing.outcome(), outcome, "{row}: {landing:?}");
            check(&row, &request, &landing, &issuer);
        }
    }
}

async fn signed_in(number: usize) -> Person {
    let mut person = Person::new(&stack::shared().site(), number);
    person.code(&WEB, "openid").await;
    person
}

#[tokio::test]
async fn client_id_and_redirect_uri() {
    let of = |client: &Client| client.request();
    let web = || of(&WEB);
    let page = "page 400";
    #[rustfmt::skip]
    let rows = vec![
        ("as it should be", web(), "query code"),
        ("a query of its own", of(&POST), "query code"),
        ("no client_id", web().without("client_id"), page),
        ("client_id empty", web().set("client_id", ""), page),
        ("client_id twice", web().and("client_id", WEB.id), page),
        ("client_id twice, one empty", web().and("client_id", ""), page),
        ("unknown", web().set("client_id", "nobody"), page),
        ("of other case", web().set("client_id", "WEB"), page),
        ("a glob", web().set("client_id", "w*b"), page),
        ("a tag", web().set("client_id", "{web}"), page),
        ("NUL", web().set("client_id", "web\0"), page),
        ("a line more", web().set("client_id", "web\r\nx"), page),
        ("long", web().set("client_id", &"w".repeat(5000)), page),
        ("disabled", of(&DISABLED), page),
        ("another client's", web().set("client_id", POST.id), page),
        ("no redirect_uri", web().without("redirect_uri"), page),
        ("redirect_uri empty", web().set("redirect_uri", ""), page),
        ("redirect_uri twice", web().and("redirect_uri", WEB.redirect_uri), page),
        ("no redirect_uri registered", of(&MACHINE).set("redirect_uri", WEB.redirect_uri), page),
        ("bad in every way", Params::of(&[("redirect_uri", "https://evil.test")]), page),
        ("nothing", Params::default(), page),
        ("too many parameters", (0..101).fold(web(), |all, n| all.and(&format!("p{n}"), "")), page),
    ];
    table(&mut signed_in(0).await, rows).await;
}

#[tokio::test]
async fn what_is_asked_for() {
    let web = || WEB.request();
    let with = |name: &str, value: &str| WEB.request().set(name, value);
    let (code, invalid) = ("query code", "query invalid_request");
    let unsupported = "query unsupported_response_type";
    let scope = "query invalid_scope";
    let many: String = (0..65).map(|n| format!("s{n} ")).collect();
    #[rustfmt::skip]
    let rows = vec![
        ("control", web(), code),
        ("no state", web().without("state"), code),
        ("no nonce", web().without("nonce"), code),
        ("unknown parameters", web().and("foo", "1").and("foo", "2").and("dpop", ""), code),
        ("no response_type", web().without("response_type"), invalid),
        ("response_type empty", with("response_type", ""), invalid),
        ("token, not registered", with("response_type", "token"), "fragment unauthorized_client"),
        ("id_token, not registered", with("response_type", "id_token"), "fragment unauthorized_client"),
        ("hybrid, not registered", with("response_type", "code id_token"), "fragment unauthorized_client"),
        ("none, not registered", with("response_type", "none"), "query unauthorized_client"),
        ("code twice", with("response_type", "code code"), unsupported),
        ("code and none", with("response_type", "code none"), unsupported),
        ("of other case", with("response_type", "Code"), unsupported),
        ("a space more", with("response_type", "code "), unsupported),
        ("query", with("response_mode", "query"), code),
        ("fragment", with("response_mode", "fragment"), "fragment code"),
        ("form_post", with("response_mode", "form_post"), "form_post code"),
        ("unknown mode", with("response_mode", "web_message"), invalid),
        ("JARM", with("response_mode", "query.jwt"), invalid),
        ("refused in the fragment", with("response_mode", "fragment").set("scope", ""), "fragment invalid_scope"),
        ("refused in a form", with("response_mode", "form_post").set("scope", ""), "form_post invalid_scope"),
        ("S3-9 state of 8", with("state", "12345678"), code),
        ("S3-9 state of 7", with("state", "1234567"), invalid),
        ("S3-9 nonce of 8", with("nonce", "12345678"), code),
        ("S3-9 nonce of 7", with("nonce", "1234567"), invalid),
        ("no scope", web().without("scope"), scope),
        ("unknown scope alone", with("scope", "zzz"), scope),
        ("unknown scope beside", with("scope", "openid zzz"), code),
        ("OAuth without openid", with("scope", "email"), code),
        ("scope with a quote", with("scope", "open\"id"), scope),
        ("scope with a line", with("scope", "openid\r\nemail"), scope),
        ("many scopes", with("scope", &format!("openid {many}")), scope),
        ("not the client's", NARROW.request().set("scope", "profile"), scope),
        ("not all the client's", NARROW.request().set("scope", "openid profile"), code),
        ("nonce of 1024", with("nonce", &"n".repeat(1024)), code),
        ("nonce of 1025", with("nonce", &"n".repeat(1025)), invalid),
        ("max_age", with("max_age", "10000"), code),
        ("max_age negative", with("max_age", "-1"), invalid),
        ("max_age of letters", with("max_age", "abc"), invalid),
        ("max_age with a point", with("max_age", "1.5"), invalid),
        ("max_age with a sign", with("max_age", "+60"), invalid),
        ("max_age beyond measure", with("max_age", "99999999999999999999"), invalid),
        ("S4-7 display, locales, acr", with("display", "popup").and("ui_locales", "de en").and("acr_values", "x"), code),
        ("S4-7 display=page", with("display", "page"), code),
        ("S4-7 display=touch", with("display", "touch"), code),
        ("S4-7 display=wap", with("display", "wap"), code),
        ("display unknown", with("display", "hologram"), invalid),
        ("locales that nobody speaks", with("ui_locales", "xx <b> \u{e9}").and("claims_locales", "yy"), code),
        ("AZ-18 reserved claims", with("claims", "{\"id_token\":{\"iss\":{\"value\":\"evil\"}}}"), code),
        ("prompt=none", with("prompt", "none"), code),
        ("prompt=none login", with("prompt", "none login"), invalid),
        ("prompt=consent none", with("prompt", "consent none"), invalid),
        ("prompt unknown", with("prompt", "register"), invalid),
        ("prompt of other case", with("prompt", "None"), invalid),
        ("prompt=create", with("prompt", "create"), invalid),
        ("request", with("request", "eyJ.eyJ.x"), "query invalid_request_object"),
        ("request_uri", with("request_uri", "https://rp.example/r"), "query invalid_request_uri"),
        ("registration", with("registration", "{}"), "query registration_not_supported"),
        ("id_token_hint of letters", with("id_token_hint", "abc"), invalid),
        ("id_token_hint unsigned", with("id_token_hint", "eyJhbGciOiJub25lIn0.e30."), invalid),
    ];
    table(&mut signed_in(1).await, rows).await;
}

/// CO-08, CO-09.
#[tokio::test]
async fn proof_key() {
    let public = |name: &str, value: &str| PUBLIC.request().set(name, value);
    let bare = |client: &Client| {
        client
            .request()
            .without("code_challenge")
            .without("code_challenge_method")
    };
    let refused = "query invalid_request";
    #[rustfmt::skip]
    let rows = vec![
        ("S256", PUBLIC.request(), "query code"),
        ("a confidential client without", bare(&WEB), "query code"),
        ("a public client without", bare(&PUBLIC), refused),
        ("plain", public("code_challenge_method", "plain"), refused),
        ("no method means plain", PUBLIC.request().without("code_challenge_method"), refused),
        ("of other case", public("code_challenge_method", "s256"), refused),
        ("unknown method", public("code_challenge_method", "S512"), refused),
        ("method alone", PUBLIC.request().without("code_challenge"), refused),
        ("method alone, confidential", WEB.request().without("code_challenge"), refused),
        ("empty", public("code_challenge", ""), refused),
        ("42 characters", public("code_challenge", &CHALLENGE[1..]), refused),
        ("44 characters", public("code_challenge", &format!("{CHALLENGE}A")), refused),
        ("129 characters", public("code_challenge", &"a".repeat(129)), refused),
        ("padded", public("code_challenge", &format!("{}=", &CHALLENGE[1..])), refused),
        ("base64, not base64url", public("code_challenge", &CHALLENGE.replace('-', "+")), refused),
    ];
    table(&mut signed_in(2).await, rows).await;
}

/// AZ-06.
#[tokio::test]
async fn no_parameter_comes_twice() {
    #[rustfmt::skip]
    let optional = [
        ("response_mode", "query"), ("prompt", "none"), ("max_age", "1000"), ("login_hint", "a"), ("display", "page"),
        ("ui_locales", "en"), ("acr_values", "a"), ("claims", "{}"), ("claims_locales", "en"),
        ("id_token_hint", "x"), ("request", "x"), ("request_uri", "x"), ("registration", "x"),
    ];
    let all = WEB.request().with(&optional);
    let mut rows = Vec::new();
    for name in all.names() {
        let value = all.first(name).unwrap();
        for (how, second) in [("the same", value), ("another", "other"), ("empty", "")] {
            let outcome = match name {
                "client_id" | "redirect_uri" => "page 400",
                _ => "query invalid_request",
            };
            let row = format!("{name}, {how}");
            rows.push((
                row,
                WEB.request().set(name, value).and(name, second),
                outcome,
            ));
        }
    }
    let rows = rows
        .iter()
        .map(|(row, request, outcome)| (row.as_str(), request.clone(), *outcome));
    let mut person = signed_in(3).await;
    table(&mut person, rows.collect()).await;

    // One in the query, one in the body.
    for name in ["client_id", "scope", "state"] {
        let place = format!("/authorize?{name}=x");
        let answer = person.submit(&place, &WEB.request().encode()).await;
        let landing = person.follow("/authorize", answer).await;
        assert_eq!(landing.outcome(), "page 400", "{name}");
    }
    let answer = person
        .submit("/authorize?foo=x", &WEB.request().encode())
        .await;
    assert_eq!(
        person.follow("/authorize", answer).await.outcome(),
        "query code"
    );
}

/// A form that another site posts comes without cookies (`SameSite=Lax`); the session counts all the same, and the
/// browser stays the one that it was.
#[tokio::test]
async fn posted_by_another_site() {
    let mut person = signed_in(4).await;
    let request = WEB.request().set("prompt", "none");
    let answer = Person::new(&person.site, 4)
        .submit("/authorize", &request.encode())
        .await;
    assert_eq!(answer.status, 303, "{}", answer.text());
    assert_eq!(answer.header("set-cookie"), "");
    let answer = person.open(answer.header("location")).await;
    let landing = person.follow("/authorize", answer).await;
    assert_eq!(landing.outcome(), "query code");
}

/// AZ-10, AZ-21.
#[tokio::test]
async fn odd_states_come_back_as_they_were() {
    let mut person = signed_in(4).await;
    let states = [
        "\r\nSet-Cookie: x=1\r\n\r\n<html>".to_owned(),
        "\0\0\0\0\0\0\0\0".to_owned(),
        "a&b=c#d?e%41+ ".to_owned(),
        "\u{202e}txt.exe".to_owned(),
        "éééé".to_owned(),
        "\"><svg onload=alert(1)>'".to_owned(),
        "s".repeat(4096),
    ];
    for state in &states {
        for mode in ["query", "fragment", "form_post"] {
            let request = WEB.request().set("state", state).set("response_mode", mode);
            for request in [request.clone(), request.set("scope", "zzz")] {
                let landing = person.authorize(&request).await;
                check(mode, &request, &landing, person.site.issuer());
                assert!(
                    !landing.answer.headers.contains_key("set-cookie"),
                    "{state:?}"
                );
                assert!(!landing.answer.text().contains("<svg"), "{state:?}");
            }
        }
    }
    // Too long to be sent back: a page, wherever it stands.
    let landing = person
        .authorize(&WEB.request().set("state", &"s".repeat(4097)))
        .await;
    assert_eq!(landing.outcome(), "page 400");
    let landing = person
        .authorize_by_post(&WEB.request().set("state", &"s".repeat(16 * 1024)))
        .await;
    assert_eq!(landing.outcome(), "page 400");
}

/// OpenID Connect Core §3.1.2.1, JO-17: a hint is an ID token of ours, of any client; nothing else that we signed is.
#[tokio::test]
async fn hints() {
    let mut person = signed_in(5).await;
    let mine = JWT.tokens(&mut person, "openid").await;
    let theirs = WEB
        .tokens(&mut Person::new(&person.site.clone(), 6), "openid")
        .await;
    let id_token = mine["id_token"].as_str().unwrap();
    let (head, signature) = id_token.rsplit_once('.').unwrap();
    let forged = format!(
        "{head}.{}{}",
        if signature.starts_with('A') { "B" } else { "A" },
        &signature[1..]
    );
    let hint = |hint: &str| {
        WEB.request()
            .set("prompt", "none")
            .set("id_token_hint", hint)
    };
    #[rustfmt::skip]
    let rows = vec![
        ("mine", hint(id_token), "query code"),
        ("another person's", hint(theirs["id_token"].as_str().unwrap()), "query login_required"),
        ("forged", hint(&forged), "query invalid_request"),
        ("without signature", hint(&format!("{head}.")), "query invalid_request"),
        ("an access token", hint(mine["access_token"].as_str().unwrap()), "query invalid_request"),
        ("long", hint(&"a.".repeat(4000)), "query invalid_request"),
    ];
    table(&mut person, rows).await;
}

/// S2-U16: where the configuration names a page about errors, every error says where it is.
#[tokio::test]
async fn errors_name_a_page() {
    let stack = stack::start(&stack::Options {
        tables: "[errors]\nuri = \"https://docs.example/errors?v=1\"\n",
        ..stack::Options::default()
    });
    let site = stack.site();
    let mut person = Person::new(&site, 0);
    for (mode, scope) in [("query", "zzz"), ("fragment", "zzz"), ("form_post", "zzz")] {
        let request = WEB.request().set("response_mode", mode).set("scope", scope);
        let landing = person.authorize(&request).await;
        assert_eq!(landing.outcome(), format!("{mode} invalid_scope"));
        assert_eq!(
            landing.field("error_uri"),
            "https://docs.example/errors?v=1#invalid_scope"
        );
    }
    let landing = person.authorize(&WEB.request()).await;
    assert_eq!(landing.outcome(), "query code");
    assert!(!landing.fields.contains_key("error_uri"), "{landing:?}");
    let answer = WEB.redeem(&site, "x").await;
    assert_eq!(answer.status, 400, "{}", answer.text());
    assert_eq!(
        answer.json()["error_uri"],
        "https://docs.example/errors?v=1#invalid_grant"
    );
}
