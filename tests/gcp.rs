//! Google Cloud, whole: the built daemon is its own issuer, and federates with a fake of Google that refuses what Google
//! refuses.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "tests may")]

use std::fs;
use std::process::Command;
use std::time::Duration;

use grantd_testkit::{FakeGoogle, Signer, repository_root};
use grantd_tests::{Answer, Caller, Daemon, Scene, User, eventually, now};
use serde_json::{Value, json};

const ISSUER: &str = "https://issuer.example.com";
const ALPHA: &str = "//storage.googleapis.com/projects/_/buckets/alpha";

const MAP: &str = r#"
[capability."object-storage:read"]
summary = "read objects"
revocation = "eventual"
persistence = "none"
[[capability."object-storage:read".roles]]
role = "roles/storage.objectViewer"
title = "Storage Object Viewer"
permissions = ["storage.objects.get", "storage.objects.list"]
on = "{native}"
prefix_condition = 'resource.name.startsWith("projects/_/buckets/{name}/objects/{prefix}") || api.getAttribute("storage.googleapis.com/objectListPrefix", "").startsWith("{prefix}")'
"#;

/// A daemon that serves Google Cloud, and its callers.
struct World {
    daemon: Option<Daemon>,
    scene: Scene,
    fake: FakeGoogle,
}

impl World {
    fn new() -> Self {
        let signer = Signer::new(ISSUER).unwrap();
        let fake = FakeGoogle::with_account(&signer).unwrap();
        let mut world = Self { daemon: None, scene: Scene::new(), fake };
        world.write();
        world.start(&[]);
        world.publish();
        world
    }

    fn write(&self) {
        let (from, to) = (repository_root().join("config/policy"), self.scene.config().join("policy"));
        fs::create_dir_all(&to).unwrap();
        for what in ["schema.cedarschema", "policies"] {
            assert!(Command::new("cp").arg("-r").arg(from.join(what)).arg(&to).status().unwrap().success(), "{what}");
        }
        let resource = |name: &str| {
            format!(
                "[[resource]]\nname = \"{name}\"\ncloud = \"gcp\"\naccount = \"prod\"\ntype = \"object-storage\"\n\
                 native = \"//storage.googleapis.com/projects/_/buckets/{name}\"\nenvironment = \"dev\"\ntier = \"low\"\n\
                 owners = [\"olga\"]\n\n"
            )
        };
        let people = "[[person]]\nname = \"olga\"\nunix = [\"gt-olga\"]\n\n\
                      [[workload]]\nname = \"deploy\"\nkind = \"pipeline\"\nunix = \"gt-alice\"\n\n\
                      [[workload]]\nname = \"indexer\"\nkind = \"service\"\nunix = \"gt-bob\"\n";
        self.scene.write("config/policy/entitlements/gcp.toml", MAP, User::Root, 0o644);
        let catalog = resource("alpha") + &resource("beta");
        self.scene.write("config/policy/catalog.toml", &catalog, User::Root, 0o644);
        self.scene.write("config/policy/people.toml", people, User::Root, 0o644);
        let text = format!(
            "state_dir = \"{state}\"\npolicy_dir = \"{policy}\"\ndefault_ttl = \"5m\"\n\
             [socket]\npath = \"{socket}\"\nmode = \"0660\"\ngroup = \"gt-clients\"\n\
             [limits]\nrequests_per_second = 5000\nburst = 5000\n\
             [issuer]\nurl = \"{ISSUER}\"\nalgorithm = \"ES256\"\npublish_ahead = \"0s\"\n\
             [gcp]\nbatch_window = \"20ms\"\nwrite_interval = \"1010ms\"\n\
             propagation = {{ expected = \"0s\", worst = \"0s\" }}\n\
             [[gcp.account]]\nname = \"prod\"\nprojects = [\"{project}\"]\nnumber = \"{number}\"\npool = \"grantd\"\n\
             provider = \"grantd\"\nendpoint = \"{endpoint}\"\nbase = {{ type = \"assertion\", subject = \"{subject}\" }}\n",
            state = self.scene.state().display(),
            policy = to.display(),
            socket = self.scene.socket().display(),
            project = FakeGoogle::PROJECT,
            number = FakeGoogle::NUMBER,
            subject = FakeGoogle::SUBJECT,
            endpoint = self.fake.url(),
        );
        self.scene.write("config/grantd.toml", &text, User::Root, 0o644);
    }

