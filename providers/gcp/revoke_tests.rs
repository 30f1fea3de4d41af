use std::sync::Arc;

use grantd_provider_api::{Clock as _, Cloud, Credential, Provider as _, SystemClock, Trial};
use grantd_testkit::FakeGoogle;
use serde_json::json;

use super::*;
use crate::testing::{ALPHA, Stage, adapter, entitlement, fresh, map};

fn pool_scope(stage: &Stage) -> DenyScope {
    stage.gcp.scopes().into_iter().find(|scope| scope.name.starts_with("principal://")).unwrap()
}

#[tokio::test]
async fn p10_one_lease_is_taken_back_and_its_neighbour_is_not() {
    let stage = Stage::new("");
    let plan = stage.plan(None);
    let (one, two) = tokio::join!(stage.issue(&plan, 300), stage.issue(&plan, 300));
    let receipt = stage.deny(&[&one]).await;
    assert!(!receipt.unchanged);
    assert_eq!(stage.fake.read(one.token(), "alpha", "in/hello.txt"), 403);
    assert_eq!(stage.fake.read(two.token(), "alpha", "in/hello.txt"), 200);
    assert_eq!(stage.gcp.try_session(&plan, &one.issued.credential).await, Ok(Trial::Refused));
    assert_eq!(stage.gcp.try_session(&plan, &two.issued.credential).await, Ok(Trial::Allowed));
    let said = stage.gcp.confirm(&one.target.scope, &[one.entry.clone(), two.entry.clone()]).await.unwrap();
    assert_eq!(said, [Confirmation::InForce, Confirmation::Absent]);
    // Again, and nothing is written.
    assert!(stage.deny(&[&one]).await.unchanged);
    assert_eq!(stage.ours(), 1);
}

#[tokio::test]
async fn p10_a_second_writer_in_between_loses_nothing() {
    let stage = Stage::new("");
    let plan = stage.plan(None);
    let lease = stage.issue(&plan, 300).await;
    let theirs = json!({ "role": "roles/storage.objectViewer", "members": ["user:eve@example.com"],
        "condition": { "title": "theirs", "expression": "request.time < timestamp(\"2098-01-01T00:00:00Z\")" } });
    stage.fake.control("setup", &json!({ "races": [{ "name": ALPHA, "binding": theirs }] }));
    stage.deny(&[&lease]).await;
    let bindings = stage.fake.bindings("alpha");
    assert!(bindings.contains(&theirs), "{bindings:?}");
    assert_eq!(bindings.len(), 3);
    // Two daemons on one policy, many leases at once: each finds the other's.
    let other = adapter(stage.fake.url(), &stage.signer, "", "1010ms");
    let mine = join((0..3).map(|_| stage.issue(&plan, 300)));
    let twin = Stage { fake: FakeGoogle::start().unwrap(), gcp: other, signer: Arc::clone(&stage.signer) };
    let yours = join((0..3).map(|_| twin.issue(&plan, 300)));
    let (mine, yours) = tokio::join!(mine, yours);
    for lease in mine.iter().chain(&yours) {
        assert_eq!(stage.fake.read(lease.token(), "alpha", "in/hello.txt"), 200);
    }
}

#[tokio::test]
async fn p4_forbidden_proves_nothing_and_gone_proves_absence() {
    let stage = Stage::new("");
    let lease = stage.issue(&stage.plan(None), 300).await;
    let forbidden = json!({ "faults": [{ "path": "/b/alpha/iam", "status": 403, "body": { "error": { "status": "PERMISSION_DENIED" } } }] });
    stage.fake.control("setup", &forbidden);
    let entries = std::slice::from_ref(&lease.entry);
    assert_eq!(stage.gcp.confirm(&lease.target.scope, entries).await.unwrap_err().kind, ErrorKind::Refused);
    stage.fake.control("setup", &forbidden);
    assert!(stage.gcp.deny(&lease.target.scope, entries, SystemClock::new().now()).await.is_err());
    stage.fake.control("delete", &json!({ "name": ALPHA }));
    assert!(stage.deny(&[&lease]).await.unchanged);
    assert_eq!(stage.gcp.confirm(&lease.target.scope, entries).await.unwrap(), [Confirmation::InForce]);
}

#[tokio::test]
async fn p2_the_sweep_tells_of_what_is_ours_by_any_hand_and_removes_it_alone() {
    let stage = Stage::new("");
    let lease = stage.issue(&stage.plan(None), 300).await;
    // As after a restart: nothing is remembered, the search tells where to look.
    let after = Stage {
        gcp: adapter(stage.fake.url(), &stage.signer, "", "1010ms"),
        fake: FakeGoogle::start().unwrap(),
        signer: Arc::clone(&stage.signer),
    };
    let marks = after.gcp.marked(&pool_scope(&stage)).await.unwrap();
    assert_eq!(marks.iter().map(|mark| mark.lease).collect::<Vec<_>>(), [lease.entry.lease]);
    assert!(marks[0].name.contains(&lease.member()) && marks[0].name.ends_with(ALPHA));
    after.gcp.remove(&pool_scope(&stage), &marks).await.unwrap();
    assert_eq!(stage.ours(), 0);
    assert_eq!(after.gcp.marked(&pool_scope(&stage)).await.unwrap(), []);
}

