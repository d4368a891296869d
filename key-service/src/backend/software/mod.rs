//! Keys in files, sealed under a passphrase: for development, and where there is no token.
//!
//! One file for each key and each tombstone, written once. Keys are opened once and then used from a map that readers
//! share without a lock, so a signature costs what it costs and nothing more.

mod file;
mod key;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use serde::Deserialize;

use self::file::{Kind, Vault};
use self::key::Key;
use super::secret::{Descriptor, Source};
use super::{
    Error, Facts, Imported, KeyId, Label, Listing, Peer, RsaBits, SecretBytes, Session, StoredKey,
    Tombstone,
};
use crate::algorithm::{DecryptionAlgorithm, RingAlgorithm, SignatureAlgorithm};

/// `[backend]` with `kind = "software"`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Folder of the key files, of mode 0700. Made when it is not there.
    pub directory: PathBuf,
    /// File with the passphrase that seals them, which nobody else may read. A line end after it does not count.
    #[serde(default)]
    pub passphrase_file: Option<PathBuf>,
    /// Or the descriptor that it is read from.
    #[serde(default)]
    pub passphrase_fd: Option<Descriptor>,
    /// Or the name of systemd's credential.
    #[serde(default)]
    pub passphrase_credential: Option<String>,
    /// Length of RSA moduli that are made, in bits: 2048, 3072 or 4096.
    #[serde(default)]
    pub rsa_bits: RsaBits,
}

impl Settings {
    /// Whether nothing has been sealed there yet: whoever opens it first chooses the passphrase.
    pub(crate) fn is_unused(&self) -> bool {
        !self.directory.join(file::SALT_FILE).exists()
    }

    /// Where the passphrase comes from.
    pub(super) fn passphrase(&self) -> Result<Source, Error> {
        let file = self.passphrase_file.clone().map(Source::File);
        let descriptor = self.passphrase_fd.clone().map(Source::Descriptor);
        let credential = self.passphrase_credential.clone().map(Source::Credential);
        Source::only_one("passphrase", [file, descriptor, credential])
    }
}

type Keys = HashMap<KeyId, Arc<Loaded>>;

struct Loaded {
    key: Key,
    stored: StoredKey,
}

/// The folder of key files, opened.
pub(super) struct Directory {
    vault: Vault,
    rsa_bits: RsaBits,
    keys: ArcSwap<Keys>,
    /// Held while the map is replaced.
    writer: Mutex<()>,
}

impl Directory {
    /// Stretches the passphrase and opens the folder.
    pub(super) fn open(settings: &Settings) -> Result<Directory, Error> {
        let directory = Directory {
            vault: Vault::open(&settings.directory, &settings.passphrase()?)?,
            rsa_bits: settings.rsa_bits,
            keys: ArcSwap::default(),
            writer: Mutex::new(()),
        };
        directory.list()?;
        Ok(directory)
    }

    pub(super) fn facts(&self) -> Facts {
        let place = self.vault.directory().display().to_string();
        let mut algorithms: Vec<RingAlgorithm> = SignatureAlgorithm::ALL
            .iter()
            .map(|alg| RingAlgorithm::Signature(*alg))
            .collect();
        algorithms.extend(
            DecryptionAlgorithm::ALL
                .iter()
                .map(|alg| RingAlgorithm::Decryption(*alg)),
        );
        algorithms.extend([RingAlgorithm::Seal, RingAlgorithm::Mac]);
        Facts {
            kind: "software",
            description: place.clone(),
            location: format!("files in {place}"),
            algorithms,
            gaps: Vec::new(),
        }
    }

    /// Runs `with` on the key, provided that its ring is of `algorithm`.
    fn using<T>(
        &self,
        id: &KeyId,
        algorithm: RingAlgorithm,
        with: impl FnOnce(&Key) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let keys = self.keys.load();
        let loaded = keys.get(id).ok_or(Error::NoSuchKey)?;
        if loaded.stored.label.ring.algorithm() != algorithm {
            return Err(Error::Unsupported);
        }
        with(&loaded.key)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, ()> {
        // What it guards is replaced whole, so a panic leaves nothing half done.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn record<T, E: std::fmt::Display>(
        &self,
        kind: Kind,
        file: &str,
        read: impl FnOnce(&[u8]) -> Result<T, E>,
    ) -> Result<T, Error> {
        let record = self.vault.read(kind, file)?;
        read(&record.secret).map_err(|error| Error::Unusable(error.to_string()))
    }

    fn load(&self, name: &str) -> Result<Loaded, Error> {
        let record = self.vault.read(Kind::Key, name)?;
        let label: Label = record
            .name
            .parse()
            .map_err(|_| Error::Unusable(format!("{name} has a label that is not ours")))?;
        let key = Key::from_secret(label.ring.algorithm(), &record.secret)?;
        let stored = StoredKey {
            id: KeyId(record.id.into()),
            public: key.public()?,
            label,
            defects: Vec::new(),
        };
        Ok(Loaded { key, stored })
    }
}

impl Session for Directory {
    fn list(&self) -> Result<Listing, Error> {
        let _held = self.lock();
        let before = self.keys.load();
        let known: HashMap<String, &Arc<Loaded>> = before
            .iter()
            .map(|(id, loaded)| (file::name_of(Kind::Key, &id.0), loaded))
            .collect();
        let mut after = Keys::new();
        let mut listing = Listing::default();
        for (kind, name) in self.vault.names()? {
            match kind {
                Kind::Key => {
                    let loaded = match known.get(&name) {
                        Some(loaded) => Ok(Arc::clone(loaded)),
                        None => self.load(&name).map(Arc::new),
                    };
                    match loaded {
                        Ok(loaded) => {
                            listing.keys.push(loaded.stored.clone());
                            after.insert(loaded.stored.id.clone(), loaded);
                        }
                        Err(error) => listing.strange.push(format!("{name}: {error}")),
                    }
                }
                Kind::Tombstone => match self.record(kind, &name, Tombstone::from_json) {
                    Ok(tombstone) => listing.tombstones.push(tombstone),
                    Err(error) => listing.strange.push(format!("{name}: {error}")),
                },
                Kind::Imported => match self.record(kind, &name, Imported::from_json) {
                    Ok(imported) => listing.imported.push(imported),
                    Err(error) => listing.strange.push(format!("{name}: {error}")),
                },
            }
        }
        self.keys.store(Arc::new(after));
        Ok(listing)
    }