    fn start(&mut self, environment: &[(&str, &str)]) {
        let config = self.scene.config().join("grantd.toml");
        let mut daemon = Daemon::start_with(&self.scene, &config, environment);
        daemon.wait_ready();
        self.daemon = Some(daemon);
    }

    /// Does what an administrator does with the documents: serves them where the pool's provider looks.
    fn publish(&self) {
        let documents = "/v1/issuers/federation/documents";
        let keys = |answer: &Answer| answer.body["documents"][0]["content"].clone();
        eventually("the issuer has a key", Duration::from_secs(10), || {
            keys(&self.root().curl("GET", documents, None))["keys"].as_array().is_some_and(|keys| !keys.is_empty())
        });
        let answer = self.root().curl("GET", documents, None);
        let jwks = keys(&answer);
        let ids: Vec<&Value> = jwks["keys"].as_array().unwrap().iter().map(|key| &key["kid"]).collect();
        let told = self.root().curl("POST", "/v1/issuers/federation/published", Some(&json!({ "keys": ids })));
        assert_eq!(told.status, 200, "{told:?}");
        let provider = FakeGoogle::provider(ISSUER, &jwks);
        self.fake.control("setup", &json!({ "providers": { FakeGoogle::audience(): provider } }));
    }

    fn root(&self) -> Caller<'_> {
        self.scene.caller(User::Root)
    }

    fn vend(&self, user: User, seconds: u64) -> Answer {
        let body = json!({ "grant": self.grant(user), "ttl_seconds": seconds });
        self.scene.caller(user).curl("POST", "/v1/leases", Some(&body))
    }

    fn grant(&self, user: User) -> String {
        let caller = self.scene.caller(user);
        let body = json!({
            "resource": "alpha", "capability": "object-storage:read", "narrowing": { "prefix": "in/" },
            "justification": "a test reads what it wrote", "duration_seconds": 1800,
        });
        let grant = caller.curl("POST", "/v1/grants", Some(&body));
        assert_eq!(grant.status, 201, "{grant:?}");
        grant.body["id"].as_str().unwrap().to_owned()
    }

    fn lease(&self, id: &str) -> Value {
        self.root().curl("GET", &format!("/v1/leases/{id}"), None).body
    }

    /// The principals of leases that stand in the policy of alpha; what others wrote there stands as it was.
    fn principals(&self) -> Vec<String> {
        let (mut ours, mut others) = (Vec::new(), Vec::new());
        for binding in self.fake.bindings("alpha") {
            let members: Vec<String> =
                binding["members"].as_array().unwrap().iter().map(|m| m.as_str().unwrap().to_owned()).collect();
            match members.iter().all(|member| member.contains("/subject/lease-")) {
                true => ours.extend(members),
                false => others.push(binding),
            }
        }
        assert_eq!(json!(others), FakeGoogle::foreign(), "the bindings of others are as they were");
        ours
    }
}

fn vended(answer: &Answer) -> (String, String, String) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("{answer:?}")).to_owned();
    let (lease, credential) = (&answer.body["lease"], &answer.body["credential"]);
    (text(&lease["id"]), text(&credential["access_token"]), text(&credential["expiration"]))
}

