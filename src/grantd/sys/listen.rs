//! The socket that callers connect to: bound by ourselves or handed over by systemd.
//!
//! The socket has its right owner, group and mode before anybody can connect. Linux takes the mode of the new name
//! from the socket's own inode (`unix_bind`), so it is set to nothing before bind(2), whatever the umask; and until
//! listen(2), which comes last, every connect(2) is refused anyway.

use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, lchown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use rustix::fs::{FlockOperation, Mode, fchmod, flock};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind as bind_socket, connect, socket_with, sockopt,
};

use super::files::{Owners, TrustError, trusted_dir};

/// Connections that may wait for accept(2); the kernel cuts it at `net.core.somaxconn` (4096).
const BACKLOG: i32 = 1024;

/// A socket name has room for 107 bytes and its terminating zero (unix(7)).
const MAX_PATH: usize = 107;

/// How long another process may hold the socket's directory, in steps.
const LOCK_STEPS: u32 = 20;
const LOCK_STEP: Duration = Duration::from_millis(100);

/// Where to listen and who may connect: connecting needs the right to write (unix(7)).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketSettings {
    /// Path of the socket; its directory must be one that only trusted users can write to.
    pub path: PathBuf,
    /// Owner, if not the daemon's own user.
    pub owner: Option<u32>,
    /// Group, if not the daemon's own.
    pub group: Option<u32>,
    /// Mode such as `0o660`. Bits outside `0o666`, or no right for the owner, are refused.
    pub mode: u32,
}

/// Binds the socket and listens, non-blocking. A socket that nobody listens on any more is replaced.
///
/// # Errors
/// [`ListenError`]; nothing that is not a dead socket is ever removed.
pub fn bind(settings: &SocketSettings, owners: &Owners) -> Result<UnixListener, ListenError> {
    let path = &settings.path;
    if settings.mode & !0o666 != 0 || settings.mode & 0o600 != 0o600 {
        return Err(ListenError::Mode(settings.mode));
    }
    let parent = match path.parent() {
        Some(parent) if path.is_absolute() && path.file_name().is_some() => parent,
        _ => return Err(ListenError::Path(path.clone())),
    };
    if path.as_os_str().len() > MAX_PATH {
        return Err(ListenError::TooLong(path.clone()));
    }
    let directory = trusted_dir(parent, owners)?;
    lock_briefly(&directory, parent)?;
    remove_if_dead(path)?;

    let socket = bind_closed(path)?;
    let listening = open_to_callers(settings, &socket);
    if matches!(listening, Err(ListenError::Bind { .. })) {
        fs::remove_file(path).ok();
    }
    listening?;
    Ok(UnixListener::from(socket))
}

/// Gives the socket its name, with a mode that lets nobody in.
fn bind_closed(path: &Path) -> Result<OwnedFd, ListenError> {
    let failed = |step: &'static str| {
        move |errno: Errno| ListenError::Bind { path: path.to_owned(), step, source: errno.into() }
    };
    let socket = new_socket().map_err(failed("create"))?;
    fchmod(&socket, Mode::empty()).map_err(failed("protect"))?;
    let address = SocketAddrUnix::new(path).map_err(failed("name"))?;
    bind_socket(&socket, &address).map_err(failed("bind"))?;
    Ok(socket)
}

/// The owner, then the mode, then a look at both, and only then listen(2).
fn open_to_callers(settings: &SocketSettings, socket: &OwnedFd) -> Result<(), ListenError> {
    let path = &settings.path;
    let failed = |step: &'static str| move |source| ListenError::Bind { path: path.clone(), step, source };
    lchown(path, settings.owner, settings.group).map_err(failed("give to its owner and group"))?;
    fs::set_permissions(path, Permissions::from_mode(settings.mode)).map_err(failed("set the mode of"))?;
    let meta = fs::symlink_metadata(path).map_err(failed("check"))?;
    let as_wanted = meta.file_type().is_socket()
        && meta.mode() & 0o7777 == settings.mode
        && settings.owner.is_none_or(|uid| meta.uid() == uid)
        && settings.group.is_none_or(|gid| meta.gid() == gid);
    if !as_wanted {
        return Err(ListenError::Replaced(path.clone()));
    }
    rustix::net::listen(socket, BACKLOG).map_err(|errno| failed("listen on")(errno.into()))
}

