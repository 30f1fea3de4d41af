//! Leases that run: renewed on the last good value while a source is away, ended by a fresh no, kept where policy says so,
//! and none of it lost with the daemon.

use std::time::Duration;

use grantd_testkit::DeskFault;
use grantd_tests::{Job, User, World, eventually};
use serde_json::json;

use super::stage::{Stage, TICKET, fresh, is_denied, jira, ticket};

/// Until the watch over signals has come by, and the cloud has taken it.
const WATCH: Duration = Duration::from_secs(45);

fn stage(more: &str) -> Stage {
    let stage = Stage::new(&format!("{TICKET}{}", fresh(more)), &jira("jira", "OPS"));
    stage.desk.jira("OPS-17", ticket("In Progress"));
    stage
}

/// Has the job ask for more time than its lease has, which takes a lease of its own: a renewal.
fn renew(job: &mut Job, grant: &str, seconds: u32) -> grantd_tests::Answer {
    job.ask("POST", "/v1/leases", json!({ "grant": grant, "anchor": "caller", "ttl_seconds": seconds }))
}

#[test]
fn p6_a_ticket_that_is_closed_ends_the_lease_that_rests_on_it_and_no_other() {
    let stage = stage("");
    stage.desk.jira("OPS-18", ticket("In Progress"));
    let world = &stage.world;
    let (closing, staying) = (stage.granted("OPS-17"), stage.granted("OPS-18"));
    let (ended, key) = World::vended(&world.vend(&world.alice(), &closing, json!({})));
    let (stays, _) = World::vended(&world.vend(&world.alice(), &staying, json!({})));
    let (bob, _) = World::vended(&world.vend(&world.bob(), &world.grant(&world.bob(), "alpha"), json!({})));
    assert!(world.can_read(&key, "beta"));
    stage.desk.jira("OPS-17", ticket("Done"));
    eventually("the lease is revoked", WATCH, || world.lease(&ended)["state"] == "revoked");
    assert_eq!(world.lease(&ended)["reason"], "signal_changed");
    assert!(!world.can_read(&key, "beta"));
    let record = world.records_of(&ended, "lease.end").pop().unwrap_or_else(|| panic!("{:#?}", world.audit()));
    assert!(record["detail"].to_string().contains("beta-ticket"), "{record}");
    for other in [&stays, &bob] {
        assert_eq!(world.lease(other)["state"], "active");
    }
}

#[test]
fn p6_where_policy_says_keep_a_lease_outlives_the_yes_it_was_issued_on() {
    let mut stage = Stage::prepared(&format!("{TICKET}{}", fresh("@on_signal_change(\"keep\")")), &jira("jira", "OPS"));
    stage.keep();
    stage.world.start();
    stage.desk.jira("OPS-17", ticket("In Progress"));
    let grant = stage.granted("OPS-17");
    let (kept, key) = World::vended(&stage.world.vend(&stage.world.alice(), &grant, json!({})));
    // Another that one of its permits has ended shows that the watch came by.
    let rules = format!("{TICKET}{}", fresh(""));
    stage.world.scene.write("config/policy/policies/signals.cedar", &rules, User::Root, 0o644);
    stage.world.reload();
    stage.desk.jira("OPS-18", ticket("In Progress"));
    let other = stage.granted("OPS-18");
    let world = &stage.world;
    let (ended, _) = World::vended(&world.vend(&world.alice(), &other, json!({})));
    for id in ["OPS-17", "OPS-18"] {
        stage.desk.jira(id, ticket("Done"));
    }
    eventually("the other is revoked", WATCH, || world.lease(&ended)["state"] == "revoked");
    assert_eq!(world.lease(&kept)["state"], "active");
    assert!(world.can_read(&key, "beta"));
    // A new one is a new decision all the same.
    is_denied(&world.vend(&world.alice(), &grant, json!({})), "beta-ticket", &[]);
}

#[test]
fn p6_a_lease_is_renewed_on_the_last_good_value_while_its_source_is_away_and_a_new_one_is_not_made() {
    let stage = stage("@renew_signal_max_age(\"15m\")");
    let world = &stage.world;
    let grant = stage.granted("OPS-17");
    let (mut job, mut other) = (Job::start(&world.scene, User::Alice), Job::start(&world.scene, User::Alice));
    let first = renew(&mut job, &grant, 900);
    let (lease, _) = World::vended(&first);
    stage.desk.breaks("/rest", Some(DeskFault::Status(500)));
    let (second, _) = World::vended(&renew(&mut job, &grant, 1000));
    assert_ne!(lease, second);
    let record = world.records_of(&second, "lease.intent").pop().unwrap();
    let signal = &record["detail"]["decision"]["inputs"]["signals"]["ticket"];
    assert_eq!((&signal["looked_up"], &signal["facts"]["ticket_state"]), (&json!("had"), &json!("active")));
    assert!(signal["age_seconds"].as_u64().is_some_and(|age| age >= 1), "{record}");
    is_denied(&other.vend(&grant), "signal:ticket", &["\"jira\"", "500"]);
    // A fresh no counts at once, and ends what runs.
    stage.desk.breaks("/rest", None);
    stage.desk.jira("OPS-17", ticket("Done"));
    eventually("it is asked again and says no", Duration::from_secs(20), || {
        renew(&mut job, &grant, 1100).body["rule"] == "beta-ticket"
    });
    eventually("what ran is revoked", WATCH, || world.lease(&second)["state"] == "revoked");
    assert_eq!(world.lease(&second)["reason"], "signal_changed");
}

#[test]
fn p6_without_a_limit_in_policy_a_renewal_needs_its_source_and_the_lease_that_runs_goes_on() {
    let stage = stage("");
    let world = &stage.world;
    let grant = stage.granted("OPS-17");
    let mut job = Job::start(&world.scene, User::Alice);
    let (lease, _) = World::vended(&renew(&mut job, &grant, 900));
    stage.desk.breaks("/rest", Some(DeskFault::Status(503)));
    is_denied(&renew(&mut job, &grant, 1000), "signal:ticket", &["\"jira\"", "503"]);
    let asked = stage.desk.asked().len();
    eventually("the watch came by", WATCH, || stage.desk.asked().len() > asked);
    assert_eq!(world.lease(&lease)["state"], "active");
    // What it has it is handed again: that is no issue.
    assert_eq!(renew(&mut job, &grant, 900).body["lease"]["id"], json!(lease));
}

#[test]
fn p6_p13_a_daemon_that_starts_anew_remembers_no_fact_and_ends_no_lease_for_a_source_that_is_down() {
    let mut stage = stage("@renew_signal_max_age(\"15m\")");
    let grant = stage.granted("OPS-17");
    let (lease, _) = World::vended(&stage.world.vend(&stage.world.alice(), &grant, json!({})));
    stage.desk.breaks("/rest", Some(DeskFault::Status(500)));
    stage.world.crash_and_restart();
    let world = &stage.world;
    is_denied(&world.vend(&world.alice(), &grant, json!({})), "signal:ticket", &["\"jira\"", "500"]);
    let asked = stage.desk.asked().len();
    eventually("the watch came by", WATCH, || stage.desk.asked().len() > asked);
    assert_eq!(world.lease(&lease)["state"], "active");
    world.serves_bob();
    // Closed meanwhile: that is found out when the source is back, by a lease of before the restart too.
    stage.desk.jira("OPS-17", ticket("Done"));
    stage.desk.breaks("/rest", None);
    eventually("the lease is revoked", WATCH, || world.lease(&lease)["state"] == "revoked");
    assert_eq!(world.lease(&lease)["reason"], "signal_changed");
    world.audit_verifies();
}
