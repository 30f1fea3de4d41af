//! Cases: questions with the decision that a bundle is to give, in TOML beside the policies, as `policy test` runs them.

use std::collections::{BTreeMap, BTreeSet};

use grantd_model::{
    Action, Capacity, Decision, FactValue, Looked, Obligations, OnPolicyChange, Quorum, Refusal, Signal, SignalFact,
    Signals, Verdict,
};
use grantd_provider_api::{Capability, Persistence, Revocation};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Deserializer, Serialize};

use super::bundle::Bundle;
use super::question::{AnchorKind, Facts, Isolation, Question, Timing};
use crate::config::seconds;

/// What came of running cases.
#[derive(Debug, Default, Serialize)]
pub struct Tried {
    /// How many came out as they say.
    pub passed: usize,
    /// Those that did not.
    pub failed: Vec<Failed>,
    /// The rules that determined no case: nothing holds them to what they are for.
    pub untried: Vec<String>,
}

/// A case that did not come out as it says.
#[derive(Debug, Serialize)]
pub struct Failed {
    /// Where it stands.
    pub file: String,
    /// Its name.
    pub case: String,
    /// What was found, and what was expected.
    pub found: String,
}

/// Runs every case of `files`, pairs of name and text.
///
/// # Errors
/// When a file is not one of cases, or a name stands twice.
pub fn run<'a>(bundle: &Bundle, files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Result<Tried, String> {
    let (mut tried, mut names, mut seen) = (Tried::default(), BTreeSet::new(), BTreeSet::new());
    for (name, text) in files {
        let file: File = toml::from_str(text).map_err(|error| format!("{name}: {}", error.to_string().trim_end()))?;
        for case in file.case {
            if !names.insert(case.name.clone()) {
                return Err(format!("{name}: case {:?} stands twice: give each its own name", case.name));
            }
            let found = case.decide(bundle).and_then(|decision| {
                seen.extend(decision.determining.iter().cloned());
                case.check(&decision)
            });
            match found {
                Ok(()) => tried.passed = tried.passed.saturating_add(1),
                Err(found) => tried.failed.push(Failed { file: name.to_owned(), case: case.name, found }),
            }
        }
    }
    tried.untried = bundle.rules().into_iter().filter(|rule| !seen.contains(rule)).collect();
    Ok(tried)
}

/// A file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct File {
    pub(super) case: Vec<Case>,
}

/// One question with its answer.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    action: Action,
    /// By name, as in `people.toml`.
    principal: String,
    /// By name, as in `catalog.toml`.
    resource: String,
    /// The break-glass profile whose use is in question.
    profile: Option<String>,
    #[serde(default)]
    facts: CaseFacts,
    expect: Expected,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct CaseFacts {
    capability: Option<Capability>,
    #[serde(deserialize_with = "duration")]
    duration: u64,
    #[serde(deserialize_with = "duration")]
    ttl: u64,
    /// From its first moment to its last, where it recurs.
    #[serde(deserialize_with = "limit")]
    recurs_over: Option<u64>,
    /// How long it is until it may be used.
    #[serde(deserialize_with = "limit")]
    starts_in: Option<u64>,
    /// That one was named, or which.
    ticket: Ticket,
    /// How long the justification is.
    justification: usize,
    /// By name; the principal when left out.
    subject: Option<String>,
    requester: Option<String>,
    anchor: AnchorWord,
    persistence: Persistence,
    widens: bool,
    revocation: Revocation,
    /// How late the end of access may be felt.
    #[serde(deserialize_with = "duration")]
    outlives: u64,
    /// How many have approved already.
    approvals: Quorum,
    /// In which the principal would approve.
    capacity: Option<Capacity>,
    /// For which absent person.
    on_behalf_of: Option<String>,
    /// Whether the principal was asked to review.
    asked_to_review: bool,
    /// What is looked up, by fact; what is left out cannot be had.
    signals: BTreeMap<SignalFact, FactValue>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Ticket {
    Any(bool),
    Named(String),
}

/// An anchor, as the schema spells it.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum AnchorWord {
    Process,
    Connection,
    Unwatched,
    None,
}

