//! A store that marks every record about a use of break-glass as one: the grant's own, those of its leases, refusals
//! included. A wrapper of the same trait, so that nobody who writes a record can forget it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use grantd_model::{
    AcceptedSeal, AuditDraft, AuditRecord, BreakGlass, ChainHead, Delegation, Freeze, Grant, GrantId, Lease, LeaseId,
    NodeId, PolicyVersion, Propagation, RegisteredAnchor, Review, ReviewId,
};
use grantd_provider_api::DenyScope;
use jiff::Timestamp;
use serde_json::{Value, json};

use super::{Committed, GrantFilter, LeaseFilter, Repeated, ReviewFilter, Store, StoreError, Transaction, Write};

/// The member of a record's detail that marks it.
const MARK: &str = "break_glass";

/// How many grants are remembered: what a grant is never changes.
const REMEMBERED: usize = 4096;

/// The store that marks.
#[derive(Debug)]
pub struct Marked {
    inner: Arc<dyn Store>,
    known: Mutex<BTreeMap<GrantId, Option<BreakGlass>>>,
}

/// What a transaction is about to insert, which cannot be read yet.
#[derive(Default)]
struct New {
    grants: BTreeMap<GrantId, Option<BreakGlass>>,
    leases: BTreeMap<LeaseId, GrantId>,
}

impl Marked {
    /// Marks what is written to `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, known: Mutex::default() }
    }

    /// What makes a grant a use of break-glass, if it is one.
    async fn glass(&self, id: GrantId) -> Result<Option<BreakGlass>, StoreError> {
        if let Some(known) = self.lock().get(&id) {
            return Ok(known.clone());
        }
        // Nothing is remembered of a grant that is not there: it may come to be.
        let Some(grant) = self.inner.grant(id).await? else { return Ok(None) };
        self.remember(id, grant.request.break_glass.clone());
        Ok(grant.request.break_glass)
    }

    fn remember(&self, id: GrantId, glass: Option<BreakGlass>) {
        let mut known = self.lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(id, glass);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<GrantId, Option<BreakGlass>>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn of(&self, draft: &AuditDraft, new: &New) -> Option<BreakGlass> {
        let grant = match (draft.grant, draft.lease) {
            (Some(grant), _) => grant,
            (None, Some(lease)) => match new.leases.get(&lease) {
                Some(grant) => *grant,
                None => self.inner.lease(lease).await.ok().flatten()?.grant,
            },
            (None, None) => return None,
        };
        match new.grants.get(&grant) {
            Some(glass) => glass.clone(),
            // A store that cannot be read cannot be written either, and what is written then says so itself.
            None => self.glass(grant).await.ok().flatten(),
        }
    }
}

/// The detail with the mark.
fn marked(detail: &mut Value, glass: &BreakGlass) {
    if let Value::Object(members) = detail {
        members.insert(MARK.to_owned(), json!(glass));
        return;
    }
    let what = detail.take();
    *detail = if what.is_null() { json!({ MARK: glass }) } else { json!({ MARK: glass, "detail": what }) };
}

#[async_trait]
impl Store for Marked {
    fn node(&self) -> &NodeId {
        self.inner.node()
    }

    async fn commit(&self, mut transaction: Transaction) -> Result<Committed, StoreError> {
        let mut new = New::default();
        for write in &transaction.writes {
            match write {
                Write::InsertGrant(grant) => drop(new.grants.insert(grant.id, grant.request.break_glass.clone())),
                Write::InsertLease(lease) => drop(new.leases.insert(lease.id, lease.grant)),
                _ => {}
            }
        }
        for draft in &mut transaction.audit {
            if let Some(glass) = self.of(draft, &new).await {
                marked(&mut draft.detail, &glass);
            }
        }
        self.inner.commit(transaction).await
    }

    async fn answers(&self) -> bool {
        self.inner.answers().await
    }

    fn poisoned(&self) -> Option<String> {
        self.inner.poisoned()
    }

    async fn reopen(&self) -> Result<(), StoreError> {
        self.inner.reopen().await
    }

    async fn claim(&self, name: &str, now: Timestamp, until: Timestamp) -> Result<bool, StoreError> {
        self.inner.claim(name, now, until).await
    }

    async fn grant(&self, id: GrantId) -> Result<Option<Grant>, StoreError> {
        let grant = self.inner.grant(id).await?;
        if let Some(grant) = &grant {
            self.remember(id, grant.request.break_glass.clone());
        }
        Ok(grant)
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

#[cfg(test)]
#[path = "marked_tests.rs"]
mod tests;
