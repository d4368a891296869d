//! Client authentication (RFC 6749 §2.3, RFC 7523, OpenID Connect Core §9): exactly one method, and the registered one,
//! at each endpoint that asks for it. CA-01 to CA-06, JO-01 to JO-14 where a client's assertion can show them.

use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::Method;
use serde_json::{Value, json};

use crate::assertion::{self, Key, TYPE, claims, now, signing_input};
use crate::client::{Client, Proof, basic};
use crate::params::Params;
use crate::registration::{DISABLED, POST, PUBLIC, lenient, secret, signing, signing_rs};
use crate::site::{Answer, Site, form_of};
use crate::stack;

const REFUSED: &str = "401 invalid_client";
const INVALID: &str = "400 invalid_request";

/// A request whose own matter is in order, at each endpoint with client authentication.
async fn everywhere(site: &Site, row: &str, header: Option<&str>, form: &Params, outcome: &str) {
    #[rustfmt::skip]
    let rows = [
        ("/token", &[("grant_type", "client_credentials")][..]),
        ("/introspect", &[("token", "x")]),
        ("/revoke", &[("token", "x")]),
    ];
    for (path, own) in rows {
        let mut request = site.request(Method::POST, path);
        if let Some(header) = header {
            request = request.header("authorization", header);
        }
        let form = own
            .iter()
            .fold(form.clone(), |form, (name, value)| form.and(name, value));
        let answer = site.send(form_of(request, &form.encode())).await;
        assert_eq!(
            answer.outcome(),
            outcome,
            "{row} at {path}: {}",
            answer.text()
        );
        // RFC 6749 §5.2, RFC 7235 §3.1.
        let challenge = answer.header("www-authenticate");
        assert_eq!(
            challenge.starts_with("Basic "),
            answer.status == 401,
            "{row} at {path}"
        );
    }
}

/// CA-06.
#[tokio::test]
async fn basic_authentication() {
    let site = stack::shared().site();
    let right = secret("web");
    let encoded = |pair: &str| format!("Basic {}", STANDARD.encode(pair));
    let escaped = format!("%77eb:{}", right.replace('-', "%2d"));
    #[rustfmt::skip]
    let rows: Vec<(&str, String, &str)> = vec![
        ("control", basic("web", &right), "200"),
        ("form-encoded (§2.3.1)", encoded(&escaped), "200"),
        ("encoded twice", encoded(&escaped.replace('%', "%25")), REFUSED),
        ("wrong", basic("web", &secret("post")), REFUSED),
        ("of other case", basic("web", &right.to_uppercase()), REFUSED),
        ("a character more", basic("web", &format!("{right}x")), REFUSED),
        ("a character less", basic("web", &right[1..]), REFUSED),
        ("empty", basic("web", ""), REFUSED),
        ("no colon", encoded("web"), REFUSED),
        ("nobody", basic("", ""), REFUSED),
        ("unknown", basic("nobody", &right), REFUSED),
        ("another's id", basic("jwt", &right), REFUSED),
        ("disabled", basic(DISABLED.id, &secret(DISABLED.id)), REFUSED),
        ("public", basic(PUBLIC.id, ""), REFUSED),
        ("registered for the body", basic(POST.id, &secret(POST.id)), REFUSED),
        ("registered for assertions", basic(signing().id, "x"), REFUSED),
        ("a space before", basic(" web", &right), REFUSED),
        ("a space behind", basic("web", &format!("{right} ")), REFUSED),
        ("a line more", basic("web\n", &right), REFUSED),
        ("a long form of w", encoded(&format!("%C1%B7eb:{right}")), REFUSED),
        ("half an escape", encoded(&format!("web:{right}%")), REFUSED),
        ("no base64", "Basic !!!".to_owned(), REFUSED),
        ("two spaces", basic("web", &right).replace(' ', "  "), REFUSED),
        ("another scheme", format!("Bearer {}", STANDARD.encode(format!("web:{right}"))), REFUSED),
        ("scheme alone", "Basic".to_owned(), REFUSED),
    ];
    for (row, header, outcome) in rows {
        everywhere(&site, row, Some(&header), &Params::default(), outcome).await;
    }
    let twice = site
        .request(Method::POST, "/token")
        .header("authorization", basic("web", &right));
    let twice = twice.header("authorization", basic("web", &right));
    assert_eq!(
        site.send(form_of(twice, "grant_type=client_credentials"))
            .await
            .outcome(),
        INVALID
    );
}

