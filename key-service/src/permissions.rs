//! Who else could read or change a file that this process trusts (as `StrictModes` of sshd_config(5) asks): its owner and
//! its mode, and of what is loaded as code also those of every folder above it.

use std::fs::{self, File, Metadata};
use std::io;
use std::iter::repeat;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::{FsFlags, fstatvfs};
use nix::unistd::{getegid, geteuid};

/// A folder in which nobody removes or renames what is another's (inode(7)).
const STICKY: u32 = 0o1000;

/// Why a file is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It cannot be opened, or looked at.
    #[error("cannot read {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others can read it, or change it.
    #[error("{} {what}: run `{remedy} {}`", path.display(), path.display())]
    Loose {
        /// The file, or a folder above it.
        path: PathBuf,
        /// Who can.
        what: String,
        /// The command, without the path.
        remedy: String,
    },
}

/// Opens a file that nobody else may read.
///
/// # Errors
/// It cannot be opened, or others can read or change it.
pub fn open_secret(path: &Path) -> Result<File, Refused> {
    let file = File::open(path).map_err(unreadable(path))?;
    let metadata = file.metadata().map_err(unreadable(path))?;
    secret(path, &metadata)?;
    Ok(file)
}

/// Looks at a file that nobody else may read.
///
/// # Errors
/// As [`open_secret`].
pub fn check_secret(path: &Path) -> Result<(), Refused> {
    let metadata = fs::metadata(path).map_err(unreadable(path))?;
    secret(path, &metadata)
}

/// Looks at a folder that nobody else may enter.
///
/// # Errors
/// It cannot be looked at, or others can enter it.
pub fn check_private_folder(path: &Path) -> Result<(), Refused> {
    let metadata = fs::metadata(path).map_err(unreadable(path))?;
    owned_by_us(path, &metadata)?;
    closed(path, &metadata, "chmod 700")
}

/// Opens a file that others may read, and not change, nor put another in its place.
///
/// Whose it is does not matter, nor on a read-only mount who could write it elsewhere: a configuration that is mounted into
/// a container belongs to somebody outside, and what it names to load is looked at for itself.
///
/// # Errors
/// It cannot be opened, or others can change it.
pub fn open_unchangeable(path: &Path) -> Result<File, Refused> {
    let file = File::open(path).map_err(unreadable(path))?;
    let metadata = file.metadata().map_err(unreadable(path))?;
    let mount = fstatvfs(&file).map_err(|error| unreadable(path)(error.into()))?;
    if !mount.flags().contains(FsFlags::ST_RDONLY) {
        unchangeable(path, &metadata)?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        irreplaceable_in(folder.unwrap_or(Path::new(".")))?;
    }
    Ok(file)
}

/// Looks at a folder in which others may not write: what lies in it is ours. A group may: a volume's group is that of
/// those who share it.
///
/// # Errors
/// It cannot be looked at, or others can change it.
pub fn check_folder(path: &Path) -> Result<(), Refused> {
    let metadata = fs::metadata(path).map_err(unreadable(path))?;
    owned_by_us(path, &metadata)?;
    if metadata.mode() & 0o002 == 0 {
        return Ok(());
    }
    Err(changeable(path, &metadata, "chmod o-w"))
}

/// Looks at a file that is loaded as code: nobody but root and us may put another in its place. It and its folder are
/// root's or ours; a folder further above may be somebody else's, as where a checkout is mounted into a container, and is
/// one that nobody else writes.
///
/// # Errors
/// It cannot be looked at; or others own or can change it or its folder, or can change a folder above.
pub fn check_code(path: &Path) -> Result<(), Refused> {
    let real = fs::canonicalize(path).map_err(unreadable(path))?;
    let near = [true, true].into_iter().chain(repeat(false));
    for (part, is_near) in real.ancestors().zip(near) {
        let metadata = fs::metadata(part).map_err(unreadable(part))?;
        if is_near {
            owned_by_us(part, &metadata)?;
        }
        let is_sticky = metadata.is_dir() && metadata.mode() & STICKY != 0;
        if !is_sticky {
            unchangeable(part, &metadata)?;
        }
    }
    Ok(())
}

