//! What is found again, and what the elected writer works from.

use grantd_model::{
    Escalation, ExtensionEnd, GrantEvent, GrantPhase, GrantState, Lease, LeaseEvent, LeasePhase, NodeId,
};
use jiff::SignedDuration;

use super::guards::{ended, issued};
use super::{Stage, at, audited, draft, extension, grant, insert_grant, lease};
use crate::store::{GrantFilter, LeaseFilter, Store, Transaction, Write};

/// Nothing found.
const NONE: [u128; 0] = [];

pub(in crate::store) async fn one_node_at_a_time_holds_a_claim(stage: &mut impl Stage) {
    let store = stage.store();
    assert!(store.claim("aws/prod", at(0), at(60)).await.unwrap());
    assert!(!stage.claim_for_other("aws/prod", at(0), at(60)).await);
    assert!(stage.claim_for_other("aws/dev", at(0), at(60)).await, "another name is another claim");
    assert!(!store.claim("aws/dev", at(0), at(60)).await.unwrap());
    assert!(store.claim("aws/prod", at(30), at(90)).await.unwrap(), "the holder renews");
    assert!(!stage.claim_for_other("aws/prod", at(60), at(120)).await, "the renewal counts");
    assert!(!stage.claim_for_other("aws/prod", at(90) - SignedDuration::from_millis(1), at(120)).await);
    assert!(stage.claim_for_other("aws/prod", at(90), at(120)).await, "at its end it is free");
    assert!(!store.claim("aws/prod", at(91), at(200)).await.unwrap(), "it is not ours any more");
    assert!(store.claim("aws/prod", at(120), at(200)).await.unwrap());
    assert!(store.claim("aws/prod", at(130), at(130)).await.unwrap(), "given back early");
    assert!(stage.claim_for_other("aws/prod", at(130), at(200)).await);
}

async fn store_leases(store: &dyn Store, leases: &[Lease]) {
    for lease in leases {
        store.commit(audited("lease", vec![Write::InsertLease(lease.clone())])).await.unwrap();
    }
}

pub(in crate::store) async fn p4_what_must_be_denied_is_denied_until_the_token_is_dead(stage: &mut impl Stage) {
    let store = stage.store();
    let grant = grant(1);
    insert_grant(&*store, &grant).await;
    let mut leases: Vec<_> = (10..17).map(|nth| lease(nth, &grant)).collect();
    // Stored newest first; one is another node's.
    for (nth, lease) in leases.iter_mut().enumerate() {
        lease.created_at = at(-i64::try_from(nth).unwrap());
    }
    leases[2].node = NodeId("another".to_owned());
    store_leases(&*store, &leases).await;
    let scope = &leases[0].scope;
    assert_eq!(store.denied(scope, at(0)).await.unwrap(), [], "an intent is not denied before it has to end");

    let accept = LeaseEvent::Accept { at: at(11), version: "v2".to_owned() };
    let revoking = ended(&leases[1]);
    let revoked: Vec<_> = {
        let active = issued(&leases[2]);
        let revoking = ended(&active);
        let accepted = revoking.after(&accept).unwrap();
        vec![active, revoking, accepted.clone(), accepted.after(&LeaseEvent::Confirm { at: at(12) }).unwrap()]
    };
    let failed: Vec<_> = {
        let active = issued(&leases[3]);
        let revoking = ended(&active);
        let failed = revoking.after(&LeaseEvent::RevocationFailed { error: "no".to_owned() }).unwrap();
        vec![active, revoking, failed]
    };
    let expiring: Vec<_> = {
        let active = issued(&leases[4]);
        let event = LeaseEvent::End { at: at(299), reason: grantd_model::EndReason::Completed, propagation: 10 };
        vec![active.clone(), active.after(&event).unwrap()]
    };
    let refused = leases[5].after(&LeaseEvent::Refuse { at: at(1), error: "no".to_owned() }).unwrap();
    let expected = [failed[2].clone(), revoked[3].clone(), revoking.clone()];
    let active = issued(&leases[6]);
    let histories = [vec![revoking], revoked, failed, expiring, vec![refused], vec![active]];
    for lease in histories.into_iter().flatten() {
        store.commit(audited("lease", vec![Write::UpdateLease(lease)])).await.unwrap();
    }
    let last = at(1800) - SignedDuration::from_millis(1);
    assert_eq!(store.denied(scope, at(12)).await.unwrap(), expected, "oldest first, of every node");
    assert_eq!(store.denied(scope, last).await.unwrap(), expected);
    assert!(expected.iter().all(|lease| lease.deny_entry(last).is_some()), "the store agrees with the model");
    assert_eq!(store.denied(scope, at(1800)).await.unwrap(), []);
}

