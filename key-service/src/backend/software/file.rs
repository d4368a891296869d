//! Sealed files: AES-256-GCM under a key that argon2id (RFC 9106) derives from a passphrase and the folder's salt.
//!
//! A file is complete before it has its name, and on the disk before its writer is told so. Name, label and id are
//! authenticated with the content, so a file cannot be passed off as another.

use std::alloc::System;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::{AeadInOut as _, KeyInit as _};
use argon2::{Algorithm, Argon2, Block, Params, Version};
use aws_lc_rs::rand;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::backend::secret::Source;
use crate::backend::{Error, SecretBytes};
use crate::permissions;

/// The file that holds the salt, and proves that a passphrase is the right one.
pub(super) const SALT_FILE: &str = "salt.json";
/// What the salt file seals.
const PROOF: &[u8] = b"signet software backend 1";
/// The longest file that is read, in octets: an RSA key of 4096 bits takes under 4 KiB.
const LONGEST_FILE: u64 = 16 * 1024;
/// Length of the authentication tag, in octets.
const TAG: usize = 16;
/// Memory in KiB, passes and lanes of argon2id: RFC 9106 §4, the second recommended option.
const STRETCH: (u32, u32, u32) = (64 * 1024, 3, 4);

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Key,
    Tombstone,
    Imported,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Key, Kind::Tombstone, Kind::Imported];

    fn extension(self) -> &'static str {
        match self {
            Kind::Key => "key",
            Kind::Tombstone => "tombstone",
            Kind::Imported => "imported",
        }
    }
}

/// The name of the file of a key or a record.
pub(super) fn name_of(kind: Kind, id: &[u8]) -> String {
    let id: String = id.iter().map(|octet| format!("{octet:02x}")).collect();
    format!("{id}.{}", kind.extension())
}

/// What is in a file, opened.
pub(super) struct Record {
    /// The label of a key, or the name of a record.
    pub(super) name: String,
    /// 16 random octets.
    pub(super) id: Vec<u8>,
    pub(super) secret: SecretBytes,
}

/// A file as JSON. Octets are in base64.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// What a person may read: a label, or a record's name. In the salt file: the salt.
    name: String,
    nonce: String,
    sealed: String,
}

/// The folder, and the key that seals its files.
pub(super) struct Vault {
    directory: PathBuf,
    key: Aes256Gcm,
}

impl Vault {
    pub(super) fn open(directory: &Path, source: &Source) -> Result<Vault, Error> {
        make_directory(directory)?;
        let passphrase = source.read()?;
        let salt_file = directory.join(SALT_FILE);
        let key = if salt_file.exists() {
            open_salt(&salt_file, &passphrase)
        } else {
            let salt = STANDARD.encode(random::<16>()?);
            let key = stretch(&passphrase, &salt)?;
            let written = Written::seal(&key, SALT_FILE, salt, PROOF)?;
            match persist(directory, SALT_FILE, &written) {
                Ok(()) => Ok(key),
                // Another process made it in the meantime: then its salt counts.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    open_salt(&salt_file, &passphrase)
                }
                Err(error) => return Err(cannot("write", &salt_file, &error)),
            }
        };
        let key = key.map_err(|error| match error {
            Error::Undecryptable => Error::Unusable(format!(
                "the passphrase in {source} is not the one that sealed {}",
                directory.display()
            )),
            other => other,
        })?;
        let vault = Vault {
            directory: directory.to_owned(),
            key,
        };
        for (_, file) in vault.names()? {
            permissions::check_secret(&directory.join(file)).map_err(refused)?;
        }
        Ok(vault)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    /// The names of all files of ours.
    pub(super) fn names(&self) -> Result<Vec<(Kind, String)>, Error> {
        let unreadable = |error| cannot("read", &self.directory, &error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory).map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            let Some(name) = name.to_str() else { continue };
            for kind in Kind::ALL {
                let extension = Path::new(name).extension();
                if extension.is_some_and(|it| it == kind.extension()) {
                    names.push((kind, name.to_owned()));
                }
            }
        }
        Ok(names)
    }

    /// Writes a new file, durable when this returns; answers with its random id.
    pub(super) fn write(&self, kind: Kind, name: &str, secret: &[u8]) -> Result<Vec<u8>, Error> {
        let id = random::<16>()?;
        let file = name_of(kind, &id);
        let written = Written::seal(&self.key, &file, name.to_owned(), secret)?;
        persist(&self.directory, &file, &written)
            .map_err(|error| Error::Device(format!("cannot write {file}: {error}")))?;
        Ok(id.to_vec())
    }

    /// Removes a file, durably when this returns; one that is gone already needs no removing.
    pub(super) fn remove(&self, kind: Kind, id: &[u8]) -> Result<(), Error> {
        let file = name_of(kind, id);
        let removed = match fs::remove_file(self.directory.join(&file)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        removed
            .and_then(|()| File::open(&self.directory)?.sync_all())
            .map_err(|error| Error::Device(format!("cannot remove {file}: {error}")))
    }

    pub(super) fn read(&self, kind: Kind, file: &str) -> Result<Record, Error> {
        let path = self.directory.join(file);
        let written = Written::read(&path)?;
        let secret = written
            .open(&self.key, file)
            .map_err(|_| Error::Unusable(format!("{} was changed", path.display())))?;
        // The name was authenticated, so it is one that `name_of` made.
        let hex = file.strip_suffix(kind.extension()).unwrap_or_default();
        let id = (0..hex.len() / 2)
            .filter_map(|at| u8::from_str_radix(hex.get(2 * at..2 * at + 2)?, 16).ok())
            .collect();
        Ok(Record {
            name: written.name,
            id,
            secret,
        })
    }
}

