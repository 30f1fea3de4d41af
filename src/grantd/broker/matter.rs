//! What waits for approval - a pending grant, or an extension of an active one - and how it stands today.

use std::collections::BTreeSet;
use std::sync::Arc;

use grantd_model::approval::{both, missing, standing_in, tally};
use grantd_model::assignment::assigned;
use grantd_model::{
    Approval, Capacity, Decision, Delegation, Digest, Escalation, Extension, Grant, GrantState, OnBehalf, Quorum,
    Signals, Subject, Tier, Verdict,
};
use jiff::Timestamp;

use super::quorum::{Ground, Judged, Requesters, What, counts, floored, judge, voices};
use super::reach::{Speaker, speakers};
use super::{Broker, BrokerError, facts};
use crate::config::{People, Resource};
use crate::policy::{Bundle, Facts, Question};

/// What waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matter<'a> {
    pub grant: &'a Grant,
    pub extension: Option<&'a Extension>,
    /// What was looked up to judge it; without it what is remembered is shown.
    pub signals: Option<&'a Signals>,
}

impl<'a> Matter<'a> {
    /// What waits on `grant`, if anything does.
    pub fn waiting(grant: &'a Grant) -> Option<Self> {
        match (&grant.state, grant.extension.as_deref()) {
            (GrantState::Pending { .. }, _) => Some(Self { grant, extension: None, signals: None }),
            (GrantState::Active { .. }, Some(extension)) => {
                Some(Self { grant, extension: Some(extension), signals: None })
            }
            _ => None,
        }
    }

    /// The same, where nothing that waits is an error, and neither does what has lapsed at `now`.
    pub fn waiting_at(grant: &'a Grant, now: Timestamp) -> Result<Self, BrokerError> {
        let id = grant.id;
        let matter = Self::waiting(grant).ok_or_else(|| {
            let state = grant.state.phase().as_str();
            BrokerError::State(format!("{id} is {state}, and nothing of it waits for approval: see grantctl show {id}"))
        })?;
        if matter.lapses_at().is_some_and(|lapses_at| now >= lapses_at) {
            return Err(BrokerError::State(format!(
                "nobody approved {id} in time: have it requested anew with grantctl request"
            )));
        }
        Ok(matter)
    }

    /// The same, judged by what was looked up.
    pub fn knowing(self, signals: &'a Signals) -> Self {
        Self { signals: Some(signals), ..self }
    }

    pub fn digest(&self) -> Digest {
        self.extension.map_or(self.grant.digest, |extension| extension.digest)
    }

    /// What an approval of it has to be of.
    pub fn what(&self) -> What<'a> {
        What::of(self.grant, self.digest())
    }

    pub fn approvals(&self) -> &'a [Approval] {
        self.extension.map_or(&self.grant.approvals, |extension| &extension.approvals)
    }

    /// What policy asked for when it was asked.
    pub fn needed(&self) -> &'a Quorum {
        self.extension.map_or(&self.grant.obligations.approvals, |extension| &extension.needed)
    }

    pub fn lapses_at(&self) -> Option<Timestamp> {
        match (self.extension, &self.grant.state) {
            (Some(extension), _) => Some(extension.lapses_at),
            (None, GrantState::Pending { lapses_at }) => *lapses_at,
            _ => None,
        }
    }

    /// How long the grant would last in all, in seconds.
    pub fn duration(&self) -> u64 {
        match (self.extension, &self.grant.state) {
            (Some(extension), GrantState::Active { since, .. }) => super::between(*since, extension.until).as_secs(),
            _ => self.grant.request.duration_seconds,
        }
    }
}

/// How a matter stands under today's policy, people and catalogue.
#[derive(Debug)]
pub(super) struct Standing<'a> {
    pub resource: &'a Resource,
    pub requesters: Requesters<'a>,
    pub judged: Vec<Judged<'a>>,
    pub counts: Quorum,
    /// The larger of what was asked for then and what would be today, and never less than the daemon's own floor.
    pub needed: Quorum,
    /// What policy says of the request today.
    pub request: Decision,
    /// Whether a steward who approves now stands in for an owner.
    pub in_place: bool,
    /// Whether only signed approvals count.
    pub signed: bool,
    people: &'a People,
    delegations: Arc<Vec<Delegation>>,
    now: Timestamp,
}

/// Somebody who could approve, with what it would count as.
#[derive(Debug, Clone)]
pub(super) struct Voice {
    /// Who would approve.
    pub person: String,
    /// For whom, where it is for an absent one.
    pub on_behalf_of: Option<OnBehalf>,
    /// As people are told.
    pub label: String,
    /// The capacities of the one whose voice it is.
    pub capacities: Vec<Capacity>,
}

