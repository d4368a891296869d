//! A relying party that registers itself (OpenID Connect Registration §3, RFC 7591) and speaks for itself afterwards:
//! what it sends. `answers.rs` has what it thinks of what comes back.

use std::sync::LazyLock;

use aws_lc_rs::hmac;
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{Method, header};
use serde_json::{Value, json};

use super::provider;
use super::server::Server;
use crate::assertion::{self, Key};
use crate::client::basic;
use crate::jwe::Recipient;
use crate::params::Params;
use crate::person::{Landing, Person};
use crate::site::{Answer, Site, form_of};

/// Nobody is there: codes are read from the address.
pub(super) const REDIRECT_URI: &str = "https://rp.test/a/signet/callback";

/// The key of every relying party, but where it is about whose key it is: RSA keys take their time.
pub(super) static SIGNS: LazyLock<Key> = LazyLock::new(|| Key::new("signs", "RS256"));
/// Another, for a rotation.
pub(super) static NEXT: LazyLock<Key> = LazyLock::new(|| Key::new("signs-2", "RS256"));
/// Another with the name of the first.
pub(super) static FOREIGN: LazyLock<Key> = LazyLock::new(|| Key::new("signs", "RS256"));

/// `token_endpoint_auth_method`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Auth {
    Basic,
    Post,
    SecretJwt,
    PrivateKeyJwt,
    None,
}

impl Auth {
    fn name(self) -> &'static str {
        match self {
            Auth::Basic => "client_secret_basic",
            Auth::Post => "client_secret_post",
            Auth::SecretJwt => "client_secret_jwt",
            Auth::PrivateKeyJwt => "private_key_jwt",
            Auth::None => "none",
        }
    }
}

/// A registered client.
pub(super) struct RelyingParty {
    pub(super) site: Site,
    pub(super) server: Server,
    /// The discovery document.
    pub(super) document: Value,
    /// Signs assertions and request objects.
    pub(super) key: &'static Key,
    /// Decrypts ID tokens and userinfo.
    pub(super) recipient: Option<Recipient>,
    /// The registration's answer.
    pub(super) client: Value,
    auth: Auth,
}

impl RelyingParty {
    /// Registers for one response type, as the modules do.
    pub(super) async fn new(auth: Auth, response_type: &str) -> RelyingParty {
        RelyingParty::with(auth, response_type, |_, _| json!({})).await
    }

    /// The same with more members, or with others; `null` takes one away. The function may first put documents on the
    /// relying party's server, such as its keys.
    pub(super) async fn with(
        auth: Auth,
        response_type: &str,
        members: impl FnOnce(&Server, &Key) -> Value,
    ) -> RelyingParty {
        let site = provider().site();
        let server = Server::start().await;
        let key = &*SIGNS;
        let members = members(&server, key);
        // The secret is not known yet; who needs it gets it below.
        let alg = ["id_token", "userinfo"].iter().find_map(|object| {
            let member = format!("{object}_encrypted_response_alg");
            members[member.as_str()].as_str().map(ToOwned::to_owned)
        });
        let mut recipient = alg.map(|alg| Recipient::of(&alg, ""));
        let mut metadata = metadata(auth, response_type, key, recipient.as_ref());
        merge(&mut metadata, &members);
        let document = document(&site).await;
        let answer = register(&site, &document, &metadata).await;
        let client = registered(&metadata, &answer);
        if let Some(Recipient::Secret(secret)) = &mut recipient {
            client["client_secret"].as_str().unwrap().clone_into(secret);
        }
        RelyingParty {
            site,
            server,
            document,
            key,
            recipient,
            client,
            auth,
        }
    }

    pub(super) fn id(&self) -> &str {
        self.client["client_id"].as_str().unwrap()
    }

    pub(super) fn secret(&self) -> &str {
        self.client["client_secret"].as_str().expect("a secret")
    }

    pub(super) fn endpoint(&self, name: &str) -> &str {
        self.document[name]
            .as_str()
            .unwrap_or_else(|| panic!("no {name}"))
    }

    pub(super) fn redirect_uri(&self) -> &str {
        self.client["redirect_uris"][0].as_str().unwrap()
    }

