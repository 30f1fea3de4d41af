//! A caller that lives on while daemons die: a process of its own, so that it can be an anchor.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use grantd_testkit::spawn_on_keeper;
use grantd_tests::{Scene, User};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde_json::{Value, json};

/// What such a process does; see there.
const PROGRAM: &str = include_str!("agent.py");

/// What an agent heard.
#[derive(Debug, Clone)]
pub struct Heard {
    /// The HTTP status; `None` if there was no answer.
    pub status: Option<u64>,
    /// The body.
    pub body: Value,
}

/// The process. Dropping it kills it, with its parent if it has one of its own.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Agent {
    /// An agent of `user`.
    pub fn start(scene: &Scene, user: User) -> Self {
        Self::launch(scene, user, "exec python3 -u -c \"$0\" \"$1\"")
    }

    /// An agent of `user` below a shell of the same user, which it can have watched.
    pub fn start_below_a_shell(scene: &Scene, user: User) -> Self {
        Self::launch(scene, user, "python3 -u -c \"$0\" \"$1\"; exit $?")
    }

    fn launch(scene: &Scene, user: User, script: &str) -> Self {
        let mut command = scene.caller(user).command("sh");
        command.args(["-c", script, PROGRAM]).arg(scene.socket());
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawn_on_keeper(command).unwrap();
        let (orders, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        Self { child, orders, answers }
    }

    /// Has it carry out one command.
    pub fn tell(&mut self, command: &Value) -> Heard {
        writeln!(self.orders, "{command}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let mut heard: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("the agent says {line:?}"));
        Heard { status: heard["status"].as_u64(), body: heard["body"].take() }
    }

    /// A POST on a connection of its own.
    pub fn post(&mut self, path: &str, body: Value) -> Heard {
        self.tell(&json!({ "do": "call", "path": path, "body": body }))
    }

    /// A POST whose connection stays open.
    pub fn hold(&mut self, path: &str, body: Value) -> Heard {
        self.tell(&json!({ "do": "hold", "path": path, "body": body }))
    }

    /// A POST whose answer is not waited for.
    pub fn send(&mut self, path: &str, body: Value) {
        self.tell(&json!({ "do": "send", "path": path, "body": body }));
    }

    /// Closes what `hold` and `send` left open.
    pub fn release(&mut self) {
        self.tell(&json!({ "do": "release" }));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Ok(id) = i32::try_from(self.child.id()) {
            let _ = killpg(Pid::from_raw(id), Signal::SIGKILL);
        }
        let _ = self.child.wait();
    }
}
