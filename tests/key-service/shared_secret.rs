//! HS256, HS384 and HS512 with secrets that clients share with us (RFC 7518 §3.2): signed, verified, and never taken for
//! a public key's signature.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey};
use proto::v1::key_service_client::KeyServiceClient;
use proto::v1::verify_request::Key::{PublicJwks, Ring, WrappedSecret};
use proto::v1::{self, Profile, sign_item};
use serde_json::{Value, json};
use tonic::Code;
use tonic::transport::Channel;

use crate::running::{ISSUER, KeyService, id_token, item, jwks, sign, verification, wrapped};

const CONTEXT: &str = "use-only:client-secret:client";
const SECRET: &[u8; 64] = b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const ALGORITHMS: [(&str, usize); 3] = [("HS256", 32), ("HS384", 48), ("HS512", 64)];

fn service() -> KeyService {
    KeyService::start(
        r#"
[[rings]]
name = "id-token/RS256"
[[rings]]
name = "access-token/ES256"
[[rings]]
name = "mac/HS256"
[[rings]]
name = "seal/A256GCM"
"#,
    )
}

fn by_secret(secret: &v1::WrappedSecret, profile: Profile, claims: &Value) -> v1::SignItem {
    v1::SignItem {
        key: Some(sign_item::Key::WrappedSecret(secret.clone())),
        ..item("", profile, claims)
    }
}

async fn signed(
    keys: &mut KeyServiceClient<Channel>,
    item: v1::SignItem,
) -> Result<v1::Signed, tonic::Status> {
    let items = vec![item];
    let mut answer = keys.sign(v1::SignRequest { items }).await?.into_inner();
    Ok(answer.items.remove(0))
}

/// A token of somebody who knows this secret.
fn foreign(alg: &str, secret: &[u8], header: &Value, payload: &str) -> String {
    let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
    let input = format!("{}.{}", encode(&header.to_string()), encode(payload));
    let algorithm: Algorithm = alg.parse().unwrap();
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(input.as_bytes(), &key, algorithm).unwrap();
    format!("{input}.{signature}")
}

fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn s2_12_every_length_signs_and_verifies() {
    let service = service();
    let mut keys = service.keys().await;
    for (alg, length) in ALGORITHMS {
        // The shortest that the algorithm allows, and one of text that is longer.
        for secret in [&SECRET[..length], &SECRET.repeat(4)] {
            let sealed = wrapped(&mut keys, CONTEXT, secret, alg).await;
            let claims = id_token(service.now());
            let token = by_secret(&sealed, Profile::IdToken, &claims);
            let signed = signed(&mut keys, token).await.unwrap();
            assert_eq!(signed.kid, "", "{alg}");
            assert_eq!(
                part(&signed.compact, 0),
                json!({ "alg": alg, "typ": "JWT" }),
                "no kid: it would name the secret"
            );
            let (input, signature) = signed.compact.rsplit_once('.').unwrap();
            let (key, algorithm) = (DecodingKey::from_secret(secret), alg.parse().unwrap());
            let verified =
                jsonwebtoken::crypto::verify(signature, input.as_bytes(), &key, algorithm);
            assert!(verified.unwrap(), "{alg}");

            let theirs = foreign(
                alg,
                secret,
                &json!({ "alg": alg, "typ": "JWT", "kid": "x" }),
                "{}",
            );
            for token in [&signed.compact, &theirs] {
                let key = WrappedSecret(sealed.clone());
                let verified = keys.verify(verification(token, alg, key)).await.unwrap();
                assert_eq!(verified.into_inner().kid, "", "{alg}");
            }
        }
    }
}

#[tokio::test]
async fn s2_14_the_hash_of_a_token_is_that_of_the_algorithm() {
    use sha2::Digest as _;
    let service = service();
    let mut keys = service.keys().await;
    let mut access = id_token(service.now());
    access["client_id"] = "client".into();
    access["jti"] = "1".into();
    let access = item("access-token/ES256", Profile::AccessToken, &access);
    for (alg, length) in ALGORITHMS {
        let secret = wrapped(&mut keys, CONTEXT, &SECRET[..length], alg).await;
        let mut id = by_secret(&secret, Profile::IdToken, &id_token(service.now()));
        id.hash_of = vec![v1::HashOf {
            claim: "at_hash".to_owned(),
            item: 1,
        }];
        let items = vec![id, access.clone()];
        let answer = keys.sign(v1::SignRequest { items }).await.unwrap();
        let [id, access] = &answer.into_inner().items[..] else {
            panic!("two items");
        };
        let whole = match alg {
            "HS256" => sha2::Sha256::digest(&access.compact).to_vec(),
            "HS384" => sha2::Sha384::digest(&access.compact).to_vec(),
            _ => sha2::Sha512::digest(&access.compact).to_vec(),
        };
        let half = URL_SAFE_NO_PAD.encode(&whole[..whole.len() / 2]);
        assert_eq!(part(&id.compact, 1)["at_hash"], half, "{alg}");
    }
}

