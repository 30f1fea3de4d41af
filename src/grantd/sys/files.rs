//! Files that nobody but root and the daemon can have written.
//!
//! A path is walked from `/` one component at a time, each opened through its parent and never by name again; the
//! descriptor is judged, not the path, so there is no moment to swap one for the other. Every directory on the way,
//! every symbolic link and the end itself must be owned by a trusted user, and none may be writable by group or
//! others. The one exception is a sticky directory such as `/tmp` on the way: nobody can replace there what a trusted
//! user owns. POSIX ACLs are covered: a write right granted by an ACL shows in the group bits (acl(5)).

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{Mode, OFlags, openat, readlinkat};
use zeroize::Zeroizing;

/// As many symbolic links as Linux itself follows (path_resolution(7)).
const MAX_LINKS: u32 = 40;

const WRITABLE_BY_OTHERS: u32 = 0o022;
const OPEN_TO_OTHERS: u32 = 0o077;
const STICKY: u32 = 0o1000;

/// The users that may own what is trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owners(Vec<u32>);

impl Owners {
    /// Root and the user this process runs as.
    #[must_use]
    pub fn root_and_self() -> Self {
        Self::root_and(rustix::process::geteuid().as_raw())
    }

    /// Root and one other user.
    #[must_use]
    pub fn root_and(uid: u32) -> Self {
        Self(if uid == 0 { vec![0] } else { vec![0, uid] })
    }

    fn include(&self, uid: u32) -> bool {
        self.0.contains(&uid)
    }
}

impl fmt::Display for Owners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<String> = self.0.iter().map(|uid| format!("uid {uid}")).collect();
        f.write_str(&names.join(" or "))
    }
}

/// Opens a regular file for reading, if it and the way to it can be trusted.
///
/// # Errors
/// [`TrustError`] names the component at fault and the command that mends it.
pub fn trusted_file(path: &Path, owners: &Owners) -> Result<File, TrustError> {
    open_end(path, owners, Want::File)
}

/// Opens a directory, if it and the way to it can be trusted. What is listed through it was put there by a trusted
/// user; each file in it is still to be read with [`read_trusted`].
///
/// # Errors
/// As [`trusted_file`]; a sticky directory such as `/tmp` is refused.
pub fn trusted_dir(path: &Path, owners: &Owners) -> Result<File, TrustError> {
    open_end(path, owners, Want::Directory)
}

/// Opens a directory that, besides, nobody else may even look into: the state directory.
///
/// # Errors
/// As [`trusted_dir`].
pub fn private_dir(path: &Path, owners: &Owners) -> Result<File, TrustError> {
    open_end(path, owners, Want::PrivateDirectory)
}

/// Reads a configuration, catalog or policy file of at most `max_bytes` bytes.
///
/// # Errors
/// As [`trusted_file`]; also when the file is larger or is not UTF-8.
pub fn read_trusted(path: &Path, owners: &Owners, max_bytes: u64) -> Result<String, TrustError> {
    let bytes = read_all(path, trusted_file(path, owners)?, max_bytes)?;
    String::from_utf8(bytes).map_err(|_| TrustError::new(path, path, Problem::NotText))
}

/// Reads a secret of at most `max_bytes` bytes, from a file that nobody else may read either.
///
/// # Errors
/// As [`trusted_file`]; the error never quotes the content.
pub fn read_secret_file(path: &Path, owners: &Owners, max_bytes: u64) -> Result<Zeroizing<Vec<u8>>, TrustError> {
    let file = open_end(path, owners, Want::SecretFile)?;
    read_all(path, file, max_bytes).map(Zeroizing::new)
}

/// Why a path is not trusted: what was asked for, the component at fault, and what is wrong with it.
#[derive(Debug, thiserror::Error)]
#[error("refusing {}: {} {}", .asked.display(), .at.display(), .problem.explained(.at))]
pub struct TrustError {
    /// The path as it was given.
    pub asked: PathBuf,
    /// The component at fault, after symbolic links.
    pub at: PathBuf,
    /// What is wrong.
    #[source]
    pub problem: Problem,
}

impl TrustError {
    fn new(asked: &Path, at: &Path, problem: Problem) -> Self {
        Self { asked: asked.to_owned(), at: at.to_owned(), problem }
    }
}

