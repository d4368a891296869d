//! Rotation and revocation (NIST SP 800-57 part 1, §8): who signs when, and that every token keeps verifying.

use std::collections::HashSet;
use std::time::Duration;

use proto::v1::{self, KeyState, verify_request};
use tokio_stream::StreamExt as _;
use tonic::Code;

use crate::running::{GENERATION, KeyService, LEAD, jwks, sign, verification};

const RING: &str = "id-token/ES256";

fn rotation(dry_run: bool) -> v1::RotateKeyRequest {
    v1::RotateKeyRequest {
        ring: RING.to_owned(),
        dry_run,
    }
}

fn later(service: &KeyService, seconds: i64) {
    service
        .clock
        .advance(Duration::from_secs(seconds.unsigned_abs()));
    service.running.keyring().refresh();
}

#[tokio::test]
async fn five_rotations_and_every_token_verifies() {
    let service = KeyService::with_rings(&[RING]);
    let (mut keys, mut admin) = (service.keys().await, service.admin().await);
    let mut tokens = vec![sign(&mut keys, RING, service.now()).await.unwrap()];
    let first = tokens[0].kid.clone();
    for _ in 0..5 {
        let begun = service.now();
        let made = admin
            .rotate_key(rotation(false))
            .await
            .unwrap()
            .into_inner();
        assert!(made.next_activates_at >= service.now());
        let created = made.created.unwrap();
        assert!(!created.kid.is_empty());
        // It is published already, so it is published for all of the lead that begins then.
        assert!(created.created_at >= begun + GENERATION);
    }
    // Every key is published from the moment it is there, and the old one signs on.
    let published = jwks(&mut keys).await;
    assert_eq!(published.keys.len(), 7);
    assert_eq!(
        sign(&mut keys, RING, service.now()).await.unwrap().kid,
        first
    );

    for second in 0..LEAD + 20 {
        let token = sign(&mut keys, RING, service.now()).await.unwrap();
        if tokens.last().unwrap().kid != token.kid {
            let key = published
                .keys
                .iter()
                .find(|key| key.kid == token.kid)
                .unwrap();
            assert!(
                service.now() - key.created_at >= LEAD,
                "second {second}: {key:?}"
            );
            tokens.push(token);
        }
        later(&service, 1);
    }
    let kids: HashSet<&str> = tokens.iter().map(|token| token.kid.as_str()).collect();
    assert_eq!((tokens.len(), kids.len()), (6, 6));

    let published = jwks(&mut keys).await;
    let states: Vec<KeyState> = published.keys.iter().map(v1::PublishedKey::state).collect();
    let retired = [KeyState::Retired; 5];
    assert_eq!(
        states,
        [&[KeyState::Active, KeyState::Next], &retired[..]].concat()
    );
    for token in &tokens {
        let key = verify_request::Key::PublicJwks(published.jwks.clone());
        let verified = keys
            .verify(verification(&token.compact, "ES256", key))
            .await
            .unwrap();
        assert_eq!(verified.into_inner().kid, token.kid);
    }

    // After the retention they are gone.
    later(&service, 2 * 3600);
    let states = jwks(&mut keys).await.keys;
    let states: Vec<KeyState> = states.iter().map(v1::PublishedKey::state).collect();
    assert_eq!(states, [KeyState::Active, KeyState::Next]);
}

#[tokio::test]
async fn so_many_keys_wait_and_no_more() {
    let service = KeyService::with_rings(&[RING]);
    let mut admin = service.admin().await;
    // The standby is the first of the eight.
    for _ in 0..7 {
        admin.rotate_key(rotation(false)).await.unwrap();
    }
    for dry_run in [true, false] {
        let refused = admin.rotate_key(rotation(dry_run)).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert!(refused.message().starts_with("rotation.queue: "));
    }
    // One that begins to sign makes room.
    later(&service, LEAD + GENERATION + 2);
    admin.rotate_key(rotation(false)).await.unwrap();
}

