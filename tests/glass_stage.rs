//! A world with break-glass: olga (two users) and otto are enrolled in `repair`, which reads the ledger (high), alpha (low)
//! and the vault (critical); nora reviews, and is of security.

use std::fs;
use std::io::Write;

use serde_json::{Value, json};

use crate::{Answer, Caller, Setup, User, World};

const PEOPLE: &str = r#"
security = ["nora"]

[[person]]
name = "olga"
unix = ["gt-olga", "gt-olga-adm"]

[[person]]
name = "otto"
unix = ["gt-otto"]

[[person]]
name = "nora"
unix = ["gt-bob"]

[[workload]]
name = "deploy"
kind = "pipeline"
unix = "gt-alice"
"#;

const PROFILE: &str = r#"
[[break_glass]]
name = "repair"
people = ["olga", "otto"]
reviewers = ["nora"]
access = [
  { resource = "ledger", capability = "object-storage:read" },
  { resource = "alpha", capability = "object-storage:read" },
  { resource = "vault", capability = "object-storage:read" },
]
incident = "INC-{digits}"
max_ttl = "10m"
review_within = "24h"
limits = { per_person = 2, per_resource = 3, in_total = 4, window = "24h" }
"#;

impl World {
    /// The stage with break-glass, without the daemon; `more` is added to `grantd.toml`.
    ///
    /// # Panics
    /// Something of it does not start.
    #[must_use]
    pub fn with_glass(setup: &Setup, more: &str) -> Self {
        let world = Self::prepared(setup);
        world.scene.write("config/policy/people.toml", PEOPLE, User::Root, 0o644);
        let catalog = world.policy().join("catalog.toml");
        let text = fs::read_to_string(&catalog).expect("the catalogue can be read") + PROFILE;
        fs::write(&catalog, text).expect("the catalogue can be written");
        let mut config = fs::OpenOptions::new().append(true).open(world.config()).expect("it can be written");
        writeln!(config, "\n{more}").expect("it can be written");
        world
    }

    /// The person who reviews and is of security.
    pub fn nora(&self) -> Caller<'_> {
        self.scene.caller(User::Bob)
    }

    /// Changes a file of the policy.
    ///
    /// # Panics
    /// `from` is not in it.
    pub fn change_policy(&self, file: &str, from: &str, to: &str) {
        let path = self.policy().join(file);
        let text = fs::read_to_string(&path).expect("it can be read");
        assert!(text.contains(from), "{file} has no {from}: {text}");
        fs::write(path, text.replace(from, to)).expect("it can be written");
    }

    /// Has `caller` break the glass on `resource`.
    #[must_use]
    pub fn break_glass(&self, caller: &Caller<'_>, resource: &str, changes: Value) -> Answer {
        let mut body = json!({
            "profile": "repair",
            "incident": "INC-7",
            "justification": "the nightly job left the ledger half written",
            "resource": resource,
        });
        if let (Value::Object(body), Value::Object(changes)) = (&mut body, changes) {
            body.extend(changes);
        }
        caller.curl("POST", "/v1/break-glass", Some(&body))
    }

    /// The grant of a use that began.
    ///
    /// # Panics
    /// It did not.
    #[must_use]
    pub fn broke(&self, caller: &Caller<'_>, resource: &str) -> Value {
        let answer = self.break_glass(caller, resource, json!({}));
        assert_eq!((answer.status, &answer.body["state"]), (201, &json!("active")), "{answer:?}");
        answer.body
    }

    /// Has `caller` approve whatever waits on a grant.
    #[must_use]
    pub fn confirm(&self, caller: &Caller<'_>, grant: &str) -> Answer {
        let digest = self.root().curl("GET", &format!("/v1/grants/{grant}"), None).body["digest"].clone();
        caller.curl("POST", &format!("/v1/grants/{grant}/approve"), Some(&json!({ "digest": digest })))
    }

    /// Has `caller` complete a review.
    #[must_use]
    pub fn review(&self, caller: &Caller<'_>, review: &str, changes: Value) -> Answer {
        let mut body = json!({ "outcome": "ok", "findings": "what the incident needed, and nothing else" });
        if let (Value::Object(body), Value::Object(changes)) = (&mut body, changes) {
            body.extend(changes);
        }
        caller.curl("POST", &format!("/v1/reviews/{review}/complete"), Some(&body))
    }

    /// Every record about a grant, its leases and its reviews.
    #[must_use]
    pub fn records_about(&self, grant: &str) -> Vec<Value> {
        self.audit().into_iter().filter(|record| record["grant"] == grant).collect()
    }
}
