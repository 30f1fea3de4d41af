//! What `grantctl` needs of grantd, on a real socket: hands out credentials of a cloud whose adapter is not asked here.
//! As grantd does, it hands a live lease out again while more than a fifth of its life is left, refuses what it does not
//! know, and tells of leases and of the grant what they are.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

use grantd_tests::now;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

pub const GRANT: &str = "grant-aaaa";
const AUDIENCES: [&str; 2] = ["https://storage.azure.com", "https://vault.azure.net"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    Azure,
    Gcp,
}

/// The stand-in. It serves until the test ends.
pub struct Vendor {
    state: Arc<Mutex<State>>,
}

struct State {
    cloud: Cloud,
    life: SignedDuration,
    leases: BTreeMap<String, Lease>,
    over: Option<String>,
    out_of_order: Option<String>,
}

#[derive(Clone)]
struct Lease {
    since: Timestamp,
    until: Timestamp,
    state: &'static str,
}

impl Vendor {
    /// Listens at `socket`; a lease lives for `life` seconds.
    pub fn start(socket: &Path, cloud: Cloud, life: i64) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        std::fs::set_permissions(socket, everyone).unwrap();
        let state = State {
            cloud,
            life: SignedDuration::from_secs(life),
            leases: BTreeMap::new(),
            over: None,
            out_of_order: None,
        };
        let state = Arc::new(Mutex::new(state));
        let serving = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, state) = (stream.unwrap(), Arc::clone(&serving));
                thread::spawn(move || answer(stream, &state));
            }
        });
        Self { state }
    }

    /// How many sessions were made.
    pub fn issued(&self) -> usize {
        self.state().leases.len()
    }

    /// The secrets of the `n`th session, from 1.
    pub fn secrets(&self, n: usize) -> Vec<String> {
        let cloud = self.state().cloud;
        match cloud {
            Cloud::Azure => AUDIENCES.iter().map(|audience| token(n, audience)).collect(),
            Cloud::Gcp => vec![token(n, "")],
        }
    }

    /// When the `n`th session ends, in seconds since 1970.
    pub fn until(&self, n: usize) -> i64 {
        self.state().leases[&name(n)].until.as_second()
    }

    /// The states of the leases, oldest first.
    pub fn states(&self) -> Vec<&'static str> {
        self.state().leases.values().map(|lease| lease.state).collect()
    }

    /// From now on it cannot vend for this reason, or can again.
    pub fn out_of_order(&self, reason: Option<&str>) {
        self.state().out_of_order = reason.map(str::to_owned);
    }

    /// Takes the grant away.
    pub fn revoke(&self, reason: &str) {
        let mut state = self.state();
        state.over = Some(reason.to_owned());
        state.leases.values_mut().for_each(|lease| lease.state = "revoked");
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

fn name(n: usize) -> String {
    format!("lease-{n:04}")
}

/// The token of a session for an audience; Google's has none.
fn token(n: usize, audience: &str) -> String {
    format!("t0ken-{n}-{}", audience.trim_start_matches("https://"))
}

fn answer(stream: UnixStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    reader.read_line(&mut line).unwrap();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).unwrap();
        if let Some(value) = header.strip_prefix("content-length: ") {
            length = value.trim().parse().unwrap();
        }
        if header.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let (method, target) = line.split_once(' ').unwrap();
    let target = target.trim_end().trim_end_matches(" HTTP/1.1");
    let body = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body).unwrap() };
    let (status, said) = state.lock().unwrap().handle(method, target, &body);
    let kind = if status < 400 { "application/json" } else { "application/problem+json" };
    let said = said.to_string();
    let head = format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", said.len());
    let _ = reader.get_mut().write_all((head + &said).as_bytes());
}

impl State {
    fn handle(&mut self, method: &str, target: &str, body: &Value) -> (u16, Value) {
        let words: Vec<&str> = target.trim_start_matches('/').split('/').collect();
        match (method, words.as_slice()) {
            ("POST", ["v1", "leases"]) => self.vend(body),
            ("GET", ["v1", "grants", GRANT]) => (200, self.grant()),
            ("GET", ["v1", "leases", id]) => (200, self.lease(id)),
            ("POST", ["v1", "leases", id, "complete"]) => {
                self.leases.get_mut(*id).unwrap().state = "revoked";
                (200, self.lease(id))
            }
            _ => (404, problem("not-found", 404, &format!("there is no {target}"))),
        }
    }

