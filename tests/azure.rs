//! Azure: sessions of slot principals, from the vend to the cool-down, against a fake that refuses what Azure refuses.
#![forbid(unsafe_code)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that breaks must say so"
)]

use std::time::Duration;

use grantd_testkit::FakeFault;
use grantd_tests::{AZURE_SLOTS as SLOTS, AzureWorld, User, eventually};
use serde_json::json;

#[test]
fn p10_a_slot_carries_one_lease_and_its_end_touches_no_other() {
    let world = AzureWorld::new("");
    let (logs, other) = (world.grant(User::Alice, "logs"), world.grant(User::Bob, "other"));
    let first = AzureWorld::vended(&world.vend(User::Alice, &logs, json!({})));
    let second = AzureWorld::vended(&world.vend(User::Bob, &other, json!({})));
    assert_eq!((first.slot.as_str(), second.slot.as_str()), (SLOTS[0].1, SLOTS[1].1));
    assert!(world.can_read(&first.token, "logs") && !world.can_read(&first.token, "other"));
    assert!(world.can_read(&second.token, "other") && !world.can_read(&second.token, "logs"));

    // Both slots are taken, and a third one is not made of one of them.
    world.vend(User::Alice, &logs, json!({})).is_problem(503, "capacity", &[]);
    assert_eq!((world.standing(SLOTS[0].1), world.standing(SLOTS[1].1)), (1, 1));

    let path = format!("/v1/leases/{}/complete", first.lease);
    assert_eq!(world.scene.caller(User::Alice).curl("POST", &path, None).status, 200);
    world.wait_for_lease(&first.lease, "revoked");
    assert_eq!((world.standing(SLOTS[0].1), world.standing(SLOTS[1].1)), (0, 1));
    assert!(!world.can_read(&first.token, "logs"), "the token lives, and opens nothing");
    assert!(world.can_read(&second.token, "other"));

    // The token is not dead, so the slot rests - over a restart, too.
    world.vend(User::Alice, &logs, json!({})).is_problem(503, "capacity", &[]);
    let mut world = world;
    world.take_daemon().kill9();
    world.start(&[]);
    world.vend(User::Alice, &logs, json!({})).is_problem(503, "capacity", &[]);
    assert!(world.can_read(&second.token, "other"), "p13: a restart ends no lease");
    assert_eq!(world.lease(&second.lease)["state"], "active");
}

#[test]
fn p3_a_lease_is_taken_away_at_its_time_and_its_slot_comes_back_when_its_token_is_dead() {
    let world = AzureWorld::new("cool_down = \"0s\"");
    world.fake.set_token_lifetime(8);
    let grant = world.grant(User::Alice, "logs");
    let taken = AzureWorld::vended(&world.vend(User::Alice, &grant, json!({ "ttl_seconds": 3 })));
    let neighbour =
        AzureWorld::vended(&world.vend(User::Bob, &world.grant(User::Bob, "other"), json!({ "ttl_seconds": 3 })));
    assert!(world.can_read(&taken.token, "logs"));
    // Nobody but the daemon ends it.
    world.wait_for_lease(&taken.lease, "revoked");
    assert_eq!(world.lease(&taken.lease)["reason"], "time_up");
    assert_eq!(world.standing(&taken.slot), 0);
    let mut again = None;
    eventually("a slot is free again", Duration::from_secs(30), || {
        let answer = world.vend(User::Alice, &grant, json!({ "ttl_seconds": 3 }));
        again = (answer.status == 200).then(|| AzureWorld::vended(&answer));
        again.is_some()
    });
    // No sooner than the token is dead that its holder may still have.
    let again = again.unwrap();
    let before = if again.slot == taken.slot { &taken.lease } else { &neighbour.lease };
    let issued = world.audited("lease.issued").into_iter().find(|record| record["lease"] == **before).unwrap();
    let dead: jiff::Timestamp = issued["detail"]["token_until"].as_str().unwrap().parse().unwrap();
    let intents = world.audited("lease.intent");
    let intent = intents.into_iter().find(|record| record["lease"] == again.lease.as_str()).unwrap();
    let made: jiff::Timestamp = intent["at"].as_str().unwrap().parse().unwrap();
    assert!(made >= dead, "the slot was used again at {made}, and its last token died at {dead}");
}

