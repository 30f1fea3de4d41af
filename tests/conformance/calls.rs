//! What a vend and a revocation cost in calls to the cloud: exactly these, in this order. A call more is slower and comes
//! nearer to a quota for every lease; whoever adds one sees it here.
//!
//! The broker asks an adapter once to issue, once to deny and once to confirm for each lease that nothing goes wrong with.

use std::time::Duration;

use grantd_provider_api::Confirmation;
use grantd_testkit::conformance::{Held, Stage};

use crate::azure::AzureStage;
use crate::gcp::GcpStage;

const LONG: Duration = Duration::from_secs(900);

/// The calls of each step: two vends, of which the first finds the daemon without any token, and the end of one.
struct Calls {
    first: Vec<String>,
    next: Vec<String>,
    deny: Vec<String>,
    confirm: Vec<String>,
    patrol: Vec<String>,
}

async fn calls(stage: &dyn Stage, seen: &dyn Fn() -> Vec<String>) -> Calls {
    let [one, other] = stage.entitlements();
    let mut before = seen().len();
    let mut since = || {
        let mut all = seen();
        let new = all.split_off(before);
        before += new.len();
        new
    };
    let held = Held::intent(stage, &one, 0, LONG);
    held.issue(stage).await.unwrap();
    let first = since();
    let nth = usize::from(held.target.capacity == 1);
    Held::intent(stage, &other, nth, LONG).issue(stage).await.unwrap();
    let next = since();
    let (scope, entries) = (held.target.scope.clone(), [held.entry()]);
    stage.provider().deny(&scope, &entries, stage.clock().now()).await.unwrap();
    let deny = since();
    assert_eq!(stage.provider().confirm(&scope, &entries).await.unwrap(), [Confirmation::InForce]);
    let confirm = since();
    // The revoker looks at what was denied from time to time, until the last token is dead.
    stage.provider().deny(&scope, &entries, stage.clock().now()).await.unwrap();
    Calls { first, next, deny, confirm, patrol: since() }
}

#[tokio::test(flavor = "multi_thread")]
async fn on_azure() {
    let stage = AzureStage::new();
    let found = calls(&stage, &|| stage.calls()).await;
    let vend = ["POST token", "GET roleAssignments", "PUT roleAssignments/{name}", "GET roleAssignments", "GET blob"];
    assert_eq!(found.next, vend);
    // The daemon's own token comes in between, and serves for an hour.
    assert_eq!(found.first, [&vend[..1], &["POST token"], &vend[1..]].concat());
    assert_eq!(found.deny, ["DELETE roleAssignments/{name}"]);
    assert_eq!(found.confirm, ["GET roleAssignments/{name}"]);
    assert_eq!(found.patrol, ["GET roleAssignments/{name}"], "what is gone is looked at and not removed again");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_azure_with_a_backstop() {
    let stage = AzureStage::with_backstop();
    let found = calls(&stage, &|| stage.calls()).await;
    let vend = [
        "POST token",
        "GET roleAssignments",
        "PUT roleAssignmentScheduleRequests/{name}",
        "GET roleAssignments",
        "GET roleAssignmentScheduleRequests",
        "GET roleAssignmentScheduleInstances",
        "GET blob",
    ];
    assert_eq!(found.next, vend);
    assert_eq!(found.first, [&vend[..1], &["POST token"], &vend[1..]].concat());
    // In its first five minutes, which is the longer way.
    assert_eq!(
        found.deny,
        [
            "GET roleAssignmentScheduleRequests/{name}",
            "PUT roleAssignmentScheduleRequests/{name}",
            "GET roleAssignmentScheduleInstances",
            "DELETE roleAssignments/{name}",
        ]
    );
    let seen =
        ["GET roleAssignmentScheduleRequests/{name}", "GET roleAssignmentScheduleInstances", "GET roleAssignments"];
    assert_eq!(found.confirm, seen);
    assert_eq!(found.patrol, seen);
}

#[tokio::test(flavor = "multi_thread")]
async fn on_google_cloud() {
    let stage = GcpStage::new();
    let found = calls(&stage, &|| stage.calls()).await;
    let vend = ["sts.token", "storage.buckets.getIamPolicy", "storage.buckets.setIamPolicy", "storage.objects.list"];
    assert_eq!(found.next, vend);
    // The daemon's own token comes first, and serves for an hour.
    assert_eq!(found.first, [&["sts.token"], &vend[..]].concat());
    assert_eq!(found.deny, ["storage.buckets.getIamPolicy", "storage.buckets.setIamPolicy"]);
    assert_eq!(found.confirm, ["storage.buckets.getIamPolicy"]);
    assert_eq!(found.patrol, ["storage.buckets.getIamPolicy"], "what is not there is not written away");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_google_cloud_by_impersonation() {
    let stage = GcpStage::impersonating();
    let found = calls(&stage, &|| stage.calls()).await;
    let vend = [
        "iamcredentials.projects.serviceAccounts.generateAccessToken",
        "sts.token",
        "storage.buckets.getIamPolicy",
        "storage.buckets.setIamPolicy",
        "storage.objects.list",
    ];
    assert_eq!(found.next, vend);
    assert_eq!(found.first, [&["sts.token"], &vend[..]].concat());
    assert_eq!(found.deny, ["storage.buckets.getIamPolicy", "storage.buckets.setIamPolicy"]);
    assert_eq!(found.confirm, ["storage.buckets.getIamPolicy"]);
    assert_eq!(found.patrol, ["storage.buckets.getIamPolicy"]);
}