    fn vend(&mut self, body: &Value) -> (u16, Value) {
        let known = ["grant", "ttl_seconds", "anchor", "resource"];
        if let Some(name) = body.as_object().unwrap().keys().find(|name| !known.contains(&name.as_str())) {
            return (400, problem("bad-request", 400, &format!("unknown member {name}")));
        }
        if body["grant"] != "auto" && body["grant"] != GRANT {
            return (404, problem("not-found", 404, "there is no such grant"));
        }
        if let Some(reason) = &self.over {
            return (409, problem("state", 409, &format!("{GRANT} is revoked: {reason}")));
        }
        if let Some(reason) = &self.out_of_order {
            let mut said = problem("store", 503, reason);
            said["retryable"] = json!(true);
            return (503, said);
        }
        let now = now();
        let fresh = |lease: &Lease| {
            lease.state == "active" && lease.until.duration_since(now) > lease.until.duration_since(lease.since) / 5
        };
        let live = self.leases.iter().find(|(_, lease)| fresh(lease)).map(|(id, _)| id.clone());
        let reused = live.is_some();
        let id = live.unwrap_or_else(|| {
            let id = name(self.leases.len() + 1);
            // Whole seconds, as the clouds' own times are.
            let until = Timestamp::from_second(now.as_second()).unwrap() + self.life;
            self.leases.insert(id.clone(), Lease { since: now, until, state: "active" });
            id
        });
        let credential = self.credential(&id);
        let status = if reused { 200 } else { 201 };
        (status, json!({ "lease": self.lease(&id), "reused": reused, "credential": credential }))
    }

    fn credential(&self, id: &str) -> Value {
        let n: usize = id.trim_start_matches("lease-").parse().unwrap();
        let expiration = self.leases[id].until.to_string();
        match self.cloud {
            Cloud::Azure => {
                let tokens: Vec<Value> = AUDIENCES
                    .iter()
                    .map(|audience| json!({ "audience": audience, "token": token(n, audience) }))
                    .collect();
                json!({ "type": "azure", "tenant": "tenant-1", "client_id": "slot-1", "subscription": "sub-1",
                    "tokens": tokens, "expiration": expiration })
            }
            Cloud::Gcp => json!({ "type": "gcp", "access_token": token(n, ""), "project": "shop-prod",
                "principal": format!("principal://iam.googleapis.com/projects/1/locations/global/\
                    workloadIdentityPools/grantd/subject/{id}"), "expiration": expiration }),
        }
    }

    fn lease(&self, id: &str) -> Value {
        let lease = &self.leases[id];
        json!({ "id": id, "grant": GRANT, "state": lease.state, "created_at": lease.since.to_string(),
            "access_until": lease.until.to_string(), "anchor": "process", "anchor_pid": 1, "subject": "deploy",
            "target": "slot", "session_name": id })
    }

    fn grant(&self) -> Value {
        let subject = json!({ "kind": "pipeline", "issuer": "unix", "id": "1001", "name": "deploy" });
        let (since, until) = (now(), now() + SignedDuration::from_hours(1));
        let mut view = json!({
            "id": GRANT, "state": "active", "created_at": since.to_string(), "active_since": since.to_string(),
            "active_until": until.to_string(), "resource": "reports", "tier": "low",
            "capability": "object-storage:read", "narrowing": {}, "justification": "a test", "duration_seconds": 3600,
            "subject": subject, "requested_by": subject,
            "plan": { "cloud": "azure", "account": "main", "targets": ["slot"], "words": ["read"], "native": [],
                "revocation": "immediate", "persistence": "none", "widens": [] },
            "digest": "d1", "policy_version": "p1", "max_ttl_seconds": 3600, "max_concurrent": 1, "uses": 1
        });
        if let Some(reason) = &self.over {
            view["state"] = json!("revoked");
            view["reason"] = json!(reason);
        }
        view
    }
}

fn problem(kind: &str, status: u16, detail: &str) -> Value {
    json!({ "type": format!("urn:grantd:problem:{kind}"), "title": "t", "status": status, "detail": detail })
}
