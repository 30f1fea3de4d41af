//! Where grants, leases and their audit are kept: one trait, and state is never written without its record.

mod error;
mod marked;
mod postgres;
mod sql;
mod sql_read;
mod sql_write;
mod sqlite;
mod sqlite_file;
mod sqlite_readers;
mod sqlite_writer;
mod tail;
mod transaction;

use std::fmt;

use async_trait::async_trait;
use grantd_model::{
    AcceptedSeal, AuditRecord, ChainHead, Delegation, Freeze, Grant, GrantId, GrantPhase, Lease, LeaseId, LeasePhase,
    NodeId, PolicyVersion, Propagation, RegisteredAnchor, Review, ReviewId,
};
use grantd_provider_api::DenyScope;
use jiff::Timestamp;

pub use error::{GuardFailure, StoreError};
pub use marked::Marked;
pub use postgres::PostgresStore;
pub use sql_write::topic;
pub use sqlite::SqliteStore;
pub use transaction::{Committed, GlassUses, Guard, Transaction, Write};

/// The store.
///
/// Every change goes through [`commit`](Store::commit), which makes state and audit durable together or not at all.
/// The first I/O error poisons the store: from then on it refuses every commit until [`reopen`](Store::reopen) has
/// verified what is on disk. Reading goes on as far as it can.
#[async_trait]
pub trait Store: fmt::Debug + Send + Sync {
    /// The name of this daemon's state; made once, when the store is created.
    fn node(&self) -> &NodeId;

    /// Makes `transaction` durable. When this returns `Ok`, it has reached the disk.
    ///
    /// # Errors
    /// `Stale` when a grant or lease changed meanwhile, or an id or session name that has to be new is not; `Guard` when
    /// a guard does not hold. In both cases nothing was written and the store goes on. `Poisoned` when nothing was
    /// written because of an earlier error. `Io` when the store broke over it: **whether it was written is unknown**
    /// until the store was reopened. A caller that stops waiting does not know the outcome either.
    async fn commit(&self, transaction: Transaction) -> Result<Committed, StoreError>;

    /// Returns when whatever writes has come round to it, whether it can write or not: a store that does not answer
    /// hangs. `false` when nothing writes any more.
    async fn answers(&self) -> bool;

    /// Why the store refuses commits, if it does.
    fn poisoned(&self) -> Option<String>;

    /// After poisoning: opens the store anew and verifies the end of this node's audit chain, and that everything
    /// acknowledged is in it. A commit that was answered with `Io` may turn out to have been made.
    ///
    /// # Errors
    /// When it still cannot be written, or the chain does not hold; it is poisoned then, even if it was not before.
    async fn reopen(&self) -> Result<(), StoreError>;

    /// Takes or renews the exclusive right to `name` until `until`, if it is free, expired at `now`, or already ours.
    /// Used to elect the one writer of a deny scope.
    ///
    /// # Errors
    /// As for `commit`.
    async fn claim(&self, name: &str, now: Timestamp, until: Timestamp) -> Result<bool, StoreError>;

    /// One grant.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn grant(&self, id: GrantId) -> Result<Option<Grant>, StoreError>;

    /// Some grants, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn grants(&self, filter: GrantFilter) -> Result<Vec<Grant>, StoreError>;

    /// One lease.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn lease(&self, id: LeaseId) -> Result<Option<Lease>, StoreError>;

    /// Some leases, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn leases(&self, filter: LeaseFilter) -> Result<Vec<Lease>, StoreError>;

    /// Every lease of `scope` that has a [deny entry](Lease::deny_entry) at `now`, oldest first, whatever its node.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn denied(&self, scope: &DenyScope, now: Timestamp) -> Result<Vec<Lease>, StoreError>;

    /// How many places of `scope` are [taken](Lease::occupies_until) at `now`.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn places(&self, scope: &DenyScope, now: Timestamp) -> Result<u64, StoreError>;

    /// The registered anchors of this node.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn anchors(&self) -> Result<Vec<RegisteredAnchor>, StoreError>;

