//! Clients of a stack where anybody may register: how they register, and what they send afterwards.

use std::sync::{LazyLock, OnceLock};

use http::{Method, header};
use serde_json::{Value, json};

use crate::assertion::Key;
use crate::certification::server;
use crate::client::{CHALLENGE, VERIFIER, basic};
use crate::params::Params;
use crate::person::Person;
use crate::site::{Answer, Site, form_of};
use crate::stack::{self, Options, Stack};

pub(crate) const REDIRECT_URI: &str = "https://rp.example/cb";

/// How long a key that is not known is not looked for again: seconds.
pub(crate) const REFETCH_AFTER: u64 = 3;

pub(crate) static EC: LazyLock<Key> = LazyLock::new(|| Key::new("ec", "ES256"));

/// Two gateways where anybody may register, with lists that leave something out, and calls to this machine.
pub(crate) fn open() -> &'static Stack {
    static OPEN: OnceLock<Stack> = OnceLock::new();
    OPEN.get_or_init(|| {
        let tables = format!(
            r#"
[registration]
mode = "open"
per_address = 0
in_all = 0
[client_jwks]
max_age = "1h"
refetch_after = "{REFETCH_AFTER}s"
[discovery]
service_documentation = "https://op.example/docs"
op_policy_uri = "https://op.example/policy"
op_tos_uri = "https://op.example/terms"
token_endpoint_auth_signing_alg_values_supported = ["RS256", "ES256", "HS256", "HS384", "HS512"]
id_token_signing_alg_values_supported = ["RS256", "HS256", "HS512"]
id_token_encryption_alg_values_supported = ["RSA-OAEP", "ECDH-ES", "dir"]
id_token_encryption_enc_values_supported = ["A128CBC-HS256", "A256GCM"]
userinfo_signing_alg_values_supported = ["RS256", "HS256"]
userinfo_encryption_alg_values_supported = ["RSA-OAEP"]
userinfo_encryption_enc_values_supported = ["A128CBC-HS256"]
request_object_signing_alg_values_supported = ["ES256", "HS256"]
{}
[[clients]]
client_id = "before"
client_secret = "the-secret-of-before-in-these-tests-alone"
redirect_uris = ["https://rp.example/cb"]
consent = "implicit"
id_token_signed_response_alg = "ES256"
userinfo_signed_response_alg = "ES256"
"client_name#fr" = "Avant"

[[clients]]
client_id = "shared-key"
client_secret = "the-secret-of-shared-key-in-these-tests-alone, of 64 characters."
grant_types = ["client_credentials"]
response_types = []
token_endpoint_auth_method = "client_secret_jwt"

[[clients]]
client_id = "hs256-alone"
client_secret = "the-secret-of-hs256-alone-in-these-tests-alone"
grant_types = ["client_credentials"]
response_types = []
token_endpoint_auth_method = "client_secret_jwt"
token_endpoint_auth_signing_alg = "HS256"

[[clients]]
client_id = "three-ways"
client_secret = "the-secret-of-three-ways-in-these-tests-alone"
grant_types = ["client_credentials"]
response_types = []
token_endpoint_auth_method = "client_secret_basic"
introspection_endpoint_auth_method = "client_secret_post"
revocation_endpoint_auth_method = "client_secret_jwt"
"#,
            outside(&["127.0.0.0/8", "::1/128"])
        );
        stack::start(&Options {
            gateways: 2,
            tables: tables.leak(),
            ..Options::default()
        })
    })
}

/// `[fetch]` with the relying parties' CA and these networks.
pub(crate) fn outside(networks: &[&str]) -> String {
    format!(
        "[fetch]\ntimeout = \"2s\"\nextra_ca_file = {}\nallow_networks = {}\n",
        json!(server::authority()),
        json!(networks)
    )
}

/// POST of JSON to the registration endpoint.
pub(crate) async fn register(site: &Site, metadata: &Value) -> Answer {
    register_with(site, None, metadata).await
}

/// The same with an initial access token.
pub(crate) async fn register_with(site: &Site, token: Option<&str>, metadata: &Value) -> Answer {
    let mut request = site
        .request(Method::POST, "/register")
        .header(header::CONTENT_TYPE, "application/json");
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    site.send(request.body(metadata.to_string().into_bytes()).unwrap())
        .await
}

/// The least that works, with other members; `null` takes one away.
pub(crate) fn metadata(members: &Value) -> Value {
    let mut metadata = json!({"redirect_uris": [REDIRECT_URI], "client_name": "A client"});
    for (name, value) in members.as_object().unwrap() {
        match value {
            Value::Null => drop(metadata.as_object_mut().unwrap().remove(name)),
            value => metadata[name] = value.clone(),
        }
    }
    metadata
}

/// A registered client: what it was told.
#[derive(Clone, Debug)]
pub(crate) struct Registered(pub(crate) Value);

impl Registered {
    pub(crate) async fn with(site: &Site, members: &Value) -> Registered {
        let answer = register(site, &metadata(members)).await;
        assert_eq!(answer.status, 201, "{members}: {}", answer.text());
        Registered(answer.json())
    }

    pub(crate) fn text(&self, member: &str) -> &str {
        self.0[member]
            .as_str()
            .unwrap_or_else(|| panic!("no {member}: {}", self.0))
    }

    pub(crate) fn id(&self) -> &str {
        self.text("client_id")
    }

    pub(crate) fn secret(&self) -> &str {
        self.text("client_secret")
    }

    /// A legal authorization request for a code.
    pub(crate) fn request(&self) -> Params {
        Params::of(&[
            ("client_id", self.id()),
            ("redirect_uri", REDIRECT_URI),
            ("response_type", "code"),
            ("scope", "openid"),
            ("state", "some state"),
            ("nonce", "some nonce"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ])
    }

    /// The token request for a code.
    pub(crate) fn redemption(code: &str) -> Params {
        Params::of(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", REDIRECT_URI),
            ("code_verifier", VERIFIER),
        ])
    }

    /// POST with HTTP Basic.
    pub(crate) async fn post(&self, site: &Site, path: &str, form: &Params) -> Answer {
        let header = basic(self.id(), self.secret());
        let request = site
            .request(Method::POST, path)
            .header(header::AUTHORIZATION, header);
        site.send(form_of(request, &form.encode())).await
    }

    /// The whole code flow, with HTTP Basic: the members of the token response.
    pub(crate) async fn tokens(&self, person: &mut Person, scope: &str) -> Value {
        let landing = person.authorize(&self.request().set("scope", scope)).await;
        let form = Registered::redemption(&landing.code());
        let answer = self.post(&person.site.clone(), "/token", &form).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// RFC 7592, with this client's registration access token.
    pub(crate) async fn manage(&self, site: &Site, method: Method, body: Option<&Value>) -> Answer {
        let token = self.text("registration_access_token");
        let place = self.text("registration_client_uri");
        manage(site, method, place, Some(token), body).await
    }
}

/// RFC 7592, with whatever token.
pub(crate) async fn manage(
    site: &Site,
    method: Method,
    place: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> Answer {
    let mut request = site.request(method, place);
    if let Some(token) = token {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    let request = match body {
        Some(body) => request
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.to_string().into_bytes()),
        None => request.body(Vec::new()),
    };
    site.send(request.unwrap()).await
}