/// §2.3: "The client MUST NOT use more than one authentication method in each request." CA-04.
#[tokio::test]
async fn one_method_and_the_registered_one() {
    let site = stack::shared().site();
    let form = |pairs: &[(&str, &str)]| Params::of(pairs);
    let (web, post) = (secret("web"), secret("post"));
    let header = basic("web", &web);
    let client = signing();
    let assertion = ec(client).sign(&ec(client).header(), &claims(client.id, site.issuer()));
    let asserted = |more: &[(&str, &str)]| {
        let form = Params::of(&[
            ("client_assertion_type", TYPE),
            ("client_assertion", &assertion),
        ]);
        form.with(more)
    };
    let saml = "urn:ietf:params:oauth:client-assertion-type:saml2-bearer";
    #[rustfmt::skip]
    let rows: Vec<(&str, Option<&str>, Params, &str)> = vec![
        ("body", None, form(&[("client_id", "post"), ("client_secret", &post)]), "200"),
        ("header and the same client_id", Some(&header), form(&[("client_id", "web")]), "200"),
        ("nothing", None, form(&[]), REFUSED),
        ("client_id alone", None, form(&[("client_id", "web")]), REFUSED),
        ("client_secret alone", None, form(&[("client_secret", &post)]), REFUSED),
        ("wrong in the body", None, form(&[("client_id", "post"), ("client_secret", &web)]), REFUSED),
        ("empty in the body", None, form(&[("client_id", "post"), ("client_secret", "")]), REFUSED),
        ("registered for the header", None, form(&[("client_id", "web"), ("client_secret", &web)]), REFUSED),
        ("a public client's secret", None, form(&[("client_id", "public"), ("client_secret", "x")]), REFUSED),
        ("client_id twice", None, form(&[("client_id", "post"), ("client_secret", &post), ("client_id", "post")]), INVALID),
        ("header and another client_id", Some(&header), form(&[("client_id", "post")]), INVALID),
        ("header and body", Some(&header), form(&[("client_id", "web"), ("client_secret", &web)]), INVALID),
        ("header and assertion", Some(&header), asserted(&[]), INVALID),
        ("body and assertion", None, asserted(&[("client_id", "post"), ("client_secret", &post)]), INVALID),
        ("bogus assertion and secret", Some(&header), form(&[("client_assertion", "x")]), INVALID),
        ("assertion type alone", None, form(&[("client_id", "web"), ("client_assertion_type", TYPE)]), INVALID),
        ("no assertion type", None, form(&[("client_assertion", &assertion)]), INVALID),
        ("another assertion type", None, asserted(&[("client_assertion_type", saml)]), INVALID),
        ("another client_id beside", None, asserted(&[("client_id", "web")]), REFUSED),
    ];
    for (row, header, form, outcome) in rows {
        everywhere(&site, row, header, &form, outcome).await;
    }
}

fn ec(client: Client) -> &'static Key {
    match client.proof {
        Proof::Assertion(key) => key,
        _ => panic!("{} has no key", client.id),
    }
}

async fn present(site: &Site, assertion: &str) -> Answer {
    let form = Params::of(&[
        ("grant_type", "client_credentials"),
        ("client_assertion_type", TYPE),
        ("client_assertion", assertion),
    ]);
    site.post("/token", &form.encode()).await
}

