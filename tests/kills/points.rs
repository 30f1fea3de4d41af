//! How the daemon is brought to each fail point, and killed at the moment the cloud works for it.

use std::fs;
use std::thread;
use std::time::Duration;

use grantd_testkit::{Fault, Rule};
use grantd_tests::{User, eventually};
use nix::sys::signal::Signal;
use serde_json::json;

use crate::agent::Agent;
use crate::approval;
use crate::stage::{Stage, asked};

/// The source of the list of all fail points.
const SOURCE: &str = include_str!("../../src/grantd/failpoint.rs");

/// The requests to the cloud that change something there.
pub const CLOUD: [&str; 3] = ["AssumeRole", "CreatePolicyVersion", "DeletePolicyVersion"];

/// Every fail point, as the daemon's source lists them.
pub fn all() -> Vec<&'static str> {
    let list = SOURCE.split_once("pub const ALL: &[&str] = &[").and_then(|(_, rest)| rest.split_once("];")).unwrap().0;
    list.split('"').skip(1).step_by(2).collect()
}

/// Brings the daemon to `point`, where it dies, and lets it recover.
pub fn die_at(stage: &mut Stage, point: &str) {
    match point.split_once('.').unwrap().0 {
        "start" | "reconcile" => on_the_way_up(stage, point),
        "request" => request(stage, point),
        "approve" | "deny" | "cancel" | "extend" | "lapse" => approval::die_at(stage, point),
        "escalate" => approval::escalate(stage, point),
        "delegate" => approval::delegate(stage, point),
        "issue" => issue(stage, point),
        "renew" => renew(stage, point),
        "revoke" if point == "revoke.collapsed" => collapse(stage, point),
        "revoke" => revoke(stage, point),
        "freeze" | "thaw" => freeze(stage, point),
        "mass" => mass(stage, point),
        "reload" => reload(stage, point),
        "drain" => drain(stage, point),
        "keys" => keys(stage, point),
        "expire" | "anchor" => by_itself(stage, point),
        _ => panic!("nobody knows how to bring the daemon to {point}: add it here"),
    }
}

fn on_the_way_up(stage: &mut Stage, point: &str) {
    let mut agent = Agent::start(&stage.world.scene, User::Alice);
    let mut gone = Agent::start(&stage.world.scene, User::Alice);
    let grant = stage.grant(&mut agent, "beta");
    stage.vend(&mut agent, &grant, json!({}));
    // Its task ends while nobody watches.
    stage.vend(&mut gone, &grant, json!({}));
    if point == "reconcile.orphan_ended" {
        stage.arm("renew.session_made");
        stage.try_vend(&mut agent, &grant, json!({ "ttl_seconds": 600 }));
        stage.await_death("renew.session_made");
        drop(gone);
    } else {
        stage.kill();
        drop(gone);
    }
    let catalog = stage.world.policy().join("catalog.toml");
    let before = fs::read_to_string(&catalog).unwrap();
    if point == "start.kept" {
        fs::write(&catalog, format!("{before}\n# changed while the daemon was down, kill {}\n", stage.kills)).unwrap();
    }
    stage.die_on_the_way_up(point);
    stage.recover(point);
}

fn request(stage: &mut Stage, point: &str) {
    let mut agent = Agent::start(&stage.world.scene, User::Bob);
    stage.arm(point);
    let mut body = asked("alpha");
    if point == "request.refused" {
        // No workload asks for another.
        body["subject"] = json!("deploy");
    }
    let heard = agent.post("/v1/grants", body);
    assert_eq!(heard.status, None, "{point}: {heard:?}");
    stage.await_death(point);
    stage.recover(point);
}

fn issue(stage: &mut Stage, point: &str) {
    let mut agent = Agent::start(&stage.world.scene, User::Alice);
    let grant = stage.grant(&mut agent, "alpha");
    let slow = Rule::on("AssumeRole", Fault::DelayAfter { millis: 700 });
    let faults = match point {
        "issue.refused" => Some(Rule::on("AssumeRole", Fault::Status { status: 403, code: None })),
        "issue.in_doubt" => Some(Rule::on("AssumeRole", Fault::DropAfter)),
        "issue.unwanted" | "issue.undelivered" => Some(slow),
        _ => None,
    };
    if let Some(rule) = faults {
        stage.world.proxy.add(rule).unwrap();
    }
    let sessions = stage.world.proxy.ledger().len();
    stage.arm(point);
    match point {
        "issue.unwanted" | "issue.undelivered" => {
            agent.send("/v1/leases", json!({ "grant": grant, "anchor": "caller" }));
            eventually("the cloud makes a session", Duration::from_secs(10), || {
                stage.world.proxy.ledger().len() > sessions
            });
            // Either the caller is gone, or only its connection.
            if point == "issue.undelivered" {
                agent.release();
            } else {
                drop(agent);
            }
            stage.await_death(point);
        }
        _ => {
            let heard = stage.try_vend(&mut agent, &grant, json!({}));
            assert_eq!(heard.status, None, "{point}: {heard:?}");
            stage.await_death(point);
        }
    }
    stage.recover(point);
}

