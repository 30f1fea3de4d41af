//! Putting right what a crash, a full disk or a lost race left behind: at start, and in the background for ever.

use std::collections::BTreeSet;
use std::time::Duration;

use grantd_model::{Anchor, EndReason, Lease, LeasePhase, LeaseState};
use serde_json::json;

use super::{Broker, BrokerError, daemon};
use crate::failpoint;
use crate::store::LeaseFilter;

/// How often the background round looks.
const ROUND: Duration = Duration::from_secs(2);

impl Broker {
    /// Finishes or undoes whatever an earlier run left open (promises P2 and P13), before the first request.
    pub(super) async fn reconcile_at_start(&self) -> Result<(), BrokerError> {
        let mine = LeaseFilter {
            phases: Some(LeasePhase::OPEN.to_vec()),
            node: Some(self.store().node().clone()),
            ..LeaseFilter::default()
        };
        let open = self.store().leases(mine).await?;
        let detail =
            json!({ "version": env!("CARGO_PKG_VERSION"), "policy": self.bundle().version, "open_leases": open.len() });
        self.record("daemon.start", daemon("main"), (None, None), detail).await?;
        failpoint::hit("reconcile.started");
        let mut scopes: BTreeSet<_> = self.inner.providers.values().flat_map(|provider| provider.scopes()).collect();
        for lease in &open {
            scopes.insert(lease.scope.clone());
            match lease.state {
                LeaseState::Issuing => {
                    self.end_lease(lease.id, EndReason::Abandoned, daemon("reconciler")).await?;
                    failpoint::hit("reconcile.orphan_ended");
                }
                LeaseState::Active => self.take_up(lease).await,
                _ => {}
            }
            // Whatever the state: at its deadline it is looked at again.
            self.inner.live.set_deadline(lease.id, lease.access_until);
        }
        self.restore_anchors().await?;
        let taken_up = self.inner.fd_store.settle();
        tracing::info!(through_kept = taken_up.kept, unfit = taken_up.unfit, "watches of an earlier run are taken up");
        failpoint::hit("reconcile.anchors");
        self.end_proofs_left_behind().await?;
        self.end_leases_of_ended_grants().await?;
        self.decide_again(&open).await;
        for scope in &scopes {
            self.revoke_soon(scope);
        }
        // What waits for people comes after what the cloud has to refuse.
        self.settle_waiting().await?;
        failpoint::hit("reconcile.done");
        Ok(())
    }

    /// Watches a lease of an earlier run again. Its credential is gone from memory, but its holder may well have it.
    async fn take_up(&self, lease: &Lease) {
        match lease.anchor {
            Anchor::Process { .. } => self.watch_anchor(lease).await,
            Anchor::Connection { .. } => {
                self.watch_anchor(lease).await;
                self.await_reconnection(lease);
            }
            Anchor::Unwatched { .. } => {}
        }
    }

    pub(super) async fn reconcile_for_ever(self) {
        while self.pause(ROUND).await {
            if let Some(why) = self.store().poisoned() {
                match self.store().reopen().await {
                    Ok(()) => tracing::warn!(%why, "the store was poisoned and is whole again"),
                    Err(error) => {
                        tracing::error!(%why, %error, "the store is poisoned: nothing is issued until it can be written");
                        continue;
                    }
                }
            }
            if let Err(error) = self.reconcile_round().await {
                tracing::warn!(%error, "a round of the reconciler did not get through; trying again");
            }
        }
    }

    async fn reconcile_round(&self) -> Result<(), BrokerError> {
        self.read_freezes().await?;
        self.read_delegations().await?;
        self.read_propagations().await?;
        self.decide_again_if_due().await?;
        for (lease, reason) in self.inner.live.deferred() {
            self.end_lease(lease.id, reason, daemon("reconciler")).await?;
        }
        for lease in self.orphans().await? {
            self.end_lease(lease.id, EndReason::Abandoned, daemon("reconciler")).await?;
        }
        self.end_leases_of_ended_grants().await
    }

    /// Open intents of this node that nobody is working on: a session may exist for each.
    pub(super) async fn orphans(&self) -> Result<Vec<Lease>, BrokerError> {
        let filter = LeaseFilter {
            phases: Some(vec![LeasePhase::Issuing]),
            node: Some(self.store().node().clone()),
            ..LeaseFilter::default()
        };
        let mut orphans = Vec::new();
        for lease in self.store().leases(filter).await? {
            // A session that was being made when the store was read may be finished by now, and is no orphan then: of
            // what nobody makes any more, only the state that is read from here on counts.
            if !self.inner.live.is_in_flight(lease.id) {
                orphans.extend(self.store().lease(lease.id).await?.filter(|now| now.state == LeaseState::Issuing));
            }
        }
        Ok(orphans)
    }

    /// A crash between the end of a grant and the end of its leases leaves leases without a grant.
    async fn end_leases_of_ended_grants(&self) -> Result<(), BrokerError> {
        let filter = LeaseFilter { phases: Some(vec![LeasePhase::Active]), ..LeaseFilter::default() };
        let mut grants: BTreeSet<_> = self.store().leases(filter).await?.iter().map(|lease| lease.grant).collect();
        let mut ended = Vec::new();
        while let Some(id) = grants.pop_first() {
            if self.grant_or_missing(id).await?.state.is_final() {
                ended.push(id);
            }
        }
        for id in ended {
            self.end_leases_of(id, &EndReason::GrantEnded, &daemon("reconciler")).await?;
        }
        Ok(())
    }
}
