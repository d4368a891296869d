//! Mac: pairwise subjects (OpenID Connect Core §8.1), opaque tokens and one-time codes (RFC 6238), each apart from the
//! others.

use std::collections::HashSet;
use std::time::Duration;

use proto::v1::key_service_client::KeyServiceClient;
use proto::v1::mac_request::Key::{Ring, WrappedSecret};
use proto::v1::{self, KeyState, MacPurpose, Profile, mac_request, sign_item, verify_request};
use support::softhsm::SoftHsm;
use tonic::Code;
use tonic::transport::Channel;

use crate::contract::pkcs11;
use crate::running::{KeyService, LEAD, caller, id_token, item, jwks, verification, wrapped};
use crate::surface::get;

const PAIRWISE: &str = "pairwise-subject/HS256";
const OPAQUE: &str = "mac/HS256";
const CODES_ONLY: &str = "spiffe://signet/codes";
const RINGS: &str = r#"
[[rings]]
name = "pairwise-subject/HS256"
[[rings]]
name = "mac/HS256"
[[rings]]
name = "seal/A256GCM"
[[rings]]
name = "id-token/ES256"

[[callers.allow]]
name = "codes"
san = "spiffe://signet/codes"
services = ["keys"]
rings = ["seal/*", "mac/*"]
"#;

fn request(purpose: MacPurpose, key: mac_request::Key, input: &str) -> v1::MacRequest {
    v1::MacRequest {
        purpose: purpose.into(),
        key: Some(key),
        input: input.to_owned().into(),
        steps: Vec::new(),
    }
}

async fn mac(
    keys: &mut KeyServiceClient<Channel>,
    purpose: MacPurpose,
    ring: &str,
    input: &str,
) -> Vec<u8> {
    let request = request(purpose, Ring(ring.to_owned()), input);
    let answer = keys.mac(request).await.unwrap().into_inner();
    assert_eq!((answer.output.len(), answer.codes.len()), (32, 0));
    answer.output.to_vec()
}

#[tokio::test]
async fn s2_28_every_purpose_has_outputs_of_its_own() {
    let service = KeyService::start(RINGS);
    let mut keys = service.keys().await;
    let mut outputs = HashSet::new();
    for (purpose, ring) in [
        (MacPurpose::PairwiseSubject, PAIRWISE),
        (MacPurpose::OpaqueToken, OPAQUE),
    ] {
        for input in [
            "rp.example\0alice",
            "rp.example\0bob",
            "other.example\0alice",
        ] {
            let output = mac(&mut keys, purpose, ring, input).await;
            assert_eq!(output, mac(&mut keys, purpose, ring, input).await);
            assert!(outputs.insert(output), "{purpose:?} {input}");
        }
    }
    // Nobody is told of these keys.
    let published = jwks(&mut keys).await;
    assert!(
        published
            .keys
            .iter()
            .all(|key| key.ring == "id-token/ES256")
    );
}

#[tokio::test]
async fn s2_28_a_pairwise_subject_stays_for_ever() {
    let service = KeyService::start(RINGS);
    let (mut keys, mut admin) = (service.keys().await, service.admin().await);
    let (purpose, input) = (MacPurpose::PairwiseSubject, "rp.example\0alice");
    let subject = mac(&mut keys, purpose, PAIRWISE, input).await;
    let opaque = mac(&mut keys, MacPurpose::OpaqueToken, OPAQUE, input).await;
    let rotation = |ring: &str, dry_run| v1::RotateKeyRequest {
        ring: ring.to_owned(),
        dry_run,
    };
    for dry_run in [true, false] {
        let refused = admin
            .rotate_key(rotation(PAIRWISE, dry_run))
            .await
            .unwrap_err();
        assert_eq!(
            (refused.code(), refused.message()),
            (
                Code::FailedPrecondition,
                "rotation.never: with another key every pairwise subject would change"
            )
        );
    }
    // The other one is rotated like any ring.
    admin.rotate_key(rotation(OPAQUE, false)).await.unwrap();
    service
        .clock
        .advance(Duration::from_secs(100 * LEAD.unsigned_abs()));
    service.running.keyring().reload().await.unwrap();
    assert_eq!(mac(&mut keys, purpose, PAIRWISE, input).await, subject);
    let rotated = mac(&mut keys, MacPurpose::OpaqueToken, OPAQUE, input).await;
    assert_ne!(rotated, opaque);

    let list = v1::ListKeysRequest {
        ring: PAIRWISE.to_owned(),
    };
    let listed = admin.list_keys(list.clone()).await.unwrap().into_inner();
    let states: Vec<(u64, KeyState)> = listed
        .keys
        .iter()
        .map(|key| (key.generation, key.state()))
        .collect();
    assert_eq!(states, [(1, KeyState::Active)]);

    // Revoked, it has no heir: another key would give everybody another subject.
    let revocation = v1::RevokeKeyRequest {
        kid: listed.keys[0].kid.clone(),
        reason: "lost".to_owned(),
    };
    let revoked = admin.revoke_key(revocation).await.unwrap().into_inner();
    assert_eq!((revoked.signing_kid.as_str(), revoked.created), ("", None));
    let refused = keys
        .mac(request(purpose, Ring(PAIRWISE.to_owned()), input))
        .await
        .unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    // Somebody should know, also who starts it another time.
    service.running.keyring().keep_up().await.unwrap();
    let metrics = get(service.running.metrics_address().unwrap(), "/metrics");
    for (ring, is_raised) in [(PAIRWISE, 1), (OPAQUE, 0)] {
        let line = format!("key_service_alarm{{ring=\"{ring}\",alarm=\"no_key\"}} {is_raised}");
        assert!(metrics.contains(&line), "{line} {metrics}");
    }
}

