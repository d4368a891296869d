//! Wrap (RFC 7516, RFC 7518 §4 and §5): towards others' keys, and under the secrets that they share with
//! us. S2-13, S2-16, S2-22.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proto::v1::{self, decrypt_request, recipient, wrap_request};
use serde_json::{Value, json};
use tonic::{Code, Status};

use crate::foreign::{self, Recipient};
use crate::running::{KeyService, jwks, wrapped};

pub(crate) const RSA: [&str; 2] = ["RSA-OAEP", "RSA-OAEP-256"];
pub(crate) const AGREEMENT: [&str; 4] = [
    "ECDH-ES",
    "ECDH-ES+A128KW",
    "ECDH-ES+A192KW",
    "ECDH-ES+A256KW",
];
const SYMMETRIC: [&str; 7] = [
    "A128KW",
    "A192KW",
    "A256KW",
    "dir",
    "A128GCMKW",
    "A192GCMKW",
    "A256GCMKW",
];
pub(crate) const ENCRYPTIONS: [&str; 6] = [
    "A128CBC-HS256",
    "A192CBC-HS384",
    "A256CBC-HS512",
    "A128GCM",
    "A192GCM",
    "A256GCM",
];
pub(crate) const RINGS: [&str; 6] = [
    "request-object/RSA-OAEP",
    "request-object/RSA-OAEP-256",
    "request-object/ECDH-ES",
    "request-object/ECDH-ES-P384",
    "request-object/ECDH-ES-P521",
    "request-object/ECDH-ES-X25519",
];
const SECRET: &str = "a client's secret";

fn to(key: recipient::Key, alg: &str, enc: &str) -> v1::WrapRequest {
    v1::WrapRequest {
        plaintext: "the plaintext".into(),
        to: Some(wrap_request::To::Recipient(v1::Recipient {
            key: Some(key),
            alg: alg.to_owned(),
            enc: enc.to_owned(),
            cty: "JWT".to_owned(),
        })),
    }
}

fn jwk(jwk: &Value) -> recipient::Key {
    recipient::Key::Jwk(jwk.to_string().into())
}

pub(crate) fn open(token: &str) -> v1::DecryptRequest {
    v1::DecryptRequest {
        ciphertext: Some(decrypt_request::Ciphertext::CompactJwe(token.to_owned())),
    }
}

