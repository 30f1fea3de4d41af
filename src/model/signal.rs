//! Signals: facts that are looked up outside when a decision needs them, and how old they were. Pure.

use std::collections::BTreeMap;
use std::fmt;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// The ticket that the request names.
    Ticket,
    /// Who is on call.
    OnCall,
    /// When changes may be made.
    ChangeWindow,
    /// When nothing may be changed.
    Freeze,
}

/// One fact of a signal, as policy knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SignalFact {
    /// Where the ticket stands: `none`, `open`, `active` or `closed`.
    TicketState,
    /// Whether the ticket is assigned to the subject or the requester.
    TicketAssigned,
    /// Whether the ticket names the resource.
    TicketNamesResource,
    /// Whether the ticket was opened by the subject or the requester.
    TicketByRequester,
    /// Whether the subject is on call.
    OnCall,
    /// Whether it is the time of a change window.
    InChangeWindow,
    /// Whether it is the time of a change freeze.
    InFreeze,
}

/// Where a ticket stands, in the words that every ticket system's own are mapped to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TicketState {
    /// The request names no ticket.
    None,
    /// It is there, and nobody is to work on it yet.
    Open,
    /// It is being worked on, or may be.
    Active,
    /// The work is over, or is not to be done.
    Closed,
}

/// What a fact says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FactValue {
    /// Yes or no.
    Bool(bool),
    /// Of a ticket.
    Ticket(TicketState),
}

/// What came of looking a signal up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "looked_up", rename_all = "snake_case")]
pub enum Looked {
    /// It was had.
    Had {
        /// The sources, by their configured names; none for what needs no source to be known.
        sources: Vec<String>,
        /// How long ago the oldest of them was asked, in whole seconds, rounded up.
        age_seconds: u64,
        /// What they say. A fact that they do not tell is not there.
        facts: BTreeMap<SignalFact, FactValue>,
        /// When a calendar is known to say otherwise next.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        changes_at: Option<Timestamp>,
    },
    /// It could not be had.
    Missing(Missing),
}

/// Why a signal could not be had.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// In words, with the source named.
    pub why: String,
    /// Who can change that.
    pub who_can_fix: String,
    /// What to do next.
    pub next: String,
    /// Whether whoever should tell cannot be had: not so where it says no, or nobody was ever to tell.
    #[serde(default)]
    pub away: bool,
}

/// What has been looked up for one decision.
pub type Signals = BTreeMap<Signal, Looked>;

/// The first moment before `before` at which a calendar is known to say otherwise, and all of `signals` as they will be
/// then, as far as that is known.
#[must_use]
pub fn turned(signals: &Signals, before: Timestamp) -> Option<(Timestamp, Signals)> {
    let change = |looked: &Looked| match looked {
        Looked::Had { changes_at, .. } => *changes_at,
        Looked::Missing(_) => None,
    };
    let first = signals.values().filter_map(change).filter(|at| *at < before).min()?;
    let mut then = signals.clone();
    for looked in then.values_mut() {
        if let Looked::Had { facts, changes_at, .. } = looked
            && *changes_at == Some(first)
        {
            for (fact, value) in facts.iter_mut() {
                if let (SignalFact::InChangeWindow | SignalFact::InFreeze, FactValue::Bool(is)) = (fact, &mut *value) {
                    *is = !*is;
                }
            }
        }
    }
    Some((first, then))
}

impl Signal {
    /// Every signal.
    pub const ALL: [Self; 4] = [Self::Ticket, Self::OnCall, Self::ChangeWindow, Self::Freeze];

    /// Its name, as configuration and refusals write it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ticket => "ticket",
            Self::OnCall => "on_call",
            Self::ChangeWindow => "change_window",
            Self::Freeze => "freeze",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl SignalFact {
    /// Every fact.
    pub const ALL: [Self; 7] = [
        Self::TicketState,
        Self::TicketAssigned,
        Self::TicketNamesResource,
        Self::TicketByRequester,
        Self::OnCall,
        Self::InChangeWindow,
        Self::InFreeze,
    ];

    /// The name of the attribute of policy's context.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::TicketState => "ticket_state",
            Self::TicketAssigned => "ticket_assigned",
            Self::TicketNamesResource => "ticket_names_resource",
            Self::TicketByRequester => "ticket_by_requester",
            Self::OnCall => "on_call",
            Self::InChangeWindow => "in_change_window",
            Self::InFreeze => "in_freeze",
        }
    }

    /// The fact of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|fact| fact.as_str() == name)
    }

    /// The signal that it is one of.
    #[must_use]
    pub fn signal(self) -> Signal {
        match self {
            Self::TicketState | Self::TicketAssigned | Self::TicketNamesResource | Self::TicketByRequester => {
                Signal::Ticket
            }
            Self::OnCall => Signal::OnCall,
            Self::InChangeWindow => Signal::ChangeWindow,
            Self::InFreeze => Signal::Freeze,
        }
    }

    /// What it says among `signals`, if it was had.
    #[must_use]
    pub fn of(self, signals: &Signals) -> Option<FactValue> {
        match signals.get(&self.signal()) {
            Some(Looked::Had { facts, .. }) => facts.get(&self).copied(),
            _ => None,
        }
    }
}

impl fmt::Display for SignalFact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl TicketState {
    /// As the schema spells it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Open => "open",
            Self::Active => "active",
            Self::Closed => "closed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fact_is_found_by_its_name_and_only_when_it_was_had() {
        for fact in SignalFact::ALL {
            assert_eq!(SignalFact::named(fact.as_str()), Some(fact));
            assert_eq!(fact.of(&Signals::new()), None);
        }
        let facts = BTreeMap::from([(SignalFact::InFreeze, FactValue::Bool(false))]);
        let looked = Looked::Had { sources: vec!["calendar".to_owned()], age_seconds: 3, facts, changes_at: None };
        let text = serde_json::to_string(&looked).unwrap();
        assert_eq!(serde_json::from_str::<Looked>(&text).unwrap(), looked);
        let signals = Signals::from([(Signal::Freeze, looked)]);
        assert_eq!(SignalFact::InFreeze.of(&signals), Some(FactValue::Bool(false)));
        assert_eq!(SignalFact::InChangeWindow.of(&signals), None);
    }

    #[test]
    fn what_a_calendar_will_say_is_known_up_to_its_next_change() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let is = |fact, value, changes_at| Looked::Had {
            sources: vec!["calendar".to_owned()],
            age_seconds: 0,
            facts: BTreeMap::from([(fact, FactValue::Bool(value))]),
            changes_at,
        };
        let signals = Signals::from([
            (Signal::Freeze, is(SignalFact::InFreeze, false, Some(at(200)))),
            (Signal::ChangeWindow, is(SignalFact::InChangeWindow, true, Some(at(100)))),
            (Signal::OnCall, is(SignalFact::OnCall, true, None)),
        ]);
        assert_eq!(turned(&signals, at(100)), None);
        let (first, then) = turned(&signals, at(300)).unwrap();
        assert_eq!(first, at(100));
        let values = [SignalFact::InChangeWindow, SignalFact::InFreeze, SignalFact::OnCall].map(|fact| fact.of(&then));
        assert_eq!(values, [false, false, true].map(|value| Some(FactValue::Bool(value))));
    }
}
