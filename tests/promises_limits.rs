//! Time and numbers (P3): what is more than policy, grant or cloud give is refused with the number that would be given,
//! and access ends when it was said to.
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

use grantd_tests::{Job, User, World, eventually, now};
use jiff::Timestamp;
use serde_json::{Value, json};

fn moment(value: &Value) -> Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is no time"))
}

/// Sleeps until `when` and a little more.
fn sleep_past(when: Timestamp) {
    let left = Duration::try_from(when.duration_since(now())).unwrap_or_default();
    thread::sleep(left + Duration::from_millis(100));
}

#[test]
fn p3_more_than_policy_gives_is_refused_with_the_number() {
    let world = World::new();
    let long = world.request(&world.alice(), "alpha", json!({ "duration_seconds": 28_801 }));
    long.is_problem(422, "limit", &["28801 s", "28800 s"]);
    assert_eq!(long.body["limit"], 28_800);

    let grant = world.grant(&world.alice(), "alpha");
    // Nothing watches curl: policy gives that 15 minutes. A watched process is given an hour, and the grant has half of it.
    let unwatched = world.vend(&world.alice(), &grant, json!({ "ttl_seconds": 901 }));
    unwatched.is_problem(422, "limit", &["901 s", "900 s"]);
    assert_eq!(unwatched.body["limit"], 900);
    let mut job = Job::start(&world.scene, User::Alice);
    let watched = job.ask("POST", "/v1/leases", json!({ "grant": grant, "ttl_seconds": 3601, "anchor": "caller" }));
    watched.is_problem(422, "limit", &["3601 s"]);
    let rest = watched.body["limit"].as_u64().unwrap();
    assert!((1700..=1800).contains(&rest), "the grant has {rest} s left");
    let day = world.request(&world.alice(), "alpha", json!({ "duration_seconds": 28_800 }));
    let day = day.body["id"].as_str().unwrap();
    let watched = job.ask("POST", "/v1/leases", json!({ "grant": day, "ttl_seconds": 3601, "anchor": "caller" }));
    watched.is_problem(422, "limit", &["3601 s", "3600 s"]);
    assert_eq!(watched.body["limit"], 3600);
    let none = world.vend(&world.alice(), &grant, json!({ "ttl_seconds": 0 }));
    none.is_problem(422, "limit", &["0 s"]);
    assert!(none.body["limit"].as_u64().unwrap() >= 1, "{none:?}");

    assert!(world.proxy.ledger().is_empty(), "a session was made for a request that was refused");
    assert_eq!(world.audited("lease.refused").len(), 4);
    assert_eq!(world.audited("request.refused").len(), 1);
    // What the refusal says would be given is given, to the second.
    let (lease, _) = World::vended(&world.vend(&world.alice(), &grant, json!({ "ttl_seconds": 900 })));
    let lease = world.lease(&lease);
    let whole = moment(&lease["access_until"]).duration_since(moment(&lease["created_at"]));
    assert!((899..=900).contains(&whole.as_secs()), "{lease}");
    world.serves_bob();
}

#[test]
fn p3_more_than_the_rest_of_the_grant_is_refused_with_the_number() {
    let world = World::new();
    let short = world.request(&world.alice(), "alpha", json!({ "duration_seconds": 60 }));
    let grant = short.body["id"].as_str().unwrap();
    let refused = world.vend(&world.alice(), grant, json!({ "ttl_seconds": 61 }));
    refused.is_problem(422, "limit", &["61 s"]);
    let rest = refused.body["limit"].as_u64().unwrap();
    assert!((50..=60).contains(&rest), "{refused:?}");
    // What is nearly over is said to be, whether or not a TTL was asked for.
    let brief = world.request(&world.alice(), "alpha", json!({ "duration_seconds": 2 }));
    let nearly = brief.body["id"].as_str().unwrap();
    let over = moment(&brief.body["active_until"]);
    let left = Duration::try_from(over.duration_since(now())).unwrap_or_default();
    thread::sleep(left.saturating_sub(Duration::from_millis(600)));
    for body in [json!({}), json!({ "ttl_seconds": 5 })] {
        world.vend(&world.alice(), nearly, body).is_problem(409, "state", &[nearly, "request a new one"]);
    }
    // Without a wish the daemon gives what the grant has left, and not its own default of five minutes.
    let answer = world.vend(&world.alice(), grant, json!({}));
    let _ = World::vended(&answer);
    let until = moment(&answer.body["lease"]["access_until"]);
    assert!(until <= moment(&short.body["active_until"]), "{answer:?} outlives {short:?}");
    assert_eq!(moment(&answer.body["credential"]["expiration"]), until);
}