/// CA-02, CA-05, JO-14: the claims.
#[tokio::test]
async fn claims_of_an_assertion() {
    let site = stack::shared().site();
    let issuer = site.issuer();
    let now = now();
    let aud = |audience: Value| json!({"aud": audience});
    let token = format!("{issuer}/token");
    // For each: whether a client passes that pins the issuer, and one that is lenient with the audience.
    #[rustfmt::skip]
    let rows: Vec<(&str, Value, bool, bool)> = vec![
        ("control", json!({}), true, true),
        ("the token endpoint", aud(json!(token)), false, true),
        ("a list of the issuer", aud(json!([issuer])), false, true),
        ("the issuer and another", aud(json!([issuer, "https://evil.test"])), false, true),
        ("another", aud(json!("https://evil.test")), false, false),
        ("a list of another", aud(json!(["https://evil.test"])), false, false),
        ("the issuer and a slash", aud(json!(format!("{issuer}/"))), false, false),
        ("the issuer over https", aud(json!(issuer.replace("http:", "https:"))), false, false),
        ("the introspection endpoint", aud(json!(format!("{issuer}/introspect"))), false, false),
        ("the authorization endpoint", aud(json!(format!("{issuer}/authorize"))), false, false),
        ("an empty list", aud(json!([])), false, false),
        ("a list of objects", aud(json!([{}])), false, false),
        ("no audience", aud(Value::Null), false, false),
        ("iss of another", json!({"iss": "web"}), false, false),
        ("sub of another", json!({"sub": "web"}), false, false),
        ("iss as a list", json!({"iss": ["signing"]}), false, false),
        ("no exp", json!({"exp": null}), false, false),
        ("exp as a string", json!({"exp": format!("{}", now + 60)}), false, false),
        ("exp as a fraction", json!({"exp": 1.5e9}), false, false),
        ("exp negative", json!({"exp": -1}), false, false),
        ("exp beyond measure", json!({"exp": 1u64 << 63}), false, false),
        ("exp over", json!({"exp": now - 30}), false, false),
        ("exp in ten minutes", json!({"exp": now + 600}), false, false),
        ("iat in the future", json!({"iat": now + 60}), false, false),
        ("iat as a string", json!({"iat": format!("{now}")}), false, false),
        ("nbf passed", json!({"nbf": now - 5}), true, true),
        ("nbf in the future", json!({"nbf": now + 60}), false, false),
        ("nbf as a string", json!({"nbf": format!("{}", now - 5)}), false, false),
        ("no jti", json!({"jti": null}), false, false),
        ("jti empty", json!({"jti": ""}), false, false),
        ("jti as a number", json!({"jti": 7}), false, false),
        ("jti of 300", json!({"jti": "j".repeat(300)}), false, false),
        ("a claim more", json!({"foo": {"bar": 1}}), true, true),
    ];
    for (row, changes, passes_strict, passes_lenient) in rows {
        for (client, passes) in [(signing(), passes_strict), (lenient(), passes_lenient)] {
            let mut claims = claims(client.id, issuer);
            for (name, value) in changes.as_object().unwrap() {
                match value {
                    Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
                    Value::String(other) if other == "signing" => claims[name] = client.id.into(),
                    value => claims[name] = value.clone(),
                }
            }
            let key = ec(client);
            let answer = present(&site, &key.sign(&key.header(), &claims)).await;
            let outcome = if passes { "200" } else { REFUSED };
            assert_eq!(answer.outcome(), outcome, "{row}: {}", client.id);
        }
    }
}

