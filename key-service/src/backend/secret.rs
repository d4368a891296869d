//! Where the PIN or the passphrase comes from: a file, a descriptor that whoever started the process left open, or a
//! credential of systemd (systemd.exec(5), `LoadCredential=`). It is in memory for as long as it is used, and wiped then; but
//! what came by a descriptor cannot be read again, and a recovery logs in again, so that is kept.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

use super::{Error, SecretBytes};
use crate::permissions;

/// The longest, in octets.
const LONGEST: usize = 1024;
/// What systemd tells a service of its credentials' folder by.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";
/// Standard input, output and error are below, and no process has as many as are above.
const DESCRIPTORS: std::ops::Range<u32> = 3..1 << 20;

/// Where a secret comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// `…_file`: nobody else may read it. Read each time, so that it is not in memory in between.
    File(PathBuf),
    /// `…_fd`: read once.
    Descriptor(Descriptor),
    /// `…_credential`: the name of a file in systemd's folder.
    Credential(String),
}

impl Source {
    /// The one of the three settings of `name` that is given.
    ///
    /// # Errors
    /// None is, or several are, or the credential's name is no name.
    pub(super) fn only_one(name: &str, of: [Option<Source>; 3]) -> Result<Source, Error> {
        let mut given = of.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(Source::Credential(file)), None) if !is_name(&file) => Err(Error::Unusable(
                format!("{name}_credential = \"{file}\" is not the name of a file"),
            )),
            (Some(Source::Descriptor(Descriptor { number, .. })), None)
                if !DESCRIPTORS.contains(&number) =>
            {
                Err(Error::Unusable(format!(
                    "{name}_fd = {number} is not a descriptor that can be handed over: use 3 or a higher number"
                )))
            }
            (Some(source), None) => Ok(source),
            _ => Err(Error::Unusable(format!(
                "exactly one of `{name}_file`, `{name}_fd` and `{name}_credential` is required"
            ))),
        }
    }

    /// The secret. A line end after it does not count.
    ///
    /// # Errors
    /// It cannot be read, others can read it, or it is empty or too long.
    pub(super) fn read(&self) -> Result<SecretBytes, Error> {
        match self {
            Source::File(path) => read_file(path),
            Source::Descriptor(descriptor) => descriptor.read(),
            Source::Credential(name) => {
                let folder = std::env::var_os(CREDENTIALS).ok_or_else(|| {
                    Error::Unusable(format!(
                        "no ${CREDENTIALS}: systemd sets it for a service with \
                         `LoadCredential={name}:FILE` or `LoadCredentialEncrypted={name}:FILE`"
                    ))
                })?;
                read_file(&Path::new(&folder).join(name))
            }
        }
    }

    /// Reads a descriptor to its end, before its number can be another's.
    pub(super) fn take(&self) -> Result<(), Error> {
        match self {
            Source::Descriptor(descriptor) => descriptor.read().map(drop),
            Source::File(_) | Source::Credential(_) => Ok(()),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Source::File(path) => write!(f, "{}", path.display()),
            Source::Descriptor(descriptor) => write!(f, "descriptor {}", descriptor.number),
            Source::Credential(name) => write!(f, "systemd's credential {name}"),
        }
    }
}

fn is_name(name: &str) -> bool {
    !["", ".", ".."].contains(&name) && !name.contains('/')
}

/// A descriptor that was left open: read to its end once, and closed. Clones share what was read.
#[derive(Clone)]
pub struct Descriptor {
    number: u32,
    octets: Arc<OnceLock<SecretBytes>>,
}

impl fmt::Debug for Descriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Descriptor").field(&self.number).finish()
    }
}

impl<'de> Deserialize<'de> for Descriptor {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Descriptor, D::Error> {
        Ok(Descriptor {
            number: u32::deserialize(from)?,
            octets: Arc::default(),
        })
    }
}

impl Descriptor {
    fn read(&self) -> Result<SecretBytes, Error> {
        if let Some(octets) = self.octets.get() {
            return Ok(octets.clone());
        }
        let number = self.number;
        // What is open under a number is opened again by its name (proc_pid_fd(5)): a pipe or a file, not a socket.
        let file = File::open(format!("/proc/self/fd/{number}")).map_err(|error| {
            Error::Unusable(match error.kind() {
                io::ErrorKind::NotFound => format!(
                    "descriptor {number} is not open: start the service with it, for example `{number}< FILE`"
                ),
                io::ErrorKind::PermissionDenied => format!(
                    "cannot read descriptor {number}: {error}; it is opened again by its name, so what is behind it \
                     must be one that the service's user may open"
                ),
                _ => format!("cannot read descriptor {number}: {error}"),
            })
        })?;
        let octets = read_to_end(file, &format!("descriptor {number}"))?;
        if let Ok(number) = i32::try_from(number) {
            // Closed by the kernel whatever it answers (close(2)).
            let _ = nix::unistd::close(number);
        }
        Ok(self.octets.get_or_init(|| octets).clone())
    }
}

