//! What policy is told of what a source said. Pure.

use std::collections::BTreeMap;
use std::sync::Arc;

use grantd_model::{FactValue, Signal, SignalFact};
use jiff::Timestamp;

use super::Failure;
use super::calendar::{self, Calendar};
use super::look::About;
use super::source::Told;
use crate::config::{SignalSettings, SignalSource};

/// When calendars are known to say something else next; other sources are not known to.
pub(super) fn changes_at(told: &[Arc<Told>], now: Timestamp) -> Option<Timestamp> {
    let calendars: Vec<&Calendar> = told
        .iter()
        .filter_map(|told| match told.as_ref() {
            Told::Calendar(calendar) => Some(calendar),
            Told::Ticket(_) | Told::OnCall(_) => None,
        })
        .collect();
    calendar::changes_at(&calendars, now)
}

/// What policy is told of it at `now`.
pub(super) fn facts(
    told: &Told,
    settings: &SignalSettings,
    about: &About<'_>,
    now: Timestamp,
) -> Result<BTreeMap<SignalFact, FactValue>, Failure> {
    let one = |fact, value| BTreeMap::from([(fact, FactValue::Bool(value))]);
    match (told, &settings.source) {
        (Told::Ticket(ticket), SignalSource::Ticket { map, .. }) => {
            Ok(ticket.facts(map, &[about.subject, about.requester], about.resource))
        }
        (Told::OnCall(on_call), SignalSource::OnCall { accounts, .. }) => {
            let includes = on_call.includes(&about.subject, accounts).ok_or_else(|| {
                Failure::unfit(format!("{} is in none of its accounts in grantd.toml", about.subject.name))
            })?;
            Ok(one(SignalFact::OnCall, includes))
        }
        (Told::Calendar(calendar), SignalSource::Calendar { signal, .. }) => {
            let covers =
                calendar.covers(now).ok_or_else(|| Failure::away("its calendar is too old, or a clock jumped"))?;
            let fact = if *signal == Signal::Freeze { SignalFact::InFreeze } else { SignalFact::InChangeWindow };
            Ok(one(fact, covers))
        }
        _ => Err(Failure::away("it told something else than it was asked for")),
    }
}
