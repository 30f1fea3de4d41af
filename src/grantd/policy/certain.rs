//! What can be told of a rule when only some of the facts are known: that it cannot hold, or that it always does. Pure.
//!
//! What is not known is tried both ways, the same expression alike wherever it stands; so what is said here to be
//! impossible is impossible, and what is said to be possible may still not be.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// How many combinations of what is not known are tried before a rule counts as possible.
const PATIENCE: u32 = 4096;

const SUBJECT: &str = "Grantd::Subject";

/// A question of which some facts are known.
#[derive(Debug)]
pub(super) struct Scene {
    principal: Value,
    resource: Value,
    context: Map<String, Value>,
    entities: Vec<Value>,
    /// Whether the ids of subjects are what they are on the host that will decide.
    ids_hold: bool,
}

/// What is supposed of expressions that are not known.
type Supposed = BTreeMap<String, bool>;

impl Scene {
    /// Of the inputs of a decision, where only the members `known` of the context are what they seem.
    pub(super) fn of(inputs: &Value, known: &[&str], ids_hold: bool) -> Self {
        let part = |name: &str| inputs.get(name).cloned().unwrap_or_default();
        let context = part("context").as_object().cloned().unwrap_or_default();
        let context = context.into_iter().filter(|(name, _)| known.contains(&name.as_str())).collect();
        let entities = part("entities").as_array().cloned().unwrap_or_default();
        Self { principal: part("principal"), resource: part("resource"), context, entities, ids_hold }
    }

    /// The same where these attributes of the resource are not known.
    pub(super) fn forgetting(mut self, attributes: &[&str]) -> Self {
        let resource = self.entities.iter_mut().filter(|entity| entity.get("uid") == Some(&self.resource));
        for known in resource.filter_map(|entity| entity.get_mut("attrs")).filter_map(Value::as_object_mut) {
            attributes.iter().for_each(|name| drop(known.remove(*name)));
        }
        self
    }

    /// Whether `rule` may hold while none of `forbids` does, all in Cedar's JSON form.
    pub(super) fn may_hold(&self, rule: &Value, forbids: &[&Value]) -> bool {
        self.search(rule, forbids, &mut Supposed::new(), &mut PATIENCE.clone())
    }

    fn search(&self, rule: &Value, forbids: &[&Value], supposed: &mut Supposed, left: &mut u32) -> bool {
        let Some(less) = left.checked_sub(1) else { return true };
        *left = less;
        let mut open = BTreeSet::new();
        let holds = self.rule(rule, supposed, &mut open);
        if holds == Some(false) {
            return false;
        }
        let mut known = holds.is_some();
        for forbid in forbids {
            match self.rule(forbid, supposed, &mut open) {
                Some(true) => return false,
                Some(false) => {}
                None => known = false,
            }
        }
        let (false, Some(atom)) = (known, open.pop_first()) else { return true };
        [true, false].into_iter().any(|value| {
            supposed.insert(atom.clone(), value);
            let found = self.search(rule, forbids, supposed, left);
            supposed.remove(&atom);
            found
        })
    }

    /// Scope and conditions together. The scope's action is for the engine, which sorts rules by it.
    fn rule(&self, rule: &Value, supposed: &Supposed, open: &mut BTreeSet<String>) -> Option<bool> {
        let scope = [("principal", &self.principal), ("resource", &self.resource)];
        let scope = scope.map(|(name, found)| self.in_scope(found, rule.get(name)));
        let mut whole = scope.into_iter().fold(Some(true), and);
        for condition in rule.get("conditions").and_then(Value::as_array).into_iter().flatten() {
            let body = condition.get("body").and_then(|body| self.truth(body, supposed, open));
            let unless = condition.get("kind").and_then(Value::as_str) == Some("unless");
            whole = and(whole, body.map(|body| body != unless));
        }
        whole
    }

    fn in_scope(&self, found: &Value, constraint: Option<&Value>) -> Option<bool> {
        let constraint = constraint?;
        let entity = || constraint.get("entity");
        let is = || Some(found.get("type") == constraint.get("entity_type"));
        match constraint.get("op").and_then(Value::as_str)? {
            "All" => Some(true),
            "==" => self.same(found, entity()?, true),
            "in" => self.within(found, entity()?, true),
            "is" => match constraint.get("in").and_then(|within| within.get("entity")) {
                None => is(),
                Some(within) => and(is(), self.within(found, within, true)),
            },
            _ => None,
        }
    }

    fn truth(&self, expression: &Value, supposed: &Supposed, open: &mut BTreeSet<String>) -> Option<bool> {
        let (operator, operands) = operation(expression)?;
        match operator {
            "&&" | "||" => {
                let mut side = |name| operands.get(name).and_then(|side| self.truth(side, supposed, open));
                let (left, right) = (side("left"), side("right"));
                if operator == "&&" { and(left, right) } else { and(not(left), not(right)).map(|both| !both) }
            }
            "!" => not(operands.get("arg").and_then(|arg| self.truth(arg, supposed, open))),
            "if-then-else" => {
                let mut part = |name| operands.get(name).and_then(|part| self.truth(part, supposed, open));
                let (condition, then, otherwise) = (part("if"), part("then"), part("else"));
                match condition {
                    Some(true) => then,
                    Some(false) => otherwise,
                    None => then.filter(|_| then == otherwise),
                }
            }
            _ => match self.value(expression) {
                Some(known) => known.as_bool(),
                None => {
                    let atom = expression.to_string();
                    let value = supposed.get(&atom).copied();
                    if value.is_none() {
                        open.insert(atom);
                    }
                    value
                }
            },
        }
    }