/// What is wrong with a component of a path.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// It cannot be opened or read.
    #[error("cannot be opened: {0}")]
    Unopenable(#[source] io::Error),
    /// A user who is not trusted owns it, and could change it at will.
    #[error("is owned by uid {uid} and only {owners} may own it")]
    Owner {
        /// Who owns it.
        uid: u32,
        /// Who may.
        owners: Owners,
    },
    /// Its group or everyone may write to it.
    #[error("can be written by its group or by everyone (mode {0:04o})")]
    Writable(u32),
    /// Its group or everyone may read it, and it is secret or private.
    #[error("can be read by its group or by everyone (mode {0:04o})")]
    Readable(u32),
    /// It is something else than was asked for.
    #[error("is {found} and should be {wanted}")]
    Kind {
        /// What it is.
        found: &'static str,
        /// What was asked for.
        wanted: &'static str,
    },
    /// A second name for a file in a directory that everyone may write to: anybody may have put it there.
    #[error("has another hard link and stands in a directory that others may write to")]
    HardLinked,
    /// The path winds through too many symbolic links.
    #[error("is reached through more than {MAX_LINKS} symbolic links")]
    TooManyLinks,
    /// It is larger than it may be.
    #[error("is larger than {0} bytes")]
    TooLarge(u64),
    /// It holds bytes that are no text.
    #[error("is not valid UTF-8")]
    NotText,
}

