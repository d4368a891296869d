//! Client assertions (RFC 7523), as right or as wrong as a test wants them.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384, RSA_PSS_SHA512, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use oidc_gateway::clock::Clock;
use serde_json::{Value, json};

/// RFC 7523 §2.2.
pub(crate) const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// A client's key.
#[derive(Debug)]
pub(crate) struct Key {
    kid: &'static str,
    pair: Pair,
}

#[derive(Debug)]
enum Pair {
    /// Its curve's name, and the one algorithm.
    Ec(EcdsaKeyPair, &'static str, &'static str),
    Ed(Ed25519KeyPair),
    Rsa(Box<RsaKeyPair>),
}

impl Key {
    /// A key for this algorithm; its name is the algorithm's unless there is another.
    pub(crate) fn new(kid: &'static str, alg: &str) -> Key {
        let ec = |alg, curve, name| Pair::Ec(EcdsaKeyPair::generate(alg).unwrap(), curve, name);
        let pair = match alg {
            "ES256" => ec(&ECDSA_P256_SHA256_FIXED_SIGNING, "P-256", "ES256"),
            "ES384" => ec(&ECDSA_P384_SHA384_FIXED_SIGNING, "P-384", "ES384"),
            "ES512" => ec(&ECDSA_P521_SHA512_FIXED_SIGNING, "P-521", "ES512"),
            "EdDSA" => Pair::Ed(Ed25519KeyPair::generate().unwrap()),
            _ => Pair::Rsa(Box::new(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())),
        };
        Key { kid, pair }
    }

    /// Its algorithm; an RSA key knows others too.
    pub(crate) fn alg(&self) -> &'static str {
        match self.pair {
            Pair::Ec(_, _, alg) => alg,
            Pair::Ed(_) => "EdDSA",
            Pair::Rsa(_) => "RS256",
        }
    }

    pub(crate) fn header(&self) -> Value {
        json!({"alg": self.alg(), "kid": self.kid})
    }

    /// The public key (RFC 7517).
    pub(crate) fn jwk(&self) -> Value {
        let encode = |octets: &[u8]| URL_SAFE_NO_PAD.encode(octets);
        let mut jwk = match &self.pair {
            Pair::Ec(pair, curve, _) => {
                let point = &pair.public_key().as_ref()[1..];
                let (x, y) = point.split_at(point.len() / 2);
                json!({"kty": "EC", "crv": curve, "x": encode(x), "y": encode(y)})
            }
            Pair::Ed(pair) => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref())})
            }
            Pair::Rsa(pair) => {
                let public = pair.public_key();
                json!({
                    "kty": "RSA",
                    "n": encode(public.modulus().big_endian_without_leading_zero()),
                    "e": encode(public.exponent().big_endian_without_leading_zero()),
                })
            }
        };
        jwk["kid"] = self.kid.into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// A compact JWS, whatever the header says.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        self.sign_text(header, &claims.to_string())
    }

    /// The same of a payload as it is written.
    pub(crate) fn sign_text(&self, header: &Value, payload: &str) -> String {
        let encode = |text: &str| URL_SAFE_NO_PAD.encode(text);
        let input = format!("{}.{}", encode(&header.to_string()), encode(payload));
        let random = SystemRandom::new();
        let signature = match &self.pair {
            Pair::Ec(pair, ..) => pair
                .sign(&random, input.as_bytes())
                .unwrap()
                .as_ref()
                .to_vec(),
            Pair::Ed(pair) => pair.sign(input.as_bytes()).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let encoding: &dyn aws_lc_rs::signature::RsaEncoding = match header["alg"].as_str()
                {
                    Some("RS384") => &RSA_PKCS1_SHA384,
                    Some("RS512") => &RSA_PKCS1_SHA512,
                    Some("PS256") => &RSA_PSS_SHA256,
                    Some("PS384") => &RSA_PSS_SHA384,
                    Some("PS512") => &RSA_PSS_SHA512,
                    _ => &RSA_PKCS1_SHA256,
                };
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(encoding, &random, input.as_bytes(), &mut signature)
                    .unwrap();
                signature
            }
        };
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}

pub(crate) fn signing_input(header: &Value, claims: &Value) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}", encode(header), encode(claims))
}

/// Claims as they must be, with a jti of their own.
pub(crate) fn claims(client_id: &str, audience: &str) -> Value {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = now();
    json!({
        "iss": client_id, "sub": client_id, "aud": audience, "iat": now, "exp": now + 60,
        "jti": format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)),
    })
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    Clock::system().now()
}
