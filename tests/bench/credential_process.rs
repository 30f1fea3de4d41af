//! `grantctl credential-process` on a live lease, as whole processes, next to a process that does nothing.

use std::path::{Path, PathBuf};
use std::process::Command;

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
    grantctl: Samples,
    empty: Samples,
    /// Different access keys that were printed, warm-up included.
    keys: usize,
}

impl Processes {
    /// Ties this process to its leases as a job's shell would, and then times one program after the other. This
    /// process has the caller's user, so that it is an anchor.
    pub fn work(&self) -> Timed {
        let attached = self.grantctl(&["attach"]).status().expect("grantctl starts");
        assert!(attached.success(), "grantctl attach: {attached}");
        let mut keys = std::collections::BTreeSet::new();
        let mut both = |count: usize| {
            let (mut grantctl, mut empty) = (Samples::default(), Samples::default());
            for _ in 0..count {
                let (micros, printed) = timed(self.grantctl(&["credential-process", &self.grant]));
                let printed: Value = serde_json::from_slice(&printed).expect("grantctl prints a credential");
                keys.insert(printed["AccessKeyId"].as_str().expect("a credential is whole").to_owned());
                grantctl.0.push(micros);
                empty.0.push(timed(Command::new(EMPTY)).0);
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

/// From before the process exists until it has been waited for and its output is read.
fn timed(mut command: Command) -> (f64, Vec<u8>) {
    command.stdout(std::process::Stdio::piped());
    let watch = Watch::start();
    let output = command.output().expect("the program starts");
    let micros = watch.micros();
    assert!(output.status.success(), "{command:?}: {}", output.status);
    (micros, output.stdout)
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
    table.head(&["program", "processes", "median (ms)", "min (ms)", "max (ms)", "median, times /bin/true"]);
    let empty = timed.empty.median();
    for (name, samples) in [("grantctl credential-process", &timed.grantctl), (EMPTY, &timed.empty)] {
        let [median, least, most] = [samples.median(), samples.least(), samples.most()].map(millis);
        let ratio = format!("{:.2}", samples.median() / empty);
        table.row(&[name.to_owned(), samples.0.len().to_string(), median, least, most, ratio]);
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
