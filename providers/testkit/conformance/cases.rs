//! The cases. Each is named after what the broker relies on, and says when it does not hold.

use std::time::Duration;

use grantd_provider_api::{Confirmation, Credential, Ending, Entitlement, ErrorKind, Narrowing};

use super::Stage;
use super::lease::{Held, deadline};
use crate::faultproxy::Fault;

/// Long enough that nothing expires by itself in a case.
const LONG: Duration = Duration::from_secs(900);

/// Short enough to wait for.
const SHORT: Duration = Duration::from_secs(6);

/// How long a cloud may take to do what it was told, where nothing delays it.
const PATIENCE: Duration = Duration::from_secs(30);

/// What can go wrong with a request that proves nothing about what the cloud refuses.
fn troubles() -> [Fault; 8] {
    let status = |status| Fault::Status { status, code: None };
    [status(403), status(409), status(429), status(500), status(503), Fault::Reset, Fault::Garbage, Fault::DropAfter]
}

/// Planning is pure, and says everything that an approver must see.
pub async fn p8_the_same_request_is_planned_the_same_way(stage: &dyn Stage) {
    let provider = stage.provider();
    for entitlement in stage.entitlements() {
        let plan = provider.plan(&entitlement, stage.map()).expect("it can be planned");
        assert_eq!(plan, provider.plan(&entitlement, stage.map()).expect("again"));
        assert_eq!((plan.cloud, &plan.account), (entitlement.resource.cloud, &entitlement.resource.account));
        assert!(!plan.words.is_empty() && !plan.native.is_null() && !plan.targets.is_empty(), "{plan:?}");
        let targets = provider.targets(&plan).expect("its targets are configured");
        assert_eq!(
            targets.iter().map(|target| &target.name).collect::<Vec<_>>(),
            plan.targets.iter().collect::<Vec<_>>()
        );
        for target in targets {
            assert!(target.capacity > 0 && provider.capacity(&target.scope).expect("its scope is") == target.capacity);
        }
    }
    let [one, other] = stage.entitlements().map(|it| provider.plan(&it, stage.map()).expect("it can be planned"));
    assert_ne!(one.native, other.native);
    let able = provider.capabilities(&one.account).expect("its account is configured");
    assert!(able.min_ttl <= able.max_ttl && able.expected_propagation <= able.worst_propagation, "{able:?}");
    assert_eq!(stage.requests(), 0, "planning asks nobody");
}

/// What makes no sense or cannot be said in the cloud is refused by the kind of error that says whose fault it is.
pub async fn p8_what_cannot_be_expressed_is_refused_before_anything_is_asked(stage: &dyn Stage) {
    let [good, _] = stage.entitlements();
    let kind = |entitlement: &Entitlement| {
        let error = stage.provider().plan(entitlement, stage.map()).expect_err("it is not planned");
        assert!(!error.message.is_empty() && !error.message.ends_with('.'), "{error}");
        error.kind
    };
    let unknown = Entitlement { capability: "object-storage:juggle".parse().expect("a name"), ..good.clone() };
    assert_eq!(kind(&unknown), ErrorKind::Unsupported);
    let mut elsewhere = good.clone();
    elsewhere.resource.account = "nonesuch".to_owned();
    assert_eq!(kind(&elsewhere), ErrorKind::Config);
    for prefix in ["", "*", "a*", "a?b", "${aws:username}", "a\nb"] {
        let narrowing = Narrowing { prefix: Some(prefix.to_owned()), source_networks: Vec::new() };
        assert_eq!(kind(&Entitlement { narrowing, ..good.clone() }), ErrorKind::Invalid, "prefix {prefix:?}");
    }
    for native in ["", "*", "everything", "arn:aws:s3:::*", "/subscriptions/*", "//storage.googleapis.com/*"] {
        let mut wide = good.clone();
        wide.resource.native = native.to_owned();
        assert!(matches!(kind(&wide), ErrorKind::Invalid | ErrorKind::Unsupported | ErrorKind::Config), "{native:?}");
    }
    assert_eq!(stage.requests(), 0, "a refusal asks nobody");
}