/// JO-01, JO-02, JO-04, JO-05, JO-06, JO-08, JO-09: the header, the signature and the form.
#[tokio::test]
async fn signatures_of_an_assertion() {
    let site = stack::shared().site();
    let (es, rs) = (ec(signing()), ec(signing_rs()));
    let stranger = Key::new("ec", "ES256");
    let header = |members: Value| {
        let mut header = json!({"alg": "ES256", "kid": "ec"});
        for (name, value) in members.as_object().unwrap() {
            header[name] = value.clone();
        }
        header
    };
    let fresh = || claims("signing", site.issuer());
    let good = || es.sign(&es.header(), &fresh());
    let unsigned = |alg: &str| format!("{}.", signing_input(&json!({"alg": alg}), &fresh()));
    let with_signature = |signature: &[u8]| {
        format!(
            "{}.{}",
            signing_input(&es.header(), &fresh()),
            URL_SAFE_NO_PAD.encode(signature)
        )
    };
    let hmac = |secret: &[u8]| {
        let input = signing_input(&json!({"alg": "HS256", "kid": "ec"}), &fresh());
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), input.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(tag))
    };
    let pad = |token: &str| format!("{token}=");
    let duplicate = {
        let header = URL_SAFE_NO_PAD.encode("{\"alg\":\"none\",\"alg\":\"ES256\",\"kid\":\"ec\"}");
        format!("{header}.{}", good().split_once('.').unwrap().1)
    };
    let twice_claimed = {
        let text = fresh().to_string().replacen('{', "{\"sub\":\"web\",", 1);
        es.sign_text(&es.header(), &text)
    };
    #[rustfmt::skip]
    let rows: Vec<(&str, String, bool)> = vec![
        ("control", good(), true),
        ("typ JWT", es.sign(&header(json!({"typ": "JWT"})), &fresh()), true),
        ("typ of client authentication", es.sign(&header(json!({"typ": "client-authentication+jwt"})), &fresh()), true),
        ("no kid", es.sign(&json!({"alg": "ES256"}), &fresh()), true),
        ("typ of an access token", es.sign(&header(json!({"typ": "at+jwt"})), &fresh()), false),
        ("unknown kid", es.sign(&header(json!({"kid": "nobody"})), &fresh()), false),
        ("kid as a list", es.sign(&header(json!({"kid": ["ec"]})), &fresh()), false),
        ("kid with a path", es.sign(&header(json!({"kid": "../../dev/null"})), &fresh()), false),
        ("kid of 8 KiB", es.sign(&header(json!({"kid": "k".repeat(8192)})), &fresh()), false),
        ("a stranger's key", stranger.sign(&es.header(), &fresh()), false),
        ("a key in the header", stranger.sign(&header(json!({"jwk": stranger.jwk()})), &fresh()), false),
        ("jku", stranger.sign(&header(json!({"jku": "http://127.0.0.1:9/jwks"})), &fresh()), false),
        ("crit", es.sign(&header(json!({"crit": ["exp"], "exp": 1})), &fresh()), false),
        ("crit empty", es.sign(&header(json!({"crit": []})), &fresh()), false),
        ("b64", es.sign(&header(json!({"b64": false, "crit": ["b64"]})), &fresh()), false),
        ("alg none", unsigned("none"), false),
        ("alg None", unsigned("None"), false),
        ("alg empty", unsigned(""), false),
        ("alg as a number", es.sign(&header(json!({"alg": 256})), &fresh()), false),
        ("another alg", es.sign(&header(json!({"alg": "ES384"})), &fresh()), false),
        ("the RSA key's alg", rs.sign(&json!({"alg": "RS256"}), &fresh()), false),
        ("HMAC with the JWK", hmac(es.jwk().to_string().as_bytes()), false),
        ("HMAC with x", hmac(es.jwk()["x"].as_str().unwrap().as_bytes()), false),
        ("HMAC with nothing", hmac(b""), false),
        ("no signature", good().rsplit_once('.').map(|(head, _)| format!("{head}.")).unwrap(), false),
        ("r = s = 0", with_signature(&[0; 64]), false),
        ("r and s too large", with_signature(&[0xff; 64]), false),
        ("63 octets", with_signature(&[1; 63]), false),
        ("DER", with_signature(&[0x30, 6, 2, 1, 1, 2, 1, 1]), false),
        ("another payload", { let (other, mine) = (good(), good()); mix(&other, &mine) }, false),
        ("padded", pad(&good()), false),
        ("a segment more", format!("{}.x", good()), false),
        ("a segment less", good().rsplit_once('.').unwrap().0.to_owned(), false),
        ("a space", format!(" {}", good()), false),
        ("a line end", format!("{}\n", good()), false),
        ("header twice", duplicate, false),
        ("claims twice", twice_claimed, false),
        ("payload no object", es.sign(&es.header(), &json!(["signing"])), false),
        ("JSON serialization", json!({"payload": "e30", "signatures": []}).to_string(), false),
        ("dots (JO-10)", ".".repeat(60_000), false),
        ("letters", "a".repeat(60_000), false),
        ("nothing signed", "..".to_owned(), false),
    ];
    for (row, assertion, passes) in rows {
        let answer = present(&site, &assertion).await;
        assert_eq!(
            answer.outcome(),
            if passes { "200" } else { REFUSED },
            "{row}"
        );
    }
    // The client without a pinned algorithm: each of its keys with its own algorithm.
    let own = || claims("signing-rs", site.issuer());
    #[rustfmt::skip]
    let rows = [
        ("RS256", rs.sign(&rs.header(), &own()), true),
        ("RS256 without kid", rs.sign(&json!({"alg": "RS256"}), &own()), true),
        ("ES256", es.sign(&es.header(), &own()), true),
        ("ES256 under the RSA key's kid", es.sign(&json!({"alg": "ES256", "kid": "rsa"}), &own()), false),
        ("PS256", rs.sign(&json!({"alg": "PS256", "kid": "rsa"}), &own()), true),
        ("PS256 said, RS256 done", said_otherwise(rs, &own()), false),
    ];
    for (row, assertion, passes) in rows {
        assert_eq!(
            present(&site, &assertion).await.outcome(),
            if passes { "200" } else { REFUSED },
            "{row}"
        );
    }
}

