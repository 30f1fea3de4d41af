//! Break-glass: what policy may do without, and that nothing is wider because something is away.

use std::collections::BTreeMap;

use grantd_model::{
    Action, Decision, FactValue, Looked, Missing, Obligations, Refusal, Signal, SignalFact, Signals, Verdict,
};
use grantd_provider_api::{Persistence, Revocation};

use super::bundle_tests::{bundle, with};
use super::*;

const FROZEN: &str = r#"@id("frozen") @reason("frozen") @who_can_fix("ops") @next("wait")
    forbid(principal, action == Grantd::Action::"break_glass", resource) when { context.in_freeze };"#;

/// The shipped bundle with a rule that reads the freeze signal, the shipped permit saying what it may lack.
fn glass(lacks: &str, more: &str) -> Bundle {
    let mut files = with("policies/x.cedar", more);
    let text =
        files["policies/break-glass.cedar"].replace("@id(\"break-glass\")", &format!("@id(\"break-glass\")\n{lacks}"));
    files.insert("policies/break-glass.cedar".to_owned(), text);
    bundle(files).unwrap()
}

fn ask(bundle: &Bundle, signals: Signals, change: impl Fn(&mut Facts)) -> Decision {
    let principal = bundle.people.by_name("ana").unwrap();
    let mut facts = Facts {
        capability: "object-storage:write".parse().unwrap(),
        duration_seconds: 600,
        timing: Timing::default(),
        ttl_seconds: Some(600),
        justification_length: 40,
        ticket: Some("INC-1".to_owned()),
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
        signals,
    };
    change(&mut facts);
    bundle.decide(&Question {
        action: Action::BreakGlass,
        at: "2026-01-02T03:04:05Z".parse().unwrap(),
        uid: principal.id.parse().unwrap(),
        principal: &principal,
        resource: bundle.catalog.in_profile("ledger-repair", "ledger").unwrap(),
        facts,
    })
}

fn away() -> Signals {
    let word = || "nobody answers".to_owned();
    let missing = Missing { why: word(), who_can_fix: word(), next: word(), away: true };
    Signals::from([(Signal::Freeze, Looked::Missing(missing))])
}

fn frozen(is: bool) -> Signals {
    let facts = BTreeMap::from([(SignalFact::InFreeze, FactValue::Bool(is))]);
    Signals::from([(
        Signal::Freeze,
        Looked::Had { sources: vec!["c".to_owned()], age_seconds: 1, facts, changes_at: None },
    )])
}

fn allowed(decision: Decision) -> Obligations {
    match decision.verdict {
        Verdict::Allow { obligations } => obligations,
        Verdict::Deny { refusal } => panic!("denied: {refusal:?}"),
    }
}

fn refused(decision: Decision) -> Refusal {
    match decision.verdict {
        Verdict::Deny { refusal } => refusal,
        Verdict::Allow { obligations } => panic!("allowed: {obligations:?}"),
    }
}

#[test]
fn p6_a_signal_that_is_away_denies_break_glass_too_unless_policy_says_that_it_may_lack_it() {
    let strict = glass("", FROZEN);
    assert_eq!(refused(ask(&strict, away(), |_| ())).rule, "signal:freeze");
    allowed(ask(&strict, frozen(false), |_| ()));
    let other = glass("@may_lack(\"on_call\")", FROZEN);
    assert_eq!(refused(ask(&other, away(), |_| ())).rule, "signal:freeze", "another signal is another signal");
    let lenient = glass("@may_lack(\"freeze\")", FROZEN);
    allowed(ask(&lenient, away(), |_| ()));
    assert_eq!(refused(ask(&lenient, frozen(true), |_| ())).rule, "frozen", "what can be had is gone by");
}

#[test]
fn p6_a_source_that_says_no_is_not_away() {
    let mut signals = away();
    let Some(Looked::Missing(missing)) = signals.get_mut(&Signal::Freeze) else { panic!() };
    missing.away = false;
    let lenient = glass("@may_lack(\"freeze\")", FROZEN);
    assert_eq!(refused(ask(&lenient, signals, |_| ())).rule, "signal:freeze");
    assert_eq!(
        refused(ask(&lenient, Signals::new(), |_| ())).rule,
        "signal:freeze",
        "nor is what nobody was asked for"
    );
}

#[test]
fn nothing_is_wider_because_a_signal_is_away() {
    // A permit that could not be told narrows as if it applied.
    let narrow = r#"@id("narrow") @max_ttl("1m") @max_duration("2m") @review_within("1h") @approvals("security:1")
        @approve_within("5m") @may_lack("freeze")
        permit(principal, action == Grantd::Action::"break_glass", resource) when { context.in_freeze };"#;
    let bundle = glass("@may_lack(\"freeze\")", narrow);
    let obligations = allowed(ask(&bundle, away(), |_| ()));
    assert_eq!((obligations.max_ttl, obligations.review_within), (Some(60), Some(3600)));
    assert_eq!(obligations.approvals.len(), 1);
    assert_eq!(allowed(ask(&bundle, frozen(false), |_| ())).max_ttl, Some(900));
    // Where nothing permits it without the signal, nothing does.
    let only = r#"@id("only") @max_ttl("1m") @max_duration("2m") @review_within("1h") @may_lack("freeze")
        permit(principal, action == Grantd::Action::"break_glass", resource) when { !context.in_freeze };"#;
    let mut files = with("policies/break-glass.cedar", only);
    files.remove("policies/x.cedar");
    let bundle = super::bundle_tests::bundle(files).unwrap();
    assert_eq!(refused(ask(&bundle, away(), |_| ())).rule, "signal:freeze");
    allowed(ask(&bundle, frozen(false), |_| ()));
    // Other errors deny as ever.
    let overflow = FROZEN.replace("context.in_freeze", "context.uid + 9223372036854775807 > 0");
    assert_eq!(refused(ask(&glass("@may_lack(\"freeze\")", &overflow), away(), |_| ())).rule, POLICY_ERROR);
}

#[test]
fn a_profile_bounds_whatever_policy_permits() {
    let wide = r#"@id("wide") @max_ttl("12h") @max_duration("12h") @review_within("168h")
        permit(principal, action == Grantd::Action::"break_glass", resource);"#;
    let bundle = bundle(with("policies/break-glass.cedar", wide)).unwrap();
    let obligations = allowed(ask(&bundle, Signals::new(), |_| ()));
    let bounds = (obligations.max_ttl, obligations.max_duration, obligations.review_within);
    assert_eq!(bounds, (Some(1800), Some(1800), Some(86400)));
    let other = bundle.people.by_name("dora").unwrap();
    let refusal = refused(ask(&bundle, Signals::new(), |facts| facts.subject = other.clone()));
    assert_eq!(refusal.rule, NOT_ENROLLED);
}

#[test]
fn what_is_kept_for_break_glass_only_is_refused_elsewhere_and_needed_there() {
    let refused = |annotations: &str, action: &str, word: &str| {
        let text = format!(
            "@id(\"x\") @max_ttl(\"1m\") @max_duration(\"1h\") @approve_within(\"1m\") {annotations} \
             permit(principal, action == Grantd::Action::\"{action}\", resource);"
        );
        let error = bundle(with("policies/x.cedar", &text)).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    refused("@review_within(\"1h\")", "request", "review_within");
    refused("@may_lack(\"ticket\")", "issue", "may_lack");
    refused("@approvals(\"enrolled:1\")", "request", "enrolled");
    refused("", "break_glass", "review_within");
}
