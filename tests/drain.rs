//! Draining a host: nothing is vended any more, its leases end, and it is claimed only when the cloud took that (P4).
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::time::Duration;

use grantd_testkit::{Fault, Rule};
use grantd_tests::{Job, User, World, eventually};
use serde_json::{Value, json};

fn drained(world: &World, timeout: &str) -> (i32, Value, String) {
    let finished = world.root().grantctl(&["--json", "--timeout", timeout, "drain"]);
    let view = serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished}"));
    (finished.status.code().unwrap(), view, finished.stderr)
}

#[test]
fn p4_a_drain_ends_every_lease_and_is_complete_only_when_the_cloud_took_it() {
    let mut world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let mut job = Job::start(&world.scene, User::Alice);
    let anchored = World::vended(&job.vend(&grant)).0;
    let (unwatched, _) = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    let sessions = [&anchored, &unwatched].map(|lease| world.session_of(lease));
    assert_eq!(world.allowed(&sessions), [true; 2]);

    // It is for administrators.
    let refused = world.bob().grantctl(&["drain"]);
    assert_eq!(refused.status.code(), Some(3), "{refused}");
    assert!(refused.stderr.contains("administrators"), "{refused}");
    world.root().curl("GET", "/v1/drain", None).is_problem(404, "not-found", &["grantctl drain"]);
    assert_eq!(world.status()["state"], "ready");
    assert_eq!(world.audited("drain.refused").len(), 1);

    // The cloud does not take it: that is what is said, and nothing more.
    world.proxy.add(Rule::on("CreatePolicyVersion", Fault::Status { status: 500, code: None })).unwrap();
    let (code, view, said) = drained(&world, "5s");
    assert_eq!(code, 8, "{view}");
    assert!(said.contains("2 leases") && said.contains("goes on trying"), "{said}");
    assert_eq!((&view["complete"], &view["leases"], &view["unaccepted"]), (&json!(false), &json!(2), &json!(2)));
    assert!(view["worst_case_until"].is_string(), "{view}");
    assert_eq!(world.allowed(&sessions), [true; 2]);
    assert!(world.audited("drain.complete").is_empty());

    // Nothing is vended meanwhile, not from a live lease either; another host may.
    let again = job.vend(&grant);
    again.is_problem(503, "draining", &["another"]);
    assert_eq!(again.body["retryable"], true);
    world.vend(&world.bob(), &grant, json!({})).is_problem(503, "draining", &[]);
    assert_eq!(world.status()["state"], "draining");

    world.proxy.clear();
    let (code, view, said) = drained(&world, "20s");
    assert_eq!((code, said.as_str()), (0, ""), "{view}");
    let counts = ["leases", "settled", "live", "unaccepted", "expiring"].map(|name| view[name].as_u64().unwrap());
    assert_eq!((counts, &view["complete"]), ([2, 2, 0, 0, 0], &json!(true)));
    world.wait_refused(&sessions);
    for lease in [&anchored, &unwatched] {
        assert_eq!(world.lease(lease)["reason"], "drained");
    }
    let begun = world.audited("drain.begin");
    assert_eq!((begun.len(), &begun[0]["actor"]["uid"]), (1, &json!(0)), "{begun:?}");
    eventually("it is on record", Duration::from_secs(10), || world.audited("drain.complete").len() == 1);
    assert_eq!(world.audited("drain.complete")[0]["detail"]["settled"], 2);
    world.audit_verifies();

    // A restart, and nothing else, ends it.
    world.daemon().signal(nix::sys::signal::Signal::SIGHUP);
    assert_eq!(world.status()["state"], "draining");
    assert!(world.take_daemon().stop().success());
    world.start();
    assert_eq!(world.status()["state"], "ready");
    world.serves_bob();
}

#[test]
fn p4_a_session_in_the_making_is_not_released_by_a_draining_host() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let late = Rule::on("AssumeRole", Fault::DelayAfter { millis: 1500 });
    world.proxy.add(late.times(1)).unwrap();
    let answer = std::thread::scope(|scope| {
        let vend = scope.spawn(|| world.vend(&world.alice(), &grant, json!({})));
        eventually("the session is made", Duration::from_secs(5), || world.proxy.ledger().len() == 1);
        let (code, view, said) = drained(&world, "20s");
        assert_eq!((code, &view["complete"], &view["leases"]), (0, &json!(true), &json!(1)), "{view} {said}");
        vend.join().unwrap()
    });
    answer.is_problem(503, "draining", &[]);
    world.wait_refused(&world.proxy.ledger());
    world.wait_no_intent();
    world.audit_verifies();
}
