//! How JOSE's algorithms are asked for: the hash is made in this process, the token sees digests (and, for Ed25519,
//! the input). Every parameter is pinned; nothing is left to a module's defaults.

use cryptoki::error::Result;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::mechanism::eddsa::{EddsaParams, EddsaSignatureScheme};
use cryptoki::mechanism::elliptic_curve::{EcKdf, Ecdh1DeriveParams};
use cryptoki::mechanism::rsa::{PkcsMgfType, PkcsOaepParams, PkcsOaepSource, PkcsPssParams};
use cryptoki::mechanism::{Mechanism, MechanismType};
use cryptoki::object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle};
use cryptoki::session::Session;
use zeroize::Zeroizing;

use crate::algorithm::{DecryptionAlgorithm, RingAlgorithm, SignatureAlgorithm};
use crate::backend::{Peer, SecretBytes};
use crate::signature::{digest_for, digest_info_prefix};

/// AES-GCM's tag, in bits (RFC 7518 §5.3).
const TAG_BITS: u64 = 128;

/// The mechanisms that a ring needs: one to make its keys, one to use them.
pub(super) fn needed(algorithm: RingAlgorithm) -> [MechanismType; 2] {
    let rsa = MechanismType::RSA_PKCS_KEY_PAIR_GEN;
    match algorithm {
        RingAlgorithm::Signature(alg) => match alg {
            SignatureAlgorithm::Rs256 | SignatureAlgorithm::Rs384 | SignatureAlgorithm::Rs512 => {
                [rsa, MechanismType::RSA_PKCS]
            }
            SignatureAlgorithm::Ps256 | SignatureAlgorithm::Ps384 | SignatureAlgorithm::Ps512 => {
                [rsa, MechanismType::RSA_PKCS_PSS]
            }
            SignatureAlgorithm::Es256 | SignatureAlgorithm::Es384 | SignatureAlgorithm::Es512 => {
                [MechanismType::ECC_KEY_PAIR_GEN, MechanismType::ECDSA]
            }
            SignatureAlgorithm::EdDsa => [
                MechanismType::ECC_EDWARDS_KEY_PAIR_GEN,
                MechanismType::EDDSA,
            ],
        },
        RingAlgorithm::Decryption(alg) => match alg {
            DecryptionAlgorithm::RsaOaep | DecryptionAlgorithm::RsaOaep256 => {
                [rsa, MechanismType::RSA_PKCS_OAEP]
            }
            DecryptionAlgorithm::EcdhEsP256
            | DecryptionAlgorithm::EcdhEsP384
            | DecryptionAlgorithm::EcdhEsP521 => {
                [MechanismType::ECC_KEY_PAIR_GEN, MechanismType::ECDH1_DERIVE]
            }
            DecryptionAlgorithm::EcdhEsX25519 => [
                MechanismType::ECC_MONTGOMERY_KEY_PAIR_GEN,
                MechanismType::ECDH1_DERIVE,
            ],
        },
        RingAlgorithm::Seal => [MechanismType::AES_KEY_GEN, MechanismType::AES_GCM],
        RingAlgorithm::Mac => [
            MechanismType::GENERIC_SECRET_KEY_GEN,
            MechanismType::SHA256_HMAC,
        ],
    }
}

/// Signs `input` as JWS wants it.
pub(super) fn sign(
    session: &Session,
    key: ObjectHandle,
    algorithm: SignatureAlgorithm,
    input: &[u8],
) -> Result<Vec<u8>> {
    let Some(digest) = digest_for(algorithm, input) else {
        let mechanism = Mechanism::Eddsa(EddsaParams::new(EddsaSignatureScheme::Pure));
        return session.sign(&mechanism, key, input);
    };
    let digest = digest.as_ref();
    if let Some(prefix) = digest_info_prefix(algorithm) {
        return session.sign(&Mechanism::RsaPkcs, key, &[prefix, digest].concat());
    }
    let mechanism = match algorithm {
        SignatureAlgorithm::Ps256 => pss(MechanismType::SHA256, PkcsMgfType::MGF1_SHA256, 32),
        SignatureAlgorithm::Ps384 => pss(MechanismType::SHA384, PkcsMgfType::MGF1_SHA384, 48),
        SignatureAlgorithm::Ps512 => pss(MechanismType::SHA512, PkcsMgfType::MGF1_SHA512, 64),
        _ => Mechanism::Ecdsa,
    };
    session.sign(&mechanism, key, digest)
}

