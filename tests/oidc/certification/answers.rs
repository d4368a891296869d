//! What a relying party thinks of what comes back (OpenID Connect Core §3.1.3.7, §3.2.2, §3.3.2, §5.3.2). Whatever would
//! be a failure or a warning of the certification is a failure here.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use super::relying_party::RelyingParty;
use crate::assertion::now;
use crate::jwe::{KID, Recipient};
use crate::params::Params;
use crate::person::{Landing, Person, Place};
use crate::site::Answer;
use crate::verified::{header, keys};

/// Claims of an ID token that need not be asked for.
#[rustfmt::skip]
const TECHNICAL: [&str; 13] = [
    "iss", "sub", "aud", "exp", "iat", "auth_time", "nonce", "acr", "amr", "azp", "at_hash", "c_hash", "sid",
];

/// What one sign-in gave.
#[derive(Debug, Default)]
pub(super) struct Login {
    /// Claims of the front channel's ID token.
    pub(super) front: Option<Value>,
    /// Claims of the token endpoint's.
    pub(super) back: Option<Value>,
    /// The newest ID token as it came.
    pub(super) id_token: String,
    pub(super) code: String,
    /// The newest.
    pub(super) access_token: String,
    /// The token endpoint's answer.
    pub(super) tokens: Value,
    /// `session_state` of the answer.
    pub(super) session_state: String,
}

impl Login {
    /// Of the ID token, wherever it came from.
    #[track_caller]
    pub(super) fn claims(&self) -> &Value {
        let newest = self.back.as_ref().or(self.front.as_ref());
        newest.expect("an ID token")
    }
}

impl RelyingParty {
    /// From the authorization request to the tokens, everything checked.
    pub(super) async fn login(&self, person: &mut Person, request: &Params) -> Login {
        let landing = self.authorize(person, request).await;
        self.finish(request, &landing).await
    }

    /// Checks an authorization response, fetches tokens for a code, and asks userinfo with each access token.
    pub(super) async fn finish(&self, request: &Params, landing: &Landing) -> Login {
        self.check_response(request, landing);
        let mut login = Login {
            session_state: landing.field("session_state").to_owned(),
            code: landing.field("code").to_owned(),
            access_token: landing.field("access_token").to_owned(),
            ..Login::default()
        };
        if let Some(id_token) = landing.fields.get("id_token") {
            let claims = self.id_token(id_token, request).await;
            let alg = self.id_token_alg();
            for (claim, of) in [("at_hash", "access_token"), ("c_hash", "code")] {
                let expected = landing.fields.get(of).map(|value| hash(&alg, value));
                let found = claims[claim].as_str().map(ToOwned::to_owned);
                assert_eq!(found, expected, "{claim} in the front channel");
            }
            id_token.clone_into(&mut login.id_token);
            login.front = Some(claims);
        }
        if !login.access_token.is_empty() {
            let claims = self.claims_of_userinfo(&login.access_token).await;
            if let Some(front) = &login.front {
                assert_eq!(claims["sub"], front["sub"]);
            }
        }
        if !login.code.is_empty() {
            let redemption = self.redemption(&login.code);
            let redemption = match request.first("code_verifier") {
                Some(verifier) => redemption.set("code_verifier", verifier),
                None => redemption,
            };
            let answer = self.token(redemption).await;
            self.tokens(&mut login, request, &answer).await;
        }
        login
    }

