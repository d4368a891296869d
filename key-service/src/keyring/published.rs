//! What relying parties see of the keys: the JWK Set (RFC 7517 §5), its epoch, and what this service can do.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use super::Ring;
use super::key::Key;
use super::state::State;
use crate::algorithm::{
    ContentEncryption, KeyManagementAlgorithm, RingAlgorithm, RingName, SignatureAlgorithm,
};

/// The published keys and a name for the whole.
#[derive(Debug)]
pub struct Published {
    /// The JWK Set as JSON, with every published key.
    pub jwks: Bytes,
    /// The published keys and their rings; a ring's active key before its others.
    pub keys: Vec<(RingName, Arc<Key>)>,
    /// base64url of SHA-256 over the JWK Set, the keys' states and which keys seal: equal where the content is.
    pub epoch: String,
    /// What the service can do.
    pub capabilities: Capabilities,
}

/// What the service can do with the keys it has: the discovery document is made from it.
#[derive(Debug, Default)]
pub struct Capabilities {
    /// Rings that sign.
    pub sign_rings: Vec<String>,
    /// Others' signatures that can be verified.
    pub verify_alg: Vec<&'static str>,
    /// Rings that others may encrypt to.
    pub decrypt_rings: Vec<String>,
    /// With which content encryption.
    pub decrypt_enc: Vec<&'static str>,
    /// Key management towards others' keys.
    pub wrap_alg: Vec<&'static str>,
    /// With which content encryption.
    pub wrap_enc: Vec<&'static str>,
    /// Whether something can be sealed for ourselves.
    pub seal: bool,
    /// Rings that compute MACs.
    pub mac_rings: Vec<String>,
    /// The keys that seal.
    pub seal_kids: Vec<String>,
}

impl Published {
    pub(super) fn of<'a>(rings: impl Iterator<Item = &'a Ring>) -> Published {
        let mut keys = Vec::new();
        let mut capabilities = Capabilities::default();
        for ring in rings {
            capabilities.add(ring);
            let published = ring.trusted().filter(|key| is_published(ring, key));
            keys.extend(published.map(|key| (ring.name().clone(), Arc::clone(key))));
        }
        capabilities.towards_others();
        let jwks = jwk_set(keys.iter().map(|(_, key)| key));
        let mut hash = Sha256::new_with_prefix(&jwks);
        for (ring, key) in &keys {
            let state = key.standing.state.as_str();
            hash.update(format!("\n{ring} {} {state}", key.kid()));
        }
        // They are not published, but who keeps what they sealed is told when another one does.
        for kid in &capabilities.seal_kids {
            hash.update(format!("\nseal {kid}"));
        }
        Published {
            jwks,
            keys,
            epoch: URL_SAFE_NO_PAD.encode(hash.finalize()),
            capabilities,
        }
    }
}

/// The JWK Set of some keys.
pub(crate) fn jwk_set<'a>(keys: impl Iterator<Item = &'a Arc<Key>>) -> Bytes {
    let mut set = String::from(r#"{"keys":["#);
    let mut written: Vec<&str> = Vec::new();
    for key in keys {
        let Some(jwk) = key.jwk.as_deref() else {
            continue;
        };
        // An imported key may serve several rings.
        if key.standing.is_imported() {
            if written.contains(&key.kid()) {
                continue;
            }
            written.push(key.kid());
        }
        if !set.ends_with('[') {
            set.push(',');
        }
        set.push_str(jwk);
    }
    set.push_str("]}");
    set.into()
}

/// Others choose an encryption key from what is published, so one that retires is taken away at once.
fn is_published(ring: &Ring, key: &Key) -> bool {
    match ring.name().algorithm() {
        RingAlgorithm::Signature(_) => true,
        RingAlgorithm::Decryption(_) => key.standing.state != State::Retired,
        RingAlgorithm::Seal | RingAlgorithm::Mac => false,
    }
}

impl Capabilities {
    fn add(&mut self, ring: &Ring) {
        let is_active = |key: &Arc<Key>| key.standing.state == State::Active;
        let Some(active) = ring.keys().iter().find(|key| is_active(key)) else {
            return;
        };
        match ring.name().algorithm() {
            RingAlgorithm::Signature(_) => self.sign_rings.push(ring.name().to_string()),
            RingAlgorithm::Decryption(_) => self.decrypt_rings.push(ring.name().to_string()),
            RingAlgorithm::Seal => {
                self.seal = true;
                self.seal_kids.push(active.kid().to_owned());
            }
            RingAlgorithm::Mac => self.mac_rings.push(ring.name().to_string()),
        }
    }

    fn towards_others(&mut self) {
        let enc = || ContentEncryption::ALL.iter().map(|enc| enc.as_str());
        if !self.decrypt_rings.is_empty() {
            self.decrypt_enc.extend(enc());
        }
        self.wrap_enc.extend(enc());
        let wrap = KeyManagementAlgorithm::ALL.iter();
        // A secret that somebody shares with us is here only where it can be sealed.
        let wrap = wrap.filter(|alg| self.seal || !alg.is_symmetric());
        self.wrap_alg.extend(wrap.map(|alg| alg.as_str()));
        let verify = SignatureAlgorithm::ALL.iter();
        self.verify_alg.extend(verify.map(|alg| alg.as_str()));
    }
}