#[test]
fn p2_a_crash_between_the_assignment_and_its_record_leaves_no_access() {
    let mut world = AzureWorld::new("");
    let grant = world.grant(User::Alice, "logs");
    world.take_daemon().stop();
    world.start(&[("GRANTD_FAILPOINT", "issue.session_made")]);
    let mut daemon = world.take_daemon();
    let body = json!({ "grant": grant });
    let mut vend = world.scene.caller(User::Alice).command("curl");
    vend.args(["--silent", "--max-time", "20", "--unix-socket"]).arg(world.scene.socket());
    vend.args(["-H", "Content-Type: application/json", "-d", &body.to_string(), "http://localhost/v1/leases"]);
    let mut vend = vend.stdout(std::process::Stdio::null()).spawn().unwrap();
    daemon.wait_end(Duration::from_secs(20));
    vend.wait().unwrap();
    assert_eq!(world.standing(SLOTS[0].1), 1, "it died after the assignment was made");
    assert!(world.audited_after_restart("lease.issued").is_empty());

    eventually("the assignment is gone", Duration::from_secs(15), || world.standing(SLOTS[0].1) == 0);
    let ended = world.audited("lease.end");
    assert_eq!(ended.len(), 1, "{ended:?}");
    world.wait_for_lease(ended[0]["lease"].as_str().unwrap(), "revoked");
    // The other slot is free for whoever asks again.
    let again = AzureWorld::vended(&world.vend(User::Alice, &grant, json!({})));
    assert_eq!(again.slot, SLOTS[1].1);
}

#[test]
fn p4_nothing_is_confirmed_while_azure_does_not_answer() {
    let world = AzureWorld::new("");
    let grant = world.grant(User::Alice, "logs");
    let taken = AzureWorld::vended(&world.vend(User::Alice, &grant, json!({})));
    for _ in 0..8 {
        world.fake.fault("DELETE", "roleAssignments/", FakeFault::Status(500));
    }
    let path = format!("/v1/leases/{}/complete", taken.lease);
    assert_eq!(world.scene.caller(User::Alice).curl("POST", &path, None).status, 200);
    world.wait_for_lease(&taken.lease, "revoke_failed");
    let lease = world.lease(&taken.lease);
    assert!(
        lease["worst_case_until"].is_string() && lease["error"].as_str().unwrap().contains("role assignment"),
        "{lease}"
    );
    assert!(world.can_read(&taken.token, "logs"));
    world.wait_for_lease(&taken.lease, "revoked");
    assert!(!world.can_read(&taken.token, "logs"));
}

#[test]
fn what_bears_our_mark_and_is_no_leases_is_swept_away_and_a_foreign_hand_stops_the_slot() {
    let mut world = AzureWorld::new("");
    let role = "2a2b9908-6ea1-4ae2-8e65-a410df84e7d1".parse().unwrap();
    let scope = "/subscriptions/00000000-0000-4000-8000-0000000050b5";
    let slot = |at: usize| SLOTS[at].1.parse().unwrap();
    world.take_daemon().stop();
    world.fake.assign(scope, role, slot(0), Some("grantd lease-aaaaaaaaaaaaaaaaaaaaaaaaaa"));
    let foreign = world.fake.assign(scope, role, slot(1), Some("by hand"));
    world.start(&[]);
    eventually("the stray is gone", Duration::from_secs(15), || world.standing(SLOTS[0].1) == 0);
    eventually("that is on record", Duration::from_secs(5), || world.audited("sweep.removed").len() == 1);
    assert_eq!(world.standing(SLOTS[1].1), 1, "what is not ours stays");

    let grant = world.grant(User::Alice, "logs");
    assert_eq!(AzureWorld::vended(&world.vend(User::Alice, &grant, json!({}))).slot, SLOTS[0].1);
    let answer = world.vend(User::Alice, &grant, json!({}));
    assert!(answer.status >= 400 && answer.body["detail"].as_str().unwrap().contains(&foreign), "{answer:?}");
}