    /// RFC 6749 §5.1 and OpenID Connect Core §3.1.3.3.
    async fn tokens(&self, login: &mut Login, request: &Params, answer: &Answer) {
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), "application/json");
        assert_eq!(answer.header("cache-control"), "no-store");
        let tokens = answer.json();
        assert_eq!(tokens["token_type"], "Bearer");
        assert!(tokens["expires_in"].as_u64().unwrap() > 0);
        let id_token = tokens["id_token"].as_str().expect("an ID token");
        let claims = self.id_token(id_token, request).await;
        let access_token = tokens["access_token"].as_str().unwrap();
        if let Some(at_hash) = claims.get("at_hash") {
            assert_eq!(*at_hash, hash(&self.id_token_alg(), access_token).as_str());
        }
        if let Some(front) = &login.front {
            // §3.3.3.6: "the iss and sub Claim Values MUST be identical".
            assert_eq!(
                (&claims["iss"], &claims["sub"]),
                (&front["iss"], &front["sub"])
            );
        }
        let userinfo = self.claims_of_userinfo(access_token).await;
        assert_eq!(userinfo["sub"], claims["sub"], "§5.3.2");
        id_token.clone_into(&mut login.id_token);
        access_token.clone_into(&mut login.access_token);
        login.back = Some(claims);
        login.tokens = tokens;
    }

    /// The place, the state, the issuer (RFC 9207), and nothing that was not asked for.
    #[track_caller]
    pub(super) fn check_response(&self, request: &Params, landing: &Landing) {
        let asked = request.first("response_type").unwrap_or_default();
        let words: Vec<&str> = asked.split(' ').collect();
        let place = match request.first("response_mode") {
            Some("form_post") => Place::FormPost,
            _ if ["code", "none", ""].contains(&asked) => Place::Query,
            _ => Place::Fragment,
        };
        assert_eq!(landing.place, place, "{landing:?}");
        let redirect_uri = request.first("redirect_uri").unwrap();
        let (base, query) = redirect_uri.split_once('?').unwrap_or((redirect_uri, ""));
        let mut own = BTreeSet::new();
        if place == Place::Query {
            assert_eq!(landing.uri, base);
            let own_fields = Params::decode(query).into_map();
            for (name, value) in &own_fields {
                assert_eq!(landing.field(name), value, "{name} of the redirect URI");
            }
            own.extend(own_fields.into_keys());
        } else {
            assert_eq!(landing.uri, redirect_uri);
        }
        assert_eq!(
            landing.field("state"),
            request.first("state").unwrap_or_default()
        );
        assert_eq!(landing.field("iss"), self.site.issuer());
        let expected: BTreeSet<String> = match landing.fields.contains_key("error") {
            true => BTreeSet::from(["error".to_owned()]),
            false => (words.iter())
                .filter(|word| !["none", ""].contains(*word))
                .map(|word| parameter(word))
                .collect(),
        };
        #[rustfmt::skip]
        let may = [
            "state", "iss", "session_state", "token_type", "expires_in", "scope", "error_description",
        ];
        let found: BTreeSet<String> = landing
            .fields
            .keys()
            .filter(|name| !may.contains(&name.as_str()) && !own.contains(*name))
            .cloned()
            .collect();
        assert_eq!(found, expected, "{landing:?}");
        if words.contains(&"token") && !expected.contains("error") {
            assert_eq!(landing.field("token_type"), "Bearer");
            assert!(landing.field("expires_in").parse::<u64>().unwrap() > 0);
        }
    }

    /// An error response with this code, and no more than it needs.
    #[track_caller]
    pub(super) fn check_error(&self, request: &Params, landing: &Landing, error: &str) {
        assert_eq!(landing.field("error"), error, "{landing:?}");
        self.check_response(request, landing);
        // RFC 6749 §4.1.2.1.
        let description = landing.field("error_description");
        let plain = |octet: u8| (0x20..0x7f).contains(&octet) && octet != b'"' && octet != b'\\';
        assert!(description.bytes().all(plain), "{description}");
    }

    /// `id_token_signed_response_alg`.
    pub(super) fn id_token_alg(&self) -> String {
        let alg = self.client["id_token_signed_response_alg"].as_str();
        alg.unwrap_or("RS256").to_owned()
    }

    /// The claims of an ID token, after decryption and verification.
    pub(super) async fn id_token(&self, token: &str, request: &Params) -> Value {
        let token = self.decrypted(token, "id_token");
        let claims = self.verified(&token, &self.id_token_alg()).await;
        let now = now();
        let times = |name: &str| claims[name].as_i64().unwrap_or_else(|| panic!("{name}"));
        assert!(times("exp") > now, "{claims}");
        assert!((times("iat") - now).abs() < 300, "{claims}");
        assert!(times("auth_time") <= now, "{claims}");
        assert_eq!(
            claims.get("nonce"),
            request.first("nonce").map(Value::from).as_ref()
        );
        assert!(
            claims["acr"].is_string() && claims["amr"].is_array(),
            "{claims}"
        );
        if let Some(azp) = claims.get("azp") {
            assert_eq!(*azp, self.id());
        }
        let sub = claims["sub"].as_str().unwrap();
        assert!((1..=255).contains(&sub.len()) && sub.is_ascii());
        // Scopes give claims of userinfo; only without an access token they are in the ID token (§5.4).
        if request.first("response_type") != Some("id_token") {
            let asked: Value = request
                .first("claims")
                .map_or(Value::Null, |claims| serde_json::from_str(claims).unwrap());
            for name in claims.as_object().unwrap().keys() {
                let is_asked = asked["id_token"].get(name).is_some();
                assert!(
                    TECHNICAL.contains(&name.as_str()) || is_asked,
                    "nobody asked for {name}"
                );
            }
        }
        claims
    }

    /// Userinfo by GET, as this client wants it protected.
    pub(super) async fn claims_of_userinfo(&self, access_token: &str) -> Value {
        let answer = self.userinfo("GET", access_token).await;
        self.read_userinfo(&answer).await
    }

    /// The claims of a userinfo answer.
    pub(super) async fn read_userinfo(&self, answer: &Answer) -> Value {
        assert_eq!(answer.status, 200, "{}", answer.text());
        let signed = self.client["userinfo_signed_response_alg"].as_str();
        let encrypted = self.client.get("userinfo_encrypted_response_alg").is_some();
        let claims = if signed.is_none() && !encrypted {
            assert_eq!(answer.header("content-type"), "application/json");
            answer.json()
        } else {
            assert_eq!(answer.header("content-type"), "application/jwt");
            let token = self.decrypted(&answer.text(), "userinfo");
            match signed {
                Some(alg) => self.verified(&token, alg).await,
                None => serde_json::from_str(&token).unwrap(),
            }
        };
        check_standard_claims(&claims);
        claims
    }

    /// What a nested token holds, where this client has it encrypted.
    pub(super) fn decrypted(&self, token: &str, object: &str) -> String {
        let member =
            |suffix: &str| &self.client[format!("{object}_encrypted_response_{suffix}").as_str()];
        let Some(alg) = member("alg").as_str() else {
            return token.to_owned();
        };
        let recipient = self.recipient.as_ref().expect("a key");
        let (header, plaintext) = recipient.decrypt(token);
        assert_eq!(header["alg"], alg);
        // Registration §2: the default.
        assert_eq!(
            header["enc"],
            member("enc").as_str().unwrap_or("A128CBC-HS256")
        );
        let is_signed = object == "id_token"
            || self
                .client
                .get(format!("{object}_signed_response_alg").as_str())
                .is_some();
        if is_signed {
            assert_eq!(header["cty"], "JWT", "RFC 7519 §5.2");
        }
        if !matches!(recipient, Recipient::Secret(_)) {
            assert_eq!(header["kid"], KID);
        }
        String::from_utf8(plaintext).unwrap()
    }

    /// The claims of a JWS of the provider for this client.
    pub(super) async fn verified(&self, token: &str, alg: &str) -> Value {
        let header = header(token);
        assert_eq!(header["alg"], alg, "{header}");
        let algorithm: Algorithm = serde_json::from_value(json!(alg)).unwrap();
        let key = if alg.starts_with("HS") {
            assert_eq!(header.get("kid"), None, "{header}");
            DecodingKey::from_secret(self.secret().as_bytes())
        } else {
            let keys = keys(&self.site).await;
            let kid = header["kid"].as_str().expect("a kid");
            DecodingKey::from_jwk(keys.find(kid).expect("it is published")).unwrap()
        };
        let mut rules = Validation::new(algorithm);
        rules.set_audience(&[self.id()]);
        rules.set_issuer(&[self.site.issuer()]);
        rules.set_required_spec_claims(&["iss", "aud"]);
        let decoded = jsonwebtoken::decode::<Value>(token, &key, &rules);
        decoded
            .unwrap_or_else(|error| panic!("{error}: {header}"))
            .claims
    }
}