pub(in crate::store) async fn p10_scopes_do_not_mix(stage: &mut impl Stage) {
    let store = stage.store();
    let grant = grant(1);
    insert_grant(&*store, &grant).await;
    let (mut one, mut two) = (lease(10, &grant), lease(11, &grant));
    (one.scope.account, one.scope.name) = ("a".to_owned(), "b/c".to_owned());
    (two.scope.account, two.scope.name) = ("a/b".to_owned(), "c".to_owned());
    store_leases(&*store, &[one.clone(), two.clone()]).await;
    let one = ended(&one);
    store.commit(audited("lease", vec![Write::UpdateLease(one.clone())])).await.unwrap();
    assert_eq!(store.denied(&one.scope, at(0)).await.unwrap(), std::slice::from_ref(&one));
    assert_eq!(store.denied(&two.scope, at(0)).await.unwrap(), []);
    assert_eq!(store.places(&one.scope, at(0)).await.unwrap(), 1);
    assert_eq!(store.places(&two.scope, at(0)).await.unwrap(), 1);
}

pub(in crate::store) async fn grants_are_found_by_every_filter(stage: &mut impl Stage) {
    let store = stage.store();
    let (one, mut two, mut three) = (grant(1), grant(2), grant(3));
    two.created_at = at(1);
    two.request.resource = "ledger".to_owned();
    two.request.subject.id = "1002".to_owned();
    two.state = GrantState::Active { since: at(0), until: at(60) };
    three.created_at = at(2);
    three.request.requested_by.id = "1002".to_owned();
    three.state = GrantState::Pending { lapses_at: None };
    for grant in [&three, &one, &two] {
        insert_grant(&*store, grant).await;
    }
    let found = async |filter: GrantFilter| -> Vec<u128> {
        store.grants(filter).await.unwrap().iter().map(|grant| grant.id.uuid().as_u128()).collect()
    };
    let all = GrantFilter::default;
    assert_eq!(found(all()).await, [3, 2, 1], "newest first");
    assert_eq!(found(GrantFilter { limit: Some(2), ..all() }).await, [3, 2]);
    assert_eq!(found(GrantFilter { limit: Some(0), ..all() }).await, NONE);
    let phases = |phases: &[GrantPhase]| GrantFilter { phases: Some(phases.to_vec()), ..all() };
    assert_eq!(found(phases(&[GrantPhase::Pending])).await, [3]);
    assert_eq!(found(phases(&[GrantPhase::Pending, GrantPhase::Active])).await, [3, 2, 1]);
    assert_eq!(found(phases(&[])).await, NONE);
    let identity = |text: &str| GrantFilter { identity: Some(text.to_owned()), ..all() };
    assert_eq!(found(identity("unix:1002")).await, [3, 2], "as requester and as subject");
    assert_eq!(found(identity("unix:100")).await, NONE);
    assert_eq!(found(identity("' OR 1=1 --")).await, NONE);
    let resource = GrantFilter { resource: Some("ledger".to_owned()), ..all() };
    assert_eq!(found(resource.clone()).await, [2]);
    assert_eq!(found(GrantFilter { identity: Some("unix:1001".to_owned()), ..resource.clone() }).await, [2]);
    assert_eq!(found(GrantFilter { identity: Some("unix:1003".to_owned()), ..resource }).await, NONE);
    let over = |at| GrantFilter { due_at: Some(at), ..all() };
    assert_eq!(found(over(at(60) - SignedDuration::from_millis(1))).await, NONE);
    assert_eq!(found(over(at(60))).await, [2]);
    assert_eq!(found(over(at(1800))).await, [2, 1], "one that is pending is not over");

    let mut extending = grant(4);
    extending.created_at = at(3);
    extending.extension = Some(Box::new(extension(1900, 30)));
    let mut waiting = grant(5);
    waiting.created_at = at(4);
    waiting.state = GrantState::Pending { lapses_at: Some(at(50)) };
    waiting.escalation = Some(Escalation::Due { at: at(45) });
    for grant in [&extending, &waiting] {
        insert_grant(&*store, grant).await;
    }
    assert_eq!(found(GrantFilter { extending: true, ..all() }).await, [4]);
    assert_eq!(found(over(at(30) - SignedDuration::from_millis(1))).await, NONE);
    assert_eq!(found(over(at(30))).await, [4], "its extension lapses");
    assert_eq!(found(over(at(45) - SignedDuration::from_millis(1))).await, [4]);
    assert_eq!(found(over(at(45))).await, [5, 4], "its stewards are to be asked");
    let to = Escalation::NotAsked { at: at(45), why: "nobody".to_owned() };
    let waiting = waiting.after(&GrantEvent::Escalate { to }).unwrap();
    store.commit(audited("asked", vec![Write::UpdateGrant(waiting.clone())])).await.unwrap();
    assert_eq!(found(over(at(49))).await, [4], "once");
    assert_eq!(found(over(at(50))).await, [5, 4], "a pending one lapses");
    let outcome = ExtensionEnd::Lapsed { at: at(30) };
    let lapsed = extending.after(&GrantEvent::EndExtension { outcome }).unwrap();
    let waiting = waiting.after(&GrantEvent::Lapse { at: at(50) }).unwrap();
    let writes = [lapsed.clone(), waiting].map(Write::UpdateGrant).to_vec();
    store.commit(audited("lapses", writes)).await.unwrap();
    assert_eq!(found(over(at(59))).await, NONE);
    assert_eq!(found(GrantFilter { extending: true, ..all() }).await, NONE);
    assert_eq!(found(over(at(1800))).await, [4, 2, 1]);
    let gone = [lapsed.after(&GrantEvent::Complete { at: at(1) }).unwrap()].map(Write::UpdateGrant).to_vec();
    store.commit(audited("gone", gone)).await.unwrap();

    let one = one.after(&GrantEvent::Complete { at: at(5) }).unwrap();
    let two = two.after(&GrantEvent::Expire { at: at(60) }).unwrap();
    let three = three.after(&GrantEvent::Cancel { at: at(60) }).unwrap();
    let writes = [one, two, three].map(Write::UpdateGrant).to_vec();
    store.commit(audited("ends", writes)).await.unwrap();
    assert_eq!(found(over(at(9000))).await, NONE, "what has ended is not over again");
    assert_eq!(found(phases(&[GrantPhase::Ended])).await, [4, 2, 1]);
    assert_eq!(found(phases(&[GrantPhase::Cancelled])).await, [3]);
}