fn renew(stage: &mut Stage, point: &str) {
    let mut agent = Agent::start(&stage.world.scene, User::Bob);
    let grant = stage.grant(&mut agent, "beta");
    let first = stage.vend(&mut agent, &grant, json!({ "ttl_seconds": 120 }));
    stage.arm(point);
    // A live lease answers, unless more is asked than it has.
    let ttl = if point == "renew.served" { 120 } else { 240 };
    let heard = stage.try_vend(&mut agent, &grant, json!({ "ttl_seconds": ttl }));
    assert_eq!(heard.status, None, "{point}: {heard:?}");
    stage.await_death(point);
    stage.must_survive(&first);
    stage.recover(point);
    stage.may_end(&first);
}

/// Each kind of end leads to another step.
fn revoke(stage: &mut Stage, point: &str) {
    let mut agent = Agent::start(&stage.world.scene, User::Alice);
    let mut neighbour = Agent::start(&stage.world.scene, User::Bob);
    let (grant, other) = (stage.grant(&mut agent, "beta"), stage.grant(&mut neighbour, "beta"));
    let spared = stage.vend(&mut neighbour, &other, json!({}));
    let anchor = if point == "revoke.accepted" { "connection" } else { "caller" };
    let lease = stage.vend(&mut agent, &grant, json!({ "anchor": anchor }));
    if point == "revoke.late" {
        stage.world.proxy.add(Rule::on("CreatePolicyVersion", Fault::Status { status: 500, code: None })).unwrap();
    }
    stage.arm(point);
    match point {
        "revoke.decided" => drop(agent.post(&format!("/v1/grants/{grant}/complete"), json!({}))),
        "revoke.grant_written" => {
            drop(agent.post(&format!("/v1/grants/{grant}/revoke"), json!({ "reason": "the test takes it back" })));
        }
        "revoke.written" => drop(agent),
        "revoke.accepted" => agent.release(),
        "revoke.denied" => {
            drop(agent.post(&format!("/v1/leases/{lease}/revoke"), json!({ "reason": "the test takes it back" })));
        }
        _ => drop(agent.post(&format!("/v1/leases/{lease}/complete"), json!({}))),
    }
    stage.await_death(point);
    stage.must_survive(&spared);
    stage.recover(point);
    stage.may_end(&spared);
    // Where nothing was written before the kill, nothing was promised either; the anchor lives.
    let begun = !["revoke.decided", "revoke.requested"].contains(&point);
    let state = stage.world.lease(&lease)["state"].clone();
    assert_eq!(state, if begun { "revoked" } else { "active" }, "{point}");
}

/// Of a resource that nobody else works with, set by an administrator, thawed by its owner.
fn freeze(stage: &mut Stage, point: &str) {
    let policy = stage.world.policy();
    let (people, catalog) = (policy.join("people.toml"), policy.join("catalog.toml"));
    let before = [&people, &catalog].map(|file| fs::read_to_string(file).unwrap());
    fs::write(&people, format!("{}\n[[person]]\nname = \"ruth\"\nunix = [\"root\"]\n", before[0])).unwrap();
    let (head, ledger) = before[1].split_once("name = \"ledger\"").unwrap();
    let owned = ledger.replacen("owners = [\"olga\"]", "owners = [\"olga\", \"ruth\"]", 1);
    fs::write(&catalog, format!("{head}name = \"ledger\"{owned}")).unwrap();
    stage.world.reload();
    let mut root = Agent::start(&stage.world.scene, User::Root);
    let frozen = json!({ "cover": { "resource": "ledger" }, "reason": "the test wants it so" });
    let set = if point == "thaw.written" {
        let set = root.post("/v1/freezes", frozen.clone());
        assert_eq!(set.status, Some(201), "{set:?}");
        set.body["id"].as_str().unwrap().to_owned()
    } else {
        String::new()
    };
    stage.arm(point);
    match point {
        "freeze.written" => drop(root.post("/v1/freezes", frozen)),
        _ => drop(root.post(&format!("/v1/freezes/{set}/thaw"), json!({ "reason": "the test has seen it" }))),
    }
    stage.await_death(point);
    stage.recover(point);
    let freezes = stage.world.root().curl("GET", "/v1/freezes", None).body["freezes"].clone();
    let last = &freezes[0];
    assert_eq!((&last["stands"], &last["covers"]), (&json!(true), &json!("resource \"ledger\"")), "{point}: {freezes}");
    let voices = last["thaws"].as_array().unwrap().len();
    assert_eq!(voices, usize::from(point == "thaw.written"), "{point}: {freezes}");
    fs::write(&people, &before[0]).unwrap();
    fs::write(&catalog, &before[1]).unwrap();
    stage.world.reload();
}

