//! Every guard at its edge, and what holds when many come at once.

use std::sync::Arc;

use grantd_model::{
    EndReason, GrantEvent, GrantId, GrantState, Lease, LeaseEvent, NodeId, Propagation, PropagationSample,
    RegisteredAnchor, freeze_epoch,
};
use grantd_provider_api::{Cloud, DenyForm, DenyScope, Id, Origin};
use jiff::SignedDuration;
use uuid::Uuid;

use super::{Stage, at, audited, delegation, freeze, grant, insert_grant, lease, thaw};
use crate::store::{Guard, GuardFailure, Store, StoreError, Transaction, Write};

/// What the store says of a transaction that is nothing but `guard`.
async fn verdict(store: &dyn Store, guard: Guard) -> Result<(), GuardFailure> {
    let transaction = Transaction { guards: vec![guard], ..Transaction::default() };
    match store.commit(transaction).await {
        Ok(_) => Ok(()),
        Err(StoreError::Guard(failure)) => Err(failure),
        Err(error) => panic!("{error}"),
    }
}

async fn write(store: &dyn Store, write: Write) {
    store.commit(audited("test", vec![write])).await.unwrap();
}

pub(in crate::store) fn issued(lease: &Lease) -> Lease {
    let event = LeaseEvent::Issued {
        token_until: lease.token_until,
        place_until: lease.place_until,
        native_id: "arn".to_owned(),
        origin: Some(Origin { identity: "AROA1".to_owned(), issued_at: lease.created_at }),
    };
    lease.after(&event).unwrap()
}

/// The lease after it was ended at 10, with a deny to be written.
pub(in crate::store) fn ended(lease: &Lease) -> Lease {
    lease.after(&LeaseEvent::End { at: at(10), reason: EndReason::Completed, propagation: 10 }).unwrap()
}

pub(in crate::store) async fn p3_only_an_active_grant_that_is_not_over_passes(stage: &mut impl Stage) {
    let store = stage.store();
    let active = grant(1);
    let mut waiting = grant(2);
    waiting.state = GrantState::Pending { lapses_at: None };
    insert_grant(&*store, &active).await;
    insert_grant(&*store, &waiting).await;
    let passes = async |grant: GrantId, at| verdict(&*store, Guard::GrantActive { grant, at }).await;
    assert_eq!(passes(active.id, at(0)).await, Ok(()));
    assert_eq!(passes(active.id, at(1800) - SignedDuration::from_millis(1)).await, Ok(()));
    assert_eq!(passes(active.id, at(1800)).await, Err(GuardFailure::GrantNotActive));
    assert_eq!(passes(waiting.id, at(0)).await, Err(GuardFailure::GrantNotActive));
    assert_eq!(passes(Id::new(Uuid::from_u128(99)), at(0)).await, Err(GuardFailure::GrantNotActive));
    write(&*store, Write::UpdateGrant(waiting.after(&GrantEvent::Approve { at: at(0) }).unwrap())).await;
    assert_eq!(passes(waiting.id, at(1)).await, Ok(()));
    write(&*store, Write::UpdateGrant(active.after(&GrantEvent::Complete { at: at(1) }).unwrap())).await;
    assert_eq!(passes(active.id, at(1)).await, Err(GuardFailure::GrantNotActive));
}