/// The name of the parameter that a word of a response type brings.
fn parameter(word: &str) -> String {
    match word {
        "token" => "access_token".to_owned(),
        other => other.to_owned(),
    }
}

/// OpenID Connect Core §3.1.3.6.
pub(super) fn hash(alg: &str, value: &str) -> String {
    let hash = match alg {
        alg if alg.ends_with("256") => Sha256::digest(value).to_vec(),
        alg if alg.ends_with("384") => Sha384::digest(value).to_vec(),
        _ => Sha512::digest(value).to_vec(),
    };
    URL_SAFE_NO_PAD.encode(&hash[..hash.len() / 2])
}

/// OpenID Connect Core §5.1: the types of the standard claims.
#[track_caller]
pub(super) fn check_standard_claims(claims: &Value) {
    for (name, value) in claims.as_object().unwrap() {
        let (name, _) = name.split_once('#').unwrap_or((name, ""));
        let fits = match name {
            "email_verified" | "phone_number_verified" => value.is_boolean(),
            "updated_at" => value.is_u64(),
            "address" => value.as_object().is_some_and(|address| {
                !address.is_empty() && address.values().all(Value::is_string)
            }),
            "birthdate" => value.as_str().is_some_and(|date| {
                let parts: Vec<usize> = date.split('-').map(str::len).collect();
                parts == [4, 2, 2] || parts == [4]
            }),
            "iss" | "aud" | "exp" | "iat" | "nbf" | "jti" => true,
            _ => value.is_string() && value != "",
        };
        assert!(fits, "{name}: {value}");
    }
    assert!(claims["sub"].is_string(), "{claims}");
}
