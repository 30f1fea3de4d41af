//! Ending: one lease, a whole grant, by whoever may. An end is written first and then carried out by the revoker.

use grantd_model::{
    Action, Actor, AuditDraft, EndReason, Grant, GrantEvent, GrantId, Lease, LeaseEvent, LeaseId, LeasePhase, Subject,
    Verdict,
};
use serde_json::json;

use super::{Broker, BrokerError, daemon, draft, facts};
use crate::attest::Caller;
use crate::failpoint;
use crate::policy::Question;
use crate::store::{LeaseFilter, StoreError, Transaction, Write};

/// How often a change is tried again that others got in the way of.
const ATTEMPTS: usize = 16;

impl Broker {
    /// The task says that it is done with a lease.
    ///
    /// # Errors
    /// When the lease is not the caller's, or nothing can be written.
    pub async fn complete_lease(&self, caller: &Caller, id: LeaseId) -> Result<Lease, BrokerError> {
        self.on_record(caller, "end.refused", (None, Some(id)), move |broker, caller| async move {
            let lease = broker.lease_or_missing(id).await?;
            broker.may_complete(&caller, &lease.subject, &lease.id.to_string())?;
            broker.end_lease(id, EndReason::Completed, caller.actor()).await
        })
        .await
    }

    /// The task says that it is done with a grant: the grant and all its leases end.
    ///
    /// # Errors
    /// When the grant is not the caller's or not active, or nothing can be written.
    pub async fn complete_grant(&self, caller: &Caller, id: GrantId) -> Result<Grant, BrokerError> {
        self.on_record(caller, "end.refused", (Some(id), None), move |broker, caller| async move {
            let grant = broker.grant_or_missing(id).await?;
            broker.may_complete(&caller, &grant.request.subject, &grant.id.to_string())?;
            let event = GrantEvent::Complete { at: broker.now() };
            broker.end_grant(id, event, caller.actor(), EndReason::GrantEnded).await
        })
        .await
    }

    /// Somebody takes a lease away.
    ///
    /// # Errors
    /// When the caller may not, or nothing can be written.
    pub async fn revoke_lease(&self, caller: &Caller, id: LeaseId, reason: String) -> Result<Lease, BrokerError> {
        self.on_record(caller, "end.refused", (None, Some(id)), move |broker, caller| async move {
            let lease = broker.lease_or_missing(id).await?;
            let grant = broker.grant_or_missing(lease.grant).await?;
            broker.may_revoke(&caller, &grant).await?;
            broker.end_lease(id, EndReason::Revoked { reason }, caller.actor()).await
        })
        .await
    }

    /// Somebody takes a grant away, and with it all its leases.
    ///
    /// # Errors
    /// When the caller may not, the grant is over, or nothing can be written.
    pub async fn revoke_grant(&self, caller: &Caller, id: GrantId, reason: String) -> Result<Grant, BrokerError> {
        self.on_record(caller, "end.refused", (Some(id), None), move |broker, caller| async move {
            let grant = broker.grant_or_missing(id).await?;
            broker.may_revoke(&caller, &grant).await?;
            let event = GrantEvent::Revoke { at: broker.now(), reason: reason.clone() };
            broker.end_grant(id, event, caller.actor(), EndReason::Revoked { reason }).await
        })
        .await
    }

    fn may_complete(&self, caller: &Caller, owner: &Subject, what: &str) -> Result<(), BrokerError> {
        if self.is_administrator(caller) {
            return Ok(());
        }
        let subject = Self::known_subject(caller)?;
        if subject.same_identity(owner) {
            return Ok(());
        }
        Err(BrokerError::NotYours { what: what.to_owned(), owner: owner.to_string(), you: subject.to_string() })
    }

