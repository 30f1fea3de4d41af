//! What waits for approval - a pending grant, or an extension of an active one - and how it stands today.

use std::collections::BTreeSet;

use grantd_model::approval::{both, missing};
use grantd_model::{
    Action, Approval, Capacity, Decision, Digest, Extension, Grant, GrantState, Quorum, Subject, Verdict,
};
use jiff::Timestamp;

use super::quorum::{Judged, Requesters, counts, eligible, holders, judge};
use super::{Broker, BrokerError, facts};
use crate::config::Resource;
use crate::policy::{Bundle, Facts, Question};

/// What waits.
#[derive(Debug, Clone, Copy)]
pub(super) struct Matter<'a> {
    pub grant: &'a Grant,
    pub extension: Option<&'a Extension>,
}

impl<'a> Matter<'a> {
    /// What waits on `grant`, if anything does.
    pub fn waiting(grant: &'a Grant) -> Option<Self> {
        match (&grant.state, grant.extension.as_deref()) {
            (GrantState::Pending { .. }, _) => Some(Self { grant, extension: None }),
            (GrantState::Active { .. }, Some(extension)) => Some(Self { grant, extension: Some(extension) }),
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

    pub fn digest(&self) -> Digest {
        self.extension.map_or(self.grant.digest, |extension| extension.digest)
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
    /// The larger of what was asked for then and what would be today.
    pub needed: Quorum,
    /// What policy says of the request today.
    pub request: Decision,
}

impl Standing<'_> {
    /// What is missing yet.
    pub fn missing(&self) -> Quorum {
        missing(&self.needed, &self.counts)
    }

    /// The capacities of a person.
    pub fn held_by(&self, person: &str) -> Vec<Capacity> {
        Capacity::ALL.into_iter().filter(|c| holders(self.resource, *c).iter().any(|name| name == person)).collect()
    }

    /// Who could still approve in a capacity.
    pub fn can_approve(&self, bundle: &Bundle, capacity: Capacity) -> Vec<String> {
        let counting = self.judged.iter().filter(|judged| judged.void.is_none());
        let done: BTreeSet<&str> = counting.map(|judged| judged.approval.person.as_str()).collect();
        let able = eligible(self.resource, capacity, &bundle.people, &self.requesters);
        able.into_iter().filter(|name| !done.contains(name)).map(str::to_owned).collect()
    }

    /// Everybody who could still help to what is missing.
    pub fn who_can(&self, bundle: &Bundle) -> Vec<String> {
        let all: BTreeSet<String> =
            self.missing().keys().flat_map(|capacity| self.can_approve(bundle, *capacity)).collect();
        all.into_iter().collect()
    }
}

impl Broker {
    /// How `matter` stands today; what would not be given today at all is an error.
    pub(super) fn standing<'a>(&self, bundle: &'a Bundle, matter: Matter<'a>) -> Result<Standing<'a>, BrokerError> {
        let grant = matter.grant;
        self.plan_today(bundle, grant)?;
        let name = &grant.request.resource;
        let resource = bundle.catalog.get(name).ok_or_else(|| super::issue::gone(name))?;
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
        let requesters = Requesters::of(grant, &bundle.people);
        let judged = judge(matter.approvals(), matter.digest(), &bundle.people, Some(resource), &requesters);
        let counts = counts(&judged);
        let principal = matter.extension.map_or(&grant.request.requested_by, |extension| &extension.asked_by);
        let request = self.request_today(bundle, grant, resource, principal, matter.duration());
        let needed = match &request.verdict {
            Verdict::Allow { obligations } => both(matter.needed().clone(), &obligations.approvals),
            Verdict::Deny { .. } => matter.needed().clone(),
        };
        Standing { resource, requesters, judged, counts, needed, request }
    }

    /// What policy says today of a request that was made before, of `seconds`.
    pub(super) fn request_today(
        &self,
        bundle: &Bundle,
        grant: &Grant,
        resource: &Resource,
        principal: &Subject,
        seconds: u64,
    ) -> Decision {
        bundle.decide(&Question {
            action: Action::Request,
            at: self.now(),
            principal,
            // Nobody calls for it now: the uid is the one that the identity names.
            uid: principal.id.parse().unwrap_or(u32::MAX),
            resource,
            facts: Facts { duration_seconds: seconds, ..facts::of_request(&grant.request, &grant.plan) },
        })
    }
}
