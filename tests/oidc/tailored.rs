//! One stack for what tokens and userinfo hold: clients for each way of protecting it, people with labels and languages,
//! claims of the configuration's own.

use std::sync::{LazyLock, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use support::launch::PASSWORD;

use crate::client::{Client, Proof};
use crate::jwe::Recipient;
use crate::person::Person;
use crate::registration::secret;
use crate::site::Site;
use crate::stack::{self, Options, Stack};

/// Of each JWE "alg" one client, with the "enc" that its responses have; the key of those with a key pair.
pub(crate) struct Encrypted {
    pub(crate) client: Client,
    pub(crate) alg: &'static str,
    pub(crate) enc: &'static str,
    pub(crate) recipient: Recipient,
}

/// What the tests' library can open: it has no key wrap with 192 bits.
pub(crate) static ENCRYPTED: LazyLock<Vec<Encrypted>> = LazyLock::new(|| {
    [
        ("enc-rsa-oaep", "RSA-OAEP", "A128CBC-HS256"),
        ("enc-rsa-oaep-256", "RSA-OAEP-256", "A256GCM"),
        ("enc-ecdh-es", "ECDH-ES", "A128GCM"),
        ("enc-ecdh-es-128", "ECDH-ES+A128KW", "A192GCM"),
        ("enc-ecdh-es-256", "ECDH-ES+A256KW", "A256CBC-HS512"),
        ("enc-128kw", "A128KW", "A192CBC-HS384"),
        ("enc-256kw", "A256KW", "A128CBC-HS256"),
        ("enc-128gcmkw", "A128GCMKW", "A128GCM"),
        ("enc-192gcmkw", "A192GCMKW", "A256GCM"),
        ("enc-256gcmkw", "A256GCMKW", "A256CBC-HS512"),
        ("enc-dir", "dir", "A128CBC-HS256"),
    ]
    .into_iter()
    .map(|(id, alg, enc)| Encrypted {
        client: client(id),
        alg,
        enc,
        recipient: Recipient::of(alg, &secret(id)),
    })
    .collect()
});

/// ID tokens encrypted to a key that is too short.
pub(crate) const WEAK_KEY: Client = client("enc-weak-key");

/// Userinfo encrypted and not signed.
pub(crate) static ENCRYPTED_ALONE: LazyLock<(Client, Recipient)> =
    LazyLock::new(|| (client("enc-alone"), Recipient::of("ECDH-ES", "")));

/// Confidential, trusted, opaque access tokens.
pub(crate) const fn client(id: &'static str) -> Client {
    Client {
        id,
        redirect_uri: "https://rp.example/cb",
        proof: Proof::Basic,
    }
}

/// Plain: claims as the configuration gives them to everybody.
pub(crate) const PLAIN: Client = client("plain");
/// The same with JWT access tokens.
pub(crate) const PLAIN_JWT: Client = client("plain-jwt");
/// Has a custom claim of its own.
pub(crate) const SPECIAL: Client = client("special");
/// ID tokens and userinfo with HS256.
pub(crate) const HS256: Client = client("hs256");
/// The same with HS512, which needs a longer secret.
pub(crate) const HS512: Client = client("hs512-with-a-name-that-makes-its-secret-long");
/// ID tokens and userinfo with ES384.
pub(crate) const ES384: Client = client("es384");
/// May ask for every response type; is told when sessions end.
pub(crate) const EVERYTHING: Client = client("everything");
/// Refresh tokens without offline_access.
pub(crate) const TIED: Client = client("tied");
/// May leave out redirect_uri.
pub(crate) const OMITS: Client = client("omits");
/// The same, but has registered two.
pub(crate) const OMITS_ONE_OF_TWO: Client = client("omits-one-of-two");
/// Labelled scopes, commas.
pub(crate) const LABELS: Client = client("labels");
/// Pairwise subjects in one sector.
pub(crate) const PAIRWISE: Client = client("pairwise");
/// In the same sector, with JWT access tokens.
pub(crate) const NEIGHBOUR: Client = Client {
    id: "neighbour",
    redirect_uri: "https://rp.example/neighbour",
    proof: Proof::Basic,
};
/// In another.
pub(crate) const STRANGER: Client = Client {
    id: "stranger",
    redirect_uri: "https://stranger.example/cb",
    proof: Proof::Basic,
};

/// The stack's gateways.
pub(crate) fn site() -> Site {
    static STACK: OnceLock<Stack> = OnceLock::new();
    let started = STACK.get_or_init(|| {
        let tables = toml::to_string(&tables()).unwrap();
        stack::start(&Options {
            gateways: 2,
            tables: Box::leak(tables.into_boxed_str()),
            ..Options::default()
        })
    });
    started.site()
}

/// A person of this stack: see [`people`].
pub(crate) fn person(site: &Site, username: &str) -> Person {
    Person {
        username: username.to_owned(),
        ..Person::new(site, 0)
    }
}

fn tables() -> Value {
    json!({
        "id_token": {"refresh_hybrid": false},
        "userinfo": {
            "bearer_methods": ["header", "body", "query"],
            "realm": "people",
            "error_verbosity": "code",
        },
        "claims": {
            "scopes": {"hr": "Your department"},
            "custom": custom(),
        },
        "users": people(),
        "clients": clients(),
    })
}

fn custom() -> Value {
    let everywhere = ["id_token", "userinfo", "access_token", "introspection"];
    json!([
        {"name": "tenant", "value": "acme", "targets": everywhere},
        {"name": "department", "attribute": "unit", "scopes": ["hr"], "targets": ["userinfo"]},
        {"name": "https://rp.example/claims/level", "value": {"n": 7, "of": ["a", 1.5, true]},
            "scopes": ["hr"], "targets": ["id_token", "access_token"]},
        {"name": "http://coreos.com/password/old-hash", "attribute": "old", "clients": [SPECIAL.id],
            "targets": everywhere},
        {"name": "nobody_has_it", "attribute": "missing", "targets": everywhere},
        {"name": "email", "attribute": "work_email", "scopes": ["email"], "clients": [SPECIAL.id]},
    ])
}

fn people() -> Value {
    let hash = URL_SAFE_NO_PAD.encode(Sha256::digest(PASSWORD));
    let person = |username: &str, more: Value| {
        let mut person = json!({
            "username": username,
            "subject": format!("subject-of-{username}"),
            "password_hash": format!("$sha256${hash}"),
        });
        for (name, value) in more.as_object().unwrap() {
            person[name] = value.clone();
        }
        person
    };
    json!([
        person(
            "worker",
            json!({"claims": {
                "name": "Wanda Worker", "family_name": "Worker", "family_name#ja-Kana-JP": "kana",
                "family_name#ja-Hani-JP": "hani", "email": "wanda@example.com", "email_verified": true,
                "address": {"locality": "Bern"}, "updated_at": 1_700_000_000,
                "unit": "R&D", "old": "$2a$04$x", "work_email": "w@work.example",
            }})
        ),
        person(
            "labelled",
            json!({
                "claims": {"name": "Lara Labelled", "email": "lara@example.com", "email_verified": true,
                    "phone_number": "+41310000000", "phone_number_verified": false},
                "emails": {"home": "lara@home.example",
                    "work": {"value": "lara@work.example", "validated": true}},
            })
        ),
        person("sub1", json!({})),
        person("sub2", json!({})),
    ])
}

fn clients() -> Value {
    let with = |client: Client, members: Value| {
        let mut metadata = json!({
            "client_id": client.id,
            "client_secret": secret(client.id),
            "redirect_uris": [client.redirect_uri],
            "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
            "scope": "openid profile email address phone offline_access hr",
            "consent": "implicit",
        });
        for (name, value) in members.as_object().unwrap() {
            metadata[name] = value.clone();
        }
        metadata
    };
    let signed = |alg: &str| json!({"id_token_signed_response_alg": alg, "userinfo_signed_response_alg": alg});
    let types = [
        "code",
        "id_token",
        "id_token token",
        "code id_token",
        "code token",
        "code id_token token",
        "token",
        "none",
    ];
    let mut all = vec![
        with(PLAIN, json!({})),
        with(
            PLAIN_JWT,
            json!({"access_token_format": "jwt", "access_token_signed_response_alg": "ES256",
                "audience": ["https://api.example"]}),
        ),
        with(SPECIAL, json!({})),
        with(HS256, {
            let mut members = signed("HS256");
            members["access_token_format"] = "jwt".into();
            members
        }),
        with(HS512, signed("HS512")),
        with(ES384, signed("ES384")),
        with(
            EVERYTHING,
            json!({
                "response_types": types,
                "grant_types": ["authorization_code", "implicit", "refresh_token"],
                "id_token_signed_response_alg": "ES256",
                "frontchannel_logout_uri": "https://rp.example/logout",
            }),
        ),
        with(TIED, json!({"refresh_token_without_offline_access": true})),
        with(OMITS, json!({"allow_omitted_redirect_uri": true})),
        with(
            OMITS_ONE_OF_TWO,
            json!({"allow_omitted_redirect_uri": true,
                "redirect_uris": [OMITS_ONE_OF_TWO.redirect_uri, "https://rp.example/other"]}),
        ),
        with(
            LABELS,
            json!({
                "claims_by_scope": true,
                "scope_separator": "comma",
                "consent": "explicit",
                "scope": "openid offline_access email user:name user:email user:validated:email user:phone \
                    user:validated:phone",
            }),
        ),
        with(PAIRWISE, json!({"subject_type": "pairwise"})),
        with(
            NEIGHBOUR,
            json!({"subject_type": "pairwise", "access_token_format": "jwt",
                "access_token_signed_response_alg": "ES256"}),
        ),
        with(STRANGER, json!({"subject_type": "pairwise"})),
        with(
            ENCRYPTED_ALONE.0,
            json!({
                "jwks": {"keys": [ENCRYPTED_ALONE.1.jwk()]},
                "userinfo_encrypted_response_alg": "ECDH-ES",
                "allow_unsigned_userinfo_encryption": true,
            }),
        ),
    ];
    let modulus = URL_SAFE_NO_PAD.encode([0xab; 128]);
    all.push(with(
        WEAK_KEY,
        json!({
            "jwks": {"keys": [{"kty": "RSA", "use": "enc", "kid": "weak", "n": modulus, "e": "AQAB"}]},
            "id_token_encrypted_response_alg": "RSA-OAEP",
        }),
    ));
    for each in ENCRYPTED.iter() {
        let mut members = json!({
            "id_token_signed_response_alg": "ES256",
            "id_token_encrypted_response_alg": each.alg,
            "id_token_encrypted_response_enc": each.enc,
            "userinfo_signed_response_alg": "RS256",
            "userinfo_encrypted_response_alg": each.alg,
            "userinfo_encrypted_response_enc": each.enc,
        });
        if each.alg == "ECDH-ES" {
            // Hashed in the call that signs both.
            members["access_token_format"] = "jwt".into();
            members["access_token_signed_response_alg"] = "ES256".into();
        }
        if let Some(jwk) = each.recipient.jwk() {
            members["jwks"] = json!({"keys": [jwk]});
        }
        all.push(with(each.client, members));
    }
    all.into()
}