pub(in crate::store) async fn a_task_counts_once_however_many_leases_it_holds(stage: &mut impl Stage) {
    let store = stage.store();
    let (grant, other_grant) = (grant(1), grant(2));
    insert_grant(&*store, &grant).await;
    insert_grant(&*store, &other_grant).await;
    let (first, second) = (lease(10, &grant), lease(11, &grant));
    let mut again = lease(12, &grant);
    again.anchor = first.anchor.clone();
    for lease in [&first, &second, &again, &lease(13, &other_grant)] {
        write(&*store, Write::InsertLease(lease.clone())).await;
    }
    let below = async |lease: &Lease, limit| {
        let anchor_key = lease.anchor.key(lease.uid);
        verdict(&*store, Guard::OtherAnchorsBelow { grant: grant.id, anchor_key, limit }).await
    };
    let newcomer = lease(20, &grant);
    assert_eq!(below(&newcomer, 3).await, Ok(()));
    assert_eq!(below(&newcomer, 2).await, Err(GuardFailure::Concurrent { in_use: 2, limit: 2 }));
    assert_eq!(below(&first, 2).await, Ok(()), "one's own leases are not in one's way");
    assert_eq!(below(&first, 1).await, Err(GuardFailure::Concurrent { in_use: 1, limit: 1 }));
    write(&*store, Write::UpdateLease(issued(&second))).await;
    assert_eq!(below(&newcomer, 2).await, Err(GuardFailure::Concurrent { in_use: 2, limit: 2 }));
    write(&*store, Write::UpdateLease(ended(&issued(&second)))).await;
    assert_eq!(below(&newcomer, 2).await, Ok(()), "an ended lease is not held any more");
}

pub(in crate::store) async fn a_counter_counts_each_member_once(stage: &mut impl Stage) {
    let store = stage.store();
    let count = async |counter: &str, member: &str, limit: u32| {
        let (counter, member) = (counter.to_owned(), member.to_owned());
        let guards = vec![Guard::CounterBelow { counter: counter.clone(), member: member.clone(), limit }];
        let writes = vec![Write::Count { counter, member }];
        store.commit(Transaction { guards, ..audited("count", writes) }).await
    };
    assert!(matches!(
        count("a", "one", 0).await,
        Err(StoreError::Guard(GuardFailure::Counter { in_use: 0, limit: 0 }))
    ));
    count("a", "one", 2).await.unwrap();
    count("a", "one", 2).await.unwrap();
    assert_eq!(store.counted("a").await.unwrap(), 1);
    count("a", "two", 2).await.unwrap();
    let error = count("a", "three", 2).await.unwrap_err();
    assert!(matches!(error, StoreError::Guard(GuardFailure::Counter { in_use: 2, limit: 2 })), "{error}");
    count("a", "one", 2).await.unwrap();
    count("a", "one", 0).await.unwrap();
    count("b", "three", 1).await.unwrap();
    assert_eq!((store.counted("a").await.unwrap(), store.counted("b").await.unwrap()), (2, 1));
    assert_eq!(store.counted("nothing").await.unwrap(), 0);
}

pub(in crate::store) async fn a_counter_never_passes_its_limit_under_contention(stage: &mut impl Stage) {
    let store = stage.store();
    let outcomes = all_at_once(&store, |nth| {
        let (counter, member) = ("uses".to_owned(), nth.to_string());
        let guards = vec![Guard::CounterBelow { counter: counter.clone(), member: member.clone(), limit: 5 }];
        Transaction { guards, ..audited("count", vec![Write::Count { counter, member }]) }
    })
    .await;
    assert_eq!(outcomes, (5, 27));
    assert_eq!((store.counted("uses").await.unwrap(), store.head().await.unwrap().seq), (5, 5));
}

