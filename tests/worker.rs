//! The command of a `grantctl exec`: a process that does with boto3 what the test says, for as long as the test wants.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use grantd_testkit::{aws_environment, spawn_on_keeper};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::{Credentials, User, World, eventually};

/// Reads commands as JSON lines, answers with JSON lines. One boto3 session for all of them: it refreshes by itself.
const PROGRAM: &str = r#"
import json, os, signal, sys, threading, time, urllib.error, urllib.request
import boto3
from botocore.config import Config

signals = []
for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1"):
    signal.signal(getattr(signal, name), lambda number, frame: signals.append(signal.Signals(number).name))

session = boto3.Session()
s3 = session.client("s3", config=Config(s3={"addressing_style": "path"}))

def read(bucket):
    try:
        return s3.get_object(Bucket=bucket, Key="hello.txt")["Body"].read().decode()
    except Exception as error:
        return type(error).__name__ + ": " + str(error)

steady = {"reads": 0, "failures": [], "stop": False}

def keep_reading(bucket):
    # As a long job does, until it is told to stop.
    def go_on():
        while not steady["stop"]:
            text = read(bucket)
            steady["reads"] += 1
            if text != f"hello from {bucket}\n":
                steady["failures"].append(text)
            time.sleep(0.02)
    steady["thread"] = threading.Thread(target=go_on, daemon=True)
    steady["thread"].start()

def read_so_far():
    return {"reads": steady["reads"], "failures": steady["failures"]}

def stop_reading():
    steady["stop"] = True
    steady["thread"].join()
    return read_so_far()

def key():
    # None while there is no credential: the lease is over, and the next one is not there yet.
    try:
        return session.get_credentials().get_frozen_credentials().access_key
    except Exception:
        return None

def frozen():
    return list(session.get_credentials().get_frozen_credentials())[:3]

def environment():
    return dict(os.environ)

