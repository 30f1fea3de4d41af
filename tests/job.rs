//! A job: one process of a user that talks to the daemon for as long as the test wants. curl is a new process with each
//! request; reuse, anchors and held connections need one that stays.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use grantd_testkit::spawn_on_keeper;
use serde_json::{Value, json};

use crate::{Answer, Scene, User};

/// Reads commands as JSON lines, answers with JSON lines. A child is forked for `child`: it asks in the job's stead.
const PROGRAM: &str = r#"
import http.client, json, os, socket, sys

class Client(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(20)
        self.sock.connect(sys.argv[1])

def send(method, path, body):
    client = Client("localhost", timeout=20)
    data = None if body is None else json.dumps(body)
    client.request(method, path, data, {"Content-Type": "application/json"})
    return client, client.getresponse()

def ask(method, path, body):
    client, answer = send(method, path, body)
    text = answer.read()
    client.close()
    return {"status": answer.status, "body": json.loads(text) if text else None}

def child(*what):
    readable, writable = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writable, json.dumps(ask(*what)).encode())
        os._exit(0)
    os.close(writable)
    with os.fdopen(readable) as pipe:
        answer = json.loads(pipe.read())
    os.waitpid(pid, 0)
    return answer

held = None
def hold(path, body):
    global held
    held = client, answer = send("POST", path, body)
    return {"status": answer.status, "body": json.loads(answer.readline())}

def event():
    line = held[1].readline()
    return {"status": 0, "body": json.loads(line) if line else None}

def let_go():
    held[1].close()
    held[0].close()
    return {"status": 0, "body": None}

for line in sys.stdin:
    name, *arguments = json.loads(line)
    command = {"ask": ask, "child": child, "hold": hold, "event": event, "let_go": let_go}[name]
    print(json.dumps(command(*arguments)), flush=True)
"#;

/// A process of a user. Dropping it kills it.
#[derive(Debug)]
pub struct Job {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Job {
    /// Starts one.
    ///
    /// # Panics
    /// It cannot be started.
    #[must_use]
    pub fn start(scene: &Scene, user: User) -> Self {
        let mut command = scene.caller(user).command("/usr/bin/python3");
        command.args(["-c", PROGRAM]).arg(scene.socket()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawn_on_keeper(command).expect("python3 can be started");
        let input = child.stdin.take().expect("its input is a pipe");
        let output = BufReader::new(child.stdout.take().expect("its output is a pipe"));
        Self { child, input, output }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a request on a connection of its own.
    ///
    /// # Panics
    /// There is no answer.
    pub fn ask(&mut self, method: &str, path: &str, body: Value) -> Answer {
        self.command(&json!(["ask", method, path, body]))
    }

    /// The same from a child that is there for this one request.
    ///
    /// # Panics
    /// There is no answer.
    pub fn child_asks(&mut self, method: &str, path: &str, body: Value) -> Answer {
        self.command(&json!(["child", method, path, body]))
    }

    /// Takes a credential that is anchored in this process.
    ///
    /// # Panics
    /// There is no answer.
    pub fn vend(&mut self, grant: &str) -> Answer {
        self.ask("POST", "/v1/leases", json!({ "grant": grant, "anchor": "caller" }))
    }

    /// Sends a request whose answer stays open, and gives its first line.
    ///
    /// # Panics
    /// There is no answer.
    pub fn hold(&mut self, path: &str, body: Value) -> Answer {
        self.command(&json!(["hold", path, body]))
    }

    /// The next line of the answer that stays open; null when it is over.
    ///
    /// # Panics
    /// Nothing comes in 20 s.
    pub fn event(&mut self) -> Value {
        self.command(&json!(["event"])).body
    }

    /// Closes the connection that stayed open.
    ///
    /// # Panics
    /// There is none.
    pub fn let_go(&mut self) {
        self.command(&json!(["let_go"]));
    }

    /// Kills it and waits for its end.
    ///
    /// # Panics
    /// It cannot be waited for.
    pub fn kill(mut self) {
        self.end();
    }

    fn command(&mut self, command: &Value) -> Answer {
        writeln!(self.input, "{command}").expect("the job reads");
        let mut line = String::new();
        self.output.read_line(&mut line).expect("the job writes");
        let answer: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("no answer to {command}: {error}"));
        let status = answer["status"].as_u64().and_then(|status| u16::try_from(status).ok());
        Answer { status: status.expect("an answer has a status"), body: answer["body"].clone() }
    }

    fn end(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        self.end();
    }
}