#[tokio::test]
async fn the_policy_holds_for_secrets_too() {
    let service = service();
    let mut keys = service.keys().await;
    let now = service.now();
    let secret = wrapped(&mut keys, CONTEXT, SECRET, "HS256").await;
    let with = |changes: Value| {
        let mut claims = id_token(now);
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        claims
    };
    let access = json!({ "client_id": "c", "jti": "1" });
    let event = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
    let logout = json!({ "jti": "1", "events": event });
    let introspection = json!({ "iss": ISSUER, "aud": "c", "iat": now, "token_introspection": {} });
    let rows = [
        (Profile::IdToken, with(json!({})), ""),
        (Profile::IdToken, with(json!({ "exp": now + 3600 })), ""),
        (
            Profile::IdToken,
            with(json!({ "exp": now + 3601 })),
            "lifetime",
        ),
        (Profile::IdToken, with(json!({ "exp": now })), "exp"),
        (Profile::IdToken, with(json!({ "iat": now - 70 })), "iat"),
        (
            Profile::IdToken,
            with(json!({ "iss": "https://evil.example" })),
            "issuer",
        ),
        (Profile::IdToken, with(json!({ "sub": 1 })), "claims.type"),
        (
            Profile::IdToken,
            json!({ "iss": ISSUER }),
            "claims.required",
        ),
        (
            Profile::IdToken,
            with(json!({ "x": "x".repeat(17_000) })),
            "size",
        ),
        (Profile::LogoutToken, with(logout), ""),
        (Profile::Userinfo, with(json!({})), ""),
        (Profile::Introspection, introspection, ""),
        (
            Profile::AuthorizationResponse,
            json!({ "iss": ISSUER, "aud": "c", "exp": now + 60, "code": "x" }),
            "",
        ),
        (
            Profile::AuthorizationResponse,
            with(json!({ "code": "x" })),
            "claims.forbidden",
        ),
        // Who gets these does not have the secret.
        (Profile::AccessToken, with(access.clone()), "profile"),
        (Profile::Metadata, with(json!({})), "profile"),
        (Profile::ClientAssertion, with(access), "profile"),
    ];
    for (profile, claims, rule) in rows {
        match signed(&mut keys, by_secret(&secret, profile, &claims)).await {
            Ok(_) => assert_eq!("", rule, "{profile:?} {claims}"),
            Err(status) => assert_eq!(
                (status.code(), status.message()),
                (Code::FailedPrecondition, rule),
                "{profile:?} {claims}"
            ),
        }
    }
}

#[tokio::test]
async fn k_4_a_secret_that_does_not_fit_is_refused() {
    let service = service();
    let mut keys = service.keys().await;
    let good = wrapped(&mut keys, CONTEXT, SECRET, "HS256").await;
    let with = |change: fn(&mut v1::WrappedSecret)| {
        let mut secret = good.clone();
        change(&mut secret);
        secret
    };
    let mut rows = vec![
        (
            "another client's context",
            with(|secret| secret.context.push('2')),
            Code::InvalidArgument,
            "not decrypted",
        ),
        (
            "told to callers",
            wrapped(&mut keys, "session:1", SECRET, "HS256").await,
            Code::PermissionDenied,
            "not allowed",
        ),
        (
            "not sealed",
            with(|secret| secret.sealed.clear()),
            Code::InvalidArgument,
            "not decrypted",
        ),
    ];
    for (alg, length) in ALGORITHMS {
        rows.push((
            "shorter than the hash",
            wrapped(&mut keys, CONTEXT, &SECRET[..length - 1], alg).await,
            Code::FailedPrecondition,
            "secret.length",
        ));
    }
    for alg in ["", "none", "ES256", "HS1", "hs256", "A128KW"] {
        let mut secret = good.clone();
        secret.alg = alg.to_owned();
        rows.push((
            "another algorithm",
            secret,
            Code::InvalidArgument,
            "wrapped_secret.alg is not HS256, HS384 or HS512",
        ));
    }
    for (what, secret, code, message) in rows {
        let alg = secret.alg.clone();
        let item = by_secret(&secret, Profile::IdToken, &id_token(service.now()));
        let signing = signed(&mut keys, item).await.unwrap_err();
        let found = (signing.code(), signing.message());
        assert_eq!(found, (code, message), "{what} {alg}");
        // To verify is no different, once the token is of the algorithm.
        if let Ok(Algorithm::HS256 | Algorithm::HS384 | Algorithm::HS512) = alg.parse() {
            let token = foreign(&alg, SECRET, &json!({ "alg": alg, "typ": "JWT" }), "{}");
            let verify = verification(&token, &alg, WrappedSecret(secret));
            let verifying = keys.verify(verify).await.unwrap_err();
            let found = (verifying.code(), verifying.message());
            assert_eq!(found, (code, message), "{what} {alg}");
        }
    }
}

