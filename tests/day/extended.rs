//! A grant that is about to end is extended, or is not, under a running job.

use std::time::Duration;

use grantd_tests::{User, Worker, World, eventually, now};
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::stage::{approve, approved, is_over, last_lease, leases, not_started, seen, uses, with_owners};

fn moment(value: &Value) -> Timestamp {
    value.as_str().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{value} is no time"))
}

fn extend(world: &World, grant: &str, how_long: &str) {
    let asked = world.alice().grantctl(&["extend", grant, "--for", how_long, "--why", "the export is slow"]);
    assert_eq!(asked.status.code(), Some(11), "{asked}");
    assert!(asked.stderr.contains("olga or otto"), "{asked}");
}

fn until(world: &World, lease: &str) -> Timestamp {
    moment(&world.lease(lease)["access_until"])
}

#[test]
fn p3_an_extension_in_time_carries_the_running_job_past_the_old_end_without_a_gap() {
    let world = with_owners();
    let grant = approved(&world, "30s");
    let old_end = moment(&seen(&world, &grant)["active_until"]);
    let mut job = Worker::start(&world, &["--grant", &grant], &[]);
    job.keep_reading("alpha");
    let first = last_lease(&world);
    assert!(until(&world, &first) <= old_end);
    extend(&world, &grant, "20m");
    assert_eq!(moment(&seen(&world, &grant)["active_until"]), old_end, "asked for is not given");
    let done = approve(&world, User::Otto, &grant);
    assert!(done.success(), "{done}");
    assert!(now() < old_end, "the machine was too slow to extend the grant in its time");
    assert_eq!(moment(&seen(&world, &grant)["active_until"]).duration_since(old_end).as_secs(), 1200);
    assert_eq!(world.lease(&first)["state"], "active", "nothing of what lives is touched");

    eventually("the old end has passed", Duration::from_secs(60), || now() > old_end);
    let so_far = job.read_so_far().0;
    eventually("the job reads on", Duration::from_secs(20), || job.read_so_far().0 > so_far + 10);
    let (reads, failures) = job.stop_reading();
    assert!(reads > 0 && failures.is_empty(), "{reads} {failures:?}");
    let last = last_lease(&world);
    assert_ne!(last, first);
    assert_eq!(world.lease(&last)["state"], "active");
    assert!(until(&world, &last) > old_end, "{}", world.lease(&last));
    assert!(!world.can_read(&grantd_tests::Credentials::from(&*world.session_of(&first)), "alpha"));
    assert!(!job.said().contains("access is over"), "{}", job.said());
    assert_eq!(uses(&world, &grant), 1);
    job.tell(&json!(["leave", 0]));
    assert_eq!(job.ended(), 0);
    is_over(&world, &last, "completed");
    world.audit_verifies();
}

#[test]
fn p3_an_extension_that_is_denied_leaves_the_old_end_as_it_was() {
    let world = with_owners();
    let grant = approved(&world, "20s");
    let old_end = moment(&seen(&world, &grant)["active_until"]);
    let mut job = Worker::start(&world, &["--grant", &grant], &[]);
    assert_eq!(job.read("alpha"), "hello from alpha\n");
    extend(&world, &grant, "20m");
    let done = world.otto().grantctl(&["deny", &grant, "--reason", "finish first"]);
    assert!(done.success(), "{done}");
    let view = seen(&world, &grant);
    assert_eq!((&view["state"], moment(&view["active_until"])), (&json!("active"), old_end), "{view}");
    assert_eq!(job.read("alpha"), "hello from alpha\n", "a no is no end");

    eventually("the grant has ended", Duration::from_secs(60), || seen(&world, &grant)["state"] == "ended");
    assert!(now() >= old_end);
    eventually("the job is told", Duration::from_secs(20), || job.said().contains("access is over"));
    assert!(!job.read("alpha").contains("hello"));
    for lease in leases(&world) {
        assert!(until(&world, &lease) <= old_end, "{}", world.lease(&lease));
    }
    let sessions: Vec<_> = leases(&world).iter().map(|lease| world.session_of(lease)).collect();
    assert_eq!(world.allowed(&sessions), vec![false; sessions.len()]);
    let shown = world.alice().grantctl(&["show", &grant]);
    assert!(shown.stdout.contains("finish first"), "{shown}");
    not_started(&crate::stage::exec_reads(&world, &["--grant", &grant], "alpha"), 105, &["ended"]);
    job.tell(&json!(["leave", 4]));
    assert_eq!(job.ended(), 4, "the command goes on without it");
}
