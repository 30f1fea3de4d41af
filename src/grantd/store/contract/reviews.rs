//! Uses of break-glass as they are counted, and reviews.

use grantd_model::{BreakGlass, Grant, GrantEvent, GrantState, Outcome, Review, ReviewAbout, ReviewEvent, ReviewState};
use grantd_provider_api::Id;
use jiff::SignedDuration;
use uuid::Uuid;

use super::{Stage, at, audited, grant, insert_grant};
use crate::store::{
    GlassUses, GrantFilter, Guard, GuardFailure, Repeated, ReviewFilter, Store, StoreError, Transaction, Write, topic,
};

async fn verdict(store: &dyn Store, guard: Guard) -> Result<(), GuardFailure> {
    match store.commit(Transaction { guards: vec![guard], ..Transaction::default() }).await {
        Ok(_) => Ok(()),
        Err(StoreError::Guard(failure)) => Err(failure),
        Err(error) => panic!("{error}"),
    }
}

/// A use of break-glass by `person` on `resource`, asked for at `seconds`.
fn used(nth: u128, person: &str, resource: &str, seconds: i64) -> Grant {
    let mut grant = grant(nth);
    grant.request.subject.name = person.to_owned();
    grant.request.resource = resource.to_owned();
    grant.request.break_glass = Some(BreakGlass { profile: "repair".to_owned(), incident: "INC-1".to_owned() });
    grant.created_at = at(seconds);
    grant
}

pub(in crate::store) fn review(nth: u128, grant: &Grant, due: i64) -> Review {
    Review {
        id: Id::new(Uuid::from_u128(nth)),
        node: grant.node.clone(),
        about: ReviewAbout::BreakGlass { profile: "repair".to_owned(), incident: "INC-1".to_owned() },
        grant: grant.id,
        resource: grant.request.resource.clone(),
        capability: grant.request.entitlement.capability.clone(),
        person: grant.request.subject.name.clone(),
        parties: vec![grant.request.subject.clone()],
        reviewers: vec!["dora".to_owned()],
        opened_at: at(0),
        due_at: at(due),
        overdue_noted_at: None,
        state: ReviewState::Open,
        version: 0,
    }
}

fn completed(review: &Review) -> Review {
    let mut by = grant(1).request.subject;
    (by.name, by.id) = ("dora".to_owned(), "4711".to_owned());
    let findings = "it was needed".parse().unwrap();
    let event = ReviewEvent::Complete { at: at(5), person: "dora".to_owned(), by, outcome: Outcome::Ok, findings };
    review.after(event).unwrap()
}

async fn put(store: &dyn Store, review: &Review) -> Result<(), StoreError> {
    store.commit(audited("review", vec![Write::PutReview(review.clone())])).await.map(|_| ())
}

pub(in crate::store) async fn uses_of_break_glass_are_counted_by_person_resource_and_in_all(stage: &mut impl Stage) {
    let store = stage.store();
    insert_grant(&*store, &grant(1)).await;
    insert_grant(&*store, &used(2, "ana", "ledger", 10)).await;
    insert_grant(&*store, &used(3, "ana", "vault", 20)).await;
    insert_grant(&*store, &used(4, "bruno", "ledger", 30)).await;
    let mut waiting = used(5, "bruno", "ledger", 40);
    waiting.state = GrantState::Pending { lapses_at: None };
    insert_grant(&*store, &waiting).await;
    let below = async |of: GlassUses, since: i64, limit| {
        verdict(&*store, Guard::GlassBelow { of, since: at(since), limit }).await
    };
    let person = |name: &str| GlassUses::Person(name.to_owned());
    let resource = |name: &str| GlassUses::Resource(name.to_owned());
    let full = |of: GlassUses, in_use| Err(GuardFailure::Glass { of, in_use, limit: u32::try_from(in_use).unwrap() });
    assert_eq!(below(person("ana"), 0, 3).await, Ok(()));
    assert_eq!(below(person("ana"), 0, 2).await, full(person("ana"), 2));
    assert_eq!(below(person("ana"), 10, 2).await, Ok(()), "what is past does not count");
    assert_eq!(below(person("deploy"), 0, 1).await, Ok(()), "a grant of another kind does not count");
    assert_eq!(below(resource("ledger"), 0, 3).await, full(resource("ledger"), 3), "what waits counts");
    assert_eq!(below(GlassUses::All, 0, 4).await, full(GlassUses::All, 4));
    let cancelled = waiting.after(&GrantEvent::Cancel { at: at(50) }).unwrap();
    store.commit(audited("cancel", vec![Write::UpdateGrant(cancelled)])).await.unwrap();
    assert_eq!(below(resource("ledger"), 0, 3).await, Ok(()), "what never began does not count");
}