#[tokio::test]
async fn algorithms_are_not_confused() {
    let service = service();
    let mut keys = service.keys().await;
    let set = jwks(&mut keys).await.jwks;
    let secret = wrapped(&mut keys, CONTEXT, SECRET, "HS256").await;
    let ours = sign(&mut keys, "id-token/RS256", service.now())
        .await
        .unwrap();
    let of =
        |alg: &str, secret: &[u8]| foreign(alg, secret, &json!({ "alg": alg, "typ": "JWT" }), "{}");
    let good = of("HS256", SECRET);
    let claimed = |header: &str| {
        let (_, rest) = good.split_once('.').unwrap();
        format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header))
    };
    // The oldest trick: what everybody knows as the secret (RFC 8725 §2.1).
    let published: Value = serde_json::from_slice(&set).unwrap();
    let key = published["keys"][0].to_string();
    let as_oct = json!({ "keys": [{ "kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET) }] });
    let by_secret = || WrappedSecret(secret.clone());
    let rows = [
        ("good", good.clone(), "HS256", by_secret(), ""),
        (
            "not named by the caller",
            good.clone(),
            "HS512",
            by_secret(),
            "not verified",
        ),
        (
            "named by a public key's",
            good.clone(),
            "RS256",
            by_secret(),
            "not verified",
        ),
        (
            "another secret",
            of("HS256", &SECRET[1..]),
            "HS256",
            by_secret(),
            "not verified",
        ),
        (
            "of another length",
            of("HS512", SECRET),
            "HS512",
            by_secret(),
            "not verified",
        ),
        (
            "ours, of a ring",
            ours.compact.clone(),
            "RS256",
            by_secret(),
            "not verified",
        ),
        (
            "none",
            claimed(r#"{"alg":"none","typ":"JWT"}"#),
            "none",
            by_secret(),
            "not verified",
        ),
        (
            "of another type",
            foreign(
                "HS256",
                SECRET,
                &json!({ "alg": "HS256", "typ": "at+jwt" }),
                "{}",
            ),
            "HS256",
            by_secret(),
            "not verified",
        ),
        (
            "critical",
            foreign(
                "HS256",
                SECRET,
                &json!({ "alg": "HS256", "typ": "JWT", "crit": ["x"] }),
                "{}",
            ),
            "HS256",
            by_secret(),
            "not verified",
        ),
        (
            "not an object",
            foreign(
                "HS256",
                SECRET,
                &json!({ "alg": "HS256", "typ": "JWT" }),
                "[]",
            ),
            "HS256",
            by_secret(),
            "not verified",
        ),
        (
            "a public key as the secret",
            of("HS256", key.as_bytes()),
            "HS256",
            PublicJwks(set.clone()),
            "not verified",
        ),
        (
            "a secret among public keys",
            good.clone(),
            "HS256",
            PublicJwks(as_oct.to_string().into()),
            "key not accepted",
        ),
        (
            "a ring of ours",
            good.clone(),
            "HS256",
            Ring("id-token/*".to_owned()),
            "not verified",
        ),
        (
            "a ring for MACs",
            good,
            "HS256",
            Ring("mac/HS256".to_owned()),
            "not verified",
        ),
    ];
    for (what, token, alg, key, message) in rows {
        match keys.verify(verification(&token, alg, key)).await {
            Ok(_) => assert_eq!(message, "", "{what}"),
            Err(status) => assert_eq!(
                (status.code(), status.message()),
                (Code::InvalidArgument, message),
                "{what}"
            ),
        }
    }
    // And a ring for MACs signs nothing.
    let refused = sign(&mut keys, "mac/HS256", service.now())
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied);
}
