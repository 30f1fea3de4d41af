//! A daemon on a cloud that has nothing yet but the names that its configuration says.

use std::fs;
use std::process::Command;
use std::time::Duration;

use grantd_testkit::repository_root;
use grantd_tests::{Answer, Caller, Daemon, Scene, User, eventually};
use serde_json::{Value, json};

use crate::printed::Printed;

/// The issuer's URL.
pub const ISSUER: &str = "https://issuer.example.com";

/// A commented example of `config/grantd.toml`: the part that begins with the table's name, without its signs of a comment.
pub fn example(cloud: &str) -> String {
    let all = fs::read_to_string(repository_root().join("config/grantd.toml")).unwrap();
    let from = all.lines().position(|line| line == format!("#[{cloud}]") || line == format!("#[[{cloud}.account]]"));
    let lines = all.lines().skip(from.unwrap_or_else(|| panic!("there is no example of {cloud}")));
    // What is told to people has two signs; a table of another cloud ends it.
    let begins = |line: &str, table: &str| ["[[", "["].iter().any(|sign| line.starts_with(&format!("#{sign}{table}.")));
    let other = |line: &&str| ["azure", "gcp", "oidc"].iter().any(|one| *one != cloud && begins(line, one));
    let uncommented = lines.take_while(|line| !other(line)).map(|line| line.strip_prefix('#').unwrap_or(line));
    uncommented.fold(String::new(), |text, line| text + line + "\n")
}

/// The shipped map of a cloud.
pub fn shipped(cloud: &str) -> String {
    fs::read_to_string(repository_root().join(format!("config/entitlements/{cloud}.toml"))).unwrap()
}

/// A resource of tier low for the catalogue.
pub fn resource(cloud: &str, account: &str, kind: &str, name: &str, native: &str) -> String {
    format!(
        "[[resource]]\nname = \"{name}\"\ncloud = \"{cloud}\"\naccount = \"{account}\"\ntype = \"{kind}\"\n\
         native = \"{native}\"\nenvironment = \"dev\"\ntier = \"low\"\nowners = [\"olga\"]\n\n"
    )
}

/// A daemon and who uses it.
pub struct Stage {
    // First, so that it goes first and its output is still there to be shown.
    daemon: Option<Daemon>,
    pub scene: Scene,
}

impl Stage {
    /// Starts the daemon with this table of a cloud, and the shipped map and policies.
    pub fn new(cloud: &str, catalog: &str, scene: Scene, table: &str) -> Self {
        let (from, to) = (repository_root().join("config"), scene.config().join("policy"));
        fs::create_dir_all(to.join("entitlements")).unwrap();
        for what in ["policy/schema.cedarschema", "policy/policies"] {
            assert!(Command::new("cp").arg("-r").arg(from.join(what)).arg(&to).status().unwrap().success(), "{what}");
        }
        let people = "[[person]]\nname = \"olga\"\nunix = [\"gt-olga\"]\n\n\
                      [[workload]]\nname = \"deploy\"\nkind = \"pipeline\"\nunix = \"gt-alice\"\n\n\
                      [[workload]]\nname = \"indexer\"\nkind = \"service\"\nunix = \"gt-bob\"\n";
        let map = format!("entitlements/{cloud}.toml");
        for (name, text) in [("catalog.toml", catalog), ("people.toml", people), (map.as_str(), &shipped(cloud))] {
            scene.write(&format!("config/policy/{name}"), text, User::Root, 0o644);
        }
        let text = format!(
            "state_dir = \"{state}\"\npolicy_dir = \"{policy}\"\n\
             [socket]\npath = \"{socket}\"\nmode = \"0660\"\ngroup = \"gt-clients\"\n\
             [issuer]\nurl = \"{ISSUER}\"\npublish_ahead = \"0s\"\n{table}",
            state = scene.state().display(),
            policy = to.display(),
            socket = scene.socket().display(),
        );
        let config = scene.write("config/grantd.toml", &text, User::Root, 0o644);
        // Nothing of it exists in the cloud yet, and the daemon starts all the same.
        let mut daemon = Daemon::start(&scene, &config);
        daemon.wait_ready();
        Self { daemon: Some(daemon), scene }
    }

    /// Kills the daemon and starts it anew.
    pub fn restart(&mut self) {
        self.daemon.take().unwrap().kill9();
        let mut daemon = Daemon::start(&self.scene, &self.scene.config().join("grantd.toml"));
        daemon.wait_ready();
        self.daemon = Some(daemon);
    }

