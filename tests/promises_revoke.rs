//! Revocation is never claimed (P4), and ending one session never disturbs another (P10).
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
use grantd_tests::{World, eventually, now};
use jiff::Timestamp;
use serde_json::{Value, json};

fn complete(world: &World, lease: &str) -> Value {
    let answer = world.alice().curl("POST", &format!("/v1/leases/{lease}/complete"), None);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

/// A new lease of alice's.
fn lease(world: &World, grant: &str) -> String {
    World::vended(&world.vend(&world.alice(), grant, json!({}))).0
}

#[test]
fn p4_a_deny_that_the_cloud_does_not_take_is_told_and_tried_until_it_does() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    for status in [403, 429, 500] {
        let id = lease(&world, &grant);
        let session = [world.session_of(&id)];
        let rule = world.proxy.add(Rule::on("CreatePolicyVersion", Fault::Status { status, code: None })).unwrap();
        let ended = complete(&world, &id);
        assert_eq!((&ended["state"], &ended["revocation"]), (&json!("revoking"), &json!("requested")), "{ended}");
        assert!(ended["worst_case_until"].is_string(), "{ended}");
        world.wait_for_lease(&id, "revoke_failed");
        let attempts = world.proxy.fired(rule);
        let told = world.lease(&id);
        assert_eq!((&told["reason"], &told["revocation"]), (&json!("completed"), &json!("requested")), "{told}");
        assert!(told["error"].as_str().unwrap().contains("grantd-boundary-1"), "{told}");
        let worst: Timestamp = told["worst_case_until"].as_str().unwrap().parse().unwrap();
        assert!(worst > now(), "{told}");
        // It is not claimed, and rightly: the session still works.
        assert_eq!(world.allowed(&session), [true]);
        let all = world.status();
        assert_eq!(all["revocation"]["unconfirmed"], 1, "{all}");
        assert!(all["revocation"]["oldest_requested_at"].is_string(), "{all}");
        assert_eq!(all["state"], "degraded", "{all}");
        eventually("it is tried again", Duration::from_secs(15), || world.proxy.fired(rule) > attempts);
        assert_ne!(world.lease(&id)["state"], "revoked");
        // Somebody else is served meanwhile.
        world.serves_bob();
        world.proxy.remove(rule);
        world.wait_for_lease(&id, "revoked");
        assert_eq!(world.allowed(&session), [false]);
        assert_eq!(world.lease(&id)["worst_case_until"], Value::Null);
        assert_eq!(world.records_of(&id, "lease.revocation_confirmed").len(), 1);
        assert!(!world.records_of(&id, "lease.revocation_failed").is_empty());
    }
    eventually("all is well", Duration::from_secs(5), || world.status()["state"] == "ready");
}

#[test]
fn p4_while_the_deny_is_not_seen_in_force_it_is_not_confirmed() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let (id, neighbour) = (lease(&world, &grant), lease(&world, &grant));
    let sessions = [world.session_of(&id), world.session_of(&neighbour)];
    // The cloud says yes at once; for four seconds nothing comes of it, and for as long reads show the past.
    world.proxy.add(Rule::delayed_effect(Duration::from_secs(4))).unwrap();
    let stale = world.proxy.add(Rule::stale_reads(Duration::from_secs(4))).unwrap();
    complete(&world, &id);
    eventually("the deny is accepted", Duration::from_secs(2), || world.lease(&id)["revocation"] == "accepted");
    let mut seen = 0;
    while world.allowed(&sessions[..1]) == [true] {
        let told = world.lease(&id);
        // Between the two looks it may have become true.
        if world.allowed(&sessions[..1]) == [true] {
            assert_eq!((&told["state"], &told["revocation"]), (&json!("revoking"), &json!("accepted")), "{told}");
            assert!(told["worst_case_until"].is_string(), "{told}");
            seen += 1;
        }
    }
    assert!(seen > 0 && world.proxy.fired(stale) > 1, "the daemon was not seen to look while the session worked");
    eventually("it is confirmed", Duration::from_secs(20), || {
        let confirmed = world.lease(&id)["state"] == "revoked";
        // Looked at after the daemon said so: what it claims must be true by then.
        assert!(!confirmed || world.allowed(&sessions) == [false, true], "confirmed while the session works");
        confirmed
    });
}

