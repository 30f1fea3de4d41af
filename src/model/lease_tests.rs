//! The lease machine: what may follow what, and random histories.

use grantd_provider_api::{Cloud, Id};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;
use crate::{ProcessRef, SubjectKind};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn issuing() -> Lease {
    Lease {
        id: Id::new(Uuid::from_u128(7)),
        grant: Id::new(Uuid::from_u128(1)),
        node: NodeId("n".to_owned()),
        created_at: at(0),
        subject: Subject {
            kind: SubjectKind::Service,
            issuer: "unix".to_owned(),
            id: "1".to_owned(),
            name: "svc".to_owned(),
        },
        uid: 1,
        anchor: Anchor::Process { process: ProcessRef { boot_id: "b".to_owned(), pid: 2, start_time: 3 } },
        on_policy_change: OnPolicyChange::End,
        on_signal_change: OnPolicyChange::End,
        target: "arn:aws:iam::123456789012:role/r".to_owned(),
        scope: DenyScope { cloud: Cloud::Aws, account: "prod".to_owned(), name: "boundary".to_owned() },
        session_name: "svc-aaaaaaaaaa".to_owned(),
        access_until: at(300),
        token_until: at(960),
        place_until: at(1860),
        ending: Ending::Cloud,
        native_id: None,
        origin: None,
        collapsed: None,
        state: LeaseState::Issuing,
        version: 0,
    }
}

fn issued() -> LeaseEvent {
    let origin = Some(Origin { identity: "AROA1".to_owned(), issued_at: at(0) });
    LeaseEvent::Issued { token_until: at(900), place_until: at(1800), native_id: "arn".to_owned(), origin }
}

fn end(seconds: i64, propagation: u64) -> LeaseEvent {
    LeaseEvent::End { at: at(seconds), reason: EndReason::Completed, propagation }
}

#[test]
fn p4_a_revocation_is_requested_then_accepted_then_confirmed() {
    let active = issuing().after(&issued()).unwrap();
    let revoking = active.after(&end(10, 10)).unwrap();
    assert_eq!(revoking.worst_case_until(), Some(at(300)), "until confirmed, the worst case is the end of access");
    assert!(revoking.after(&LeaseEvent::Confirm { at: at(11) }).is_err(), "not confirmed before it was accepted");
    let accepted = revoking.after(&LeaseEvent::Accept { at: at(11), version: "v2".to_owned() }).unwrap();
    assert_eq!(accepted.worst_case_until(), Some(at(300)));
    let revoked = accepted.after(&LeaseEvent::Confirm { at: at(12) }).unwrap();
    assert_eq!((revoked.worst_case_until(), revoked.state.phase()), (None, LeasePhase::Revoked));
    assert!(revoked.deny_entry(at(1799)).is_some(), "the deny stays until the token is dead for certain");
    assert!(revoked.deny_entry(at(1800)).is_none());
}

#[test]
fn p3_what_no_expiry_ends_is_taken_away_and_is_not_over_before_that_was_seen() {
    let slot = Lease { ending: Ending::Daemon { outlives: 600 }, ..issuing() };
    let active = slot.after(&issued()).unwrap();
    assert!(active.after(&LeaseEvent::Expire { at: at(300) }).is_err(), "nothing in the cloud ends it");
    assert_eq!(active.worst_case_until(), Some(at(900)), "without the daemon only the token's death ends it");
    // However little of its time is left, and long after it.
    for late in [295, 300, 90_000] {
        let taken = active.after(&end(late, 10)).unwrap();
        assert_eq!(taken.state.phase(), LeasePhase::Revoking);
        assert!(taken.after(&LeaseEvent::Expire { at: at(late + 1) }).is_err(), "it is not over by its time");
        assert!(taken.deny_entry(at(9_000_000)).is_some(), "it is taken away for as long as that takes");
        assert_eq!(taken.occupies_until(), Some(Timestamp::MAX), "and nobody else gets its place meanwhile");
    }
}

#[test]
fn p3_what_the_cloud_ends_too_is_over_before_the_token_dies() {
    let backed = |without_daemon| Lease { ending: Ending::Backed { outlives: 60, without_daemon }, ..issuing() };
    let active = backed(400).after(&issued()).unwrap();
    assert_eq!(active.worst_case_until(), Some(at(700)), "whatever becomes of the daemon");
    assert_eq!(backed(4_000).after(&issued()).unwrap().worst_case_until(), Some(at(900)), "a dead token opens nothing");
    // The daemon takes it away all the same, and measured slowness moves both bounds.
    assert_eq!(active.after(&end(299, 10)).unwrap().state.phase(), LeasePhase::Revoking);
    let slow = Ending::Backed { outlives: 60, without_daemon: 400 }.at_least(90);
    assert_eq!(slow, Ending::Backed { outlives: 90, without_daemon: 430 });
}

