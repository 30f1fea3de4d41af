//! The policy changes under a living job.

use std::fs;
use std::time::Duration;

use grantd_tests::{Setup, Worker, World, eventually};

use crate::stage::{exec_reads, is_over, last_lease, not_started, rule, uses};

const FREEZE: &str = "@id(\"freeze\")\n@reason(\"alpha is frozen until the release is out\")\n\
    @who_can_fix(\"the release manager\")\n@next(\"ask again after the release\")\n\
    forbid (principal, action == Grantd::Action::\"issue\", resource)\n\
    when { resource == Grantd::Resource::\"alpha\" };\n";

const SOON: Duration = Duration::from_secs(20);

fn thaw(world: &World) {
    fs::remove_file(world.policy().join("policies/freeze.cedar")).unwrap();
}

#[test]
fn p6_a_policy_that_would_not_issue_what_a_job_has_takes_it_away_and_the_job_is_told() {
    let mut world = World::new();
    let (alpha, beta) = (world.grant(&world.alice(), "alpha"), world.grant(&world.alice(), "beta"));
    let mut neighbour = Worker::start(&world, &["--grant", &beta], &[]);
    neighbour.keep_reading("beta");
    let mut job = Worker::start(&world, &["--grant", &alpha], &[]);
    assert_eq!(job.read("alpha"), "hello from alpha\n");
    let (lease, stolen) = (last_lease(&world), job.credentials());

    rule(&world, "freeze", FREEZE);
    world.reload();
    is_over(&world, &lease, "policy_changed");
    assert!(!world.can_read(&stolen, "alpha"));
    eventually("it is told that and why", SOON, || {
        job.said().contains(&format!("{lease} ended: policy_changed")) && job.said().contains("rule: freeze")
    });
    let refused = job.read("alpha");
    assert!(refused.contains("alpha is frozen until the release is out"), "{refused}");
    assert!(job.said().contains("who can fix it: the release manager"), "{}", job.said());
    not_started(&exec_reads(&world, &["--grant", &alpha], "alpha"), 103, &["frozen", "ask again after the release"]);

    // It was the policy and not the grant: with the old one it goes on, and is still the same task.
    thaw(&world);
    world.reload();
    eventually("it reads again", SOON, || job.read("alpha") == "hello from alpha\n");
    assert_eq!(uses(&world, &alpha), 1);
    let (reads, failures) = neighbour.stop_reading();
    assert!(reads > 0 && failures.is_empty(), "{reads} {failures:?}");
    world.audit_verifies();
}

#[test]
fn p6_what_is_written_to_files_comes_back_with_the_policy_too() {
    let mut world = World::new();
    let grant = world.grant(&world.alice(), "alpha");
    let mut job = Worker::start(&world, &["--grant", &grant, "--format", "json"], &[]);
    let path = job.asks(&serde_json::json!(["environment"]))["GRANTD_CREDENTIALS_FILE"].as_str().unwrap().to_owned();
    let (lease, first) = (last_lease(&world), fs::read_to_string(&path).unwrap());
    rule(&world, "freeze", FREEZE);
    world.reload();
    is_over(&world, &lease, "policy_changed");
    // Nobody asks for what is in a file: it is told without being asked.
    eventually("it is told", SOON, || job.said().contains("alpha is frozen until the release is out"));
    thaw(&world);
    world.reload();
    eventually("the file holds another credential", Duration::from_secs(60), || {
        fs::read_to_string(&path).unwrap() != first
    });
    assert_eq!(world.allowed(&[world.session_of(&last_lease(&world))]), [true]);
}

#[test]
fn p6_what_was_issued_to_be_kept_is_kept_to_its_end_and_not_renewed() {
    let mut world = World::prepared(&Setup::default());
    let path = world.policy().join("policies/low-tier.cedar");
    let text = fs::read_to_string(&path).unwrap();
    let (before, issue) = text.split_once("@id(\"low-issue\")").unwrap();
    fs::write(&path, format!("{before}@id(\"low-issue\")\n@on_policy_change(\"keep\"){issue}")).unwrap();
    world.start();
    let grant = world.grant(&world.alice(), "alpha");
    let mut job = Worker::start(&world, &["--grant", &grant], &[]);
    job.keep_reading("alpha");
    let lease = last_lease(&world);
    let mut short = Worker::start(&world, &["--grant", &grant, "--ttl", "8s"], &[]);
    rule(&world, "freeze", FREEZE);
    world.reload();
    let last_of_short = last_lease(&world);
    // No other job gets in, and none gets more than it has.
    not_started(&exec_reads(&world, &["--grant", &grant], "alpha"), 103, &["alpha is frozen"]);
    eventually("the short one is told", SOON, || {
        short.said().contains("cannot be renewed: alpha is frozen until the release is out")
    });
    world.wait_for_lease(&last_of_short, "expired");
    assert!(short.read("alpha").contains("alpha is frozen"));
    assert_eq!(world.lease(&lease)["state"], "active");
    let (reads, failures) = job.stop_reading();
    assert!(reads > 0 && failures.is_empty(), "{reads} {failures:?}");
    assert!(!job.said().contains("ended"), "{}", job.said());
    assert!(world.audited("lease.end").is_empty());
}
