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
    /// JWS "alg" of signatures with a shared secret (RFC 7518 §3.2). A type of its own: a public key can never be taken
    /// for such a secret.
    MacAlgorithm, "MAC algorithm", {
        /// HMAC with SHA-256.
        Hs256 = "HS256",
        /// HMAC with SHA-384.
        Hs384 = "HS384",
        /// HMAC with SHA-512.
        Hs512 = "HS512",
    }
}

wire_names! {
    /// The hash of one-time codes (RFC 6238 §1.2), by the JWK "alg" of their HMAC.
    TotpAlgorithm, "TOTP algorithm", {
        /// HMAC with SHA-1, as authenticator apps have it.
        Hs1 = "HS1",
        /// HMAC with SHA-256.
        Hs256 = "HS256",
        /// HMAC with SHA-512.
        Hs512 = "HS512",
    }
}

wire_names! {
    /// JWE "alg" (RFC 7518 §4.1): how the content encryption key reaches the recipient.
    KeyManagementAlgorithm, "key management algorithm", {
        /// RSAES-OAEP with SHA-1 and MGF1 with SHA-1.
        RsaOaep = "RSA-OAEP",
        /// RSAES-OAEP with SHA-256 and MGF1 with SHA-256.
        RsaOaep256 = "RSA-OAEP-256",
        /// AES Key Wrap with a key of 128 bits.
        A128Kw = "A128KW",
        /// AES Key Wrap with a key of 192 bits.
        A192Kw = "A192KW",
        /// AES Key Wrap with a key of 256 bits.
        A256Kw = "A256KW",
        /// The shared symmetric key is the content encryption key.
        Dir = "dir",
        /// ECDH-ES, direct key agreement.
        EcdhEs = "ECDH-ES",
        /// ECDH-ES, then AES Key Wrap with a key of 128 bits.
        EcdhEsA128Kw = "ECDH-ES+A128KW",
        /// ECDH-ES, then AES Key Wrap with a key of 192 bits.
        EcdhEsA192Kw = "ECDH-ES+A192KW",
        /// ECDH-ES, then AES Key Wrap with a key of 256 bits.
        EcdhEsA256Kw = "ECDH-ES+A256KW",
        /// AES-GCM around the content encryption key, with a key of 128 bits.
        A128GcmKw = "A128GCMKW",
        /// AES-GCM around the content encryption key, with a key of 192 bits.
        A192GcmKw = "A192GCMKW",
        /// AES-GCM around the content encryption key, with a key of 256 bits.
        A256GcmKw = "A256GCMKW",
    }
}

impl KeyManagementAlgorithm {
    /// Whether both sides have the same key beforehand.
    pub fn is_symmetric(self) -> bool {
        !self.is_agreement()
            && !matches!(
                self,
                KeyManagementAlgorithm::RsaOaep | KeyManagementAlgorithm::RsaOaep256
            )
    }

    /// Whether both sides agree on a key (RFC 7518 §4.6).
    pub fn is_agreement(self) -> bool {
        matches!(
            self,
            KeyManagementAlgorithm::EcdhEs
                | KeyManagementAlgorithm::EcdhEsA128Kw
                | KeyManagementAlgorithm::EcdhEsA192Kw
                | KeyManagementAlgorithm::EcdhEsA256Kw
        )
    }
}

wire_names! {
    /// JWE "enc" (RFC 7518 §5.1).
    ContentEncryption, "content encryption", {
        /// AES-CBC with a key of 128 bits, HMAC with SHA-256.
        A128CbcHs256 = "A128CBC-HS256",
        /// AES-CBC with a key of 192 bits, HMAC with SHA-384.
        A192CbcHs384 = "A192CBC-HS384",
        /// AES-CBC with a key of 256 bits, HMAC with SHA-512.
        A256CbcHs512 = "A256CBC-HS512",
        /// AES-GCM with a key of 128 bits.
        A128Gcm = "A128GCM",
        /// AES-GCM with a key of 192 bits.
        A192Gcm = "A192GCM",
        /// AES-GCM with a key of 256 bits.
        A256Gcm = "A256GCM",
    }
}

impl ContentEncryption {
    /// Length of the content encryption key, in octets: of AES-CBC and HMAC together, where there are both.
    pub fn key_length(self) -> usize {
        match self {
            ContentEncryption::A128Gcm => 16,
            ContentEncryption::A192Gcm => 24,
            ContentEncryption::A256Gcm | ContentEncryption::A128CbcHs256 => 32,
            ContentEncryption::A192CbcHs384 => 48,
            ContentEncryption::A256CbcHs512 => 64,
        }
    }
}

