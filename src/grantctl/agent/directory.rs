//! The directory of a credential file: opened without following a link, and only where nobody else could change what
//! stands in it or where it is.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat, fstat, open, openat, statat};
use rustix::io::Errno;

/// Not to be passed on to a program, as a handle on a place alone, and through no link.
const PLACE: OFlags = OFlags::PATH.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens the directory `path`, which is absolute, from the root on. Each directory on the way belongs to root or to one
/// of `trusted` (user ids), and no one else can write to it, as sshd asks of the way to its keys; one with the sticky bit
/// (`/tmp`) may be on the way, and may not be the end of it.
///
/// # Errors
/// Which directory is not so, and what to do.
pub(super) fn open_checked(path: &Path, trusted: &[u32]) -> Result<OwnedFd, String> {
    let mut reached = PathBuf::from("/");
    let mut directory = open("/", PLACE, Mode::empty()).map_err(|errno| cannot(&reached, errno))?;
    check(&reached, &directory, trusted, false)?;
    let mut names = path.components().filter(|component| *component != Component::RootDir).peekable();
    while let Some(component) = names.next() {
        let Component::Normal(name) = component else {
            return Err(format!("{} must be a path without `..`", path.display()));
        };
        reached.push(name);
        directory = openat(&directory, name, PLACE, Mode::empty())
            .map_err(|errno| refused(&directory, name, &reached, errno))?;
        check(&reached, &directory, trusted, names.peek().is_none())?;
    }
    // What was opened as a place alone can neither be read nor be synced to disk.
    let readable = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(&directory, ".", readable, Mode::empty()).map_err(|errno| cannot(&reached, errno))
}

fn check(path: &Path, directory: &OwnedFd, trusted: &[u32], last: bool) -> Result<(), String> {
    let found = fstat(directory).map_err(|errno| cannot(path, errno))?;
    let path = path.display();
    if found.st_uid != 0 && !trusted.contains(&found.st_uid) {
        let uid = found.st_uid;
        return Err(format!(
            "{path} belongs to user {uid}, who could put another file there: use a directory of your own"
        ));
    }
    let sticky = found.st_mode & 0o1000 != 0;
    if found.st_mode & 0o022 != 0 && (last || !sticky) {
        return Err(format!(
            "{path} can be written by others (next: chmod go-w {path}, or use a directory of your own)"
        ));
    }
    Ok(())
}

/// Why a directory cannot be opened: the kernel says the same of a link and of a file.
fn refused(above: &OwnedFd, name: &OsStr, path: &Path, errno: Errno) -> String {
    let is_link = |found: Stat| FileType::from_raw_mode(found.st_mode) == FileType::Symlink;
    if statat(above, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(is_link) {
        return format!("{} is a symbolic link, and links are not followed: name what it points to", path.display());
    }
    cannot(path, errno)
}

fn cannot(path: &Path, errno: Errno) -> String {
    format!("cannot use the directory {}: {errno}", path.display())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    use super::*;

    fn place() -> (tempfile::TempDir, u32) {
        let place = tempfile::tempdir().unwrap();
        let uid = fs::metadata(place.path()).unwrap().uid();
        (place, uid)
    }

    #[test]
    fn a_directory_of_ones_own_is_taken_below_a_sticky_one_too() {
        let (place, uid) = place();
        assert!(open_checked(place.path(), &[uid]).is_ok());
        let nested = place.path().join("a/b");
        fs::create_dir_all(&nested).unwrap();
        fs::set_permissions(place.path().join("a"), Permissions::from_mode(0o1777)).unwrap();
        assert!(open_checked(&nested, &[uid]).is_ok());
    }

    #[test]
    fn what_others_could_change_is_refused_wherever_on_the_way_it_is() {
        let (place, uid) = place();
        let nested = place.path().join("a/b");
        fs::create_dir_all(&nested).unwrap();
        for (which, mode) in [("a", 0o775), ("a", 0o777), ("a/b", 0o775), ("a/b", 0o757), ("a/b", 0o1777)] {
            let path = place.path().join(which);
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let said = open_checked(&nested, &[uid]).unwrap_err();
            assert!(said.contains("written by others") && said.contains(path.to_str().unwrap()), "{mode:o}: {said}");
            fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        }
        assert!(open_checked(&nested, &[uid]).is_ok());
    }

    #[test]
    fn no_link_is_followed_and_no_way_leads_back() {
        let (place, uid) = place();
        fs::create_dir_all(place.path().join("real/in")).unwrap();
        symlink(place.path().join("real"), place.path().join("link")).unwrap();
        for path in ["link", "link/in"] {
            assert!(
                open_checked(&place.path().join(path), &[uid]).unwrap_err().contains("is a symbolic link"),
                "{path}"
            );
        }
        assert!(open_checked(&place.path().join("real/../real"), &[uid]).unwrap_err().contains("without `..`"));
        fs::write(place.path().join("file"), "").unwrap();
        assert!(open_checked(&place.path().join("file"), &[uid]).unwrap_err().contains("cannot use"));
    }
}
