//! Sweeping: what stands in a cloud under grantd's mark and belongs to no living lease is removed. A lost store, a failed
//! undoing or a foreign hand leaves such things; in the usual course of events there are none.

use std::sync::Arc;
use std::time::Duration;

use grantd_model::LeaseState;
use grantd_provider_api::{DenyScope, Mark, Provider};
use serde_json::json;

use super::{Broker, BrokerError, daemon};

/// How often every scope is looked through. The revoker's own patrol sees to what the store knows of.
const ROUND: Duration = Duration::from_mins(15);

impl Broker {
    /// A task for each cloud: a slow one keeps nobody else waiting (promise P11).
    pub(super) async fn sweep_for_ever(self, provider: Arc<dyn Provider>) {
        loop {
            for scope in provider.scopes() {
                if let Err(error) = self.sweep(provider.as_ref(), &scope).await {
                    tracing::warn!(%scope, %error, "what bears our mark there could not be looked through; trying again later");
                }
            }
            if !self.pause(ROUND).await {
                return;
            }
        }
    }

    /// The cloud is asked before the store: what is made for a lease is made after its intent is on disk (promise P2), so
    /// of all that the cloud tells of, the store knows the living.
    async fn sweep(&self, provider: &dyn Provider, scope: &DenyScope) -> Result<(), BrokerError> {
        let mut strays: Vec<Mark> = Vec::new();
        for mark in provider.marked(scope).await? {
            if self.is_stray(&mark).await? {
                strays.push(mark);
            }
        }
        if strays.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = strays.iter().map(|mark| mark.name.as_str()).collect();
        let leases: Vec<String> = strays.iter().map(|mark| mark.lease.to_string()).collect();
        tracing::error!(%scope, ?names, "access stands there that no living lease owns; removing it");
        let detail = json!({ "scope": scope.to_string(), "names": names, "leases": leases });
        self.record("sweep.found", daemon("sweeper"), (None, None), detail.clone()).await?;
        provider.remove(scope, &strays).await?;
        self.record("sweep.removed", daemon("sweeper"), (None, None), detail).await
    }

    async fn is_stray(&self, mark: &Mark) -> Result<bool, BrokerError> {
        let lease = self.store().lease(mark.lease).await?;
        Ok(lease.is_none_or(|lease| match lease.state {
            LeaseState::Revoked { .. } | LeaseState::Expired { .. } | LeaseState::Failed { .. } => true,
            // What is being taken away is the revoker's.
            LeaseState::Issuing
            | LeaseState::Active
            | LeaseState::Revoking { .. }
            | LeaseState::Expiring { .. }
            | LeaseState::RevokeFailed { .. } => false,
        }))
    }
}
