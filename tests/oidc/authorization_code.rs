//! Authorization codes (RFC 6749 §4.1.3, RFC 7636 §4.6): bound to what they were asked for, good once, and not burned
//! by who has no right to them. CO-02, CO-04, CO-06, CO-08, CO-09, CO-10, CO-13, CO-14.

use std::collections::HashSet;

use crate::client::{CHALLENGE, VERIFIER};
use crate::person::Person;
use crate::registration::{JWT, PUBLIC, WEB, signing, signing_rs};
use crate::stack;
use crate::verified::{at_hash, id_token};

const INVALID: &str = "400 invalid_grant";

#[tokio::test]
async fn bound_to_client_redirect_uri_and_verifier() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 26);
    let other_verifier = "A".repeat(43);
    let long = "a".repeat(129);
    #[rustfmt::skip]
    let rows: Vec<(&str, &str, &str, &str)> = vec![
        ("no verifier", "code_verifier", "", INVALID),
        ("another verifier", "code_verifier", &other_verifier, INVALID),
        ("of other case", "code_verifier", "DBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", INVALID),
        ("the challenge itself", "code_verifier", CHALLENGE, INVALID),
        ("42 characters", "code_verifier", &VERIFIER[1..], INVALID),
        ("129 characters", "code_verifier", &long, INVALID),
        ("odd characters", "code_verifier", "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEj%k", INVALID),
        ("no redirect_uri", "redirect_uri", "", "400 invalid_request"),
        ("another of its own", "redirect_uri", "https://rp.example/other", INVALID),
        ("a slash more", "redirect_uri", "https://rp.example/cb/", INVALID),
        ("a stranger's", "redirect_uri", "https://evil.test/", INVALID),
    ];
    let code = person.code(&WEB, "openid").await;
    // CO-13: whoever has the code alone cannot burn it, however often they try.
    for (row, name, value, outcome) in &rows {
        let answer = WEB
            .post(&site, "/token", WEB.redemption(&code).set(name, value))
            .await;
        assert_eq!(answer.outcome(), *outcome, "{row}");
    }
    for client in [PUBLIC, JWT, signing()] {
        let form = client
            .redemption(&code)
            .set("redirect_uri", WEB.redirect_uri);
        assert_eq!(
            client.post(&site, "/token", form).await.outcome(),
            INVALID,
            "{}",
            client.id
        );
    }
    let answer = WEB.redeem(&site, &code).await;
    assert_eq!(answer.outcome(), "200", "{}", answer.text());

    // CO-08: a verifier where there was no challenge.
    let bare = WEB
        .request()
        .without("code_challenge")
        .without("code_challenge_method");
    let code = person.authorize(&bare).await.code();
    assert_eq!(
        WEB.redeem(&site, &code).await.outcome(),
        INVALID,
        "a verifier without a challenge"
    );
    let form = WEB.redemption(&code).without("code_verifier");
    assert_eq!(WEB.post(&site, "/token", form).await.outcome(), "200");
}

#[tokio::test]
async fn what_the_id_token_says() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 27);
    for client in [WEB, PUBLIC, JWT, signing(), signing_rs()] {
        let tokens = client.tokens(&mut person, "openid profile email").await;
        let claims = id_token(&site, client.id, &tokens).await;
        let mut members: Vec<_> = claims
            .as_object()
            .unwrap()
            .keys()
            .map(String::as_str)
            .collect();
        members.sort_unstable();
        // Nothing that nobody asked for: claims by scope are for userinfo.
        let all = [
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
        ];
        assert_eq!(members, all, "{}", client.id);
        assert_eq!(
            claims["at_hash"],
            at_hash(tokens["access_token"].as_str().unwrap()),
            "{}",
            client.id
        );
        assert_eq!(
            (&claims["nonce"], &claims["azp"]),
            (&"some nonce".into(), &client.id.into())
        );
        assert_eq!(
            claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(),
            3600
        );
    }
    let bare = WEB.request().without("nonce");
    let code = person.authorize(&bare).await.code();
    let tokens = WEB.redeem(&site, &code).await.json();
    assert!(
        id_token(&site, WEB.id, &tokens)
            .await
            .get("nonce")
            .is_none()
    );
}