/// Everything on one resource is taken away; the daemon dies over it, and the next command finishes it.
fn mass(stage: &mut Stage, point: &str) {
    let mut agent = Agent::start(&stage.world.scene, User::Alice);
    let mut neighbour = Agent::start(&stage.world.scene, User::Bob);
    let (grant, other) = (stage.grant(&mut agent, "beta"), stage.grant(&mut neighbour, "alpha"));
    let lease = stage.vend(&mut agent, &grant, json!({}));
    let spared = stage.vend(&mut neighbour, &other, json!({}));
    let mut root = Agent::start(&stage.world.scene, User::Root);
    let asked = json!({ "cover": { "resource": "beta" }, "reason": "the test takes all of it back" });
    stage.arm(point);
    drop(root.post("/v1/revocations", asked.clone()));
    stage.await_death(point);
    stage.must_survive(&spared);
    stage.recover(point);
    stage.may_end(&spared);
    // What was written holds: once a grant is revoked, its sessions end without anybody asking again.
    let begun = point != "mass.decided";
    let state = stage.world.lease(&lease)["state"].clone();
    assert_eq!(state, if begun { "revoked" } else { "active" }, "{point}");
    if !begun {
        let mut root = Agent::start(&stage.world.scene, User::Root);
        let again = root.post("/v1/revocations", asked);
        assert_eq!(again.status, Some(200), "{again:?}");
        stage.world.wait_for_lease(&lease, "revoked");
    }
}

/// Before anything has ended: the next start serves as if nothing had been said.
/// A key of the issuer is made by hand. Whenever the daemon dies, one key signs afterwards, and the next one is there or can
/// be made.
fn keys(stage: &mut Stage, point: &str) {
    let federation = |stage: &Stage| stage.world.root().curl("GET", "/v1/issuers", None).body["issuers"][0].clone();
    let signing = |issuer: &serde_json::Value| {
        let keys = issuer["keys"].as_array().unwrap().clone();
        keys.into_iter().filter(|key| key["state"] == "signing").map(|key| key["id"].clone()).collect::<Vec<_>>()
    };
    let before = federation(stage);
    stage.arm(point);
    let told = stage.world.root().grantctl(&["issuer", "rotate"]);
    assert!(!told.success(), "{point}: {told}");
    stage.await_death(point);
    stage.recover(point);
    let after = federation(stage);
    assert_eq!((signing(&after).len(), signing(&after)), (1, signing(&before)), "{point}");
    let there = after["keys"].as_array().unwrap().iter().any(|key| key["state"] == "next");
    assert_eq!(there, point == "keys.written" || before["keys"].as_array().unwrap().len() == 2, "{point}: {after}");
    // What waits takes over, so that the next kill finds one key again, and one that is to be made.
    let leaked = stage.world.root().grantctl(&["issuer", "rotate", "--leaked"]);
    assert!(leaked.success(), "{point}: {leaked}");
    assert_ne!(signing(&federation(stage)), signing(&before), "{point}");
}

fn drain(stage: &mut Stage, point: &str) {
    let mut agent = Agent::start(&stage.world.scene, User::Bob);
    let grant = stage.grant(&mut agent, "beta");
    let lease = stage.vend(&mut agent, &grant, json!({}));
    stage.arm(point);
    let told = stage.world.root().grantctl(&["drain"]);
    assert!(!told.success(), "{point}: {told}");
    stage.await_death(point);
    stage.must_survive(&lease);
    stage.recover(point);
    stage.may_end(&lease);
}

/// Many sessions of one task end together, and nothing else lives on their role.
fn collapse(stage: &mut Stage, point: &str) {
    let mut agent = Agent::start(&stage.world.scene, User::Bob);
    let grant = stage.grant(&mut agent, "beta");
    let told = |stage: &Stage| stage.world.audited("deny.collapsed").len();
    let before = told(stage);
    // Each asks for more than the one before has, so each is a session of its own.
    for nth in 0..20 {
        stage.vend(&mut agent, &grant, json!({ "ttl_seconds": 600 + 10 * nth }));
    }
    stage.arm(point);
    drop(agent);
    stage.await_death(point);
    let boundary = stage.world.account.boundary_arns[0].clone();
    assert_eq!(stage.world.denials(&boundary).1, 1, "{point}: the cloud had not taken a line");
    stage.recover(point);
    eventually("what was collapsed is on record", Duration::from_secs(15), || told(stage) > before);
    stage.hold_to_all(point, false);
}

