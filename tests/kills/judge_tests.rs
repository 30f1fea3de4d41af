//! Each invariant is seen to fail: evidence that holds, and one thing in it changed.

use grantd_model::{Actor, AuditDraft, GrantId};
use serde_json::{Value, json};

use super::*;

const NODE: &str = "node-1";
const GRANT: &str = "grant-aaaaaaaaaaaaaaaaaaaaaaaaaa";

fn lease_id(n: usize) -> String {
    format!("lease-aaaaaaaaaaaaaaaaaaaaaaaa{}a", ["a", "b", "c", "d", "e", "f", "g", "h"][n])
}

fn name(n: usize) -> String {
    format!("deploy-{n}")
}

/// A chain of these records about one grant: kind, the lease's number, detail.
fn chain_of(records: &[(&str, Option<usize>, Value)]) -> Vec<AuditRecord> {
    let node = NodeId(NODE.to_owned());
    let mut head = ChainHead::EMPTY;
    let chained = records.iter().map(|(kind, lease, detail)| {
        let draft = AuditDraft {
            at: "2030-01-01T00:00:00Z".parse().unwrap(),
            kind: (*kind).to_owned(),
            actor: Actor::Daemon { part: "main".to_owned() },
            grant: Some(GRANT.parse::<GrantId>().unwrap()),
            lease: lease.map(|n| lease_id(n).parse().unwrap()),
            detail: detail.clone(),
        };
        let record = AuditRecord::chain(&node, head, draft).unwrap();
        head = record.head();
        record
    });
    chained.collect()
}

/// On `resource`, lease 1 was issued to one task and ended, and leases 2 and 3 live, each of a task of its own.
fn told(resource: &str) -> Vec<(&'static str, Option<usize>, Value)> {
    let anchor = |n: usize| json!({ "anchor": { "type": "process", "process": { "pid": n } } });
    let mut records = vec![("grant.request", None, json!({ "request": { "resource": resource } }))];
    for n in 1..=3 {
        records.push(("lease.intent", Some(n), anchor(n)));
        records.push(("lease.issued", Some(n), json!({})));
        if n == 1 {
            records.push(("lease.end", Some(n), json!({})));
        }
    }
    records.push(("daemon.start", None, json!({})));
    records
}

fn good(resource: &str) -> Evidence {
    of(chain_of(&told(resource)))
}

fn of(records: Vec<AuditRecord>) -> Evidence {
    let state = |n: usize| if n == 1 { "revoked" } else { "active" }.to_owned();
    let lease = |n: usize| Lease { id: lease_id(n), grant: GRANT.to_owned(), before: state(n), after: state(n) };
    let sight = |n: usize| if n == 1 { Sight::Refused("AccessDenied".to_owned()) } else { Sight::Allowed };
    Evidence {
        node: NodeId(NODE.to_owned()),
        mark: ChainHead::EMPTY,
        acknowledged: records.last().unwrap().head(),
        head: records.last().unwrap().head(),
        records,
        leases: (1..=3).map(|n| (name(n), lease(n))).collect(),
        sessions: (1..=3).map(|n| (name(n), sight(n))).collect(),
        received: [lease_id(2)].into(),
        survivors: [lease_id(3)].into(),
        open: (0, 0),
    }
}

/// Which invariants are broken.
fn broken(evidence: &Evidence) -> Vec<Invariant> {
    let mut broken: Vec<_> = judge(evidence).into_iter().map(|broken| broken.invariant).collect();
    broken.dedup();
    broken
}

#[test]
fn evidence_that_holds_breaks_nothing() {
    for resource in ["alpha", "beta"] {
        assert_eq!(broken(&good(resource)), []);
    }
}