wire_names! {
    /// What the keys of a ring that decrypts compute: RSAES-OAEP, or ECDH on one curve. Whatever is wrapped or derived
    /// with the agreed secret is no concern of the key, so one key of ours serves ECDH-ES and ECDH-ES+A*KW.
    DecryptionAlgorithm, "decryption algorithm", {
        /// RSAES-OAEP with SHA-1 and MGF1 with SHA-1.
        RsaOaep = "RSA-OAEP",
        /// RSAES-OAEP with SHA-256 and MGF1 with SHA-256.
        RsaOaep256 = "RSA-OAEP-256",
        /// ECDH on P-256.
        EcdhEsP256 = "ECDH-ES",
        /// ECDH on P-384.
        EcdhEsP384 = "ECDH-ES-P384",
        /// ECDH on P-521.
        EcdhEsP521 = "ECDH-ES-P521",
        /// X25519.
        EcdhEsX25519 = "ECDH-ES-X25519",
    }
}

impl DecryptionAlgorithm {
    /// JWE "alg" of the simplest kind that such a key opens (RFC 7518 §4.1).
    pub fn alg(self) -> KeyManagementAlgorithm {
        match self {
            DecryptionAlgorithm::RsaOaep => KeyManagementAlgorithm::RsaOaep,
            DecryptionAlgorithm::RsaOaep256 => KeyManagementAlgorithm::RsaOaep256,
            DecryptionAlgorithm::EcdhEsP256
            | DecryptionAlgorithm::EcdhEsP384
            | DecryptionAlgorithm::EcdhEsP521
            | DecryptionAlgorithm::EcdhEsX25519 => KeyManagementAlgorithm::EcdhEs,
        }
    }
}

/// What the keys of a ring compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RingAlgorithm {
    /// Signs; published for verification.
    Signature(SignatureAlgorithm),
    /// Decrypts what others encrypt to us; published for encryption.
    Decryption(DecryptionAlgorithm),
    /// Seals for ourselves with AES-256-GCM; never published.
    Seal,
    /// Computes HMAC with SHA-256 for ourselves; never published.
    Mac,
}

impl RingAlgorithm {
    /// Its name in the names of rings.
    pub fn as_str(self) -> &'static str {
        match self {
            RingAlgorithm::Signature(alg) => alg.as_str(),
            RingAlgorithm::Decryption(alg) => alg.as_str(),
            RingAlgorithm::Seal => ContentEncryption::A256Gcm.as_str(),
            RingAlgorithm::Mac => MacAlgorithm::Hs256.as_str(),
        }
    }

    /// The JOSE algorithm that its keys are for (RFC 7518 §3.1, §4.1).
    pub(crate) fn jose(self) -> &'static str {
        match self {
            RingAlgorithm::Decryption(alg) => alg.alg().as_str(),
            _ => self.as_str(),
        }
    }

    /// "alg" of the public keys (RFC 7517 §4.4). A key to agree on a secret with is for ECDH-ES and for ECDH-ES+A*KW, and
    /// the member has room for one: such a key has none.
    pub(crate) fn jwk_alg(self) -> Option<&'static str> {
        let alg = self.jose();
        (alg != KeyManagementAlgorithm::EcdhEs.as_str()).then_some(alg)
    }

    /// "use" of the public keys (RFC 7517 §4.2).
    pub(crate) fn usage(self) -> &'static str {
        match self {
            RingAlgorithm::Signature(_) | RingAlgorithm::Mac => "sig",
            RingAlgorithm::Decryption(_) | RingAlgorithm::Seal => "enc",
        }
    }
}

/// The purpose of the ring that makes pairwise subjects (OpenID Connect Core §8.1).
pub const PAIRWISE_SUBJECT: &str = "pairwise-subject";
/// The purpose of the ring for all other MACs.
pub const MAC: &str = "mac";

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

    /// Whether its first key is its only one: what that computed stands in other people's databases, and no other key
    /// computes it again.
    pub fn is_fixed(&self) -> bool {
        self.purpose == PAIRWISE_SUBJECT
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
        } else if [MAC, PAIRWISE_SUBJECT].contains(&purpose) {
            let is_mac = algorithm == RingAlgorithm::Mac.as_str();
            is_mac.then_some(RingAlgorithm::Mac).ok_or_else(unknown)?
        } else if let Ok(signature) = algorithm.parse() {
            RingAlgorithm::Signature(signature)
        } else {
            RingAlgorithm::Decryption(algorithm.parse().map_err(|_| unknown())?)
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
