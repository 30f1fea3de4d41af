//! What a user does on the machine: runs programs, boto3, the AWS CLI, and curl on the daemon's socket.

use std::process::Command;
use std::time::Duration;

use grantd_testkit::{Finished, Keys, Session, aws_environment, run};
use serde_json::Value;

use crate::{Scene, User};

/// AWS credentials in the open, as a job has them.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The access key id.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: String,
    /// The session token of a session.
    pub session_token: Option<String>,
}

impl Credentials {
    /// Reads what `credential_process` prints and what the daemon's API sends: an object with `AccessKeyId`,
    /// `SecretAccessKey` and `SessionToken`.
    #[must_use]
    pub fn from_json(value: &Value) -> Option<Self> {
        let text = |name: &str| value.get(name).and_then(Value::as_str).map(str::to_owned);
        Some(Self {
            access_key_id: text("AccessKeyId")?,
            secret_access_key: text("SecretAccessKey")?,
            session_token: text("SessionToken"),
        })
    }
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

impl From<&Session> for Credentials {
    fn from(session: &Session) -> Self {
        Self {
            access_key_id: session.access_key_id.clone(),
            secret_access_key: session.secret_access_key.expose().to_owned(),
            session_token: Some(session.session_token.expose().to_owned()),
        }
    }
}

impl From<&Keys> for Credentials {
    fn from(keys: &Keys) -> Self {
        Self {
            access_key_id: keys.access_key_id.clone(),
            secret_access_key: keys.secret_access_key.expose().to_owned(),
            session_token: None,
        }
    }
}

/// An answer of the daemon.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The body; null if it is empty, a string if it is not JSON.
    pub body: Value,
}

/// A user about to do something, with nothing in the environment but what is given here.
#[derive(Debug, Clone)]
#[must_use]
pub struct Caller<'a> {
    scene: &'a Scene,
    user: User,
    environment: Vec<(String, String)>,
    limit: Duration,
}

impl<'a> Caller<'a> {
    pub(crate) fn new(scene: &'a Scene, user: User) -> Self {
        Self { scene, user, environment: Vec::new(), limit: Duration::from_secs(30) }
    }

    /// With an environment variable.
    pub fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.environment.push((name.to_owned(), value.into()));
        self
    }

    /// With the cloud at `endpoint`, for boto3 and the AWS CLI.
    pub fn cloud(self, endpoint: &str) -> Self {
        self.env("AWS_ENDPOINT_URL", endpoint)
            .env("AWS_DEFAULT_REGION", "eu-west-1")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            // One attempt, so that a test sees what happened and not what a retry made of it.
            .env("AWS_RETRY_MODE", "standard")
            .env("AWS_MAX_ATTEMPTS", "1")
    }

    /// With AWS credentials in the environment.
    pub fn credentials(self, credentials: &Credentials) -> Self {
        let with = self
            .env("AWS_ACCESS_KEY_ID", &credentials.access_key_id)
            .env("AWS_SECRET_ACCESS_KEY", &credentials.secret_access_key);
        match &credentials.session_token {
            Some(token) => with.env("AWS_SESSION_TOKEN", token),
            None => with,
        }
    }

    /// With this much time before it is killed; 30 s without.
    pub fn limit(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// The command itself, to be spawned by the test.
    #[must_use]
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = self.user.command(program);
        command.current_dir(self.scene.path()).env("HOME", self.scene.home(self.user));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs a program to its end.
    ///
    /// # Panics
    /// It cannot be started or takes too long.
    #[must_use]
    pub fn run(&self, program: impl AsRef<std::ffi::OsStr>, arguments: &[&str]) -> Finished {
        let mut command = self.command(program);
        command.args(arguments);
        self.finish(command, "")
    }

    /// Runs `grantctl` of this scene on its socket.
    ///
    /// # Panics
    /// It cannot be started or takes too long.
    #[must_use]
    pub fn grantctl(&self, arguments: &[&str]) -> Finished {
        let socket = self.scene.socket().display().to_string();
        self.clone().env("GRANTD_SOCKET", socket).run(self.scene.bin("grantctl"), arguments)
    }

    /// Runs a piece of Python that can import boto3. It comes by standard input.
    ///
    /// # Panics
    /// `make setup` has not run, or it takes too long.
    #[must_use]
    pub fn python(&self, code: &str) -> Finished {
        let mut command = self.command(aws_environment().expect("boto3 is installed").join("bin/python"));
        command.args(["-W", "ignore", "-"]);
        self.finish(command, code)
    }

    /// Runs the AWS CLI.
    ///
    /// # Panics
    /// `make setup` has not run, or it takes too long.
    #[must_use]
    pub fn aws(&self, arguments: &[&str]) -> Finished {
        self.run(aws_environment().expect("the AWS CLI is installed").join("bin/aws"), arguments)
    }

    /// Sends a request to the daemon of this scene with curl. A body is sent as JSON.
    ///
    /// # Panics
    /// There is no answer.
    #[must_use]
    pub fn curl(&self, method: &str, path: &str, body: Option<&Value>) -> Answer {
        let mut command = self.command("curl");
        command.args(["--silent", "--show-error", "--max-time", "20", "--request", method, "--unix-socket"]);
        command.arg(self.scene.socket()).args(["--write-out", "\n%{http_code}"]);
        if body.is_some() {
            command.args(["--header", "Content-Type: application/json", "--data-binary", "@-"]);
        }
        command.arg(format!("http://localhost{path}"));
        let finished = self.finish(command, &body.map(Value::to_string).unwrap_or_default());
        assert!(finished.success(), "curl {method} {path}: {finished}");
        let (text, status) = finished.stdout.rsplit_once('\n').expect("curl writes the status");
        let body =
            if text.is_empty() { Value::Null } else { serde_json::from_str(text).unwrap_or_else(|_| text.into()) };
        Answer { status: status.parse().expect("curl writes a number"), body }
    }

    fn finish(&self, command: Command, input: &str) -> Finished {
        run(command, input, self.limit).unwrap_or_else(|error| panic!("as {}: {error}", self.user.name()))
    }
}
