use grantd_model::{
    BreakGlass, EndReason, Grant, GrantEnd, GrantState, Lease, LeaseEvent, LeaseState, ProposalKind, Tier, repetitions,
};
use jiff::SignedDuration;

use crate::store::contract::samples::{at, grant, lease};

/// A grant that ended, asked for at `seconds`.
fn ended(nth: u128, seconds: i64) -> Grant {
    let mut one = grant(nth);
    one.created_at = at(seconds);
    one.state = GrantState::Ended { at: at(seconds + 1800), why: GrantEnd::Completed };
    one
}

/// A lease under it that was taken back after `lived`.
fn taken(nth: u128, grant: &Grant, lived: i64) -> Lease {
    let mut one = lease(nth, grant);
    let offset = grant.created_at.duration_since(at(0));
    one.created_at = grant.created_at;
    one.access_until = at(1800) + offset;
    one.state = LeaseState::Active;
    let end = LeaseEvent::End { at: at(lived) + offset, reason: EndReason::Completed, propagation: 0 };
    one.after(&end).unwrap()
}

#[test]
fn what_was_used_is_held_against_what_was_approved() {
    let grants: Vec<Grant> = (1..=3).map(|nth| ended(nth, 10_000 * i64::try_from(nth).unwrap())).collect();
    let mut write = ended(4, 0);
    write.request.entitlement.capability = "object-storage:write".parse().unwrap();
    let mut denied = ended(5, 0);
    denied.state = GrantState::Denied { at: at(0), by: "ana".to_owned(), reason: "no".to_owned() };
    let mut other = ended(6, 0);
    other.request.subject.id = "1002".to_owned();
    let mut second = taken(12, &grants[0], 120);
    second.created_at += SignedDuration::from_secs(60);
    let leases = [taken(11, &grants[0], 100), second, taken(13, &grants[1], 240)];
    let all: Vec<Grant> = grants.iter().chain([&write, &denied, &other]).cloned().collect();
    let found = repetitions(&all, &leases, at(100_000));
    assert_eq!(found.len(), 3, "what never began is no use: {found:?}");
    let one = &found[0];
    assert_eq!((one.grants, one.used_grants, one.leases, one.break_glass), (3, 2, 3, 0));
    assert_eq!((one.approved_seconds, one.longest_approved), (5400, 1800));
    assert_eq!((one.used_seconds, one.longest_used), (120 + 240, 240), "what overlaps counts once");
    assert_eq!((one.capabilities_approved, one.capabilities_used), (2, 1));
    assert_eq!((one.prefixes.is_empty(), one.last_at), (true, at(30_000)));
    assert_eq!(found[1].proposal(), None, "once is no habit");
}

#[test]
fn a_proposal_is_narrower_shorter_or_at_tier_low_self_service_and_never_of_break_glass() {
    let grants: Vec<Grant> = (1..=3).map(|nth| ended(nth, 0)).collect();
    let leases: Vec<Lease> = grants.iter().zip(11..).map(|(grant, nth)| taken(nth, grant, 200)).collect();
    let one = repetitions(&grants, &leases, at(100_000)).remove(0);
    let kind = |tier: Tier, leases: u64| {
        let mut one = one.clone();
        (one.tier, one.leases) = (tier, leases);
        one.proposal().map(|proposal| proposal.kind)
    };
    assert_eq!(kind(Tier::Low, 3), Some(ProposalKind::SelfService));
    for tier in [Tier::Moderate, Tier::High, Tier::Critical] {
        assert_eq!(kind(tier, 3), Some(ProposalKind::Shorter), "self-service is for tier low only");
    }
    assert_eq!((kind(Tier::Low, 0), kind(Tier::High, 0)), (Some(ProposalKind::Drop), Some(ProposalKind::Drop)));
    let mut waiting = one.clone();
    (waiting.leases, waiting.active) = (0, 1);
    assert_eq!(waiting.proposal(), None, "what is not over may come to be used");
    let mut used = one.clone();
    (used.tier, used.longest_used) = (Tier::High, 1700);
    assert_eq!(used.proposal(), None, "it was used as it was approved");
    let mut glass = grants.clone();
    glass[0].request.break_glass = Some(BreakGlass { profile: "repair".to_owned(), incident: "INC-1".to_owned() });
    let one = repetitions(&glass, &leases, at(100_000)).remove(0);
    assert_eq!((one.break_glass, one.proposal()), (1, None));
    let mut quoted = one;
    (quoted.break_glass, quoted.resource) = (0, "a\", b".to_owned());
    assert_eq!(quoted.proposal(), None, "what would have to be quoted is not put into a rule");
}
