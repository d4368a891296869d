//! Our tokens, verified by a JOSE library that we do not use ourselves, with the keys that we publish.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::site::Site;

/// The claims of a token of this `typ` for this audience. Its header has alg, kid and typ and nothing else (JO-18).
#[track_caller]
pub(crate) fn verify(site: &Site, keys: &JwkSet, token: &str, of: (&str, &str)) -> Value {
    verify_with(site, keys, token, of, &["exp", "iss", "aud", "sub"])
}

/// The same of a token that must have these claims.
#[track_caller]
pub(crate) fn verify_with(
    site: &Site,
    keys: &JwkSet,
    token: &str,
    (typ, audience): (&str, &str),
    claims: &[&str],
) -> Value {
    let header = header(token);
    let mut members: Vec<_> = header
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    members.sort_unstable();
    assert_eq!(members, ["alg", "kid", "typ"], "{header}");
    assert_eq!(header["typ"], typ);
    let alg: Algorithm = serde_json::from_value(header["alg"].clone()).unwrap();
    let key = keys
        .find(header["kid"].as_str().unwrap())
        .expect("the kid is published");
    let mut rules = Validation::new(alg);
    rules.set_audience(&[audience]);
    rules.set_issuer(&[site.issuer()]);
    rules.set_required_spec_claims(claims);
    let key = DecodingKey::from_jwk(key).unwrap();
    jsonwebtoken::decode::<Value>(token, &key, &rules)
        .unwrap()
        .claims
}

/// The keys as they are published now.
pub(crate) async fn keys(site: &Site) -> JwkSet {
    serde_json::from_value(site.get("/jwks").await.json()).unwrap()
}

/// An ID token's claims.
pub(crate) async fn id_token(site: &Site, client_id: &str, tokens: &Value) -> Value {
    let token = tokens["id_token"].as_str().expect("there is an ID token");
    verify(site, &keys(site).await, token, ("JWT", client_id))
}

/// The header of a JWS, unverified.
pub(crate) fn header(token: &str) -> Value {
    segment(token, 0)
}

/// The payload of a JWS, unverified.
pub(crate) fn payload(token: &str) -> Value {
    segment(token, 1)
}

fn segment(token: &str, index: usize) -> Value {
    let segment = token.split('.').nth(index).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(segment).unwrap()).unwrap()
}

/// OpenID Connect Core §3.1.3.6, for algorithms with SHA-256.
pub(crate) fn at_hash(access_token: &str) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(access_token)[..16])
}