#[tokio::test]
async fn what_has_ended_by_itself_is_tidied_away_and_told_of_to_nobody() {
    let stage = Stage::new("");
    let ended = json!({ "bindings": [
        { "role": "roles/storage.objectViewer", "members": [FakeGoogle::principal(&fresh().to_string()), "user:x@example.com"],
          "condition": { "title": "grantd until 2020-01-01T00:00:00Z", "expression": "request.time < timestamp(\"2020-01-01T00:00:00Z\")" } },
    ] });
    stage.fake.control("setup", &json!({ "policies": { ALPHA: ended } }));
    assert_eq!(stage.gcp.marked(&pool_scope(&stage)).await.unwrap(), []);
    let left = stage.fake.bindings("alpha");
    assert_eq!(left[0]["members"], json!(["user:x@example.com"]), "{left:?}");
}

#[tokio::test]
async fn a_binding_without_an_end_is_found_and_removed_by_its_principal() {
    let stage = Stage::new("");
    let roles = "[[capability.\"queue:read\".roles]]\nrole = \"roles/pubsub.subscriber\"\ntitle = \"Pub/Sub Subscriber\"\n\
                 permissions = [\"pubsub.subscriptions.consume\"]\non = \"{native}\"";
    let map = map("queue:read", roles, "expiry = \"daemon\"");
    let native = "//pubsub.googleapis.com/projects/acme-prod/subscriptions/jobs";
    let plan = stage.gcp.plan(&entitlement("queue:read", native, None), &map).unwrap();
    assert_eq!(stage.gcp.harmless(&plan).as_deref(), Some("pubsub.subscriptions.consume"));
    let lease = stage.issue(&plan, 300).await;
    assert!(lease.issued.notes.is_empty(), "{:?}", lease.issued.notes);
    assert_eq!(stage.gcp.try_session(&plan, &lease.issued.credential).await, Ok(Trial::Allowed));
    assert_eq!(stage.gcp.marked(&pool_scope(&stage)).await.unwrap().len(), 1);
    stage.deny(&[&lease]).await;
    assert_eq!(stage.fake.policy(native)["bindings"], json!([]));
    assert_eq!(stage.gcp.try_session(&plan, &lease.issued.credential).await, Ok(Trial::Refused));
}

#[tokio::test]
async fn p11_a_silent_google_pauses_issues_and_never_revocation() {
    let stage = Stage::new("");
    let plan = stage.plan(None);
    let lease = stage.issue(&plan, 300).await;
    let (good, dead) = (stage.fake.url(), "http://127.0.0.1:1");
    let gcp = adapter(dead, &stage.signer, "", "0s");
    let request = crate::testing::request(&plan, &lease.target.name, fresh(), SystemClock::new().now(), 300);
    for _ in 0..5 {
        assert_eq!(gcp.issue(&request).await.unwrap_err().kind, ErrorKind::Unreachable);
    }
    assert!(gcp.issue(&request).await.unwrap_err().message.contains("paused after 5"));
    assert!(gcp.health()[0].last_error.is_some());
    let entries = std::slice::from_ref(&lease.entry);
    let error = gcp.deny(&lease.target.scope, entries, SystemClock::new().now()).await.unwrap_err();
    assert!(error.message.contains("no connection"), "{error}");
    assert!(stage.gcp.health()[0].last_error.is_none(), "{good}");
}

#[tokio::test]
async fn scopes_of_other_clouds_and_names_that_are_none_are_refused() {
    let stage = Stage::new("asset_search = false");
    let scope = |cloud, name: &str| DenyScope { cloud, account: "prod".to_owned(), name: name.to_owned() };
    assert!(stage.gcp.marked(&scope(Cloud::Aws, ALPHA)).await.is_err());
    assert!(stage.gcp.capacity(&scope(Cloud::Gcp, "arn:aws:iam::1:role/x")).is_err());
    assert_eq!(stage.gcp.capacity(&scope(Cloud::Gcp, "serviceAccount:once@acme-prod.iam.gserviceaccount.com")), Ok(1));
    assert_eq!(stage.gcp.marked(&scope(Cloud::Gcp, ALPHA)).await.unwrap(), []);
    let aws = Credential::Azure {
        tenant: String::new(),
        client_id: String::new(),
        subscription: String::new(),
        tokens: Vec::new(),
    };
    assert!(stage.gcp.try_session(&stage.plan(None), &aws).await.is_err());
}
