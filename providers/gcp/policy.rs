//! An allow policy as Google has it, and the bindings in it that are ours. Pure.
//!
//! What is not ours is kept as it was read, fields that are not known here included.

use grantd_provider_api::LeaseId;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use crate::limits::{POLICY_CONDITIONS, POLICY_PRINCIPALS};

/// What the title of a condition of ours starts with.
const TITLE: &str = "grantd";

/// How long after its end a binding of ours is left alone before it is tidied away.
const TIDY_AFTER: i64 = 60;

/// A binding that a lease wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub role: String,
    pub member: String,
    pub condition: Option<Condition>,
}

/// The condition of a binding of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub title: String,
    pub expression: String,
}

impl Condition {
    /// `narrow`, until `until`. A `lease` is named where the member does not name it.
    pub fn until(narrow: Option<&str>, until: Timestamp, lease: Option<LeaseId>) -> Self {
        let end = format!("request.time < timestamp(\"{until}\")");
        let expression = match narrow {
            Some(narrow) => format!("({narrow}) && {end}"),
            None => end,
        };
        let title = match lease {
            Some(lease) => format!("{TITLE} {lease} until {until}"),
            None => format!("{TITLE} until {until}"),
        };
        Self { title, expression }
    }
}

/// Something of ours in a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ours {
    pub lease: LeaseId,
    pub member: String,
    pub role: String,
    /// When its condition ends it; none for a binding that only its removal ends.
    pub until: Option<Timestamp>,
}

/// A policy that was read.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Policy(Map<String, Value>);

impl Policy {
    /// Reads an answer of `getIamPolicy`. None when it is no policy, or one without an etag: that could not be written
    /// without the danger of taking somebody else's change back.
    pub fn parse(body: &[u8]) -> Option<Self> {
        let Ok(Value::Object(fields)) = serde_json::from_slice::<Value>(body) else { return None };
        let etag = fields.get("etag").and_then(Value::as_str).is_some_and(|etag| !etag.is_empty());
        let bindings = fields.get("bindings").is_none_or(|bindings| {
            bindings.as_array().is_some_and(|all| all.iter().all(|one| one.get("members").is_none_or(Value::is_array)))
        });
        (etag && bindings).then_some(Self(fields))
    }

    /// The version of the policy, as Google names it.
    pub fn etag(&self) -> &str {
        self.0.get("etag").and_then(Value::as_str).unwrap_or_default()
    }

    /// As it is to be written: with its etag, and in version 3, without which conditions are lost.
    pub fn to_write(&self) -> Value {
        let mut fields = self.0.clone();
        fields.insert("version".to_owned(), json!(3));
        Value::Object(fields)
    }

    fn bindings(&self) -> &[Value] {
        self.0.get("bindings").and_then(Value::as_array).map_or(&[], Vec::as_slice)
    }

    fn bindings_mut(&mut self) -> Option<&mut Vec<Value>> {
        self.0.entry("bindings").or_insert_with(|| json!([])).as_array_mut()
    }

    /// Adds a binding, to one with the same role and condition if there is one.
    ///
    /// # Errors
    /// The policy has no room for it, with the counts; it is unchanged then.
    pub fn add(&mut self, wanted: &Wanted) -> Result<(), String> {
        let same = |binding: &Value| {
            let condition = binding.get("condition").filter(|condition| !condition.is_null());
            let same_condition = match (&wanted.condition, condition) {
                (None, None) => true,
                (Some(ours), Some(theirs)) => *theirs == rendered(ours),
                _ => false,
            };
            binding.get("role").and_then(Value::as_str) == Some(&wanted.role) && same_condition
        };
        let has = |binding: &Value| members(binding).any(|member| member == wanted.member);
        if self.bindings().iter().any(|binding| same(binding) && has(binding)) {
            return Ok(());
        }
        let (principals, conditions) = self.counts();
        if principals >= POLICY_PRINCIPALS {
            return Err(format!(
                "the policy names {principals} principals already, and Google takes {POLICY_PRINCIPALS}"
            ));
        }
        let new = !self.bindings().iter().any(same);
        if new && wanted.condition.is_some() && conditions >= POLICY_CONDITIONS {
            return Err(format!(
                "the policy has {conditions} conditional bindings already, and Google takes {POLICY_CONDITIONS}: \
                 raise share_expiry, so that leases share them"
            ));
        }
        let Some(bindings) = self.bindings_mut() else { return Err("the policy has no list of bindings".to_owned()) };
        match bindings.iter_mut().find(|binding| same(binding)).and_then(|binding| binding.get_mut("members")) {
            Some(Value::Array(members)) => members.push(json!(wanted.member)),
            _ => {
                let mut binding = json!({ "role": wanted.role, "members": [wanted.member] });
                if let (Some(condition), Some(fields)) = (&wanted.condition, binding.as_object_mut()) {
                    fields.insert("condition".to_owned(), rendered(condition));
                }
                bindings.push(binding);
            }
        }
        Ok(())
    }