/// CO-02: a code that comes again has leaked.
#[tokio::test]
async fn reuse_takes_everything_back() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 28);
    for client in [WEB, JWT, PUBLIC] {
        // A public client does not introspect; what it has, userinfo tells.
        let code = person.code(&client, "openid offline_access").await;
        let first = client.redeem(&site, &code).await.json();
        let refresh_token = first["refresh_token"].as_str().unwrap();
        let second = client.refresh(&site, refresh_token).await.json();
        let access: Vec<&str> = [&first, &second]
            .iter()
            .map(|tokens| tokens["access_token"].as_str().unwrap())
            .collect();
        for token in &access {
            assert_eq!(userinfo(&site, token).await, 200, "{}", client.id);
        }
        assert_eq!(
            client.redeem(&site, &code).await.outcome(),
            INVALID,
            "{}",
            client.id
        );
        for token in &access {
            assert_eq!(userinfo(&site, token).await, 401, "{}", client.id);
            if client.id != PUBLIC.id {
                assert!(!client.is_active(&site, token).await, "{}", client.id);
            }
        }
        for token in [refresh_token, second["refresh_token"].as_str().unwrap()] {
            assert_eq!(
                client.refresh(&site, token).await.outcome(),
                INVALID,
                "{}",
                client.id
            );
        }
        assert_eq!(
            client.redeem(&site, &code).await.outcome(),
            INVALID,
            "{}",
            client.id
        );
    }
    // Another client's repeat of it revokes nothing.
    let code = person.code(&WEB, "openid").await;
    let tokens = WEB.redeem(&site, &code).await.json();
    let form = JWT.redemption(&code).set("redirect_uri", WEB.redirect_uri);
    assert_eq!(JWT.post(&site, "/token", form).await.outcome(), INVALID);
    assert_eq!(
        userinfo(&site, tokens["access_token"].as_str().unwrap()).await,
        200
    );
}

async fn userinfo(site: &crate::site::Site, token: &str) -> u16 {
    let request = site
        .request(http::Method::GET, "/userinfo")
        .header("authorization", format!("Bearer {token}"));
    site.send(request.body(Vec::new()).unwrap()).await.status
}

/// CO-04: every other string than the code is none. Then the code still works.
#[tokio::test]
async fn tampered() {
    let site = stack::shared().site();
    let mut person = Person::new(&site, 29);
    let code = person.code(&WEB, "openid").await;
    let other = person.code(&WEB, "openid").await;
    let mut mutants: Vec<String> = (1..code.len())
        .map(|length| code[..length].to_owned())
        .collect();
    mutants.extend((1..code.len()).map(|begin| code[begin..].to_owned()));
    for (at, character) in code.char_indices() {
        let flipped = if character == 'A' { 'B' } else { 'A' };
        mutants.push(format!("{}{flipped}{}", &code[..at], &code[at + 1..]));
        // Another spelling of the same bits must be another code.
        let neighbour = char::from(code.as_bytes()[at] ^ 1);
        mutants.push(format!("{}{neighbour}{}", &code[..at], &code[at + 1..]));
    }
    let (tag, secret) = code.split_once('.').unwrap();
    let (other_tag, other_secret) = other.split_once('.').unwrap();
    mutants.extend([
        format!("{tag}.{other_secret}"),
        format!("{other_tag}.{secret}"),
        format!("{secret}.{tag}"),
        format!("{code}A"),
        format!("{code}="),
        format!("{code}.A"),
        format!("A{code}"),
        format!("{code} "),
        format!(" {code}"),
        format!("{code}\0"),
        format!("{code}\r\n"),
        format!("{tag}..{secret}"),
        code.to_uppercase(),
        code.to_lowercase(),
        code.replace('.', ""),
        code.replace('.', "%2E"),
        "*".to_owned(),
        format!("{tag}.*"),
        format!("{{{tag}}}.{secret}"),
        ".".to_owned(),
        "a".repeat(20_000),
    ]);
    for mutant in mutants.iter().filter(|mutant| **mutant != code) {
        let answer = WEB.redeem(&site, mutant).await;
        assert_eq!(answer.outcome(), INVALID, "{mutant:?} for {code}");
    }
    assert_eq!(WEB.redeem(&site, &code).await.outcome(), "200");
    assert_eq!(WEB.redeem(&site, &other).await.outcome(), "200");
}

/// CO-14: 256 random bits and a tag; nothing that counts.
#[tokio::test]
async fn codes_have_nothing_in_common() {
    let mut person = Person::new(&stack::shared().site(), 30);
    let mut codes = Vec::new();
    for _ in 0..200 {
        codes.push(person.code(&WEB, "openid").await);
    }
    let secret = |code: &str| code.split_once('.').unwrap().1.to_owned();
    assert!(codes.iter().all(|code| secret(code).len() == 43));
    assert_eq!(
        codes
            .iter()
            .map(|code| secret(code))
            .collect::<HashSet<_>>()
            .len(),
        codes.len()
    );
    for at in 0..42 {
        let seen: HashSet<u8> = codes
            .iter()
            .map(|code| secret(code).as_bytes()[at])
            .collect();
        assert!(
            seen.len() > 40,
            "position {at} shows {} of 64 characters in 200 codes",
            seen.len()
        );
    }
}
