//! What is published, on the wire (RFC 7517 §5): the JWK Set, the keys' states, and what this service can do.

use proto::v1;

use crate::config::ring_matches;
use crate::keyring::Snapshot;
use crate::keyring::state::State;

use super::Shared;

/// What is published, of the rings that are asked for.
pub(super) fn public_jwks(
    shared: &Shared,
    rings: &[String],
    known: &str,
) -> v1::PublicJwksResponse {
    let snapshot = shared.keyring.snapshot();
    let published = snapshot.published();
    let mut response = v1::PublicJwksResponse {
        epoch: published.epoch.clone(),
        max_age: shared.max_age,
        refresh_after: shared.refresh_after,
        capabilities: Some(capabilities(&snapshot)),
        ..Default::default()
    };
    if published.epoch == known {
        return response;
    }
    let wanted =
        |ring: &str| rings.is_empty() || rings.iter().any(|pattern| ring_matches(pattern, ring));
    let keys: Vec<_> = published
        .keys
        .iter()
        .filter(|(ring, _)| wanted(&ring.to_string()))
        .collect();
    response.jwks = if rings.is_empty() {
        published.jwks.clone()
    } else {
        crate::keyring::jwk_set(keys.iter().map(|(_, key)| key))
    };
    response.keys = keys
        .into_iter()
        .map(|(ring, key)| v1::PublishedKey {
            kid: key.kid().to_owned(),
            state: state(key.standing.state).into(),
            alg: ring.algorithm().jose().to_owned(),
            r#use: ring.algorithm().usage().to_owned(),
            ring: ring.to_string(),
            generation: key.standing.key.generation,
            created_at: key.standing.key.created,
            activates_at: key.standing.activates_at.unwrap_or(0),
            retires_at: key.standing.retires_at.unwrap_or(0),
        })
        .collect();
    response
}

pub(super) fn capabilities(snapshot: &Snapshot) -> v1::Capabilities {
    let capabilities = &snapshot.published().capabilities;
    let owned = |names: &[&'static str]| names.iter().map(|&name| name.to_owned()).collect();
    v1::Capabilities {
        sign_rings: capabilities.sign_rings.clone(),
        verify_alg: owned(&capabilities.verify_alg),
        decrypt_rings: capabilities.decrypt_rings.clone(),
        decrypt_enc: owned(&capabilities.decrypt_enc),
        wrap_alg: owned(&capabilities.wrap_alg),
        wrap_enc: owned(&capabilities.wrap_enc),
        seal: capabilities.seal,
        mac_rings: capabilities.mac_rings.clone(),
        seal_kids: capabilities.seal_kids.clone(),
    }
}

pub(super) fn state(state: State) -> v1::KeyState {
    match state {
        State::Next => v1::KeyState::Next,
        State::Active => v1::KeyState::Active,
        State::Retired => v1::KeyState::Retired,
        State::Expired => v1::KeyState::Expired,
        State::Revoked => v1::KeyState::Revoked,
        State::Disabled => v1::KeyState::Disabled,
        State::Destroyed => v1::KeyState::Destroyed,
    }
}