pub(in crate::store) async fn leases_are_found_by_every_filter(stage: &mut impl Stage) {
    let store = stage.store();
    let (grant, other) = (grant(1), grant(2));
    insert_grant(&*store, &grant).await;
    insert_grant(&*store, &other).await;
    let (one, mut two, mut three) = (lease(1, &grant), lease(2, &grant), lease(3, &other));
    (two.created_at, three.created_at) = (at(1), at(2));
    two.uid = u32::MAX - 1;
    three.node = NodeId("another".to_owned());
    let active = issued(&one);
    store_leases(&*store, &[two, three, one]).await;
    let found = async |filter: LeaseFilter| -> Vec<u128> {
        store.leases(filter).await.unwrap().iter().map(|lease| lease.id.uuid().as_u128()).collect()
    };
    let all = LeaseFilter::default;
    assert_eq!(found(all()).await, [3, 2, 1], "newest first");
    assert_eq!(found(LeaseFilter { limit: Some(1), ..all() }).await, [3]);
    assert_eq!(found(LeaseFilter { grant: Some(grant.id), ..all() }).await, [2, 1]);
    assert_eq!(found(LeaseFilter { uid: Some(u32::MAX - 1), ..all() }).await, [2]);
    let node = Some(NodeId("somewhere".to_owned()));
    assert_eq!(found(LeaseFilter { node: node.clone(), ..all() }).await, [2, 1]);
    assert_eq!(found(LeaseFilter { node, uid: Some(1001), ..all() }).await, [1]);
    store.commit(audited("lease.issued", vec![Write::UpdateLease(active)])).await.unwrap();
    let phases = |phases: &[LeasePhase]| LeaseFilter { phases: Some(phases.to_vec()), ..all() };
    assert_eq!(found(phases(&[LeasePhase::Active])).await, [1]);
    assert_eq!(found(phases(&[LeasePhase::Issuing])).await, [3, 2]);
    assert_eq!(found(phases(&LeasePhase::OPEN)).await, [3, 2, 1]);
    assert_eq!(found(phases(&[])).await, NONE);
}

pub(in crate::store) async fn audit_is_read_in_pages(stage: &mut impl Stage) {
    let store = stage.store();
    let audit = (0..7).map(|nth| draft(&format!("kind-{nth}"))).collect();
    store.commit(Transaction { audit, ..Transaction::default() }).await.unwrap();
    let page = async |after, limit| -> Vec<u64> {
        store.audit(after, limit).await.unwrap().iter().map(|record| record.seq).collect()
    };
    assert_eq!(page(0, 3).await, [1, 2, 3]);
    assert_eq!(page(3, 3).await, [4, 5, 6]);
    assert_eq!(page(6, 3).await, [7]);
    assert_eq!(page(7, 3).await, [0; 0]);
    assert_eq!(page(0, 0).await, [0; 0]);
}
