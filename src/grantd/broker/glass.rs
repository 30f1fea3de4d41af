//! Break-glass: the emergency path. Nobody's approval, and instead: who was enrolled before, exactly what the profile names,
//! for a very short time, counted, told to everybody at once, and reviewed by somebody else. Its grant is a grant like any
//! other, so that what vends, watches, revokes and ends those does the same here.
//!
//! What decides is local: nothing here waits for an approver, a target that is told, or a signal that policy can do without.

use std::time::Duration;

use grantd_model::approval::{both, in_words};
use grantd_model::{
    Actor, AuditDraft, BreakGlass, Capacity, Grant, GrantEvent, GrantId, GrantState, Justification, Obligations,
    Refusal, Review, ReviewAbout, ReviewId, ReviewState, Signals, Subject, Task, Verdict, request_digest,
};
use grantd_provider_api::Capability;
use serde_json::json;

use super::approve::step;
use super::glass_rules::{
    blocked_by, chosen, lacked, limits, no_reviewer, nobody, not_enrolled, once, request_of, reviewers,
};
use super::matter::Matter;
use super::quorum::{Ground, Requesters, floored, person};
use super::reach::out_of_reach;
use super::request::MAX_PENDING;
use super::signals::Looks;
use super::{Broker, BrokerError, after, daemon, draft, facts};
use crate::attest::Caller;
use crate::policy::{Bundle, Question};
use crate::store::{Guard, GuardFailure, ReviewFilter, StoreError, Transaction, Write};

/// How often a use is written again when freezes change in between.
const ATTEMPTS: usize = 16;

/// How long a second person has where policy does not say: who waits longer has no emergency.
const CONFIRM_WITHIN: Duration = Duration::from_secs(15 * 60);

/// What somebody asks who breaks the glass.
#[derive(Debug, Clone)]
pub struct GlassAsk {
    /// The profile.
    pub profile: String,
    /// The reference of the incident.
    pub incident: String,
    /// What is broken and what is to be done.
    pub justification: Justification,
    /// On which resource of the profile, where it has several.
    pub resource: Option<String>,
    /// Which capability of the profile, where it has several.
    pub capability: Option<Capability>,
    /// For how long; as long as the profile allows when left out.
    pub duration: Option<Duration>,
    /// For which piece of work.
    pub task: Option<Task>,
}

/// What is written with the moment at which a use begins.
pub(super) struct Begun {
    pub write: Write,
    pub audit: Vec<AuditDraft>,
}

impl Broker {
    /// Uses break-glass. The grant is active at once, or, where a second person has to confirm it or security has to
    /// because of an overdue review, it waits for that.
    ///
    /// # Errors
    /// Any of [`BrokerError`]; a refusal is on record when this returns.
    pub async fn break_glass(&self, caller: &Caller, ask: GlassAsk) -> Result<Grant, BrokerError> {
        let (broker, caller) = (self.clone(), caller.clone());
        self.to_the_end(async move {
            let result = broker.break_glass_whatever_freezes(&caller, &ask).await;
            if let Err(refused) = &result
                && refused.is_refusal()
            {
                let detail = json!({ "refused": refused.to_string(), "break_glass": told(&ask) });
                broker.record("request.refused", caller.actor(), (None, None), detail).await?;
            }
            result
        })
        .await
    }

    async fn break_glass_whatever_freezes(&self, caller: &Caller, ask: &GlassAsk) -> Result<Grant, BrokerError> {
        if self.inner.stopping.is_cancelled() {
            return Err(BrokerError::Stopping);
        }
        if self.is_draining() {
            return Err(BrokerError::Draining);
        }
        for _ in 0..ATTEMPTS {
            match self.break_glass_once(caller, ask).await {
                // Set or lifted by somebody meanwhile.
                Err(BrokerError::Store(StoreError::Guard(GuardFailure::FreezesChanged))) => self.read_freezes().await?,
                done => return done,
            }
        }
        Err(BrokerError::Busy("freezes keep changing: try again".to_owned()))
    }

