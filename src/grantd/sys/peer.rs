//! Who is calling, as the kernel knows it at the moment of connecting, read before the first byte.
//!
//! The identity is that of the process that called connect(2). Another process of the same uid can have been handed,
//! or can have taken, the other end (`pidfd_getfd`): separation between callers is by uid, never within one (P5).

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use grantd_model::ProcessRef;
use nix::errno::Errno;
use nix::sys::socket::{getsockopt, sockopt};

use super::pidfd;
use super::process::{ProcessError, stat_through};

/// The uid that stands for "no uid that this kernel namespace can name" (`/proc/sys/kernel/overflowuid`), and
/// `nobody` by convention. Whoever arrives with it could be anybody.
pub const OVERFLOW_UID: u32 = 65_534;

/// A caller whose identity the kernel vouches for.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Effective uid when it connected.
    pub uid: u32,
    /// Effective gid when it connected.
    pub gid: u32,
    /// The process that connected.
    pub pid: i32,
    /// The same process under a name that survives a restart of the daemon.
    pub process: ProcessRef,
    /// The handle that stays with the process, for liveness and for watching it.
    pub pidfd: Arc<OwnedFd>,
}

impl Peer {
    /// Reads the caller's identity from an accepted stream. Reads no byte of the stream and does not block.
    ///
    /// # Errors
    /// [`PeerError`]; each means that the connection must be closed unanswered.
    pub fn of(stream: &impl AsFd) -> Result<Self, PeerError> {
        let credentials = getsockopt(stream, sockopt::PeerCredentials).map_err(PeerError::Credentials)?;
        let (uid, gid, pid) = (credentials.uid(), credentials.gid(), credentials.pid());
        refuse_nobody(uid, pid)?;
        let pidfd = getsockopt(stream, sockopt::PeerPidfd).map_err(|errno| refused_pidfd(errno, pid))?;
        let process = match stat_through(&pidfd, pid) {
            Ok(stat) => stat.reference()?,
            Err(ProcessError::Changed(pid)) => return Err(PeerError::Ended { pid }),
            // The pidfd says that it lives, so it is /proc that does not show it.
            Err(ProcessError::Gone(pid)) => return Err(PeerError::Hidden { pid }),
            Err(other) => return Err(other.into()),
        };
        Ok(Self { uid, gid, pid, process, pidfd: Arc::new(pidfd) })
    }

    /// Whether the caller still runs. Ask again after every lookup and before anything is released. Never blocks;
    /// doubt is `false`.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        pidfd::has_ended(&self.pidfd).is_ok_and(|ended| !ended)
    }
}

/// Why a caller is refused before it has said anything.
#[derive(Debug, thiserror::Error)]
pub enum PeerError {
    /// `SO_PEERCRED` failed.
    #[error("the kernel does not tell who is calling (SO_PEERCRED): {0}")]
    Credentials(#[source] Errno),
    /// The pid has no meaning here.
    #[error(
        "the caller's process (pid {pid}) is in no pid namespace that grantd sees: call from the host, or share its pid namespace"
    )]
    NoPid {
        /// What the kernel gave, zero as a rule.
        pid: i32,
    },
    /// The uid has no meaning here.
    #[error(
        "the caller's uid is {OVERFLOW_UID}, which stands for any uid that grantd cannot name: run the job as a user of its own"
    )]
    NoUid,
    /// The kernel has no `SO_PEERPIDFD`.
    #[error("the kernel cannot give a handle on the caller (SO_PEERPIDFD): grantd needs Linux 6.5 or later")]
    NoPidfdSupport,
    /// `SO_PEERPIDFD` failed for another reason.
    #[error("cannot get a handle on the caller (SO_PEERPIDFD): {0}")]
    Pidfd(#[source] Errno),
    /// The process that connected is over.
    #[error("the caller (pid {pid}) ended before it was served")]
    Ended {
        /// The process that connected.
        pid: i32,
    },
    /// The process lives but `/proc` does not show it.
    #[error(
        "/proc hides the caller (pid {pid}) from grantd: remove ProtectProc=, PrivatePIDs= and PrivateUsers= from its unit, and mount /proc without hidepid or with gid= for grantd"
    )]
    Hidden {
        /// The process that connected.
        pid: i32,
    },
    /// `/proc` could not be read.
    #[error(transparent)]
    Process(#[from] ProcessError),
}

/// Identities that name nobody in particular.
fn refuse_nobody(uid: u32, pid: i32) -> Result<(), PeerError> {
    if pid <= 0 {
        return Err(PeerError::NoPid { pid });
    }
    // u32::MAX is "no uid at all": the kernel's answer for a socket without a peer.
    if uid == OVERFLOW_UID || uid == u32::MAX {
        return Err(PeerError::NoUid);
    }
    Ok(())
}

