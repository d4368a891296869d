//! Signed and then encrypted in one call (RFC 7519 §5.2): the recipient's library opens it, and finds a JWS of ours.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proto::v1::verify_request::Key::PublicJwks;
use proto::v1::{self, Profile, recipient, sign_item};
use serde_json::{Value, json};
use sha2::Digest as _;
use tonic::Code;

use crate::foreign::Recipient;
use crate::running::{KeyService, id_token, item, jwks, verification, wrapped};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

fn service() -> KeyService {
    KeyService::with_rings(&["id-token/ES256", "access-token/ES256", "seal/A256GCM"])
}

fn to(key: recipient::Key, alg: &str, enc: &str) -> v1::Recipient {
    v1::Recipient {
        key: Some(key),
        alg: alg.to_owned(),
        enc: enc.to_owned(),
        cty: String::new(),
    }
}

fn jwk(recipient: &Recipient) -> recipient::Key {
    recipient::Key::Jwk(recipient.jwk().to_string().into())
}

fn access_token(now: i64) -> v1::SignItem {
    let mut access = id_token(now);
    access["client_id"] = "client".into();
    access["jti"] = "1".into();
    item("access-token/ES256", Profile::AccessToken, &access)
}

fn claims(token: &str) -> Value {
    let payload = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap()
}

#[tokio::test]
async fn s2_13_the_recipient_finds_a_token_that_we_signed() {
    let service = service();
    let mut keys = service.keys().await;
    let published = jwks(&mut keys).await.jwks;
    let (rsa, ec) = (Recipient::rsa(), Recipient::ec());
    for (theirs, alg, enc, cty) in [
        (&rsa, "RSA-OAEP", "A128GCM", "JWT"),
        (&rsa, "RSA-OAEP-256", "A128CBC-HS256", ""),
        (&ec, "ECDH-ES", "A256GCM", "JWT"),
        (&ec, "ECDH-ES+A256KW", "A256CBC-HS512", ""),
    ] {
        let mut recipient = to(jwk(theirs), alg, enc);
        recipient.cty = cty.to_owned();
        let mut id = item("id-token/ES256", Profile::IdToken, &id_token(service.now()));
        id.encrypt_to = Some(recipient);
        id.hash_of = vec![v1::HashOf {
            claim: "at_hash".to_owned(),
            item: 1,
        }];
        let items = vec![id, access_token(service.now())];
        let answer = keys.sign(v1::SignRequest { items }).await.unwrap();
        let [id, access] = &answer.into_inner().items[..] else {
            panic!("two items");
        };
        let (header, plaintext) = theirs.decrypt(&id.compact);
        assert_eq!(
            (&header["alg"], &header["enc"], &header["cty"]),
            (&json!(alg), &json!(enc), &json!("JWT"))
        );
        let jws = String::from_utf8(plaintext).unwrap();
        let verify = verification(&jws, "ES256", PublicJwks(published.clone()));
        let verified = keys.verify(verify).await.unwrap().into_inner();
        assert_eq!(verified.kid, id.kid, "{alg} {enc}");
        // The hash is of what the client gets as its access token.
        let half = URL_SAFE_NO_PAD.encode(&sha2::Sha256::digest(&access.compact)[..16]);
        assert_eq!(claims(&jws)["at_hash"], half, "{alg} {enc}");
    }
}

#[tokio::test]
async fn s2_13_one_secret_signs_and_encrypts() {
    let service = service();
    let mut keys = service.keys().await;
    let secret = wrapped(
        &mut keys,
        "use-only:client-secret:c",
        SECRET.as_bytes(),
        "HS256",
    )
    .await;
    let theirs = Recipient::with_secret(SECRET);
    for (alg, enc) in [
        ("dir", "A256GCM"),
        ("dir", "A128CBC-HS256"),
        ("A128KW", "A128CBC-HS256"),
        ("A256GCMKW", "A256CBC-HS512"),
    ] {
        let key = recipient::Key::WrappedSecret(secret.clone());
        let mut id = item("", Profile::IdToken, &id_token(service.now()));
        id.key = Some(sign_item::Key::WrappedSecret(secret.clone()));
        id.encrypt_to = Some(to(key, alg, enc));
        let items = vec![id];
        let answer = keys.sign(v1::SignRequest { items }).await.unwrap();
        let token = answer.into_inner().items.remove(0);
        assert_eq!(token.kid, "", "{alg} {enc}");
        let (header, plaintext) = theirs.decrypt(&token.compact);
        assert_eq!(header["cty"], "JWT", "{alg} {enc}");
        let jws = String::from_utf8(plaintext).unwrap();
        let (input, signature) = jws.rsplit_once('.').unwrap();
        let key = jsonwebtoken::DecodingKey::from_secret(SECRET.as_bytes());
        let algorithm = jsonwebtoken::Algorithm::HS256;
        let verified = jsonwebtoken::crypto::verify(signature, input.as_bytes(), &key, algorithm);
        assert!(verified.unwrap(), "{alg} {enc}");
    }
}

