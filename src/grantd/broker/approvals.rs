//! Looking at approvals: how a grant stands on its way to a decision, what a caller could approve, and who may look.

use std::collections::BTreeSet;

use grantd_model::{Approval, Capacity, Delegation, Escalation, Extension, Grant, GrantPhase, PastExtension, Verdict};
use jiff::Timestamp;

use super::matter::{Matter, Voice};
use super::quorum::{Ground, Judged, Requesters, counts, judge, person};
use super::reach::held_by;
use super::{Broker, BrokerError};
use crate::attest::Caller;
use crate::config::Resource;
use crate::policy::Bundle;
use crate::store::GrantFilter;

/// The most grants that are looked at for one question about what could be approved.
const MOST_WAITING: u32 = 1000;

/// The approval that something needs and has, as it stands today.
#[derive(Debug, Clone, Default)]
pub struct ApprovalState {
    /// What is needed in each capacity.
    pub quorum: Vec<CapacityState>,
    /// What was given, oldest first.
    pub given: Vec<GivenState>,
    /// When it lapses, while it waits.
    pub lapses_at: Option<Timestamp>,
    /// Why it would not be given today whoever approved, while it waits.
    pub blocked: Option<String>,
    /// How far it has come with asking stewards in the owner's place.
    pub escalation: Option<Escalation>,
    /// Whether only signed approvals count.
    pub signed: bool,
}

/// One capacity of a quorum.
#[derive(Debug, Clone)]
pub struct CapacityState {
    /// Which.
    pub capacity: Capacity,
    /// How many are needed.
    pub needed: u32,
    /// How many count.
    pub given: u32,
    /// Who could still approve in it.
    pub can_approve: Vec<String>,
}

/// An approval that was given.
#[derive(Debug, Clone)]
pub struct GivenState {
    /// As it was given.
    pub approval: Approval,
    /// Why it does not count today, if it does not.
    pub void: Option<String>,
}

/// An extension, waiting or decided.
#[derive(Debug, Clone)]
pub struct ExtensionState {
    /// What was asked.
    pub extension: Extension,
    /// What became of it; nothing while it waits.
    pub past: Option<PastExtension>,
    /// Its own approval.
    pub approval: ApprovalState,
}

/// How a grant stands on its way to a decision.
#[derive(Debug, Clone, Default)]
pub struct GrantApprovals {
    /// Of the grant itself, where any approval is asked for.
    pub approval: Option<ApprovalState>,
    /// Of its extensions, oldest first, the one that waits last.
    pub extensions: Vec<ExtensionState>,
}

impl Broker {
    /// How a grant stands on its way to a decision.
    #[must_use]
    pub fn approvals(&self, grant: &Grant) -> GrantApprovals {
        let bundle = self.bundle();
        let base = Matter { grant, extension: None, signals: None };
        let pending = grant.state.phase() == GrantPhase::Pending;
        let asked = pending || !grant.obligations.approvals.is_empty() || !grant.approvals.is_empty();
        let past = grant.extensions.iter().map(|past| ExtensionState {
            extension: past.extension.clone(),
            past: Some(past.clone()),
            approval: self.approval_state(
                &bundle,
                Matter { grant, extension: Some(&past.extension), signals: None },
                false,
            ),
        });
        let waiting = grant.extension.iter().map(|waiting| ExtensionState {
            extension: waiting.as_ref().clone(),
            past: None,
            approval: self.approval_state(&bundle, Matter { grant, extension: Some(waiting), signals: None }, true),
        });
        GrantApprovals {
            extensions: past.chain(waiting).collect(),
            approval: asked.then(|| self.approval_state(&bundle, base, pending)),
        }
    }

    fn approval_state(&self, bundle: &Bundle, matter: Matter<'_>, waits: bool) -> ApprovalState {
        let grant = matter.grant;
        let escalation = grant.escalation.clone().filter(|_| matter.extension.is_none());
        let given = |judged: &[Judged<'_>], over: bool| -> Vec<GivenState> {
            // What is over is shown as it was.
            let void = |judged: &Judged<'_>| judged.void.clone().filter(|_| !over);
            let given =
                judged.iter().map(|judged| GivenState { approval: judged.approval.clone(), void: void(judged) });
            given.collect()
        };
        if let Some(resource) = bundle.catalog.of_request(&grant.request).filter(|_| waits) {
            let standing = self.standing_whatever_the_plan(bundle, matter, resource);
            let capacity = |(capacity, needed): (&Capacity, &u32)| CapacityState {
                capacity: *capacity,
                needed: *needed,
                given: standing.counts.get(capacity).copied().unwrap_or_default(),
                can_approve: standing.can_approve(*capacity),
            };
            return ApprovalState {
                quorum: standing.needed.iter().map(capacity).collect(),
                given: given(&standing.judged, false),
                lapses_at: matter.lapses_at(),
                blocked: self.blocked(bundle, grant),
                escalation,
                signed: standing.signed,
            };
        }
        let resource = bundle.catalog.of_request(&grant.request);
        let (delegations, now) = (self.delegations(), self.now());
        let signed = grant.obligations.signed_approval;
        let ground = Ground { people: &bundle.people, delegations: &delegations, now, signed };
        let requesters = Requesters::of(grant, &bundle.people);
        let in_place = |approval: &Approval| matter.extension.is_none() && grant.in_place(approval);
        let judged = judge(matter.approvals(), matter.what(), ground, resource, &requesters, in_place);
        let counts = counts(matter.needed(), &judged);
        let capacity = |(capacity, needed): (&Capacity, &u32)| CapacityState {
            capacity: *capacity,
            needed: *needed,
            given: counts.get(capacity).copied().unwrap_or_default(),
            can_approve: Vec::new(),
        };
        ApprovalState {
            quorum: matter.needed().iter().map(capacity).collect(),
            given: given(&judged, grant.state.is_final()),
            lapses_at: matter.lapses_at().filter(|_| waits),
            blocked: if waits { self.blocked(bundle, grant) } else { None },
            escalation,
            signed,
        }
    }