pub(in crate::store) async fn p2_a_place_is_taken_from_the_intent_until_the_token_is_dead(stage: &mut impl Stage) {
    let store = stage.store();
    let grant = grant(1);
    insert_grant(&*store, &grant).await;
    let (first, second) = (lease(10, &grant), lease(11, &grant));
    let scope = first.scope.clone();
    let below = async |at, limit| verdict(&*store, Guard::PlacesBelow { scope: scope.clone(), at, limit }).await;
    let places = async |at| store.places(&scope, at).await.unwrap();
    let full = |in_use, limit| Err(GuardFailure::Places { in_use, limit });
    assert_eq!((below(at(0), 1).await, below(at(0), 0).await), (Ok(()), full(0, 0)));
    write(&*store, Write::InsertLease(first.clone())).await;
    assert_eq!((below(at(0), 1).await, below(at(0), 2).await), (full(1, 1), Ok(())), "an intent takes a place");
    let just_before = at(1800) - SignedDuration::from_millis(1);
    assert_eq!((places(just_before).await, places(at(1800)).await), (1, 0));
    assert_eq!((below(just_before, 1).await, below(at(1800), 1).await), (full(1, 1), Ok(())));

    // The cloud's token lives longer than was planned.
    let longer =
        LeaseEvent::Issued { token_until: at(1000), place_until: at(2000), native_id: "arn".to_owned(), origin: None };
    let first = first.after(&longer).unwrap();
    write(&*store, Write::UpdateLease(first.clone())).await;
    assert_eq!((places(at(1999)).await, places(at(2000)).await), (1, 0));
    let first = ended(&first);
    write(&*store, Write::UpdateLease(first.clone())).await;
    assert_eq!(places(at(1999)).await, 1, "a revoked one still needs its place");
    let expired = first.after(&LeaseEvent::Expire { at: at(300) }).unwrap();
    write(&*store, Write::UpdateLease(expired)).await;
    assert_eq!(places(at(1999)).await, 1, "its deny was never confirmed");

    write(&*store, Write::InsertLease(second.clone())).await;
    assert_eq!(places(at(0)).await, 2);
    let refused = second.after(&LeaseEvent::Refuse { at: at(1), error: "no".to_owned() }).unwrap();
    write(&*store, Write::UpdateLease(refused)).await;
    assert_eq!(places(at(0)).await, 1, "what the cloud refused to issue needs none");
    let third = lease(12, &grant);
    write(&*store, Write::InsertLease(third.clone())).await;
    let third = issued(&third);
    write(&*store, Write::UpdateLease(third.clone())).await;
    assert_eq!(places(at(0)).await, 2);
    write(&*store, Write::UpdateLease(third.after(&LeaseEvent::Expire { at: at(300) }).unwrap())).await;
    assert_eq!(places(at(301)).await, 1, "what expired by itself needs none");
}

pub(in crate::store) async fn p11_a_share_counts_one_users_places_in_all_scopes_together(stage: &mut impl Stage) {
    let store = stage.store();
    let grant = grant(1);
    insert_grant(&*store, &grant).await;
    let slot = |name: &str| DenyScope { name: name.to_owned(), ..lease(1, &grant).scope };
    for (nth, name, uid) in [(10, "a", 1001), (11, "b", 1001), (12, "c", 1002), (13, "elsewhere", 1001)] {
        write(&*store, Write::InsertLease(Lease { scope: slot(name), uid, ..lease(nth, &grant) })).await;
    }
    let share = async |names: &[&str], uid, limit| {
        let scopes = names.iter().map(|name| slot(name)).collect();
        verdict(&*store, Guard::SharePlacesBelow { scopes, uid, at: at(20), limit }).await
    };
    let all = ["a", "b", "c", "d"];
    assert_eq!(share(&all, 1001, 2).await, Err(GuardFailure::Share { in_use: 2, limit: 2 }));
    assert_eq!(share(&all, 1001, 3).await, Ok(()), "what is in another scope does not count");
    assert_eq!(share(&all, 1002, 1).await, Err(GuardFailure::Share { in_use: 1, limit: 1 }));
    assert_eq!(share(&["b"], 1001, 1).await, Err(GuardFailure::Share { in_use: 1, limit: 1 }));
    assert_eq!(share(&["d"], 1001, 1).await, Ok(()));
    assert_eq!(share(&[], 1001, 1).await, Ok(()), "of no scope nobody has a place");
}