#[test]
fn p3_access_ends_at_its_ttl_without_a_deny() {
    let world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let (neighbour, _) = World::vended(&world.vend(&world.alice(), &grant, json!({})));
    let answer = world.vend(&world.alice(), &grant, json!({ "ttl_seconds": 4 }));
    let (lease, _) = World::vended(&answer);
    let until = moment(&answer.body["lease"]["access_until"]);
    let sessions = [world.session_of(&lease), world.session_of(&neighbour)];
    assert_eq!(world.allowed(&sessions), [true, true]);
    assert!(now() < until, "the machine was too slow to look at the session while it lived");
    sleep_past(until);
    assert_eq!(world.allowed(&sessions), [false, true]);
    world.wait_for_lease(&lease, "expired");
    assert_eq!(world.lease(&lease)["worst_case_until"], Value::Null);
    let written = world.proxy.records().iter().filter(|record| record.action == "CreatePolicyVersion").count();
    assert_eq!(written, 0, "the session ended by a deny and not by its own time");
    assert_eq!(world.records_of(&lease, "lease.expired").len(), 1);
}

#[test]
fn p3_a_grant_ends_with_its_time_and_takes_its_leases_along() {
    let world = World::new();
    let short = world.request(&world.alice(), "alpha", json!({ "duration_seconds": 4 }));
    let grant = short.body["id"].as_str().unwrap();
    let answer = world.vend(&world.alice(), grant, json!({}));
    let (lease, _) = World::vended(&answer);
    let session = [world.session_of(&lease)];
    let until = moment(&short.body["active_until"]);
    assert!(moment(&answer.body["lease"]["access_until"]) <= until, "{answer:?} outlives {short:?}");
    assert_eq!(world.allowed(&session), [true]);
    assert!(now() < until, "the machine was too slow to look at the session while it lived");
    sleep_past(until);
    assert_eq!(world.allowed(&session), [false]);
    // Stale: by the clock at once, by its state a moment later.
    let stale = world.vend(&world.alice(), grant, json!({}));
    stale.is_problem(409, "state", &[grant, "request a new one"]);
    eventually("the grant has ended", Duration::from_secs(5), || {
        world.root().curl("GET", &format!("/v1/grants/{grant}"), None).body["state"] == "ended"
    });
    let stale = world.vend(&world.alice(), grant, json!({}));
    stale.is_problem(409, "state", &[grant, "ended", "request a new one"]);
    eventually("the lease has ended", Duration::from_secs(10), || {
        ["expired", "revoked"].contains(&world.lease(&lease)["state"].as_str().unwrap())
    });
    assert_eq!(world.proxy.ledger().len(), 1);
    world.serves_bob();
}

#[test]
fn p3_a_completed_or_revoked_grant_and_one_that_never_was_give_nothing() {
    let world = World::new();
    let completed = world.grant(&world.alice(), "alpha");
    let revoked = world.grant(&world.alice(), "alpha");
    assert_eq!(world.alice().curl("POST", &format!("/v1/grants/{completed}/complete"), Some(&json!({}))).status, 200);
    let reason = json!({ "reason": "no longer wanted" });
    assert_eq!(world.root().curl("POST", &format!("/v1/grants/{revoked}/revoke"), Some(&reason)).status, 200);
    world.vend(&world.alice(), &completed, json!({})).is_problem(409, "state", &[&completed, "ended"]);
    world.vend(&world.alice(), &revoked, json!({})).is_problem(409, "state", &[&revoked, "revoked"]);
    // A well-formed id that was never given.
    let middle = completed.len() / 2;
    let mut never = completed.clone();
    let other = if never[middle..].starts_with('a') { "b" } else { "a" };
    never.replace_range(middle..=middle, other);
    world.vend(&world.alice(), &never, json!({})).is_problem(404, "not-found", &[&never]);
    world.vend(&world.alice(), "no grant at all", json!({})).is_problem(400, "bad-request", &[]);
    world.vend(&world.alice(), "auto", json!({})).is_problem(
        404,
        "not-found",
        &["no active grant", "grantctl request"],
    );
    assert!(world.proxy.ledger().is_empty());
    world.serves_bob();
}

#[test]
fn p3_a_grant_that_is_scheduled_gives_nothing_before_its_time() {
    let world = World::new();
    let from = now().checked_add(jiff::SignedDuration::from_secs(4)).unwrap();
    let asked = world.request(&world.alice(), "alpha", json!({ "not_before": from.to_string() }));
    assert_eq!((asked.status, &asked.body["state"]), (201, &json!("scheduled")), "{asked:?}");
    let grant = asked.body["id"].as_str().unwrap();
    let early = world.vend(&world.alice(), grant, json!({}));
    assert!(now() < from, "the machine was too slow to ask before the time");
    early.is_problem(409, "state", &[grant, "scheduled"]);
    sleep_past(from);
    eventually("the grant is active", Duration::from_secs(5), || {
        world.vend(&world.alice(), grant, json!({})).status == 200
    });
}