    /// Some of the grants on which something waits, newest first.
    pub(super) async fn waiting_grants(
        &self,
        resource: Option<&str>,
        limit: Option<u32>,
    ) -> Result<Vec<Grant>, BrokerError> {
        let resource = resource.map(str::to_owned);
        let pending = GrantFilter {
            phases: Some(vec![GrantPhase::Pending]),
            resource: resource.clone(),
            limit,
            ..GrantFilter::default()
        };
        let extending = GrantFilter {
            phases: Some(vec![GrantPhase::Active]),
            extending: true,
            resource,
            limit,
            ..GrantFilter::default()
        };
        let mut grants = self.store().grants(pending).await?;
        grants.extend(self.store().grants(extending).await?);
        Ok(grants)
    }

    /// The grants on which something waits that the caller can approve today, newest first.
    pub(super) async fn approvable(&self, caller: &Caller, only: Option<&str>) -> Result<Vec<Grant>, BrokerError> {
        let bundle = self.bundle();
        let approver = person(&bundle.people, caller).map_err(BrokerError::Denied)?;
        self.read_delegations().await?;
        let delegations = self.delegations();
        let answers = |resource: &&Resource| {
            answers(resource, &delegations, &approver.name, self.now()) && only.is_none_or(|only| resource.name == only)
        };
        let now = self.now();
        let mut found = Vec::new();
        let mine = bundle.catalog.iter().chain(bundle.catalog.in_profiles()).filter(answers);
        let names: BTreeSet<&str> = mine.map(|resource| resource.name.as_str()).collect();
        for name in names {
            for grant in self.waiting_grants(Some(name), Some(MOST_WAITING)).await? {
                let Ok(matter) = Matter::waiting_at(&grant, now) else { continue };
                let Ok(standing) = self.standing(&bundle, matter) else { continue };
                let mine = standing.open_voices().into_iter().filter(|voice| voice.person == approver.name);
                let can = |voice: Voice| {
                    let absent = voice.on_behalf_of.as_ref();
                    voice.capacities.iter().filter(|capacity| standing.helps(&[**capacity])).any(|capacity| {
                        let asked = (*capacity, absent);
                        let decided = self.decide_approve(&bundle, &standing, matter, caller, &approver, asked);
                        matches!(decided.verdict, Verdict::Allow { .. })
                    })
                };
                if super::approve::allowed_today(&standing, matter).is_ok() && mine.into_iter().any(can) {
                    found.push(grant);
                }
            }
        }
        found.sort_by_key(|grant| std::cmp::Reverse(grant.created_at));
        Ok(found)
    }

    /// Whether the caller answers for what a grant is on, so that it is for them to approve: they may look at it, before
    /// and after.
    pub(super) fn answers_for(&self, caller: &Caller, grant: &Grant) -> bool {
        let bundle = self.bundle();
        let Some(resource) = bundle.catalog.of_request(&grant.request) else { return false };
        let Ok(person) = person(&bundle.people, caller) else { return false };
        if let Some(profile) = &resource.glass {
            // Whoever could use it too, reviews it, or answers for what it was used on.
            let reviews = profile.reviewers.contains(&person.name);
            return reviews || answers(resource, &self.delegations(), &person.name, self.now());
        }
        let self_service = grant.obligations.approvals.is_empty() && grant.extension.is_none();
        !self_service && answers(resource, &self.delegations(), &person.name, self.now())
    }
}

/// Whether a person has a capacity on a resource, or was lent one.
fn answers(resource: &Resource, delegations: &[Delegation], person: &str, now: Timestamp) -> bool {
    let lent = delegations.iter().filter(|lent| lent.to == person && lent.stands(now) && lent.covers(&resource.name));
    lent.map(|lent| lent.from.as_str()).chain([person]).any(|voice| !held_by(resource, voice).is_empty())
}
