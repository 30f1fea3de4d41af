//! A running `grantctl agent`, and a reader of its file that never looks away.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use grantd_testkit::{aws_environment, spawn_on_keeper};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::{User, World, eventually};

/// A `grantctl agent`. Dropping it kills it.
#[derive(Debug)]
pub struct AgentProcess {
    child: Child,
    said: PathBuf,
}

impl AgentProcess {
    /// Starts one as `user` and does not wait for its file.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start(world: &World, user: User, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let scene = &world.scene;
        let said = scene.log().join(format!("agent-{}.log", STARTED.fetch_add(1, Ordering::Relaxed)));
        let mut caller = scene.caller(user).env("GRANTD_SOCKET", scene.socket().display().to_string());
        for (name, value) in environment {
            caller = caller.env(name, *value);
        }
        let mut command: Command = caller.command(scene.bin("grantctl"));
        command.arg("agent").args(arguments).stdin(Stdio::null());
        let log = fs::File::create(&said).expect("a log can be made");
        command.stdout(log.try_clone().expect("a log can be shared")).stderr(log);
        Self { child: spawn_on_keeper(command).expect("grantctl can be started"), said }
    }

    /// Its process id.
    ///
    /// # Panics
    /// It does not fit.
    #[must_use]
    pub fn pid(&self) -> i32 {
        i32::try_from(self.child.id()).expect("a pid fits")
    }

    /// What it has said.
    ///
    /// # Panics
    /// It cannot be read.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(&self.said).expect("the log can be read")
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// It has ended.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.pid()), signal).expect("grantctl agent is alive");
    }

    /// Waits until it has ended; gives its exit code, or the number of the signal that ended it negated.
    ///
    /// # Panics
    /// It does not in 40 s.
    pub fn ended(&mut self) -> i32 {
        let mut status = None;
        eventually(&format!("grantctl agent ends: {}", self.said()), Duration::from_secs(40), || {
            status = self.child.try_wait().expect("it can be waited for");
            status.is_some()
        });
        let status = status.expect("it has ended");
        status.code().unwrap_or_else(|| -status.signal().unwrap_or_default())
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// It cannot be looked at.
    pub fn runs(&mut self) -> bool {
        self.child.try_wait().expect("it can be waited for").is_none()
    }
}

impl Drop for AgentProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads the file as fast as it can in one thread, and a bucket with boto3 and what stands in the file in another.
const READER: &str = r#"
import configparser, json, os, signal, sys, threading, time
import boto3
from botocore.config import Config

path, seen = sys.argv[1], {"looks": 0, "reads": 0, "keys": [], "failures": [], "signals": 0}
stop = False

def told(number, frame):
    seen["signals"] += 1

signal.signal(signal.SIGUSR1, told)

def look():
    while not stop:
        try:
            with open(path) as file:
                text = file.read()
            lines = text.split("\n")
            whole = len(lines) == 5 and lines[0] == "[default]" and lines[4] == "" and text.endswith("\n")
            if not whole or not lines[3].startswith("aws_session_token = "):
                seen["failures"].append("half of a file: %d bytes" % len(text))
            key = lines[1].split(" = ")[1]
            if key not in seen["keys"]:
                seen["keys"].append(key)
        except Exception as error:
            seen["failures"].append(repr(error))
        seen["looks"] += 1
        time.sleep(0.001)

def read():
    os.environ["AWS_SHARED_CREDENTIALS_FILE"] = path
    while not stop:
        held = None
        try:
            session = boto3.Session()
            held = session.get_credentials().access_key
            s3 = session.client("s3", config=Config(s3={"addressing_style": "path"}))
            text = s3.get_object(Bucket="alpha", Key="hello.txt")["Body"].read().decode()
            if text != "hello from alpha\n":
                seen["failures"].append(text)
        except Exception as error:
            # What was held for too long is the reader's to read again; what stands in the file has to be good.
            with open(path) as file:
                if held is None or held in file.read():
                    seen["failures"].append(repr(error))
        seen["reads"] += 1

threads = [threading.Thread(target=work, daemon=True) for work in (look, read)]
print(json.dumps(os.getpid()), flush=True)
for line in sys.stdin:
    word = json.loads(line)
    if word == "start":
        for thread in threads:
            thread.start()
    if word == "stop":
        stop = True
        for thread in threads:
            thread.join()
    print(json.dumps(seen), flush=True)
"#;

/// A program that reads the file over and over. Dropping it kills it.
#[derive(Debug)]
pub struct FileReader {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    pid: i32,
}

impl FileReader {
    /// Starts one as `user`, which does not look yet.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn start(world: &World, user: User, file: &str) -> Self {
        let program = world.scene.write("home/reader.py", READER, User::Root, 0o644);
        let caller = world.scene.caller(user).cloud(&world.stack.url());
        let mut command = caller.command(aws_environment().expect("boto3 is installed").join("bin/python"));
        command.args(["-W", "ignore"]).arg(program).arg(file).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawn_on_keeper(command).expect("python can be started");
        let input = child.stdin.take().expect("its input is a pipe");
        let output = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        let mut reader = Self { child, input, output, pid: 0 };
        let pid = reader.line().as_i64().and_then(|pid| i32::try_from(pid).ok());
        reader.pid = pid.expect("the reader says its pid");
        reader
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Has it `start` or `stop`, or only say what it has seen.
    ///
    /// # Panics
    /// It is not there.
    pub fn asks(&mut self, word: &str) -> Value {
        writeln!(self.input, "{}", json!(word)).expect("the reader reads");
        self.line()
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the reader writes");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("no answer: {error}: {line:?}"))
    }
}

impl Drop for FileReader {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
