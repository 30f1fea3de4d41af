//! The AWS account that tests work on: made by `tests/setup/aws_setup.py`, used by `tests/setup/probe.py`, both real
//! boto3.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use grantd_provider_api::Secret;
use serde::Deserialize;
use serde_json::json;

use crate::faultproxy::Session;
use crate::ministack::{aws_environment, repository_root};
use crate::process::{Finished, guarded, kill_group, run, spawn_on_keeper};

/// An access key and its secret.
#[derive(Debug)]
pub struct Keys {
    /// The access key id.
    pub access_key_id: String,
    /// The secret access key.
    pub secret_access_key: Secret,
}

/// What was made.
#[derive(Debug)]
pub struct Account {
    /// The account's number.
    pub account_id: String,
    /// The buckets, each with one object `hello.txt`: `alpha` and `beta`.
    pub buckets: Vec<String>,
    /// The roles that trust the base identity and may do everything on S3: `grantd-target-1` and `-2`.
    pub role_arns: Vec<String>,
    /// Their permissions boundaries, `Allow *` at first, in the same order: `grantd-boundary-1` and `-2`.
    pub boundary_arns: Vec<String>,
    /// A role that does not trust the base identity, although that may ask for it.
    pub untrusting_role_arn: String,
    /// The base identity's keys: it may assume the roles and manage versions of the boundaries, nothing else.
    pub base: Keys,
}

#[derive(Deserialize)]
struct Made {
    account_id: String,
    buckets: Vec<String>,
    role_arns: Vec<String>,
    boundary_arns: Vec<String>,
    untrusting_role_arn: String,
    access_key_id: String,
    secret_access_key: String,
}

impl Account {
    /// Makes everything in the empty account behind `endpoint`.
    ///
    /// # Errors
    /// The environment is missing or the script failed; the text has what it printed.
    pub fn prepare(endpoint: &str) -> io::Result<Self> {
        Self::prepare_with(endpoint, &[])
    }

    /// The same, with words for the script: with `inline`, the base identity may also write the roles' inline policies.
    ///
    /// # Errors
    /// As for `prepare`.
    pub fn prepare_with(endpoint: &str, words: &[&str]) -> io::Result<Self> {
        let mut command = script("aws_setup.py")?;
        command.arg(endpoint).args(words);
        let made: Made = parse(&run(command, "", Duration::from_secs(60))?)?;
        Ok(Self {
            account_id: made.account_id,
            buckets: made.buckets,
            role_arns: made.role_arns,
            boundary_arns: made.boundary_arns,
            untrusting_role_arn: made.untrusting_role_arn,
            base: Keys { access_key_id: made.access_key_id, secret_access_key: Secret::new(made.secret_access_key) },
        })
    }

    /// Writes the base identity's keys as an AWS credentials file with the given profile, readable by its owner only.
    ///
    /// # Errors
    /// The file exists or cannot be written.
    pub fn write_profile(&self, path: &Path, profile: &str) -> io::Result<()> {
        let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        let (id, secret) = (&self.base.access_key_id, self.base.secret_access_key.expose());
        writeln!(file, "[{profile}]\naws_access_key_id = {id}\naws_secret_access_key = {secret}")
    }
}

/// What a session saw when it tried to read an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sight {
    /// It could read the object.
    Allowed,
    /// The cloud answered with this error code, such as `AccessDenied` or `ExpiredToken`.
    Refused(String),
    /// There was no answer to judge by.
    Unknown(String),
}

impl Sight {
    /// Whether the cloud refused. "Not found" and no answer are no refusals: they prove nothing.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        let proofs = ["AccessDenied", "403", "ExpiredToken", "InvalidToken", "InvalidAccessKeyId"];
        matches!(self, Self::Refused(code) if proofs.contains(&code.as_str()))
    }
}

/// Lets each session read `key` in `bucket` once, through the cloud at `endpoint`; all in one boto3 process.
///
/// # Errors
/// The environment is missing or the script failed.
pub fn probe(endpoint: &str, bucket: &str, key: &str, sessions: &[Arc<Session>]) -> io::Result<Vec<Sight>> {
    let tasks: Vec<_> = sessions.iter().map(|session| (bucket, Arc::clone(session))).collect();
    Prober::start()?.look(endpoint, key, &tasks)
}

/// A boto3 process that tries sessions again and again: to start one takes longer than to try dozens. Dropping it kills
/// it.
#[derive(Debug)]
pub struct Prober {
    child: Child,
    tasks: ChildStdin,
    outcomes: BufReader<ChildStdout>,
}

impl Prober {
    /// Starts it.
    ///
    /// # Errors
    /// The environment is missing.
    pub fn start() -> io::Result<Self> {
        let mut command = script("probe.py")?;
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = spawn_on_keeper(command)?;
        let (Some(tasks), Some(outcomes)) = (child.stdin.take(), child.stdout.take()) else {
            return Err(io::Error::other("a child has no pipes"));
        };
        Ok(Self { child, tasks, outcomes: BufReader::new(outcomes) })
    }

    /// Lets each session read `key` in its bucket once, through the cloud at `endpoint`.
    ///
    /// # Errors
    /// The script failed; what it printed is on standard error.
    pub fn look(&mut self, endpoint: &str, key: &str, sessions: &[(&str, Arc<Session>)]) -> io::Result<Vec<Sight>> {
        let task = |(bucket, session): &(&str, Arc<Session>)| json!({ "bucket": bucket, "session": session.exposed() });
        let tasks: Vec<_> = sessions.iter().map(task).collect();
        writeln!(self.tasks, "{}", json!({ "endpoint": endpoint, "key": key, "tasks": tasks }))?;
        let mut line = String::new();
        self.outcomes.read_line(&mut line)?;
        let outcomes: Vec<String> = serde_json::from_str(&line).map_err(io::Error::other)?;
        if outcomes.len() != sessions.len() {
            return Err(io::Error::other(format!("{} outcomes for {} sessions", outcomes.len(), sessions.len())));
        }
        let sight = |outcome: String| match outcome.split_once(' ') {
            None if outcome == "allowed" => Sight::Allowed,
            Some(("refused", code)) => Sight::Refused(code.to_owned()),
            _ => Sight::Unknown(outcome),
        };
        Ok(outcomes.into_iter().map(sight).collect())
    }
}

impl Drop for Prober {
    fn drop(&mut self) {
        kill_group(&mut self.child);
    }
}

/// A script of `tests/setup` under the Python that has boto3, with an empty environment.
fn script(name: &str) -> io::Result<Command> {
    let mut command = guarded(aws_environment()?.join("bin/python"));
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent");
    command.arg("-W").arg("ignore").arg(repository_root().join("tests/setup").join(name));
    Ok(command)
}

fn parse<T: serde::de::DeserializeOwned>(finished: &Finished) -> io::Result<T> {
    if !finished.success() {
        return Err(io::Error::other(finished.stderr.clone()));
    }
    serde_json::from_str(&finished.stdout).map_err(io::Error::other)
}
