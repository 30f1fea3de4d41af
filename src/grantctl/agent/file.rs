//! The file that an agent keeps: written beside its place with its final owner and mode before any secret is in it, put
//! into its place in one step, and removed at the end. What something else wrote is left alone.
//!
//! Beside `NAME` stands `.NAME.grantctl`: its lock says that an agent keeps the file, and in it stands what that agent
//! wrote, so that the next one can tell it from what it did not write.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Stat, Uid, fchmod, fchown, fstat, fsync, openat, renameat,
    renameat_with, statat, unlinkat,
};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::directory::open_checked;

/// The size of what stands in the file beside: always the same, so that one write replaces all of it.
const RECORD: usize = 512;

/// Whose a file is and who can read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Access {
    /// The user.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The permission bits.
    pub mode: u32,
}

/// Why a file could not be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PutError {
    /// What stands there now is not what was written here; it was left alone.
    Foreign(String),
    /// The system did not let us; another try may succeed.
    Failed(String),
}

/// What tells a file that was written here from another that stands in its place, also after a crash. The number of a
/// file that is gone is used again, its time is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    inode: u64,
    size: i64,
    seconds: i64,
    nanoseconds: u64,
}

/// The file. Nothing is removed by dropping it: see [`KeptFile::remove`] and [`KeptFile::leave`].
#[derive(Debug)]
pub(super) struct KeptFile {
    path: PathBuf,
    name: OsString,
    directory: OwnedFd,
    access: Access,
    /// Whether what stands there already may be replaced, the first time.
    force: bool,
    lock: File,
    /// What was written last, held open: as long as it is, its number belongs to no other file.
    written: Option<File>,
}

impl KeptFile {
    /// Takes the place of a file, and removes what a killed agent left there.
    ///
    /// # Errors
    /// When the place is not safe, another agent has it, or something else stands there, unless `force` is given.
    pub(super) fn open(path: &Path, access: Access, us: u32, force: bool) -> Result<Self, String> {
        let path = std::path::absolute(path).map_err(|error| format!("cannot use {}: {error}", path.display()))?;
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(format!("{} is no file's path", path.display()));
        };
        let name = name.to_owned();
        let directory = open_checked(parent, &[us, access.uid])?;
        let lock = lock(&directory, &beside(&name, ""), &path, us)?;
        let mut kept = Self { path, name, directory, access, force, lock, written: None };
        kept.clear()?;
        Ok(kept)
    }

    /// Where it is.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it stands in its place as it was written.
    pub(super) fn stands(&self) -> bool {
        self.there().ok().flatten().is_some_and(|found| self.is_ours(&found))
    }

    /// Puts `contents` in its place in one step.
    ///
    /// # Errors
    /// What stood there before stays.
    pub(super) fn put(&mut self, contents: &[u8]) -> Result<(), PutError> {
        let there = self.there().map_err(PutError::Failed)?;
        let ours = there.as_ref().is_some_and(|found| self.is_ours(found));
        let forced = self.force && self.written.is_none();
        if let Some(found) = &there
            && !ours
            && (!forced || FileType::from_raw_mode(found.st_mode) != FileType::RegularFile)
        {
            return Err(PutError::Foreign(self.foreign()));
        }
        let fresh = beside(&self.name, ".new");
        let done = self.prepare(&fresh, contents).and_then(|file| {
            self.record(there.as_ref().filter(|_| ours), &file)?;
            match there {
                Some(_) => renameat(&self.directory, &fresh, &self.directory, &self.name),
                // What comes to stand there at this very moment is not written over.
                None => rename_into_gap(&self.directory, &fresh, &self.name),
            }?;
            fsync(&self.directory)?;
            Ok(file)
        });
        match done {
            Ok(file) => {
                self.written = Some(file);
                if self.stands() { Ok(()) } else { Err(PutError::Foreign(self.foreign())) }
            }
            Err(error) => {
                let _ = unlinkat(&self.directory, &fresh, AtFlags::empty());
                if error.raw_os_error() == Some(Errno::EXIST.raw_os_error()) {
                    return Err(PutError::Foreign(self.foreign()));
                }
                Err(PutError::Failed(format!("cannot write {}: {error}", self.path.display())))
            }
        }
    }

    /// Removes it, if it is what was written here.
    ///
    /// # Errors
    /// It is not, or the system did not let us.
    pub(super) fn remove(&mut self) -> Result<(), String> {
        let Some(found) = self.there()? else {
            self.written = None;
            return Ok(());
        };
        if !self.is_ours(&found) {
            return Err(self.foreign());
        }
        self.unlink(&self.name)?;
        self.written = None;
        Ok(())
    }

    /// Gives the place up, when the file is removed.
    pub(super) fn leave(self) {
        if self.written.is_none() {
            // Under the lock: who waits for it sees that its file is gone, and begins anew.
            let _ = unlinkat(&self.directory, beside(&self.name, ""), AtFlags::empty());
        }
    }

    /// Removes what a killed agent left, and looks at what else stands there.
    fn clear(&mut self) -> Result<(), String> {
        let fresh = beside(&self.name, ".new");
        match unlinkat(&self.directory, &fresh, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => {
                return Err(format!("cannot remove what a killed agent left beside {}: {errno}", self.path.display()));
            }
        }
        let Some(found) = self.there()? else { return Ok(()) };
        if self.recorded().contains(&mark(&found)) {
            return self.unlink(&self.name);
        }
        match FileType::from_raw_mode(found.st_mode) {
            FileType::RegularFile if self.force => Ok(()),
            FileType::RegularFile => Err(format!("{} (next: move it away, or --force)", self.foreign())),
            FileType::Symlink => Err(format!("{} is a symbolic link, and links are not followed", self.path.display())),
            _ => Err(format!("{} is not a file", self.path.display())),
        }
    }

    /// A new file with its owner and mode from before there is anything in it, then with its content, on disk.
    fn prepare(&self, name: &OsStr, contents: &[u8]) -> io::Result<File> {
        match unlinkat(&self.directory, name, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
        let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.directory, name, new, Mode::RUSR | Mode::WUSR)?);
        let Access { uid, gid, mode } = self.access;
        // In this order: for the mode of another user's file the right to give files away would not be enough.
        fchmod(&file, Mode::from_raw_mode(mode))?;
        fchown(&file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid))).map_err(|errno| match errno {
            Errno::PERM => io::Error::other(format!("only root may give it to user {uid} and group {gid} (--owner)")),
            other => other.into(),
        })?;
        let found = fstat(&file)?;
        if (found.st_uid, found.st_gid, found.st_mode & 0o7777) != (uid, gid, mode) {
            return Err(io::Error::other("its file system does not keep owners and modes"));
        }
        file.write_all(contents)?;
        file.sync_all()?;
        Ok(file)
    }

    /// Writes down what is there and what is about to be: after a crash it may be either.
    fn record(&self, old: Option<&Stat>, new: &File) -> io::Result<()> {
        let marks: Vec<Mark> = old.map(mark).into_iter().chain([mark(&fstat(new)?)]).collect();
        let mut bytes = serde_json::to_vec(&marks)?;
        bytes.resize(RECORD, b' ');
        self.lock.write_all_at(&bytes, 0)?;
        self.lock.sync_data()
    }

    /// What an earlier agent wrote down, if anything.
    fn recorded(&self) -> Vec<Mark> {
        let mut bytes = [0; RECORD];
        match self.lock.read_exact_at(&mut bytes, 0) {
            Ok(()) => serde_json::from_slice(&bytes).unwrap_or_default(),
            Err(_) => Vec::new(),
        }
    }

    fn there(&self) -> Result<Option<Stat>, String> {
        match statat(&self.directory, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(found) => Ok(Some(found)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(format!("cannot look at {}: {errno}", self.path.display())),
        }
    }

    fn is_ours(&self, found: &Stat) -> bool {
        let written = self.written.as_ref().and_then(|file| fstat(file).ok());
        written.is_some_and(|written| (written.st_dev, written.st_ino) == (found.st_dev, found.st_ino))
    }

    fn unlink(&self, name: &OsStr) -> Result<(), String> {
        let done = unlinkat(&self.directory, name, AtFlags::empty()).and_then(|()| fsync(&self.directory));
        done.map_err(|errno| format!("cannot remove {}: {errno}", self.path.display()))
    }

    fn foreign(&self) -> String {
        format!("{} was not written by this agent and is left alone", self.path.display())
    }
}

