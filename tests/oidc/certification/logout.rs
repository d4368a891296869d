//! The logout profiles: RP-Initiated, Front-Channel, Back-Channel, Session Management (S2-U14). After each, the person is
//! signed out: `prompt=none` says so.

use http::Method;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::answers::Login;
use super::relying_party::{Auth, RelyingParty};
use super::{alice, row};
use crate::page::Page;
use crate::params::Params;
use crate::person::Person;
use crate::site::{Answer, form_of};
use crate::verified::header;

const AFTER: &str = "https://rp.test/post_logout_redirect";
const STATE: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef\
                     0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

async fn client(response_type: &str, more: Value) -> RelyingParty {
    RelyingParty::with(Auth::Basic, response_type, |server, _| {
        let mut members = json!({"post_logout_redirect_uris": [AFTER]});
        for (name, value) in more.as_object().unwrap() {
            // A path is one of the relying party's server.
            members[name] = match value.as_str() {
                Some(path) if path.starts_with('/') => json!(server.put(path, "text/plain", "")),
                _ => value.clone(),
            };
        }
        members
    })
    .await
}

async fn leave(rp: &RelyingParty, person: &mut Person, params: &Params) -> Answer {
    let place = rp.endpoint("end_session_endpoint");
    person.open(&format!("{place}?{}", params.encode())).await
}

/// The usual request.
fn asked(login: &Login) -> Params {
    Params::of(&[
        ("id_token_hint", &login.id_token),
        ("post_logout_redirect_uri", AFTER),
        ("state", STATE),
    ])
}

/// Nobody is signed in any more, or somebody still is.
async fn check_signed_out(rp: &RelyingParty, person: &mut Person, is_out: bool) {
    let request = rp.request().set("prompt", "none");
    let landing = rp.authorize(person, &request).await;
    match is_out {
        true => rp.check_error(&request, &landing, "login_required"),
        false => drop(rp.finish(&request, &landing).await),
    }
}

/// Presses the button that confirms.
async fn confirm(person: &mut Person, answer: &Answer) -> Answer {
    let page = Page::parse(&answer.text());
    assert!(page.has("logout-confirm"), "{}", answer.text());
    let form = page.filled(&[], "logout-confirm");
    person.submit(&page.action, &form.encode()).await
}

/// What the person sees at the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sees {
    /// Back at the client, with the state.
    Client(&'static str),
    /// Asked first, then told.
    Confirmation,
    /// Told.
    Goodbye,
    /// The error page.
    Error,
    /// Either of the last but one: no redirect.
    Refusal,
}

