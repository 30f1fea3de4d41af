//! Who may what (P5): decided by what the kernel proves about the caller, never by knowing an id.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::thread;
use std::time::Duration;

use grantd_tests::{Answer, Job, User, World};
use serde_json::{Value, json};

/// curl's answer for a uid that has no name on this machine.
fn as_uid(world: &World, uid: u32, method: &str, path: &str, body: &Value) -> Answer {
    let groups = User::clients_gid().to_string();
    let (uid, socket) = (uid.to_string(), world.scene.socket().display().to_string());
    let (body, url) = (body.to_string(), format!("http://localhost{path}"));
    let mut arguments = vec!["--reuid", &uid, "--regid", &groups, "--clear-groups", "--", "curl", "--silent"];
    arguments.extend(["--show-error", "--max-time", "20", "--request", method, "--unix-socket", &socket]);
    arguments.extend(["--write-out", "\n%{http_code}", "--data-binary", &body, &url]);
    let finished = world.root().run("setpriv", &arguments);
    assert!(finished.success(), "{finished}");
    let (text, status) = finished.stdout.rsplit_once('\n').unwrap();
    Answer { status: status.parse().unwrap(), body: serde_json::from_str(text).unwrap() }
}

#[test]
fn p5_what_is_alices_is_not_for_bob() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let (lease, _) = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    let session = [world.session_of(&lease)];
    let bob = world.bob();
    let reason = json!({ "reason": "mine now" });

    world.vend(&bob, &grant, json!({})).is_problem(403, "not-yours", &[&grant, "deploy", "indexer"]);
    for (thing, id) in [("grants", &grant), ("leases", &lease)] {
        let path = format!("/v1/{thing}/{id}");
        bob.curl("GET", &path, None).is_problem(403, "not-yours", &[id, "deploy", "indexer"]);
        bob.curl("POST", &format!("{path}/complete"), None).is_problem(403, "not-yours", &[id, "deploy", "indexer"]);
        bob.curl("POST", &format!("{path}/revoke"), Some(&reason)).is_problem(403, "denied", &[]);
        let list = bob.curl("GET", &format!("/v1/{thing}"), None);
        assert_eq!((list.status, &list.body), (200, &json!({ thing: [] })), "bob sees what is alice's");
        bob.curl("GET", &format!("/v1/{thing}?all=true"), None).is_problem(403, "not-yours", &["administrators"]);
    }
    let list = bob.curl("GET", &format!("/v1/leases?grant={grant}&ended=true"), None);
    assert_eq!(list.body, json!({ "leases": [] }), "bob sees what is alice's");
    bob.curl("POST", &format!("/v1/leases/{lease}/hold"), None).is_problem(403, "not-yours", &[&lease]);
    bob.curl("GET", "/v1/audit", None).is_problem(403, "not-yours", &["the audit", "indexer"]);
    world.vend(&bob, "auto", json!({})).is_problem(404, "not-found", &["no active grant"]);
    // Nor may he ask in her name.
    world.request(&bob, "alpha", json!({ "subject": "deploy" })).is_problem(403, "denied", &["deploy"]);
    assert!(bob.curl("GET", "/v1/status", None).body["accounts"].as_array().unwrap().is_empty());

    // Nothing of it did anything, and the attempts are on record with his uid.
    assert_eq!(world.lease(&lease)["state"], "active");
    assert_eq!(world.alice().curl("GET", &format!("/v1/grants/{grant}"), None).body["state"], "active");
    assert_eq!(world.allowed(&session), [true]);
    assert_eq!(world.proxy.ledger().len(), 1);
    let refused = world.audited("lease.refused");
    assert_eq!(refused.len(), 2, "the vend by its id and the one by auto: {refused:?}");
    assert!(refused.iter().all(|record| record["actor"]["uid"] == User::Bob.uid()), "{refused:?}");
    assert_eq!(world.audited("end.refused").len(), 2, "the two that he wanted to complete");
    assert!(!world.audited("revoke.refused").is_empty());
    world.serves_bob();
}

#[test]
fn p5_a_user_whom_nobody_knows_is_refused_in_words() {
    let world = World::new();
    let body = json!({ "resource": "alpha", "capability": "object-storage:read", "justification": "who am i",
                       "duration_seconds": 60 });
    let known = world.grant(&world.alice(), "alpha");
    let daemon = world.scene.caller(User::Daemon);
    let uid = format!("uid {}", User::Daemon.uid());
    daemon.curl("POST", "/v1/grants", Some(&body)).is_problem(403, "unknown-caller", &[&uid, "people.toml"]);
    world.vend(&daemon, &known, json!({})).is_problem(403, "unknown-caller", &[&uid, "people.toml"]);
    daemon.curl("POST", "/v1/anchors", Some(&json!({}))).is_problem(403, "unknown-caller", &[&uid]);
    for (path, body) in [("/v1/grants", &body), ("/v1/leases", &json!({ "grant": known }))] {
        let answer = as_uid(&world, 54321, "POST", path, body);
        answer.is_problem(403, "unknown-caller", &["uid 54321", "people.toml"]);
    }
    let seen = as_uid(&world, 54321, "GET", &format!("/v1/grants/{known}"), &json!({}));
    seen.is_problem(403, "unknown-caller", &["uid 54321"]);
    assert!(world.proxy.ledger().is_empty());
    world.serves_bob();
}

