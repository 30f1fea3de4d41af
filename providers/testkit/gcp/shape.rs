//! The shape of requests: what two clients that ask for the same have in common.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// Strings that mean something by themselves. All others are names and times of one call.
const CONSTANT: [&str; 5] = ["grantType", "requestedTokenType", "subjectTokenType", "scope", "audience"];

/// What clients add or leave out as they like: how the answer looks, and what the server alone sets.
const IGNORED: [&str; 4] = ["alt", "prettyPrint", "kind", "resourceId"];

/// The shape of each method's requests: verb, type of content, query, and fields of the body. Of several requests of a
/// method, all that any of them has.
#[must_use]
pub(super) fn shapes(requests: &[Value]) -> BTreeMap<String, Value> {
    let mut all: BTreeMap<String, Value> = BTreeMap::new();
    for request in requests {
        let subject = match request["body"]["subjectTokenType"].as_str() {
            Some(kind) => format!(" of {}", kind.rsplit(':').next().unwrap_or_default()),
            None => String::new(),
        };
        let method = format!("{}{subject}", request["method"].as_str().unwrap_or_default());
        let shape = json!({
            "verb": request["verb"], "type": request["type"], "query": request["query"], "body": request["body"],
        });
        let known = all.entry(method).or_insert(Value::Null);
        *known = union(std::mem::take(known), shape_of("", &shape));
    }
    all
}

fn shape_of(name: &str, value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let kept = fields.iter().filter(|(name, _)| !IGNORED.contains(&name.as_str()));
            Value::Object(kept.map(|(name, value)| (name.clone(), shape_of(name, value))).collect())
        }
        Value::Array(items) => {
            let one = items.iter().map(|item| shape_of(name, item)).fold(Value::Null, union);
            json!([one])
        }
        Value::String(_) if CONSTANT.contains(&name) || matches!(name, "verb" | "type") => value.clone(),
        Value::String(_) => json!("…"),
        other => other.clone(),
    }
}

fn union(one: Value, two: Value) -> Value {
    match (one, two) {
        (Value::Null, other) | (other, Value::Null) => other,
        (Value::Object(mut one), Value::Object(two)) => {
            for (name, value) in two {
                let known = one.remove(&name).unwrap_or_default();
                one.insert(name, union(known, value));
            }
            Value::Object(sorted(one))
        }
        (Value::Array(mut one), Value::Array(mut two)) => {
            json!([union(one.pop().unwrap_or_default(), two.pop().unwrap_or_default())])
        }
        (one, _) => one,
    }
}

fn sorted(fields: Map<String, Value>) -> Map<String, Value> {
    fields.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect()
}
