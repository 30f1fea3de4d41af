use std::time::Duration;

use grantd_provider_api::{Confirmation, ErrorKind, Provider, Trial};
use grantd_testkit::FakeFault;
use uuid::Uuid;

use super::*;
use crate::testing::{BLOB_READER, SLOTS, Stage, container, lease, machine, now, request};

#[tokio::test]
async fn p10_taking_one_lease_away_leaves_its_neighbour() {
    let stage = Stage::new();
    let plan = stage.plan("object-storage:read", &container("logs"), None);
    let (first, second) = (lease(), lease());
    let (a, b) = (SLOTS[0].1.to_string(), SLOTS[1].1.to_string());
    let one = stage.provider.issue(&request(first, &plan, &a)).await.unwrap();
    let other = stage.provider.issue(&request(second, &plan, &b)).await.unwrap();
    let entry = stage.entry(&plan, first, 0);
    assert_eq!(
        stage.provider.confirm(&stage.scope(0), std::slice::from_ref(&entry)).await.unwrap(),
        [Confirmation::Absent]
    );
    let receipt = stage.provider.deny(&stage.scope(0), std::slice::from_ref(&entry), now()).await.unwrap();
    assert!(!receipt.unchanged);
    assert_eq!(
        stage.provider.confirm(&stage.scope(0), std::slice::from_ref(&entry)).await.unwrap(),
        [Confirmation::InForce]
    );
    assert!(stage.fake.assignments_of(SLOTS[0].1).is_empty());
    assert_eq!(stage.fake.assignments_of(SLOTS[1].1).len(), 1);
    assert_eq!(stage.provider.try_session(&plan, &one.credential).await.unwrap(), Trial::Refused);
    assert_eq!(stage.provider.try_session(&plan, &other.credential).await.unwrap(), Trial::Allowed);
    // Again: nothing is there, so nothing is written.
    let again = stage.provider.deny(&stage.scope(0), &[entry], now()).await.unwrap();
    assert!(again.unchanged);
    let removals = stage.fake.requests("roleAssignments/").into_iter().filter(|one| one.method == "DELETE").count();
    assert_eq!(removals, 1, "what was seen to be gone is only looked at");
}

#[tokio::test]
async fn what_came_back_after_it_was_gone_is_removed_again() {
    let stage = Stage::new();
    let plan = stage.plan("virtual-machine:admin", &machine(), None);
    let (lease, target) = (lease(), SLOTS[0].1.to_string());
    let entry = stage.entry(&plan, lease, 0);
    // Of a session that may never have been made, too.
    assert!(stage.provider.deny(&stage.scope(0), std::slice::from_ref(&entry), now()).await.unwrap().unchanged);
    // The request that was thought lost arrives late.
    stage.provider.issue(&request(lease, &plan, &target)).await.unwrap();
    assert_eq!(
        stage.provider.confirm(&stage.scope(0), std::slice::from_ref(&entry)).await.unwrap(),
        [Confirmation::Absent]
    );
    assert!(!stage.provider.deny(&stage.scope(0), &[entry], now()).await.unwrap().unchanged);
    assert!(stage.fake.assignments_of(SLOTS[0].1).is_empty());
}

#[tokio::test]
async fn p4_only_not_found_proves_that_it_is_gone() {
    let stage = Stage::new();
    let plan = stage.plan("object-storage:read", &container("logs"), None);
    let entry = stage.entry(&plan, lease(), 0);
    for fault in [FakeFault::Status(403), FakeFault::Status(404), FakeFault::Status(204), FakeFault::Garbage] {
        stage.fake.fault("GET", "roleAssignments/", fault);
        let answer = stage.provider.confirm(&stage.scope(0), std::slice::from_ref(&entry)).await;
        assert!(answer.is_err(), "{fault:?} was taken for a proof");
    }
    assert_eq!(stage.provider.confirm(&stage.scope(0), &[entry]).await.unwrap(), [Confirmation::InForce]);
}

