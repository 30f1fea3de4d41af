//! Idle memory of the daemon: after its start with the shipped policy, and with a hundred live leases.

use std::thread;
use std::time::Duration;

use serde_json::json;

use crate::job::{Job, Server};
use crate::load::{Load, Loaded, Whom};
use crate::report::{Results, Table};
use crate::stage::Stage;

/// How long the daemon is left alone before its memory is read.
const QUIET: Duration = Duration::from_secs(3);

/// How often all of it is done, each time with a new daemon.
const RUNS: usize = 3;

/// The lines of `/proc/PID/status` that are kept, in KiB.
const LINES: [&str; 6] = ["VmRSS", "VmHWM", "RssAnon", "RssFile", "VmLck", "VmSwap"];

/// Measures and writes `idle-memory`.
pub fn measure(results: &Results) {
    let stage = Stage::new();
    let mut table = Table::new("idle-memory", "Idle memory of grantd", &stage);
    let head: Vec<String> = LINES.iter().map(|line| format!("{line} (KiB)")).collect();
    table.head(&[&["run", "when"], head.iter().map(String::as_str).collect::<Vec<_>>().as_slice()].concat());
    let mut raw = Vec::new();
    let mut hardening = String::new();
    for run in 1..=RUNS {
        let daemon = stage.daemon(&format!("state-{run}"));
        hardening = stage.hardening();
        let mut read = |when: &str| {
            thread::sleep(QUIET);
            let values = status(daemon.pid());
            let shown: Vec<String> = values.iter().map(ToString::to_string).collect();
            table.row(&[vec![run.to_string(), when.to_owned()], shown].concat());
            raw.push(json!({ "run": run, "when": when, "lines": LINES, "kib": values }));
        };
        read("idle after start");
        // Anchored in nothing, so that the leases are still live when their client is gone.
        let server = Server { socket: stage.scene.socket(), pid: daemon.pid() };
        let of = Whom::Daemon { server, anchor: "auto".to_owned(), keep: true };
        let loaded: Loaded = stage.have_done(&Job::Load(Load { of, clients: 4, warm_up: 0, each: 25 }));
        assert_eq!(loaded.keys, 100, "a hundred sessions");
        read("idle with 100 live leases");
    }
    table.note(format!(
        "Each run is a new daemon with an empty state directory, the shipped schema, policies and entitlement map, one \
         account and one resource. It is read {} s after the last request. The hundred leases are new sessions from 4 \
         clients, live while memory is read.",
        QUIET.as_secs()
    ));
    table.note(format!("The daemon about itself: {hardening}"));
    results.write(&table, &json!({ "samples": raw }));
}

fn status(pid: u32) -> Vec<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the daemon lives");
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).expect("the kernel tells");
        line.trim().strip_suffix(" kB").expect("in KiB").parse().expect("a number")
    };
    LINES.map(value).to_vec()
}
