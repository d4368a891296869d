//! A relying party's requests: each of the registered test clients, with its way of authentication.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{Method, header};
use serde_json::Value;

use crate::assertion::{self, Key};
use crate::client_secret_jwt;
use crate::params::Params;
use crate::person::Person;
use crate::registration;
use crate::site::{Answer, Site, form_of};

/// RFC 7636 appendix B.
pub(crate) const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// How a client proves that it is itself.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Proof {
    None,
    Basic,
    Post,
    /// `client_secret_jwt`, with HS256.
    SecretAssertion,
    Assertion(&'static Key),
}

/// A registered client: see `registration.rs` for what each is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    pub(crate) id: &'static str,
    pub(crate) redirect_uri: &'static str,
    pub(crate) proof: Proof,
}

impl Client {
    /// A legal authorization request: openid, state, nonce, PKCE.
    pub(crate) fn request(&self) -> Params {
        Params::of(&[
            ("client_id", self.id),
            ("redirect_uri", self.redirect_uri),
            ("response_type", "code"),
            ("scope", "openid"),
            ("state", "some state"),
            ("nonce", "some nonce"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ])
    }

    /// A legal token request for a code.
    pub(crate) fn redemption(&self, code: &str) -> Params {
        Params::of(&[
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.redirect_uri),
            ("code_verifier", VERIFIER),
        ])
    }

    pub(crate) async fn redeem(&self, site: &Site, code: &str) -> Answer {
        self.post(site, "/token", self.redemption(code)).await
    }

    pub(crate) async fn refresh(&self, site: &Site, refresh_token: &str) -> Answer {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token),
        ];
        self.post(site, "/token", Params::of(&form)).await
    }

    pub(crate) async fn introspect(&self, site: &Site, token: &str) -> Value {
        let answer = self
            .post(site, "/introspect", Params::of(&[("token", token)]))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    pub(crate) async fn is_active(&self, site: &Site, token: &str) -> bool {
        self.introspect(site, token).await["active"]
            .as_bool()
            .unwrap()
    }

    pub(crate) async fn revoke(&self, site: &Site, token: &str) -> Answer {
        self.post(site, "/revoke", Params::of(&[("token", token)]))
            .await
    }

    /// The whole code flow: the members of the token response.
    pub(crate) async fn tokens(&self, person: &mut Person, scope: &str) -> Value {
        let code = person.code(self, scope).await;
        let answer = self.redeem(&person.site, &code).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()
    }

    /// POST with this client's authentication.
    pub(crate) async fn post(&self, site: &Site, path: &str, form: Params) -> Answer {
        site.send(self.build(site, path, form)).await
    }

    /// The request that `post` sends.
    pub(crate) fn build(&self, site: &Site, path: &str, form: Params) -> http::Request<Vec<u8>> {
        let request = site.request(Method::POST, path);
        let secret = registration::secret(self.id);
        match self.proof {
            Proof::None => form_of(request, &form.and("client_id", self.id).encode()),
            Proof::Basic => {
                let request = request.header(header::AUTHORIZATION, basic(self.id, &secret));
                form_of(request, &form.encode())
            }
            Proof::Post => {
                let form = form.and("client_id", self.id).and("client_secret", &secret);
                form_of(request, &form.encode())
            }
            Proof::Assertion(_) | Proof::SecretAssertion => {
                let claims = assertion::claims(self.id, site.issuer());
                let assertion = match self.proof {
                    Proof::Assertion(key) => key.sign(&key.header(), &claims),
                    _ => client_secret_jwt::sign("HS256", &secret, &claims),
                };
                let form = form
                    .and("client_assertion_type", assertion::TYPE)
                    .and("client_assertion", &assertion);
                form_of(request, &form.encode())
            }
        }
    }
}

/// The value of `Authorization` (RFC 7617).
pub(crate) fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}