/// RFC 7518 §3.5: MGF1 with the same hash, a salt as long as the hash.
fn pss(hash_alg: MechanismType, mgf: PkcsMgfType, salt: u64) -> Mechanism<'static> {
    Mechanism::RsaPkcsPss(PkcsPssParams {
        hash_alg,
        mgf,
        s_len: salt.into(),
    })
}

/// RSAES-OAEP (RFC 7518 §4.3): the hash and MGF1's hash are the same one, always. A difference puts some tokens into
/// a failure mode.
pub(super) fn unwrap_key(
    session: &Session,
    key: ObjectHandle,
    algorithm: DecryptionAlgorithm,
    ciphertext: &[u8],
) -> Result<SecretBytes> {
    let (hash, mgf) = match algorithm {
        DecryptionAlgorithm::RsaOaep => (MechanismType::SHA1, PkcsMgfType::MGF1_SHA1),
        _ => (MechanismType::SHA256, PkcsMgfType::MGF1_SHA256),
    };
    let params = PkcsOaepParams::new(hash, mgf, PkcsOaepSource::empty());
    let plaintext = session.decrypt(&Mechanism::RsaPkcsOaep(params), key, ciphertext)?;
    Ok(Zeroizing::new(plaintext))
}

/// ECDH without a derivation function: the KDF of JOSE is computed here. The token makes a session object that may be
/// read, which is destroyed at once.
pub(super) fn agree(session: &Session, key: ObjectHandle, peer: &Peer) -> Result<SecretBytes> {
    let params = Ecdh1DeriveParams::new(EcKdf::null(), peer.octets());
    let length = peer.secret_length() as u64;
    let derived = session.derive_key(
        &Mechanism::Ecdh1Derive(params),
        key,
        &[
            Attribute::Class(ObjectClass::SECRET_KEY),
            Attribute::KeyType(KeyType::GENERIC_SECRET),
            Attribute::Token(false),
            Attribute::Sensitive(false),
            Attribute::Extractable(true),
            Attribute::ValueLen(length.into()),
        ],
    )?;
    let value = session.get_attributes(derived, &[AttributeType::Value]);
    session.destroy_object(derived)?;
    match value?.pop() {
        Some(Attribute::Value(value)) => Ok(Zeroizing::new(value)),
        _ => Err(cryptoki::error::Error::InvalidValue),
    }
}

/// HMAC with SHA-256; the token hashes.
pub(super) fn mac(session: &Session, key: ObjectHandle, input: &[u8]) -> Result<Vec<u8>> {
    session.sign(&Mechanism::Sha256Hmac, key, input)
}

/// Lets the token check a MAC of its own.
pub(super) fn verify_mac(
    session: &Session,
    key: ObjectHandle,
    input: &[u8],
    mac: &[u8],
) -> Result<()> {
    session.verify(&Mechanism::Sha256Hmac, key, input, mac)
}

/// AES-256-GCM: ciphertext ‖ tag.
pub(super) fn seal(
    session: &Session,
    key: ObjectHandle,
    nonce: &[u8; 12],
    aad: &[u8],
    plaintext: &[u8],
) -> Result<Vec<u8>> {
    let mut nonce = *nonce;
    let params = GcmParams::new(&mut nonce, aad, TAG_BITS.into())?;
    session.encrypt(&Mechanism::AesGcm(params), key, plaintext)
}

/// The reverse of [`seal`].
pub(super) fn unseal(
    session: &Session,
    key: ObjectHandle,
    nonce: &[u8; 12],
    aad: &[u8],
    sealed: &[u8],
) -> Result<SecretBytes> {
    let mut nonce = *nonce;
    let params = GcmParams::new(&mut nonce, aad, TAG_BITS.into())?;
    let plaintext = session.decrypt(&Mechanism::AesGcm(params), key, sealed)?;
    Ok(Zeroizing::new(plaintext))
}
