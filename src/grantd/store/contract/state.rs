//! State and audit: together, in order, and for ever.

use std::sync::Arc;

use grantd_model::{
    AcceptedSeal, ChainHead, Digest, GrantEvent, LeaseEvent, PolicyVersion, RegisteredAnchor, verify_chain,
};
use grantd_provider_api::Id;
use uuid::Uuid;

use super::{Stage, at, audited, draft, grant, insert_grant, lease};
use crate::store::{GrantFilter, Guard, LeaseFilter, StoreError, Transaction, Write};

pub(in crate::store) async fn p1_state_and_its_record_are_written_together(stage: &mut impl Stage) {
    let store = stage.store();
    assert_eq!(store.head().await.unwrap(), ChainHead::EMPTY);
    let (grant, lease) = (grant(1), lease(2, &grant(1)));
    let committed = store
        .commit(Transaction {
            guards: Vec::new(),
            writes: vec![Write::InsertGrant(grant.clone()), Write::InsertLease(lease.clone())],
            audit: vec![draft("grant.request"), draft("lease.intent")],
        })
        .await
        .unwrap();
    assert_eq!(store.grant(grant.id).await.unwrap(), Some(grant));
    assert_eq!(store.lease(lease.id).await.unwrap(), Some(lease));
    let records = store.audit(0, 10).await.unwrap();
    let kinds: Vec<_> = records.iter().map(|record| (record.seq, record.draft.kind.as_str())).collect();
    assert_eq!(kinds, [(1, "grant.request"), (2, "lease.intent")]);
    assert_eq!(committed.head, verify_chain(store.node(), ChainHead::EMPTY, &records).unwrap());
    assert_eq!(store.head().await.unwrap(), committed.head);
}

/// The last write of each transaction, or a guard, is refused: what was written before it in the same one is gone too.
pub(in crate::store) async fn p1_a_refused_transaction_writes_nothing_and_records_nothing(stage: &mut impl Stage) {
    let store = stage.store();
    let (kept, new) = (grant(1), grant(2));
    insert_grant(&*store, &kept).await;
    let head = store.head().await.unwrap();
    let counted = || Write::Count { counter: "c".to_owned(), member: "m".to_owned() };
    let bundle = || Write::KeepBundle { version: PolicyVersion(Digest::ZERO), bytes: vec![1] };
    let refused = [Write::InsertGrant(kept.clone()), Write::UpdateGrant(kept.clone()), Write::UpdateGrant(grant(9))];
    for last in refused {
        let writes = vec![Write::InsertGrant(new.clone()), counted(), bundle(), last];
        let error = store.commit(audited("refused", writes)).await.unwrap_err();
        assert!(matches!(error, StoreError::Stale { .. }), "{error}");
    }
    let guarded = Transaction {
        guards: vec![Guard::GrantActive { grant: grant(9).id, at: at(0) }],
        ..audited("refused", vec![Write::InsertGrant(new.clone()), counted(), bundle()])
    };
    assert!(matches!(store.commit(guarded).await.unwrap_err(), StoreError::Guard(_)));
    assert_eq!(store.grant(new.id).await.unwrap(), None);
    assert_eq!(store.counted("c").await.unwrap(), 0);
    assert_eq!(store.bundle(PolicyVersion(Digest::ZERO)).await.unwrap(), None);
    assert_eq!(store.head().await.unwrap(), head);
    assert_eq!(store.audit(0, 10).await.unwrap().len(), 1);
    assert_eq!(store.poisoned(), None, "a refusal is not a failure");
    let next = store.commit(audited("next", vec![Write::InsertGrant(new)])).await.unwrap();
    assert_eq!(next.head.seq, 2, "a refused transaction leaves no hole");
}

pub(in crate::store) async fn p13_the_chain_is_whole_under_64_committers(stage: &mut impl Stage) {
    const COMMITTERS: u128 = 64;
    const EACH: u128 = 4;
    let store = stage.store();
    let mut committers = Vec::new();
    for nth in 0..COMMITTERS {
        let store = Arc::clone(&store);
        committers.push(tokio::spawn(async move {
            let mut heads = Vec::new();
            for i in 0..EACH {
                let new = Write::InsertGrant(grant(nth * EACH + i));
                // Every other committer is also refused once in a while, in the middle of everybody's work.
                if nth % 2 == 0 {
                    let refused = audited("refused", vec![new.clone(), Write::UpdateGrant(grant(u128::MAX))]);
                    store.commit(refused).await.unwrap_err();
                }
                let mut transaction = audited("first", vec![new]);
                transaction.audit.push(draft("second"));
                heads.push(store.commit(transaction).await.unwrap().head);
            }
            heads
        }));
    }
    let mut heads = Vec::new();
    for committer in committers {
        heads.extend(committer.await.unwrap());
    }
    let records = store.audit(0, 10_000).await.unwrap();
    assert_eq!(records.len(), 512);
    let end = verify_chain(store.node(), ChainHead::EMPTY, &records).unwrap();
    assert_eq!(end, store.head().await.unwrap());
    for head in heads {
        let record = &records[usize::try_from(head.seq).unwrap() - 1];
        assert_eq!((record.head(), record.draft.kind.as_str()), (head, "second"), "each was told its own head");
    }
    assert_eq!(store.grants(GrantFilter::default()).await.unwrap().len(), 256);
}

