//! Who reads the file is told of its changes, one after the other and beside everything else: a reader that hangs holds
//! nothing up.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use rustix::io::retry_on_intr;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process_group, waitid};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender};

use super::args::SignalName;
use super::process;
use crate::exec::keeper::{Clock, News};

/// What the service manager said to us alone (sd_notify(3), sd_listen_fds(3)).
const OURS: [&str; 6] =
    ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"];

/// What became of the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It is there.
    Written,
    /// It holds another credential.
    Renewed,
    /// It is gone.
    Removed,
}

impl Change {
    fn name(self) -> &'static str {
        match self {
            Self::Written => "written",
            Self::Renewed => "renewed",
            Self::Removed => "removed",
        }
    }
}

/// How the reader is told.
#[derive(Debug)]
pub(super) struct Reader {
    /// By a signal to the process whose id stands in a file.
    pub signal: Option<(SignalName, PathBuf)>,
    /// By a command and its arguments; none if empty.
    pub run: Vec<OsString>,
    /// How long that may take.
    pub run_timeout: Duration,
    /// The file.
    pub file: PathBuf,
    /// Whose it is.
    pub uid: u32,
    /// Who tells.
    pub us: u32,
    /// The grant that it rests on.
    pub grant: String,
    /// Where the time comes from.
    pub now: Clock,
    /// Who hears of what went wrong.
    pub say: UnboundedSender<News>,
}

impl Reader {
    /// Tells of changes until there can be no more. Of several that happened meanwhile the last one is told.
    pub(super) async fn attend(self, mut changes: UnboundedReceiver<Change>) {
        while let Some(mut change) = changes.recv().await {
            while let Ok(later) = changes.try_recv() {
                change = later;
            }
            self.signal();
            if let Err(why) = self.run(change).await {
                self.note(&why);
            }
        }
    }

    fn signal(&self) {
        let Some((name, pid_file)) = &self.signal else { return };
        let signal = match name {
            SignalName::Hup => Signal::HUP,
            SignalName::Usr1 => Signal::USR1,
            SignalName::Usr2 => Signal::USR2,
        };
        // That there is no reader is no failure: it finds the file when it starts.
        if let Err(why) = process::tell(pid_file, self.uid, self.us, signal, (self.now)()) {
            self.note(&why);
        }
    }

    async fn run(&self, change: Change) -> Result<(), String> {
        let Some((program, arguments)) = self.run.split_first() else { return Ok(()) };
        let shown = program.to_string_lossy();
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::null()).process_group(0);
        for name in OURS {
            command.env_remove(name);
        }
        command.env("GRANTD_CHANGE", change.name()).env("GRANTD_FILE", &self.file).env("GRANTD_GRANT", &self.grant);
        let mut child = command.spawn().map_err(|error| format!("{shown} cannot be run: {error}"))?;
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        // Its number stays its own until it is reaped below, so that nobody else can be killed in its place.
        let ended = tokio::task::spawn_blocking(move || {
            let until_exit =
                || waitid(group.map_or(WaitId::All, WaitId::Pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT);
            retry_on_intr(until_exit).map(drop)
        });
        let in_time = tokio::time::timeout(self.run_timeout, ended).await.is_ok();
        if !in_time && let Some(group) = group {
            let _ = kill_process_group(group, Signal::KILL);
        }
        match child.wait() {
            Ok(_) if !in_time => {
                let limit = self.run_timeout.as_secs_f64();
                Err(format!("{shown} was killed: it took longer than {limit}s (--run-timeout)"))
            }
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(format!("{shown} failed when it was told that the file was {}: {status}", change.name())),
            Err(error) => Err(format!("{shown} cannot be waited for: {error}")),
        }
    }

    fn note(&self, text: &str) {
        let _ = self.say.send(News::Note(text.to_owned()));
    }
}
