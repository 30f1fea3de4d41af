//! SeaweedFS, an object storage whose STS verifies web identity tokens: signature, expiry, audience and subject, against the
//! keys that their issuer publishes. What it does not do as AWS does is made up for, or left out, by the gate before it.
//!
//! Version 4.48 refuses a session policy with `NotAction` or `NotResource`, ignores its denies by time, and its answer names
//! no assumed role. So the gate passes on the `Allow` statements alone, and puts the name in the answer as AWS documents it
//! (STS API Reference, `AssumeRoleWithWebIdentity`). The token passes as it is.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HOST};
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};

use crate::ministack::environment;
use crate::process::{guarded, kill_group, spawn_on_keeper};
use crate::query::{XML, parse_form, percent_encoded};
use crate::serve::{Call, Handler, Reply, Server};

/// A running SeaweedFS. Dropping it kills it.
#[derive(Debug)]
pub struct SeaweedFs {
    child: Child,
    address: SocketAddr,
    _gate: Server,
    gate: Arc<Gate>,
    gate_address: SocketAddr,
}

/// Whom its one role trusts.
#[derive(Debug, Clone)]
pub struct Trusted<'a> {
    /// The issuer's URL.
    pub issuer: &'a str,
    /// Where its keys are.
    pub keys: String,
    /// The audience.
    pub audience: &'a str,
    /// The subject.
    pub subject: &'a str,
}

#[derive(Debug)]
struct Gate {
    upstream: SocketAddr,
    tokens: Mutex<Vec<String>>,
}

impl SeaweedFs {
    /// The administrator's keys.
    pub const KEYS: (&'static str, &'static str) = ("admin", "not-a-secret-outside-of-a-test");

    /// The role that may do everything with S3, for whoever it trusts.
    pub const ROLE: &'static str = "arn:aws:iam::123456789012:role/reader";

    /// Starts it on free ports of loopback with its files below `directory`.
    ///
    /// # Errors
    /// It is not installed, or was not ready within 60 s; the text has its log.
    pub fn start(directory: &Path, trusted: &Trusted<'_>) -> io::Result<Self> {
        let weed = environment(".venv-seaweedfs")?.join("bin/weed");
        let ports = free_ports::<8>()?;
        let [_, _, _, _, _, _, s3_port, _] = ports;
        let [iam, s3, data, log] = ["weed-iam.json", "weed-s3.json", "weed", "weed.log"].map(|n| directory.join(n));
        std::fs::create_dir_all(&data)?;
        std::fs::write(&iam, configuration(trusted).to_string())?;
        let (id, secret) = Self::KEYS;
        let admin = json!({ "name": "admin", "actions": ["Admin", "Read", "Write", "List"],
            "credentials": [{ "accessKey": id, "secretKey": secret }] });
        std::fs::write(&s3, json!({ "identities": [admin] }).to_string())?;
        let file = File::create(&log)?;
        let mut command = guarded(weed);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", directory).current_dir(directory).arg("mini");
        command.args(["-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-admin.ui=false", "-webdav=false"]);
        command.args(["-s3.port.iceberg=0", "-s3.port.lance=0"]).arg(argument("dir", &data));
        command.arg(argument("s3.config", &s3)).arg(argument("s3.iam.config", &iam));
        let names = ["master", "volume", "filer", "s3"]
            .into_iter()
            .flat_map(|n| [format!("{n}.port"), format!("{n}.port.grpc")]);
        for (name, port) in names.zip(ports) {
            command.arg(format!("-{name}={port}"));
        }
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, s3_port));
        let gate = Arc::new(Gate { upstream: address, tokens: Mutex::default() });
        let server = Server::start("gate", SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), Arc::clone(&gate))?;
        let gate_address = server.address();
        let mut this = Self { child: spawn_on_keeper(command)?, address, _gate: server, gate, gate_address };
        this.wait(&log)?;
        Ok(this)
    }

    /// Its own endpoint, for S3.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The endpoint of its STS, as AWS's would be.
    #[must_use]
    pub fn sts_url(&self) -> String {
        format!("http://{}", self.gate_address)
    }

    /// The tokens that passed, oldest first.
    #[must_use]
    pub fn tokens(&self) -> Vec<String> {
        self.gate.tokens.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn wait(&mut self, log: &PathBuf) -> io::Result<()> {
        for _ in 0..600 {
            if let Some(status) = self.child.try_wait()? {
                let log = std::fs::read_to_string(log).unwrap_or_default();
                return Err(io::Error::other(format!("SeaweedFS ended with {status}; its log:\n{log}")));
            }
            if std::fs::read_to_string(log).is_ok_and(|text| text.contains("ready to use"))
                && answers(self.address).unwrap_or(false)
            {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(100));
        }
        Err(io::Error::other(format!("SeaweedFS was not ready in 60 s: see {}", log.display())))
    }
}

