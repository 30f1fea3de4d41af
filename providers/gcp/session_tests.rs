use grantd_provider_api::{Clock as _, Provider as _, SystemClock};
use grantd_testkit::FakeGoogle;
use serde_json::json;

use super::*;
use crate::testing::{ALPHA, READ, Stage, entitlement, fresh, map, request};

#[tokio::test]
async fn a_lease_is_a_principal_of_its_own_that_can_do_what_was_planned_and_no_more() {
    let stage = Stage::new("");
    let lease = stage.issue(&stage.plan(Some("in/")), 300).await;
    let (fake, token) = (&stage.fake, lease.token());
    assert_eq!(fake.read(token, "alpha", "in/hello.txt"), 200);
    assert_eq!(fake.list(token, "alpha", "in/"), 200);
    assert_eq!(fake.read(token, "alpha", "out/hello.txt"), 403);
    assert_eq!(fake.list(token, "alpha", ""), 403);
    assert_eq!(fake.read(token, "beta", "in/hello.txt"), 403);
    assert_eq!(lease.issued.native_id, lease.member());
    assert!(lease.issued.notes.is_empty(), "it was seen to be felt: {:?}", lease.issued.notes);
    assert_eq!(stage.ours(), 1);
}

#[tokio::test]
async fn p3_access_ends_to_the_second_though_the_token_lives() {
    let stage = Stage::new("");
    let lease = stage.issue(&stage.plan(None), 120).await;
    assert_eq!(stage.fake.read(lease.token(), "alpha", "in/hello.txt"), 200);
    let left = lease.until.duration_since(SystemClock::new().now()).as_secs_f64();
    stage.fake.control("setup", &json!({ "forward": left - 1.0 }));
    assert_eq!(stage.fake.read(lease.token(), "alpha", "in/hello.txt"), 200);
    stage.fake.control("setup", &json!({ "forward": 1.0 }));
    assert_eq!(stage.fake.read(lease.token(), "alpha", "in/hello.txt"), 403);
    assert!(lease.issued.token_until > lease.until);
}

#[tokio::test]
async fn p3_what_leases_share_ends_before_their_end_and_is_told() {
    let stage = Stage::new("share_expiry = \"60s\"");
    let plan = stage.plan(None);
    let (one, two) = tokio::join!(stage.issue(&plan, 301), stage.issue(&plan, 302));
    let ends: Vec<String> = stage
        .fake
        .bindings("alpha")
        .iter()
        .filter_map(|binding| binding["condition"]["title"].as_str()?.strip_prefix("grantd until ").map(str::to_owned))
        .collect();
    assert!(ends.len() <= 2 && !ends.is_empty(), "{ends:?}");
    for lease in [&one, &two] {
        assert!(ends.iter().all(|end| end.parse::<Timestamp>().unwrap() <= lease.until));
        let rounded = lease.until.as_second() % 60 != 0;
        assert_eq!(lease.issued.notes.iter().any(|note| note.contains("share_expiry")), rounded);
    }
}

#[tokio::test]
async fn issues_that_come_together_are_one_write() {
    let stage = Stage::new("");
    let plan = stage.plan(None);
    let first = stage.issue(&plan, 300).await;
    let writes = || stage.fake.requests().iter().filter(|one| one["method"] == "storage.buckets.setIamPolicy").count();
    let before = writes();
    let leases = crate::revoke::join((0..8).map(|_| stage.issue(&plan, 300))).await;
    assert!(writes() - before <= 2, "{} writes", writes() - before);
    for lease in leases.iter().chain([&first]) {
        assert_eq!(stage.fake.read(lease.token(), "alpha", "in/hello.txt"), 200);
    }
}

#[tokio::test]
async fn p2_a_lost_answer_of_the_write_is_told_as_unknown_and_undone_by_name() {
    let stage = Stage::new("");
    let plan = stage.plan(None);
    let target = stage.gcp.targets(&plan).unwrap().remove(0);
    let lease = fresh();
    let request = request(&plan, &target.name, lease, SystemClock::new().now(), 300);
    let name = stage.gcp.place(&request).unwrap().session_name;
    for mut fault in [json!({ "drop": true }), json!({ "status": 503 }), json!({ "status": 200, "body": {} })] {
        fault["path"] = json!("/b/alpha/iam");
        fault["verb"] = json!("PUT");
        fault["after"] = json!(true);
        stage.fake.control("setup", &json!({ "forward": 2, "faults": [fault] }));
        let error = stage.gcp.issue(&request).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unknown, "{error}");
        assert_eq!(stage.ours(), 1, "it was done all the same");
        let entry = crate::testing::entry(lease, &name, &target.name);
        stage.fake.control("setup", &json!({ "forward": 2 }));
        stage.gcp.deny(&target.scope, std::slice::from_ref(&entry), SystemClock::new().now()).await.unwrap();
        assert_eq!(stage.ours(), 0);
    }
}

