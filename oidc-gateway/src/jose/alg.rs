//! JOSE algorithms (RFC 7518, RFC 8037): their names, each in one place, and the hash that goes with a signature
//! (at_hash, c_hash).

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::json::wire_enum;

wire_enum! {
    /// JWS "alg" (RFC 7518 §3.1, RFC 8037 §3.1). "none" is no algorithm.
    Algorithm {
        /// RSASSA-PKCS1-v1_5 with SHA-256.
        RS256 = "RS256",
        /// RSASSA-PKCS1-v1_5 with SHA-384.
        RS384 = "RS384",
        /// RSASSA-PKCS1-v1_5 with SHA-512.
        RS512 = "RS512",
        /// RSASSA-PSS with SHA-256.
        PS256 = "PS256",
        /// RSASSA-PSS with SHA-384.
        PS384 = "PS384",
        /// RSASSA-PSS with SHA-512.
        PS512 = "PS512",
        /// ECDSA on P-256 with SHA-256.
        ES256 = "ES256",
        /// ECDSA on P-384 with SHA-384.
        ES384 = "ES384",
        /// ECDSA on P-521 with SHA-512.
        ES512 = "ES512",
        /// Ed25519.
        EdDSA = "EdDSA",
        /// HMAC with SHA-256.
        HS256 = "HS256",
        /// HMAC with SHA-384.
        HS384 = "HS384",
        /// HMAC with SHA-512.
        HS512 = "HS512",
    }
}

impl Algorithm {
    /// Those with a key pair.
    pub const ASYMMETRIC: &'static [Algorithm] = &[
        Algorithm::RS256,
        Algorithm::RS384,
        Algorithm::RS512,
        Algorithm::PS256,
        Algorithm::PS384,
        Algorithm::PS512,
        Algorithm::ES256,
        Algorithm::ES384,
        Algorithm::ES512,
        Algorithm::EdDSA,
    ];

    /// Those with the client's secret.
    pub const SYMMETRIC: &'static [Algorithm] =
        &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];

    /// Whether the key is the client's secret (OpenID Connect Core §10.1).
    pub fn is_symmetric(self) -> bool {
        Algorithm::SYMMETRIC.contains(&self)
    }

    /// The fewest octets of a secret that it is used with (RFC 7518 §3.2); 0: it has a key pair.
    pub fn shortest_secret(self) -> usize {
        match self {
            Algorithm::HS256 => 32,
            Algorithm::HS384 => 48,
            Algorithm::HS512 => 64,
            _ => 0,
        }
    }

    /// OpenID Connect Core §3.1.3.6: base64url of the left half of the hash of an ASCII string. Ed25519 hashes with
    /// SHA-512 (RFC 8032 §5.1).
    pub(crate) fn left_half_hash(self, ascii: &str) -> String {
        let half = |digest: &[u8]| URL_SAFE_NO_PAD.encode(&digest[..digest.len() / 2]);
        match self {
            Algorithm::RS256 | Algorithm::PS256 | Algorithm::ES256 | Algorithm::HS256 => {
                half(&Sha256::digest(ascii))
            }
            Algorithm::RS384 | Algorithm::PS384 | Algorithm::ES384 | Algorithm::HS384 => {
                half(&Sha384::digest(ascii))
            }
            Algorithm::RS512
            | Algorithm::PS512
            | Algorithm::ES512
            | Algorithm::EdDSA
            | Algorithm::HS512 => half(&Sha512::digest(ascii)),
        }
    }
}

wire_enum! {
    /// JWE "alg" (RFC 7518 §4.1). RSA1_5 and PBES2 are none of ours.
    KeyManagement {
        /// RSAES-OAEP with SHA-1.
        RsaOaep = "RSA-OAEP",
        /// RSAES-OAEP with SHA-256.
        RsaOaep256 = "RSA-OAEP-256",
        /// Agreement on the content encryption key itself.
        EcdhEs = "ECDH-ES",
        /// Agreement on a key that wraps it.
        EcdhEsA128Kw = "ECDH-ES+A128KW",
        /// The same.
        EcdhEsA192Kw = "ECDH-ES+A192KW",
        /// The same.
        EcdhEsA256Kw = "ECDH-ES+A256KW",
        /// AES key wrap with a key from the client's secret.
        A128Kw = "A128KW",
        /// The same.
        A192Kw = "A192KW",
        /// The same.
        A256Kw = "A256KW",
        /// Wrap by AES-GCM with a key from the client's secret.
        A128GcmKw = "A128GCMKW",
        /// The same.
        A192GcmKw = "A192GCMKW",
        /// The same.
        A256GcmKw = "A256GCMKW",
        /// The key from the client's secret encrypts the content.
        Direct = "dir",
    }
}

impl KeyManagement {
    /// Whether the key comes from the client's secret (OpenID Connect Core §10.2).
    pub fn is_symmetric(self) -> bool {
        matches!(
            self,
            KeyManagement::A128Kw
                | KeyManagement::A192Kw
                | KeyManagement::A256Kw
                | KeyManagement::A128GcmKw
                | KeyManagement::A192GcmKw
                | KeyManagement::A256GcmKw
                | KeyManagement::Direct
        )
    }
}

wire_enum! {
    /// JWE "enc" (RFC 7518 §5.1).
    ContentEncryption {
        /// The default of OpenID Connect Registration §2.
        A128CbcHs256 = "A128CBC-HS256",
        /// AES-CBC with HMAC.
        A192CbcHs384 = "A192CBC-HS384",
        /// AES-CBC with HMAC.
        A256CbcHs512 = "A256CBC-HS512",
        /// AES-GCM.
        A128Gcm = "A128GCM",
        /// AES-GCM.
        A192Gcm = "A192GCM",
        /// AES-GCM.
        A256Gcm = "A256GCM",
    }
}

/// How something is encrypted for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Encryption {
    pub(crate) alg: KeyManagement,
    pub(crate) enc: ContentEncryption,
}

/// How what a client is told is protected.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Protection {
    /// Absent: plain JSON, where the specification allows it, or encrypted alone.
    pub(crate) signed: Option<Algorithm>,
    pub(crate) encrypted: Option<Encryption>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_hash_of_the_specification() {
        // OpenID Connect Core, appendix A.3: the access token and the at_hash of its ID token (RS256).
        let hash = Algorithm::RS256.left_half_hash("jHkWEdUXMU1BwAsC4vtUsZwnNvTIxEl0z9K3vx5KF0Y");
        assert_eq!(hash, "77QmUPtjPfzWtF2AnpK9RQ");
    }

    #[test]
    fn each_is_one_or_the_other() {
        for each in Algorithm::ALL {
            assert_ne!(
                each.is_symmetric(),
                Algorithm::ASYMMETRIC.contains(each),
                "{each}"
            );
            assert_eq!(Algorithm::named(each.as_str()), Some(*each));
        }
    }
}