#[tokio::test]
async fn k_4_a_token_keeps_the_keys_of_subjects_and_secrets() {
    let name = "mac::k_4_a_token_keeps_the_keys_of_subjects_and_secrets";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let home = pkcs11(&softhsm.token("signet", "1234"));
    let (purpose, input) = (MacPurpose::PairwiseSubject, "rp.example\0alice");
    let mut subjects = Vec::new();
    let mut secret = None;
    // Twice: after a restart a person is the same one, and a secret still opens.
    for _ in 0..2 {
        let service = KeyService::start_at(&home, RINGS);
        let mut keys = service.keys().await;
        subjects.push(mac(&mut keys, purpose, PAIRWISE, input).await);
        let secret = match &secret {
            Some(secret) => v1::WrappedSecret::clone(secret),
            None => {
                let context = "use-only:client-secret:c";
                let wrapped = wrapped(&mut keys, context, &[7; 32], "HS256").await;
                secret.insert(wrapped).clone()
            }
        };
        let mut id = item("", Profile::IdToken, &id_token(service.now()));
        id.key = Some(sign_item::Key::WrappedSecret(secret.clone()));
        let items = vec![id];
        let signed = keys.sign(v1::SignRequest { items }).await.unwrap();
        let token = signed.into_inner().items.remove(0).compact;
        let key = verify_request::Key::WrappedSecret(secret);
        keys.verify(verification(&token, "HS256", key))
            .await
            .unwrap();
    }
    assert_eq!(subjects[0], subjects[1]);
}

#[tokio::test]
async fn k_4_one_time_codes_are_those_of_rfc_6238() {
    let service = KeyService::start(RINGS);
    let mut keys = service.keys().await;
    let seed: Vec<u8> = b"1234567890".iter().copied().cycle().take(64).collect();
    // Appendix B: times 59 s and 1111111109 s, eight digits.
    for (alg, length, codes) in [
        ("HS1", 20, [94_287_082, 7_081_804]),
        ("HS256", 32, [46_119_246, 68_084_774]),
        ("HS512", 64, [90_693_936, 25_091_201]),
    ] {
        let secret = wrapped(&mut keys, "use-only:totp-seed:alice", &seed[..length], alg).await;
        let mut asked = request(MacPurpose::Totp, WrappedSecret(secret), "");
        asked.steps = vec![59 / 30, 1_111_111_109 / 30];
        let answer = keys.mac(asked).await.unwrap().into_inner();
        assert!(answer.output.is_empty());
        let digits: Vec<u32> = answer.codes.iter().map(|code| code % 100_000_000).collect();
        assert_eq!(digits, codes, "{alg}");
    }
}

