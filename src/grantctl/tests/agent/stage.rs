//! A place for an agent: its directory, its reader, its service manager, and the transcript of what it said to each.

use std::fs;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::daemon::{Daemon, Given};

/// The place.
pub struct Stage {
    directory: TempDir,
    /// Who vends; none for an agent that finds nobody.
    pub daemon: Option<Daemon>,
    manager: Arc<Mutex<Vec<String>>>,
}

/// An agent in it.
pub struct Agent<'a> {
    stage: &'a Stage,
    child: Child,
    line: String,
}

impl Stage {
    /// With a daemon that answers vends so; without one if there is no answer.
    pub fn new(vends: &[Given]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        let script = format!("#!/bin/sh\necho $GRANTD_CHANGE >>{}\n", path("changes").display());
        fs::write(path("hook"), script).unwrap();
        fs::set_permissions(path("hook"), fs::Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(path("run")).unwrap();
        fs::set_permissions(path("run"), fs::Permissions::from_mode(0o755)).unwrap();
        let ears = UnixDatagram::bind(path("manager")).unwrap();
        let manager = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&manager);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length) = ears.recv(&mut bytes) {
                let text = String::from_utf8_lossy(&bytes[..length]);
                heard.lock().unwrap().push(text.lines().collect::<Vec<_>>().join(" "));
            }
        });
        let daemon = (!vends.is_empty()).then(|| Daemon::start(&path("socket"), vends));
        Self { directory, daemon, manager }
    }

    /// Who vends.
    pub fn daemon(&self) -> &Daemon {
        self.daemon.as_ref().unwrap()
    }

    /// A path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Starts an agent; `DIR` in its arguments is the directory.
    pub fn start(&self, arguments: &[&str]) -> Agent<'_> {
        let here = self.directory.path().display().to_string();
        let mut command = Command::new(env!("CARGO_BIN_EXE_grantctl"));
        command.env_clear().env("PATH", "/usr/bin:/bin").env("GRANTD_SOCKET", self.path("socket"));
        command.env("NOTIFY_SOCKET", self.path("manager"));
        command.arg("agent").args(arguments.iter().map(|argument| argument.replace("DIR", &here)));
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let child = command.stderr(fs::File::create(self.path("said")).unwrap()).spawn().unwrap();
        Agent { stage: self, child, line: format!("$ grantctl agent {}", arguments.join(" ")) }
    }

    fn changes(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("changes")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    fn said(&self) -> String {
        let mut text = String::new();
        fs::File::open(self.path("said")).unwrap().read_to_string(&mut text).unwrap();
        text
    }
}

impl Agent<'_> {
    /// Waits until the reader was told exactly these changes.
    pub fn told(&self, changes: &[&str]) {
        self.wait(&format!("the reader is told {changes:?}"), || self.stage.changes() == changes);
    }

    /// Waits until it said something with these words.
    pub fn says(&self, words: &str) {
        self.wait(&format!("it says {words:?}"), || self.stage.said().contains(words));
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Waits for its end and holds all that it said to `expected`: what it asked of the daemon (`<`), what the reader was
    /// told (`>`), what the service manager was told (`%`), what it said on standard error (`!`), its exit code (`=`).
    pub fn ends(mut self, expected: &str) {
        let mut status = None;
        for _ in 0..3_000 {
            status = self.child.try_wait().unwrap();
            if status.is_some() {
                break;
            }
            thread::sleep(Duration::from_millis(20));
        }
        let code = status.unwrap_or_else(|| panic!("it does not end: {}", self.stage.said())).code();
        // Datagrams come in the order in which they were sent: after this one there is none of the agent's.
        UnixDatagram::unbound().unwrap().send_to(b"LAST", self.stage.path("manager")).unwrap();
        self.wait("the service manager has heard all", || {
            self.stage.manager.lock().unwrap().last().is_some_and(|last| last == "LAST")
        });
        let mut heard = self.stage.manager.lock().unwrap().clone();
        heard.pop();
        let asked = self.stage.daemon.as_ref().map(Daemon::asked).unwrap_or_default();
        let mut text = format!("{}\n", self.line);
        for (mark, lines) in [
            ("<", asked),
            (">", self.stage.changes()),
            ("%", heard),
            ("!", self.stage.said().lines().map(str::to_owned).collect()),
        ] {
            lines.iter().for_each(|line| text.push_str(&format!("{mark} {line}\n")));
        }
        text.push_str(&format!("= {}\n", code.map_or("a signal".to_owned(), |code| code.to_string())));
        let text = plain(&text.replace(&self.stage.directory.path().display().to_string(), "DIR"));
        assert_eq!(text.trim_end(), expected.trim_end(), "the transcript is now:\n{text}");
    }

    fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        for _ in 0..3_000 {
            if done() {
                return;
            }
            thread::sleep(Duration::from_millis(20));
        }
        panic!("not in a minute: {what}: {:?} {}", self.stage.changes(), self.stage.said());
    }
}

impl Drop for Agent<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The text with `TIME` for each moment, also where it is told how far away that is, and `N` for the clock since boot.
fn plain(text: &str) -> String {
    let (mut plain, mut rest) = (String::new(), text);
    while let Some(c) = rest.chars().next() {
        let digits =
            |from: usize, to: usize| rest.get(from..to).is_some_and(|part| part.bytes().all(|b| b.is_ascii_digit()));
        let is_time = digits(0, 4) && rest.get(4..5) == Some("-") && digits(5, 7) && rest.get(10..11) == Some("T");
        if is_time {
            let end = rest.find(|c: char| !c.is_ascii_digit() && !"-T:.Z".contains(c)).unwrap_or(rest.len());
            plain.push_str("TIME");
            rest = &rest[end..];
            if rest.starts_with(" (in ") {
                rest = rest.split_once(')').map_or(rest, |(_, after)| after);
            }
        } else if let Some(after) = rest.strip_prefix("MONOTONIC_USEC=") {
            plain.push_str("MONOTONIC_USEC=N");
            rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
        } else if let Some(after) = rest.strip_prefix("access ends in ") {
            plain.push_str("access ends in A WHILE");
            rest = &after[after.find(',').unwrap_or_default()..];
        } else {
            plain.push(c);
            rest = &rest[c.len_utf8()..];
        }
    }
    plain
}
