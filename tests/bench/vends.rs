//! New sessions per second at 32 clients: through the daemon, and by the same SDK straight from the same STS.

use serde_json::{Value, json};

use crate::disk;
use crate::job::{Job, Server};
use crate::load::{Load, Loaded, Whom};
use crate::report::{Results, Table, millis};
use crate::samples::{Samples, of};
use crate::stage::Stage;

/// Clients at once.
const CLIENTS: usize = 32;

/// Sessions of each client in one round: not measured, and measured. Together they leave room in the one boundary, which
/// has 380 places, of which one user may have three quarters.
const WARM_UP: usize = 1;
const EACH: usize = 7;

/// Rounds, in each of which every way has its turn.
const ROUNDS: usize = 8;

/// Half of the samples of the disk's, taken before the rounds and after them.
const APPENDS: usize = 100;

/// One way to a session, and what was measured of it.
struct Way {
    name: &'static str,
    key: &'static str,
    rounds: Vec<Loaded>,
}

impl Way {
    fn rates(&self) -> Samples {
        Samples(self.rounds.iter().map(|round| of(round.sessions.0.len()) * 1e6 / round.wall).collect())
    }

    fn sessions(&self) -> Samples {
        Samples::together(self.rounds.iter().map(|round| &round.sessions))
    }

    fn processor(&self) -> f64 {
        let all: f64 = self.rounds.iter().map(|round| round.processor).sum();
        all / of(self.sessions().0.len())
    }

    fn raw(&self) -> Value {
        json!(self.rounds)
    }
}

/// Measures and writes `vends`.
pub fn measure(results: &Results) {
    let stage = Stage::new();
    let mut table = Table::new("vends", "New sessions per second at 32 clients, fake STS without delay", &stage);
    let mut disk = disk::appends(stage.scene.path(), APPENDS);
    let way = |name, key| Way { name, key, rounds: Vec::new() };
    let mut direct = way("STS directly, same SDK", "direct");
    let mut kept = way("vend, connections kept", "vend_kept");
    let mut fresh = way("vend, a connection each", "vend_fresh");
    for round in 1..=ROUNDS {
        direct.rounds.push(straight(&stage));
        kept.rounds.push(through_daemon(&stage, &format!("state-kept-{round}"), true));
        fresh.rounds.push(through_daemon(&stage, &format!("state-fresh-{round}"), false));
    }
    disk.0.extend(disk::appends(stage.scene.path(), APPENDS).0);

    table.head(&[
        "way",
        "sessions",
        "per second (median round)",
        "min round",
        "max round",
        "of direct (median of rounds' ratios)",
        "p50 (ms)",
        "p99 (ms)",
        "processor per session (ms)",
    ]);
    for way in [&direct, &kept, &fresh] {
        let (rates, sessions) = (way.rates(), way.sessions());
        let [median, least, most] = [rates.median(), rates.least(), rates.most()].map(|rate| format!("{rate:.0}"));
        let ratio = format!("{:.3}", ratios(way, &direct).median());
        let [p50, p99] = [0.5, 0.99].map(|share| millis(sessions.quantile(share)));
        let processor = millis(way.processor());
        table.row(&[
            way.name.to_owned(),
            sessions.0.len().to_string(),
            median,
            least,
            most,
            ratio,
            p50,
            p99,
            processor,
        ]);
    }
    table.note(about_method());
    table.note(format!(
        "The disk under the daemon's state, {} appends of 16 KiB each followed by fdatasync, half before and half after \
         the rounds, by one process: median {} ms, p99 {} ms, min {} ms, max {} ms. Each vend waits for two commits, \
         which waiting vends share.",
        disk.0.len(),
        millis(disk.median()),
        millis(disk.quantile(0.99)),
        millis(disk.least()),
        millis(disk.most()),
    ));
    let ways: serde_json::Map<String, Value> =
        [&direct, &kept, &fresh].into_iter().map(|way| (way.key.to_owned(), way.raw())).collect();
    results.write(
        &table,
        &json!({
            "unit": "microseconds",
            "clients": CLIENTS,
            "rounds": ways,
            "ratio_kept_to_direct": ratios(&kept, &direct),
            "ratio_fresh_to_direct": ratios(&fresh, &direct),
            "append_fdatasync": disk,
        }),
    );
}

fn about_method() -> String {
    format!(
        "{ROUNDS} rounds, in each of which every way has its turn with {CLIENTS} clients of {EACH} sessions, after {WARM_UP} \
         of each client as a warm-up. A vend is a new session each time: it is under a grant of its own, requested before \
         the measurement (each answer said that it was not re-used, every access key was different, and the fake STS \
         counted as many sessions). Its lease is anchored in the calling process. Each turn of the daemon has a new daemon \
         and an empty state directory, so that the one boundary's 380 places, of which one user may have three quarters, are not the limit ({} are taken); its \
         configuration is the default but for the request rate, which is not limited. Direct is the adapter's own AssumeRole \
         with the same SDK, settings, role and session policy, from {CLIENTS} tasks of one process. Clients, daemon and fake \
         STS (one thread) share the machine's cores. Processor time is that of the daemon, or for direct of the process with \
         the SDK, in hundredths of a second a turn.",
        CLIENTS * (WARM_UP + EACH),
    )
}

/// Round by round, as the two were measured next to each other.
fn ratios(way: &Way, direct: &Way) -> Samples {
    let pairs = way.rates().0.into_iter().zip(direct.rates().0);
    Samples(pairs.map(|(rate, direct)| rate / direct).collect())
}

fn straight(stage: &Stage) -> Loaded {
    let config = stage.aws("", grantd_tests::User::Alice);
    let map = grantd_testkit::repository_root().join("config/entitlements/aws.toml");
    let map = std::fs::read_to_string(map).expect("the entitlement map is there");
    loaded(stage, Whom::Sts { config, map })
}

fn through_daemon(stage: &Stage, state: &str, keep: bool) -> Loaded {
    let daemon = stage.daemon(state);
    let server = Server { socket: stage.scene.socket(), pid: daemon.pid() };
    loaded(stage, Whom::Daemon { server, anchor: "caller".to_owned(), keep })
}

fn loaded(stage: &Stage, of: Whom) -> Loaded {
    let before = stage.cloud.issued();
    let loaded: Loaded = stage.have_done(&Job::Load(Load { of, clients: CLIENTS, warm_up: WARM_UP, each: EACH }));
    let all = CLIENTS * (WARM_UP + EACH);
    assert_eq!(loaded.keys, all, "each session was to be new");
    assert_eq!(usize::try_from(stage.cloud.issued() - before), Ok(all), "STS was to be asked once for each session");
    loaded
}
