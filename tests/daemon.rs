//! The built daemon as a process of its own user.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::Duration;

use grantd_testkit::spawn_on_keeper;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::{Manager, Scene, User};

/// Puts another boot id in the place of the host's, in a mount namespace of its own, and becomes the program.
const OTHER_BOOT: &str = r#"mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$@""#;

/// A daemon. Dropping it kills it; if the test is failing by then, its output is printed.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    socket: PathBuf,
    output: PathBuf,
}

impl Daemon {
    /// Starts `grantd --config CONFIG` of the scene as `gt-daemon`. Does not wait for it: see [`Daemon::wait_ready`].
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start(scene: &Scene, config: &Path) -> Self {
        Self::start_with(scene, config, &[])
    }

    /// The same with environment variables.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start_with(scene: &Scene, config: &Path, environment: &[(&str, &str)]) -> Self {
        let mut caller = scene.caller(User::Daemon);
        for (name, value) in environment {
            caller = caller.env(name, *value);
        }
        Self::spawn(scene, config, caller.command(scene.bin("grantd")))
    }

    /// The same as the service of a manager.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start_under(manager: &Manager, scene: &Scene, config: &Path, environment: &[(&str, &str)]) -> Self {
        let (command, _handed_over) = manager.command(scene, environment, &scene.bin("grantd"));
        Self::spawn(scene, config, command)
    }

    /// The same on a host that says that it was booted as `boot_id`. Nothing but the daemon sees that.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start_in_boot(scene: &Scene, config: &Path, boot_id: &str) -> Self {
        let file = scene.write("run/boot_id", &format!("{boot_id}\n"), User::Root, 0o444);
        let command = scene.caller(User::Daemon).command(scene.bin("grantd"));
        let mut booted = scene.caller(User::Root).command("unshare");
        booted.args(["--mount", "--propagation", "private", "sh", "-c", OTHER_BOOT, "boot"]).arg(file);
        booted.arg(command.get_program()).args(command.get_args());
        booted.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Self::spawn(scene, config, booted)
    }

    fn spawn(scene: &Scene, config: &Path, mut command: Command) -> Self {
        let output = scene.log().join("grantd.log");
        let log = OpenOptions::new().create(true).append(true).open(&output).expect("the log can be opened");
        command.arg("--config").arg(config).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("the log can be shared")).stderr(log);
        let child = spawn_on_keeper(command).expect("grantd can be started");
        Self { child, socket: scene.socket(), output }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until `GET /v1/status` on its socket is answered with less than 500.
    ///
    /// # Errors
    /// It ended, or was not ready within `limit`; the text has its output.
    pub fn ready_within(&mut self, limit: Duration) -> Result<(), String> {
        let step = Duration::from_millis(20);
        let mut left = limit;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Err(format!("grantd ended before it was ready: {status}\n{}", self.output()));
            }
            if answers(&self.socket).is_ok_and(|status| status < 500) {
                return Ok(());
            }
            left = left
                .checked_sub(step)
                .ok_or_else(|| format!("grantd was not ready in {limit:?}\n{}", self.output()))?;
            thread::sleep(step);
        }
    }

    /// Waits for 20 s at most until it is ready.
    ///
    /// # Panics
    /// It ended, or is not ready by then.
    pub fn wait_ready(&mut self) {
        self.ready_within(Duration::from_secs(20)).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Everything that it and its predecessors in this scene have printed.
    #[must_use]
    pub fn output(&self) -> String {
        fs::read_to_string(&self.output).unwrap_or_else(|error| format!("no output: {error}"))
    }

    /// Sends a signal.
    ///
    /// # Panics
    /// It has ended.
    pub fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).expect("a pid fits");
        kill(Pid::from_raw(pid), signal).expect("grantd is alive");
    }

    /// Kills it with SIGKILL, as a crash would, and waits for its end.
    ///
    /// # Panics
    /// It had ended by itself already.
    pub fn kill9(mut self) {
        if let Ok(Some(status)) = self.child.try_wait() {
            panic!("grantd had ended by itself: {status}\n{}", self.output());
        }
        self.signal(Signal::SIGKILL);
        let status = self.child.wait().expect("grantd can be waited for");
        assert_eq!(status.signal(), Some(9), "{status}");
    }

    /// Waits for it to end by itself, such as at a fail point.
    ///
    /// # Panics
    /// It does not within `limit`.
    pub fn wait_end(&mut self, limit: Duration) -> ExitStatus {
        let step = Duration::from_millis(10);
        let mut left = limit;
        loop {
            if let Some(status) = self.child.try_wait().expect("grantd can be waited for") {
                return status;
            }
            left =
                left.checked_sub(step).unwrap_or_else(|| panic!("grantd did not end in {limit:?}\n{}", self.output()));
            thread::sleep(step);
        }
    }

    /// Asks it to stop with SIGTERM and waits for its end, 20 s at most.
    ///
    /// # Panics
    /// It does not end.
    pub fn stop(mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        self.wait_end(Duration::from_secs(20))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("--- output of grantd\n{}", self.output());
        }
    }
}

/// The status of an answer to `GET /v1/status`.
fn answers(socket: &Path) -> io::Result<u16> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET /v1/status HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    // To its end, so that the daemon does not log a client that hung up.
    let mut answer = Vec::new();
    stream.take(64 * 1024).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    status.ok_or_else(|| io::Error::other("no HTTP"))
}
