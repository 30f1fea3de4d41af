//! Watching one process until it ends. A watch is opened only on the very process that was named; doubt means ended.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use grantd_model::ProcessRef;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::peer::Peer;
use super::pidfd;
use super::process::{ProcessError, boot_id, stat_through};

/// A process that is known to be the right one and is waited for.
#[derive(Debug)]
pub struct Watch {
    process: ProcessRef,
    pidfd: AsyncFd<OwnedFd>,
}

impl Watch {
    /// Watches the named process, which must still run, from this boot, with this effective uid. The pidfd is opened
    /// first and everything is verified through it, so that a pid used again cannot slip in between.
    ///
    /// # Errors
    /// [`WatchError`]; see [`WatchError::means_ended`].
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub fn open(process: &ProcessRef, expected_uid: u32) -> Result<Self, WatchError> {
        if boot_id()? != process.boot_id {
            return Err(WatchError::OtherBoot(process.clone()));
        }
        let pidfd = pidfd::open(process.pid).map_err(|source| match Errno::from_io_error(&source) {
            Some(Errno::SRCH | Errno::INVAL) => WatchError::Ended(process.clone()),
            _ => WatchError::Io { process: process.clone(), source },
        })?;
        Self::verified(pidfd, process, expected_uid)
    }

    /// Watches through a pidfd that systemd kept for us over a restart.
    ///
    /// # Errors
    /// [`WatchError`]; also when the descriptor is no pidfd or stands for another process.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub fn adopt(pidfd: OwnedFd, process: &ProcessRef, expected_uid: u32) -> Result<Self, WatchError> {
        if boot_id()? != process.boot_id {
            return Err(WatchError::OtherBoot(process.clone()));
        }
        match pidfd::pid_of(&pidfd) {
            Ok(Some(pid)) if pid == process.pid => Self::verified(pidfd, process, expected_uid),
            Ok(Some(_)) => Err(WatchError::OtherProcess(process.clone())),
            Ok(None) => Err(WatchError::Ended(process.clone())),
            Err(source) => Err(WatchError::Io { process: process.clone(), source }),
        }
    }

    /// Watches a caller, whose identity the kernel has proved already.
    ///
    /// # Errors
    /// [`WatchError::Io`] when the daemon is out of descriptors, [`WatchError::Ended`] when the caller is gone.
    ///
    /// # Panics
    /// Outside a tokio runtime with I/O enabled.
    pub fn of_peer(peer: &Peer) -> Result<Self, WatchError> {
        if !peer.is_alive() {
            return Err(WatchError::Ended(peer.process.clone()));
        }
        let failed = |source| WatchError::Io { process: peer.process.clone(), source };
        Self::register(peer.pidfd.try_clone().map_err(failed)?, &peer.process)
    }

    /// The process that is watched.
    #[must_use]
    pub fn process(&self) -> &ProcessRef {
        &self.process
    }

    /// Whether it has ended by now. Never blocks; doubt is `true`.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        pidfd::has_ended(&self.pidfd).unwrap_or(true)
    }

    /// Returns when the process has ended, zombie included. May be dropped and called again.
    ///
    /// When the runtime itself shuts down this never returns: the daemon stopping is not the task's end.
    pub async fn ended(&self) {
        while !self.has_ended() {
            match self.pidfd.readable().await {
                Ok(mut ready) => {
                    if !self.has_ended() {
                        ready.clear_ready();
                    }
                }
                Err(_shutting_down) => std::future::pending().await,
            }
        }
    }

    fn verified(pidfd: OwnedFd, process: &ProcessRef, expected_uid: u32) -> Result<Self, WatchError> {
        let stat = match stat_through(&pidfd, process.pid) {
            Err(ProcessError::Changed(_)) => return Err(WatchError::Ended(process.clone())),
            other => other?,
        };
        if stat.has_ended() {
            return Err(WatchError::Ended(process.clone()));
        }
        if stat.start_time != process.start_time {
            return Err(WatchError::OtherProcess(process.clone()));
        }
        if stat.uid != expected_uid {
            return Err(WatchError::OtherUser { process: process.clone(), uid: stat.uid, expected: expected_uid });
        }
        Self::register(pidfd, process)
    }

    fn register(pidfd: OwnedFd, process: &ProcessRef) -> Result<Self, WatchError> {
        #[expect(unsafe_code, reason = "tokio cannot know that an OwnedFd keeps its descriptor")]
        // SAFETY: the OwnedFd owns an open pidfd and names the same descriptor until it is dropped, and the AsyncFd
        // that takes it over here gives it back to nobody.
        let registered = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) };
        match registered {
            Ok(pidfd) => Ok(Self { process: process.clone(), pidfd }),
            Err(error) => Err(WatchError::Io { process: process.clone(), source: error.into() }),
        }
    }
}

/// The pidfd itself, to hand to systemd's fd store.
impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

/// Why a process cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum WatchError {
    /// It ended, or was never there.
    #[error("{0} has ended")]
    Ended(ProcessRef),
    /// The host was restarted since.
    #[error("{0} belongs to an earlier boot of this host")]
    OtherBoot(ProcessRef),
    /// Its pid belongs to another process now.
    #[error("{0} has ended: its pid belongs to another process now")]
    OtherProcess(ProcessRef),
    /// The process is there under another uid.
    #[error("{process} runs as uid {uid}, not as uid {expected}: it is not taken for the same task")]
    OtherUser {
        /// The process that was named.
        process: ProcessRef,
        /// Its effective uid now.
        uid: u32,
        /// The uid it must have.
        expected: u32,
    },
    /// `/proc` could not be read.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// The kernel refused a handle, for want of descriptors as a rule.
    #[error("cannot watch {process}: {source}")]
    Io {
        /// The process that was named.
        process: ProcessRef,
        /// The system's answer.
        source: io::Error,
    },
}