    pub fn root(&self) -> Caller<'_> {
        self.scene.caller(User::Root)
    }

    /// What is printed, word for word and as it is read.
    pub fn bootstrap(&self, arguments: &[&str]) -> (String, Printed) {
        let printed = self.root().grantctl(&[&["bootstrap"], arguments].concat());
        assert!(printed.success(), "{printed}");
        let again = self.root().grantctl(&[&["bootstrap"], arguments].concat());
        assert_eq!(again.stdout, printed.stdout, "the same every time");
        let read = Printed::read(&printed.stdout);
        (printed.stdout, read)
    }

    /// The issuer's key set, as it is published.
    pub fn keys(&self) -> Value {
        let documents = "/v1/issuers/federation/documents";
        let keys = |answer: &Answer| {
            let all = answer.body["documents"].as_array().cloned().unwrap_or_default();
            all.into_iter().map(|one| one["content"].clone()).find(|content| content["keys"].is_array())
        };
        let mut found = None;
        eventually("the issuer has a key", Duration::from_secs(10), || {
            found = keys(&self.root().curl("GET", documents, None));
            found.as_ref().is_some_and(|found| !found["keys"].as_array().unwrap().is_empty())
        });
        let found = found.unwrap();
        let ids: Vec<&Value> = found["keys"].as_array().unwrap().iter().map(|key| &key["kid"]).collect();
        let told = self.root().curl("POST", "/v1/issuers/federation/published", Some(&json!({ "keys": ids })));
        assert_eq!(told.status, 200, "{told:?}");
        found
    }

    /// Waits, but not for ever.
    #[expect(clippy::unused_self, reason = "it reads as what it is: a wait on this stage")]
    pub fn eventually(&self, what: &str, holds: impl FnMut() -> bool) {
        eventually(what, Duration::from_secs(30), holds);
    }

    /// How many records of a kind there are.
    pub fn audited(&self, kind: &str) -> usize {
        let page = self.root().curl("GET", "/v1/audit?after=0&limit=5000", None);
        page.body["records"].as_array().unwrap().iter().filter(|record| record["kind"] == kind).count()
    }

    /// Waits until a lease is in `state`.
    pub fn wait_for(&self, lease: &str, state: &str) {
        self.eventually(&format!("{lease} is {state}"), || {
            self.root().curl("GET", &format!("/v1/leases/{lease}"), None).body["state"] == state
        });
    }

    /// Vends for so many seconds and gives up at once: the lease, and how it stands then.
    pub fn vend_and_end(&self, resource: &str, seconds: u64) -> (String, String) {
        let answer = self.vend_for(resource, seconds);
        assert_eq!(answer.status, 200, "{answer:?}");
        let id = answer.body["lease"]["id"].as_str().unwrap().to_owned();
        let path = format!("/v1/leases/{id}/complete");
        let ended = self.scene.caller(User::Alice).curl("POST", &path, None);
        (id, ended.body["state"].as_str().unwrap_or_else(|| panic!("{ended:?}")).to_owned())
    }

    /// Vends `object-storage:read` on a resource to gt-alice.
    pub fn vend(&self, resource: &str) -> Answer {
        self.vend_for(resource, 300)
    }

    /// The same to somebody else.
    pub fn vend_as(&self, user: User, resource: &str) -> Answer {
        self.vend_to(user, resource, 300)
    }

    fn vend_for(&self, resource: &str, seconds: u64) -> Answer {
        self.vend_to(User::Alice, resource, seconds)
    }

    fn vend_to(&self, user: User, resource: &str, seconds: u64) -> Answer {
        let caller = self.scene.caller(user);
        let ask = json!({
            "resource": resource, "capability": "object-storage:read", "duration_seconds": 1800,
            "justification": "a test reads what is there",
        });
        let grant = caller.curl("POST", "/v1/grants", Some(&ask));
        assert_eq!(grant.status, 201, "{grant:?}");
        caller.curl("POST", "/v1/leases", Some(&json!({ "grant": grant.body["id"], "ttl_seconds": seconds })))
    }

    /// Ends a lease and waits until the cloud was seen not to know it any more.
    pub fn end(&self, lease: &Value) {
        let id = lease.as_str().unwrap();
        let path = format!("/v1/leases/{id}/complete");
        assert_eq!(self.scene.caller(User::Alice).curl("POST", &path, None).status, 200);
        eventually("the lease is revoked", Duration::from_secs(20), || {
            self.root().curl("GET", &format!("/v1/leases/{id}"), None).body["state"] == "revoked"
        });
    }

    /// What the doctor finds wrong in an account, but for the host.
    pub fn problems(&self) -> Vec<Value> {
        let ran = self.root().grantctl(&["--json", "doctor", "--metadata", "127.0.0.1:1"]);
        let events = ran.stdout.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        events.filter(|event| event["standing"] == "problem" && event["about"] != "host").collect()
    }
}
