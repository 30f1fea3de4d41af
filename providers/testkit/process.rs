//! Child processes that cannot outlive the test: they end when their handle is dropped, when their time is over, and
//! when the test process itself is killed.

use std::fmt;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// What a process left behind.
#[derive(Debug, Clone)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output; what is not UTF-8 is replaced.
    pub stdout: String,
    /// Its standard error; what is not UTF-8 is replaced.
    pub stderr: String,
}

impl Finished {
    /// Whether it exited with 0.
    #[must_use]
    pub fn success(&self) -> bool {
        self.status.success()
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n--- stdout\n{}\n--- stderr\n{}", self.status, self.stdout, self.stderr)
    }
}

/// A command that is killed when the thread that spawned it ends (prctl(2), PR_SET_PDEATHSIG), which
/// [`spawn_on_keeper`] makes the whole test process.
#[must_use]
pub fn guarded(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--"]).arg(program);
    command
}

/// Spawns `command`, in a process group of its own, from a thread that lives as long as this process.
///
/// # Errors
/// What spawning says, or that the keeper thread could not be started.
pub fn spawn_on_keeper(mut command: Command) -> io::Result<Child> {
    static KEEPER: OnceLock<Mutex<Sender<Order>>> = OnceLock::new();
    command.process_group(0);
    let keeper = KEEPER.get_or_init(|| {
        let (orders, inbox) = channel::<Order>();
        thread::spawn(move || {
            for (mut command, reply) in inbox {
                let _ = reply.send(command.spawn());
            }
        });
        Mutex::new(orders)
    });
    let (reply, answer) = channel();
    keeper.lock().unwrap_or_else(PoisonError::into_inner).send((command, reply)).map_err(io::Error::other)?;
    answer.recv().map_err(io::Error::other)?
}

type Order = (Command, Sender<io::Result<Child>>);

/// Kills `child` with its whole process group and waits for its end.
pub(crate) fn kill_group(child: &mut Child) {
    if let Ok(id) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
    }
    let _ = child.wait();
}

/// Runs `command` to its end with `input` on its standard input.
///
/// # Errors
/// What spawning says; `TimedOut`, with what it had printed until then, when it was killed after `limit`.
pub fn run(mut command: Command, input: &str, limit: Duration) -> io::Result<Finished> {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let name = format!("{:?}", command.get_program());
    let mut child = spawn_on_keeper(command)?;
    let stdout = drain(child.stdout.take());
    let stderr = drain(child.stderr.take());
    if let Some(mut stdin) = child.stdin.take() {
        let input = input.to_owned();
        // A process that ends without reading all of its input is free to.
        thread::spawn(move || stdin.write_all(input.as_bytes()));
    }
    let status = wait(&mut child, limit)?;
    if status.is_none() {
        kill_group(&mut child);
    }
    let (stdout, stderr) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
    status.map(|status| Finished { status, stdout: stdout.clone(), stderr: stderr.clone() }).ok_or_else(|| {
        let text = format!("{name} was killed after {limit:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}");
        io::Error::new(io::ErrorKind::TimedOut, text)
    })
}

/// Waits for the end of `child`; `None` if it still runs after `limit`. Looks every 5 ms.
fn wait(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let step = Duration::from_millis(5);
    let mut left = limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        let Some(less) = left.checked_sub(step) else { return Ok(None) };
        left = less;
        thread::sleep(step);
    }
}

fn drain(source: Option<impl Read + Send + 'static>) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut source) = source {
            let _ = source.read_to_end(&mut bytes);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_gets_its_input_and_tells_how_it_ended() {
        let mut command = guarded("sh");
        command.args(["-c", "cat; echo no >&2; exit 3"]);
        let finished = run(command, "hello", Duration::from_secs(5)).unwrap();
        assert_eq!((finished.stdout.as_str(), finished.stderr.as_str()), ("hello", "no\n"));
        assert_eq!(finished.status.code(), Some(3));
    }

    #[test]
    fn a_process_is_killed_with_its_children_when_its_time_is_over() {
        let mut command = guarded("sh");
        command.args(["-c", "echo begun; sleep 600 & wait"]);
        let error = run(command, "", Duration::from_millis(300)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(error.to_string().contains("begun"), "{error}");
    }
}
