//! Many clients at once, each asking for one new session after the other: of the daemon, or of STS itself.

use std::collections::BTreeSet;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::task::JoinSet;

use crate::client::Client;
use crate::direct::Direct;
use crate::job::Server;
use crate::samples::{Samples, Watch};
use crate::stage::request;

/// So many clients, each with so many sessions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Load {
    /// Whom to ask.
    pub of: Whom,
    /// Clients at once.
    pub clients: usize,
    /// Sessions of each client that are not measured, before those that are.
    pub warm_up: usize,
    /// Sessions of each client that are measured.
    pub each: usize,
}

/// Whom to ask for sessions.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub enum Whom {
    /// The daemon. Each vend is under a grant of its own, requested before the measurement, so that none is served
    /// from a live lease.
    Daemon {
        /// Where it is.
        server: Server,
        /// What the leases are anchored in, in the API's words.
        anchor: String,
        /// Whether a client keeps its connection, or opens one for each vend.
        keep: bool,
    },
    /// STS, by the adapter alone.
    Sts {
        /// The adapter's configuration.
        config: String,
        /// The entitlement map.
        map: String,
    },
}

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Loaded {
    /// From the first request to the last answer, in microseconds.
    pub wall: f64,
    /// Each session, from asking to having it.
    pub sessions: Samples,
    /// Different access keys that were received, warm-up included.
    pub keys: usize,
    /// Processor time meanwhile of whoever was asked, in microseconds: of the daemon, or of the SDK's own process.
    pub processor: f64,
}

/// One client and what it has taken.
struct Taker {
    way: Way,
    keys: Vec<String>,
    sessions: Samples,
}

enum Way {
    Daemon { client: Client, grants: Vec<String>, anchor: String, keep: bool },
    Sts(Direct),
}

impl Load {
    /// Does it.
    pub fn work(&self) -> Loaded {
        // As the daemon's own runtime: a worker for each core.
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        runtime.block_on(self.take())
    }

    async fn take(&self) -> Loaded {
        let asked = match &self.of {
            Whom::Daemon { server, .. } => server.pid,
            Whom::Sts { .. } => std::process::id(),
        };
        let mut takers = self.prepared().await;
        takers = all_take(takers, self.warm_up).await.0;
        for taker in &mut takers {
            taker.sessions = Samples::default();
        }
        let before = processor(asked);
        let (takers, wall) = all_take(takers, self.each).await;
        let processor = processor(asked) - before;
        let keys: BTreeSet<&String> = takers.iter().flat_map(|taker| &taker.keys).collect();
        let sessions = Samples::together(takers.iter().map(|taker| &taker.sessions));
        Loaded { wall, keys: keys.len(), sessions, processor }
    }

    /// The clients, each with as many grants as it will use.
    async fn prepared(&self) -> Vec<Taker> {
        let mut ready = JoinSet::new();
        let direct = match &self.of {
            Whom::Sts { config, map } => Some(Direct::new(config, map)),
            Whom::Daemon { .. } => None,
        };
        for _ in 0..self.clients {
            let (load, direct) = (self.clone(), direct.clone());
            ready.spawn(async move {
                let way = match (load.of, direct) {
                    (Whom::Daemon { server, anchor, keep }, _) => {
                        let mut client = Client::new(&server.socket);
                        let mut grants = Vec::new();
                        for _ in 0..load.warm_up + load.each {
                            let grant = client.post("/v1/grants", &request(), 201).await;
                            grants.push(grant["id"].as_str().expect("a grant has an id").to_owned());
                        }
                        Way::Daemon { client, grants, anchor, keep }
                    }
                    (Whom::Sts { .. }, direct) => Way::Sts(direct.expect("it was set up")),
                };
                Taker { way, keys: Vec::new(), sessions: Samples::default() }
            });
        }
        ready.join_all().await
    }
}

/// Has every client take `count` sessions; gives how long that took.
async fn all_take(takers: Vec<Taker>, count: usize) -> (Vec<Taker>, f64) {
    let mut busy = JoinSet::new();
    let watch = Watch::start();
    for mut taker in takers {
        busy.spawn(async move {
            for _ in 0..count {
                taker.take().await;
            }
            taker
        });
    }
    let takers = busy.join_all().await;
    (takers, watch.micros())
}

impl Taker {
    async fn take(&mut self) {
        let watch = Watch::start();
        let key = match &mut self.way {
            Way::Sts(direct) => direct.issue().await,
            Way::Daemon { client, grants, anchor, keep } => {
                let grant = grants.pop().expect("a grant for each session");
                if !*keep {
                    client.close();
                }
                let vended = client.post("/v1/leases", &json!({ "grant": grant, "anchor": anchor }), 200).await;
                assert_eq!(vended["reused"], false, "a session was to be new");
                vended["credential"]["access_key_id"].as_str().expect("a credential is whole").to_owned()
            }
        };
        self.sessions.0.push(watch.micros());
        self.keys.push(key);
    }
}

/// The processor time of a process so far, user and system, in microseconds (proc_pid_stat(5), fields 14 and 15).
fn processor(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).expect("it lives");
    let (_, fields) = stat.rsplit_once(')').expect("the name is in parentheses");
    let ticks: u32 = fields.split_whitespace().skip(11).take(2).map(|n| n.parse::<u32>().expect("a number")).sum();
    // Linux counts in hundredths of a second for user space, whatever its own clock does (USER_HZ, time(7)).
    f64::from(ticks) * 10_000.0
}