/// Takes over a listening socket from systemd's socket unit, which owns its path, owner and mode.
///
/// # Errors
/// [`ListenError::Adopted`] when the descriptor is not a listening `AF_UNIX` stream socket with a path.
pub fn adopt(socket: OwnedFd) -> Result<UnixListener, ListenError> {
    let refuse = ListenError::Adopted;
    if sockopt::socket_domain(&socket).ok() != Some(AddressFamily::UNIX) {
        return Err(refuse("is no Unix socket: use ListenStream= with a path"));
    }
    if sockopt::socket_type(&socket).ok() != Some(SocketType::STREAM) {
        return Err(refuse("is no stream socket: use ListenStream="));
    }
    if !sockopt::socket_acceptconn(&socket).unwrap_or(false) {
        return Err(refuse("does not listen: set Accept=no"));
    }
    let listener = UnixListener::from(socket);
    if listener.local_addr().ok().as_ref().and_then(|address| address.as_pathname()).is_none() {
        return Err(refuse("has no path, so that no file mode guards it: use ListenStream= with a path"));
    }
    listener.set_nonblocking(true).map_err(|_| refuse("cannot be made non-blocking"))?;
    Ok(listener)
}

/// Why the daemon cannot listen.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The socket's mode makes no sense.
    #[error("socket mode {0:04o} is not possible: give the owner 06 and use no bits outside 0666, for example 0660")]
    Mode(u32),
    /// Not a path that a socket can have.
    #[error("{} cannot be a socket: give an absolute path that ends in a name", .0.display())]
    Path(PathBuf),
    /// Longer than the kernel can take.
    #[error("{} is longer than the {MAX_PATH} bytes that a socket's path may have: choose a shorter one", .0.display())]
    TooLong(PathBuf),
    /// The directory cannot be trusted.
    #[error(transparent)]
    Untrusted(#[from] TrustError),
    /// Something that is no socket has this name.
    #[error("{} exists and is not a socket: move it away or choose another path", .0.display())]
    NotASocket(PathBuf),
    /// Somebody answers there.
    #[error("another process is listening on {}: stop it first (`ss -xlp` shows it)", .0.display())]
    InUse(PathBuf),
    /// Another process is starting on the same socket.
    #[error("another process keeps {} locked, as grantd does while it starts: wait for it or stop it", .0.display())]
    Locked(PathBuf),
    /// A step failed.
    #[error("cannot {step} the socket {}: {source}", .path.display())]
    Bind {
        /// The socket.
        path: PathBuf,
        /// What was being done.
        step: &'static str,
        /// The system's answer.
        source: io::Error,
    },
    /// The name holds something else than what was just put there.
    #[error("{} was changed by another process while it was set up: find out which, then start again", .0.display())]
    Replaced(PathBuf),
    /// systemd handed over something else.
    #[error("the socket from systemd {0}")]
    Adopted(&'static str),
}

fn new_socket() -> Result<OwnedFd, Errno> {
    socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK, None)
}

/// Two daemons that start at once on one path take turns. The lock falls with the descriptor.
fn lock_briefly(directory: &impl AsFd, path: &Path) -> Result<(), ListenError> {
    for _ in 0..LOCK_STEPS {
        match flock(directory, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK) => thread::sleep(LOCK_STEP),
            Err(errno) => {
                return Err(ListenError::Bind {
                    path: path.to_owned(),
                    step: "lock the directory of",
                    source: errno.into(),
                });
            }
        }
    }
    Err(ListenError::Locked(path.to_owned()))
}

/// Removes a socket on which nobody listens. Anything else at this name is an error.
fn remove_if_dead(path: &Path) -> Result<(), ListenError> {
    let failed = |step: &'static str| move |source| ListenError::Bind { path: path.to_owned(), step, source };
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed("look at")(error)),
        Ok(meta) if !meta.file_type().is_socket() => return Err(ListenError::NotASocket(path.to_owned())),
        Ok(_) => {}
    }
    let probe = new_socket().map_err(|errno| failed("probe")(errno.into()))?;
    let address = SocketAddrUnix::new(path).map_err(|errno| failed("name")(errno.into()))?;
    match connect(&probe, &address) {
        Err(Errno::CONNREFUSED) => fs::remove_file(path).map_err(failed("replace")),
        // Accepted, a full backlog, or a socket of another type: alive, all of them.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => Err(ListenError::InUse(path.to_owned())),
        Err(errno) => Err(failed("probe")(errno.into())),
    }
}

#[cfg(test)]
#[path = "listen_tests.rs"]
mod tests;
