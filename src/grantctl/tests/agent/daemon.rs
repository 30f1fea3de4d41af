//! What `grantctl agent` needs of grantd, by a script: what each vend is answered with, and what becomes of grant and
//! leases. Times are real, because the agent lives by them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use grantctl::clock;
use grantd_wire::{Problem, ProblemKind};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::testserver;

/// What one vend is answered with.
#[derive(Clone)]
pub enum Given {
    /// A credential of the body's cloud that lives so many seconds.
    Lease(i64, fn() -> Value),
    /// A refusal.
    Refused(ProblemKind, &'static str),
}

/// The stand-in. It serves until the test ends.
pub struct Daemon(Arc<Mutex<State>>);

struct State {
    vends: Vec<Given>,
    vended: usize,
    grant: Value,
    leases: BTreeMap<String, Value>,
    asked: Vec<String>,
}

impl Daemon {
    /// Listens at `socket` with an active grant. Each vend takes the next answer; the last one stands for all others.
    pub fn start(socket: &Path, vends: &[Given]) -> Self {
        let listener = UnixListener::bind(socket).unwrap();
        let mut grant = testserver::grant();
        grant["active_since"] = json!(after(0).to_string());
        grant["active_until"] = json!(after(3_600).to_string());
        let state = State { vends: vends.to_vec(), vended: 0, grant, leases: BTreeMap::new(), asked: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let serving = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                answer(stream.unwrap(), &serving);
            }
        });
        Self(state)
    }

    /// What it was asked to do so far, in order: what was only looked at is left out.
    pub fn asked(&self) -> Vec<String> {
        self.state().asked.clone()
    }

    /// From now on the grant is in `state`.
    pub fn grant_is(&self, state: &str, reason: &str) {
        let mut held = self.state();
        held.grant["state"] = json!(state);
        held.grant["reason"] = json!(reason);
    }

    /// From now on the grant ends so many seconds from now.
    pub fn grant_ends_in(&self, seconds: i64) {
        self.state().grant["active_until"] = json!(after(seconds).to_string());
    }

    /// Somebody takes a lease away.
    pub fn takes_away(&self, lease: &str, reason: &str, because: &str) {
        let mut held = self.state();
        let lease = held.leases.get_mut(lease).unwrap();
        lease["state"] = json!("revoked");
        lease["reason"] = json!(reason);
        lease["because"] = json!(because);
    }

    /// Waits until the time of a lease is over.
    pub fn wait_over(&self, lease: &str) {
        let until: Timestamp = self.state().leases[lease]["access_until"].as_str().unwrap().parse().unwrap();
        while clock::now() <= until {
            thread::sleep(Duration::from_millis(20));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

fn after(seconds: i64) -> Timestamp {
    clock::now().checked_add(SignedDuration::from_secs(seconds)).unwrap()
}

fn answer(stream: UnixStream, state: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    let (mut line, mut length) = (String::new(), 0);
    // An agent that ends lets go of what it was just about to ask.
    if reader.read_line(&mut line).unwrap_or_default() == 0 {
        return;
    }
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
    let line = line.trim_end().trim_end_matches(" HTTP/1.1");
    let body = String::from_utf8(body).unwrap();
    let (status, said) = state.lock().unwrap().handle(line, &body);
    let kind = if status < 400 { "application/json" } else { "application/problem+json" };
    let said = said.to_string();
    let head = format!("HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {}\r\n\r\n", said.len());
    // Who hangs up does not want to know.
    let _ = reader.get_mut().write_all((head + &said).as_bytes());
}

impl State {
    fn handle(&mut self, line: &str, body: &str) -> (u16, Value) {
        let (method, target) = line.split_once(' ').unwrap();
        if method == "POST" {
            self.asked.push(format!("{line} {body}"));
        }
        let words: Vec<&str> = target.split('/').skip(2).collect();
        match (method, words.as_slice()) {
            ("POST", ["leases"]) => self.vend(),
            ("POST", ["leases", id, "complete"]) => {
                let lease = self.leases.get_mut(*id).unwrap();
                lease["state"] = json!("revoked");
                (200, lease.clone())
            }
            ("GET", ["grants", _]) => (200, self.grant()),
            ("GET", ["leases", id]) => (200, self.leases[*id].clone()),
            _ => refused(ProblemKind::NotFound, "there is no such thing"),
        }
    }

    /// The grant, which is over when its time is.
    fn grant(&self) -> Value {
        let mut grant = self.grant.clone();
        let until: Timestamp = grant["active_until"].as_str().unwrap().parse().unwrap();
        if grant["state"] == "active" && until <= clock::now() {
            grant["state"] = json!("ended");
            grant["reason"] = json!("its time has passed");
        }
        grant
    }

    fn vend(&mut self) -> (u16, Value) {
        let given = self.vends.get(self.vended).or_else(|| self.vends.last()).unwrap().clone();
        self.vended += 1;
        let (seconds, body) = match given {
            Given::Lease(seconds, body) => (seconds, body),
            Given::Refused(kind, detail) => return refused(kind, detail),
        };
        let mut body = body();
        let (id, until) = (format!("lease-{:04}", self.leases.len() + 1), after(seconds).to_string());
        for (name, value) in [("id", &id), ("created_at", &after(0).to_string()), ("access_until", &until)] {
            body["lease"][name] = json!(value);
        }
        body["lease"]["worst_case_until"] = json!(until);
        body["credential"]["expiration"] = json!(until);
        self.leases.insert(id, body["lease"].clone());
        (201, body)
    }
}

fn refused(kind: ProblemKind, detail: &str) -> (u16, Value) {
    let mut problem = serde_json::to_value(Problem::new(kind, detail)).unwrap();
    problem["retryable"] = json!(kind == ProblemKind::Store);
    (kind.status(), problem)
}
