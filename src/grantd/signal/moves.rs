//! Reading who moved a ticket to another state last. Pure.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;

use super::Failure;
use crate::config::Changes;

/// Who made the last change of those kinds: nobody when there was none, and several when they were at the same time. One
/// whom the source does not name is `None`.
pub(super) fn last(answer: &Value, changes: &Changes) -> Result<BTreeSet<Option<String>>, Failure> {
    let Some(Value::Array(all)) = answer.pointer(&changes.list) else {
        return Err(Failure::unfit(format!("its answer has no list of changes at {:?}", changes.list)));
    };
    if all.len() >= changes.most {
        return Err(Failure::unfit(format!(
            "it was changed so often that its list of changes, {} at most, may not be whole: name another ticket",
            changes.most
        )));
    }
    let mut last: Option<(Timestamp, BTreeSet<Option<String>>)> = None;
    for one in all {
        if !is_move(one, changes)? {
            continue;
        }
        let at = one.pointer(&changes.time).and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok());
        let at = at.ok_or_else(|| Failure::unfit(format!("it has a change with no time at {}", changes.time)))?;
        let by = person(one.pointer(&changes.person));
        match &mut last {
            Some((before, _)) if *before > at => {}
            Some((before, who)) if *before == at => {
                who.insert(by);
            }
            _ => last = Some((at, BTreeSet::from([by]))),
        }
    }
    Ok(last.map(|(_, who)| who).unwrap_or_default())
}

/// Who stands there, unless nobody does.
pub(super) fn person(value: Option<&Value>) -> Option<String> {
    value.and_then(Value::as_str).filter(|name| !name.is_empty()).map(str::to_owned)
}

fn is_move(one: &Value, changes: &Changes) -> Result<bool, Failure> {
    let kind = |one: &Value| match one.pointer(&changes.kind).and_then(Value::as_str) {
        Some(kind) => Ok(changes.kinds.contains(kind)),
        None => Err(Failure::unfit(format!("it has a change with no text at {}", changes.kind))),
    };
    let Some(items) = &changes.items else { return kind(one) };
    match one.pointer(items) {
        Some(Value::Array(items)) => items.iter().try_fold(false, |any, item| Ok(kind(item)? || any)),
        _ => Err(Failure::unfit(format!("it has a change with no list at {items}"))),
    }
}

#[cfg(test)]
#[path = "moves_tests.rs"]
mod tests;
