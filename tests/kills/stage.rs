//! What is shared by all kills: one world whose damage accumulates, the arming of fail points, recovery, and evidence.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use grantd_model::{AuditRecord, ChainHead};
use grantd_testkit::{Prober, Session, Sight};
use grantd_tests::{Setup, User, World};
use serde_json::{Value, json};

use crate::agent::{Agent, Heard};
use crate::judge::{Evidence, Lease, MAX_CONCURRENT, MAX_USES, judge};

/// How many sessions that were tried before, and whose lease did not change since, are tried again after each kill.
const AGAIN: usize = 30;

/// After how many kills every session is tried and the whole chain read.
const WHOLE: usize = 15;

/// How long a recovered daemon may take until nothing is open.
const PATIENCE: Duration = Duration::from_secs(30);

/// The leases whose credential somebody received, by whichever client.
pub type Received = Arc<Mutex<BTreeSet<String>>>;

/// See the module.
#[derive(Debug)]
pub struct Stage {
    /// The world.
    pub world: World,
    /// How often the daemon was killed.
    pub kills: usize,
    /// Whose credential was received.
    pub received: Received,
    prober: Prober,
    acknowledged: ChainHead,
    survivors: BTreeSet<String>,
    records: Vec<AuditRecord>,
    tried: BTreeMap<String, String>,
    turn: usize,
}

impl Stage {
    /// A world with limits on use in its policy, and a running daemon.
    pub fn new() -> Self {
        // The first role carries no long session: the task that goes on through every kill has its session on the other
        // one, so that there are moments at which nothing lives on the first, and its ended sessions are collapsed.
        let (clock_skew, first_role) = ("2s".to_owned(), "max_session = \"30m\"".to_owned());
        let issuer = Some("url = \"https://tokens.example.com\"\nalgorithm = \"ES256\"".to_owned());
        let world = World::prepared(&Setup { clock_skew, first_role, issuer, ..Setup::default() });
        world.scene.write("config/policy/policies/kills.cedar", &limits(), User::Root, 0o644);
        let (kills, received, turn) = (0, Received::default(), 0);
        let (survivors, records, tried) = (BTreeSet::new(), Vec::new(), BTreeMap::new());
        let (prober, acknowledged) = (Prober::start().unwrap(), ChainHead::EMPTY);
        let mut stage = Self { world, kills, received, prober, acknowledged, survivors, records, tried, turn };
        stage.start();
        stage
    }

    fn trigger(&self) -> PathBuf {
        self.world.scene.config().join("failpoint")
    }

    fn start(&mut self) {
        let trigger = self.trigger().display().to_string();
        self.world.start_with(&[("GRANTD_FAILPOINT_FILE", &trigger)]);
    }

    /// Arms the running daemon.
    pub fn arm(&mut self, point: &str) {
        self.note_head(self.head());
        self.pull(point);
    }

    fn pull(&self, point: &str) {
        fs::write(self.trigger(), point).unwrap();
    }

    /// Waits until the daemon has died at the armed fail point; it stays dead.
    pub fn await_death(&mut self, point: &str) {
        let mut daemon = self.world.take_daemon();
        let status = daemon.wait_end(Duration::from_secs(15));
        assert_eq!(status.signal(), Some(9), "{point}: grantd ended by itself with {status}\n{}", daemon.output());
        self.kills += 1;
        fs::remove_file(self.trigger()).unwrap();
        self.world.proxy.clear();
    }

    /// Starts the daemon armed, and waits until it has died on its way up.
    pub fn die_on_the_way_up(&mut self, point: &str) {
        self.pull(point);
        let trigger = self.trigger().display().to_string();
        self.world.launch_with(&[("GRANTD_FAILPOINT_FILE", &trigger)]);
        self.await_death(point);
    }

    /// Kills the daemon from outside; it stays dead.
    pub fn kill(&mut self) {
        self.note_head(self.head());
        self.kill_at_once();
    }

    /// The same without a word before.
    fn kill_at_once(&mut self) {
        self.world.take_daemon().kill9();
        self.kills += 1;
        self.world.proxy.clear();
    }

    /// Starts the daemon without waiting for it and kills it `after` that.
    pub fn kill_on_the_way_up(&mut self, after: Duration) {
        self.world.launch_with(&[]);
        thread::sleep(after);
        self.kill_at_once();
    }

    /// Starts the daemon again, waits until nothing is open, and holds it to every invariant.
    pub fn recover(&mut self, after: &str) {
        self.start();
        self.settle();
        self.hold_to_all(after, self.kills.is_multiple_of(WHOLE));
    }

