//! K-3: others' public keys, published beside a ring's own until a named time, verifying and never signing.

mod refusals;

use std::fs;
use std::time::Duration;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cryptoki::object::{Attribute, ObjectClass};
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use proto::v1::key_admin_client::KeyAdminClient;
use proto::v1::key_service_client::KeyServiceClient;
use proto::v1::{self, KeyState, verify_request};
use serde_json::{Value, json};
use support::softhsm::SoftHsm;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::contract::pkcs11;
use crate::running::{KeyService, LEAD, id_token, jwks, sign, verification};

pub(crate) const RING: &str = "id-token/EdDSA";
pub(crate) const OTHER: &str = "access-token/EdDSA";
pub(crate) const RINGS: &str = "[[rings]]\nname = \"id-token/EdDSA\"\n[[rings]]\nname = \"access-token/EdDSA\"\n\
                     [[rings]]\nname = \"request-object/ECDH-ES\"\n";
pub(crate) const DAY: i64 = 24 * 3600;

pub(crate) type Admin = KeyAdminClient<Channel>;

/// Another provider, with its own way to name keys.
pub(crate) struct Provider {
    pair: Ed25519KeyPair,
    pub(crate) kid: &'static str,
}

impl Provider {
    pub(crate) fn new(kid: &'static str) -> Provider {
        let pair = Ed25519KeyPair::generate().unwrap();
        Provider { pair, kid }
    }

