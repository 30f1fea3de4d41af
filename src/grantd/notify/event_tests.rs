use std::collections::BTreeSet;

use grantd_model::{AuditDraft, ChainHead, Digest, NodeId, Obligations, Quorum};

use super::*;
use crate::store::contract::samples;

const ALL: Wanted<'static> = Wanted { name: "siem", events: &[], named_only: false };

fn record(kind: &str, detail: Value) -> AuditRecord {
    let draft = AuditDraft { detail, ..samples::draft(kind) };
    AuditRecord::chain(&NodeId("node-1".to_owned()), ChainHead { seq: 41, hash: Digest::ZERO }, draft).unwrap()
}

/// A grant that somebody had to approve.
fn approved() -> Grant {
    let approvals = Quorum::from([(grantd_model::Capacity::Owner, 1)]);
    Grant { obligations: Obligations { approvals, ..Obligations::default() }, ..samples::grant(1) }
}

#[test]
fn an_event_is_a_cloud_event_that_says_who_wants_what_why_and_who_can_act() {
    let record = record("grant.request", json!({ "can_approve": ["bruno", "carla"] }));
    let event = of(&record, Some(&approved()), ALL).unwrap();
    let sent = &event.cloud_event;
    assert_eq!((sent["specversion"].as_str(), sent["id"].as_str()), (Some("1.0"), Some("node-1/42")));
    assert_eq!(
        (sent["type"].as_str(), sent["source"].as_str()),
        (Some("dev.grantd.grant.request"), Some("urn:grantd:node-1"))
    );
    let id = approved().id.to_string();
    assert_eq!(sent["subject"].as_str(), Some(id.as_str()));
    assert_eq!(sent["data"]["grant"]["resource"], "reports");
    assert_eq!(sent["data"]["can_approve"], json!(["bruno", "carla"]));
    assert_eq!(sent["data"]["audit"]["seq"], 42);
    for word in ["deploy", "object-storage:read on reports (low)", "30m", "needed", "bruno, carla can approve", &id] {
        assert!(event.text.contains(word), "{word}: {}", event.text);
    }
}

#[test]
fn what_policy_gives_by_itself_is_told_only_to_whom_it_concerns() {
    let record = record("grant.request", json!({}));
    let mut grant = samples::grant(1);
    assert_eq!(of(&record, Some(&grant), ALL), None);
    let asked = ["grant.request".to_owned()];
    assert!(of(&record, Some(&grant), Wanted { events: &asked, ..ALL }).is_some());
    let named = Wanted { named_only: true, ..ALL };
    assert_eq!(of(&record, Some(&grant), named), None);
    grant.obligations.notify = BTreeSet::from(["siem".to_owned()]);
    assert!(of(&record, Some(&grant), named).is_some());
    assert!(of(&record, Some(&grant), ALL).is_some());
}

#[test]
fn everybody_is_told_of_break_glass_whatever_they_chose() {
    let record = record("break_glass.opened", json!({}));
    let chosen = ["policy.change".to_owned()];
    let event = of(&record, None, Wanted { name: "x", events: &chosen, named_only: true }).unwrap();
    assert!(event.loud);
}

#[test]
fn events_are_chosen_by_kind_and_by_pattern() {
    let chosen = ["freeze.*".to_owned(), "grant.deny".to_owned()];
    let wanted = Wanted { events: &chosen, ..ALL };
    for (kind, told) in [("freeze.set", true), ("grant.deny", true), ("grant.lapse", false), ("lease.issued", false)] {
        assert_eq!(of(&record(kind, json!({})), Some(&approved()), wanted).is_some(), told, "{kind}");
    }
    for (kind, told) in
        [("freeze.set", true), ("policy.change", true), ("lease.issued", false), ("notify.passed_over", false)]
    {
        assert_eq!(of(&record(kind, json!({})), None, ALL).is_some(), told, "{kind}");
    }
}

#[test]
fn a_freeze_says_what_and_why() {
    let detail = json!({ "target": { "kind": "resource", "name": "ledger" }, "reason": "odd reads" });
    let event = of(&record("freeze.set", detail), None, ALL).unwrap();
    assert_eq!(event.text, "resource ledger is frozen (by grantd (main)): odd reads");
}

#[test]
fn a_lent_voice_is_told_with_both_names() {
    let detail = json!({ "from": "olga", "to": "otto" });
    let event = of(&record("delegation.create", detail), None, ALL).unwrap();
    assert_eq!(event.text, "olga lends a voice to otto (by grantd (main))");
}

#[test]
fn break_glass_is_told_with_who_what_why_until_when_and_who_looks_at_it() {
    let mut grant = samples::grant(1);
    let glass = grantd_model::BreakGlass { profile: "repair".to_owned(), incident: "INC-7".to_owned() };
    grant.request.break_glass = Some(glass.clone());
    let review = json!({ "id": "review-1", "due_at": "2026-11-23T03:00:00Z", "reviewers": ["nora"] });
    let used = json!({ "break_glass": glass, "until": "2026-11-22T03:10:00Z", "review": review });
    let event = of(&record("break_glass.use", used), Some(&grant), ALL).unwrap();
    let id = grant.id.to_string();
    let words = [
        "BREAK-GLASS: ",
        "on reports (low) for pipeline deploy",
        "profile repair for INC-7",
        "needed",
        "until 2026-11-22T03:10",
        "nora to review",
        &id,
    ];
    for word in words {
        assert!(event.text.contains(word), "{word}: {}", event.text);
    }
    assert_eq!(event.cloud_event["data"]["break_glass"]["incident"], "INC-7");
    assert_eq!(event.cloud_event["data"]["review"]["id"], "review-1");
    let waits = json!({ "break_glass": glass, "can_approve": ["otto"], "needs": "1 other person of the profile" });
    let event = of(&record("break_glass.request", waits), Some(&grant), ALL).unwrap();
    assert!(event.loud && event.text.starts_with("BREAK-GLASS WAITS"), "{}", event.text);
    assert!(event.text.ends_with(&format!("otto can approve: grantctl approve {id}")), "{}", event.text);
    let late = of(&record("review.overdue", json!({ "review": review, "can_review": ["nora"] })), Some(&grant), ALL);
    let late = late.unwrap();
    assert!(!late.loud && late.text.contains("review-1 is overdue") && late.text.contains("nora can"), "{}", late.text);
    let found = json!({ "review": review, "outcome": "follow_up", "reason": "the job should not need it" });
    let done = of(&record("review.complete", found), Some(&grant), ALL).unwrap();
    assert!(
        done.text.contains("review-1 was completed by") && done.text.contains("follow up: the job should"),
        "{}",
        done.text
    );
}
