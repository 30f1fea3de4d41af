//! A private directory for what the command of `exec` reads, removed at the end. One whose owner was killed is removed by
//! the next `exec` of the same user.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::exit::{Exit, Failure};

/// How the directories begin.
const PREFIX: &str = "grantctl-exec-";

/// The file whose lock says that the directory's owner lives.
const LOCK: &str = "lock";

/// The directory. Dropping it removes it with all that is in it.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    _lock: File,
}

impl Place {
    /// A directory of mode 0700 under `$XDG_RUNTIME_DIR`, `/run/user/UID` or the directory for temporary files: the
    /// first that is there, and for the first two belongs to `uid`.
    pub(super) fn new(uid: u32) -> Result<Self, Failure> {
        let base = base(uid);
        sweep(&base, uid);
        Self::under(&base).map_err(|error| {
            let base = base.display();
            Failure::new(Exit::Unexpected, format!("cannot make a private directory in {base}: {error} (next: TMPDIR)"))
        })
    }

    fn under(base: &Path) -> io::Result<Self> {
        let name: String = random::<16>()?.iter().map(|byte| format!("{byte:02x}")).collect();
        // Under another name until it is locked, so that nobody sweeps it away before.
        let (begun, path) = (base.join(format!(".{PREFIX}{name}")), base.join(format!("{PREFIX}{name}")));
        // mkdir fails where something is there already, be it a link: nobody can put a directory of theirs in its place.
        DirBuilder::new().mode(0o700).create(&begun)?;
        let lock = create(&begun.join(LOCK))?;
        lock.try_lock().map_err(io::Error::from)?;
        fs::rename(&begun, &path)?;
        Ok(Self { path, _lock: lock })
    }

    /// Makes a directory of mode 0700 in it; gives its path.
    pub(super) fn directory(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.path.join(name);
        DirBuilder::new().mode(0o700).create(&path)?;
        Ok(path)
    }

    /// Writes a file of mode 0600 and puts it in place of any of this name in one step; gives its path.
    pub(super) fn write(&self, name: &str, contents: &[u8]) -> io::Result<PathBuf> {
        let (path, fresh) = (self.path.join(name), self.path.join(format!("{name}.new")));
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        create(&fresh)?.write_all(contents)?;
        fs::rename(&fresh, &path)?;
        Ok(path)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next run.
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// `N` bytes from the kernel's generator (random(4)).
pub(super) fn random<const N: usize>() -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn base(uid: u32) -> PathBuf {
    let theirs = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == uid);
    let run = env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).filter(|path| path.is_absolute());
    run.into_iter().chain([PathBuf::from(format!("/run/user/{uid}"))]).find(theirs).unwrap_or_else(env::temp_dir)
}

/// Removes directories whose owner was killed before it could: nobody holds their lock any more.
fn sweep(base: &Path, uid: u32) {
    let Ok(entries) = fs::read_dir(base) else { return };
    for entry in entries.flatten() {
        let path = entry.path();
        let ours = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX));
        if ours && fs::symlink_metadata(&path).is_ok_and(|found| found.is_dir() && found.uid() == uid) {
            let abandoned = File::open(path.join(LOCK)).is_ok_and(|lock| lock.try_lock().is_ok());
            if abandoned {
                let _ = fs::remove_dir_all(&path);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn p9_what_is_written_is_for_its_user_alone_and_gone_at_the_end() {
        let base = tempfile::tempdir().unwrap();
        let place = Place::under(base.path()).unwrap();
        let file = place.write("token", b"one").unwrap();
        assert_eq!(place.write("token", b"two").unwrap(), file);
        assert_eq!((fs::read(&file).unwrap(), mode(&file)), (b"two".to_vec(), 0o600));
        assert_eq!(mode(file.parent().unwrap()), 0o700);
        drop(place);
        assert_eq!(fs::read_dir(base.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_a_killed_run_left_is_removed_and_what_lives_is_not() {
        let base = tempfile::tempdir().unwrap();
        let (living, killed) = (Place::under(base.path()).unwrap(), Place::under(base.path()).unwrap());
        let (kept, left) = (living.path.clone(), killed.path.clone());
        killed.write("credentials", b"secret").unwrap();
        // As a kill leaves it: the lock is let go, the directory stays.
        let Place { path: _, _lock } = &killed;
        _lock.unlock().unwrap();
        let uid = fs::metadata(base.path()).unwrap().uid();
        sweep(base.path(), uid.wrapping_add(1));
        assert!(left.exists(), "somebody else's was removed");
        sweep(base.path(), uid);
        assert!(kept.exists() && !left.exists());
    }
}