#[tokio::test]
async fn a_recipient_that_cannot_be_is_refused_before_anything_is_signed() {
    let service = service();
    let mut keys = service.keys().await;
    let (rsa, ec) = (Recipient::rsa(), Recipient::ec());
    let secret = wrapped(
        &mut keys,
        "use-only:client-secret:c",
        SECRET.as_bytes(),
        "HS256",
    )
    .await;
    let told = wrapped(&mut keys, "session:c", SECRET.as_bytes(), "HS256").await;
    let good = to(jwk(&rsa), "RSA-OAEP", "A256GCM");
    let rows = [
        ("good", good.clone(), Code::Ok),
        ("nobody", v1::Recipient::default(), Code::InvalidArgument),
        (
            "another content type",
            v1::Recipient {
                cty: "json".to_owned(),
                ..good
            },
            Code::InvalidArgument,
        ),
        (
            "the key is not for it",
            to(jwk(&ec), "RSA-OAEP", "A256GCM"),
            Code::InvalidArgument,
        ),
        (
            "RSA1_5",
            to(jwk(&rsa), "RSA1_5", "A256GCM"),
            Code::InvalidArgument,
        ),
        (
            "no such encryption",
            to(jwk(&rsa), "RSA-OAEP", "none"),
            Code::InvalidArgument,
        ),
        (
            "not a key",
            to(recipient::Key::Jwk("{}".into()), "RSA-OAEP", "A256GCM"),
            Code::InvalidArgument,
        ),
        (
            "a secret for a public key's algorithm",
            to(recipient::Key::WrappedSecret(secret), "RSA-OAEP", "A256GCM"),
            Code::InvalidArgument,
        ),
        (
            "a secret that is told to callers",
            to(recipient::Key::WrappedSecret(told), "dir", "A256GCM"),
            Code::PermissionDenied,
        ),
    ];
    for (what, recipient, code) in rows {
        let mut id = item("id-token/ES256", Profile::IdToken, &id_token(service.now()));
        id.encrypt_to = Some(recipient);
        let items = vec![access_token(service.now()), id];
        let answer = keys.sign(v1::SignRequest { items }).await;
        let answered = answer.err().map_or(Code::Ok, |status| status.code());
        assert_eq!(answered, code, "{what}");
    }
    let metrics = crate::surface::get(service.running.metrics_address().unwrap(), "/metrics");
    let once = r#"key_service_signatures_total{ring="access-token/ES256",backend="software"} 1"#;
    assert!(metrics.contains(once), "{metrics}");
}

#[tokio::test]
async fn s2_14_what_is_encrypted_has_no_hash() {
    let service = service();
    let mut keys = service.keys().await;
    let rsa = Recipient::rsa();
    let mut id = item("id-token/ES256", Profile::IdToken, &id_token(service.now()));
    id.hash_of = vec![v1::HashOf {
        claim: "at_hash".to_owned(),
        item: 1,
    }];
    let plain = access_token(service.now());
    let mut nested = plain.clone();
    nested.encrypt_to = Some(to(jwk(&rsa), "RSA-OAEP", "A256GCM"));
    for (access, code) in [(plain, Code::Ok), (nested, Code::InvalidArgument)] {
        let items = vec![id.clone(), access];
        let answer = keys.sign(v1::SignRequest { items }).await;
        let answered = answer.err().map_or(Code::Ok, |status| status.code());
        assert_eq!(answered, code);
    }
}
