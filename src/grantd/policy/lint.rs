//! What is wrong with a bundle that can be decided by: rules that can never match, and names of nothing. Pure.

use std::collections::{BTreeMap, BTreeSet};

use grantd_model::{Action, Tier};
use grantd_provider_api::{Finding, Standing};
use serde_json::Value;

use super::bundle::Bundle;
use super::engine::ACTIONS;
use super::scenes::Text;
use crate::config::Resource;

/// How many resources of the catalogue are taken for examples of what it may come to have.
const EXAMPLES: usize = 16;

impl Bundle {
    /// Looks every rule through. What is a problem is a mistake; what is a warning may be meant. `ids_hold`: whether the
    /// host's users are those that the bundle will decide about.
    #[must_use]
    pub fn lint(&self, ids_hold: bool) -> Vec<Finding> {
        let mut findings = self.unknown_names();
        findings.extend(self.unserved());
        let mut matched: BTreeMap<String, Match> = BTreeMap::new();
        for action in ACTIONS {
            for (rule, found) in self.matches(action, ids_hold) {
                let best = matched.entry(rule).or_insert_with(|| found.clone());
                if found < *best {
                    *best = found;
                }
            }
        }
        for rule in self.rules() {
            let unread = "correct what it compares, or remove it: a rule that never applies only seems to protect";
            findings.extend(match matched.remove(&rule) {
                None | Some(Match::Here) => None,
                Some(Match::Elsewhere) => Some(Finding::bad(
                    format!("rule {rule}"),
                    "rule.unused",
                    Standing::Warning,
                    "it matches nothing that catalog.toml has now",
                    "leave it if such a resource is to come; else remove it",
                )),
                Some(Match::Forbidden(by)) => Some(Finding::bad(
                    format!("rule {rule}"),
                    "rule.forbidden",
                    Standing::Problem,
                    format!("whatever it would permit is forbidden by {}", by.join(", ")),
                    "remove it, or narrow the forbid",
                )),
                Some(Match::Never) => Some(Finding::bad(
                    format!("rule {rule}"),
                    "rule.unreachable",
                    Standing::Problem,
                    "it can never match: no question that could be asked fulfils its scope and conditions",
                    unread,
                )),
            });
        }
        findings
    }

