//! The command of a `grantctl exec`: a process that asks Google's and Microsoft's own clients what the test says.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};
use std::time::Duration;

use grantd_testkit::{clouds_environment, spawn_on_keeper};
use grantd_tests::{Scene, User, eventually};
use serde_json::{Value, json};

/// Reads commands as JSON lines, answers with JSON lines. Credentials are kept by name, as a program keeps them.
const PROGRAM: &str = r#"
import json, os, sys, urllib.error, urllib.request

kept = {}

def told(work):
    try:
        return work()
    except Exception as error:
        return {"error": type(error).__name__ + ": " + str(error)}

def environment():
    return dict(os.environ)

def unset(*names):
    for name in names:
        os.environ.pop(name, None)

def ask(url, method, headers, body):
    data = None if body is None else body.encode()
    request = urllib.request.Request(url, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return {"status": answer.status, "body": answer.read().decode()}
    except urllib.error.HTTPError as error:
        return {"status": error.code, "body": error.read().decode()}

def gcp_of(credentials, project=None):
    import calendar
    return {
        "token": credentials.token,
        "until": calendar.timegm(credentials.expiry.timetuple()),
        "kind": type(credentials).__module__,
        "project": project,
        "account": getattr(credentials, "service_account_email", None),
    }

def gcp_default(name):
    def work():
        import google.auth, google.auth.transport.requests
        if name not in kept:
            kept[name] = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        credentials, project = kept[name]
        credentials.refresh(google.auth.transport.requests.Request())
        return gcp_of(credentials, project)
    return told(work)

def gcp_metadata():
    def work():
        import google.auth.compute_engine, google.auth.transport.requests
        from google.auth.compute_engine import _metadata
        request = google.auth.transport.requests.Request()
        if not _metadata.is_on_gce(request):
            raise RuntimeError("no metadata server")
        credentials = google.auth.compute_engine.Credentials()
        credentials.refresh(request)
        return gcp_of(credentials, _metadata.get_project_id(request)) | {"universe": credentials.universe_domain}
    return told(work)

def gcp_identity(audience):
    def work():
        import google.auth.transport.requests, google.oauth2.id_token
        return {"token": google.oauth2.id_token.fetch_id_token(google.auth.transport.requests.Request(), audience)}
    return told(work)

def azure(name, kind, scope, **named):
    def work():
        import azure.identity
        if name not in kept:
            kept[name] = getattr(azure.identity, kind)(**named)
        token = kept[name].get_token(scope)
        return {"token": token.token, "until": token.expires_on}
    return told(work)

def azure_named(name, kind, scope, named):
    return azure(name, kind, scope, **named)

def leave(code):
    os._exit(code)

print(json.dumps(os.getpid()), flush=True)
for line in sys.stdin:
    name, *arguments = json.loads(line)
    print(json.dumps(globals()[name](*arguments)), flush=True)
"#;

/// A `grantctl exec` with its command, as alice. Dropping it kills both.
pub struct Command {
    exec: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    said: std::path::PathBuf,
}

impl Command {
    /// `grantctl exec ARGUMENTS -- python …`, with `environment`.
    pub fn start(scene: &Scene, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let program = scene.write("home/asker.py", PROGRAM, User::Alice, 0o644);
        let mut caller = scene.caller(User::Alice).env("GRANTD_SOCKET", scene.socket().display().to_string());
        for (name, value) in environment {
            caller = caller.env(name, *value);
        }
        let said = scene.log().join("exec.log");
        let mut command = caller.command(scene.bin("grantctl"));
        let python = clouds_environment().expect("the clients are installed").join("bin/python");
        command.arg("exec").args(arguments).arg("--").arg(python).args(["-W", "ignore"]).arg(program);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(fs::File::create(&said).unwrap());
        let mut exec = spawn_on_keeper(command).unwrap();
        let (input, output) = (exec.stdin.take().unwrap(), BufReader::new(exec.stdout.take().unwrap()));
        let mut started = Self { exec, input, output, said };
        started.line();
        started
    }

    /// Has the command do something and gives its answer.
    pub fn asks(&mut self, command: &Value) -> Value {
        writeln!(self.input, "{command}").unwrap();
        self.line()
    }

    /// A variable of the command's environment.
    pub fn variable(&mut self, name: &str) -> String {
        self.asks(&json!(["environment"]))[name].as_str().unwrap_or_default().to_owned()
    }

    /// What `grantctl` has said on standard error.
    pub fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap()
    }

    /// Has the command end, and waits until `grantctl exec` has.
    pub fn leave(mut self) {
        writeln!(self.input, "{}", json!(["leave", 0])).unwrap();
        let mut status = None;
        eventually("grantctl exec ends", Duration::from_secs(20), || {
            status = self.exec.try_wait().unwrap();
            status.is_some()
        });
        assert_eq!(status.and_then(|status| status.code()), Some(0), "{}", self.said());
    }

    fn line(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("no answer: {error}: {line:?}; {}", self.said()))
    }
}

impl Drop for Command {
    fn drop(&mut self) {
        let _ = self.exec.kill();
        let _ = self.exec.wait();
    }
}