pub(in crate::store) async fn p13_everything_survives_a_restart(stage: &mut impl Stage) {
    let store = stage.store();
    let node = store.node().clone();
    let (grant, lease) = (grant(1), lease(2, &grant(1)));
    let version = PolicyVersion(Digest::of("t", b"bundle"));
    let anchor = RegisteredAnchor {
        id: Id::new(Uuid::from_u128(5)),
        uid: 1001,
        process: lease.anchor.process().clone(),
        created_at: at(0),
    };
    let writes = vec![
        Write::InsertGrant(grant.clone()),
        Write::InsertLease(lease.clone()),
        Write::InsertAnchor(anchor.clone()),
        Write::Count { counter: "uses".to_owned(), member: "one".to_owned() },
        Write::KeepBundle { version, bytes: b"bundle".to_vec() },
    ];
    store.commit(audited("everything", writes)).await.unwrap();
    let active = lease
        .after(&LeaseEvent::Issued {
            token_until: at(900),
            place_until: at(1800),
            native_id: "arn".to_owned(),
            origin: None,
        })
        .unwrap();
    store.commit(audited("lease.issued", vec![Write::UpdateLease(active.clone())])).await.unwrap();
    assert!(store.claim("writer", at(0), at(60)).await.unwrap());
    let before = store.audit(0, 10).await.unwrap();
    drop(store);
    stage.restart().await;

    let store = stage.store();
    assert_eq!(*store.node(), node);
    assert_eq!(store.grant(grant.id).await.unwrap(), Some(grant));
    assert_eq!(store.lease(lease.id).await.unwrap(), Some(active));
    assert_eq!(store.anchors().await.unwrap(), [anchor]);
    assert_eq!(store.counted("uses").await.unwrap(), 1);
    assert_eq!(store.bundle(version).await.unwrap().as_deref(), Some(&b"bundle"[..]));
    assert!(!stage.claim_for_other("writer", at(59), at(200)).await, "a claim outlives its holder's restart");
    assert_eq!(store.audit(0, 10).await.unwrap(), before);
    let committed = store.commit(audited("after", Vec::new())).await.unwrap();
    assert_eq!(committed.head.seq, 3);
    let records = store.audit(0, 10).await.unwrap();
    assert_eq!(verify_chain(&node, ChainHead::EMPTY, &records), Ok(committed.head));
}

pub(in crate::store) async fn p11_a_store_that_does_not_hang_answers(stage: &mut impl Stage) {
    let store = stage.store();
    assert!(store.answers().await);
    insert_grant(&*store, &grant(1)).await;
    store.reopen().await.unwrap();
    assert!(store.answers().await);
}

pub(in crate::store) async fn p13_a_healthy_store_can_be_opened_anew(stage: &mut impl Stage) {
    let store = stage.store();
    store.reopen().await.unwrap();
    insert_grant(&*store, &grant(1)).await;
    store.reopen().await.unwrap();
    insert_grant(&*store, &grant(2)).await;
    assert_eq!(store.poisoned(), None);
    let records = store.audit(0, 10).await.unwrap();
    assert_eq!(verify_chain(store.node(), ChainHead::EMPTY, &records), Ok(store.head().await.unwrap()));
}

