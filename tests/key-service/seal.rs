//! What we seal for ourselves (RFC 7516, RFC 7518 §4.5): opened in its context only, and not at all where it is use-only.

use proto::v1::{self, decrypt_request, wrap_request};
use tonic::Code;

use crate::running::{KeyService, jwks};
use crate::wrap::{open, refusal};

fn unseal(sealed: &str, context: &str) -> v1::DecryptRequest {
    v1::DecryptRequest {
        ciphertext: Some(decrypt_request::Ciphertext::Sealed(v1::Sealed {
            sealed: sealed.to_owned(),
            context: context.to_owned(),
        })),
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