    /// How each rule of `action` comes to match.
    fn matches(&self, action: Action, ids_hold: bool) -> Vec<(String, Match)> {
        let rules = self.engine.texts(action);
        let mut open: BTreeMap<&str, Match> = rules.iter().map(|rule| (rule.id.as_str(), Match::Never)).collect();
        let catalogued: Vec<Resource> = self.asked_about(action).cloned().collect();
        // What the catalogue may come to have: the same, of every tier, in whatever cloud.
        let possible = catalogued.iter().take(EXAMPLES).flat_map(variants);
        let all = catalogued.iter().map(|resource| (resource.clone(), Match::Here));
        for (resource, found) in all.chain(possible.map(|resource| (resource, Match::Elsewhere))) {
            if open.values().all(|best| *best <= found) {
                continue;
            }
            for scene in self.scenes(action, &resource, &rules, found == Match::Elsewhere, ids_hold) {
                for rule in &rules {
                    let Some(best) = open.get_mut(rule.id.as_str()).filter(|best| found < **best) else { continue };
                    let forbids: Vec<&Text<'_>> = match rule.obligations {
                        Some(_) => rules.iter().filter(|rule| rule.obligations.is_none()).collect(),
                        None => Vec::new(),
                    };
                    let texts: Vec<&Value> = forbids.iter().map(|forbid| &forbid.json).collect();
                    if scene.may_hold(&rule.json, &texts) {
                        *best = found.clone();
                    } else if !texts.is_empty() && *best == Match::Never && scene.may_hold(&rule.json, &[]) {
                        let alone = forbids.iter().filter(|forbid| !scene.may_hold(&rule.json, &[&forbid.json]));
                        let by: Vec<String> = alone.map(|forbid| forbid.id.clone()).collect();
                        let together = || forbids.iter().map(|forbid| forbid.id.clone()).collect();
                        *best = Match::Forbidden(if by.is_empty() { together() } else { by });
                    }
                }
            }
        }
        open.into_iter().map(|(id, found)| (id.to_owned(), found)).collect()
    }

    /// The resources as questions of `action` know them: a use of break-glass knows its profile.
    fn asked_about(&self, action: Action) -> impl Iterator<Item = &Resource> {
        let (plain, profiles) = match action {
            Action::Request | Action::Issue | Action::Revoke => (true, false),
            Action::BreakGlass => (false, true),
            Action::Approve | Action::Review => (true, true),
        };
        let plain = self.catalog.iter().filter(move |_| plain);
        plain.chain(self.catalog.in_profiles().filter(move |_| profiles))
    }

    /// Resources of which nothing can be asked for.
    fn unserved(&self) -> Vec<Finding> {
        let served = |resource: &&Resource| {
            let map = self.maps.get(&resource.cloud);
            map.is_some_and(|map| map.capability.keys().any(|can| can.resource_type() == resource.kind))
        };
        let unserved = self.catalog.iter().filter(|resource| !served(resource));
        unserved
            .map(|resource| {
                Finding::bad(
                    format!("resource {}", resource.name),
                    "resource.unserved",
                    Standing::Problem,
                    format!("no capability of type {} is in entitlements/{}.toml", resource.kind, resource.cloud),
                    "correct its type or its cloud, or add the entitlement map",
                )
            })
            .collect()
    }

    /// Names in rules that are names of nothing in the rest of the bundle.
    fn unknown_names(&self) -> Vec<Finding> {
        let mut findings = BTreeMap::new();
        for action in ACTIONS {
            for rule in self.engine.texts(action) {
                let mut names = BTreeSet::new();
                for part in ["principal", "resource", "conditions"] {
                    rule.json.get(part).into_iter().for_each(|part| entities(part, &mut names));
                }
                rule.json.get("conditions").into_iter().for_each(|part| comparisons(part, &mut names));
                for (what, name) in names {
                    let Some((known, place)) = self.known(&what) else { continue };
                    if known.contains(&name) {
                        continue;
                    }
                    let near = known.iter().min_by_key(|known| distance(known, &name));
                    let near = near.filter(|near| distance(near, &name) <= 3);
                    let near = near.map(|near| format!(", did you mean \"{near}\"")).unwrap_or_default();
                    let finding = Finding::bad(
                        format!("rule {}", rule.id),
                        "rule.unknown-name",
                        Standing::Problem,
                        format!("{what} \"{name}\" is not in {place}"),
                        format!("correct the name{near}, or add it to {place}"),
                    );
                    findings.insert((rule.id.clone(), what, name), finding);
                }
            }
        }
        findings.into_values().collect()
    }

    /// What there is of a kind of name, and where it stands.
    fn known(&self, what: &str) -> Option<(BTreeSet<String>, &'static str)> {
        let of = |value: fn(&Resource) -> &String| self.catalog.iter().map(|one| value(one).clone()).collect();
        let capabilities = || self.maps.values().flat_map(|map| map.capability.keys());
        let people = |wanted: &dyn Fn(&str) -> bool| {
            self.people.names().filter(|name| wanted(name)).map(str::to_owned).collect::<BTreeSet<_>>()
        };
        const CATALOG: &str = "catalog.toml";
        const PEOPLE: &str = "people.toml";
        const MAPS: &str = "any entitlement map";
        Some(match what {
            "Grantd::Resource" => (of(|resource| &resource.name), CATALOG),
            "resource.environment" => (of(|resource| &resource.environment), CATALOG),
            "resource.account" => (of(|resource| &resource.account), CATALOG),
            "resource.type" => (of(|resource| &resource.kind), CATALOG),
            "resource.native" => (of(|resource| &resource.native), CATALOG),
            "context.capability.name" => (capabilities().map(ToString::to_string).collect(), MAPS),
            "context.capability.type" => (capabilities().map(|can| can.resource_type().to_owned()).collect(), MAPS),
            "context.capability.verb" => (capabilities().map(|can| can.verb().to_owned()).collect(), MAPS),
            "Grantd::Person" => (people(&|name| self.people.is_person(name)), PEOPLE),
            // Empty is whoever is not there any more.
            "principal.name" | "context.subject.name" | "context.requester.name" => {
                let mut names = people(&|_| true);
                names.insert(String::new());
                (names, PEOPLE)
            }
            _ => return None,
        })
    }
}