    /// What the modules send: openid, a state, a nonce.
    pub(super) fn request(&self) -> Params {
        Params::of(&[
            ("client_id", self.id()),
            ("redirect_uri", self.redirect_uri()),
            ("scope", "openid"),
            ("state", &random(8)),
            ("nonce", &random(8)),
            (
                "response_type",
                self.client["response_types"][0].as_str().unwrap(),
            ),
        ])
    }

    /// A request object with the parameters of a request (OpenID Connect Core §6.1), signed with `alg`.
    pub(super) fn request_object(&self, alg: &str, request: &Params) -> String {
        self.sign(alg, &self.request_claims(request))
    }

    /// Its claims.
    pub(super) fn request_claims(&self, request: &Params) -> Value {
        let mut claims = json!({"iss": self.id(), "aud": self.site.issuer()});
        for name in request.names() {
            claims[name] = request.first(name).into();
        }
        claims
    }

    /// A compact JWS by the own key or, with `HS…`, by the client secret.
    pub(super) fn sign(&self, alg: &str, claims: &Value) -> String {
        if !alg.starts_with("HS") {
            let mut header = self.key.header();
            header["alg"] = alg.into();
            // A key without a name is meant by its algorithm.
            if self.client["jwks"]["keys"][0]["kid"].is_null() && self.client["jwks_uri"].is_null()
            {
                header.as_object_mut().unwrap().remove("kid");
            }
            return self.key.sign(&header, claims);
        }
        let input = assertion::signing_input(&json!({"alg": alg}), claims);
        let hash = match alg {
            "HS256" => hmac::HMAC_SHA256,
            "HS384" => hmac::HMAC_SHA384,
            _ => hmac::HMAC_SHA512,
        };
        let key = hmac::Key::new(hash, self.secret().as_bytes());
        let tag = hmac::sign(&key, input.as_bytes());
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(tag))
    }

    /// A browser goes to the authorization endpoint and through the pages.
    pub(super) async fn authorize(&self, person: &mut Person, request: &Params) -> Landing {
        person.authorize(request).await
    }

    /// The token request for a code.
    pub(super) fn redemption(&self, code: &str) -> Params {
        Params::of(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.redirect_uri()),
        ])
    }

    /// POST to the token endpoint with this client's authentication. The audience of an assertion is the token
    /// endpoint, as RFC 7523 §3 had it and as the certification sends it.
    pub(super) async fn token(&self, form: Params) -> Answer {
        let audience = self.endpoint("token_endpoint").to_owned();
        self.token_for(form, &audience).await
    }

    /// The same with another audience.
    pub(super) async fn token_for(&self, form: Params, audience: &str) -> Answer {
        let place = self.endpoint("token_endpoint");
        let request = self.site.request(Method::POST, place);
        let assertion = |alg: &str| {
            let assertion = self.sign(alg, &assertion::claims(self.id(), audience));
            form.clone()
                .and("client_assertion_type", assertion::TYPE)
                .and("client_assertion", &assertion)
        };
        let request = match self.auth {
            Auth::Basic => form_of(
                request.header(header::AUTHORIZATION, basic(self.id(), self.secret())),
                &form.encode(),
            ),
            Auth::Post => {
                let form = form.and("client_id", self.id());
                form_of(request, &form.and("client_secret", self.secret()).encode())
            }
            Auth::SecretJwt => form_of(request, &assertion("HS256").encode()),
            Auth::PrivateKeyJwt => form_of(request, &assertion("RS256").encode()),
            Auth::None => form_of(request, &form.and("client_id", self.id()).encode()),
        };
        self.site.send(request).await
    }

    /// The userinfo endpoint, with the token where it is asked for: `GET`, `POST header` or `POST body`.
    pub(super) async fn userinfo(&self, how: &str, access_token: &str) -> Answer {
        let place = self.endpoint("userinfo_endpoint");
        let bearer = format!("Bearer {access_token}");
        let request = |method| self.site.request(method, place);
        let request = match how {
            "GET" => request(Method::GET)
                .header(header::AUTHORIZATION, bearer)
                .body(Vec::new())
                .unwrap(),
            "POST header" => request(Method::POST)
                .header(header::AUTHORIZATION, bearer)
                .body(Vec::new())
                .unwrap(),
            // As Java sends it.
            "POST header, no form" => form_of(
                request(Method::POST).header(header::AUTHORIZATION, bearer),
                "",
            ),
            "POST body" => form_of(
                request(Method::POST),
                &Params::of(&[("access_token", access_token)]).encode(),
            ),
            other => panic!("{other}"),
        };
        self.site.send(request).await
    }

    /// Client management (RFC 7592) with the registration access token.
    pub(super) async fn manage(&self, method: Method, body: Option<&Value>) -> Answer {
        let token = self.client["registration_access_token"].as_str().unwrap();
        let place = self.client["registration_client_uri"].as_str().unwrap();
        let request = self
            .site
            .request(method, place)
            .header(header::AUTHORIZATION, format!("Bearer {token}"));
        let request = match body {
            Some(body) => request
                .header(header::CONTENT_TYPE, "application/json")
                .body(body.to_string().into_bytes()),
            None => request.body(Vec::new()),
        };
        self.site.send(request.unwrap()).await
    }
}

