//! Claims of the configuration's own, by scope and by client, where they are to be. S0-4, S4-12, S2-18.

use serde_json::{Value, json};

use crate::client::Client;
use crate::params::Params;
use crate::person::Person;
use crate::site::Site;
use crate::tailored::{self, PLAIN, PLAIN_JWT, SPECIAL, person};
use crate::verified::{id_token, keys, verify};

const LEVEL: &str = "https://rp.example/claims/level";
const HASH: &str = "http://coreos.com/password/old-hash";

async fn userinfo(site: &Site, token: &str) -> Value {
    let request = site
        .request(http::Method::GET, "/userinfo")
        .header("authorization", format!("Bearer {token}"));
    site.send(request.body(Vec::new()).unwrap()).await.json()
}

/// What is told in an ID token, userinfo, an access token (if it can be read) and an introspection.
async fn told(site: &Site, person: &mut Person, client: &Client, scope: &str) -> [Value; 4] {
    let tokens = client.tokens(person, scope).await;
    let token = tokens["access_token"].as_str().unwrap();
    let access_token = match token.matches('.').count() {
        2 => {
            let audience = "https://api.example";
            verify(site, &keys(site).await, token, ("at+jwt", audience))
        }
        _ => Value::Null,
    };
    [
        id_token(site, client.id, &tokens).await,
        userinfo(site, token).await,
        access_token,
        client.introspect(site, token).await,
    ]
}

#[tokio::test]
async fn where_they_are_told() {
    let site = tailored::site();
    let mut person = person(&site, "worker");
    let (plain, wide) = ("openid email", "openid email hr");
    let none = Value::Null;
    let acme = json!("acme");
    let level = json!({"n": 7, "of": ["a", 1.5, true]});
    #[rustfmt::skip]
    let rows = [
        ("S0-4 static, everywhere", PLAIN, plain, "tenant", [&acme, &acme, &none, &acme]),
        ("S0-4 static, everywhere, JWT", PLAIN_JWT, plain, "tenant", [&acme, &acme, &acme, &acme]),
        ("S0-4 by scope, not asked for", PLAIN_JWT, plain, "department", [&none; 4]),
        ("S0-4 from an attribute, by scope", PLAIN_JWT, wide, "department", [&none, &json!("R&D"), &none, &none]),
        ("S0-4 a value of any form, named by a URI, not asked for", PLAIN_JWT, plain, LEVEL, [&none; 4]),
        ("S0-4 a value of any form, named by a URI", PLAIN_JWT, wide, LEVEL, [&level, &none, &level, &none]),
        ("S4-12 a URI, for one client", SPECIAL, plain, HASH, [&json!("$2a$04$x"), &json!("$2a$04$x"), &none, &json!("$2a$04$x")]),
        ("S4-12 not for another", PLAIN, plain, HASH, [&none; 4]),
        ("an attribute that the person has not", PLAIN, plain, "nobody_has_it", [&none; 4]),
        ("S0-4 instead of a standard claim", SPECIAL, plain, "email", [&none, &json!("w@work.example"), &none, &none]),
        ("the standard claim", PLAIN, plain, "email", [&none, &json!("wanda@example.com"), &none, &none]),
        ("an attribute is no claim by itself", PLAIN, wide, "unit", [&none; 4]),
    ];
    for (row, client, scope, name, expected) in rows {
        let told = told(&site, &mut person, &client, scope).await;
        let found: Vec<&Value> = told
            .iter()
            .map(|claims| claims.get(name).unwrap_or(&Value::Null))
            .collect();
        assert_eq!(found, expected, "{row}: {told:?}");
    }
}

/// A client has static claims for itself; nobody's attributes.
#[tokio::test]
async fn of_a_client_itself() {
    let site = tailored::site();
    let form = Params::of(&[("grant_type", "client_credentials"), ("scope", "hr")]);
    let tokens = PLAIN_JWT.post(&site, "/token", form).await.json();
    let token = tokens["access_token"].as_str().unwrap();
    let claims = verify(
        &site,
        &keys(&site).await,
        token,
        ("at+jwt", "https://api.example"),
    );
    assert_eq!(claims["tenant"], "acme", "S0-4");
    assert_eq!(claims[LEVEL]["n"], 7, "S0-4");
    assert!(claims.get("department").is_none());
    let said = PLAIN_JWT.introspect(&site, token).await;
    assert_eq!(said["tenant"], "acme", "S0-4");
}

#[tokio::test]
async fn they_are_advertised() {
    let site = tailored::site();
    let metadata = site.get("/.well-known/openid-configuration").await.json();
    let has = |member: &str, value: &str| {
        let values = metadata[member].as_array().unwrap();
        values.iter().filter(|each| *each == value).count()
    };
    #[rustfmt::skip]
    let rows = [
        ("S0-4 a scope", "scopes_supported", "hr", 1),
        ("S0-4 a claim", "claims_supported", "department", 1),
        ("S4-12 a URI", "claims_supported", LEVEL, 1),
        ("a standard claim, once", "claims_supported", "email", 1),
        ("for one client alone: nobody else's business", "claims_supported", HASH, 0),
        ("an attribute", "claims_supported", "unit", 0),
        ("S2-U11 a language", "claims_locales_supported", "ja-Kana-JP", 1),
    ];
    for (row, member, value, count) in rows {
        assert_eq!(has(member, value), count, "{row}: {}", metadata[member]);
    }
}
