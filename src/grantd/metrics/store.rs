//! A store whose commits are counted and measured, and with them everything that goes on record.

use std::sync::Arc;

use async_trait::async_trait;
use grantd_model::{
    AcceptedSeal, AuditDraft, AuditRecord, ChainHead, Delegation, Freeze, Grant, GrantId, Lease, LeaseId, NodeId,
    PolicyVersion, Propagation, RegisteredAnchor, Review, ReviewId,
};
use grantd_provider_api::{Clock, DenyScope};
use jiff::Timestamp;

use super::families::{Decided, Families};
use super::seconds;
use crate::store::{Committed, GrantFilter, LeaseFilter, Repeated, ReviewFilter, Store, StoreError, Transaction};

/// A store, measured.
pub(super) struct Measured {
    inner: Arc<dyn Store>,
    families: Families,
    clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Measured").field(&self.inner).finish()
    }
}

impl Measured {
    pub(super) fn new(inner: Arc<dyn Store>, families: Families, clock: Arc<dyn Clock>) -> Self {
        Self { inner, families, clock }
    }

    /// What `drafts` tell, once they are on disk.
    fn count(&self, drafts: &[(String, Option<Decided>)]) {
        for (kind, decided) in drafts {
            self.families.recorded(kind);
            if let Some(decided) = decided {
                self.families.decisions.get_or_create(decided).inc();
            }
        }
    }
}

/// The decision that a record holds, if it does. Rules are names in the policy, and few.
fn decided(draft: &AuditDraft) -> Option<Decided> {
    let decision = draft.detail.get("decision")?;
    let text = |value: Option<&serde_json::Value>| value.and_then(serde_json::Value::as_str).unwrap_or("").to_owned();
    Some(Decided {
        action: text(decision.get("action")),
        verdict: text(decision.get("verdict")),
        rule: text(decision.get("refusal").and_then(|refusal| refusal.get("rule"))),
    })
}

#[async_trait]
impl Store for Measured {
    fn node(&self) -> &NodeId {
        self.inner.node()
    }

    async fn commit(&self, transaction: Transaction) -> Result<Committed, StoreError> {
        let drafts: Vec<_> = transaction.audit.iter().map(|draft| (draft.kind.clone(), decided(draft))).collect();
        let since = self.clock.now();
        let outcome = self.inner.commit(transaction).await;
        self.families.commit_seconds.observe(seconds(since, self.clock.now()));
        match &outcome {
            Ok(_) => self.count(&drafts),
            Err(StoreError::Guard(_) | StoreError::Stale { .. }) => drop(self.families.commits_refused.inc()),
            Err(StoreError::Poisoned(_) | StoreError::Io(_) | StoreError::Damaged(_)) => {
                self.families.commits_failed.inc();
            }
        }
        outcome
    }

    fn poisoned(&self) -> Option<String> {
        self.inner.poisoned()
    }

    async fn answers(&self) -> bool {
        self.inner.answers().await
    }

    async fn reopen(&self) -> Result<(), StoreError> {
        self.inner.reopen().await
    }

    async fn claim(&self, name: &str, now: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        self.inner.claim(name, now, until).await
    }

    async fn grant(&self, id: GrantId) -> Result<Option<Grant>, StoreError> {
        self.inner.grant(id).await
    }

    async fn grants(&self, filter: GrantFilter) -> Result<Vec<Grant>, StoreError> {
        self.inner.grants(filter).await
    }

    async fn lease(&self, id: LeaseId) -> Result<Option<Lease>, StoreError> {
        self.inner.lease(id).await
    }

    async fn leases(&self, filter: LeaseFilter) -> Result<Vec<Lease>, StoreError> {
        self.inner.leases(filter).await
    }

    async fn denied(&self, scope: &DenyScope, now: Timestamp) -> Result<Vec<Lease>, StoreError> {
        self.inner.denied(scope, now).await
    }

    async fn places(&self, scope: &DenyScope, now: Timestamp) -> Result<u64, StoreError> {
        self.inner.places(scope, now).await
    }

    async fn anchors(&self) -> Result<Vec<RegisteredAnchor>, StoreError> {
        self.inner.anchors().await
    }

    async fn freezes(&self) -> Result<Vec<Freeze>, StoreError> {
        self.inner.freezes().await
    }

    async fn delegations(&self) -> Result<Vec<Delegation>, StoreError> {
        self.inner.delegations().await
    }

    async fn review(&self, id: ReviewId) -> Result<Option<Review>, StoreError> {
        self.inner.review(id).await
    }

    async fn reviews(&self, filter: ReviewFilter) -> Result<Vec<Review>, StoreError> {
        self.inner.reviews(filter).await
    }

    async fn repeated(&self, since: Timestamp, above: u32) -> Result<Vec<Repeated>, StoreError> {
        self.inner.repeated(since, above).await
    }

    async fn propagations(&self) -> Result<Vec<Propagation>, StoreError> {
        self.inner.propagations().await
    }

    async fn counted(&self, counter: &str) -> Result<u64, StoreError> {
        self.inner.counted(counter).await
    }

    async fn cursor(&self, cursor: &str) -> Result<Option<u64>, StoreError> {
        self.inner.cursor(cursor).await
    }

    async fn audit(&self, after: u64, limit: u32) -> Result<Vec<AuditRecord>, StoreError> {
        self.inner.audit(after, limit).await
    }

    async fn head(&self) -> Result<ChainHead, StoreError> {
        self.inner.head().await
    }

    async fn seals(&self) -> Result<Vec<AcceptedSeal>, StoreError> {
        self.inner.seals().await
    }

    async fn bundle(&self, version: PolicyVersion) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.bundle(version).await
    }
}
