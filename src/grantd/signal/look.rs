//! Looking up what a decision needs: all of it at once, each from its sources.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use grantd_model::{FactValue, Looked, Missing, Signal, SignalFact, Signals};
use grantd_provider_api::{Clock, Secret};
use jiff::Timestamp;

use super::source::{Reader, Source, Standing, Told};
use super::{Failure, http, ticket};
use crate::config::SignalSettings;

/// What is wanted for a decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Which signals.
    pub signals: BTreeSet<Signal>,
    /// What was told so long ago or less is used again without asking.
    pub max_age: Duration,
    /// What was told so long ago or less is used when a source cannot be asked: for a lease that runs already.
    pub last_good: Option<Duration>,
}

/// What the decision is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct About<'a> {
    /// The catalogue's name of the resource.
    pub resource: &'a str,
    /// Its environment.
    pub environment: &'a str,
    /// The ticket that the request names.
    pub ticket: Option<&'a str>,
    /// Who will use the access.
    pub subject: Party<'a>,
    /// Who asked for it.
    pub requester: Party<'a>,
}

/// Somebody who has to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Party<'a> {
    /// The name in `people.toml`.
    pub name: &'a str,
    /// Whether it is a person.
    pub human: bool,
}

/// All configured sources.
#[derive(Debug)]
pub struct Lookout {
    sources: Vec<Source>,
    clock: Arc<dyn Clock>,
}

impl Lookout {
    /// Sets the sources up; `secret` gives the text of a file that holds one, and `file` that of a calendar, whenever it is
    /// looked at. Asks nothing.
    ///
    /// # Errors
    /// In words: a file that cannot be read, or does not hold what it must.
    pub fn new(
        settings: Vec<SignalSettings>,
        clock: Arc<dyn Clock>,
        secret: &dyn Fn(&std::path::Path) -> Result<Secret, String>,
        file: &Reader,
    ) -> Result<Self, String> {
        let client = http::client()?;
        let sources = settings.into_iter().map(|one| Source::new(one, client.clone(), secret, Arc::clone(file)));
        Ok(Self { sources: sources.collect::<Result<_, _>>()?, clock })
    }

    /// Nowhere to look: everything that is wanted is missing.
    #[must_use]
    pub fn none(clock: Arc<dyn Clock>) -> Self {
        Self { sources: Vec::new(), clock }
    }

    pub(super) fn sources(&self) -> &[Source] {
        &self.sources
    }

    pub(super) fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// How each source stands.
    #[must_use]
    pub fn standings(&self) -> Vec<Standing> {
        self.sources.iter().map(Source::standing).collect()
    }

    /// Looks up everything that is wanted, at once. Never fails: what cannot be had says so.
    pub async fn look(&self, wanted: &Wanted, about: &About<'_>) -> Signals {
        let looks =
            wanted.signals.iter().map(|signal| async move { (*signal, self.one(*signal, wanted, about).await) });
        join_all(looks).await.into_iter().collect()
    }

    async fn one(&self, signal: Signal, wanted: &Wanted, about: &About<'_>) -> Looked {
        if signal == Signal::Ticket && about.ticket.is_none() {
            return Looked::Had { sources: Vec::new(), age_seconds: 0, facts: ticket::none(), changes_at: None };
        }
        let sources: Vec<&Source> = self.sources.iter().filter(|source| source.tells(signal, about)).collect();
        if sources.is_empty() {
            return Looked::Missing(nobody_tells(signal, about));
        }
        let now = self.clock.now();
        let told = join_all(sources.iter().map(|source| source.told(wanted, about, now, self.clock.as_ref()))).await;
        self.together(signal, &sources, told, about)
    }