/// How well a rule comes to match, the best first.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Match {
    /// On something in the catalogue.
    Here,
    /// On something that the catalogue could have.
    Elsewhere,
    /// Always where one of these forbids.
    Forbidden(Vec<String>),
    /// Not at all.
    Never,
}

/// The same, of each tier.
fn variants(resource: &Resource) -> impl Iterator<Item = Resource> {
    let of = |tier| Resource { tier, ..resource.clone() };
    [Tier::Low, Tier::Moderate, Tier::High, Tier::Critical].into_iter().map(of)
}

/// Every entity that is written out, by type and id.
fn entities(part: &Value, names: &mut BTreeSet<(String, String)>) {
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    match part {
        Value::Array(all) => all.iter().for_each(|one| entities(one, names)),
        Value::Object(members) => {
            for (name, value) in members {
                let entity = matches!(name.as_str(), "__entity" | "entity");
                match (entity, text(value.get("type")), text(value.get("id"))) {
                    (true, Some(kind), Some(id)) => drop(names.insert((kind, id))),
                    _ => entities(value, names),
                }
            }
        }
        _ => {}
    }
}

/// Every text with which an attribute is compared, by the attribute.
fn comparisons(part: &Value, names: &mut BTreeSet<(String, String)>) {
    match part {
        Value::Array(all) => all.iter().for_each(|one| comparisons(one, names)),
        Value::Object(members) => {
            for (operator, operands) in members {
                if matches!(operator.as_str(), "==" | "!=" | "contains")
                    && let (Some(left), Some(right)) = (operands.get("left"), operands.get("right"))
                {
                    for (attribute, literal) in [(left, right), (right, left)] {
                        let Some(path) = path(attribute) else { continue };
                        names.extend(texts(literal).into_iter().map(|text| (path.clone(), text)));
                    }
                }
                comparisons(operands, names);
            }
        }
        _ => {}
    }
}

/// `resource.environment`, `context.capability.name`.
fn path(expression: &Value) -> Option<String> {
    if let Some(variable) = expression.get("Var") {
        return variable.as_str().map(str::to_owned);
    }
    let member = expression.get(".")?;
    Some(format!("{}.{}", path(member.get("left")?)?, member.get("attr")?.as_str()?))
}

fn texts(literal: &Value) -> Vec<String> {
    match (literal.get("Value"), literal.get("Set").and_then(Value::as_array)) {
        (Some(Value::String(text)), _) => vec![text.clone()],
        (_, Some(members)) => members.iter().flat_map(texts).collect(),
        _ => Vec::new(),
    }
}

/// How many letters are to be changed to come from one to the other (Levenshtein).
fn distance(one: &str, other: &str) -> usize {
    let mut row: Vec<usize> = (0..=other.chars().count()).collect();
    for (at, letter) in one.chars().enumerate() {
        let mut corner = at;
        let mut left = at.saturating_add(1);
        let mut next = vec![left];
        for (wanted, above) in other.chars().zip(row.iter().skip(1)) {
            let changed = corner.saturating_add(usize::from(letter != wanted));
            left = changed.min(above.saturating_add(1)).min(left.saturating_add(1));
            corner = *above;
            next.push(left);
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
#[path = "lint_tests.rs"]
mod tests;