#[test]
fn a_chain_that_was_changed_cut_or_replaced_is_seen() {
    let mut changed = good("alpha");
    changed.records[2].draft.detail = json!({ "no": "longer" });
    let mut cut = good("alpha");
    cut.records.pop();
    // Read up to the fourth record before; since then another history was told.
    let mut replaced = good("alpha");
    replaced.mark = ChainHead { seq: 4, hash: replaced.records[4].hash };
    // The end of the chain was taken back, and all that is left holds.
    let mut lost = of(chain_of(&told("alpha")[..8]));
    lost.acknowledged = good("alpha").head;
    for evidence in [changed, cut, replaced, lost] {
        assert_eq!(broken(&evidence), [Invariant::Chain]);
    }
}

#[test]
fn a_session_without_lease_intent_or_issue_on_record_is_seen() {
    let mut unknown = good("alpha");
    unknown.sessions.push(("deploy-9".to_owned(), Sight::Refused("AccessDenied".to_owned())));
    assert_eq!(broken(&unknown), [Invariant::Recorded]);
    let without = |kind: &str, lease: usize| {
        let mut records = told("alpha");
        records.retain(|(is, about, _)| *is != kind || *about != Some(lease));
        of(chain_of(&records))
    };
    assert_eq!(broken(&without("lease.intent", 3)), [Invariant::Recorded]);
    assert_eq!(broken(&without("lease.issued", 3)), [Invariant::Recorded], "a session that works");
    assert_eq!(broken(&without("lease.issued", 1)), [], "a session that was revoked needs no issue on record");
}

#[test]
fn a_credential_that_was_received_without_its_issue_on_record_is_seen() {
    let mut evidence = good("alpha");
    evidence.received.insert(lease_id(7));
    assert_eq!(broken(&evidence), [Invariant::Recorded]);
}

#[test]
fn an_ended_lease_that_is_not_refused_for_want_of_rights_is_seen() {
    for sight in [Sight::Allowed, Sight::Unknown("no answer".to_owned()), Sight::Refused("NoSuchKey".to_owned())] {
        let mut evidence = good("alpha");
        evidence.sessions[0].1 = sight;
        assert_eq!(broken(&evidence), [Invariant::Ended]);
    }
}

#[test]
fn a_live_lease_that_is_refused_and_a_task_that_lost_its_lease_are_seen() {
    let mut refused = good("alpha");
    refused.sessions[1].1 = Sight::Refused("AccessDenied".to_owned());
    assert_eq!(broken(&refused), [Invariant::Alive]);
    let mut lost = good("alpha");
    lost.survivors.insert(lease_id(1));
    assert_eq!(broken(&lost), [Invariant::Alive]);
}

#[test]
fn one_task_too_many_is_seen() {
    let task = |records: &mut Vec<_>, n: usize, pid: usize| {
        records.push(("lease.intent", Some(n), json!({ "anchor": { "type": "process", "process": { "pid": pid } } })));
        records.push(("lease.issued", Some(n), json!({})));
    };
    // A fourth task on alpha; a second lease of the third task is no further use.
    for (pid, expected) in [(4, vec![Invariant::Use]), (3, vec![])] {
        let mut records = told("alpha");
        task(&mut records, 4, pid);
        assert_eq!(broken(&of(chain_of(&records))), expected);
    }
    // A third task on beta at once; a third task after another has ended is none too many.
    for (end, expected) in [(None, vec![Invariant::Use]), (Some(2), vec![])] {
        let mut records = told("beta");
        records.extend(end.map(|n| ("lease.end", Some(n), json!({}))));
        task(&mut records, 4, 4);
        assert_eq!(broken(&of(chain_of(&records))), expected);
    }
}

#[test]
fn a_third_task_whose_session_works_is_seen_whatever_the_daemon_says() {
    let mut evidence = good("beta");
    evidence.sessions[0].1 = Sight::Allowed;
    assert_eq!(broken(&evidence), [Invariant::Ended, Invariant::Use]);
}

#[test]
fn what_is_left_open_is_seen() {
    for open in [(1, 0), (0, 1)] {
        let mut evidence = good("alpha");
        evidence.open = open;
        assert_eq!(broken(&evidence), [Invariant::Open]);
    }
}
