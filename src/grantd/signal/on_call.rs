//! Reading who is on call. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::Failure;
use super::look::Party;
use crate::config::Overrides;

/// An override that ended so shortly before a look, or begins so shortly after it, counts as one that is in force: two
/// clocks are not one, and one that is taken back within a look still shows.
const AROUND: SignedDuration = SignedDuration::from_mins(5);

/// What those who are on call are called there, in lower case.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct OnCall {
    /// Whoever is, for whatever reason.
    all: BTreeSet<String>,
    /// Whoever is put there by an override. The vendors tell of whom an override is, and not who made it: so it may have
    /// been made by whom it serves, and is evidence of nothing.
    overridden: BTreeSet<String>,
}

/// The time of which overrides count in a look at `now`.
pub(super) fn around(now: Timestamp) -> (Timestamp, Timestamp) {
    (now.checked_sub(AROUND).unwrap_or(Timestamp::MIN), now.checked_add(AROUND).unwrap_or(Timestamp::MAX))
}

/// Reads `answer`: a list at the JSON pointer `list`, in each of it who it is at `person`, and at `more` whether it goes on.
pub(super) fn read(answer: &str, list: &str, person: &str, more: &str) -> Result<OnCall, Failure> {
    let all = entries(answer, list, more)?;
    let all = all.iter().map(|one| name(one, person)).collect::<Result<_, _>>()?;
    Ok(OnCall { all, overridden: BTreeSet::new() })
}

fn entries(answer: &str, list: &str, more: &str) -> Result<Vec<Value>, Failure> {
    let mut answer: Value = serde_json::from_str(answer).map_err(|_| Failure::away("its answer is not JSON"))?;
    // Half a list tells of nobody that they are not on it.
    if !matches!(answer.pointer(more), None | Some(Value::Null | Value::Bool(false))) {
        return Err(Failure::unfit(format!(
            "its list goes on on a further page, as {more} says: have its address ask for larger pages, or for less"
        )));
    }
    match answer.pointer_mut(list).map(Value::take) {
        Some(Value::Array(all)) => Ok(all),
        _ => Err(Failure::away(format!("its answer has no list at {list:?}"))),
    }
}

fn name(one: &Value, person: &str) -> Result<String, Failure> {
    match one.pointer(person) {
        Some(Value::String(name)) => Ok(name.to_lowercase()),
        Some(Value::Number(number)) => Ok(number.to_string()),
        _ => Err(Failure::unfit(format!("its list has an entry with no text at {person:?}"))),
    }
}

impl OnCall {
    /// Takes in what `answer` tells of overrides, which was asked after who is on call, so that none that made somebody so
    /// is missed.
    pub fn except(&mut self, answer: &str, told: &Overrides, now: Timestamp) -> Result<(), Failure> {
        for one in entries(answer, &told.list, &told.more)? {
            if told.times.as_ref().map_or(Ok(true), |times| in_force(&one, times, now))? {
                self.overridden.insert(name(&one, &told.person)?);
            }
        }
        Ok(())
    }

    /// Whether `party` is, by the rota itself. A workload never is; a person whom that source is not told of is not known to
    /// be or not to be.
    pub fn includes(&self, party: &Party<'_>, accounts: &BTreeMap<String, String>) -> Option<bool> {
        if !party.human {
            return Some(false);
        }
        let account = accounts.get(party.name)?.to_lowercase();
        Some(self.all.contains(&account) && !self.overridden.contains(&account))
    }
}

fn in_force(one: &Value, (begins, ends): &(String, String), now: Timestamp) -> Result<bool, Failure> {
    let time = |pointer: &String| {
        let time = one.pointer(pointer).and_then(Value::as_str).and_then(|text| text.parse::<Timestamp>().ok());
        time.ok_or_else(|| Failure::unfit(format!("its list has an override with no time at {pointer}")))
    };
    let (since, until) = around(now);
    Ok(time(begins)? <= until && time(ends)? >= since)
}

#[cfg(test)]
#[path = "on_call_tests.rs"]
mod tests;
