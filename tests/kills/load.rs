//! Load from several callers at once, in all the ways a credential is taken and given back. Repeatable but for timing.

use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;
use std::time::Duration;

use grantd_model::ChainHead;
use grantd_testkit::{Fault, Rule};
use grantd_tests::{User, World};
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::stage::{Received, Stage, asked, vend};

/// How many sessions one storm may ask for: each takes a place in the cloud's deny document until its token is dead.
const SESSIONS: i32 = 12;

/// Numbers from a seed (SplitMix64, Steele et al. 2014).
#[derive(Debug, Clone)]
pub struct Chance(pub u64);

impl Chance {
    /// Any number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One of several; none of none.
    pub fn of<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let end = u64::try_from(all.len()).unwrap();
        (end > 0).then(|| &all[usize::try_from(self.below(end)).unwrap()])
    }
}

/// One caller of the load. Its process lives on from storm to storm, unless its own end is what it does.
#[derive(Debug)]
pub struct Worker {
    user: User,
    agent: Agent,
    chance: Chance,
    grants: Vec<String>,
    leases: Vec<String>,
}

impl Worker {
    /// A caller of `user`.
    pub fn start(stage: &Stage, user: User, chance: Chance) -> Self {
        let agent = Agent::start_below_a_shell(&stage.world.scene, user);
        Self { user, agent, chance, grants: Vec::new(), leases: Vec::new() }
    }

    /// Does things until told to stop. That the daemon dies meanwhile is no failure.
    fn work(&mut self, world: &World, received: &Received, left: &AtomicI32, stop: &AtomicBool) {
        while !stop.load(Ordering::SeqCst) {
            let grant = self.chance.of(&self.grants).cloned();
            let lease = self.chance.of(&self.leases).cloned();
            match (self.chance.below(16), grant, lease) {
                (0 | 1, ..) | (_, None, _) => self.request(),
                (2..=8, Some(grant), _) => {
                    if left.fetch_sub(1, Ordering::SeqCst) > 0 {
                        self.take(world, received, &grant);
                    } else {
                        thread::sleep(Duration::from_millis(5));
                    }
                }
                (9..=11, _, Some(lease)) => self.end(&format!("/v1/leases/{lease}")),
                (12, Some(grant), _) => {
                    self.grants.retain(|id| *id != grant);
                    self.end(&format!("/v1/grants/{grant}"));
                }
                (13, ..) => self.agent.release(),
                (14, ..) => {
                    // The job of this caller exits, and another one begins.
                    self.agent = Agent::start_below_a_shell(&world.scene, self.user);
                }
                (15, ..) => drop(self.agent.post("/v1/anchors", json!({}))),
                _ => drop(self.agent.tell(&json!({ "do": "call", "method": "GET", "path": "/v1/leases" }))),
            }
        }
    }

    fn request(&mut self) {
        let resource = *self.chance.of(&["alpha", "beta", "beta", "ledger"]).unwrap();
        let heard = self.agent.post("/v1/grants", asked(resource));
        if let (Some(201), Some(id)) = (heard.status, heard.body["id"].as_str()) {
            self.grants.push(id.to_owned());
        }
    }

    fn take(&mut self, world: &World, received: &Received, grant: &str) {
        let ttl = 60 + 60 * self.chance.below(10);
        let choice = self.chance.below(6);
        let lease = match choice {
            0 => self.take_by_curl(world, received, grant, ttl),
            1 => self.take_by_grantctl(world, grant, ttl),
            _ => {
                let anchor = ["caller", "connection", "auto", "parent"][usize::try_from(choice - 2).unwrap()];
                let heard = vend(received, &mut self.agent, grant, json!({ "anchor": anchor, "ttl_seconds": ttl }));
                heard.body["lease"]["id"].as_str().map(str::to_owned)
            }
        };
        self.leases.extend(lease);
    }

    fn take_by_curl(&self, world: &World, received: &Received, grant: &str, ttl: u64) -> Option<String> {
        let body = json!({ "grant": grant, "ttl_seconds": ttl }).to_string();
        let socket = world.scene.socket().display().to_string();
        let finished = world.scene.caller(self.user).run(
            "curl",
            &["--silent", "--max-time", "20", "--unix-socket", &socket, "--json", &body, "http://localhost/v1/leases"],
        );
        let answer: Value = serde_json::from_str(&finished.stdout).ok()?;
        let id = answer["lease"]["id"].as_str()?.to_owned();
        if answer["credential"].is_object() {
            received.lock().unwrap().insert(id.clone());
        }
        Some(id)
    }

    /// What it prints has no lease's name in it: the ledger and the judge know the session all the same.
    fn take_by_grantctl(&self, world: &World, grant: &str, ttl: u64) -> Option<String> {
        let _ = world.scene.caller(self.user).grantctl(&["credential-process", grant, "--ttl", &format!("{ttl}s")]);
        None
    }

    fn end(&mut self, thing: &str) {
        if self.chance.below(2) == 0 {
            self.agent.post(&format!("{thing}/complete"), json!({}));
        } else {
            self.agent.post(&format!("{thing}/revoke"), json!({ "reason": "the load takes it back" }));
        }
    }
}

/// Load from every worker and trouble on the way to the cloud, ended by a kill at a random moment.
pub fn storm(stage: &mut Stage, workers: &mut [Worker], chance: &mut Chance) {
    let (left, stop, received) = (AtomicI32::new(SESSIONS), AtomicBool::new(false), stage.received.clone());
    let trouble = [
        Rule::on("AssumeRole", Fault::DropAfter).probability(0.1),
        Rule::on("AssumeRole", Fault::DelayAfter { millis: 60 }).probability(0.5),
        Rule::on("CreatePolicyVersion", Fault::DropAfter).probability(0.1),
        Rule::on("CreatePolicyVersion", Fault::Status { status: 500, code: None }).probability(0.1),
    ];
    stage.world.proxy.seed(chance.next());
    for rule in trouble {
        stage.world.proxy.add(rule).unwrap();
    }
    let moment = Duration::from_millis(30 + chance.below(900));
    let daemon = stage.world.take_daemon();
    let mut head = ChainHead::EMPTY;
    thread::scope(|threads| {
        for worker in workers {
            let (world, received, left, stop) = (&stage.world, &received, &left, &stop);
            threads.spawn(move || worker.work(world, received, left, stop));
        }
        thread::sleep(moment);
        head = stage.head();
        daemon.kill9();
        stop.store(true, Ordering::SeqCst);
    });
    stage.note_head(head);
    stage.kills += 1;
    stage.world.proxy.clear();
}
