//! Requests as objects that the client signed (OpenID Connect Core §6, RFC 9101), by value, by reference and encrypted:
//! once there is one, nothing but its claims counts. S2-27, S4-14, JO-16. What is fetched, `certification` looks at.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::assertion::{Key, now, signing_input};
use crate::client::{CHALLENGE, Client, Proof};
use crate::params::Params;
use crate::person::{Landing, Person};
use crate::registration::{PUBLIC, WEB, key_for, secret, signing};
use crate::site::Site;
use crate::stack;

const fn client(id: &'static str, redirect_uri: &'static str) -> Client {
    Client {
        id,
        redirect_uri,
        proof: Proof::Basic,
    }
}

/// Any algorithm that one of its keys is for.
pub(crate) const OBJECTS: Client = client(
    "objects-of-every-kind-of-signature",
    "https://objects.example/cb",
);
/// ES256 alone.
const ONE: Client = client("objects-es", "https://objects-es.example/cb");
/// HS256, HS384 or HS512 alone. HS512 needs 64 octets of secret, and the secret holds the name.
const SECRETS: [(&str, Client); 3] = [
    (
        "HS256",
        client("objects-hs", "https://objects-hs.example/cb"),
    ),
    (
        "HS384",
        client("objects-hs384", "https://objects-hs384.example/cb"),
    ),
    (
        "HS512",
        client(
            "objects-of-the-longest-shared-secret",
            "https://objects-hs512.example/cb",
        ),
    ),
];

const REQUEST_URI: &str = "https://objects.example/request.jwt#AYrS9Yn2";

/// For `registration::clients`.
pub(crate) fn clients() -> Vec<Value> {
    let metadata = |client: Client, members: Value| {
        let mut metadata = json!({
            "client_id": client.id,
            "client_secret": secret(client.id),
            "redirect_uris": [client.redirect_uri],
            "consent": "implicit",
        });
        for (name, value) in members.as_object().unwrap() {
            metadata[name] = value.clone();
        }
        metadata
    };
    let keys = ["RS256", "ES256", "ES384", "ES512", "EdDSA"].map(|alg| key_for(alg).unwrap().jwk());
    let by_secret =
        SECRETS.map(|(alg, client)| metadata(client, json!({"request_object_signing_alg": alg})));
    let by_key = vec![
        metadata(
            OBJECTS,
            json!({
                "jwks": {"keys": keys},
                "request_uris": [REQUEST_URI, "https://127.0.0.1:9/request.jwt"],
                "default_acr_values": ["loa9", "loa2"],
            }),
        ),
        metadata(
            ONE,
            json!({"jwks": {"keys": keys}, "request_object_signing_alg": "ES256"}),
        ),
    ];
    [by_key, by_secret.to_vec()].concat()
}

/// What stands beside an object for the sake of OAuth, and where an error goes.
pub(crate) fn outside(client: &Client) -> Params {
    Params::of(&[
        ("client_id", client.id),
        ("response_type", "code"),
        ("scope", "openid"),
        ("redirect_uri", client.redirect_uri),
        ("state", "from outside"),
    ])
}

/// The claims of a legal object.
pub(crate) fn claims(client: &Client, site: &Site) -> Value {
    json!({
        "iss": client.id, "aud": site.issuer(), "exp": now() + 60, "nbf": now(), "iat": now(), "jti": "x",
        "client_id": client.id, "response_type": "code", "scope": "openid",
        "redirect_uri": client.redirect_uri, "state": "from inside", "nonce": "some nonce",
        "code_challenge": CHALLENGE, "code_challenge_method": "S256",
    })
}

/// Signed by the client's own key, or its secret.
pub(crate) fn sign(client: &Client, alg: &str, claims: &Value) -> String {
    let hash = match alg {
        "HS256" => hmac::HMAC_SHA256,
        "HS384" => hmac::HMAC_SHA384,
        "HS512" => hmac::HMAC_SHA512,
        _ => {
            let key = key_for(alg).unwrap();
            let mut header = key.header();
            header["alg"] = alg.into();
            return key.sign(&header, claims);
        }
    };
    let input = signing_input(&json!({"alg": alg}), claims);
    let key = hmac::Key::new(hash, secret(client.id).as_bytes());
    let tag = hmac::sign(&key, input.as_bytes());
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(tag))
}

