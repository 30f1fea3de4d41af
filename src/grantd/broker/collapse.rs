//! Refusing many ended sessions of one identity as one, so that their places in the deny scope are free again. The
//! provider decides whether that pays; this room says what may be, and writes down what was.

use std::collections::{BTreeMap, BTreeSet};

use grantd_model::{Lease, LeaseEvent, LeaseId, LeasePhase};
use grantd_provider_api::{DenyEntry, DenyForm, DenyScope, RevokeReceipt};
use serde_json::json;

use super::{Broker, BrokerError, daemon, draft};
use crate::failpoint;
use crate::store::{LeaseFilter, StoreError, Transaction, Write};

/// In these a lease has, or may come to have, a session that nobody has ended; or one that was left to expire.
const LIVE: [LeasePhase; 3] = [LeasePhase::Issuing, LeasePhase::Active, LeasePhase::Expiring];

impl Broker {
    /// The entries of `leases`, each with how it may be refused. Must be called after the moment that the provider is
    /// told: what is issued later has its intent in the store by then, or is younger than that moment (promise P10).
    pub(super) async fn entries_of(&self, leases: &BTreeMap<LeaseId, Lease>) -> Result<Vec<DenyEntry>, BrokerError> {
        let may = |lease: &&Lease| lease.state.needs_deny() && lease.origin.is_some() && lease.collapsed.is_none();
        let busy = if leases.values().any(|lease| may(&lease)) { self.busy_targets().await? } else { BTreeSet::new() };
        let entry = |lease: &Lease| {
            let idle = !busy.contains(&place_of(lease));
            let entry = lease.entry();
            if idle && may(&lease) { DenyEntry { form: DenyForm::MayCollapse, ..entry } } else { entry }
        };
        Ok(leases.values().map(entry).collect())
    }

    /// The native identities that carry a live session, or may. Whatever the scope: a role keeps its sessions when its
    /// scope is configured anew.
    async fn busy_targets(&self) -> Result<BTreeSet<(String, String)>, BrokerError> {
        let filter = LeaseFilter { phases: Some(LIVE.to_vec()), ..LeaseFilter::default() };
        Ok(self.store().leases(filter).await?.iter().map(place_of).collect())
    }

    /// Writes down which leases the cloud refuses together now. A crash before this changes nothing: the same document
    /// is rendered again, or their own entries are, for which their places are still kept.
    pub(super) async fn mark_collapsed(&self, scope: &DenyScope, receipt: &RevokeReceipt) -> Result<(), BrokerError> {
        if receipt.collapsed.is_empty() {
            return Ok(());
        }
        failpoint::hit("revoke.collapsed");
        let now = self.now();
        let collapsed: BTreeSet<LeaseId> = receipt.collapsed.iter().copied().collect();
        let event = LeaseEvent::Collapse { at: now, version: receipt.version.clone() };
        let mut transaction = Transaction::default();
        let mut identities: BTreeMap<String, Vec<LeaseId>> = BTreeMap::new();
        for lease in self.store().denied(scope, now).await? {
            let Some(origin) = lease.origin.as_ref().filter(|_| collapsed.contains(&lease.id)) else { continue };
            let Ok(next) = lease.after(&event) else { continue };
            identities.entry(origin.identity.clone()).or_default().push(lease.id);
            transaction.writes.push(Write::UpdateLease(next));
        }
        if transaction.writes.is_empty() {
            return Ok(());
        }
        let detail = json!({ "scope": scope, "version": receipt.version, "leases": identities });
        transaction.audit.push(draft(now, format!("deny.{}", event.name()), daemon("revoker"), (None, None), detail));
        match self.store().commit(transaction).await {
            Ok(_) => Ok(()),
            // One of them changed meanwhile: the next round finds them collapsed in the cloud, and writes it down then.
            Err(StoreError::Stale { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// What carries the session of a lease. Not by the account's configured name, which may change over a restart.
fn place_of(lease: &Lease) -> (String, String) {
    (lease.scope.cloud.to_string(), lease.target.clone())
}
