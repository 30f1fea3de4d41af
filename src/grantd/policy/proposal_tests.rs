//! What the report of repeats proposes is a change that loads, and that does what it says and no more.

use std::collections::BTreeMap;

use grantd_model::{Action, Decision, ProposalKind, Repetition, Signals, Tier, Verdict};
use grantd_provider_api::{Persistence, Revocation};

use super::bundle_tests::{bundle, shipped, with};
use super::*;

/// Three grants of half an hour to `deploy`, of which five minutes were used.
fn habit(resource: &str, tier: Tier, leases: u64) -> Repetition {
    Repetition {
        subject: bundle(shipped()).unwrap().people.by_name("deploy").unwrap(),
        resource: resource.to_owned(),
        tier,
        capability: "object-storage:read".parse().unwrap(),
        grants: 3,
        active: 0,
        break_glass: 0,
        used_grants: leases.min(3),
        leases,
        approved_seconds: 5400,
        used_seconds: 600,
        longest_approved: 1800,
        longest_used: 280,
        longest_lease: 100,
        prefixes: Vec::new(),
        capabilities_approved: 1,
        capabilities_used: 1,
        last_at: "2026-01-02T03:04:05Z".parse().unwrap(),
    }
}

fn ask(bundle: &Bundle, who: &str, resource: &str, seconds: u64) -> Decision {
    let principal = bundle.people.by_name(who).unwrap();
    bundle.decide(&Question {
        action: Action::Request,
        at: "2026-01-02T03:04:05Z".parse().unwrap(),
        uid: principal.id.parse().unwrap(),
        principal: &principal,
        resource: bundle.catalog.get(resource).unwrap(),
        facts: Facts {
            capability: "object-storage:read".parse().unwrap(),
            duration_seconds: seconds,
            timing: Timing::default(),
            ttl_seconds: None,
            justification_length: 40,
            ticket: None,
            subject: principal.clone(),
            requester: principal.clone(),
            anchor: AnchorKind::None,
            isolation: Isolation::Uid,
            persistence: Persistence::None,
            widens: false,
            revocation: Revocation::Immediate,
            outlives_seconds: 0,
            approvals: BTreeMap::new(),
            capacity: None,
            on_behalf_of: None,
            asked_to_review: false,
            signals: Signals::new(),
        },
    })
}

fn longest(decision: &Decision) -> Option<u64> {
    match &decision.verdict {
        Verdict::Allow { obligations } => obligations.max_duration,
        Verdict::Deny { .. } => None,
    }
}

#[test]
fn every_proposal_is_a_diff_that_the_shipped_bundle_loads_with() {
    for (resource, tier, leases, kind) in [
        ("reports", Tier::Low, 3, ProposalKind::SelfService),
        ("ledger", Tier::High, 3, ProposalKind::Shorter),
        ("reports", Tier::Low, 0, ProposalKind::Drop),
    ] {
        let proposal = habit(resource, tier, leases).proposal().unwrap();
        assert_eq!(proposal.kind, kind);
        let diff = proposal.diff();
        // Applied by what people apply diffs with, it is the file.
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x.diff"), &diff).unwrap();
        let applied = std::process::Command::new("git").args(["apply", "x.diff"]).current_dir(dir.path()).status();
        assert!(applied.unwrap().success(), "{diff}");
        let text = std::fs::read_to_string(dir.path().join(&proposal.file)).unwrap();
        assert_eq!(text, proposal.rules);
        bundle(with(&proposal.file, &text)).unwrap_or_else(|error| panic!("{error}\n{diff}"));
    }
}

#[test]
fn a_proposal_does_what_it_says_to_whom_it_says_it_of_and_to_nobody_else() {
    let apply = |proposal: grantd_model::Proposal| bundle(with(&proposal.file, &proposal.rules)).unwrap();
    let shorter = apply(habit("ledger", Tier::High, 3).proposal().unwrap());
    assert!(longest(&ask(&shorter, "deploy", "ledger", 300)).is_some());
    let refused = ask(&shorter, "deploy", "ledger", 301);
    assert!(
        matches!(&refused.verdict, Verdict::Deny { refusal } if refusal.next == "ask for 5m or less"),
        "{refused:?}"
    );
    assert!(longest(&ask(&shorter, "indexer", "ledger", 1800)).is_some());
    let dropped = apply(habit("reports", Tier::Low, 0).proposal().unwrap());
    assert_eq!(longest(&ask(&dropped, "deploy", "reports", 60)), None);
    assert!(longest(&ask(&dropped, "indexer", "reports", 60)).is_some());
    // Where tier low is not self-service, exactly this becomes so, and for no longer than it was used.
    let own = habit("reports", Tier::Low, 3).proposal().unwrap();
    let mut files = with(&own.file, &own.rules);
    files.remove("policies/low-tier.cedar");
    let own = bundle(files).unwrap();
    assert_eq!(longest(&ask(&own, "deploy", "reports", 60)), Some(300));
    assert_eq!(longest(&ask(&own, "indexer", "reports", 60)), None);
    assert_eq!(
        longest(&ask(&own, "deploy", "ledger", 60)),
        longest(&ask(&bundle(shipped()).unwrap(), "deploy", "ledger", 60))
    );
}