fn reload(stage: &mut Stage, point: &str) {
    let mut agent = Agent::start(&stage.world.scene, User::Bob);
    let grant = stage.grant(&mut agent, "beta");
    let lease = stage.vend(&mut agent, &grant, json!({}));
    let catalog = stage.world.policy().join("catalog.toml");
    let before = fs::read_to_string(&catalog).unwrap();
    let (head, beta) = before.split_once("name = \"beta\"").unwrap();
    let moved = format!("{head}name = \"beta\"{}", beta.replacen("tier = \"low\"", "tier = \"moderate\"", 1));
    let refused = point == "reload.refused";
    fs::write(&catalog, if refused { "this is no catalogue" } else { &moved }).unwrap();
    stage.arm(point);
    stage.world.daemon().signal(Signal::SIGHUP);
    stage.await_death(point);
    if refused {
        fs::write(&catalog, &before).unwrap();
    }
    stage.recover(point);
    let seen = stage.world.lease(&lease);
    if refused {
        assert_eq!(seen["state"], "active", "{point}");
        return;
    }
    // The new policy is on disk, so the next start puts it into force and decides what lives again.
    assert_eq!((&seen["state"], &seen["reason"]), (&json!("revoked"), &json!("policy_changed")), "{point}");
    fs::write(&catalog, &before).unwrap();
    stage.world.reload();
}

fn by_itself(stage: &mut Stage, point: &str) {
    let mut agent = Agent::start_below_a_shell(&stage.world.scene, User::Alice);
    let grant = stage.grant(&mut agent, "alpha");
    match point {
        "anchor.written" => {
            stage.arm(point);
            let heard = agent.post("/v1/anchors", json!({}));
            assert_eq!(heard.status, None, "{heard:?}");
        }
        "anchor.over" => {
            assert_eq!(agent.post("/v1/anchors", json!({})).status, Some(201));
            stage.vend(&mut agent, &grant, json!({ "anchor": "auto" }));
            stage.arm(point);
            drop(agent);
        }
        _ => {
            stage.vend(&mut agent, &grant, json!({ "ttl_seconds": 2 }));
            stage.arm(point);
        }
    }
    stage.await_death(point);
    stage.recover(point);
}

/// Kills the daemon while a request of its is under way to the cloud, or while the answer is under way back.
pub fn die_on_the_wire(stage: &mut Stage, action: &str, heard_by_the_cloud: bool) {
    let what =
        format!("{action}, {}", if heard_by_the_cloud { "done and not yet answered" } else { "not yet arrived" });
    let mut agent = Agent::start(&stage.world.scene, User::Alice);
    let grant = stage.grant(&mut agent, "beta");
    let issues = action == "AssumeRole";
    let lease = if issues { String::new() } else { stage.vend(&mut agent, &grant, json!({})) };
    let millis = if heard_by_the_cloud { 5000 } else { 1500 };
    let fault = if heard_by_the_cloud { Fault::DelayAfter { millis } } else { Fault::DelayBefore { millis } };
    let passed = stage.world.proxy.records().len();
    stage.world.proxy.add(Rule::on(action, fault)).unwrap();
    if issues {
        agent.send("/v1/leases", json!({ "grant": grant, "anchor": "caller" }));
    } else {
        drop(agent.post(&format!("/v1/leases/{lease}/complete"), json!({})));
    }
    let record = || stage.world.proxy.records().into_iter().skip(passed).find(|record| record.action == action);
    eventually(&what, Duration::from_secs(10), || {
        record().is_some_and(|record| record.upstream_status.is_some() == heard_by_the_cloud)
    });
    let proxy_knows =
        stage.world.proxy.records().iter().skip(passed).position(|record| record.action == action).unwrap();
    stage.kill();
    if !heard_by_the_cloud {
        // What was on the wire arrives all the same, as it may in life; recovery must not need it to be early.
        thread::sleep(Duration::from_millis(100));
    }
    stage.recover(&what);
    eventually("what was on the wire arrives", Duration::from_secs(10), || {
        stage.world.proxy.records()[passed + proxy_knows].upstream_status.is_some()
    });
    stage.hold_to_all(&what, false);
}
