//! S0-1: a token that fails. Whatever a function of PKCS#11 returns, a caller gets a good answer or one status,
//! nothing that is wrong leaves, the audit log tells of exactly what was answered, and service resumes by itself when the
//! fault is over. The module before the token (tests/fault-token) fails as it is told.

mod decrypting;
mod making;
mod opening;
mod signing;
mod values;
mod wrong;

use std::collections::HashSet;
use std::path::Path;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fault_token::Control;
use key_service::backend::Settings;
use proto::v1;
use proto::v1::key_service_client::KeyServiceClient;
use serde_json::{Value, json};
use support::softhsm::Token;
use tonic::transport::Channel;
use tonic::{Code, Status};

use crate::audit::{intact, log_of, signed};
use crate::contract::pkcs11;
use crate::foreign;
use crate::running::{KeyService, id_token, item, jwks};

pub(crate) const RING: &str = "id-token/ES256";
/// In which a token that is well again must be found to be; the bounds of recovery itself are in `recovery`.
const PATIENCE: Duration = Duration::from_secs(20);

/// Puts the module that fails as it is told before a token's own; in a process of the test's own.
pub(crate) fn faulty(token: &Token) -> (Control, Token) {
    let folder = std::env::var_os(fault_token::ENVIRONMENT).expect("a test in its own process");
    let control = Control::make(Path::new(&folder), &token.module).unwrap();
    let module = fault_token::module();
    let token = Token {
        module,
        ..token.clone()
    };
    (control, token)
}

/// A key-service on a token that can be made to fail, and what it has answered.
pub(crate) struct Faulty {
    pub(crate) control: Control,
    pub(crate) service: KeyService,
    keys: KeyServiceClient<Channel>,
    asked: usize,
    answered: HashSet<String>,
}

impl Faulty {
    /// One on a token that is put behind the module that fails.
    pub(crate) async fn start(token: &Token, rings: &[&str]) -> Faulty {
        let (control, token) = faulty(token);
        Faulty::over(control, &pkcs11(&token), rings).await
    }

    /// One on a token that is behind it already.
    pub(crate) async fn over(control: Control, settings: &Settings, rings: &[&str]) -> Faulty {
        let ring = |name: &&str| match name.split_once('/') {
            Some(("id-token", _)) => {
                format!("[[rings]]\nname = \"{name}\"\nprofiles = [\"id_token\"]\n")
            }
            _ => format!("[[rings]]\nname = \"{name}\"\n"),
        };
        let rings: String = rings.iter().map(ring).collect();
        let audit = "[audit]\npath = \"audit.log\"\ndurability = \"write\"\n";
        let service = KeyService::start_at(settings, &format!("{audit}{rings}"));
        Faulty {
            keys: service.keys().await,
            control,
            service,
            asked: 0,
            answered: HashSet::new(),
        }
    }

    /// Signs; an answer is looked at with other people's eyes.
    pub(crate) async fn sign(&mut self, ring: &str) -> Result<(), Status> {
        self.asked += 1;
        let jti = self.asked.to_string();
        sign_as(&mut self.keys, ring, self.service.now(), &jti).await?;
        self.answered.insert(jti);
        Ok(())
    }

    /// Signs; anything but an answer that verifies, or UNAVAILABLE, is wrong.
    async fn sign_or_not(&mut self, row: &str) -> bool {
        match self.sign(RING).await {
            Ok(()) => true,
            Err(status) => {
                assert_eq!(status.code(), Code::Unavailable, "{row}: {status:?}");
                false
            }
        }
    }

    /// Until a signature is to be had again: nobody does anything for it.
    pub(crate) async fn resumes(&mut self, row: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.sign_or_not(row).await {
            assert!(Instant::now() < end, "{row}: the service does not resume");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the service; the module before the token stays.
    fn stop(self) -> Control {
        drop(self.service);
        self.control
    }

    /// The log tells of exactly what was answered, and is whole.
    pub(crate) fn is_audited(&self) {
        let log = log_of(&self.service);
        assert_eq!(signed(&log), self.answered);
        intact(&log);
    }
}

/// Signs an ID token and has the answer verified under what is published, by a library that is not ours.
pub(crate) async fn sign_as(
    keys: &mut KeyServiceClient<Channel>,
    ring: &str,
    now: i64,
    jti: &str,
) -> Result<(), Status> {
    let mut claims = id_token(now);
    claims["jti"] = json!(jti);
    let items = vec![item(ring, v1::Profile::IdToken, &claims)];
    let answer = keys.sign(v1::SignRequest { items }).await?.into_inner();
    let signed = &answer.items[0];
    let set: Value = serde_json::from_slice(&jwks(keys).await.jwks).unwrap();
    let published = set["keys"].as_array().unwrap();
    let jwk = published.iter().find(|jwk| jwk["kid"] == signed.kid);
    let (input, signature) = signed.compact.rsplit_once('.').unwrap();
    let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    let (_, alg) = ring.split_once('/').unwrap();
    let algorithm = key_service::algorithm::SignatureAlgorithm::ALL
        .iter()
        .find(|algorithm| algorithm.as_str() == alg);
    let is_good = foreign::verifies(
        *algorithm.unwrap(),
        jwk.expect("the key is published"),
        input.as_bytes(),
        &signature,
    );
    assert!(is_good, "a signature that does not verify: {ring} {jti}");
    let payload = input.split('.').nth(1).unwrap();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    assert_eq!(claims["jti"], jti, "an answer to another request");
    Ok(())
}
