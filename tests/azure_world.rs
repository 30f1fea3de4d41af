//! The stage of Azure: a fake Entra and Resource Manager with two slots, and a configured daemon with its own issuer.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use grantd_testkit::{FakeAzure, FakeAzureSettings, TestIssuer, repository_root};
use serde_json::{Value, json};

use crate::{Answer, Daemon, Scene, User, eventually};

/// The issuer's URL, as the fake has it configured.
const ISSUER: &str = "https://issuer.test";

const TENANT: &str = "00000000-0000-4000-8000-000000007e4a";
const SUBSCRIPTION: &str = "00000000-0000-4000-8000-0000000050b5";
const BASE: &str = "00000000-0000-4000-8000-0000000ba5e1";

/// The client ids and object ids of the slots, in the daemon's order.
pub const SLOTS: [(&str, &str); 2] = [
    ("00000000-0000-4000-8000-00000005107a", "00000000-0000-4000-8000-0000000000ba"),
    ("00000000-0000-4000-8000-00000005107b", "00000000-0000-4000-8000-0000000000bb"),
];

/// What one capability is in this world, so that it stands on no map that is shipped.
const MAP: &str = r#"
[capability."object-storage:read"]
summary = "read blobs"
revocation = "eventual"
persistence = "none"
expiry = "daemon"
audiences = ["https://storage.azure.com"]

[[capability."object-storage:read".roles]]
role = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1"
title = "Storage Blob Data Reader"
data_permissions = ["Microsoft.Storage/storageAccounts/blobServices/containers/blobs/read"]
on = "{native}"
"#;

/// A cloud, a daemon and its callers; the containers `logs` and `other` are resources of tier low, each with the blob
/// `hello.txt`.
#[derive(Debug)]
pub struct AzureWorld {
    // First, so that it goes first and its output is still there to be shown.
    daemon: Option<Daemon>,
    /// Users, directories, binaries.
    pub scene: Scene,
    /// The cloud.
    pub fake: FakeAzure,
    config: PathBuf,
}

/// A token as its holder has it.
#[derive(Debug)]
pub struct AzureVended {
    /// The lease's id.
    pub lease: String,
    /// The slot's object id.
    pub slot: String,
    /// Its token for storage.
    pub token: String,
}

fn container(name: &str) -> String {
    format!(
        "/subscriptions/{SUBSCRIPTION}/resourceGroups/rg/providers/Microsoft.Storage/storageAccounts/store/\
         blobServices/default/containers/{name}"
    )
}

impl AzureWorld {
    /// The whole stage with a running daemon, whose key set is published. `more` are lines of `[azure]`.
    ///
    /// # Panics
    /// Something of it does not start.
    #[must_use]
    pub fn new(more: &str) -> Self {
        let scene = Scene::new();
        let fake = FakeAzure::start(FakeAzureSettings::sample(&TestIssuer::new(ISSUER))).expect("the fake starts");
        let mut world = Self { config: scene.config().join("grantd.toml"), scene, fake, daemon: None };
        world.write_policy();
        world.write_config(more);
        world.start(&[]);
        world.publish();
        world
    }

    /// Starts the daemon with environment variables and waits until it is ready.
    ///
    /// # Panics
    /// It does not start.
    pub fn start(&mut self, environment: &[(&str, &str)]) {
        let mut daemon = Daemon::start_with(&self.scene, &self.config, environment);
        daemon.wait_ready();
        self.daemon = Some(daemon);
    }

    /// Takes the daemon out of the world, to be killed or stopped.
    ///
    /// # Panics
    /// There is none.
    pub fn take_daemon(&mut self) -> Daemon {
        self.daemon.take().expect("the daemon runs")
    }

    /// Has the fake take the issuer's keys as they are.
    ///
    /// # Panics
    /// They cannot be had.
    pub fn publish(&self) {
        let root = self.scene.caller(User::Root);
        let answer = root.curl("GET", "/v1/issuers/federation/documents", None);
        assert_eq!(answer.status, 200, "{answer:?}");
        let documents = answer.body["documents"].as_array().expect("there are documents").clone();
        let keys = documents.iter().find(|one| one["content"]["keys"].is_array()).expect("one holds the keys");
        self.fake.publish(ISSUER, keys["content"].clone());
    }

