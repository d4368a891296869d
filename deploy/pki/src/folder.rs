//! The folder of certificates that a development set-up needs, made once and renewed before it expires.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use x509_parser::extensions::GeneralName;

use crate::{Authority, DAY, Error, Leaf};

/// SAN of the key-service.
pub const KEY_SERVICE: &str = "spiffe://signet/key-service";
/// SAN of the gateway.
pub const GATEWAY: &str = "spiffe://signet/oidc-gateway";
/// SAN of the person who rotates keys.
pub const OPERATOR: &str = "spiffe://signet/admin";

/// What has less than this left is made again.
const RENEW_BEFORE: Duration = Duration::from_secs(7 * DAY.as_secs());
const LOOPBACK: &[IpAddr] = &[
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// Makes `ca.{pem,key}` and the pairs `key-service`, `gateway`, `admin` and `web` in `folder`; keeps those that are
/// good for another week. Returns the names of the files that were written.
///
/// `names` are further DNS names of the gateway's own web certificate, beside `localhost`.
///
/// # Errors
/// When a file cannot be read or written, or a name cannot stand in a certificate.
pub fn ensure(folder: &Path, names: &[&str]) -> Result<Vec<String>, Error> {
    fs::create_dir_all(folder).map_err(at(folder))?;
    let mut written = Vec::new();
    let authority = if is_usable(&folder.join("ca.pem"), None) {
        Authority::load(folder).ok()
    } else {
        None
    };
    let kept = authority.is_some();
    let authority = match authority {
        Some(authority) => authority,
        None => {
            let authority = Authority::new("Signet development CA")?;
            write(&folder.join("ca.key"), authority.key_pem(), 0o600)?;
            write(&folder.join("ca.pem"), authority.certificate_pem(), 0o644)?;
            written.push("ca".to_owned());
            authority
        }
    };

    let mut web_names = vec!["localhost"];
    web_names.extend(names);
    for (name, leaf) in [
        (
            "key-service",
            Leaf {
                common_name: "key-service",
                uris: &[KEY_SERVICE],
                dns: &["localhost", "key-service"],
                ips: LOOPBACK,
                server: true,
                ..Leaf::default()
            },
        ),
        ("gateway", client("oidc-gateway", &[GATEWAY])),
        ("admin", client("admin", &[OPERATOR])),
        (
            "web",
            Leaf {
                common_name: "localhost",
                dns: &web_names,
                ips: LOOPBACK,
                server: true,
                ..Leaf::default()
            },
        ),
    ] {
        let (certificate, key) = pair(folder, name);
        if kept && key.exists() && is_usable(&certificate, Some(&leaf)) {
            continue;
        }
        let issued = authority.issue(&leaf)?;
        write(&key, &issued.key_pem, 0o600)?;
        write(&certificate, &issued.certificate_pem, 0o644)?;
        written.push(name.to_owned());
    }
    Ok(written)
}

fn client<'a>(common_name: &'a str, uris: &'a [&'a str]) -> Leaf<'a> {
    Leaf {
        common_name,
        uris,
        client: true,
        ..Leaf::default()
    }
}

fn pair(folder: &Path, name: &str) -> (PathBuf, PathBuf) {
    (
        folder.join(format!("{name}.pem")),
        folder.join(format!("{name}.key")),
    )
}

/// Is the certificate at `path` readable, not about to expire, and does it hold the names of `leaf`?
fn is_usable(path: &Path, leaf: Option<&Leaf<'_>>) -> bool {
    let Ok(text) = fs::read(path) else {
        return false;
    };
    let Ok((_, pem)) = x509_parser::pem::parse_x509_pem(&text) else {
        return false;
    };
    let Ok(certificate) = pem.parse_x509() else {
        return false;
    };
    let left = certificate.validity().time_to_expiration();
    if left.is_none_or(|left| left.unsigned_abs() < RENEW_BEFORE) {
        return false;
    }
    let Some(leaf) = leaf else { return true };
    let Ok(Some(names)) = certificate.subject_alternative_name() else {
        return false;
    };
    let names = &names.value.general_names;
    leaf.uris
        .iter()
        .all(|uri| names.contains(&GeneralName::URI(uri)))
        && leaf
            .dns
            .iter()
            .all(|name| names.contains(&GeneralName::DNSName(name)))
}

pub(crate) fn read(path: &Path) -> Result<String, Error> {
    fs::read_to_string(path).map_err(at(path))
}

/// Writes beside and renames, so that a service that reloads never reads half a file; a private key is never
/// readable by others, not even for a moment.
fn write(path: &Path, text: &str, mode: u32) -> Result<(), Error> {
    let beside = path.with_extension("new");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(mode)
        .open(&beside)
        .map_err(at(&beside))?;
    // The mode above counts only for a file that did not exist.
    file.set_permissions(fs::Permissions::from_mode(mode))
        .map_err(at(&beside))?;
    file.write_all(text.as_bytes()).map_err(at(&beside))?;
    fs::rename(&beside, path).map_err(at(path))
}

fn at(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    |source| Error::File { path, source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn makes_once_and_keeps_what_is_good() {
        let folder = tempfile::tempdir().unwrap();
        let make = |names: &[&str]| ensure(folder.path(), names).unwrap();
        assert_eq!(make(&[]), ["ca", "key-service", "gateway", "admin", "web"]);
        assert!(make(&[]).is_empty());
        // A further name concerns the web certificate alone.
        assert_eq!(make(&["op.example"]), ["web"]);
        fs::remove_file(folder.path().join("admin.key")).unwrap();
        assert_eq!(make(&["op.example"]), ["admin"]);
        // Leaves of another CA are of no use.
        fs::remove_file(folder.path().join("ca.key")).unwrap();
        assert_eq!(make(&["op.example"]).len(), 5);
        let mode = fs::metadata(folder.path().join("ca.key"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
