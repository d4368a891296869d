//! The claims firewall: each rule's name beside the nearest claims that pass.

use proto::v1::{self, Profile};
use serde_json::{Value, json};
use tonic::Code;

use crate::running::{ISSUER, KeyService, TOKEN_ISSUER, id_token, item};

#[tokio::test]
async fn every_rule_refuses_by_its_name() {
    let service = KeyService::start(
        r#"
[[rings]]
name = "id-token/ES256"
[[rings]]
name = "access-token/ES256"
longest_life = "10m"
[[rings]]
name = "client-assertion/ES256"
"#,
    );
    let mut keys = service.keys().await;
    let now = service.now();
    let id = |changes: Value| merged(id_token(now), changes);
    let access = |changes: Value| merged(id(json!({ "client_id": "c", "jti": "1" })), changes);
    let logout = |changes: Value| {
        let event = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
        merged(id(json!({ "jti": "1", "events": event })), changes)
    };
    let introspection = |changes: Value| {
        merged(
            json!({ "iss": ISSUER, "aud": "c", "iat": now, "token_introspection": { "active": true } }),
            changes,
        )
    };
    let assertion =
        |changes: Value| merged(id(json!({ "iss": "us", "sub": "us", "jti": "1" })), changes);
    let userinfo = json!({ "iss": ISSUER, "sub": "alice", "aud": "client" });
    let (id_ring, access_ring) = ("id-token/ES256", "access-token/ES256");

    let rows: Vec<(&str, Profile, Value, &str)> = vec![
        (id_ring, Profile::IdToken, id(json!({})), ""),
        (
            id_ring,
            Profile::IdToken,
            id(json!({ "aud": ["a", "b"], "auth_time": now - 5, "nonce": "n" })),
            "",
        ),
        (
            id_ring,
            Profile::IdToken,
            id(json!({ "iat": now - 59, "exp": now + 60 })),
            "",
        ),
        (
            id_ring,
            Profile::IdToken,
            id(json!({ "exp": now + 3600 })),
            "",
        ),
        (
            id_ring,
            Profile::IdToken,
            id(json!({ "exp": now + 3601 })),
            "lifetime",
        ),
        (id_ring, Profile::IdToken, id(json!({ "exp": now })), "exp"),
        (
            id_ring,
            Profile::IdToken,
            id(json!({ "iat": now - 70 })),
            "iat",
        ),
        (
            id_ring,
            Profile::IdToken,
            id(json!({ "iat": now + 70 })),
            "iat",
        ),
        (
            id_ring,
            Profile::IdToken,
            id(json!({ "iss": "https://evil.example" })),
            "issuer",
        ),
        // S1-12: a name that is no URL.
        (
            id_ring,
            Profile::IdToken,
            id(json!({ "iss": TOKEN_ISSUER })),
            "",
        ),
        (
            id_ring,
            Profile::IdToken,
            id(json!({ "iss": format!("{TOKEN_ISSUER}2") })),
            "issuer",
        ),
        (
            id_ring,
            Profile::IdToken,
            id(json!({ "iss": format!("{ISSUER}/") })),
            "issuer",
        ),
        (
            id_ring,
            Profile::IdToken,
            id(json!({ "iss": [ISSUER] })),
            "claims.type",
        ),
        (
            id_ring,
            Profile::IdToken,
            id(json!({ "exp": (now + 60).to_string() })),
            "claims.type",
        ),
        (
            id_ring,
            Profile::IdToken,
            id(json!({ "exp": 60.5 })),
            "claims.type",
        ),
        (
            id_ring,
            Profile::IdToken,
            id(json!({ "iat": -1 })),
            "claims.type",
        ),
        (
            id_ring,
            Profile::IdToken,
            id(json!({ "auth_time": "yesterday" })),
            "claims.type",
        ),
        (
            id_ring,
            Profile::IdToken,
            id(json!({ "sub": "" })),
            "claims.type",
        ),
        (
            id_ring,
            Profile::IdToken,
            id(json!({ "aud": [] })),
            "claims.type",
        ),
        (
            id_ring,
            Profile::IdToken,
            id(json!({ "aud": ["a", 1] })),
            "claims.type",
        ),
        (
            id_ring,
            Profile::IdToken,
            id(json!({ "sub": null })),
            "claims.required",
        ),
        (
            id_ring,
            Profile::IdToken,
            id(json!({ "aud": null })),
            "claims.required",
        ),
        (
            id_ring,
            Profile::IdToken,
            id(json!({ "x": "x".repeat(17_000) })),
            "size",
        ),
        (id_ring, Profile::AccessToken, access(json!({})), "profile"),
        (access_ring, Profile::AccessToken, access(json!({})), ""),
        (
            access_ring,
            Profile::AccessToken,
            access(json!({ "exp": now + 601 })),
            "lifetime",
        ),
        (
            access_ring,
            Profile::AccessToken,
            access(json!({ "client_id": null })),
            "claims.required",
        ),
        (
            access_ring,
            Profile::AccessToken,
            access(json!({ "jti": null })),
            "claims.required",
        ),
        (access_ring, Profile::IdToken, id(json!({})), "profile"),
        (id_ring, Profile::LogoutToken, logout(json!({})), ""),
        (
            id_ring,
            Profile::LogoutToken,
            logout(json!({ "sub": null, "sid": "s" })),
            "",
        ),
        (
            id_ring,
            Profile::LogoutToken,
            logout(json!({ "sub": null })),
            "claims.required",
        ),
        (
            id_ring,
            Profile::LogoutToken,
            logout(json!({ "events": null })),
            "claims.required",
        ),
        (
            id_ring,
            Profile::LogoutToken,
            logout(json!({ "events": [] })),
            "claims.type",
        ),
        (
            id_ring,
            Profile::LogoutToken,
            logout(json!({ "nonce": "n" })),
            "claims.forbidden",
        ),
        (id_ring, Profile::Userinfo, userinfo.clone(), ""),
        (
            id_ring,
            Profile::Userinfo,
            merged(userinfo, json!({ "sub": null })),
            "claims.required",
        ),
        (
            id_ring,
            Profile::Introspection,
            introspection(json!({})),
            "",
        ),
        (
            id_ring,
            Profile::Introspection,
            introspection(json!({ "sub": "alice" })),
            "claims.forbidden",
        ),
        (
            id_ring,
            Profile::AuthorizationResponse,
            json!({ "iss": ISSUER, "aud": "c", "exp": now + 60, "code": "x" }),
            "",
        ),
        (
            id_ring,
            Profile::AuthorizationResponse,
            json!({ "iss": ISSUER, "aud": "c", "exp": now + 60, "sub": "alice" }),
            "claims.forbidden",
        ),
        (id_ring, Profile::Metadata, json!({ "iss": ISSUER }), ""),
        (
            id_ring,
            Profile::Metadata,
            json!({ "iss": ISSUER, "sub": "alice" }),
            "claims.forbidden",
        ),
        (
            "client-assertion/ES256",
            Profile::ClientAssertion,
            assertion(json!({})),
            "",
        ),
        (
            "client-assertion/ES256",
            Profile::ClientAssertion,
            assertion(json!({ "iss": "other" })),
            "issuer",
        ),
    ];
    for (ring, profile, claims, rule) in rows {
        let items = vec![item(ring, profile, &claims)];
        let answer = keys.sign(v1::SignRequest { items }).await;
        match answer {
            Ok(_) => assert_eq!("", rule, "{profile:?} {claims}"),
            Err(status) => {
                assert_eq!(status.message(), rule, "{profile:?} {claims}");
                assert_eq!(status.code(), Code::FailedPrecondition);
            }
        }
    }
}