    /// Has a user request to read `resource` for 30 minutes; gives the grant's id.
    ///
    /// # Panics
    /// The request is refused.
    #[must_use]
    pub fn grant(&self, user: User, resource: &str) -> String {
        let body = json!({
            "resource": resource,
            "capability": "object-storage:read",
            "justification": "a test reads what is there",
            "duration_seconds": 1800,
        });
        let answer = self.scene.caller(user).curl("POST", "/v1/grants", Some(&body));
        assert_eq!(answer.status, 201, "{answer:?}");
        answer.body["id"].as_str().expect("a grant has an id").to_owned()
    }

    /// Has a user take a credential.
    #[must_use]
    pub fn vend(&self, user: User, grant: &str, changes: Value) -> Answer {
        let mut body = json!({ "grant": grant });
        if let (Value::Object(body), Value::Object(changes)) = (&mut body, changes) {
            body.extend(changes);
        }
        self.scene.caller(user).curl("POST", "/v1/leases", Some(&body))
    }

    /// What a vend that succeeded gave.
    ///
    /// # Panics
    /// It did not, or the credential is not whole.
    #[must_use]
    pub fn vended(answer: &Answer) -> AzureVended {
        assert_eq!(answer.status, 200, "{answer:?}");
        let credential = &answer.body["credential"];
        assert_eq!((&credential["type"], &credential["tenant"]), (&json!("azure"), &json!(TENANT)));
        assert_eq!(credential["subscription"], SUBSCRIPTION);
        assert!(credential["expiration"].is_string());
        let tokens = credential["tokens"].as_array().expect("there are tokens");
        assert_eq!((tokens.len(), &tokens[0]["audience"]), (1, &json!("https://storage.azure.com")));
        let (client, slot) = SLOTS.into_iter().find(|(client, _)| credential["client_id"] == *client).expect("a slot");
        assert_ne!(client, slot);
        AzureVended {
            lease: answer.body["lease"]["id"].as_str().expect("a lease has an id").to_owned(),
            slot: slot.to_owned(),
            token: tokens[0]["token"].as_str().expect("a token is text").to_owned(),
        }
    }

    /// Whether the cloud lets this token read `hello.txt` of a container. A refusal must be one for want of rights.
    ///
    /// # Panics
    /// The answer is neither.
    #[must_use]
    pub fn can_read(&self, token: &str, container: &str) -> bool {
        let ca = self.scene.config().join("azure-ca.pem").display().to_string();
        let url = format!("{}/blob/store/{container}/hello.txt", self.fake.url());
        let header = format!("Authorization: Bearer {token}");
        let finished = self.scene.caller(User::Alice).run(
            "curl",
            &["--silent", "--show-error", "--cacert", &ca, "-H", "x-ms-version: 2023-11-03", "-H", &header, &url],
        );
        assert!(finished.success(), "{finished}");
        if finished.stdout == format!("hello from {container}") {
            return true;
        }
        assert!(finished.stdout.contains("AuthorizationPermissionMismatch"), "neither read nor refused: {finished}");
        false
    }

    /// How many roles are assigned to a slot now.
    ///
    /// # Panics
    /// The slot has no id.
    #[must_use]
    pub fn standing(&self, slot: &str) -> usize {
        self.fake.assignments_of(slot.parse().expect("a slot is named by a GUID")).len()
    }

    /// The lease as the administrator sees it.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn lease(&self, id: &str) -> Value {
        let answer = self.scene.caller(User::Root).curl("GET", &format!("/v1/leases/{id}"), None);
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// Waits until a lease is in `state`.
    ///
    /// # Panics
    /// It is not in 15 s.
    pub fn wait_for_lease(&self, id: &str, state: &str) {
        eventually(&format!("{id} is {state}"), Duration::from_secs(15), || self.lease(id)["state"] == state);
    }

