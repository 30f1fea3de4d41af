//! Asking for a grant: what is wanted, what it would be in the cloud, and what policy says.

use std::time::Duration;

use grantd_model::{
    Action, Decision, Escalation, Grant, GrantEvent, GrantId, GrantState, Justification, Obligations, Recurrence,
    Refusal, Request, Subject, SubjectKind, Task, Tier, Verdict, request_digest,
};
use grantd_provider_api::{Capability, CapabilityMap, Entitlement, Narrowing, Plan};
use jiff::Timestamp;
use serde_json::json;

use super::approve::step;
use super::extend::APPROVE_WITHIN;
use super::matter::Matter;
use super::quorum::{Ground, Requesters, floored};
use super::reach::out_of_reach;
use super::signals::Looks;
use super::{Broker, BrokerError, after, draft, facts};
use crate::attest::Caller;
use crate::config::Resource;
use crate::failpoint;
use crate::policy::{Bundle, Question};
use crate::store::{Guard, Transaction, Write};

/// How many requests of one requester may wait for approval: more would only hide those of others from approvers.
pub(super) const MAX_PENDING: u32 = 100;

/// What a caller asks when it wants a grant.
#[derive(Debug, Clone)]
pub struct RequestAsk {
    /// The catalogue's name of the resource.
    pub resource: String,
    /// What is wanted on it.
    pub capability: Capability,
    /// Less than the whole of it.
    pub narrowing: Narrowing,
    /// Why.
    pub justification: Justification,
    /// The ticket it is for.
    pub ticket: Option<String>,
    /// For how long; each time, where it recurs.
    pub duration: Duration,
    /// From the start of one time to the next in seconds, and how many times, if more than once.
    pub recurrence: Option<(u64, u32)>,
    /// Not before this moment.
    pub not_before: Option<Timestamp>,
    /// The configured name of who will use it, if not the caller.
    pub subject: Option<String>,
    /// For which piece of work.
    pub task: Option<Task>,
}

impl Broker {
    /// Requests a grant. Where policy asks for nobody's approval it is active, or scheduled, at once; else it waits.
    ///
    /// # Errors
    /// Any of [`BrokerError`]; a refusal by policy is on record when this returns.
    pub async fn request(&self, caller: &Caller, ask: RequestAsk) -> Result<Grant, BrokerError> {
        if self.inner.stopping.is_cancelled() {
            return Err(BrokerError::Stopping);
        }
        let bundle = self.bundle();
        let planned =
            Self::known_subject(caller).and_then(|requested_by| self.planned(&bundle, requested_by.clone(), ask));
        let (request, plan) = match planned {
            Ok(planned) => planned,
            Err(refused) => {
                self.record_refusal("request.refused", caller, (None, None), &refused).await?;
                return Err(refused);
            }
        };
        let resource = bundle.catalog.get(&request.resource).ok_or_else(|| unknown(&request.resource))?;
        let now = self.now();
        let mut question = Question {
            action: Action::Request,
            at: now,
            principal: &request.requested_by,
            uid: caller.uid(),
            resource,
            facts: facts::of_request(&request, &plan),
        };
        let decision = self.decide(&bundle, &mut question, Looks::Fresh).await;
        let signals = question.facts.signals;
        failpoint::hit("request.decided");
        let obligations = match self.judged(caller, &bundle, resource, &request, &decision).await? {
            Ok(obligations) => obligations,
            Err(refusal) => return Err(BrokerError::Denied(refusal)),
        };
        let digest =
            request_digest(&request, &plan, resource.tier).map_err(|error| BrokerError::Internal(error.to_string()))?;
        let waits = !obligations.approvals.is_empty();
        let within = obligations.approve_within.map_or(APPROVE_WITHIN, Duration::from_secs);
        let lapses_at = waits.then(|| after(now, within));
        let escalates = waits && obligations.escalate && resource.tier != Tier::Critical;
        let escalation = escalates.then(|| Escalation::halfway(now, within));
        let asked = Grant {
            id: GrantId::new(self.inner.ids.fresh()),
            node: self.store().node().clone(),
            created_at: now,
            request,
            plan,
            tier: resource.tier,
            digest,
            policy: bundle.version,
            obligations,
            state: GrantState::Pending { lapses_at },
            approvals: Vec::new(),
            escalation,
            extension: None,
            extensions: Vec::new(),
            imported: None,
            version: 0,
        };
        let about = (Some(asked.id), None);
        let can_approve = match Matter::waiting(&asked) {
            Some(matter) if waits => self.standing(&bundle, matter.knowing(&signals))?.who_can(),
            _ => Vec::new(),
        };
        let detail = json!({
            "can_approve": can_approve,
            "request": asked.request,
            "plan": asked.plan,
            "tier": asked.tier,
            "digest": asked.digest,
            "decision": decision,
        });
        let mut audit = vec![draft(now, "grant.request", caller.actor(), about, detail)];
        let granted = if waits {
            asked
        } else {
            // Policy asks for nobody's approval: the empty quorum is complete.
            let granted = step(&asked, &GrantEvent::Approve { at: now })?;
            audit.push(draft(now, "grant.approve", super::daemon("policy"), about, json!(granted.state)));
            granted
        };
        let writes = vec![Write::InsertGrant(granted.clone())];
        let requester = &granted.request.requested_by;
        let requester = format!("{}:{}", requester.issuer, requester.id);
        let guards = waits.then_some(Guard::PendingBelow { requester, limit: MAX_PENDING }).into_iter().collect();
        if let Err(error) = self.store().commit(Transaction { guards, writes, audit }).await {
            let refused = BrokerError::from(error);
            self.record_refusal("request.refused", caller, (None, None), &refused).await?;
            return Err(refused);
        }
        failpoint::hit("request.written");
        Ok(granted)
    }