pub(in crate::store) async fn p4_what_is_refused_together_takes_no_place_and_stays_refused(stage: &mut impl Stage) {
    let store = stage.store();
    let grant = grant(1);
    insert_grant(&*store, &grant).await;
    let leases: Vec<Lease> = (10..13).map(|nth| lease(nth, &grant)).collect();
    let (scope, uid) = (leases[0].scope.clone(), leases[0].uid);
    let places = async |limit| {
        let all = verdict(&*store, Guard::PlacesBelow { scope: scope.clone(), at: at(20), limit }).await;
        let share =
            verdict(&*store, Guard::SharePlacesBelow { scopes: vec![scope.clone()], uid, at: at(20), limit }).await;
        (all, share, store.places(&scope, at(20)).await.unwrap())
    };
    let mut ends = Vec::new();
    for lease in &leases {
        write(&*store, Write::InsertLease(lease.clone())).await;
        let active = issued(lease);
        write(&*store, Write::UpdateLease(active.clone())).await;
        ends.push(ended(&active));
        write(&*store, Write::UpdateLease(ended(&active))).await;
    }
    let full = |in_use, limit| {
        (Err(GuardFailure::Places { in_use, limit }), Err(GuardFailure::Share { in_use, limit }), in_use)
    };
    assert_eq!(places(3).await, full(3, 3));
    let collapse = LeaseEvent::Collapse { at: at(20), version: "v9".to_owned() };
    let collapsed: Vec<Lease> = ends[..2].iter().map(|lease| lease.after(&collapse).unwrap()).collect();
    let writes = collapsed.iter().cloned().map(Write::UpdateLease).collect();
    store.commit(audited("deny.collapsed", writes)).await.unwrap();
    assert_eq!(places(1).await, full(1, 1));
    assert_eq!(places(2).await, (Ok(()), Ok(()), 1));
    // What follows does not take the place again, and the mark outlives a restart.
    let accepted = collapsed[0].after(&LeaseEvent::Accept { at: at(21), version: "v9".to_owned() }).unwrap();
    let revoked = accepted.after(&LeaseEvent::Confirm { at: at(22) }).unwrap();
    write(&*store, Write::UpdateLease(accepted)).await;
    write(&*store, Write::UpdateLease(revoked.clone())).await;
    drop(store);
    stage.restart().await;
    let store = stage.store();
    assert_eq!(store.places(&scope, at(23)).await.unwrap(), 1);
    let just_before = at(1800) - SignedDuration::from_millis(1);
    let denied = store.denied(&scope, just_before).await.unwrap();
    assert_eq!(denied, [revoked, collapsed[1].clone(), ends[2].clone()], "until the token is dead");
    let forms: Vec<DenyForm> = denied.iter().map(|lease| lease.entry().form).collect();
    assert_eq!(forms, [DenyForm::Collapsed, DenyForm::Collapsed, DenyForm::Single]);
    assert_eq!(store.denied(&scope, at(1800)).await.unwrap(), []);
}

pub(in crate::store) async fn places_never_pass_their_limit_under_contention(stage: &mut impl Stage) {
    let store = stage.store();
    let grant = grant(1);
    insert_grant(&*store, &grant).await;
    let outcomes = all_at_once(&store, |nth| {
        let lease = lease(100 + nth, &grant);
        let guards = vec![Guard::PlacesBelow { scope: lease.scope.clone(), at: at(0), limit: 5 }];
        Transaction { guards, ..audited("lease.intent", vec![Write::InsertLease(lease)]) }
    })
    .await;
    assert_eq!(outcomes, (5, 27));
    assert_eq!(store.places(&lease(100, &grant).scope, at(0)).await.unwrap(), 5);
}