pub(crate) async fn signed_in(number: usize) -> Person {
    let mut person = Person::new(&stack::shared().site(), number);
    person.code(&WEB, "openid").await;
    person
}

/// A code with the state of the object, good for a token.
async fn succeeds(row: &str, person: &Person, client: &Client, landing: &Landing) {
    assert_eq!(landing.outcome(), "query code", "{row}: {landing:?}");
    assert_eq!(landing.field("state"), "from inside", "{row}");
    let answer = client.redeem(&person.site, &landing.code()).await;
    assert_eq!(answer.status, 200, "{row}: {}", answer.text());
}

/// S2-27, S4-14: whatever is advertised, and nothing else.
#[tokio::test]
async fn algorithms() {
    let mut person = signed_in(58).await;
    let site = person.site.clone();
    let document = site.get("/.well-known/openid-configuration").await.json();
    let advertised = document["request_object_signing_alg_values_supported"]
        .as_array()
        .unwrap()
        .clone();
    #[rustfmt::skip]
    let known = [
        "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
        "HS256", "HS384", "HS512",
    ];
    assert!(
        advertised
            .iter()
            .all(|alg| known.contains(&alg.as_str().unwrap()))
    );
    for alg in known {
        // A secret is kept as a key where it is registered to be one.
        let by_secret = SECRETS.iter().find(|(each, _)| *each == alg);
        let client = by_secret.map_or(&OBJECTS, |(_, client)| client);
        let object = sign(client, alg, &claims(client, &site));
        let request = outside(client).set("request", &object);
        let landing = person.authorize(&request).await;
        match advertised.contains(&json!(alg)) {
            true => succeeds(alg, &person, client, &landing).await,
            false => assert_eq!(landing.outcome(), "query invalid_request_object", "{alg}"),
        }
    }
    // As registered, and no other way.
    let refused = "query invalid_request_object";
    #[rustfmt::skip]
    let rows = [
        (ONE, "ES256", "query code"), (ONE, "RS256", refused), (ONE, "ES384", refused), (ONE, "HS256", refused),
        (SECRETS[0].1, "HS256", "query code"), (SECRETS[0].1, "HS512", refused), (SECRETS[0].1, "ES256", refused),
        (OBJECTS, "HS256", refused), (WEB, "HS256", refused), (WEB, "ES256", refused), (WEB, "HS512", refused),
        (PUBLIC, "ES256", refused),
    ];
    for (client, alg, outcome) in rows {
        let object = sign(&client, alg, &claims(&client, &site));
        let request = outside(&client).set("request", &object);
        let landing = person.authorize(&request).await;
        assert_eq!(landing.outcome(), outcome, "{alg} of {}", client.id);
    }
}