    /// What an expression is, where that is known.
    fn value(&self, expression: &Value) -> Option<Value> {
        let (operator, operands) = operation(expression)?;
        let side = |name: &str| operands.get(name).and_then(|side| self.value(side));
        let literal = || ["left", "right"].iter().any(|name| operands.get(*name).is_some_and(is_literal));
        let number = |name: &str| side(name).and_then(|value| value.as_i64());
        let known = |known: bool| Some(Value::Bool(known));
        match operator {
            "Value" => Some(operands.get("__entity").unwrap_or(operands).clone()),
            "Var" => match operands.as_str()? {
                "principal" => Some(self.principal.clone()),
                "resource" => Some(self.resource.clone()),
                _ => None,
            },
            "Set" => operands
                .as_array()?
                .iter()
                .map(|member| self.value(member))
                .collect::<Option<Vec<_>>>()
                .map(Value::Array),
            "." => self.member(operands.get("left")?, operands.get("attr")?.as_str()?),
            "==" | "!=" => {
                let equal = match (side("left"), side("right")) {
                    (Some(left), Some(right)) => self.same(&left, &right, literal())?,
                    _ if operands.get("left") == operands.get("right") => true,
                    _ => return None,
                };
                known(equal == (operator == "=="))
            }
            "<" => known(number("left")? < number("right")?),
            "<=" => known(number("left")? <= number("right")?),
            ">" => known(number("left")? > number("right")?),
            ">=" => known(number("left")? >= number("right")?),
            "in" => {
                let (left, right) = (side("left"), side("right")?);
                match right.as_array() {
                    // Nobody is in a set without members, whoever it is.
                    Some(members) if members.is_empty() => known(false),
                    Some(members) => {
                        let left = left?;
                        let each = members.iter().map(|member| self.within(&left, member, literal()));
                        any(each).map(Value::Bool)
                    }
                    None => self.within(&left?, &right, literal()).map(Value::Bool),
                }
            }
            "contains" => {
                let set = side("left")?;
                let members = set.as_array()?;
                if members.is_empty() {
                    return known(false);
                }
                let wanted = side("right")?;
                let each = members.iter().map(|member| self.same(member, &wanted, literal()));
                any(each).map(Value::Bool)
            }
            "isEmpty" => known(operands.get("arg").and_then(|arg| self.value(arg))?.as_array()?.is_empty()),
            "is" if operands.get("in").is_none() => known(side("left")?.get("type") == operands.get("entity_type")),
            _ => None,
        }
    }

    fn member(&self, of: &Value, name: &str) -> Option<Value> {
        if of.get("Var").and_then(Value::as_str) == Some("context") {
            return self.context.get(name).cloned();
        }
        let of = self.value(of)?;
        match self.entity(&of) {
            Some(entity) => entity.get("attrs")?.get(name).cloned(),
            None => of.get(name).filter(|_| of.get("id").is_none()).cloned(),
        }
    }

    fn entity(&self, uid: &Value) -> Option<&Value> {
        self.entities.iter().find(|entity| entity.get("uid") == Some(uid))
    }

    /// Whether two values are the same, where one may have been written into the policy.
    fn same(&self, left: &Value, right: &Value, written: bool) -> Option<bool> {
        let subject = left.get("type").and_then(Value::as_str) == Some(SUBJECT);
        if subject && written && !self.ids_hold { None } else { Some(left == right) }
    }

    fn within(&self, entity: &Value, other: &Value, written: bool) -> Option<bool> {
        if other.get("type").and_then(Value::as_str) == Some(SUBJECT) {
            return self.same(entity, other, written);
        }
        let parents = self.entity(entity).and_then(|entity| entity.get("parents"));
        let parents = parents.and_then(Value::as_array);
        Some(entity == other || parents.is_some_and(|parents| parents.contains(other)))
    }
}

/// The one operator of an expression (Cedar documentation, "JSON policy format").
fn operation(expression: &Value) -> Option<(&str, &Value)> {
    expression.as_object()?.iter().next().map(|(operator, operands)| (operator.as_str(), operands))
}

fn is_literal(expression: &Value) -> bool {
    matches!(operation(expression), Some(("Value" | "Set", _)))
}

fn and(left: Option<bool>, right: Option<bool>) -> Option<bool> {
    match (left, right) {
        (Some(false), _) | (_, Some(false)) => Some(false),
        (Some(true), Some(true)) => Some(true),
        _ => None,
    }
}

/// Whether one of them is so: one that is known to be suffices.
fn any(all: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut known = true;
    for one in all {
        match one {
            Some(true) => return Some(true),
            Some(false) => {}
            None => known = false,
        }
    }
    known.then_some(false)
}

fn not(value: Option<bool>) -> Option<bool> {
    value.map(|value| !value)
}