fn read_file(path: &Path) -> Result<SecretBytes, Error> {
    let file =
        permissions::open_secret(path).map_err(|refused| Error::Unusable(refused.to_string()))?;
    read_to_end(file, &path.display().to_string())
}

fn read_to_end(file: File, place: &str) -> Result<SecretBytes, Error> {
    // Room for all of it, so that growing leaves no copies behind.
    let mut secret = Zeroizing::new(Vec::with_capacity(2 * LONGEST));
    let most = u64::try_from(LONGEST).unwrap_or(u64::MAX) + 1;
    file.take(most)
        .read_to_end(&mut secret)
        .map_err(|error| Error::Unusable(format!("cannot read {place}: {error}")))?;
    if secret.len() > LONGEST {
        let sentence = format!("{place} holds more than {LONGEST} octets");
        return Err(Error::Unusable(sentence));
    }
    while secret
        .last()
        .is_some_and(|octet| matches!(octet, b'\n' | b'\r'))
    {
        secret.pop();
    }
    if secret.is_empty() {
        return Err(Error::Unusable(format!("{place} is empty")));
    }
    Ok(secret)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write as _;
    use std::os::fd::IntoRawFd as _;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn file(path: &str) -> Option<Source> {
        Some(Source::File(path.into()))
    }

    fn credential(name: &str) -> Option<Source> {
        Some(Source::Credential(name.to_owned()))
    }

    fn descriptor(number: i32) -> Descriptor {
        #[derive(Deserialize)]
        struct Table {
            fd: Descriptor,
        }
        let table: Table = toml::from_str(&format!("fd = {number}")).unwrap();
        table.fd
    }

    #[test]
    fn exactly_one_source_is_given() {
        let one = |of| Source::only_one("pin", of).map_err(|error| error.to_string());
        assert!(one([file("p"), None, None]).is_ok());
        assert!(one([None, None, credential("hsm-pin")]).is_ok());
        for of in [
            [None, None, None],
            [file("p"), None, credential("p")],
            [file("p"), Some(Source::Descriptor(descriptor(3))), None],
        ] {
            let sentence = "exactly one of `pin_file`, `pin_fd` and `pin_credential` is required";
            assert_eq!(one(of).unwrap_err(), sentence);
        }
        let input = one([None, Some(Source::Descriptor(descriptor(0))), None]).unwrap_err();
        assert!(input.starts_with("pin_fd = 0 is not"), "{input}");
        for name in ["", ".", "..", "../pin", "/etc/pin"] {
            let refused = one([None, None, credential(name)]).unwrap_err();
            assert!(refused.contains("is not the name of a file"), "{refused}");
        }
    }

    #[test]
    fn a_descriptor_is_read_once_and_closed() {
        let (reader, mut writer) = io::pipe().unwrap();
        writer.write_all(b"12345\r\n").unwrap();
        drop(writer);
        let number = reader.into_raw_fd();
        let first = descriptor(number);
        let clone = first.clone();
        assert_eq!(first.read().unwrap().as_slice(), b"12345");
        assert_eq!(clone.read().unwrap().as_slice(), b"12345");
        assert_eq!(format!("{clone:?}"), format!("Descriptor({number})"));
        // Numbers are given again from below: none is so high.
        let closed = descriptor(1 << 19).read().unwrap_err().to_string();
        assert!(
            closed.starts_with("descriptor 524288 is not open"),
            "{closed}"
        );
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pin");
        let read = |content: &[u8]| {
            std::fs::write(&path, content).unwrap();
            let private = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&path, private).unwrap();
            let read = Source::File(path.clone()).read();
            read.map(|secret| secret.to_vec())
                .map_err(|error| error.to_string())
        };
        assert_eq!(read(b"12 34\n\n"), Ok(b"12 34".to_vec()));
        assert_eq!(read(&[b'x'; LONGEST]).unwrap().len(), LONGEST);
        assert!(read(b"").unwrap_err().ends_with(" is empty"));
        assert!(read(b"\r\n").unwrap_err().ends_with(" is empty"));
        let long = read(&[b'x'; LONGEST + 1]).unwrap_err();
        assert!(long.ends_with(" holds more than 1024 octets"), "{long}");
    }
}
