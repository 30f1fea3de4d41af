use std::time::Duration;

use grantd_provider_api::{ErrorKind, Provider, Trial};
use grantd_testkit::FakeFault;
use uuid::Uuid;

use super::*;
use crate::testing::{
    BASE_PRINCIPAL, BLOB_READER, SLOTS, Stage, container, lease, machine, now, request, request_for, secret,
    subscription,
};

fn slot(at: usize) -> String {
    SLOTS[at].1.to_string()
}

#[tokio::test]
async fn a_session_can_do_what_was_planned_and_nothing_else() {
    let stage = Stage::new();
    let plan = stage.plan("object-storage:read", &container("logs"), Some("app/"));
    let (lease, target) = (lease(), slot(0));
    let issued = stage.provider.issue(&request(lease, &plan, &target)).await.unwrap();
    assert_eq!(issued.notes, Vec::<String>::new());
    assert_eq!(stage.provider.try_session(&plan, &issued.credential).await.unwrap(), Trial::Allowed);
    let elsewhere = stage.plan("object-storage:read", &container("other"), None);
    assert_eq!(stage.provider.try_session(&elsewhere, &issued.credential).await.unwrap(), Trial::Refused);
    let unnarrowed = stage.plan("object-storage:read", &container("logs"), None);
    assert_eq!(stage.provider.try_session(&unnarrowed, &issued.credential).await.unwrap(), Trial::Refused);

    let standing = stage.fake.assignments_of(SLOTS[0].1);
    assert_eq!(standing.len(), 1);
    assert_eq!(standing[0].description.as_deref(), Some(format!("grantd {lease}").as_str()));
    assert_eq!(
        (standing[0].scope.as_str(), standing[0].role.to_string().as_str()),
        (container("logs").as_str(), BLOB_READER)
    );
    assert_eq!(issued.native_id, standing[0].id);
    assert!(stage.fake.assignments_of(SLOTS[1].1).is_empty(), "the neighbour was touched");
    let lives = issued.token_until.duration_since(now()).as_secs();
    assert!((3_590..=3_601).contains(&lives), "{lives}");
    let Credential::Azure { client_id, tokens, .. } = &issued.credential else { panic!("{issued:?}") };
    assert_eq!(*client_id, SLOTS[0].0.to_string());
    assert!(!format!("{issued:?}").contains(tokens[0].token.expose()), "p9");
}

#[tokio::test]
async fn p2_the_name_is_known_before_and_making_it_twice_is_making_it_once() {
    let stage = Stage::new();
    let plan = stage.plan("virtual-machine:admin", &machine(), None);
    let (lease, target) = (lease(), slot(0));
    let placed = stage.provider.place(&request(lease, &plan, &target)).unwrap();
    assert!(stage.fake.requests("").is_empty(), "placing asks nobody");
    for _ in 0..2 {
        stage.provider.issue(&request(lease, &plan, &target)).await.unwrap();
    }
    let mut standing: Vec<String> = stage.fake.assignments_of(SLOTS[0].1).into_iter().map(|one| one.id).collect();
    let mut names: Vec<&str> = placed.session_name.split(' ').collect();
    names.sort_unstable();
    standing.sort_unstable();
    assert_eq!((standing.len(), standing), (2, names.iter().map(|&name| name.to_owned()).collect()));
}

#[tokio::test]
async fn p5_a_slot_that_carries_anything_else_carries_no_session() {
    let stage = Stage::new();
    let plan = stage.plan("object-storage:read", &container("logs"), None);
    let reader = Uuid::try_parse(BLOB_READER).unwrap();
    let target = slot(0);
    for (scope, description) in [
        (container("other"), None),
        (subscription(), Some("by hand")),
        // Of a management group, whose name begins with nothing.
        (String::new(), None),
        (container("logs"), Some("grantd lease-aaaaaaaaaaaaaaaaaaaaaaaaaa")),
    ] {
        let foreign = stage.fake.assign(&scope, reader, SLOTS[0].1, description);
        let refused = stage.provider.issue(&request(lease(), &plan, &target)).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Refused, "{refused}");
        assert!(!refused.may_have_happened() && refused.message.contains("is not this lease's"), "{refused}");
        assert_eq!(stage.fake.assignments_of(SLOTS[0].1).len(), 1, "nothing was made");
        let order: Vec<String> = stage.provider.targets(&plan).unwrap().into_iter().map(|target| target.name).collect();
        assert_eq!(order, [slot(1), slot(0)], "such a slot is chosen last");
        stage.fake.unassign(&foreign);
    }
    stage.provider.issue(&request(lease(), &plan, &target)).await.unwrap();
}

#[tokio::test]
async fn p5_two_daemons_that_think_a_slot_is_free_both_give_it_up() {
    let stage = Stage::new();
    let plan = stage.plan("object-storage:read", &container("logs"), None);
    let (target, reader) = (slot(0), Uuid::try_parse(BLOB_READER).unwrap());
    // The other one writes between our look and our own write, which is late for that.
    stage.fake.fault("PUT", "roleAssignments", FakeFault::Delay(Duration::from_millis(300)));
    let request = request(lease(), &plan, &target);
    let (ours, ()) = tokio::join!(stage.provider.issue(&request), async {
        while stage.fake.requests("roleAssignments/").is_empty() {
            tokio::task::yield_now().await;
        }
        stage.fake.assign(&container("other"), reader, SLOTS[0].1, Some("grantd lease-aaaaaaaaaaaaaaaaaaaaaaaaaa"));
    });
    let error = ours.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unknown, "ours stands there, so it has to be taken away: {error}");
}