pub(in crate::store) async fn an_anchor_that_is_gone_holds_nothing(stage: &mut impl Stage) {
    let store = stage.store();
    let anchor = |nth: u128| RegisteredAnchor {
        id: Id::new(Uuid::from_u128(nth)),
        uid: 1001,
        process: lease(nth, &grant(1)).anchor.process().clone(),
        created_at: at(i64::try_from(nth).unwrap()),
    };
    let (first, second) = (anchor(1), anchor(2));
    let passes = async |anchor| verdict(&*store, Guard::AnchorRegistered { anchor }).await;
    assert_eq!(passes(first.id).await, Err(GuardFailure::AnchorGone));
    write(&*store, Write::InsertAnchor(second.clone())).await;
    write(&*store, Write::InsertAnchor(first.clone())).await;
    assert_eq!(store.anchors().await.unwrap(), [first.clone(), second.clone()]);
    assert_eq!(passes(first.id).await, Ok(()));
    let twice = store.commit(audited("anchor", vec![Write::InsertAnchor(first.clone())])).await.unwrap_err();
    assert!(matches!(twice, StoreError::Stale { .. }), "{twice}");
    write(&*store, Write::RemoveAnchor(first.id)).await;
    write(&*store, Write::RemoveAnchor(first.id)).await;
    assert_eq!(passes(first.id).await, Err(GuardFailure::AnchorGone));
    assert_eq!(store.anchors().await.unwrap(), [second]);
}

/// Commits 32 transactions at once; gives how many were committed and how many refused by a guard.
async fn all_at_once(store: &Arc<dyn Store>, transaction: impl Fn(u128) -> Transaction) -> (u32, u32) {
    let commits: Vec<_> = (0..32)
        .map(|nth| {
            let (store, transaction) = (Arc::clone(store), transaction(nth));
            tokio::spawn(async move { store.commit(transaction).await })
        })
        .collect();
    let mut outcomes = (0, 0);
    for commit in commits {
        match commit.await.unwrap() {
            Ok(_) => outcomes.0 += 1,
            Err(StoreError::Guard(_)) => outcomes.1 += 1,
            Err(error) => panic!("{error}"),
        }
    }
    outcomes
}

pub(in crate::store) async fn nothing_is_written_on_an_old_view_of_the_freezes(stage: &mut impl Stage) {
    let store = stage.store();
    let passes = async |epoch| verdict(&*store, Guard::FreezesAt { epoch }).await;
    assert_eq!(passes(0).await, Ok(()));
    let first = freeze(1);
    write(&*store, Write::InsertFreeze(first.clone())).await;
    assert_eq!((passes(0).await, passes(1).await), (Err(GuardFailure::FreezesChanged), Ok(())));
    let thawed = first.thawed(thaw("ana")).unwrap();
    write(&*store, Write::UpdateFreeze(thawed.clone())).await;
    assert_eq!((passes(1).await, passes(2).await), (Err(GuardFailure::FreezesChanged), Ok(())));
    // Two people who thaw at once: the second has to look again, and its vote is not lost.
    let late = first.thawed(thaw("bruno")).unwrap();
    let stale = store.commit(audited("test", vec![Write::UpdateFreeze(late)])).await;
    assert!(matches!(stale, Err(StoreError::Stale { .. })), "{stale:?}");
    let lifted = thawed.thawed(thaw("bruno")).unwrap();
    write(&*store, Write::UpdateFreeze(lifted.clone())).await;
    write(&*store, Write::InsertFreeze(freeze(2))).await;
    let kept = store.freezes().await.unwrap();
    assert_eq!(freeze_epoch(&kept), 4);
    assert_eq!(passes(4).await, Ok(()));
    assert!(kept.contains(&lifted) && kept.contains(&freeze(2)) && kept.len() == 2);
}

pub(in crate::store) async fn a_voice_that_was_lent_is_taken_back_once(stage: &mut impl Stage) {
    let store = stage.store();
    assert_eq!(store.delegations().await.unwrap(), []);
    let (first, other) = (delegation(1), delegation(2));
    write(&*store, Write::PutDelegation(first.clone())).await;
    write(&*store, Write::PutDelegation(other.clone())).await;
    let back = first.taken_back(at(1), first.by.clone()).unwrap();
    assert_eq!(back.taken_back(at(2), first.by.clone()), None);
    write(&*store, Write::PutDelegation(back.clone())).await;
    // Made anew under its name, or taken back at the same moment: neither changes what is there.
    for late in [first.clone(), first.taken_back(at(9), first.by.clone()).unwrap()] {
        let stale = store.commit(audited("test", vec![Write::PutDelegation(late)])).await;
        assert!(matches!(stale, Err(StoreError::Stale { .. })), "{stale:?}");
    }
    let kept = store.delegations().await.unwrap();
    assert!(kept.contains(&back) && kept.contains(&other) && kept.len() == 2);
}