impl Standing<'_> {
    /// What is missing yet.
    pub fn missing(&self) -> Quorum {
        missing(&self.needed, &self.counts)
    }

    /// Whether one more voice of these capacities would help to what is missing, perhaps by letting another one count
    /// elsewhere.
    pub fn helps(&self, capacities: &[Capacity]) -> bool {
        let mut voices = voices(&self.judged);
        voices.push(standing_in(capacities.to_vec(), self.in_place));
        size(&missing(&self.needed, &tally(assigned(&self.needed, &voices)))) < size(&self.missing())
    }

    /// Everybody who could speak, also those who did.
    pub fn all_voices(&self) -> Vec<Voice> {
        let ground = Ground { people: self.people, delegations: &self.delegations, now: self.now, signed: self.signed };
        let voice = |speaker: Speaker<'_>| Voice {
            person: speaker.person.to_owned(),
            on_behalf_of: speaker.lent.map(|lent| OnBehalf { person: lent.from.clone(), delegation: lent.id }),
            label: speaker.label(),
            capacities: speaker.capacities,
        };
        speakers(self.resource, ground, &self.requesters).into_iter().map(voice).collect()
    }

    /// Everybody who could still speak: whose voice was not heard, and who did not speak for another.
    pub fn open_voices(&self) -> Vec<Voice> {
        let counting = self.judged.iter().filter(|judged| judged.void.is_none());
        let done: BTreeSet<&str> =
            counting.flat_map(|judged| [judged.approval.person.as_str(), judged.approval.voice()]).collect();
        let mut open = self.all_voices();
        open.retain(|voice| {
            let whose = voice.on_behalf_of.as_ref().map_or(&voice.person, |absent| &absent.person);
            !done.contains(voice.person.as_str()) && !done.contains(whose.as_str())
        });
        open
    }

    /// Who could still help by approving in a capacity.
    pub fn can_approve(&self, capacity: Capacity) -> Vec<String> {
        let fits = |voice: &Voice| {
            let mut each =
                voice.capacities.iter().filter(|held| standing_in(vec![**held], self.in_place).contains(&capacity));
            each.any(|held| self.helps(&[*held]))
        };
        self.open_voices().into_iter().filter(fits).map(|voice| voice.label).collect()
    }

    /// Everybody who could still help to what is missing.
    pub fn who_can(&self) -> Vec<String> {
        let all: BTreeSet<String> = self
            .open_voices()
            .into_iter()
            .filter(|voice| self.helps(&voice.capacities))
            .map(|voice| voice.label)
            .collect();
        all.into_iter().collect()
    }

    /// What would be missing yet if everybody approved who could.
    pub fn short(&self) -> Quorum {
        let mut all = voices(&self.judged);
        let mut heard = BTreeSet::new();
        let mut open = self.open_voices();
        open.retain(|voice| {
            let whose = voice.on_behalf_of.as_ref().map_or(&voice.person, |absent| &absent.person);
            heard.insert(whose.clone())
        });
        all.extend(open.into_iter().map(|voice| standing_in(voice.capacities, self.in_place)));
        missing(&self.needed, &tally(assigned(&self.needed, &all)))
    }
}

fn size(quorum: &Quorum) -> u64 {
    quorum.values().map(|number| u64::from(*number)).sum()
}

impl Broker {
    /// How `matter` stands today; what would not be given today at all is an error.
    pub(super) fn standing<'a>(&self, bundle: &'a Bundle, matter: Matter<'a>) -> Result<Standing<'a>, BrokerError> {
        let grant = matter.grant;
        self.plan_today(bundle, grant)?;
        let resource = bundle.catalog.of_request(&grant.request).ok_or_else(|| super::allow::gone(&grant.request))?;
        Ok(self.standing_whatever_the_plan(bundle, matter, resource))
    }

    /// The same of a plan that may have changed.
    pub(super) fn standing_whatever_the_plan<'a>(
        &self,
        bundle: &'a Bundle,
        matter: Matter<'a>,
        resource: &'a Resource,
    ) -> Standing<'a> {
        let grant = matter.grant;
        let (people, delegations, now) = (&bundle.people, self.delegations(), self.now());
        let requesters = Requesters::of(grant, people);
        let principal = matter.extension.map_or(&grant.request.requested_by, |extension| &extension.asked_by);
        let request = bundle.decide(&self.request_today(bundle, matter, resource, principal));
        let (needed, escalates) = match &request.verdict {
            Verdict::Allow { obligations } => {
                (both(matter.needed().clone(), &obligations.approvals), obligations.escalate)
            }
            Verdict::Deny { .. } => (matter.needed().clone(), false),
        };
        // An extension is approved by whom policy names: the grant goes on without it.
        let escalates = escalates && matter.extension.is_none();
        let needed = floored(needed, resource);
        let asks = |verdict: &Verdict| match verdict {
            Verdict::Allow { obligations } => obligations.signed_approval,
            Verdict::Deny { .. } => false,
        };
        let signed = grant.obligations.signed_approval || asks(&request.verdict);
        let ground = Ground { people, delegations: &delegations, now, signed };
        let given = |approval: &Approval| escalates && grant.in_place(approval);
        let judged = judge(matter.approvals(), matter.what(), ground, Some(resource), &requesters, given);
        let counts = counts(&needed, &judged);
        let asked = matches!(grant.escalation, Some(Escalation::Asked { .. }));
        let in_place = escalates && asked && resource.tier != Tier::Critical;
        Standing { resource, requesters, judged, counts, needed, request, in_place, signed, people, delegations, now }
    }

    /// The question what policy says today of a request that was made before.
    fn request_today<'a>(
        &self,
        bundle: &Bundle,
        matter: Matter<'_>,
        resource: &'a Resource,
        principal: &'a Subject,
    ) -> Question<'a> {
        let mut question = self.request_again(matter.grant, resource, principal, matter.duration());
        question.facts.signals = matter.signals.cloned().unwrap_or_else(|| self.remembered(bundle, &question));
        question
    }

    /// The same of `seconds`, with nothing looked up yet.
    pub(super) fn request_again<'a>(
        &self,
        grant: &Grant,
        resource: &'a Resource,
        principal: &'a Subject,
        seconds: u64,
    ) -> Question<'a> {
        Question {
            action: grant.request.asking(),
            at: self.now(),
            principal,
            // Nobody calls for it now: the uid is the one that the identity names.
            uid: principal.id.parse().unwrap_or(u32::MAX),
            resource,
            facts: Facts { duration_seconds: seconds, ..facts::of_request(&grant.request, &grant.plan) },
        }
    }
}
