use grantd_provider_api::{Finding, Provider as _, ResourceRef, Standing};
use grantd_testkit::FakeGoogle;
use serde_json::json;

use crate::testing::{ALPHA, Stage, entitlement, fresh};

async fn found(stage: &Stage) -> Vec<Finding> {
    let resources: Vec<ResourceRef> = vec![entitlement("object-storage:read", ALPHA, None).resource];
    stage.gcp.examine("prod", &resources).await.unwrap()
}

fn of<'a>(findings: &'a [Finding], check: &str) -> &'a Finding {
    findings.iter().find(|finding| finding.check == check).unwrap_or_else(|| panic!("no {check} in {findings:?}"))
}

#[tokio::test]
async fn a_good_account_is_told_to_be_good_and_what_was_not_looked_at_is_told() {
    let stage = Stage::new("");
    let findings = found(&stage).await;
    for check in ["base.exchange", "clock", "admin.constrained", "service_account.token", "policy.read", "policy.write"]
    {
        assert_eq!(of(&findings, check).standing, Standing::Ok, "{findings:?}");
    }
    assert_eq!(of(&findings, "members.constrained").standing, Standing::NotChecked);
    let writes = stage.fake.requests().iter().filter(|one| one["method"].as_str().unwrap().contains("setIam")).count();
    assert_eq!(writes, 0, "the doctor changes nothing");
}

#[tokio::test]
async fn each_thing_that_is_wrong_is_told_with_what_to_do() {
    let stage = Stage::new("");
    let daemon = FakeGoogle::principal(FakeGoogle::SUBJECT);
    let project = "//cloudresourcemanager.googleapis.com/projects/acme-prod";
    let other = FakeGoogle::principal(&fresh().to_string()).replace("/grantd/", "/other-pool/");
    let dead = FakeGoogle::principal(&fresh().to_string());
    let ended = json!({ "title": "grantd until 2020-01-01T00:00:00Z", "expression": "request.time < timestamp(\"2020-01-01T00:00:00Z\")" });
    stage.fake.control(
        "setup",
        &json!({ "forward": 40, "policies": {
        project: { "bindings": [
            { "role": "roles/storage.admin", "members": [daemon] },
            { "role": "projects/acme-prod/roles/grantd_reader", "members": [daemon] },
        ] },
        ALPHA: { "bindings": [{ "role": "roles/storage.objectViewer", "members": [dead, other], "condition": ended }] },
    } }),
    );
    let findings = found(&stage).await;
    assert_eq!(of(&findings, "admin.constrained").standing, Standing::Problem);
    assert!(of(&findings, "admin.constrained").found.contains("roles/storage.admin"));
    assert_eq!(of(&findings, "clock").standing, Standing::Problem);
    assert_eq!(of(&findings, "policy.bindings").standing, Standing::Warning);
    assert_eq!(of(&findings, "policy.foreign").standing, Standing::Warning);
    assert!(
        findings.iter().filter(|finding| finding.standing == Standing::Problem).all(|finding| finding.fix.is_some())
    );
}

#[tokio::test]
async fn without_a_token_the_rest_is_told_as_not_looked_at() {
    let stage = Stage::new("");
    stage.fake.control(
        "setup",
        &json!({ "faults": [{ "path": "sts.googleapis.com", "times": 2, "status": 400, "body": { "error": "invalid_grant" } }] }),
    );
    let findings = found(&stage).await;
    assert_eq!(of(&findings, "base.exchange").standing, Standing::Problem);
    assert_eq!(of(&findings, "policies").standing, Standing::NotChecked);
}