impl Drop for SeaweedFs {
    fn drop(&mut self) {
        kill_group(&mut self.child);
    }
}

impl Handler for Gate {
    async fn handle(self: Arc<Self>, call: Call) -> Reply {
        self.pass(call)
            .await
            .unwrap_or_else(|error| Reply::of(StatusCode::BAD_GATEWAY, "text/plain", format!("upstream: {error}")))
    }
}

impl Gate {
    async fn pass(&self, call: Call) -> Result<Reply, Box<dyn std::error::Error + Send + Sync>> {
        let mut form = parse_form(&call.body);
        if let Some(token) = form.get("WebIdentityToken") {
            self.tokens.lock().unwrap_or_else(PoisonError::into_inner).push(token.clone());
        }
        if let Some(policy) = form.get_mut("Policy") {
            let mut document: Value = serde_json::from_str(policy)?;
            if let Some(statements) = document.get_mut("Statement").and_then(Value::as_array_mut) {
                statements.retain(|statement| statement.get("Effect").and_then(Value::as_str) == Some("Allow"));
            }
            *policy = document.to_string();
        }
        let body: Vec<String> = form.iter().map(|(name, value)| format!("{name}={}", percent_encoded(value))).collect();
        let body = body.join("&");
        let stream = tokio::net::TcpStream::connect(self.upstream).await?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::post("/")
            .header(HOST, self.upstream.to_string())
            .header(CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(CONTENT_LENGTH, body.len())
            .body(Full::new(Bytes::from(body)))?;
        let (head, body) = sender.send_request(request).await?.into_parts();
        let text = String::from_utf8(body.collect().await?.to_bytes().to_vec())?;
        let name = form.get("RoleSessionName").cloned().unwrap_or_default();
        let user = format!(
            "<AssumeRoleWithWebIdentityResult><AssumedRoleUser><Arn>{}/{name}</Arn>\
             <AssumedRoleId>AROAEXAMPLEROLEID0001:{name}</AssumedRoleId></AssumedRoleUser>",
            SeaweedFs::ROLE.replace(":iam:", ":sts:").replace(":role/", ":assumed-role/")
        );
        Ok(Reply::of(head.status, XML, text.replacen("<AssumeRoleWithWebIdentityResult>", &user, 1)))
    }
}

fn argument(name: &str, path: &Path) -> String {
    format!("-{name}={}", path.display())
}

fn free_ports<const N: usize>() -> io::Result<[u16; N]> {
    // All of them are held until each has a number.
    let held: io::Result<Vec<TcpListener>> = (0..N).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0))).collect();
    let ports: io::Result<Vec<u16>> = held?.iter().map(|one| Ok(one.local_addr()?.port())).collect();
    ports?.try_into().map_err(|_| io::Error::other("too few ports"))
}

fn configuration(trusted: &Trusted<'_>) -> Value {
    let provider = json!({ "name": "grantd", "type": "oidc", "enabled": true, "config": {
        "issuer": trusted.issuer, "clientId": trusted.audience, "jwksUri": trusted.keys } });
    let trust = json!({ "Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": { "Federated": "grantd" }, "Action": ["sts:AssumeRoleWithWebIdentity"],
        "Condition": { "StringEquals": { "oidc:sub": trusted.subject } } }] });
    let everything = json!({ "Version": "2012-10-17", "Statement": [
        { "Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*", "arn:aws:s3:::*/*"] },
        { "Effect": "Allow", "Action": ["sts:ValidateSession"], "Resource": ["*"] }] });
    json!({
        "sts": { "tokenDuration": "1h", "maxSessionLength": "12h", "issuer": "seaweedfs",
            "signingKey": "dGVzdC1zaWduaW5nLWtleS0zMi1jaGFyYWN0ZXJzLWxvbmc=" },
        "providers": [provider],
        "policy": { "defaultEffect": "Deny" },
        "roles": [{ "roleName": "reader", "roleArn": SeaweedFs::ROLE, "trustPolicy": trust,
            "attachedPolicies": ["everything"] }],
        "policies": [{ "name": "everything", "document": everything }],
    })
}

fn answers(address: SocketAddr) -> io::Result<bool> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.starts_with("HTTP/1.1 403"))
}
