//! The brake: a freeze stops vending at once and is lifted by two people only; many sessions are ended by one deny write.
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

use grantd_testkit::{Fault, Rule};
use grantd_tests::{Answer, Caller, Job, Setup, User, World, eventually};
use serde_json::{Value, json};

/// Alice and bob are people, `ana` and `bruno`, and administrators beside root, who is no person.
fn two_people() -> World {
    let roles = "administrators = [\"root\", \"gt-alice\", \"gt-bob\"]".to_owned();
    let mut world = World::prepared(&Setup { roles, ..Setup::default() });
    let people = "[[person]]\nname = \"ana\"\nunix = [\"gt-alice\"]\n\n[[person]]\nname = \"bruno\"\nunix = [\"gt-bob\"]\n\n\
                  [[person]]\nname = \"olga\"\nunix = []\n";
    world.scene.write("config/policy/people.toml", people, User::Root, 0o644);
    world.start();
    world
}

fn freeze(caller: &Caller<'_>, cover: Value) -> Answer {
    caller.curl("POST", "/v1/freezes", Some(&json!({ "cover": cover, "reason": "a token leaked" })))
}

fn thaw(caller: &Caller<'_>, id: &str) -> Answer {
    caller.curl("POST", &format!("/v1/freezes/{id}/thaw"), Some(&json!({ "reason": "it was rotated" })))
}

fn revoke(caller: &Caller<'_>, cover: Value) -> Answer {
    caller.curl("POST", "/v1/revocations", Some(&json!({ "cover": cover, "reason": "a token leaked" })))
}