    /// Waits until nothing is open, or for so long that it never will: then the judge says so.
    pub fn settle(&self) {
        let step = Duration::from_millis(50);
        let mut left = PATIENCE;
        while self.open() != (0, 0) && !left.is_zero() {
            thread::sleep(step);
            left = left.saturating_sub(step);
        }
    }

    /// Holds the daemon to every invariant; `whole` spares nothing.
    pub fn hold_to_all(&mut self, after: &str, whole: bool) {
        let evidence = self.gather(whole);
        let broken = judge(&evidence);
        let mut told: Vec<String> = broken.iter().map(ToString::to_string).collect();
        // What is on record about the leases that are named.
        for (name, lease) in &evidence.leases {
            if broken.iter().any(|broken| broken.what.contains(name) || broken.what.contains(&lease.id)) {
                let about = |r: &&AuditRecord| r.draft.lease.is_some_and(|id| id.to_string() == lease.id);
                told.push(format!("{name} is {}:", lease.id));
                told.extend(
                    self.records.iter().filter(about).map(|r| format!("  {} {} {}", r.seq, r.draft.at, r.draft.kind)),
                );
            }
        }
        assert!(broken.is_empty(), "after kill {} at {after}:\n{}", self.kills, told.join("\n"));
    }

    /// A lease that must outlive every kill from here on: its task goes on and its time is not up.
    pub fn must_survive(&mut self, lease: &str) {
        self.survivors.insert(lease.to_owned());
    }

    /// Its task may end now.
    pub fn may_end(&mut self, lease: &str) {
        self.survivors.remove(lease);
    }

    /// Has an agent request to read `resource`.
    pub fn grant(&self, agent: &mut Agent, resource: &str) -> String {
        let heard = agent.post("/v1/grants", asked(resource));
        assert_eq!(heard.status, Some(201), "{heard:?}");
        heard.body["id"].as_str().unwrap().to_owned()
    }

    /// Has an agent take a credential, anchored in itself if `changes` does not say otherwise.
    pub fn try_vend(&self, agent: &mut Agent, grant: &str, changes: Value) -> Heard {
        vend(&self.received, agent, grant, changes)
    }

    /// The same, where it must succeed; gives the lease's id.
    pub fn vend(&self, agent: &mut Agent, grant: &str, changes: Value) -> String {
        let heard = self.try_vend(agent, grant, changes);
        assert_eq!(heard.status, Some(200), "{heard:?}");
        heard.body["lease"]["id"].as_str().unwrap().to_owned()
    }

    fn open(&self) -> (u64, u64) {
        let status = self.world.status();
        let count = |name: &str| status["revocation"][name].as_u64().unwrap();
        (count("open_intents"), count("unconfirmed"))
    }

    fn gather(&mut self, whole: bool) -> Evidence {
        if whole {
            self.records.clear();
        }
        let mark = self.records.last().map_or(ChainHead::EMPTY, AuditRecord::head);
        let page = self.page(mark.seq);
        let mut records = page["records"].as_array().unwrap().clone();
        while let Some(last) = records.last().and_then(|last| last["seq"].as_u64())
            && last < page["head_seq"].as_u64().unwrap()
        {
            records.extend(self.page(last)["records"].as_array().unwrap().iter().cloned());
        }
        self.records.extend(records.into_iter().map(|record| serde_json::from_value::<AuditRecord>(record).unwrap()));
        let mut leases = self.leases(None);
        let sessions = self.look(&leases, whole);
        let active = |name: &String| leases.get(name).is_some_and(|lease| lease.before == "active");
        if sessions.iter().any(|(name, sight)| active(name) && *sight != Sight::Allowed) {
            // Its time may be up in this very moment: the daemon looks at deadlines twice a second.
            thread::sleep(Duration::from_millis(1500));
        }
        leases = self.leases(Some(leases));
        Evidence {
            node: serde_json::from_value(page["node"].clone()).unwrap(),
            mark,
            acknowledged: self.acknowledged,
            head: head_of(&page),
            records: self.records.clone(),
            leases,
            sessions,
            received: self.received.lock().unwrap().clone(),
            survivors: self.survivors.clone(),
            open: self.open(),
        }
    }

    /// Where the running daemon says that its chain ends: what is recorded up to there must outlive any kill.
    pub fn head(&self) -> ChainHead {
        head_of(&self.page(i64::MAX.unsigned_abs()))
    }

    /// Takes note of where a daemon that is about to die said that its chain ends.
    pub fn note_head(&mut self, head: ChainHead) {
        self.acknowledged = head;
    }

