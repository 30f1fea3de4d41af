use std::time::Duration;

use grantd_provider_api::{Confirmation, Credential, Ending, IssueRequest, LeaseId, Plan, Provider, Standing, Trial};
use grantd_testkit::{FakeFault, FakeRoleDefinition};

use super::*;
use crate::names::{is_request, mark};
use crate::testing::{BASE_PRINCIPAL, BLOB_READER, SLOTS, Stage, container, lease, now, request_for, subscription};

const ROLE: &str = "00000000-0000-0000-0000-00000000b0b0";

/// A tenant with the licence, whose base may ask for schedules.
fn stage() -> Stage {
    let stage = Stage::with("", "pim_backstop = true");
    let own = |name: &str| format!("Microsoft.Authorization/{name}");
    let actions = [
        own("roleAssignmentScheduleInstances/read"),
        own("roleAssignmentScheduleRequests/read"),
        own("roleAssignmentScheduleRequests/write"),
    ];
    let actions: Vec<&str> = actions.iter().map(String::as_str).collect();
    stage.fake.define(FakeRoleDefinition::new(ROLE, "backstop", &actions, &[])).unwrap();
    stage.fake.assign_on(&subscription(), ROLE.parse().unwrap(), BASE_PRINCIPAL, None).unwrap();
    stage
}

fn planned(stage: &Stage) -> Plan {
    stage.plan("object-storage:read", &container("logs"), None)
}

fn asked<'a>(lease: LeaseId, plan: &'a Plan, target: &'a str, seconds: i64) -> IssueRequest<'a> {
    request_for(lease, plan, target, seconds)
}

fn standing(stage: &Stage) -> usize {
    stage.fake.assignments_of(SLOTS[0].1).len()
}

async fn issued(stage: &Stage, seconds: i64) -> (Plan, LeaseId, Credential) {
    let (plan, lease, target) = (planned(stage), lease(), SLOTS[0].1.to_string());
    let issued = stage.provider.issue(&asked(lease, &plan, &target, seconds)).await.unwrap();
    assert!(is_request(&issued.native_id), "{}", issued.native_id);
    assert!(issued.facts.iter().any(|(name, _)| name == "azure_ends_it"), "{:?}", issued.facts);
    (plan, lease, issued.credential)
}

async fn seen(stage: &Stage, plan: &Plan, credential: &Credential) -> Trial {
    stage.provider.try_session(plan, credential).await.unwrap()
}

#[tokio::test]
async fn p3_azure_ends_what_the_daemon_does_not() {
    let stage = stage();
    let plan = planned(&stage);
    assert_eq!(plan.ending, Ending::Backed { outlives: 1_800, without_daemon: 1_800 + 360 });
    assert!(plan.words.iter().any(|words| words.contains("should grantd be down, azure ends it")), "{:?}", plan.words);
    let (plan, _, credential) = issued(&stage, 600).await;
    assert_eq!(seen(&stage, &plan, &credential).await, Trial::Allowed);
    let before = stage.fake.requests("").len();
    stage.fake.forward(Duration::from_secs(590));
    assert_eq!(standing(&stage), 1);
    stage.fake.forward(Duration::from_secs(15));
    assert_eq!((standing(&stage), stage.fake.requests("").len()), (0, before), "nobody asked for that");
    assert_eq!(seen(&stage, &plan, &credential).await, Trial::Refused);
}

#[tokio::test]
async fn the_shortest_assignment_of_azure_is_longer_than_a_short_lease() {
    let stage = stage();
    issued(&stage, 5).await;
    let asked = stage.fake.requests("roleAssignmentScheduleRequests/").remove(0).body;
    let end: Timestamp =
        asked["properties"]["scheduleInfo"]["expiration"]["endDateTime"].as_str().unwrap().parse().unwrap();
    let left = end.duration_since(now()).as_secs();
    assert!((350..=361).contains(&left), "{left}");
}

#[tokio::test]
async fn p4_what_is_taken_back_is_gone_whenever_that_is() {
    for early in [true, false] {
        let stage = stage();
        let (plan, lease, credential) = issued(&stage, 3_000).await;
        let entry = stage.entry(&plan, lease, 0);
        let confirm = async || stage.provider.confirm(&stage.scope(0), std::slice::from_ref(&entry)).await.unwrap();
        assert_eq!(confirm().await, [Confirmation::Absent]);
        if !early {
            stage.fake.forward(Duration::from_secs(400));
        }
        let before = stage.fake.requests("").len();
        let receipt = stage.provider.deny(&stage.scope(0), std::slice::from_ref(&entry), now()).await.unwrap();
        assert!(!receipt.unchanged);
        let removed = stage.fake.requests("").split_off(before).iter().filter(|one| one.method == "DELETE").count();
        assert_eq!(removed, usize::from(early), "PIM takes nothing back in its first five minutes");
        assert_eq!((standing(&stage), confirm().await), (0, vec![Confirmation::InForce]));
        assert_eq!(seen(&stage, &plan, &credential).await, Trial::Refused);
        // Again, as after a crash: nothing is left to do.
        for _ in 0..2 {
            stage.provider.deny(&stage.scope(0), std::slice::from_ref(&entry), now()).await.unwrap();
            assert_eq!(confirm().await, [Confirmation::InForce]);
        }
    }
}