pub(crate) fn refusal<T>(outcome: Result<T, Status>) -> (Code, String) {
    let status = outcome.err().unwrap();
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn s2_13_others_read_what_is_encrypted_to_them() {
    let service = KeyService::with_rings(&["seal/A256GCM"]);
    let mut keys = service.keys().await;
    let shared = recipient::Key::WrappedSecret(
        wrapped(&mut keys, "use-only:client-secret/c", SECRET.as_bytes(), "").await,
    );
    let secret = Recipient::with_secret(SECRET);
    let theirs = Recipient::generate(&[
        ("RSA-OAEP", ""),
        ("ECDH-ES", "P-256"),
        ("ECDH-ES", "P-384"),
        ("ECDH-ES", "P-521"),
        ("ECDH-ES", "X25519"),
    ]);
    let mut rows: Vec<(&Recipient, recipient::Key, &[&str])> = vec![
        (&secret, shared, &SYMMETRIC),
        (&theirs[0], jwk(&theirs[0].jwk()), &RSA),
    ];
    for recipient in &theirs[1..] {
        rows.push((recipient, jwk(&recipient.jwk()), &AGREEMENT));
    }
    // A JWK Set: the first key that is for the algorithm.
    let set = json!({ "keys": theirs.iter().map(Recipient::jwk).collect::<Vec<_>>() });
    rows.push((&theirs[0], jwk(&set), &RSA));
    rows.push((&theirs[1], jwk(&set), &AGREEMENT));

    let mut tokens = Vec::new();
    for (recipient, key, algorithms) in rows {
        for alg in algorithms {
            for enc in ENCRYPTIONS {
                let answer = keys.wrap(to(key.clone(), alg, enc)).await;
                let row = format!("S2-13 {alg} {enc}");
                let token = answer.expect(&row).into_inner().compact;
                tokens.push((recipient, token, row));
            }
        }
    }
    let given: Vec<_> = tokens
        .iter()
        .map(|(by, token, _)| (*by, &**token))
        .collect();
    for ((header, plaintext), (_, _, row)) in foreign::decrypt(&given).iter().zip(&tokens) {
        assert_eq!(plaintext, b"the plaintext", "{row}");
        let said = (&header["alg"], &header["enc"], &header["cty"]);
        let mut names = row.split(' ').skip(1).map(Value::from);
        let expected = (
            &names.next().unwrap(),
            &names.next().unwrap(),
            &"JWT".into(),
        );
        assert_eq!(said, expected, "{row}");
    }
}

#[tokio::test]
async fn s2_13_a_recipient_that_cannot_be_is_refused() {
    let service = KeyService::with_rings(&["seal/A256GCM", "id-token/ES256"]);
    let mut keys = service.keys().await;
    let theirs = Recipient::generate(&[
        ("RSA-OAEP", ""),
        ("ECDH-ES", "P-256"),
        ("ECDH-ES", "X25519"),
    ]);
    let [rsa, ec, okp] = [0, 1, 2].map(|at: usize| theirs[at].jwk());
    let with = |jwk: &Value, name: &str, value: Value| {
        let mut jwk = jwk.clone();
        jwk[name] = value;
        self::jwk(&jwk)
    };
    let short = URL_SAFE_NO_PAD.encode([vec![0xff; 127], vec![1]].concat());
    let secret = wrapped(&mut keys, "use-only:client-secret/c", b"secret", "").await;
    let told = wrapped(&mut keys, "session/1", b"secret", "").await;
    let mut swapped = secret.clone();
    swapped.context = "use-only:client-secret/d".to_owned();
    let secret = recipient::Key::WrappedSecret(secret);
    let set = jwk(&json!({ "keys": [ec, okp] }));
    let nothing = jwk(&json!({ "keys": [] }));
    let private = jwk(&json!({ "keys": [rsa, { "kty": "oct", "k": "AAAA" }] }));
    let no_key = (Code::InvalidArgument, "key not accepted");
    let no_algorithm = (Code::InvalidArgument, "algorithm not supported");
    let rows = [
        (
            "RSA for ECDH-ES",
            jwk(&rsa),
            "ECDH-ES",
            "A128GCM",
            no_algorithm,
        ),
        (
            "EC for RSA-OAEP",
            jwk(&ec),
            "RSA-OAEP",
            "A128GCM",
            no_algorithm,
        ),
        ("EC for dir", jwk(&ec), "dir", "A128GCM", no_algorithm),
        (
            "RSA for A128KW",
            jwk(&rsa),
            "A128KW",
            "A128GCM",
            no_algorithm,
        ),
        ("RSA1_5", jwk(&rsa), "RSA1_5", "A128GCM", no_algorithm),
        (
            "RSA-OAEP-512",
            jwk(&rsa),
            "RSA-OAEP-512",
            "A128GCM",
            no_algorithm,
        ),
        (
            "PBES2",
            secret.clone(),
            "PBES2-HS256+A128KW",
            "A128GCM",
            no_algorithm,
        ),
        ("none", jwk(&rsa), "none", "A128GCM", no_algorithm),
        ("no enc", jwk(&rsa), "RSA-OAEP", "", no_algorithm),
        (
            "another enc",
            jwk(&rsa),
            "RSA-OAEP",
            "A512GCM",
            no_algorithm,
        ),
        (
            "a key to sign with",
            with(&rsa, "use", "sig".into()),
            "RSA-OAEP",
            "A128GCM",
            no_algorithm,
        ),
        (
            "a key for another alg",
            with(&ec, "alg", "ECDH-ES".into()),
            "ECDH-ES+A128KW",
            "A128GCM",
            no_algorithm,
        ),
        (
            "a key for other operations",
            with(&ec, "key_ops", json!(["verify"])),
            "ECDH-ES",
            "A128GCM",
            no_algorithm,
        ),
        (
            "a short RSA key",
            with(&rsa, "n", short.into()),
            "RSA-OAEP",
            "A128GCM",
            no_key,
        ),
        (
            "a point off its curve",
            with(&ec, "y", ec["x"].clone()),
            "ECDH-ES",
            "A128GCM",
            no_key,
        ),
        (
            "another curve's name",
            with(&ec, "crv", "P-521".into()),
            "ECDH-ES",
            "A128GCM",
            no_key,
        ),
        (
            "Ed25519",
            with(&okp, "crv", "Ed25519".into()),
            "ECDH-ES",
            "A128GCM",
            no_algorithm,
        ),
        (
            "X25519 of small order",
            with(&okp, "x", "A".repeat(43).into()),
            "ECDH-ES",
            "A128GCM",
            no_key,
        ),
        (
            "a private key",
            with(&ec, "d", "AAAA".into()),
            "ECDH-ES",
            "A128GCM",
            no_key,
        ),
        (
            "a symmetric key",
            jwk(&json!({ "kty": "oct", "k": "AAAA" })),
            "dir",
            "A128GCM",
            no_key,
        ),
        (
            "a set without such a key",
            set.clone(),
            "RSA-OAEP",
            "A128GCM",
            no_key,
        ),
        ("an empty set", nothing, "RSA-OAEP", "A128GCM", no_key),
        (
            "a set with a secret",
            private,
            "RSA-OAEP",
            "A128GCM",
            no_key,
        ),
        ("no JWK", jwk(&json!([])), "RSA-OAEP", "A128GCM", no_key),
        (
            "a secret for RSA-OAEP",
            secret.clone(),
            "RSA-OAEP",
            "A128GCM",
            no_algorithm,
        ),
        (
            "a secret for ECDH-ES",
            secret.clone(),
            "ECDH-ES+A128KW",
            "A128GCM",
            no_algorithm,
        ),
        (
            "a secret that could be told",
            recipient::Key::WrappedSecret(told),
            "dir",
            "A128GCM",
            (Code::PermissionDenied, "not allowed"),
        ),
        (
            "another client's secret",
            recipient::Key::WrappedSecret(swapped),
            "dir",
            "A128GCM",
            (Code::InvalidArgument, "not decrypted"),
        ),
    ];
    for (row, key, alg, enc, (code, text)) in rows {
        let answer = refusal(keys.wrap(to(key, alg, enc)).await);
        assert_eq!(answer, (code, text.to_owned()), "S2-13 {row}");
    }
    // The nearest that is legal.
    for (key, alg) in [
        (with(&rsa, "use", "enc".into()), "RSA-OAEP"),
        (with(&ec, "alg", "ECDH-ES".into()), "ECDH-ES"),
        (
            with(&ec, "key_ops", json!(["deriveBits"])),
            "ECDH-ES+A128KW",
        ),
        (jwk(&okp), "ECDH-ES"),
        (set, "ECDH-ES"),
        (secret.clone(), "dir"),
    ] {
        keys.wrap(to(key, alg, "A128GCM")).await.expect(alg);
    }
    let mut long = to(jwk(&ec), "ECDH-ES", "A128GCM");
    long.plaintext = vec![0; 64 * 1024 + 1].into();
    let mut odd = to(jwk(&ec), "ECDH-ES", "A128GCM");
    if let Some(wrap_request::To::Recipient(recipient)) = &mut odd.to {
        recipient.cty = "x".repeat(256);
    }
    let nobody = v1::WrapRequest::default();
    for (request, text) in [
        (long, "plaintext is too long"),
        (odd, "cty is too long"),
        (nobody, "to is missing"),
    ] {
        let answer = refusal(keys.wrap(request).await);
        assert_eq!(answer, (Code::InvalidArgument, text.to_owned()));
    }
}

#[tokio::test]
async fn s2_16_capabilities_say_what_works() {
    for (rings, decrypt, enc, wrap) in [
        (vec!["id-token/ES256"], 0, 0, 2 + 4),
        (vec!["id-token/ES256", "seal/A256GCM"], 0, 0, 2 + 4 + 7),
        ([&RINGS[..], &["seal/A256GCM"]].concat(), 6, 6, 2 + 4 + 7),
    ] {
        let service = KeyService::with_rings(&rings);
        let published = jwks(&mut service.keys().await).await;
        let can = published.capabilities.unwrap();
        assert_eq!(can.decrypt_rings, RINGS[..decrypt], "S2-16 {rings:?}");
        assert_eq!(can.decrypt_enc, ENCRYPTIONS[..enc], "S2-16 {rings:?}");
        assert_eq!(can.wrap_enc, ENCRYPTIONS, "S2-16 {rings:?}");
        assert_eq!(can.wrap_alg.len(), wrap, "S2-16 {rings:?}");
        assert_eq!(can.seal, wrap > 6);
        for alg in RSA.iter().chain(&AGREEMENT) {
            assert!(can.wrap_alg.iter().any(|it| it == alg), "S2-16 {alg}");
        }
    }
}
