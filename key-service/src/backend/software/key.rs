//! Key material in memory, parsed once: what each kind of key computes. Private keys are aws-lc's alone; the public half
//! of an RSA key leaves it as SubjectPublicKeyInfo.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, ECDH_P256, ECDH_P384, ECDH_P521, X25519};
use aws_lc_rs::encoding::{AsBigEndian, AsDer, Curve25519SeedBin, PublicKeyX509Der};
use aws_lc_rs::error::{KeyRejected, Unspecified};
use aws_lc_rs::hmac::{self, HMAC_SHA256};
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

use crate::algorithm::{DecryptionAlgorithm, RingAlgorithm, SignatureAlgorithm};
use crate::backend::{Curve, Error, Peer, PublicKey, RsaBits, SecretBytes};

/// A key of one ring's algorithm, ready for use.
pub(super) enum Key {
    Rsa(RsaKeyPair),
    Ec(Curve, EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    /// With its public half.
    Decryption(OaepPrivateDecryptingKey, PublicKey),
    Agreement(agreement::PrivateKey),
    Seal(LessSafeKey),
    /// Boxed: it holds the states of both hashes, more than a kilobyte.
    Mac(Box<hmac::Key>),
}

fn failed(_: Unspecified) -> Error {
    Error::Device("the operation failed".to_owned())
}

fn rejected(_: KeyRejected) -> Error {
    Error::Unusable("holds key material that is not of its ring's algorithm".to_owned())
}

/// New key material: PKCS#8, or 32 octets for X25519 and for a secret key.
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
        RingAlgorithm::Decryption(alg) => match (alg, alg.curve()) {
            (_, Some(curve)) => ec_pkcs8(curve)?,
            (DecryptionAlgorithm::EcdhEsX25519, _) => {
                let key = agreement::PrivateKey::generate(&X25519).map_err(failed)?;
                let seed: Curve25519SeedBin<'_> = key.as_be_bytes().map_err(failed)?;
                seed.as_ref().to_vec()
            }
            _ => rsa_pkcs8(rsa)?,
        },
        RingAlgorithm::Seal | RingAlgorithm::Mac => {
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

fn ecdh(curve: Curve) -> &'static agreement::Algorithm {
    match curve {
        Curve::P256 => &ECDH_P256,
        Curve::P384 => &ECDH_P384,
        Curve::P521 => &ECDH_P521,
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
            RingAlgorithm::Decryption(alg) => match (alg, alg.curve()) {
                (_, Some(curve)) => {
                    agreement::PrivateKey::from_private_key_der(ecdh(curve), secret)
                        .map(Key::Agreement)
                        .map_err(rejected)
                }
                (DecryptionAlgorithm::EcdhEsX25519, _) => {
                    agreement::PrivateKey::from_private_key(&X25519, secret)
                        .map(Key::Agreement)
                        .map_err(rejected)
                }
                _ => {
                    let key = PrivateDecryptingKey::from_pkcs8(secret).map_err(rejected)?;
                    let public = rsa_public(&key.public_key())?;
                    let key = OaepPrivateDecryptingKey::new(key).map_err(failed)?;
                    Ok(Key::Decryption(key, public))
                }
            },
            RingAlgorithm::Seal => UnboundKey::new(&AES_256_GCM, secret)
                .map(|key| Key::Seal(LessSafeKey::new(key)))
                .map_err(failed),
            RingAlgorithm::Mac if secret.len() == HMAC_SHA256.tag_len() => {
                Ok(Key::Mac(Box::new(hmac::Key::new(HMAC_SHA256, secret))))
            }
            RingAlgorithm::Mac => Err(failed(Unspecified)),
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
                agreement_public(public.as_ref()).map(Some)
            }
            Key::Ed25519(key) => match key.public_key().as_ref().try_into() {
                Ok(x) => Ok(Some(PublicKey::Ed25519 { x })),
                Err(_) => Err(failed(Unspecified)),
            },
            Key::Seal(_) | Key::Mac(_) => Ok(None),
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
        algorithm: DecryptionAlgorithm,
        ciphertext: &[u8],
    ) -> Result<SecretBytes, Error> {
        let Key::Decryption(key, _) = self else {
            return Err(Error::Unsupported);
        };
        let scheme = match algorithm {
            DecryptionAlgorithm::RsaOaep => &OAEP_SHA1_MGF1SHA1,
            DecryptionAlgorithm::RsaOaep256 => &OAEP_SHA256_MGF1SHA256,
            _ => return Err(Error::Unsupported),
        };
        let mut plaintext = Zeroizing::new(vec![0; key.min_output_size()]);
        let length = key
            .decrypt(scheme, ciphertext, &mut plaintext, None)
            .map_err(|_| Error::Undecryptable)?
            .len();
        plaintext.truncate(length);
        Ok(plaintext)
    }

    /// `peer` is of the key's own kind, for the ring's name says so.
    pub(super) fn agree(&self, peer: &Peer) -> Result<SecretBytes, Error> {
        let Key::Agreement(key) = self else {
            return Err(Error::Unsupported);
        };
        let peer = agreement::UnparsedPublicKey::new(key.algorithm(), peer.octets());
        agreement::agree(key, peer, Error::Undecryptable, |z| {
            Ok(Zeroizing::new(z.to_vec()))
        })
    }

    pub(super) fn mac(&self, input: &[u8]) -> Result<Vec<u8>, Error> {
        let Key::Mac(key) = self else {
            return Err(Error::Unsupported);
        };
        Ok(hmac::sign(key, input).as_ref().to_vec())
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

/// The lengths of the four kinds differ.
fn agreement_public(octets: &[u8]) -> Result<PublicKey, Error> {
    if let Ok(x) = octets.try_into() {
        return Ok(PublicKey::X25519 { x });
    }
    let curve = match octets.len() {
        65 => Curve::P256,
        97 => Curve::P384,
        _ => Curve::P521,
    };
    ec_public(curve, octets)
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use sha2::{Digest as _, Sha256};

    use super::*;

    /// RFC 2104 §2, by other code.
    #[test]
    fn a_mac_is_the_hash_of_a_hash() {
        let secret: Vec<u8> = (0..32).collect();
        let key = Key::from_secret(RingAlgorithm::Mac, &secret).unwrap();
        let padded = |pad: u8| -> Vec<u8> {
            let block = secret.iter().copied().chain([0; 32]);
            block.map(|octet| octet ^ pad).collect()
        };
        let inner = Sha256::digest([&padded(0x36)[..], b"input"].concat());
        let outer = Sha256::digest([&padded(0x5c)[..], &inner].concat());
        assert_eq!(key.mac(b"input").unwrap(), outer.to_vec());
        for wrong in [&secret[..31], &[7; 33], &[]] {
            assert!(Key::from_secret(RingAlgorithm::Mac, wrong).is_err());
        }
    }
}