/// JO-16, and the nearest legal object beside each.
#[tokio::test]
async fn what_an_object_says() {
    let mut person = signed_in(59).await;
    let site = person.site.clone();
    let with = |members: &[(&str, Value)]| {
        let mut claims = claims(&OBJECTS, &site);
        for (name, value) in members {
            claims[*name] = value.clone();
        }
        claims
    };
    let without = |name: &str| {
        let claims = claims(&OBJECTS, &site);
        let kept = claims.as_object().unwrap().clone().into_iter();
        Value::Object(kept.filter(|(each, _)| each != name).collect::<Map<_, _>>())
    };
    let one = |name: &str, value: Value| with(&[(name, value)]);
    let us = site.issuer();
    let (code, refused, page) = ("query code", "query invalid_request_object", "page 400");
    #[rustfmt::skip]
    let rows: Vec<(&str, Value, &str)> = vec![
        ("as it should be", with(&[]), code),
        ("no claims about itself", with(&["iss", "aud", "exp", "nbf", "iat", "jti"].map(|name| (name, Value::Null))[5..]), code),
        ("no iss", without("iss"), code),
        ("another iss", one("iss", json!("web")), refused),
        ("iss is us", one("iss", json!(us)), refused),
        ("no aud", without("aud"), code),
        ("aud in a list", one("aud", json!([us, "https://other.example"])), code),
        ("another aud", one("aud", json!("https://other.example")), refused),
        ("a list of others", one("aud", json!(["https://other.example"])), refused),
        ("a list with an object", one("aud", json!([us, {}])), refused),
        ("no exp", without("exp"), code),
        ("expired just now", one("exp", json!(now() - 5)), code),
        ("expired", one("exp", json!(now() - 60)), refused),
        ("exp is text", one("exp", json!("9999999999")), refused),
        ("exp is negative", one("exp", json!(-1)), refused),
        ("begins in a moment", one("nbf", json!(now() + 5)), code),
        ("begins later", one("nbf", json!(now() + 60)), refused),
        ("an assertion", one("sub", json!(OBJECTS.id)), refused),
        ("no client_id", without("client_id"), code),
        ("another client_id", one("client_id", json!("web")), refused),
        ("no response_type", without("response_type"), code),
        ("another response_type", one("response_type", json!("token")), refused),
        ("no scope", without("scope"), code),
        ("another scope", one("scope", json!("openid email")), code),
        ("request within", one("request", json!("x")), refused),
        ("request_uri within", one("request_uri", json!(REQUEST_URI)), refused),
        ("max_age is a number", one("max_age", json!(1000)), code),
        ("max_age=0 is one too", with(&[("max_age", json!(0)), ("prompt", json!("none"))]), "query login_required"),
        ("claims is an object", one("claims", json!({"id_token": {"acr": null}})), code),
        ("claims asks the impossible", one("claims", json!({"id_token": {"acr": {"essential": true, "value": "9"}}})), "query unmet_authentication_requirements"),
        ("prompt is a list", one("prompt", json!(["none"])), refused),
        ("unknown claims", one("x", json!({"y": [1]})), code),
        // What stands outside does not count: neither the state nor the redirect URI.
        ("no redirect_uri", without("redirect_uri"), page),
        ("an unregistered redirect_uri", one("redirect_uri", json!("https://evil.test/")), page),
        ("nothing else to ask for", one("scope", json!("zzz")), "query invalid_scope"),
    ];
    for (row, claims, outcome) in rows {
        let object = sign(&OBJECTS, "ES256", &claims);
        for post in [false, true] {
            let request = outside(&OBJECTS).set("request", &object);
            let landing = match post {
                false => person.authorize(&request).await,
                true => person.authorize_by_post(&request).await,
            };
            assert_eq!(landing.outcome(), outcome, "{row}: {landing:?}");
            match outcome {
                "query code" => succeeds(row, &person, &OBJECTS, &landing).await,
                "page 400" => {}
                _ => {
                    let inside = outcome != refused;
                    let state = if inside {
                        "from inside"
                    } else {
                        "from outside"
                    };
                    assert_eq!(landing.field("state"), state, "{row}");
                    assert_eq!(landing.field("iss"), us, "{row}");
                }
            }
        }
    }
}

