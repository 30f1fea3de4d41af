//! Runs every policy case in `config/policy/tests` against the shipped bundle.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use grantd_model::{Action, Capacity, Decision, FactValue, Looked, Obligations, Quorum, SignalFact, Signals, Verdict};
use grantd_provider_api::{Capability, Persistence, Revocation};
use serde::Deserialize;

use super::bundle_tests::{bundle, shipped, shipped_dir};
use super::*;
use crate::config::seconds;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) case: Vec<Case>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    action: Action,
    /// By name, as in `people.toml`.
    principal: String,
    /// By name, as in `catalog.toml`.
    resource: String,
    #[serde(default)]
    facts: CaseFacts,
    expect: Expected,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CaseFacts {
    capability: Capability,
    duration: String,
    ttl: String,
    /// That one was named, or which.
    ticket: Ticket,
    /// How long the justification is.
    justification: usize,
    /// By name; the principal when left out.
    subject: Option<String>,
    requester: Option<String>,
    anchor: String,
    persistence: Persistence,
    widens: bool,
    revocation: Revocation,
    /// How late the end of access may be felt.
    outlives: Option<String>,
    /// In which the principal would approve.
    capacity: Option<Capacity>,
    /// For which absent person.
    on_behalf_of: Option<String>,
    /// What is looked up, by fact; what is left out cannot be had.
    signals: BTreeMap<SignalFact, FactValue>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Ticket {
    Any(bool),
    Named(String),
}

impl Default for CaseFacts {
    fn default() -> Self {
        Self {
            capability: "object-storage:read".parse().unwrap(),
            duration: "30m".to_owned(),
            ttl: "5m".to_owned(),
            ticket: Ticket::Any(false),
            justification: 20,
            subject: None,
            requester: None,
            anchor: "process".to_owned(),
            persistence: Persistence::None,
            widens: false,
            revocation: Revocation::Immediate,
            outlives: None,
            capacity: None,
            on_behalf_of: None,
            signals: BTreeMap::new(),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case", deny_unknown_fields)]
enum Expected {
    Allow {
        rules: Vec<String>,
        max_ttl: Option<String>,
        max_duration: Option<String>,
        max_concurrent: Option<u32>,
        max_uses: Option<u32>,
        approve_within: Option<String>,
        #[serde(default)]
        escalate: bool,
        #[serde(default)]
        approvals: Quorum,
    },
    Deny {
        rule: String,
        /// Each must stand somewhere in the refusal.
        #[serde(default)]
        says: Vec<String>,
    },
}

fn looked_up(facts: &BTreeMap<SignalFact, FactValue>) -> Signals {
    let mut signals = Signals::new();
    for (fact, value) in facts {
        let looked = signals.entry(fact.signal()).or_insert_with(|| Looked::Had {
            sources: vec!["case".to_owned()],
            age_seconds: 0,
            facts: BTreeMap::new(),
            changes_at: None,
        });
        if let Looked::Had { facts, .. } = looked {
            facts.insert(*fact, *value);
        }
    }
    signals
}

impl Case {
    pub(super) fn decide(&self, bundle: &Bundle) -> Decision {
        let subject =
            |name: &str| bundle.people.by_name(name).unwrap_or_else(|| panic!("{}: who is {name}?", self.name));
        let principal = subject(&self.principal);
        let named = |name: &Option<String>| name.as_ref().map_or_else(|| principal.clone(), |name| subject(name));
        let anchors = [AnchorKind::Process, AnchorKind::Connection, AnchorKind::Unwatched, AnchorKind::None];
        let facts = &self.facts;
        bundle.decide(&Question {
            action: self.action,
            at: "2026-01-02T03:04:05Z".parse().unwrap(),
            uid: principal.id.parse().unwrap(),
            principal: &principal,
            resource: bundle.catalog.get(&self.resource).unwrap(),
            facts: Facts {
                capability: facts.capability.clone(),
                duration_seconds: seconds(&facts.duration).unwrap(),
                ttl_seconds: (self.action == Action::Issue).then(|| seconds(&facts.ttl).unwrap()),
                justification_length: facts.justification,
                ticket: match &facts.ticket {
                    Ticket::Any(named) => named.then(|| "TICKET-1".to_owned()),
                    Ticket::Named(ticket) => Some(ticket.clone()),
                },
                subject: named(&facts.subject),
                requester: named(&facts.requester),
                anchor: anchors.into_iter().find(|anchor| anchor.as_str() == facts.anchor).unwrap(),
                isolation: Isolation::Uid,
                persistence: facts.persistence,
                widens: facts.widens,
                revocation: facts.revocation.clone(),
                outlives_seconds: facts.outlives.as_deref().map_or(0, |text| seconds(text).unwrap()),
                approvals: BTreeMap::new(),
                capacity: self.facts.capacity,
                on_behalf_of: facts.on_behalf_of.clone(),
                signals: looked_up(&facts.signals),
            },
        })
    }

    pub(super) fn check(&self, decision: &Decision) -> Result<(), String> {
        match (&self.expect, &decision.verdict) {
            (
                Expected::Allow {
                    rules,
                    max_ttl,
                    max_duration,
                    max_concurrent,
                    max_uses,
                    approve_within,
                    escalate,
                    approvals,
                },
                Verdict::Allow { obligations },
            ) => {
                let limit = |text: &Option<String>| text.as_deref().map(|text| seconds(text).unwrap());
                let expected = Obligations {
                    max_ttl: limit(max_ttl),
                    max_duration: limit(max_duration),
                    max_concurrent: *max_concurrent,
                    max_uses: *max_uses,
                    approve_within: limit(approve_within),
                    approvals: approvals.clone(),
                    escalate: *escalate,
                    ..Obligations::default()
                };
                if *obligations != expected || decision.determining != *rules {
                    return Err(format!("allowed by {:?} under {obligations:?}", decision.determining));
                }
            }
            (Expected::Deny { rule, says }, Verdict::Deny { refusal }) => {
                let text = format!("{} | {} | {}", refusal.reason, refusal.who_can_fix, refusal.next);
                let empty = [&refusal.reason, &refusal.who_can_fix, &refusal.next].iter().any(|text| text.is_empty());
                if refusal.rule != *rule || empty || !says.iter().all(|word| text.contains(word)) {
                    return Err(format!("denied by {}: {text}", refusal.rule));
                }
            }
            (_, verdict) => return Err(format!("{verdict:?}")),
        }
        Ok(())
    }
}

#[test]
fn every_policy_case_holds_and_every_rule_has_one() {
    let files = shipped();
    let bundle = bundle(files.clone()).unwrap();
    let (mut failures, mut seen, mut names) = (Vec::new(), BTreeSet::new(), BTreeSet::new());
    for entry in fs::read_dir(shipped_dir().join("tests")).unwrap() {
        let path = entry.unwrap().path();
        let file: File = toml::from_str(&fs::read_to_string(&path).unwrap())
            .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        for case in file.case {
            let decision = case.decide(&bundle);
            if let Err(found) = case.check(&decision) {
                failures.push(format!("{}: {}: {found}", path.display(), case.name));
            }
            seen.extend(decision.determining);
            assert!(names.insert(case.name.clone()), "{} stands twice", case.name);
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    let ids: BTreeSet<String> = files
        .iter()
        .filter(|(name, _)| name.ends_with(".cedar"))
        .flat_map(|(_, text)| {
            text.lines().filter_map(|line| Some(line.strip_prefix("@id(\"")?.strip_suffix("\")")?.to_owned()))
        })
        .collect();
    assert!(ids.len() >= 8, "{ids:?}");
    assert_eq!(ids, seen, "every rule of the shipped bundle determines a case");
}