/// Root's file may be one that its group can read, for so are secrets handed to a service that is not root: in Kubernetes
/// by `fsGroup`, by systemd with an access control list, whose mask stands in the mode as the group's bits (acl(5)).
fn secret(path: &Path, metadata: &Metadata) -> Result<(), Refused> {
    owned_by_us(path, metadata)?;
    if metadata.uid() == geteuid().as_raw() {
        return closed(path, metadata, "chmod 600");
    }
    if metadata.mode() & 0o037 == 0 {
        return Ok(());
    }
    Err(open_to_others(path, metadata, "chmod 440"))
}

fn closed(path: &Path, metadata: &Metadata, remedy: &str) -> Result<(), Refused> {
    if metadata.mode() & 0o077 == 0 {
        return Ok(());
    }
    Err(open_to_others(path, metadata, remedy))
}

fn owned_by_us(path: &Path, metadata: &Metadata) -> Result<(), Refused> {
    let (owner, us) = (metadata.uid(), geteuid().as_raw());
    if owner == 0 || owner == us {
        return Ok(());
    }
    Err(Refused::Loose {
        path: path.to_owned(),
        what: format!("belongs to another user (uid {owner}), who can change it"),
        remedy: format!("chown {us}"),
    })
}

/// A group that is root's or our own is no other user: with umask 002, which private groups allow, files are made so.
fn unchangeable(path: &Path, metadata: &Metadata) -> Result<(), Refused> {
    let is_trusted = [0, getegid().as_raw()].contains(&metadata.gid());
    let others = if is_trusted { 0o002 } else { 0o022 };
    if metadata.mode() & others == 0 {
        return Ok(());
    }
    Err(changeable(path, metadata, "chmod go-w"))
}

/// Whoever writes in a folder puts another file in place of each, unless the folder keeps them from that.
fn irreplaceable_in(folder: &Path) -> Result<(), Refused> {
    let metadata = fs::metadata(folder).map_err(unreadable(folder))?;
    if metadata.mode() & 0o002 == 0 || metadata.mode() & STICKY != 0 {
        return Ok(());
    }
    Err(changeable(folder, &metadata, "chmod go-w"))
}

fn open_to_others(path: &Path, metadata: &Metadata, remedy: &str) -> Refused {
    Refused::Loose {
        path: path.to_owned(),
        what: format!(
            "is open to other users (mode {:03o})",
            metadata.mode() & 0o777
        ),
        remedy: remedy.to_owned(),
    }
}

