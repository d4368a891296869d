//! Opening JWEs with a token that fails: what may be the ciphertext's fault says nothing, and never stops the signing.

use proto::v1;
use proto::v1::key_service_client::KeyServiceClient;
use serde_json::{Value, json};
use support::softhsm::SoftHsm;
use tonic::Code;
use tonic::transport::Channel;

use super::values::{CIPHERTEXT, DERIVE, DEVICE, Once, SESSION};
use super::{Faulty, RING};
use crate::foreign::{self, PLAINTEXT, Wanted};
use crate::running::jwks;
use crate::wrap::open;

const RSA: &str = "request-object/RSA-OAEP";
const AGREEMENT: &str = "request-object/ECDH-ES";

/// A JWE for the ring's key.
async fn addressed(keys: &mut KeyServiceClient<Channel>, ring: &str, alg: &str) -> String {
    let published = jwks(keys).await;
    let set: Value = serde_json::from_slice(&published.jwks).unwrap();
    let key = published.keys.iter().find(|key| key.ring == ring).unwrap();
    let jwks = set["keys"].as_array().unwrap();
    let to = jwks.iter().find(|jwk| jwk["kid"] == key.kid).unwrap();
    let header = json!({ "kid": key.kid });
    let enc = "A256GCM";
    let wanted = [Wanted {
        alg,
        enc,
        to,
        header,
    }];
    foreign::encrypt(&wanted).remove(0)
}

/// Opens it: the plaintext, or a status.
async fn opened(keys: &mut KeyServiceClient<Channel>, token: &str) -> Code {
    match keys.decrypt(open(token)).await {
        Ok(answer) => {
            let v1::DecryptResponse { plaintext, .. } = answer.into_inner();
            assert_eq!(plaintext, PLAINTEXT);
            Code::Ok
        }
        Err(status) => status.code(),
    }
}

/// A token's RSA decryption and its ECDH, by function and by what it may return.
#[tokio::test]
async fn each_return_value_of_decryption_and_agreement() {
    let name = "device_faults::decrypting::each_return_value_of_decryption_and_agreement";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let mut faulty = Faulty::start(&softhsm.token("signet", "1234"), &[RING, RSA, AGREEMENT]).await;
    let mut keys = faulty.service.keys().await;
    let rsa = addressed(&mut keys, RSA, "RSA-OAEP").await;
    let agreement = addressed(&mut keys, AGREEMENT, "ECDH-ES").await;
    for (function, token, tables) in [
        ("C_DecryptInit", &rsa, &[DEVICE, SESSION, CIPHERTEXT][..]),
        ("C_Decrypt", &rsa, &[DEVICE, SESSION, CIPHERTEXT]),
        ("C_DeriveKey", &agreement, &[DEVICE, SESSION, DERIVE]),
    ] {
        for (value, name, once) in tables.concat() {
            let row = format!("{function} CKR_{name}");
            let fault = format!("{function} error {value:#x}");
            faulty.control.set(&format!("{fault} times 1")).unwrap();
            let code = opened(&mut keys, token).await;
            let is_told = [Code::InvalidArgument, Code::Unavailable].contains(&code);
            let is_right = code == Code::Ok || once == Once::Told && is_told;
            assert!(is_right, "{row} once: {code:?}");
            faulty.control.clear().unwrap();
            faulty.resumes(&row).await;
            assert_eq!(opened(&mut keys, token).await, Code::Ok, "{row} over");

            faulty.control.set(&fault).unwrap();
            let code = opened(&mut keys, token).await;
            assert!(
                [Code::InvalidArgument, Code::Unavailable].contains(&code),
                "{row} lasting: {code:?}"
            );
            // Soft tokens say all of these of a bad ciphertext, and any may of a sender's point: the canary, which signs, knows
            // better.
            let is_its_own = function == "C_Decrypt" && code == Code::InvalidArgument;
            if is_its_own || function == "C_DeriveKey" {
                assert!(faulty.sign_or_not(&row).await, "{row} stops the signing");
            }
            faulty.control.clear().unwrap();
            faulty.resumes(&row).await;
            assert_eq!(opened(&mut keys, token).await, Code::Ok, "{row} over");
        }
    }
    faulty.is_audited();
}

/// A plaintext with a wrong bit is never given out as the right one: the content's tag is checked in the key-service.
#[tokio::test]
async fn a_wrong_key_is_never_used() {
    let name = "device_faults::decrypting::a_wrong_key_is_never_used";
    let Some(softhsm) = SoftHsm::in_own_process(name) else {
        return;
    };
    let faulty = Faulty::start(&softhsm.token("signet", "1234"), &[RING, RSA]).await;
    let mut keys = faulty.service.keys().await;
    let token = addressed(&mut keys, RSA, "RSA-OAEP").await;
    faulty.control.set("C_Decrypt flip").unwrap();
    assert_eq!(opened(&mut keys, &token).await, Code::InvalidArgument);
    faulty.control.clear().unwrap();
    assert_eq!(opened(&mut keys, &token).await, Code::Ok);
}