impl Written {
    fn seal(key: &Aes256Gcm, file: &str, name: String, secret: &[u8]) -> Result<Written, Error> {
        let nonce = random::<12>()?;
        // Room for the tag, so that no copy of the secret is left behind.
        let mut sealed = Vec::with_capacity(secret.len() + TAG);
        sealed.extend_from_slice(secret);
        key.encrypt_in_place(&nonce.into(), &authenticated(file, &name), &mut sealed)
            .map_err(|_| Error::Device("sealing failed".to_owned()))?;
        Ok(Written {
            name,
            nonce: STANDARD.encode(nonce),
            sealed: STANDARD.encode(sealed),
        })
    }

    fn open(&self, key: &Aes256Gcm, file: &str) -> Result<SecretBytes, Error> {
        let decode = |text: &str| STANDARD.decode(text).map_err(|_| Error::Undecryptable);
        let nonce: [u8; 12] = decode(&self.nonce)?
            .try_into()
            .map_err(|_| Error::Undecryptable)?;
        let mut secret = Zeroizing::new(decode(&self.sealed)?);
        let aad = authenticated(file, &self.name);
        key.decrypt_in_place(&nonce.into(), &aad, &mut *secret)
            .map_err(|_| Error::Undecryptable)?;
        Ok(secret)
    }

    fn read(path: &Path) -> Result<Written, Error> {
        let file = permissions::open_secret(path).map_err(refused)?;
        let mut json = Vec::new();
        file.take(LONGEST_FILE)
            .read_to_end(&mut json)
            .map_err(|error| cannot("read", path, &error))?;
        serde_json::from_slice(&json)
            .map_err(|_| Error::Unusable(format!("{} is not a key file", path.display())))
    }
}

/// The key that the salt file's salt makes of a passphrase; `Undecryptable` when it is not the one that sealed it.
fn open_salt(salt_file: &Path, passphrase: &[u8]) -> Result<Aes256Gcm, Error> {
    let written = Written::read(salt_file)?;
    let key = stretch(passphrase, &written.name)?;
    written.open(&key, SALT_FILE)?;
    Ok(key)
}

fn authenticated(file: &str, name: &str) -> Vec<u8> {
    format!("{file}\n{name}").into_bytes()
}

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut octets = [0; N];
    rand::fill(&mut octets).map_err(|_| Error::Device("no random octets".to_owned()))?;
    Ok(octets)
}

