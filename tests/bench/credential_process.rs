//! `grantctl credential-process` on a live lease, as whole processes, next to a process that does nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::job::{Job, Server};
use crate::report::{Results, Table, millis};
use crate::samples::{Samples, Watch};
use crate::stage::Stage;

/// What is compared with.
const EMPTY: &str = "/bin/true";

/// Processes measured of each program, and before that of each that are not.
const RUNS: usize = 20;
const WARM_UP: usize = 5;

/// The job of timing them.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Processes {
    server: Server,
    grantctl: PathBuf,
    grant: String,
    runs: usize,
    warm_up: usize,
}

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Timed {
    grantctl: Runs,
    empty: Runs,
    /// Different access keys that were printed, warm-up included.
    keys: usize,
}

/// One program's processes.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Runs {
    /// From before the process exists until it has been waited for and its output is read, in microseconds.
    wall: Samples,
    /// Its processor time, user and system, in microseconds: what a busy machine changes least.
    processor: Samples,
}

impl Runs {
    /// One more; gives what it printed.
    fn run(&mut self, mut command: Command) -> Vec<u8> {
        command.stdout(std::process::Stdio::piped());
        let before = processor();
        let watch = Watch::start();
        let output = command.output().expect("the program starts");
        self.wall.0.push(watch.micros());
        self.processor.0.push(processor() - before);
        assert!(output.status.success(), "{command:?}: {}", output.status);
        output.stdout
    }
}

impl Processes {
    /// Ties this process to its leases as a job's shell would, and then times one program after the other. This
    /// process has the caller's user, so that it is an anchor.
    pub fn work(&self) -> Timed {
        let attached =
            self.grantctl(&["attach"]).stdout(std::process::Stdio::null()).status().expect("grantctl starts");
        assert!(attached.success(), "grantctl attach: {attached}");
        let mut keys = std::collections::BTreeSet::new();
        let mut both = |count: usize| {
            let (mut grantctl, mut empty) = (Runs::default(), Runs::default());
            for _ in 0..count {
                let printed = grantctl.run(self.grantctl(&["credential-process", &self.grant]));
                let printed: Value = serde_json::from_slice(&printed).expect("grantctl prints a credential");
                keys.insert(printed["AccessKeyId"].as_str().expect("a credential is whole").to_owned());
                empty.run(Command::new(EMPTY));
            }
            (grantctl, empty)
        };
        both(self.warm_up);
        let (grantctl, empty) = both(self.runs);
        Timed { grantctl, empty, keys: keys.len() }
    }

    fn grantctl(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.grantctl);
        command.args(arguments).env("GRANTD_SOCKET", &self.server.socket).stderr(std::process::Stdio::inherit());
        command
    }
}

/// The processor time of all children that were waited for, in microseconds (getrusage(2)).
fn processor() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the kernel tells");
    let number = |count: i64| f64::from(i32::try_from(count).expect("no child runs for years"));
    let micros = |time: TimeVal| number(time.tv_sec()) * 1e6 + number(time.tv_usec());
    micros(usage.user_time()) + micros(usage.system_time())
}

/// Measures and writes `credential-process`.
pub fn measure(results: &Results) {
    let stage = Stage::new();
    let mut table =
        Table::new("credential-process", "grantctl credential-process on a live lease, whole processes", &stage);
    let daemon = stage.daemon("state-1");
    let server = Server { socket: stage.scene.socket(), pid: daemon.pid() };
    let (grantctl, grant) = (stage.scene.bin("grantctl"), stage.grant());
    let timed: Timed = stage.have_done(&Job::Processes(Processes {
        server,
        grantctl: grantctl.clone(),
        grant,
        runs: RUNS,
        warm_up: WARM_UP,
    }));
    // Its first warm-up made the session; no other process may have.
    let (intents, issued) = (stage.audited("lease.intent"), stage.cloud.issued());
    assert_eq!((intents, issued, timed.keys), (1, 1, 1), "the processes were to be served from one live lease");
    table.head(&[
        "program",
        "processes",
        "median (ms)",
        "min (ms)",
        "max (ms)",
        "median, times /bin/true",
        "processor, median (ms)",
    ]);
    let empty = timed.empty.wall.median();
    for (name, runs) in [("grantctl credential-process", &timed.grantctl), (EMPTY, &timed.empty)] {
        let samples = &runs.wall;
        let [median, least, most] = [samples.median(), samples.least(), samples.most()].map(millis);
        let ratio = format!("{:.2}", samples.median() / empty);
        table.row(&[
            name.to_owned(),
            samples.0.len().to_string(),
            median,
            least,
            most,
            ratio,
            millis(runs.processor.median()),
        ]);
    }
    table.note(format!(
        "The two programs were started in turn by one process of the caller's user that had run `grantctl attach`, {WARM_UP} \
         times each as a warm-up and {RUNS} times measured: from before the process exists until it was waited for and its \
         output read. The daemon's audit holds {intents} lease.intent and STS issued {issued} session in all of it; every \
         process printed the same access key."
    ));
    table.note(format!("The program is {} bytes long.", size(&grantctl)));
    results.write(
        &table,
        &json!({
            "unit": "microseconds",
            "grantctl_credential_process": timed.grantctl,
            "bin_true": timed.empty,
            "lease_intents": intents,
            "sessions_issued": issued,
        }),
    );
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).expect("the program is there").len()
}