/// What a failed `SO_PEERPIDFD` means: kernels before 6.16 refuse a reaped peer with `EINVAL` or `ESRCH`, and one
/// that does not know the option answers `ENOPROTOOPT`.
fn refused_pidfd(errno: Errno, pid: i32) -> PeerError {
    match errno {
        Errno::ENOPROTOOPT => PeerError::NoPidfdSupport,
        Errno::EINVAL | Errno::ESRCH => PeerError::Ended { pid },
        other => PeerError::Pidfd(other),
    }
}

impl PeerError {
    /// Whether this caller alone is at fault. Otherwise the daemon's host or kernel is, and every caller will fail.
    #[must_use]
    pub fn is_callers_fault(&self) -> bool {
        matches!(self, Self::NoPid { .. } | Self::NoUid | Self::Ended { .. })
    }
}

impl From<PeerError> for io::Error {
    fn from(error: PeerError) -> Self {
        Self::new(io::ErrorKind::PermissionDenied, error)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::process::{Command, Stdio};

    use super::*;
    use crate::sys::testing::{as_user, until};

    #[test]
    fn p5_the_caller_is_who_the_kernel_says() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = Peer::of(&ours).unwrap();
        assert_eq!(peer.uid, rustix::process::geteuid().as_raw());
        assert_eq!(peer.gid, rustix::process::getegid().as_raw());
        assert_eq!(peer.pid, i32::try_from(std::process::id()).unwrap());
        assert_eq!(peer.process.pid, peer.pid);
        assert!(peer.is_alive());
    }

    #[test]
    fn p5_two_users_at_one_socket_are_told_apart() {
        let dir = tempfile::tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let path = dir.path().join("s");
        let listener = UnixListener::bind(&path).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
        for uid in [61_001, 61_002] {
            let held = as_user(uid, || UnixStream::connect(&path).unwrap());
            let peer = Peer::of(&listener.accept().unwrap().0).unwrap();
            assert_eq!((peer.uid, peer.gid), (uid, uid));
            drop(held);
        }
    }

    #[test]
    fn p5_the_overflow_uid_is_refused() {
        let (ours, _theirs) = as_user(OVERFLOW_UID, || UnixStream::pair().unwrap());
        let error = Peer::of(&ours).unwrap_err();
        assert!(matches!(error, PeerError::NoUid), "{error}");
        assert!(error.is_callers_fault());
        let (ours, _theirs) = as_user(OVERFLOW_UID - 1, || UnixStream::pair().unwrap());
        assert_eq!(Peer::of(&ours).unwrap().uid, OVERFLOW_UID - 1);
    }

    #[test]
    fn p5_a_caller_without_pid_or_uid_is_refused() {
        assert!(matches!(refuse_nobody(1000, 0), Err(PeerError::NoPid { pid: 0 })));
        assert!(matches!(refuse_nobody(1000, -1), Err(PeerError::NoPid { pid: -1 })));
        assert!(matches!(refuse_nobody(u32::MAX, 1), Err(PeerError::NoUid)));
        assert!(refuse_nobody(0, 1).is_ok());
    }

    #[test]
    fn a_kernel_without_peer_pidfd_is_said_so() {
        let error = refused_pidfd(Errno::ENOPROTOOPT, 1);
        assert!(matches!(error, PeerError::NoPidfdSupport) && error.to_string().contains("Linux 6.5"));
        assert!(matches!(refused_pidfd(Errno::ESRCH, 7), PeerError::Ended { pid: 7 }));
        assert!(matches!(refused_pidfd(Errno::EMFILE, 7), PeerError::Pidfd(Errno::EMFILE)));
    }

    #[test]
    fn what_is_no_unix_socket_is_refused() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(matches!(Peer::of(&file), Err(PeerError::Credentials(Errno::ENOTSOCK))));
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(Peer::of(&udp).is_err());
    }

    /// A child that connects and holds the connection until it is killed.
    fn connected_child(path: &std::path::Path) -> std::process::Child {
        const SCRIPT: &str = "use IO::Socket::UNIX; my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die; sleep 600;";
        Command::new("perl").args(["-e", SCRIPT]).arg(path).stdin(Stdio::null()).spawn().unwrap()
    }

    #[test]
    fn p5_a_caller_that_is_dead_when_it_is_accepted_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("s")).unwrap();
        for reaped in [false, true] {
            let mut child = connected_child(&dir.path().join("s"));
            let (stream, _) = listener.accept().unwrap();
            let peer = Peer::of(&stream).unwrap();
            assert!(peer.is_alive());
            assert_eq!(peer.pid, i32::try_from(child.id()).unwrap());
            child.kill().unwrap();
            until("the killed caller counts as ended", || !peer.is_alive());
            if reaped {
                child.wait().unwrap();
            }
            let error = Peer::of(&stream).unwrap_err();
            assert!(matches!(error, PeerError::Ended { pid } if pid == peer.pid), "reaped {reaped}: {error}");
            child.wait().unwrap();
        }
    }
}
