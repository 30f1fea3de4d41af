//! A fake of Google Cloud, and an issuer that it trusts.
//!
//! The fake itself is `fakegoogle/`, in Python: Google's discovery documents, which it holds every request to, and an
//! evaluator for the language of IAM conditions are there.
#![allow(clippy::expect_used, clippy::indexing_slicing, reason = "a stage that breaks must break its test")]

mod shape;
mod signer;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

pub use self::signer::Signer;
use crate::ministack::{environment, repository_root};
use crate::process::{guarded, kill_group, spawn_on_keeper};

/// Where `make setup` has put the Python environment of Google's clients and of the fake.
///
/// # Errors
/// It is not there.
pub fn gcp_environment() -> io::Result<PathBuf> {
    environment(".venv-gcp")
}

/// A running fake of Google Cloud. Dropping it kills it.
#[derive(Debug)]
pub struct FakeGoogle {
    child: Child,
    url: String,
}

impl FakeGoogle {
    /// The number of the project that has the pool.
    pub const NUMBER: &'static str = "123456789012";
    /// The project.
    pub const PROJECT: &'static str = "acme-prod";
    /// The subject of the daemon's own assertions.
    pub const SUBJECT: &'static str = "grantd";

    /// Starts it with nothing in it, on a free port of loopback.
    ///
    /// # Errors
    /// The environment is missing, or the process ended before it was ready.
    pub fn start() -> io::Result<Self> {
        let environment = gcp_environment()?;
        let mut command = guarded(environment.join("bin/python"));
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .arg(repository_root().join("providers/testkit/gcp/fakegoogle"))
            .arg("0")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        let mut child = spawn_on_keeper(command)?;
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        let told: Value = serde_json::from_str(&line).unwrap_or_default();
        match told["url"].as_str() {
            Some(url) => Ok(Self { url: url.to_owned(), child }),
            None => {
                kill_group(&mut child);
                Err(io::Error::other("the fake of Google ended before it was ready; what it printed is above"))
            }
        }
    }

    /// The same with an account: a pool that trusts `signer`, the daemon's principal with the rights that it needs in
    /// the project, and the buckets `alpha` and `beta`, each with the objects `in/hello.txt` and `out/hello.txt` and
    /// with bindings of others.
    ///
    /// # Errors
    /// As [`FakeGoogle::start`].
    pub fn with_account(signer: &Signer) -> io::Result<Self> {
        Self::trusting(&Self::provider(signer.issuer_url(), &signer.jwks()))
    }

    /// The same with a pool that trusts the issuer `url`, and looks up what that publishes in `directory`, as `grantctl
    /// issuer publish` writes it: Google asks the issuer's URL, and here that leads nowhere.
    ///
    /// # Errors
    /// As [`FakeGoogle::start`].
    pub fn with_account_of(url: &str, directory: &Path) -> io::Result<Self> {
        let mut provider = Self::provider(url, &Value::Null);
        provider["jwks_file"] = json!(directory.join(".well-known/jwks.json"));
        Self::trusting(&provider)
    }

    fn trusting(provider: &Value) -> io::Result<Self> {
        let fake = Self::start()?;
        let bucket = |name: &str| format!("//storage.googleapis.com/projects/_/buckets/{name}");
        let role = format!("projects/{}/roles/grantd_admin", Self::PROJECT);
        let reader = format!("projects/{}/roles/grantd_reader", Self::PROJECT);
        let sa = |name: &str| {
            format!(
                "//iam.googleapis.com/projects/{0}/serviceAccounts/{name}@{0}.iam.gserviceaccount.com",
                Self::PROJECT
            )
        };
        let objects =
            |name: &str| json!({ "in/hello.txt": format!("hello from {name}\n"), "out/hello.txt": "not yours\n" });
        let daemon = Self::principal(Self::SUBJECT);
        let only = "api.getAttribute('iam.googleapis.com/modifiedGrantsByRole', []).hasOnly(['roles/storage.objectViewer', \
                    'roles/secretmanager.secretAccessor', 'roles/pubsub.subscriber'])";
        fake.control("setup", &json!({
            "providers": { Self::audience(): provider },
            "numbers": { Self::NUMBER: Self::PROJECT },
            "roles": {
                role.as_str(): [
                    "storage.buckets.setIamPolicy", "secretmanager.secrets.setIamPolicy", "pubsub.subscriptions.setIamPolicy",
                    "resourcemanager.projects.setIamPolicy",
                ],
                reader.as_str(): [
                    "storage.buckets.getIamPolicy", "secretmanager.secrets.getIamPolicy",
                    "pubsub.subscriptions.getIamPolicy", "resourcemanager.projects.getIamPolicy",
                    "cloudasset.assets.searchAllIamPolicies", "iam.workloadIdentityPoolProviders.get",
                    "iam.workloadIdentityPoolProviders.list",
                ],
            },
            "policies": {
                format!("//cloudresourcemanager.googleapis.com/projects/{}", Self::PROJECT): { "bindings": [
                    { "role": role, "members": [daemon], "condition": { "title": "grantd may", "expression": only } },
                    { "role": reader, "members": [daemon] },
                ] },
                bucket("alpha"): { "bindings": Self::foreign() },
                bucket("beta"): { "bindings": Self::foreign() },
                format!("//secretmanager.googleapis.com/projects/{}/secrets/db", Self::PROJECT): {},
                format!("//pubsub.googleapis.com/projects/{}/subscriptions/jobs", Self::PROJECT): {},
                sa("grantd-1"): { "bindings": [{ "role": "roles/iam.serviceAccountTokenCreator", "members": [daemon] }] },
                sa("grantd-2"): { "bindings": [{ "role": "roles/iam.serviceAccountTokenCreator", "members": [daemon] }] },
            },
            "projects_of": { bucket("alpha"): Self::PROJECT, bucket("beta"): Self::PROJECT },
            "objects": { "alpha": objects("alpha"), "beta": objects("beta") },
        }));
        Ok(fake)
    }