impl From<AnchorWord> for AnchorKind {
    fn from(word: AnchorWord) -> Self {
        match word {
            AnchorWord::Process => Self::Process,
            AnchorWord::Connection => Self::Connection,
            AnchorWord::Unwatched => Self::Unwatched,
            AnchorWord::None => Self::None,
        }
    }
}

impl Default for CaseFacts {
    fn default() -> Self {
        Self {
            capability: None,
            duration: 30 * 60,
            ttl: 5 * 60,
            recurs_over: None,
            starts_in: None,
            ticket: Ticket::Any(false),
            justification: 20,
            subject: None,
            requester: None,
            anchor: AnchorWord::Process,
            persistence: Persistence::None,
            widens: false,
            revocation: Revocation::Immediate,
            outlives: 0,
            approvals: Quorum::new(),
            capacity: None,
            on_behalf_of: None,
            asked_to_review: false,
            signals: BTreeMap::new(),
        }
    }
}

/// The decision, with all its obligations or the words of its refusal.
#[derive(Debug, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case", deny_unknown_fields)]
enum Expected {
    Allow {
        /// The rules that determine it, in the bundle's order.
        rules: Vec<String>,
        #[serde(default, deserialize_with = "limit")]
        max_ttl: Option<u64>,
        #[serde(default, deserialize_with = "limit")]
        max_duration: Option<u64>,
        #[serde(default, deserialize_with = "limit")]
        max_recurrence: Option<u64>,
        max_concurrent: Option<u32>,
        max_uses: Option<u32>,
        #[serde(default, deserialize_with = "limit")]
        approve_within: Option<u64>,
        #[serde(default)]
        escalate: bool,
        #[serde(default)]
        approvals: Quorum,
        #[serde(default)]
        on_policy_change: OnPolicyChange,
        #[serde(default)]
        on_signal_change: OnPolicyChange,
        #[serde(default, deserialize_with = "limit")]
        signal_max_age: Option<u64>,
        #[serde(default, deserialize_with = "limit")]
        renew_signal_max_age: Option<u64>,
        #[serde(default)]
        notify: BTreeSet<String>,
        #[serde(default, deserialize_with = "limit")]
        review_within: Option<u64>,
        #[serde(default)]
        may_lack: BTreeSet<Signal>,
        #[serde(default)]
        signed_approval: bool,
    },
    Deny {
        rule: String,
        /// Each must stand somewhere in the refusal.
        #[serde(default)]
        says: Vec<String>,
    },
}

/// A length of time as a policy writes it, in seconds.
fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    seconds(&String::deserialize(from)?).map_err(serde::de::Error::custom)
}