    pub(crate) fn jwk(&self) -> Value {
        let x = URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref());
        json!({ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": self.kid, "use": "sig", "alg": "EdDSA" })
    }

    fn token(&self, now: i64) -> String {
        let header = json!({ "alg": "EdDSA", "kid": self.kid, "typ": "JWT" });
        let encode = |json: Value| URL_SAFE_NO_PAD.encode(json.to_string());
        let input = format!("{}.{}", encode(header), encode(id_token(now)));
        let signature = self.pair.sign(input.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

pub(crate) fn wanted(ring: &str, jwk: &Value, until: i64) -> v1::ImportPublicKeyRequest {
    v1::ImportPublicKeyRequest {
        ring: ring.to_owned(),
        jwk: jwk.to_string().into(),
        until,
        dry_run: false,
    }
}

pub(crate) async fn import(
    admin: &mut Admin,
    request: v1::ImportPublicKeyRequest,
) -> Result<v1::ImportPublicKeyResponse, Status> {
    Ok(admin.import_public_key(request).await?.into_inner())
}

pub(crate) async fn verified(
    keys: &mut KeyServiceClient<Channel>,
    token: &str,
    ring: &str,
) -> Result<String, Code> {
    let own = verify_request::Key::Ring(ring.to_owned());
    let answer = keys.verify(verification(token, "EdDSA", own)).await;
    answer
        .map(|verified| verified.into_inner().kid)
        .map_err(|status| status.code())
}

pub(crate) async fn listed(admin: &mut Admin, kid: &str) -> Vec<v1::Key> {
    let list = admin.list_keys(v1::ListKeysRequest::default()).await;
    let keys = list.unwrap().into_inner().keys.into_iter();
    keys.filter(|key| key.kid == kid).collect()
}

pub(crate) fn later(service: &KeyService, seconds: i64) {
    let by = Duration::from_secs(seconds.unsigned_abs());
    service.clock.advance(by);
    service.running.keyring().refresh();
}

pub(crate) fn published(set: &v1::PublicJwksResponse, kid: &str) -> usize {
    let set: JwkSet = serde_json::from_slice(&set.jwks).unwrap();
    let of = set.keys.iter();
    of.filter(|key| key.common.key_id.as_deref() == Some(kid))
        .count()
}

#[tokio::test]
async fn an_imported_key_verifies_until_its_end_and_never_signs() {
    let mut home = None;
    let service = KeyService::configured(RINGS, |config| home = Some(config.backend.clone()));
    let (mut keys, mut admin) = (service.keys().await, service.admin().await);
    let theirs = Provider::new("public:theirs/2011-04-29");
    let token = theirs.token(service.now());
    let until = service.now() + DAY;
    assert_eq!(
        verified(&mut keys, &token, RING).await,
        Err(Code::InvalidArgument)
    );

    let before = jwks(&mut keys).await;
    let mut told = service.running.keyring().watch();
    told.mark_unchanged();
    let mut plan = wanted(RING, &theirs.jwk(), until);
    plan.dry_run = true;
    let planned = import(&mut admin, plan).await.unwrap();
    assert!(planned.dry_run);
    assert_eq!(jwks(&mut keys).await.epoch, before.epoch, "only a plan");

    let made = import(&mut admin, wanted(RING, &theirs.jwk(), until))
        .await
        .unwrap();
    let key = made.key.unwrap();
    assert_eq!(key.kid, theirs.kid);
    assert_eq!(
        (key.state(), key.reason.as_str()),
        (KeyState::Retired, "imported")
    );
    assert_eq!((key.generation, key.location.as_str()), (0, "imported"));
    assert_eq!((key.expires_at, key.activates_at), (until, 0));
    assert!((made.known_by - service.now() - LEAD).abs() <= 2);
    // Who watches is told.
    assert!(told.has_changed().unwrap());
    let after = jwks(&mut keys).await;
    assert_ne!(after.epoch, before.epoch);
    assert_eq!(published(&after, theirs.kid), 1);
    let relying_party: JwkSet = serde_json::from_slice(&after.jwks).unwrap();
    let found = DecodingKey::from_jwk(relying_party.find(theirs.kid).unwrap()).unwrap();
    let mut validation = Validation::new(Algorithm::EdDSA);
    validation.validate_aud = false;
    jsonwebtoken::decode::<Value>(&token, &found, &validation).unwrap();

    // By the ring and by its purpose, and by no other ring.
    for ring in [RING, "id-token/*"] {
        assert_eq!(
            verified(&mut keys, &token, ring).await.as_deref(),
            Ok(theirs.kid)
        );
    }
    assert_eq!(
        verified(&mut keys, &token, OTHER).await,
        Err(Code::InvalidArgument)
    );
    // Another provider signs everything with one key: it is published once.
    import(&mut admin, wanted(OTHER, &theirs.jwk(), until))
        .await
        .unwrap();
    assert_eq!(
        verified(&mut keys, &token, OTHER).await.as_deref(),
        Ok(theirs.kid)
    );
    assert_eq!(published(&jwks(&mut keys).await, theirs.kid), 1);

    // It never signs, though all others be revoked.
    for _ in 0..3 {
        let signed = sign(&mut keys, RING, service.now()).await.unwrap();
        assert_ne!(signed.kid, theirs.kid);
        let (kid, reason) = (signed.kid, "for a test".to_owned());
        admin
            .revoke_key(v1::RevokeKeyRequest { kid, reason })
            .await
            .unwrap();
    }

    // Another process with the same home publishes the same.
    let replica = KeyService::start_at(&home.unwrap(), RINGS);
    let mut replicas = replica.keys().await;
    assert_eq!(jwks(&mut replicas).await.epoch, jwks(&mut keys).await.epoch);
    assert_eq!(
        verified(&mut replicas, &token, RING).await.as_deref(),
        Ok(theirs.kid)
    );

    later(&service, DAY + 1);
    assert_eq!(
        verified(&mut keys, &token, RING).await,
        Err(Code::InvalidArgument)
    );
    assert_eq!(published(&jwks(&mut keys).await, theirs.kid), 0);
    let over = listed(&mut admin, theirs.kid).await;
    assert!(
        over.iter()
            .all(|key| key.state() == KeyState::Expired && key.jwk.is_empty())
    );
    assert_eq!(over.len(), 2);
}

#[tokio::test]
async fn an_imported_key_is_withdrawn_like_any_other() {
    let service = KeyService::start(RINGS);
    let (mut keys, mut admin) = (service.keys().await, service.admin().await);
    let records = || {
        let entries = fs::read_dir(service.folder.path().join("keys")).unwrap();
        let names = entries.map(|entry| entry.unwrap().path());
        names
            .filter(|path| path.extension().is_some_and(|it| it == "imported"))
            .count()
    };
    let until = service.now() + DAY;
    let reason = || "for a test".to_owned();
    let (first, second) = (Provider::new("first"), Provider::new("second"));
    for provider in [&first, &second] {
        for ring in [RING, OTHER] {
            import(&mut admin, wanted(ring, &provider.jwk(), until))
                .await
                .unwrap();
        }
    }
    let own = sign(&mut keys, RING, service.now()).await.unwrap().kid;
    assert_eq!(records(), 4);
    // The same again adds nothing, for longer it adds a record.
    import(&mut admin, wanted(RING, &first.jwk(), until - 10))
        .await
        .unwrap();
    assert_eq!(records(), 4);
    let longer = import(&mut admin, wanted(RING, &first.jwk(), until + 10))
        .await
        .unwrap();
    assert_eq!(longer.key.unwrap().expires_at, until + 10);
    assert_eq!(records(), 5);

    let (one, other) = (first.token(service.now()), second.token(service.now()));
    let kid = || first.kid.to_owned();
    let destroy = || v1::DestroyKeyRequest {
        kid: kid(),
        ..Default::default()
    };
    let disable = v1::DisableKeyRequest {
        kid: kid(),
        reason: reason(),
    };
    let disabled = admin.disable_key(disable).await.unwrap().into_inner();
    assert_eq!(disabled.key.unwrap().state(), KeyState::Disabled);
    assert_eq!(disabled.signing_kid, "");
    for ring in [RING, OTHER] {
        assert_eq!(
            verified(&mut keys, &one, ring).await,
            Err(Code::InvalidArgument)
        );
        assert!(verified(&mut keys, &other, ring).await.is_ok());
    }
    let enabled = admin
        .enable_key(v1::EnableKeyRequest { kid: kid() })
        .await
        .unwrap();
    let enabled = enabled.into_inner().key.unwrap();
    assert_eq!(
        (enabled.state(), enabled.reason.as_str()),
        (KeyState::Retired, "imported")
    );
    assert!(verified(&mut keys, &one, OTHER).await.is_ok());

    let refused = admin.destroy_key(destroy()).await;
    assert!(
        refused
            .unwrap_err()
            .message()
            .starts_with("destroy.retention: ")
    );
    let revoke = v1::RevokeKeyRequest {
        kid: kid(),
        reason: reason(),
    };
    let revoked = admin.revoke_key(revoke).await.unwrap().into_inner();
    assert_eq!(revoked.revoked.unwrap().state(), KeyState::Revoked);
    // Nothing that signs was touched.
    assert_eq!((revoked.signing_kid.as_str(), revoked.created), ("", None));
    assert_eq!(sign(&mut keys, RING, service.now()).await.unwrap().kid, own);
    assert_eq!(
        verified(&mut keys, &one, RING).await,
        Err(Code::InvalidArgument)
    );
    for _ in 0..2 {
        let destroyed = admin.destroy_key(destroy()).await;
        let destroyed = destroyed.unwrap().into_inner().key.unwrap();
        assert_eq!(destroyed.state(), KeyState::Destroyed);
    }
    assert_eq!(records(), 2);
    let again = import(&mut admin, wanted(RING, &first.jwk(), until))
        .await
        .unwrap_err();
    assert!(again.message().starts_with("import.withdrawn: "), "{again}");
    // Its tombstones are no key's of the ring: the next rotation goes on as if it had not been.
    let rotate = v1::RotateKeyRequest {
        ring: RING.to_owned(),
        dry_run: true,
    };
    let plan = admin.rotate_key(rotate).await.unwrap().into_inner();
    assert_eq!(
        (plan.created.unwrap().generation, plan.next_generation),
        (3, 2)
    );
    assert!(verified(&mut keys, &other, RING).await.is_ok());
}

/// A public key that is imported stays with the token: a record that only who has the PIN can write.
#[tokio::test]
async fn an_imported_key_in_a_token_needs_the_pin() {
    let name = "import::an_imported_key_in_a_token_needs_the_pin";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let made = softhsm.token("signet", "1234");
    let home = pkcs11(&made);
    let tables = format!("[[rings]]\nname = \"{RING}\"\n");
    let service = KeyService::start_at(&home, &tables);
    let (mut keys, mut admin) = (service.keys().await, service.admin().await);
    let theirs = Provider::new("theirs");
    let until = service.now() + DAY;
    import(&mut admin, wanted(RING, &theirs.jwk(), until))
        .await
        .unwrap();
    let token = theirs.token(service.now());
    assert_eq!(
        verified(&mut keys, &token, RING).await.as_deref(),
        Ok("theirs")
    );

    // The same record, but one that SoftHSM lets anybody write: it is no word of ours.
    let rogue = Provider::new("rogue");
    let session = crate::token::intruder(&made);
    let record = json!({ "ring": RING, "jwk": rogue.jwk(), "at": service.now(), "until": until });
    let object = |is_private| {
        [
            Attribute::Class(ObjectClass::DATA),
            Attribute::Token(true),
            Attribute::Private(is_private),
            Attribute::Application(b"signet".to_vec()),
            Attribute::Label(format!("i1/{RING}/1/rogue").into_bytes()),
            Attribute::Value(record.to_string().into_bytes()),
        ]
    };
    session.create_object(&object(false)).unwrap();
    service.running.keyring().reload().await.unwrap();
    let forged = rogue.token(service.now());
    assert_eq!(
        verified(&mut keys, &forged, RING).await,
        Err(Code::InvalidArgument)
    );
    // It is the PIN that makes the difference, and nothing else about the record.
    session.create_object(&object(true)).unwrap();
    service.running.keyring().reload().await.unwrap();
    assert_eq!(
        verified(&mut keys, &forged, RING).await.as_deref(),
        Ok("rogue")
    );

    // A later process knows it too.
    drop(service);
    let again = KeyService::start_at(&home, &tables);
    let mut keys = again.keys().await;
    assert_eq!(
        verified(&mut keys, &token, RING).await.as_deref(),
        Ok("theirs")
    );
}
