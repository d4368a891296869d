//! S0-5: the backend that `key-service/src/backend/README.md` writes: keys in memory, gone with the process. It has three
//! algorithms, which is enough to be called a home of keys.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use key_service::algorithm::{DecryptionAlgorithm, RingAlgorithm, SignatureAlgorithm};
use key_service::backend::{
    Curve, Error, Facts, Imported, KeyId, Label, Listing, Peer, PublicKey, SecretBytes, Session,
    StoredKey, Tombstone,
};

/// Step 1: what it can compute. Rings of other algorithms are refused at start-up.
const ALGORITHMS: [RingAlgorithm; 3] = [
    RingAlgorithm::Signature(SignatureAlgorithm::Es256),
    RingAlgorithm::Seal,
    RingAlgorithm::Mac,
];

/// Step 2: where keys, tombstones and others' public keys are.
#[derive(Default)]
pub(crate) struct Memory {
    keys: Mutex<HashMap<KeyId, Arc<Held>>>,
    tombstones: Mutex<Vec<Tombstone>>,
    imported: Mutex<Vec<Imported>>,
    /// Called before a key that was made is told of: what may take time.
    making: Option<Making>,
}

type Making = Box<dyn Fn(&Label) + Send + Sync>;

struct Held {
    stored: StoredKey,
    material: Material,
}

enum Material {
    Sign(EcdsaKeyPair),
    Seal(LessSafeKey),
    Mac(Box<hmac::Key>),
}

pub(crate) fn facts() -> Facts {
    Facts {
        kind: "memory",
        description: "memory of this process".to_owned(),
        location: "memory".to_owned(),
        algorithms: ALGORITHMS.to_vec(),
        gaps: Vec::new(),
    }
}

impl Memory {
    /// One that does this while it makes a key.
    pub(crate) fn making(making: impl Fn(&Label) + Send + Sync + 'static) -> Memory {
        Memory {
            making: Some(Box::new(making)),
            ..Memory::default()
        }
    }

    /// Step 5: a key does what its ring is for, and nothing else.
    fn held(&self, key: &KeyId, algorithm: RingAlgorithm) -> Result<Arc<Held>, Error> {
        let held = self.keys.lock().unwrap().get(key).cloned();
        let held = held.ok_or(Error::NoSuchKey)?;
        match held.stored.label.ring.algorithm() == algorithm {
            true => Ok(held),
            false => Err(Error::Unsupported),
        }
    }
}

fn failed<E>(_: E) -> Error {
    Error::Device("the operation failed".to_owned())
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut octets = [0; N];
    rand::fill(&mut octets).map_err(failed)?;
    Ok(octets)
}

impl Session for Memory {
    /// Step 3: everything of ours, in one pass.
    fn list(&self) -> Result<Listing, Error> {
        let keys = self.keys.lock().unwrap();
        Ok(Listing {
            keys: keys.values().map(|held| held.stored.clone()).collect(),
            tombstones: self.tombstones.lock().unwrap().clone(),
            imported: self.imported.lock().unwrap().clone(),
            ..Listing::default()
        })
    }

    /// Step 4: key and label in one step, under an id of its own.
    fn generate(&self, label: &Label) -> Result<StoredKey, Error> {
        let (material, public) = match label.ring.algorithm() {
            RingAlgorithm::Signature(SignatureAlgorithm::Es256) => {
                let key =
                    EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).map_err(failed)?;
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                let public = PublicKey::Ec {
                    curve: Curve::P256,
                    x: x.to_vec(),
                    y: y.to_vec(),
                };
                (Material::Sign(key), Some(public))
            }
            RingAlgorithm::Seal => {
                let key = UnboundKey::new(&AES_256_GCM, &random::<32>()?).map_err(failed)?;
                (Material::Seal(LessSafeKey::new(key)), None)
            }
            RingAlgorithm::Mac => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, &random::<32>()?);
                (Material::Mac(Box::new(key)), None)
            }
            _ => return Err(Error::Unsupported),
        };
        let stored = StoredKey {
            id: KeyId(random::<16>()?.into()),
            label: label.clone(),
            public,
            defects: Vec::new(),
        };
        let held = Held {
            stored: stored.clone(),
            material,
        };
        if let Some(making) = &self.making {
            making(label);
        }
        let mut keys = self.keys.lock().unwrap();
        keys.insert(stored.id.clone(), Arc::new(held));
        Ok(stored)
    }

    fn bury(&self, tombstone: &Tombstone) -> Result<(), Error> {
        self.tombstones.lock().unwrap().push(tombstone.clone());
        Ok(())
    }

    fn import(&self, key: &Imported) -> Result<(), Error> {
        self.imported.lock().unwrap().push(key.clone());
        Ok(())
    }

    fn forget(&self, key: &Imported) -> Result<(), Error> {
        self.imported.lock().unwrap().retain(|other| other != key);
        Ok(())
    }

    fn destroy(&self, key: &KeyId) -> Result<(), Error> {
        self.keys.lock().unwrap().remove(key);
        Ok(())
    }

    fn sign(
        &self,
        key: &KeyId,
        algorithm: SignatureAlgorithm,
        input: &[u8],
    ) -> Result<Vec<u8>, Error> {
        match &self
            .held(key, RingAlgorithm::Signature(algorithm))?
            .material
        {
            Material::Sign(key) => {
                let signed = key.sign(&SystemRandom::new(), input).map_err(failed)?;
                Ok(signed.as_ref().to_vec())
            }
            _ => Err(Error::Unsupported),
        }
    }

    fn unwrap_key(
        &self,
        key: &KeyId,
        algorithm: DecryptionAlgorithm,
        _: &[u8],
    ) -> Result<SecretBytes, Error> {
        self.held(key, RingAlgorithm::Decryption(algorithm))?;
        Err(Error::Unsupported)
    }

    fn agree(&self, key: &KeyId, peer: &Peer) -> Result<SecretBytes, Error> {
        self.held(key, RingAlgorithm::Decryption(peer.algorithm()))?;
        Err(Error::Unsupported)
    }

    fn mac(&self, key: &KeyId, input: &[u8]) -> Result<Vec<u8>, Error> {
        match &self.held(key, RingAlgorithm::Mac)?.material {
            Material::Mac(key) => Ok(hmac::sign(key, input).as_ref().to_vec()),
            _ => Err(Error::Unsupported),
        }
    }

    fn seal(
        &self,
        key: &KeyId,
        nonce: &[u8; 12],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, Error> {
        match &self.held(key, RingAlgorithm::Seal)?.material {
            Material::Seal(key) => {
                let nonce = Nonce::assume_unique_for_key(*nonce);
                let mut sealed = plaintext.to_vec();
                key.seal_in_place_append_tag(nonce, Aad::from(aad), &mut sealed)
                    .map_err(failed)?;
                Ok(sealed)
            }
            _ => Err(Error::Unsupported),
        }
    }

    fn unseal(
        &self,
        key: &KeyId,
        nonce: &[u8; 12],
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<SecretBytes, Error> {
        match &self.held(key, RingAlgorithm::Seal)?.material {
            Material::Seal(key) => {
                let nonce = Nonce::assume_unique_for_key(*nonce);
                let mut opened = sealed.to_vec();
                // Whatever was wrong, the answer is the same one.
                let plaintext = key.open_in_place(nonce, Aad::from(aad), &mut opened);
                let length = plaintext.map_err(|_| Error::Undecryptable)?.len();
                opened.truncate(length);
                Ok(opened.into())
            }
            _ => Err(Error::Unsupported),
        }
    }
}
