//! What the daemon tells systemd, and the descriptors that systemd keeps for it over a restart (sd_notify(3),
//! sd_listen_fds(3), systemd's FILE_DESCRIPTOR_STORE).
//!
//! Without systemd nothing is sent and nothing is kept: every call succeeds and does nothing.

use std::env;
use std::ffi::{OsStr, OsString};
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use sd_notify::NotifyState;

use super::harden::only_thread;

/// systemd reads at once; a manager that does not must not hold the daemon up.
const SEND_TIMEOUT: Duration = Duration::from_secs(2);

/// Longest name of a stored descriptor (sd_pid_notify_with_fds(3)).
const MAX_NAME: usize = 255;

/// The way to the service manager, if there is one.
#[derive(Clone, Debug, Default)]
pub struct Notifier {
    socket: Option<OsString>,
}

impl Notifier {
    /// The manager that started us (`$NOTIFY_SOCKET`).
    #[must_use]
    pub fn from_env() -> Self {
        Self { socket: env::var_os("NOTIFY_SOCKET").filter(|path| !path.is_empty()) }
    }

    /// A manager at this path; a leading `@` means the abstract name space.
    #[must_use]
    pub fn to(socket: impl Into<OsString>) -> Self {
        Self { socket: Some(socket.into()) }
    }

    /// Whether anybody listens.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.socket.is_some()
    }

    /// The daemon serves; also ends a reload.
    ///
    /// # Errors
    /// When systemd's socket does not take the message, as for all the others.
    pub fn ready(&self, status: &str) -> io::Result<()> {
        self.send(&[NotifyState::Ready, NotifyState::Status(&one_line(status))], &[])
    }

    /// A reload begins. `Type=notify-reload` wants the monotonic time of it and then `ready`.
    ///
    /// # Errors
    /// As [`Self::ready`].
    pub fn reloading(&self) -> io::Result<()> {
        self.send(&[NotifyState::Reloading, NotifyState::monotonic_usec_now()?], &[])
    }

    /// The daemon has begun to stop.
    ///
    /// # Errors
    /// As [`Self::ready`].
    pub fn stopping(&self) -> io::Result<()> {
        self.send(&[NotifyState::Stopping], &[])
    }

    /// The daemon is well; due at least once per [`watchdog_interval`].
    ///
    /// # Errors
    /// As [`Self::ready`].
    pub fn watchdog(&self) -> io::Result<()> {
        self.send(&[NotifyState::Watchdog], &[])
    }

    /// One line for `systemctl status`. Never a secret.
    ///
    /// # Errors
    /// As [`Self::ready`].
    pub fn status(&self, text: &str) -> io::Result<()> {
        self.send(&[NotifyState::Status(&one_line(text))], &[])
    }

    /// Asks systemd to keep a descriptor and give it back under this name after a restart. `FDPOLL=0`: a pidfd whose
    /// process ends is kept all the same, so that its end is seen after the restart; [`Self::remove_fd`] ends it.
    ///
    /// # Errors
    /// `InvalidInput` for a name that systemd would refuse; else as [`Self::ready`].
    pub fn store_fd(&self, name: &str, fd: impl AsFd) -> io::Result<()> {
        let name = named(name)?;
        self.send(
            &[NotifyState::Custom("FDSTORE=1"), NotifyState::Custom("FDPOLL=0"), NotifyState::Custom(&name)],
            &[fd.as_fd()],
        )
    }

    /// Asks systemd to close what it keeps under this name.
    ///
    /// # Errors
    /// As [`Self::store_fd`].
    pub fn remove_fd(&self, name: &str) -> io::Result<()> {
        self.send(&[NotifyState::Custom("FDSTOREREMOVE=1"), NotifyState::Custom(&named(name)?)], &[])
    }

    fn send(&self, words: &[NotifyState<'_>], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
        let Some(path) = &self.socket else { return Ok(()) };
        let message: String = words.iter().map(|word| format!("{word}\n")).collect();
        let socket = UnixDatagram::unbound()?;
        socket.connect_addr(&address(path)?)?;
        socket.set_write_timeout(Some(SEND_TIMEOUT))?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "one descriptor at a time"));
        }
        let sent = sendmsg(&socket, &[IoSlice::new(message.as_bytes())], &mut control, SendFlags::NOSIGNAL)?;
        if sent == message.len() { Ok(()) } else { Err(io::ErrorKind::WriteZero.into()) }
    }
}

/// How often systemd wants to hear [`Notifier::watchdog`] at the latest; `None` if it does not watch. Send it at half
/// that.
#[must_use]
pub fn watchdog_interval() -> Option<Duration> {
    sd_notify::watchdog_enabled()
}

/// A descriptor that systemd handed over, under the name it was stored with, or that of its socket unit.
#[derive(Debug)]
pub struct NamedFd {
    /// `FDNAME=`, or the unit name of the socket (`grantd.socket`).
    pub name: String,
    /// The descriptor; closed on exec.
    pub fd: OwnedFd,
}

