//! Who has stolen a gateway's certificate, its memory and the store: every way to have something opened is tried.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proto::v1::key_service_client::KeyServiceClient;
use proto::v1::{
    self, decrypt_request, mac_request, recipient, sign_item, verify_request, wrap_request,
};
use serde_json::Value;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::memory::Secrets;

/// With what the gateway itself shows to the key-service.
async fn stolen(configuration: &Path) -> KeyServiceClient<Channel> {
    let settings: toml::Table = fs::read_to_string(configuration).unwrap().parse().unwrap();
    let keys = settings["keys"].as_table().unwrap();
    let text = |name: &str| keys[name].as_str().unwrap();
    let file = |name: &str| fs::read(text(name)).unwrap();
    let tls = ClientTlsConfig::new()
        .ca_certificate(Certificate::from_pem(file("ca_file")))
        .identity(Identity::from_pem(
            file("certificate_file"),
            file("key_file"),
        ))
        .domain_name(text("server_name"));
    let endpoint = Endpoint::from_shared(text("endpoint").to_owned()).unwrap();
    let channel = endpoint.tls_config(tls).unwrap().connect().await.unwrap();
    KeyServiceClient::new(channel)
}

/// Every way to have something opened, for everything that lies about.
pub(crate) async fn nothing_unseals(
    configuration: &Path,
    loot: &BTreeSet<String>,
    planted: &Secrets,
) {
    let mut keys = stolen(configuration).await;
    let mut told: Vec<Vec<u8>> = Vec::new();
    let mut sealed = 0;
    for token in loot.iter().take(400) {
        let as_jwe = v1::DecryptRequest {
            ciphertext: Some(decrypt_request::Ciphertext::CompactJwe(token.clone())),
        };
        assert!(keys.decrypt(as_jwe).await.is_err(), "{token}");
        let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap());
        let header: Value = serde_json::from_slice(&header.unwrap_or_default()).unwrap_or_default();
        let Some(context) = header["ctx"].as_str() else {
            continue;
        };
        sealed += 1;
        let bare = context.trim_start_matches("use-only:");
        for context in [
            context,
            bare,
            "",
            "session:1",
            "use-only:rewrap",
            "client-secret",
        ] {
            let of = v1::Sealed {
                sealed: token.clone(),
                context: context.to_owned(),
            };
            let request = v1::DecryptRequest {
                ciphertext: Some(decrypt_request::Ciphertext::Sealed(of.clone())),
            };
            assert!(keys.decrypt(request).await.is_err(), "{context}: {token}");
            // To be sealed again it need not be told, and it is still in its context.
            let answer = keys.rewrap(v1::RewrapRequest { items: vec![of] }).await;
            let answer = answer.unwrap().into_inner().items.remove(0);
            told.push(answer.sealed.clone().into_bytes());
            let of = v1::Sealed {
                sealed: answer.sealed,
                context: context.to_owned(),
            };
            let request = v1::DecryptRequest {
                ciphertext: Some(decrypt_request::Ciphertext::Sealed(of)),
            };
            assert!(keys.decrypt(request).await.is_err(), "{context}: {token}");
        }
        told.extend(misused(&mut keys, token, context).await);
    }
    assert!(sealed >= 3, "{sealed} of {} are sealed", loot.len());
    let found = planted.found(&told);
    assert!(found.is_empty(), "the key-service tells {found:#?}");
}

/// What it answers when a sealed secret is named wherever one can be.
async fn misused(
    keys: &mut KeyServiceClient<Channel>,
    sealed: &str,
    context: &str,
) -> Vec<Vec<u8>> {
    let secret = |alg: &str| v1::WrappedSecret {
        sealed: sealed.to_owned(),
        context: context.to_owned(),
        alg: alg.to_owned(),
    };
    let mut told = Vec::new();
    let mac = v1::MacRequest {
        purpose: v1::MacPurpose::Totp.into(),
        key: Some(mac_request::Key::WrappedSecret(secret("HS256"))),
        steps: vec![1, 2],
        ..v1::MacRequest::default()
    };
    if let Ok(answer) = keys.mac(mac).await {
        told.push(answer.into_inner().output.to_vec());
    }
    for purpose in [v1::MacPurpose::OpaqueToken, v1::MacPurpose::PairwiseSubject] {
        let mac = v1::MacRequest {
            purpose: purpose.into(),
            key: Some(mac_request::Key::WrappedSecret(secret("HS256"))),
            input: "x".into(),
            ..v1::MacRequest::default()
        };
        assert!(keys.mac(mac).await.is_err(), "no MAC of whatever one likes");
    }
    // What is not claims is not signed, so nothing that HMAC would turn into a key.
    let item = v1::SignItem {
        profile: v1::Profile::IdToken.into(),
        key: Some(sign_item::Key::WrappedSecret(secret("HS256"))),
        claims: "not claims".into(),
        ..v1::SignItem::default()
    };
    let items = vec![item];
    assert!(keys.sign(v1::SignRequest { items }).await.is_err());
    let verify = v1::VerifyRequest {
        subject: Some(verify_request::Subject::CompactJws(v1::CompactJws {
            token: "eyJhbGciOiJIUzI1NiJ9.e30.AAAA".to_owned(),
            typ: vec![String::new()],
            alg: vec!["HS256".to_owned()],
        })),
        key: Some(verify_request::Key::WrappedSecret(secret("HS256"))),
    };
    assert!(keys.verify(verify).await.is_err());
    // Encrypted to itself it is for those who have it.
    let wrap = v1::WrapRequest {
        plaintext: "x".into(),
        to: Some(wrap_request::To::Recipient(v1::Recipient {
            key: Some(recipient::Key::WrappedSecret(secret(""))),
            alg: "A256KW".to_owned(),
            enc: "A256GCM".to_owned(),
            cty: String::new(),
        })),
    };
    if let Ok(answer) = keys.wrap(wrap).await {
        let compact = answer.into_inner().compact;
        let again = v1::DecryptRequest {
            ciphertext: Some(decrypt_request::Ciphertext::CompactJwe(compact.clone())),
        };
        assert!(keys.decrypt(again).await.is_err());
        told.push(compact.into_bytes());
    }
    told
}