    pub(super) fn planned(
        &self,
        bundle: &Bundle,
        requested_by: Subject,
        ask: RequestAsk,
    ) -> Result<(Request, Plan), BrokerError> {
        let resource = bundle.catalog.get(&ask.resource).ok_or_else(|| unknown(&ask.resource))?;
        let subject = match &ask.subject {
            None => requested_by.clone(),
            Some(name) => bundle.people.by_name(name).ok_or_else(|| {
                BrokerError::BadRequest(format!(
                    "\"{name}\" is nobody in people.toml: a subject is one person or one workload, never a team"
                ))
            })?,
        };
        if ask.capability.resource_type() != resource.kind {
            return Err(BrokerError::BadRequest(format!(
                "\"{}\" is of type {}, and {} is a capability of {}",
                resource.name,
                resource.kind,
                ask.capability,
                ask.capability.resource_type()
            )));
        }
        if ask.duration.is_zero() {
            return Err(BrokerError::BadRequest(
                "a grant lasts at least one second: say how long it is needed".to_owned(),
            ));
        }
        let recurrence = ask.recurrence.map(|(every, times)| Recurrence::new(every, times, ask.duration.as_secs()));
        let recurrence = recurrence.transpose().map_err(|error| BrokerError::BadRequest(error.to_string()))?;
        if recurrence.is_some() && !matches!(subject.kind, SubjectKind::Pipeline | SubjectKind::Service) {
            return Err(BrokerError::BadRequest(format!(
                "{subject} is no pipeline and no service, and only their grants recur: ask once for each time"
            )));
        }
        let entitlement =
            Entitlement { capability: ask.capability, resource: resource.resource_ref(), narrowing: ask.narrowing };
        let empty = CapabilityMap::default();
        let map = bundle.maps.get(&resource.cloud).unwrap_or(&empty);
        let plan = self.provider(resource.cloud)?.plan(&entitlement, map)?;
        let request = Request {
            resource: ask.resource,
            entitlement,
            justification: ask.justification,
            ticket: ask.ticket,
            duration_seconds: ask.duration.as_secs(),
            recurrence,
            not_before: ask.not_before,
            subject,
            requested_by,
            task: ask.task,
            break_glass: None,
        };
        Ok((request, plan))
    }

    /// The obligations of a request that may go ahead, or the refusal, put on record.
    async fn judged(
        &self,
        caller: &Caller,
        bundle: &Bundle,
        resource: &Resource,
        request: &Request,
        decision: &Decision,
    ) -> Result<Result<Obligations, Refusal>, BrokerError> {
        let refusal = match &decision.verdict {
            Verdict::Allow { obligations } => {
                let asked = request.duration_seconds;
                match obligations.max_duration {
                    Some(limit) if asked > limit => {
                        let detail =
                            format!("a grant of {asked} s is more than is allowed here: ask for {limit} s or less");
                        self.record_request_refused(caller, request, decision, None).await?;
                        return Err(BrokerError::Limit { detail, limit });
                    }
                    _ => {}
                }
                if let Some(refused) = recurs_too_long(request, obligations) {
                    self.record_request_refused(caller, request, decision, None).await?;
                    return Err(refused);
                }
                let requesters = Requesters::of_parties([&request.subject, &request.requested_by], &bundle.people);
                let delegations = self.delegations();
                let signed = obligations.signed_approval;
                let ground = Ground { people: &bundle.people, delegations: &delegations, now: self.now(), signed };
                // What no policy can do without is needed as if policy had asked for it.
                let approvals = floored(obligations.approvals.clone(), resource);
                match out_of_reach(&approvals, resource, ground, &requesters) {
                    None => return Ok(Ok(Obligations { approvals, ..obligations.clone() })),
                    Some(refusal) => refusal,
                }
            }
            Verdict::Deny { refusal } => refusal.clone(),
        };
        self.record_request_refused(caller, request, decision, Some(&refusal)).await?;
        Ok(Err(refusal))
    }

    pub(super) async fn record_request_refused(
        &self,
        caller: &Caller,
        request: &Request,
        decision: &Decision,
        refusal: Option<&Refusal>,
    ) -> Result<(), BrokerError> {
        let mut detail = json!({ "request": request, "decision": decision, "refusal": refusal });
        if let (Some(glass), Some(members)) = (&request.break_glass, detail.as_object_mut()) {
            members.insert("break_glass".to_owned(), json!(glass));
        }
        self.record("request.refused", caller.actor(), (None, None), detail).await?;
        failpoint::hit("request.refused");
        Ok(())
    }
}

/// Why a request that recurs is not given, if it is not: policy has to say that it may, and for how long.
fn recurs_too_long(request: &Request, obligations: &Obligations) -> Option<BrokerError> {
    request.recurrence?;
    let (asked, limit) = (request.span_seconds(), obligations.max_recurrence.unwrap_or_default());
    if asked <= limit {
        return None;
    }
    let detail = match obligations.max_recurrence {
        None => "policy lets no grant recur here: ask once for each time".to_owned(),
        Some(limit) => format!(
            "a grant that recurs over {asked} s from its first moment to its last is more than is allowed here: ask for \
             fewer times, so that it is {limit} s or less"
        ),
    };
    Some(BrokerError::Limit { detail, limit })
}

fn unknown(name: &str) -> BrokerError {
    let shown: String = name.chars().take(64).collect();
    BrokerError::NotFound(format!(
        "\"{shown}\" is not in the catalogue: ask its owner to have it added to catalog.toml"
    ))
}