impl WatchError {
    /// Whether the process is certainly over, as far as its lease is concerned. Otherwise the daemon could not look,
    /// and may try again before it takes the doubt for an end.
    #[must_use]
    pub fn means_ended(&self) -> bool {
        !matches!(self, Self::Process(ProcessError::Io { .. }) | Self::Io { .. })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::net::UnixStream;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;
    use crate::sys::process::stat;
    use crate::sys::testing::{Running, until};

    const SOON: Duration = Duration::from_secs(10);
    const A_WHILE: Duration = Duration::from_millis(150);

    fn own_uid() -> u32 {
        rustix::process::geteuid().as_raw()
    }

    fn named(child: &Running) -> ProcessRef {
        stat(child.pid()).unwrap().reference().unwrap()
    }

    #[tokio::test]
    async fn p13_a_watch_returns_when_the_process_ends_and_not_before() {
        let mut child = Running::sleeping();
        let watch = Watch::open(&named(&child), own_uid()).unwrap();
        assert!(timeout(A_WHILE, watch.ended()).await.is_err(), "returned while the process lives");
        child.0.kill().unwrap();
        timeout(SOON, watch.ended()).await.expect("a zombie counts as ended");
        child.0.wait().unwrap();
        timeout(SOON, watch.ended()).await.expect("ended stays ended");
        assert!(watch.has_ended());
    }

    #[tokio::test]
    async fn p5_a_pid_used_again_is_not_taken_for_the_process() {
        let child = Running::sleeping();
        let mut earlier = named(&child);
        earlier.start_time -= 1;
        let error = Watch::open(&earlier, own_uid()).unwrap_err();
        assert!(matches!(error, WatchError::OtherProcess(_)) && error.means_ended(), "{error}");
    }

    #[tokio::test]
    async fn p13_after_a_reboot_every_process_has_ended() {
        let child = Running::sleeping();
        let mut earlier = named(&child);
        earlier.boot_id = "00000000-0000-0000-0000-000000000000".to_owned();
        assert!(matches!(Watch::open(&earlier, own_uid()), Err(WatchError::OtherBoot(_))));
        let kept = pidfd::open(child.pid()).unwrap();
        assert!(matches!(Watch::adopt(kept, &earlier, own_uid()), Err(WatchError::OtherBoot(_))));
    }

    #[tokio::test]
    async fn p5_a_process_of_another_user_is_not_taken_for_the_task() {
        let child = Running::as_user(61_003);
        until("sleep has been started", || stat(child.pid()).is_ok_and(|seen| seen.uid == 61_003));
        let process = named(&child);
        let error = Watch::open(&process, 61_004).unwrap_err();
        assert!(matches!(error, WatchError::OtherUser { uid: 61_003, expected: 61_004, .. }), "{error}");
        assert!(error.means_ended());
        assert!(Watch::open(&process, 61_003).is_ok());
    }

    #[tokio::test]
    async fn a_zombie_and_a_reaped_process_have_ended() {
        let mut child = Running::sleeping();
        let process = named(&child);
        child.0.kill().unwrap();
        until("the child is a zombie", || stat(child.pid()).unwrap().has_ended());
        assert!(matches!(Watch::open(&process, own_uid()), Err(WatchError::Ended(_))));
        child.0.wait().unwrap();
        let error = Watch::open(&process, own_uid()).unwrap_err();
        assert!(matches!(error, WatchError::Ended(_)) && error.means_ended(), "{error}");
        let nobody = ProcessRef { pid: 0, ..process };
        assert!(matches!(Watch::open(&nobody, own_uid()), Err(WatchError::Ended(_))));
    }

    #[tokio::test]
    async fn p13_a_kept_pidfd_is_adopted_only_for_its_own_process() {
        let (mut child, other) = (Running::sleeping(), Running::sleeping());
        let process = named(&child);
        let watch = Watch::adopt(pidfd::open(child.pid()).unwrap(), &process, own_uid()).unwrap();
        let foreign = Watch::adopt(pidfd::open(other.pid()).unwrap(), &process, own_uid()).unwrap_err();
        assert!(matches!(foreign, WatchError::OtherProcess(_)), "{foreign}");
        let no_pidfd = OwnedFd::from(File::open("/dev/null").unwrap());
        assert!(matches!(Watch::adopt(no_pidfd, &process, own_uid()), Err(WatchError::Io { .. })));
        let kept = watch.as_fd().try_clone_to_owned().unwrap();
        child.0.kill().unwrap();
        timeout(SOON, watch.ended()).await.unwrap();
        child.0.wait().unwrap();
        assert!(matches!(Watch::adopt(kept, &process, own_uid()), Err(WatchError::Ended(_))));
    }

    #[tokio::test]
    async fn many_can_wait_for_one_process() {
        let mut child = Running::sleeping();
        let watch = std::sync::Arc::new(Watch::open(&named(&child), own_uid()).unwrap());
        let waiting: Vec<_> = (0..8)
            .map(|_| {
                let watch = watch.clone();
                tokio::spawn(async move { watch.ended().await })
            })
            .collect();
        tokio::task::yield_now().await;
        child.0.kill().unwrap();
        for one in waiting {
            timeout(SOON, one).await.unwrap().unwrap();
        }
    }

    #[tokio::test]
    async fn a_caller_can_be_watched() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let watch = Watch::of_peer(&Peer::of(&ours).unwrap()).unwrap();
        assert!(!watch.has_ended());
        assert!(timeout(A_WHILE, watch.ended()).await.is_err());
    }
}