#[test]
fn p10_a_place_cools_down_from_the_moment_at_which_the_taking_away_was_seen() {
    let slot = Lease { ending: Ending::Daemon { outlives: 600 }, ..issuing() };
    let accept = |seconds| LeaseEvent::Accept { at: at(seconds), version: "1".to_owned() };
    let until = |seconds| {
        let taken = slot.after(&issued()).unwrap().after(&end(seconds, 10)).unwrap();
        let revoked = taken.after(&accept(seconds)).unwrap().after(&LeaseEvent::Confirm { at: at(seconds) }).unwrap();
        revoked.occupies_until()
    };
    assert_eq!(until(10), Some(at(1800)), "the token's own life is longer");
    assert_eq!(until(5000), Some(at(5600)), "it was taken away late");
}

#[test]
fn p2_an_intent_of_unknown_outcome_is_denied_and_not_forgotten() {
    let orphan = LeaseEvent::End { at: at(5000), reason: EndReason::Abandoned, propagation: 10 };
    let lease = issuing().after(&orphan).unwrap();
    assert_eq!(lease.state.phase(), LeasePhase::Revoking, "of an unknown session only a deny is certain");
    assert!(issuing().after(&LeaseEvent::Expire { at: at(5000) }).is_err(), "an intent is never dropped by age");
}

#[test]
fn p4_less_life_than_a_deny_takes_is_left_to_expire_and_says_so() {
    let active = issuing().after(&issued()).unwrap();
    let expiring = active.after(&end(295, 10)).unwrap();
    assert_eq!((expiring.state.phase(), expiring.worst_case_until()), (LeasePhase::Expiring, Some(at(300))));
    assert!(expiring.deny_entry(at(296)).is_none());
    assert!(expiring.after(&LeaseEvent::Confirm { at: at(296) }).is_err(), "nobody claims that it is revoked");
}

#[test]
fn p4_what_nobody_can_refuse_is_expiring_from_its_end_on_whenever_that_is() {
    let token = || Lease { ending: Ending::Verifier, ..issuing() };
    let orphan = LeaseEvent::End { at: at(1), reason: EndReason::Abandoned, propagation: 0 };
    for ended in [token().after(&issued()).unwrap().after(&end(1, 0)).unwrap(), token().after(&orphan).unwrap()] {
        assert_eq!((ended.state.phase(), ended.worst_case_until()), (LeasePhase::Expiring, Some(at(300))));
        assert!(ended.deny_entry(at(2)).is_none(), "nothing is asked of anybody");
        assert!(ended.after(&LeaseEvent::Accept { at: at(2), version: "v".to_owned() }).is_err());
        assert!(ended.after(&LeaseEvent::Confirm { at: at(2) }).is_err(), "it is never called revoked");
        assert!(ended.after(&LeaseEvent::Expire { at: at(299) }).is_err());
        let over = ended.after(&LeaseEvent::Expire { at: at(300) }).unwrap();
        assert!(matches!(over.state, LeaseState::Expired { denied: false, .. }) && over.worst_case_until().is_none());
    }
    assert!(token().after(&LeaseEvent::Expire { at: at(5000) }).is_err(), "p2: an intent is never dropped by age");
    // It is written down, so that it is so for a daemon that does not know the account any more.
    let text = serde_json::to_string(&token()).unwrap();
    assert!(text.contains("\"ending\":{\"by\":\"verifier\"}"), "{text}");
    assert_eq!(serde_json::from_str::<Lease>(&text).unwrap(), token());
}

#[test]
fn p4_a_failed_revocation_counts_its_attempts_and_can_still_succeed() {
    let fail = || LeaseEvent::RevocationFailed { error: "throttled".to_owned() };
    let lease = issuing().after(&issued()).unwrap().after(&end(1, 1)).unwrap();
    let lease = lease.after(&fail()).unwrap().after(&fail()).unwrap();
    assert!(matches!(lease.state, LeaseState::RevokeFailed { attempts: 2, .. }));
    assert!(lease.deny_entry(at(2)).is_some(), "it stays in the document that is tried again");
    let lease = lease.after(&LeaseEvent::Accept { at: at(3), version: "v3".to_owned() }).unwrap();
    assert_eq!(lease.after(&LeaseEvent::Confirm { at: at(4) }).unwrap().state.phase(), LeasePhase::Revoked);
}