    fn page(&self, after: u64) -> Value {
        let answer = self.world.root().curl("GET", &format!("/v1/audit?after={after}&limit=5000"), None);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// Every lease by its session's name; the second time, with what it was the first time.
    fn leases(&self, earlier: Option<BTreeMap<String, Lease>>) -> BTreeMap<String, Lease> {
        let answer = self.world.root().curl("GET", "/v1/leases?all=true&ended=true&limit=1000", None);
        let list = answer.body["leases"].as_array().unwrap();
        assert!(list.len() < 1000, "more leases than a list can show: make fewer");
        let text = |lease: &Value, name: &str| lease[name].as_str().unwrap().to_owned();
        let seen = list.iter().map(|lease| {
            let (name, after) = (text(lease, "session_name"), text(lease, "state"));
            let before = earlier.as_ref().and_then(|earlier| earlier.get(&name)).map_or(&after, |lease| &lease.before);
            let before = before.clone();
            (name, Lease { id: text(lease, "id"), grant: text(lease, "grant"), before, after })
        });
        seen.collect()
    }

    /// Tries sessions in the cloud: those that are new or live or whose lease changed, and of the others some in turn,
    /// or all.
    fn look(&mut self, leases: &BTreeMap<String, Lease>, whole: bool) -> Vec<(String, Sight)> {
        let ledger = self.world.proxy.ledger();
        let state = |name: &str| leases.get(name).map_or("unknown", |lease| lease.after.as_str());
        let (due, rest): (Vec<_>, Vec<_>) = ledger.iter().cloned().partition(|session| {
            let name = &session.session_name;
            whole || state(name) == "active" || self.tried.get(name).is_none_or(|tried| tried != state(name))
        });
        let again: Vec<Arc<Session>> =
            rest.iter().cycle().skip(self.turn).take(AGAIN.min(rest.len())).cloned().collect();
        self.turn = (self.turn + AGAIN) % rest.len().max(1);
        let resources: BTreeMap<String, &str> = self
            .records
            .iter()
            .filter(|record| record.draft.kind == "grant.request")
            .filter_map(|r| Some((r.draft.grant?.to_string(), r.draft.detail["request"]["resource"].as_str()?)))
            .collect();
        let mut tried: Vec<(&str, Arc<Session>)> = Vec::new();
        for session in due.iter().chain(&again) {
            // A session that no lease knows is tried on both.
            let lease = leases.get(&session.session_name);
            let resource = lease.map(|lease| resources.get(&lease.grant).copied().unwrap());
            let buckets = ["alpha", "beta"].into_iter().filter(|bucket| resource.is_none_or(|is| is == *bucket));
            tried.extend(buckets.map(|bucket| (bucket, Arc::clone(session))));
        }
        let sights = self.prober.look(&self.world.stack.url(), "hello.txt", &tried).unwrap();
        let sessions = tried.iter().map(|(_, session)| session.session_name.clone()).zip(sights).collect();
        self.tried = ledger.iter().map(|s| (s.session_name.clone(), state(&s.session_name).to_owned())).collect();
        sessions
    }
}

fn head_of(page: &Value) -> ChainHead {
    serde_json::from_value(json!({ "seq": page["head_seq"], "hash": page["head_hash"] })).unwrap()
}

/// A request to read `resource`.
pub fn asked(resource: &str) -> Value {
    json!({
        "resource": resource,
        "capability": "object-storage:read",
        "justification": "a test reads what it wrote",
        "duration_seconds": 7200,
    })
}

/// Has an agent take a credential, and notes whether it got one.
pub fn vend(received: &Received, agent: &mut Agent, grant: &str, changes: Value) -> Heard {
    let mut body = json!({ "grant": grant, "anchor": "caller" });
    if let (Value::Object(body), Value::Object(changes)) = (&mut body, changes) {
        body.extend(changes);
    }
    let holds = body["anchor"] == "connection";
    let mut heard = if holds { agent.hold("/v1/leases", body) } else { agent.post("/v1/leases", body) };
    if heard.body["credential"].take().is_object() {
        received.lock().unwrap().insert(heard.body["lease"]["id"].as_str().unwrap().to_owned());
    }
    heard
}

/// Limits on use, in the words of policy: the strictest of all matching permits applies.
fn limits() -> String {
    let permit = |resource: &str, annotation: &str| {
        format!(
            "@id(\"kills-{resource}\")\n@max_duration(\"8h\")\n@max_ttl(\"1h\")\n{annotation}\npermit (\n  principal,\n  action == Grantd::Action::\"issue\",\n  \
             resource == Grantd::Resource::\"{resource}\"\n)\nwhen {{ resource.tier == Grantd::Tier::\"low\" && \
             context.self_subject }};\n\n"
        )
    };
    permit("alpha", &format!("@max_uses(\"{MAX_USES}\")"))
        + &permit("beta", &format!("@max_concurrent(\"{MAX_CONCURRENT}\")"))
}