/// Forms that are no signature of the client's, and what may not stand beside an object.
#[tokio::test]
async fn what_is_no_request_object() {
    let mut person = signed_in(60).await;
    let site = person.site.clone();
    let claims = claims(&OBJECTS, &site);
    let good = sign(&OBJECTS, "ES256", &claims);
    let (head, signature) = good.rsplit_once('.').unwrap();
    let flipped = if signature.starts_with('A') { "B" } else { "A" };
    let typed = |typ: &str| {
        let key = key_for("ES256").unwrap();
        let mut header = key.header();
        header["typ"] = typ.into();
        key.sign(&header, &claims)
    };
    let stranger = Key::new("ec", "ES256");
    let unsigned = format!("{}.", signing_input(&json!({"alg": "none"}), &claims));
    let with = |object: &str| outside(&OBJECTS).set("request", object);
    let refused = "query invalid_request_object";
    #[rustfmt::skip]
    let rows = vec![
        ("control", with(&good), "query code"),
        ("typ JWT", with(&typed("JWT")), "query code"),
        ("typ of RFC 9101", with(&typed("oauth-authz-req+jwt")), "query code"),
        ("typ of an access token", with(&typed("at+jwt")), refused),
        ("unsigned", with(&unsigned), refused),
        ("unsigned with a signature", with(&format!("{unsigned}{signature}")), refused),
        ("without its signature", with(&format!("{head}.")), refused),
        ("forged", with(&format!("{head}.{flipped}{}", &signature[1..])), refused),
        ("another's key of that name", with(&stranger.sign(&stranger.header(), &claims)), refused),
        ("another client's object", with(&sign(&signing(), "ES256", &self::claims(&signing(), &site))), refused),
        ("text", with("x"), refused),
        ("dots", with(".."), refused),
        ("four dots", with("...."), refused),
        ("long", with(&"a".repeat(40 * 1024)), refused),
        ("twice", with(&good).and("request", &good), "query invalid_request"),
        ("by value and by reference", with(&good).set("request_uri", REQUEST_URI), "query invalid_request"),
        ("S2-27 an unregistered redirect URI outside", with(&good).set("redirect_uri", "https://evil.test/"), "query code"),
        ("no redirect URI outside", with(&good).without("redirect_uri"), "query code"),
        ("refused, and nowhere to say it", with(&unsigned).set("redirect_uri", "https://evil.test/"), "page 400"),
        ("refused, without redirect URI", with(&unsigned).without("redirect_uri"), "page 400"),
        ("no client_id outside", with(&good).without("client_id"), "page 400"),
        ("another client_id outside", with(&good).set("client_id", WEB.id).set("redirect_uri", WEB.redirect_uri), refused),
        ("only the client_id outside", Params::of(&[("client_id", OBJECTS.id), ("request", &good)]), "query code"),
        ("another response_type outside", with(&good).set("response_type", "none"), refused),
        ("more scope outside", with(&good).set("scope", "openid email"), "query code"),
        ("prompt=login outside does not count", with(&good).set("prompt", "login"), "query code"),
    ];
    for (row, request, outcome) in rows {
        // A query may not be so long.
        let landing = person.authorize_by_post(&request).await;
        assert_eq!(landing.outcome(), outcome, "{row}: {landing:?}");
        assert!(
            person.saw.is_empty() || outcome == "page 400",
            "{row}: {:?}",
            person.saw
        );
    }
}

/// S2-27: only from where it is registered, over https, and not from networks that are nobody's business. What can be
/// fetched is looked at in `certification`.
#[tokio::test]
async fn references() {
    let mut person = signed_in(61).await;
    let rows = [
        (
            "registered, and there is nobody",
            "https://127.0.0.1:9/request.jwt",
        ),
        (
            "with a fragment of its own",
            "https://127.0.0.1:9/request.jwt#other",
        ),
        ("not registered", "https://objects.example/other.jwt"),
        ("a query more", "https://127.0.0.1:9/request.jwt?x"),
        ("plain http", "http://127.0.0.1:9/request.jwt"),
        ("another scheme", "file:///etc/passwd"),
        ("a pushed request", "urn:ietf:params:oauth:request_uri:x"),
        ("text", "x"),
        ("long", &format!("https://127.0.0.1:9/{}", "a".repeat(3000))),
    ];
    for (row, uri) in rows {
        let request = outside(&OBJECTS).set("request_uri", uri);
        let landing = person.authorize(&request).await;
        assert_eq!(landing.outcome(), "query invalid_request_uri", "{row}");
        assert_eq!(landing.field("state"), "from outside", "{row}");
    }
}