    /// Giving up what is one's own needs nobody's leave; anything else is for administrators and for policy.
    pub(super) async fn may_revoke(&self, caller: &Caller, grant: &Grant) -> Result<(), BrokerError> {
        if self.is_administrator(caller) {
            return Ok(());
        }
        let subject = Self::known_subject(caller)?;
        if subject.same_identity(&grant.request.subject) || subject.same_identity(&grant.request.requested_by) {
            return Ok(());
        }
        let bundle = self.bundle();
        let Some(resource) = bundle.catalog.of_request(&grant.request) else {
            return Err(BrokerError::State(format!(
                "\"{}\" is no longer in the catalogue, so it has no owners: have an administrator run grantctl revoke {}",
                grant.request.resource, grant.id
            )));
        };
        let decision = bundle.decide(&Question {
            action: Action::Revoke,
            at: self.now(),
            principal: subject,
            uid: caller.uid(),
            resource,
            facts: facts::of_request(&grant.request, &grant.plan),
        });
        let recorded = json!({ "decision": decision });
        match decision.verdict {
            Verdict::Allow { .. } => {
                self.record("revoke.allowed", caller.actor(), (Some(grant.id), None), recorded).await?;
                Ok(())
            }
            Verdict::Deny { refusal } => {
                self.record("revoke.refused", caller.actor(), (Some(grant.id), None), recorded).await?;
                Err(BrokerError::Denied(refusal))
            }
        }
    }

    /// Ends a grant by `event` and then every lease under it.
    pub(super) async fn end_grant(
        &self,
        id: GrantId,
        event: GrantEvent,
        actor: Actor,
        reason: EndReason,
    ) -> Result<Grant, BrokerError> {
        let grant = self.grant_or_missing(id).await?;
        let ended = grant.after(&event).map_err(|error| BrokerError::State(error.to_string()))?;
        failpoint::hit("revoke.decided");
        let record =
            draft(self.now(), format!("grant.{}", event.name()), actor.clone(), (Some(id), None), json!(ended.state));
        let writes = vec![Write::UpdateGrant(ended.clone())];
        self.store().commit(Transaction { guards: Vec::new(), writes, audit: vec![record] }).await?;
        failpoint::hit("revoke.grant_written");
        self.end_leases_of(id, &reason, &actor).await?;
        Ok(ended)
    }