fn id_of(answer: &Answer) -> String {
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.body["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_freeze_of_everything_stops_vending_until_two_people_thaw_it() {
    let mut world = two_people();
    let grant = world.grant(&world.alice(), "alpha");
    let (lease, held) = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    let id = id_of(&freeze(&world.root(), json!({ "all": true })));
    let refused = world.vend(&world.alice(), &grant, json!({}));
    refused.is_problem(403, "frozen", &["everything is frozen", "a token leaked"]);
    assert_eq!(refused.body["rule"], json!(id));
    assert_eq!(refused.body["who_can_fix"], "2 of ana, bruno");
    assert!(refused.body["next"].as_str().unwrap().contains(&format!("grantctl thaw {id}")), "{refused:?}");
    assert!(world.audited("lease.refused").iter().any(|record| record["grant"] == json!(grant)));
    // It stops what is to come; what was handed out is ended by revoking.
    assert_eq!(world.lease(&lease)["state"], "active");
    assert!(world.can_read(&held, "alpha"));
    let alarms = world.status()["alarms"].to_string();
    assert!(alarms.contains("everything is frozen"), "{alarms}");

    world.crash_and_restart();
    world.vend(&world.alice(), &grant, json!({})).is_problem(403, "frozen", &[]);
    // Root may do everything, and is no person.
    thaw(&world.root(), &id).is_problem(403, "not-yours", &["ana, bruno", "no person"]);
    let one = thaw(&world.alice(), &id);
    assert_eq!(
        (one.status, &one.body["stands"], &one.body["thaws_missing"]),
        (200, &json!(true), &json!(1)),
        "{one:?}"
    );
    world.vend(&world.alice(), &grant, json!({})).is_problem(403, "frozen", &[]);
    thaw(&world.alice(), &id).is_problem(409, "state", &["ana has thawed", "another person"]);
    let two = thaw(&world.bob(), &id);
    assert_eq!((&two.body["stands"], &two.body["thaws_missing"]), (&json!(false), &json!(0)), "{two:?}");
    assert_eq!(world.vend(&world.alice(), &grant, json!({})).status, 200);
    thaw(&world.bob(), &id).is_problem(409, "state", &["lifted already"]);
    for kind in ["freeze.set", "freeze.thaw", "freeze.lifted"] {
        assert_eq!(world.audited(kind).len(), 1, "{kind}");
    }
    let root = world.root().grantctl(&["audit", "verify"]);
    assert!(root.success(), "{root}");
}

#[test]
fn a_freeze_stops_what_it_names_and_nothing_else() {
    let mut world = World::new();
    let (alpha, beta) = (world.grant(&world.alice(), "alpha"), world.grant(&world.alice(), "beta"));
    let bobs = world.grant(&world.bob(), "alpha");
    id_of(&freeze(&world.root(), json!({ "resource": "beta" })));
    world.vend(&world.alice(), &beta, json!({})).is_problem(403, "frozen", &["resource \"beta\" is frozen"]);
    assert_eq!(world.vend(&world.alice(), &alpha, json!({})).status, 200);
    id_of(&freeze(&world.root(), json!({ "subject": "deploy" })));
    world.vend(&world.alice(), &alpha, json!({})).is_problem(403, "frozen", &["subject \"deploy\" is frozen"]);
    assert_eq!(world.vend(&world.bob(), &bobs, json!({})).status, 200);
    // Another name for the user does not get it out.
    let people = world.policy().join("people.toml");
    let renamed = std::fs::read_to_string(&people).unwrap().replace("deploy", "deploy-2");
    world.scene.write("config/policy/people.toml", &renamed, User::Root, 0o644);
    world.reload();
    let again = world.grant(&world.alice(), "alpha");
    world.vend(&world.alice(), &again, json!({})).is_problem(403, "frozen", &["deploy"]);
    id_of(&freeze(&world.root(), json!({ "host": true })));
    world.vend(&world.bob(), &bobs, json!({})).is_problem(403, "frozen", &["host"]);
}

#[test]
fn a_live_lease_is_not_handed_out_again_while_its_subject_is_frozen() {
    let world = two_people();
    let grant = world.grant(&world.alice(), "alpha");
    let mut job = Job::start(&world.scene, User::Alice);
    let (lease, _) = World::vended(&job.vend(&grant));
    assert_eq!(World::vended(&job.vend(&grant)).0, lease, "a live lease answers");
    id_of(&freeze(&world.bob(), json!({ "subject": "ana" })));
    job.vend(&grant).is_problem(403, "frozen", &["subject \"ana\" is frozen"]);
    // What she holds stays hers until it is revoked, and one she took on another resource is refused as well.
    assert_eq!(world.lease(&lease)["state"], "active");
    let other = world.grant(&world.alice(), "beta");
    job.vend(&other).is_problem(403, "frozen", &["subject \"ana\" is frozen"]);
    assert_eq!(world.audited("lease.issued").len(), 1);
}

#[test]
fn a_session_in_the_making_is_not_released_into_a_freeze() {
    let world = two_people();
    let grant = world.grant(&world.alice(), "alpha");
    world.proxy.add(Rule::on("AssumeRole", Fault::DelayAfter { millis: 1500 })).unwrap();
    let answer = thread::scope(|scope| {
        let vend = scope.spawn(|| world.vend(&world.alice(), &grant, json!({})));
        eventually("the cloud made it", Duration::from_secs(10), || world.proxy.ledger().len() == 1);
        id_of(&freeze(&world.bob(), json!({ "all": true })));
        vend.join().unwrap()
    });
    answer.is_problem(403, "frozen", &["everything is frozen"]);
    assert!(world.audited("lease.issued").is_empty());
    let sessions = world.proxy.ledger();
    eventually("it is taken back", Duration::from_secs(15), || world.allowed(&sessions) == [false]);
}

#[test]
fn who_may_pull_the_brake_and_who_may_not() {
    let people =
        "[[person]]\nname = \"ana\"\nunix = [\"gt-alice\"]\n\n[[person]]\nname = \"olga\"\nunix = [\"gt-bob\"]\n";
    let mut world = World::prepared(&Setup::default());
    world.scene.write("config/policy/people.toml", people, User::Root, 0o644);
    world.start();
    for (cover, owner) in [
        (json!({ "all": true }), "administrators"),
        (json!({ "host": true }), "administrators"),
        (json!({ "subject": "olga" }), "administrators"),
        (json!({ "resource": "alpha" }), "olga and administrators"),
    ] {
        freeze(&world.alice(), cover.clone()).is_problem(403, "not-yours", &[owner]);
        revoke(&world.alice(), cover).is_problem(403, "not-yours", &[owner]);
    }
    assert_eq!(world.audited("freeze.refused").len(), 4);
    // Everybody may stop themselves, and an owner what she owns.
    id_of(&freeze(&world.alice(), json!({ "subject": "ana" })));
    let own = freeze(&world.bob(), json!({ "resource": "alpha" }));
    id_of(&own);
    assert_eq!(own.body["can_thaw"], json!(["olga"]));
    let wrong = json!({ "all": true, "host": true });
    freeze(&world.root(), wrong).is_problem(400, "bad-request", &["exactly one"]);
    freeze(&world.root(), json!({ "subject": "nobody-here" })).is_problem(404, "not-found", &["nobody-here"]);
    let seen = world.alice().curl("GET", "/v1/freezes", None);
    assert_eq!(seen.body["freezes"].as_array().unwrap().len(), 1, "ana sees what stops her: {seen:?}");
}

#[test]
fn p10_many_sessions_end_with_one_write_a_boundary_and_the_neighbour_lives() {
    let world = World::new();
    let (alpha, beta) = (world.grant(&world.alice(), "alpha"), world.grant(&world.alice(), "beta"));
    let bobs = world.grant(&world.bob(), "alpha");
    let (spared, _) = World::vended(&world.vend(&world.bob(), &bobs, json!({})));
    let mut leases = Vec::new();
    for nth in 0..24 {
        let grant = if nth % 2 == 0 { &alpha } else { &beta };
        leases.push(World::vended(&world.vend(&world.alice(), grant, json!({}))).0);
    }
    let writes = || world.proxy.records().iter().filter(|record| record.action == "CreatePolicyVersion").count();
    let before = writes();
    let ended = revoke(&world.root(), json!({ "subject": "deploy" }));
    assert_eq!((ended.status, &ended.body), (200, &json!({ "grants": 2, "leases": 24, "scopes": 1 })), "{ended:?}");
    for lease in &leases {
        world.wait_for_lease(lease, "revoked");
    }
    assert_eq!(writes() - before, 1);
    let sessions: Vec<_> = leases.iter().map(|lease| world.session_of(lease)).collect();
    assert_eq!(world.allowed(&sessions), vec![false; 24]);
    assert_eq!(world.allowed(&[world.session_of(&spared)]), [true]);
    assert_eq!(world.lease(&spared)["state"], "active");
    world.vend(&world.alice(), &alpha, json!({})).is_problem(409, "state", &["revoked"]);
    assert_eq!(world.audited("mass.revoke").len(), 1);
    assert_eq!(world.audited("grant.revoke").len(), 2);
}
