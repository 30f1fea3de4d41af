//! Has looked up what a decision needs, before it is made (promise P6).

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::stream::{self, StreamExt};
use grantd_model::{
    Action, Decision, EndReason, Lease, LeasePhase, Looked, OnPolicyChange, Signal, Signals, Subject, SubjectKind,
};

use super::matter::Matter;
use super::reload::Refused;
use super::{Broker, BrokerError, daemon, facts};
use crate::config::People;
use crate::policy::{Bundle, Facts, Needs, Question};
use crate::signal::{About, Party, Wanted};
use crate::store::LeaseFilter;

/// How old a fact may be where no permit says.
const MAX_AGE: Duration = Duration::from_secs(60);

/// How old a fact may be that is only shown: nothing is decided by it.
const SHOWN: Duration = Duration::from_secs(24 * 60 * 60);

/// How often live leases are held against what is looked up for them.
const WATCH: Duration = Duration::from_secs(15);

/// What was told so long ago or less was told a moment ago.
const MOMENT: Duration = Duration::from_secs(5);

/// How many live leases are held against their signals at once.
const AT_ONCE: usize = 32;

/// For what it is looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Looks {
    /// For something that begins: as fresh as policy wants it.
    Fresh,
    /// For a lease that is renewed: the last good value may do, as policy says.
    Running,
    /// For a lease that runs and is looked at again and again: the same, and what was told a moment ago to whoever asked, so
    /// that many leases on one ticket are one look.
    Watched,
    /// For what must not wait: what is remembered, as young as a lease that runs may rest on. Nobody is asked.
    Remembered,
}

impl Broker {
    /// Looks up what `question` needs, puts it there, and decides.
    pub(super) async fn decide(&self, bundle: &Bundle, question: &mut Question<'_>, looks: Looks) -> Decision {
        self.inform(bundle, question, looks).await;
        bundle.decide(question)
    }

    /// Looks up what `question` needs, and puts it there.
    async fn inform(&self, bundle: &Bundle, question: &mut Question<'_>, looks: Looks) {
        // Finding out takes as long as deciding.
        if bundle.needs_at_most(question.action).signals.is_empty() {
            return;
        }
        // What is needed is found by who fails without it: one who did not get that far before may need more.
        for _ in Signal::ALL {
            let needs = bundle.needs(question);
            if needs.signals.is_empty() {
                break;
            }
            let (wanted, about) = (wanted(needs, looks), about(question, &bundle.people));
            let found = match looks {
                Looks::Remembered => {
                    let oldest = wanted.last_good.map_or(wanted.max_age, |last_good| last_good.max(wanted.max_age));
                    self.inner.lookout.recall(&wanted.signals, oldest, &about)
                }
                Looks::Fresh | Looks::Running | Looks::Watched => self.inner.lookout.look(&wanted, &about).await,
            };
            question.facts.signals.extend(found);
        }
    }

    /// What has to be known to judge whether `matter` would be given today, and whether somebody may approve it.
    pub(super) async fn signals_of(&self, bundle: &Bundle, matter: Matter<'_>) -> Signals {
        let grant = matter.grant;
        let Some(resource) = bundle.catalog.of_request(&grant.request) else { return Signals::new() };
        let principal = matter.extension.map_or(&grant.request.requested_by, |extension| &extension.asked_by);
        let mut question = Question {
            action: grant.request.asking(),
            at: self.now(),
            principal,
            uid: principal.id.parse().unwrap_or(u32::MAX),
            resource,
            facts: Facts { duration_seconds: matter.duration(), ..facts::of_request(&grant.request, &grant.plan) },
        };
        self.inform(bundle, &mut question, Looks::Fresh).await;
        // Who approves, and as what, is not known here: what a rule of approving could read is looked up.
        let needs = bundle.needs(&question);
        let mut approving = bundle.needs_at_most(Action::Approve);
        approving.signals.retain(|signal| !question.facts.signals.contains_key(signal));
        let max_age = needs.max_age.into_iter().chain(approving.max_age).min();
        let wanted = wanted(Needs { max_age, ..approving }, Looks::Fresh);
        let found = self.inner.lookout.look(&wanted, &about(&question, &bundle.people)).await;
        question.facts.signals.extend(found);
        question.facts.signals
    }

