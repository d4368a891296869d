//! Key material in memory, parsed once: what each kind of key computes. Private keys are aws-lc's alone; the public half
//! of an RSA key leaves it as SubjectPublicKeyInfo.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, ECDH_P256};
use aws_lc_rs::encoding::{AsDer, PublicKeyX509Der};
use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::rsa::{
    KeySize, OAEP_SHA1_MGF1SHA1, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey,
    PrivateDecryptingKey,
};
use aws_lc_rs::signature::{
    self as lc, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RsaEncoding,
    RsaKeyPair,
};
use zeroize::Zeroizing;

use crate::algorithm::{KeyManagementAlgorithm, RingAlgorithm, SignatureAlgorithm};
use crate::backend::{Curve, Error, Point, PublicKey, RsaBits, SecretBytes};

/// A key of one ring's algorithm, ready for use.
pub(super) enum Key {
    Rsa(RsaKeyPair),
    Ec(Curve, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    /// With its public half.
    Decryption(OaepPrivateDecryptingKey, PublicKey),
    Agreement(agreement::PrivateKey),
    Seal(LessSafeKey),
}

fn failed(_: Unspecified) -> Error {
    Error::Device("the operation failed".to_owned())
}

fn rejected(_: KeyRejected) -> Error {
    Error::Unusable("holds key material that is not of its ring's algorithm".to_owned())
}

/// New key material: PKCS#8, or 32 octets for a seal key.
pub(super) fn generate(algorithm: RingAlgorithm, rsa: RsaBits) -> Result<SecretBytes, Error> {
    let secret = match algorithm {
        RingAlgorithm::Signature(SignatureAlgorithm::EdDsa) => {
            let key = Ed25519KeyPair::generate().map_err(failed)?;
            key.to_pkcs8().map_err(failed)?.as_ref().to_vec()
        }
        RingAlgorithm::Signature(alg) => match alg.curve() {
            Some(curve) => ec_pkcs8(curve)?,
            None => rsa_pkcs8(rsa)?,
        },
        RingAlgorithm::KeyManagement(KeyManagementAlgorithm::EcdhEs) => ec_pkcs8(Curve::P256)?,
        RingAlgorithm::KeyManagement(_) => rsa_pkcs8(rsa)?,
        RingAlgorithm::Seal => {
            let mut key = vec![0; 32];
            rand::fill(&mut key).map_err(failed)?;
            key
        }
    };
    Ok(Zeroizing::new(secret))
}

fn ec_pkcs8(curve: Curve) -> Result<Vec<u8>, Error> {
    let key = EcdsaKeyPair::generate(ecdsa(curve)).map_err(failed)?;
    Ok(key.to_pkcs8v1().map_err(failed)?.as_ref().to_vec())
}

fn rsa_pkcs8(bits: RsaBits) -> Result<Vec<u8>, Error> {
    let size = match bits {
        RsaBits::B2048 => KeySize::Rsa2048,
        RsaBits::B3072 => KeySize::Rsa3072,
        RsaBits::B4096 => KeySize::Rsa4096,
    };
    let key = RsaKeyPair::generate(size).map_err(failed)?;
    Ok(key.as_der().map_err(failed)?.as_ref().to_vec())
}

fn ecdsa(curve: Curve) -> &'static EcdsaSigningAlgorithm {
    match curve {
        Curve::P256 => &lc::ECDSA_P256_SHA256_FIXED_SIGNING,
        Curve::P384 => &lc::ECDSA_P384_SHA384_FIXED_SIGNING,
        Curve::P521 => &lc::ECDSA_P521_SHA512_FIXED_SIGNING,
    }
}

fn rsa_encoding(algorithm: SignatureAlgorithm) -> Result<&'static dyn RsaEncoding, Error> {
    match algorithm {
        SignatureAlgorithm::Rs256 => Ok(&lc::RSA_PKCS1_SHA256),
        SignatureAlgorithm::Rs384 => Ok(&lc::RSA_PKCS1_SHA384),
        SignatureAlgorithm::Rs512 => Ok(&lc::RSA_PKCS1_SHA512),
        SignatureAlgorithm::Ps256 => Ok(&lc::RSA_PSS_SHA256),
        SignatureAlgorithm::Ps384 => Ok(&lc::RSA_PSS_SHA384),
        SignatureAlgorithm::Ps512 => Ok(&lc::RSA_PSS_SHA512),
        _ => Err(Error::Unsupported),
    }
}

impl Key {
    /// Parses key material that [`generate`] made.
    pub(super) fn from_secret(algorithm: RingAlgorithm, secret: &[u8]) -> Result<Key, Error> {
        match algorithm {
            RingAlgorithm::Signature(SignatureAlgorithm::EdDsa) => {
                Ed25519KeyPair::from_pkcs8(secret)
                    .map(Key::Ed25519)
                    .map_err(rejected)
            }
            RingAlgorithm::Signature(alg) => match alg.curve() {
                Some(curve) => EcdsaKeyPair::from_pkcs8(ecdsa(curve), secret)
                    .map(|key| Key::Ec(curve, key))
                    .map_err(rejected),
                None => RsaKeyPair::from_pkcs8(secret)
                    .map(Key::Rsa)
                    .map_err(rejected),
            },
            RingAlgorithm::KeyManagement(KeyManagementAlgorithm::EcdhEs) => {
                agreement::PrivateKey::from_private_key_der(&ECDH_P256, secret)
                    .map(Key::Agreement)
                    .map_err(rejected)
            }
            RingAlgorithm::KeyManagement(_) => {
                let key = PrivateDecryptingKey::from_pkcs8(secret).map_err(rejected)?;
                let public = rsa_public(&key.public_key())?;
                let key = OaepPrivateDecryptingKey::new(key).map_err(failed)?;
                Ok(Key::Decryption(key, public))
            }
            RingAlgorithm::Seal => UnboundKey::new(&AES_256_GCM, secret)
                .map(|key| Key::Seal(LessSafeKey::new(key)))
                .map_err(failed),
        }
    }

