//! Sign and Verify (RFC 7515): every algorithm, in one call or several, and what is not built yet.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proto::v1::verify_request::Key::{PublicJwks, Ring};
use proto::v1::{self, Profile};
use serde_json::{Value, json};
use tonic::Code;

use crate::running::{ISSUER, KeyService, id_token, item, jwks, sign, verification};

const ALGORITHMS: &[&str] = &[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
];

#[tokio::test]
async fn every_algorithm_signs_and_verifies() {
    let rings: Vec<String> = ALGORITHMS.iter().map(|alg| format!("test/{alg}")).collect();
    let rings: Vec<&str> = rings.iter().map(String::as_str).collect();
    let service = KeyService::with_rings(&rings);
    let mut keys = service.keys().await;
    let published = jwks(&mut keys).await;
    for (ring, alg) in rings.iter().zip(ALGORITHMS) {
        let signed = sign(&mut keys, ring, service.now()).await.unwrap();
        let header = signed.compact.split('.').next().unwrap();
        let header: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap();
        assert_eq!(
            header,
            json!({ "alg": alg, "kid": signed.kid, "typ": "JWT" })
        );

        for key in [
            PublicJwks(published.jwks.clone()),
            Ring((*ring).to_owned()),
            Ring("test/*".to_owned()),
        ] {
            let verified = keys
                .verify(verification(&signed.compact, alg, key))
                .await
                .unwrap()
                .into_inner();
            assert_eq!(verified.kid, signed.kid, "{alg}");
            let claims: Value = serde_json::from_slice(&verified.claims).unwrap();
            assert_eq!(claims["iss"], ISSUER, "{alg}");
        }

        let at = signed.compact.len() - 10;
        let other = if signed.compact.as_bytes()[at] == b'A' {
            "B"
        } else {
            "A"
        };
        let mut forged = signed.compact.clone();
        forged.replace_range(at..=at, other);
        for (token, alg) in [
            (forged.as_str(), *alg),
            (&signed.compact, "HS256"),
            ("a.b", alg),
        ] {
            let refused = keys
                .verify(verification(token, alg, Ring((*ring).to_owned())))
                .await
                .unwrap_err();
            assert_eq!(
                (refused.code(), refused.message()),
                (Code::InvalidArgument, "not verified"),
                "{alg}"
            );
        }
    }
    let signing: Vec<String> = rings.iter().map(|ring| (*ring).to_owned()).collect();
    assert_eq!(published.capabilities.unwrap().sign_rings, signing);
}

#[tokio::test]
async fn one_call_signs_an_access_token_and_the_id_token_that_covers_it() {
    let service = KeyService::with_rings(&["id-token/ES256", "access-token/ES256"]);
    let mut keys = service.keys().await;
    let now = service.now();
    let mut access = id_token(now);
    access["client_id"] = "client".into();
    access["jti"] = "1".into();
    let hash_of = |item| v1::HashOf {
        claim: "at_hash".to_owned(),
        item,
    };
    let id_token = |hash_of| {
        let mut item = item("id-token/ES256", Profile::IdToken, &id_token(now));
        item.hash_of = hash_of;
        item
    };
    let access = item("access-token/ES256", Profile::AccessToken, &access);

    let items = vec![id_token(vec![hash_of(1)]), access.clone()];
    let signed = keys
        .sign(v1::SignRequest { items })
        .await
        .unwrap()
        .into_inner();
    let verify = verification(
        &signed.items[0].compact,
        "ES256",
        Ring("id-token/ES256".to_owned()),
    );
    let verified = keys.verify(verify).await.unwrap().into_inner();
    let claims: Value = serde_json::from_slice(&verified.claims).unwrap();
    let digest = digest(signed.items[1].compact.as_bytes());
    assert_eq!(claims["at_hash"], URL_SAFE_NO_PAD.encode(&digest[..16]));

    let rows = [
        (
            "index beyond the items",
            vec![id_token(vec![hash_of(7)]), access.clone()],
        ),
        ("of itself", vec![id_token(vec![hash_of(0)])]),
        (
            "of one that has its own",
            vec![
                id_token(vec![hash_of(1)]),
                id_token(vec![hash_of(2)]),
                access.clone(),
            ],
        ),
        (
            "twice",
            vec![id_token(vec![hash_of(1), hash_of(1)]), access.clone()],
        ),
        (
            "more than there are",
            vec![
                id_token(
                    ["a_hash", "b_hash", "c_hash", "d_hash", "e_hash"]
                        .map(|claim| v1::HashOf {
                            claim: claim.to_owned(),
                            item: 1,
                        })
                        .to_vec(),
                ),
                access.clone(),
            ],
        ),
        (
            "no hash's name",
            vec![
                id_token(vec![v1::HashOf {
                    claim: "sub2".to_owned(),
                    item: 1,
                }]),
                access.clone(),
            ],
        ),
        ("no items", vec![]),
        ("too many", vec![access; 17]),
    ];
    for (what, items) in rows {
        let refused = keys.sign(v1::SignRequest { items }).await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument, "{what}");
    }
}

fn digest(octets: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(octets).into()
}

#[tokio::test]
async fn what_is_not_built_says_so() {
    let service = KeyService::with_rings(&["id-token/ES256"]);
    let mut keys = service.keys().await;
    let mut admin = service.admin().await;
    let mut codes = Vec::new();
    let raw = v1::VerifyRequest {
        subject: Some(v1::verify_request::Subject::Raw(v1::RawSignature::default())),
        key: None,
    };
    codes.push(keys.verify(raw).await.unwrap_err().code());
    codes.push(
        admin
            .read_audit(v1::ReadAuditRequest::default())
            .await
            .unwrap_err()
            .code(),
    );
    codes.push(
        admin
            .verify_audit(v1::VerifyAuditRequest::default())
            .await
            .unwrap_err()
            .code(),
    );
    assert_eq!(codes, [Code::Unimplemented; 3]);
}