    /// Bindings that are somebody else's, one with a condition.
    #[must_use]
    pub fn foreign() -> Value {
        json!([
            { "role": "roles/storage.admin", "members": ["user:olga@example.com", "group:ops@example.com"] },
            { "role": "roles/storage.objectViewer", "members": ["user:otto@example.com"],
              "condition": { "title": "until spring", "description": "as agreed",
                             "expression": "request.time < timestamp(\"2099-01-01T00:00:00Z\")" } },
        ])
    }

    /// The audience of the provider at STS.
    #[must_use]
    pub fn audience() -> String {
        let number = Self::NUMBER;
        format!("//iam.googleapis.com/projects/{number}/locations/global/workloadIdentityPools/grantd/providers/grantd")
    }

    /// A provider that takes an issuer's word for the daemon and for leases, in the words of the IAM API.
    #[must_use]
    pub fn provider(issuer: &str, jwks: &Value) -> Value {
        json!({
            "issuer": issuer,
            "jwks": jwks,
            "attributeMapping": { "google.subject": "assertion.sub" },
            "attributeCondition": format!(
                "assertion.sub == '{}' || assertion.sub.matches('^lease-[a-z2-7]{{26}}$')", Self::SUBJECT
            ),
        })
    }

    /// A principal of the pool.
    #[must_use]
    pub fn principal(subject: &str) -> String {
        let number = Self::NUMBER;
        format!(
            "principal://iam.googleapis.com/projects/{number}/locations/global/workloadIdentityPools/grantd/subject/{subject}"
        )
    }

    /// Where it is: the configured endpoint.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sets it up, looks into it, or breaks it on purpose: `fakegoogle/__main__.py`, `World.control`.
    ///
    /// # Panics
    /// It does not answer.
    pub fn control(&self, what: &str, given: &Value) -> Value {
        let (status, body) = self.send("POST", &format!("/_fake/{what}"), None, Some(given)).expect("the fake answers");
        assert_eq!(status, 200, "{what}: {body}");
        body
    }

    /// The policy of a resource as it stands, past all rights.
    #[must_use]
    pub fn policy(&self, name: &str) -> Value {
        self.control("policy", &json!({ "name": name }))["policy"].clone()
    }

    /// The bindings of a bucket.
    #[must_use]
    pub fn bindings(&self, bucket: &str) -> Vec<Value> {
        let policy = self.policy(&format!("//storage.googleapis.com/projects/_/buckets/{bucket}"));
        policy["bindings"].as_array().cloned().unwrap_or_default()
    }

    /// Every request so far, without tokens.
    #[must_use]
    pub fn requests(&self) -> Vec<Value> {
        self.control("requests", &json!({}))["requests"].as_array().cloned().unwrap_or_default()
    }

    /// The shape of the requests so far, by method: what they have but for names, times and tokens.
    #[must_use]
    pub fn shapes(&self) -> BTreeMap<String, Value> {
        shape::shapes(&self.requests())
    }

    /// The same of what Google's own clients send, as it was recorded.
    #[must_use]
    pub fn recorded_shapes() -> BTreeMap<String, Value> {
        serde_json::from_str(include_str!("requests.json")).unwrap_or_default()
    }

    /// A token of anybody.
    #[must_use]
    pub fn token_of(&self, member: &str) -> String {
        self.control("token", &json!({ "member": member }))["token"].as_str().unwrap_or_default().to_owned()
    }

    /// The status with which Cloud Storage answers to somebody who reads an object.
    ///
    /// # Panics
    /// It does not answer.
    #[must_use]
    pub fn read(&self, token: &str, bucket: &str, object: &str) -> u16 {
        let object = object.replace('/', "%2F");
        self.get(token, &format!("/storage.googleapis.com/storage/v1/b/{bucket}/o/{object}")).0
    }

    /// The same for listing below a prefix.
    ///
    /// # Panics
    /// It does not answer.
    #[must_use]
    pub fn list(&self, token: &str, bucket: &str, prefix: &str) -> u16 {
        self.get(token, &format!("/storage.googleapis.com/storage/v1/b/{bucket}/o?prefix={prefix}")).0
    }

    /// Any read.
    ///
    /// # Panics
    /// It does not answer.
    #[must_use]
    pub fn get(&self, token: &str, path: &str) -> (u16, Value) {
        self.send("GET", path, Some(token), None).expect("the fake answers")
    }

    fn send(&self, verb: &str, path: &str, token: Option<&str>, body: Option<&Value>) -> io::Result<(u16, Value)> {
        let mut stream = TcpStream::connect(self.url.trim_start_matches("http://"))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let body = body.map(Value::to_string).unwrap_or_default();
        let token = token.map(|token| format!("Authorization: Bearer {token}\r\n")).unwrap_or_default();
        let head = format!(
            "{verb} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{token}Content-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(format!("{head}{body}").as_bytes())?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let status = answer.get(9..12).and_then(|status| status.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        let status = status.ok_or_else(|| io::Error::other(format!("no HTTP: {answer}")))?;
        Ok((status, serde_json::from_str(body).unwrap_or_default()))
    }
}

impl Drop for FakeGoogle {
    fn drop(&mut self) {
        kill_group(&mut self.child);
    }
}
