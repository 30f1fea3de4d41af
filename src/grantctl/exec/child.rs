//! The command of `exec` as a process: started, sent the signals that we get, and waited for.
//!
//! With a terminal it stays in our process group, as with sudo(8): what the terminal sends by a key reaches both, so it is
//! not passed on, and pipes to pagers and job control go on working. Without one it has a group of its own, and a signal
//! to us goes to all of that group, once.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::thread;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal, kill, killpg, raise};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{Pid, getpid, getppid};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::args::ExecChild;
use super::environment::Environment;
use crate::exit::{Exit, Failure};

/// What is passed on.
const PASSED_ON: [Signal; 7] = [
    Signal::SIGHUP,
    Signal::SIGINT,
    Signal::SIGQUIT,
    Signal::SIGTERM,
    Signal::SIGUSR1,
    Signal::SIGUSR2,
    Signal::SIGCONT,
];

/// `ssi_code` of a signal that the kernel itself sent, a terminal's for instance (sigaction(2), `SI_KERNEL`).
const SI_KERNEL: i32 = 0x80;

/// Signals, as they come in; they are blocked from the moment that this is made.
pub(super) struct Signals {
    incoming: UnboundedReceiver<Incoming>,
    terminal: bool,
}

/// A signal and who sent it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Incoming {
    /// The signal.
    pub signal: Signal,
    from_kernel: bool,
}

impl Signals {
    /// Blocks signals in this thread and in those that it starts; [`become_command`] lets them through again.
    pub(super) fn new() -> Result<Self, Failure> {
        let terminal = File::open("/dev/tty").is_ok();
        let mut set = caught();
        if terminal {
            // A terminal's stops everyone in the group by itself, us too.
            set.remove(Signal::SIGTSTP);
        }
        let failed = |error: io::Error| Failure::new(Exit::Unexpected, format!("cannot wait for signals: {error}"));
        set.thread_block().map_err(|errno| failed(errno.into()))?;
        let waiting = SignalFd::with_flags(&set, SfdFlags::SFD_CLOEXEC).map_err(|errno| failed(errno.into()))?;
        let (send, incoming) = unbounded_channel();
        // A thread of its own, which is there until the process ends: it is blocked in reading.
        thread::Builder::new().name("signals".to_owned()).spawn(move || listen(&waiting, &send)).map_err(failed)?;
        Ok(Self { incoming, terminal })
    }

    /// The next signal.
    pub(super) async fn next(&mut self) -> Incoming {
        match self.incoming.recv().await {
            Some(incoming) => incoming,
            // The thread cannot end before we do; if it did, there would be no more signals.
            None => std::future::pending().await,
        }
    }

    /// Resolves when this program is to end before it started anything.
    pub(super) async fn interrupted(&mut self) -> Signal {
        loop {
            let Incoming { signal, .. } = self.next().await;
            if matches!(signal, Signal::SIGHUP | Signal::SIGINT | Signal::SIGQUIT | Signal::SIGTERM) {
                return signal;
            }
        }
    }
}

/// Every signal that this program deals with.
fn caught() -> SigSet {
    PASSED_ON.into_iter().chain([Signal::SIGCHLD, Signal::SIGTSTP]).collect()
}

/// Reads signals as they come, with who sent them.
fn listen(waiting: &SignalFd, send: &UnboundedSender<Incoming>) {
    loop {
        match waiting.read_signal() {
            Ok(Some(info)) => {
                let signal = i32::try_from(info.ssi_signo).ok().and_then(|number| Signal::try_from(number).ok());
                let from_kernel = info.ssi_code == SI_KERNEL;
                if signal.is_some_and(|signal| send.send(Incoming { signal, from_kernel }).is_err()) {
                    return;
                }
            }
            Ok(None) | Err(Errno::EINTR) => {}
            Err(_) => return,
        }
    }
}

/// The running command.
#[derive(Debug)]
pub(super) struct Child {
    pid: Pid,
    own_group: bool,
}