fn limit<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    duration(from).map(Some)
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
    /// What `bundle` says of it.
    pub(super) fn decide(&self, bundle: &Bundle) -> Result<Decision, String> {
        let subject = |name: &str| {
            bundle.people.by_name(name).ok_or_else(|| {
                format!("\"{name}\" is nobody of people.toml with a Unix user: name somebody who could call")
            })
        };
        let principal = subject(&self.principal)?;
        let named = |name: &Option<String>| name.as_deref().map_or_else(|| Ok(principal.clone()), subject);
        let resource = match &self.profile {
            None => bundle
                .catalog
                .get(&self.resource)
                .ok_or_else(|| format!("\"{}\" is no resource of catalog.toml", self.resource)),
            Some(profile) => bundle.catalog.in_profile(profile, &self.resource).ok_or_else(|| {
                format!("\"{}\" is in no break-glass profile \"{profile}\" of catalog.toml", self.resource)
            }),
        }?;
        let facts = &self.facts;
        let at = Timestamp::UNIX_EPOCH;
        let starts = facts
            .starts_in
            .and_then(|ahead| i64::try_from(ahead).ok())
            .and_then(|ahead| at.checked_add(SignedDuration::from_secs(ahead)).ok());
        let usual = || format!("{}:read", resource.kind).parse::<Capability>().map_err(|error| error.to_string());
        Ok(bundle.decide(&Question {
            action: self.action,
            at,
            uid: principal.id.parse().map_err(|_| format!("{principal} has no Unix user"))?,
            principal: &principal,
            resource,
            facts: Facts {
                capability: facts.capability.clone().map_or_else(usual, Ok)?,
                duration_seconds: facts.duration,
                timing: Timing { not_before: starts, recurs_over: facts.recurs_over },
                ttl_seconds: matches!(self.action, Action::Issue | Action::BreakGlass).then_some(facts.ttl),
                justification_length: facts.justification,
                ticket: match &facts.ticket {
                    Ticket::Any(named) => named.then(|| "TICKET-1".to_owned()),
                    Ticket::Named(ticket) => Some(ticket.clone()),
                },
                subject: named(&facts.subject)?,
                requester: named(&facts.requester)?,
                anchor: facts.anchor.into(),
                isolation: Isolation::Uid,
                persistence: facts.persistence,
                widens: facts.widens,
                revocation: facts.revocation.clone(),
                outlives_seconds: facts.outlives,
                approvals: facts.approvals.clone(),
                capacity: facts.capacity,
                on_behalf_of: facts.on_behalf_of.clone(),
                asked_to_review: facts.asked_to_review,
                signals: looked_up(&facts.signals),
            },
        }))
    }

    /// Whether that is what is expected.
    pub(super) fn check(&self, decision: &Decision) -> Result<(), String> {
        match (self.expect.obligations(), &self.expect, &decision.verdict) {
            (Some(expected), Expected::Allow { rules, .. }, Verdict::Allow { obligations }) => {
                if decision.determining != *rules {
                    return Err(format!("allowed by {:?}, and {rules:?} was expected", decision.determining));
                }
                if *obligations != expected {
                    let (found, expected) = (in_json(obligations), in_json(&expected));
                    return Err(format!("allowed under {found}, and {expected} was expected"));
                }
                Ok(())
            }
            (_, Expected::Deny { rule, says }, Verdict::Deny { refusal }) => {
                let Refusal { reason, who_can_fix, next, .. } = refusal;
                let text = format!("{reason} | {who_can_fix} | {next}");
                let missing: Vec<&String> = says.iter().filter(|word| !text.contains(*word)).collect();
                if refusal.rule != *rule {
                    return Err(format!("denied by {} ({reason}), and {rule} was expected", refusal.rule));
                }
                if [reason, who_can_fix, next].iter().any(|text| text.is_empty()) {
                    return Err(format!("denied by {rule} without a word for it: {text}"));
                }
                if missing.is_empty() { Ok(()) } else { Err(format!("{missing:?} does not stand in: {text}")) }
            }
            (_, _, Verdict::Allow { .. }) => {
                Err(format!("allowed by {:?}, and a denial was expected", decision.determining))
            }
            (_, _, Verdict::Deny { refusal }) => {
                Err(format!("denied by {} ({}), and it was to be allowed", refusal.rule, refusal.reason))
            }
        }
    }
}

impl Expected {
    fn obligations(&self) -> Option<Obligations> {
        let Self::Allow {
            rules: _,
            max_ttl,
            max_duration,
            max_recurrence,
            max_concurrent,
            max_uses,
            approve_within,
            escalate,
            approvals,
            on_policy_change,
            on_signal_change,
            signal_max_age,
            renew_signal_max_age,
            notify,
            review_within,
            may_lack,
            signed_approval,
        } = self
        else {
            return None;
        };
        Some(Obligations {
            approvals: approvals.clone(),
            max_ttl: *max_ttl,
            max_duration: *max_duration,
            max_recurrence: *max_recurrence,
            max_concurrent: *max_concurrent,
            max_uses: *max_uses,
            escalate: *escalate,
            approve_within: *approve_within,
            on_policy_change: *on_policy_change,
            on_signal_change: *on_signal_change,
            signal_max_age: *signal_max_age,
            renew_signal_max_age: *renew_signal_max_age,
            notify: notify.clone(),
            review_within: *review_within,
            may_lack: may_lack.clone(),
            signed_approval: *signed_approval,
        })
    }
}

fn in_json(obligations: &Obligations) -> String {
    serde_json::to_string(obligations).unwrap_or_default()
}

#[cfg(test)]
#[path = "cases_tests.rs"]
mod tests;
