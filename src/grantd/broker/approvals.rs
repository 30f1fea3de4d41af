//! Looking at approvals: how a grant stands on its way to a decision, what a caller could approve, and who may look.

use grantd_model::approval::{both, missing};
use grantd_model::{Approval, Capacity, Extension, Grant, GrantPhase, PastExtension, Quorum, Verdict};
use jiff::Timestamp;

use super::matter::Matter;
use super::quorum::{Requesters, counts, eligible, holders, judge, person};
use super::{Broker, BrokerError};
use crate::attest::Caller;
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
        let base = Matter { grant, extension: None };
        let pending = grant.state.phase() == GrantPhase::Pending;
        let asked = pending || !grant.obligations.approvals.is_empty() || !grant.approvals.is_empty();
        let past = grant.extensions.iter().map(|past| ExtensionState {
            extension: past.extension.clone(),
            past: Some(past.clone()),
            approval: self.approval_state(&bundle, Matter { grant, extension: Some(&past.extension) }, false),
        });
        let waiting = grant.extension.iter().map(|waiting| ExtensionState {
            extension: waiting.as_ref().clone(),
            past: None,
            approval: self.approval_state(&bundle, Matter { grant, extension: Some(waiting) }, true),
        });
        GrantApprovals {
            extensions: past.chain(waiting).collect(),
            approval: asked.then(|| self.approval_state(&bundle, base, pending)),
        }
    }

    fn approval_state(&self, bundle: &Bundle, matter: Matter<'_>, waits: bool) -> ApprovalState {
        let grant = matter.grant;
        let resource = bundle.catalog.get(&grant.request.resource);
        let requesters = Requesters::of(grant, &bundle.people);
        let judged = judge(matter.approvals(), matter.digest(), &bundle.people, resource, &requesters);
        let needed = match resource {
            Some(resource) if waits => {
                let by = matter.extension.map_or(&grant.request.requested_by, |extension| &extension.asked_by);
                match self.request_today(bundle, grant, resource, by, matter.duration()).verdict {
                    Verdict::Allow { obligations } => both(matter.needed().clone(), &obligations.approvals),
                    Verdict::Deny { .. } => matter.needed().clone(),
                }
            }
            _ => matter.needed().clone(),
        };
        let (counts, over) = (counts(&judged), grant.state.is_final());
        let able = |capacity| -> Vec<String> {
            let Some(resource) = resource.filter(|_| waits) else { return Vec::new() };
            let able = eligible(resource, capacity, &bundle.people, &requesters).into_iter();
            able.filter(|name| !judged.iter().any(|judged| judged.void.is_none() && judged.approval.person == *name))
                .map(str::to_owned)
                .collect()
        };
        let capacity = |(capacity, needed): (&Capacity, &u32)| CapacityState {
            capacity: *capacity,
            needed: *needed,
            given: counts.get(capacity).copied().unwrap_or_default(),
            can_approve: able(*capacity),
        };
        ApprovalState {
            quorum: needed.iter().map(capacity).collect(),
            // What is over is shown as it was.
            given: judged
                .iter()
                .map(|judged| GivenState {
                    approval: judged.approval.clone(),
                    void: judged.void.clone().filter(|_| !over),
                })
                .collect(),
            lapses_at: matter.lapses_at().filter(|_| waits),
            blocked: if waits { self.blocked(bundle, grant) } else { None },
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
        let answers = |resource: &&crate::config::Resource| {
            let held = |capacity| holders(resource, capacity).contains(&approver.name);
            Capacity::ALL.into_iter().any(held) && only.is_none_or(|only| resource.name == only)
        };
        let now = self.now();
        let mut found = Vec::new();
        for resource in bundle.catalog.iter().filter(answers) {
            for grant in self.waiting_grants(Some(&resource.name), Some(MOST_WAITING)).await? {
                let Ok(matter) = Matter::waiting_at(&grant, now) else { continue };
                let Ok(standing) = self.standing(&bundle, matter) else { continue };
                let left: Quorum = missing(&standing.needed, &standing.counts);
                let can = |capacity: &Capacity| {
                    let decided = self.decide_approve(&bundle, &standing, matter, caller, &approver, *capacity);
                    standing.can_approve(&bundle, *capacity).contains(&approver.name)
                        && matches!(decided.verdict, Verdict::Allow { .. })
                };
                if super::approve::allowed_today(&standing, matter).is_ok() && left.keys().any(can) {
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
        let Some(resource) = bundle.catalog.get(&grant.request.resource) else { return false };
        let Ok(person) = person(&bundle.people, caller) else { return false };
        let self_service = grant.obligations.approvals.is_empty() && grant.extension.is_none();
        !self_service && Capacity::ALL.into_iter().any(|capacity| holders(resource, capacity).contains(&person.name))
    }
}