    /// Every freeze that was ever set, newest first: they are few, and whoever judges by them needs their
    /// [epoch](grantd_model::freeze_epoch), which rests on all of them.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn freezes(&self) -> Result<Vec<Freeze>, StoreError>;

    /// Every delegation that was ever made, newest first: they are few, and the approvals that rest on one name it.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn delegations(&self) -> Result<Vec<Delegation>, StoreError>;

    /// One review.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn review(&self, id: ReviewId) -> Result<Option<Review>, StoreError>;

    /// Some reviews, newest first.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn reviews(&self, filter: ReviewFilter) -> Result<Vec<Review>, StoreError>;

    /// What was granted more often than `above` since `since`.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn repeated(&self, since: Timestamp, above: u32) -> Result<Vec<Repeated>, StoreError>;

    /// How long revocations were measured to take, for each account in which they were.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn propagations(&self) -> Result<Vec<Propagation>, StoreError>;

    /// How many members a one-shot counter has.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn counted(&self, counter: &str) -> Result<u64, StoreError>;

    /// Where a cursor stands, if it was ever moved.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn cursor(&self, cursor: &str) -> Result<Option<u64>, StoreError>;

    /// Audit records of this node after `after`, oldest first, at most `limit`.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn audit(&self, after: u64, limit: u32) -> Result<Vec<AuditRecord>, StoreError>;

    /// The end of this node's audit chain.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn head(&self) -> Result<ChainHead, StoreError>;

    /// Every bundle that was accepted by its signatures, the latest first: whoever judges the next one needs the last.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn seals(&self) -> Result<Vec<AcceptedSeal>, StoreError>;

    /// A policy bundle that was in force once.
    ///
    /// # Errors
    /// When the store cannot be read.
    async fn bundle(&self, version: PolicyVersion) -> Result<Option<Vec<u8>>, StoreError>;
}

/// Which grants. Members left at their default do not restrict.
#[derive(Debug, Clone, Default)]
pub struct GrantFilter {
    /// In one of these phases.
    pub phases: Option<Vec<GrantPhase>>,
    /// Whose subject or requester has this `issuer:id`.
    pub identity: Option<String>,
    /// On this resource.
    pub resource: Option<String>,
    /// Whose next turn by time - the end of an active one, the beginning of a scheduled one, the escalation or
    /// the lapse of a pending one, the lapse of a waiting extension - is at or before this.
    pub due_at: Option<Timestamp>,
    /// Requested after this.
    pub since: Option<Timestamp>,
    /// Of this [topic].
    pub topic: Option<String>,
    /// With an extension that waits.
    pub extending: bool,
    /// At most this many.
    pub limit: Option<u32>,
}

/// Which leases. Members left at their default do not restrict.
#[derive(Debug, Clone, Default)]
pub struct LeaseFilter {
    /// In one of these phases.
    pub phases: Option<Vec<LeasePhase>>,
    /// Under this grant.
    pub grant: Option<GrantId>,
    /// Of this user.
    pub uid: Option<u32>,
    /// Of this node only.
    pub node: Option<NodeId>,
    /// Made after this.
    pub since: Option<Timestamp>,
    /// At most this many.
    pub limit: Option<u32>,
}

/// Which reviews. Members left at their default do not restrict.
#[derive(Debug, Clone, Default)]
pub struct ReviewFilter {
    /// Nobody completed it yet.
    pub open: bool,
    /// Its deadline passed without it by then.
    pub overdue_at: Option<Timestamp>,
    /// That it is overdue is not on record.
    pub not_noted: bool,
    /// Of a use of break-glass.
    pub break_glass: bool,
    /// Of what this person did.
    pub person: Option<String>,
    /// Of this grant.
    pub grant: Option<GrantId>,
    /// At most this many.
    pub limit: Option<u32>,
}

/// Something that was granted again and again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Repeated {
    /// How often.
    pub grants: u64,
    /// Subject, resource and capability: the [topic] of each of them.
    pub topic: String,
}

#[cfg(test)]
pub(crate) mod contract;
#[cfg(test)]
mod postgres_tests;
#[cfg(test)]
mod sqlite_tests;