impl Child {
    /// Starts it, by way of [`become_command`].
    pub(super) fn start(command: &[OsString], environment: &Environment, signals: &Signals) -> io::Result<Self> {
        let own_group = !signals.terminal;
        let mut starting = Command::new("/proc/self/exe");
        starting.arg0("grantctl").args(["exec-child", "--parent", &getpid().to_string(), "--"]).args(command);
        for name in &environment.removed {
            starting.env_remove(name);
        }
        starting.envs(environment.set.iter().map(|(name, value)| (name, value)));
        if own_group {
            starting.process_group(0);
        }
        let id = starting.spawn()?.id();
        let pid = i32::try_from(id).map(Pid::from_raw).map_err(io::Error::other)?;
        Ok(Self { pid, own_group })
    }

    /// Deals with a signal; gives the exit code once the command has ended.
    pub(super) fn on(&self, incoming: Incoming) -> Option<u8> {
        let Incoming { signal, from_kernel } = incoming;
        match signal {
            Signal::SIGCHLD => return self.reap(),
            // That the command is not there any more is seen at its SIGCHLD.
            _ if self.own_group => drop(killpg(self.pid, signal)),
            // A key that was pressed: the command has got it already. A terminal that went away may be told to us alone.
            _ if from_kernel && signal != Signal::SIGHUP => {}
            _ => drop(kill(self.pid, signal)),
        }
        None
    }

    /// Takes leave of every process that ended: as a subreaper we also get those whose parent went before them.
    fn reap(&self) -> Option<u8> {
        let flags = WaitPidFlag::WNOHANG | WaitPidFlag::WUNTRACED;
        let mut code = None;
        loop {
            match waitpid(None, Some(flags)) {
                Ok(WaitStatus::Exited(pid, status)) if pid == self.pid => {
                    code = Some(u8::try_from(status & 0xff).unwrap_or(u8::MAX));
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.pid => code = Some(code_of(signal)),
                Ok(WaitStatus::Stopped(pid, signal)) if pid == self.pid => self.stopped(signal),
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return code,
                Err(Errno::EINTR) | Ok(_) => {}
                // There is nothing to wait for that could be waited for.
                Err(_) => return code.or(Some(Exit::Unexpected.code())),
            }
        }
    }

    /// The command was stopped by its terminal: so are we, that the shell notices and can continue both.
    fn stopped(&self, signal: Signal) {
        if !self.own_group && matches!(signal, Signal::SIGTSTP | Signal::SIGTTIN | Signal::SIGTTOU) {
            let _ = raise(signal);
            let _ = kill(self.pid, Signal::SIGCONT);
        }
    }
}

/// 128 and the signal's number, as shells say it.
pub(super) fn code_of(signal: Signal) -> u8 {
    (1..=64_u8)
        .find(|number| Signal::try_from(i32::from(*number)) == Ok(signal))
        .unwrap_or_default()
        .saturating_add(128)
}

/// What runs between `exec` and its command, in the command's process: has itself sent SIGTERM when its parent dies,
/// then becomes the command. That keeps a command from going on with a front that is gone (PR_SET_PDEATHSIG, prctl(2); a
/// set-user-ID program is not sent it).
pub(crate) fn become_command(wanted: &ExecChild) -> Result<(), Failure> {
    let failed = |code: u8, line: String| Err(Failure::new(Exit::Command(code), line));
    // Blocked signals stay blocked in a program that is started (execve(2)); the command is to get them.
    if let Err(errno) = caught().thread_unblock() {
        return failed(126, format!("cannot let signals through to the command: {errno}"));
    }
    if let Err(errno) = prctl::set_pdeathsig(Signal::SIGTERM) {
        return failed(126, format!("cannot tie the command to grantctl: {errno}"));
    }
    if getppid().as_raw() != wanted.parent {
        return failed(126, "this is how grantctl exec starts its command, and grantctl exec is gone".to_owned());
    }
    let Some((program, arguments)) = wanted.command.split_first() else {
        return failed(126, "there is no command".to_owned());
    };
    let error = Command::new(program).args(arguments).exec();
    let program = program.to_string_lossy();
    match error.kind() {
        io::ErrorKind::NotFound => failed(127, format!("{program}: there is no such command")),
        _ => failed(126, format!("{program} cannot be run: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_by_a_signal_is_128_and_its_number() {
        assert_eq!(
            [Signal::SIGHUP, Signal::SIGINT, Signal::SIGKILL, Signal::SIGTERM].map(code_of),
            [129, 130, 137, 143]
        );
    }
}