#[test]
fn p5_the_overflow_uid_is_refused_before_a_byte_is_read() {
    let world = World::new();
    // To /v1/status, which answers everybody else.
    assert_eq!(as_uid(&world, 54321, "GET", "/v1/status", &json!({})).status, 200);
    as_uid(&world, 65534, "GET", "/v1/status", &json!({})).is_problem(403, "unknown-caller", &["65534"]);
    world.serves_bob();
}

#[test]
fn p5_a_lease_is_for_its_anchor_and_not_for_its_user() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let mut one = Job::start(&world.scene, User::Alice);
    let mut two = Job::start(&world.scene, User::Alice);
    let first = one.vend(&grant);
    let (lease, credentials) = World::vended(&first);
    assert_eq!(first.body["reused"], false);

    // The same anchor: the same credential, which is no issue.
    let again = one.vend(&grant);
    assert_eq!(again.body["reused"], true);
    assert_eq!(World::vended(&again), (lease.clone(), credentials.clone()));
    // Another process of the same user, a child of the first, and the first under another grant: each its own.
    let others = [
        two.vend(&grant),
        one.child_asks("POST", "/v1/leases", json!({ "grant": grant, "anchor": "caller" })),
        one.vend(&world.grant(&world.alice(), "alpha")),
    ];
    for other in &others {
        let (id, key) = World::vended(other);
        assert!(id != lease && key.access_key_id != credentials.access_key_id, "a lease is shared: {id}");
        assert_eq!(other.body["reused"], false);
    }
    assert_eq!(world.proxy.ledger().len(), 4);
    assert_eq!(world.audited("lease.issued").len(), 4);

    // Helpers that a client starts anew at each use: children of one process share, children of another do not.
    let parent = json!({ "grant": grant, "anchor": "parent" });
    let helpers = [
        World::vended(&one.child_asks("POST", "/v1/leases", parent.clone())),
        World::vended(&one.child_asks("POST", "/v1/leases", parent.clone())),
        World::vended(&two.child_asks("POST", "/v1/leases", parent)),
    ];
    assert_eq!(helpers[0], helpers[1]);
    assert_ne!(helpers[1].0, helpers[2].0);
    // The hand-over again is counted in the summary that the audit has at the end.
    assert_eq!(one.ask("POST", &format!("/v1/leases/{lease}/complete"), Value::Null).status, 200);
    let end = world.records_of(&lease, "lease.end");
    assert_eq!(end[0]["detail"]["served"], 2, "{end:?}");
    // Ended is ended: the same anchor gets a new one.
    assert_ne!(World::vended(&one.vend(&grant)).0, lease);
}

#[test]
fn p5_near_its_end_a_lease_has_a_successor() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let mut job = Job::start(&world.scene, User::Alice);
    let body = json!({ "grant": grant, "anchor": "caller", "ttl_seconds": 5 });
    let (first, old) = World::vended(&job.ask("POST", "/v1/leases", body.clone()));
    // It is handed out again while a fifth of it is left; from then on there is a new one, before the old one is over.
    thread::sleep(Duration::from_millis(4300));
    let renewed = job.ask("POST", "/v1/leases", body);
    let (second, new) = World::vended(&renewed);
    assert_eq!(renewed.body["reused"], false);
    assert!(second != first && new.access_key_id != old.access_key_id);
    assert!(world.can_read(&new, "alpha"));
    world.wait_for_lease(&first, "expired");
    assert!(!world.can_read(&old, "alpha"));
}

#[test]
fn p5_an_anchor_is_an_ancestor_and_of_the_same_user() {
    let world = World::new();
    let mut job = Job::start(&world.scene, User::Alice);
    let sibling = Job::start(&world.scene, User::Alice);
    let bobs = Job::start(&world.scene, User::Bob);
    let test = std::process::id();
    // The caller itself is no ancestor of its own; the test process is one, and root's.
    for pid in [sibling.pid(), bobs.pid(), 1, std::os::unix::process::parent_id(), job.pid(), 4_000_000, test] {
        let answer = job.ask("POST", "/v1/anchors", json!({ "pid": pid }));
        answer.is_problem(400, "bad-request", &[&format!("process {pid}"), "anchor"]);
    }
    job.ask("POST", "/v1/anchors", json!({ "pid": -1 })).is_problem(400, "bad-request", &["-1"]);
    assert!(world.audited("anchor.attach").is_empty());

    let attached = job.child_asks("POST", "/v1/anchors", json!({ "pid": job.pid() }));
    assert_eq!((attached.status, &attached.body["pid"]), (201, &json!(job.pid())), "{attached:?}");
    let id = attached.body["id"].as_str().unwrap().to_owned();
    // Again is no second one; bob cannot take it away, nor use it.
    assert_eq!(job.child_asks("POST", "/v1/anchors", json!({})).body["id"], id.as_str());
    let path = format!("/v1/anchors/{id}");
    world.bob().curl("DELETE", &path, None).is_problem(404, "not-found", &[&id]);
    let grant = world.grant(&world.alice(), "alpha");
    let under = job.child_asks("POST", "/v1/leases", json!({ "grant": grant }));
    assert_eq!(
        (&under.body["lease"]["anchor"], &under.body["lease"]["anchor_pid"]),
        (&json!("process"), &json!(job.pid()))
    );
    assert_eq!(under.body.get("notes"), None, "{}", under.body["notes"]);
    let beside = world.vend(&world.alice(), &grant, json!({}));
    assert_eq!(beside.body["lease"]["anchor"], "unwatched");
    assert!(beside.body["notes"].to_string().contains("grantctl attach"), "{}", beside.body["notes"]);
    world.serves_bob();
}
