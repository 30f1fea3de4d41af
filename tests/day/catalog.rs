//! What was granted is taken out of the catalogue, or loses its owner.

use std::fs;
use std::time::Duration;

use grantd_tests::{User, Worker, World, eventually};

use serde_json::json;

use crate::stage::{
    approve, approved, asked, catalog, exec_reads, is_over, last_lease, not_started, owners, seen, with_owners,
};

/// Takes a resource out of the catalogue; gives what it was.
fn remove(world: &World, name: &str) -> String {
    catalog(world, |text| {
        let parts = text.split("[[resource]]").filter(|part| !part.contains(&format!("name = \"{name}\"")));
        parts.collect::<Vec<_>>().join("[[resource]]")
    })
}

fn reads(world: &World, grant: &str) {
    let done = exec_reads(world, &["--grant", grant], "alpha");
    assert_eq!((done.status.code(), done.stdout.as_str()), (Some(0), "hello from alpha\n"), "{done}");
}

#[test]
fn p12_what_leaves_the_catalogue_is_given_to_nobody_until_it_is_back() {
    let mut world = with_owners();
    let grant = approved(&world, "30m");
    let waiting = asked(&world, "30m");
    let mut job = Worker::start(&world, &["--grant", &grant], &[]);
    assert_eq!(job.read("alpha"), "hello from alpha\n");
    let (lease, stolen) = (last_lease(&world), job.credentials());

    let before = remove(&world, "ledger");
    world.reload();
    is_over(&world, &lease, "policy_changed");
    assert!(!world.can_read(&stolen, "alpha"));
    let words = ["\"ledger\" is no longer in the catalogue", "whoever maintains catalog.toml", "put it back"];
    eventually("the job is told", Duration::from_secs(20), || job.said().contains("rule: catalog"));
    // The client shows what the front said, as JSON.
    let refused = job.read("alpha").replace("\\\"", "\"");
    assert!(words.iter().all(|word| refused.contains(word)), "{refused}");
    not_started(&exec_reads(&world, &["--grant", &grant], "alpha"), 105, &words);
    // Nobody owns it now: who did is shown nothing of it, and learns why. Who had looked before is told the name.
    let late = approve(&world, User::Olga, &waiting);
    assert_eq!(late.status.code(), Some(3), "{late}");
    assert!(late.stderr.contains("no longer in the catalogue"), "{late}");
    assert!(late.stderr.contains("whoever maintains catalog.toml puts it back"), "{late}");
    let body = json!({ "digest": seen(&world, &waiting)["digest"] });
    let late = world.olga().curl("POST", &format!("/v1/grants/{waiting}/approve"), Some(&body));
    late.is_problem(409, "plan-changed", &[words[0]]);
    assert_eq!(late.body["who_can_fix"], words[1]);
    let anew = ["request", "--resource", "ledger", "--can", "object-storage:read", "--for", "5m", "--why", "x"];
    let anew = world.alice().grantctl(&anew);
    assert!(anew.status.code() == Some(4) && anew.stderr.contains("\"ledger\" is not in the catalogue"), "{anew}");

    fs::write(world.policy().join("catalog.toml"), before).unwrap();
    world.reload();
    eventually("the job reads again", Duration::from_secs(20), || job.read("alpha") == "hello from alpha\n");
    job.tell(&json!(["leave", 0]));
    assert_eq!(job.ended(), 0);
    let late = approve(&world, User::Olga, &waiting);
    assert!(late.success(), "{late}");
    reads(&world, &waiting);
    world.audit_verifies();
}

#[test]
fn p12_what_leaves_the_catalogue_between_approval_and_issue_is_not_issued() {
    let mut world = with_owners();
    let grant = approved(&world, "30m");
    let before = remove(&world, "ledger");
    world.reload();
    let words = ["\"ledger\" is no longer in the catalogue", "whoever maintains catalog.toml"];
    not_started(&exec_reads(&world, &["--grant", &grant], "alpha"), 105, &words);
    not_started(&exec_reads(&world, &["--grant", "auto"], "alpha"), 105, &words);
    assert!(world.proxy.ledger().is_empty());
    let shown = world.alice().grantctl(&["show", &grant]);
    assert!(shown.success(), "{shown}");
    fs::write(world.policy().join("catalog.toml"), before).unwrap();
    world.reload();
    reads(&world, &grant);
    assert_eq!(world.audited("grant.approval").len(), 1);
}

#[test]
fn p12_an_owner_who_is_none_any_more_at_the_issue_is_named_and_counts_again_when_back() {
    let mut world = with_owners();
    let grant = approved(&world, "30m");
    // No owner any more; and then an owner without the user under which the approval was given.
    owners(&world, "\"otto\"");
    world.reload();
    let words = ["olga is no owner of \"ledger\" any more", "the owners of ledger: otto", "have otto approve it"];
    not_started(&exec_reads(&world, &["--grant", "auto"], "alpha"), 103, &words);
    owners(&world, "\"olga\", \"otto\"");
    let people = world.policy().join("people.toml");
    let before = fs::read_to_string(&people).unwrap();
    fs::write(&people, before.replace("\"gt-olga\", ", "")).unwrap();
    world.reload();
    let words = [&format!("unix:{} is not an identity of the person olga any more", User::Olga.uid()), "the owners"];
    not_started(&exec_reads(&world, &["--grant", "auto"], "alpha"), 103, &words);
    assert!(world.proxy.ledger().is_empty());
    let shown = world.alice().grantctl(&["show", &grant]);
    assert!(shown.stdout.contains("olga"), "{shown}");

    fs::write(&people, before).unwrap();
    world.reload();
    reads(&world, &grant);
    assert_eq!((world.audited("grant.approval").len(), world.audited("lease.refused").len()), (1, 2));
    assert_eq!(seen(&world, &grant)["uses"], 1);
}
