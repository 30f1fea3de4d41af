//! Deciding again what was decided, from the record of it: the same question with the facts of then, under another bundle.
//!
//! What a bundle itself says is taken from the new one: the resource as its catalogue has it, and who of those who asked is
//! still somebody. Everything else is as it was recorded. A record of a shape that is not known is told, never guessed.

use std::collections::BTreeSet;

use grantd_model::{Action, Obligations, Quorum, Refusal, Signals, Subject, SubjectKind, Verdict};
use grantd_provider_api::{Persistence, Revocation};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::bundle::Bundle;
use super::glass;
use super::inputs::{Inputs, resource_entity};
use super::question::{AnchorKind, Facts, Isolation, Question, Timing};
use super::refusal::SIGNAL;
use crate::config::Resource;

/// The rule of a denial because the new catalogue does not have the resource.
const CATALOG: &str = "catalog";

/// What came of deciding again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Again {
    /// The same verdict under the same obligations by the same rules.
    Same,
    /// Allowed then, denied now.
    NowDenied {
        /// By which rule.
        rule: String,
        /// Its words.
        reason: String,
    },
    /// Denied then, allowed now.
    NowAllowed {
        /// By which rule it was denied.
        was: String,
        /// By which it is allowed.
        rules: Vec<String>,
    },
    /// Allowed both times, under other obligations.
    Obligations {
        /// Those that are stricter now, as `NAME: OLD -> NEW`.
        stricter: Vec<String>,
        /// Those that are looser now.
        looser: Vec<String>,
        /// Those that are neither.
        other: Vec<String>,
    },
    /// The same verdict and obligations by other rules.
    Rules {
        /// Then.
        was: Vec<String>,
        /// Now.
        rules: Vec<String>,
    },
    /// It rests on something now that nobody looked up then.
    Undecided {
        /// What that is.
        needs: String,
    },
}

/// What of a recorded decision is read. What else stands in it is left alone.
#[derive(Debug, Deserialize)]
struct Recorded {
    action: Action,
    #[serde(flatten)]
    verdict: Verdict,
    #[serde(default)]
    determining: Vec<String>,
    inputs: Value,
}

impl Bundle {
    /// Decides `decision` again, as the audit has it.
    ///
    /// # Errors
    /// In words, and the same words for the same trouble: it is no decision that this version can read, or the schema
    /// cannot express its question.
    pub fn again(&self, decision: &Value) -> Result<Again, String> {
        let recorded: Recorded = serde_json::from_value(decision.clone())
            .map_err(|_| "not a decision of a shape that is known".to_owned())?;
        let name = text(&recorded.inputs, &["resource", "id"])?;
        let resource = match text(&recorded.inputs, &["context", "profile"]).unwrap_or_default() {
            "" => self.confirmed_in(&recorded.inputs, name).or_else(|| self.catalog.get(name)),
            profile => self.catalog.in_profile(profile, name),
        };
        let (verdict, rules) = match resource {
            None => (Verdict::Deny { refusal: gone(name) }, vec![CATALOG.to_owned()]),
            Some(resource) => {
                let (principal, facts) = asked(&recorded.inputs)?;
                let at = Timestamp::UNIX_EPOCH;
                let question = Question { action: recorded.action, at, principal: &principal, uid: 0, resource, facts };
                let inputs = self.inputs(&recorded, &question)?;
                self.engine.expressed(&inputs)?;
                let (verdict, rules) = self.engine.verdict(&inputs, &question, self.version);
                (self.bounded_today(verdict, question), rules)
            }
        };
        Ok(compared(recorded, verdict, rules))
    }

    /// The resource as the profile sees it whose use was to be approved: an approval tells of the profile only who was
    /// enrolled.
    fn confirmed_in(&self, inputs: &Value, name: &str) -> Option<&Resource> {
        let entities = inputs.get("entities").and_then(Value::as_array)?;
        let of_then = entities.iter().find(|entity| kind(entity) == Some("Grantd::Resource"))?;
        let enrolled = |entity: &Value| entity.pointer("/attrs/enrolled").cloned();
        let then = enrolled(of_then).filter(|then| then.as_array().is_some_and(|people| !people.is_empty()))?;
        let seen: Vec<&Resource> = self.catalog.in_profiles().filter(|resource| resource.name == name).collect();
        let same = seen.iter().find(|resource| enrolled(&resource_entity(resource)).as_ref() == Some(&then));
        same.or(seen.first()).copied()
    }