    /// Removes what is ours and meets `remove`; what else stands in the same bindings stays.
    pub fn remove(&mut self, pool: &str, remove: impl Fn(&Ours) -> bool) {
        let Some(bindings) = self.bindings_mut() else { return };
        bindings.retain_mut(|binding| {
            let gone: Vec<String> = of_binding(pool, binding).filter(&remove).map(|ours| ours.member).collect();
            if gone.is_empty() {
                return true;
            }
            let Some(members) = binding.get_mut("members").and_then(Value::as_array_mut) else { return true };
            members.retain(|member| !member.as_str().is_some_and(|member| gone.iter().any(|one| one == member)));
            !members.is_empty()
        });
    }

    /// Removes what is ours and ended a while before `now`: it grants nothing any more and only takes room.
    pub fn tidy(&mut self, pool: &str, now: Timestamp) {
        let horizon = now.as_second().saturating_sub(TIDY_AFTER);
        self.remove(pool, |ours| ours.until.is_some_and(|until| until.as_second() < horizon));
    }

    /// Everything in it that is ours. `pool` is what the pool's principals start with, their subjects excluded.
    pub fn ours(&self, pool: &str) -> Vec<Ours> {
        self.bindings().iter().flat_map(|binding| of_binding(pool, binding)).collect()
    }

    /// The roles that it gives to a member, each with its condition.
    pub fn granted_to(&self, member: &str) -> Vec<(String, Option<String>)> {
        let text = |binding: &Value, name: &str| binding.pointer(name).and_then(Value::as_str).map(str::to_owned);
        let its = self.bindings().iter().filter(|binding| members(binding).any(|one| one == member));
        its.map(|one| (text(one, "/role").unwrap_or_default(), text(one, "/condition/expression"))).collect()
    }

    /// Principals that are named as leases are, and are of another pool than `pool`.
    pub fn marked_by_others(&self, pool: &str) -> Vec<String> {
        let all = self.bindings().iter().flat_map(members);
        let lease = |member: &&str| {
            let subject = member.strip_prefix("principal://").and_then(|rest| rest.rsplit_once("/subject/"));
            subject.is_some_and(|(_, subject)| subject.parse::<LeaseId>().is_ok()) && !member.starts_with(pool)
        };
        all.filter(lease).map(str::to_owned).collect()
    }

    /// How many principals it names, each occurrence counted, and how many conditional bindings it has.
    pub fn counts(&self) -> (usize, usize) {
        let conditional = |binding: &&Value| binding.get("condition").is_some_and(|condition| !condition.is_null());
        let principals = self.bindings().iter().map(|binding| members(binding).count()).sum();
        (principals, self.bindings().iter().filter(conditional).count())
    }
}

fn rendered(condition: &Condition) -> Value {
    json!({ "title": condition.title, "expression": condition.expression })
}

fn members(binding: &Value) -> impl Iterator<Item = &str> {
    binding.get("members").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
}

fn of_binding<'a>(pool: &'a str, binding: &'a Value) -> impl Iterator<Item = Ours> + 'a {
    let text = |name: &str| binding.pointer(name).and_then(Value::as_str);
    let role = text("/role").unwrap_or_default();
    let until = text("/condition/expression").and_then(end_of);
    let titled = text("/condition/title").and_then(lease_of_title);
    members(binding).filter_map(move |member| {
        let lease = match member.strip_prefix(pool) {
            Some(subject) => subject.parse().ok()?,
            None if member.starts_with("serviceAccount:") => titled?,
            None => return None,
        };
        Some(Ours { lease, member: member.to_owned(), role: role.to_owned(), until })
    })
}

fn lease_of_title(title: &str) -> Option<LeaseId> {
    let mut words = title.split(' ');
    (words.next()? == TITLE).then_some(())?;
    words.next()?.parse().ok()
}

/// The time in `… request.time < timestamp("T")`.
fn end_of(expression: &str) -> Option<Timestamp> {
    let (before, rest) = expression.rsplit_once("request.time < timestamp(\"")?;
    let whole = before.is_empty() || (before.starts_with('(') && before.ends_with(") && "));
    whole.then_some(())?;
    rest.strip_suffix("\")")?.parse().ok()
}

#[cfg(test)]
#[path = "policy_tests.rs"]
mod tests;
