//! How things are written in Terraform's language. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use crate::arn::Arn;

/// Name and path of an IAM thing, as Terraform takes them.
pub(crate) fn named(arn: &Arn, kind: &str) -> String {
    let path = arn.resource().strip_prefix(kind).and_then(|rest| rest.rsplit_once('/'));
    let path = path.map_or_else(String::new, |(path, _)| format!("  path = \"/{path}/\"\n"));
    format!("  name = \"{}\"\n{path}", arn.name())
}

/// A JSON text as an argument. Nothing in it can start a template: neither ARNs nor names hold a brace.
pub(crate) fn heredoc<T: Serialize>(value: &T) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let lines: String = text.lines().map(|line| format!("    {line}\n")).collect();
    format!("<<-JSON\n{lines}  JSON\n")
}

/// With the members of every object in the order of their names, whatever order JSON objects keep in this build.
pub(crate) fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let members: BTreeMap<_, _> = members.iter().map(|(name, value)| (name.clone(), sorted(value))).collect();
            Value::Object(members.into_iter().collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// A word that can be part of a Terraform name.
pub(crate) fn word(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
}

/// A Terraform name for `name` that none of `taken` is.
pub(crate) fn unused(taken: &mut BTreeSet<String>, name: &str) -> String {
    let plain = word(name);
    let numbered = (2_u32..).map(|n| format!("{plain}_{n}"));
    let free = std::iter::once(plain.clone()).chain(numbered).find(|name| !taken.contains(name)).unwrap_or(plain);
    taken.insert(free.clone());
    free
}