#[tokio::test]
async fn a_dry_run_makes_nothing() {
    let service = KeyService::with_rings(&[RING]);
    let mut admin = service.admin().await;
    let list = v1::ListKeysRequest::default();
    let before = admin.list_keys(list.clone()).await.unwrap().into_inner();
    let plan = admin.rotate_key(rotation(true)).await.unwrap().into_inner();
    assert_eq!(admin.list_keys(list).await.unwrap().into_inner(), before);
    assert!(plan.dry_run);
    assert_eq!(plan.created.as_ref().unwrap().kid, "");
    let done = admin
        .rotate_key(rotation(false))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(done.next_generation, plan.next_generation);
    assert_eq!(
        done.created.unwrap().generation,
        plan.created.unwrap().generation
    );
    let unknown = v1::RotateKeyRequest {
        ring: "id-token/RS256".to_owned(),
        dry_run: false,
    };
    assert_eq!(
        admin.rotate_key(unknown).await.unwrap_err().code(),
        Code::PermissionDenied
    );
}

#[tokio::test]
async fn a_revoked_key_is_followed_at_once() {
    let service = KeyService::with_rings(&[RING]);
    let (mut keys, mut admin) = (service.keys().await, service.admin().await);
    let token = sign(&mut keys, RING, service.now()).await.unwrap();
    let revocation = |kid: &str, reason: &str| v1::RevokeKeyRequest {
        kid: kid.to_owned(),
        reason: reason.to_owned(),
    };
    for (kid, reason, code) in [
        ("unknown", "why", Code::PermissionDenied),
        (&token.kid, "", Code::InvalidArgument),
        (&token.kid, "a\nb", Code::InvalidArgument),
        (&token.kid, &"x".repeat(257), Code::InvalidArgument),
    ] {
        assert_eq!(
            admin
                .revoke_key(revocation(kid, reason))
                .await
                .unwrap_err()
                .code(),
            code,
            "{kid} {reason}"
        );
    }
    let revoked = admin
        .revoke_key(revocation(&token.kid, "lost"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!(revoked.revoked.unwrap().state(), KeyState::Revoked);
    let heir = sign(&mut keys, RING, service.now()).await.unwrap();
    assert_eq!(revoked.signing_kid, heir.kid);
    assert_ne!(heir.kid, token.kid);

    let published = jwks(&mut keys).await;
    assert!(!published.keys.iter().any(|key| key.kid == token.kid));
    assert!(
        published
            .keys
            .iter()
            .any(|key| key.kid == revoked.created.as_ref().unwrap().kid)
    );
    let own = verify_request::Key::Ring(RING.to_owned());
    let refused = keys
        .verify(verification(&token.compact, "ES256", own))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);

    // Once more changes nothing.
    let again = admin
        .revoke_key(revocation(&token.kid, "lost"))
        .await
        .unwrap()
        .into_inner();
    assert_eq!((again.signing_kid.as_str(), again.created), ("", None));
    // What was written down is there after a restart too: the state is in the keys' home.
    service.running.keyring().reload().await.unwrap();
    assert_eq!(
        sign(&mut keys, RING, service.now()).await.unwrap().kid,
        heir.kid
    );
}

#[tokio::test]
async fn watchers_are_told() {
    let service = KeyService::with_rings(&[RING]);
    let (mut keys, mut admin) = (service.keys().await, service.admin().await);
    let hello = v1::WatchPublicJwksRequest {
        instance_id: "one".to_owned(),
        ..Default::default()
    };
    let requests = tokio_stream::once(hello).chain(tokio_stream::pending());
    let mut stream = keys.watch_public_jwks(requests).await.unwrap().into_inner();
    let first = stream.message().await.unwrap().unwrap();
    assert_eq!(first.keys.len(), 2);

    admin.rotate_key(rotation(false)).await.unwrap();
    let second = stream.message().await.unwrap().unwrap();
    assert_eq!(second.keys.len(), 3);
    assert_ne!(first.epoch, second.epoch);

    later(&service, LEAD + 1);
    let third = stream.message().await.unwrap().unwrap();
    assert_ne!(third.epoch, second.epoch);
    let known = v1::PublicJwksRequest {
        known_epoch: third.epoch.clone(),
        rings: Vec::new(),
    };
    let same = keys.public_jwks(known).await.unwrap().into_inner();
    assert_eq!(
        (same.epoch, same.jwks.len(), same.keys.len()),
        (third.epoch, 0, 0)
    );
}