    /// What is remembered of `signals` that is not older than `oldest`. Asks nobody.
    #[must_use]
    pub fn recall(&self, signals: &BTreeSet<Signal>, oldest: Duration, about: &About<'_>) -> Signals {
        let now = self.clock.now();
        let recall = |signal: Signal| {
            if signal == Signal::Ticket && about.ticket.is_none() {
                return Looked::Had { sources: Vec::new(), age_seconds: 0, facts: ticket::none(), changes_at: None };
            }
            let sources: Vec<&Source> = self.sources.iter().filter(|source| source.tells(signal, about)).collect();
            if sources.is_empty() {
                return Looked::Missing(nobody_tells(signal, about));
            }
            let told = sources.iter().map(|source| {
                source.recall(about, now, oldest).ok_or_else(|| Failure::away("it was not asked lately"))
            });
            self.together(signal, &sources, told.collect(), about)
        };
        signals.iter().map(|signal| (*signal, recall(*signal))).collect()
    }

    fn together(
        &self,
        signal: Signal,
        sources: &[&Source],
        told: Vec<Result<(Arc<Told>, Duration), Failure>>,
        about: &About<'_>,
    ) -> Looked {
        let (mut facts, mut oldest) = (BTreeMap::new(), Duration::ZERO);
        // What was true when it was asked may not be by now: a window is looked at as of the end of all looks.
        let now = self.clock.now();
        let mut calendars = Vec::new();
        for (source, told) in sources.iter().zip(told) {
            let told = told.and_then(|(told, age)| Ok((told.facts(source.settings(), about, now)?, told, age)));
            match told {
                Ok((more, told, age)) => {
                    oldest = oldest.max(age);
                    calendars.push(told);
                    for (fact, value) in more {
                        // In one of several windows is in a window; in one of several freezes is in a freeze.
                        let value = facts.get(&fact).map_or(value, |before| either(*before, value));
                        facts.insert(fact, value);
                    }
                }
                Err(failure) => return Looked::Missing(missing(signal, source, &failure)),
            }
        }
        Looked::Had {
            sources: sources.iter().map(|source| source.settings().name.clone()).collect(),
            age_seconds: oldest.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX),
            facts,
            changes_at: super::telling::changes_at(&calendars, now),
        }
    }
}

fn either(one: FactValue, other: FactValue) -> FactValue {
    match (one, other) {
        (FactValue::Bool(one), FactValue::Bool(other)) => FactValue::Bool(one || other),
        (one, _) => one,
    }
}

fn missing(signal: Signal, source: &Source, failure: &Failure) -> Missing {
    let settings = source.settings();
    let next = match failure.kind {
        super::FailureKind::Away => "ask again when it answers; grantctl status shows how it stands".to_owned(),
        super::FailureKind::Unfit => {
            let other = if signal == Signal::Ticket { "request it anew with another ticket, or " } else { "" };
            format!("{other}have {} put that right there, or its [[signal]] in grantd.toml", settings.contact)
        }
        super::FailureKind::Gone => "request it anew with grantctl request, naming what that source has".to_owned(),
    };
    Missing {
        why: format!("the {signal} signal could not be had from \"{}\": {}", settings.name, failure.why),
        who_can_fix: settings.contact.clone(),
        next,
        away: failure.kind == super::FailureKind::Away,
    }
}

fn nobody_tells(signal: Signal, about: &About<'_>) -> Missing {
    let why = match (signal, about.ticket) {
        (Signal::Ticket, Some(ticket)) => {
            let shown: String = ticket.chars().filter(|c| !c.is_control()).take(64).collect();
            format!("no ticket system of grantd.toml has tickets like {shown:?}")
        }
        (Signal::ChangeWindow | Signal::Freeze, _) => {
            format!("no calendar of type {signal} is configured for the environment {:?}", about.environment)
        }
        _ => format!("no source of type {signal} is configured"),
    };
    Missing {
        why,
        who_can_fix: "whoever administers this daemon".to_owned(),
        next: match signal {
            Signal::Ticket => {
                "request it anew with grantctl request --ticket, naming one that can be looked up".to_owned()
            }
            _ => format!("have them add a [[signal]] of type \"{signal}\" to grantd.toml"),
        },
        away: false,
    }
}

impl Told {
    fn facts(
        &self,
        settings: &SignalSettings,
        about: &About<'_>,
        now: Timestamp,
    ) -> Result<BTreeMap<SignalFact, FactValue>, Failure> {
        super::telling::facts(self, settings, about, now)
    }
}

#[cfg(test)]
#[path = "look_tests.rs"]
mod tests;