/// Names are computed from the lease, so that a crash in the middle leaves something that can be found.
pub async fn p2_what_a_session_is_called_is_known_before_it_exists(stage: &dyn Stage) {
    let [entitlement, _] = stage.entitlements();
    let held = Held::intent(stage, &entitlement, 0, LONG);
    let other = Held::intent(stage, &entitlement, 0, LONG);
    assert_ne!(held.placement.session_name, other.placement.session_name);
    assert_eq!(stage.requests(), 0, "placing asks nobody");
    assert!(!stage.stands(held.lease).await);
    let issued = held.issue(stage).await.expect("it is issued");
    assert!(stage.stands(held.lease).await && !stage.stands(other.lease).await);
    assert!(held.placement.token_until >= held.access_until);
    assert!(issued.token_until >= held.access_until, "the token is over before access is");
    assert!(!issued.native_id.is_empty());
    assert!(!format!("{issued:?}").contains(&secret_of(&issued.credential)), "Debug shows the secret");
}

/// Exactly what was asked, on nothing else.
pub async fn p3_a_session_can_do_what_was_asked_and_nothing_else(stage: &dyn Stage) {
    let [one, other] = stage.entitlements();
    let held = Held::intent(stage, &one, 0, LONG);
    let issued = held.issue(stage).await.expect("it is issued");
    assert!(stage.allows(&issued.credential, &one).await, "it cannot do what was asked");
    assert!(!stage.allows(&issued.credential, &other).await, "it can do something else");
}

