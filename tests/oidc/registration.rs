//! The clients of the tests, as the gateways read them, and what each is for.

use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::assertion::Key;
use crate::client::{Client, Proof};

const fn client(id: &'static str, redirect_uri: &'static str, proof: Proof) -> Client {
    Client {
        id,
        redirect_uri,
        proof,
    }
}

/// Confidential, trusted: nobody is asked for consent. ID tokens with RS256, opaque access tokens.
pub(crate) const WEB: Client = client("web", "https://rp.example/cb", Proof::Basic);
/// The same, with its secret in the body, a redirect URI with a query, and ES256.
pub(crate) const POST: Client = client("post", "https://rp.example/cb?x=a%20b", Proof::Post);
/// Asks for consent.
pub(crate) const CAREFUL: Client = client("careful", "https://careful.example/cb", Proof::Basic);
/// ID tokens with ES384.
pub(crate) const CURVE_384: Client =
    client("curve-384", "https://curve-384.example/cb", Proof::Basic);
/// `client_secret_jwt`: its secret is long enough for each of HS256, HS384 and HS512.
pub(crate) const SECRET_JWT: Client = client(
    "client-whose-secret-is-a-long-key",
    "https://shared.example/cb",
    Proof::SecretAssertion,
);
/// Public.
pub(crate) const PUBLIC: Client = client("public", "https://spa.example/cb", Proof::None);
/// Public, on a person's own machine.
pub(crate) const NATIVE: Client = client("native", "http://127.0.0.1/cb", Proof::None);
/// JWT access tokens (ES256), for `resource` too.
pub(crate) const JWT: Client = client("jwt", "https://jwt.example/cb", Proof::Basic);
/// JWT access tokens (RS256).
pub(crate) const JWT_RS: Client = client("jwt-rs", "https://jwt-rs.example/cb", Proof::Basic);
/// No refresh tokens, nor client credentials.
pub(crate) const SINGLE: Client = client("single", "https://single.example/cb", Proof::Basic);
/// Sessions older than a second do not do.
pub(crate) const AGED: Client = client("aged", "https://aged.example/cb", Proof::Basic);
/// Disabled.
pub(crate) const DISABLED: Client = client("disabled", "https://disabled.example/cb", Proof::Basic);
/// Client credentials alone.
pub(crate) const MACHINE: Client = client("machine", "", Proof::Basic);
/// A protected resource: introspects.
pub(crate) const RESOURCE: Client = client("resource", "", Proof::Basic);
/// May ask for openid and email alone.
pub(crate) const NARROW: Client = client("narrow", "https://narrow.example/cb", Proof::Basic);

/// Is told of the end of its sessions, in the browser; people may begin with us.
pub(crate) const LEAVING: Client = client("leaving", "https://leaving.example/cb", Proof::Basic);
/// The same, with a port.
pub(crate) const ALSO_LEAVING: Client =
    client("also-leaving", "https://also.example:8443/cb", Proof::Basic);
/// Its refresh tokens end with the session, unless they are offline.
pub(crate) const BOUND: Client = client("bound", "https://bound.example/cb", Proof::Basic);

static EC: LazyLock<Key> = LazyLock::new(|| Key::new("ec", "ES256"));
static RSA: LazyLock<Key> = LazyLock::new(|| Key::new("rsa", "RS256"));
/// One for each algorithm that the RSA key does not know.
static OTHERS: LazyLock<[Key; 3]> = LazyLock::new(|| {
    [("p384", "ES384"), ("p521", "ES512"), ("ed", "EdDSA")].map(|(kid, alg)| Key::new(kid, alg))
});

/// `private_key_jwt`, ES256 alone.
pub(crate) fn signing() -> Client {
    client(
        "signing",
        "https://signing.example/cb",
        Proof::Assertion(&EC),
    )
}

/// `private_key_jwt` with the RSA key; any algorithm passes that fits one of its keys: see [`key_for`].
pub(crate) fn signing_rs() -> Client {
    client(
        "signing-rs",
        "https://signing-rs.example/cb",
        Proof::Assertion(&RSA),
    )
}

/// The key with which `signing_rs` uses this algorithm.
pub(crate) fn key_for(alg: &str) -> Option<&'static Key> {
    let mut keys = [&*EC].into_iter().chain(OTHERS.iter());
    match alg.starts_with("RS") || alg.starts_with("PS") {
        true => Some(&RSA),
        false => keys.find(|key| key.alg() == alg),
    }
}

