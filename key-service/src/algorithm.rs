//! The algorithms of JOSE (RFC 7518, RFC 8037) that this service knows, and the names of rings. Wire strings exist
//! here and nowhere else.

use std::fmt;
use std::str::FromStr;

/// Why a name was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown {what} `{name}`")]
pub struct UnknownName {
    what: &'static str,
    name: String,
}

macro_rules! wire_names {
    ($(#[$meta:meta])* $type:ident, $what:literal, { $($(#[$doc:meta])* $variant:ident = $wire:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $type { $($(#[$doc])* $variant,)+ }

        impl $type {
            /// Every value, in the order of the specification's table.
            pub const ALL: &'static [$type] = &[$($type::$variant,)+];

            /// The name on the wire.
            pub fn as_str(self) -> &'static str {
                match self { $($type::$variant => $wire,)+ }
            }
        }

        impl FromStr for $type {
            type Err = UnknownName;
            fn from_str(name: &str) -> Result<Self, UnknownName> {
                match name {
                    $($wire => Ok($type::$variant),)+
                    _ => Err(UnknownName { what: $what, name: name.to_owned() }),
                }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

wire_names! {
    /// JWS "alg" (RFC 7518 §3.1, RFC 8037 §3.1).
    SignatureAlgorithm, "signature algorithm", {
        /// RSASSA-PKCS1-v1_5 with SHA-256.
        Rs256 = "RS256",
        /// RSASSA-PKCS1-v1_5 with SHA-384.
        Rs384 = "RS384",
        /// RSASSA-PKCS1-v1_5 with SHA-512.
        Rs512 = "RS512",
        /// RSASSA-PSS with SHA-256, MGF1 with SHA-256, salt of 32 octets.
        Ps256 = "PS256",
        /// RSASSA-PSS with SHA-384, MGF1 with SHA-384, salt of 48 octets.
        Ps384 = "PS384",
        /// RSASSA-PSS with SHA-512, MGF1 with SHA-512, salt of 64 octets.
        Ps512 = "PS512",
        /// ECDSA on P-256 with SHA-256.
        Es256 = "ES256",
        /// ECDSA on P-384 with SHA-384.
        Es384 = "ES384",
        /// ECDSA on P-521 with SHA-512.
        Es512 = "ES512",
        /// Ed25519.
        EdDsa = "EdDSA",
    }
}

wire_names! {
    /// JWE "alg" (RFC 7518 §4.1).
    KeyManagementAlgorithm, "key management algorithm", {
        /// RSAES-OAEP with SHA-1 and MGF1 with SHA-1.
        RsaOaep = "RSA-OAEP",
        /// RSAES-OAEP with SHA-256 and MGF1 with SHA-256.
        RsaOaep256 = "RSA-OAEP-256",
        /// ECDH-ES, direct key agreement.
        EcdhEs = "ECDH-ES",
    }
}

wire_names! {
    /// JWE "enc" (RFC 7518 §5.1).
    ContentEncryption, "content encryption", {
        /// AES-GCM with a key of 128 bits.
        A128Gcm = "A128GCM",
        /// AES-GCM with a key of 256 bits.
        A256Gcm = "A256GCM",
    }
}

impl ContentEncryption {
    /// Length of the content encryption key, in octets.
    pub fn key_length(self) -> usize {
        match self {
            ContentEncryption::A128Gcm => 16,
            ContentEncryption::A256Gcm => 32,
        }
    }
}

/// What the keys of a ring compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RingAlgorithm {
    /// Signs; published for verification.
    Signature(SignatureAlgorithm),
    /// Decrypts what others encrypt to us; published for encryption.
    KeyManagement(KeyManagementAlgorithm),
    /// Seals for ourselves with AES-256-GCM; never published.
    Seal,
}

impl RingAlgorithm {
    /// The name on the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            RingAlgorithm::Signature(alg) => alg.as_str(),
            RingAlgorithm::KeyManagement(alg) => alg.as_str(),
            RingAlgorithm::Seal => ContentEncryption::A256Gcm.as_str(),
        }
    }

    /// "use" of the public keys (RFC 7517 §4.2).
    pub(crate) fn usage(self) -> &'static str {
        match self {
            RingAlgorithm::Signature(_) => "sig",
            RingAlgorithm::KeyManagement(_) | RingAlgorithm::Seal => "enc",
        }
    }
}

/// A ring's name: `<purpose>/<alg>`, for example `id-token/ES256`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RingName {
    purpose: String,
    algorithm: RingAlgorithm,
}

impl RingName {
    /// What the ring is for: lower-case letters, digits, `-` and `_`.
    pub fn purpose(&self) -> &str {
        &self.purpose
    }

    /// What its keys compute.
    pub fn algorithm(&self) -> RingAlgorithm {
        self.algorithm
    }
}

impl FromStr for RingName {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        let unknown = || UnknownName {
            what: "ring",
            name: name.to_owned(),
        };
        let (purpose, algorithm) = name.split_once('/').ok_or_else(unknown)?;
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if purpose.is_empty() || purpose.len() > 32 || !purpose.chars().all(plain) {
            return Err(unknown());
        }
        let algorithm = if purpose == "seal" && algorithm == RingAlgorithm::Seal.as_str() {
            RingAlgorithm::Seal
        } else if let Ok(signature) = algorithm.parse() {
            RingAlgorithm::Signature(signature)
        } else {
            RingAlgorithm::KeyManagement(algorithm.parse().map_err(|_| unknown())?)
        };
        Ok(RingName {
            purpose: purpose.to_owned(),
            algorithm,
        })
    }
}

impl fmt::Display for RingName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.purpose, self.algorithm.as_str())
    }
}