#[tokio::test]
async fn what_fits_no_purpose_is_refused() {
    let service = KeyService::start(RINGS);
    let mut keys = service.keys().await;
    let long = "x".repeat(4097);
    let ring = |name: &str| Ring(name.to_owned());
    let seed = wrapped(&mut keys, "use-only:totp-seed:alice", &[7; 20], "HS1").await;
    let short = wrapped(&mut keys, "use-only:totp-seed:bob", &[7; 15], "HS1").await;
    let told = wrapped(&mut keys, "session:alice", &[7; 20], "HS1").await;
    let totp = |secret: &v1::WrappedSecret, steps: Vec<u64>| v1::MacRequest {
        steps,
        ..request(MacPurpose::Totp, WrappedSecret(secret.clone()), "")
    };
    let with = |change: fn(&mut v1::WrappedSecret)| {
        let mut secret = seed.clone();
        change(&mut secret);
        totp(&secret, vec![1])
    };
    let (pairwise, opaque) = (MacPurpose::PairwiseSubject, MacPurpose::OpaqueToken);
    let rows = [
        (
            "a good one",
            request(pairwise, ring(PAIRWISE), "x"),
            Code::Ok,
            "",
        ),
        (
            "the longest",
            request(opaque, ring(OPAQUE), &long[1..]),
            Code::Ok,
            "",
        ),
        ("good codes", totp(&seed, vec![1; 16]), Code::Ok, ""),
        (
            "pairwise of the other ring",
            request(pairwise, ring(OPAQUE), "x"),
            Code::FailedPrecondition,
            "purpose",
        ),
        (
            "opaque of the other ring",
            request(opaque, ring(PAIRWISE), "x"),
            Code::FailedPrecondition,
            "purpose",
        ),
        (
            "a ring that signs",
            request(opaque, ring("id-token/ES256"), "x"),
            Code::FailedPrecondition,
            "purpose",
        ),
        (
            "a ring that seals",
            request(opaque, ring("seal/A256GCM"), "x"),
            Code::FailedPrecondition,
            "purpose",
        ),
        (
            "no such ring",
            request(opaque, ring("mac/HS512"), "x"),
            Code::PermissionDenied,
            "not allowed",
        ),
        (
            "no input",
            request(pairwise, ring(PAIRWISE), ""),
            Code::InvalidArgument,
            "input is from 1 to 4096 octets",
        ),
        (
            "too much input",
            request(pairwise, ring(PAIRWISE), &long),
            Code::InvalidArgument,
            "input is from 1 to 4096 octets",
        ),
        (
            "steps of a subject",
            v1::MacRequest {
                steps: vec![1],
                ..request(pairwise, ring(PAIRWISE), "x")
            },
            Code::InvalidArgument,
            "steps are for one-time codes",
        ),
        (
            "no purpose",
            request(MacPurpose::Unspecified, ring(PAIRWISE), "x"),
            Code::InvalidArgument,
            "purpose is missing or unknown",
        ),
        (
            "an unknown purpose",
            v1::MacRequest {
                purpose: 99,
                ..request(pairwise, ring(PAIRWISE), "x")
            },
            Code::InvalidArgument,
            "purpose is missing or unknown",
        ),
        (
            "nothing",
            v1::MacRequest::default(),
            Code::InvalidArgument,
            "purpose is missing or unknown",
        ),
        (
            "a subject of a wrapped secret",
            request(pairwise, WrappedSecret(seed.clone()), "x"),
            Code::InvalidArgument,
            "key is not a ring",
        ),
        (
            "codes of a ring",
            request(MacPurpose::Totp, ring(OPAQUE), ""),
            Code::InvalidArgument,
            "key is not a wrapped secret",
        ),
        (
            "codes without steps",
            totp(&seed, vec![]),
            Code::InvalidArgument,
            "from 1 to 16 steps are asked at a time",
        ),
        (
            "too many codes",
            totp(&seed, vec![1; 17]),
            Code::InvalidArgument,
            "from 1 to 16 steps are asked at a time",
        ),
        (
            "codes of an input",
            v1::MacRequest {
                input: "x".into(),
                ..totp(&seed, vec![1])
            },
            Code::InvalidArgument,
            "one-time codes have no input",
        ),
        (
            "a hash that is none",
            with(|secret| secret.alg = "MD5".to_owned()),
            Code::InvalidArgument,
            "wrapped_secret.alg is not HS1, HS256 or HS512",
        ),
        (
            "a short seed",
            totp(&short, vec![1]),
            Code::FailedPrecondition,
            "secret.length",
        ),
        (
            "under another context",
            with(|secret| secret.context = "use-only:totp-seed:bob".to_owned()),
            Code::InvalidArgument,
            "not decrypted",
        ),
        (
            "not sealed",
            with(|secret| secret.sealed = "x".to_owned()),
            Code::InvalidArgument,
            "not decrypted",
        ),
        (
            "sealed to be told",
            totp(&told, vec![1]),
            Code::PermissionDenied,
            "not allowed",
        ),
    ];
    for (what, request, code, message) in rows {
        match keys.mac(request).await {
            Ok(_) => assert_eq!(code, Code::Ok, "{what}"),
            Err(status) => assert_eq!((status.code(), status.message()), (code, message), "{what}"),
        }
    }
}

#[tokio::test]
async fn callers_keep_to_their_rings() {
    let service = KeyService::start(RINGS);
    let mut keys = service.keys().await;
    let seed = wrapped(&mut keys, "use-only:totp-seed:alice", &[7; 20], "HS1").await;
    let codes = v1::MacRequest {
        steps: vec![1],
        ..request(MacPurpose::Totp, WrappedSecret(seed), "")
    };
    let subject = request(MacPurpose::PairwiseSubject, Ring(PAIRWISE.to_owned()), "x");
    let opaque = request(MacPurpose::OpaqueToken, Ring(OPAQUE.to_owned()), "x");
    for (name, expected) in [
        (CODES_ONLY, [Code::PermissionDenied, Code::Ok, Code::Ok]),
        // What is sealed by a ring that one may not use is no ciphertext of one's own.
        (
            "spiffe://signet/stranger",
            [
                Code::PermissionDenied,
                Code::PermissionDenied,
                Code::InvalidArgument,
            ],
        ),
    ] {
        let channel = service
            .channel(&caller(&service.authority, name))
            .await
            .unwrap();
        let mut keys = KeyServiceClient::new(channel);
        for (request, code) in [&subject, &opaque, &codes].into_iter().zip(expected) {
            let answer = keys.mac(request.clone()).await;
            let answered = answer.err().map_or(Code::Ok, |status| status.code());
            assert_eq!(answered, code, "{name} {:?}", request.purpose());
        }
    }
}