    /// What no policy can change about a use of break-glass, for who has the name of then.
    fn bounded_today(&self, verdict: Verdict, mut question: Question<'_>) -> Verdict {
        if question.action != Action::BreakGlass {
            return verdict;
        }
        let itself = question.principal.same_identity(&question.facts.subject);
        let today = self.people.by_name(&question.facts.subject.name);
        let Some(today) = today.filter(|today| today.kind == question.facts.subject.kind) else {
            return glass::bounded(verdict, &question, &self.people);
        };
        question.facts.subject = today.clone();
        let principal = if itself { today } else { question.principal.clone() };
        glass::bounded(verdict, &Question { principal: &principal, ..question }, &self.people)
    }

    /// The inputs of then, with what the bundle says itself put in anew.
    fn inputs(&self, recorded: &Recorded, question: &Question<'_>) -> Result<Inputs, String> {
        let part = |name: &str| recorded.inputs.get(name).cloned().ok_or_else(|| format!("inputs without {name}"));
        let entities = part("entities")?;
        let entities = entities.as_array().ok_or("inputs whose entities are no list")?;
        let subjects = entities.iter().filter(|entity| kind(entity) == Some("Grantd::Subject"));
        let mut entities: Vec<Value> = subjects.map(|entity| self.subject_today(entity)).collect();
        entities.push(resource_entity(question.resource));
        Ok(Inputs {
            principal: part("principal")?,
            action: part("action")?,
            resource: part("resource")?,
            entities: Value::Array(entities),
            context: part("context")?,
            signals: question.facts.signals.clone(),
        })
    }

    /// A subject under the name of then, as far as that is somebody's of the same kind.
    fn subject_today(&self, entity: &Value) -> Value {
        let name = text(entity, &["attrs", "name"]).unwrap_or_default();
        let same_kind = |known: SubjectKind| text(entity, &["attrs", "kind", "id"]) == Ok(known.to_string().as_str());
        let known = self.people.get(name).filter(|known| same_kind(known.kind));
        let is_person = |parent: &&Value| text(parent, &["id"]).is_ok_and(|name| self.people.is_person(name));
        let parents = entity.get("parents").and_then(Value::as_array).into_iter().flatten().filter(is_person);
        let mut entity = entity.clone();
        let parents: Vec<Value> = if known.is_some() { parents.cloned().collect() } else { Vec::new() };
        if let Some(members) = entity.as_object_mut() {
            members.insert("parents".to_owned(), Value::Array(parents));
            if let (None, Some(attributes)) = (known, members.get_mut("attrs").and_then(Value::as_object_mut)) {
                attributes.insert("name".to_owned(), json!(""));
            }
        }
        entity
    }
}

/// As much of the question of then as refusals speak of: who, and about what.
fn asked(inputs: &Value) -> Result<(Subject, Facts), String> {
    let subject = |path: &[&str]| {
        let id = text(inputs, path)?;
        let entities = inputs.get("entities").and_then(Value::as_array).into_iter().flatten();
        let mut entities = entities.filter(|entity| text(entity, &["uid", "id"]) == Ok(id));
        subject_of(id, entities.next().and_then(|entity| text(entity, &["attrs", "name"]).ok()).unwrap_or_default())
    };
    let signals = match inputs.get("signals") {
        None => Signals::new(),
        Some(signals) => serde_json::from_value(signals.clone()).map_err(|_| "signals of a shape that is not known")?,
    };
    let capability = text(inputs, &["context", "capability", "name"])?;
    let facts = Facts {
        capability: capability.parse().map_err(|_| "a capability that is none".to_owned())?,
        duration_seconds: 0,
        timing: Timing::default(),
        ttl_seconds: None,
        justification_length: 0,
        ticket: None,
        subject: subject(&["context", "subject", "id"])?,
        requester: subject(&["context", "requester", "id"])?,
        anchor: AnchorKind::None,
        isolation: Isolation::Uid,
        persistence: Persistence::None,
        widens: false,
        revocation: Revocation::Immediate,
        outlives_seconds: 0,
        approvals: Quorum::new(),
        capacity: None,
        on_behalf_of: None,
        asked_to_review: false,
        signals,
    };
    Ok((subject(&["principal", "id"])?, facts))
}