pub(in crate::store) async fn what_was_measured_is_kept_and_no_measurement_is_lost(stage: &mut impl Stage) {
    let store = stage.store();
    assert_eq!(store.propagations().await.unwrap(), []);
    let sample = |milliseconds| PropagationSample { at: at(0), node: NodeId("n".to_owned()), milliseconds };
    let first = Propagation::first(Cloud::Aws, "prod".to_owned(), sample(900));
    let other = Propagation::first(Cloud::Aws, "test".to_owned(), sample(100));
    write(&*store, Write::PutPropagation(first.clone())).await;
    write(&*store, Write::PutPropagation(other.clone())).await;
    let next = first.with(sample(1_200));
    write(&*store, Write::PutPropagation(next.clone())).await;
    // Two nodes that measured at once: the second has to look again.
    for late in [first.clone(), first.with(sample(5))] {
        let stale = store.commit(audited("test", vec![Write::PutPropagation(late)])).await;
        assert!(matches!(stale, Err(StoreError::Stale { .. })), "{stale:?}");
    }
    drop(store);
    stage.restart().await;
    assert_eq!(stage.store().propagations().await.unwrap(), [next, other]);
}

pub(in crate::store) async fn p13_a_cursor_is_kept_and_never_goes_back(stage: &mut impl Stage) {
    let store = stage.store();
    let to = |seq| Write::Advance { cursor: "notify:n:siem".to_owned(), seq };
    assert_eq!(store.cursor("notify:n:siem").await.unwrap(), None);
    for (seq, stands) in [(0, 0), (7, 7), (3, 7), (7, 7)] {
        store.commit(Transaction { writes: vec![to(seq)], ..Transaction::default() }).await.unwrap();
        assert_eq!(store.cursor("notify:n:siem").await.unwrap(), Some(stands), "{seq}");
    }
    assert_eq!(store.cursor("notify:n:other").await.unwrap(), None);
    drop(store);
    stage.restart().await;
    assert_eq!(stage.store().cursor("notify:n:siem").await.unwrap(), Some(7));
}

pub(in crate::store) async fn a_document_is_used_once_and_remembered_for_longer_than_it_is_good(
    stage: &mut impl Stage,
) {
    let take = |issuer: &str, jti: &str, before: i64| {
        let (issuer, jti) = (issuer.to_owned(), jti.to_owned());
        let guards = vec![Guard::DocumentUnused { issuer: issuer.clone(), jti: jti.clone() }];
        let writes =
            vec![Write::ForgetDocuments { before: at(before) }, Write::UseDocument { issuer, jti, until: at(60) }];
        Transaction { guards, ..audited("import", writes) }
    };
    let store = stage.store();
    store.commit(take("a", "1", 0)).await.unwrap();
    store.commit(take("a", "2", 0)).await.unwrap();
    store.commit(take("b", "1", 0)).await.unwrap();
    drop(store);
    stage.restart().await;
    let store = stage.store();
    let used = |outcome| matches!(outcome, Err(StoreError::Guard(GuardFailure::DocumentUsed)));
    assert!(used(store.commit(take("a", "1", 0)).await));
    assert!(used(store.commit(take("a", "1", 60)).await), "what ends then is not forgotten yet");
    // Of many at once one uses it.
    assert_eq!(all_at_once(&store, |_| take("a", "3", 0)).await, (1, 31));
    store.commit(take("c", "1", 61)).await.unwrap();
    store.commit(take("a", "1", 0)).await.unwrap();
}