#[tokio::test]
async fn rp_initiated() {
    let rp = client("code", json!({})).await;
    let other = client("code", json!({})).await;
    let mut person = alice();
    let first = rp.login(&mut person, &rp.request()).await;
    // Signed by the relying party, and by nobody.
    let claims = crate::verified::payload(&first.id_token);
    let foreign = rp.sign("RS256", &claims);
    let unsigned = format!(
        "{}.",
        crate::assertion::signing_input(&json!({"alg": "none"}), &claims)
    );
    let full = |login: &Login| asked(login);
    type Change<'a> = &'a dyn Fn(&Login) -> Params;
    #[rustfmt::skip]
    let rows: [(&str, Change<'_>, Sees); 12] = [
        ("oidcc-rp-initiated-logout", &full, Sees::Client(STATE)),
        ("oidcc-rp-initiated-logout-no-state", &|login| asked(login).without("state"), Sees::Client("")),
        ("oidcc-rp-initiated-logout-no-params", &|_| Params::default(), Sees::Confirmation),
        ("oidcc-rp-initiated-logout-only-state", &|_| Params::of(&[("state", STATE)]), Sees::Confirmation),
        (
            "oidcc-rp-initiated-logout-no-post-logout-redirect-uri",
            &|login| asked(login).without("post_logout_redirect_uri"),
            Sees::Goodbye,
        ),
        ("oidcc-rp-initiated-logout-no-id-token-hint", &|login| asked(login).without("id_token_hint"), Sees::Refusal),
        (
            "oidcc-rp-initiated-logout-bad-post-logout-redirect-uri",
            &|login| asked(login).set("post_logout_redirect_uri", "https://rp.test/elsewhere"),
            Sees::Error,
        ),
        (
            "oidcc-rp-initiated-logout-query-added-to-post-logout-redirect-uri",
            &|login| asked(login).set("post_logout_redirect_uri", &format!("{AFTER}?foo=bar")),
            Sees::Error,
        ),
        ("oidcc-rp-initiated-logout-bad-id-token-hint", &|login| asked(login).set("id_token_hint", &foreign), Sees::Error),
        (
            "oidcc-rp-initiated-logout-modified-id-token-hint",
            &|login| asked(login).set("id_token_hint", &unsigned),
            Sees::Error,
        ),
        ("another client's redirect", &|login| asked(login).set("client_id", other.id()), Sees::Error),
        ("oidcc-rp-initiated-logout, the client named", &|login| asked(login).set("client_id", rp.id()), Sees::Client(STATE)),
    ];
    for (module, change, sees) in rows {
        row("RP-Initiated Logout", "code", module);
        let login = rp.login(&mut person, &rp.request()).await;
        let answer = leave(&rp, &mut person, &change(&login)).await;
        let heading = Page::parse(&answer.text()).heading;
        match sees {
            Sees::Client(state) => check_back(&answer, state),
            Sees::Confirmation => {
                check_signed_out(&rp, &mut person, false).await;
                let answer = confirm(&mut person, &answer).await;
                assert_eq!(Page::parse(&answer.text()).heading, "You are logged out");
            }
            Sees::Goodbye => assert_eq!(
                (answer.status, heading.as_str()),
                (200, "You are logged out")
            ),
            Sees::Error => assert_eq!((answer.status, heading.as_str()), (400, "Logout error")),
            Sees::Refusal => assert_ne!(answer.status, 303),
        }
        let is_out = !matches!(sees, Sees::Error | Sees::Refusal);
        check_signed_out(&rp, &mut person, is_out).await;
    }
    row("RP-Initiated Logout", "code", "by POST");
    let login = rp.login(&mut person, &rp.request()).await;
    let place = rp.endpoint("end_session_endpoint");
    let answer = person.submit(place, &asked(&login).encode()).await;
    check_back(&answer, STATE);
    check_signed_out(&rp, &mut person, true).await;
}

/// The browser is sent back, with the state and nothing else.
#[track_caller]
fn check_back(answer: &Answer, state: &str) {
    assert_eq!(answer.status, 303, "{}", answer.text());
    check_target(answer.header("location"), state);
}

#[track_caller]
fn check_target(location: &str, state: &str) {
    let expected = match state {
        "" => AFTER.to_owned(),
        state => format!("{AFTER}?state={state}"),
    };
    assert_eq!(location, expected);
}

/// oidcc-frontchannel-rp-initiated-logout: a frame for each client of the session that wants one, then the client.
#[tokio::test]
async fn front_channel() {
    // §2: where one of the redirect URIs is.
    let wants = |number| {
        json!({
            "frontchannel_logout_uri": format!("https://rp.test/frontchannel_logout/{number}"),
            "frontchannel_logout_session_required": true,
        })
    };
    for response_type in ["code", "id_token", "code id_token"] {
        row(
            "Front-Channel Logout",
            response_type,
            "oidcc-frontchannel-rp-initiated-logout",
        );
        let rp = client(response_type, wants(1)).await;
        let (also, stranger) = (
            client("code", wants(2)).await,
            client("code", wants(3)).await,
        );
        let mut person = alice();
        let login = rp.login(&mut person, &rp.request()).await;
        let second = also.login(&mut person, &also.request()).await;
        stranger.login(&mut alice(), &stranger.request()).await;
        let sid = login.claims()["sid"].as_str().expect("sid").to_owned();
        assert_eq!(second.claims()["sid"], sid.as_str(), "one session");

        let answer = leave(&rp, &mut person, &asked(&login)).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        let page = answer.text();
        let frames = attributes(&page, "iframe", "src");
        assert_eq!(frames.len(), 2, "{frames:?}");
        for rp in [&rp, &also] {
            let uri = rp.client["frontchannel_logout_uri"].as_str().unwrap();
            let frame = frames
                .iter()
                .find_map(|frame| frame.strip_prefix(&format!("{uri}?")));
            let told = Params::decode(frame.expect("a frame")).into_map();
            let names: Vec<&str> = told.keys().map(String::as_str).collect();
            assert_eq!(names, ["iss", "sid"]);
            assert_eq!(
                (told["iss"].as_str(), told["sid"].as_str()),
                (rp.site.issuer(), sid.as_str())
            );
            let policy = answer.header("content-security-policy");
            assert!(policy.contains("frame-src https://rp.test"), "{policy}");
        }
        let targets = attributes(&page, "a", "href");
        let target = targets.iter().find(|target| target.starts_with(AFTER));
        check_target(target.expect("a way on"), STATE);
        check_signed_out(&rp, &mut person, true).await;
    }
}

/// An attribute of each element of this name.
fn attributes(html: &str, element: &str, attribute: &str) -> Vec<String> {
    let begin = format!("{attribute}=\"");
    html.split(&format!("<{element} "))
        .skip(1)
        .filter_map(|rest| rest.split_once('>')?.0.split_once(begin.as_str()))
        .filter_map(|(_, rest)| rest.split_once('"'))
        .map(|(value, _)| value.replace("&#38;", "&").replace("&amp;", "&"))
        .collect()
}

/// oidcc-backchannel-rp-initiated-logout: a logout token (Back-Channel Logout §2.4) by POST, over TLS 1.3.
#[tokio::test]
async fn back_channel() {
    let wants = json!({"backchannel_logout_uri": "/backchannel_logout", "backchannel_logout_session_required": true});
    let mut encrypted = wants.clone();
    encrypted["id_token_encrypted_response_alg"] = json!("RSA-OAEP");
    let mut signed = wants.clone();
    signed["id_token_signed_response_alg"] = json!("ES256");
    for (name, wants) in [("", wants), ("encrypted", encrypted), ("ES256", signed)] {
        for response_type in ["code", "code id_token"] {
            row(
                "Back-Channel Logout",
                response_type,
                &format!("oidcc-backchannel-rp-initiated-logout {name}"),
            );
            let rp = client(response_type, wants.clone()).await;
            let mut person = alice();
            let login = rp.login(&mut person, &rp.request()).await;
            let answer = leave(&rp, &mut person, &asked_plain(&rp, &login)).await;
            check_back(&answer, STATE);
            check_logout_token(&rp, &login).await;
            check_signed_out(&rp, &mut person, true).await;
        }
    }
}

/// Who has encrypted ID tokens names itself, for the provider cannot read the hint; the hint is then decrypted.
fn asked_plain(rp: &RelyingParty, login: &Login) -> Params {
    asked(login).set("id_token_hint", &rp.decrypted(&login.id_token, "id_token"))
}

async fn check_logout_token(rp: &RelyingParty, login: &Login) {
    let seen = rp.server.seen("/backchannel_logout").await;
    assert_eq!(
        (seen.method.as_str(), seen.tls.as_str()),
        ("POST", "TLSv1_3")
    );
    assert_eq!(seen.content_type, "application/x-www-form-urlencoded");
    let body = Params::decode(&seen.body).into_map();
    assert_eq!(body.len(), 1, "{body:?}");
    let token = rp.decrypted(&body["logout_token"], "id_token");
    let claims = rp.verified(&token, &rp.id_token_alg()).await;
    assert_eq!(header(&token)["typ"], "logout+jwt");
    let event = &claims["events"]["http://schemas.openid.net/event/backchannel-logout"];
    assert_eq!(*event, json!({}));
    assert_eq!(claims["events"].as_object().unwrap().len(), 1);
    assert!(claims["jti"].is_string() && claims["iat"].is_u64() && claims["exp"].is_u64());
    assert_eq!(claims.get("nonce"), None);
    for name in ["sub", "sid"] {
        assert_eq!(claims[name], login.claims()[name], "{name}");
    }
    assert_eq!(claims["aud"], rp.id());
}

/// oidcc-session-management-rp-initiated-logout: the hash of `session_state` (§2) holds before the logout and not after.
#[tokio::test]
async fn session_management() {
    for response_type in ["code", "id_token token"] {
        row(
            "Session Management",
            response_type,
            "oidcc-session-management-rp-initiated-logout",
        );
        let rp = client(response_type, json!({})).await;
        let mut person = alice();
        let login = rp.login(&mut person, &rp.request()).await;
        assert!(holds(&rp, &person, &login.session_state));
        let page = rp.site.get(rp.endpoint("check_session_iframe")).await;
        assert_eq!(page.status, 200);
        assert_eq!(page.header("x-frame-options"), "", "it is for frames");
        let answer = leave(&rp, &mut person, &asked(&login)).await;
        check_back(&answer, STATE);
        assert!(!holds(&rp, &person, &login.session_state));
    }
}

/// What the frame's script computes with the cookie that scripts may read.
fn holds(rp: &RelyingParty, person: &Person, session_state: &str) -> bool {
    let (_, salt) = session_state.split_once('.').expect("a salt");
    let mut cookies = person.cookies.iter();
    let state = cookies.find(|(name, _)| name.ends_with("signet-state"));
    let state = state.map_or("", |(_, value)| value);
    let hash = Sha256::digest(format!("{} https://rp.test {state} {salt}", rp.id()));
    format!("{}.{salt}", URL_SAFE_NO_PAD.encode(hash)) == session_state
}

/// Logout without a session, and from nowhere, is no error (RP-Initiated Logout §2).
#[tokio::test]
async fn nobody_there() {
    row("RP-Initiated Logout", "", "nobody is signed in");
    let rp = client("code", json!({})).await;
    let place = rp.endpoint("end_session_endpoint");
    let answer = rp.site.get(place).await;
    assert_eq!(answer.status, 200);
    let posted = form_of(rp.site.request(Method::POST, place), "");
    assert!(rp.site.send(posted).await.status < 400);
}
