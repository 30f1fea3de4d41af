use grantd_provider_api::{ErrorKind, Provider};
use grantd_testkit::FakeFault;
use uuid::Uuid;

use super::*;
use crate::names::{assignment, mark, role_definition};
use crate::testing::{BLOB_READER, SLOTS, SUBSCRIPTION, Stage, container, lease};

fn wanted() -> Wanted {
    let lease = lease();
    Wanted {
        id: assignment(&container("logs"), lease, 0),
        role_definition_id: role_definition(SUBSCRIPTION, Uuid::try_parse(BLOB_READER).unwrap()),
        principal_id: SLOTS[0].1,
        condition: None,
        description: mark(lease),
    }
}

fn arm(stage: &Stage) -> &Arm {
    &stage.provider.accounts.get("main").unwrap().arm
}

#[tokio::test]
async fn p2_an_answer_that_was_lost_means_that_it_may_stand_there() {
    for (faults, kind) in [
        // Tried again, it stands there and is ours: as good as made.
        (vec![FakeFault::LoseAnswer], None),
        (vec![FakeFault::Status(500)], None),
        (vec![FakeFault::Throttle(1)], None),
        (vec![FakeFault::Reset], None),
        (vec![FakeFault::Garbage], Some(ErrorKind::Unknown)),
        (vec![FakeFault::Status(403)], Some(ErrorKind::Refused)),
        // One try in doubt, and no later answer proves that nothing was done.
        (vec![FakeFault::LoseAnswer, FakeFault::Status(429), FakeFault::Throttle(60)], Some(ErrorKind::Unknown)),
        (vec![FakeFault::Throttle(60)], Some(ErrorKind::Throttled)),
    ] {
        let stage = Stage::new();
        for fault in &faults {
            stage.fake.fault("PUT", "roleAssignments/", *fault);
        }
        let outcome = arm(&stage).assign(&wanted()).await;
        assert_eq!(outcome.err().map(|error| error.kind), kind, "{faults:?}");
        if kind.is_none() {
            assert_eq!(stage.fake.assignments_of(SLOTS[0].1).len(), 1, "{faults:?}");
        }
    }
}

#[tokio::test]
async fn p10_a_name_or_place_that_somebody_else_took_is_a_conflict_and_never_ours() {
    let stage = Stage::new();
    let (first, twin) = (wanted(), wanted());
    arm(&stage).assign(&first).await.unwrap();
    // The same, again: as good as made.
    arm(&stage).assign(&first).await.unwrap();
    // Another lease's, on the same slot, role and scope.
    assert_eq!(arm(&stage).assign(&twin).await.unwrap_err().kind, ErrorKind::Conflict);
    // The same name for something else.
    let other = Wanted { description: "grantd other".to_owned(), ..first.clone() };
    assert_eq!(arm(&stage).assign(&other).await.unwrap_err().kind, ErrorKind::Conflict);
    assert_eq!(
        arm(&stage).assignment(&first.id).await.unwrap().unwrap().properties.description,
        Some(first.description)
    );
}

#[tokio::test]
async fn what_azure_does_not_know_is_told_in_words() {
    let stage = Stage::new();
    let unknown_role = Wanted { role_definition_id: role_definition(SUBSCRIPTION, Uuid::from_u128(1)), ..wanted() };
    let error = arm(&stage).assign(&unknown_role).await.unwrap_err();
    assert!(error.kind == ErrorKind::Config && error.message.contains("grantctl bootstrap"), "{error}");
    let bad_condition = Wanted { condition: Some("(@Resource[a] Like 'x')".to_owned()), ..wanted() };
    let error = arm(&stage).assign(&bad_condition).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported, "{error}");
    let gone = format!("{}x", container("logs"));
    let nowhere = Wanted { id: assignment(&gone, lease(), 0), ..wanted() };
    assert_eq!(arm(&stage).assign(&nowhere).await.unwrap_err().kind, ErrorKind::NotFound);
    assert_eq!(arm(&stage).remove(&nowhere.id).await.unwrap(), Removed::Before, "with its resource it is gone");
    let elsewhere = format!("/subscriptions/{}", Uuid::from_u128(9));
    let error = arm(&stage).assignment(&assignment(&elsewhere, lease(), 0)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config, "a subscription that is not shown proves nothing: {error}");
}