/// `.NAME.grantctl`, and what is about to become `NAME`.
fn beside(name: &OsStr, ending: &str) -> OsString {
    let mut beside = OsString::from(".");
    beside.push(name);
    beside.push(".grantctl");
    beside.push(ending);
    beside
}

fn mark(found: &Stat) -> Mark {
    Mark { inode: found.st_ino, size: found.st_size, seconds: found.st_mtime, nanoseconds: found.st_mtime_nsec }
}

fn rename_into_gap(directory: &OwnedFd, from: &OsStr, to: &OsStr) -> Result<(), Errno> {
    match renameat_with(directory, from, directory, to, RenameFlags::NOREPLACE) {
        // Not every file system can (renameat2(2)); the directory is nobody else's to write to.
        Err(Errno::INVAL | Errno::NOSYS) => renameat(directory, from, directory, to),
        done => done,
    }
}

fn lock(directory: &OwnedFd, name: &OsStr, path: &Path, us: u32) -> Result<File, String> {
    let failed = |error: io::Error| format!("cannot lock {}: {error}", path.display());
    loop {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let opened = openat(directory, name, flags, Mode::RUSR | Mode::WUSR);
        let lock = File::from(opened.map_err(|errno| failed(errno.into()))?);
        let found = fstat(&lock).map_err(|errno| failed(errno.into()))?;
        let regular = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        if !regular || found.st_uid != us || found.st_nlink > 1 || found.st_mode & 0o022 != 0 {
            let beside = path.with_file_name(name);
            return Err(format!("{} is not what an agent of yours left there: remove it", beside.display()));
        }
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => {
                return Err(format!("another agent keeps {}", path.display()));
            }
            Err(std::fs::TryLockError::Error(error)) => return Err(failed(error)),
        }
        // One that ended meanwhile took the file away with it.
        let there = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW);
        if there.is_ok_and(|there| (there.st_dev, there.st_ino) == (found.st_dev, found.st_ino)) {
            return Ok(lock);
        }
    }
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