#[tokio::test]
async fn one_refused_item_refuses_all() {
    let service = KeyService::with_rings(&["id-token/ES256"]);
    let mut keys = service.keys().await;
    let now = service.now();
    let good = item("id-token/ES256", Profile::IdToken, &id_token(now));
    let mut broken = good.clone();
    for (claims, code) in [
        (r#"{"iss":"a","iss":"b"}"#, Code::InvalidArgument),
        ("[]", Code::InvalidArgument),
        ("{}", Code::FailedPrecondition),
    ] {
        broken.claims = claims.into();
        let items = vec![good.clone(), broken.clone()];
        let refused = keys.sign(v1::SignRequest { items }).await.unwrap_err();
        assert_eq!(refused.code(), code, "{claims}");
    }
    let unknown = item("id-token/RS256", Profile::IdToken, &id_token(now));
    let refused = keys
        .sign(v1::SignRequest {
            items: vec![good, unknown],
        })
        .await
        .unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::PermissionDenied, "not allowed")
    );
}

/// `null` takes a claim away.
pub(crate) fn merged(mut claims: Value, changes: Value) -> Value {
    let (Value::Object(all), Value::Object(changes)) = (&mut claims, changes) else {
        panic!("objects only");
    };
    for (name, value) in changes {
        if value.is_null() {
            all.remove(&name);
        } else {
            all.insert(name, value);
        }
    }
    claims
}