    /// Ends every lease under a grant that is not over yet.
    pub(super) async fn end_leases_of(
        &self,
        grant: GrantId,
        reason: &EndReason,
        actor: &Actor,
    ) -> Result<(), BrokerError> {
        let phases = Some(vec![LeasePhase::Issuing, LeasePhase::Active]);
        let filter = LeaseFilter { grant: Some(grant), phases, ..LeaseFilter::default() };
        let mut failed = None;
        for lease in self.store().leases(filter).await? {
            if let Err(error) = self.end_lease(lease.id, reason.clone(), actor.clone()).await {
                failed = Some(error);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Ends a lease; one that is over already stays as it is. When nothing can be written, the cloud is made to refuse
    /// it all the same, and the record follows when the store is back.
    pub(super) async fn end_lease(&self, id: LeaseId, reason: EndReason, actor: Actor) -> Result<Lease, BrokerError> {
        for _ in 0..ATTEMPTS {
            let lease = self.lease_or_missing(id).await?;
            let propagation = self.propagation_of(&lease);
            let event = LeaseEvent::End { at: self.now(), reason: reason.clone(), propagation };
            let Ok(ended) = lease.after(&event) else {
                self.inner.live.forget(id);
                return Ok(lease);
            };
            failpoint::hit("revoke.requested");
            let detail = self.end_detail(&ended, &reason);
            match self.write_lease(&ended, "lease.end", actor.clone(), detail).await {
                Ok(()) => {
                    failpoint::hit("revoke.written");
                    self.inner.live.forget(id);
                    self.revoke_soon(&ended.scope);
                    return Ok(ended);
                }
                Err(StoreError::Stale { .. }) => {}
                Err(error) => {
                    self.inner.live.defer(lease.clone(), reason);
                    self.revoke_soon(&lease.scope);
                    return Err(error.into());
                }
            }
        }
        Err(BrokerError::Internal(format!("{id} keeps changing: try again")))
    }

    /// What the record of an end says.
    pub(super) fn end_detail(&self, ended: &Lease, reason: &EndReason) -> serde_json::Value {
        json!({
            "why": reason,
            "state": ended.state.phase(),
            "worst_case_until": ended.worst_case_until(),
            "served": self.inner.live.served(ended.id),
        })
    }

    /// As [`Broker::end_lease`], where there is nobody to tell of a failure: it is logged, and carried out later.
    pub(super) async fn end_for_certain(&self, lease: &Lease, reason: EndReason, actor: Actor) {
        let why = reason.name();
        if let Err(error) = self.end_lease(lease.id, reason.clone(), actor).await {
            self.inner.live.defer(lease.clone(), reason);
            self.revoke_soon(&lease.scope);
            tracing::error!(lease = %lease.id, why, %error, "the end of a lease is not on disk; the cloud is told all the same");
        }
    }

    /// Ends a lease that its caller never received.
    pub(super) async fn end_undelivered(&self, lease: Lease) {
        failpoint::hit("issue.undelivered");
        let reason = EndReason::NotReleased { reason: "the caller hung up before the credential was ready".to_owned() };
        self.end_for_certain(&lease, reason, daemon("broker")).await;
    }

    /// Writes a lease after `event` together with a record named after the event.
    pub(super) async fn advance(
        &self,
        lease: &Lease,
        event: &LeaseEvent,
        actor: Actor,
        detail: serde_json::Value,
    ) -> Result<Lease, BrokerError> {
        let next = lease.after(event).map_err(|error| BrokerError::State(error.to_string()))?;
        self.write_lease(&next, &format!("lease.{}", event.name()), actor, detail).await?;
        Ok(next)
    }

    async fn write_lease(
        &self,
        lease: &Lease,
        kind: &str,
        actor: Actor,
        detail: serde_json::Value,
    ) -> Result<(), StoreError> {
        let audit = vec![draft(self.now(), kind, actor, (Some(lease.grant), Some(lease.id)), detail)];
        let writes = vec![Write::UpdateLease(lease.clone())];
        self.store().commit(Transaction { guards: Vec::new(), writes, audit }).await?;
        Ok(())
    }

    /// Records something that changes no state.
    pub(super) async fn record(
        &self,
        kind: &str,
        actor: Actor,
        about: (Option<GrantId>, Option<LeaseId>),
        detail: serde_json::Value,
    ) -> Result<(), BrokerError> {
        let audit: Vec<AuditDraft> = vec![draft(self.now(), kind, actor, about, detail)];
        self.store().commit(Transaction { audit, ..Transaction::default() }).await?;
        Ok(())
    }

    /// Records a refusal, unless another record tells of it.
    pub(super) async fn record_refusal(
        &self,
        kind: &str,
        caller: &Caller,
        about: (Option<GrantId>, Option<LeaseId>),
        refused: &BrokerError,
    ) -> Result<(), BrokerError> {
        if !refused.is_refusal() {
            return Ok(());
        }
        self.record(kind, caller.actor(), about, json!({ "refused": refused.to_string() })).await
    }

    /// How long a deny takes to be felt there, in whole seconds: as configured, or as measured if that was longer.
    pub(super) fn propagation_of(&self, lease: &Lease) -> u64 {
        // An account that is no longer configured cannot be told anything: its sessions are denied for certain as
        // soon as it is configured again.
        self.reckoned(lease.scope.cloud, &lease.scope.account).map_or(0, |capabilities| {
            let expected = capabilities.expected_propagation;
            expected.as_secs().saturating_add(u64::from(expected.subsec_nanos() > 0))
        })
    }

    pub(super) async fn lease_or_missing(&self, id: LeaseId) -> Result<Lease, BrokerError> {
        let missing = || BrokerError::NotFound(format!("there is no {id}: see grantctl leases"));
        self.store().lease(id).await?.ok_or_else(missing)
    }

    pub(super) async fn grant_or_missing(&self, id: GrantId) -> Result<Grant, BrokerError> {
        let missing = || BrokerError::NotFound(format!("there is no {id}: see grantctl list"));
        self.store().grant(id).await?.ok_or_else(missing)
    }
}