fn changeable(path: &Path, metadata: &Metadata, remedy: &str) -> Refused {
    Refused::Loose {
        path: path.to_owned(),
        what: format!(
            "can be changed by other users (mode {:03o})",
            metadata.mode() & 0o777
        ),
        remedy: remedy.to_owned(),
    }
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Refused {
    let path = path.to_owned();
    |source| Refused::Unreadable { path, source }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::PermissionsExt as _;

    use nix::unistd::{Gid, Uid, chown};

    use super::*;

    type Check = fn(&Path) -> Result<(), Refused>;

    /// What a check says of a file or folder of this mode: nothing, or the remedy.
    fn said(check: Check, path: &Path, mode: u32) -> Option<String> {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let refused = check(path).err().map(|refused| refused.to_string());
        if let Some(refused) = &refused {
            let named = format!("{} ", path.display());
            assert!(refused.starts_with(&named), "{refused}");
            assert!(
                refused.contains(&format!("mode {:03o}", mode & 0o777)),
                "{refused}"
            );
        }
        refused.map(|refused| {
            let (_, remedy) = refused.split_once("run `").unwrap();
            remedy.split(" /").next().unwrap().to_owned()
        })
    }

    #[test]
    fn each_mode_that_lets_others_in_is_refused_with_its_remedy() {
        let folder = tempfile::tempdir().unwrap();
        let (file, inner) = (folder.path().join("file"), folder.path().join("inner"));
        fs::write(&file, "").unwrap();
        fs::create_dir(&inner).unwrap();
        let is_opened: Check = |path| open_unchangeable(path).map(drop);
        for (what, check, path, mode, remedy) in [
            ("a secret", check_secret as Check, &file, 0o600, None),
            ("a secret", check_secret, &file, 0o400, None),
            (
                "a secret that our group reads",
                check_secret,
                &file,
                0o640,
                Some("chmod 600"),
            ),
            (
                "a secret that all read",
                check_secret,
                &file,
                0o604,
                Some("chmod 600"),
            ),
            (
                "a secret that all write",
                check_secret,
                &file,
                0o602,
                Some("chmod 600"),
            ),
            (
                "a private folder",
                check_private_folder,
                &inner,
                0o700,
                None,
            ),
            (
                "one that our group enters",
                check_private_folder,
                &inner,
                0o750,
                Some("chmod 700"),
            ),
            ("a configuration", is_opened, &file, 0o644, None),
            (
                "one that our own group writes",
                is_opened,
                &file,
                0o664,
                None,
            ),
            (
                "one that all write",
                is_opened,
                &file,
                0o646,
                Some("chmod go-w"),
            ),
            ("a folder", check_folder, &inner, 0o2775, None),
            (
                "a folder that all write",
                check_folder,
                &inner,
                0o1777,
                Some("chmod o-w"),
            ),
            ("code", check_code, &file, 0o755, None),
            (
                "code that all write",
                check_code,
                &file,
                0o757,
                Some("chmod go-w"),
            ),
        ] {
            let refused = said(check, path, mode);
            assert_eq!(refused.as_deref(), remedy, "{what}, {mode:o}");
        }
        assert!(matches!(
            open_secret(&folder.path().join("none")),
            Err(Refused::Unreadable { .. })
        ));
    }

    #[test]
    fn a_configuration_is_no_safer_than_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        for (mode, is_refused) in [
            (0o755, false),
            (0o775, false),
            (0o757, true),
            (0o1777, false),
        ] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(open_unchangeable(&file).is_err(), is_refused, "{mode:o}");
        }
    }

    #[test]
    fn code_is_no_safer_than_the_folders_above_it() {
        let folder = tempfile::tempdir().unwrap();
        let (inner, link) = (folder.path().join("inner"), folder.path().join("link"));
        fs::create_dir(&inner).unwrap();
        let module = inner.join("module.so");
        fs::write(&module, "").unwrap();
        std::os::unix::fs::symlink(&module, &link).unwrap();
        // Behind a link too, and not with the sticky bit, which /tmp above it has.
        for (mode, is_refused) in [(0o755, false), (0o757, true), (0o1777, false)] {
            fs::set_permissions(&inner, fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(check_code(&link).is_err(), is_refused, "{mode:o}");
        }
    }

    /// Only root can give files away: elsewhere these rows cannot be made.
    #[test]
    fn what_belongs_to_another_user_is_not_ours() {
        if !geteuid().is_root() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&file, Some(Uid::from_raw(1)), None).unwrap();
        for check in [check_secret as Check, check_code] {
            let refused = check(&file).unwrap_err().to_string();
            assert!(
                refused.contains("uid 1)") && refused.contains("run `chown 0 "),
                "{refused}"
            );
        }
        assert!(open_unchangeable(&file).is_ok());
        chown(&file, Some(Uid::from_raw(0)), Some(Gid::from_raw(1))).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o664)).unwrap();
        let refused = open_unchangeable(&file).unwrap_err().to_string();
        assert!(
            refused.contains("run `chmod go-w "),
            "another group writes: {refused}"
        );
    }
}
