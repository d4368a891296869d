//! The clients and users of a stack, written as the gateway's `clients_file` and `users_file`.

use argon2::password_hash::PasswordHasher as _;
use argon2::{Algorithm, Argon2, Params, Version};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

/// Where the codes of the measured clients go: the discard port, for nobody shall answer.
const REDIRECT_URI: &str = "http://127.0.0.1:9/cb";
/// Every user's password.
pub const PASSWORD: &str = "correct horse battery staple";

/// A client: what the launcher tells of it, and its metadata (RFC 7591).
#[derive(Clone, Debug)]
pub struct Client {
    /// `client_id`.
    pub id: String,
    /// `client_secret`, 256 random bits.
    pub secret: String,
    /// The one redirect URI.
    pub redirect_uri: String,
    /// All members.
    pub metadata: Value,
}

impl Client {
    /// A confidential client for the authorization code flow; `members` are added to its metadata.
    ///
    /// # Errors
    /// When the operating system gives no random octets.
    pub fn new(id: &str, redirect_uri: &str, members: Value) -> anyhow::Result<Self> {
        // Tools take it as a word of its own on a command line: it must not look like an option.
        let secret = format!("s{}", random()?);
        let mut metadata = json!({
            "client_id": id,
            "client_secret": secret,
            "redirect_uris": [redirect_uri],
            "grant_types": ["authorization_code", "refresh_token", "client_credentials"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "client_secret_basic",
            "scope": "openid profile email offline_access",
        });
        if let (Value::Object(all), Value::Object(members)) = (&mut metadata, members) {
            all.extend(members);
        }
        Ok(Self {
            id: id.to_owned(),
            secret,
            redirect_uri: redirect_uri.to_owned(),
            metadata,
        })
    }

    /// The clients that measuring tools use: each algorithm with opaque and with JWT access tokens.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn measured() -> anyhow::Result<Vec<Self>> {
        let mut clients = Vec::new();
        for (alg, name) in [("ES256", "bench-es256"), ("RS256", "bench-rs256")] {
            for (format, suffix) in [("opaque", ""), ("jwt", "-jwt")] {
                let mut members = json!({
                    "client_name": "Measuring tool",
                    "id_token_signed_response_alg": alg,
                    "access_token_format": format,
                    "consent": "implicit",
                });
                if format == "jwt" {
                    members["access_token_signed_response_alg"] = alg.into();
                }
                clients.push(Self::new(
                    &format!("{name}{suffix}"),
                    REDIRECT_URI,
                    members,
                )?);
            }
        }
        Ok(clients)
    }
}

/// A person who can sign in with [`PASSWORD`].
#[derive(Clone, Debug)]
pub struct User {
    /// What is typed; also the subject.
    pub username: String,
    /// Claim `name`.
    pub name: String,
}

impl User {
    /// `user0` to `user63`.
    #[must_use]
    pub fn measured() -> Vec<Self> {
        (0..64)
            .map(|number| Self {
                username: format!("user{number}"),
                name: format!("User Number {number}"),
            })
            .collect()
    }

    /// The gateway's `users_file`.
    ///
    /// # Errors
    /// When no hash can be made.
    pub fn file(users: &[Self]) -> anyhow::Result<Value> {
        let hash = hash(PASSWORD)?;
        Ok(users
            .iter()
            .map(|user| {
                json!({
                    "subject": user.username,
                    "username": user.username,
                    "password_hash": hash,
                    "claims": {
                        "name": user.name,
                        "preferred_username": user.username,
                        "email": format!("{}@example.com", user.username),
                        "email_verified": true,
                        "phone_number": "+15550100",
                        "phone_number_verified": false,
                        "address": {"locality": "Springfield", "country": "US"},
                        "updated_at": 1_700_000_000,
                    },
                })
            })
            .collect())
    }
}

/// 256 random bits, base64url.
///
/// # Errors
/// When the operating system gives none.
pub(super) fn random() -> anyhow::Result<String> {
    let mut octets = [0; 32];
    #[expect(clippy::disallowed_methods, reason = "nothing is to be repeated here")]
    getrandom::fill(&mut octets)?;
    Ok(URL_SAFE_NO_PAD.encode(octets))
}

/// A real argon2id hash, but the cheapest that the gateway accepts: a stack is started to measure other things, and
/// its password is printed anyway.
fn hash(password: &str) -> anyhow::Result<String> {
    let params = Params::new(7 * 1024, 1, 1, None).map_err(|error| anyhow::anyhow!("{error}"))?;
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let hash = argon2
        .hash_password(password.as_bytes())
        .map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(hash.to_string())
}