#[tokio::test]
async fn a_removal_that_fails_is_tried_again_at_the_pace_that_is_asked_for_and_told_otherwise() {
    let stage = Stage::new();
    let plan = stage.plan("object-storage:read", &container("logs"), None);
    let (lease, target) = (lease(), SLOTS[0].1.to_string());
    stage.provider.issue(&request(lease, &plan, &target)).await.unwrap();
    let entry = stage.entry(&plan, lease, 0);
    stage.fake.fault("DELETE", "roleAssignments/", FakeFault::Throttle(1));
    stage.fake.fault("DELETE", "roleAssignments/", FakeFault::Status(503));
    assert!(!stage.provider.deny(&stage.scope(0), std::slice::from_ref(&entry), now()).await.unwrap().unchanged);
    for _ in 0..4 {
        stage.fake.fault("GET", "roleAssignments/", FakeFault::Status(500));
    }
    let error = stage.provider.deny(&stage.scope(0), &[entry], now()).await.unwrap_err();
    assert!(error.retryable(), "{error}");
    assert!(stage.provider.health()[0].last_error.is_some());
}

#[tokio::test]
async fn one_entry_that_cannot_be_removed_holds_up_no_other() {
    let stage = Stage::new();
    let plan = stage.plan("object-storage:read", &container("logs"), None);
    let (lease, target) = (lease(), SLOTS[0].1.to_string());
    stage.provider.issue(&request(lease, &plan, &target)).await.unwrap();
    let mut senseless = stage.entry(&plan, crate::testing::lease(), 0);
    senseless.session_name = "deploy-abc".to_owned();
    let good = stage.entry(&plan, lease, 0);
    let error = stage.provider.deny(&stage.scope(0), &[senseless, good], now()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config);
    assert!(stage.fake.assignments_of(SLOTS[0].1).is_empty());
}

#[tokio::test]
async fn p2_what_bears_our_mark_is_found_and_only_that_is_removed() {
    let stage = Stage::new();
    let plan = stage.plan("object-storage:read", &container("logs"), None);
    let (lease, target) = (lease(), SLOTS[0].1.to_string());
    stage.provider.issue(&request(lease, &plan, &target)).await.unwrap();
    let reader = Uuid::try_parse(BLOB_READER).unwrap();
    let foreign = stage.fake.assign(&container("other"), reader, SLOTS[0].1, Some("by hand"));
    let marks = stage.provider.marked(&stage.scope(0)).await.unwrap();
    assert_eq!(marks, [Mark { lease, name: stage.entry(&plan, lease, 0).session_name }]);
    assert!(stage.provider.marked(&stage.scope(1)).await.unwrap().is_empty());
    // A mark that is not there, one that is somebody else's, and the real one.
    let wrong = [
        Mark { lease, name: foreign.clone() },
        Mark { lease, name: stage.entry(&plan, crate::testing::lease(), 0).session_name },
    ];
    stage.provider.remove(&stage.scope(0), &wrong).await.unwrap();
    stage.provider.remove(&stage.scope(1), &marks).await.unwrap();
    assert_eq!(stage.fake.assignments_of(SLOTS[0].1).len(), 2, "nothing of these is that slot's and marked so");
    stage.provider.remove(&stage.scope(0), &marks).await.unwrap();
    let left: Vec<String> = stage.fake.assignments_of(SLOTS[0].1).into_iter().map(|one| one.id).collect();
    assert_eq!(left, [foreign]);
}

#[tokio::test]
async fn a_removal_whose_answer_was_lost_is_done_all_the_same() {
    let stage = Stage::new();
    let plan = stage.plan("object-storage:read", &container("logs"), None);
    let (lease, target) = (lease(), SLOTS[0].1.to_string());
    stage.provider.issue(&request(lease, &plan, &target)).await.unwrap();
    stage.fake.fault("DELETE", "roleAssignments/", FakeFault::LoseAnswer);
    let entry = stage.entry(&plan, lease, 0);
    stage.provider.deny(&stage.scope(0), &[entry], now()).await.unwrap();
    assert!(stage.fake.assignments_of(SLOTS[0].1).is_empty());
}

#[tokio::test]
async fn p11_a_silent_azure_is_given_up_in_time() {
    let stage = Stage::new();
    let plan = stage.plan("object-storage:read", &container("logs"), None);
    let entry = stage.entry(&plan, lease(), 0);
    for _ in 0..4 {
        stage.fake.fault("DELETE", "roleAssignments/", FakeFault::Delay(Duration::from_secs(3_600)));
    }
    let error = stage.provider.deny(&stage.scope(0), &[entry], now()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unknown, "{error}");
}
