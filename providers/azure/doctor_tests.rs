use grantd_provider_api::Provider;
use grantd_testkit::FakeFault;

use super::*;
use crate::testing::{BASE_PRINCIPAL, BLOB_READER, SLOTS, Stage, container, lease, request, subscription};

async fn findings(stage: &Stage) -> Vec<Finding> {
    stage.provider.examine("main", &[]).await.unwrap()
}

fn problems(findings: &[Finding]) -> Vec<(&'static str, &str)> {
    let bad = findings.iter().filter(|finding| finding.standing == Standing::Problem);
    bad.map(|finding| (finding.check, finding.found.as_str())).collect()
}

#[tokio::test]
async fn an_account_as_it_is_to_be_has_no_problem_and_nothing_is_changed() {
    let stage = Stage::new();
    let plan = stage.plan("object-storage:read", &container("logs"), None);
    let target = SLOTS[0].1.to_string();
    stage.provider.issue(&request(lease(), &plan, &target)).await.unwrap();
    let before = stage.fake.requests("").len();
    let found = findings(&stage).await;
    assert_eq!(problems(&found), [], "{found:?}");
    for check in ["base.token", "clock", "slot.token", "slot.assignments", "base.delegation"] {
        assert!(found.iter().any(|one| one.check == check && one.standing == Standing::Ok), "{check}: {found:?}");
    }
    let asked = stage.fake.requests("").split_off(before);
    assert!(asked.iter().all(|one| one.method == "GET" || one.path.ends_with("/token")), "{asked:?}");
}

#[tokio::test]
async fn a_base_that_could_hand_out_anything_and_a_slot_with_more_are_problems() {
    let stage = Stage::new();
    let owner = "8e3af657-a8ff-443c-a75c-2fe8c4bcb635".parse().unwrap();
    stage.fake.assign(&subscription(), owner, BASE_PRINCIPAL, None);
    let foreign = stage.fake.assign(&container("other"), BLOB_READER.parse().unwrap(), SLOTS[1].1, Some("by hand"));
    let found = findings(&stage).await;
    let bad = problems(&found);
    assert_eq!(bad.len(), 2, "{bad:?}");
    assert!(bad.iter().any(|(check, text)| *check == "slot.assignments" && text.contains(&foreign)), "{bad:?}");
    assert!(bad.iter().any(|(check, text)| *check == "base.delegation" && text.contains("Owner")), "{bad:?}");
}

#[tokio::test]
async fn a_slot_that_takes_no_word_or_is_another_is_a_problem_and_silence_is_no_good_news() {
    let stage = Stage::new();
    stage.fake.mix_up_principals(SLOTS[1].1);
    let bad = findings(&stage).await;
    assert!(problems(&bad).iter().any(|(check, _)| *check == "slot.token"), "{bad:?}");
    let stage = Stage::new();
    for _ in 0..3 {
        stage.fake.fault("POST", "/token", FakeFault::Status(401));
    }
    stage.fake.publish(crate::testing::ISSUER, serde_json::json!({ "keys": [] }));
    let found = findings(&stage).await;
    assert!(problems(&found).iter().any(|(check, _)| *check == "base.token"), "{found:?}");
    assert!(
        found.iter().any(|one| one.check == "base.delegation" && one.standing == Standing::NotChecked),
        "{found:?}"
    );
    assert!(found.iter().all(|one| one.standing != Standing::Ok), "{found:?}");
}
