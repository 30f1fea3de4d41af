//! What the measurements run on: the fake STS, a daemon with the shipped policy, and a caller with a grant.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;
use std::time::Duration;

use grantd_testkit::{FakeSts, FakeStsSettings, Finished, repository_root, run};
use grantd_tests::{Daemon, Scene, User};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::job::{self, Job};

/// The fake's account, the one role that is used, and its boundary with its 380 places.
const ACCOUNT: &str = "123456789012";
const ROLE: &str = "arn:aws:iam::123456789012:role/grantd-target-1";
const BOUNDARY: &str = "arn:aws:iam::123456789012:policy/grantd-boundary-1";

/// As long as any job may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// The stage, without a daemon.
#[derive(Debug)]
pub struct Stage {
    /// Users, directories, binaries.
    pub scene: Scene,
    /// STS and IAM.
    pub cloud: FakeSts,
}

impl Stage {
    /// Sets it up.
    pub fn new() -> Self {
        let scene = Scene::new();
        let cloud = FakeSts::start(FakeStsSettings::default()).expect("the fake STS starts");
        let this = std::env::current_exe().expect("this program knows where it is");
        fs::copy(this, scene.bin("bench")).expect("this program can be copied");
        let stage = Self { scene, cloud };
        stage.write_policy();
        stage
    }

    /// Starts a daemon with a state directory of its own, called `name`, and waits until it is ready.
    pub fn daemon(&self, name: &str) -> Daemon {
        let state = self.scene.path().join(name);
        fs::create_dir(&state).expect("a state directory can be made");
        chown(&state, Some(User::Daemon.uid()), Some(User::Daemon.gid())).expect("root gives files away");
        fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).expect("a mode can be set");
        let text = format!(
            "state_dir = \"{}\"\npolicy_dir = \"{}\"\n\
             [socket]\npath = \"{}\"\nmode = \"0660\"\ngroup = \"gt-clients\"\n\
             [limits]\nrequests_per_second = 100000\nburst = 100000\n{}",
            state.display(),
            self.scene.config().join("policy").display(),
            self.scene.socket().display(),
            self.aws("aws.", User::Daemon),
        );
        let config = self.scene.write(&format!("config/{name}.toml"), &text, User::Root, 0o644);
        let mut daemon = Daemon::start(&self.scene, &config);
        daemon.wait_ready();
        daemon
    }

    /// The configuration of the AWS adapter for the fake, with a base profile that `owner` can read. `table` is what
    /// the names of its tables begin with.
    pub fn aws(&self, table: &str, owner: User) -> String {
        let keys =
            "[grantd]\naws_access_key_id = AKIAGRANTDBASE000000\naws_secret_access_key = fake/secret/of/the/base\n";
        let profile = self.scene.write(&format!("config/aws-{}", owner.name()), keys, owner, 0o600);
        format!(
            "[[{table}account]]\nname = \"main\"\nid = \"{ACCOUNT}\"\nregion = \"eu-west-1\"\nendpoint = \"{}\"\n\
             base = {{ type = \"profile\", files = [\"{}\"], profile = \"grantd\" }}\n\
             [[{table}account.role]]\narn = \"{ROLE}\"\nboundary = \"{BOUNDARY}\"\n",
            self.cloud.url(),
            profile.display(),
        )
    }

    /// Has a process of the caller's user do `job`.
    pub fn have_done<T: DeserializeOwned>(&self, job: &Job) -> T {
        let mut command = self.scene.caller(User::Alice).command(self.scene.bin("bench"));
        command.arg(job::ARGUMENT);
        let finished = finish(command, &serde_json::to_string(job).expect("a job is JSON"));
        serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished}"))
    }

    /// A grant for the caller.
    pub fn grant(&self) -> String {
        let answer = self.scene.caller(User::Alice).curl("POST", "/v1/grants", Some(&request()));
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["id"].as_str().expect("a grant has an id").to_owned()
    }

    /// How many audit records of a kind there are.
    pub fn audited(&self, kind: &str) -> usize {
        let (mut count, mut after) = (0, 0);
        loop {
            let path = format!("/v1/audit?after={after}&limit=5000");
            let answer = self.scene.caller(User::Root).curl("GET", &path, None);
            let records = answer.body["records"].as_array().expect("a page has records");
            let Some(last) = records.last() else { return count };
            after = last["seq"].as_u64().expect("a record has a place");
            count += records.iter().filter(|record| record["kind"] == kind).count();
        }
    }

    /// What the daemon says of how it is hardened.
    pub fn hardening(&self) -> String {
        let answer = self.scene.caller(User::Root).curl("GET", "/v1/status", None);
        answer.body["hardening"].to_string()
    }

    fn write_policy(&self) {
        let (from, to) = (repository_root().join("config"), self.scene.config().join("policy"));
        fs::create_dir_all(&to).expect("a directory can be made");
        for what in ["policy/schema.cedarschema", "policy/policies", "entitlements"] {
            let status = Command::new("cp").arg("-r").arg(from.join(what)).arg(&to).status();
            assert!(status.expect("cp runs").success(), "{what} cannot be copied");
        }
        let catalog = "[[resource]]\nname = \"alpha\"\ncloud = \"aws\"\naccount = \"main\"\ntype = \"object-storage\"\n\
                       native = \"arn:aws:s3:::alpha\"\nenvironment = \"dev\"\ntier = \"low\"\nowners = [\"olga\"]\n";
        let people = "[[person]]\nname = \"olga\"\nunix = []\n\n\
                      [[workload]]\nname = \"deploy\"\nkind = \"pipeline\"\nunix = \"gt-alice\"\n";
        self.scene.write("config/policy/catalog.toml", catalog, User::Root, 0o644);
        self.scene.write("config/policy/people.toml", people, User::Root, 0o644);
    }
}

/// What the caller asks for.
pub fn request() -> Value {
    json!({
        "resource": "alpha",
        "capability": "object-storage:read",
        "justification": "a benchmark",
        "duration_seconds": 3600,
    })
}

/// Runs a command that must succeed.
pub fn finish(command: Command, input: &str) -> Finished {
    let finished = run(command, input, PATIENCE).expect("it can be run");
    assert!(finished.success(), "{finished}");
    finished
}