#[test]
fn p3_p4_p10_a_lease_on_google_cloud_does_what_was_granted_until_its_end_or_its_revocation() {
    let world = World::new();
    let (alices, alices_token, _) = vended(&world.vend(User::Alice, 300));
    let bobs_answer = world.vend(User::Bob, 300);
    let (bobs, bobs_token, until) = vended(&bobs_answer);
    let fake = &world.fake;
    for token in [&alices_token, &bobs_token] {
        assert_eq!(fake.read(token, "alpha", "in/hello.txt"), 200);
        assert_eq!(fake.list(token, "alpha", "in/"), 200);
        assert_eq!(fake.read(token, "alpha", "out/hello.txt"), 403);
        assert_eq!(fake.list(token, "alpha", ""), 403);
        assert_eq!(fake.read(token, "beta", "in/hello.txt"), 403);
    }
    assert_eq!(world.principals().len(), 2);
    assert_eq!(bobs_answer.body["credential"]["principal"], FakeGoogle::principal(&bobs));

    // One is taken back early: it is gone and seen to be gone, and its neighbour goes on.
    let ended =
        world.scene.caller(User::Alice).curl("POST", &format!("/v1/leases/{alices}/complete"), Some(&json!({})));
    assert!(ended.status < 300, "{ended:?}");
    eventually("the lease is revoked", Duration::from_secs(20), || world.lease(&alices)["state"] == "revoked");
    assert_eq!(world.principals(), [FakeGoogle::principal(&bobs)]);
    assert_eq!(fake.read(&alices_token, "alpha", "in/hello.txt"), 403);
    assert_eq!(fake.read(&bobs_token, "alpha", "in/hello.txt"), 200);

    // The other one ends by its condition, to the second, while the daemon does nothing and the token lives.
    let left = until.parse::<jiff::Timestamp>().unwrap().duration_since(now()).as_secs_f64();
    fake.control("setup", &json!({ "forward": left - 2.0 }));
    assert_eq!(fake.read(&bobs_token, "alpha", "in/hello.txt"), 200);
    fake.control("setup", &json!({ "forward": 2.0 }));
    assert_eq!(fake.read(&bobs_token, "alpha", "in/hello.txt"), 403);
}

#[test]
fn p2_p13_a_daemon_killed_between_binding_and_record_leaves_no_principal() {
    let mut world = World::new();
    world.daemon.take().unwrap().kill9();
    world.start(&[("GRANTD_FAILPOINT", "issue.session_made")]);
    let body = json!({ "grant": world.grant(User::Alice), "ttl_seconds": 300 }).to_string();
    let socket = world.scene.socket().display().to_string();
    let arguments = ["--silent", "--unix-socket", &socket, "--data", &body, "http://localhost/v1/leases", "--header"];
    let finished =
        world.scene.caller(User::Alice).run("curl", &[&arguments[..], &["Content-Type: application/json"]].concat());
    assert_eq!((finished.success(), finished.stdout.as_str()), (false, ""), "nobody has a credential");
    assert_eq!(world.principals().len(), 1, "it was killed after the binding and before the record");
    let mut dead = world.daemon.take().unwrap();
    dead.wait_end(Duration::from_secs(10));
    world.start(&[]);
    eventually("the principal is removed", Duration::from_secs(20), || world.principals().is_empty());
}

#[test]
fn p2_what_stands_in_google_cloud_and_no_lease_owns_is_swept() {
    let mut world = World::new();
    world.daemon.take().unwrap().kill9();
    // As a lost store would leave it.
    let stray = FakeGoogle::principal("lease-agradr6eijzbto7ged3crx2fum");
    let mut bindings = FakeGoogle::foreign();
    bindings.as_array_mut().unwrap().push(json!({
        "role": "roles/storage.objectViewer", "members": [stray],
        "condition": { "title": "grantd until 2099-01-01T00:00:00Z",
                       "expression": "request.time < timestamp(\"2099-01-01T00:00:00Z\")" },
    }));
    world.fake.control("setup", &json!({ "policies": { ALPHA: { "bindings": bindings } } }));
    world.start(&[]);
    eventually("the stray principal is removed", Duration::from_secs(20), || world.principals().is_empty());
}