pub(in crate::store) async fn what_changed_meanwhile_is_stale(stage: &mut impl Stage) {
    let store = stage.store();
    let (grant, lease) = (grant(1), lease(2, &grant(1)));
    let new = vec![Write::InsertGrant(grant.clone()), Write::InsertLease(lease.clone())];
    store.commit(audited("new", new)).await.unwrap();
    let ended = grant.after(&GrantEvent::Complete { at: at(5) }).unwrap();
    let revoked = grant.after(&GrantEvent::Revoke { at: at(6), reason: "other".to_owned() }).unwrap();
    store.commit(audited("grant.complete", vec![Write::UpdateGrant(ended.clone())])).await.unwrap();
    let error = store.commit(audited("grant.revoke", vec![Write::UpdateGrant(revoked)])).await.unwrap_err();
    assert!(matches!(&error, StoreError::Stale { what } if *what == grant.id.to_string()), "{error}");
    assert_eq!(store.grant(grant.id).await.unwrap(), Some(ended));

    let failed = lease.after(&LeaseEvent::Refuse { at: at(1), error: "no".to_owned() }).unwrap();
    let mut skipped = failed.clone();
    skipped.version += 1;
    for wrong in [lease.clone(), skipped] {
        let error = store.commit(audited("lease", vec![Write::UpdateLease(wrong)])).await.unwrap_err();
        assert!(matches!(&error, StoreError::Stale { what } if *what == lease.id.to_string()), "{error}");
    }
    store.commit(audited("lease.refused", vec![Write::UpdateLease(failed.clone())])).await.unwrap();
    assert_eq!(store.lease(lease.id).await.unwrap(), Some(failed));
    assert_eq!(store.lease(Id::new(Uuid::from_u128(99))).await.unwrap(), None);
    assert_eq!(store.grant(Id::new(Uuid::from_u128(99))).await.unwrap(), None);
}

pub(in crate::store) async fn an_id_and_a_session_name_are_used_once(stage: &mut impl Stage) {
    let store = stage.store();
    let grant = grant(1);
    insert_grant(&*store, &grant).await;
    let first = lease(2, &grant);
    store.commit(audited("lease", vec![Write::InsertLease(first.clone())])).await.unwrap();
    let mut same_name = lease(3, &grant);
    same_name.session_name.clone_from(&first.session_name);
    let mut same_id = lease(2, &grant);
    same_id.session_name = "another".to_owned();
    for taken in [same_name, same_id] {
        let error = store.commit(audited("lease", vec![Write::InsertLease(taken)])).await.unwrap_err();
        assert!(matches!(error, StoreError::Stale { .. }), "{error}");
    }
    assert_eq!(store.leases(LeaseFilter::default()).await.unwrap(), [first]);
}

pub(in crate::store) async fn a_lease_belongs_to_a_grant_that_exists(stage: &mut impl Stage) {
    let store = stage.store();
    let orphan = lease(2, &grant(1));
    let error = store.commit(audited("lease", vec![Write::InsertLease(orphan)])).await.unwrap_err();
    assert!(matches!(error, StoreError::Stale { .. }), "{error}");
    assert_eq!(store.poisoned(), None);
    insert_grant(&*store, &grant(1)).await;
}

pub(in crate::store) async fn a_bundle_is_kept_as_it_was_first(stage: &mut impl Stage) {
    let store = stage.store();
    let version = PolicyVersion(Digest::of("t", b"1"));
    assert_eq!(store.bundle(version).await.unwrap(), None);
    for bytes in [vec![0, 255, 10], vec![7]] {
        store.commit(audited("policy", vec![Write::KeepBundle { version, bytes }])).await.unwrap();
    }
    assert_eq!(store.bundle(version).await.unwrap(), Some(vec![0, 255, 10]));
    assert_eq!(store.bundle(PolicyVersion(Digest::ZERO)).await.unwrap(), None);
}

pub(in crate::store) async fn p12_what_was_accepted_is_kept_and_its_place_only_rises(stage: &mut impl Stage) {
    let seal = |sequence: u64, files: &[u8]| AcceptedSeal {
        sequence,
        files: Digest::of("t", files),
        version: PolicyVersion(Digest::ZERO),
        accepted_at: at(0),
        signers: ["ana".to_owned()].into(),
        signatures: [("signatures/ana.sig".to_owned(), "armour".to_owned())].into(),
    };
    let store = stage.store();
    assert_eq!(store.seals().await.unwrap(), []);
    for (sequence, files) in [(3, b"a"), (7, b"b")] {
        store.commit(audited("policy.change", vec![Write::AcceptSeal(seal(sequence, files))])).await.unwrap();
    }
    for (sequence, files) in [(7, b"b"), (7, b"c"), (5, b"c"), (3, b"a")] {
        let refused = store.commit(audited("policy.change", vec![Write::AcceptSeal(seal(sequence, files))])).await;
        assert!(matches!(refused, Err(StoreError::Stale { .. })), "{sequence}: {refused:?}");
    }
    drop(store);
    stage.restart().await;
    assert_eq!(stage.store().seals().await.unwrap(), [seal(7, b"b"), seal(3, b"a")]);
}