#[tokio::test]
async fn p11_a_base_that_gets_no_token_sends_nothing_and_says_so() {
    let stage = Stage::new();
    for _ in 0..TRIES {
        stage.fake.fault("POST", "/token", FakeFault::Status(503));
    }
    let error = arm(&stage).assign(&wanted()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreachable, "{error}");
    assert!(stage.fake.requests("roleAssignments").is_empty());
    assert!(stage.provider.marked(&stage.scope(0)).await.is_ok(), "and it goes on when there is one again");
}

#[tokio::test]
async fn a_token_of_the_daemon_that_is_refused_is_not_used_again() {
    let stage = Stage::new();
    arm(&stage).assignments(SUBSCRIPTION, SLOTS[0].1).await.unwrap();
    stage.fake.fault("GET", "roleAssignments", FakeFault::Status(401));
    assert!(arm(&stage).assignments(SUBSCRIPTION, SLOTS[0].1).await.is_err());
    arm(&stage).assignments(SUBSCRIPTION, SLOTS[0].1).await.unwrap();
    assert_eq!(stage.fake.requests("/token").len(), 2);
}

#[test]
fn the_pace_is_read_in_seconds_and_as_a_date() {
    let now: Timestamp = "2026-11-22T06:00:00Z".parse().unwrap();
    let answer = |value: &str| {
        let mut headers = azure_core::http::headers::Headers::new();
        headers.insert(RETRY_AFTER, value.to_owned());
        RawResponse::from_bytes(429_u16.into(), headers, Vec::new())
    };
    assert_eq!(retry_after(&answer("7"), now), Some(Duration::from_secs(7)));
    assert_eq!(retry_after(&answer("Sun, 22 Nov 2026 06:00:09 GMT"), now), Some(Duration::from_secs(9)));
    assert_eq!(retry_after(&answer("soon"), now), None);
}

#[tokio::test]
async fn what_is_sent_is_what_the_vendors_own_clients_send() {
    let stage = Stage::new();
    let plan = stage.plan("object-storage:read", &container("logs"), Some("app/"));
    let (lease, target) = (lease(), SLOTS[0].1.to_string());
    stage.provider.issue(&crate::testing::request(lease, &plan, &target)).await.unwrap();
    let entry = stage.entry(&plan, lease, 0);
    stage.provider.confirm(&stage.scope(0), std::slice::from_ref(&entry)).await.unwrap();
    let now = crate::testing::now();
    stage.provider.deny(&stage.scope(0), std::slice::from_ref(&entry), now).await.unwrap();
    let condition = plan.native["assignments"][0]["condition"].as_str().unwrap();
    let filled = include_str!("fixtures/requests.json")
        .replace("{scope}", &container("logs"))
        .replace("{name}", entry.session_name.rsplit('/').next().unwrap())
        .replace("{role}", plan.native["assignments"][0]["role_definition_id"].as_str().unwrap())
        .replace("{principal}", &SLOTS[0].1.to_string())
        .replace("{subscription}", &SUBSCRIPTION.to_string())
        .replace("{tenant}", &crate::testing::TENANT.to_string())
        .replace("{client}", &SLOTS[0].0.to_string())
        .replace("{description}", &mark(lease))
        .replace("{condition}", condition);
    let fixtures: serde_json::Map<String, Value> = serde_json::from_str(&filled).unwrap();
    let requests = stage.fake.requests("");
    for (name, mut fixture) in fixtures {
        let sent = requests.iter().any(|request| {
            if let Some(assertion) = fixture["body"].get_mut("client_assertion") {
                // Signed anew each time.
                *assertion = request.body["client_assertion"].clone();
            }
            let sent = json!({
                "method": request.method, "path": request.path, "query": request.query, "body": request.body
            });
            sent == fixture
        });
        assert!(sent, "{name} is not sent like that: {fixture}");
    }
}
