//! A daemon for tests: a Unix socket that gives canned replies, one for each connection, and keeps what it was asked.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;

/// What to do with one connection, once the request is read.
pub enum Reply {
    /// Answer with this status and JSON.
    Json(u16, Value),
    /// Answer with these bytes, then close.
    Raw(Vec<u8>),
    /// Never answer, until the client goes away.
    Stall,
    /// Begin a held vend with this line, send these chunks later, then close if so said, else wait for the client.
    Hold { first: Value, later: Vec<String>, close: bool },
    /// Answer with one body of this many bytes.
    Huge(usize),
}

/// The server. Its socket goes away with it.
pub struct TestServer {
    pub path: PathBuf,
    requests: Arc<Mutex<Vec<String>>>,
    left: Arc<Mutex<bool>>,
    _directory: TempDir,
}

impl TestServer {
    pub fn new(replies: Vec<Reply>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("grantd.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let left = Arc::new(Mutex::new(false));
        let (kept, gone) = (Arc::clone(&requests), Arc::clone(&left));
        thread::spawn(move || {
            for reply in replies {
                let (mut stream, _) = listener.accept().unwrap();
                kept.lock().unwrap().push(read_request(&mut stream));
                serve(stream, reply, &gone);
            }
        });
        Self { path, requests, left, _directory: directory }
    }

    /// What was asked so far: `METHOD TARGET BODY`.
    pub fn asked(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Whether the client of a `Hold` or `Stall` went away.
    pub fn gone(&self) -> bool {
        *self.left.lock().unwrap()
    }
}

fn read_request(stream: &mut UnixStream) -> String {
    let mut seen = Vec::new();
    let mut buffer = [0; 65_536];
    loop {
        let n = stream.read(&mut buffer).unwrap();
        assert!(n > 0, "the client closed before its request was complete");
        seen.extend_from_slice(&buffer[..n]);
        let text = String::from_utf8_lossy(&seen).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .map_or(0, |length| length.parse().unwrap());
        if body.len() >= length {
            let line = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1");
            return format!("{line} {body}").trim_end().to_owned();
        }
    }
}

fn serve(mut stream: UnixStream, reply: Reply, left: &Mutex<bool>) {
    match reply {
        Reply::Json(status, body) => {
            let kind = if status < 400 { "application/json" } else { "application/problem+json" };
            let body = if status == 204 { String::new() } else { sorted(&body) };
            let head = format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n");
            let length = if status == 204 { String::new() } else { format!("content-length: {}\r\n", body.len()) };
            stream.write_all(format!("{head}{length}\r\n{body}").as_bytes()).unwrap();
        }
        Reply::Raw(bytes) => stream.write_all(&bytes).unwrap(),
        Reply::Stall => wait_for_end(&mut stream, left),
        Reply::Hold { first, later, close } => {
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes()).unwrap();
            for text in std::iter::once(format!("{}\n", sorted(&first))).chain(later) {
                stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes()).unwrap();
                thread::sleep(Duration::from_millis(20));
            }
            if !close {
                wait_for_end(&mut stream, left);
            }
        }
        Reply::Huge(length) => {
            stream.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").as_bytes()).unwrap();
            let piece = vec![b' '; 1 << 20];
            let mut sent = 0;
            // The client may have enough before all is sent.
            while sent < length && stream.write_all(&piece).is_ok() {
                sent += piece.len();
            }
        }
    }
}

fn wait_for_end(stream: &mut UnixStream, left: &Mutex<bool>) {
    let mut buffer = [0; 64];
    while stream.read(&mut buffer).is_ok_and(|n| n > 0) {}
    *left.lock().unwrap() = true;
}

/// The secrets in [`vended`], which must be seen on standard output only.
pub const SECRETS: [&str; 2] = ["wJalrXUtnFEMI/K7MDENG", "IQoJb3JpZ2luX2Vj=="];

