//! Ending many at once: every grant and every session that a word covers, with one deny write a boundary.

use std::collections::BTreeSet;

use grantd_model::{
    Actor, EndReason, FreezeTarget, Grant, GrantEvent, GrantPhase, Lease, LeaseEvent, LeasePhase, LeaseState,
};
use grantd_provider_api::DenyScope;
use serde_json::json;

use super::freeze::Cover;
use super::{Broker, BrokerError, draft};
use crate::attest::Caller;
use crate::failpoint;
use crate::store::{GrantFilter, LeaseFilter, StoreError, Transaction, Write};

/// How many grants or leases are written in one transaction.
const CHUNK: usize = 100;

/// What was ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MassEnd {
    /// Grants that were waiting, scheduled or active.
    pub grants: u64,
    /// Sessions that were live or in the making.
    pub leases: u64,
    /// How many documents the cloud has to take for it.
    pub scopes: u64,
}

impl Broker {
    /// Revokes every grant that `cover` covers and ends every session under them. Nothing is left half-done when the
    /// caller hangs up. To keep the same callers from asking anew, freeze first.
    ///
    /// # Errors
    /// When the caller may not, the subject or resource is not known, or nothing can be written.
    pub async fn revoke_covered(&self, caller: &Caller, cover: Cover, reason: String) -> Result<MassEnd, BrokerError> {
        self.on_record(caller, "end.refused", (None, None), move |broker, caller| async move {
            let bundle = broker.bundle();
            let target = broker.target_of(&bundle, &cover)?;
            broker.may_freeze(&bundle, &caller, &target)?;
            let grants = broker.covered_grants(&target).await?;
            // Whom policy does not let revoke one of them may not revoke all of them.
            if matches!(target, FreezeTarget::Resource { .. }) {
                for grant in &grants {
                    broker.may_revoke(&caller, grant).await?;
                }
            }
            let detail = json!({ "target": target, "reason": reason });
            broker.record("mass.revoke", caller.actor(), (None, None), detail).await?;
            failpoint::hit("mass.decided");
            broker.end_covered(&target, &grants, &reason, &caller.actor()).await
        })
        .await
    }

    /// The grants that are not over and that `target` covers.
    async fn covered_grants(&self, target: &FreezeTarget) -> Result<Vec<Grant>, BrokerError> {
        let phases = vec![GrantPhase::Pending, GrantPhase::Scheduled, GrantPhase::Active];
        let mut grants = self.store().grants(GrantFilter { phases: Some(phases), ..GrantFilter::default() }).await?;
        grants.retain(|grant| target.covers(&grant.node, &grant.request.subject, &grant.request.resource));
        Ok(grants)
    }

    async fn end_covered(
        &self,
        target: &FreezeTarget,
        grants: &[Grant],
        reason: &str,
        actor: &Actor,
    ) -> Result<MassEnd, BrokerError> {
        let mut ended = MassEnd::default();
        // Grants first: from then on nothing new is issued under them.
        for chunk in grants.chunks(CHUNK) {
            let written = self.revoke_grants(chunk, reason, actor).await?;
            ended.grants = ended.grants.saturating_add(written);
            failpoint::hit("mass.grants_written");
        }
        let mut scopes = BTreeSet::new();
        let outcome = self.end_covered_leases(target, reason, actor, &mut ended, &mut scopes).await;
        // Even when a later chunk failed: what is written has to be carried out.
        for scope in &scopes {
            self.revoke_soon(scope);
        }
        ended.scopes = u64::try_from(scopes.len()).unwrap_or(u64::MAX);
        outcome.map(|()| ended)
    }

    async fn end_covered_leases(
        &self,
        target: &FreezeTarget,
        reason: &str,
        actor: &Actor,
        ended: &mut MassEnd,
        scopes: &mut BTreeSet<DenyScope>,
    ) -> Result<(), BrokerError> {
        let phases = Some(vec![LeasePhase::Issuing, LeasePhase::Active]);
        let mut leases = Vec::new();
        for lease in self.store().leases(LeaseFilter { phases, ..LeaseFilter::default() }).await? {
            // Only its grant knows its resource.
            let resource = match target {
                FreezeTarget::Resource { .. } => self.grant_or_missing(lease.grant).await?.request.resource,
                _ => String::new(),
            };
            if target.covers(&lease.node, &lease.subject, &resource) {
                leases.push(lease);
            }
        }
        for chunk in leases.chunks(CHUNK) {
            self.end_leases(chunk, reason, actor, scopes).await?;
            ended.leases = ended.leases.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
            failpoint::hit("mass.leases_written");
        }
        Ok(())
    }

    /// One transaction for all of them; one by one when any changed meanwhile. Gives how many were revoked.
    async fn revoke_grants(&self, grants: &[Grant], reason: &str, actor: &Actor) -> Result<u64, BrokerError> {
        let event = GrantEvent::Revoke { at: self.now(), reason: reason.to_owned() };
        let mut transaction = Transaction::default();
        for grant in grants {
            let Ok(revoked) = grant.after(&event) else { continue };
            let kind = format!("grant.{}", event.name());
            let about = (Some(grant.id), None);
            transaction.audit.push(draft(self.now(), kind, actor.clone(), about, json!(revoked.state)));
            transaction.writes.push(Write::UpdateGrant(revoked));
        }
        let written = u64::try_from(transaction.writes.len()).unwrap_or(u64::MAX);
        match self.store().commit(transaction).await {
            Ok(_) => Ok(written),
            Err(StoreError::Stale { .. }) => {
                let mut revoked: u64 = 0;
                for grant in grants {
                    let why = EndReason::Revoked { reason: reason.to_owned() };
                    match self.end_grant(grant.id, event.clone(), actor.clone(), why).await {
                        Ok(_) => revoked = revoked.saturating_add(1),
                        // It was over before.
                        Err(BrokerError::State(_)) if self.grant_or_missing(grant.id).await?.state.is_final() => {}
                        Err(error) => return Err(error),
                    }
                }
                Ok(revoked)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn end_leases(
        &self,
        leases: &[Lease],
        reason: &str,
        actor: &Actor,
        scopes: &mut BTreeSet<DenyScope>,
    ) -> Result<(), BrokerError> {
        let why = EndReason::Revoked { reason: reason.to_owned() };
        let mut transaction = Transaction::default();
        for lease in leases {
            let event =
                LeaseEvent::End { at: self.now(), reason: why.clone(), propagation: self.propagation_of(lease) };
            let Ok(next) = lease.after(&event) else { continue };
            let detail = self.end_detail(&next, &why);
            let about = (Some(lease.grant), Some(lease.id));
            transaction.audit.push(draft(self.now(), "lease.end", actor.clone(), about, detail));
            transaction.writes.push(Write::UpdateLease(next));
        }
        match self.store().commit(transaction).await {
            Ok(_) => {
                for lease in leases {
                    self.inner.live.forget(lease.id);
                    scopes.insert(lease.scope.clone());
                }
                Ok(())
            }
            Err(StoreError::Stale { .. }) => {
                for lease in leases {
                    let now = self.end_lease(lease.id, why.clone(), actor.clone()).await?;
                    if matches!(now.state, LeaseState::Revoking { .. } | LeaseState::RevokeFailed { .. }) {
                        scopes.insert(now.scope);
                    }
                }
                Ok(())
            }
            Err(error) => {
                // As for a single end: the cloud refuses them all the same, the record follows when it can be written.
                for lease in leases {
                    self.inner.live.defer(lease.clone(), why.clone());
                    scopes.insert(lease.scope.clone());
                }
                Err(error.into())
            }
        }
    }
}
