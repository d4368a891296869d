//! A key of ours as the rest of the service sees it: its names, its public half, its standing, and the JOSE headers
//! (RFC 7515 §4.1) that can stand before what it signs, written once.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::policy::Typ;
use super::state::Standing;
use crate::backend::{Imported, KeyId, PublicKey, StoredKey};
use crate::jwk;

/// A key, and what has become of it.
#[derive(Debug)]
pub struct Key {
    /// How the backend names it.
    pub id: KeyId,
    /// Its state and the times that belong to it.
    pub standing: Standing,
    /// `None` for a secret key.
    pub public: Option<PublicKey>,
    /// The public JWK as JSON, `None` for a secret key.
    pub jwk: Option<String>,
    /// What is wrong with its attributes.
    pub defects: Vec<&'static str>,
    /// Protected headers, base64url, indexed by [`Typ`].
    headers: [String; Typ::ALL.len()],
}

impl Key {
    pub(crate) fn new(stored: &StoredKey, standing: Standing) -> Key {
        let algorithm = stored.label.ring.algorithm();
        let header = |typ| header(algorithm.as_str(), Some(standing.key.kid.as_str()), typ);
        Key {
            id: stored.id.clone(),
            headers: Typ::ALL.map(header),
            jwk: stored.public.as_ref().map(|public| {
                let (alg, usage) = (algorithm.jwk_alg(), algorithm.usage());
                jwk::to_json(public, alg, usage, &standing.key.kid)
            }),
            public: stored.public.clone(),
            defects: stored.defects.clone(),
            standing,
        }
    }

    /// Somebody else's: nothing here computes with it, so the device has no name for it, and it needs no headers.
    pub(super) fn imported(imported: &Imported, standing: Standing) -> Key {
        Key {
            id: KeyId([].into()),
            headers: Typ::ALL.map(|_| String::new()),
            jwk: Some(imported.jwk()),
            public: Some(imported.public.clone()),
            defects: Vec::new(),
            standing,
        }
    }

    /// RFC 7638 thumbprint; of a secret key, its random id; of an imported key, what its owner calls it.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.standing.key.kid
    }

    /// The protected header of a JWS by this key.
    pub(crate) fn header(&self, typ: Typ) -> &str {
        &self.headers[typ as usize]
    }
}

/// The protected header of a JWS. What a shared secret signs has no "kid": it would name the secret to everybody.
pub(super) fn header(alg: &str, kid: Option<&str>, typ: Typ) -> String {
    // All are of characters that JSON leaves as they are.
    let kid = kid.map_or_else(String::new, |kid| format!(r#","kid":"{kid}""#));
    let typ = typ.as_str();
    URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{alg}"{kid},"typ":"{typ}"}}"#))
}

/// The name of a key: the RFC 7638 thumbprint where there is a public key. A secret key has none that may be shown, so
/// its random id stands for it.
#[must_use]
pub fn kid(stored: &StoredKey) -> String {
    match &stored.public {
        Some(public) => jwk::thumbprint(public),
        None => URL_SAFE_NO_PAD.encode(&stored.id.0),
    }
}