    /// What is remembered of what `question` needs. For showing only.
    pub(super) fn remembered(&self, bundle: &Bundle, question: &Question<'_>) -> Signals {
        let signals = bundle.needs(question).signals;
        self.inner.lookout.recall(&signals, SHOWN, &about(question, &bundle.people))
    }

    /// Ends live leases for which what was looked up says no by now: a ticket was closed, a window is over.
    pub(super) async fn watch_signals_for_ever(self) {
        loop {
            tokio::select! {
                more = self.pause(WATCH) => if !more { return },
                () = self.inner.look_again.notified() => {}
            }
            if let Err(error) = self.watch_signals().await {
                tracing::error!(%error, "live leases could not be held against their signals; trying again");
            }
        }
    }

    async fn watch_signals(&self) -> Result<(), BrokerError> {
        let bundle = self.bundle();
        if [Action::Issue, Action::BreakGlass].iter().all(|on| bundle.needs_at_most(*on).signals.is_empty()) {
            return Ok(());
        }
        let node = Some(self.store().node().clone());
        let filter = LeaseFilter { phases: Some(vec![LeasePhase::Active]), node, ..LeaseFilter::default() };
        let mut leases = self.store().leases(filter).await?;
        leases.retain(|lease| lease.on_signal_change == OnPolicyChange::End);
        // A slow source holds up its own leases, and not all others.
        let mut watched = Vec::new();
        for lease in &leases {
            watched.push(self.watch_lease(&bundle, lease));
        }
        stream::iter(watched).buffer_unordered(AT_ONCE).collect::<()>().await;
        Ok(())
    }

    async fn watch_lease(&self, bundle: &Bundle, lease: &Lease) {
        if self.inner.stopping.is_cancelled() {
            return;
        }
        match self.refused_today(bundle, lease, Looks::Watched).await {
            Ok(Some(Refused { rule, by_signals: true })) => {
                self.end_for_certain(lease, EndReason::SignalChanged { rule }, daemon("signals")).await;
            }
            // What cannot be had ends nothing that runs: it is not renewed. The rest is for who watches over policy.
            Ok(_) => {}
            Err(error) => tracing::error!(lease = %lease.id, %error, "a lease could not be held against its signals"),
        }
    }

    /// What is wrong with signals, in words: a source that fails, and what policy reads and nobody tells.
    #[must_use]
    pub fn signal_alarms(&self) -> Vec<String> {
        let (bundle, standings) = (self.bundle(), self.inner.lookout.standings());
        let failing = standings.iter().filter_map(|standing| {
            let error = standing.error.as_ref()?;
            Some(format!("signal source \"{}\" fails, and what rests on it is denied: {error}", standing.name))
        });
        let read: BTreeSet<Signal> = [Action::Request, Action::Approve, Action::Issue, Action::BreakGlass]
            .into_iter()
            .flat_map(|on| bundle.needs_at_most(on).signals)
            .collect();
        let untold = read.into_iter().filter(|signal| standings.iter().all(|standing| standing.signal != *signal));
        let untold = untold.map(|signal| {
            format!("policy reads the {signal} signal, and no [[signal]] of grantd.toml has that type: it is denied")
        });
        failing.chain(untold).collect()
    }
}

/// Whether something was looked up, and all of it was had: then what was decided rests on it.
pub(super) fn were_had(signals: &Signals) -> bool {
    !signals.is_empty() && signals.values().all(|looked| matches!(looked, Looked::Had { .. }))
}

fn wanted(needs: Needs, looks: Looks) -> Wanted {
    let mut max_age = needs.max_age.map_or(MAX_AGE, Duration::from_secs);
    if looks == Looks::Watched {
        max_age = max_age.max(MOMENT);
    }
    let last_good = needs.renew_max_age.map(Duration::from_secs).filter(|_| looks != Looks::Fresh);
    Wanted { signals: needs.signals, max_age, last_good }
}

fn about<'a>(question: &'a Question<'_>, people: &'a People) -> About<'a> {
    let party = |subject: &'a Subject| Party {
        // As people.toml has it today, never as it calls itself.
        name: people.known(subject).map(|known| known.name.as_str()).unwrap_or_default(),
        human: subject.kind == SubjectKind::Human,
    };
    About {
        resource: &question.resource.name,
        environment: &question.resource.environment,
        ticket: question.facts.ticket.as_deref(),
        subject: party(&question.facts.subject),
        requester: party(&question.facts.requester),
    }
}