/// The discovery document.
pub(super) async fn document(site: &Site) -> Value {
    site.get("/.well-known/openid-configuration").await.json()
}

/// What the modules register.
pub(super) fn metadata(
    auth: Auth,
    response_type: &str,
    key: &Key,
    recipient: Option<&Recipient>,
) -> Value {
    let words: Vec<&str> = response_type.split(' ').collect();
    let mut grant_types = Vec::new();
    if words.contains(&"code") {
        grant_types.push("authorization_code");
    }
    if words.contains(&"id_token") || words.contains(&"token") {
        grant_types.push("implicit");
    }
    let mut keys = vec![key.jwk()];
    keys.extend(recipient.and_then(Recipient::jwk));
    json!({
        "client_name": "Certification",
        "redirect_uris": [REDIRECT_URI],
        "response_types": [response_type],
        "grant_types": grant_types,
        "token_endpoint_auth_method": auth.name(),
        "contacts": ["certification@rp.test"],
        "jwks": {"keys": keys},
    })
}

/// `null` takes a member away.
pub(super) fn merge(metadata: &mut Value, members: &Value) {
    let all = metadata.as_object_mut().unwrap();
    for (name, value) in members.as_object().unwrap() {
        match value {
            Value::Null => all.remove(name),
            value => all.insert(name.clone(), value.clone()),
        };
    }
}

/// POST to the registration endpoint.
pub(super) async fn register(site: &Site, document: &Value, metadata: &Value) -> Answer {
    let place = document["registration_endpoint"]
        .as_str()
        .expect("registration_endpoint");
    let request = site
        .request(Method::POST, place)
        .header(header::CONTENT_TYPE, "application/json;charset=UTF-8")
        .body(metadata.to_string().into_bytes());
    site.send(request.unwrap()).await
}

/// Registration §3.2: 201, JSON, what was sent, credentials and the means to manage them.
#[track_caller]
fn registered(metadata: &Value, answer: &Answer) -> Value {
    assert_eq!(answer.status, 201, "{metadata}: {}", answer.text());
    assert_eq!(answer.header("content-type"), "application/json");
    let client = answer.json();
    assert!(client["client_id"].is_string(), "{client}");
    if let Some(secret) = client.get("client_secret") {
        assert!(secret.as_str().unwrap().len() >= 43, "256 bits");
        assert!(client["client_secret_expires_at"].is_u64(), "{client}");
    }
    let pair = ["registration_access_token", "registration_client_uri"];
    assert!(pair.iter().all(|member| client[*member].is_string()));
    for (name, value) in metadata.as_object().unwrap() {
        assert_eq!(client.get(name), Some(value), "{name} of {client}");
    }
    client
}

/// So many random octets, base64url.
pub(super) fn random(octets: usize) -> String {
    let mut random = vec![0; octets];
    rand::fill(&mut random).unwrap();
    URL_SAFE_NO_PAD.encode(random)
}