/// `pipeline:unix:1001`, as the inputs write it.
fn subject_of(id: &str, name: &str) -> Result<Subject, String> {
    let wrong = || "a subject that is none".to_owned();
    let (kind, rest) = id.split_once(':').ok_or_else(wrong)?;
    let (issuer, id) = rest.split_once(':').ok_or_else(wrong)?;
    let kind = serde_json::from_value(json!(kind)).map_err(|_| wrong())?;
    let issuer = issuer.replace("%3A", ":").replace("%25", "%");
    Ok(Subject { kind, issuer, id: id.to_owned(), name: name.to_owned() })
}

fn compared(recorded: Recorded, verdict: Verdict, rules: Vec<String>) -> Again {
    match (recorded.verdict, verdict) {
        (Verdict::Allow { .. }, Verdict::Deny { refusal }) if refusal.rule.starts_with(SIGNAL) => {
            Again::Undecided { needs: refusal.rule }
        }
        (Verdict::Deny { refusal: was }, Verdict::Deny { refusal }) => {
            if refusal.rule.starts_with(SIGNAL) && was.rule != refusal.rule {
                return Again::Undecided { needs: refusal.rule };
            }
            if recorded.determining == rules || rules == [CATALOG] {
                Again::Same
            } else {
                Again::Rules { was: recorded.determining, rules }
            }
        }
        (Verdict::Allow { .. }, Verdict::Deny { refusal: Refusal { rule, reason, .. } }) => {
            Again::NowDenied { rule, reason }
        }
        (Verdict::Deny { refusal }, Verdict::Allow { .. }) => Again::NowAllowed { was: refusal.rule, rules },
        (Verdict::Allow { obligations: was }, Verdict::Allow { obligations }) if was != obligations => {
            changed(&was, &obligations)
        }
        (Verdict::Allow { .. }, Verdict::Allow { .. }) if recorded.determining == rules => Again::Same,
        (Verdict::Allow { .. }, Verdict::Allow { .. }) => Again::Rules { was: recorded.determining, rules },
    }
}

/// Each obligation that is not what it was. What is stricter is told by what the strictest of both would be.
fn changed(was: &Obligations, now: &Obligations) -> Again {
    let members = |obligations: &Obligations| json!(obligations).as_object().cloned().unwrap_or_default();
    let both = members(&was.clone().strictest(now.clone()));
    let (before, after) = (members(was), members(now));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    let (mut stricter, mut looser, mut other) = (Vec::new(), Vec::new(), Vec::new());
    for name in names.into_iter().filter(|name| before.get(*name) != after.get(*name)) {
        let shown =
            |members: &Map<String, Value>| members.get(name).map_or_else(|| "none".to_owned(), Value::to_string);
        let line = format!("{name}: {} -> {}", shown(&before), shown(&after));
        match (both.get(name) == before.get(name), both.get(name) == after.get(name)) {
            (false, true) => stricter.push(line),
            (true, false) => looser.push(line),
            _ => other.push(line),
        }
    }
    Again::Obligations { stricter, looser, other }
}

fn gone(name: &str) -> Refusal {
    Refusal {
        rule: CATALOG.to_owned(),
        reason: format!("catalog.toml has no resource \"{name}\" any more"),
        who_can_fix: String::new(),
        next: String::new(),
    }
}

fn kind(entity: &Value) -> Option<&str> {
    entity.get("uid")?.get("type")?.as_str()
}

/// The text at the end of a path of members.
fn text<'a>(value: &'a Value, path: &[&str]) -> Result<&'a str, String> {
    let found = path.iter().try_fold(value, |value, name| value.get(name)).and_then(Value::as_str);
    found.ok_or_else(|| format!("inputs without {}", path.join(".")))
}

#[cfg(test)]
#[path = "replay_tests.rs"]
mod tests;
