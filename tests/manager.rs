//! A stand-in for systemd as far as one service sees of it: it hears what the service says (sd_notify(3)), keeps the
//! descriptors that the service asks it to keep, and starts the service with its socket and with what was kept
//! (sd_listen_fds(3)).

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

use crate::{Scene, User};

/// The lowest number that a descriptor to be handed over has in this process: out of the way of those it is to have.
const HIGH: i32 = 100;

/// Puts the descriptors where systemd puts them, from 3 on, says whose they are, and becomes the program.
const HAND_OVER: &str = r#"
number=3
for from in $MANAGER_FDS; do
    eval "exec $number<&$from $from<&-"
    number=$((number + 1))
done
unset MANAGER_FDS number from
export LISTEN_PID=$$ WATCHDOG_PID=$$
exec "$@"
"#;

/// The stand-in. What it keeps goes with it.
#[derive(Debug)]
pub struct Manager {
    socket: OwnedFd,
    notify: PathBuf,
    state: Arc<Mutex<State>>,
    most: usize,
    watchdog: Option<u64>,
}

#[derive(Debug, Default)]
struct State {
    kept: Vec<(String, OwnedFd)>,
    heard: Vec<String>,
}

impl Manager {
    /// A manager that listens where the scene's socket belongs, and keeps `most` descriptors for its service.
    ///
    /// # Panics
    /// A socket cannot be made.
    #[must_use]
    pub fn new(scene: &Scene, most: usize) -> Self {
        let listener = UnixListener::bind(scene.socket()).expect("the socket can be bound");
        chown(scene.socket(), Some(0), Some(User::clients_gid())).expect("root gives files away");
        let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode));
        mode(&scene.socket(), 0o660).expect("a mode can be set");
        let notify = scene.path().join("run/notify");
        let ears = UnixDatagram::bind(&notify).expect("the notification socket can be bound");
        mode(&notify, 0o666).expect("a mode can be set");
        let state = Arc::new(Mutex::new(State::default()));
        let shared = Arc::clone(&state);
        thread::spawn(move || listen(&ears, &shared, most));
        Self { socket: listener.into(), notify, state, most, watchdog: None }
    }

    /// The same, with a watchdog that wants to hear of the service once in so many microseconds. Nothing is done to one
    /// that is silent.
    #[must_use]
    pub fn with_watchdog(self, microseconds: u64) -> Self {
        Self { watchdog: Some(microseconds), ..self }
    }

    /// `program` as the main process of the service: as the daemon's user, with everything that systemd would give it.
    /// The descriptors in the second part must live until it was started.
    ///
    /// # Panics
    /// A descriptor cannot be duplicated.
    #[must_use]
    pub fn command(&self, scene: &Scene, environment: &[(&str, &str)], program: &Path) -> (Command, Vec<OwnedFd>) {
        let state = self.state();
        let named = [("grantd.socket", self.socket.as_fd())].into_iter();
        let named = named.chain(state.kept.iter().map(|(name, fd)| (name.as_str(), fd.as_fd())));
        let (names, fds): (Vec<&str>, Vec<OwnedFd>) = named.map(|(name, fd)| (name, inherited(fd))).unzip();
        let numbers: Vec<String> = fds.iter().map(|fd| fd.as_raw_fd().to_string()).collect();
        let mut caller = scene.caller(User::Daemon);
        for (name, value) in environment {
            caller = caller.env(name, *value);
        }
        caller = caller
            .env("NOTIFY_SOCKET", self.notify.display().to_string())
            .env("LISTEN_FDS", fds.len().to_string())
            .env("LISTEN_FDNAMES", names.join(":"))
            .env("FDSTORE", self.most.to_string())
            .env("MANAGER_FDS", numbers.join(" "));
        if let Some(microseconds) = self.watchdog {
            caller = caller.env("WATCHDOG_USEC", microseconds.to_string());
        }
        let mut command = caller.command("bash");
        command.args(["-c", HAND_OVER, "manager"]).arg(program);
        (command, fds)
    }

    /// The names of what it keeps, in order.
    #[must_use]
    pub fn kept(&self) -> Vec<String> {
        let mut names: Vec<String> = self.state().kept.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    }

    /// Everything that it heard: one message each, with its lines.
    #[must_use]
    pub fn heard(&self) -> Vec<String> {
        self.state().heard.clone()
    }

    /// Loses everything that it keeps, as a service does that was stopped for good.
    pub fn lose_all(&self) {
        self.state().kept.clear();
    }

    /// Exchanges what it keeps under two names.
    ///
    /// # Panics
    /// It does not keep both.
    pub fn exchange(&self, one: &str, other: &str) {
        let mut state = self.state();
        let place = |state: &State, wanted: &str| state.kept.iter().position(|(name, _)| name == wanted).expect("kept");
        let (one, other) = (place(&state, one), place(&state, other));
        let (first, second) = (state.kept[one].0.clone(), state.kept[other].0.clone());
        state.kept[one].0 = second;
        state.kept[other].0 = first;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A duplicate without the mark to be closed on exec.
fn inherited(fd: BorrowedFd<'_>) -> OwnedFd {
    let duplicate = rustix::io::fcntl_dupfd_cloexec(fd, HIGH).expect("a descriptor is free");
    rustix::io::fcntl_setfd(&duplicate, rustix::io::FdFlags::empty()).expect("a mark can be taken off");
    duplicate
}

/// Hears and obeys until the process ends.
fn listen(ears: &UnixDatagram, state: &Mutex<State>, most: usize) {
    loop {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received = recvmsg(ears, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC);
        let Ok(received) = received else { return };
        let text = String::from_utf8_lossy(&bytes[..received.bytes]).into_owned();
        let fds = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(fds) => Some(fds),
            _ => None,
        });
        let fds: Vec<OwnedFd> = fds.flatten().collect();
        let name = text.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or("stored").to_owned();
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        if text.lines().any(|line| line == "FDSTORE=1") {
            // Beyond the most, systemd closes what it gets and tells nobody.
            for fd in fds {
                if state.kept.len() < most {
                    state.kept.push((name.clone(), fd));
                }
            }
        }
        if text.lines().any(|line| line == "FDSTOREREMOVE=1") {
            state.kept.retain(|(kept, _)| *kept != name);
        }
        state.heard.push(text);
    }
}