#[tokio::test]
async fn p2_what_fails_before_a_binding_is_written_made_nothing() {
    let stage = Stage::new("");
    let plan = stage.plan(None);
    for (faults, kind) in [
        (json!([{ "path": "sts.googleapis.com", "status": 503, "times": 1 }]), ErrorKind::Unreachable),
        (json!([{ "path": "/b/alpha/iam", "verb": "GET", "drop": true }]), ErrorKind::Unreachable),
        (json!([{ "path": "/b/alpha/iam", "verb": "PUT", "times": 4, "status": 429 }]), ErrorKind::Throttled),
        (
            json!([{ "path": "/b/alpha/iam", "verb": "PUT", "status": 403, "body": { "error": { "status": "PERMISSION_DENIED" } } }]),
            ErrorKind::Refused,
        ),
    ] {
        stage.fake.control("setup", &json!({ "faults": faults, "forward": 2 }));
        let error = stage.try_issue(&plan, 300).await.unwrap_err();
        assert_eq!(error.kind, kind, "{error}");
        assert!(!error.may_have_happened());
        assert_eq!(stage.ours(), 0);
    }
}

#[tokio::test]
async fn a_full_policy_refuses_with_its_count_and_others_are_served() {
    let stage = Stage::new("");
    let mut full = FakeGoogle::foreign();
    for n in 0..99 {
        full.as_array_mut().unwrap().push(json!({
            "role": "roles/storage.objectViewer", "members": ["user:a@example.com"],
            "condition": { "title": format!("t{n}"), "expression": "true" },
        }));
    }
    stage.fake.control("setup", &json!({ "policies": { ALPHA: { "bindings": full } } }));
    let error = stage.try_issue(&stage.plan(None), 300).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Capacity);
    assert!(error.message.contains("100 conditional bindings"), "{error}");
}

#[tokio::test]
async fn access_that_is_not_felt_yet_is_told() {
    let stage = Stage::new("ready_within = \"600ms\"");
    stage.fake.control("setup", &json!({ "delay": 3600 }));
    let lease = stage.issue(&stage.plan(None), 300).await;
    assert!(
        lease.issued.notes.iter().any(|note| note.contains("does not show this access yet")),
        "{:?}",
        lease.issued.notes
    );
    assert_eq!(stage.fake.read(lease.token(), "alpha", "in/hello.txt"), 403);
}

#[tokio::test]
async fn impersonation_gives_a_bounded_token_that_lives_as_long_as_the_lease() {
    let stage = Stage::new("");
    let map = map("object-storage:read", READ, "carrier = \"service_account\"");
    let plan = stage.gcp.plan(&entitlement("object-storage:read", ALPHA, Some("in/")), &map).unwrap();
    let targets = stage.gcp.targets(&plan).unwrap();
    assert_eq!(targets.iter().map(|target| target.capacity).collect::<Vec<_>>(), [1, 1]);
    assert_ne!(targets[0].scope, targets[1].scope, "each carries one lease at a time");
    let lease = stage.issue(&plan, 300).await;
    assert_eq!(stage.fake.read(lease.token(), "alpha", "in/hello.txt"), 200);
    assert_eq!(stage.fake.read(lease.token(), "alpha", "out/hello.txt"), 403);
    let late = lease.issued.token_until.duration_since(lease.until).as_secs();
    assert!((-2..=5).contains(&late), "the token ends with the lease: {late}");
    // Whatever else the account may do, the token may not.
    let member = format!("serviceAccount:{}", lease.entry.target);
    stage.fake.control(
        "setup",
        &json!({ "policies": { "//storage.googleapis.com/projects/_/buckets/beta": {
        "bindings": [{ "role": "roles/storage.objectViewer", "members": [member] }] } } }),
    );
    assert_eq!(stage.fake.read(&stage.fake.token_of(&member), "beta", "in/hello.txt"), 200);
    assert_eq!(stage.fake.read(lease.token(), "beta", "in/hello.txt"), 403);
    stage.deny(&[&lease]).await;
    assert_eq!(stage.ours(), 0);
    assert_eq!(stage.fake.read(lease.token(), "alpha", "in/hello.txt"), 403);
}

#[test]
fn a_session_name_says_where_it_stands() {
    let lease = fresh();
    let policies = [ALPHA.to_owned(), "//cloudresourcemanager.googleapis.com/projects/acme-prod".to_owned()];
    let found = policies_of(&session_name(lease, &policies)).unwrap();
    assert_eq!(found.iter().map(ToString::to_string).collect::<Vec<_>>(), policies);
    assert!(policies_of("deploy-abcdefghij").is_err());
}
