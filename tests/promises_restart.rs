//! Restart (P13): neither a crash nor a stop ends a lease whose task lives, and none whose task died stays alive.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::time::Duration;

use grantd_tests::{Job, User, World, eventually};
use serde_json::{Value, json};

fn hold(job: &mut Job, grant: &str) -> String {
    World::vended(&job.hold("/v1/leases", json!({ "grant": grant, "anchor": "connection" }))).0
}

/// Takes a held lease up again, as a client does whose connection was lost.
fn hold_again(job: &mut Job, lease: &str) {
    let answer = job.hold(&format!("/v1/leases/{lease}/hold"), Value::Null);
    assert_eq!((answer.status, &answer.body["state"]), (200, &json!("active")), "{answer:?}");
}

#[test]
fn p13_a_crash_ends_only_the_leases_whose_task_died() {
    let mut world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let mut jobs: Vec<Job> = (0..6).map(|_| Job::start(&world.scene, User::Alice)).collect();
    let living = World::vended(&jobs[0].vend(&grant)).0;
    let mut dying = jobs.pop().unwrap();
    let dead = World::vended(&dying.vend(&grant)).0;
    let (unwatched, _) = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    let back = hold(&mut jobs[1], &grant);
    let gone = hold(&mut jobs[2], &grant);
    // Under a registered anchor, which must be watched again too.
    assert_eq!(jobs[3].child_asks("POST", "/v1/anchors", json!({})).status, 201);
    let attached = World::vended(&jobs[3].child_asks("POST", "/v1/leases", json!({ "grant": grant }))).0;
    // Ended, but not carried out when the daemon dies.
    let ending = World::vended(&jobs[4].vend(&grant)).0;
    let leases = [&living, &dead, &unwatched, &back, &gone, &attached, &ending];
    let sessions = leases.map(|lease| world.session_of(lease));
    assert_eq!(world.allowed(&sessions), [true; 7]);
    world.proxy.add(grantd_testkit::Rule::on("CreatePolicyVersion", grantd_testkit::Fault::Stall)).unwrap();
    assert_eq!(jobs[4].ask("POST", &format!("/v1/leases/{ending}/complete"), Value::Null).status, 200);

    world.take_daemon().kill9();
    world.proxy.clear();
    dying.kill();
    world.start();

    // A stranger, alice's other process included, cannot take a held lease up; its own process can.
    let path = format!("/v1/leases/{back}/hold");
    jobs[0].ask("POST", &path, Value::Null).is_problem(409, "state", &[&back, "not held"]);
    world.bob().curl("POST", &path, None).is_problem(403, "not-yours", &[&back]);
    hold_again(&mut jobs[1], &back);
    for lease in [&dead, &ending] {
        world.wait_for_lease(lease, "revoked");
    }
    assert_eq!(world.lease(&dead)["reason"], "anchor_exited");
    for lease in [&living, &unwatched, &back, &gone, &attached] {
        assert_eq!(world.lease(lease)["state"], "active", "{lease}");
    }
    assert_eq!(world.allowed(&sessions), [true, false, true, true, true, true, false]);
    world.audit_verifies();

    // A second crash changes nothing of that; then the living ones die, each seen by the watch of the new daemon.
    world.crash_and_restart();
    hold_again(&mut jobs[1], &back);
    assert_eq!(world.allowed(&sessions), [true, false, true, true, true, true, false]);
    drop(jobs.remove(3));
    drop(jobs.remove(0));
    for lease in [&living, &attached] {
        world.wait_for_lease(lease, "revoked");
        assert_eq!(world.lease(lease)["reason"], "anchor_exited");
    }
    // The connection that did not come back has 30 s from the start of the daemon, and no more.
    eventually("the lost connection counts as closed", Duration::from_secs(35), || {
        world.lease(&gone)["state"] == "revoked"
    });
    assert_eq!(world.lease(&gone)["reason"], "connection_closed");
    assert_eq!(world.allowed(&sessions), [false, false, true, true, false, false, false]);
    assert_eq!(world.lease(&back)["state"], "active", "a connection that came back was taken for lost");
    world.audit_verifies();
    world.serves_bob();
}

#[test]
fn p13_a_stop_ends_no_lease_and_finishes_what_is_under_way() {
    let mut world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let mut jobs: Vec<Job> = (0..2).map(|_| Job::start(&world.scene, User::Alice)).collect();
    let anchored = World::vended(&jobs[0].vend(&grant)).0;
    let held = hold(&mut jobs[1], &grant);
    let (unwatched, _) = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    let leases = [&anchored, &held, &unwatched];
    let sessions = leases.map(|lease| world.session_of(lease));

    // A vend that is under way when the daemon is told to stop is finished and delivered.
    let late = grantd_testkit::Rule::on("AssumeRole", grantd_testkit::Fault::DelayAfter { millis: 700 });
    world.proxy.add(late.times(1)).unwrap();
    let mut daemon = world.take_daemon();
    let last = std::thread::scope(|scope| {
        let vend = scope.spawn(|| world.vend(&world.alice(), &grant, json!({})));
        eventually("the session is made", Duration::from_secs(5), || world.proxy.ledger().len() == 4);
        daemon.signal(nix::sys::signal::Signal::SIGTERM);
        vend.join().unwrap()
    });
    let (last, _) = World::vended(&last);
    let status = daemon.wait_end(Duration::from_secs(20));
    assert!(status.success(), "{status}");
    assert_eq!(world.allowed(&sessions), [true; 3]);

    world.start();
    hold_again(&mut jobs[1], &held);
    for lease in leases.into_iter().chain([&last]) {
        assert_eq!(world.lease(lease)["state"], "active", "{lease}");
    }
    assert_eq!(world.allowed(&sessions), [true; 3]);
    assert!(world.audited("lease.end").is_empty());
    // What the daemon no longer has in memory it does not pretend to have: the same anchor gets a new session.
    let again = jobs[0].vend(&grant);
    assert_eq!(again.body["reused"], false);
    assert_ne!(World::vended(&again).0, anchored);
    world.audit_verifies();
}

#[test]
fn p13_a_restart_keeps_grants_and_their_policy() {
    let mut world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let before = world.alice().curl("GET", &format!("/v1/grants/{grant}"), None);
    let status = world.status();
    world.crash_and_restart();
    assert_eq!(world.alice().curl("GET", &format!("/v1/grants/{grant}"), None).body, before.body);
    let after = world.status();
    assert_eq!((&after["node"], &after["policy_version"]), (&status["node"], &status["policy_version"]));
    assert_ne!(after["started_at"], status["started_at"]);
    // A second daemon on the same state is refused, and does not disturb the first.
    let mut second = grantd_tests::Daemon::start(&world.scene, world.config());
    let ended = second.wait_end(Duration::from_secs(10));
    assert!(!ended.success());
    let said = second.output();
    assert!(said.lines().last().unwrap().contains("state"), "{said}");
    let (_, credentials) = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    assert!(world.can_read(&credentials, "alpha"));
    world.audit_verifies();
}