/// The header and payload of one, the signature of another.
fn mix(one: &str, other: &str) -> String {
    let (head, signature) = (
        one.rsplit_once('.').unwrap().0,
        other.rsplit_once('.').unwrap().1,
    );
    format!("{head}.{signature}")
}

fn said_otherwise(key: &Key, claims: &Value) -> String {
    mix(
        &key.sign(&json!({"alg": "PS256", "kid": "rsa"}), claims),
        &key.sign(&key.header(), claims),
    )
}

/// CA-01: once, whichever gateway hears it, also when two do at the same moment.
#[tokio::test]
async fn an_assertion_is_used_once() {
    let site = stack::shared().site();
    let client = signing();
    let key = ec(client);
    for _ in 0..10 {
        let assertion = key.sign(&key.header(), &claims(client.id, site.issuer()));
        let (first, second) = (site.at(0), site.at(1));
        let answers = tokio::join!(present(&first, &assertion), present(&second, &assertion));
        let mut outcomes = [answers.0.outcome(), answers.1.outcome()];
        outcomes.sort();
        assert_eq!(outcomes, ["200", REFUSED]);
        assert_eq!(present(&site.at(2), &assertion).await.outcome(), REFUSED);
    }
    // The jti counts, not the signature: ECDSA makes another each time.
    let mut claims = claims(client.id, site.issuer());
    assert_eq!(
        present(&site, &key.sign(&key.header(), &claims))
            .await
            .outcome(),
        "200"
    );
    assert_eq!(
        present(&site, &key.sign(&key.header(), &claims))
            .await
            .outcome(),
        REFUSED
    );
    claims["jti"] = assertion::claims(client.id, "x")["jti"].clone();
    assert_eq!(
        present(&site, &key.sign(&key.header(), &claims))
            .await
            .outcome(),
        "200"
    );
}