#[test]
fn p4_forbidden_to_look_proves_nothing() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let id = lease(&world, &grant);
    let session = [world.session_of(&id)];
    // The write gets lost on the way, and the daemon may not look.
    world.proxy.add(Rule::delayed_effect(Duration::from_secs(3600))).unwrap();
    for action in ["GetPolicy", "GetPolicyVersion"] {
        world.proxy.add(Rule::on(action, Fault::Status { status: 403, code: None })).unwrap();
    }
    complete(&world, &id);
    for _ in 0..8 {
        let told = world.lease(&id);
        assert!(["revoking", "revoke_failed"].contains(&told["state"].as_str().unwrap()), "{told}");
        assert!(told["worst_case_until"].is_string(), "{told}");
        thread::sleep(Duration::from_millis(500));
    }
    assert_eq!(world.allowed(&session), [true]);
    world.proxy.clear();
    world.wait_for_lease(&id, "revoked");
    assert_eq!(world.allowed(&session), [false]);
}

#[test]
fn p4_a_deny_that_a_stranger_takes_away_is_put_back_before_it_is_confirmed() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let (first, second) = (lease(&world, &grant), lease(&world, &grant));
    let sessions = [world.session_of(&first), world.session_of(&second)];
    complete(&world, &first);
    world.wait_for_lease(&first, "revoked");
    let wipe = format!(
        "import boto3, json\niam = boto3.client('iam')\narn = '{}'\n\
         open_ = json.dumps({{'Version': '2012-10-17', 'Statement': [{{'Effect': 'Allow', 'Action': '*', 'Resource': '*'}}]}})\n\
         for version in iam.list_policy_versions(PolicyArn=arn)['Versions']:\n    \
         None if version['IsDefaultVersion'] else iam.delete_policy_version(PolicyArn=arn, VersionId=version['VersionId'])\n\
         iam.create_policy_version(PolicyArn=arn, PolicyDocument=open_, SetAsDefault=True)",
        world.account.boundary_arns[0]
    );
    let base = grantd_tests::Credentials::from(&world.account.base);
    let wiped = world.root().cloud(&world.stack.url()).credentials(&base).python(&wipe);
    assert!(wiped.success(), "{wiped}");
    assert_eq!(world.allowed(&sessions), [true, true]);
    // The next end finds the stranger's document, and both are refused again.
    complete(&world, &second);
    world.wait_for_lease(&second, "revoked");
    assert_eq!(world.allowed(&sessions), [false, false]);
}

#[test]
fn p10_of_twelve_sessions_on_one_role_every_second_one_is_ended_alone() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let leases: Vec<String> = (0..12).map(|_| lease(&world, &grant)).collect();
    let sessions: Vec<_> = leases.iter().map(|id| world.session_of(id)).collect();
    assert!(sessions.iter().all(|session| session.role_arn == sessions[0].role_arn), "not on one role");
    assert_eq!(world.allowed(&sessions), [true; 12]);
    let alternating: Vec<bool> = (0..12).map(|n| n % 2 == 1).collect();
    thread::scope(|scope| {
        for id in leases.iter().step_by(2) {
            scope.spawn(|| complete(&world, id));
        }
    });
    for (id, lives) in leases.iter().zip(&alternating) {
        world.wait_for_lease(id, if *lives { "active" } else { "revoked" });
    }
    assert_eq!(world.allowed(&sessions), alternating);
    // They were written together, not one by one, and nothing but denies of single sessions was written.
    let mut writes = world.proxy.records();
    writes.retain(|record| record.action == "CreatePolicyVersion");
    assert!(writes.len() <= 6, "{} writes for six ends", writes.len());
    // The rest can be ended too, and somebody new is not touched by any of it.
    let bobs = world.grant(&world.bob(), "alpha");
    let (new, _) = World::vended(&world.vend(&world.bob(), &bobs, json!({})));
    for id in leases.iter().skip(1).step_by(2) {
        complete(&world, id);
    }
    for id in &leases {
        world.wait_for_lease(id, "revoked");
    }
    assert_eq!(world.allowed(&sessions), [false; 12]);
    assert_eq!(world.allowed(&[world.session_of(&new)]), [true]);
}