/// `private_key_jwt`; the audience of its assertions may be the token endpoint, or a list.
pub(crate) fn lenient() -> Client {
    client(
        "lenient",
        "https://lenient.example/cb",
        Proof::Assertion(&EC),
    )
}

/// A confidential client's secret.
pub(crate) fn secret(id: &str) -> String {
    format!("the-secret-of-{id}-in-these-tests-alone")
}

/// All of them, as `clients_file`.
pub(crate) fn clients() -> Value {
    let all = ["authorization_code", "refresh_token", "client_credentials"];
    let person = ["authorization_code", "refresh_token"];
    let with = |client: Client, members: Value| {
        let mut metadata = json!({
            "client_id": client.id,
            "client_name": format!("The client {}", client.id),
            "grant_types": all,
            "consent": "implicit",
        });
        if !client.redirect_uri.is_empty() {
            metadata["redirect_uris"] = json!([client.redirect_uri]);
        }
        let method = match client.proof {
            Proof::None => "none",
            Proof::Basic => "client_secret_basic",
            Proof::Post => "client_secret_post",
            Proof::SecretAssertion => "client_secret_jwt",
            Proof::Assertion(_) => "private_key_jwt",
        };
        metadata["token_endpoint_auth_method"] = method.into();
        if matches!(
            client.proof,
            Proof::Basic | Proof::Post | Proof::SecretAssertion
        ) {
            metadata["client_secret"] = secret(client.id).into();
        }
        for (name, value) in members.as_object().unwrap() {
            metadata[name] = value.clone();
        }
        metadata
    };
    let own = json!([
        with(
            WEB,
            json!({
                "redirect_uris": [WEB.redirect_uri, "https://rp.example/other"],
                "post_logout_redirect_uris": ["https://rp.example/bye", "https://rp.example/bye?x=1"],
            })
        ),
        with(POST, json!({"id_token_signed_response_alg": "ES256"})),
        with(
            CAREFUL,
            json!({
                "consent": "explicit",
                "redirect_uris": [CAREFUL.redirect_uri, "https://careful.example/other"],
                "policy_uri": "https://careful.example/policy",
            })
        ),
        with(CURVE_384, json!({"id_token_signed_response_alg": "ES384"})),
        with(SECRET_JWT, json!({})),
        with(
            PUBLIC,
            json!({"grant_types": person, "id_token_signed_response_alg": "ES256"})
        ),
        with(
            NATIVE,
            json!({
                "grant_types": person,
                "application_type": "native",
                "redirect_uris": [NATIVE.redirect_uri, "http://[::1]/cb", "com.example.app:/cb"],
            })
        ),
        with(
            JWT,
            json!({
                "access_token_format": "jwt",
                "access_token_signed_response_alg": "ES256",
                "id_token_signed_response_alg": "ES256",
                "audience": [RESOURCE.id],
            })
        ),
        with(JWT_RS, json!({"access_token_format": "jwt"})),
        with(SINGLE, json!({"grant_types": ["authorization_code"]})),
        with(AGED, json!({"default_max_age": 1})),
        with(DISABLED, json!({"disabled": true})),
        with(
            MACHINE,
            json!({
                "grant_types": ["client_credentials"], "response_types": [], "scope": "read write openid",
            })
        ),
        with(
            RESOURCE,
            json!({"grant_types": ["client_credentials"], "response_types": []})
        ),
        with(NARROW, json!({"scope": "openid email"})),
        with(
            LEAVING,
            json!({
                "post_logout_redirect_uris": ["https://leaving.example/bye"],
                "frontchannel_logout_uri": "https://leaving.example/out?from=op&x",
                "frontchannel_logout_session_required": true,
                "initiate_login_uri": "https://leaving.example/begin?from=op",
            })
        ),
        with(
            ALSO_LEAVING,
            json!({"frontchannel_logout_uri": "https://also.example:8443/out"})
        ),
        with(BOUND, json!({"refresh_token_without_offline_access": true})),
        with(
            signing(),
            json!({
                "jwks": {"keys": [EC.jwk()]}, "token_endpoint_auth_signing_alg": "ES256",
            })
        ),
        with(
            signing_rs(),
            json!({
                "jwks": {"keys": [EC.jwk(), RSA.jwk(), OTHERS[0].jwk(), OTHERS[1].jwk(), OTHERS[2].jwk()]},
            })
        ),
        with(
            lenient(),
            json!({
                "jwks": {"keys": [EC.jwk()]}, "allow_token_endpoint_audience": true,
            })
        ),
    ]);
    let mut all = own.as_array().unwrap().clone();
    all.extend(crate::hybrid::clients());
    all.extend(crate::request_object::clients());
    all.into()
}