/// Takes every descriptor that systemd handed over. Call it once, at start, before any thread: the variables that
/// announce them are removed, so that a second call finds nothing.
///
/// # Errors
/// When other threads run already, or the variables make no sense.
pub fn take_fds() -> io::Result<Vec<NamedFd>> {
    only_thread()?;
    let for_us = env::var("LISTEN_PID").is_ok_and(|pid| pid == std::process::id().to_string());
    #[expect(unsafe_code, reason = "removing variables")]
    // SAFETY: no other thread runs, so that nobody reads the environment meanwhile.
    let announced = unsafe { sd_notify::listen_fds_with_names_and_unset_env() };
    if !for_us {
        return Ok(Vec::new());
    }
    let taken = announced?.map(|(number, name)| {
        #[expect(unsafe_code, reason = "owning a descriptor that was inherited by number")]
        // SAFETY: systemd passed this number to this very process (LISTEN_PID was checked) and it is open (its flags
        // were set just now). Nobody else owns it: the variables that name it are gone, so it is taken once only.
        let fd = unsafe { OwnedFd::from_raw_fd(number) };
        NamedFd { name, fd }
    });
    Ok(taken.collect())
}

fn address(path: &OsStr) -> io::Result<SocketAddr> {
    match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(path),
    }
}

/// A line break would begin another assignment.
fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

fn named(name: &str) -> io::Result<String> {
    let valid =
        !name.is_empty() && name.len() <= MAX_NAME && name.bytes().all(|byte| byte.is_ascii_graphic() && byte != b':');
    if valid {
        Ok(format!("FDNAME={name}"))
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{name:?} cannot name a stored descriptor")))
    }
}

#[cfg(test)]
mod tests {
    use std::io::IoSliceMut;

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    use super::*;
    use crate::sys::pidfd;
    use crate::sys::testing::Running;

    fn manager() -> (tempfile::TempDir, UnixDatagram, Notifier) {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let notifier = Notifier::to(dir.path().join("notify"));
        (dir, socket, notifier)
    }

    fn heard(socket: &UnixDatagram) -> String {
        let mut bytes = [0; 4096];
        let length = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    }

    #[test]
    fn systemd_hears_what_the_daemon_does() {
        let (_dir, socket, notifier) = manager();
        notifier.ready("serving\nFDSTORE=1").unwrap();
        assert_eq!(heard(&socket), "READY=1\nSTATUS=serving FDSTORE=1\n");
        notifier.reloading().unwrap();
        let reload = heard(&socket);
        let when = reload.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
        assert!(when.parse::<u64>().unwrap() > 0);
        notifier.watchdog().unwrap();
        assert_eq!(heard(&socket), "WATCHDOG=1\n");
        notifier.status("3 leases").unwrap();
        assert_eq!(heard(&socket), "STATUS=3 leases\n");
        notifier.stopping().unwrap();
        assert_eq!(heard(&socket), "STOPPING=1\n");
        notifier.remove_fd("lease-1").unwrap();
        assert_eq!(heard(&socket), "FDSTOREREMOVE=1\nFDNAME=lease-1\n");
    }

    #[test]
    fn p13_a_watched_process_reaches_the_fd_store() {
        let (_dir, socket, notifier) = manager();
        let child = Running::sleeping();
        notifier.store_fd("lease-1", pidfd::open(child.pid()).unwrap()).unwrap();
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let got = recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::empty()).unwrap();
        assert_eq!(&bytes[..got.bytes], b"FDSTORE=1\nFDPOLL=0\nFDNAME=lease-1\n");
        let fds: Vec<OwnedFd> = control
            .drain()
            .filter_map(|message| if let RecvAncillaryMessage::ScmRights(fds) = message { Some(fds) } else { None })
            .flatten()
            .collect();
        assert_eq!(fds.len(), 1);
        assert_eq!(pidfd::pid_of(&fds[0]).unwrap(), Some(child.pid()));
    }

    #[test]
    fn a_name_cannot_smuggle_another_word() {
        let (_dir, _socket, notifier) = manager();
        for name in ["", "a:b", "a\nREADY=1", "ä", "a b", &"x".repeat(256)] {
            assert_eq!(notifier.remove_fd(name).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{name:?}");
        }
    }

    #[test]
    fn an_abstract_address_is_understood() {
        let name = format!("grantd-notify-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        Notifier::to(format!("@{name}")).watchdog().unwrap();
        assert_eq!(heard(&socket), "WATCHDOG=1\n");
    }

    #[test]
    fn without_systemd_nothing_happens_and_a_deaf_one_is_an_error() {
        let nobody = Notifier::default();
        assert!(!nobody.is_connected());
        nobody.ready("serving").unwrap();
        nobody.store_fd("x", std::fs::File::open("/dev/null").unwrap()).unwrap();
        assert!(Notifier::to("/nonexistent/notify").ready("serving").is_err());
    }

    #[test]
    fn descriptors_are_not_taken_while_threads_run() {
        let error = std::thread::scope(|scope| scope.spawn(take_fds).join().unwrap()).unwrap_err();
        assert!(error.to_string().contains("threads"), "{error}");
    }
}