    /// The public half; `None` for a secret key.
    pub(super) fn public(&self) -> Result<Option<PublicKey>, Error> {
        match self {
            Key::Rsa(key) => rsa_public(key.public_key()).map(Some),
            Key::Decryption(_, public) => Ok(Some(public.clone())),
            Key::Ec(curve, key) => ec_public(*curve, key.public_key().as_ref()).map(Some),
            Key::Agreement(key) => {
                let public = key.compute_public_key().map_err(failed)?;
                ec_public(Curve::P256, public.as_ref()).map(Some)
            }
            Key::Ed25519(key) => match key.public_key().as_ref().try_into() {
                Ok(x) => Ok(Some(PublicKey::Ed25519 { x })),
                Err(_) => Err(failed(Unspecified)),
            },
            Key::Seal(_) => Ok(None),
        }
    }

    pub(super) fn sign(
        &self,
        algorithm: SignatureAlgorithm,
        input: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let random = SystemRandom::new();
        match self {
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                let encoding = rsa_encoding(algorithm)?;
                key.sign(encoding, &random, input, &mut signature)
                    .map_err(failed)?;
                Ok(signature)
            }
            Key::Ec(_, key) => Ok(key.sign(&random, input).map_err(failed)?.as_ref().to_vec()),
            Key::Ed25519(key) => Ok(key.try_sign(input).map_err(failed)?.as_ref().to_vec()),
            _ => Err(Error::Unsupported),
        }
    }

    pub(super) fn unwrap_key(
        &self,
        algorithm: KeyManagementAlgorithm,
        ciphertext: &[u8],
    ) -> Result<SecretBytes, Error> {
        let Key::Decryption(key, _) = self else {
            return Err(Error::Unsupported);
        };
        let scheme = match algorithm {
            KeyManagementAlgorithm::RsaOaep => &OAEP_SHA1_MGF1SHA1,
            KeyManagementAlgorithm::RsaOaep256 => &OAEP_SHA256_MGF1SHA256,
            KeyManagementAlgorithm::EcdhEs => return Err(Error::Unsupported),
        };
        let mut plaintext = Zeroizing::new(vec![0; key.min_output_size()]);
        let length = key
            .decrypt(scheme, ciphertext, &mut plaintext, None)
            .map_err(|_| Error::Undecryptable)?
            .len();
        plaintext.truncate(length);
        Ok(plaintext)
    }

    pub(super) fn agree(&self, peer: &Point) -> Result<SecretBytes, Error> {
        let Key::Agreement(key) = self else {
            return Err(Error::Unsupported);
        };
        let peer = agreement::UnparsedPublicKey::new(&ECDH_P256, &peer.sec1);
        agreement::agree(key, peer, Error::Undecryptable, |z| {
            Ok(Zeroizing::new(z.to_vec()))
        })
    }

    pub(super) fn seal(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let Key::Seal(key) = self else {
            return Err(Error::Unsupported);
        };
        // Room for the tag, so that no copy of the plaintext is left behind.
        let mut sealed = Vec::with_capacity(plaintext.len() + AES_256_GCM.tag_len());
        sealed.extend_from_slice(plaintext);
        let nonce = Nonce::assume_unique_for_key(nonce);
        key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut sealed)
            .map_err(failed)?;
        Ok(sealed)
    }

    pub(super) fn unseal(
        &self,
        nonce: [u8; 12],
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<SecretBytes, Error> {
        let Key::Seal(key) = self else {
            return Err(Error::Unsupported);
        };
        let mut plaintext = Zeroizing::new(sealed.to_vec());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let length = key
            .open_in_place(nonce, Aad::from(aad), &mut plaintext)
            .map_err(|_| Error::Undecryptable)?
            .len();
        plaintext.truncate(length);
        Ok(plaintext)
    }
}

fn rsa_public(key: &impl AsDer<PublicKeyX509Der<'static>>) -> Result<PublicKey, Error> {
    let spki = key.as_der().map_err(failed)?;
    PublicKey::from_rsa_spki(spki.as_ref()).map_err(|_| failed(Unspecified))
}

/// From an uncompressed point (SEC 1 §2.3.3).
fn ec_public(curve: Curve, sec1: &[u8]) -> Result<PublicKey, Error> {
    match sec1 {
        [4, coordinates @ ..] if coordinates.len() == 2 * curve.field_length() => {
            let (x, y) = coordinates.split_at(curve.field_length());
            Ok(PublicKey::Ec {
                curve,
                x: x.to_vec(),
                y: y.to_vec(),
            })
        }
        _ => Err(failed(Unspecified)),
    }
}