    fn generate(&self, label: &Label) -> Result<StoredKey, Error> {
        let secret = key::generate(label.ring.algorithm(), self.rsa_bits)?;
        let id = self.vault.write(Kind::Key, &label.to_string(), &secret)?;
        let key = Key::from_secret(label.ring.algorithm(), &secret)?;
        let stored = StoredKey {
            id: KeyId(id.into()),
            label: label.clone(),
            public: key.public()?,
            defects: Vec::new(),
        };
        let _held = self.lock();
        let mut keys = Keys::clone(&self.keys.load());
        let loaded = Loaded {
            key,
            stored: stored.clone(),
        };
        keys.insert(stored.id.clone(), Arc::new(loaded));
        self.keys.store(Arc::new(keys));
        Ok(stored)
    }

    fn bury(&self, tombstone: &Tombstone) -> Result<(), Error> {
        self.vault
            .write(Kind::Tombstone, &tombstone.name(), &tombstone.to_json())
            .map(drop)
    }

    fn import(&self, key: &Imported) -> Result<(), Error> {
        self.vault
            .write(Kind::Imported, &key.name(), &key.to_json())
            .map(drop)
    }

    fn forget(&self, key: &Imported) -> Result<(), Error> {
        let _held = self.lock();
        let kind = Kind::Imported;
        let names = self.vault.names()?.into_iter();
        for (_, file) in names.filter(|(other, _)| *other == kind) {
            // One that cannot be read is not this one; `list` tells of it.
            if let Ok(record) = self.vault.read(kind, &file)
                && record.name == key.name()
            {
                self.vault.remove(kind, &record.id)?;
            }
        }
        Ok(())
    }

    fn destroy(&self, key: &KeyId) -> Result<(), Error> {
        let _held = self.lock();
        self.vault.remove(Kind::Key, &key.0)?;
        let mut keys = Keys::clone(&self.keys.load());
        keys.remove(key);
        self.keys.store(Arc::new(keys));
        Ok(())
    }

    fn sign(
        &self,
        key: &KeyId,
        algorithm: SignatureAlgorithm,
        input: &[u8],
    ) -> Result<Vec<u8>, Error> {
        let ring = RingAlgorithm::Signature(algorithm);
        self.using(key, ring, |key| key.sign(algorithm, input))
    }

    fn unwrap_key(
        &self,
        key: &KeyId,
        algorithm: DecryptionAlgorithm,
        ciphertext: &[u8],
    ) -> Result<SecretBytes, Error> {
        let ring = RingAlgorithm::Decryption(algorithm);
        self.using(key, ring, |key| key.unwrap_key(algorithm, ciphertext))
    }

    fn agree(&self, key: &KeyId, peer: &Peer) -> Result<SecretBytes, Error> {
        let ring = RingAlgorithm::Decryption(peer.algorithm());
        self.using(key, ring, |key| key.agree(peer))
    }

    fn mac(&self, key: &KeyId, input: &[u8]) -> Result<Vec<u8>, Error> {
        self.using(key, RingAlgorithm::Mac, |key| key.mac(input))
    }

    fn seal(
        &self,
        key: &KeyId,
        nonce: &[u8; 12],
        aad: &[u8],
        plaintext: &[u8],
    ) -> Result<Vec<u8>, Error> {
        self.using(key, RingAlgorithm::Seal, |key| {
            key.seal(*nonce, aad, plaintext)
        })
    }

    fn unseal(
        &self,
        key: &KeyId,
        nonce: &[u8; 12],
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<SecretBytes, Error> {
        self.using(key, RingAlgorithm::Seal, |key| {
            key.unseal(*nonce, aad, sealed)
        })
    }
}