pub fn grant() -> Value {
    let subject = json!({ "kind": "pipeline", "issuer": "unix", "id": "1001", "name": "deploy" });
    json!({
        "id": "grant-aaaa", "state": "active", "created_at": "2026-11-22T08:55:00Z",
        "active_since": "2026-11-22T08:55:00Z", "active_until": "2026-11-22T09:25:00Z",
        "resource": "reports", "tier": "low", "capability": "object-storage:read",
        "narrowing": { "prefix": "exports/", "source_networks": ["10.0.0.0/8"] },
        "justification": "nightly export of the reports to the warehouse", "ticket": "OPS-1", "duration_seconds": 1800,
        "subject": subject, "requested_by": subject,
        "task": { "system": "github", "run": "7", "attempt": "1", "job": "build" },
        "plan": {
            "cloud": "aws", "account": "prod", "targets": ["arn:aws:iam::123456789012:role/grantd-1"],
            "words": ["read objects of arn:aws:s3:::reports under exports/"],
            "native": [{ "Effect": "Allow", "Action": ["s3:GetObject"] }],
            "revocation": "immediate", "persistence": "none", "widens": []
        },
        "digest": "d1", "policy_version": "p1", "max_ttl_seconds": 900, "max_concurrent": 1, "uses": 2
    })
}

pub fn lease() -> Value {
    json!({
        "id": "lease-bbbb", "grant": "grant-aaaa", "state": "active", "worst_case_until": "2026-11-22T09:04:12Z",
        "created_at": "2026-11-22T08:59:12Z", "access_until": "2026-11-22T09:04:12Z", "anchor": "process",
        "anchor_pid": 4312, "subject": "deploy", "target": "arn:aws:iam::123456789012:role/grantd-1",
        "session_name": "deploy-abcdefghij"
    })
}

pub fn vended() -> Value {
    json!({
        "lease": lease(), "reused": false, "notes": ["nothing but the TTL ends this lease"],
        "credential": {
            "type": "aws", "access_key_id": "ASIAEXAMPLE", "secret_access_key": SECRETS[0],
            "session_token": SECRETS[1], "expiration": "2026-11-22T09:04:12Z", "region": "eu-central-1"
        }
    })
}

/// The same of Google Cloud.
#[allow(dead_code, reason = "shared by several tests, each of which uses some")]
pub fn vended_gcp() -> Value {
    let mut body = vended();
    body["credential"] = json!({
        "type": "gcp", "access_token": SECRETS[1], "project": "shop-prod", "expiration": "2026-11-22T09:04:12Z",
        "principal": "principal://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/grantd/subject/lease-bbbb",
    });
    body
}

/// The same, a token of the daemon's own.
#[allow(dead_code, reason = "shared by several tests, each of which uses some")]
pub fn vended_token() -> Value {
    let mut body = vended();
    body["credential"] = json!({
        "type": "token", "token": SECRETS[1], "audience": "https://billing.example.com", "issuer": "https://tokens.example.com",
        "subject": "grantd:pipeline:deploy", "expiration": "2026-11-22T09:04:12Z",
    });
    body
}

/// The same of Azure, with tokens for two audiences.
#[allow(dead_code, reason = "shared by several tests, each of which uses some")]
pub fn vended_azure() -> Value {
    let mut body = vended();
    body["credential"] = json!({
        "type": "azure", "tenant": "tenant-1", "client_id": "slot-1", "subscription": "sub-1",
        "tokens": [
            { "audience": "https://storage.azure.com", "token": SECRETS[1] },
            { "audience": "https://vault.azure.net", "token": SECRETS[0] },
        ],
        "expiration": "2026-11-22T09:04:12Z",
    });
    body
}

/// JSON with its members in the order of their names, whatever order objects keep in this build: the transcripts rest
/// on it.
fn sorted(value: &Value) -> String {
    let bytes = grantd_model::canonical_json(value).unwrap();
    String::from_utf8(bytes).unwrap()
}