pub(in crate::store) async fn a_limit_of_break_glass_holds_when_many_come_at_once(stage: &mut impl Stage) {
    let store = stage.store();
    let attempts = (0..16).map(|nth| {
        let store = std::sync::Arc::clone(&store);
        tokio::spawn(async move {
            let guards = vec![Guard::GlassBelow { of: GlassUses::All, since: at(-1), limit: 3 }];
            let writes = vec![Write::InsertGrant(used(100 + nth, "ana", "ledger", 0))];
            store.commit(Transaction { guards, ..audited("use", writes) }).await.is_ok()
        })
    });
    let mut used = 0;
    for attempt in attempts.collect::<Vec<_>>() {
        used += u32::from(attempt.await.unwrap());
    }
    assert_eq!(used, 3);
}

pub(in crate::store) async fn a_review_is_completed_once_and_blocks_while_it_is_overdue(stage: &mut impl Stage) {
    let store = stage.store();
    let use_of = used(2, "ana", "ledger", 0);
    insert_grant(&*store, &use_of).await;
    let open = review(20, &use_of, 100);
    put(&*store, &open).await.unwrap();
    assert!(matches!(put(&*store, &open).await, Err(StoreError::Stale { .. })), "it is new once");
    let overdue =
        async |person: &str, now| verdict(&*store, Guard::NoneOverdue { person: person.to_owned(), at: now }).await;
    assert_eq!(overdue("ana", at(100) - SignedDuration::from_millis(1)).await, Ok(()));
    assert_eq!(overdue("ana", at(100)).await, Err(GuardFailure::ReviewOverdue));
    assert_eq!(overdue("bruno", at(100)).await, Ok(()));
    let late = ReviewFilter { overdue_at: Some(at(100)), not_noted: true, ..ReviewFilter::default() };
    assert_eq!(store.reviews(late.clone()).await.unwrap(), std::slice::from_ref(&open));
    let noted = open.after(ReviewEvent::Overdue { at: at(100) }).unwrap();
    put(&*store, &noted).await.unwrap();
    assert_eq!(store.reviews(late).await.unwrap(), []);
    assert_eq!(overdue("ana", at(100)).await, Err(GuardFailure::ReviewOverdue), "noted is not completed");
    let done = completed(&noted);
    put(&*store, &done).await.unwrap();
    assert!(matches!(put(&*store, &completed(&noted)).await, Err(StoreError::Stale { .. })), "two at once are one");
    assert_eq!(overdue("ana", at(1000)).await, Ok(()));
    assert_eq!(store.review(done.id).await.unwrap(), Some(done.clone()));
    assert_eq!(store.reviews(ReviewFilter { open: true, ..ReviewFilter::default() }).await.unwrap(), []);
    let of = ReviewFilter {
        person: Some("ana".to_owned()),
        grant: Some(use_of.id),
        break_glass: true,
        ..ReviewFilter::default()
    };
    assert_eq!(store.reviews(of).await.unwrap(), std::slice::from_ref(&done));
    drop(store);
    stage.restart().await;
    assert_eq!(stage.store().review(done.id).await.unwrap(), Some(done));
}

pub(in crate::store) async fn what_is_granted_again_and_again_is_found_and_reviewed_once(stage: &mut impl Stage) {
    let store = stage.store();
    for nth in 1..=3 {
        let mut one = grant(nth);
        one.created_at = at(i64::try_from(nth).unwrap());
        insert_grant(&*store, &one).await;
    }
    let mut other = grant(9);
    other.request.entitlement.capability = "object-storage:write".parse().unwrap();
    insert_grant(&*store, &other).await;
    let mut denied = grant(10);
    denied.state = GrantState::Denied { at: at(1), by: "ana".to_owned(), reason: "no".to_owned() };
    insert_grant(&*store, &denied).await;
    let topic = topic(&grant(1));
    let found = vec![Repeated { grants: 3, topic: topic.clone() }];
    assert_eq!(store.repeated(at(-1), 2).await.unwrap(), found);
    assert_eq!(store.repeated(at(-1), 3).await.unwrap(), []);
    assert_eq!(store.repeated(at(1), 2).await.unwrap(), [], "what is past does not count");
    let of = GrantFilter { topic: Some(topic.clone()), since: Some(at(1)), ..GrantFilter::default() };
    assert_eq!(store.grants(of).await.unwrap().len(), 2);
    let not_reviewed =
        async |since| verdict(&*store, Guard::NotReviewed { topic: topic.clone(), since: at(since) }).await;
    assert_eq!(not_reviewed(-1).await, Ok(()));
    let mut open = review(30, &grant(3), 100);
    open.about = ReviewAbout::Repeat { grants: 3, since: at(-1) };
    put(&*store, &open).await.unwrap();
    assert_eq!(not_reviewed(50).await, Err(GuardFailure::Reviewed), "one that is open counts whenever it was opened");
    put(&*store, &completed(&open)).await.unwrap();
    assert_eq!(not_reviewed(-1).await, Err(GuardFailure::Reviewed));
    assert_eq!(not_reviewed(0).await, Ok(()), "the next stretch of time is looked at anew");
}
