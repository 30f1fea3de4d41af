//! Policies that rest on signals: what they need, and that what cannot be had is denied.

use std::collections::{BTreeMap, BTreeSet};

use grantd_model::{Action, Decision, FactValue, Looked, Missing, Refusal, Signal, SignalFact, Signals, Verdict};
use grantd_provider_api::{Persistence, Revocation};

use super::bundle_tests::{bundle, with};
use super::*;

const FREEZE: &str = r#"@id("frozen") @reason("frozen") @who_can_fix("ops") @next("wait")
    forbid(principal, action in [Grantd::Action::"request", Grantd::Action::"issue"], resource)
    when { resource.environment == "prod" && context.in_freeze };"#;

const PERMIT: &str = r#"@id("on-call") @max_ttl("5m") @max_duration("1h") @signal_max_age("30s") @renew_signal_max_age("15m")
    permit(principal, action in [Grantd::Action::"request", Grantd::Action::"issue"], resource)
    when { context.capability.verb == "read" && (context.on_call || context.ticket_state == Grantd::TicketState::"active") };"#;

fn policy(text: &str) -> Bundle {
    bundle(with("policies/signals.cedar", text)).unwrap()
}

fn ask<T>(bundle: &Bundle, signals: Signals, then: impl Fn(&Question<'_>) -> T) -> T {
    let principal = bundle.people.by_name("ana").or_else(|| bundle.people.by_uid(1001)).unwrap();
    let mut resource = bundle.catalog.get("reports").unwrap().clone();
    resource.environment = "prod".to_owned();
    let facts = Facts {
        capability: "object-storage:read".parse().unwrap(),
        duration_seconds: 1800,
        timing: Timing::default(),
        ttl_seconds: Some(300),
        justification_length: 14,
        ticket: None,
        subject: principal.clone(),
        requester: principal.clone(),
        anchor: AnchorKind::Process,
        isolation: Isolation::Uid,
        persistence: Persistence::None,
        widens: false,
        revocation: Revocation::Immediate,
        outlives_seconds: 0,
        approvals: BTreeMap::new(),
        capacity: None,
        on_behalf_of: None,
        asked_to_review: false,
        signals,
    };
    let at = "2026-01-02T03:04:05Z".parse().unwrap();
    let uid = principal.id.parse().unwrap();
    then(&Question { action: Action::Issue, at, principal: &principal, uid, resource: &resource, facts })
}

fn had(facts: &[(SignalFact, FactValue)]) -> Signals {
    let mut signals = Signals::new();
    for (fact, value) in facts {
        let entry = signals.entry(fact.signal()).or_insert_with(|| Looked::Had {
            sources: vec!["s".to_owned()],
            age_seconds: 7,
            facts: BTreeMap::new(),
            changes_at: None,
        });
        if let Looked::Had { facts, .. } = entry {
            facts.insert(*fact, *value);
        }
    }
    signals
}

fn refusal(decision: &Decision) -> Refusal {
    match &decision.verdict {
        Verdict::Deny { refusal } => refusal.clone(),
        Verdict::Allow { .. } => panic!("allowed: {decision:?}"),
    }
}

#[test]
fn p6_what_a_policy_reads_for_this_question_is_needed_and_nothing_else() {
    let frozen = policy(FREEZE);
    let needs = ask(&frozen, Signals::new(), |question| frozen.needs(question));
    assert_eq!(needs.signals, BTreeSet::from([Signal::Freeze]));
    let elsewhere = policy(&FREEZE.replace("\"prod\"", "\"test\""));
    assert_eq!(ask(&elsewhere, Signals::new(), |question| elsewhere.needs(question)).signals, BTreeSet::new());
    let permit = policy(PERMIT);
    let needs = ask(&permit, Signals::new(), |question| permit.needs(question));
    assert_eq!(needs.signals, BTreeSet::from([Signal::OnCall, Signal::Ticket]));
    assert_eq!((needs.max_age, needs.renew_max_age), (Some(30), Some(900)));
    assert_eq!(permit.needs_at_most(Action::Revoke).signals, BTreeSet::new());
    assert_eq!(permit.needs_at_most(Action::Issue).signals, BTreeSet::from([Signal::OnCall, Signal::Ticket]));
}

#[test]
fn p6_p7_what_cannot_be_had_is_denied_by_name_and_never_passed_over() {
    let frozen = policy(FREEZE);
    let missing = Missing {
        why: "\"ops\" is silent".to_owned(),
        who_can_fix: "the desk".to_owned(),
        next: "wait".to_owned(),
        away: true,
    };
    let decision = ask(&frozen, Signals::from([(Signal::Freeze, Looked::Missing(missing))]), |q| frozen.decide(q));
    let denied = refusal(&decision);
    assert_eq!((denied.rule.as_str(), denied.who_can_fix.as_str()), ("signal:freeze", "the desk"));
    assert!(denied.reason.contains("silent"), "{denied:?}");
    assert_eq!(decision.determining, ["frozen"]);
    assert_eq!(decision.inputs["signals"]["freeze"]["looked_up"], "missing");
    // Nobody looked, or the source does not tell just this.
    assert_eq!(refusal(&ask(&frozen, Signals::new(), |q| frozen.decide(q))).rule, "signal:freeze");
    let permit = policy(PERMIT);
    let half =
        had(&[(SignalFact::OnCall, FactValue::Bool(false)), (SignalFact::TicketAssigned, FactValue::Bool(true))]);
    let denied = refusal(&ask(&permit, half, |q| permit.decide(q)));
    assert!(denied.rule == "signal:ticket" && denied.reason.contains("ticket_state"), "{denied:?}");
}

#[test]
fn p6_what_was_had_decides_and_stands_in_the_record_with_its_age() {
    let frozen = policy(FREEZE);
    let is = |value| had(&[(SignalFact::InFreeze, FactValue::Bool(value))]);
    assert_eq!(refusal(&ask(&frozen, is(true), |q| frozen.decide(q))).rule, "frozen");
    let decision = ask(&frozen, is(false), |q| frozen.decide(q));
    assert_eq!(decision.inputs["context"]["in_freeze"], false);
    assert_eq!(decision.inputs["signals"]["freeze"]["age_seconds"], 7);
    assert_ne!(decision.determining, ["frozen"]);
    assert!(ask(&frozen, is(false), |q| frozen.needs(q)).signals.is_empty());
}

#[test]
fn what_is_forbidden_already_needs_nothing() {
    let both = policy(&format!("{FREEZE}\n{}", FREEZE.replace("frozen", "always").replace("&& context.in_freeze", "")));
    assert_eq!(ask(&both, Signals::new(), |q| both.needs(q)), Needs::default());
    assert_eq!(refusal(&ask(&both, Signals::new(), |q| both.decide(q))).rule, "always");
}

#[test]
fn p7_a_policy_that_could_see_an_absence_is_refused_at_load() {
    let asks = FREEZE.replace("&& context.in_freeze", "&& context has in_freeze && context.in_freeze");
    let error = bundle(with("policies/signals.cedar", &asks)).unwrap_err().to_string();
    assert!(error.contains("frozen") && error.contains("in_freeze"), "{error}");
    // Taking back rests on no signal, so that no dead source can stand in its way.
    let revoke = FREEZE.replace(
        "action in [Grantd::Action::\"request\", Grantd::Action::\"issue\"]",
        "action == Grantd::Action::\"revoke\"",
    );
    assert!(bundle(with("policies/signals.cedar", &revoke)).is_err());
    let misspelt = PERMIT.replace("\"active\"", "\"activ\"");
    assert!(bundle(with("policies/signals.cedar", &misspelt)).is_err());
}