fn stretch(passphrase: &[u8], salt: &str) -> Result<Aes256Gcm, Error> {
    let (memory, passes, lanes) = STRETCH;
    let mut key = Zeroizing::new([0; 32]);
    let params = Params::new(memory, passes, lanes, Some(key.len()));
    params
        .and_then(|params| {
            // Of the system and back to it at once. mimalloc keeps what is freed until more is, and a service may have
            // nothing to do for long after its start.
            let mut blocks = allocator_api2::vec::Vec::new_in(System);
            blocks.resize(params.block_count(), Block::new());
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            argon2.hash_password_into_with_memory(
                passphrase,
                salt.as_bytes(),
                &mut *key,
                &mut blocks[..],
            )
        })
        .map_err(|error| Error::Unusable(format!("cannot stretch the passphrase: {error}")))?;
    Aes256Gcm::new_from_slice(&*key)
        .map_err(|_| Error::Unusable("cannot stretch the passphrase".to_owned()))
}

fn make_directory(path: &Path) -> Result<(), Error> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path);
    made.map_err(|error| cannot("make", path, &error))?;
    permissions::check_private_folder(path).map_err(refused)
}

/// The file appears under its name only when all of it is on the disk, and never replaces another.
fn persist(directory: &Path, name: &str, written: &Written) -> io::Result<()> {
    let json = serde_json::to_vec(written)?;
    let suffix = random::<8>().map_err(io::Error::other)?;
    let temporary = directory.join(format!("{name}.{:016x}.new", u64::from_ne_bytes(suffix)));
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    let linked = file
        .write_all(&json)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::hard_link(&temporary, directory.join(name)));
    fs::remove_file(&temporary)?;
    linked?;
    File::open(directory)?.sync_all()
}

// By value, because that is how `map_err` hands it over.
#[allow(clippy::needless_pass_by_value)]
fn refused(refused: permissions::Refused) -> Error {
    Error::Unusable(refused.to_string())
}

fn cannot(verb: &str, path: &Path, error: &io::Error) -> Error {
    Error::Unusable(format!("cannot {verb} {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn open(directory: &Path, passphrase: &Path) -> Result<Vault, Error> {
        Vault::open(directory, &Source::File(passphrase.to_owned()))
    }

    fn private(path: &Path, content: &str) {
        fs::write(path, content).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    #[test]
    fn files_open_only_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let passphrase = folder.path().join("passphrase");
        private(&passphrase, "correct horse\n");
        let directory = folder.path().join("keys");
        let vault = open(&directory, &passphrase).unwrap();
        let id = vault.write(Kind::Key, "label", b"secret").unwrap();
        let file = name_of(Kind::Key, &id);
        assert_eq!(vault.names().unwrap(), [(Kind::Key, file.clone())]);

        private(&passphrase, "correct horse");
        let again = open(&directory, &passphrase).unwrap();
        let record = again.read(Kind::Key, &file).unwrap();
        assert_eq!((record.name.as_str(), &record.id), ("label", &id));
        assert_eq!(&record.secret[..], b"secret");

        let path = directory.join(&file);
        let content = fs::read_to_string(&path).unwrap();
        private(&path, &content.replace("label", "lever"));
        assert!(again.read(Kind::Key, &file).is_err());
        let other = name_of(Kind::Key, &[0; 16]);
        private(&directory.join(&other), &content);
        assert!(again.read(Kind::Key, &other).is_err());

        private(&passphrase, "wrong");
        let error = open(&directory, &passphrase).err().unwrap().to_string();
        assert!(error.contains("passphrase"), "{error}");
    }

    #[test]
    fn loose_modes_are_refused_with_the_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let passphrase = folder.path().join("passphrase");
        private(&passphrase, "correct horse");
        let directory = folder.path().join("keys");
        open(&directory, &passphrase).unwrap();
        for (path, mode) in [
            (&directory, 0o750),
            (&passphrase, 0o640),
            (&directory.join(SALT_FILE), 0o604),
        ] {
            let before = fs::metadata(path).unwrap().permissions();
            fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
            let error = open(&directory, &passphrase).err().unwrap().to_string();
            assert!(error.contains("chmod"), "{error}");
            fs::set_permissions(path, before).unwrap();
        }
        assert!(open(&directory, &folder.path().join("none")).is_err());
        private(&passphrase, "\n");
        assert!(open(&directory, &passphrase).is_err());
    }
}
