//! Wrap and Decrypt (RFC 7516): towards others' keys, what is addressed to us, and what we seal for ourselves.

use proto::v1::{self, decrypt_request, recipient, wrap_request};
use serde_json::Value;
use tonic::{Code, Status};

use crate::running::{KeyService, jwks};

const ENCRYPTIONS: [&str; 2] = ["A128GCM", "A256GCM"];

fn to(jwk: &Value, alg: &str, enc: &str) -> v1::WrapRequest {
    v1::WrapRequest {
        plaintext: "the plaintext".into(),
        to: Some(wrap_request::To::Recipient(v1::Recipient {
            key: Some(recipient::Key::Jwk(jwk.to_string().into())),
            alg: alg.to_owned(),
            enc: enc.to_owned(),
            cty: "JWT".to_owned(),
        })),
    }
}

fn open(token: &str) -> v1::DecryptRequest {
    v1::DecryptRequest {
        ciphertext: Some(decrypt_request::Ciphertext::CompactJwe(token.to_owned())),
    }
}

fn unseal(sealed: &str, context: &str) -> v1::DecryptRequest {
    v1::DecryptRequest {
        ciphertext: Some(decrypt_request::Ciphertext::Sealed(v1::Sealed {
            sealed: sealed.to_owned(),
            context: context.to_owned(),
        })),
    }
}

fn refusal<T>(outcome: Result<T, Status>) -> (Code, String) {
    let status = outcome.err().unwrap();
    (status.code(), status.message().to_owned())
}

#[tokio::test]
async fn what_is_addressed_to_us_is_opened() {
    let algorithms = ["RSA-OAEP", "RSA-OAEP-256", "ECDH-ES"];
    let rings = algorithms.map(|alg| format!("request-object/{alg}"));
    let service = KeyService::with_rings(&[&rings[0], &rings[1], &rings[2], "id-token/ES256"]);
    let mut keys = service.keys().await;
    let published = jwks(&mut keys).await;
    let set: Value = serde_json::from_slice(&published.jwks).unwrap();
    let not_decrypted = (Code::InvalidArgument, "not decrypted".to_owned());
    for alg in algorithms {
        let jwk = set["keys"]
            .as_array()
            .unwrap()
            .iter()
            .find(|jwk| jwk["alg"] == alg)
            .unwrap();
        assert_eq!(jwk["use"], "enc");
        for enc in ENCRYPTIONS {
            let token = keys
                .wrap(to(jwk, alg, enc))
                .await
                .unwrap()
                .into_inner()
                .compact;
            let opened = keys.decrypt(open(&token)).await.unwrap().into_inner();
            assert_eq!(opened.plaintext, "the plaintext", "{alg} {enc}");
            let header: Value = serde_json::from_slice(&opened.header).unwrap();
            assert_eq!(
                (&header["alg"], &header["enc"], &header["cty"]),
                (&alg.into(), &enc.into(), &"JWT".into())
            );

            // One answer, whatever is wrong.
            for (at, from) in [(1, '.'), (2, '.'), (3, '.'), (4, '.')] {
                let mut segments: Vec<String> = token.split(from).map(str::to_owned).collect();
                let segment = &mut segments[at];
                if segment.is_empty() {
                    continue;
                }
                let other = if segment.starts_with('A') { "B" } else { "A" };
                segment.replace_range(0..1, other);
                assert_eq!(
                    refusal(keys.decrypt(open(&segments.join("."))).await),
                    not_decrypted,
                    "{alg} {enc} {at}"
                );
            }
        }
    }
    for token in ["", "a.b.c", "a.b.c.d.e", &"x".repeat(200_000)] {
        assert_eq!(refusal(keys.decrypt(open(token)).await), not_decrypted);
    }
    let signing = set["keys"]
        .as_array()
        .unwrap()
        .iter()
        .find(|jwk| jwk["use"] == "sig")
        .unwrap();
    for (alg, enc) in [
        ("ECDH-ES", "A128GCM"),
        ("RSA1_5", "A128GCM"),
        ("RSA-OAEP", "A128CBC-HS256"),
        ("dir", "A256GCM"),
    ] {
        assert_eq!(
            refusal(keys.wrap(to(signing, alg, enc)).await).0,
            Code::InvalidArgument,
            "{alg} {enc}"
        );
    }
}

#[tokio::test]
async fn what_we_sealed_opens_in_its_context_only() {
    let service = KeyService::with_rings(&["seal/A256GCM", "id-token/ES256"]);
    let mut keys = service.keys().await;
    let seal = |context: &str| v1::WrapRequest {
        plaintext: "a secret".into(),
        to: Some(wrap_request::To::Context(context.to_owned())),
    };
    let sealed = keys
        .wrap(seal("session/1"))
        .await
        .unwrap()
        .into_inner()
        .compact;
    let again = keys
        .wrap(seal("session/1"))
        .await
        .unwrap()
        .into_inner()
        .compact;
    assert_ne!(sealed, again);
    let opened = keys
        .decrypt(unseal(&sealed, "session/1"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(
        (opened.plaintext.as_ref(), opened.header.len()),
        (&b"a secret"[..], 0)
    );
    for context in ["session/2", "", "Session/1"] {
        assert_eq!(
            refusal(keys.decrypt(unseal(&sealed, context)).await).0,
            Code::InvalidArgument,
            "{context}"
        );
    }
    // It is not a token that somebody sent us.
    assert_eq!(
        refusal(keys.decrypt(open(&sealed)).await).0,
        Code::InvalidArgument
    );
    // Use-only: never told.
    let used = keys
        .wrap(seal("use-only:client/1"))
        .await
        .unwrap()
        .into_inner()
        .compact;
    assert_eq!(
        refusal(keys.decrypt(unseal(&used, "use-only:client/1")).await).0,
        Code::PermissionDenied
    );
    assert_eq!(refusal(keys.wrap(seal("")).await).0, Code::InvalidArgument);

    // A sealing key never shows and, rotated, still opens.
    let published = jwks(&mut keys).await;
    assert!(
        published
            .keys
            .iter()
            .all(|key| key.ring == "id-token/ES256")
    );
    let mut admin = service.admin().await;
    let rotate = v1::RotateKeyRequest {
        ring: "seal/A256GCM".to_owned(),
        dry_run: false,
    };
    admin.rotate_key(rotate).await.unwrap();
    service
        .clock
        .advance(std::time::Duration::from_secs(10_000_000));
    service.running.keyring().refresh();
    assert!(keys.decrypt(unseal(&sealed, "session/1")).await.is_ok());
}