    /// Every audit record of a kind.
    ///
    /// # Panics
    /// They cannot be read.
    #[must_use]
    pub fn audited(&self, kind: &str) -> Vec<Value> {
        let answer = self.scene.caller(User::Root).curl("GET", "/v1/audit?after=0&limit=5000", None);
        assert_eq!(answer.status, 200, "{answer:?}");
        let records = answer.body["records"].as_array().expect("a page has records").clone();
        records.into_iter().filter(|record| record["kind"] == kind).collect()
    }

    /// Starts the daemon anew; the records of a kind that its predecessor left.
    ///
    /// # Panics
    /// It does not start.
    pub fn audited_after_restart(&mut self, kind: &str) -> Vec<Value> {
        self.start(&[]);
        self.audited(kind)
    }

    fn write_policy(&self) {
        let (from, to) = (repository_root().join("config"), self.scene.config().join("policy"));
        fs::create_dir_all(to.join("entitlements")).expect("a directory can be made");
        for what in ["policy/schema.cedarschema", "policy/policies"] {
            let status = Command::new("cp").arg("-r").arg(from.join(what)).arg(&to).status();
            assert!(status.expect("cp runs").success(), "{what} cannot be copied");
        }
        let resource = |name: &str| {
            format!(
                "[[resource]]\nname = \"{name}\"\ncloud = \"azure\"\naccount = \"main\"\ntype = \"object-storage\"\n\
                 native = \"{}\"\nenvironment = \"dev\"\ntier = \"low\"\nowners = [\"olga\"]\n\n",
                container(name)
            )
        };
        let people = "[[person]]\nname = \"olga\"\nunix = [\"gt-olga\"]\n\n\
                      [[workload]]\nname = \"deploy\"\nkind = \"pipeline\"\nunix = \"gt-alice\"\n\n\
                      [[workload]]\nname = \"indexer\"\nkind = \"service\"\nunix = \"gt-bob\"\n";
        let catalog = resource("logs") + &resource("other");
        for (name, text) in
            [("catalog.toml", catalog.as_str()), ("people.toml", people), ("entitlements/azure.toml", MAP)]
        {
            self.scene.write(&format!("config/policy/{name}"), text, User::Root, 0o644);
        }
    }

    fn write_config(&self, more: &str) {
        self.scene.write("config/azure-ca.pem", self.fake.authority_pem(), User::Root, 0o644);
        let slots: String = SLOTS
            .iter()
            .enumerate()
            .map(|(at, (client, object))| {
                format!(
                    "[[azure.account.slot]]\nclient_id = \"{client}\"\nobject_id = \"{object}\"\nsubject = \"slot-{at}\"\n"
                )
            })
            .collect();
        let text = format!(
            "state_dir = \"{state}\"\npolicy_dir = \"{config}/policy\"\n\
             [socket]\npath = \"{socket}\"\nmode = \"0660\"\ngroup = \"gt-clients\"\n\
             [limits]\nrequests_per_second = 5000\nburst = 5000\n\
             [issuer]\nurl = \"{ISSUER}\"\npublish_ahead = \"0s\"\n\
             [azure]\nca_bundle = \"{config}/azure-ca.pem\"\nreadiness = \"2s\"\n\
             timeouts = {{ connect = \"1s\", attempt = \"4s\", operation = \"8s\" }}\n\
             propagation = {{ expected = \"0s\", worst = \"0s\" }}\n{more}\n\
             [[azure.account]]\nname = \"main\"\ntenant = \"{TENANT}\"\nsubscriptions = [\"{SUBSCRIPTION}\"]\n\
             endpoints = {{ authority = \"{url}\", resource_manager = \"{url}\", blob = \"{url}/blob/{{name}}\" }}\n\
             base = {{ type = \"federation\", client_id = \"{base}\", subject = \"grantd\" }}\n{slots}",
            state = self.scene.state().display(),
            config = self.scene.config().display(),
            socket = self.scene.socket().display(),
            url = self.fake.url(),
            base = BASE,
        );
        self.scene.write("config/grantd.toml", &text, User::Root, 0o644);
    }
}