    async fn break_glass_once(&self, caller: &Caller, ask: &GlassAsk) -> Result<Grant, BrokerError> {
        let bundle = self.bundle();
        let profile = bundle.catalog.profile(&ask.profile).ok_or_else(|| {
            let shown: String = ask.profile.chars().take(64).collect();
            let mine = bundle
                .catalog
                .profiles()
                .filter(|profile| caller.subject.as_ref().is_some_and(|subject| profile.enrols(&subject.name)));
            let mine: Vec<&str> = mine.map(|profile| profile.name.as_str()).collect();
            let mine = if mine.is_empty() { "none".to_owned() } else { mine.join(", ") };
            BrokerError::NotFound(format!(
                "\"{shown}\" is no break-glass profile of the catalogue; those that enrol you: {mine}"
            ))
        })?;
        let user = match person(&bundle.people, caller) {
            Ok(user) if profile.enrols(&user.name) => user,
            Ok(user) => return self.glass_refused(caller, ask, not_enrolled(&user.name, profile)).await,
            Err(refusal) => {
                return self.glass_refused(caller, ask, Refusal { reason: nobody(caller), ..refusal }).await;
            }
        };
        if profile.incident.digits(&ask.incident).is_none() {
            return Err(BrokerError::BadRequest(format!(
                "a use of \"{}\" names its incident, as {}: give --incident",
                profile.name,
                profile.incident.example()
            )));
        }
        let access = chosen(profile, ask)?;
        let duration = ask.duration.unwrap_or(profile.max_ttl);
        if duration > profile.max_ttl {
            let limit = profile.max_ttl.as_secs();
            return Err(BrokerError::Limit {
                detail: format!("a use of \"{}\" lasts {limit} s at most: ask for that or less", profile.name),
                limit,
            });
        }
        let (mut request, plan) = self.planned(&bundle, user, request_of(access, ask, duration))?;
        request.break_glass = Some(BreakGlass { profile: profile.name.clone(), incident: ask.incident.clone() });
        let resource = bundle.catalog.of_request(&request).ok_or_else(|| super::allow::gone(&request))?;
        let now = self.now();
        let mut question = Question {
            action: request.asking(),
            at: now,
            principal: &request.requested_by,
            uid: caller.uid(),
            resource,
            facts: facts::of_request(&request, &plan),
        };
        let decision = self.decide(&bundle, &mut question, Looks::Fresh).await;
        let signals = question.facts.signals;
        let obligations = match &decision.verdict {
            Verdict::Allow { obligations } => obligations.clone(),
            Verdict::Deny { refusal } => {
                self.record_request_refused(caller, &request, &decision, Some(refusal)).await?;
                return Err(BrokerError::Denied(refusal.clone()));
            }
        };
        if let Some(limit) = obligations.max_duration.filter(|most| request.duration_seconds > *most) {
            // Who did not say how long gets what there is; who did is told.
            if ask.duration.is_some() {
                let detail =
                    format!("{} s is more than policy allows: ask for {limit} s or less", request.duration_seconds);
                return Err(BrokerError::Limit { detail, limit });
            }
            let shorter = GlassAsk { duration: Some(Duration::from_secs(limit)), ..ask.clone() };
            return Box::pin(self.break_glass_once(caller, &shorter)).await;
        }
        let overdue = self.overdue_of(&request.subject.name, now).await?;
        let mut needed = floored(obligations.approvals.clone(), resource);
        if !overdue.is_empty() {
            needed = both(needed, &[(Capacity::Security, 1)].into());
        }
        let requesters = Requesters::of_parties([&request.subject, &request.requested_by], &bundle.people);
        let delegations = self.delegations();
        let signed = obligations.signed_approval;
        let ground = Ground { people: &bundle.people, delegations: &delegations, now, signed };
        if let Some(refusal) = out_of_reach(&needed, resource, ground, &requesters) {
            let refusal = if overdue.is_empty() { refusal } else { blocked_by(&overdue, &refusal) };
            self.record_request_refused(caller, &request, &decision, Some(&refusal)).await?;
            return Err(BrokerError::Denied(refusal));
        }
        if reviewers(profile, &requesters).is_empty() {
            let refusal = no_reviewer(profile);
            self.record_request_refused(caller, &request, &decision, Some(&refusal)).await?;
            return Err(BrokerError::Denied(refusal));
        }
        let waits = !needed.is_empty();
        let within = obligations.approve_within.map_or(CONFIRM_WITHIN, Duration::from_secs);
        let digest =
            request_digest(&request, &plan, resource.tier).map_err(|error| BrokerError::Internal(error.to_string()))?;
        let asked = Grant {
            id: GrantId::new(self.inner.ids.fresh()),
            node: self.store().node().clone(),
            created_at: now,
            request,
            plan,
            tier: resource.tier,
            digest,
            policy: bundle.version,
            obligations: Obligations { approvals: needed, escalate: false, ..obligations },
            state: GrantState::Pending { lapses_at: waits.then(|| after(now, within)) },
            approvals: Vec::new(),
            escalation: None,
            extension: None,
            extensions: Vec::new(),
            imported: None,
            version: 0,
        };
        let mut guards = vec![self.unfrozen(&asked.request.subject, &asked)?];
        guards.extend(limits(profile, &asked, now));
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
        let mut writes = Vec::new();
        let granted = if waits {
            let requester = format!("{}:{}", asked.request.requested_by.issuer, asked.request.requested_by.id);
            guards.push(Guard::PendingBelow { requester, limit: MAX_PENDING });
            let overdue: Vec<ReviewId> = overdue.iter().map(|review| review.id).collect();
            let detail = json!({
                "can_approve": can_approve,
                "needs": in_words(&asked.obligations.approvals),
                "overdue_reviews": overdue,
                "lacked": lacked(&signals),
            });
            audit.push(draft(now, "break_glass.request", caller.actor(), about, detail));
            writes.push(Write::InsertGrant(asked.clone()));
            asked
        } else {
            guards.push(Guard::NoneOverdue { person: asked.request.subject.name.clone(), at: now });
            let granted = step(&asked, &GrantEvent::Approve { at: now })?;
            audit.push(draft(now, "grant.approve", daemon("policy"), about, json!(granted.state)));
            writes.push(Write::InsertGrant(granted.clone()));
            if let Some(begun) = self.glass_begun(&bundle, &granted, caller.actor(), &signals) {
                writes.push(begun.write);
                audit.extend(begun.audit);
            }
            granted
        };
        match self.store().commit(Transaction { guards, writes, audit }).await {
            Ok(_) => Ok(granted),
            Err(changed @ StoreError::Guard(GuardFailure::FreezesChanged)) => Err(BrokerError::Store(changed)),
            Err(error) => Err(error.into()),
        }
    }

