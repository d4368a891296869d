//! How ID tokens and userinfo are protected, as each client registers it (Registration §2): every signature and every
//! encryption that is advertised, opened with other people's code.

use serde_json::{Value, json};

use super::relying_party::{Auth, RelyingParty, document};
use super::{alice, provider, row};
use crate::verified::header;

async fn advertised(member: &str) -> Vec<String> {
    let document = document(&provider().site()).await;
    let values = document[member].as_array().cloned().unwrap_or_default();
    assert!(!values.is_empty(), "no {member}");
    (values.iter())
        .map(|value| value.as_str().unwrap().to_owned())
        .collect()
}

/// S2-12, S1-13: oidcc-idtoken-signature, oidcc-idtoken-rs256, and the others; both ID tokens of a hybrid flow.
#[tokio::test]
async fn id_tokens_signed() {
    let algs = advertised("id_token_signing_alg_values_supported").await;
    for alg in [
        "RS256", "PS256", "ES256", "ES384", "EdDSA", "HS256", "HS384", "HS512",
    ] {
        assert!(algs.contains(&alg.to_owned()), "{alg}");
    }
    for alg in algs {
        row(
            "Basic, Dynamic",
            "code id_token",
            &format!("oidcc-idtoken-signature {alg} S2-12 S1-13"),
        );
        let rp = RelyingParty::with(
            Auth::Basic,
            "code id_token",
            |_, _| json!({"id_token_signed_response_alg": alg}),
        );
        let rp = rp.await;
        let login = rp.login(&mut alice(), &rp.request()).await;
        assert_eq!(header(&login.id_token)["alg"], alg.as_str());
    }
}

/// What a relying party's other libraries can open: this one has no AES key wrap of 192 bits.
fn can_open(alg: &str) -> bool {
    !alg.ends_with("A192KW")
}

/// S0-2, S2-13, S4-2: each key management with the default content encryption, each content encryption with ECDH-ES.
#[tokio::test]
async fn id_tokens_encrypted() {
    let mut rows: Vec<(String, Option<String>)> = Vec::new();
    for alg in advertised("id_token_encryption_alg_values_supported").await {
        rows.push((alg, None));
    }
    for enc in advertised("id_token_encryption_enc_values_supported").await {
        rows.push(("ECDH-ES".to_owned(), Some(enc)));
    }
    assert!(rows.len() >= 8, "{rows:?}");
    for (alg, enc) in rows.iter().filter(|(alg, _)| can_open(alg)) {
        row(
            "Hybrid",
            "code id_token",
            &format!("encrypted ID token {alg} {enc:?} S2-13 S4-2"),
        );
        let mut members = json!({"id_token_encrypted_response_alg": alg});
        if let Some(enc) = enc {
            members["id_token_encrypted_response_enc"] = json!(enc);
        }
        let rp = RelyingParty::with(Auth::Basic, "code id_token", |_, _| members).await;
        let login = rp.login(&mut alice(), &rp.request()).await;
        assert_eq!(login.id_token.split('.').count(), 5);
    }
}

/// S2-22, S2-23: oidcc-userinfo-rs256; signed, encrypted, and both.
#[tokio::test]
async fn userinfo() {
    let mut rows: Vec<Value> = Vec::new();
    for alg in advertised("userinfo_signing_alg_values_supported").await {
        rows.push(json!({"userinfo_signed_response_alg": alg}));
    }
    for alg in advertised("userinfo_encryption_alg_values_supported").await {
        rows.push(json!({
            "userinfo_signed_response_alg": "RS256", "userinfo_encrypted_response_alg": alg,
            "userinfo_encrypted_response_enc": "A256GCM",
        }));
    }
    let opened = |members: &&Value| {
        let alg = members["userinfo_encrypted_response_alg"].as_str();
        alg.is_none_or(can_open)
    };
    for members in rows.iter().filter(opened) {
        row(
            "Dynamic",
            "code",
            &format!("oidcc-userinfo-rs256 {members} S2-22 S2-23"),
        );
        let rp = RelyingParty::with(Auth::Basic, "code", |_, _| members.clone());
        let rp = rp.await;
        let request = rp.request().set("scope", "openid email");
        let login = rp.login(&mut alice(), &request).await;
        let claims = rp.claims_of_userinfo(&login.access_token).await;
        assert_eq!(claims["email"], "alice@op.test");
        // §5.3.2: who signs says who it is and for whom.
        assert_eq!(
            (&claims["iss"], &claims["aud"]),
            (&json!(rp.site.issuer()), &json!(rp.id()))
        );
    }
}