def ask(headers):
    request = urllib.request.Request(os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"], headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return {"status": answer.status, "body": json.loads(answer.read())}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "body": json.loads(error.read())}

def orphan():
    # A process that outlives its parent, as a build tool's daemon does.
    readable, writable = os.pipe()
    middle = os.fork()
    if middle == 0:
        parent = os.getpid()
        if os.fork() == 0:
            while os.getppid() == parent:
                time.sleep(0.01)
            answer = ask({"Authorization": os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"]})
            os.write(writable, json.dumps(answer).encode())
        os._exit(0)
    os.waitpid(middle, 0)
    os.close(writable)
    with os.fdopen(readable) as pipe:
        return json.loads(pipe.read())

def seen(count):
    while len(signals) < count:
        time.sleep(0.01)
    return signals

def default(name):
    signal.signal(getattr(signal, name), signal.SIG_DFL)

def leave(code):
    os._exit(code)

def die():
    os.kill(os.getpid(), signal.SIGKILL)

print(json.dumps(os.getpid()), flush=True)
for line in sys.stdin:
    name, *arguments = json.loads(line)
    print(json.dumps(globals()[name](*arguments)), flush=True)
"#;

/// A `grantctl exec` with its command. Dropping it kills both.
#[derive(Debug)]
pub struct Worker {
    exec: Child,
    pid: i32,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    said: std::path::PathBuf,
}

impl Worker {
    /// Starts one as alice: `grantctl exec ARGUMENTS -- python …`, with `environment` beside that of the cloud.
    ///
    /// # Panics
    /// It does not come up.
    #[must_use]
    pub fn start(world: &World, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let scene = &world.scene;
        let program = scene.write("home/worker.py", PROGRAM, User::Alice, 0o644);
        let mut caller = world.alice().cloud(&world.stack.url());
        for (name, value) in environment {
            caller = caller.env(name, *value);
        }
        let mut command: Command =
            caller.env("GRANTD_SOCKET", scene.socket().display().to_string()).command(scene.bin("grantctl"));
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let said = scene.log().join(format!("exec-{}.log", STARTED.fetch_add(1, Ordering::Relaxed)));
        let python = aws_environment().expect("boto3 is installed").join("bin/python");
        command.arg("exec").args(arguments).arg("--").arg(python).args(["-W", "ignore"]).arg(program);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&said).expect("a log can be made"));
        let mut exec = spawn_on_keeper(command).expect("grantctl can be started");
        let input = exec.stdin.take().expect("its input is a pipe");
        let output = BufReader::new(exec.stdout.take().expect("its output is a pipe"));
        let mut worker = Self { exec, pid: 0, input, output, said };
        let pid = worker.line().as_i64().and_then(|pid| i32::try_from(pid).ok());
        worker.pid = pid.expect("the command says its pid");
        worker
    }

    /// The pid of `grantctl exec`.
    #[must_use]
    pub fn exec_pid(&self) -> i32 {
        i32::try_from(self.exec.id()).expect("a pid fits")
    }

    /// The pid of the command.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// What `grantctl` has said on standard error.
    ///
    /// # Panics
    /// It cannot be read.
    #[must_use]
    pub fn said(&self) -> String {
        fs::read_to_string(&self.said).expect("the log can be read")
    }

    /// Has the command do something and gives its answer.
    ///
    /// # Panics
    /// It does not answer.
    pub fn asks(&mut self, command: &Value) -> Value {
        self.tell(command);
        self.line()
    }

    /// Has the command read `hello.txt` of a bucket: what stands there, or the error.
    pub fn read(&mut self, bucket: &str) -> String {
        self.asks(&json!(["read", bucket])).as_str().unwrap_or_default().to_owned()
    }

    /// Has the command read `hello.txt` of a bucket over and over beside everything else.
    pub fn keep_reading(&mut self, bucket: &str) {
        self.asks(&json!(["keep_reading", bucket]));
    }

    /// How often it has read so far, and what it got instead of what stands there.
    ///
    /// # Panics
    /// It does not answer.
    pub fn read_so_far(&mut self) -> (u64, Vec<String>) {
        counted(&self.asks(&json!(["read_so_far"])))
    }

    /// The same, when it has stopped to.
    ///
    /// # Panics
    /// It does not answer.
    pub fn stop_reading(&mut self) -> (u64, Vec<String>) {
        counted(&self.asks(&json!(["stop_reading"])))
    }

    /// The credential that the command has by now, as whoever steals it would have it.
    ///
    /// # Panics
    /// The command has none.
    pub fn credentials(&mut self) -> Credentials {
        let frozen = self.asks(&json!(["frozen"]));
        let text = |place: usize| frozen[place].as_str().expect("a credential is whole").to_owned();
        Credentials { access_key_id: text(0), secret_access_key: text(1), session_token: Some(text(2)) }
    }

    /// Has the command do something that it does not answer.
    ///
    /// # Panics
    /// It is not there.
    pub fn tell(&mut self, command: &Value) {
        writeln!(self.input, "{command}").expect("the command reads");
    }

    /// Sends a signal to `grantctl exec` alone.
    ///
    /// # Panics
    /// It has ended.
    pub fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.exec_pid()), signal).expect("grantctl exec is alive");
    }

    /// Waits until `grantctl exec` has ended; gives its exit code, or the number of the signal that ended it negated.
    ///
    /// # Panics
    /// It does not in 20 s.
    pub fn ended(&mut self) -> i32 {
        let mut code = None;
        eventually(&format!("grantctl exec ends: {}", self.said()), Duration::from_secs(20), || {
            code = self.exec.try_wait().expect("it can be waited for");
            code.is_some()
        });
        let status = code.expect("it has ended");
        status.code().unwrap_or_else(|| -status.signal().unwrap_or_default())
    }

    /// Waits until the command itself is gone.
    ///
    /// # Panics
    /// It is not in 20 s.
    pub fn command_is_gone(&self) {
        let stat = format!("/proc/{}/stat", self.pid);
        eventually("the command is gone", Duration::from_secs(20), || {
            fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "))
        });
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the command writes");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("no answer: {error}: {line:?}; {}", self.said()))
    }
}

fn counted(answer: &Value) -> (u64, Vec<String>) {
    let failures = answer["failures"].as_array().expect("failures are listed");
    let words = failures.iter().map(|text| text.as_str().unwrap_or_default().to_owned());
    (answer["reads"].as_u64().expect("reads are counted"), words.collect())
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.pid), Signal::SIGKILL);
        let _ = self.exec.kill();
        let _ = self.exec.wait();
    }
}