    /// What is written at the moment at which a use of break-glass begins: its review, which is open from then on, and the
    /// record that everybody is told of. Nothing for any other grant.
    pub(super) fn glass_begun(&self, bundle: &Bundle, grant: &Grant, actor: Actor, signals: &Signals) -> Option<Begun> {
        let glass = grant.request.break_glass.as_ref()?;
        let GrantState::Active { since, until } = grant.state else { return None };
        let request = &grant.request;
        let confirmed: Vec<&Subject> = grant
            .approvals
            .iter()
            .filter(|approval| approval.capacities().contains(&Capacity::Enrolled))
            .map(|approval| &approval.identity)
            .collect();
        let parties: Vec<Subject> =
            [&request.subject, &request.requested_by].into_iter().chain(confirmed).cloned().collect();
        let requesters = Requesters::of_parties(&parties, &bundle.people);
        let profile = bundle.catalog.profile(&glass.profile);
        let reviewers = profile.map(|profile| reviewers(profile, &requesters)).unwrap_or_default();
        let within = grant.obligations.review_within.map(Duration::from_secs);
        let within = within.or(profile.map(|profile| profile.review_within)).unwrap_or_default();
        let review = Review {
            id: ReviewId::new(self.inner.ids.fresh()),
            node: self.store().node().clone(),
            about: ReviewAbout::BreakGlass { profile: glass.profile.clone(), incident: glass.incident.clone() },
            grant: grant.id,
            resource: request.resource.clone(),
            capability: request.entitlement.capability.clone(),
            person: request.subject.name.clone(),
            parties: once(parties),
            reviewers,
            opened_at: since,
            due_at: after(since, within),
            overdue_noted_at: None,
            state: ReviewState::Open,
            version: 0,
        };
        let approved: Vec<&str> = grant.approvals.iter().map(|approval| approval.person.as_str()).collect();
        let detail = json!({
            "until": until,
            "approved_by": approved,
            "lacked": lacked(signals),
            "review": { "id": review.id, "due_at": review.due_at, "reviewers": review.reviewers },
        });
        let about = (Some(grant.id), None);
        let audit = vec![
            draft(since, "break_glass.use", actor, about, detail),
            draft(since, "review.open", daemon("reviews"), about, json!({ "review": review })),
        ];
        Some(Begun { write: Write::PutReview(review), audit })
    }

    /// The reviews of uses by `person` whose time is over.
    pub(super) async fn overdue_of(&self, person: &str, now: jiff::Timestamp) -> Result<Vec<Review>, BrokerError> {
        let filter = ReviewFilter {
            break_glass: true,
            overdue_at: Some(now),
            person: Some(person.to_owned()),
            ..ReviewFilter::default()
        };
        Ok(self.store().reviews(filter).await?)
    }

    /// Puts the refusal of somebody who is not enrolled on record and gives it.
    async fn glass_refused<T>(&self, caller: &Caller, ask: &GlassAsk, refusal: Refusal) -> Result<T, BrokerError> {
        let detail = json!({ "refusal": refusal, "break_glass": told(ask) });
        self.record("request.refused", caller.actor(), (None, None), detail).await?;
        Err(BrokerError::Denied(refusal))
    }
}

/// What was asked for, for the record of its refusal: nobody fills that with what nobody could have meant.
fn told(ask: &GlassAsk) -> serde_json::Value {
    let short = |text: &str| text.chars().take(64).collect::<String>();
    json!({ "profile": short(&ask.profile), "incident": short(&ask.incident) })
}