#[tokio::test]
async fn p2_what_was_never_asked_for_needs_no_taking_back_and_a_lost_answer_is_made_good() {
    let stage = stage();
    let (plan, target) = (planned(&stage), SLOTS[0].1.to_string());
    let never = stage.entry(&plan, lease(), 0);
    stage.provider.deny(&stage.scope(0), std::slice::from_ref(&never), now()).await.unwrap();
    assert_eq!(stage.provider.confirm(&stage.scope(0), &[never]).await.unwrap(), [Confirmation::InForce]);

    stage.fake.fault("PUT", "roleAssignmentScheduleRequests/", FakeFault::LoseAnswer);
    let lease = lease();
    stage.provider.issue(&asked(lease, &plan, &target, 600)).await.unwrap();
    assert_eq!(standing(&stage), 1);
    // Whoever asks again for the same gets the same.
    stage.provider.issue(&asked(lease, &plan, &target, 600)).await.unwrap();
    assert_eq!(standing(&stage), 1);
}

#[tokio::test]
async fn without_the_licence_nothing_is_made_and_the_error_says_so() {
    let stage = stage();
    stage.fake.unlicense();
    let (plan, target) = (planned(&stage), SLOTS[0].1.to_string());
    let error = stage.provider.issue(&asked(lease(), &plan, &target, 600)).await.unwrap_err();
    assert!(error.kind == ErrorKind::Config && error.message.contains("AadPremiumLicenseRequired"), "{error}");
    assert!(!error.may_have_happened() && standing(&stage) == 0);
    let found = stage.provider.examine("main", &[]).await.unwrap();
    let of = |check: &str| found.iter().find(|one| one.check == check).unwrap();
    assert_eq!(of("slot.backstop").standing, Standing::Problem, "{found:?}");
    assert_eq!(of("base.backstop").standing, Standing::Warning);
}

#[tokio::test]
async fn p10_only_what_was_asked_for_is_ours_and_it_is_swept_by_its_mark() {
    let stage = stage();
    let (plan, lease, _) = issued(&stage, 600).await;
    let found = stage.provider.examine("main", &[]).await.unwrap();
    assert!(!found.iter().any(|one| one.standing == Standing::Problem), "{found:?}");
    let marks = stage.provider.marked(&stage.scope(0)).await.unwrap();
    assert!(marks.len() == 1 && marks[0].lease == lease && is_request(&marks[0].name), "{marks:?}");
    stage.provider.remove(&stage.scope(0), &marks).await.unwrap();
    assert_eq!(standing(&stage), 0);
    assert!(stage.provider.marked(&stage.scope(0)).await.unwrap().is_empty());

    // Something by another hand on the slot stops it, whoever made it.
    let foreign = stage.fake.assign(&container("other"), BLOB_READER.parse().unwrap(), SLOTS[0].1, None);
    let target = SLOTS[0].1.to_string();
    let error = stage.provider.issue(&asked(crate::testing::lease(), &plan, &target, 600)).await.unwrap_err();
    assert!(error.kind == ErrorKind::Refused && error.message.contains(&foreign), "{error}");
    assert_eq!(standing(&stage), 1);
}

#[test]
fn the_request_that_ends_another_has_a_name_of_its_own() {
    let id = crate::names::request(&container("logs"), lease(), 0);
    let end = removal(&id).unwrap();
    assert!(is_request(&end) && end != id && removal(&id) == Some(end));
    assert_eq!(removal(&subscription()), None);
    assert!(mark(lease()).starts_with("grantd "));
}

#[tokio::test]
async fn what_is_sent_is_what_the_vendors_own_client_sends() {
    let stage = stage();
    let plan = stage.plan("object-storage:read", &container("logs"), Some("app/"));
    let (lease, target) = (lease(), SLOTS[0].1.to_string());
    stage.provider.issue(&asked(lease, &plan, &target, 600)).await.unwrap();
    stage.fake.forward(Duration::from_secs(400));
    let entry = stage.entry(&plan, lease, 0);
    stage.provider.deny(&stage.scope(0), std::slice::from_ref(&entry), now()).await.unwrap();
    let name = |id: &str| id.rsplit('/').next().unwrap().to_owned();
    let filled = include_str!("fixtures/schedules.json")
        .replace("{scope}", &container("logs"))
        .replace("{name}", &name(&entry.session_name))
        .replace("{other}", &name(&removal(&entry.session_name).unwrap()))
        .replace("{role}", plan.native["assignments"][0]["role_definition_id"].as_str().unwrap())
        .replace("{principal}", &target)
        .replace("/subscriptions/{subscription}", &subscription())
        .replace("{description}", &mark(lease))
        .replace("{condition}", plan.native["assignments"][0]["condition"].as_str().unwrap());
    let fixtures: serde_json::Map<String, Value> = serde_json::from_str(&filled).unwrap();
    let sent: Vec<Value> = stage
        .fake
        .requests("roleAssignmentSchedule")
        .into_iter()
        .map(|request| {
            let mut body = request.body;
            if let Some(info) = body.pointer_mut("/properties/scheduleInfo") {
                // Whose times are times.
                for time in [&info["startDateTime"], &info["expiration"]["endDateTime"]] {
                    time.as_str().unwrap().parse::<Timestamp>().unwrap();
                }
                info["startDateTime"] = json!("{start}");
                info["expiration"]["endDateTime"] = json!("{end}");
            }
            json!({ "method": request.method, "path": request.path, "query": request.query, "body": body })
        })
        .collect();
    for (name, fixture) in fixtures {
        assert!(sent.contains(&fixture), "{name} is not sent like that: {fixture}\n{sent:#?}");
    }
}