#[tokio::test]
async fn a_refused_token_leaves_nothing_behind() {
    let stage = Stage::new();
    let plan = stage.plan("secret:read", &secret(), None);
    let target = slot(0);
    // Tokens of another principal than the one that was looked over.
    stage.fake.mix_up_principals(SLOTS[1].1);
    let error = stage.provider.issue(&request(lease(), &plan, &target)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Config);
    assert!(error.message.contains("belong together"), "{error}");
    // One that dies before the session would.
    let stage = Stage::new();
    stage.fake.set_token_lifetime(120);
    let error = stage.provider.issue(&request(lease(), &plan, &target)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unsupported);
    assert!(error.message.contains("live for 1"), "says the number: {error}");
    // One that never dies.
    stage.fake.set_token_lifetime(10_000_000);
    let error = stage.provider.issue(&request(lease(), &plan, &target)).await.unwrap_err();
    assert!(!error.may_have_happened() && error.message.contains("longer than any"), "{error}");
    // None at all.
    for fault in [FakeFault::Status(503), FakeFault::Reset, FakeFault::Garbage, FakeFault::Throttle(1)] {
        stage.fake.set_token_lifetime(3_600);
        stage.fake.fault("POST", "/token", fault);
        let error = stage.provider.issue(&request(lease(), &plan, &target)).await.unwrap_err();
        assert!(!error.may_have_happened(), "{fault:?}: {error}");
    }
    assert!(stage.fake.requests("roleAssignments").iter().all(|one| one.method != "PUT"));
}

#[tokio::test]
async fn what_stands_after_the_first_role_is_never_told_as_nothing() {
    let stage = Stage::new();
    let plan = stage.plan("virtual-machine:admin", &machine(), None);
    let (lease, target) = (lease(), slot(0));
    let second = assignment_ids(&stage, &plan, lease)[1].rsplit('/').next().unwrap().to_owned();
    stage.fake.fault("PUT", &second, FakeFault::Status(403));
    let error = stage.provider.issue(&request(lease, &plan, &target)).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unknown, "{error}");
    assert_eq!(stage.fake.assignments_of(SLOTS[0].1).len(), 1);
}

fn assignment_ids(stage: &Stage, plan: &grantd_provider_api::Plan, lease: grantd_provider_api::LeaseId) -> Vec<String> {
    stage.entry(plan, lease, 0).session_name.split(' ').map(str::to_owned).collect()
}

#[tokio::test]
async fn p3_a_session_is_as_long_as_it_was_asked_for_or_refused_with_the_number() {
    let stage = Stage::new();
    let plan = stage.plan("secret:read", &secret(), None);
    let target = slot(0);
    let error = stage.provider.place(&request_for(lease(), &plan, &target, 3_301)).unwrap_err();
    assert!(error.kind == ErrorKind::Unsupported && error.message.contains("3300 s or less"), "{error}");
    let asked = request_for(lease(), &plan, &target, 3_300);
    let placed = stage.provider.place(&asked).unwrap();
    let worst = placed.token_until.duration_since(asked.now).as_secs();
    assert!(worst >= 5_400, "a token lives for up to 90 minutes: {worst}");
}

#[tokio::test]
async fn the_caller_is_told_when_it_is_not_felt_yet() {
    let stage = Stage::new();
    stage.fake.delay_effect(Duration::from_secs(60));
    let plan = stage.plan("secret:read", &secret(), None);
    let target = slot(0);
    let issued = stage.provider.issue(&request(lease(), &plan, &target)).await.unwrap();
    assert!(issued.notes.len() == 1 && issued.notes[0].contains("120 s"), "{:?}", issued.notes);
    assert!(issued.facts.contains(&("felt_at_release".to_owned(), "not yet".to_owned())));
}

#[tokio::test]
async fn p8_each_audience_of_the_plan_has_its_token_and_no_credential_is_used_twice() {
    let stage = Stage::new();
    let plan = stage.plan("secret:read", &secret(), None);
    let mut seen = Vec::new();
    for at in 0..2 {
        let target = slot(0);
        let lease = lease();
        let issued = stage.provider.issue(&request(lease, &plan, &target)).await.unwrap();
        let Credential::Azure { tokens, .. } = &issued.credential else { panic!("{issued:?}") };
        let audiences: Vec<&str> = tokens.iter().map(|token| token.audience.as_str()).collect();
        assert_eq!(audiences, ["https://vault.azure.net"], "{at}");
        seen.push(stage.fake.requests("/token").len());
        let entry = stage.entry(&plan, lease, 0);
        stage.provider.deny(&stage.scope(0), &[entry], now()).await.unwrap();
    }
    // The base's token once, and one of the slot's for each lease.
    assert_eq!(seen, [2, 3]);
}

#[tokio::test]
async fn the_daemon_cannot_assign_what_it_was_not_delegated() {
    let stage = Stage::new();
    let account = stage.provider.accounts.get("main").unwrap();
    let owner = crate::names::role_definition(
        crate::testing::SUBSCRIPTION,
        Uuid::from_u128(0x8e3af657_a8ff_443c_a75c_2fe8c4bcb635),
    );
    for (principal, role) in [(SLOTS[0].1, owner), (BASE_PRINCIPAL, blob_reader())] {
        let wanted = Wanted {
            id: assignment(&container("logs"), lease(), 0),
            role_definition_id: role,
            principal_id: principal,
            condition: None,
            description: "grantd".to_owned(),
        };
        let error = account.arm.assign(&wanted).await.unwrap_err();
        assert!(error.kind == ErrorKind::Refused && error.message.contains("grantctl bootstrap"), "{error}");
    }
}

fn blob_reader() -> String {
    crate::names::role_definition(crate::testing::SUBSCRIPTION, Uuid::try_parse(BLOB_READER).unwrap())
}