#[test]
fn a_refused_session_needs_no_place_and_no_deny() {
    let lease = issuing().after(&LeaseEvent::Refuse { at: at(1), error: "no".to_owned() }).unwrap();
    assert_eq!((lease.occupies_until(), lease.deny_entry(at(1))), (None, None));
}

fn collapse(seconds: i64) -> LeaseEvent {
    LeaseEvent::Collapse { at: at(seconds), version: "v9".to_owned() }
}

#[test]
fn a_collapsed_lease_is_denied_as_before_and_takes_no_place() {
    let active = issuing().after(&issued()).unwrap();
    assert!(active.after(&collapse(5)).is_err(), "what lives is never refused together with what ended");
    let revoking = active.after(&end(10, 10)).unwrap();
    let lease = revoking.after(&collapse(11)).unwrap();
    assert_eq!((&lease.state, lease.version), (&revoking.state, revoking.version + 1), "it stands where it stood");
    assert_eq!((lease.occupies_until(), revoking.occupies_until()), (None, Some(at(1800))));
    let entry = lease.deny_entry(at(1799)).unwrap();
    assert_eq!((entry.form, entry.origin), (DenyForm::Collapsed, active.origin));
    assert_eq!(revoking.deny_entry(at(11)).unwrap().form, DenyForm::Single);
    assert!(lease.deny_entry(at(1800)).is_none());
    assert!(lease.after(&collapse(12)).is_err());
    let accepted = lease.after(&LeaseEvent::Accept { at: at(12), version: "v9".to_owned() }).unwrap();
    let revoked = accepted.after(&LeaseEvent::Confirm { at: at(13) }).unwrap();
    assert!(revoked.collapsed.is_some() && revoked.state.phase() == LeasePhase::Revoked);
}

#[test]
fn p2_what_was_never_confirmed_to_be_issued_keeps_its_own_denial() {
    let abandoned = LeaseEvent::End { at: at(10), reason: EndReason::Abandoned, propagation: 10 };
    let lease = issuing().after(&abandoned).unwrap();
    assert!(lease.deny_entry(at(11)).is_some() && lease.after(&collapse(11)).is_err());
}

fn any_event() -> impl Strategy<Value = LeaseEvent> {
    (0..8_u8, 0..400_i64, 0..400_u64).prop_map(|(which, seconds, propagation)| match which {
        0 => issued(),
        1 => LeaseEvent::Refuse { at: at(seconds), error: "no".to_owned() },
        2 => end(seconds, propagation),
        3 => LeaseEvent::Accept { at: at(seconds), version: "v".to_owned() },
        4 => LeaseEvent::Confirm { at: at(seconds) },
        5 => LeaseEvent::RevocationFailed { error: "e".to_owned() },
        6 => collapse(seconds),
        _ => LeaseEvent::Expire { at: at(seconds) },
    })
}

proptest! {
    /// Whatever happens in whatever order: a lease that may exist in the cloud and was ended keeps its deny entry
    /// and, uncollapsed, its place until its token is dead; "revoked" is only ever reached through "accepted"; access never
    /// reaches beyond `access_until`; nothing leaves a final state.
    #[test]
    fn p4_random_histories_of_a_lease(events in prop::collection::vec(any_event(), 0..40)) {
        let mut lease = issuing();
        let (mut accepted, mut ended, mut refused) = (false, false, false);
        for event in events {
            let Ok(next) = lease.after(&event) else { continue };
            prop_assert_eq!(next.version, lease.version + 1);
            prop_assert_eq!(next.access_until, at(300));
            let was = lease.state.phase();
            let kept = matches!(event, LeaseEvent::Collapse { .. });
            prop_assert!(kept || !matches!(was, LeasePhase::Revoked | LeasePhase::Expired | LeasePhase::Failed));
            accepted |= matches!(event, LeaseEvent::Accept { .. });
            refused |= matches!(event, LeaseEvent::Refuse { .. });
            ended |= matches!(event, LeaseEvent::End { .. });
            let phase = next.state.phase();
            if phase == LeasePhase::Revoked {
                prop_assert!(accepted);
            }
            if ended && phase != LeasePhase::Expiring && !matches!(lease.state, LeaseState::Expiring { .. }) {
                prop_assert!(next.deny_entry(at(500)).is_some());
                prop_assert_eq!(next.occupies_until().is_some(), next.collapsed.is_none());
            }
            if matches!(event, LeaseEvent::Collapse { .. }) {
                prop_assert!(ended && next.origin.is_some() && phase == was);
            }
            prop_assert_eq!(refused, phase == LeasePhase::Failed);
            lease = next;
        }
    }
}