/// To the second where the cloud ends it, or whoever verifies a token; where the daemon does, the plan says so, and how late that may be.
pub async fn p3_access_ends_when_its_time_is_up(stage: &dyn Stage) {
    let [one, _] = stage.entitlements();
    let held = Held::intent(stage, &one, 0, SHORT);
    let issued = held.issue(stage).await.expect("it is issued");
    assert!(stage.allows(&issued.credential, &one).await);
    let patience = deadline(stage.clock(), PATIENCE);
    match held.plan.ending {
        Ending::Cloud | Ending::Verifier => {
            // What is refused before its time would be as wrong as what is allowed after it.
            loop {
                let before = stage.clock().now();
                let allowed = stage.allows(&issued.credential, &one).await;
                let after = stage.clock().now();
                assert!(allowed || after >= held.access_until, "refused before {}", held.access_until);
                assert!(!allowed || before <= held.access_until, "allowed after {}", held.access_until);
                if !allowed {
                    break;
                }
                assert!(after < patience, "access never ends");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        Ending::Daemon { outlives } | Ending::Backed { outlives, .. } => {
            assert!(outlives > 0, "nothing is taken away at once");
            deny(stage, &[&held]).await;
            refused(stage, &issued.credential, &one).await;
        }
    }
}

/// Requested, accepted, in force.
pub async fn p4_a_revocation_is_confirmed_when_it_is_in_force_and_not_before(stage: &dyn Stage) {
    let [one, _] = stage.entitlements();
    let held = Held::intent(stage, &one, 0, LONG);
    let issued = held.issue(stage).await.expect("it is issued");
    assert_eq!(confirm(stage, &held).await, Confirmation::Absent, "a live session is confirmed as refused");
    assert!(stage.allows(&issued.credential, &one).await);
    deny(stage, &[&held]).await;
    refused(stage, &issued.credential, &one).await;
    assert_eq!(confirm(stage, &held).await, Confirmation::InForce);
    assert!(!stage.stands(held.lease).await);
    // Again, as after a crash.
    deny(stage, &[&held]).await;
    assert_eq!(confirm(stage, &held).await, Confirmation::InForce);
    assert!(!stage.allows(&issued.credential, &one).await);
}

/// "Forbidden" proves nothing, and neither does anything else that is no answer.
pub async fn p4_no_trouble_is_taken_for_a_confirmation(stage: &dyn Stage) {
    let [one, _] = stage.entitlements();
    let held = Held::intent(stage, &one, 0, LONG);
    let issued = held.issue(stage).await.expect("it is issued");
    for fault in troubles() {
        stage.trouble(fault.clone(), 0);
        let told = stage.provider().confirm(&held.target.scope, &[held.entry()]).await;
        assert_ne!(told, Ok(vec![Confirmation::InForce]), "{fault:?}");
        stage.calm();
    }
    assert!(stage.allows(&issued.credential, &one).await);
}

/// Whatever goes wrong with whichever request of a denial: asked again, it gets through.
pub async fn p4_a_revocation_gets_through_whatever_went_wrong_before(stage: &dyn Stage) {
    let [one, _] = stage.entitlements();
    for fault in troubles() {
        let held = Held::intent(stage, &one, 0, LONG);
        let issued = held.issue(stage).await.expect("it is issued");
        for step in 0..2 {
            stage.trouble(fault.clone(), step);
            let _ = stage.provider().deny(&held.target.scope, &[held.entry()], stage.clock().now()).await;
            stage.calm();
        }
        deny(stage, &[&held]).await;
        refused(stage, &issued.credential, &one).await;
        assert_eq!(confirm(stage, &held).await, Confirmation::InForce, "{fault:?}");
    }
}

/// What the cloud took and does not do yet is not called done.
pub async fn p4_a_late_effect_is_not_confirmed_meanwhile(stage: &dyn Stage) {
    let [one, _] = stage.entitlements();
    let held = Held::intent(stage, &one, 0, LONG);
    let issued = held.issue(stage).await.expect("it is issued");
    stage.late(Duration::from_secs(3));
    let _ = stage.provider().deny(&held.target.scope, &[held.entry()], stage.clock().now()).await;
    let patience = deadline(stage.clock(), PATIENCE);
    loop {
        let told = stage.provider().confirm(&held.target.scope, &[held.entry()]).await;
        // Asked after the confirmation: what was refused before it stays refused.
        let allowed = stage.allows(&issued.credential, &one).await;
        assert!(!(allowed && told == Ok(vec![Confirmation::InForce])), "confirmed, and the session still works");
        if !allowed {
            break;
        }
        assert!(stage.clock().now() < patience, "it never takes effect");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stage.calm();
    deny(stage, &[&held]).await;
    assert_eq!(confirm(stage, &held).await, Confirmation::InForce);
}

/// Ending one lease never disturbs another.
pub async fn p10_a_neighbour_is_not_touched(stage: &dyn Stage) {
    let [one, other] = stage.entitlements();
    let before = stage.foreign().await;
    let held = Held::intent(stage, &one, 0, LONG);
    // Beside it where there is room, else on a target of its own.
    let nth = usize::from(held.target.capacity == 1);
    let (same, different) = (Held::intent(stage, &one, nth, LONG), Held::intent(stage, &other, nth * 2, LONG));
    let first = held.issue(stage).await.expect("it is issued");
    let second = same.issue(stage).await.expect("the neighbour is issued");
    let third = different.issue(stage).await.expect("the neighbour of another resource is issued");
    deny(stage, &[&held]).await;
    refused(stage, &first.credential, &one).await;
    assert!(stage.allows(&second.credential, &one).await, "the neighbour on the same resource was cut off");
    assert!(stage.allows(&third.credential, &other).await, "the neighbour on another resource was cut off");
    assert_eq!(confirm(stage, &same).await, Confirmation::Absent);
    deny(stage, &[&held]).await;
    assert!(stage.allows(&second.credential, &one).await && stage.allows(&third.credential, &other).await);
    assert_eq!(stage.foreign().await, before, "something that is not grantd's was changed");
}

/// The connection is lost after each request of an issue in turn, done or not: either nothing was made and the error says
/// so, or a denial ends it.
pub async fn p2_an_issue_that_breaks_off_leaves_nothing_that_a_denial_does_not_end(stage: &dyn Stage) {
    let [one, _] = stage.entitlements();
    let whole = Held::intent(stage, &one, 0, LONG);
    let before = stage.requests();
    whole.issue(stage).await.expect("it is issued");
    let steps = stage.requests() - before;
    assert!(steps > 0, "nobody was asked");
    deny(stage, &[&whole]).await;
    for step in 0..steps {
        for fault in [Fault::DropAfter, Fault::Reset, Fault::Garbage, Fault::Status { status: 500, code: None }] {
            let held = Held::intent(stage, &one, 0, LONG);
            stage.trouble(fault.clone(), step);
            let outcome = held.issue(stage).await;
            stage.calm();
            let stands = stage.stands(held.lease).await;
            match &outcome {
                Ok(_) => assert!(stands, "step {step}, {fault:?}: issued, and nothing is there"),
                Err(error) => {
                    assert!(
                        error.may_have_happened() || error.kind == ErrorKind::Conflict || !stands,
                        "step {step}, {fault:?}: {error} says that nothing was made, and something stands"
                    );
                }
            }
            deny(stage, &[&held]).await;
            assert!(!stage.stands(held.lease).await, "step {step}, {fault:?}: something still stands");
            assert_eq!(confirm(stage, &held).await, Confirmation::InForce, "step {step}, {fault:?}");
        }
    }
}

/// What a lost store leaves is found by its mark; what bears none is not looked at.
pub async fn p2_what_bears_the_mark_is_found_and_removed_and_nothing_else_is(stage: &dyn Stage) {
    let [one, _] = stage.entitlements();
    let before = stage.foreign().await;
    let held = Held::intent(stage, &one, 0, LONG);
    let scope = &held.target.scope;
    assert_eq!(stage.provider().marked(scope).await.expect("it is looked through"), []);
    let issued = held.issue(stage).await.expect("it is issued");
    let marks = stage.provider().marked(scope).await.expect("it is looked through");
    stage.provider().remove(scope, &marks).await.expect("it is removed");
    stage.provider().remove(scope, &marks).await.expect("what is gone is no error");
    if marks.is_empty() {
        // Such a cloud keeps nothing of a lease but what ends by itself.
        assert!(held.plan.ending.is_exact(), "what no expiry ends cannot be found again");
        assert!(stage.allows(&issued.credential, &one).await, "what was not told of was removed");
    } else {
        assert!(marks.iter().all(|mark| mark.lease == held.lease && !mark.name.is_empty()), "{marks:?}");
        refused(stage, &issued.credential, &one).await;
        assert_eq!(stage.provider().marked(scope).await.expect("it is looked through"), []);
    }
    assert_eq!(stage.foreign().await, before, "something that is not grantd's was changed");
}

/// Denies exactly these on the first one's scope, and asks again while the cloud interferes.
async fn deny(stage: &dyn Stage, leases: &[&Held]) {
    let Some(first) = leases.first() else { return };
    let entries: Vec<_> = leases.iter().map(|held| held.entry()).collect();
    let patience = deadline(stage.clock(), PATIENCE);
    loop {
        match stage.provider().deny(&first.target.scope, &entries, stage.clock().now()).await {
            Ok(receipt) => {
                assert!(!receipt.version.is_empty());
                return;
            }
            Err(error) => assert!(error.retryable() && stage.clock().now() < patience, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn confirm(stage: &dyn Stage, held: &Held) -> Confirmation {
    let patience = deadline(stage.clock(), PATIENCE);
    loop {
        match stage.provider().confirm(&held.target.scope, &[held.entry()]).await {
            Ok(told) => {
                assert_eq!(told.len(), 1, "one answer for each entry");
                return told[0];
            }
            Err(error) => assert!(error.retryable() && stage.clock().now() < patience, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Waits until the cloud refuses.
async fn refused(stage: &dyn Stage, credential: &Credential, on: &Entitlement) {
    let patience = deadline(stage.clock(), PATIENCE);
    while stage.allows(credential, on).await {
        assert!(stage.clock().now() < patience, "the cloud never refuses it");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn secret_of(credential: &Credential) -> String {
    let secret = match credential {
        Credential::Aws { secret_access_key, .. } => secret_access_key,
        Credential::Azure { tokens, .. } => &tokens.first().expect("a token").token,
        Credential::Gcp { access_token, .. } => access_token,
        Credential::Token { token, .. } => token,
    };
    secret.expose().to_owned()
}