impl Problem {
    /// The problem, and the command that mends it where there is one.
    fn explained(&self, at: &Path) -> String {
        let path = at.display();
        match self {
            Self::Owner { .. } => format!("{self}: check its content, then run `chown root '{path}'`"),
            Self::Writable(_) => format!("{self}: check its content, then run `chmod go-w '{path}'`"),
            Self::Readable(_) => format!("{self}: run `chmod go= '{path}'`, and replace the secret if others had it"),
            Self::HardLinked => format!("{self}: move it to a directory of its own"),
            _ => self.to_string(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Want {
    File,
    SecretFile,
    Directory,
    PrivateDirectory,
}

impl Want {
    fn name(self) -> &'static str {
        match self {
            Self::File | Self::SecretFile => "a regular file",
            Self::Directory | Self::PrivateDirectory => "a directory",
        }
    }

    /// `NONBLOCK` so that a FIFO or a device cannot hold us up before its kind is known.
    fn flags(self) -> OFlags {
        let common = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        match self {
            Self::File | Self::SecretFile => common,
            Self::Directory | Self::PrivateDirectory => common | OFlags::DIRECTORY,
        }
    }
}

/// Where a path ends: a name in a directory that was trusted on the way.
struct End {
    parent: File,
    name: OsString,
    at: PathBuf,
    /// Others may create names in the parent, which is sticky.
    shared_parent: bool,
}

fn open_end(path: &Path, owners: &Owners, want: Want) -> Result<File, TrustError> {
    let end = walk(path, owners, want)?;
    let refuse = |problem| TrustError::new(path, &end.at, problem);
    let file = openat(&end.parent, &end.name, want.flags(), Mode::empty())
        .map(File::from)
        .map_err(|errno| refuse(Problem::Unopenable(errno.into())))?;
    // Judged again on the very descriptor that is read from.
    let meta = file.metadata().map_err(|error| refuse(Problem::Unopenable(error)))?;
    judge_end(&meta, owners, want, end.shared_parent).map_err(refuse)?;
    Ok(file)
}

/// Walks to the end of a path. Each component is opened with `O_PATH | O_NOFOLLOW` through its parent's descriptor.
fn walk(path: &Path, owners: &Owners, want: Want) -> Result<End, TrustError> {
    let unopenable = |at: &Path, error: io::Error| TrustError::new(path, at, Problem::Unopenable(error));
    let absolute = std::path::absolute(path).map_err(|error| unopenable(path, error))?;
    let mut pending = names_of(&absolute);
    let mut links = 0;
    let (mut dir, mut at, mut shared) = root(path, owners)?;
    loop {
        let name = pending.pop_front().unwrap_or_else(|| OsString::from("."));
        let here = join(&at, &name);
        let entry = openat(&dir, &name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())
            .map(File::from)
            .map_err(|errno| unopenable(&here, errno.into()))?;
        let meta = entry.metadata().map_err(|error| unopenable(&here, error))?;
        let refuse = |problem| TrustError::new(path, &here, problem);
        if meta.is_symlink() {
            judge_owner(&meta, owners).map_err(refuse)?;
            links += 1;
            if links > MAX_LINKS {
                return Err(refuse(Problem::TooManyLinks));
            }
            let target = readlinkat(&entry, "", Vec::new()).map_err(|errno| unopenable(&here, errno.into()))?;
            let target = PathBuf::from(OsString::from_vec(target.into_bytes()));
            if target.is_absolute() {
                (dir, at, shared) = root(path, owners)?;
            }
            for name in names_of(&target).into_iter().rev() {
                pending.push_front(name);
            }
        } else if pending.is_empty() {
            judge_end(&meta, owners, want, shared).map_err(refuse)?;
            return Ok(End { parent: dir, name, at: here, shared_parent: shared });
        } else {
            shared = judge_passage(&meta, owners).map_err(refuse)?;
            (dir, at) = (entry, here);
        }
    }
}

/// The names of a path in order; `..` stays, and is opened like any other name.
fn names_of(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir))
        .map(|part| part.as_os_str().to_owned())
        .collect()
}

fn join(at: &Path, name: &OsString) -> PathBuf {
    match name.to_str() {
        Some("..") => at.parent().unwrap_or(at).to_owned(),
        Some(".") => at.to_owned(),
        _ => at.join(name),
    }
}

fn root(asked: &Path, owners: &Owners) -> Result<(File, PathBuf, bool), TrustError> {
    let at = PathBuf::from("/");
    let refuse = |problem| TrustError::new(asked, Path::new("/"), problem);
    let dir = File::open(&at).map_err(|error| refuse(Problem::Unopenable(error)))?;
    let meta = dir.metadata().map_err(|error| refuse(Problem::Unopenable(error)))?;
    let shared = judge_passage(&meta, owners).map_err(refuse)?;
    Ok((dir, at, shared))
}

fn judge_owner(meta: &Metadata, owners: &Owners) -> Result<(), Problem> {
    if owners.include(meta.uid()) { Ok(()) } else { Err(Problem::Owner { uid: meta.uid(), owners: owners.clone() }) }
}

/// A directory on the way. Returns whether others may create names in it.
fn judge_passage(meta: &Metadata, owners: &Owners) -> Result<bool, Problem> {
    if !meta.is_dir() {
        return Err(Problem::Kind { found: kind_of(meta), wanted: "a directory" });
    }
    judge_owner(meta, owners)?;
    let shared = meta.mode() & WRITABLE_BY_OTHERS != 0;
    if shared && meta.mode() & STICKY == 0 {
        return Err(Problem::Writable(meta.mode() & 0o7777));
    }
    Ok(shared)
}

fn judge_end(meta: &Metadata, owners: &Owners, want: Want, shared_parent: bool) -> Result<(), Problem> {
    let right_kind = match want {
        Want::File | Want::SecretFile => meta.is_file(),
        Want::Directory | Want::PrivateDirectory => meta.is_dir(),
    };
    if !right_kind {
        return Err(Problem::Kind { found: kind_of(meta), wanted: want.name() });
    }
    judge_owner(meta, owners)?;
    let mode = meta.mode() & 0o7777;
    if mode & WRITABLE_BY_OTHERS != 0 {
        return Err(Problem::Writable(mode));
    }
    if matches!(want, Want::SecretFile | Want::PrivateDirectory) && mode & OPEN_TO_OTHERS != 0 {
        return Err(Problem::Readable(mode));
    }
    if shared_parent && meta.is_file() && meta.nlink() != 1 {
        return Err(Problem::HardLinked);
    }
    Ok(())
}

fn kind_of(meta: &Metadata) -> &'static str {
    let kind = meta.file_type();
    match () {
        () if kind.is_file() => "a regular file",
        () if kind.is_dir() => "a directory",
        () if kind.is_symlink() => "a symbolic link",
        () if kind.is_socket() => "a socket",
        () if kind.is_fifo() => "a pipe",
        () => "a device",
    }
}

/// Reads to the end, which must come within `max_bytes`.
fn read_all(path: &Path, file: File, max_bytes: u64) -> Result<Vec<u8>, TrustError> {
    let mut bytes = Vec::new();
    let limit = max_bytes.saturating_add(1);
    let read = file.take(limit).read_to_end(&mut bytes);
    match read.map(u64::try_from) {
        Ok(Ok(length)) if length <= max_bytes => Ok(bytes),
        Ok(_) => Err(TrustError::new(path, path, Problem::TooLarge(max_bytes))),
        Err(error) => Err(TrustError::new(path, path, Problem::Unopenable(error))),
    }
}

#[cfg(test)]
#[path = "files_tests.rs"]
mod tests;
