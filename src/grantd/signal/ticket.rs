//! Reading what a ticket system answered. Pure.

use std::collections::{BTreeMap, BTreeSet};

use grantd_model::{FactValue, SignalFact, TicketState};
use serde_json::Value;

use super::look::Party;
use super::{Failure, moves};
use crate::config::{Changes, MovedBy, TicketMap};

/// What a ticket says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ticket {
    state: TicketState,
    /// Who works on it: nothing when nobody does; not there when the source is not asked for it.
    assignee: Option<Option<String>>,
    opened_by: Option<String>,
    /// Who moved it to another state last; not there when the source is not asked for it.
    moved_by: Option<BTreeSet<Option<String>>>,
    resources: Option<BTreeSet<String>>,
}

/// Reads `answer` to the question for the ticket `id`, whose number is `digits`.
pub(super) fn read(answer: &str, map: &TicketMap, id: &str, digits: &str) -> Result<Ticket, Failure> {
    let answer: Value = serde_json::from_str(answer).map_err(|_| Failure::away("its answer is not JSON"))?;
    // A search that finds nothing answers with an empty list.
    let Some(echo) = answer.pointer(&map.id).and_then(word) else {
        return Err(Failure::gone(format!("its answer has no ticket at {}", map.id)));
    };
    if echo != id && echo != digits {
        return Err(Failure::unfit("its answer is about another ticket than the one that was asked for"));
    }
    let at = |pointer: &str| answer.pointer(pointer).filter(|value| !value.is_null());
    let state = at(&map.state).and_then(word);
    let state = state.ok_or_else(|| Failure::unfit(format!("its answer has no state at {}", map.state)))?;
    let state = map.states.get(&state).copied().ok_or_else(|| {
        let shown: String = state.chars().filter(|c| !c.is_control()).take(64).collect();
        Failure::unfit(format!("its state {shown:?} is in none of the lists of states in grantd.toml"))
    })?;
    let text = |pointer: &String| match at(pointer) {
        None => Ok(None),
        Some(value) => {
            word(value).map(Some).ok_or_else(|| Failure::unfit(format!("what stands at {pointer} is no text")))
        }
    };
    let resources = |pointer: &String| match at(pointer) {
        None => Ok(BTreeSet::new()),
        Some(Value::Array(all)) => {
            Ok(all.iter().filter_map(|one| one.pointer(&map.resource_name).and_then(word)).collect())
        }
        Some(value) => word(value)
            .map(|one| BTreeSet::from([one]))
            .ok_or_else(|| Failure::unfit(format!("what stands at {pointer} is no text and no list"))),
    };
    let moved_by = match &map.moved_by {
        Some(MovedBy::Person(pointer)) => Some(BTreeSet::from([moves::person(answer.pointer(pointer))])),
        Some(MovedBy::Changes(changes)) if changes.url.is_none() => Some(moves::last(&answer, changes)?),
        _ => None,
    };
    Ok(Ticket {
        state,
        assignee: map.assignee.as_ref().map(text).transpose()?,
        opened_by: map.opened_by.as_ref().map(text).transpose()?.flatten(),
        moved_by,
        resources: map.resource.as_ref().map(resources).transpose()?,
    })
}

impl Ticket {
    /// Takes in who moved it last, from an answer of its own.
    pub fn moved(&mut self, answer: &str, changes: &Changes) -> Result<(), Failure> {
        let answer = serde_json::from_str(answer).map_err(|_| Failure::away("its answer is not JSON"))?;
        self.moved_by = Some(moves::last(&answer, changes)?);
        Ok(())
    }

    /// What policy is told. A fact that this source cannot tell of these parties is left out.
    pub fn facts(&self, map: &TicketMap, parties: &[Party<'_>], resource: &str) -> BTreeMap<SignalFact, FactValue> {
        let mut facts = BTreeMap::from([(SignalFact::TicketState, FactValue::Ticket(self.state))]);
        let mine = |account: &str| {
            let same = |known: &String| known.eq_ignore_ascii_case(account);
            parties.iter().any(|party| map.accounts.get(party.name).is_some_and(same))
        };
        let mut tell = |fact, value| facts.insert(fact, FactValue::Bool(value));
        if let Some(assignee) = &self.assignee {
            tell(SignalFact::TicketAssigned, assignee.as_deref().is_some_and(mine));
        }
        // Who is not known there by name may have opened it under any.
        let all_known = parties.iter().all(|party| !party.human || map.accounts.contains_key(party.name));
        let by = |account: &str| (all_known || mine(account)).then(|| mine(account));
        let moved = self.moved_by.iter().flatten().map(|account| by(account.as_deref()?));
        let hands: Vec<Option<bool>> = moved.chain([self.opened_by.as_deref().and_then(by)]).collect();
        if hands.contains(&Some(true)) {
            tell(SignalFact::TicketByRequester, true);
        } else if hands.iter().all(Option::is_some) {
            tell(SignalFact::TicketByRequester, false);
        }
        if let Some(resources) = &self.resources {
            tell(SignalFact::TicketNamesResource, resources.contains(resource));
        }
        facts
    }
}

/// What a request is told that names no ticket: all of it is known.
pub(super) fn none() -> BTreeMap<SignalFact, FactValue> {
    BTreeMap::from([
        (SignalFact::TicketState, FactValue::Ticket(TicketState::None)),
        (SignalFact::TicketAssigned, FactValue::Bool(false)),
        (SignalFact::TicketNamesResource, FactValue::Bool(false)),
        (SignalFact::TicketByRequester, FactValue::Bool(false)),
    ])
}

fn word(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(yes) => Some(yes.to_string()),
        _ => None,
    }
}

#[cfg(test)]
#[path = "ticket_tests.rs"]
mod tests;
